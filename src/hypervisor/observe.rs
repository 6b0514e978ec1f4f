//! What a driver sees: every fact into the event stream, the newest state into an [`Observation`].

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
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
        }
    }
}

/// A migration is not watched any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the migration is not watched any more")]
pub struct Unwatched;

/// A state, and its number.
#[derive(Debug, Clone, Default)]
struct Numbered {
    n: u64,
    is: Observation,
}

/// The states of a running migration, newest first: what was missed in between is not shown again. Asking for the
/// next one says that whatever follows from the last has been ordered: a hypervisor whose time is simulated
/// goes on only then.
#[derive(Debug, Clone)]
pub struct Observations {
    rx: watch::Receiver<Numbered>,
    judged: Arc<Judgement>,
    taken: u64,
}

impl Observations {
    /// The next state, once there is one that was not seen; the first time, the one there is. The one before
    /// counts as judged from here on. May be dropped before it comes to something.
    ///
    /// # Errors
    /// If nothing more can be seen of the migration.
    pub async fn next(&mut self) -> Result<Observation, Unwatched> {
        let taken = self.taken;
        self.judged.reached(taken);
        let now = self.rx.wait_for(|now| now.n > taken).await.map_err(|_| Unwatched)?.clone();
        self.taken = now.n;
        Ok(now.is)
    }

    /// The newest state, for a look that decides nothing.
    #[must_use]
    pub fn now(&self) -> Observation {
        self.rx.borrow().is.clone()
    }
}

/// The pen of a migration that runs: writes facts to the event stream, each once, and keeps the [`Observation`].
/// Dropped, its [`Observations`] end.
#[derive(Debug)]
pub struct Observer {
    sink: EventSink,
    tx: watch::Sender<Numbered>,
    judged: Arc<Judgement>,
}

impl Observer {
    /// A pen writing into `sink`.
    #[must_use]
    pub fn new(sink: EventSink) -> Self {
        let first = Numbered { n: 1, is: Observation::default() };
        Self { sink, tx: watch::Sender::new(first), judged: Arc::default() }
    }

    /// A reader of the states.
    #[must_use]
    pub fn observe(&self) -> Observations {
        Observations { rx: self.tx.subscribe(), judged: Arc::clone(&self.judged), taken: 0 }
    }

    /// Tells the state anew although it may be the same, since time has passed. Comes to its number, for
    /// [`Observer::wait_judged`].
    pub fn renew(&self, change: impl FnOnce(&mut Observation)) -> u64 {
        let mut n = 0;
        self.tx.send_modify(|state| {
            change(&mut state.is);
            state.n += 1;
            n = state.n;
        });
        n
    }

    /// Waits until the state of that number has been judged and what follows from it has been ordered; for a
    /// hypervisor whose time is simulated. Blocks, but never for longer than `within`, nor after
    /// [`Observer::judge_no_more`].
    pub fn wait_judged(&self, n: u64, within: Duration) {
        self.judged.wait(n, within);
    }

    /// Nobody judges any more: nothing waits for it.
    pub fn judge_no_more(&self) {
        self.judged.reached(u64::MAX);
    }

    /// The newest state.
    #[must_use]
    pub fn now(&self) -> Observation {
        self.tx.borrow().is.clone()
    }

    /// The event stream.
    #[must_use]
    pub fn sink(&self) -> &EventSink {
        &self.sink
    }

    /// Changes the state without a fact of its own.
    pub fn update(&self, change: impl FnOnce(&mut Observation)) {
        self.tx.send_if_modified(|state| {
            let before = state.is.clone();
            change(&mut state.is);
            let is_new = state.is != before;
            state.n += u64::from(is_new);
            is_new
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
            let o = &self.tx.borrow().is;
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
        if self.tx.borrow().is.round.is_none_or(|r| round > r) {
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

/// Up to which state all have been judged.
#[derive(Debug, Default)]
struct Judgement {
    to: Mutex<u64>,
    changed: Condvar,
}

impl Judgement {
    fn reached(&self, n: u64) {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        if *to < n {
            *to = n;
            self.changed.notify_all();
        }
    }

    fn wait(&self, n: u64, within: Duration) {
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(to, within, |to| *to < n));
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
