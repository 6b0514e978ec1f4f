//! One QEMU of the lab: started, on the bridge, watched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::LabError;
use super::keeper::{Keeper, Process};
use super::links::Links;
use super::netns::BRIDGE;
use super::qemu::{Files, Machine};
use super::rundir::RunDir;
use crate::event::{Body, EventSink, HvEvent};

/// How long a QEMU may take from its start to its first word on QMP.
const GREETING: Duration = Duration::from_secs(20);
/// How long after its tap a dying QEMU may still be seen.
const GRACE: Duration = Duration::from_millis(500);

/// What others need to know of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInfo {
    /// `a` or `b`.
    pub name: String,
    /// Which QEMU of the lab this is, from 1; a fresh one has a new number.
    pub generation: u32,
    /// Its process.
    pub pid: u32,
    /// QMP socket for commands.
    pub qmp_commands: PathBuf,
    /// QMP socket for listening to events.
    pub qmp_events: PathBuf,
    /// QMP socket for whoever guards the guest against a controller that dies.
    pub qmp_guardian: PathBuf,
    /// Where it can take a migration in: for `migrate-incoming` here (it was started with
    /// `-incoming defer`) and for `migrate` at the source.
    pub incoming_uri: String,
    /// What the guest wrote to its serial line while it ran here.
    pub serial: PathBuf,
}

/// A running QEMU. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) info: HostInfo,
    pub(crate) files: Files,
    process: Process,
    expected: Arc<AtomicBool>,
}

/// What hosts are made with.
#[derive(Debug)]
pub(crate) struct Works {
    pub(crate) machine: Machine,
    pub(crate) keeper: Keeper,
    pub(crate) links: Links,
    pub(crate) sink: EventSink,
    // Last: its files go when nobody uses them any more.
    pub(crate) dir: RunDir,
}

impl Works {
    /// Starts a QEMU, puts it on the bridge and waits until it answers on QMP.
    pub(crate) async fn start(&self, name: &str, generation: u32, incoming: bool) -> Result<Host, LabError> {
        let key = format!("{name}{generation}");
        let files = Files::new(self.dir.path(), &key);
        let tap = format!("bo-{key}");
        let network = |why: String| LabError::Network { step: format!("tap of host {name}"), why };
        let device = super::tap::open(&tap).map_err(|e| network(format!("cannot make {tap}: {e}")))?;
        let command = self.machine.command(&files, device, incoming)?;
        let process = self.keeper.spawn(command).await.map_err(|e| LabError::NoQemu {
            program: self.machine.program.display().to_string(),
            why: e.to_string(),
            remedy: "see `blackout doctor`".into(),
        })?;
        self.dir.note(&key, process.pid)?;
        let info = HostInfo {
            name: name.into(),
            generation,
            pid: process.pid,
            qmp_commands: files.qmp("commands"),
            qmp_events: files.qmp("events"),
            qmp_guardian: files.qmp("guardian"),
            // The namespace is ours alone, so any port is free; one never used again tells late
            // comers apart.
            incoming_uri: format!("tcp:127.0.0.1:{}", 49152 + generation % 16384),
            serial: files.serial(),
        };
        let host = Host { info, files, process, expected: Arc::new(AtomicBool::new(false)) };
        let deadline = Instant::now() + GREETING;
        let given_up = || host.process.ended().is_some() || Instant::now() > deadline;
        if self.links.appears(&tap, given_up).await.map_err(network)? {
            match self.links.enslave(&tap, BRIDGE).await {
                Ok(()) => {}
                // If it went away with its QEMU, that one's last words say more.
                Err(why) => return Err(if host.ends_within(GRACE).await { host.died() } else { network(why) }),
            }
        }
        host.greeted(deadline).await?;
        Ok(host)
    }
}

impl Host {
    /// Whether it has ended.
    pub(crate) fn ended(&self) -> bool {
        self.process.ended().is_some()
    }

    async fn ends_within(&self, grace: Duration) -> bool {
        let mut exit = self.process.exit();
        timeout(grace, exit.wait_for(Option::is_some)).await.is_ok()
    }

    /// The error for a QEMU that ended when it should not have.
    pub(crate) fn died(&self) -> LabError {
        let how = self.process.ended().map_or_else(|| "still ending".into(), |s| s.to_string());
        LabError::Died { host: self.info.name.clone(), how, tail: self.files.tails() }
    }

    async fn greeted(&self, deadline: Instant) -> Result<(), LabError> {
        loop {
            // A QEMU that hangs takes the connection (the kernel does) and says nothing on it.
            if timeout_at(deadline, greets(&self.info.qmp_commands)).await.unwrap_or(false) {
                return Ok(());
            }
            if self.ended() {
                return Err(self.died());
            }
            if Instant::now() > deadline {
                return Err(LabError::Died {
                    host: self.info.name.clone(),
                    how: format!("it runs, but says nothing on QMP within {} s", GREETING.as_secs()),
                    tail: self.files.tails(),
                });
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// From now on the stream is told when it ends unasked.
    pub(crate) fn watch(&self, sink: EventSink) {
        let (mut exit, expected) = (self.process.exit(), Arc::clone(&self.expected));
        let (host, files) = (self.info.name.clone(), self.files.clone());
        tokio::spawn(async move {
            let Ok(status) = exit.wait_for(Option::is_some).await.map(|s| *s) else { return };
            if !expected.load(Ordering::Acquire) {
                let how = status.map_or_else(String::new, |s| s.to_string());
                let why = format!("its QEMU ended ({how}){}", files.tails());
                sink.emit(Body::Hypervisor(HvEvent::HostLost { host, why }));
            }
        });
    }

    /// Ends it in good order; nothing is told of it.
    pub(crate) async fn end(self) {
        self.expected.store(true, Ordering::Release);
        self.process.end(Duration::from_secs(3)).await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.expected.store(true, Ordering::Release);
    }
}

/// Whether a QEMU says its first line on this socket.
async fn greets(socket: &Path) -> bool {
    let Ok(stream) = UnixStream::connect(socket).await else { return false };
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line).await;
    read.is_ok() && line.starts_with("{\"QMP\"")
}

/// Whether something listens there.
pub(crate) async fn listens(addr: std::net::SocketAddr, patience: Duration) -> bool {
    matches!(timeout(patience, tokio::net::TcpStream::connect(addr)).await, Ok(Ok(_)))
}
