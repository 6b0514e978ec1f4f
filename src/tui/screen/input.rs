//! Reads keys, the mouse and pastes from the terminal, on the thread that draws.
//!
//! It only ever waits as long as it is told, whatever has begun to come ([`Sequences`]): neither the
//! picture nor a signal waits for the terminal.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IsTerminal, stdin};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::read;
use ratatui::crossterm::event::Event;
use ratatui::layout::Size;

use super::sequence::Sequences;

/// What is typed and pointed at, for as long as this lives.
pub(crate) struct Input {
    tty: Tty,
    sequences: Sequences,
    events: VecDeque<Event>,
    size: Size,
}

/// The terminal, to read from.
enum Tty {
    Stdin,
    /// Where standard input is something else.
    Opened(File),
}

impl AsFd for Tty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            #[allow(unsafe_code)]
            // SAFETY: standard input is never closed by this program; were it, poll and read would say so.
            Self::Stdin => unsafe { BorrowedFd::borrow_raw(0) },
            Self::Opened(file) => file.as_fd(),
        }
    }
}

impl Input {
    /// Begins to read.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        let tty = if stdin().is_terminal() {
            Tty::Stdin
        } else {
            Tty::Opened(File::open("/dev/tty").context("no terminal to read keys from: /dev/tty")?)
        };
        let size = super::size()?;
        Ok(Self { tty, sequences: Sequences::new(Instant::now()), events: VecDeque::new(), size })
    }

    /// The next event, waiting so long for it; an error where the terminal is gone.
    pub(crate) fn next(&mut self, within: Duration) -> Result<Option<Event>, Gone> {
        let until = Instant::now() + within;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let now = Instant::now();
            let next = self.sequences.due().map_or(until, |due| due.min(until));
            let typed = self.look(next.saturating_duration_since(now))?;
            let now = Instant::now();
            if typed {
                // What is there already has not come after a silence, however long nobody looked.
                self.read(now)?;
            } else {
                self.sequences.pass(now);
                self.resize();
            }
            self.events.extend(self.sequences.events());
            if self.events.is_empty() && now >= until {
                return Ok(None);
            }
        }
    }

    /// Waits until there is something to read; whether there is.
    fn look(&self, within: Duration) -> Result<bool, Gone> {
        // A little longer, not shorter: a wait of nothing at all would be tried again and again.
        let ms = within.as_millis() + u128::from(!within.subsec_nanos().is_multiple_of(1_000_000));
        let wait = PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.tty.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, wait) {
            Ok(_) => {}
            // A signal: it is looked for by who asked.
            Err(Errno::EINTR) => return Ok(false),
            Err(_) => return Err(Gone),
        }
        let happened = fds[0].revents().unwrap_or(PollFlags::empty());
        if happened.contains(PollFlags::POLLIN) {
            return Ok(true);
        }
        if happened.is_empty() { Ok(false) } else { Err(Gone) }
    }

    fn read(&mut self, now: Instant) -> Result<(), Gone> {
        let mut bytes = [0; 4096];
        match read(self.tty.as_fd(), &mut bytes) {
            Ok(0) => Err(Gone),
            Ok(n) => {
                self.sequences.take(&bytes[..n], now);
                Ok(())
            }
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(()),
            Err(_) => Err(Gone),
        }
    }

    /// Tells of a new size.
    fn resize(&mut self) {
        if let Ok(size) = super::size()
            && size != self.size
        {
            self.size = size;
            self.events.push_back(Event::Resize(size.width, size.height));
        }
    }
}

/// The terminal is gone: hung up, or closed.
#[derive(Debug)]
pub(crate) struct Gone;

impl Drop for Input {
    fn drop(&mut self) {
        if self.sequences.is_within() {
            // The rest of an answer or of a paste would be typed into the shell.
            let _ = tcflush(&self.tty, FlushArg::TCIFLUSH);
        }
    }
}
