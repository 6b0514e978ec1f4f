//! Reads keys and the mouse on a thread of its own.
//!
//! The library that reads them waits for the rest of an escape sequence that has only begun (Alt-[ is
//! one), and tries for ever where the terminal is hung up. Neither may keep the screen from being
//! drawn, or a signal from ending it.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::crossterm::event::{self, Event};

use super::in_foreground;

/// How often the thread looks whether it is still wanted, and whether the terminal has another size.
const LOOK: u8 = 100;

/// What is typed and pointed at, for as long as this lives.
pub(crate) struct Input {
    events: Receiver<Event>,
    over: Arc<AtomicBool>,
}

impl Input {
    /// Begins to read.
    pub(crate) fn begin() -> std::io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (tx, events) = channel();
        let ended = Arc::clone(&over);
        // Nobody waits for its end: it may be waiting for a key that never comes.
        std::thread::Builder::new().name("tui-input".into()).spawn(move || read(&tx, &ended))?;
        Ok(Self { events, over })
    }

    /// The next event, waiting so long for it; an error where the terminal is gone.
    pub(crate) fn next(&self, within: Duration) -> Result<Option<Event>, Gone> {
        match self.events.recv_timeout(within) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }
}

/// The terminal is gone: hung up, or closed.
#[derive(Debug)]
pub(crate) struct Gone;

impl Drop for Input {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

fn read(tx: &Sender<Event>, over: &AtomicBool) {
    loop {
        // In the background what is typed is the shell's.
        let ours = in_foreground();
        let happened = look(if ours { PollFlags::POLLIN } else { PollFlags::empty() });
        if over.load(Ordering::SeqCst)
            || happened.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
        {
            return;
        }
        // Asked for even where nothing was typed: a new size comes this way as well.
        while ours && matches!(event::poll(Duration::ZERO), Ok(true)) {
            let Ok(event) = event::read() else { return };
            if tx.send(event).is_err() {
                return;
            }
        }
    }
}

/// What has happened to the terminal. Standard output is one, or there would be no screen, and what it
/// is asked for holds for reading from it, too.
#[allow(unsafe_code)]
fn look(wanted: PollFlags) -> PollFlags {
    // SAFETY: standard output is never closed by this program; were it, poll would say so.
    let out = unsafe { BorrowedFd::borrow_raw(1) };
    let mut fds = [PollFd::new(out, wanted)];
    match poll(&mut fds, PollTimeout::from(LOOK)) {
        Ok(_) => fds[0].revents().unwrap_or(PollFlags::empty()),
        Err(_) => PollFlags::empty(),
    }
}
