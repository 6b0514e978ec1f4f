//! Trying something that cannot be undone, in a child that is thrown away afterwards.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, pipe};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longer than any machine takes for what is tried here.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `f` in a child process and hands back its answer. The child has one thread, whatever this
/// process has, so it may enter namespaces; it ends without running anything of ours.
///
/// # Errors
/// For people: why there is no answer.
#[allow(unsafe_code)]
pub(crate) fn in_child<T: Serialize + DeserializeOwned>(f: impl FnOnce() -> T) -> Result<T, String> {
    let (read, write) = pipe().map_err(|e| format!("cannot make a pipe: {e}"))?;
    // SAFETY: the child runs `f` and then `_exit`. If this process has other threads, their locks
    // stay as they are in the child; glibc and musl put the allocator in order across a fork, and
    // `f` uses no other lock that a thread of this process may hold.
    match unsafe { fork() } {
        Err(e) => Err(format!("cannot fork: {e}")),
        Ok(ForkResult::Child) => {
            drop(read);
            let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
            if let Ok(json) = answer.map_err(drop).and_then(|a| serde_json::to_vec(&a).map_err(drop)) {
                let _ = File::from(write).write_all(&json);
            }
            // SAFETY: ends the process at once, without destructors or buffers of the parent's.
            unsafe { nix::libc::_exit(0) }
        }
        Ok(ForkResult::Parent { child }) => {
            drop(write);
            let mut fds = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
            let wait = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
            if !matches!(poll(&mut fds, wait), Ok(1..)) {
                let _ = kill(child, Signal::SIGKILL);
            }
            let mut json = Vec::new();
            let _ = File::from(read).read_to_end(&mut json);
            let ended = waitpid(child, None);
            serde_json::from_slice(&json).map_err(|_| format!("the trial did not come to an end: {ended:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_and_panics_do_not_hang() {
        assert_eq!(in_child(|| (std::process::id(), "yes".to_owned())).map(|a| a.1), Ok("yes".into()));
        assert_ne!(in_child(std::process::id), Ok(std::process::id()));
        let hushed = in_child(|| {
            std::panic::set_hook(Box::new(|_| {}));
            assert!(std::hint::black_box(false), "as asked");
        });
        assert!(hushed.unwrap_err().contains("did not come to an end"));
    }
}
