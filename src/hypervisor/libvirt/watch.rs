//! Watching one migration: events of both hosts, looks at the job at 10 Hz, and the command that began it become
//! phases, rounds, samples and the observation.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::course::Course;
use super::domstate;
use super::events::LibvirtEvent;
use super::host::{Note, lock};
use super::jobinfo::{Job, Said};
use super::lane::Lane;
use crate::event::{Body, HvEvent, Level, Phase, Substate};
use crate::hypervisor::exec::{Process, Step, ending};
use crate::hypervisor::place::{Condition, Place};
use crate::hypervisor::{Observer, Side};

/// Between two looks at the job. QEMU renews its figures each 100 ms.
const EVERY: Duration = Duration::from_millis(100);
/// Between two looks for the guest of a migration that may be over.
const CHECK: Duration = Duration::from_millis(300);
/// Figures that have not moved for so long are stale: with the link cut, libvirt repeats the last for half a minute.
const STALE: Duration = Duration::from_secs(1);
/// How long the last figures may take once the source has taken its guest down: they come in the same millisecond.
const FIGURES_WITHIN: Duration = Duration::from_millis(500);
/// How long a command may take to end once a host has given the migration up: 1.4 to 2.1 s were seen.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);
/// How long it is looked for a guest of which nothing is known.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);
/// How long a guest may be between two hosts, or lack memory that does not move: a post-copy whose link was cut for
/// half a minute went on by itself (libvirt 9.0 with QEMU 10.0.2).
const ARRIVE_WITHIN: Duration = Duration::from_secs(300);

/// What the migration and its watcher share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) lane: Lane,
    pub(super) observer: Observer,
    pub(super) course: Mutex<Course>,
    /// We have asked for it to be cancelled, and that was not refused.
    pub(super) cancelling: Mutex<bool>,
}

/// Watches one migration to its end.
pub(super) struct Watcher {
    pub(super) shared: Arc<Shared>,
    /// The command that began it, if it was ours.
    pub(super) process: Option<Process>,
    pub(super) source: broadcast::Receiver<Note>,
    pub(super) destination: broadcast::Receiver<Note>,
    pub(super) state: State,
}

/// What the watcher remembers between two facts.
#[derive(Debug)]
pub(super) struct State {
    /// How our command ended.
    ended: Option<ExitStatus>,
    error: Option<String>,
    /// When it began to look as if it were over.
    suspect: Option<Instant>,
    checked: Option<Instant>,
    /// When the guest's place was known last, while it may be over.
    known: Instant,
    told_on: bool,
    /// What has been sent by the last figures, and when that moved.
    sent: Option<u64>,
    moved: Instant,
    /// Since when looks have had no answer.
    blind: Option<Instant>,
}

impl Default for State {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            ended: None,
            error: None,
            suspect: None,
            checked: None,
            known: now,
            told_on: false,
            sent: None,
            moved: now,
            blind: None,
        }
    }
}

impl State {
    /// It may be over; since when it looks so.
    fn suspect(&mut self) -> Instant {
        *self.suspect.get_or_insert_with(|| {
            self.known = Instant::now();
            self.known
        })
    }
}

/// What was found of a migration that may be over.
struct Check {
    place: Place,
    /// Whether a job has the guest at the source; None where that is not known.
    leaving: Option<bool>,
    /// Its last figures, if it is done.
    completed: Option<Job>,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The guest has arrived.
    Done,
    /// It is over, and the guest is not at the destination.
    Over,
    /// It goes on: wait, however long it takes.
    GoesOn,
    /// Wait so long, counted from when more was known.
    Wait(Duration),
}

/// What follows from where the guest is. `moves`: figures have moved a moment ago.
fn follows(place: &Place, leaving: Option<bool>, moves: bool) -> Next {
    match place {
        Place::Destination { whole: Some(true), .. } => Next::Done,
        Place::Unknown(_) => Next::Wait(KNOWN_WITHIN),
        _ if leaving == Some(true) && moves => Next::GoesOn,
        Place::Source(Condition::Runs) if leaving == Some(true) => Next::GoesOn,
        Place::Moving | Place::Destination { .. } => Next::Wait(ARRIVE_WITHIN),
        Place::Source(_) if leaving != Some(false) => Next::Wait(KNOWN_WITHIN),
        Place::Source(_) | Place::Both | Place::Nowhere => Next::Over,
    }
}

impl Watcher {
    /// Watches until the end is told.
    pub(super) async fn run(mut self) {
        let (tx, mut looks) = mpsc::channel(4);
        let polling = poll(self.shared.lane.clone(), tx);
        tokio::pin!(polling);
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check: Option<BoxFuture<'static, Check>> = None;
        loop {
            tokio::select! {
                // Events before looks: they carry the sharper times.
                biased;
                note = self.source.recv() => self.hear(Side::Source, note),
                note = self.destination.recv() => self.hear(Side::Destination, note),
                step = said(self.process.as_mut()) => self.command(step),
                Some((at, look)) = looks.recv() => self.look(at, &look),
                found = pending(check.as_mut()) => {
                    check = None;
                    if self.conclude(found) {
                        return;
                    }
                }
                () = &mut polling => {}
                _ = tick.tick() => {}
            }
            if self.is_told_done() {
                return;
            }
            if check.is_none() && self.is_to_be_checked() {
                check = Some(Box::pin(find(self.shared.lane.clone())));
            }
        }
    }

    fn course<T>(&self, with: impl FnOnce(&mut Course) -> T) -> T {
        with(&mut lock(&self.shared.course))
    }

    fn t(&self, at: Instant) -> u64 {
        self.shared.observer.sink().clock().at(at)
    }

    fn hear(&mut self, side: Side, note: Result<Note, RecvError>) {
        let lane = &self.shared.lane;
        let host = lane.host(side);
        let view = host.view().borrow().clone();
        let observer = &self.shared.observer;
        match note {
            Ok(Note::Libvirt(at, event)) => {
                let live = self.course(|course| {
                    course.libvirt(side, &event);
                    course.is_live()
                });
                if let (LibvirtEvent::Round(n), Side::Source, true) = (&*event, side, live)
                    && view.qemu != Some(true)
                {
                    observer.round(self.t(at), *n, None);
                }
                if let Some(what) = event.incident() {
                    let text = format!("the guest {} at the {}", what.words(), side.word());
                    observer.update(|o| o.befell = Some(text));
                }
                self.tell(at);
            }
            Ok(Note::Qemu(at, event)) => {
                let live = self.course(|course| {
                    course.qemu(side, &event, !view.libvirt);
                    course.is_live()
                });
                let pass = event.data["pass"].as_u64().filter(|_| event.name == "MIGRATION_PASS");
                if let (Some(pass), Side::Source, true) = (pass, side, live) {
                    observer.round(self.t(at), pass, event.at);
                }
                self.tell(at);
            }
            Ok(Note::Missed) | Err(RecvError::Lagged(_)) => {
                self.state.suspect();
            }
            // The host is being closed: its looks say so.
            Err(RecvError::Closed) => {}
        }
    }

    fn command(&mut self, step: Step) {
        match step {
            Step::Said(piece) => {
                if piece.whole {
                    let (host, data) = (self.shared.lane.source.name().to_owned(), Value::from(piece.text.as_str()));
                    let raw = HvEvent::Raw { host, name: "output".into(), at: None, data };
                    self.shared.observer.sink().emit(Body::Hypervisor(raw));
                }
                if let Some((_, error)) = piece.text.split_once("error: ") {
                    self.state.error = Some(error.to_owned());
                }
            }
            Step::Ended(status) => {
                self.process = None;
                self.state.ended = Some(status);
            }
        }
    }

    /// Tells the phase that follows from all that is known.
    fn tell(&self, at: Instant) {
        let course = lock(&self.shared.course).clone();
        let (phase, raw, substate) = course.phase();
        let cancelling = course.cancelled || *lock(&self.shared.cancelling);
        let substate = substate.or(cancelling.then_some(Substate::Cancelling));
        let observer = &self.shared.observer;
        if !observer.now().phase.is_over() || observer.now().phase == Phase::Idle {
            observer.phase_within(self.t(at), phase, raw, substate);
        }
        observer.update(|o| {
            if course.stopped || course.pulled {
                o.source_running = Some(false);
            } else if !course.asleep && course.is_live() {
                o.source_running = Some(true);
            }
            if course.resumed {
                o.destination_running = Some(true);
            }
        });
    }

    fn look(&mut self, at: Instant, look: &Said) {
        let source = self.shared.lane.source.name();
        let observer = &self.shared.observer;
        match (look, self.state.blind) {
            (Said::Blind(why), None) => {
                self.state.blind = Some(at);
                let why = crate::text::foreign(why);
                observer.log(
                    Level::Warn,
                    source,
                    format!("cannot look at the migration: {why}; it is tried again and again"),
                );
            }
            (Said::Blind(_), Some(_)) => {}
            (_, Some(since)) => {
                self.state.blind = None;
                let seconds = since.elapsed().as_secs_f64();
                observer.log(Level::Info, source, format!("the migration is seen again, after {seconds:.1} s"));
            }
            _ => {}
        }
        let (pulled, live) = self.course(|course| {
            course.look(look);
            (course.pulled, course.is_live())
        });
        if let Said::Job(job) = look
            && job.is_leaving()
        {
            self.figures(at, job, pulled, live);
        }
        self.tell(at);
    }

    /// Figures that have moved are told; those that stand still are not told anew, so that they are seen to age.
    fn figures(&mut self, at: Instant, job: &Job, pulled: bool, live: bool) {
        let observer = &self.shared.observer;
        let Some(sample) = job.sample(pulled) else { return };
        if sample.transferred_bytes == self.state.sent {
            if self.state.moved.elapsed() > STALE {
                observer.update(|o| o.sample_kept = true);
            }
            return;
        }
        (self.state.sent, self.state.moved) = (sample.transferred_bytes, at);
        let t = self.t(at);
        observer.sink().emit_at(t, Body::Hypervisor(HvEvent::Sample { sample: sample.clone(), raw: job.raw() }));
        let by_event = self.shared.lane.source.view().borrow().libvirt;
        if let Some(round) = sample.round.filter(|round| *round > 0 && live && !by_event) {
            observer.round(t, round, None);
        }
        observer.update(|o| {
            if o.round_remaining_bytes.is_none() && sample.round.is_some() && sample.round >= o.round {
                o.round_remaining_bytes = sample.remaining_bytes;
            }
            (o.sample, o.sample_kept) = (sample, false);
        });
    }

    /// Tells that it is done if libvirt has said so, with its last figures.
    fn is_told_done(&mut self) -> bool {
        let Some(job) = self.course(|course| course.completed.clone()) else { return false };
        self.done(Some(&job));
        true
    }

    /// Whether it is time to look where the guest is, since it may be over.
    fn is_to_be_checked(&mut self) -> bool {
        let (left, over) = self.course(|course| (course.is_done(), course.is_over()));
        let suspect = self.state.suspect.is_some() || self.state.ended.is_some() || left || over;
        if !suspect {
            return false;
        }
        let since = self.state.suspect();
        // Its last figures, or our command's last words, come a moment later.
        let patience = match () {
            () if self.state.ended.is_some() => Duration::ZERO,
            () if left => FIGURES_WITHIN,
            () if self.process.is_some() => COMMAND_WITHIN,
            () => Duration::ZERO,
        };
        since.elapsed() >= patience && self.state.checked.is_none_or(|then| then.elapsed() >= CHECK)
    }

    /// What follows from where the guest is; whether the end is told.
    fn conclude(&mut self, found: Check) -> bool {
        self.state.checked = Some(Instant::now());
        let moves = self.state.moved.elapsed() < STALE * 2;
        if matches!(found.place, Place::Destination { whole: Some(false), .. }) {
            self.course(|course| (course.pulled, course.resumed) = (true, true));
            self.tell(Instant::now());
        }
        match follows(&found.place, found.leaving, moves) {
            Next::Done => {
                self.done(found.completed.as_ref());
                return true;
            }
            Next::Over => {
                self.over();
                return true;
            }
            Next::GoesOn => {
                self.state.known = Instant::now();
                if self.state.ended.is_some() {
                    self.tell_on();
                } else if !self.course(|course| course.is_over()) {
                    // Nothing is wrong with it: something was missed, and has been looked for.
                    self.state.suspect = None;
                }
            }
            Next::Wait(patience) => {
                self.tell_on();
                if self.state.known.elapsed() > patience {
                    let seconds = self.state.known.elapsed().as_secs();
                    let said = self.said().unwrap_or_else(|| "it was not begun by blackout".into());
                    self.failed(format!("{said}; after {seconds} s it is still not known what became of it"));
                    return true;
                }
            }
        }
        false
    }

    /// Says once that the command is over and the migration is not.
    fn tell_on(&mut self) {
        if let (Some(said), false) = (self.said(), self.state.told_on) {
            self.state.told_on = true;
            let text = format!("{said}; what becomes of the migration is followed by asking both hosts");
            self.shared.observer.log(Level::Warn, self.shared.lane.source.name(), text);
        }
    }

    /// How our command ended, in words; None if it has not, or was not ours.
    fn said(&self) -> Option<String> {
        let status = ending(self.state.ended?);
        Some(match &self.state.error {
            Some(error) => format!("{error} ({status})"),
            None => format!("'virsh migrate' ended ({status})"),
        })
    }

    fn done(&self, job: Option<&Job>) {
        let observer = &self.shared.observer;
        let now = self.t(Instant::now());
        let pulled = self.course(|course| course.pulled);
        if let Some(status) = self.state.ended.filter(|status| !status.success()) {
            let text = format!("'virsh migrate' ended ({}); the guest has arrived all the same", ending(status));
            observer.log(Level::Warn, self.shared.lane.source.name(), text);
        }
        if let Some(job) = job
            && let Some(sample) = job.sample(pulled)
        {
            if let (true, Some(ms)) = (pulled, job.get("downtime")) {
                let text = format!("its own downtime of {ms} ms is only a part of post-copy's, and not used");
                observer.log(Level::Info, self.shared.lane.source.name(), text);
            }
            observer.sink().emit_at(now, Body::Hypervisor(HvEvent::Sample { sample: sample.clone(), raw: job.raw() }));
            observer.update(|o| (o.sample, o.sample_kept) = (sample, false));
        } else {
            let text = "it has told no last figures; its own downtime is missing".to_owned();
            observer.log(Level::Info, self.shared.lane.source.name(), text);
        }
        observer.update(|o| o.complete = true);
        observer.phase(now, Phase::Done, "completed");
    }

    /// It is over, and the guest is not at the destination.
    fn over(&self) {
        let (cancelled, trouble, aborted) =
            self.course(|course| (course.cancelled, course.trouble.clone(), course.aborted));
        let error = self.state.error.as_deref().unwrap_or_default();
        let by_us = *lock(&self.shared.cancelling);
        // Another's command is told why it ended, and we are not: that QEMU was told to cancel is all that can be seen,
        // where a look at the job came too late. One was gone within 100 ms.
        let cancelled = cancelled || (aborted && self.state.ended.is_none());
        // libvirt 9.0, and older ones.
        if cancelled || by_us || error.contains("canceled by client") {
            let raw = if error.is_empty() { "cancelled" } else { error };
            return self.shared.observer.phase(self.t(Instant::now()), Phase::Cancelled, raw);
        }
        self.failed(match (self.said(), trouble) {
            (Some(said), _) if self.state.ended.is_some_and(|status| status.success()) => {
                format!("{said}, but the guest is not at the destination")
            }
            (Some(said), _) => said,
            (None, Some(trouble)) => trouble,
            (None, None) => "it ended, and the guest is not at the destination; whoever began it knows why".into(),
        });
    }

    fn failed(&self, why: String) {
        let why = crate::text::foreign(&why);
        self.shared.observer.update(|o| o.error = Some(why.clone()));
        self.shared.observer.phase(self.t(Instant::now()), Phase::Failed, &why);
    }
}

/// Where the guest is, and whether it is still being migrated.
async fn find(lane: Lane) -> Check {
    let (place, leaving) = tokio::join!(lane.place(), lane.is_leaving());
    let mut completed = None;
    if matches!(place, Place::Destination { whole: Some(true), .. }) {
        completed = lane.destination.completed(&lane.guest).await;
        if completed.is_none() && !matches!(lane.source.state(&lane.guest).await, Ok(domstate::At::Absent)) {
            completed = lane.source.completed(&lane.guest).await;
        }
    }
    Check { place, leaving, completed }
}

/// Looks at the job at a steady pace; one look at a time.
async fn poll(lane: Lane, looks: mpsc::Sender<(Instant, Said)>) {
    let mut pace = interval(EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let said = lane.source.job(&lane.guest).await;
        if looks.send((Instant::now(), said)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn said(process: Option<&mut Process>) -> Step {
    match process {
        Some(process) => process.next().await,
        None => std::future::pending().await,
    }
}

async fn pending<T>(of: Option<&mut BoxFuture<'static, T>>) -> T {
    match of {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_has_ended_is_not_a_migration_that_has() {
        let pulls = Place::Destination { is: Condition::Runs, whole: Some(false) };
        let runs = Place::Source(Condition::Runs);
        // virsh was killed.
        assert_eq!(follows(&runs, Some(true), false), Next::GoesOn);
        assert_eq!(follows(&runs, Some(false), true), Next::Over);
        // The link of a post-copy was cut; the job is said to run for ever.
        assert_eq!(follows(&pulls, Some(true), false), Next::Wait(ARRIVE_WITHIN));
        assert_eq!(follows(&pulls, Some(true), true), Next::GoesOn);
        assert_eq!(follows(&Place::Moving, None, false), Next::Wait(ARRIVE_WITHIN));
        // The source's daemon is dead.
        assert_eq!(follows(&Place::Unknown("?".into()), None, false), Next::Wait(KNOWN_WITHIN));
        assert_eq!(follows(&runs, None, false), Next::Wait(KNOWN_WITHIN));
        let arrived = Place::Destination { is: Condition::Runs, whole: Some(true) };
        assert_eq!(follows(&arrived, None, false), Next::Done);
        assert_eq!(follows(&Place::Nowhere, Some(false), false), Next::Over);
    }
}
