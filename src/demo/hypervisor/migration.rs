//! One migration on the model.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::live::{LiveGuest, ModelOptions};
use super::offers::{heeded, offers, retuned, wants_post_copy};
use super::onlooker::{Desk, Onlooker};
use crate::event::{Body, EventSink, HvEvent, Level, MigrationSettings, Phase, StopRule};
use crate::hypervisor::place::Condition;
use crate::hypervisor::{HvError, Migration, Observations, Observer, Order as Asked, Place, Side};
use crate::model::{Order, run_watched};

/// How long a guest that is about to run may be waited for, in real time.
const RUNS_WITHIN: Duration = Duration::from_secs(60);

/// A migration on the model.
pub(super) struct SimulatedMigration {
    options: ModelOptions,
    from: String,
    to: String,
    guest: Arc<dyn LiveGuest>,
    observer: Arc<Observer>,
    desk: Arc<Desk>,
    settings: Mutex<MigrationSettings>,
    /// Post-copy can be switched to: it has to be prepared before the migration begins.
    post_copy: bool,
}

impl Drop for SimulatedMigration {
    fn drop(&mut self) {
        self.end();
    }
}

fn not_now(what: &str, why: impl Into<String>) -> Result<(), HvError> {
    Err(HvError::NotNow { what: what.into(), why: why.into() })
}

impl SimulatedMigration {
    /// Begins a migration of `guest` from the first of these hosts to the second.
    pub(super) fn start(
        options: ModelOptions,
        [from, to]: [&str; 2],
        settings: MigrationSettings,
        guest: Arc<dyn LiveGuest>,
        sink: EventSink,
    ) -> Result<Self, HvError> {
        let (began, memory) = guest.take();
        let scenario = options.scenario(memory, &settings);
        let refuse = |why: String| HvError::Refused { host: from.into(), what: "to migrate".into(), why };
        if let Err(e) = scenario.check() {
            guest.release();
            return Err(refuse(e.to_string()));
        }
        let (observer, desk) = (Arc::new(Observer::new(sink)), Arc::<Desk>::default());
        observer.update(|o| (o.source_running, o.destination_running) = (Some(true), Some(false)));
        observer.phase(began, Phase::Setup, Phase::Setup.word());
        let mut onlooker = Onlooker {
            desk: Arc::clone(&desk),
            observer: Arc::clone(&observer),
            guest: Arc::clone(&guest),
            product: options.product,
            costs: options.costs,
            link: options.link,
            from: from.into(),
            to: to.into(),
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
        if let Err(e) = std::thread::Builder::new().name("model".into()).spawn(run) {
            guest.release();
            return Err(refuse(format!("the model's thread cannot be started: {e}")));
        }
        let post_copy = wants_post_copy(&settings);
        let (from, to, settings) = (from.into(), to.into(), Mutex::new(settings));
        Ok(Self { options, from, to, guest, observer, desk, settings, post_copy })
    }

    /// Nobody drives it any more.
    fn end(&self) {
        self.desk.leave();
        self.observer.judge_no_more();
        self.guest.release();
    }

    fn settings(&self) -> MutexGuard<'_, MigrationSettings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> Phase {
        self.observer.now().phase
    }

    fn not_offered(&self, what: &str) -> HvError {
        let product = self.options.product.title();
        HvError::NotNow { what: what.into(), why: format!("{product} has no such thing") }
    }

    fn cancel(&self) -> Result<(), HvError> {
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

    fn retune(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        let before = self.settings().clone();
        let (to, refused) = retuned(self.options.product, &self.from, &before, settings);
        for e in refused {
            self.observer.log(Level::Warn, &self.from, e.to_string());
        }
        self.desk.order(Order::Settings(heeded(self.options.product, &to)));
        let offers = offers(self.options.product, self.options.link, &to);
        self.observer.sink().emit(Body::Hypervisor(HvEvent::Offers { host: self.from.clone(), offers }));
        *self.settings() = to;
        Ok(())
    }

    fn start_post_copy(&self) -> Result<(), HvError> {
        let what = "start post-copy";
        if !self.options.product.about().has_post_copy() {
            return Err(self.not_offered(what));
        }
        if !self.post_copy {
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

    fn start_auto_converge(&self) -> Result<(), HvError> {
        if !self.options.product.about().has_auto_converge() {
            return Err(self.not_offered("throttle the guest"));
        }
        self.desk.order(Order::AutoConverge);
        Ok(())
    }

    fn stop_source(&self) -> Result<(), HvError> {
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

    fn resume_source(&self) -> Result<(), HvError> {
        if self.observer.now().source_running == Some(true) {
            return Ok(());
        }
        not_now("run the guest at the source", "it is on its way to the destination")
    }
}

#[async_trait]
impl Migration for SimulatedMigration {
    fn observe(&self) -> Observations {
        self.observer.observe()
    }

    async fn order(&self, order: Asked) -> Result<(), HvError> {
        match order {
            Asked::Cancel => self.cancel(),
            Asked::StopSource => self.stop_source(),
            Asked::PostCopy => self.start_post_copy(),
            Asked::AutoConverge => self.start_auto_converge(),
            Asked::Resume(Side::Source) => self.resume_source(),
            Asked::Resume(Side::Destination) => self.resume_destination().await,
            Asked::Settings(settings) => self.retune(&settings),
        }
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

    async fn leave(&self) {
        self.end();
    }
}
