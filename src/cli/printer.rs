//! Standard output that holds nothing up: what reads it may be slow or have stopped.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

/// How much may wait to be printed, bytes.
const WAITING: usize = 16 << 20;

/// Prints on a thread of its own. What does not fit in the queue is counted instead of printed.
pub(super) struct Printer {
    tell: Sender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: AtomicUsize,
    unprinted: AtomicU64,
    failed: Mutex<Option<io::Error>>,
}

impl Printer {
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start() -> anyhow::Result<Self> {
        Self::to(io::stdout())
    }

    fn to(out: impl Write + Send + 'static) -> anyhow::Result<Self> {
        let (tell, told) = channel();
        let shared = Arc::new(Shared::default());
        let printing = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("print".into())
            .spawn(move || print(out, &told, &printing))
            .context("cannot start the printing thread")?;
        Ok(Self { tell, shared })
    }

    /// Hands `bytes` over; `always` also where there is no room (the last word).
    ///
    /// # Errors
    /// What writing said meanwhile.
    pub(super) fn print(&self, bytes: Vec<u8>, always: bool) -> io::Result<()> {
        if let Some(e) = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(e);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let n = bytes.len();
        if !always && self.shared.waiting.load(Ordering::Relaxed) + n > WAITING {
            self.shared.unprinted.fetch_add(n as u64, Ordering::Relaxed);
            return Ok(());
        }
        self.shared.waiting.fetch_add(n, Ordering::Relaxed);
        // A thread that has ended has said why.
        let _ = self.tell.send(bytes);
        Ok(())
    }

    /// Bytes that were not printed for want of room.
    pub(super) fn unprinted(&self) -> u64 {
        self.shared.unprinted.load(Ordering::Relaxed)
    }

    /// Whether all that was handed over is printed.
    ///
    /// # Errors
    /// What writing said meanwhile.
    pub(super) fn is_done(&self) -> io::Result<bool> {
        if let Some(e) = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(e);
        }
        Ok(self.shared.waiting.load(Ordering::Acquire) == 0)
    }
}

fn print(mut out: impl Write, told: &Receiver<Vec<u8>>, shared: &Shared) {
    while let Ok(bytes) = told.recv() {
        let done = out.write_all(&bytes).and_then(|()| out.flush());
        if let Err(e) = done {
            *shared.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
        }
        shared.waiting.fetch_sub(bytes.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// A reader that takes nothing until it is told to.
    struct Stuck(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stopped_holds_nothing_up_and_costs_a_bounded_amount() {
        let (go, gone) = sync_channel(0);
        let read = Arc::new(Mutex::new(Vec::new()));
        let printer = Printer::to(Stuck(gone, Arc::clone(&read))).unwrap();
        for _ in 0..40 {
            printer.print(vec![b'x'; 1 << 20], false).unwrap();
        }
        printer.print(b"the summary".to_vec(), true).unwrap();
        assert!(!printer.is_done().unwrap());
        assert_eq!(printer.unprinted(), 24 << 20);
        drop(go);
        while !printer.is_done().unwrap() {
            std::thread::yield_now();
        }
        let read = read.lock().unwrap();
        assert_eq!(read.len(), (16 << 20) + 11);
        assert!(read.ends_with(b"the summary"));
    }
}
