//! The guardian: a small process of its own that finishes what blackout owes a guest and its hosts, if
//! blackout dies before doing so itself: it resumes a guest that blackout has stopped, and puts back
//! the settings that blackout has changed.
//!
//! It is this program again (`blackout internal-guardian --source QMP --dest QMP`), with a pipe from
//! the controller as its standard input. The controller writes its [`Duty`] as one line of JSON
//! whenever that changes, always before the command that makes it so, and [`DONE`] when nothing is
//! owed any more. If the pipe ends before that, the guardian waits for the migration to end, resumes
//! the guest where it is known to stand ([`verdict`]), gives both hosts their former settings, and
//! exits. If it finds both QEMUs ended (as in the lab, where they die with the controller) it exits at
//! once.
//!
//! A guardian that dies is noticed, told, and started anew with the same duty ([`Guardian::start`]).

mod serve;
mod verdict;

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use serve::serve;
pub use verdict::{End, Sight, Verdict, verdict};

use super::endpoint::HostSpec;
use super::former::Former;
use crate::event::Level;
use crate::hypervisor::Side;

/// The line that sends a guardian home: nothing is owed any more.
pub const DONE: &str = "done";
/// The byte (ASCII ACK) a guardian answers with when it is ready.
pub const READY: u8 = 0x06;
/// The longest line of duty a guardian reads, bytes.
const DUTY_LIMIT: usize = 1 << 20;
/// How often a guardian that dies is started anew for one migration.
const RESTARTS: u32 = 5;

/// What blackout owes a guest and its two hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Duty {
    /// The guest is about to be stopped, or was.
    pub armed: bool,
    /// The source has confirmed that it stopped the guest, before the migration was complete: it
    /// arrives at the destination standing still.
    pub stopped: bool,
    /// The destination was told to run the guest.
    pub told: bool,
    /// Post-copy was asked for: the source must not run the guest any more.
    pub post_copy: bool,
    /// What the source had before blackout changed it.
    pub source: Former,
    /// What the destination had before blackout changed it.
    pub destination: Former,
}

impl Duty {
    /// Whether nothing is owed.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        !self.armed && self.source.is_empty() && self.destination.is_empty()
    }
}

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

    fn for_hosts(&self, source: &HostSpec, destination: &HostSpec) -> Starter {
        let mut arguments = self.arguments.clone();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("--source", source.guardian_endpoint().to_string());
        add("--dest", destination.guardian_endpoint().to_string());
        for (name, pid) in [("--source-pid", source.pid), ("--dest-pid", destination.pid)] {
            if let Some(pid) = pid {
                add(name, pid.to_string());
            }
        }
        if let Some(log) = &self.log {
            add("--log", log.display().to_string());
        }
        Starter { program: self.program.clone(), arguments }
    }
}

/// What a guardian's process is started with.
struct Starter {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Starter {
    async fn start(&self) -> std::io::Result<Process> {
        let mut c = Command::new(&self.program);
        c.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
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
            Ok(Ok(())) => Ok(Process { child, pipe }),
            Ok(Err(e)) => Err(std::io::Error::other(format!("it ended before it was ready: {e}"))),
            Err(_) => {
                let _ = child.kill().await;
                Err(std::io::Error::other("it was not ready within 3 s"))
            }
        }
    }
}

/// A running guardian.
struct Process {
    child: Child,
    pipe: ChildStdin,
}

impl Process {
    async fn tell(&mut self, line: &str) -> std::io::Result<()> {
        self.pipe.write_all(format!("{line}\n").as_bytes()).await?;
        self.pipe.flush().await
    }
}

/// What the controller asks of the task that keeps its guardian.
enum Order {
    Change(Box<dyn FnOnce(&mut Duty) + Send>, oneshot::Sender<std::io::Result<()>>),
    Done(oneshot::Sender<()>),
}

/// Hears what becomes of a guardian.
pub type Say = Box<dyn Fn(Level, String) + Send + Sync>;

/// The controller's hold on its guardian. Dropping it without [`Guardian::stand_down`] lets the guardian
/// act as if the controller had died.
#[derive(Debug)]
pub struct Guardian {
    orders: mpsc::UnboundedSender<Order>,
}

/// A way to tell a guardian that does not keep it from acting when its [`Guardian`] is dropped.
#[derive(Debug, Clone)]
pub struct Handle {
    orders: mpsc::WeakUnboundedSender<Order>,
}

fn gone() -> std::io::Error {
    std::io::Error::other("it has ended")
}

async fn change(
    orders: &mpsc::UnboundedSender<Order>,
    f: impl FnOnce(&mut Duty) + Send + 'static,
) -> std::io::Result<()> {
    let (tx, heard) = oneshot::channel();
    orders.send(Order::Change(Box::new(f), tx)).map_err(|_| gone())?;
    heard.await.map_err(|_| gone())?
}

impl Handle {
    /// What `side` had before it was changed, all of it.
    pub(super) async fn remember(&self, side: Side, former: Former) -> std::io::Result<()> {
        let orders = self.orders.upgrade().ok_or_else(gone)?;
        change(&orders, move |duty| match side {
            Side::Source => duty.source = former,
            Side::Destination => duty.destination = former,
        })
        .await
    }
}

impl Guardian {
    /// Starts a guardian and waits until it is ready. Should it die, `say` hears of it, and as long as
    /// anything is owed it is started anew with the same duty.
    ///
    /// # Errors
    /// When it cannot be started or does not answer within 3 s.
    pub async fn start(
        command: &GuardianCommand,
        source: &HostSpec,
        destination: &HostSpec,
        say: Say,
    ) -> std::io::Result<Self> {
        let starter = command.for_hosts(source, destination);
        let process = starter.start().await?;
        let (orders, inbox) = mpsc::unbounded_channel();
        tokio::spawn(keep(starter, process, inbox, say));
        Ok(Self { orders })
    }

    /// A way to tell it what was changed.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { orders: self.orders.downgrade() }
    }

    /// Changes what is owed. Returns once the guardian has been told.
    ///
    /// # Errors
    /// When the guardian is gone and could not be started anew.
    pub async fn owe(&self, f: impl FnOnce(&mut Duty) + Send + 'static) -> std::io::Result<()> {
        change(&self.orders, f).await
    }

    /// Nothing is owed any more: the guardian ends.
    pub async fn stand_down(self) {
        let (tx, ended) = oneshot::channel();
        if self.orders.send(Order::Done(tx)).is_ok() {
            let _ = ended.await;
        }
    }
}

/// Keeps a guardian alive and informed until it is sent home. If the controller lets go of it without
/// that, the pipe ends and the guardian acts.
async fn keep(starter: Starter, process: Process, mut orders: mpsc::UnboundedReceiver<Order>, say: Say) {
    let (mut process, mut duty, mut restarts) = (Some(process), Duty::default(), 0);
    loop {
        let order = tokio::select! {
            status = died(process.as_mut()) => {
                say(Level::Error, format!("the guardian has died ({})", how(status)));
                process = renew(&starter, &duty, &mut restarts, &say).await;
                continue;
            }
            order = orders.recv() => order,
        };
        match order {
            None => return,
            Some(Order::Done(ended)) => {
                if let Some(mut p) = process.take() {
                    let _ = p.tell(DONE).await;
                    drop(p.pipe);
                    if timeout(Duration::from_secs(2), p.child.wait()).await.is_err() {
                        let _ = p.child.kill().await;
                    }
                }
                let _ = ended.send(());
                return;
            }
            Some(Order::Change(f, heard)) => {
                f(&mut duty);
                let mut told = tell(process.as_mut(), &duty).await;
                if told.is_err() && process.is_some() {
                    // It died this very moment.
                    say(Level::Error, "the guardian has died".into());
                    process = renew(&starter, &duty, &mut restarts, &say).await;
                    told = if process.is_some() { Ok(()) } else { Err(gone()) };
                }
                let _ = heard.send(told);
            }
        }
    }
}

async fn died(process: Option<&mut Process>) -> std::io::Result<ExitStatus> {
    match process {
        Some(p) => p.child.wait().await,
        None => std::future::pending().await,
    }
}

fn how(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|e| e.to_string(), |s| s.to_string())
}

async fn tell(process: Option<&mut Process>, duty: &Duty) -> std::io::Result<()> {
    let Some(process) = process else { return Err(gone()) };
    let line = serde_json::to_string(duty).map_err(std::io::Error::other)?;
    process.tell(&line).await
}

/// Another guardian in the place of one that died, with the same duty.
async fn renew(starter: &Starter, duty: &Duty, restarts: &mut u32, say: &Say) -> Option<Process> {
    let by_hand = "if blackout dies now, resume the guest and put the hosts' former settings back by hand";
    let mut why = String::new();
    while *restarts < RESTARTS {
        *restarts += 1;
        let started = match starter.start().await {
            Ok(mut process) => tell(Some(&mut process), duty).await.map(|()| process),
            Err(e) => Err(e),
        };
        match started {
            Ok(process) => {
                say(Level::Warn, "another guardian has taken its place".into());
                return Some(process);
            }
            Err(e) => why = format!(" ({e})"),
        }
    }
    say(Level::Error, format!("it was started {restarts} times and is not started again{why}: {by_hand}"));
    None
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Said = Arc<Mutex<Vec<String>>>;

    async fn start(script: &str) -> (std::io::Result<Guardian>, Said) {
        let said = Said::default();
        let heard = Arc::clone(&said);
        let command = GuardianCommand { program: "sh".into(), arguments: vec!["-c".into(), script.into()], log: None };
        let spec = HostSpec::parse("a", "/run/no/such/socket").unwrap();
        let say: Say = Box::new(move |_, text| heard.lock().unwrap().push(text));
        (Guardian::start(&command, &spec, &spec, say).await, said)
    }

    async fn until(said: &Said, what: &str, n: usize) {
        let begun = std::time::Instant::now();
        while said.lock().unwrap().iter().filter(|t| t.contains(what)).count() < n {
            assert!(begun.elapsed() < Duration::from_secs(20), "'{what}' not said {n} times: {said:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn one_that_dies_is_noticed_and_another_gets_the_same_duty() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("duty");
        // The first one dies as soon as it has its duty; the second one writes down what it is told.
        let script = format!(
            "printf '\\006'; read -r line; [ -e {f} ] || {{ : >{f}; exit 3; }}; echo \"$line\" >>{f}; cat >/dev/null",
            f = file.display()
        );
        let (guardian, said) = start(&script).await;
        let guardian = guardian.unwrap();
        guardian.owe(|duty| duty.armed = true).await.unwrap();
        until(&said, "another guardian has taken its place", 1).await;
        until(&said, "the guardian has died", 1).await;
        let begun = std::time::Instant::now();
        let duty = loop {
            let text = std::fs::read_to_string(&file).unwrap();
            if let Some(line) = text.lines().next() {
                break serde_json::from_str::<Duty>(line).unwrap();
            }
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(duty.armed && !duty.is_nothing());
        guardian.stand_down().await;
    }

    #[tokio::test]
    async fn one_that_always_dies_is_given_up() {
        let (guardian, said) = start("printf '\\006'; exit 1").await;
        let guardian = guardian.unwrap();
        until(&said, "is not started again", 1).await;
        assert!(guardian.owe(|duty| duty.armed = true).await.is_err());
        guardian.stand_down().await;
        let (guardian, _) = start("exit 1").await;
        assert!(guardian.unwrap_err().to_string().contains("before it was ready"));
    }
}
