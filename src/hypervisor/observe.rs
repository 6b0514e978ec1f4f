//! What a driver sees: every fact into the event stream, the newest state into an [`Observation`].

use tokio::sync::watch;

use crate::event::{Body, EventSink, ForeignTime, HvEvent, Level, LogEvent, Nanos, Phase, Sample, Substate};

/// An end of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where the guest comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl Side {
    /// The word of the vocabulary.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// The newest state of a migration. Unknown is `None`, never 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The phase, in our words.
    pub phase: Phase,
    /// The product's own word.
    pub raw: String,
    /// What is out of the ordinary in the phase.
    pub substate: Option<Substate>,
    /// The pre-copy round that is running, from 1.
    pub round: Option<u64>,
    /// What remained at the first look at this round, bytes. Only this tells how much a round has
    /// to send: later in the round `remaining` falls towards zero although the guest dirties on.
    pub round_remaining_bytes: Option<u64>,
    /// The newest figures.
    pub sample: Sample,
    /// Memory figures of `sample` are those of an earlier look: the newest answer had none.
    pub sample_kept: bool,
    /// Whether the guest runs at the source.
    pub source_running: Option<bool>,
    /// Whether the guest runs at the destination.
    pub destination_running: Option<bool>,
    /// Everything has been handed over: the source is no longer needed.
    pub complete: bool,
    /// Why the source is gone, if it is.
    pub source_lost: Option<String>,
    /// Why the destination is gone, if it is.
    pub destination_lost: Option<String>,
    /// What went wrong, in the product's own words where it said any.
    pub error: Option<String>,
    /// What befell the guest last, in words.
    pub befell: Option<String>,
    /// The product's own rule gave up on convergence: when (ns of the session clock), and the rule in
    /// words.
    pub gave_up: Option<(Nanos, String)>,
    /// When all this was so, ns of the session clock, where time is the driver's own making (a
    /// simulated hypervisor). None: now, as far as anybody can tell.
    pub at: Option<Nanos>,
}

impl Default for Observation {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            raw: String::new(),
            substate: None,
            round: None,
            round_remaining_bytes: None,
            sample: Sample::default(),
            sample_kept: false,
            source_running: None,
            destination_running: None,
            complete: false,
            source_lost: None,
            destination_lost: None,
            error: None,
            befell: None,
            gave_up: None,
            at: None,
        }
    }
}

/// A driver's pen: writes facts to the event stream, each once, and keeps the [`Observation`].
#[derive(Debug)]
pub struct Observer {
    sink: EventSink,
    tx: watch::Sender<Observation>,
}

impl Observer {
    /// A pen writing into `sink`.
    #[must_use]
    pub fn new(sink: EventSink) -> Self {
        Self { sink, tx: watch::Sender::new(Observation::default()) }
    }

    /// A reader of the newest state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Observation> {
        self.tx.subscribe()
    }

    /// The newest state.
    #[must_use]
    pub fn now(&self) -> Observation {
        self.tx.borrow().clone()
    }

    /// The event stream.
    #[must_use]
    pub fn sink(&self) -> &EventSink {
        &self.sink
    }

    /// Changes the state without a fact of its own.
    pub fn update(&self, change: impl FnOnce(&mut Observation)) {
        self.tx.send_if_modified(|o| {
            let before = o.clone();
            change(o);
            *o != before
        });
    }

    /// The migration is in `phase`, called `raw` by the product; an event only if either is new.
    pub fn phase(&self, t: Nanos, phase: Phase, raw: &str) {
        self.phase_within(t, phase, raw, None);
    }

    /// The migration is in `phase`, called `raw` by the product, with this out of the ordinary; an event
    /// only if any of them is new.
    pub fn phase_within(&self, t: Nanos, phase: Phase, raw: &str, substate: Option<Substate>) {
        let is_new = {
            let o = self.tx.borrow();
            o.phase != phase || o.raw != raw || o.substate != substate
        };
        if is_new {
            self.sink.emit_at(t, Body::Hypervisor(HvEvent::Phase { phase, raw: raw.to_owned(), substate }));
            self.update(|o| {
                o.phase = phase;
                o.substate = substate;
                raw.clone_into(&mut o.raw);
            });
        }
    }

    /// Round `round` has begun; an event only if it is later than the last.
    pub fn round(&self, t: Nanos, round: u64, at: Option<ForeignTime>) {
        if self.tx.borrow().round.is_none_or(|r| round > r) {
            self.sink.emit_at(t, Body::Hypervisor(HvEvent::Round { round, at }));
            self.update(|o| {
                o.round = Some(round);
                o.round_remaining_bytes = None;
            });
        }
    }

    /// A remark for the event log.
    pub fn log(&self, level: Level, from: &str, text: String) {
        self.sink.emit(Body::Log(LogEvent { level, from: from.to_owned(), text }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Hub, SessionClock};

    #[test]
    fn phases_and_rounds_are_told_once() {
        let (sink, hub) = Hub::new(SessionClock::start(), 64);
        let o = Observer::new(sink);
        for _ in 0..3 {
            o.phase(1, Phase::PreCopy, "active");
            o.round(2, 1, None);
        }
        o.round(3, 3, None);
        o.round(4, 2, None);
        o.phase(5, Phase::Unknown, "dreaming");
        let told: Vec<_> = hub.rx.try_iter().map(|e| e.ev).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(o.now().round, Some(3));
        assert_eq!(o.now().raw, "dreaming");
    }
}
