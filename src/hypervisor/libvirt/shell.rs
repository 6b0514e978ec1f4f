//! A `virsh` shell that stays open: one command at a time, an answer to each, and no wait without an end.

use std::time::Duration;

use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::answer::{Answer, PROMPTS};
use super::config::asking_nothing;
use crate::hypervisor::exec::{ExecError, Pen, Process, Spec, Step, ending};
use crate::text::capped;
use crate::units::show_duration;

/// How much of one answer is kept, bytes; the longest that is asked for has about 1 KB.
const ANSWER_LIMIT: usize = 64 << 10;
/// An answer that was given up is waited for so long before the shell is replaced.
const STUCK: Duration = Duration::from_secs(30);
/// Between two attempts to start a shell that ends at once: the first, and the longest.
const AGAIN: Duration = Duration::from_millis(200);
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);

/// The words that run `virsh` for a host. It notices within 4 s that its daemon hangs (measured; without `-k` and
/// `-K` after 35 s).
pub(super) fn virsh(uri: &str, command: &[&str]) -> Vec<String> {
    let uri = asking_nothing(uri);
    let all = ["virsh", "-q", "-k", "1", "-K", "3", "-c", &uri];
    all.iter().chain(command).map(|word| (*word).to_owned()).collect()
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Unanswered {
    /// virsh cannot be run.
    #[error("{0}")]
    NotRun(#[from] ExecError),
    /// It has ended, or is not started again yet, and what it said last.
    #[error("{0}")]
    Ended(String),
    /// Not in time.
    #[error("no answer within {}", show_duration(*.0))]
    Silent(Duration),
}

/// A `virsh` shell for one host. It is started when it is first asked, and again when it has ended.
#[derive(Debug)]
pub(super) struct Shell {
    uri: String,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    talk: Option<Talk>,
    /// Why it ended last, and how often it has ended without an answer since the last one.
    why: String,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Talk {
    process: Process,
    pen: Pen,
    n: u64,
    /// The command whose answer was given up, and when it was given.
    owed: Option<(u64, Instant)>,
}

impl Shell {
    pub(super) fn new(uri: &str) -> Self {
        Self { uri: uri.to_owned(), inner: Mutex::default() }
    }

    /// Gives a command, and waits for its answer. May be dropped: its answer is passed over by the next one.
    pub(super) async fn ask(&self, command: &str, within: Duration) -> Result<Answer, Unanswered> {
        timeout(within, self.asked(command)).await.unwrap_or(Err(Unanswered::Silent(within)))
    }

    /// Ends it.
    pub(super) async fn close(&self) {
        self.inner.lock().await.talk = None;
    }

    async fn asked(&self, command: &str) -> Result<Answer, Unanswered> {
        let mut inner = self.inner.lock().await;
        inner.begin(&self.uri)?;
        let Some(talk) = &mut inner.talk else { return Err(Unanswered::Ended(inner.why.clone())) };
        match talk.ask(command).await {
            Ok(lines) => {
                (inner.failures, inner.not_before) = (0, None);
                Ok(Answer::new(lines, command))
            }
            Err(why) => {
                inner.talk = None;
                inner.failed(why.clone());
                Err(Unanswered::Ended(why))
            }
        }
    }
}

impl Inner {
    /// Starts it if it does not run, and may be started already.
    fn begin(&mut self, uri: &str) -> Result<(), Unanswered> {
        if self.talk.as_ref().is_some_and(|talk| talk.owed.is_some_and(|(_, at)| at.elapsed() > STUCK)) {
            self.talk = None;
        }
        if self.talk.is_some() {
            return Ok(());
        }
        if self.not_before.is_some_and(|then| Instant::now() < then) {
            return Err(Unanswered::Ended(self.why.clone()));
        }
        let spec = Spec { argv: virsh(uri, &[]), ssh: None, pty: false };
        match spec.converse() {
            Ok((process, pen)) => self.talk = Some(Talk { process, pen, n: 0, owed: None }),
            Err(e) => {
                self.failed(e.to_string());
                return Err(e.into());
            }
        }
        Ok(())
    }

    fn failed(&mut self, why: String) {
        let pause = AGAIN.saturating_mul(1 << self.failures.min(8)).min(AGAIN_AT_MOST);
        self.failures = self.failures.saturating_add(1);
        (self.why, self.not_before) = (why, Some(Instant::now() + pause));
    }
}

impl Talk {
    /// The lines of the answer to this command; an error is why virsh has ended.
    async fn ask(&mut self, command: &str) -> Result<Vec<String>, String> {
        if let Some((n, _)) = self.owed {
            self.read(n).await?;
        }
        self.n += 1;
        let n = self.n;
        // From before it is written: it may be dropped in the middle.
        self.owed = Some((n, Instant::now()));
        // `echo` writes no line break; the empty command behind it has readline write one.
        let written = self.pen.write(&format!("{command}\necho @{n}@\n\n")).await;
        match self.read(n).await {
            Ok(lines) => Ok(lines),
            // What it said at its end says more than that nobody reads.
            Err(why) if why.is_empty() => Err(written.err().map_or(why, |e| e.to_string())),
            Err(why) => Err(why),
        }
    }

    /// Reads up to the mark behind answer `n`.
    async fn read(&mut self, n: u64) -> Result<Vec<String>, String> {
        let mark = format!("@{n}@");
        self.process.forgive();
        let (mut lines, mut room) = (Vec::new(), ANSWER_LIMIT);
        loop {
            match self.process.next().await {
                Step::Said(piece) if bare(&piece.text).starts_with(&mark) => {
                    self.owed = None;
                    return Ok(lines);
                }
                Step::Said(piece) if piece.whole && piece.text.len() <= room => {
                    room -= piece.text.len();
                    lines.push(match bare(&piece.text) {
                        marked if marked.starts_with('@') => after_mark(marked).to_owned(),
                        _ => piece.text,
                    });
                }
                Step::Said(_) => {}
                Step::Ended(status) => {
                    let errors: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("error: ")).collect();
                    return Err(match errors.is_empty() {
                        true => format!("virsh ended ({})", ending(status)),
                        false => capped(&errors.join(": "), 500).into_owned(),
                    });
                }
            }
        }
    }
}

/// A line behind the prompts before it: without readline nothing else parts them.
fn bare(line: &str) -> &str {
    let mut line = line;
    while let Some(behind) = PROMPTS.iter().find_map(|prompt| line.strip_prefix(prompt)) {
        line = behind;
    }
    line
}

/// A line behind the mark of the answer before: without readline no line break parts them.
fn after_mark(line: &str) -> &str {
    let behind = line.strip_prefix('@').and_then(|rest| rest.split_once('@'));
    match behind.filter(|(n, _)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
        Some((_, rest)) => bare(rest),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that says what a virsh with readline says.
    fn talk(script: &str) -> Talk {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let (process, pen) = Spec { argv, ssh: None, pty: false }.converse().unwrap();
        Talk { process, pen, n: 0, owed: None }
    }

    const ECHOES: &str = r#"while read -r line; do printf 'virsh # %s\n' "$line"; case $line in
        echo*) printf '%s' "${line#echo }";;
        slow) sleep 0.4; echo late;;
        '') ;;
        die) echo 'error: Disconnected' >&2; exit 1;;
        *) echo "is $line";;
    esac; done"#;

    #[tokio::test]
    async fn each_command_gets_its_own_answer_also_after_one_that_was_given_up() {
        let mut talk = talk(ECHOES);
        let lines = talk.ask("one").await.unwrap();
        assert_eq!(Answer::new(lines, "one").line(), Some("is one"));
        assert!(timeout(Duration::from_millis(100), talk.ask("slow")).await.is_err());
        for command in ["two", "three"] {
            let lines = timeout(Duration::from_secs(20), talk.ask(command)).await.unwrap().unwrap();
            assert_eq!(Answer::new(lines, command).line(), Some(format!("is {command}").as_str()));
        }
        assert_eq!(timeout(Duration::from_secs(20), talk.ask("die")).await.unwrap(), Err("Disconnected".into()));
    }

    #[tokio::test]
    async fn without_readline_the_mark_is_found_as_well() {
        let script = r#"printf 'virsh # '; while read -r line; do case $line in
            echo*) printf '%s' "${line#echo }";; '') ;; *) echo "is $line";; esac; printf 'virsh # '; done"#;
        let mut talk = talk(script);
        for command in ["one", "two"] {
            let lines = timeout(Duration::from_secs(20), talk.ask(command)).await.unwrap().unwrap();
            assert_eq!(Answer::new(lines, command).line(), Some(format!("is {command}").as_str()));
        }
    }

    #[tokio::test]
    async fn a_host_that_is_not_there_is_not_asked_again_and_again() {
        let shell = Shell::new("qemu+unix:///system?socket=/nonexistent/blackout");
        let first = shell.ask("hostname", Duration::from_secs(20)).await.unwrap_err();
        let begun = Instant::now();
        assert_eq!(shell.ask("hostname", Duration::from_secs(20)).await, Err(first));
        assert!(begun.elapsed() < AGAIN);
    }
}
