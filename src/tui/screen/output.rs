//! Writes frames to the terminal on a thread of its own. A terminal may be stopped (Ctrl-S), or at
//! the far end of a slow line: then frames are left out, and nobody waits but this thread.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlowArg, FlushArg, tcflow, tcflush};

/// What the thread has to do. There is one terminal, so there is one of these.
struct Desk {
    next: Option<String>,
    busy: bool,
    failed: bool,
}

static DESK: Mutex<Desk> = Mutex::new(Desk { next: None, busy: false, failed: false });
static CHANGED: Condvar = Condvar::new();

fn desk() -> MutexGuard<'static, Desk> {
    DESK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins the thread, once; where it cannot be had, it is tried again the next time.
pub(super) fn begin() -> std::io::Result<()> {
    static BEGUN: Mutex<bool> = Mutex::new(false);
    let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    if !*begun {
        std::thread::Builder::new().name("tui-output".into()).spawn(write_all)?;
        *begun = true;
    }
    desk().failed = false;
    Ok(())
}

fn write_all() {
    let mut at = desk();
    loop {
        let Some(bytes) = at.next.take() else {
            at = CHANGED.wait(at).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        at.busy = true;
        drop(at);
        let mut out = std::io::stdout();
        let written = out.write_all(bytes.as_bytes()).and_then(|()| out.flush());
        at = desk();
        at.busy = false;
        at.failed |= written.is_err();
        CHANGED.notify_all();
    }
}

/// Whether the last frame has gone out, so that another can follow.
pub(crate) fn idle() -> bool {
    let at = desk();
    at.next.is_none() && !at.busy
}

/// Whether the terminal has refused what was written.
pub(crate) fn failed() -> bool {
    desk().failed
}

/// Sends a frame. The caller has seen that all is [`idle`].
pub(crate) fn send(bytes: String) {
    desk().next = Some(bytes);
    CHANGED.notify_all();
}

/// Waits until everything has gone out; whether it has.
fn settle(within: Duration) -> bool {
    let until = Instant::now() + within;
    let mut at = desk();
    while at.next.is_some() || at.busy {
        let Some(left) = until.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) else { return false };
        at = CHANGED.wait_timeout(at, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    true
}

/// Writes what must reach the terminal, after everything else, and does not wait for ever.
pub(super) fn insist(bytes: &str) {
    const PATIENCE: Duration = Duration::from_millis(150);
    let settled = settle(PATIENCE);
    if !settled || !writable() {
        // What nobody has read yet is thrown away: it is a picture of a moment that has passed.
        let out = std::io::stdout();
        let _ = tcflow(&out, FlowArg::TCOON);
        let _ = tcflush(&out, FlushArg::TCOFLUSH);
        desk().next = None;
        if !settle(PATIENCE) || !writable() {
            return;
        }
    }
    let mut out = std::io::stdout();
    let _ = out.write_all(bytes.as_bytes());
    let _ = out.flush();
}

#[allow(unsafe_code)]
fn writable() -> bool {
    // SAFETY: standard output is never closed by this program; were it, poll would say so.
    let out = unsafe { BorrowedFd::borrow_raw(1) };
    let mut fds = [PollFd::new(out, PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::from(150u8)).is_ok() && fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLOUT))
}
