//! The lab as a hypervisor: after each migration the destination is the new source, and a fresh destination waits.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{HostInfo, Lab};
use crate::event::{Capabilities, EventSink, MigrationEnd, MigrationSettings};
use crate::hypervisor::qmp::{Endpoint, HostSpec, QmpHost, QmpHypervisor, QmpOptions};
use crate::hypervisor::{HvError, Hypervisor, Migration, Place, Prospect};

/// A lab that is up.
pub struct LabHypervisor {
    sink: EventSink,
    inner: Mutex<Inner>,
}

struct Inner {
    /// None once it is closed.
    lab: Option<Lab>,
    /// Connections by generation of the host, so that its events come in between migrations too.
    hosts: Vec<(u32, Arc<QmpHost>)>,
    /// The hosts of the next migration, and their generations.
    pair: Option<([u32; 2], Arc<QmpHypervisor>)>,
}

fn not_now(why: impl Into<String>) -> HvError {
    HvError::NotNow { what: "migrate".into(), why: why.into() }
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

impl Inner {
    fn ends(&self) -> [Option<&HostInfo>; 2] {
        let lab = self.lab.as_ref();
        [lab.and_then(Lab::source), lab.and_then(Lab::destination)]
    }

    /// Connects to the hosts there are now, and lets go of those that are gone.
    async fn connect(&mut self, sink: &EventSink) -> Result<(), HvError> {
        let present: Vec<HostInfo> = self.ends().into_iter().flatten().cloned().collect();
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
        let [source, destination] = self.ends().map(|info| self.host(info));
        let ends = source.zip(destination);
        if self.pair.as_ref().map(|(of, _)| *of) != ends.as_ref().map(|(s, d)| [s.0, d.0]) {
            let uri = self.ends()[1].map(|info| info.incoming_uri.clone()).unwrap_or_default();
            self.pair = ends.map(|((s, source), (d, destination))| {
                let pair = QmpHypervisor::new(source, destination, QmpOptions::to(uri), sink.clone());
                ([s, d], Arc::new(pair))
            });
        }
        Ok(())
    }

    fn host(&self, info: Option<&HostInfo>) -> Option<(u32, Arc<QmpHost>)> {
        let generation = info?.generation;
        self.hosts.iter().find(|(g, _)| *g == generation).cloned()
    }

    /// Whether there is no destination that lives: it ended by itself, or could not be started.
    fn lacks_destination(&self) -> bool {
        self.host(self.ends()[1]).is_none_or(|(_, host)| host.view().borrow().lost.is_some())
    }

    /// A destination that is gone is replaced.
    async fn renew_destination(&mut self) -> Result<(), HvError> {
        let lab = self.lab.as_mut().ok_or_else(|| not_now("the lab has ended"))?;
        let renewed = lab.replace_destination().await;
        renewed.map_err(|e| not_now(format!("a fresh destination cannot be started: {e}")))
    }
}

impl LabHypervisor {
    /// Connects to both hosts.
    ///
    /// # Errors
    /// If one of them does not answer.
    pub async fn new(lab: Lab, sink: EventSink) -> Result<Self, HvError> {
        let mut inner = Inner { lab: Some(lab), hosts: Vec::new(), pair: None };
        inner.connect(&sink).await?;
        Ok(Self { sink, inner: Mutex::new(inner) })
    }

    async fn pair(&self) -> Result<Arc<QmpHypervisor>, HvError> {
        let inner = self.inner.lock().await;
        match (&inner.pair, inner.host(inner.ends()[0])) {
            (Some((_, pair)), _) => Ok(Arc::clone(pair)),
            (None, None) => Err(not_now("the guest's host is gone, and the guest with it")),
            (None, Some(_)) => Err(not_now("no destination is ready")),
        }
    }
}

#[async_trait]
impl Hypervisor for LabHypervisor {
    async fn capabilities(&self) -> Result<Capabilities, HvError> {
        self.pair().await?.capabilities().await
    }

    async fn prospect(&self) -> Prospect {
        let inner = self.inner.lock().await;
        let [from, to] = inner.ends().map(|info| info.map_or_else(|| "?".to_owned(), |info| info.name.clone()));
        // A destination that is gone is replaced when the next migration begins.
        let gone = inner.host(inner.ends()[0]).is_none();
        let obstacle = gone.then(|| "the guest's host is gone, and the guest with it".to_owned());
        let pair = inner.pair.as_ref().map(|(_, pair)| Arc::clone(pair));
        drop(inner);
        let place = match pair {
            Some(pair) => pair.prospect().await.place,
            None => Place::Unknown("one of the lab's hosts is gone".into()),
        };
        Prospect { from, to, place, obstacle }
    }

    async fn check(&self, settings: &MigrationSettings) -> Vec<String> {
        match self.pair().await {
            Ok(pair) => pair.check(settings).await,
            Err(_) => Vec::new(),
        }
    }

    async fn apply(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        {
            let mut inner = self.inner.lock().await;
            if inner.lacks_destination() {
                inner.renew_destination().await?;
            }
            inner.connect(&self.sink).await?;
        }
        self.pair().await?.apply(settings).await
    }

    async fn withdraw(&self) {
        if let Ok(pair) = self.pair().await {
            pair.withdraw().await;
        }
    }

    async fn start(&self, facts: EventSink) -> Result<Arc<dyn Migration>, HvError> {
        self.pair().await?.start(facts).await
    }

    async fn join(&self, facts: EventSink) -> Result<Option<Arc<dyn Migration>>, HvError> {
        self.pair().await?.join(facts).await
    }

    async fn after(&self, end: &MigrationEnd) -> Result<(), HvError> {
        let mut inner = self.inner.lock().await;
        // The host that is about to be shut down is let go first: its end is no loss.
        let leaving = match end {
            MigrationEnd::Done => inner.ends()[0],
            MigrationEnd::Failed { .. } | MigrationEnd::Cancelled { .. } => inner.ends()[1],
            // Either host may have the guest: none of them is touched.
            MigrationEnd::Unsettled { .. } => return Ok(()),
        };
        let leaving = leaving.map(|info| info.generation);
        inner.hosts.retain(|(generation, _)| Some(*generation) != leaving);
        inner.pair = None;
        match (end, &mut inner.lab) {
            (MigrationEnd::Done, Some(lab)) => {
                lab.flip().await.map_err(|e| not_now(e.to_string()))?;
            }
            _ => inner.renew_destination().await?,
        }
        inner.connect(&self.sink).await
    }

    async fn close(&self) {
        let mut inner = self.inner.lock().await;
        inner.pair = None;
        inner.hosts.clear();
        if let Some(lab) = inner.lab.take() {
            lab.stop().await;
        }
    }
}
