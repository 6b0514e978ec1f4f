//! The lab as a whole: start, there and back again, stop.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::accel::{Accel, AccelChoice, Memory};
use super::boot::{Boot, remark, step};
use super::error::LabError;
use super::guest_config::{AgentConfig, GuestConfig};
use super::host::{Host, HostInfo, Works};
use super::initramfs::{self, Initramfs};
use super::keeper::Keeper;
use super::kernel::{self, Kernel, Places};
use super::links::Links;
use super::modules::{self, Found};
use super::netns::Network;
use super::qemu::{self, Machine};
use super::rundir::{self, RunDir};
use crate::agent::Psk;
use crate::event::{Body, EventSink, Fact, LabEvent, Level, SessionEvent};
use crate::units::show_bytes;

/// What a lab is started with.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// The guest's RAM (VMSIZE), bytes.
    pub memory_bytes: u64,
    /// The guest's CPUs.
    pub cpus: u32,
    /// A kernel for the guest; None takes the best of this machine's.
    pub kernel: Option<PathBuf>,
    /// The accelerator.
    pub accel: AccelChoice,
    /// Name of the guest.
    pub name: String,
    /// How its agent is run.
    pub agent: AgentConfig,
    /// The QEMU to run.
    pub qemu: PathBuf,
    /// The program that becomes the guest's init; None takes this very program.
    pub init: Option<PathBuf>,
    /// How long the guest may take to come up under emulation.
    pub boot_patience: Duration,
}

impl Default for LabOptions {
    /// 256 MiB, one CPU, and everything else as it comes.
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            cpus: 1,
            kernel: None,
            accel: AccelChoice::Auto,
            name: "guest".into(),
            agent: AgentConfig::default(),
            qemu: qemu::PROGRAM.into(),
            init: None,
            boot_patience: Duration::from_secs(90),
        }
    }
}

/// A running lab. Dropping it ends the guest and removes every trace.
#[derive(Debug)]
pub struct Lab {
    // In the order in which they are to go.
    source: Option<Host>,
    destination: Option<Host>,
    works: Works,
    network: Network,
    agent: AgentConfig,
    kernel: Kernel,
    qemu_version: String,
    generation: u32,
}

/// The slow preparations, done on a thread of their own.
struct Prepared {
    kernel: Kernel,
    qemu_version: String,
    image: Initramfs,
    remark: Option<String>,
    sandbox: bool,
}

fn prepare(network: &Network, options: &LabOptions) -> Result<Prepared, LabError> {
    let qemu_version = qemu::version(&options.qemu)?;
    let places = Places::default();
    let kernel = kernel::find(options.kernel.as_deref(), &places)?;
    let Found { modules, remark } = modules::collect(&places.modules, &kernel.release)?;
    let config = GuestConfig {
        name: options.name.clone(),
        own: network.guest,
        bridge: network.host,
        modules: Vec::new(),
        agent: options.agent.clone(),
    };
    // By number: "self" would be the loader, when that is asked for our libraries. And not by name:
    // the file may have been replaced since by a newer build.
    let ourselves = || PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    let init = options.init.clone().unwrap_or_else(ourselves);
    let image = initramfs::build(&init, &modules, config)?;
    // The kernel needs room for the archive, for what it unpacks of it, and for itself.
    let least = 2 * image.bytes.len() as u64 + qemu::size(&kernel.path) + (64 << 20);
    if options.memory_bytes < least {
        return Err(LabError::TooSmall { asked: show_bytes(options.memory_bytes), least: show_bytes(least) });
    }
    let sandbox = qemu::sandboxes(&options.qemu);
    Ok(Prepared { kernel, qemu_version, image, remark, sandbox })
}

/// Writes a file nobody else can read: the initramfs holds the agent's key.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut f| f.write_all(bytes)).map_err(|e| LabError::file("cannot write", path, e))
}

impl Lab {
    /// Boots the guest on host `a` and readies host `b` to take it in. What it does is told to
    /// `sink` step by step, at last with [`LabEvent::Ready`].
    ///
    /// # Errors
    /// Any [`LabError`]; nothing is left behind then.
    pub async fn start(network: &Network, options: LabOptions, sink: EventSink) -> Result<Self, LabError> {
        let root = rundir::root();
        let swept = rundir::sweep(&root)?;
        if !swept.dirs.is_empty() || !swept.killed.is_empty() {
            let (dirs, killed) = (swept.dirs.len(), swept.killed.len());
            step(&sink, format!("cleared away {dirs} dead lab(s), {killed} of their QEMUs still running"));
        }
        step(&sink, "building the guest's initramfs");
        let (net, opts) = (network.clone(), options.clone());
        let prepared = crate::allowed::blocking("initramfs", move || prepare(&net, &opts))
            .await
            .map_err(|e| LabError::Other(format!("building the guest's initramfs: {e}")))??;
        if let Some(text) = prepared.remark {
            remark(&sink, Level::Warn, text);
        }
        if let Some(doubt) = qemu::doubt(&prepared.qemu_version) {
            remark(&sink, Level::Warn, format!("{}: {doubt}", prepared.qemu_version));
        }
        if !prepared.sandbox {
            let text = "this QEMU was built without a sandbox (seccomp), so it runs without one".to_owned();
            remark(&sink, Level::Warn, text);
        }
        let dir = RunDir::create(&root)?;
        let initrd = dir.path().join("initrd");
        write_private(&initrd, &prepared.image.bytes)?;
        let machine = Machine {
            program: options.qemu,
            accel: Accel::Tcg,
            memory_bytes: options.memory_bytes,
            cpus: options.cpus,
            kernel: prepared.kernel.path.clone(),
            initrd,
            library_dirs: prepared.image.library_dirs,
            mac: network.guest.mac,
            name: options.name,
            sandbox: prepared.sandbox,
        };
        let keeper = Keeper::start().map_err(|e| LabError::Other(format!("cannot start a thread: {e}")))?;
        let links =
            Links::open().map_err(|e| LabError::Network { step: "routing socket".into(), why: e.to_string() })?;
        let mut lab = Self {
            source: None,
            destination: None,
            works: Works { machine, keeper, links, sink, dir },
            network: network.clone(),
            agent: options.agent,
            kernel: prepared.kernel,
            qemu_version: prepared.qemu_version,
            generation: 0,
        };
        let memory = Memory::new(&lab.qemu_version);
        let boot =
            Boot { asked: options.accel, memory: &memory, agent: lab.agent_addr(), patience: options.boot_patience };
        let source = boot.run(&mut lab.works, "a").await?;
        lab.generation = source.info.generation;
        lab.source = Some(source);
        step(&lab.works.sink, "starting host b, awaiting a migration");
        lab.fresh_destination("b").await?;
        lab.tell_ready();
        Ok(lab)
    }

    fn tell_ready(&self) {
        let facts = [
            Fact::Hypervisor(self.qemu_version.clone()),
            Fact::GuestKernel(self.kernel.release.clone()),
            Fact::Accelerator(self.accelerator().name().into()),
        ];
        for fact in facts {
            self.works.sink.emit(Body::Session(SessionEvent::Learned(fact)));
        }
        self.works.sink.emit(Body::Lab(LabEvent::Ready {
            guest: self.guest_addr().to_string(),
            enter: self.network.enter.clone(),
        }));
    }

    async fn fresh_destination(&mut self, name: &str) -> Result<(), LabError> {
        self.generation += 1;
        let host = self.works.start(name, self.generation, true).await?;
        host.watch(self.works.sink.clone());
        self.destination = Some(host);
        Ok(())
    }

    /// The host the guest runs on; None after a failed [`Lab::flip`].
    #[must_use]
    pub fn source(&self) -> Option<&HostInfo> {
        self.source.as_ref().map(|h| &h.info)
    }

    /// The host that awaits a migration; None if a fresh one could not be started.
    #[must_use]
    pub fn destination(&self) -> Option<&HostInfo> {
        self.destination.as_ref().map(|h| &h.info)
    }

    /// To be called after a completed migration, once nobody uses the old source's QMP sockets any
    /// more: the destination becomes the source, the old source ends, and a fresh host takes its
    /// name and waits for the next migration.
    ///
    /// # Errors
    /// The fresh host cannot be started: the guest runs on, and [`Lab::replace_destination`] tries
    /// again. Without a destination nothing is changed.
    pub async fn flip(&mut self) -> Result<(), LabError> {
        let Some(new) = self.destination.take() else {
            return Err(LabError::Other("there is no destination that the guest could have moved to".into()));
        };
        let old = self.source.replace(new);
        self.renew(old, "b").await
    }

    /// To be called after a failed or cancelled migration: a fresh host takes the destination's
    /// place; the guest stays where it is.
    ///
    /// # Errors
    /// The fresh host cannot be started; calling this again tries again.
    pub async fn replace_destination(&mut self) -> Result<(), LabError> {
        let old = self.destination.take();
        self.renew(old, "b").await
    }

    async fn renew(&mut self, old: Option<Host>, otherwise: &str) -> Result<(), LabError> {
        let source = self.source().map(|s| s.name.clone());
        let name = match (&old, source.as_deref()) {
            (Some(old), _) => old.info.name.clone(),
            (None, Some("b")) => "a".into(),
            (None, _) => otherwise.to_owned(),
        };
        if let Some(old) = old {
            old.end().await;
        }
        step(&self.works.sink, format!("starting host {name} afresh, awaiting a migration"));
        self.fresh_destination(&name).await
    }

    /// The guest's IPv4 address, the same on either host.
    #[must_use]
    pub fn guest_addr(&self) -> IpAddr {
        self.network.guest.v4.into()
    }

    /// The guest's IPv6 address; None where the host has no IPv6.
    #[must_use]
    pub fn guest_addr6(&self) -> Option<IpAddr> {
        self.network.guest.v6.map(IpAddr::V6)
    }

    /// Where the agent listens.
    #[must_use]
    pub fn agent_addr(&self) -> SocketAddr {
        SocketAddr::new(self.guest_addr(), self.agent.port)
    }

    /// The key shared with the agent.
    #[must_use]
    pub fn psk(&self) -> Psk {
        self.agent.psk.clone()
    }

    /// What runs the guest.
    #[must_use]
    pub fn accelerator(&self) -> Accel {
        self.works.machine.accel
    }

    /// The guest's kernel.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// What QEMU says of its version.
    #[must_use]
    pub fn qemu_version(&self) -> &str {
        &self.qemu_version
    }

    /// A command that runs a shell in the lab's network, from another terminal.
    #[must_use]
    pub fn enter_command(&self) -> &str {
        &self.network.enter
    }

    /// Ends both hosts and removes the lab's files.
    pub async fn stop(mut self) {
        step(&self.works.sink, "stopping the lab");
        let end = |host: Option<Host>| async move {
            if let Some(host) = host {
                host.end().await;
            }
        };
        tokio::join!(end(self.source.take()), end(self.destination.take()));
    }
}
