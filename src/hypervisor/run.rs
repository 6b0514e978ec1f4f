//! Running one migration: begin, watch, end pre-copy by policy or on command, and make sure that
//! the guest runs somewhere at the end. Knows no product.
//!
//! Every wait here has an end. What a driver is asked to do is waited for only so long; a migration that
//! is to be cancelled and is not is left after `LEAVE_WITHIN`; one of which neither host tells anything
//! for `BLIND_WITHIN` is given up. Then the end is [`MigrationEnd::Unsettled`], with the place where the
//! guest was seen last.

mod ending;

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::place::{Condition, Place, Said};
use super::policy::{decide, describe};
use super::{Driver, HvError, Observation, Observations, Unwatched};
use crate::event::{
    Body, By, EventSink, HvEvent, Level, Location, LogEvent, MigrationEnd, MigrationEvent, MigrationSettings, Nanos,
    Phase, StopPolicy, StopRule, Substate, Then,
};

/// How often rules of time are looked at when nothing else happens.
const TICK: Duration = Duration::from_millis(20);
/// A guest that has arrived but neither runs nor was stopped by us is resumed after so long.
const GRACE: Duration = Duration::from_millis(500);
/// Between two looks for a guest that has arrived.
const LOOK: Duration = Duration::from_millis(100);
/// How long a source may take to notice that its destination is gone.
const NOTICE: Duration = Duration::from_secs(5);
/// How long making both ends ready may take.
const PREPARE_WITHIN: Duration = Duration::from_secs(120);
/// How long a hypervisor may take to take an order.
const ORDER_WITHIN: Duration = Duration::from_secs(35);
/// How long it may take to say that it cancels.
const CANCEL_WITHIN: Duration = Duration::from_secs(5);
/// How long a migration that is given up may take to be over, counted from when that was asked for.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);
/// A migration that tells nothing new for so long has its guest's place asked for.
const QUIET: Duration = Duration::from_secs(10);
/// A migration of which nothing can be learnt for so long is given up. A source that sends the last of the
/// memory over a slow link may answer nothing for minutes.
const BLIND_WITHIN: Duration = Duration::from_secs(600);

/// What the operator wants of the running migration.
#[derive(Debug, Clone, PartialEq)]
pub enum RunCommand {
    /// Give up; the guest stays at the source.
    Cancel {
        /// Who wants it.
        by: By,
    },
    /// Stop the guest now and let the migration finish.
    StopAndCopy,
    /// Run the guest at the destination now and pull the rest.
    PostCopy,
    /// Change one parameter by the product's own name.
    Tune {
        /// The name.
        name: String,
        /// The value.
        value: Value,
    },
    /// New settings; those that still can be are put to the running migration.
    SetMigration(MigrationSettings),
    /// A new stop policy.
    SetPolicy(StopPolicy),
}

/// One migration in work.
struct Run<'a> {
    driver: &'a dyn Driver,
    n: u32,
    from: &'a str,
    to: &'a str,
    sink: EventSink,
    settings: MigrationSettings,
    /// ns of the session clock.
    began: Nanos,
    seen: Observations,
    /// Whether the guest ran at the source when the migration began; None where that is not known.
    ran: Option<bool>,
    /// Pre-copy has been ended once, by a rule or on command.
    ruled: bool,
    /// When that was decided last, ns of the session clock.
    ruled_at: Nanos,
    /// The guest was stopped by us: we owe it a `resume`.
    owed: bool,
    /// Post-copy has begun, or may have.
    pulled: bool,
    /// Who cancelled.
    cancelled_by: Option<String>,
    complete_since: Option<Instant>,
    destination_gone_since: Option<Instant>,
    /// Why the migration cannot end well although it was cancelled or goes on.
    failure: Option<String>,
    /// That the product's own rule gave up has been told.
    told_own: bool,
    /// That a guest which has arrived is waited for has been told.
    told_waiting: bool,
    /// It is given up: until when it may still end by itself, and why it is left then.
    leave: Option<(Instant, String)>,
    /// What was wanted while both ends were made ready.
    early: Vec<RunCommand>,
    /// When something new was seen last, or the guest's place was known.
    heard: Instant,
    /// When the guest's place was asked for last because nothing new was seen.
    asked: Instant,
    /// What was told last of the guest's place.
    told: Option<Location>,
    /// Where it was last known to be, and when, ns of the session clock.
    last: Option<(Location, Nanos)>,
}

/// Runs migration `n` of a session from its settings to its end, and returns how it ended.
///
/// Writes [`MigrationEvent::Began`] when the command is about to be given, [`MigrationEvent::Requested`] for
/// whatever is wanted of it, [`MigrationEvent::Ruled`] once pre-copy has been ended from outside and
/// [`MigrationEvent::Ended`] at the end, after the guest's place was asked for; the driver writes what it
/// sees. The policy ends pre-copy once; a new policy given while pre-copy goes on gets its own turn. A
/// closed `commands` channel means that no command will come, nothing more.
///
/// If the returned future is dropped while the guest is stopped, the driver's safeguard acts as
/// if this process had died.
pub async fn run_migration(
    driver: &dyn Driver,
    n: u32,
    from: &str,
    to: &str,
    settings: MigrationSettings,
    sink: EventSink,
    mut commands: mpsc::Receiver<RunCommand>,
) -> MigrationEnd {
    let now = Instant::now();
    let mut run = Run {
        driver,
        n,
        from,
        to,
        seen: driver.observe(),
        ran: None,
        settings,
        began: sink.clock().now(),
        ruled: false,
        ruled_at: 0,
        owed: false,
        pulled: false,
        cancelled_by: None,
        complete_since: None,
        destination_gone_since: None,
        failure: None,
        told_own: false,
        told_waiting: false,
        leave: None,
        early: Vec::new(),
        heard: now,
        asked: now,
        told: None,
        last: None,
        sink,
    };
    let mut early = Vec::new();
    let prepared = run.prepare(&mut commands, &mut early).await;
    run.began = run.sink.clock().now();
    let settings = run.settings.clone();
    let began = MigrationEvent::Began { n, from: from.into(), to: to.into(), settings };
    run.sink.emit_at(run.began, Body::Migration(began));
    for by in early {
        run.request(run.began, Then::Cancel, by);
    }
    let started = match prepared {
        Ok(()) => bounded("'migrate'", ORDER_WITHIN, driver.start()).await,
        Err(e) => Err(e),
    };
    let (end, safe) = match started {
        Ok(()) => {
            if let Some(runs) = run.seen.now().source_running {
                run.ran = Some(runs);
            }
            let said = run.watch(&mut commands).await;
            run.conclude(said, &mut commands).await
        }
        // Without an answer it may have begun all the same, and nobody would watch it.
        Err(e @ (HvError::Silent { .. } | HvError::Lost { .. } | HvError::Unread { .. }))
            if run.cancelled_by.is_none() =>
        {
            let _ = bounded("to cancel", CANCEL_WITHIN, driver.cancel()).await;
            run.conclude(Said::Blind(e.to_string()), &mut commands).await
        }
        Err(e) => match run.cancelled_by.take() {
            Some(by) => (MigrationEnd::Cancelled { by }, true),
            None => (MigrationEnd::Failed { why: e.to_string() }, true),
        },
    };
    // Not before what ended it, of which the driver may not have looked on yet.
    let ended = run.now().max(run.ruled_at);
    run.sink.emit_at(ended, Body::Migration(MigrationEvent::Ended { n, end: end.clone() }));
    // After the end is told, so that migration time has none of it.
    if safe {
        driver.stand_down().await;
    }
    end
}

/// The answer of a driver, or that there was none in time.
async fn bounded<T>(
    what: &str,
    within: Duration,
    answer: impl Future<Output = Result<T, HvError>>,
) -> Result<T, HvError> {
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            Err(HvError::Silent { host: "of this migration".into(), what: what.into(), seconds: within.as_secs() })
        }
    }
}

impl Run<'_> {
    fn now(&self) -> Nanos {
        self.sink.clock().now()
    }

    fn log(&self, level: Level, text: String) {
        self.sink.emit(Body::Log(LogEvent { level, from: "migration".into(), text }));
    }

    fn request(&self, t: Nanos, then: Then, by: By) {
        self.sink.emit_at(t, Body::Migration(MigrationEvent::Requested { n: self.n, then, by }));
    }

    fn refused(&self, then: Then, why: String) {
        let t = self.now();
        self.sink.emit_at(t, Body::Migration(MigrationEvent::Refused { n: self.n, then, why }));
    }

    /// Makes both ends ready and sees that the guest is where it is to come from. Nothing has begun before
    /// that is done, so a request to cancel ends it at once; other commands wait.
    async fn prepare(
        &mut self,
        commands: &mut mpsc::Receiver<RunCommand>,
        cancels: &mut Vec<By>,
    ) -> Result<(), HvError> {
        let mut listening = true;
        let settings = self.settings.clone();
        let preparing = bounded("to be made ready", PREPARE_WITHIN, self.driver.prepare(&settings));
        tokio::pin!(preparing);
        let cancelled = loop {
            tokio::select! {
                ready = &mut preparing => break ready.map(|()| None)?,
                command = commands.recv(), if listening => match command {
                    Some(RunCommand::Cancel { by }) => break Some(by),
                    Some(RunCommand::SetPolicy(to)) => self.settings.policy = to,
                    Some(RunCommand::SetMigration(to)) => self.settings.policy = to.policy,
                    // Done as soon as there is something to do it to.
                    Some(other) => self.early.push(other),
                    None => listening = false,
                },
            }
        };
        if let Some(by) = cancelled {
            let why = format!("cancelled by {} before it began", by.words());
            self.cancelled_by = Some(by.words());
            cancels.push(by);
            return Err(HvError::NotNow { what: "migrate".into(), why });
        }
        let place = self.locate().await;
        match &place {
            Place::Source(is) => {
                self.ran = Some(*is == Condition::Runs);
                Ok(())
            }
            Place::Moving | Place::Unknown(_) => Ok(()),
            _ => Err(HvError::NotNow {
                what: format!("migrate from '{}' to '{}'", self.from, self.to),
                why: format!("the guest {}", place.location(self.from, self.to).words()),
            }),
        }
    }

    /// Asks where the guest is, and tells it if that is new.
    async fn locate(&mut self) -> Place {
        let place = match tokio::time::timeout(ending::LOCATE_WITHIN, self.driver.locate()).await {
            Ok(place) => place,
            Err(_) => {
                let within = ending::LOCATE_WITHIN.as_secs();
                Place::Unknown(format!("the hosts do not say within {within} s where it is"))
            }
        };
        let location = place.location(self.from, self.to);
        let t = self.now();
        if place.is_known() {
            self.last = Some((location.clone(), t));
        }
        if self.told.as_ref() != Some(&location) {
            self.sink.emit_at(t, Body::Hypervisor(HvEvent::Located { location: location.clone() }));
            self.told = Some(location);
        }
        place
    }

    /// Watches until the migration is said to be over, one way or the other.
    async fn watch(&mut self, commands: &mut mpsc::Receiver<RunCommand>) -> Said {
        let mut listening = true;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.heard = Instant::now();
        for command in std::mem::take(&mut self.early) {
            self.obey(command).await;
        }
        let Ok(mut now) = self.seen.next().await else {
            return Said::Blind(Unwatched.to_string());
        };
        loop {
            self.pulled |= now.phase == Phase::PostCopy;
            if let Some(said) = self.judge(&now).await {
                return said;
            }
            self.tell_own_rule(&now);
            self.apply_policy(&now).await;
            tokio::select! {
                biased;
                next = self.seen.next() => match next {
                    Ok(next) => (now, self.heard) = (next, Instant::now()),
                    Err(e) => return Said::Blind(e.to_string()),
                },
                command = commands.recv(), if listening => match command {
                    Some(c) => self.obey(c).await,
                    None => listening = false,
                },
                _ = tick.tick() => {}
            }
        }
    }

    /// What is said of the migration, if it is said to be over.
    async fn judge(&mut self, now: &Observation) -> Option<Said> {
        match now.phase {
            Phase::Done => return Some(Said::Complete),
            Phase::Failed | Phase::Unsettled => {
                let mut said = now.error.clone().unwrap_or_else(|| "the hypervisor gives no reason".into());
                for (end, lost) in [("source", &now.source_lost), ("destination", &now.destination_lost)] {
                    if let Some(why) = lost.as_ref().filter(|w| !said.contains(w.as_str())) {
                        said = format!("{said}; the {end} is gone: {why}");
                    }
                }
                return Some(Said::Failed(self.failure.take().unwrap_or(said)));
            }
            Phase::Cancelled => {
                return Some(match self.failure.take() {
                    Some(why) => Said::Failed(why),
                    None => Said::Cancelled(self.cancelled_by.take().unwrap_or_else(|| By::Another.words())),
                });
            }
            _ => {}
        }
        if let Some(why) = &now.source_lost {
            // Its last word on the migration is what it said before.
            return Some(match now.complete {
                true => Said::Complete,
                false => {
                    let said = self.failure.take().or(now.error.clone());
                    Said::Blind(said.unwrap_or_else(|| format!("the source is gone: {why}")))
                }
            });
        }
        if let Some(why) = &now.destination_lost {
            let since = *self.destination_gone_since.get_or_insert_with(Instant::now);
            if now.complete || since.elapsed() > NOTICE {
                if !now.complete && !self.pulled {
                    let _ = bounded("to cancel", CANCEL_WITHIN, self.driver.cancel()).await;
                }
                return Some(Said::Blind(format!("the destination is gone: {why}")));
            }
        }
        // Everything is handed over, and the driver has not seen the guest run yet.
        if now.complete && self.ran != Some(false) {
            let since = *self.complete_since.get_or_insert_with(Instant::now);
            if self.owed || since.elapsed() > ending::ARRIVE_WITHIN {
                return Some(Said::Complete);
            }
            // Its resume is on its way to us, as a rule; else the guest is looked for.
            if since.elapsed() > TICK * 2 && self.asked.elapsed() > LOOK {
                self.asked = Instant::now();
                match self.locate().await {
                    Place::Moving => {}
                    Place::Destination { is: Condition::Stands, .. } if since.elapsed() <= GRACE => {
                        self.tell_waiting(now);
                    }
                    Place::Unknown(_) if since.elapsed() <= GRACE => {}
                    _ => return Some(Said::Complete),
                }
            }
        }
        if let Some((_, why)) = self.leave.take_if(|(until, _)| *until <= Instant::now()) {
            return Some(Said::Left(why));
        }
        self.look_around().await
    }

    /// Shows our own waiting as what it is.
    fn tell_waiting(&mut self, now: &Observation) {
        if std::mem::replace(&mut self.told_waiting, true) {
            return;
        }
        let (phase, raw) = (now.phase, now.raw.clone());
        let substate = Some(Substate::WaitingToResume);
        self.sink.emit_at(self.now(), Body::Hypervisor(HvEvent::Phase { phase, raw, substate }));
    }

    /// Asks for the guest's place when nothing new has been seen for long: a migration that stands still is
    /// not one of which nothing is known.
    async fn look_around(&mut self) -> Option<Said> {
        if self.heard.elapsed() < QUIET || self.asked.elapsed() < QUIET {
            return None;
        }
        self.asked = Instant::now();
        if !matches!(self.locate().await, Place::Unknown(_)) {
            self.heard = Instant::now();
        }
        let blind = self.heard.elapsed() > BLIND_WITHIN;
        blind.then(|| Said::Left(format!("nothing was heard of it for {} s", BLIND_WITHIN.as_secs())))
    }

    /// Tells that the product's own rule has given up on convergence.
    fn tell_own_rule(&mut self, now: &Observation) {
        if let (Some((t, words)), false) = (&now.gave_up, self.told_own) {
            self.told_own = true;
            let rule = StopRule::Own { words: words.clone() };
            let ruled = MigrationEvent::Ruled { n: self.n, rule, then: Then::StopAndCopy };
            self.sink.emit_at(*t, Body::Migration(ruled));
        }
    }

    async fn apply_policy(&mut self, now: &Observation) {
        if self.ruled {
            return;
        }
        let ram = now.sample.total_bytes;
        let elapsed = Duration::from_nanos(self.now().saturating_sub(self.began));
        let Some(rule) = decide(&self.settings.policy, now, elapsed, ram) else { return };
        self.ruled = true;
        let then = self.settings.policy.then;
        if let Err(e) = self.end_pre_copy(By::Rule(rule.clone()), then).await {
            // The migration may have ended in the same moment; then its end says so.
            if self.seen.now().complete || self.seen.now().phase.is_over() {
                return;
            }
            // What was asked for cannot be had: going on for ever would be no answer.
            let why = format!("{}, but the stop policy could not be carried out: {e}", describe(&rule));
            self.log(Level::Error, format!("{why}; cancelling"));
            self.failure = Some(why);
            if then != Then::Cancel {
                let by = By::Rule(rule);
                self.request(self.now(), Then::Cancel, by);
                if let Err(e) = bounded("to cancel", CANCEL_WITHIN, self.driver.cancel()).await {
                    self.refused(Then::Cancel, e.to_string());
                }
            }
        }
    }

    /// Ends pre-copy and tells so, with the time of the decision. What the hypervisor refused has
    /// ended nothing, and must not stand in the result.
    async fn end_pre_copy(&mut self, by: By, then: Then) -> Result<(), HvError> {
        let decided = self.now();
        self.request(decided, then, by.clone());
        let result = self.carry_out(&by, then).await;
        self.ruled_at = decided;
        if let Err(e) = &result {
            self.refused(then, e.to_string());
        }
        let n = self.n;
        // Without an answer the command may have taken effect.
        let taken =
            matches!(result, Ok(()) | Err(HvError::Silent { .. } | HvError::Lost { .. } | HvError::Unread { .. }));
        let rule = match by {
            By::Rule(rule) => Some(rule),
            By::Operator => Some(StopRule::Operator),
            By::GiveUpAfter { .. } | By::Closing | By::Another => None,
        };
        if let Some(rule) = rule.filter(|_| taken) {
            self.sink.emit_at(decided, Body::Migration(MigrationEvent::Ruled { n, rule, then }));
        }
        result
    }

    async fn carry_out(&mut self, by: &By, then: Then) -> Result<(), HvError> {
        match then {
            Then::StopAndCopy => {
                // Owed from before the command: it may take effect although its answer is lost.
                // A guest that stood still before is left as it was.
                let before = self.owed;
                self.owed = self.ran == Some(true);
                let stopped = bounded("to stop the guest", ORDER_WITHIN, self.driver.stop_source()).await;
                if matches!(stopped, Err(HvError::NotNow { .. } | HvError::Refused { .. })) {
                    self.owed = before;
                }
                stopped
            }
            Then::PostCopy => {
                let began = bounded("to start post-copy", ORDER_WITHIN, self.driver.start_post_copy()).await;
                // Without an answer it may have begun.
                self.pulled |= !matches!(began, Err(HvError::NotNow { .. } | HvError::Refused { .. }));
                began
            }
            Then::AutoConverge => {
                bounded("to throttle the guest", ORDER_WITHIN, self.driver.start_auto_converge()).await
            }
            Then::Cancel => {
                let before = self.cancelled_by.replace(by.words());
                let taken = bounded("to cancel", CANCEL_WITHIN, self.driver.cancel()).await;
                // One that was refused is not what a later end is due to; without an answer it may be.
                if matches!(taken, Err(HvError::NotNow { .. } | HvError::Refused { .. })) {
                    self.cancelled_by = before;
                }
                taken
            }
        }
    }

    async fn obey(&mut self, command: RunCommand) {
        let result = match command {
            // What is not done of these is an event of its own.
            RunCommand::Cancel { by } => return self.on_request(Then::Cancel, by).await,
            RunCommand::StopAndCopy => return self.on_request(Then::StopAndCopy, By::Operator).await,
            RunCommand::PostCopy => return self.on_request(Then::PostCopy, By::Operator).await,
            RunCommand::Tune { name, value } => {
                let told = format!("{name} = {value}");
                let result = bounded("to be tuned", ORDER_WITHIN, self.driver.tune(&name, value)).await;
                if result.is_ok() {
                    self.log(Level::Info, told);
                }
                result
            }
            RunCommand::SetMigration(to) => {
                let result = bounded("to be tuned", ORDER_WITHIN, self.driver.retune(&to)).await;
                self.set_policy(to.policy.clone());
                if result.is_ok() {
                    self.settings = to;
                }
                result
            }
            RunCommand::SetPolicy(to) => {
                self.set_policy(to);
                Ok(())
            }
        };
        if let Err(e) = result {
            self.log(Level::Error, e.to_string());
        }
    }

    fn set_policy(&mut self, to: StopPolicy) {
        if self.settings.policy != to {
            self.settings.policy = to;
            // A guest that stands still, or a migration that is being given up, gets no second end.
            self.ruled &= self.owed || self.cancelled_by.is_some() || self.failure.is_some();
        }
    }

    async fn on_request(&mut self, then: Then, by: By) {
        if self.owed && then == Then::StopAndCopy {
            return;
        }
        let gives_up = matches!(by, By::GiveUpAfter { .. } | By::Closing);
        let who = by.words();
        let done = self.end_pre_copy(by, then).await;
        self.ruled |= done.is_ok();
        if gives_up && self.leave.is_none() {
            let why = match done {
                Ok(()) => format!("{who} cancelled it, but it has not ended within {} s", LEAVE_WITHIN.as_secs()),
                Err(e) => format!("{who} could not cancel it: {e}"),
            };
            self.leave = Some((Instant::now() + LEAVE_WITHIN, why));
        }
    }
}
