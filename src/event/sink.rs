//! How sources hand events over: a queue into the one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use super::{Body, Event, Nanos, SessionClock};

/// A source's end of the event stream. Cheap to clone; never blocks.
#[derive(Debug, Clone)]
pub struct EventSink {
    clock: SessionClock,
    tx: Sender<Event>,
    /// Events in the queue. It is bounded by this count, not by its own size: a queue that is made
    /// for a minute of events would hold the memory for them from the beginning.
    waiting: Arc<AtomicUsize>,
    capacity: usize,
    lost: Arc<AtomicU64>,
}

impl EventSink {
    /// The session clock.
    #[must_use]
    pub fn clock(&self) -> SessionClock {
        self.clock
    }

    /// How much of the queue is taken, 0 to 1: who makes events faster than they are taken can wait.
    #[must_use]
    pub fn fullness(&self) -> f64 {
        self.waiting.load(Ordering::Relaxed) as f64 / self.capacity.max(1) as f64
    }

    /// Hands over a fact seen now.
    pub fn emit(&self, ev: Body) {
        self.emit_at(self.clock.now(), ev);
    }

    /// Hands over a fact seen at `t`. A full queue is counted, and the count is recorded by the
    /// hub; the caller is never held up.
    pub fn emit_at(&self, t: Nanos, ev: Body) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else if self.tx.send(Event { t, ev }).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The hub's end: where the events of all sources come together in one order.
#[derive(Debug)]
pub struct Hub {
    /// The events, in the order in which they were handed over.
    pub rx: Events,
    lost: Arc<AtomicU64>,
}

/// The receiving end of the queue; as `std::sync::mpsc::Receiver`.
#[derive(Debug)]
pub struct Events {
    rx: Receiver<Event>,
    waiting: Arc<AtomicUsize>,
}

impl Events {
    fn taken<E>(&self, event: Result<Event, E>) -> Result<Event, E> {
        if event.is_ok() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        event
    }

    /// The next event, waited for.
    ///
    /// # Errors
    /// When all sources are gone.
    pub fn recv(&self) -> Result<Event, RecvError> {
        self.taken(self.rx.recv())
    }

    /// The next event, waited for at most so long.
    ///
    /// # Errors
    /// When none came in time, or all sources are gone.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        self.taken(self.rx.recv_timeout(timeout))
    }

    /// The next event, if it is there.
    ///
    /// # Errors
    /// When there is none, or all sources are gone.
    pub fn try_recv(&self) -> Result<Event, TryRecvError> {
        self.taken(self.rx.try_recv())
    }

    /// All events that are there.
    pub fn try_iter(&self) -> impl Iterator<Item = Event> {
        std::iter::from_fn(|| self.try_recv().ok())
    }
}

impl Hub {
    /// A stream whose queue holds `capacity` events.
    #[must_use]
    pub fn new(clock: SessionClock, capacity: usize) -> (EventSink, Self) {
        let (tx, rx) = channel();
        let (lost, waiting) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let sink = EventSink { clock, tx, waiting: Arc::clone(&waiting), capacity, lost: Arc::clone(&lost) };
        (sink, Self { rx: Events { rx, waiting }, lost })
    }

    /// Events lost to a full queue since the last call.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::OperatorEvent;

    #[test]
    fn a_full_queue_counts_what_it_loses_and_takes_more_once_there_is_room() {
        let (sink, hub) = Hub::new(SessionClock::start(), 3);
        (0..5).for_each(|t| sink.emit_at(t, Body::Operator(OperatorEvent::Migrate)));
        assert_eq!(hub.take_lost(), 2);
        assert_eq!(hub.rx.recv().map(|e| e.t), Ok(0));
        sink.emit_at(9, Body::Operator(OperatorEvent::Migrate));
        assert_eq!(hub.rx.try_iter().map(|e| e.t).collect::<Vec<_>>(), [1, 2, 9]);
        assert_eq!(hub.take_lost(), 0);
        drop(sink);
        assert!(hub.rx.recv().is_err());
    }
}
