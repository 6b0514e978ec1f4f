//! Products whose migration is one call that comes back when it is over: what they have in common.
//!
//! The call's output is read while it runs. That it has come back is not the end of the migration: a command
//! can be killed, or lose its connection, and what it began goes on. So the guest is looked for then, and while
//! somebody still has it under way it is followed until it is seen to stand or run somewhere.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::exec::{Control, Process, Step, ending};
use super::place::Condition;
use super::{HvError, Migration, Observation, Observations, Observer, Order, Place, Side};
use crate::event::{Body, EventSink, HvEvent, Level, Phase, Sample, Substate};

/// Between two looks for a guest whose migration goes on without its command.
const LOOK: Duration = Duration::from_millis(500);
/// How long it is looked for a guest of which nothing is known, or which lacks what may never come.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);
/// How long a guest that is on its way between two hosts, or still pulls its memory, may be so.
const ARRIVE_WITHIN: Duration = Duration::from_secs(300);
/// How much of the output becomes events, bytes: hours of a tool that tells its progress ten times a second. Of what
/// comes after only errors are read.
const TOLD_LIMIT: usize = 8 << 20;

/// What a line of output says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// The phase that has begun.
    pub phase: Option<Phase>,
    /// The guest has been stopped at the source.
    pub stopped: bool,
    /// The guest runs at the destination.
    pub resumed: bool,
    /// The migration was cancelled.
    pub cancelled: bool,
    /// What went wrong.
    pub error: Option<String>,
    /// Figures.
    pub sample: Sample,
}

/// Where the guest is, and whether a migration still has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Where it is.
    pub place: Place,
    /// A migration of it is under way, as far as can be seen.
    pub under_way: bool,
}

/// One migration, as its product knows it.
#[async_trait]
pub trait Call: Send + Sync {
    /// Our names of source and destination.
    fn hosts(&self) -> (&str, &str);

    /// Whether it can be asked where the guest is.
    fn is_located(&self) -> bool;

    /// The phase until the output says another.
    fn first_phase(&self) -> Phase {
        Phase::Setup
    }

    /// What a line of output says.
    fn read(&self, line: &str) -> Heard;

    /// Where the guest is. Returns within seconds.
    async fn look(&self) -> Look;

    /// Gives an order. `running` is the call, if it has not come back.
    ///
    /// # Errors
    /// [`HvError::NotNow`] if it is not offered, or not now; it was not carried out then.
    async fn order(&self, order: &Order, running: Option<&Control>) -> Result<(), HvError>;
}

/// A migration that is one call. Dropped, the call is ended; the migration may go on all the same.
pub struct Blocking {
    shared: Arc<Shared>,
    watcher: AbortHandle,
}

struct Shared {
    call: Arc<dyn Call>,
    observer: Observer,
    control: Option<Control>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// We have stopped the guest: its output may know nothing of it.
    stopped: bool,
    cancelling: bool,
    cancelled: bool,
    error: Option<String>,
    last_line: Option<String>,
    told: usize,
    /// The command said that all went well; there is nobody else to ask.
    only_said: bool,
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Blocking {
    /// Watches a call that has just been made. Needs a runtime of tokio's.
    #[must_use]
    pub fn start(call: Arc<dyn Call>, process: Process, sink: EventSink) -> Self {
        Self::new(call, Some(process), sink)
    }

    /// Watches a migration that somebody else began, by where the guest is.
    #[must_use]
    pub fn join(call: Arc<dyn Call>, sink: EventSink) -> Self {
        Self::new(call, None, sink)
    }

    fn new(call: Arc<dyn Call>, process: Option<Process>, sink: EventSink) -> Self {
        let control = process.as_ref().map(Process::control);
        let shared = Arc::new(Shared { call, observer: Observer::new(sink), control, state: Mutex::default() });
        let first = if process.is_some() { shared.call.first_phase() } else { Phase::Moving };
        shared.observer.phase(shared.now(), first, if process.is_some() { "started" } else { "seen under way" });
        let watching = Arc::clone(&shared);
        let watcher = tokio::spawn(async move {
            let ended = match process {
                Some(process) => Some(watching.listen(process).await),
                None => None,
            };
            watching.conclude(ended).await;
            // Observations end when it is left, not when there is nothing more to see.
            std::future::pending::<()>().await;
        });
        Self { shared, watcher: watcher.abort_handle() }
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.observer.sink().clock().now()
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn log(&self, level: Level, text: String) {
        self.observer.log(level, self.call.hosts().0, text);
    }

    /// Reads the output to its end.
    async fn listen(&self, mut process: Process) -> ExitStatus {
        loop {
            match process.next().await {
                Step::Ended(status) => return status,
                Step::Said(piece) => {
                    if piece.whole {
                        self.tell(&piece.text);
                    }
                    self.hear(&piece.text);
                }
            }
        }
    }

    /// A line as an event, if it is not the same as the last.
    fn tell(&self, line: &str) {
        let (is_new, before, after) = self.state(|state| {
            let is_new = state.last_line.as_deref() != Some(line);
            if is_new {
                state.last_line = Some(line.to_owned());
            }
            let before = state.told;
            state.told += if is_new { line.len() } else { 0 };
            (is_new, before, state.told)
        });
        if is_new && after <= TOLD_LIMIT {
            let (host, data) = (self.call.hosts().0.to_owned(), Value::from(line));
            self.observer.sink().emit(Body::Hypervisor(HvEvent::Raw { host, name: "output".into(), at: None, data }));
        } else if before <= TOLD_LIMIT && after > TOLD_LIMIT {
            self.log(
                Level::Warn,
                format!("the command says more than {} MiB: no more of it is kept", TOLD_LIMIT >> 20),
            );
        }
    }

    fn hear(&self, line: &str) {
        let heard = self.call.read(line);
        let (from, to) = self.call.hosts();
        let t = self.now();
        let (stopped, told) = self.state(|state| {
            state.cancelled |= heard.cancelled;
            if heard.error.is_some() {
                state.error.clone_from(&heard.error);
            }
            (state.stopped, state.told)
        });
        if told > TOLD_LIMIT {
            return;
        }
        let before = self.observer.now();
        // The output of a guest that we stopped goes on about its copying.
        let holds = stopped && matches!(heard.phase, Some(Phase::Setup | Phase::Moving | Phase::PreCopy));
        if let Some(phase) = heard.phase.filter(|phase| *phase != before.phase && !holds) {
            self.observer.phase_within(t, phase, line, before.substate);
        }
        if let Some(round) = heard.sample.round {
            self.observer.round(t, round, None);
        }
        let sample = newer(&before.sample, heard.sample.clone());
        if heard.sample != Sample::default() && sample != before.sample {
            let raw = Value::from(line);
            self.observer.sink().emit_at(t, Body::Hypervisor(HvEvent::Sample { sample: sample.clone(), raw }));
            self.observer.update(|o| {
                o.sample = sample;
                if o.round_remaining_bytes.is_none() {
                    o.round_remaining_bytes = o.sample.remaining_bytes;
                }
            });
        }
        if heard.stopped && before.source_running != Some(false) {
            self.ran(from, false, |o| o.source_running = Some(false));
        }
        if heard.resumed && before.destination_running != Some(true) {
            self.ran(to, true, |o| o.destination_running = Some(true));
        }
    }

    fn ran(&self, host: &str, runs: bool, change: impl FnOnce(&mut Observation)) {
        let (host, at) = (host.to_owned(), None);
        let fact = if runs { HvEvent::Resumed { host, at } } else { HvEvent::Stopped { host, at } };
        self.observer.sink().emit(Body::Hypervisor(fact));
        self.observer.update(change);
    }

    /// The call is over, or there was none: finds what became of the migration, and tells its end.
    async fn conclude(&self, ended: Option<ExitStatus>) {
        let well = ended.is_none_or(|status| status.success());
        let said = ended.map(|status| match self.state(|s| (s.error.clone(), s.last_line.clone())) {
            (Some(error), _) if !well => format!("{error} ({})", ending(status)),
            (None, Some(line)) if !well => format!("the command ended ({}), and said last: {line}", ending(status)),
            _ => format!("the command ended ({})", ending(status)),
        });
        if !self.call.is_located() {
            return self.believe(well, said.unwrap_or_default());
        }
        let begun = Instant::now();
        let mut known = Instant::now();
        let mut told = false;
        loop {
            let look = self.call.look().await;
            self.see(&look.place);
            let arrived = matches!(&look.place, Place::Destination { whole: Some(true), .. });
            let patience = match &look.place {
                _ if arrived => return self.done(well, said.as_deref(), &look.place),
                // It runs at the source and a migration has it: that may take as long as it takes.
                Place::Source(Condition::Runs) if look.under_way => {
                    known = Instant::now();
                    Duration::MAX
                }
                Place::Source(_) if look.under_way => KNOWN_WITHIN,
                Place::Unknown(_) => KNOWN_WITHIN,
                Place::Moving | Place::Destination { .. } => ARRIVE_WITHIN,
                Place::Source(_) | Place::Both | Place::Nowhere => return self.over(well, said),
            };
            if known.elapsed() > patience {
                let seconds = begun.elapsed().as_secs();
                let said = said.unwrap_or_else(|| "it was not begun by blackout".into());
                return self.failed(format!("{said}; after {seconds} s it is still not known what became of it"));
            }
            if !std::mem::replace(&mut told, true) && ended.is_some() {
                let said = said.as_deref().unwrap_or_default();
                let goes = if look.under_way { "the migration goes on" } else { "where the guest is, is not clear" };
                self.log(Level::Warn, format!("{said}; {goes}, and is followed by asking where the guest is"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn see(&self, place: &Place) {
        let (source, destination) = match place {
            Place::Source(is) => (Some(*is == Condition::Runs), None),
            Place::Destination { is, .. } => (Some(false), Some(*is == Condition::Runs)),
            Place::Both => (Some(true), Some(true)),
            Place::Nowhere | Place::Moving | Place::Unknown(_) => (None, None),
        };
        self.observer.update(|o| {
            o.source_running = source.or(o.source_running);
            o.destination_running = destination.or(o.destination_running);
        });
    }

    /// Nobody can be asked: what the command says is all there is, and is told as that.
    fn believe(&self, well: bool, said: String) {
        if !well {
            return self.failed(said);
        }
        self.state(|state| state.only_said = true);
        self.log(Level::Warn, "that the guest has arrived is what the command says: there is no 'where' to ask".into());
        self.observer.update(|o| o.complete = true);
        self.observer.phase(self.now(), Phase::Done, &format!("{said}; not asked where the guest is"));
    }

    fn done(&self, well: bool, said: Option<&str>, place: &Place) {
        if let (false, Some(said)) = (well, said) {
            self.log(Level::Warn, format!("{said}; the guest has arrived all the same"));
        }
        let is_running = matches!(place, Place::Destination { is: Condition::Runs, .. });
        self.observer.update(|o| {
            o.complete = true;
            o.destination_running = Some(is_running);
        });
        self.observer.phase(self.now(), Phase::Done, said.unwrap_or("the guest has arrived"));
    }

    /// The migration is over, and the guest is not at the destination.
    fn over(&self, well: bool, said: Option<String>) {
        let cancelled = self.state(|state| state.cancelled || state.cancelling);
        match said {
            _ if cancelled => {
                self.observer.phase(self.now(), Phase::Cancelled, said.as_deref().unwrap_or("cancelled"));
            }
            Some(said) if well => {
                let error = self.state(|state| state.error.clone()).map(|e| format!("{e}; ")).unwrap_or_default();
                self.failed(format!("{error}{said}, but the guest is not at the destination"));
            }
            Some(said) => self.failed(said),
            None => self.failed("it ended, and the guest is not at the destination; whoever began it knows why".into()),
        }
    }

    fn failed(&self, why: String) {
        let raw = why.clone();
        self.observer.update(|o| o.error = Some(why));
        self.observer.phase(self.now(), Phase::Failed, &raw);
    }
}

#[async_trait]
impl Migration for Blocking {
    fn observe(&self) -> Observations {
        self.shared.observer.observe()
    }

    async fn order(&self, order: Order) -> Result<(), HvError> {
        let shared = &self.shared;
        let now = shared.observer.now();
        if now.phase.is_over() && !matches!(order, Order::Resume(_)) {
            return Err(HvError::NotNow {
                what: order.words().trim_start_matches("to ").into(),
                why: "it is over".into(),
            });
        }
        let before = shared.state(|state| {
            let before = state.cancelling;
            // From before the order: it may have ended the command before it is answered.
            state.cancelling |= order == Order::Cancel;
            before
        });
        let running = shared.control.as_ref().filter(|control| control.lives());
        let done = shared.call.order(&order, running).await;
        match (&order, &done) {
            (Order::Cancel, Err(e)) if !e.is_unanswered() => shared.state(|state| state.cancelling = before),
            (Order::Cancel, Ok(())) => {
                let now = shared.observer.now();
                if !now.phase.is_over() {
                    shared.observer.phase_within(shared.now(), now.phase, &now.raw, Some(Substate::Cancelling));
                }
            }
            (Order::StopSource, Ok(())) => {
                shared.state(|state| state.stopped = true);
                let now = shared.observer.now();
                if !now.phase.is_over() {
                    shared.observer.phase(shared.now(), Phase::StopAndCopy, &now.raw);
                    shared.observer.update(|o| o.source_running = Some(false));
                }
            }
            (Order::Resume(Side::Source), Ok(())) => shared.observer.update(|o| o.source_running = Some(true)),
            (Order::Resume(Side::Destination), Ok(())) => {
                shared.observer.update(|o| o.destination_running = Some(true));
            }
            _ => {}
        }
        done
    }

    async fn locate(&self) -> Place {
        if self.shared.state(|state| state.only_said) {
            return Place::Destination { is: Condition::Runs, whole: Some(true) };
        }
        self.shared.call.look().await.place
    }

    async fn leave(&self) {
        self.watcher.abort();
    }
}

/// `new` where it says something, else `old`.
#[must_use]
pub fn newer(old: &Sample, new: Sample) -> Sample {
    Sample {
        transferred_bytes: new.transferred_bytes.or(old.transferred_bytes),
        remaining_bytes: new.remaining_bytes.or(old.remaining_bytes),
        total_bytes: new.total_bytes.or(old.total_bytes),
        round: new.round.or(old.round),
        dirty_pages_per_s: new.dirty_pages_per_s.or(old.dirty_pages_per_s),
        throughput_bytes_per_s: new.throughput_bytes_per_s.or(old.throughput_bytes_per_s),
        throttle_pct: new.throttle_pct.or(old.throttle_pct),
        expected_downtime_ms: new.expected_downtime_ms.or(old.expected_downtime_ms),
        downtime_ms: new.downtime_ms.or(old.downtime_ms),
        total_time_ms: new.total_time_ms.or(old.total_time_ms),
        setup_time_ms: new.setup_time_ms.or(old.setup_time_ms),
        zero_pages: new.zero_pages.or(old.zero_pages),
        progress: new.progress.or(old.progress),
    }
}
