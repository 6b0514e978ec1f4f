//! How sources hand events over: a clock shared by all, and a queue into the one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::{Body, Event, Nanos};

/// The session clock: monotonic nanoseconds since session start (CLOCK_MONOTONIC).
#[derive(Debug, Clone, Copy)]
pub struct SessionClock {
    origin: Instant,
}

impl SessionClock {
    /// Starts the clock now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since session start.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.at(Instant::now())
    }

    /// An instant as nanoseconds since session start (0 for instants before it).
    #[must_use]
    pub fn at(&self, instant: Instant) -> Nanos {
        instant.saturating_duration_since(self.origin).as_nanos() as u64
    }

    /// The instant of a session time.
    #[must_use]
    pub fn instant(&self, t: Nanos) -> Instant {
        self.origin + Duration::from_nanos(t)
    }
}

/// A source's end of the event stream. Cheap to clone; never blocks.
#[derive(Debug, Clone)]
pub struct EventSink {
    clock: SessionClock,
    tx: SyncSender<Event>,
    lost: Arc<AtomicU64>,
}

impl EventSink {
    /// The session clock.
    #[must_use]
    pub fn clock(&self) -> SessionClock {
        self.clock
    }

    /// Hands over a fact seen now.
    pub fn emit(&self, ev: Body) {
        self.emit_at(self.clock.now(), ev);
    }

    /// Hands over a fact seen at `t`. A full queue is counted, and the count is recorded by the
    /// hub; the caller is never held up.
    pub fn emit_at(&self, t: Nanos, ev: Body) {
        if let Err(TrySendError::Full(_)) = self.tx.try_send(Event { t, ev }) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The hub's end: where the events of all sources come together in one order.
#[derive(Debug)]
pub struct Hub {
    /// The events, in the order in which they were handed over.
    pub rx: Receiver<Event>,
    lost: Arc<AtomicU64>,
}

impl Hub {
    /// A stream whose queue holds `capacity` events.
    #[must_use]
    pub fn new(clock: SessionClock, capacity: usize) -> (EventSink, Self) {
        let (tx, rx) = sync_channel(capacity);
        let lost = Arc::new(AtomicU64::new(0));
        (EventSink { clock, tx, lost: Arc::clone(&lost) }, Self { rx, lost })
    }

    /// Events lost to a full queue since the last call.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}
