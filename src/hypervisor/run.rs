//! Running one migration: begin, watch, end pre-copy by policy or on command, and make sure that
//! the guest runs somewhere at the end. Knows no product.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::policy::{decide, describe};
use super::{Driver, HvError, Observation};
use crate::event::{
    Body, By, EventSink, Level, LogEvent, MigrationEnd, MigrationEvent, MigrationSettings, Nanos, Phase, StopPolicy,
    StopRule, Then,
};

/// How often rules of time are looked at when nothing else happens.
const TICK: Duration = Duration::from_millis(20);
/// A guest that has arrived but neither runs nor was stopped by us is resumed after so long.
const GRACE: Duration = Duration::from_millis(500);
/// How long a source may take to notice that its destination is gone.
const NOTICE: Duration = Duration::from_secs(5);

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
    sink: EventSink,
    settings: MigrationSettings,
    /// ns of the session clock.
    began: Nanos,
    seen: watch::Receiver<Observation>,
    /// The guest ran at the source when the migration began.
    ran: bool,
    /// Pre-copy has been ended once, by a rule or on command.
    ruled: bool,
    /// When that was decided last, ns of the session clock.
    ruled_at: Nanos,
    /// The guest was stopped by us: we owe it a `resume`.
    owed: bool,
    /// The guest was resumed by us at the destination and seen to run.
    resumed: bool,
    /// Who cancelled.
    cancelled_by: Option<String>,
    complete_since: Option<Instant>,
    destination_gone_since: Option<Instant>,
    /// Why the migration cannot end well although it was cancelled or goes on.
    failure: Option<String>,
    /// That the product's own rule gave up has been told.
    told_own: bool,
}

/// Runs migration `n` of a session from its settings to its end, and returns how it ended.
///
/// Writes [`MigrationEvent::Began`] when the command is about to be given, [`MigrationEvent::Ruled`]
/// once pre-copy has been ended from outside and [`MigrationEvent::Ended`] at the end; the driver writes
/// what it sees. The policy ends pre-copy once; a new policy given while pre-copy goes on gets its
/// own turn. A closed `commands` channel means that no command will come, nothing more.
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
    let began_event = MigrationEvent::Began { n, from: from.into(), to: to.into(), settings: settings.clone() };
    let prepared = driver.prepare(&settings).await;
    let mut run = Run {
        driver,
        n,
        seen: driver.observe(),
        ran: true,
        settings,
        began: sink.clock().now(),
        ruled: false,
        ruled_at: 0,
        owed: false,
        resumed: false,
        cancelled_by: None,
        complete_since: None,
        destination_gone_since: None,
        failure: None,
        told_own: false,
        sink,
    };
    run.sink.emit_at(run.began, Body::Migration(began_event));
    let started = match prepared {
        Ok(()) => driver.start().await,
        Err(e) => Err(e),
    };
    let (end, safe) = match started {
        Ok(()) => {
            run.ran = run.seen.borrow().source_running != Some(false);
            let end = run.watch(&mut commands).await;
            run.see_to_the_guest(end).await
        }
        Err(e) => {
            // Without an answer it may have begun all the same, and nobody would watch it.
            if matches!(e, HvError::Silent { .. } | HvError::Unread { .. }) {
                let _ = driver.cancel().await;
            }
            (MigrationEnd::Failed { why: e.to_string() }, true)
        }
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

impl Run<'_> {
    /// Now, by the driver's time where that is of its own making.
    fn now(&self) -> Nanos {
        self.seen.borrow().at.unwrap_or_else(|| self.sink.clock().now())
    }

    fn log(&self, level: Level, text: String) {
        self.sink.emit(Body::Log(LogEvent { level, from: "migration".into(), text }));
    }

    /// Watches until the migration is over, one way or the other.
    async fn watch(&mut self, commands: &mut mpsc::Receiver<RunCommand>) -> MigrationEnd {
        let mut listening = true;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = self.seen.borrow_and_update().clone();
            if let Some(end) = self.judge(&now).await {
                return end;
            }
            self.tell_own_rule(&now);
            self.apply_policy(&now).await;
            if let Some(at) = now.at {
                self.driver.judged(at);
            }
            tokio::select! {
                biased;
                changed = self.seen.changed() => if changed.is_err() {
                    return MigrationEnd::Failed { why: "the driver has stopped watching the migration".into() };
                },
                command = commands.recv(), if listening => match command {
                    Some(c) => self.obey(c).await,
                    None => listening = false,
                },
                _ = tick.tick() => {}
            }
        }
    }

    /// The end, if this is it. Resumes the guest at the destination when its time has come.
    async fn judge(&mut self, now: &Observation) -> Option<MigrationEnd> {
        match now.phase {
            Phase::Done => return Some(MigrationEnd::Done),
            Phase::Failed => {
                let mut said = now.error.clone().unwrap_or_else(|| "the hypervisor gives no reason".into());
                for (end, lost) in [("source", &now.source_lost), ("destination", &now.destination_lost)] {
                    if let Some(why) = lost.as_ref().filter(|w| !said.contains(w.as_str())) {
                        said = format!("{said}; the {end} is gone: {why}");
                    }
                }
                return Some(MigrationEnd::Failed { why: self.failure.take().unwrap_or(said) });
            }
            Phase::Cancelled => {
                return Some(match self.failure.take() {
                    Some(why) => MigrationEnd::Failed { why },
                    None => MigrationEnd::Cancelled {
                        by: self.cancelled_by.take().unwrap_or_else(|| "another client".into()),
                    },
                });
            }
            _ => {}
        }
        if let Some(why) = &now.destination_lost {
            let since = *self.destination_gone_since.get_or_insert_with(Instant::now);
            if now.complete || since.elapsed() > NOTICE {
                if !now.complete {
                    let _ = self.driver.cancel().await;
                }
                return Some(MigrationEnd::Failed { why: format!("the destination is gone: {why}") });
            }
        }
        if now.complete && self.ran {
            let since = *self.complete_since.get_or_insert_with(Instant::now);
            if self.resumed {
                // Seen to run by asking; the driver's own word is overdue when it takes so long.
                return (since.elapsed() > NOTICE).then_some(MigrationEnd::Done);
            }
            if now.destination_running != Some(true) && (self.owed || since.elapsed() > GRACE) {
                if !self.owed {
                    self.log(Level::Info, "the guest arrived standing still; resuming it".into());
                }
                if let Err(e) = self.driver.resume_destination().await {
                    return Some(MigrationEnd::Failed {
                        why: format!("everything has arrived, but the guest does not run at the destination: {e}"),
                    });
                }
                self.complete_since = Some(Instant::now());
                self.owed = false;
                self.resumed = true;
            }
        }
        None
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
        let at = now.at.unwrap_or_else(|| self.sink.clock().now());
        let elapsed = Duration::from_nanos(at.saturating_sub(self.began));
        let Some(rule) = decide(&self.settings.policy, now, elapsed, ram) else { return };
        self.ruled = true;
        let then = self.settings.policy.then;
        if let Err(e) = self.end_pre_copy(By::Rule(rule.clone()), then).await {
            // The migration may have ended in the same moment; then its end says so.
            if self.seen.borrow().complete || self.seen.borrow().phase.is_over() {
                return;
            }
            // What was asked for cannot be had: going on for ever would be no answer.
            let why = format!("{}, but the stop policy could not be carried out: {e}", describe(&rule));
            self.log(Level::Error, format!("{why}; cancelling"));
            self.failure = Some(why);
            if let Err(e) = self.driver.cancel().await {
                self.log(Level::Error, format!("cancelling failed too: {e}"));
            }
        }
    }

    /// Ends pre-copy and tells so, with the time of the decision. What the hypervisor refused has
    /// ended nothing, and must not stand in the result.
    async fn end_pre_copy(&mut self, by: By, then: Then) -> Result<(), HvError> {
        // The driver's time is that of its last look: what somebody asked for was asked for after it.
        let decided = match by {
            By::Rule(_) => self.now(),
            _ => self.now().max(self.sink.clock().now()),
        };
        let n = self.n;
        self.sink.emit_at(decided, Body::Migration(MigrationEvent::Requested { n, then, by: by.clone() }));
        let result = self.carry_out(&by, then).await;
        self.ruled_at = decided;
        if let Err(e) = &result {
            let refused = MigrationEvent::Refused { n, then, why: e.to_string() };
            self.sink.emit_at(decided.max(self.now()), Body::Migration(refused));
        }
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
                self.owed = self.ran;
                let stopped = self.driver.stop_source().await;
                if matches!(stopped, Err(HvError::NotNow { .. } | HvError::Refused { .. })) {
                    self.owed = false;
                }
                stopped
            }
            Then::PostCopy => self.driver.start_post_copy().await,
            Then::AutoConverge => self.driver.start_auto_converge().await,
            Then::Cancel => {
                self.cancelled_by = Some(by.words());
                self.driver.cancel().await
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
                let result = self.driver.tune(&name, value).await;
                if result.is_ok() {
                    self.log(Level::Info, told);
                }
                result
            }
            RunCommand::SetMigration(to) => {
                let result = self.driver.retune(&to).await;
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
        let before = (self.cancelled_by.clone(), self.ruled);
        match self.end_pre_copy(by, then).await {
            Ok(()) => self.ruled = true,
            Err(_) => (self.cancelled_by, self.ruled) = before,
        }
    }

    /// Whoever stops the guest must make sure it runs again. The second value says whether the
    /// guest is seen to; if not, the safeguards are left to try on their own.
    async fn see_to_the_guest(&mut self, end: MigrationEnd) -> (MigrationEnd, bool) {
        if end == MigrationEnd::Done || !self.owed {
            return (end, true);
        }
        // We stopped it at the source and it did not get to run at the destination.
        let now = self.seen.borrow().clone();
        let but = |what: String| match &end {
            MigrationEnd::Failed { why } => MigrationEnd::Failed { why: format!("{why}; {what}") },
            _ => MigrationEnd::Failed { why: what },
        };
        if now.source_lost.is_none() {
            return match self.driver.resume_source().await {
                Ok(()) => {
                    self.log(Level::Info, "the guest runs at the source again".into());
                    (end, true)
                }
                Err(e) => (but(format!("the guest stands still at the source: {e}")), false),
            };
        }
        // The source is gone; what it had sent may be all there is to send.
        if now.destination_lost.is_none() && self.driver.resume_destination().await.is_ok() {
            return (but("the destination had everything, and the guest runs there".into()), true);
        }
        (but("the guest was lost with it".into()), true)
    }
}
