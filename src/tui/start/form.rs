//! What the start screen asks for before it can begin: one line for each thing.

use crate::tui::entry::Entry;

/// What is asked for, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Two QEMUs and the guest in them.
    Attach,
    /// An address to ping.
    Watch,
    /// A capture.
    Replay,
}

/// One thing that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The option of the command line it stands for; empty for an argument without one.
    pub option: &'static str,
    /// What to type, with an example.
    pub hint: &'static str,
    /// Whether nothing can begin without it.
    pub needed: bool,
}

const fn needed(name: &'static str, option: &'static str, hint: &'static str) -> Field {
    Field { name, option, hint, needed: true }
}
const fn optional(name: &'static str, option: &'static str, hint: &'static str) -> Field {
    Field { name, option, hint, needed: false }
}

impl Asks {
    /// The title of its form.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Attach => "attach to QEMUs that you started",
            Self::Watch => "watch an address",
            Self::Replay => "replay a recorded session",
        }
    }

    /// The command that is run.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Attach => "migrate",
            Self::Watch => "watch",
            Self::Replay => "replay",
        }
    }

    /// What it asks for.
    #[must_use]
    pub fn fields(self) -> &'static [Field] {
        const ATTACH: &[Field] = &[
            needed("source QMP", "--source", "QMP socket of the QEMU the guest runs in: /run/src.qmp or tcp:host:port"),
            needed(
                "dest QMP",
                "--dest",
                "QMP socket of the QEMU started with -incoming: /run/dst.qmp or tcp:host:port",
            ),
            needed("URI", "--uri", "where the source connects to: tcp:127.0.0.1:4444 or unix:/run/move.sock"),
            optional("ping", "--ping", "address of the guest; without it no downtime can be seen from outside"),
            optional("agent", "--agent", "the agent in the guest, which makes the load: HOST:PORT or ssh:DESTINATION"),
            optional("key file", "--psk-file", "file with the key of an agent at HOST:PORT"),
        ];
        const WATCH: &[Field] = &[needed("address", "", "address or name to ping: 192.0.2.10 or vm.example.org")];
        const REPLAY: &[Field] = &[needed("capture", "", "the folder of a session, or the capture in it")];
        match self {
            Self::Attach => ATTACH,
            Self::Watch => WATCH,
            Self::Replay => REPLAY,
        }
    }
}

/// A text that will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The field, from 0.
    pub field: usize,
    /// What is wrong with it and what would be right.
    pub why: String,
}

/// A line to type on.
pub type Line = Entry<()>;

/// A form being filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// What it asks for.
    pub asks: Asks,
    /// A line for each field.
    pub lines: Vec<Line>,
    /// The line that is typed on.
    pub at: usize,
}

impl Form {
    /// An empty form.
    #[must_use]
    pub fn new(asks: Asks) -> Self {
        Self { asks, lines: asks.fields().iter().map(|_| Entry::new((), "")).collect(), at: 0 }
    }

    /// What has been typed, a text for each field.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        self.lines.iter().map(|line| line.text.trim().to_owned()).collect()
    }

    /// The line that is typed on.
    pub fn line(&mut self) -> Option<&mut Line> {
        self.lines.get_mut(self.at)
    }

    /// To another line, round and round.
    pub fn step(&mut self, on: bool) {
        let all = self.lines.len().max(1);
        self.at = (self.at + if on { 1 } else { all - 1 }) % all;
    }

    /// Whether this is the last line.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at + 1 >= self.lines.len()
    }

    /// The first needed line that is empty.
    #[must_use]
    pub fn lacking(&self) -> Option<Wrong> {
        let lines = self.asks.fields().iter().zip(&self.lines);
        let (field, (asked, _)) =
            lines.enumerate().find(|(_, (field, line))| field.needed && line.text.trim().is_empty())?;
        Some(Wrong { field, why: format!("this is needed: {}", asked.hint) })
    }

    /// Goes to the line that will not do and says why.
    pub fn refuse(&mut self, wrong: Wrong) {
        self.at = wrong.field.min(self.lines.len().saturating_sub(1));
        if let Some(line) = self.line() {
            line.error = Some(wrong.why);
        }
    }

    /// The arguments of the command that does what is asked for. Values cannot be taken for options.
    #[must_use]
    pub fn arguments(asks: Asks, values: &[String]) -> Vec<String> {
        let mut out = vec![asks.command().to_owned()];
        let given = || asks.fields().iter().zip(values).filter(|(_, value)| !value.is_empty());
        out.extend(given().filter(|(f, _)| !f.option.is_empty()).map(|(f, value)| format!("{}={value}", f.option)));
        let mut bare = given().filter(|(f, _)| f.option.is_empty()).map(|(_, value)| value.clone()).peekable();
        if bare.peek().is_some_and(|first| first.starts_with('-')) {
            out.push("--".into());
        }
        out.extend(bare);
        out
    }
}
