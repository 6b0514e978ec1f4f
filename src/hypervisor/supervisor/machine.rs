//! The supervisor: what is done about a migration, from what is known of it. Pure: no clock, no socket, and no
//! product's name.
//!
//! [`Supervisor::step`] takes one thing that is told, and its time, and comes to what is done: facts for the
//! event stream, and at most one question, whose answer is the next thing to be told.

use std::collections::VecDeque;
use std::time::Duration;

use super::state::{Ask, Awaited, Effect, Hand, Input, Moment, RunCommand, State};
use crate::event::{
    Body, By, Capabilities, HvEvent, Level, Location, LogEvent, MigrationEnd, MigrationEvent, MigrationSettings, Nanos,
    Phase, StopRule, Then,
};
use crate::hypervisor::place::{Condition, Place, Said};
use crate::hypervisor::{Observation, Order, Prospect};

/// How often rules of time are looked at when nothing else happens.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// How long a hypervisor may take to say that it cancels.
pub(super) const CANCEL_WITHIN: Duration = Duration::from_secs(5);

/// One migration under supervision.
#[derive(Debug, Clone)]
pub(super) struct Supervisor {
    pub(super) n: u32,
    /// Names of both ends; `?` until they are known.
    from: String,
    to: String,
    pub(super) settings: MigrationSettings,
    /// Another has begun it: it is watched, and nothing is done about it that the operator does not ask for.
    pub(super) is_followed: bool,
    pub(super) state: State,
    /// What the answer that is waited for is for.
    awaited: Option<Awaited>,
    /// What was wanted while something else was asked.
    wanted: VecDeque<RunCommand>,
    /// None where it was not said: then whatever is asked for is tried.
    pub(super) offers: Option<Box<Capabilities>>,
    pub(super) seen: Box<Observation>,
    /// Nothing more can be seen.
    pub(super) unwatched: bool,
    /// When the command to migrate was given, ns of the session clock.
    pub(super) began: Nanos,
    /// The session's time of what rules are judged by, ns.
    pub(super) judged: Nanos,
    /// Whether the guest ran at the source when the migration began; None where that is not known.
    pub(super) ran: Option<bool>,
    /// Why the migration cannot end well although it was cancelled or goes on.
    pub(super) failure: Option<String>,
    /// It is given up: until when it may still end by itself, in real time, and why it is left then.
    pub(super) leave: Option<(Duration, String)>,
    /// Since when the destination is gone, in real time.
    pub(super) destination_gone: Option<Duration>,
    /// When something new was seen last, or the guest's place was known, in real time.
    pub(super) heard: Duration,
    /// When the guest's place was asked for last, in real time.
    pub(super) asked: Duration,
    /// What was told last of the guest's place.
    told: Option<Location>,
    /// Where it was last known to be, and when, ns of the session clock.
    pub(super) last: Option<(Location, Nanos)>,
    /// That the product's own rule gave up has been told.
    told_own: bool,
    /// That a guest which has arrived is waited for has been told.
    pub(super) told_waiting: bool,
    pub(super) now: Moment,
    pub(super) out: Vec<Effect>,
}

impl Supervisor {
    /// Begins with migration `n` of a session.
    pub(super) fn begin(n: u32, settings: MigrationSettings, now: Moment) -> (Self, Vec<Effect>) {
        let mut new = Self {
            n,
            from: "?".into(),
            to: "?".into(),
            settings,
            is_followed: false,
            state: State::Preparing,
            awaited: None,
            wanted: VecDeque::new(),
            offers: None,
            seen: Box::default(),
            unwatched: false,
            began: 0,
            judged: 0,
            ran: None,
            failure: None,
            leave: None,
            destination_gone: None,
            heard: now.real,
            asked: now.real,
            told: None,
            last: None,
            told_own: false,
            told_waiting: false,
            now,
            out: Vec::new(),
        };
        new.ask(Ask::Prospect, Awaited::Ends);
        let out = std::mem::take(&mut new.out);
        (new, out)
    }

    /// Follows migration `n`, which another has begun.
    pub(super) fn follow(n: u32, now: Moment) -> (Self, Vec<Effect>) {
        let (mut new, out) = Self::begin(n, MigrationSettings::default(), now);
        // Nothing is made ready, and what is wanted of it waits until it is found.
        (new.is_followed, new.state) = (true, State::Starting);
        (new, out)
    }

    /// Takes in what is told.
    pub(super) fn step(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        self.now = now;
        if matches!(input, Input::Tick | Input::Seen(_) | Input::Started(_)) {
            self.judged = now.session;
        }
        match input {
            Input::Tick => {}
            Input::Wanted(command) => self.want(command),
            Input::Unwatched => self.unwatched = true,
            Input::Seen(seen) => {
                self.heard = now.real;
                if seen.phase == Phase::PostCopy && self.state.is_running() {
                    self.set_hand(self.state.hand().pulled());
                }
                self.seen = seen;
            }
            answer => {
                let Some(awaited) = self.awaited.take() else { return Vec::new() };
                self.answered(awaited, answer);
            }
        }
        if self.awaited.is_none() {
            match &self.state {
                State::Preparing | State::Starting | State::Over => {}
                State::Concluding(_) => self.look(),
                _ => self.watch(),
            }
        }
        std::mem::take(&mut self.out)
    }

    /// Whether it wants to hear what the operator wants although it may wait for an answer.
    pub(super) fn hears(&self) -> bool {
        matches!(self.awaited, None | Some(Awaited::Ready))
    }

    /// When it wants to be told that time has passed, in real time; None while it waits for an answer.
    pub(super) fn wakes(&self) -> Option<Duration> {
        match (&self.awaited, &self.state) {
            (Some(_), _) | (_, State::Preparing | State::Starting | State::Over) => None,
            (None, State::Concluding(c)) => Some(c.figures.unwrap_or(c.look_at)),
            (None, _) => Some(self.now.real + TICK),
        }
    }

    pub(super) fn ask(&mut self, ask: Ask, awaited: Awaited) {
        self.awaited = Some(awaited);
        self.out.push(Effect::Ask(ask));
    }

    pub(super) fn is_asking(&self) -> bool {
        self.awaited.is_some()
    }

    pub(super) fn tell(&mut self, body: Body) {
        self.out.push(Effect::Tell(self.now.session, Box::new(body)));
    }

    pub(super) fn log(&mut self, level: Level, text: String) {
        self.tell(Body::Log(LogEvent { level, from: "migration".into(), text }));
    }

    pub(super) fn request(&mut self, then: Then, by: By) {
        self.tell(Body::Migration(MigrationEvent::Requested { n: self.n, then, by }));
    }

    pub(super) fn refused(&mut self, then: Then, why: String) {
        self.tell(Body::Migration(MigrationEvent::Refused { n: self.n, then, why }));
    }

    pub(super) fn end(&mut self, end: MigrationEnd, safe: bool) {
        self.state = State::Over;
        self.awaited = None;
        self.tell(Body::Migration(MigrationEvent::Ended { n: self.n, end: end.clone() }));
        self.out.push(Effect::Over { end, safe });
    }

    pub(super) fn set_hand(&mut self, to: Hand) {
        let state = std::mem::replace(&mut self.state, State::Over);
        self.state = state.with(to);
    }

    /// Takes in where the guest is, and tells it if that is new.
    pub(super) fn located(&mut self, place: &Place) {
        let location = place.location(&self.from, &self.to);
        if place.is_known() {
            self.last = Some((location.clone(), self.now.session));
        }
        if self.told.as_ref() != Some(&location) {
            self.tell(Body::Hypervisor(HvEvent::Located { location: location.clone() }));
            self.told = Some(location);
        }
    }

    fn want(&mut self, command: RunCommand) {
        match (&self.state, command) {
            (State::Preparing, RunCommand::Cancel { by }) => {
                self.begun();
                self.request(Then::Cancel, by.clone());
                self.end(MigrationEnd::Cancelled { by: by.words() }, true);
            }
            (State::Preparing, RunCommand::SetMigration(to)) => self.settings.policy = self.fitting(to.policy),
            (State::Concluding(_), command) => self.too_late(command),
            (State::Over, _) => {}
            // Done as soon as there is something to do it to.
            (_, command) => self.wanted.push_back(command),
        }
    }

    fn answered(&mut self, awaited: Awaited, answer: Input) {
        match (awaited, answer) {
            (Awaited::Ends, Input::Prospect(prospect)) => {
                (self.from, self.to) = (prospect.from, prospect.to);
                if self.is_followed {
                    self.located(&prospect.place);
                    self.begun();
                }
                match prospect.obstacle.filter(|_| !self.is_followed) {
                    Some(why) => self.call_off(why),
                    None => self.ask(Ask::Offers, Awaited::Offers),
                }
            }
            (Awaited::Offers, Input::Offers(offers)) if self.is_followed => {
                self.offers = offers;
                self.ask(Ask::Join, Awaited::Followed);
            }
            (Awaited::Offers, Input::Offers(offers)) => {
                self.offers = offers;
                match self.offers.as_ref().and_then(|offers| offers.unfit(&self.settings.policy)) {
                    Some(why) => self.call_off(why),
                    None => self.ask(Ask::Apply(Box::new(self.settings.clone())), Awaited::Ready),
                }
            }
            (Awaited::Ready, Input::Applied(Ok(()))) => self.ask(Ask::Prospect, Awaited::Departure),
            (Awaited::Ready, Input::Applied(Err(e))) => self.call_off(e.to_string()),
            (Awaited::Departure, Input::Prospect(prospect)) => self.depart(*prospect),
            (Awaited::Begun, Input::Started(Ok(seen))) => {
                self.ran = seen.source_running.or(self.ran);
                (self.seen, self.heard) = (seen, self.now.real);
                self.state = State::Copying { ruled: false };
            }
            (Awaited::Begun, Input::Started(Err(e))) => match e.is_unanswered() {
                // It may have begun all the same, and nobody would watch it.
                true => self.ask(Ask::Join, Awaited::AfterAll(e)),
                false => self.end(MigrationEnd::Failed { why: e.to_string() }, true),
            },
            (Awaited::AfterAll(e), Input::Joined(is_there)) => {
                let said = Said::Blind(e.to_string());
                match is_there && self.not_offered(Then::Cancel).is_none() {
                    true => self.ask(Ask::Order(Order::Cancel, CANCEL_WITHIN), Awaited::Last(said)),
                    false => self.conclude(said),
                }
            }
            (Awaited::Followed, Input::Joined(true)) => {
                self.heard = self.now.real;
                self.state = State::Copying { ruled: true };
            }
            (Awaited::Followed, Input::Joined(false)) => {
                self.conclude(Said::Blind("it was over before it could be watched".into()));
            }
            (Awaited::Ending(ending), Input::Ordered(result, seen)) => {
                self.seen = seen;
                self.ended_pre_copy(ending, result);
            }
            (Awaited::Instead(before), Input::Ordered(result, seen)) => {
                self.seen = seen;
                if let Err(e) = result {
                    self.refused(Then::Cancel, e.to_string());
                    if e.is_refusal() {
                        self.state = before;
                    }
                }
            }
            (Awaited::Last(said), Input::Ordered(..)) => self.conclude(said),
            (Awaited::Settings(mut to), Input::Ordered(result, seen)) => {
                self.seen = seen;
                to.policy = self.fitting(to.policy);
                self.set_policy(to.policy.clone());
                match result {
                    Ok(()) => self.settings = *to,
                    Err(e) => self.log(Level::Error, e.to_string()),
                }
            }
            (Awaited::Resume(side), Input::Ordered(result, seen)) => {
                self.seen = seen;
                self.resumed(side, &result);
            }
            (Awaited::Arrival, Input::Located(place)) => self.arrival(&place),
            (Awaited::Quiet, Input::Located(place)) => self.in_quiet(&place),
            (Awaited::Place, Input::Located(place)) => self.placed(&place),
            // Not the answer to what was asked: that is still waited for.
            (awaited, _) => self.awaited = Some(awaited),
        }
    }

    /// The command to migrate is about to be given, or would have been.
    fn begun(&mut self) {
        self.began = self.now.session;
        let (from, to, settings) = (self.from.clone(), self.to.clone(), self.settings.clone());
        let by = self.is_followed.then_some(By::Another);
        self.tell(Body::Migration(MigrationEvent::Began { n: self.n, from, to, settings, by }));
    }

    /// It does not begin.
    fn call_off(&mut self, why: String) {
        self.begun();
        self.end(MigrationEnd::Failed { why }, true);
    }

    /// Both ends are ready: begins, if the guest is where it is to come from.
    fn depart(&mut self, prospect: Prospect) {
        (self.from, self.to) = (prospect.from, prospect.to);
        self.located(&prospect.place);
        match &prospect.place {
            Place::Source(is) => self.ran = Some(*is == Condition::Runs),
            Place::Moving | Place::Unknown(_) => {}
            other => {
                let guest = other.location(&self.from, &self.to).words();
                return self
                    .call_off(format!("cannot migrate from '{}' to '{}': the guest {guest}", self.from, self.to));
            }
        }
        self.begun();
        self.state = State::Starting;
        self.ask(Ask::Start, Awaited::Begun);
    }

    /// Looks at a migration that runs, and does what is due.
    fn watch(&mut self) {
        if let Some(said) = self.judge() {
            return self.conclude(said);
        }
        if self.is_asking() {
            return;
        }
        self.tell_own_rule();
        self.apply_policy();
        while !self.is_asking()
            && let Some(command) = self.wanted.pop_front()
        {
            self.obey(command);
        }
    }

    /// Tells that the product's own rule has given up on convergence.
    fn tell_own_rule(&mut self) {
        if let (Some((t, words)), false) = (&self.seen.gave_up, self.told_own) {
            self.told_own = true;
            let rule = StopRule::Own { words: words.clone() };
            let ruled = MigrationEvent::Ruled { n: self.n, rule, then: Then::StopAndCopy };
            self.out.push(Effect::Tell(*t, Box::new(Body::Migration(ruled))));
        }
    }
}
