//! Where a migration takes place: the lab's own hosts, or hypervisors that somebody else started.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;

use crate::event::{EventSink, Location, MigrationEnd, MigrationSettings};
use crate::hypervisor::qmp::{Endpoint, HostSpec, QmpDriver, QmpHost, QmpOptions};
use crate::hypervisor::{Driver, HvError};
use crate::lab::{HostInfo, Lab};

/// A driver for one migration, and the names of its two ends.
pub(crate) struct Cast {
    pub driver: Arc<dyn Driver>,
    pub from: String,
    pub to: String,
}

/// What is known between migrations.
pub(crate) struct Prospect {
    /// Where the guest is; None where that is told by other means.
    pub guest: Option<Location>,
    /// The ends of the next migration.
    pub from: String,
    pub to: String,
    /// Why there can be none.
    pub obstacle: Option<String>,
}

/// Where the guest of these two is.
async fn located(
    source: &Arc<QmpHost>,
    destination: &Arc<QmpHost>,
    options: &QmpOptions,
    sink: &EventSink,
) -> Location {
    let (from, to) = (source.name().to_owned(), destination.name().to_owned());
    let driver = QmpDriver::new(Arc::clone(source), Arc::clone(destination), options.clone(), sink.clone());
    driver.locate().await.location(&from, &to)
}

/// Putting settings to a hypervisor; comes to a line about each it does not take.
pub(crate) type Tuning = Pin<Box<dyn Future<Output = Result<Vec<String>, HvError>> + Send>>;

/// A source, a destination, and what becomes of them after each migration.
#[async_trait]
pub(crate) trait Stage: Send {
    /// Where the guest is, as far as is known, and what the next migration would be.
    async fn prospect(&self) -> Prospect;
    /// A driver for the next migration.
    async fn cast(&mut self, sink: &EventSink) -> Result<Cast>;
    /// A migration has ended so: makes ready for the next one.
    async fn after(&mut self, end: &MigrationEnd, sink: &EventSink) -> Result<()>;
    /// Puts settings to the source between migrations, as far as they can be before one begins. None
    /// without a source to migrate from.
    fn tune(&self, settings: MigrationSettings) -> Option<Tuning>;
    /// Ends whatever the stage itself has started.
    async fn close(self: Box<Self>);
}

/// The lab: after each migration the destination is the new source, and a fresh destination waits.
pub(crate) struct LabStage {
    lab: Lab,
    /// Connections by generation of the host, so that its events come in between migrations too.
    hosts: Vec<(u32, Arc<QmpHost>)>,
    sink: EventSink,
}

impl LabStage {
    /// Connects to both hosts of a lab that is up.
    pub(crate) async fn new(lab: Lab, sink: &EventSink) -> Result<Self> {
        let mut stage = Self { lab, hosts: Vec::new(), sink: sink.clone() };
        stage.connect(sink).await?;
        Ok(stage)
    }

    /// Connects to the hosts there are now, and lets go of those that are gone.
    async fn connect(&mut self, sink: &EventSink) -> Result<()> {
        let present: Vec<HostInfo> =
            [self.lab.source(), self.lab.destination()].into_iter().flatten().cloned().collect();
        self.hosts.retain(|(generation, host)| {
            present.iter().any(|info| info.generation == *generation) && host.view().borrow().lost.is_none()
        });
        for info in present {
            if !self.hosts.iter().any(|(generation, _)| *generation == info.generation) {
                let host = QmpHost::connect(spec(&info), sink.clone()).await?;
                host.leave_its_end_to_others();
                host.claim();
                host.tell_offers().await?;
                self.hosts.push((info.generation, Arc::new(host)));
            }
        }
        Ok(())
    }

    /// Whether there is no destination that lives: it ended by itself, or could not be started.
    fn lacks_destination(&self) -> bool {
        let Some(info) = self.lab.destination() else { return true };
        let connected = self.hosts.iter().find(|(generation, _)| *generation == info.generation);
        connected.is_none_or(|(_, host)| host.view().borrow().lost.is_some())
    }

    fn host(&self, info: Option<&HostInfo>) -> Option<Arc<QmpHost>> {
        let generation = info?.generation;
        self.hosts.iter().find(|(g, _)| *g == generation).map(|(_, host)| Arc::clone(host))
    }
}

fn tuning(host: Arc<QmpHost>, settings: MigrationSettings) -> Tuning {
    Box::pin(async move { host.tune(&settings, false).await })
}

fn spec(info: &HostInfo) -> HostSpec {
    HostSpec {
        name: info.name.clone(),
        control: Endpoint::Unix(info.qmp_commands.clone()),
        events: Some(Endpoint::Unix(info.qmp_events.clone())),
        guardian: Some(Endpoint::Unix(info.qmp_guardian.clone())),
        pid: Some(info.pid),
    }
}

#[async_trait]
impl Stage for LabStage {
    async fn prospect(&self) -> Prospect {
        let (source, destination) = (self.host(self.lab.source()), self.host(self.lab.destination()));
        let name = |info: Option<&HostInfo>| info.map_or_else(|| "?".to_owned(), |info| info.name.clone());
        let (from, to) = (name(self.lab.source()), name(self.lab.destination()));
        let guest = match (&source, &destination) {
            (Some(source), Some(destination)) => {
                Some(located(source, destination, &QmpOptions::to(""), &self.sink).await)
            }
            _ => None,
        };
        // A destination that is gone is replaced when the next migration begins.
        let obstacle = source.is_none().then(|| "the guest's host is gone, and the guest with it".to_owned());
        Prospect { guest, from, to, obstacle }
    }

    async fn cast(&mut self, sink: &EventSink) -> Result<Cast> {
        if self.lacks_destination() {
            self.lab.replace_destination().await.context("a fresh destination cannot be started")?;
        }
        self.connect(sink).await?;
        let source = self.host(self.lab.source()).context("the guest's host is gone, and the guest with it")?;
        let destination = self.host(self.lab.destination()).context("no destination is ready")?;
        let uri = self.lab.destination().map(|info| info.incoming_uri.clone()).unwrap_or_default();
        let (from, to) = (source.name().to_owned(), destination.name().to_owned());
        let driver = QmpDriver::new(source, destination, QmpOptions::to(uri), sink.clone());
        Ok(Cast { driver: Arc::new(driver), from, to })
    }

    async fn after(&mut self, end: &MigrationEnd, sink: &EventSink) -> Result<()> {
        // The host that is about to be shut down is let go first: its end is no loss.
        let leaving = match end {
            MigrationEnd::Done => self.lab.source(),
            MigrationEnd::Failed { .. } | MigrationEnd::Cancelled { .. } => self.lab.destination(),
            // Either host may have the guest: none of them is touched.
            MigrationEnd::Unsettled { .. } => return Ok(()),
        };
        let leaving = leaving.map(|info| info.generation);
        self.hosts.retain(|(generation, _)| Some(*generation) != leaving);
        match end {
            MigrationEnd::Done => self.lab.flip().await?,
            MigrationEnd::Failed { .. } | MigrationEnd::Cancelled { .. } => self.lab.replace_destination().await?,
            MigrationEnd::Unsettled { .. } => {}
        }
        self.connect(sink).await
    }

    fn tune(&self, settings: MigrationSettings) -> Option<Tuning> {
        Some(tuning(self.host(self.lab.source())?, settings))
    }

    async fn close(mut self: Box<Self>) {
        self.hosts.clear();
        self.lab.stop().await;
    }
}

/// Hypervisors that somebody else started: one destination, good for one successful migration.
pub(crate) struct AttachedStage {
    source: Arc<QmpHost>,
    destination: Arc<QmpHost>,
    options: QmpOptions,
    sink: EventSink,
}

impl AttachedStage {
    /// Connects to both.
    pub(crate) async fn new(
        source: HostSpec,
        destination: HostSpec,
        options: QmpOptions,
        sink: &EventSink,
    ) -> Result<Self> {
        let source = Arc::new(QmpHost::connect(source, sink.clone()).await?);
        let destination = Arc::new(QmpHost::connect(destination, sink.clone()).await?);
        source.tell_offers().await?;
        destination.tell_offers().await?;
        Ok(Self { source, destination, options, sink: sink.clone() })
    }
}

#[async_trait]
impl Stage for AttachedStage {
    async fn prospect(&self) -> Prospect {
        let (from, to) = (self.source.name().to_owned(), self.destination.name().to_owned());
        let guest = located(&self.source, &self.destination, &self.options, &self.sink).await;
        let obstacle = match &guest {
            Location::At { host, .. } if *host == from => None,
            Location::At { .. } => Some(format!(
                "the guest {}, and no destination waits for it to move on: start one with -incoming, and run \
                 'blackout migrate' with {} as its source",
                guest.words(),
                self.destination.spec().control
            )),
            Location::Nowhere | Location::Both => Some(format!("the guest {}", guest.words())),
            // What is not known is asked for again when a migration is to begin.
            Location::Moving | Location::Unknown { .. } => None,
        };
        Prospect { guest: Some(guest), from, to, obstacle }
    }

    async fn cast(&mut self, sink: &EventSink) -> Result<Cast> {
        if let Some(why) = self.prospect().await.obstacle {
            bail!(why);
        }
        let (from, to) = (self.source.name().to_owned(), self.destination.name().to_owned());
        let (source, destination) = (Arc::clone(&self.source), Arc::clone(&self.destination));
        let driver = QmpDriver::new(source, destination, self.options.clone(), sink.clone());
        Ok(Cast { driver: Arc::new(driver), from, to })
    }

    async fn after(&mut self, _end: &MigrationEnd, _sink: &EventSink) -> Result<()> {
        Ok(())
    }

    fn tune(&self, settings: MigrationSettings) -> Option<Tuning> {
        // Nothing is changed at a host that is not ours before a migration is fired; and a source that stands
        // still after it has given its guest away is left alone.
        let lost = self.source.view().borrow().lost.is_some();
        let there = !lost && self.destination.view().borrow().running != Some(true);
        let source = Arc::clone(&self.source);
        there.then(|| Box::pin(async move { source.check(&settings).await }) as Tuning)
    }

    async fn close(self: Box<Self>) {
        // What a migration that was cut short has left behind.
        tokio::join!(self.source.put_back(), self.destination.put_back());
    }
}
