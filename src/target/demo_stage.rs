//! The demo's stage: two simulated hosts, between which the guest goes to and fro.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;

use super::stage::{Cast, Prospect, Stage, Tuning};
use crate::demo::SimulatedGuest;
use crate::demo::hypervisor::{ModelDriver, ModelOptions, offers, refused, version};
use crate::event::{Body, EventSink, HvEvent, MigrationEnd, MigrationSettings};

/// Two simulated hosts; the guest runs at the first.
pub(crate) struct DemoStage {
    options: ModelOptions,
    guest: SimulatedGuest,
    hosts: [&'static str; 2],
    sink: EventSink,
}

impl DemoStage {
    /// Both hosts come up.
    pub(crate) fn new(options: ModelOptions, guest: SimulatedGuest, sink: &EventSink) -> Self {
        let hosts = ["a", "b"];
        let version = version(options.product);
        for host in hosts {
            let up = HvEvent::HostUp { host: host.into(), version: version.clone(), pid: None };
            sink.emit(Body::Hypervisor(up));
        }
        sink.emit(Body::Hypervisor(HvEvent::Resumed { host: hosts[0].into(), at: None }));
        Self { options, guest, hosts, sink: sink.clone() }
    }
}

#[async_trait]
impl Stage for DemoStage {
    async fn prospect(&self) -> Prospect {
        let [from, to] = self.hosts.map(str::to_owned);
        Prospect { guest: None, from, to, obstacle: None }
    }

    async fn cast(&mut self, sink: &EventSink) -> Result<Cast> {
        let [from, to] = self.hosts;
        let options = self.options.clone();
        let driver = ModelDriver::new(options, from, to, Arc::new(self.guest.clone()), sink.clone());
        Ok(Cast { driver: Arc::new(driver), from: from.into(), to: to.into() })
    }

    async fn after(&mut self, end: &MigrationEnd, _sink: &EventSink) -> Result<()> {
        if *end == MigrationEnd::Done {
            self.hosts.reverse();
        }
        Ok(())
    }

    fn tune(&self, settings: MigrationSettings) -> Option<Tuning> {
        let (options, host, sink) = (self.options.clone(), self.hosts[0], self.sink.clone());
        Some(Box::pin(async move {
            let offers = offers(options.product, options.link, &settings);
            sink.emit(Body::Hypervisor(HvEvent::Offers { host: host.into(), offers }));
            Ok(refused(options.product, host, &settings, None).iter().map(ToString::to_string).collect())
        }))
    }

    async fn close(self: Box<Self>) {}
}
