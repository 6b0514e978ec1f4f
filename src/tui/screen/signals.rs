//! Signals that concern a screen. Each only raises a flag: no thread is needed to hear it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use nix::libc::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
use signal_hook::SigId;
use signal_hook::low_level::unregister;

/// Hears SIGTERM, SIGHUP and SIGINT, which end the screen, and SIGCONT, which gives it back its
/// terminal, for as long as this lives.
pub(crate) struct Signals {
    continued: Arc<AtomicBool>,
    heard: Vec<SigId>,
}

impl Signals {
    /// Begins to listen; `stop` is raised by what ends the screen.
    pub(crate) fn listen(stop: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        let mut signals = Self { continued: Arc::default(), heard: Vec::new() };
        let continued = Arc::clone(&signals.continued);
        for (signal, flag) in [(SIGTERM, stop), (SIGHUP, stop), (SIGINT, stop), (SIGCONT, &continued)] {
            let id = signal_hook::flag::register(signal, Arc::clone(flag)).context("signals cannot be listened to")?;
            signals.heard.push(id);
        }
        Ok(signals)
    }

    /// Whether the process has been told to go on since the last call.
    pub(crate) fn continued(&self) -> bool {
        self.continued.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.heard.drain(..) {
            unregister(id);
        }
    }
}
