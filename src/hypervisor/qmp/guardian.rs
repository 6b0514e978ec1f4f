//! The guardian: a small process of its own that resumes a guest which blackout has stopped, if
//! blackout dies before doing so.
//!
//! It is this program again (`blackout internal-guardian --source QMP --dest QMP`), with a pipe
//! from the controller as its standard input. Before the guest is stopped the controller writes
//! [`ARM`]; when the guest is seen to run again it writes [`DONE`]. If the pipe ends while the
//! guardian is armed, it waits for the migration to end, resumes the guest at the destination if
//! the source says `completed` and at the source otherwise, and exits. If it finds both QEMUs gone
//! (as in the lab, where they die with the controller) it exits at once.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

use super::client::{Client, QmpError};
use super::endpoint::Endpoint;
use super::host::HostSpec;

/// The byte that arms a guardian: the guest is about to be stopped.
pub const ARM: u8 = b'a';
/// The byte that sends a guardian home: the guest is seen to.
pub const DONE: u8 = b'd';
/// The byte (ASCII ACK) a guardian answers with when it is ready.
pub const READY: u8 = 0x06;

/// How to start a guardian. The two addresses are appended as `--source QMP --dest QMP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardianCommand {
    /// The program.
    pub program: PathBuf,
    /// Arguments before the addresses.
    pub arguments: Vec<String>,
    /// Where the guardian writes what it did, appended as `--log FILE`.
    pub log: Option<PathBuf>,
}

impl GuardianCommand {
    /// This very program, even if its file has been replaced meanwhile.
    #[must_use]
    pub fn this_program() -> Self {
        Self { program: "/proc/self/exe".into(), arguments: vec!["internal-guardian".into()], log: None }
    }
}

/// The controller's hold on its guardian. Dropping it without [`Guardian::stand_down`] lets an
/// armed guardian act.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
    pipe: ChildStdin,
}

impl Guardian {
    /// Starts a guardian and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started or does not answer within 3 s.
    pub async fn start(command: &GuardianCommand, source: &HostSpec, destination: &HostSpec) -> std::io::Result<Self> {
        let mut c = Command::new(&command.program);
        c.args(&command.arguments);
        c.arg("--source").arg(source.guardian_endpoint().to_string());
        c.arg("--dest").arg(destination.guardian_endpoint().to_string());
        if let Some(log) = &command.log {
            c.arg("--log").arg(log);
        }
        c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = c.spawn()?;
        let none = || std::io::Error::other("it has no pipe");
        let pipe = child.stdin.take().ok_or_else(none)?;
        let mut out = child.stdout.take().ok_or_else(none)?;
        // A wrapper around the guardian may talk before it does, hence the search.
        let ready = async {
            while out.read_u8().await? != READY {}
            Ok::<(), std::io::Error>(())
        };
        match timeout(Duration::from_secs(3), ready).await {
            Ok(Ok(())) => Ok(Self { child, pipe }),
            Ok(Err(e)) => Err(std::io::Error::other(format!("it ended before it was ready: {e}"))),
            Err(_) => {
                let _ = child.kill().await;
                Err(std::io::Error::other("it was not ready within 3 s"))
            }
        }
    }

    /// From now on the guest may be stopped.
    ///
    /// # Errors
    /// When the guardian is gone.
    pub async fn arm(&mut self) -> std::io::Result<()> {
        self.pipe.write_all(&[ARM]).await?;
        self.pipe.flush().await
    }

    /// The guest is seen to: the guardian ends.
    pub async fn stand_down(mut self) {
        let _ = self.pipe.write_all(&[DONE]).await;
        drop(self.pipe);
        if timeout(Duration::from_secs(2), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// What the guardian sees of one end; None if its monitor cannot be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// `status` of `query-status`.
    pub guest: String,
    /// `status` of `query-migrate`, empty if it has none.
    pub migration: String,
}

/// What the guardian does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The migration goes on, or things may become clearer.
    Wait,
    /// Resume the guest at the destination.
    ResumeDestination,
    /// Resume the guest at the source.
    ResumeSource,
    /// The guest runs: nothing to do.
    Runs,
    /// Nothing is left to resume.
    Gone,
}

/// What to do about a guest that the dead controller had stopped at the source, or was about to.
#[must_use]
pub fn verdict(source: Option<&End>, destination: Option<&End>) -> Verdict {
    match (source, destination) {
        (_, Some(d)) if d.guest == "running" => Verdict::Runs,
        (None, None) => Verdict::Gone,
        // The source cannot be reached. We had stopped the guest there, so a destination that has
        // loaded everything may run it; one that has not never will.
        (None, Some(d)) if d.guest == "inmigrate" => Verdict::Wait,
        (None, Some(_)) => Verdict::ResumeDestination,
        (Some(s), _) if s.guest == "running" => Verdict::Runs,
        (Some(s), d) => match s.migration.as_str() {
            "completed" => match d {
                Some(d) if d.guest == "inmigrate" && d.migration == "failed" => Verdict::ResumeSource,
                Some(d) if d.guest == "inmigrate" => Verdict::Wait,
                Some(_) => Verdict::ResumeDestination,
                None => Verdict::ResumeSource,
            },
            "" | "none" | "failed" | "cancelled" => Verdict::ResumeSource,
            _ => Verdict::Wait,
        },
    }
}

/// How long the unclear (one end out of reach, or a guest that seems to run) must last before it
/// is believed: a monitor still held by a dying process, or a `stop` still on its way.
const BELIEF: Duration = Duration::from_secs(2);
/// The same for both ends being gone: a refused connection leaves little doubt.
const GONE_BELIEF: Duration = Duration::from_millis(200);
/// The same for a source out of reach while the destination still waits.
const LOST_BELIEF: Duration = Duration::from_secs(600);
/// The longest a guardian stays at its post.
const WATCH: Duration = Duration::from_secs(24 * 3600);
const LOOK: Duration = Duration::from_millis(20);

/// The guardian's whole life; the body of `blackout internal-guardian`. Says on standard output
/// that it is ready, reads its pipe on standard input, and acts if it must. `say` hears what is
/// done and why.
///
/// # Errors
/// When no runtime can be made.
pub fn serve(source: &Endpoint, destination: &Endpoint, say: &mut (dyn FnMut(String) + Send)) -> std::io::Result<()> {
    // A session of its own, so that neither Ctrl-C nor a closing terminal takes it along with the
    // controller. Fails only for a group leader, which has one already.
    let _ = nix::unistd::setsid();
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&[READY]).and_then(|()| out.flush());
    drop(out);
    let mut armed = false;
    for byte in std::io::stdin().lock().bytes() {
        match byte {
            Ok(ARM) => armed = true,
            Ok(DONE) => return Ok(()),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    if !armed {
        return Ok(());
    }
    say("the controller is gone and may have left the guest stopped".into());
    // On a thread of its own: whoever calls may be inside a runtime already, and a second one there
    // would be a panic in the one process that must not have any.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(rescue(source, destination, say));
            Ok(())
        });
        work.join().unwrap_or_else(|_| Err(std::io::Error::other("the guardian's thread ended in a panic")))
    })
}

/// A monitor that is connected to as often as needed.
struct Post<'a> {
    endpoint: &'a Endpoint,
    client: Option<Client>,
}

impl Post<'_> {
    async fn ask(&mut self) -> Result<End, QmpError> {
        if self.client.is_none() {
            let (c, _, _) = Client::connect(self.endpoint, Duration::from_secs(2), false).await?;
            self.client = Some(c);
        }
        let Some(client) = &self.client else { return Ok(End::default()) };
        let look = async {
            let guest = client.execute("query-status", Value::Null).await?;
            let migration = client.execute("query-migrate", Value::Null).await?;
            let word = |v: &Value| v["status"].as_str().unwrap_or_default().to_owned();
            Ok(End { guest: word(&guest), migration: word(&migration) })
        };
        let end = look.await;
        if end.is_err() {
            self.client = None;
        }
        end
    }

    async fn resume(&self) -> Result<(), QmpError> {
        match &self.client {
            Some(c) => c.execute("cont", Value::Null).await.map(drop),
            None => Ok(()),
        }
    }
}

/// Waits for the migration to end and resumes the guest where it belongs.
async fn rescue(source: &Endpoint, destination: &Endpoint, say: &mut (dyn FnMut(String) + Send)) {
    let mut s = Post { endpoint: source, client: None };
    let mut d = Post { endpoint: destination, client: None };
    let begun = Instant::now();
    let mut since: Option<(Verdict, bool, bool, Instant)> = None;
    let mut told = None;
    while begun.elapsed() < WATCH {
        let (at_source, at_destination) = (s.ask().await, d.ask().await);
        let (src, dst) = (at_source.as_ref().ok(), at_destination.as_ref().ok());
        let v = verdict(src, dst);
        if told != Some(v) {
            told = Some(v);
            say(format!("source {at_source:?}, destination {at_destination:?}: {v:?}"));
        }
        let key = (v, src.is_some(), dst.is_some());
        let held = match since {
            Some((a, b, c, t)) if (a, b, c) == key => t.elapsed(),
            _ => {
                since = Some((v, key.1, key.2, Instant::now()));
                Duration::ZERO
            }
        };
        let clear = src.is_some() && dst.is_some();
        match v {
            Verdict::Gone if held >= GONE_BELIEF => return,
            Verdict::Runs if held >= BELIEF => return,
            // A source that is gone while the destination still waits for the rest: the guest is lost.
            Verdict::Wait if src.is_none() && held >= LOST_BELIEF => return,
            Verdict::ResumeDestination if clear || held >= BELIEF => {
                report(say, "destination", d.resume().await);
            }
            Verdict::ResumeSource if clear || held >= BELIEF => report(say, "source", s.resume().await),
            _ => {}
        }
        sleep(LOOK).await;
    }
}

fn report(say: &mut (dyn FnMut(String) + Send), end: &str, result: Result<(), QmpError>) {
    match result {
        Ok(()) => say(format!("told the {end} to run the guest")),
        Err(e) => say(format!("the {end} does not run the guest: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(guest: &str, migration: &str) -> Option<End> {
        Some(End { guest: guest.into(), migration: migration.into() })
    }

    #[test]
    fn the_guest_is_resumed_where_it_belongs_and_nowhere_else() {
        for (source, destination, want) in [
            (end("paused", "active"), end("inmigrate", "active"), Verdict::Wait),
            (end("paused", "device"), end("paused", "completed"), Verdict::Wait),
            (end("paused", "never-heard-of"), end("inmigrate", ""), Verdict::Wait),
            (end("postmigrate", "completed"), end("inmigrate", "active"), Verdict::Wait),
            (end("postmigrate", "completed"), end("paused", "completed"), Verdict::ResumeDestination),
            (end("postmigrate", "completed"), end("running", "completed"), Verdict::Runs),
            (end("postmigrate", "completed"), None, Verdict::ResumeSource),
            (end("paused", "failed"), None, Verdict::ResumeSource),
            (end("paused", "cancelled"), end("inmigrate", "failed"), Verdict::ResumeSource),
            (end("paused", "none"), end("inmigrate", ""), Verdict::ResumeSource),
            (end("running", "active"), end("inmigrate", "active"), Verdict::Runs),
            (None, end("paused", "completed"), Verdict::ResumeDestination),
            (None, end("inmigrate", "active"), Verdict::Wait),
            (None, None, Verdict::Gone),
        ] {
            assert_eq!(verdict(source.as_ref(), destination.as_ref()), want, "{source:?} {destination:?}");
        }
    }
}
