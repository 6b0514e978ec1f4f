//! Watching one migration: the events of both QEMUs and `query-migrate` at 10 Hz become phases,
//! rounds, samples and the observation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use super::bounds::{Fold, name};
use super::client::QmpEvent;
use super::host::{Note, QmpHost};
use super::status::{Whereabouts, incident, is_final, keep, phase_of, sample, substate_of};
use crate::event::{Body, HvEvent, Level, Phase};
use crate::hypervisor::{HvError, Observer, Side};
use crate::text::{TEXT_LIMIT, capped};

/// How long the last answer may be waited for before the end is told without it.
const FINAL_PATIENCE: Duration = Duration::from_secs(3);

/// The least distance of two looks.
const LOOKS_APART: Duration = Duration::from_millis(10);

/// One answer to `query-migrate`, or why there was none.
struct Look {
    asked: Instant,
    received: Instant,
    answer: Result<Value, HvError>,
}

/// Watches one migration from the command to its end.
pub(super) struct Watcher {
    pub(super) observer: Arc<Observer>,
    pub(super) source: Arc<QmpHost>,
    pub(super) destination: Arc<QmpHost>,
    pub(super) source_notes: broadcast::Receiver<Note>,
    pub(super) destination_notes: broadcast::Receiver<Note>,
    pub(super) guest: Whereabouts,
    /// The source tells rounds by event; otherwise they are read off the samples.
    pub(super) rounds_by_event: bool,
    pub(super) every: Duration,
    pub(super) state: WatchState,
}

/// What the watcher remembers between two facts.
#[derive(Debug, Default)]
pub(super) struct WatchState {
    raw: String,
    /// When the source last told its status by event: older answers say nothing of it.
    told: Option<Instant>,
    /// When the last word on the migration came, until it is told on.
    final_since: Option<Instant>,
    /// The last answer is in (or will not come).
    answered: bool,
    over: bool,
    /// No further note will come from there.
    source_closed: bool,
    destination_closed: bool,
    /// Remarks on looks that failed.
    blind: Fold,
    /// Remarks on answers that were too much to be kept.
    cut: Fold,
}

impl Watcher {
    /// Watches until the migration is over and its last figures are in.
    pub(super) async fn run(mut self) {
        let (tx, mut looks) = mpsc::channel(64);
        let now = Arc::new(Notify::new());
        let polling = poll(Arc::clone(&self.source), self.every, Arc::clone(&now), tx);
        let watching = async {
            let mut late = interval(Duration::from_millis(100));
            while !self.state.over {
                tokio::select! {
                    // Events before answers: they carry the sharper times.
                    biased;
                    note = self.source_notes.recv(), if !self.state.source_closed => self.hear(Side::Source, note, &now),
                    note = self.destination_notes.recv(), if !self.state.destination_closed => self.hear(Side::Destination, note, &now),
                    Some(look) = looks.recv() => self.look(look),
                    _ = late.tick() => self.lateness(),
                }
            }
        };
        tokio::select! {
            () = polling => {}
            () = watching => {}
        }
    }

    fn t(&self, at: Instant) -> u64 {
        self.observer.sink().clock().at(at)
    }

    fn hear(&mut self, side: Side, note: Result<Note, RecvError>, now: &Notify) {
        match note {
            Ok(Note::Event(event)) => self.event(side, &event, now),
            Ok(Note::Lost) => self.lost(side),
            Ok(Note::Missed) => {
                self.catch_up(side);
                now.notify_one();
            }
            // Events that came too fast for us are in the stream all the same (the host told
            // them); the state they led to is asked for.
            Err(RecvError::Lagged(_)) => {
                self.catch_up(side);
                now.notify_one();
            }
            Err(RecvError::Closed) => self.lost(side),
        }
    }

    /// Takes the guest's state at one end from what the host knows.
    fn catch_up(&mut self, side: Side) {
        match side {
            Side::Source => {
                let running = self.source.view().borrow().running;
                self.guest.stopped = !self.guest.asleep && running == Some(false);
                self.observer.update(|o| o.source_running = running);
            }
            Side::Destination => {
                let running = self.destination.view().borrow().running;
                self.guest.resumed = running == Some(true);
                self.observer.update(|o| o.destination_running = running);
            }
        }
        self.tell_phase(Instant::now());
    }

    fn event(&mut self, side: Side, event: &QmpEvent, now: &Notify) {
        let t = self.t(event.received);
        if let Some((what, detail)) = incident(&event.name, &event.data) {
            let detail = if detail.is_empty() { detail } else { format!(" ({detail})") };
            let text = format!("the guest {} at the {}{detail}", what.words(), side.word());
            self.observer.update(|o| o.befell = Some(text));
        }
        match (side, event.name.as_str()) {
            (Side::Source, "STOP" | "RESUME") => {
                let runs = event.name == "RESUME";
                self.guest.stopped = !self.guest.asleep && !runs;
                self.observer.update(|o| o.source_running = Some(runs));
                self.tell_phase(event.received);
            }
            (Side::Destination, "STOP" | "RESUME") => {
                let runs = event.name == "RESUME";
                self.guest.resumed = runs;
                self.observer.update(|o| o.destination_running = Some(runs));
                self.tell_phase(event.received);
            }
            (Side::Source, "MIGRATION") => {
                if let Some(raw) = event.data["status"].as_str() {
                    self.state.told = Some(event.received);
                    self.status(&name(raw), event.received);
                    now.notify_one();
                }
            }
            (Side::Source, "MIGRATION_PASS") => {
                // QEMU also counts the passes with the guest stopped; those are no pre-copy rounds.
                if let Some(pass) = event.data["pass"].as_u64()
                    && !self.guest.stopped
                    && !self.guest.resumed
                {
                    self.observer.round(t, pass, event.at);
                    now.notify_one();
                }
            }
            _ => {}
        }
    }

    /// The source's status is `raw` since `at`.
    fn status(&mut self, raw: &str, at: Instant) {
        if is_final(&self.state.raw) && !is_final(raw) {
            return;
        }
        raw.clone_into(&mut self.state.raw);
        if is_final(raw) && self.state.final_since.is_none() {
            self.state.final_since = Some(at);
            if raw == "completed" {
                self.observer.update(|o| o.complete = true);
            }
        }
        self.tell_phase(at);
    }

    /// Tells the phase that follows from all that is known. The end is told with the last answer
    /// in hand, since that has the reason of a failure and the figures of a success.
    fn tell_phase(&mut self, at: Instant) {
        if self.state.over || self.state.raw.is_empty() {
            return;
        }
        let phase = phase_of(&self.state.raw, self.guest);
        let before = self.observer.now().phase;
        let told = match phase {
            Phase::Done if !self.state.answered && before == Phase::PostCopy => Phase::PostCopy,
            Phase::Done if !self.state.answered && self.guest.resumed => Phase::Recovery,
            Phase::Done | Phase::Failed | Phase::Cancelled if !self.state.answered => return,
            other => other,
        };
        let t = self.t(at);
        if told == Phase::Done && self.guest.resumed && before == Phase::StopAndCopy {
            self.observer.phase(t, Phase::Recovery, &self.state.raw);
        }
        let raw = self.state.raw.clone();
        // A status that goes on behind a phase of its own says nothing about that phase.
        let substate = substate_of(&raw).filter(|_| told != Phase::Recovery);
        self.observer.phase_within(t, told, &raw, substate);
        self.state.over = told.is_over() && told != Phase::Idle;
    }

    fn look(&mut self, look: Look) {
        let t = self.t(look.received);
        let answer = match look.answer {
            Ok(answer) => answer,
            Err(e) => {
                let remark = || format!("cannot look at the migration: {e}");
                if !matches!(e, HvError::Lost { .. })
                    && let Some(text) = self.state.blind.say(1, remark)
                {
                    self.observer.log(Level::Warn, self.source.name(), text);
                }
                return;
            }
        };
        let figures = sample(&answer);
        let raw = name(answer["status"].as_str().unwrap_or_default());
        let has_ram = answer.get("ram").is_some();
        let error = answer["error-desc"].as_str().map(|text| capped(text, TEXT_LIMIT).into_owned());
        let (kept, whole) = self.source.kept(answer);
        let remark = "it says more of the migration than can be kept: its figures are recorded, not all of its words";
        if let Some(text) = self.state.cut.say(u64::from(!whole), || remark.to_owned()) {
            self.observer.log(Level::Warn, self.source.name(), text);
        }
        let body = HvEvent::Sample { sample: figures.clone(), raw: kept };
        self.observer.sink().emit_at(t, Body::Hypervisor(body));
        let at_source = !self.guest.stopped && !self.guest.resumed;
        if let Some(round) = figures.round.filter(|r| *r > 0 && !self.rounds_by_event && at_source) {
            self.observer.round(t, round, None);
        }
        self.observer.update(|o| {
            if o.round_remaining_bytes.is_none() && figures.round.is_some() && figures.round >= o.round {
                o.round_remaining_bytes = figures.remaining_bytes;
            }
            (o.sample, o.sample_kept) = keep(figures, &o.sample);
            if error.is_some() {
                o.error = error;
            }
        });
        // An answer asked for before the last event may be older than it.
        if raw.is_empty() || !is_final(&raw) && self.state.told.is_some_and(|told| look.asked < told) {
            return;
        }
        if is_final(&raw) {
            if !has_ram {
                let text = "the last answer has no memory figures; those of the last look stand".to_owned();
                self.observer.log(Level::Info, self.source.name(), text);
            }
            self.state.answered = true;
        }
        self.status(&raw, look.received);
    }

    fn lost(&mut self, side: Side) {
        let (host, closed) = match side {
            Side::Source => (&self.source, &mut self.state.source_closed),
            Side::Destination => (&self.destination, &mut self.state.destination_closed),
        };
        *closed = true;
        let why = host.view().borrow().lost.clone().unwrap_or_else(|| "its monitor ended".into());
        let text = format!("the {} '{}' is gone: {why}", side.word(), host.name());
        self.observer.update(|o| {
            o.error.get_or_insert_with(|| text.clone());
            match side {
                Side::Source => (o.source_lost, o.source_running) = (Some(why.clone()), None),
                Side::Destination => (o.destination_lost, o.destination_running) = (Some(why.clone()), None),
            }
        });
        if side == Side::Source {
            self.state.answered = true;
            // What became of the migration is not said by that: the destination may have everything.
            if self.state.raw == "completed" {
                self.tell_phase(Instant::now());
            }
        }
    }

    /// Tells the end without the last answer when that is long overdue.
    fn lateness(&mut self) {
        // It was found to run by asking, and its own word for that was missed.
        let running = self.destination.view().borrow().running;
        if running == Some(true) && self.observer.now().destination_running != running {
            self.catch_up(Side::Destination);
        }
        if !self.state.answered && self.state.final_since.is_some_and(|t| t.elapsed() > FINAL_PATIENCE) {
            let text = "it gave no last answer to query-migrate; its own figures are missing".to_owned();
            self.observer.log(Level::Warn, self.source.name(), text);
            self.state.answered = true;
            self.tell_phase(Instant::now());
        }
    }
}

/// Asks `query-migrate` at a steady pace, and at once when told to. QEMU renews its figures each
/// 100 ms; while it hands over the last of the memory it answers nothing.
async fn poll(source: Arc<QmpHost>, every: Duration, now: Arc<Notify>, looks: mpsc::Sender<Look>) {
    let mut pace = interval(every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            () = now.notified() => {}
        }
        let asked = Instant::now();
        let answer = source.execute("query-migrate", Value::Null).await;
        let lost = matches!(answer, Err(HvError::Lost { .. }));
        // However many events ask for a look.
        let rest = LOOKS_APART.saturating_sub(asked.elapsed());
        if looks.send(Look { asked, received: Instant::now(), answer }).await.is_err() || lost {
            break;
        }
        tokio::time::sleep(rest).await;
    }
    // The watcher says when it is over, not the poll.
    std::future::pending::<()>().await;
}
