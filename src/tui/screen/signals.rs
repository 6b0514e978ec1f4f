//! Signals that concern a screen, heard on a thread of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Hears SIGTERM, SIGHUP and SIGINT, which end the screen, and SIGCONT, which gives it back its
/// terminal, for as long as this lives.
pub(crate) struct Signals {
    continued: Arc<AtomicBool>,
    done: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Begins to listen; `stop` is raised by what ends the screen.
    pub(crate) fn listen(stop: Arc<AtomicBool>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("signals cannot be listened to")?;
        let inside = runtime.enter();
        let mut term = signal(SignalKind::terminate())?;
        let mut hup = signal(SignalKind::hangup())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut cont = signal(SignalKind::from_raw(nix::libc::SIGCONT))?;
        drop(inside);
        let continued = Arc::new(AtomicBool::new(false));
        let goes_on = Arc::clone(&continued);
        let (done, mut over) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("tui-signals".into()).spawn(move || {
            runtime.block_on(async move {
                loop {
                    tokio::select! {
                        _ = term.recv() => stop.store(true, Ordering::Relaxed),
                        _ = hup.recv() => stop.store(true, Ordering::Relaxed),
                        _ = int.recv() => stop.store(true, Ordering::Relaxed),
                        _ = cont.recv() => goes_on.store(true, Ordering::Relaxed),
                        _ = &mut over => break,
                    }
                }
            });
        })?;
        Ok(Self { continued, done: Some(done), thread: Some(thread) })
    }

    /// Whether the process has been told to go on since the last call.
    pub(crate) fn continued(&self) -> bool {
        self.continued.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Dropping the sender ends the listener.
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
