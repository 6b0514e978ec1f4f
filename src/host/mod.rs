//! CPU of the machine blackout runs on, and of the hypervisors there: a source of [`HostEvent`]s.
//!
//! A thread of its own looks once an interval and sleeps in between. It asks for the CPU total and
//! for the hypervisors' processes alone, never for all there are.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use thiserror::Error;

use crate::event::{Body, EventSink, HostEvent};

/// Usual distance of two looks.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);
/// Shortest distance: the kernel counts CPU time in ticks of some milliseconds.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(200);

/// Why this machine's CPU cannot be watched.
#[derive(Debug, Error)]
pub(crate) enum HostError {
    /// The system's statistics cannot be read.
    #[error("the CPU of this machine cannot be watched: {0}; is /proc mounted?")]
    Statistics(String),
    /// No thread for it.
    #[error("cannot start the thread that watches this machine's CPU: {0}")]
    Thread(std::io::Error),
}

/// The source at work. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Watches this machine's CPU, and that of the processes that `hypervisors` names whenever it is
/// asked: name of the host, process. They may come and go. The first event comes with the second
/// look, since a share needs two.
///
/// # Errors
/// When the system's statistics cannot be read or a thread cannot be started.
pub(crate) fn watch(
    sink: EventSink,
    hypervisors: impl Fn() -> Vec<(String, u32)> + Send + 'static,
    interval: Duration,
) -> Result<Watch, HostError> {
    let interval = interval.max(MIN_INTERVAL);
    let mut looker = Looker::new()?;
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::Builder::new().name("host-cpu".into()).spawn(move || {
        let mut due = Instant::now();
        loop {
            if let Some(event) = looker.look(&hypervisors()) {
                sink.emit(Body::Host(event));
            }
            due = (due + interval).max(Instant::now());
            let wait = due.saturating_duration_since(Instant::now());
            if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    });
    Ok(Watch { stop: Some(stop), thread: Some(thread.map_err(HostError::Thread)?) })
}

struct Looker {
    system: System,
    /// Looks so far.
    looks: u64,
    /// Processes as of the look before: one seen for the first time has no share yet.
    known: Vec<(u32, u64)>,
}

impl Looker {
    fn new() -> Result<Self, HostError> {
        let system = System::new().map_err(|e| HostError::Statistics(e.to_string()))?;
        Ok(Self { system, looks: 0, known: Vec::new() })
    }

    /// Looks; None at the first time.
    fn look(&mut self, hypervisors: &[(String, u32)]) -> Option<HostEvent> {
        self.system.refresh_cpu_usage();
        let pids: Vec<Pid> = hypervisors.iter().map(|(_, pid)| Pid::from_u32(*pid)).collect();
        let kind = ProcessRefreshKind::nothing().with_cpu().without_tasks();
        // Also without any, so that those which are gone are let go.
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, kind);
        let mut seen = Vec::with_capacity(hypervisors.len());
        let mut shares = Vec::with_capacity(hypervisors.len());
        for (host, pid) in hypervisors {
            let Some(process) = self.system.process(Pid::from_u32(*pid)) else { continue };
            // Its start tells it from another process of the same number.
            let this = (*pid, process.start_time());
            if self.known.contains(&this) {
                shares.push((host.clone(), rounded(process.cpu_usage())));
            }
            seen.push(this);
        }
        self.known = seen;
        self.looks += 1;
        (self.looks > 1).then(|| HostEvent { cpu_pct: rounded(self.system.global_cpu_usage()), hypervisors: shares })
    }
}

/// To a hundredth of a percent, finer than the kernel counts.
fn rounded(pct: f32) -> f64 {
    if pct.is_finite() { (f64::from(pct.max(0.0)) * 100.0).round() / 100.0 } else { 0.0 }
}

#[cfg(test)]
mod tests;
