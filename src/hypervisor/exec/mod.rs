//! Commands of other programs: run here or over ssh, on a pipe or on a terminal of their own, with every
//! wait bounded, their output in pieces of a bounded length, and nothing of them left behind at drop.
//!
//! Many tools show progress by rewriting one line, so a piece ends at `\r` as well as at `\n`, and one that
//! does not end is shown once nothing more of it has come for a moment. Some tools heed ^C only at a
//! terminal that controls them (`virsh` ignores SIGINT otherwise); [`Spec::pty`] gives them one.

mod dialogue;
mod lines;
mod pty;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until};

pub use dialogue::Pen;
use lines::Lines;
pub use lines::Piece;

use crate::text::visible;
use crate::units::show_duration;

/// A piece without an end is shown when nothing more of it has come for so long.
const PARTIAL_AFTER: Duration = Duration::from_millis(50);
/// How long the output of a command that has ended may stay open: a process it has left behind may hold it.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);
/// How much of an answer is kept, bytes.
const ANSWER_LIMIT: usize = 64 << 10;
/// How much output of one command is read as text, bytes. What comes after it is thrown away, slowly.
const OUTPUT_LIMIT: u64 = 16 << 20;
/// Between two looks at output that is thrown away.
const SLOWLY: Duration = Duration::from_millis(10);

/// ssh asks nothing, says nothing of its own but errors, and notices that its connection is dead within 20 s.
const SSH: [&str; 11] = [
    "ssh",
    "-o",
    "BatchMode=yes",
    "-o",
    "LogLevel=ERROR",
    "-o",
    "ConnectTimeout=5",
    "-o",
    "ServerAliveInterval=5",
    "-o",
    "ServerAliveCountMax=3",
];

/// Why a command did not give an answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExecError {
    /// It cannot be run at all.
    #[error("cannot run '{program}': {why}")]
    NotRun {
        /// The first word of the command.
        program: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// It had not ended in time, and was killed.
    #[error("'{command}' did not end within {}", show_duration(*within))]
    Silent {
        /// The command.
        command: String,
        /// How long was waited.
        within: Duration,
    },
}

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The program and its arguments. No shell reads them, here or over ssh.
    pub argv: Vec<String>,
    /// Where it is run: what `ssh` takes for a host; None runs it on this machine.
    pub ssh: Option<String>,
    /// On a terminal of its own that controls it; else on a pipe, with nothing to read.
    pub pty: bool,
}

impl Spec {
    /// What is run on this machine in the end.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let Some(host) = &self.ssh else { return self.argv.clone() };
        let mut words: Vec<String> = SSH.map(str::to_owned).to_vec();
        if self.pty {
            // ^C, and our death, reach the command only through a terminal over there.
            words.push("-tt".into());
        }
        words.extend(["--".into(), host.clone()]);
        let quoted: Vec<String> = self.argv.iter().map(|word| quoted(word)).collect();
        words.push(format!("LC_ALL=C TERM=dumb exec {}", quoted.join(" ")));
        words
    }

    /// For people: the words as a shell would take them.
    #[must_use]
    pub fn shown(&self) -> String {
        let words: Vec<String> = self.argv.iter().map(|word| quoted(word)).collect();
        let at = self.ssh.as_ref().map(|host| format!(" (at {host})")).unwrap_or_default();
        visible(&format!("{}{at}", words.join(" "))).into_owned()
    }

    /// Starts it. Needs a runtime of tokio's.
    ///
    /// # Errors
    /// If there is no such program, or no process or terminal to be had.
    pub fn spawn(&self) -> Result<Process, ExecError> {
        self.launch(|command| if self.pty { pty::attach(command) } else { piped(command) })
    }

    /// Starts it once `prepare` has set what it reads and writes; that gives our end of its output.
    fn launch(&self, prepare: impl FnOnce(&mut Command) -> io::Result<OwnedFd>) -> Result<Process, ExecError> {
        let words = self.words();
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| ExecError::NotRun { program: String::new(), why: "the command has no words".into() })?;
        let fail = |why: String| ExecError::NotRun { program: visible(program).into_owned(), why };
        let mut command = Command::new(program);
        command.args(arguments).env("LC_ALL", "C").env("TERM", "dumb");
        let output = prepare(&mut command).map_err(|e| fail(e.to_string()))?;
        let terminal = if self.pty { Some(output.try_clone().map_err(|e| fail(e.to_string()))?) } else { None };
        let output = unblocked(output).map_err(|e| fail(e.to_string()))?;
        let mut command = tokio::process::Command::from(command);
        let child = command.kill_on_drop(true).spawn().map_err(|e| {
            fail(match e.kind() {
                io::ErrorKind::NotFound => "there is no such program; install it, or give its whole path".into(),
                _ => e.to_string(),
            })
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Process {
            control: Control { inner: Arc::new(Mutex::new(Inner { group, terminal })) },
            child,
            output,
            lines: Lines::default(),
            ready: VecDeque::new(),
            read: 0,
            heard: Instant::now(),
            open: true,
            ended: None,
        })
    }

    /// Runs it to its end and gives what it said. One that takes longer is killed.
    ///
    /// # Errors
    /// If it cannot be run, or has not ended in time.
    pub async fn answer(&self, within: Duration) -> Result<Answer, ExecError> {
        let mut process = self.spawn()?;
        let collected = async {
            let mut lines: Vec<String> = Vec::new();
            let mut room = ANSWER_LIMIT;
            loop {
                match process.next().await {
                    Step::Said(Piece { text, whole: true }) if text.len() <= room => {
                        room -= text.len();
                        lines.push(text);
                    }
                    Step::Said(_) => {}
                    Step::Ended(status) => return Answer { status, lines },
                }
            }
        };
        let silent = |_| ExecError::Silent { command: self.shown(), within };
        tokio::time::timeout(within, collected).await.map_err(silent)
    }
}

/// What a command said in all, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its lines, stdout and stderr as they came, filtered.
    pub lines: Vec<String>,
}

/// How a command ended, for people: `exit status 1`, `killed by SIGKILL`.
#[must_use]
pub fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {signal}"),
        },
        (None, None) => "ended".into(),
    }
}

/// What comes out of a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It said something.
    Said(Piece),
    /// It has ended, and all it said has been told.
    Ended(ExitStatus),
}

/// A command that runs. Dropped, it and whatever it has started in its process group is killed.
#[derive(Debug)]
pub struct Process {
    control: Control,
    child: Child,
    output: Receiver,
    lines: Lines,
    ready: VecDeque<Piece>,
    /// How much it has said, bytes.
    read: u64,
    /// When it said something last.
    heard: Instant,
    /// More output may come.
    open: bool,
    ended: Option<(ExitStatus, Instant)>,
}

impl Process {
    /// What gives it signals, also while it is read.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What it has said so far counts no more towards the limit of what is read: for a command that is to run on and
    /// on, and that is bounded otherwise.
    pub fn forgive(&mut self) {
        self.read = 0;
    }

    /// What comes next. Comes back at once when it has ended; may be dropped without loss.
    pub async fn next(&mut self) -> Step {
        let mut buffer = [0; 4096];
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Step::Said(piece);
            }
            if let (false, Some((status, _))) = (self.open, self.ended) {
                match self.lines.finish() {
                    Some(piece) => return Step::Said(piece),
                    None => return Step::Ended(status),
                }
            }
            let partial = self.lines.has_unshown().then(|| self.heard + PARTIAL_AFTER);
            let drained = self.ended.map(|(_, at)| at + DRAIN_WITHIN);
            tokio::select! {
                biased;
                n = self.output.read(&mut buffer), if self.open => {
                    // A terminal whose other end is closed is an error (EIO): no more will come.
                    let n = n.unwrap_or(0);
                    self.open = n > 0;
                    self.heard = Instant::now();
                    let before = self.read;
                    self.read = self.read.saturating_add(n as u64);
                    if self.read <= OUTPUT_LIMIT {
                        self.lines.push(&buffer[..n], &mut self.ready);
                        continue;
                    }
                    if before <= OUTPUT_LIMIT {
                        let text = format!("(it has said {} MiB: the rest is not read)", OUTPUT_LIMIT >> 20);
                        self.ready.push_back(Piece { text, whole: true });
                    }
                    tokio::time::sleep(SLOWLY).await;
                }
                status = self.child.wait(), if self.ended.is_none() => {
                    // A child that cannot be waited for is none of ours any more.
                    self.ended = Some((status.unwrap_or_default(), Instant::now()));
                    // What it has left behind in its group has no one to end it.
                    self.control.end();
                }
                () = at(partial), if partial.is_some() => {
                    if let Some(piece) = self.lines.partial() {
                        return Step::Said(piece);
                    }
                }
                () = at(drained), if self.open && drained.is_some() => self.open = false,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.control.end();
    }
}

/// Gives signals to a command and to whatever it has started in its process group.
#[derive(Debug, Clone)]
pub struct Control {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// None once it has been ended: the number may be another's by then.
    group: Option<Pid>,
    terminal: Option<OwnedFd>,
}

impl Control {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Types ^C at its terminal; without one, as [`Control::signal`] with SIGINT.
    ///
    /// # Errors
    /// If it has ended.
    pub fn interrupt(&self) -> io::Result<()> {
        let inner = self.inner();
        match (&inner.group, &inner.terminal) {
            (None, _) => Err(Errno::ESRCH.into()),
            (Some(_), Some(terminal)) => nix::unistd::write(terminal, &[0x03]).map(drop).map_err(io::Error::from),
            (Some(group), None) => killpg(*group, Signal::SIGINT).map_err(io::Error::from),
        }
    }

    /// Gives it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.inner().group {
            Some(group) => killpg(group, signal).map_err(io::Error::from),
            None => Err(Errno::ESRCH.into()),
        }
    }

    /// Whether it can still be given signals.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.inner().group.is_some()
    }

    /// Kills what there still is of it.
    fn end(&self) {
        let mut inner = self.inner();
        inner.terminal = None;
        if let Some(group) = inner.group.take() {
            // Nobody may be left, which is no fault.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// stdout and stderr on one pipe, so that their order is kept; nothing on stdin.
fn piped(command: &mut Command) -> io::Result<OwnedFd> {
    let (output, input) = io::pipe()?;
    command.stdin(Stdio::null()).stderr(input.try_clone()?).stdout(input).process_group(0);
    Ok(output.into())
}

/// Our end as something that can be waited for.
fn unblocked(fd: OwnedFd) -> io::Result<Receiver> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // Unchecked, since a terminal is no pipe; it is read as one.
    Receiver::from_owned_fd_unchecked(fd)
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// A word as a POSIX shell takes it unchanged.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
