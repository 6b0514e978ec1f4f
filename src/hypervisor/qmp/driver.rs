//! One migration between two QEMUs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, broadcast};
use tokio::task::AbortHandle;

use super::bounds::name;
use super::endpoint::Endpoint;
use super::guardian::{Duty, Guardian, GuardianCommand};
use super::host::{Note, QmpHost};
use super::locate;
use super::negotiate::{Offer, Plan, plan, why};
use super::status::Whereabouts;
use super::tuning;
use super::watch::{WatchState, Watcher};
use crate::event::{Body, EventSink, Level, LogEvent, MigrationSettings, Phase, SettingWhy};
use crate::hypervisor::place::Condition;
use crate::hypervisor::{Capabilities, Driver, HvError, Observations, Observer, Place, Side};
use crate::text::{TEXT_LIMIT, capped};

/// Between two looks at a destination that is still taking in what was sent.
const ARRIVAL_LOOK: Duration = Duration::from_millis(5);
/// How long a destination may take to load what was sent.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(60);

/// How to drive a migration.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpOptions {
    /// The URI the source connects to: `tcp:host:port`, `unix:/path`, …
    pub uri: String,
    /// The URI the destination listens on if it waits with `-incoming defer`; None takes `uri`.
    pub incoming_uri: Option<String>,
    /// How to start the guardian; None does without (only for guests nobody would miss).
    pub guardian: Option<GuardianCommand>,
    /// Distance of two looks at the migration. QEMU renews its figures each 100 ms.
    pub every: Duration,
}

impl QmpOptions {
    /// For a migration to `uri`, looked at ten times a second, with this program as guardian.
    #[must_use]
    pub fn to(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            incoming_uri: None,
            guardian: Some(GuardianCommand::this_program()),
            every: Duration::from_millis(100),
        }
    }
}

/// Drives one migration between two QEMUs over QMP.
#[derive(Debug)]
pub struct QmpDriver {
    source: Arc<QmpHost>,
    destination: Arc<QmpHost>,
    options: QmpOptions,
    observer: Arc<Observer>,
    inner: Mutex<Inner>,
    /// `cont` has been sent to the destination: from here on it may run the guest.
    destination_told: AtomicBool,
    /// Post-copy has begun, or may have: the source's memory may be out of date.
    post_copy: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    plan: Option<Plan>,
    guardian: Option<Guardian>,
    watcher: Option<AbortHandle>,
}

impl Drop for QmpDriver {
    fn drop(&mut self) {
        if let Some(w) = self.inner.get_mut().watcher.take() {
            w.abort();
        }
    }
}

impl QmpDriver {
    /// A driver for one migration from `source` to `destination`.
    #[must_use]
    pub fn new(source: Arc<QmpHost>, destination: Arc<QmpHost>, options: QmpOptions, sink: EventSink) -> Self {
        Self {
            source,
            destination,
            options,
            observer: Arc::new(Observer::new(sink)),
            inner: Mutex::default(),
            destination_told: AtomicBool::new(false),
            post_copy: AtomicBool::new(false),
        }
    }

    fn log(&self, level: Level, from: &QmpHost, text: impl Into<String>) {
        self.observer.log(level, from.name(), text.into());
    }

    async fn status(host: &QmpHost) -> Result<String, HvError> {
        let answer = host.execute("query-status", Value::Null).await?;
        Ok(name(answer["status"].as_str().unwrap_or_default()))
    }

    /// Opens a destination that waits with `-incoming defer`; one that listens already stays so.
    async fn open_destination(&self) -> Result<(), HvError> {
        let d = &self.destination;
        let state = d.execute("query-migrate", Value::Null).await?;
        match state["status"].as_str().unwrap_or("none") {
            "none" => {}
            "setup" => return Ok(()),
            other => {
                let other = name(other);
                let why = format!("its incoming migration is already '{other}'; start a fresh destination");
                return Err(HvError::NotNow { what: format!("migrate to '{}'", d.name()), why });
            }
        }
        let uri = self.options.incoming_uri.as_ref().unwrap_or(&self.options.uri);
        // A destination that stays after a failure can still say what went wrong; QEMU before 9.1
        // does not know the argument and exits.
        let stays = d.execute("migrate-incoming", json!({"uri": uri, "exit-on-error": false})).await;
        match stays {
            Err(HvError::Refused { why, .. }) if why.contains("exit-on-error") => {
                d.execute("migrate-incoming", json!({ "uri": uri })).await?;
            }
            other => {
                other?;
            }
        }
        Ok(())
    }

    /// What to set. A further parameter's value that cannot be one is told and left out; one that is
    /// not offered at all is an error, since it may be another's misspelt name.
    fn plan(&self, source: &Offer, destination: &Offer, asked: &MigrationSettings) -> Result<Plan, HvError> {
        let mut settings = asked.clone();
        loop {
            match plan(source, destination, &settings, &self.options.uri, self.source.is_borrowed()) {
                Err(HvError::BadValue { name, value, hint }) if settings.extra.remove(&name).is_some() => {
                    let e = HvError::BadValue { name, value, hint };
                    self.log(Level::Warn, &self.source, format!("{e}; the migration goes without"));
                }
                other => return other,
            }
        }
    }

    /// Puts a plan to one end. What it refuses of the further parameters is told and left out.
    async fn put(
        &self,
        host: &QmpHost,
        capabilities: &BTreeMap<String, bool>,
        parameters: &Map<String, Value>,
        settings: &MigrationSettings,
    ) -> Result<(), HvError> {
        let without = |why: String| self.log(Level::Warn, host, format!("{why}; the migration goes without"));
        let (extra, own): (BTreeMap<_, _>, BTreeMap<_, _>) =
            capabilities.clone().into_iter().partition(|(c, _)| settings.extra.contains_key(c));
        let of = |reason| move |(c, _): &(&String, &bool)| why(c, settings) == reason;
        for reason in [SettingWhy::Needed, SettingWhy::Asked] {
            let some: BTreeMap<String, bool> = own.iter().filter(of(reason)).map(|(c, on)| (c.clone(), *on)).collect();
            host.set_capabilities(&some, reason).await?;
        }
        match host.set_capabilities(&extra, SettingWhy::Asked).await {
            // One of the further ones may be to blame.
            Err(HvError::Refused { .. }) => {
                for (name, on) in &extra {
                    match host.set_capabilities(&[(name.clone(), *on)].into(), SettingWhy::Asked).await {
                        Err(HvError::Refused { why, .. }) => without(format!("it refuses {name} = {on}: {why}")),
                        other => other?,
                    }
                }
            }
            other => other?,
        }
        host.put(parameters, settings).await?.into_iter().for_each(without);
        host.tell_offers().await
    }

    /// Gives `cont` until the guest runs. Before everything has arrived, `cont` has no effect.
    async fn resume(&self, host: &Arc<QmpHost>) -> Result<(), HvError> {
        let begun = Instant::now();
        loop {
            match Self::status(host).await?.as_str() {
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
                    if Arc::ptr_eq(host, &self.destination) {
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

    /// Starts the guardian, which both hosts tell from now on what was changed there.
    async fn begin_guarding(&self) {
        let mut inner = self.inner.lock().await;
        let (Some(command), None) = (&self.options.guardian, &inner.guardian) else { return };
        let sink = self.observer.sink().clone();
        let say = Box::new(move |level, text| {
            sink.emit(Body::Log(LogEvent { level, from: "guardian".into(), text }));
        });
        match Guardian::start(command, self.source.spec(), self.destination.spec(), say).await {
            Ok(guardian) => {
                self.source.guard_with(Some((guardian.handle(), Side::Source)));
                self.destination.guard_with(Some((guardian.handle(), Side::Destination)));
                inner.guardian = Some(guardian);
            }
            Err(e) => {
                let text = format!(
                    "no guardian ({e}): if blackout dies, resume a stopped guest and put changed settings back by hand"
                );
                self.log(Level::Warn, &self.source, text);
            }
        }
    }

    /// Tells the guardian what is owed from now on.
    async fn owe(&self, f: impl FnOnce(&mut Duty) + Send + 'static) {
        let inner = self.inner.lock().await;
        if let Some(g) = &inner.guardian
            && let Err(e) = g.owe(f).await
        {
            let text = format!("the guardian is gone ({e}): if blackout dies now, resume the guest by hand");
            self.log(Level::Warn, &self.source, text);
        }
    }

    /// Gives both hosts the settings they had before. Returns whether nothing is left to be put back.
    async fn put_back(&self) -> bool {
        let (source, destination) = tokio::join!(self.source.put_back(), self.destination.put_back());
        source && destination
    }

    fn subscribe(&self) -> (broadcast::Receiver<Note>, broadcast::Receiver<Note>) {
        (self.source.notes(), self.destination.notes())
    }
}

/// A guest that does not run after a granted `cont` is refused by its state (a watchdog, an I/O
/// error, a suspended guest); asking again and again would not help.
async fn continue_if_running(host: &QmpHost) -> Result<(), HvError> {
    for _ in 0..20 {
        let status = QmpDriver::status(host).await?;
        if status == "running" || status == "suspended" {
            return Ok(());
        }
        tokio::time::sleep(ARRIVAL_LOOK).await;
    }
    let status = QmpDriver::status(host).await?;
    Err(HvError::Refused {
        host: host.name().into(),
        what: "to run the guest".into(),
        why: format!("after 'cont' its status is '{status}'"),
    })
}

#[async_trait]
impl Driver for QmpDriver {
    async fn capabilities(&self) -> Result<Capabilities, HvError> {
        let source = Offer::ask(&self.source).await?;
        let destination = Offer::ask(&self.destination).await?;
        let offers = tuning::capabilities(&source, self.source.version());
        let post_copy = offers.post_copy && destination.capabilities.contains_key("postcopy-ram");
        Ok(Capabilities { post_copy, ..offers })
    }

    async fn prepare(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        let source = Offer::ask(&self.source).await?;
        let destination = Offer::ask(&self.destination).await?;
        let plan = self.plan(&source, &destination, settings)?;
        let at_destination = Self::status(&self.destination).await?;
        if at_destination != "inmigrate" {
            return Err(HvError::NotNow {
                what: format!("migrate to '{}'", self.destination.name()),
                why: format!(
                    "it does not wait for a migration (its status is '{at_destination}'); start it with -incoming defer"
                ),
            });
        }
        // From here on something may be changed.
        self.begin_guarding().await;
        for (host, capabilities, parameters) in [
            (&self.source, &plan.source_capabilities, &plan.source_parameters),
            (&self.destination, &plan.destination_capabilities, &plan.destination_parameters),
        ] {
            self.put(host, capabilities, parameters, settings).await?;
        }
        if !plan.source_capabilities.contains_key("events") {
            self.log(Level::Warn, &self.source, "it tells no migration events; phases and rounds come from looking");
        }
        self.open_destination().await?;
        let mut inner = self.inner.lock().await;
        inner.plan = Some(plan);
        Ok(())
    }

    async fn start(&self) -> Result<(), HvError> {
        let (source_notes, destination_notes) = self.subscribe();
        let running = self.source.view().borrow().running;
        let asleep = running == Some(false);
        if asleep {
            let text = "the guest does not run at the source, so it will not run at the destination either";
            self.log(Level::Warn, &self.source, text);
        }
        self.observer.update(|o| {
            o.source_running = running;
            o.destination_running = self.destination.view().borrow().running;
        });
        self.source.execute("migrate", json!({"uri": self.options.uri})).await?;
        let mut inner = self.inner.lock().await;
        let rounds_by_event =
            inner.plan.as_ref().is_some_and(|p| p.source_capabilities.get("events").copied().unwrap_or(false));
        let watcher = Watcher {
            observer: Arc::clone(&self.observer),
            source: Arc::clone(&self.source),
            destination: Arc::clone(&self.destination),
            source_notes,
            destination_notes,
            guest: Whereabouts { asleep, ..Whereabouts::default() },
            rounds_by_event,
            every: self.options.every,
            state: WatchState::default(),
        };
        inner.watcher = Some(tokio::spawn(watcher.run()).abort_handle());
        Ok(())
    }

    async fn cancel(&self) -> Result<(), HvError> {
        let o = self.observer.now();
        let not_now = |why: &str| Err(HvError::NotNow { what: "cancel".into(), why: why.into() });
        // QEMU takes the command in post-copy too, and kills the guest with it.
        if o.phase == Phase::PostCopy || o.raw.starts_with("postcopy") {
            return not_now("post-copy cannot be cancelled: the guest is already at the destination");
        }
        if o.complete {
            return not_now("everything has been handed over");
        }
        self.source.execute("migrate_cancel", Value::Null).await.map(drop)
    }

    async fn tune(&self, name: &str, value: Value) -> Result<(), HvError> {
        let offer = Offer::ask(&self.source).await?;
        let running = !self.observer.now().phase.is_over();
        if running && offer.capabilities.contains_key(name) && !offer.parameters.contains_key(name) {
            let why = "a migration capability can only be set before the migration begins".to_owned();
            return Err(HvError::NotNow { what: format!("set '{name}'"), why });
        }
        let value = offer.parameter(name, &value)?;
        self.source.set_parameters(&Map::from_iter([(name.to_owned(), value)]), SettingWhy::Asked).await?;
        self.source.tell_offers().await
    }

    async fn retune(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        let refused = self.source.tune(settings, true).await?;
        refused.into_iter().for_each(|why| self.log(Level::Warn, &self.source, why));
        Ok(())
    }

    async fn start_post_copy(&self) -> Result<(), HvError> {
        let o = self.observer.now();
        let not_now = |why: &str| Err(HvError::NotNow { what: "start post-copy".into(), why: why.into() });
        let prepared =
            self.inner.lock().await.plan.as_ref().and_then(|p| p.source_capabilities.get("postcopy-ram").copied());
        if prepared != Some(true) {
            return not_now("it was not prepared; ask for post-copy before the migration begins");
        }
        if o.phase != Phase::PreCopy {
            return not_now(&format!("only pre-copy can be switched to it, and this is {}", o.phase.word()));
        }
        self.owe(|duty| duty.post_copy = true).await;
        self.post_copy.store(true, Ordering::Relaxed);
        let started = self.source.execute("migrate-start-postcopy", Value::Null).await.map(drop);
        // Without an answer it may have begun.
        if matches!(started, Err(HvError::Refused { .. })) {
            self.post_copy.store(false, Ordering::Relaxed);
            self.owe(|duty| duty.post_copy = false).await;
        }
        started
    }

    async fn start_auto_converge(&self) -> Result<(), HvError> {
        let inner = self.inner.lock().await;
        let on = inner.plan.as_ref().and_then(|p| p.source_capabilities.get("auto-converge").copied());
        if on != Some(true) {
            return Err(HvError::NotNow {
                what: "throttle the guest".into(),
                why: "it was not prepared; choose auto-converge before the migration begins".into(),
            });
        }
        match inner.plan.as_ref().and_then(|p| p.throttle.as_ref()) {
            Some(throttle) => {
                self.source.set_parameters(throttle, SettingWhy::Asked).await?;
                self.source.tell_offers().await
            }
            None => Ok(()),
        }
    }

    async fn stop_source(&self) -> Result<(), HvError> {
        let o = self.observer.now();
        if o.complete || o.phase == Phase::PostCopy || o.raw.starts_with("postcopy") {
            let why = "the guest is already on its way to the destination".to_owned();
            return Err(HvError::NotNow { what: "stop the source".into(), why });
        }
        self.owe(|duty| duty.armed = true).await;
        self.source.execute("stop", Value::Null).await?;
        // Seen to stand while the source still has something to send: so it will arrive.
        if Self::status(&self.source).await.is_ok_and(|status| status == "paused") {
            self.owe(|duty| duty.stopped = true).await;
        }
        Ok(())
    }

    async fn resume_destination(&self) -> Result<(), HvError> {
        self.resume(&self.destination).await
    }

    async fn resume_source(&self) -> Result<(), HvError> {
        if self.post_copy.load(Ordering::Relaxed) || self.observer.now().raw.starts_with("postcopy") {
            let why = "post-copy has begun, so the guest's newest memory is at the destination".to_owned();
            return Err(HvError::NotNow { what: "resume the guest at the source".into(), why });
        }
        // The guest must never run twice. A closed UNIX socket means a dead process; a TCP
        // connection may be lost while the destination lives and has heard our `cont`.
        let d = &self.destination;
        let dead = d.view().borrow().lost.is_some() && matches!(d.spec().control, Endpoint::Unix(_));
        if self.observer.now().complete && self.destination_told.load(Ordering::Relaxed) && !dead {
            let why = format!("'{}' has everything and was told to run the guest, so it may", d.name());
            return Err(HvError::NotNow { what: "resume the guest at the source".into(), why });
        }
        self.resume(&self.source).await
    }

    async fn locate(&self) -> Place {
        let (at_source, at_destination) = tokio::join!(locate::ask(&self.source), locate::ask(&self.destination));
        let place = locate::place(&at_source, &at_destination, self.observer.now().complete);
        match &place {
            // Asked at about the same time, it may have moved between the two answers.
            Place::Both => {
                let at_source = locate::ask(&self.source).await;
                locate::place(&at_source, &at_destination, self.observer.now().complete)
            }
            Place::Destination { is: Condition::Runs, .. } => {
                // Its own word for it may have been missed.
                self.destination.seen_running();
                place
            }
            _ => place,
        }
    }

    fn observe(&self) -> Observations {
        self.observer.observe()
    }

    async fn stand_down(&self) {
        let mut inner = self.inner.lock().await;
        if let Some(w) = inner.watcher.take() {
            w.abort();
        }
        // The source may be asked to migrate again; an armed throttle must not stay behind.
        if let Some(throttle) = inner.plan.take().and_then(|p| p.throttle)
            && !self.source.is_borrowed()
            && self.source.view().borrow().lost.is_none()
        {
            let _ = self.source.set_parameters(&throttle, SettingWhy::PutBack).await;
            let _ = self.source.tell_offers().await;
        }
        if let Some(g) = &inner.guardian {
            let _ = g.owe(|duty| duty.armed = false).await;
        }
        // What is left to be put back is left to the guardian, which waits for the migration to end.
        let all = self.put_back().await;
        for host in [&self.source, &self.destination] {
            host.guard_with(None);
        }
        if let Some(g) = inner.guardian.take()
            && all
        {
            g.stand_down().await;
        }
    }
}
