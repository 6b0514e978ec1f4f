//! Migrations that are a command of another program: `virsh migrate`, `xl migrate`, an operator's own script.
//!
//! What the command says while it runs is read by patterns; where the guest is, another command says. All of
//! it is data: a preset ([`presets`]), or what the target sets itself ([`Config`]). The run time of the command
//! is the migration time; its exit status alone never says where the guest is.

mod config;
mod error;
mod location;
mod pattern;
pub mod presets;
mod template;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;

pub use config::Config;
pub use error::ConfigError;
pub use location::{Rule, State, Where};
pub use pattern::Pattern;
pub use template::{CancelBy, Given, Host, TemplateError, Word};

use config::Recipe;
use location::{Rules, Says, look};
use pattern::Reader;
use template::{Values, fill, has_place};

use super::blocking::{Blocking, Call, Heard, Look};
use super::exec::{Answer, Control, ExecError, Spec, ending};
use super::place::Condition;
use super::{Capabilities, HvError, Hypervisor, Migration, Order, Place, Prospect, Side};
use crate::event::{
    Body, Cancels, Counts, Ends, EventSink, HvEvent, Level, LogEvent, MigrationEnd, MigrationSettings, OwnDowntime,
    Phase, Resumer, Sees, Stamped,
};
use crate::text::{foreign, visible};

/// How long a host may take to say where the guest is.
const LOOK_WITHIN: Duration = Duration::from_secs(9);
/// How long a command that gives an order may take.
const ORDER_WITHIN: Duration = Duration::from_secs(30);
/// How long a guest that was told to run may take to be seen running.
const RUNS_WITHIN: Duration = Duration::from_secs(8);
/// Between two looks for it.
const RUNS_LOOK: Duration = Duration::from_millis(100);

/// A target that is driven by commands. Nothing is run before it is asked something.
///
/// # Errors
/// If a setting cannot be used: which one, and what would be right.
pub fn open(config: Config, sink: EventSink) -> Result<Arc<dyn Hypervisor>, ConfigError> {
    let recipe = config.recipe()?;
    let reader = Reader::new(&recipe.patterns)?;
    let shared = Arc::new(Shared { recipe, reader, config, sink });
    Ok(Arc::new(Commands { shared, state: Mutex::default() }))
}

struct Shared {
    config: Config,
    recipe: Recipe,
    reader: Reader,
    sink: EventSink,
}

struct Commands {
    shared: Arc<Shared>,
    state: Mutex<Between>,
}

/// What is known between migrations.
#[derive(Debug, Default)]
struct Between {
    /// The guest is at the host that the target calls `to`.
    is_turned: bool,
    settings: MigrationSettings,
    /// What is offered was told.
    told: bool,
    /// Hosts that have answered.
    met: BTreeSet<String>,
}

/// One direction of a target.
struct Lane {
    shared: Arc<Shared>,
    is_turned: bool,
    settings: MigrationSettings,
}

impl Lane {
    fn host(&self, side: Side) -> &Host {
        let config = &self.shared.config;
        if (side == Side::Source) == self.is_turned { &config.to } else { &config.from }
    }

    fn values(&self, here: Option<Side>) -> Values<'_> {
        Values {
            guest: &self.shared.config.guest,
            from: self.host(Side::Source),
            to: self.host(Side::Destination),
            here: here.map(|side| self.host(side)),
            settings: &self.settings,
        }
    }

    /// A command that concerns that end, filled in.
    fn spec(&self, words: &[Word], side: Side, pty: bool) -> Result<Spec, HvError> {
        let host = self.host(side);
        let argv = fill(words, self.values(Some(side)))
            .map_err(|e| HvError::Unreachable { host: host.name.clone(), why: e.to_string() })?;
        Ok(Spec { argv, ssh: host.ssh.clone(), pty })
    }

    /// Runs a command that gives an order, to its end.
    async fn run(&self, words: &[Word], side: Side, what: &str) -> Result<(), HvError> {
        let host = self.host(side).name.clone();
        let answer = self.spec(words, side, false)?.answer(ORDER_WITHIN).await.map_err(|e| match e {
            ExecError::NotRun { .. } => HvError::Unreachable { host: host.clone(), why: e.to_string() },
            ExecError::Silent { .. } => {
                HvError::Silent { host: host.clone(), what: what.into(), seconds: ORDER_WITHIN.as_secs() }
            }
        })?;
        if answer.status.success() {
            return Ok(());
        }
        let said = answer.lines.last().map_or_else(String::new, |line| format!("{line} "));
        Err(HvError::Refused { host, what: what.into(), why: format!("{said}({})", ending(answer.status)) })
    }

    /// What both hosts say of the guest.
    async fn says(&self) -> (Says, Says) {
        let Some(locate) = &self.shared.recipe.locate else {
            let why = "no command says where the guest is: set 'where'".to_owned();
            return (Err(why.clone()), Err(why));
        };
        let asked = |side| self.spec(&locate.run, side, false).map_err(|e| e.to_string());
        let (source, destination) = match (asked(Side::Source), asked(Side::Destination)) {
            (Ok(source), Ok(destination)) => (source, destination),
            (Err(why), _) | (_, Err(why)) => return (Err(why.clone()), Err(why)),
        };
        let (one, other) = if source == destination {
            let answer = source.answer(LOOK_WITHIN).await;
            (answer.clone(), answer)
        } else {
            tokio::join!(source.answer(LOOK_WITHIN), destination.answer(LOOK_WITHIN))
        };
        let read = |side, answer: Result<Answer, ExecError>| {
            let answer = answer.map_err(|e| e.to_string())?;
            Rules::new(&locate.rules, self.values(Some(side))).map_err(|e| e.to_string())?.read(&answer)
        };
        (read(Side::Source, one), read(Side::Destination, other))
    }

    fn not_offered(&self, order: &Order, why: &str) -> HvError {
        HvError::NotNow { what: order.words().trim_start_matches("to ").into(), why: why.into() }
    }

    async fn cancel(&self, order: &Order, running: Option<&Control>) -> Result<(), HvError> {
        let given = match &self.shared.recipe.cancel {
            None => return Err(self.not_offered(order, "this target sets no 'cancel'")),
            Some(CancelBy::Command(words)) => return self.run(words, Side::Source, "to cancel").await,
            Some(CancelBy::Given(given)) => *given,
        };
        let gone = || self.not_offered(order, "the command that could be given a signal has ended");
        let running = running.ok_or_else(gone)?;
        let done = match given {
            Given::CtrlC => running.interrupt(),
            Given::Sigint => running.signal(Signal::SIGINT),
            Given::Sigterm => running.signal(Signal::SIGTERM),
        };
        done.map_err(|_| gone())
    }

    /// Sees to it that the guest runs there. A product that resumes it itself may have done so already.
    async fn resume(&self, order: &Order, side: Side) -> Result<(), HvError> {
        let runs = |place: &Place| match place {
            Place::Source(is) => side == Side::Source && *is == Condition::Runs,
            Place::Destination { is, .. } => side == Side::Destination && *is == Condition::Runs,
            _ => false,
        };
        if runs(&self.look().await.place) {
            return Ok(());
        }
        let words = self.shared.recipe.resume.as_ref();
        let words = words.ok_or_else(|| self.not_offered(order, "this target sets no 'resume'"))?;
        let done = self.run(words, side, "to run the guest").await;
        let until = tokio::time::Instant::now() + RUNS_WITHIN;
        loop {
            let place = self.look().await.place;
            if runs(&place) {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until || done.is_err() {
                let host = self.host(side).name.clone();
                let location = place.location(&self.host(Side::Source).name, &self.host(Side::Destination).name);
                let why = format!("it was told to run, and {}", location.words());
                return done.and(Err(HvError::Refused { host, what: "to run the guest".into(), why }));
            }
            tokio::time::sleep(RUNS_LOOK).await;
        }
    }
}

#[async_trait]
impl Call for Lane {
    fn hosts(&self) -> (&str, &str) {
        (&self.host(Side::Source).name, &self.host(Side::Destination).name)
    }

    fn is_located(&self) -> bool {
        self.shared.recipe.locate.is_some()
    }

    fn first_phase(&self) -> Phase {
        if self.shared.reader.any(|p| p.phase.is_some()) { Phase::Setup } else { Phase::Moving }
    }

    fn read(&self, line: &str) -> Heard {
        self.shared.reader.read(line)
    }

    async fn look(&self) -> Look {
        let (source, destination) = self.says().await;
        let (from, to) = self.hosts();
        look(&source, &destination, from, to)
    }

    async fn order(&self, order: &Order, running: Option<&Control>) -> Result<(), HvError> {
        match order {
            Order::Cancel => self.cancel(order, running).await,
            Order::StopSource => match &self.shared.recipe.stop {
                Some(words) => self.run(words, Side::Source, "to stop the guest").await,
                None => Err(self.not_offered(order, "this target sets no 'stop'")),
            },
            Order::Resume(side) => self.resume(order, *side).await,
            Order::PostCopy | Order::AutoConverge => {
                Err(self.not_offered(order, "a command line is complete when it begins; write it so in 'migrate'"))
            }
            Order::Settings(to) => {
                // The policy is not the command's; anything else is.
                let same = MigrationSettings { policy: self.settings.policy.clone(), ..(**to).clone() };
                match same == self.settings {
                    true => Ok(()),
                    false => {
                        Err(self.not_offered(order, "the command runs with those it was given; they count next time"))
                    }
                }
            }
        }
    }
}

impl Shared {
    fn product(&self) -> String {
        let by = self.config.preset.as_deref().or_else(|| match self.recipe.migrate.first() {
            Some(Word::One(program)) => Some(program),
            _ => None,
        });
        format!("command ({})", foreign(by.unwrap_or("?")))
    }

    fn offers(&self) -> Capabilities {
        let recipe = &self.recipe;
        let tells = |group| self.reader.tells(group);
        let unsaid = OwnDowntime { counts: Counts::Unsaid, resolution_ns: 1_000_000 };
        let sees = Sees {
            progress: tells("percent"),
            rounds: tells("round"),
            sent: tells("sent"),
            remaining: tells("remaining"),
            total: tells("total"),
            throughput: tells("throughput"),
            dirty_rate: tells("dirty"),
            zero_pages: false,
            stop_resume: self.reader.any(|p| p.stopped || p.resumed).then_some(Stamped::Session),
            downtime: tells("downtime").then_some(unsaid),
            location: recipe.locate.is_some(),
        };
        Capabilities {
            product: self.product(),
            stop_and_copy: recipe.stop.is_some(),
            cancel: recipe.cancel.is_some(),
            sees: Some(sees),
            cancels: Some(if recipe.cancel.is_some() { Cancels::AnyTime } else { Cancels::Never }),
            resumer: Some(if recipe.resumes_itself { Resumer::Product } else { Resumer::Nobody }),
            ends: Some(Ends::TwoHosts),
            ..Capabilities::default()
        }
    }

    /// What of the settings is not offered, a line each.
    fn refusals(&self, settings: &MigrationSettings) -> Vec<String> {
        let recipe = &self.recipe;
        let mut refused = Vec::new();
        let mut refuse = |is: bool, what: &str, have: &str| {
            if is {
                refused.push(format!("this target offers no {what}; {have}"));
            }
        };
        let place = |name| has_place(&recipe.migrate, name);
        let limit = settings.bandwidth_bytes_per_s.is_some() && !place("bandwidth");
        refuse(limit, "bandwidth limit", "its 'migrate' command has no {bandwidth…} in it");
        let downtime = settings.downtime_limit_ms.is_some() && !place("downtime");
        refuse(downtime, "downtime limit", "its 'migrate' command has no {downtime} in it");
        refuse(settings.post_copy, "post-copy", "its 'migrate' command can be written so that it does it by itself");
        refuse(settings.auto_converge, "auto-converge", "its 'migrate' command can be written so that it does it");
        for name in settings.extra.keys() {
            refuse(true, &format!("parameter '{}'", visible(name)), "what the command takes is written in 'migrate'");
        }
        refused
    }
}

impl Commands {
    fn between(&self) -> MutexGuard<'_, Between> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self) -> Lane {
        let between = self.between();
        Lane { shared: Arc::clone(&self.shared), is_turned: between.is_turned, settings: between.settings.clone() }
    }

    /// Says once what is offered.
    fn introduce(&self) {
        if !std::mem::replace(&mut self.between().told, true) {
            let (host, offers) = (self.shared.config.from.name.clone(), self.shared.offers());
            self.shared.sink.emit(Body::Hypervisor(HvEvent::Offers { host, offers }));
        }
    }

    /// Says once of a host that it answers.
    fn meet(&self, host: &Host) {
        if self.between().met.insert(host.name.clone()) {
            let (host, version) = (host.name.clone(), self.shared.product());
            self.shared.sink.emit(Body::Hypervisor(HvEvent::HostUp { host, version, pid: None }));
        }
    }
}

#[async_trait]
impl Hypervisor for Commands {
    async fn capabilities(&self) -> Result<Capabilities, HvError> {
        self.introduce();
        Ok(self.shared.offers())
    }

    async fn prospect(&self) -> Prospect {
        self.introduce();
        let mut lane = self.lane();
        let (source, destination) = lane.says().await;
        for (side, says) in [(Side::Source, &source), (Side::Destination, &destination)] {
            if says.is_ok() {
                self.meet(lane.host(side));
            }
        }
        let (from, to) = lane.hosts();
        let mut place = look(&source, &destination, from, to).place;
        if let Place::Destination { is, .. } = place {
            // It is where the next one comes from.
            lane.is_turned = !lane.is_turned;
            self.between().is_turned = lane.is_turned;
            place = Place::Source(is);
        }
        let obstacle = match &place {
            Place::Nowhere => Some("the guest is on neither host; start it on one of them".to_owned()),
            Place::Both => Some("the guest runs on both hosts at once; stop it on one of them".to_owned()),
            Place::Moving => Some("a migration of the guest is under way already".to_owned()),
            _ => None,
        };
        let (from, to) = lane.hosts();
        Prospect { from: from.to_owned(), to: to.to_owned(), place, obstacle }
    }

    async fn check(&self, settings: &MigrationSettings) -> Vec<String> {
        self.shared.refusals(settings)
    }

    async fn apply(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        if let Some(name) = settings.extra.keys().next() {
            return Err(HvError::NotOffered {
                host: self.lane().host(Side::Source).name.clone(),
                kind: "migration parameter",
                name: visible(name).into_owned(),
                nearest: None,
                offered: vec!["what is written in its 'migrate'".into()],
            });
        }
        let refused = self.shared.refusals(settings);
        if !refused.is_empty() {
            return Err(HvError::NotNow { what: "migrate".into(), why: refused.join("; ") });
        }
        self.between().settings = settings.clone();
        Ok(())
    }

    async fn start(&self, facts: EventSink) -> Result<Arc<dyn Migration>, HvError> {
        let lane = self.lane();
        let spec = lane.spec(&self.shared.recipe.migrate, Side::Source, self.shared.recipe.terminal)?;
        let from = lane.host(Side::Source).name.clone();
        let unreachable = |e: ExecError| HvError::Unreachable { host: from.clone(), why: e.to_string() };
        let process = spec.spawn().map_err(unreachable)?;
        let log = LogEvent { level: Level::Info, from: from.clone(), text: format!("runs: {}", spec.shown()) };
        self.shared.sink.emit(Body::Log(log));
        Ok(Arc::new(Blocking::start(Arc::new(lane), process, facts)))
    }

    async fn join(&self, facts: EventSink) -> Result<Option<Arc<dyn Migration>>, HvError> {
        let lane = self.lane();
        if !lane.is_located() || !lane.look().await.under_way {
            return Ok(None);
        }
        Ok(Some(Arc::new(Blocking::join(Arc::new(lane), facts))))
    }

    async fn after(&self, end: &MigrationEnd) -> Result<(), HvError> {
        // With a 'where' the next look says so; without one nobody else does.
        if *end == MigrationEnd::Done && self.shared.recipe.locate.is_none() {
            let mut between = self.between();
            between.is_turned = !between.is_turned;
        }
        Ok(())
    }

    async fn close(&self) {}
}

#[cfg(test)]
mod tests;
