//! A live session: the hub that gives the events of all sources one order, records them and folds
//! them into the state.

use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;

use self::flood::Flood;
use super::recorder::{Change, Recorder, RecorderOptions, RecorderStatus, Urgency};
use super::shared::{Health, Shared};
use super::state::State;
use crate::event::{Body, Event, EventSink, Header, Hub, HvEvent, MigrationEvent, SessionClock, SessionEvent};

mod finite;
mod flood;

/// Events the hub's queue holds. Probing at 1 kHz with heartbeats and the rest makes about 1,200
/// events a second: 54 s of a hub that does not run at all at twice that, 109 s at once. The hub
/// never waits for the disk (the recorder has its own queue), so only a screen that holds the
/// state could fill this one.
pub const HUB_EVENTS: usize = 1 << 17;
/// Events folded in under one lock.
const BATCH: usize = 1024;
/// How often the hub looks after the recorder's health and the end of the session.
const LOOK: Duration = Duration::from_millis(100);

/// What became of the capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishReport {
    /// The capture.
    pub path: PathBuf,
    /// Events in it.
    pub events: u64,
    /// Events that could not be written to it.
    pub unwritten: u64,
    /// Events lost to full queues, on the way to the hub or to the recorder.
    pub lost: u64,
    /// Why the capture could not be written, if so at the end.
    pub trouble: Option<String>,
    /// Whether it could not be written at any time.
    pub ever_troubled: bool,
}

impl FinishReport {
    /// Whether the capture holds everything and was never in doubt.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.unwritten == 0 && self.lost == 0 && !self.ever_troubled
    }
}

/// A live session. Dropped without [`Live::finish`] (a panic, an early return) it still writes
/// what it has.
#[derive(Debug)]
pub struct Live {
    shared: Shared,
    stop: Arc<Mutex<Option<String>>>,
    hub: Option<JoinHandle<()>>,
    recorder: RecorderHandle,
    drain_limit: Duration,
}

struct RecorderHandle(Recorder);

impl std::fmt::Debug for RecorderHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recorder").field(&self.0.status()).finish()
    }
}

impl Live {
    /// Starts a session: its clock, its capture, its hub. Sources get clones of the sink.
    ///
    /// A capture that cannot be written is told by events and the status; the session goes on.
    #[must_use]
    pub fn start(header: Header, options: RecorderOptions) -> (EventSink, Self) {
        Self::start_at(SessionClock::start(), header, options)
    }

    /// The same with a clock that runs already (the header's wall clock must be its zero).
    #[must_use]
    pub fn start_at(clock: SessionClock, header: Header, options: RecorderOptions) -> (EventSink, Self) {
        let recorder = Recorder::start(&header, &options);
        let shared = Shared::new(State::begin(header), Health::Live(recorder.clone()));
        let (sink, hub) = Hub::new(clock, HUB_EVENTS);
        let stop = Arc::new(Mutex::new(None));
        let worker = Worker {
            hub,
            clock,
            recorder: recorder.clone(),
            shared: shared.clone(),
            stop: Arc::clone(&stop),
            line: Vec::new(),
            unrecorded: 0,
            flood: Flood::default(),
        };
        let thread = thread::Builder::new().name("hub".into()).spawn(move || worker.run());
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(e) => {
                // Nothing can be recorded: as loud as it gets without a hub.
                let why = format!("the hub's thread cannot be started: {e}");
                shared.update(|state| {
                    let ev = Body::Session(SessionEvent::RecorderTrouble { why });
                    state.apply(&Event::new(clock.now(), ev));
                });
                None
            }
        };
        let recorder = RecorderHandle(recorder);
        (sink, Self { shared, stop, hub: thread, recorder, drain_limit: options.drain_limit })
    }

    /// The handle for screens and everyone else who looks.
    #[must_use]
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// A copy of the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Waits for changes of the state.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.subscribe()
    }

    /// Health of the capture.
    #[must_use]
    pub fn recorder_status(&self) -> RecorderStatus {
        self.recorder.0.status()
    }

    /// Ends the session: takes in what the sources handed over so far, records why it ended,
    /// writes all there is (for [`RecorderOptions::drain_limit`] at most) and says what became of
    /// the capture. Blocks; call it off the async threads.
    pub fn finish(self, why: &str) -> FinishReport {
        let limit = self.drain_limit;
        self.finish_within(why, limit)
    }

    /// As [`finish`](Self::finish), but a disk that stalls or refuses is waited for no longer than
    /// this.
    pub fn finish_within(mut self, why: &str, limit: Duration) -> FinishReport {
        self.end(why);
        let status = self.recorder.0.finish(limit);
        let lost = self.shared.with_state(|s| s.health.lost_events).max(status.lost);
        FinishReport {
            path: status.path,
            events: status.events,
            unwritten: status.backlog + status.lost,
            lost,
            trouble: status.trouble,
            ever_troubled: status.ever_troubled,
        }
    }

    fn end(&mut self, why: &str) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        if let Some(hub) = self.hub.take() {
            // A hub that panicked has nothing more to say; the recorder still has.
            let _ = hub.join();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.hub.is_some() {
            let why = if thread::panicking() { "the program failed" } else { "the session was dropped" };
            self.end(why);
            let _ = self.recorder.0.finish(self.drain_limit);
        }
    }
}

struct Worker {
    hub: Hub,
    clock: SessionClock,
    recorder: Recorder,
    shared: Shared,
    stop: Arc<Mutex<Option<String>>>,
    line: Vec<u8>,
    /// Events the recorder had no room for, not yet told.
    unrecorded: u64,
    /// Bounds what peers say.
    flood: Flood,
}

impl Worker {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            // Before the queue is looked at, so that what was handed over by then is taken in.
            let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let gone = match self.hub.rx.recv_timeout(if stop.is_some() { Duration::ZERO } else { LOOK }) {
                Ok(event) => {
                    batch.push(event);
                    batch.extend(self.hub.rx.try_iter().take(BATCH - 1));
                    false
                }
                Err(RecvTimeoutError::Timeout) => stop.is_some(),
                // All sources are gone; the session may still be looked at until it is ended.
                Err(RecvTimeoutError::Disconnected) => {
                    if stop.is_none() {
                        thread::sleep(LOOK);
                    }
                    stop.is_some()
                }
            };
            self.own_events(&mut batch);
            if let (true, Some(why)) = (gone, stop) {
                self.take(&mut batch);
                batch.extend(self.flood.told(self.clock.now(), true));
                batch.push(self.now(SessionEvent::Ended { why }));
                self.take(&mut batch);
                return;
            }
            self.take(&mut batch);
        }
    }

    fn now(&self, ev: SessionEvent) -> Event {
        Event::new(self.clock.now(), Body::Session(ev))
    }

    /// What the session has to say of itself: losses and the recorder's health.
    fn own_events(&mut self, batch: &mut Vec<Event>) {
        let lost = self.hub.take_lost();
        if lost > 0 {
            batch.push(self.now(SessionEvent::Overflow { queue: "events".to_owned(), lost }));
        }
        batch.extend(self.flood.told(self.clock.now(), false));
        while let Some(change) = self.recorder.take_change() {
            batch.push(self.now(match change {
                Change::Trouble(why) => SessionEvent::RecorderTrouble { why },
                Change::Recovered { kept } => SessionEvent::RecorderRecovered { kept },
            }));
        }
    }

    /// Records and folds in, in one order.
    fn take(&mut self, batch: &mut Vec<Event>) {
        if batch.is_empty() {
            return;
        }
        let mut recorded = Vec::with_capacity(batch.len() + 1);
        for event in batch.drain(..) {
            let event = finite::only(event);
            if self.flood.repeats(&event) {
                continue;
            }
            let Some(event) = self.bounded(event) else { continue };
            let full = !self.record(&event);
            recorded.push(event);
            if full {
                self.unrecorded += 1;
            } else if self.unrecorded > 0 {
                let lost = self.unrecorded;
                let told = self.now(SessionEvent::Overflow { queue: "recorder".to_owned(), lost });
                self.write(&told);
                if self.record(&told) {
                    self.unrecorded = 0;
                    recorded.push(told);
                }
            }
        }
        self.shared.update(|state| recorded.iter().for_each(|event| state.apply(event)));
    }

    /// The event as it is recorded and folded in, its record being in `line`; None of one that is left out, and
    /// counted.
    fn bounded(&mut self, event: Event) -> Option<Event> {
        let bytes = self.write(&event);
        if bytes <= flood::RECORD {
            return self.flood.passes(&event, bytes).then_some(event);
        }
        let mut event = flood::shortened(event, bytes);
        let bytes = self.write(&event);
        if bytes > flood::RECORD {
            event = flood::too_long(&event, bytes);
            self.write(&event);
        }
        self.flood.passes(&event, bytes.min(flood::RECORD)).then_some(event)
    }

    /// Makes the record of an event; says how long it is, bytes.
    fn write(&mut self, event: &Event) -> usize {
        self.line.clear();
        // What cannot be written leaves no line, and is refused by the recorder.
        if serde_json::to_writer(&mut self.line, event).is_err() {
            self.line.clear();
            return 0;
        }
        // JSON leaves C1 and marks of direction as they are; the file may be looked at in a terminal.
        if !self.line.is_ascii()
            && let Ok(text) = std::str::from_utf8(&self.line)
            && let std::borrow::Cow::Owned(safe) = crate::text::json(text)
        {
            self.line = safe.into_bytes();
        }
        self.line.push(b'\n');
        self.line.len()
    }

    /// Hands the record of an event to the recorder.
    fn record(&self, event: &Event) -> bool {
        !self.line.is_empty() && self.recorder.push(&self.line, urgency(event))
    }
}

fn urgency(event: &Event) -> Urgency {
    match &event.ev {
        Body::Migration(MigrationEvent::Ended { .. } | MigrationEvent::Settled { .. }) => Urgency::Sync,
        Body::Migration(_) | Body::Hypervisor(HvEvent::Phase { .. }) | Body::Session(_) => Urgency::Flush,
        _ => Urgency::Usual,
    }
}

#[cfg(test)]
mod tests;
