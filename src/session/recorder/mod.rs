//! The recorder: an append-only capture, written by a thread of its own, that never drops an event
//! while there is memory for it.
//!
//! The hub hands over whole lines; the thread writes them at least every 66 ms, and at once
//! where it matters. While the disk refuses, lines are kept in memory and tried again; a line cut
//! in two by a full disk is taken back, so the file is valid JSON Lines at any time.
//!
//! # How much can be held back
//!
//! Probing at 1 kHz makes 1,000 outcomes a second, heartbeats 100, reports, samples and host CPU
//! about 10 each, and a record is about 100 bytes (a sample with the hypervisor's own words about
//! 1.5 KiB): some 150 kB/s. [`RecorderOptions::backlog_bytes`] is 64 MiB by default, which lasts
//! for more than 7 minutes of a stalled disk; 60 s need 9 MB. What exceeds it is lost and counted, and the
//! loss itself is recorded as soon as there is room again.

mod writer;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::place;
use crate::event::Header;
use writer::{Disk, Medium, Writer};

/// The longest a line waits for its write while the disk works. A third of it leaves room for a
/// busy machine: what is older than 200 ms is in the file.
const TICK: Duration = Duration::from_millis(66);
/// How often a disk that refuses is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Where and how to record.
#[derive(Debug, Clone)]
pub struct RecorderOptions {
    /// The folder for the capture (`--out DIR`); None makes one below [`place::sessions_dir`].
    pub out: Option<PathBuf>,
    /// How many bytes of lines may wait in memory.
    pub backlog_bytes: u64,
    /// How long the end of the session waits for a disk that stalls or refuses.
    pub drain_limit: Duration,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self { out: None, backlog_bytes: 64 << 20, drain_limit: Duration::from_secs(5) }
    }
}

/// Health of the capture, for the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecorderStatus {
    /// The capture. Until it could be created: where it is meant to be.
    pub path: PathBuf,
    /// Its size in whole lines, bytes.
    pub bytes: u64,
    /// Events in it.
    pub events: u64,
    /// Why it cannot be written now.
    pub trouble: Option<String>,
    /// Whether it ever could not be.
    pub ever_troubled: bool,
    /// Events that wait in memory.
    pub backlog: u64,
    /// Events lost since even the memory for waiting ones was full.
    pub lost: u64,
}

/// What matters about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Within the tick.
    Usual,
    /// Now.
    Flush,
    /// Now, and to the platter.
    Sync,
}

/// A change of the recorder's health, told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Trouble(String),
    Recovered { kept: u64 },
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    flush: bool,
    sync: bool,
    /// The session ends; no try after this.
    closing: Option<Instant>,
    done: bool,
}

struct Inner {
    queue: Mutex<Queue>,
    wake: Condvar,
    done: Condvar,
    status: Mutex<RecorderStatus>,
    changes: Mutex<VecDeque<Change>>,
    /// Lines handed over and not written (the header among them), and their bytes.
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    lost: AtomicU64,
}

/// The recorder's handle. Cloned for everyone who wants to see its health.
#[derive(Clone)]
pub(super) struct Recorder {
    inner: Arc<Inner>,
    backlog_bytes: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Starts recording. A folder that cannot be written is trouble, not an error.
    pub(super) fn start(header: &Header, options: &RecorderOptions) -> Self {
        let (folder, own) = match &options.out {
            Some(folder) => (folder.clone(), false),
            None => {
                let name = place::folder_name(header.wall_origin_unix_ns, &header.name);
                (place::sessions_dir().join(name), true)
            }
        };
        Self::start_on(Disk::new(folder, own), header, options.backlog_bytes)
    }

    fn start_on(medium: impl Medium + 'static, header: &Header, backlog_bytes: u64) -> Self {
        let inner = Arc::new(Inner {
            queue: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
            status: Mutex::new(RecorderStatus { path: medium.path(), ..RecorderStatus::default() }),
            changes: Mutex::default(),
            waiting: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let recorder = Self { inner: Arc::clone(&inner), backlog_bytes };
        let mut first = serde_json::to_vec(header).unwrap_or_default();
        first.push(b'\n');
        recorder.push(&first, Urgency::Flush);
        let thread = thread::Builder::new().name("recorder".into()).spawn(move || {
            let _end = AtEnd(&inner);
            run(&inner, Writer::new(medium));
        });
        if let Err(e) = thread {
            recorder.trouble(format!("the recorder's thread cannot be started: {e}"));
            lock(&recorder.inner.queue).done = true;
        }
        recorder
    }

    /// Hands over one whole line. False if even the memory for waiting lines is full.
    pub(super) fn push(&self, line: &[u8], urgency: Urgency) -> bool {
        let inner = &self.inner;
        let len = line.len() as u64;
        if inner.waiting_bytes.load(Ordering::Relaxed) + len > self.backlog_bytes {
            inner.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        inner.waiting_bytes.fetch_add(len, Ordering::Relaxed);
        inner.waiting.fetch_add(1, Ordering::Relaxed);
        let mut queue = lock(&inner.queue);
        queue.lines.extend_from_slice(line);
        if urgency != Urgency::Usual {
            queue.flush = true;
            queue.sync |= urgency == Urgency::Sync;
            inner.wake.notify_one();
        }
        true
    }

    /// The next change of health nobody has been told of.
    pub(super) fn take_change(&self) -> Option<Change> {
        lock(&self.inner.changes).pop_front()
    }

    pub(super) fn status(&self) -> RecorderStatus {
        let mut status = lock(&self.inner.status).clone();
        let header_waits = u64::from(status.bytes == 0);
        status.backlog = self.inner.waiting.load(Ordering::Relaxed).saturating_sub(header_waits);
        status.lost = self.inner.lost.load(Ordering::Relaxed);
        status
    }

    fn trouble(&self, why: String) {
        self.inner.trouble(why);
    }

    /// Writes all that waits and ends, or gives up after `limit`. What stays unwritten is in the
    /// status.
    pub(super) fn finish(&self, limit: Duration) -> RecorderStatus {
        let deadline = Instant::now() + limit;
        let mut queue = lock(&self.inner.queue);
        queue.closing = Some(deadline);
        queue.sync = true;
        self.inner.wake.notify_one();
        // A write that hangs in the kernel cannot be called back: it is waited for, then left.
        let patience = limit + Duration::from_millis(500);
        let (queue, _) = self
            .inner
            .done
            .wait_timeout_while(queue, patience, |queue| !queue.done)
            .unwrap_or_else(PoisonError::into_inner);
        let done = queue.done;
        drop(queue);
        if !done {
            self.trouble("the disk does not come back from a write".to_owned());
        }
        self.status()
    }
}

impl Inner {
    fn trouble(&self, why: String) {
        let mut status = lock(&self.status);
        if status.trouble.as_ref() != Some(&why) {
            status.trouble = Some(why.clone());
            status.ever_troubled = true;
            drop(status);
            lock(&self.changes).push_back(Change::Trouble(why));
        }
    }
}

/// Says that the thread is gone, also when it panicked.
struct AtEnd<'a>(&'a Inner);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.trouble("the recorder died".to_owned());
        }
        lock(&self.0.queue).done = true;
        self.0.done.notify_all();
    }
}

fn run(inner: &Inner, mut writer: Writer<impl Medium>) {
    let mut sync = false;
    let mut kept = 0;
    loop {
        let (lines, closing) = wait(inner, &mut sync, writer.troubled());
        writer.take(lines);
        let result = writer.pump(|bytes, lines| {
            inner.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            inner.waiting.fetch_sub(lines, Ordering::Relaxed);
        });
        let result = result.and_then(|()| if sync { writer.sync() } else { Ok(()) });
        {
            let mut status = lock(&inner.status);
            status.path = writer.path();
            status.bytes = writer.whole_bytes();
            status.events = writer.lines().saturating_sub(1);
        }
        match result {
            Ok(()) => {
                sync = false;
                let recovered = lock(&inner.status).trouble.take().is_some();
                if recovered {
                    lock(&inner.changes).push_back(Change::Recovered { kept: writer.lines() - kept.max(1) });
                }
                kept = writer.lines();
                // Whoever ends the session hands nothing over any more.
                if closing.is_some() && lock(&inner.queue).lines.is_empty() {
                    return;
                }
            }
            Err(why) => {
                inner.trouble(why);
                if closing.is_some_and(|deadline| Instant::now() >= deadline) {
                    return;
                }
            }
        }
    }
}

/// Waits for lines worth a write: until the tick, or until someone is in a hurry; while the disk
/// refuses, until it may be tried again.
fn wait(inner: &Inner, sync: &mut bool, troubled: bool) -> (Vec<u8>, Option<Instant>) {
    let queue = lock(&inner.queue);
    let result = if troubled {
        let pause = queue.closing.map_or(RETRY, |deadline| {
            RETRY.min(deadline.saturating_duration_since(Instant::now())).max(Duration::from_millis(1))
        });
        let was_closing = queue.closing.is_some();
        inner.wake.wait_timeout_while(queue, pause, |q| was_closing || q.closing.is_none())
    } else {
        inner.wake.wait_timeout_while(queue, TICK, |q| !q.flush && q.closing.is_none())
    };
    let (mut queue, _) = result.unwrap_or_else(PoisonError::into_inner);
    queue.flush = false;
    *sync |= std::mem::take(&mut queue.sync);
    (std::mem::take(&mut queue.lines), queue.closing)
}

#[cfg(test)]
mod tests;
