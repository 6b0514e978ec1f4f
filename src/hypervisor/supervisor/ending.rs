//! The end of a migration: when it is said to be over, and what follows from where the guest is then. An end is
//! told from that, not from what was said.

use std::time::Duration;

use super::machine::{CANCEL_WITHIN, Supervisor, TICK};
use super::state::{Ask, Awaited, Concluding, RunCommand, State};
use crate::event::{Body, By, HvEvent, Level, Location, MigrationEnd, Phase, Substate, Then};
use crate::hypervisor::place::{Close, Condition, Next, Place, Said, next};
use crate::hypervisor::{HvError, Order, Side, Unwatched};

/// A guest that has arrived but neither runs nor was stopped by us is resumed after so long.
const GRACE: Duration = Duration::from_millis(500);
/// Between two looks for a guest that has arrived.
const ARRIVAL_LOOK: Duration = Duration::from_millis(100);
/// How long a source may take to notice that its destination is gone.
const NOTICE: Duration = Duration::from_secs(5);
/// A migration that tells nothing new for so long has its guest's place asked for.
const QUIET: Duration = Duration::from_secs(10);
/// A migration of which nothing can be learnt for so long is given up. A source that sends the last of the
/// memory over a slow link may answer nothing for minutes.
const BLIND_WITHIN: Duration = Duration::from_secs(600);
/// How long a destination may take to take in what was handed over to it.
const ARRIVE_WITHIN: Duration = Duration::from_secs(60);
/// How long it is asked for a guest's place that is not known.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// The same for a migration that is not waited for any longer.
const LEFT_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks: a guest we stopped stands still until we see that it has arrived.
const LOOK: Duration = Duration::from_millis(5);
/// Between two looks when they have been close together for [`CLOSE`].
const LOOK_LATER: Duration = Duration::from_millis(200);
/// How long looks are close together: each of them is downtime then.
const CLOSE: Duration = Duration::from_secs(2);
/// How long a resume of a guest that is known to stand there may take.
const RESUME_WITHIN: Duration = Duration::from_secs(10);
/// After a resume that went wrong it is looked again.
const RESUME_AGAIN: Duration = Duration::from_millis(100);
/// How often a guest is told to run before that is left to the operator.
const RESUMES: u32 = 3;
/// How long the hypervisor may take to tell its last figures of a migration that is known to be done.
const FIGURES_WITHIN: Duration = Duration::from_secs(1);

impl Supervisor {
    /// What is said of the migration, if it is said to be over.
    pub(super) fn judge(&mut self) -> Option<Said> {
        let seen = &self.seen;
        match seen.phase {
            Phase::Done => return Some(Said::Complete),
            Phase::Failed | Phase::Unsettled => {
                let mut said = seen.error.clone().unwrap_or_else(|| "the hypervisor gives no reason".into());
                for (end, lost) in [("source", &seen.source_lost), ("destination", &seen.destination_lost)] {
                    if let Some(why) = lost.as_ref().filter(|w| !said.contains(w.as_str())) {
                        said = format!("{said}; the {end} is gone: {why}");
                    }
                }
                return Some(Said::Failed(self.failure.clone().unwrap_or(said)));
            }
            Phase::Cancelled => {
                let by = || self.state.cancelled_by().map_or_else(|| By::Another.words(), str::to_owned);
                return Some(self.failure.clone().map_or_else(|| Said::Cancelled(by()), Said::Failed));
            }
            _ => {}
        }
        if let Some(why) = &seen.source_lost {
            // Its last word on the migration is what it said before.
            if seen.complete {
                return Some(Said::Complete);
            }
            let said = self.failure.clone().or_else(|| seen.error.clone());
            return Some(Said::Blind(said.unwrap_or_else(|| format!("the source is gone: {why}"))));
        }
        if let Some(why) = &seen.destination_lost {
            let since = *self.destination_gone.get_or_insert(self.now.real);
            let said = Said::Blind(format!("the destination is gone: {why}"));
            if seen.complete {
                return Some(said);
            }
            if self.now.real.saturating_sub(since) > NOTICE {
                if self.is_followed || self.state.hand().is_pulled() || self.not_offered(Then::Cancel).is_some() {
                    return Some(said);
                }
                self.ask(Ask::Order(Order::Cancel, CANCEL_WITHIN), Awaited::Last(said));
                return None;
            }
        }
        if self.unwatched {
            return Some(Said::Blind(Unwatched.to_string()));
        }
        if self.seen.complete && self.ran != Some(false) {
            let said = self.arriving();
            if said.is_some() || self.is_asking() {
                return said;
            }
        }
        if let Some((until, why)) = &self.leave
            && *until <= self.now.real
        {
            return Some(Said::Left(why.clone()));
        }
        // A migration that stands still is not one of which nothing is known.
        let silent = self.now.real.saturating_sub(self.heard);
        if silent > BLIND_WITHIN {
            return Some(Said::Left(format!("nothing was heard of it for {} s", BLIND_WITHIN.as_secs())));
        }
        if silent >= QUIET && self.now.real.saturating_sub(self.asked) >= QUIET {
            self.asked = self.now.real;
            self.ask(Ask::Locate, Awaited::Quiet);
        }
        None
    }

    /// Everything is handed over, and the guest was not seen to run yet.
    fn arriving(&mut self) -> Option<Said> {
        let (hand, now) = (self.state.hand(), self.now.real);
        let since = match &self.state {
            State::Arriving { since, .. } => *since,
            state => {
                let by = state.cancelled_by().map(str::to_owned);
                self.state = State::Arriving { hand, by, since: now };
                now
            }
        };
        let waited = now.saturating_sub(since);
        if hand.is_owed() || waited > ARRIVE_WITHIN {
            return Some(Said::Complete);
        }
        // Its resume is on its way to us, as a rule; else the guest is looked for.
        if waited > TICK * 2 && now.saturating_sub(self.asked) > ARRIVAL_LOOK {
            self.asked = now;
            self.ask(Ask::Locate, Awaited::Arrival);
        }
        None
    }

    /// Where a guest is that is about to arrive.
    pub(super) fn arrival(&mut self, place: &Place) {
        self.located(place);
        let State::Arriving { since, .. } = self.state else { return };
        let graced = self.now.real.saturating_sub(since) <= GRACE;
        match place {
            Place::Moving => {}
            Place::Unknown(_) if graced => {}
            Place::Destination { is: Condition::Stands, .. } if graced => self.tell_waiting(),
            _ => self.conclude(Said::Complete),
        }
    }

    /// Shows our own waiting as what it is.
    fn tell_waiting(&mut self) {
        if !std::mem::replace(&mut self.told_waiting, true) {
            let (phase, raw) = (self.seen.phase, self.seen.raw.clone());
            let substate = Some(Substate::WaitingToResume);
            self.tell(Body::Hypervisor(HvEvent::Phase { phase, raw, substate }));
        }
    }

    /// Where the guest of a migration is that tells nothing new.
    pub(super) fn in_quiet(&mut self, place: &Place) {
        self.located(place);
        if !matches!(place, Place::Unknown(_)) {
            self.heard = self.now.real;
        }
    }

    /// It is said to be over.
    pub(super) fn conclude(&mut self, said: Said) {
        self.state = State::Concluding(Concluding {
            hand: self.state.hand(),
            said,
            since: self.now.real,
            until: None,
            resumes: 0,
            trouble: None,
            look_at: self.now.real,
            figures: None,
        });
        self.ask(Ask::Locate, Awaited::Place);
    }

    /// Looks for the guest when that is due.
    pub(super) fn look(&mut self) {
        let State::Concluding(c) = &self.state else { return };
        match c.figures {
            Some(until) if until <= self.now.real || self.has_figures() => self.end(MigrationEnd::Done, true),
            Some(_) => {}
            None if c.look_at <= self.now.real => self.ask(Ask::Locate, Awaited::Place),
            None => {}
        }
    }

    /// Whether there is nothing more to be told of it.
    fn has_figures(&self) -> bool {
        self.unwatched || self.seen.phase.is_over() || self.seen.source_lost.is_some()
    }

    /// What is wanted of a migration that is over.
    pub(super) fn too_late(&mut self, command: RunCommand) {
        let RunCommand::Cancel { by } = command else {
            return self.log(Level::Warn, "the migration is over: not done".into());
        };
        if let (State::Concluding(c), By::GiveUpAfter { .. } | By::Closing) = (&mut self.state, &by) {
            c.until.get_or_insert(self.now.real + LEFT_WITHIN);
        }
        self.request(Then::Cancel, by);
        self.refused(Then::Cancel, "the migration is over; where the guest is, is being found out".into());
    }

    /// Finds what follows from where the guest is: sees to it that it runs where it ran before, and tells the end.
    pub(super) fn placed(&mut self, place: &Place) {
        self.located(place);
        let (now, ran) = (self.now.real, self.ran);
        let State::Concluding(c) = &mut self.state else { return };
        match next(&c.said, place, c.hand.duty(ran)) {
            Next::End(close) => self.close(close),
            Next::Resume(side) if c.resumes < RESUMES => {
                c.resumes += 1;
                if !c.hand.is_owed() && side == Side::Destination {
                    self.log(Level::Info, "the guest arrived standing still; resuming it".into());
                }
                self.ask(Ask::Order(Order::Resume(side), RESUME_WITHIN), Awaited::Resume(side));
            }
            Next::Resume(side) => {
                let said = reason(&c.said).map(|why| format!("{why}; ")).unwrap_or_default();
                let trouble = c.trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let why = format!("{said}the guest stands still at the {}{trouble}", side.word());
                self.end(MigrationEnd::Failed { why }, false);
            }
            Next::Look => {
                let patience = match (&c.said, place) {
                    (Said::Left(_), _) => LEFT_WITHIN,
                    (_, Place::Moving) => ARRIVE_WITHIN,
                    _ => KNOWN_WITHIN,
                };
                let waited = now.saturating_sub(c.since);
                if c.until.is_some_and(|until| now >= until) || waited > patience {
                    let (said, owed) = (c.said.clone(), c.hand.is_owed());
                    let end = self.lost_sight(&said, place);
                    return self.end(end, !owed);
                }
                // Close together at first, then less often.
                c.look_at = now + if waited < CLOSE { LOOK } else { LOOK_LATER };
            }
        }
    }

    /// The guest was told to run there.
    pub(super) fn resumed(&mut self, side: Side, result: &Result<(), HvError>) {
        let now = self.now.real;
        let State::Concluding(c) = &mut self.state else { return };
        c.trouble = result.as_ref().err().map(ToString::to_string);
        c.look_at = if result.is_ok() { now } else { now + RESUME_AGAIN };
        if result.is_ok() && side == Side::Source {
            self.log(Level::Info, "the guest runs at the source again".into());
        }
    }

    fn close(&mut self, close: Close) {
        let State::Concluding(c) = &mut self.state else { return };
        if let Some(trouble) = c.trouble.take() {
            self.log(Level::Warn, format!("the guest was told to run and it was said: {trouble}"));
        }
        let befell = self.seen.befell.clone();
        let with = |why: String| match &befell {
            Some(befell) if !why.contains(befell.as_str()) => format!("{why}; {befell}"),
            _ => why,
        };
        let end = match close {
            Close::Done => {
                if let (false, State::Concluding(c)) = (self.has_figures(), &mut self.state) {
                    c.figures = Some(self.now.real + FIGURES_WITHIN);
                    return;
                }
                MigrationEnd::Done
            }
            Close::Failed(why) => MigrationEnd::Failed { why: with(why) },
            Close::Cancelled(by) => MigrationEnd::Cancelled { by },
            Close::Left(why) => self.unsettled(with(why)),
        };
        self.end(end, true);
    }

    /// The end of a migration whose guest could not be found in time.
    fn lost_sight(&self, said: &Said, place: &Place) -> MigrationEnd {
        let where_to = match place {
            Place::Moving => "the destination has not taken it in".to_owned(),
            Place::Unknown(why) => why.clone(),
            _ => "whether all of its memory has arrived is not known".to_owned(),
        };
        self.unsettled(match reason(said) {
            Some(said) => format!("{said}; {where_to}"),
            None => where_to,
        })
    }

    fn unsettled(&self, why: String) -> MigrationEnd {
        let (last, seen) = match &self.last {
            Some((location, t)) => (location.clone(), Some(*t)),
            None => (Location::Unknown { why: "it was never seen".into() }, None),
        };
        MigrationEnd::Unsettled { why, last, seen }
    }
}

fn reason(said: &Said) -> Option<String> {
    match said {
        Said::Complete => None,
        Said::Failed(why) | Said::Blind(why) | Said::Left(why) => Some(why.clone()),
        Said::Cancelled(by) => Some(format!("cancelled by {by}")),
    }
}
