//! One migration between two QEMUs that runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, broadcast};
use tokio::task::AbortHandle;

use super::endpoint::Endpoint;
use super::guardian::{Duty, GuardianCommand};
use super::host::{Note, QmpHost};
use super::negotiate::Plan;
use super::pair::{Pair, Safeguard, status};
use super::status::Whereabouts;
use super::watch::{WatchState, Watcher};
use crate::event::{EventSink, Level, MigrationSettings, Phase, SettingWhy};
use crate::hypervisor::{HvError, Migration, Observations, Observer, Order, Place, Side};
use crate::text::{TEXT_LIMIT, capped};

/// Between two looks at a destination that is still taking in what was sent.
const ARRIVAL_LOOK: Duration = Duration::from_millis(5);
/// How long a destination may take to load what was sent.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(60);

/// How a migration was made ready, and how its guest was when it began.
pub(super) struct Prepared {
    source_notes: broadcast::Receiver<Note>,
    destination_notes: broadcast::Receiver<Note>,
    /// Migration capabilities of the source.
    capabilities: BTreeMap<String, bool>,
    /// Throttle settings to give when auto-converge is to begin.
    pub(super) throttle: Option<Map<String, Value>>,
    running: [Option<bool>; 2],
}

impl Prepared {
    /// Of a migration that is about to begin: listens to both hosts from now on.
    pub(super) fn begun(pair: &Pair, plan: Option<&Plan>) -> Self {
        Self {
            source_notes: pair.source.notes(),
            destination_notes: pair.destination.notes(),
            capabilities: plan.map(|plan| plan.source_capabilities.clone()).unwrap_or_default(),
            throttle: None,
            running: [&pair.source, &pair.destination].map(|host| host.view().borrow().running),
        }
    }

    /// Of one that was found: the source has these capabilities set.
    pub(super) fn as_set(&mut self, capabilities: &BTreeMap<String, bool>) {
        self.capabilities.clone_from(capabilities);
    }
}

/// A migration between two QEMUs, watched over QMP.
#[derive(Debug)]
pub(super) struct QmpMigration {
    pair: Pair,
    observer: Arc<Observer>,
    /// How to start a guardian; None does without.
    guardian: Option<GuardianCommand>,
    safeguard: Mutex<Safeguard>,
    watcher: AbortHandle,
    capabilities: BTreeMap<String, bool>,
    throttle: Option<Map<String, Value>>,
    /// `cont` has been sent to the destination: from here on it may run the guest.
    destination_told: AtomicBool,
    /// Post-copy has begun, or may have: the source's memory may be out of date.
    post_copy: AtomicBool,
}

impl Drop for QmpMigration {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

fn not_now(what: &str, why: impl Into<String>) -> HvError {
    HvError::NotNow { what: what.into(), why: why.into() }
}

impl QmpMigration {
    /// Begins to watch one that has begun.
    pub(super) fn watch(
        facts: EventSink,
        pair: Pair,
        safeguard: Safeguard,
        guardian: Option<GuardianCommand>,
        prepared: Prepared,
        every: Duration,
    ) -> Self {
        let observer = Arc::new(Observer::new(facts));
        let [at_source, at_destination] = prepared.running;
        // One that stands at the source before anything was handed over was stopped by somebody else.
        let asleep = at_source == Some(false);
        if asleep {
            let text = "the guest does not run at the source, so it will not run at the destination either";
            pair.log(Level::Warn, &pair.source, text);
        }
        observer.update(|o| (o.source_running, o.destination_running) = (at_source, at_destination));
        let watcher = Watcher {
            observer: Arc::clone(&observer),
            source: Arc::clone(&pair.source),
            destination: Arc::clone(&pair.destination),
            source_notes: prepared.source_notes,
            destination_notes: prepared.destination_notes,
            guest: Whereabouts { asleep, ..Whereabouts::default() },
            rounds_by_event: prepared.capabilities.get("events").copied().unwrap_or(false),
            every,
            state: WatchState::default(),
        };
        Self {
            pair,
            observer,
            guardian,
            safeguard: Mutex::new(safeguard),
            watcher: tokio::spawn(watcher.run()).abort_handle(),
            capabilities: prepared.capabilities,
            throttle: prepared.throttle,
            destination_told: AtomicBool::new(false),
            post_copy: AtomicBool::new(false),
        }
    }

    fn is_set(&self, capability: &str) -> bool {
        self.capabilities.get(capability) == Some(&true)
    }

    async fn owe(&self, f: impl FnOnce(&mut Duty) + Send + 'static) {
        self.safeguard.lock().await.owe(&self.pair, f).await;
    }

    /// Gives `cont` until the guest runs. Before everything has arrived, `cont` has no effect.
    async fn resume(&self, host: &Arc<QmpHost>) -> Result<(), HvError> {
        let begun = Instant::now();
        loop {
            match status(host).await?.as_str() {
                // A guest that sleeps (ACPI S3) goes on sleeping; it is for others to wake it.
                "running" | "suspended" => return Ok(()),
                "inmigrate" => {
                    let state = host.execute("query-migrate", Value::Null).await?;
                    if state["status"] == "failed" {
                        let why = state["error-desc"].as_str().unwrap_or("the incoming migration failed");
                        let why = capped(why, TEXT_LIMIT).into_owned();
                        return Err(HvError::Refused {
                            host: host.name().into(),
                            what: "to run the guest".into(),
                            why,
                        });
                    }
                }
                _ => {
                    if Arc::ptr_eq(host, &self.pair.destination) {
                        self.destination_told.store(true, Ordering::Relaxed);
                        self.owe(|duty| duty.told = true).await;
                    }
                    host.execute("cont", Value::Null).await?;
                    continue_if_running(host).await?;
                    continue;
                }
            }
            if begun.elapsed() > ARRIVAL_PATIENCE {
                return Err(HvError::Silent {
                    host: host.name().into(),
                    what: "that everything has arrived".into(),
                    seconds: ARRIVAL_PATIENCE.as_secs(),
                });
            }
            tokio::time::sleep(ARRIVAL_LOOK).await;
        }
    }

    async fn cancel(&self) -> Result<(), HvError> {
        let o = self.observer.now();
        // QEMU takes the command in post-copy too, and kills the guest with it.
        if o.phase == Phase::PostCopy || o.raw.starts_with("postcopy") {
            return Err(not_now("cancel", "post-copy cannot be cancelled: the guest is already at the destination"));
        }
        if o.complete {
            return Err(not_now("cancel", "everything has been handed over"));
        }
        self.pair.source.execute("migrate_cancel", Value::Null).await.map(drop)
    }

    async fn start_post_copy(&self) -> Result<(), HvError> {
        let (o, what) = (self.observer.now(), "start post-copy");
        if !self.is_set("postcopy-ram") {
            return Err(not_now(what, "it was not prepared; ask for post-copy before the migration begins"));
        }
        if o.phase != Phase::PreCopy {
            let why = format!("only pre-copy can be switched to it, and this is {}", o.phase.word());
            return Err(not_now(what, why));
        }
        self.owe(|duty| duty.post_copy = true).await;
        self.post_copy.store(true, Ordering::Relaxed);
        let started = self.pair.source.execute("migrate-start-postcopy", Value::Null).await.map(drop);
        // Without an answer it may have begun.
        if matches!(started, Err(HvError::Refused { .. })) {
            self.post_copy.store(false, Ordering::Relaxed);
            self.owe(|duty| duty.post_copy = false).await;
        }
        started
    }

    async fn start_auto_converge(&self) -> Result<(), HvError> {
        if !self.is_set("auto-converge") {
            let why = "it was not prepared; choose auto-converge before the migration begins";
            return Err(not_now("throttle the guest", why));
        }
        if let Some(throttle) = &self.throttle {
            self.pair.source.set_parameters(throttle, SettingWhy::Asked).await?;
            self.pair.source.tell_offers().await?;
        }
        Ok(())
    }

    async fn stop_source(&self) -> Result<(), HvError> {
        let o = self.observer.now();
        if o.complete || o.phase == Phase::PostCopy || o.raw.starts_with("postcopy") {
            return Err(not_now("stop the source", "the guest is already on its way to the destination"));
        }
        {
            let mut safeguard = self.safeguard.lock().await;
            // One that somebody else has begun has none yet.
            if let Some(guardian) = &self.guardian {
                safeguard.begin(&self.pair, guardian).await;
            }
            safeguard.owe(&self.pair, |duty| duty.armed = true).await;
        }
        self.pair.source.execute("stop", Value::Null).await?;
        // Seen to stand while the source still has something to send: so it will arrive.
        if status(&self.pair.source).await.is_ok_and(|status| status == "paused") {
            self.owe(|duty| duty.stopped = true).await;
        }
        Ok(())
    }

    async fn resume_source(&self) -> Result<(), HvError> {
        let what = "resume the guest at the source";
        if self.post_copy.load(Ordering::Relaxed) || self.observer.now().raw.starts_with("postcopy") {
            return Err(not_now(what, "post-copy has begun, so the guest's newest memory is at the destination"));
        }
        // The guest must never run twice. A closed UNIX socket means a dead process; a TCP
        // connection may be lost while the destination lives and has heard our `cont`.
        let d = &self.pair.destination;
        let dead = d.view().borrow().lost.is_some() && matches!(d.spec().control, Endpoint::Unix(_));
        if self.observer.now().complete && self.destination_told.load(Ordering::Relaxed) && !dead {
            let why = format!("'{}' has everything and was told to run the guest, so it may", d.name());
            return Err(not_now(what, why));
        }
        self.resume(&self.pair.source).await
    }

    async fn retune(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        let refused = self.pair.source.tune(settings, true).await?;
        refused.into_iter().for_each(|why| self.pair.log(Level::Warn, &self.pair.source, why));
        Ok(())
    }
}

/// A guest that does not run after a granted `cont` is refused by its state (a watchdog, an I/O
/// error, a suspended guest); asking again and again would not help.
async fn continue_if_running(host: &QmpHost) -> Result<(), HvError> {
    for _ in 0..20 {
        let status = status(host).await?;
        if status == "running" || status == "suspended" {
            return Ok(());
        }
        tokio::time::sleep(ARRIVAL_LOOK).await;
    }
    let status = status(host).await?;
    Err(HvError::Refused {
        host: host.name().into(),
        what: "to run the guest".into(),
        why: format!("after 'cont' its status is '{status}'"),
    })
}

#[async_trait]
impl Migration for QmpMigration {
    fn observe(&self) -> Observations {
        self.observer.observe()
    }

    async fn order(&self, order: Order) -> Result<(), HvError> {
        match order {
            Order::Cancel => self.cancel().await,
            Order::StopSource => self.stop_source().await,
            Order::PostCopy => self.start_post_copy().await,
            Order::AutoConverge => self.start_auto_converge().await,
            Order::Resume(Side::Source) => self.resume_source().await,
            Order::Resume(Side::Destination) => self.resume(&self.pair.destination).await,
            Order::Settings(settings) => self.retune(&settings).await,
        }
    }

    async fn locate(&self) -> Place {
        self.pair.locate(self.observer.now().complete).await
    }

    async fn leave(&self) {
        self.watcher.abort();
        let safeguard = std::mem::take(&mut *self.safeguard.lock().await);
        self.pair.stand_down(safeguard, self.throttle.clone()).await;
    }
}
