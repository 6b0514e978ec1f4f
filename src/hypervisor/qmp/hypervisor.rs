//! Two QEMUs as one hypervisor: what they offer, where the guest is, and how a migration between them is made ready
//! and begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::bounds::name;
use super::endpoint::HostSpec;
use super::guardian::GuardianCommand;
use super::host::QmpHost;
use super::migration::{Prepared, QmpMigration};
use super::negotiate::{Offer, Plan, plan, why};
use super::pair::{Pair, Safeguard, status};
use super::status::is_final;
use super::tuning;
use crate::event::{Capabilities, EventSink, Level, Location, MigrationSettings, SettingWhy};
use crate::hypervisor::{HvError, Hypervisor, Migration, Prospect};

/// How often it is looked whether another has begun a migration.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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

/// Two QEMUs, between which a guest is migrated over QMP.
#[derive(Debug)]
pub struct QmpHypervisor {
    pair: Pair,
    options: QmpOptions,
    /// What is ready for the next migration.
    ready: Mutex<Ready>,
    /// What the source migrates, if anything, was begun here or has been joined.
    is_ours: AtomicBool,
}

#[derive(Debug, Default)]
struct Ready {
    plan: Option<Plan>,
    safeguard: Safeguard,
}

impl QmpHypervisor {
    /// Connects to both, and tells what they offer.
    ///
    /// # Errors
    /// If one of them cannot be used; the message says why.
    pub async fn connect(
        source: HostSpec,
        destination: HostSpec,
        options: QmpOptions,
        sink: EventSink,
    ) -> Result<Self, HvError> {
        let source = Arc::new(QmpHost::connect(source, sink.clone()).await?);
        let destination = Arc::new(QmpHost::connect(destination, sink.clone()).await?);
        source.tell_offers().await?;
        destination.tell_offers().await?;
        Ok(Self::new(source, destination, options, sink))
    }

    /// Of two that are connected already.
    #[must_use]
    pub fn new(source: Arc<QmpHost>, destination: Arc<QmpHost>, options: QmpOptions, sink: EventSink) -> Self {
        Self {
            pair: Pair { source, destination, sink },
            options,
            ready: Mutex::default(),
            is_ours: AtomicBool::new(false),
        }
    }

    /// Opens a destination that waits with `-incoming defer`; one that listens already stays so.
    async fn open_destination(&self) -> Result<(), HvError> {
        let d = &self.pair.destination;
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
            match plan(source, destination, &settings, &self.options.uri, self.pair.source.is_borrowed()) {
                Err(HvError::BadValue { name, value, hint }) if settings.extra.remove(&name).is_some() => {
                    let e = HvError::BadValue { name, value, hint };
                    self.pair.log(Level::Warn, &self.pair.source, format!("{e}; the migration goes without"));
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
        let without = |why: String| self.pair.log(Level::Warn, host, format!("{why}; the migration goes without"));
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

    /// Begins to watch a migration with what is ready for it.
    fn watch(&self, facts: EventSink, mut ready: Ready, mut prepared: Prepared) -> Arc<dyn Migration> {
        prepared.throttle = ready.plan.take().and_then(|plan| plan.throttle);
        let guardian = self.options.guardian.clone();
        Arc::new(QmpMigration::watch(facts, self.pair.clone(), ready.safeguard, guardian, prepared, self.options.every))
    }
}

#[async_trait]
impl Hypervisor for QmpHypervisor {
    async fn capabilities(&self) -> Result<Capabilities, HvError> {
        let source = self.pair.source.offer().await?;
        let destination = self.pair.destination.offer().await?;
        let offers = tuning::capabilities(&source, self.pair.source.version());
        let post_copy = offers.post_copy && destination.capabilities.contains_key("postcopy-ram");
        Ok(Capabilities { post_copy, ..offers })
    }

    async fn prospect(&self) -> Prospect {
        let (from, to) = (self.pair.source.name().to_owned(), self.pair.destination.name().to_owned());
        let place = self.pair.locate(false).await;
        let obstacle = match place.location(&from, &to) {
            Location::At { host, .. } if host == from => None,
            guest @ Location::At { .. } => Some(format!(
                "the guest {}, and no destination waits for it to move on: start one with -incoming, and run \
                 'blackout migrate' with {} as its source",
                guest.words(),
                self.pair.destination.spec().control
            )),
            guest @ (Location::Nowhere | Location::Both) => Some(format!("the guest {}", guest.words())),
            // What is not known is asked for again when a migration is to begin.
            Location::Moving | Location::Unknown { .. } => None,
        };
        Prospect { from, to, place, obstacle }
    }

    async fn check(&self, settings: &MigrationSettings) -> Vec<String> {
        let source = &self.pair.source;
        let checked = match source.is_borrowed() {
            // Nothing is changed at a host that is not ours before a migration is fired; and a source that stands
            // still after it has given its guest away is left alone.
            true if source.view().borrow().lost.is_some() => return Vec::new(),
            true if self.pair.destination.view().borrow().running == Some(true) => return Vec::new(),
            true => source.check(settings).await,
            // Ours has them already now, so that what it offers is told with the values that count.
            false => source.tune(settings, false).await,
        };
        checked.unwrap_or_else(|e| vec![e.to_string()])
    }

    async fn apply(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        let (source, destination) = (&self.pair.source, &self.pair.destination);
        let plan = self.plan(&source.offer().await?, &destination.offer().await?, settings)?;
        let at_destination = status(destination).await?;
        if at_destination != "inmigrate" {
            return Err(HvError::NotNow {
                what: format!("migrate to '{}'", destination.name()),
                why: format!(
                    "it does not wait for a migration (its status is '{at_destination}'); start it with -incoming defer"
                ),
            });
        }
        let mut ready = self.ready.lock().await;
        // From here on something may be changed.
        if let Some(guardian) = &self.options.guardian {
            ready.safeguard.begin(&self.pair, guardian).await;
        }
        for (host, capabilities, parameters) in [
            (source, &plan.source_capabilities, &plan.source_parameters),
            (destination, &plan.destination_capabilities, &plan.destination_parameters),
        ] {
            self.put(host, capabilities, parameters, settings).await?;
        }
        if !plan.source_capabilities.contains_key("events") {
            let text = "it tells no migration events; phases and rounds come from looking";
            self.pair.log(Level::Warn, source, text);
        }
        self.open_destination().await?;
        ready.plan = Some(plan);
        Ok(())
    }

    async fn withdraw(&self) {
        let Ready { plan, safeguard } = std::mem::take(&mut *self.ready.lock().await);
        self.pair.stand_down(safeguard, plan.and_then(|plan| plan.throttle)).await;
    }

    async fn start(&self, facts: EventSink) -> Result<Arc<dyn Migration>, HvError> {
        let mut ready = self.ready.lock().await;
        let prepared = Prepared::begun(&self.pair, ready.plan.as_ref());
        self.is_ours.store(true, Ordering::Relaxed);
        self.pair.source.execute("migrate", json!({"uri": self.options.uri})).await?;
        Ok(self.watch(facts, std::mem::take(&mut *ready), prepared))
    }

    async fn join(&self, facts: EventSink) -> Result<Option<Arc<dyn Migration>>, HvError> {
        let mut ready = self.ready.lock().await;
        // Listened to before it is asked, so that nothing is missed in between.
        let mut prepared = Prepared::begun(&self.pair, ready.plan.as_ref());
        let state = self.pair.source.execute("query-migrate", Value::Null).await?;
        let word = name(state["status"].as_str().unwrap_or("none"));
        if matches!(word.as_str(), "none" | "") || is_final(&word) {
            return Ok(None);
        }
        let offer = self.pair.source.offer().await?;
        prepared.as_set(&offer.capabilities);
        self.is_ours.store(true, Ordering::Relaxed);
        Ok(Some(self.watch(facts, std::mem::take(&mut *ready), prepared)))
    }

    async fn begun(&self) {
        let source = &self.pair.source;
        loop {
            // Without its `events` capability, which is not ours to set, QEMU tells no migration by itself.
            let is_lost = source.view().borrow().lost.is_some();
            if is_lost {
                return std::future::pending().await;
            }
            if let Ok(state) = source.execute("query-migrate", Value::Null).await {
                let word = name(state["status"].as_str().unwrap_or("none"));
                match matches!(word.as_str(), "none" | "") || is_final(&word) {
                    // What begins from now on is another's.
                    true => self.is_ours.store(false, Ordering::Relaxed),
                    false if !self.is_ours.load(Ordering::Relaxed) => return,
                    false => {}
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn close(&self) {
        // What a migration that was cut short has left behind.
        self.withdraw().await;
    }
}
