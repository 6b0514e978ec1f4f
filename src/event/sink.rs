//! How sources hand events over: a queue into the one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use super::{AgentEvent, Body, Event, HvEvent, Nanos, ProbeEvent, SessionClock, Subject};

/// How much may wait in a queue, bytes, whatever its count: what a peer says may be of any size.
const QUEUE_BYTES: usize = 32 << 20;

/// A source's end of the event stream. Cheap to clone; never blocks.
#[derive(Debug, Clone)]
pub struct EventSink {
    clock: SessionClock,
    of: Option<Subject>,
    tx: Sender<Waiting>,
    fill: Arc<Fill>,
    lost: Arc<AtomicU64>,
}

/// An event in the queue, and how much it takes, bytes.
#[derive(Debug)]
struct Waiting {
    event: Event,
    bytes: usize,
}

/// What is in the queue. It is bounded by this, not by its own size: a queue that is made for a minute of
/// events would hold the memory for them from the beginning.
#[derive(Debug)]
struct Fill {
    events: AtomicUsize,
    bytes: AtomicUsize,
    capacity: usize,
}

impl Fill {
    fn add(&self, bytes: usize) -> bool {
        let events = self.events.fetch_add(1, Ordering::Relaxed);
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = events < self.capacity && held + bytes <= QUEUE_BYTES.max(bytes * usize::from(held == 0));
        if !fits {
            self.remove(bytes);
        }
        fits
    }

    fn remove(&self, bytes: usize) {
        self.events.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl EventSink {
    /// The session clock.
    #[must_use]
    pub fn clock(&self) -> SessionClock {
        self.clock
    }

    /// What facts of this sink belong to.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.of.unwrap_or_default()
    }

    /// A sink for facts that belong to this.
    #[must_use]
    pub fn of(&self, subject: Subject) -> Self {
        Self { of: Some(subject), ..self.clone() }
    }

    /// How much of the queue is taken, 0 to 1: who makes events faster than they are taken can wait.
    #[must_use]
    pub fn fullness(&self) -> f64 {
        let events = self.fill.events.load(Ordering::Relaxed) as f64 / self.fill.capacity.max(1) as f64;
        events.max(self.fill.bytes.load(Ordering::Relaxed) as f64 / QUEUE_BYTES as f64)
    }

    /// Hands over a fact seen now.
    pub fn emit(&self, ev: Body) {
        self.emit_at(self.clock.now(), ev);
    }

    /// Hands over a fact seen at `t`. A full queue is counted, and the count is recorded by the
    /// hub; the caller is never held up.
    pub fn emit_at(&self, t: Nanos, ev: Body) {
        let event = Event { t, of: self.of, ev };
        let bytes = weight(&event);
        if !self.fill.add(bytes) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else if self.tx.send(Waiting { event, bytes }).is_err() {
            self.fill.remove(bytes);
        }
    }
}

/// How much memory an event takes, bytes; of one that holds text or a product's own words, more than it is.
fn weight(event: &Event) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let times = match &event.ev {
        // The many have nothing beside themselves.
        Body::Probe(ev) if !matches!(ev, ProbeEvent::Error { .. } | ProbeEvent::NotSent { .. }) => {
            return size_of::<Waiting>();
        }
        Body::Agent(AgentEvent::Heartbeat { .. } | AgentEvent::Report(_)) => return size_of::<Waiting>(),
        // A number of two letters is a value of 32 bytes.
        Body::Hypervisor(HvEvent::Raw { .. } | HvEvent::Sample { .. } | HvEvent::Offers { .. }) => 16,
        _ => 2,
    };
    let mut count = Count(0);
    // Counting cannot fail; what cannot be written as JSON is no worse than what was counted.
    let _ = serde_json::to_writer(&mut count, event);
    size_of::<Waiting>() + count.0 * times
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
    rx: Receiver<Waiting>,
    fill: Arc<Fill>,
}

impl Events {
    fn taken<E>(&self, waiting: Result<Waiting, E>) -> Result<Event, E> {
        waiting.map(|waiting| {
            self.fill.remove(waiting.bytes);
            waiting.event
        })
    }

    /// The next event, waited for.
    ///
    /// # Errors
    /// When all sources are gone.
    pub fn recv(&self) -> Result<Event, RecvError> {
        self.taken(self.rx.recv())
    }

    /// The next event, waited for at most this long.
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
    /// A stream whose queue holds `capacity` events, and no more than 32 MiB.
    #[must_use]
    pub fn new(clock: SessionClock, capacity: usize) -> (EventSink, Self) {
        let (tx, rx) = channel();
        let lost = Arc::new(AtomicU64::new(0));
        let fill = Arc::new(Fill { events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), capacity });
        let sink = EventSink { clock, of: None, tx, fill: Arc::clone(&fill), lost: Arc::clone(&lost) };
        (sink, Self { rx: Events { rx, fill }, lost })
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

    #[test]
    fn a_queue_holds_no_more_bytes_than_it_may_whatever_is_in_it() {
        let (sink, hub) = Hub::new(SessionClock::start(), 1 << 20);
        let text = "x".repeat(1 << 20);
        for t in 0..100 {
            let (level, from) = (crate::event::Level::Info, "peer".to_owned());
            sink.emit_at(t, Body::Log(crate::event::LogEvent { level, from, text: text.clone() }));
        }
        let held = hub.rx.try_iter().count();
        assert!((10..40).contains(&held), "{held}");
        assert_eq!(hub.take_lost(), 100 - held as u64);
        assert_eq!(sink.fullness(), 0.0);
        let data = serde_json::json!(vec![0; 1 << 20]);
        let raw = HvEvent::Raw { host: "a".into(), name: "X".into(), at: None, data };
        (0..10).for_each(|t| sink.emit_at(t, Body::Hypervisor(raw.clone())));
        assert!(hub.rx.try_iter().count() <= 1, "each takes 32 MiB");
    }
}
