//! The controller: records what the operator asks for, and does it.
//!
//! The screen and the headless front end both talk to it through [`OperatorEvent`]s only, so what
//! a session did can be read from its capture whoever drove it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, channel};
use tokio::task::{JoinError, JoinHandle};

use super::closing::Waiting;
use super::patience::{ns, until, within};
use super::requests::Requests;
use crate::event::{
    Body, By, EventSink, HvEvent, Intent, Level, LoadSettings, LogEvent, MigrationEnd, MigrationEvent,
    MigrationSettings, Nanos, OperatorEvent, Outcome, SessionClock,
};
use crate::hypervisor::{HvError, Hypervisor, RunCommand, follow_migration, run_migration};
use crate::session::Shared;
use crate::target::loader::Loader;
use crate::target::opened::{EndProbing, Opened};
use crate::text::in_full;

/// A guest that has not answered so long after a migration is reported as not answering.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long a quit waits for a running migration to be cancelled, in real time.
const CANCEL_WITHIN: Duration = Duration::from_secs(30);
/// How long after its deadline the last probe's class may take to reach the state.
const TAIL: Duration = Duration::from_millis(200);
/// What is simulated is waited for at least so long in real time, at whatever speed: what is due must
/// have been made and taken in.
const AT_LEAST: Duration = Duration::from_secs(10);
/// Commands that may wait for a migration that is busy with its hypervisor.
const COMMANDS: usize = 256;
/// How long a migration waits for settings that are just being put to its source.
const TUNED_WITHIN: Duration = Duration::from_secs(5);
/// How long the hosts may take to say where the guest is, between migrations.
const PROSPECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a quit waits for a host that is being started for the next migration.
const RENEWED_WITHIN: Duration = Duration::from_millis(500);

pub(super) struct Controller {
    sink: EventSink,
    shared: Shared,
    /// What was asked for and has to wait until the guest is ready; None once it is.
    early: Option<Vec<Early>>,
    /// None where nothing can be migrated.
    hypervisor: Option<Arc<dyn Hypervisor>>,
    agent: Option<Box<dyn Loader>>,
    probe: Option<EndProbing>,
    requests: Requests,
    next: MigrationSettings,
    probe_deadline: Duration,
    migrations: u32,
    running: Option<Running>,
    renewing: Option<Renewing>,
    /// The next migration's settings are being put to its source.
    tuning: Option<JoinHandle<()>>,
    /// A migration was asked for while the hypervisor was made ready.
    wanted: bool,
    /// What the end of the session waits for.
    waiting: Waiting,
}

impl Drop for Controller {
    /// Dropped before its end, nothing of it goes on without it.
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.task.abort();
        }
        if let Some(tuning) = &self.tuning {
            tuning.abort();
        }
        if let Some(renewing) = &self.renewing {
            renewing.abort();
        }
    }
}

/// What was asked for before the guest was ready.
enum Early {
    /// Recorded when it was asked for.
    Recorded(OperatorEvent),
    /// Recorded when it begins.
    Ramp(Intent),
}

/// What a session is to go by.
pub(super) struct Terms {
    /// Settings for the next migration.
    pub(super) next: MigrationSettings,
    /// A probe unanswered for so long is lost.
    pub(super) probe_deadline: Duration,
    /// Where to say what the end of the session waits for.
    pub(super) waiting: Waiting,
}

struct Running {
    /// Another has begun it.
    is_followed: bool,
    commands: Sender<RunCommand>,
    task: JoinHandle<MigrationEnd>,
}

/// Making ready for the next migration. A task of its own, so that the operator is served meanwhile.
type Renewing = JoinHandle<Result<(), HvError>>;

impl Controller {
    pub(super) fn new(sink: EventSink, shared: Shared, terms: Terms) -> Self {
        let Terms { next, probe_deadline, waiting } = terms;
        Self {
            requests: Requests::at_speed(sink.clock().speed()),
            sink,
            shared,
            early: Some(Vec::new()),
            hypervisor: None,
            agent: None,
            probe: None,
            next,
            probe_deadline,
            migrations: 0,
            running: None,
            renewing: None,
            tuning: None,
            wanted: false,
            waiting,
        }
    }

    /// Serves the operator until it says quit (or is gone), then ends what was started. What cannot be done
    /// before `preparing` has come to an end is done then.
    ///
    /// # Errors
    /// Why there is no guest.
    pub(super) async fn serve(
        mut self,
        preparing: impl Future<Output = Result<Opened>>,
        mut intents: UnboundedReceiver<Intent>,
    ) -> Result<()> {
        tokio::pin!(preparing);
        loop {
            tokio::select! {
                biased;
                end = outcome(self.running.as_mut().map(|r| &mut r.task)) => self.after(end),
                made = outcome(self.renewing.as_mut()) => self.renewed(made).await,
                opened = &mut preparing, if self.early.is_some() => match opened {
                    Ok(opened) => self.equip(opened).await,
                    Err(e) => {
                        let text = in_full(&e);
                        self.sink.emit(Body::Log(LogEvent { level: Level::Error, from: "blackout".into(), text }));
                        return Err(e);
                    }
                },
                intent = intents.recv() => match intent {
                    None => break,
                    Some(Intent::Quit) => {
                        self.record(OperatorEvent::Quit);
                        break;
                    }
                    Some(intent) => self.take(intent).await,
                },
                () = begun(self.hypervisor.as_deref()), if self.running.is_none() && self.renewing.is_none() => self.follow(),
                () = step_due(self.sink.clock(), self.requests.due()) => self.step(),
            }
        }
        self.close().await;
        Ok(())
    }

    /// The guest is ready: does what was asked for meanwhile.
    async fn equip(&mut self, opened: Opened) {
        (self.hypervisor, self.agent, self.probe) = (opened.hypervisor, opened.agent, opened.probe);
        // Before anything is done: what is refused is refused with the hosts' names.
        self.look_around().await;
        for early in self.early.take().unwrap_or_default() {
            match early {
                Early::Recorded(OperatorEvent::SetLoad { id, to }) => self.give(id, to, true),
                Early::Recorded(other) => self.act(other).await,
                Early::Ramp(intent) => self.take(intent).await,
            }
        }
        self.tune();
    }

    fn now(&self) -> Nanos {
        self.sink.clock().now()
    }

    fn record(&self, asked: OperatorEvent) {
        self.sink.emit(Body::Operator(asked));
    }

    /// Records what the operator asks for as it comes, whatever else is going on, and does it.
    async fn take(&mut self, intent: Intent) {
        match (intent, &mut self.early) {
            (ramp @ (Intent::Ramp { .. } | Intent::RampEnd), Some(early)) => early.push(Early::Ramp(ramp)),
            (Intent::SetLoad { to }, _) => {
                let request = self.requests.take(to, self.now());
                if request.ends_ramp {
                    self.record(OperatorEvent::RampEnd);
                }
                self.record(OperatorEvent::SetLoad { id: request.id, to: request.to });
                if request.to.dirties_nothing() {
                    self.say(Level::Warn, "this RATE dirties nothing while WSET is 0: set WSET too, for instance 96M");
                }
                match &mut self.early {
                    Some(early) => {
                        early.push(Early::Recorded(OperatorEvent::SetLoad { id: request.id, to: request.to }));
                    }
                    None => self.give(request.id, request.to, true),
                }
            }
            (Intent::Ramp { from_pages_per_s: from, to_pages_per_s: to, over_ns }, None) => {
                let over = Duration::from_nanos(over_ns);
                match self.requests.begin(from, to, over, self.load_now(), self.now()) {
                    _ if self.agent.is_none() => {
                        self.requests.end();
                        self.say(Level::Warn, "no agent is connected, so there is nothing to ramp");
                    }
                    Ok(()) => self.record(OperatorEvent::Ramp { from_pages_per_s: from, to_pages_per_s: to, over_ns }),
                    Err(why) => self.say(Level::Warn, &why),
                }
            }
            (Intent::RampEnd, None) => {
                if self.requests.end() {
                    self.record(OperatorEvent::RampEnd);
                }
            }
            (other, _) => {
                // Only a request for load has a number.
                let asked = other.recorded(0);
                self.record(asked.clone());
                match &mut self.early {
                    Some(early) => early.push(Early::Recorded(asked)),
                    None => self.act(asked).await,
                }
            }
        }
    }

    /// The next step of the ramp.
    fn step(&mut self) {
        if let Some(step) = self.requests.step(self.now()) {
            self.record(OperatorEvent::SetLoad { id: step.id, to: step.to });
            self.give(step.id, step.to, false);
            if step.ends_ramp {
                self.record(OperatorEvent::RampEnd);
            }
        }
    }

    /// Gives a recorded request to the agent. One that is not `urgent` waits for its turn.
    fn give(&self, id: u64, to: LoadSettings, urgent: bool) {
        match &self.agent {
            Some(agent) if urgent => agent.set(id, to),
            Some(agent) => agent.follow(id, to),
            None => self.say(Level::Warn, "no agent is connected, so the load stays as it is"),
        }
    }

    /// What the agent has set, as far as is known.
    fn load_now(&self) -> LoadSettings {
        self.shared.with_state(|s| {
            let achieved = || s.load.achieved.as_ref().map(|(_, report)| report.set);
            s.load.set.map(|set| set.1).or_else(achieved).unwrap_or_default()
        })
    }

    /// Does what the operator asked for; that it was asked for is recorded already.
    async fn act(&mut self, intent: OperatorEvent) {
        match intent {
            OperatorEvent::SetMigration { to } => {
                self.next = to.clone();
                // They are those of our next one.
                if !self.is_following() {
                    self.pass_on(RunCommand::SetMigration(to), None);
                }
                self.tune();
            }
            OperatorEvent::Migrate => self.fire(),
            OperatorEvent::Cancel => self.pass_on(RunCommand::Cancel { by: By::Operator }, Some("cancel")),
            OperatorEvent::GiveUp { .. } if self.is_following() => {
                self.say(Level::Warn, "another has begun the migration that runs: it is not given up");
            }
            OperatorEvent::GiveUp { after_ns } => {
                self.pass_on(RunCommand::Cancel { by: By::GiveUpAfter { limit_ns: after_ns } }, Some("cancel"));
            }
            OperatorEvent::StopAndCopy => self.pass_on(RunCommand::StopAndCopy, Some("stop-and-copy")),
            OperatorEvent::PostCopy => self.pass_on(RunCommand::PostCopy, Some("post-copy")),
            // The load is dealt with where it is recorded; a mark is nothing but its record; nobody asks for a
            // policy alone any more.
            OperatorEvent::SetLoad { .. }
            | OperatorEvent::Ramp { .. }
            | OperatorEvent::RampEnd
            | OperatorEvent::Mark { .. }
            | OperatorEvent::SetPolicy { .. }
            | OperatorEvent::Quit => {}
        }
    }

    /// Tells where the guest is and what the next migration would be.
    async fn look_around(&mut self) {
        let Some(hypervisor) = &self.hypervisor else { return };
        let Ok(prospect) = tokio::time::timeout(PROSPECT_WITHIN, hypervisor.prospect()).await else { return };
        let location = prospect.location();
        self.sink.emit(Body::Hypervisor(HvEvent::Located { location }));
        self.sink.emit(Body::Migration(match prospect.obstacle {
            Some(why) => MigrationEvent::NotReady { why },
            None => MigrationEvent::Ready { from: prospect.from, to: prospect.to },
        }));
    }

    /// Puts the next migration's settings to its source already now, so that what it offers is told
    /// with the values that count, and what it refuses is told before it matters.
    fn tune(&mut self) {
        let Some(hypervisor) = self.hypervisor.clone().filter(|_| self.running.is_none()) else { return };
        let (before, sink, settings) = (self.tuning.take(), self.sink.clone(), self.next.clone());
        self.tuning = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let mut wrong = hypervisor.check(&settings).await;
            // A policy that would be refused at the start is told off already now.
            if let Ok(Ok(offers)) = tokio::time::timeout(PROSPECT_WITHIN, hypervisor.capabilities()).await {
                wrong.extend(offers.unfit(&settings.policy));
            }
            for text in wrong {
                sink.emit(Body::Log(LogEvent { level: Level::Warn, from: "hypervisor".into(), text }));
            }
        }));
    }

    /// Whether the migration that runs was begun by another.
    fn is_following(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.is_followed)
    }

    /// Passes a command to the running migration. `named` is said when there is none.
    fn pass_on(&mut self, command: RunCommand, named: Option<&str>) {
        match (&self.running, named) {
            // A migration that ends this instant takes no more commands; its end is reported.
            (Some(running), _) => {
                if let Err(TrySendError::Full(_)) = running.commands.try_send(command) {
                    self.say(Level::Warn, "the hypervisor has not answered earlier commands, so this one is not given");
                }
            }
            (None, Some(named)) => {
                self.say(Level::Warn, &format!("no migration is running, so there is nothing to {named}"))
            }
            (None, None) => {}
        }
    }

    fn fire(&mut self) {
        let Some(hypervisor) = self.hypervisor.clone() else {
            let text = "no hypervisor is attached, so nothing can be migrated: this session only watches \
                        ('blackout lab' and 'blackout migrate' have hypervisors, 'blackout demo' a simulated one)";
            self.say(Level::Warn, text);
            return;
        };
        if self.running.is_some() {
            self.say(Level::Warn, "a migration is already running");
            return;
        }
        if self.renewing.is_some() {
            self.say(Level::Info, "the next host is not ready yet: the migration begins when it is");
            self.wanted = true;
            return;
        }
        self.migrations += 1;
        let (commands, rx) = channel(COMMANDS);
        let (n, settings, sink) = (self.migrations, self.next.clone(), self.sink.clone());
        let (shared, probe_deadline) = (self.shared.clone(), self.probe_deadline);
        let tuning = self.tuning.take();
        let task = tokio::spawn(async move {
            if let Some(tuning) = tuning {
                let _ = tokio::time::timeout(TUNED_WITHIN, tuning).await;
            }
            let end = run_migration(&*hypervisor, n, settings, sink.clone(), rx).await;
            // A guest that nobody knows the place of is not waited for.
            let wait = !matches!(end, MigrationEnd::Unsettled { .. });
            settle(&sink, &shared, n, probe_deadline, wait).await;
            end
        });
        self.running = Some(Running { is_followed: false, commands, task });
    }

    /// Another has begun a migration: it is watched and recorded like one of ours, and nothing is done about it.
    fn follow(&mut self) {
        let Some(hypervisor) = self.hypervisor.clone() else { return };
        self.migrations += 1;
        let (commands, rx) = channel(COMMANDS);
        let (n, sink) = (self.migrations, self.sink.clone());
        let (shared, probe_deadline) = (self.shared.clone(), self.probe_deadline);
        let task = tokio::spawn(async move {
            let end = follow_migration(&*hypervisor, n, sink.clone(), rx).await;
            let wait = !matches!(end, MigrationEnd::Unsettled { .. });
            settle(&sink, &shared, n, probe_deadline, wait).await;
            end
        });
        self.running = Some(Running { is_followed: true, commands, task });
    }

    /// A migration is over: makes ready for the next one.
    fn after(&mut self, end: Result<MigrationEnd, JoinError>) {
        self.running = None;
        let end = end.unwrap_or_else(|e| MigrationEnd::Failed { why: format!("the task that drove it is gone: {e}") });
        if let Some(hypervisor) = self.hypervisor.clone() {
            self.renewing = Some(tokio::spawn(async move { hypervisor.after(&end).await }));
        }
    }

    async fn renewed(&mut self, made: Result<Result<(), HvError>, JoinError>) {
        self.take_back(made);
        self.look_around().await;
        self.tune();
        if std::mem::take(&mut self.wanted) {
            self.fire();
        }
    }

    fn take_back(&mut self, made: Result<Result<(), HvError>, JoinError>) {
        self.renewing = None;
        let trouble = match made {
            Ok(result) => result.err().map(|e| e.to_string()),
            Err(e) => Some(e.to_string()),
        };
        if let Some(why) = trouble {
            self.say(Level::Error, &format!("making ready for the next migration: {why}"));
        }
    }

    /// Whether the newest migration has ended (it may not be settled yet).
    fn has_ended(&self) -> bool {
        let n = self.migrations;
        self.shared.with_state(|state| state.migrations.iter().any(|m| m.n == n && m.ended.is_some()))
    }

    async fn close(mut self) {
        if let Some(mut running) = self.running.take() {
            // One that has ended needs no cancelling, only its last probes.
            let cancel = !self.has_ended() && !running.is_followed;
            let left = running.is_followed && !self.has_ended();
            let clock = self.sink.clock();
            // Nobody looks on any more: a slow simulation has no need to be slow.
            clock.hasten();
            let patience = match (cancel, clock.is_simulated()) {
                _ if left => Duration::ZERO,
                (true, _) => CANCEL_WITHIN,
                (false, false) => CANCEL_WITHIN.min(self.probe_deadline + TAIL * 2),
                // Its probes show that they are settled: one that is answered, and one after the deadline.
                (false, true) => AT_LEAST.max(self.probe_deadline * 2 + TAIL * 4),
            };
            if cancel {
                self.say(Level::Warn, "quitting while a migration runs: cancelling it first");
            }
            self.waiting.on(if cancel { "the migration to be cancelled" } else { "the last probes of the migration" });
            let over = async {
                if cancel {
                    let _ = running.commands.send(RunCommand::Cancel { by: By::Closing }).await;
                }
                let _ = (&mut running.task).await;
            };
            if tokio::time::timeout(patience, over).await.is_err() {
                let (level, text) = match self.has_ended() {
                    _ if left => (Level::Info, "quitting while a migration of another runs: it goes on"),
                    true => (Level::Warn, "quitting before the last migration's result was settled"),
                    false => (Level::Error, "the migration could not be cancelled in time"),
                };
                self.say(level, text);
            }
            // Kept, so that it is aborted if this is cut short.
            self.running = Some(running);
        }
        if let Some(agent) = self.agent.take() {
            self.waiting.on("the agent to let its load go");
            // Blocks until the agent has heard it, or cannot any more.
            let _ = crate::allowed::blocking("agent-end", move || agent.let_go()).await;
        }
        if let Some(renewing) = &mut self.renewing {
            self.waiting.on("the next host, which is being started");
            // A host that nobody will use is not worth the time it takes to come up.
            match tokio::time::timeout(RENEWED_WITHIN, renewing).await {
                Ok(made) => self.take_back(made),
                Err(_) => self.say(Level::Info, "the next host is not waited for"),
            }
        }
        if let Some(hypervisor) = self.hypervisor.take() {
            self.waiting.on("the hosts to end");
            hypervisor.close().await;
        }
        if let Some(probe) = self.probe.take() {
            self.waiting.on("the probe to stop");
            let _ = crate::allowed::blocking("probe-end", probe).await;
        }
    }

    fn say(&self, level: Level, text: &str) {
        self.sink.emit(Body::Log(LogEvent { level, from: "controller".into(), text: text.into() }));
    }
}

/// Waits until another has begun a migration; for ever, if nothing can be migrated.
async fn begun(hypervisor: Option<&dyn Hypervisor>) {
    match hypervisor {
        Some(hypervisor) => hypervisor.begun().await,
        None => std::future::pending().await,
    }
}

/// What a task came to; never, if there is none. One that came to something is not to be asked again.
async fn outcome<T>(task: Option<&mut JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Waits until it is so late in the session; for ever, if there is no such time.
async fn step_due(clock: SessionClock, then: Option<Nanos>) {
    match then {
        Some(then) => until(clock, then).await,
        None => std::future::pending().await,
    }
}

/// Waits until the guest answers again and the last probes of the blackout have found their class.
async fn settle(sink: &EventSink, shared: &Shared, n: u32, probe_deadline: Duration, wait: bool) {
    let clock = sink.clock();
    let ended = clock.now();
    let least = if clock.is_simulated() { AT_LEAST } else { Duration::ZERO };
    let answered = probed(shared, move |o| o.fate.rtt().is_some() && o.sent > ended);
    if wait && within(clock, ANSWER_WITHIN, least, answered).await.is_none() {
        sink.emit(Body::Log(LogEvent {
            level: Level::Error,
            from: "probe".into(),
            text: format!("the guest has not answered for {} s after the migration", ANSWER_WITHIN.as_secs()),
        }));
    }
    let mut settled = None;
    if clock.is_simulated() {
        // Then the probes themselves show that the deadline has passed for all before.
        let passed = clock.now().saturating_add(ns(probe_deadline + TAIL));
        within(clock, ANSWER_WITHIN, least, probed(shared, move |o| o.sent > passed)).await;
        settled = Some(passed);
    } else {
        tokio::time::sleep(probe_deadline + TAIL).await;
    }
    sink.emit_at(settled.unwrap_or_else(|| clock.now()), Body::Migration(MigrationEvent::Settled { n }));
}

/// Waits for an outcome of the probe such as this; not where there is no probe (any more).
async fn probed(shared: &Shared, is: impl Fn(&Outcome) -> bool) {
    let mut changes = shared.subscribe();
    while !shared.with_state(|state| {
        let probe = state.primary();
        !state.is_probed()
            || probe.is_none_or(|probe| probe.stopped.is_some() || probe.outcomes.iter().rev().take(64).any(&is))
    }) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Emits the settings the session starts with, so that the capture and the screen know them.
pub(super) fn announce(sink: &EventSink, settings: &MigrationSettings) {
    sink.emit(Body::Operator(OperatorEvent::SetMigration { to: settings.clone() }));
}
