//! A terminal of its own for a command, which controls it: ^C typed there reaches the whole of its
//! foreground process group, and closing it hangs the command up.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::libc;
use nix::pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};

/// Wide enough that no tool breaks its lines.
const SIZE: Winsize = Winsize { ws_row: 50, ws_col: 240, ws_xpixel: 0, ws_ypixel: 0 };

mod request {
    nix::ioctl_write_int_bad!(control, nix::libc::TIOCSCTTY);
    nix::ioctl_write_ptr_bad!(resize, nix::libc::TIOCSWINSZ, nix::pty::Winsize);
}

/// The command runs on a new terminal, as the leader of a new session that it controls. Gives our end.
#[allow(unsafe_code)]
pub(super) fn attach(command: &mut Command) -> io::Result<OwnedFd> {
    let ours = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname_r(&ours)?;
    // Closed at exec like everything the standard library opens; the command gets copies.
    let theirs = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name)?;
    let mut how = tcgetattr(&theirs)?;
    // What we type must not come back as output, and `\n` stays itself.
    how.local_flags.remove(LocalFlags::ECHO);
    how.output_flags.remove(OutputFlags::ONLCR);
    tcsetattr(&theirs, SetArg::TCSANOW, &how)?;
    let size = SIZE;
    // SAFETY: the descriptor is open and the size outlives the call, which only reads it.
    unsafe { request::resize(theirs.as_raw_fd(), &raw const size) }?;
    command.stdin(Stdio::from(theirs.try_clone()?)).stdout(Stdio::from(theirs.try_clone()?)).stderr(theirs);
    let begin = || {
        nix::unistd::setsid()?;
        // SAFETY: stdin is the terminal by now; the call takes a number only.
        unsafe { request::control(0, 0) }?;
        // A program that was started in the background has them ignored, and would hand that on.
        for ignored in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTERM] {
            // SAFETY: sets the default, so no handler of ours runs over there.
            unsafe { signal(ignored, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only, allocates nothing and takes no lock.
    unsafe { command.pre_exec(begin) };
    Ok(ours.into())
}
