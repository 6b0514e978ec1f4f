//! The simulated hypervisor: two hosts on the model, held to the session clock, between which the guest goes to and
//! fro.
//!
//! The model runs on a thread of its own. At each of its steps, and every 50 ms between, it waits until the
//! session clock has come so far, lets the guest live until then, tells what a hypervisor would tell and
//! takes orders. The clock in turn goes no further until that is judged. So what the model tells bears its
//! exact times, and what others do meanwhile a time to match, at every speed of the clock.

mod live;
mod migration;
mod offers;
mod onlooker;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

pub use self::live::{LiveGuest, ModelOptions};
use self::migration::SimulatedMigration;
pub use self::offers::{offers, refused, version};
use crate::event::{Body, Capabilities, EventSink, HvEvent, MigrationEnd, MigrationSettings};
use crate::hypervisor::place::Condition;
use crate::hypervisor::{HvError, Hypervisor, Migration, Place, Prospect};

/// Two simulated hosts; the guest runs at the first.
pub struct SimulatedHypervisor {
    options: ModelOptions,
    guest: Arc<dyn LiveGuest>,
    sink: EventSink,
    now: Mutex<Now>,
}

/// What changes between migrations.
#[derive(Debug, Clone)]
struct Now {
    from: &'static str,
    to: &'static str,
    settings: MigrationSettings,
}

impl SimulatedHypervisor {
    /// Both hosts, `a` and `b`, come up.
    #[must_use]
    pub fn new(options: ModelOptions, guest: Arc<dyn LiveGuest>, sink: EventSink) -> Self {
        let now = Now { from: "a", to: "b", settings: MigrationSettings::default() };
        let version = version(options.product);
        for host in [now.from, now.to] {
            let up = HvEvent::HostUp { host: host.into(), version: version.clone(), pid: None };
            sink.emit(Body::Hypervisor(up));
        }
        sink.emit(Body::Hypervisor(HvEvent::Resumed { host: now.from.into(), at: None }));
        Self { options, guest, sink, now: Mutex::new(now) }
    }

    fn now(&self) -> Now {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[async_trait]
impl Hypervisor for SimulatedHypervisor {
    async fn capabilities(&self) -> Result<Capabilities, HvError> {
        Ok(offers(self.options.product, self.options.link, &self.now().settings))
    }

    /// Between migrations it is where the last one has left it.
    async fn prospect(&self) -> Prospect {
        let Now { from, to, .. } = self.now();
        Prospect { from: from.into(), to: to.into(), place: Place::Source(Condition::Runs), obstacle: None }
    }

    async fn check(&self, settings: &MigrationSettings) -> Vec<String> {
        let host = self.now().from;
        let offers = offers(self.options.product, self.options.link, settings);
        self.sink.emit(Body::Hypervisor(HvEvent::Offers { host: host.into(), offers }));
        refused(self.options.product, host, settings, None).iter().map(ToString::to_string).collect()
    }

    async fn apply(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        if let Some(first) = refused(self.options.product, self.now().from, settings, None).into_iter().next() {
            return Err(first);
        }
        self.change(|now| now.settings = settings.clone());
        Ok(())
    }

    async fn start(&self, facts: EventSink) -> Result<Arc<dyn Migration>, HvError> {
        let Now { from, to, settings } = self.now();
        let guest = Arc::clone(&self.guest);
        let begun = SimulatedMigration::start(self.options.clone(), [from, to], settings, guest, facts)?;
        Ok(Arc::new(begun))
    }

    async fn after(&self, end: &MigrationEnd) -> Result<(), HvError> {
        if *end == MigrationEnd::Done {
            self.change(|now| std::mem::swap(&mut now.from, &mut now.to));
        }
        Ok(())
    }

    async fn close(&self) {}
}
