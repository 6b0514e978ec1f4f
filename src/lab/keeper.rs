//! Children that cannot outlive this process, however it ends.
//!
//! The kernel sends a parent-death signal when the *thread* that made the child ends, so one
//! long-lived thread makes them all. Each child has a thread that waits for it by its pid; it
//! looks before it reaps, so that a kill never hits a pid used again.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getppid};
use tokio::sync::{oneshot, watch};

type Reply = oneshot::Sender<io::Result<Process>>;

/// The thread that makes the children. Dropping it ends the thread, and with it every child.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    jobs: Sender<(Command, Reply)>,
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, inbox) = channel::<(Command, Reply)>();
        thread::Builder::new().name("qemu-keeper".into()).spawn(move || {
            while let Ok((command, reply)) = inbox.recv() {
                let _ = reply.send(spawn(command));
            }
        })?;
        Ok(Self { jobs })
    }

    /// Runs a command. The child is killed when this process ends, or drops the [`Process`].
    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Process> {
        let gone = || io::Error::other("the thread that starts processes is gone");
        let (reply, answer) = oneshot::channel();
        self.jobs.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[allow(unsafe_code)]
fn spawn(mut command: Command) -> io::Result<Process> {
    let parent = Pid::this();
    // Its own process group: a Ctrl-C at the terminal is ours to deal with, not QEMU's.
    command.process_group(0);
    let tie = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above: then no signal would ever come.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: between fork and exec the closure makes two system calls, allocates nothing and
    // takes no lock.
    unsafe { command.pre_exec(tie) };
    let child = command.spawn()?;
    let pid = child.id();
    let (tx, exit) = watch::channel(None);
    let reaped = Arc::new(Mutex::new(false));
    let waiter = Arc::clone(&reaped);
    thread::Builder::new().name(format!("wait-{pid}")).spawn(move || wait(child, &waiter, &tx))?;
    Ok(Process { pid, exit, reaped })
}

fn wait(mut child: Child, reaped: &Mutex<bool>, tx: &watch::Sender<Option<ExitStatus>>) {
    let id = || Id::Pid(Pid::from_raw(child.id() as i32));
    while waitid(id(), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
    *reaped = true;
    // A child that somebody else has reaped counts as ended too.
    let _ = tx.send(Some(child.wait().unwrap_or_default()));
}

/// A child of the [`Keeper`]'s. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    exit: watch::Receiver<Option<ExitStatus>>,
    reaped: Arc<Mutex<bool>>,
}

impl Process {
    /// How it ended; None while it runs.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Something to wait for its end with.
    pub(crate) fn exit(&self) -> watch::Receiver<Option<ExitStatus>> {
        self.exit.clone()
    }

    /// Sends a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            let _ = kill(Pid::from_raw(self.pid as i32), signal);
        }
    }

    /// Asks it to end, and makes it end when it has not after `patience`.
    pub(crate) async fn end(&self, patience: Duration) {
        let mut exit = self.exit();
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            self.signal(signal);
            if tokio::time::timeout(patience, exit.wait_for(Option::is_some)).await.is_ok() {
                return;
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        // Long enough for the kernel to take it down, so that its tap and sockets are gone too.
        let until = Instant::now() + Duration::from_secs(2);
        while self.ended().is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::rundir::start_time;

    fn sleeper() -> Command {
        let mut c = Command::new("sleep");
        c.arg("60");
        c
    }

    #[tokio::test]
    async fn an_end_is_told_with_its_status() {
        let keeper = Keeper::start().unwrap();
        let mut sh = Command::new("sh");
        sh.args(["-c", "exit 7"]);
        let p = keeper.spawn(sh).await.unwrap();
        let status = p.exit().wait_for(Option::is_some).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(7));
        p.signal(Signal::SIGKILL); // must hit nobody
        assert!(keeper.spawn(Command::new("/no/such/program")).await.is_err());
    }

    #[tokio::test]
    async fn dropping_a_process_ends_it() {
        let keeper = Keeper::start().unwrap();
        let p = keeper.spawn(sleeper()).await.unwrap();
        let (pid, exit) = (p.pid, p.exit());
        assert!(start_time(pid).is_some());
        drop(p);
        assert!(exit.borrow().is_some());
        assert_eq!(start_time(pid), None);
    }

    #[tokio::test]
    async fn no_child_outlives_the_thread_that_made_it() {
        let keeper = Keeper::start().unwrap();
        let p = keeper.spawn(sleeper()).await.unwrap();
        // The thread ends, as it would with the process.
        drop(keeper);
        let mut exit = p.exit();
        let status = exit.wait_for(Option::is_some).await.unwrap().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[tokio::test]
    async fn the_deaf_are_killed() {
        let keeper = Keeper::start().unwrap();
        let mut sh = Command::new("sh");
        sh.args(["-c", "trap '' TERM; while :; do sleep 0.05; done"]);
        let p = keeper.spawn(sh).await.unwrap();
        p.end(Duration::from_millis(200)).await;
        assert!(p.ended().is_some_and(|s| !s.success()));
    }
}
