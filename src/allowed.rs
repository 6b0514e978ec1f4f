//! What the operating system allows this process to have: threads and open files.
//!
//! Libraries below us panic where a thread or a descriptor cannot be had, and then what waits for
//! them waits for ever. So a command asks beforehand whether it may have what it will need, and
//! says which limit is too low where it may not.

use std::fs::File;
use std::io;
use std::sync::mpsc;
use std::thread;

use thiserror::Error;
use tokio::sync::oneshot;

/// Stack of a thread that only shows that it can be had, bytes.
const TRIAL_STACK: usize = 64 << 10;

/// A limit that is too low.
#[derive(Debug, Error)]
pub(crate) enum Shortage {
    /// Too few threads.
    #[error(
        "this process may start {had} more thread(s) and needs about {needed} ({why}): raise the limit, as `ulimit -u` or \
         pids.max of its control group, or end other processes of this user"
    )]
    Threads {
        /// What it needs.
        needed: usize,
        /// What it could have had.
        had: usize,
        /// What the kernel said.
        why: io::Error,
    },
    /// Too few descriptors.
    #[error(
        "this process may open {had} more file(s) and needs about {needed} ({why}): raise the limit, for instance with \
         `ulimit -n 1024`"
    )]
    Files {
        /// What it needs.
        needed: usize,
        /// What it could have had.
        had: usize,
        /// What the kernel said.
        why: io::Error,
    },
}

/// Whether this process may have so many more threads and open files, by having them for a moment.
///
/// # Errors
/// Which there are too few of, and what there are.
pub(crate) fn check(threads: usize, files: usize) -> Result<(), Shortage> {
    let mut open = Vec::with_capacity(files);
    while open.len() < files {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            // A machine without it shows nothing about limits.
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            Err(why) => return Err(Shortage::Files { needed: files, had: open.len(), why }),
        }
    }
    drop(open);
    let mut waiting = Vec::with_capacity(threads);
    let mut refused = None;
    while waiting.len() < threads && refused.is_none() {
        // A thread ends when its sender is dropped.
        let (keep, end) = mpsc::channel::<()>();
        let trial = thread::Builder::new().stack_size(TRIAL_STACK).spawn(move || {
            let _ = end.recv();
        });
        match trial {
            Ok(thread) => waiting.push((keep, thread)),
            Err(why) => refused = Some(why),
        }
    }
    let had = waiting.len();
    for (keep, thread) in waiting {
        drop(keep);
        let _ = thread.join();
    }
    refused.map_or(Ok(()), |why| Err(Shortage::Threads { needed: threads, had, why }))
}

/// Runs `work` on a thread of its own, for callers that must not block.
///
/// # Errors
/// When the thread cannot be had, or the work panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tx, rx) = oneshot::channel();
    let run = move || {
        let _ = tx.send(work());
    };
    thread::Builder::new().name(name.into()).spawn(run)?;
    rx.await.map_err(|_| io::Error::other("it failed half-way"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_had_is_had_and_given_back() {
        for _ in 0..20 {
            check(20, 20).unwrap();
        }
        let few = check(0, 1 << 22).unwrap_err().to_string();
        assert!(few.contains("ulimit -n") && few.contains("4194304"), "{few}");
    }

    #[tokio::test]
    async fn work_elsewhere_is_waited_for_and_its_panic_is_an_error() {
        assert_eq!(blocking("work", || 7).await.unwrap(), 7);
        assert!(blocking("work", || -> u8 { panic!("as a test") }).await.is_err());
    }
}
