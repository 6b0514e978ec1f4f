//! Two libvirt hosts as one hypervisor: what they offer, where the guest is, and how a migration begins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::changes::Knob;
use super::config::{Config, quoted};
use super::domstate::At;
use super::host::{Guest, Host, lock};
use super::jobinfo::Said;
use super::lane::{Lane, wants_post_copy};
use super::migration::{Begun, LibvirtMigration};
use crate::event::{
    Cancels, Capabilities, Counts, Ends, EventSink, HvEvent, Level, MigrationSettings, OwnDowntime, Resumer, Sees,
    Stamped,
};
use crate::hypervisor::{HvError, Hypervisor, Migration, Place, Prospect};
use crate::text::visible;

/// How long it may take until it is decided what is heard of a host.
const SETTLED_WITHIN: Duration = Duration::from_secs(3);

/// How often it is looked whether another has begun a migration. The first event of one comes half a second after its
/// beginning; a look costs 0.3 ms of CPU.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The least distance of two such looks.
const LOOKS_APART: Duration = Duration::from_millis(20);

/// A guest between two libvirt hosts.
#[derive(Debug)]
pub struct LibvirtHypervisor {
    config: Arc<Config>,
    guest: Arc<Guest>,
    /// As the target calls them: `from`, `to`.
    hosts: [Arc<Host>; 2],
    state: Mutex<Between>,
}

/// What is known between migrations.
#[derive(Debug, Default)]
struct Between {
    /// The guest is at the host that the target calls `to`.
    is_turned: bool,
    settings: MigrationSettings,
    told: Option<Capabilities>,
    /// What migrates the guest, if anything does, was begun here or has been joined.
    is_ours: bool,
}

impl LibvirtHypervisor {
    /// Reaches both hosts, and listens to them. A host that cannot be reached is told and tried again.
    ///
    /// # Errors
    /// If neither can be reached, or virsh takes the guest's name for another's.
    pub async fn connect(config: Config, sink: EventSink) -> Result<Self, HvError> {
        let host = |config: &super::HostConfig| Arc::new(Host::new(config.clone(), sink.clone()));
        let hosts = [host(&config.from), host(&config.to)];
        let (one, other) = tokio::join!(hosts[0].reach(), hosts[1].reach());
        for (host, reached) in hosts.iter().zip([&one, &other]) {
            if let Err(e) = reached {
                host.tell(HvEvent::HostLost { host: host.name().to_owned(), why: e.to_string() });
            }
        }
        if let (Err(e), Err(_)) = (&one, &other) {
            return Err(e.clone());
        }
        let mut guest = None;
        for host in &hosts {
            match host.know(&config.guest).await {
                Ok(known) => guest = guest.or(known),
                Err(why) if why.contains("write the UUID") => {
                    return Err(HvError::BadValue { name: "guest".into(), value: config.guest.clone(), hint: why });
                }
                Err(_) => {}
            }
        }
        // One that is at neither host may come.
        let guest = guest.unwrap_or_else(|| Guest { name: config.guest.clone(), word: quoted(&config.guest) });
        for host in &hosts {
            let version = host.version();
            host.listen(&guest, version.is_none_or(|version| version.contains("QEMU")));
        }
        tokio::join!(hosts[0].settled(SETTLED_WITHIN), hosts[1].settled(SETTLED_WITHIN));
        Ok(Self { config: Arc::new(config), guest: Arc::new(guest), hosts, state: Mutex::default() })
    }

    fn lane(&self) -> Lane {
        let turned = lock(&self.state).is_turned;
        let [from, to] = [usize::from(turned), usize::from(!turned)].map(|i| Arc::clone(&self.hosts[i]));
        Lane { config: Arc::clone(&self.config), guest: Arc::clone(&self.guest), source: from, destination: to }
    }

    fn offers(&self) -> Capabilities {
        let version = self.hosts.iter().find_map(|host| host.version()).unwrap_or_else(|| "libvirt".into());
        let by_qemu = version.contains("QEMU");
        let own_time = self.hosts.iter().all(|host| host.view().borrow().qemu == Some(true));
        // What other drivers of libvirt tell is not known: nothing is promised of them.
        let sees = Sees {
            rounds: by_qemu,
            sent: by_qemu,
            remaining: by_qemu,
            total: by_qemu,
            throughput: by_qemu,
            dirty_rate: by_qemu,
            zero_pages: by_qemu,
            stop_resume: Some(if own_time { Stamped::Hosts } else { Stamped::Session }),
            downtime: by_qemu.then_some(OwnDowntime { counts: Counts::StopToResume, resolution_ns: 1_000_000 }),
            location: true,
            ..Sees::default()
        };
        Capabilities {
            product: version,
            post_copy: by_qemu && !self.config.tunnelled,
            stop_and_copy: true,
            cancel: true,
            throttle_from_start: by_qemu,
            sees: Some(sees),
            cancels: Some(Cancels::AnyTime),
            resumer: Some(Resumer::Product),
            ends: Some(Ends::TwoHosts),
            ..Capabilities::default()
        }
    }

    /// What of the settings is not offered, a line each.
    fn refusals(&self, settings: &MigrationSettings) -> Vec<String> {
        let mut refused = Vec::new();
        if wants_post_copy(settings) && self.config.tunnelled {
            refused.push("libvirt has no post-copy through a tunnel: leave out 'tunnelled'".to_owned());
        }
        for name in settings.extra.keys() {
            let name = visible(name);
            refused.push(format!(
                "libvirt is given no parameter '{name}': limits, post-copy and auto-converge are settings of their own"
            ));
        }
        refused
    }
}

#[async_trait]
impl Hypervisor for LibvirtHypervisor {
    async fn capabilities(&self) -> Result<Capabilities, HvError> {
        let offers = self.offers();
        let is_new = lock(&self.state).told.replace(offers.clone()).as_ref() != Some(&offers);
        if is_new {
            let host = &self.hosts[0];
            host.tell(HvEvent::Offers { host: host.name().to_owned(), offers: offers.clone() });
        }
        Ok(offers)
    }

    async fn prospect(&self) -> Prospect {
        let mut lane = self.lane();
        let mut place = lane.place().await;
        if let Place::Destination { is, whole: Some(true) } = place {
            // It is where the next one comes from.
            {
                let mut between = lock(&self.state);
                between.is_turned = !between.is_turned;
            }
            lane = self.lane();
            place = Place::Source(is);
        }
        let obstacle = match &place {
            Place::Nowhere => Some("the guest is on neither host; start it on one of them".to_owned()),
            Place::Both => Some("the guest runs on both hosts at once; stop it on one of them".to_owned()),
            Place::Moving | Place::Destination { .. } => {
                Some("a migration of the guest is under way already".to_owned())
            }
            Place::Source(_) | Place::Unknown(_) => None,
        };
        let (from, to) = (lane.source.name().to_owned(), lane.destination.name().to_owned());
        Prospect { from, to, place, obstacle }
    }

    async fn check(&self, settings: &MigrationSettings) -> Vec<String> {
        self.refusals(settings)
    }

    async fn apply(&self, settings: &MigrationSettings) -> Result<(), HvError> {
        let lane = self.lane();
        if let Some(name) = settings.extra.keys().next() {
            return Err(HvError::NotOffered {
                host: lane.source.name().to_owned(),
                kind: "migration parameter",
                name: visible(name).into_owned(),
                nearest: None,
                offered: vec!["limits, post-copy and auto-converge, as settings of their own".into()],
            });
        }
        let refused = self.refusals(settings);
        if !refused.is_empty() {
            return Err(HvError::NotNow { what: "migrate".into(), why: refused.join("; ") });
        }
        lock(&self.state).settings = settings.clone();
        match settings.downtime_limit_ms {
            Some(ms) => lane.change(Knob::Downtime, ms).await,
            None => Ok(()),
        }
    }

    async fn withdraw(&self) {
        self.lane().put_back().await;
    }

    async fn start(&self, facts: EventSink) -> Result<Arc<dyn Migration>, HvError> {
        let lane = self.lane();
        let settings = lock(&self.state).settings.clone();
        let runs = match lane.source.state(&self.guest).await {
            Ok(At::Runs) => Some(true),
            Ok(At::Stands) => Some(false),
            _ => None,
        };
        let spec = lane.command(&settings);
        lock(&self.state).is_ours = true;
        let host = || lane.source.name().to_owned();
        let process = spec.spawn().map_err(|e| HvError::Unreachable { host: host(), why: e.to_string() })?;
        lane.source.log(Level::Info, format!("runs: {}", spec.shown()));
        Ok(Arc::new(LibvirtMigration::watch(lane, facts, runs, Begun::ByUs(Box::new(process), Box::new(settings)))))
    }

    async fn join(&self, facts: EventSink) -> Result<Option<Arc<dyn Migration>>, HvError> {
        // It comes from where the guest is.
        self.prospect().await;
        let lane = self.lane();
        if lane.is_leaving().await != Some(true) {
            return Ok(None);
        }
        let (runs, stopped, pulled) = match lane.source.state(&self.guest).await {
            Ok(At::Runs) => (Some(true), false, false),
            Ok(At::Stands) => (Some(false), false, false),
            Ok(At::Moves) => (None, true, false),
            Ok(At::HandedOver { .. }) => (None, true, true),
            // It is over this instant.
            Ok(At::Absent) => return Ok(None),
            Ok(At::Pulls | At::Halted(_)) | Err(_) => (None, false, false),
        };
        lock(&self.state).is_ours = true;
        let begun = Begun::ByAnother { stopped, pulled };
        Ok(Some(Arc::new(LibvirtMigration::watch(lane, facts, runs, begun))))
    }

    async fn begun(&self) {
        let (mut one, mut other) = (self.hosts[0].notes(), self.hosts[1].notes());
        loop {
            let jobs = tokio::join!(self.hosts[0].job(&self.guest), self.hosts[1].job(&self.guest));
            let is_leaving = |said: &Said| match said {
                Said::Job(job) => Some(job.is_leaving()),
                Said::Gone | Said::Destination => Some(false),
                Said::Blind(_) => None,
            };
            let leaving = [is_leaving(&jobs.0), is_leaving(&jobs.1)];
            {
                let mut between = lock(&self.state);
                // Nothing goes on any more, so that what begins from now on is another's.
                if leaving == [Some(false), Some(false)] {
                    between.is_ours = false;
                }
                if leaving.contains(&Some(true)) && !between.is_ours {
                    return;
                }
            }
            tokio::select! {
                _ = one.recv() => {}
                _ = other.recv() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            // However many events there are.
            tokio::time::sleep(LOOKS_APART).await;
        }
    }

    async fn close(&self) {
        self.withdraw().await;
        tokio::join!(self.hosts[0].close(), self.hosts[1].close());
    }
}
