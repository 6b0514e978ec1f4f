//! The simulated hypervisor: a [`Driver`] on the model, held to the session clock.
//!
//! The model runs on a thread of its own. At each of its steps, and every 50 ms between, it waits until the
//! session clock has come so far, lets the guest live until then, tells what a hypervisor would tell and
//! takes orders. The clock in turn goes no further until that is done. So what the model tells bears its
//! exact times, and what others do meanwhile a time to match, at every speed of the clock.

mod offers;
mod onlooker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use self::offers::{heeded, retuned, wants_post_copy};
pub use self::offers::{offers, refused, version};
use self::onlooker::{Desk, Onlooker};

use crate::event::{
    Body, Capabilities, DirtyCycle, EventSink, HvEvent, Level, MigrationSettings, Nanos, Pattern, Phase, StopRule,
};
use crate::hypervisor::place::Condition;
use crate::hypervisor::{Driver, HvError, Observations, Observer, Place};
use crate::model::{Costs, Guest, Link, Order, Product, Scenario, run_watched};

/// A pre-copy that nobody has ended after so long is given up.
const HORIZON: Duration = Duration::from_secs(24 * 3600);
/// How long a guest that is about to run may be waited for, in real time.
const RUNS_WITHIN: Duration = Duration::from_secs(60);

/// The simulated guest that is migrated. Times are ns of the session clock.
pub trait LiveGuest: Send + Sync {
    /// From now on its time is the migration's, until it is let go, and the session clock stands until it is
    /// granted more. Comes to when that is, and to its memory and its writers as they are then.
    fn take(&self) -> (Nanos, Guest);
    /// Lets everything happen that happens until `t`; comes to what its generator is set to if that has
    /// changed.
    fn pass(&self, t: Nanos) -> Option<(DirtyCycle, Pattern)>;
    /// How fast time goes for its writers: 1 when it is not throttled.
    fn run_at(&self, share: f64);
    /// It stands still from `t` on.
    fn stop(&self, t: Nanos);
    /// It runs again from `t` on, and the network leads to it from `reached` on.
    fn resume(&self, t: Nanos, reached: Nanos);
    /// Its time is its own again.
    fn release(&self);
}

/// What is simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOptions {
    /// Whose rules.
    pub product: Product,
    /// The way between the hosts.
    pub link: Link,
    /// What costs time besides.
    pub costs: Costs,
    /// Seed of the random patterns.
    pub seed: u64,
}

impl ModelOptions {
    /// A migration of this guest with these settings.
    #[must_use]
    pub fn scenario(&self, guest: Guest, settings: &MigrationSettings) -> Scenario {
        Scenario {
            product: self.product,
            guest,
            link: self.link,
            costs: self.costs,
            settings: heeded(self.product, settings),
            horizon: HORIZON,
            seed: self.seed,
        }
    }
}

/// A driver for one migration on the model.
pub struct ModelDriver {
    options: ModelOptions,
    from: String,
    to: String,
    guest: Arc<dyn LiveGuest>,
    observer: Arc<Observer>,
    desk: Arc<Desk>,
    settings: Mutex<MigrationSettings>,
    /// Post-copy can be switched to: it has to be prepared before the migration begins.
    post_copy: AtomicBool,
}

impl Drop for ModelDriver {
    fn drop(&mut self) {
        self.leave();
    }
}

impl ModelDriver {
    /// Nobody drives the migration any more.
    fn leave(&self) {
        self.desk.leave();
        self.observer.judge_no_more();
        self.guest.release();
    }

    /// A driver for one migration of `guest` from one host to the other.
    #[must_use]
    pub fn new(options: ModelOptions, from: &str, to: &str, guest: Arc<dyn LiveGuest>, sink: EventSink) -> Self {
        Self {
            options,
            from: from.into(),
            to: to.into(),
            guest,
            observer: Arc::new(Observer::new(sink)),
            desk: Arc::default(),
            settings: Mutex::new(MigrationSettings::default()),
            post_copy: AtomicBool::new(false),
        }
    }

    fn settings(&self) -> MutexGuard<'_, MigrationSettings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> Phase {
        self.observer.now().phase
    }

    fn tell_offers(&self, settings: &MigrationSettings) {
        let offers = offers(self.options.product, self.options.link, settings);
        let body = HvEvent::Offers { host: self.from.clone(), offers };
        let sink = self.observer.sink();
        sink.emit(Body::Hypervisor(body));
    }

    /// New settings for the migration that runs.
    fn change(&self, to: MigrationSettings) {
        self.desk.order(Order::Settings(heeded(self.options.product, &to)));
        self.tell_offers(&to);
        *self.settings() = to;
    }

    fn not_offered(&self, what: &str) -> HvError {
        let product = self.options.product.title();
        HvError::NotNow { what: what.into(), why: format!("{product} has no such thing") }
    }
}

fn not_now(what: &str, why: impl Into<String>) -> Result<(), HvError> {
    Err(HvError::NotNow { what: what.into(), why: why.into() })
}

#[async_trait]
impl Driver for ModelDriver {
    async fn capabilities(&self) -> Result<Capabilities, HvError> {
        Ok(offers(self.options.product, self.options.link, &self.settings()))
    }

    async fn prepare(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        if let Some(first) = refused(self.options.product, &self.from, settings, None).into_iter().next() {
            return Err(first);
        }
        *self.settings() = settings.clone();
        self.post_copy.store(wants_post_copy(settings), Ordering::Relaxed);
        Ok(())
    }

    async fn start(&self) -> Result<(), HvError> {
        let (began, guest) = self.guest.take();
        let scenario = self.options.scenario(guest, &self.settings());
        let refuse = |why: String| HvError::Refused { host: self.from.clone(), what: "to migrate".into(), why };
        if let Err(e) = scenario.check() {
            self.guest.release();
            return Err(refuse(e.to_string()));
        }
        self.observer.update(|o| (o.source_running, o.destination_running) = (Some(true), Some(false)));
        self.observer.phase(began, Phase::Setup, Phase::Setup.word());
        let mut onlooker = Onlooker {
            desk: Arc::clone(&self.desk),
            observer: Arc::clone(&self.observer),
            guest: Arc::clone(&self.guest),
            product: self.options.product,
            costs: self.options.costs,
            link: self.options.link,
            from: self.from.clone(),
            to: self.to.clone(),
            began,
            next_sample_ns: 0,
            last: None,
            stopped_ns: None,
            resumed_ns: None,
            forced: false,
            post_copy: false,
        };
        let run = move || {
            if let Err(e) = run_watched(&scenario, scenario.engine(), &mut onlooker) {
                onlooker.observer.log(Level::Error, "model", e.to_string());
            }
        };
        match std::thread::Builder::new().name("model".into()).spawn(run) {
            Ok(_) => Ok(()),
            Err(e) => {
                self.guest.release();
                Err(refuse(format!("the model's thread cannot be started: {e}")))
            }
        }
    }

    async fn cancel(&self) -> Result<(), HvError> {
        match self.phase() {
            Phase::Idle | Phase::Setup | Phase::PreCopy => {
                self.desk.order(Order::Cancel);
                Ok(())
            }
            // Real products differ: QEMU would go back to the source, until the destination runs.
            Phase::StopAndCopy => not_now("cancel", "the model cannot cancel once the guest has been stopped"),
            phase => not_now("cancel", format!("the guest has left the source already: this is {}", phase.word())),
        }
    }

    async fn tune(&self, name: &str, value: Value) -> Result<(), HvError> {
        let before = self.settings().clone();
        let mut to = before.clone();
        to.extra.insert(name.to_owned(), value);
        let running = (!self.phase().is_over()).then_some(&before);
        match refused(self.options.product, &self.from, &to, running).into_iter().next() {
            Some(e) => Err(e),
            None => {
                self.change(to);
                Ok(())
            }
        }
    }

    async fn retune(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        let before = self.settings().clone();
        let (to, refused) = retuned(self.options.product, &self.from, &before, settings);
        for e in refused {
            self.observer.log(Level::Warn, &self.from, e.to_string());
        }
        self.change(to);
        Ok(())
    }

    async fn start_post_copy(&self) -> Result<(), HvError> {
        let what = "start post-copy";
        if !crate::model::rules::has_post_copy(self.options.product) {
            return Err(self.not_offered(what));
        }
        if !self.post_copy.load(Ordering::Relaxed) {
            return not_now(what, "it was not prepared; ask for post-copy before the migration begins");
        }
        match self.phase() {
            Phase::PreCopy => {
                self.desk.order(Order::PostCopy(StopRule::Operator));
                Ok(())
            }
            phase => not_now(what, format!("only pre-copy can be switched to it, and this is {}", phase.word())),
        }
    }

    async fn start_auto_converge(&self) -> Result<(), HvError> {
        if !crate::model::rules::has_auto_converge(self.options.product) {
            return Err(self.not_offered("throttle the guest"));
        }
        self.desk.order(Order::AutoConverge);
        Ok(())
    }

    async fn stop_source(&self) -> Result<(), HvError> {
        match self.phase() {
            Phase::Setup | Phase::PreCopy => {
                self.desk.order(Order::StopAndCopy(StopRule::Operator));
                Ok(())
            }
            // It stands still already, as was asked for.
            Phase::StopAndCopy => Ok(()),
            phase => not_now("stop the source", format!("the guest has left it: this is {}", phase.word())),
        }
    }

    /// The simulated guest comes up by itself: this waits for it.
    async fn resume_destination(&self) -> Result<(), HvError> {
        let mut seen = self.observer.observe();
        let runs = async {
            loop {
                match seen.next().await {
                    Ok(now) if now.destination_running == Some(true) || now.phase.is_over() => return Some(now),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        let silent = || HvError::Silent {
            host: self.to.clone(),
            what: "that the guest runs".into(),
            seconds: RUNS_WITHIN.as_secs(),
        };
        let now = tokio::time::timeout(RUNS_WITHIN, runs).await.ok().flatten().ok_or_else(silent)?;
        if now.destination_running == Some(true) {
            return Ok(());
        }
        not_now("run the guest at the destination", "not everything has arrived there")
    }

    async fn resume_source(&self) -> Result<(), HvError> {
        if self.observer.now().source_running == Some(true) {
            return Ok(());
        }
        not_now("run the guest at the source", "it is on its way to the destination")
    }

    async fn locate(&self) -> Place {
        let now = self.observer.now();
        if now.destination_running == Some(true) {
            // In post-copy it runs there before its memory is there.
            let whole = Some(matches!(now.phase, Phase::Recovery | Phase::Done));
            return Place::Destination { is: Condition::Runs, whole };
        }
        match now.source_running {
            // The simulated guest goes on at the source by itself if it is to stay there.
            Some(false) if now.phase == Phase::Cancelled || now.phase == Phase::Failed => {
                Place::Source(Condition::Stands)
            }
            Some(false) => Place::Moving,
            // Before the migration has begun it runs there, too.
            Some(true) | None => Place::Source(Condition::Runs),
        }
    }

    fn observe(&self) -> Observations {
        self.observer.observe()
    }

    async fn stand_down(&self) {
        self.leave();
    }
}
