//! A lab: two QEMU hosts on this machine, and a guest that moves between them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::agent::client::{Client, ClientOptions, Transport};
use crate::event::{EventSink, LoadSettings, MigrationSettings, StopPolicy};
use crate::lab::doctor::{Part, Status, examine};
use crate::lab::kernel::{Places, find};
use crate::lab::{AccelChoice, AgentConfig, Lab, LabHypervisor, LabOptions, Network};
use crate::load::limits::default_reserve;
use crate::target::field::Field;
use crate::target::opened::Opened;
use crate::target::probing::{Probes, Probing};
use crate::target::product::{Finding, Kind, Known, Outlook, Product, Usual};
use crate::target::values::{Fault, Values};
use crate::units::{parse_bytes, show_bytes};

/// How long the agent may take to answer once the guest is up.
const AGENT_WITHIN: Duration = Duration::from_secs(60);
/// What the lab's hypervisors may send where it is not told, bytes/s.
const BANDWIDTH: u64 = 32_000_000;
/// The downtime limit where it is not told, ms.
const DOWNTIME_LIMIT_MS: u64 = 300;

const MIB: u64 = 1 << 20;

const MEMORY: Field = Field::new("memory", "SIZE", "The guest's RAM", "512M")
    .or("256M")
    .checked(|t| parse_bytes(t).map(drop).map_err(said));
const CPUS: Field = Field::new("cpus", "N", "The guest's CPUs", "2").or("1").checked(|t| parse_cpus(t).map(drop));
const KERNEL: Field =
    Field::new("kernel", "FILE", "Kernel for the guest [default: the best of this machine's]", "/boot/vmlinuz");
const ACCEL: Field = Field::new(
    "accel",
    "ACCEL",
    "auto, kvm or tcg; auto tries KVM and falls back to TCG, and remembers what worked",
    "kvm",
)
.or("auto")
.checked(|t| t.parse::<AccelChoice>().map(drop));

/// The product.
pub(crate) const KIND: Kind = Kind {
    name: "lab",
    what: "two QEMU hosts on this machine, started for it",
    fields: &[MEMORY, CPUS, KERNEL, ACCEL],
    guest: false,
    read: |values| Ok(Box::new(OwnLab::read(values)?)),
};

fn said(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// A number of CPUs.
pub(crate) fn parse_cpus(text: &str) -> Result<u32, String> {
    let cpus = text.parse().ok().filter(|n| (1..=64).contains(n));
    cpus.ok_or_else(|| format!("invalid number of CPUs '{text}': expected 1 to 64"))
}

struct OwnLab {
    memory_bytes: u64,
    cpus: u32,
    kernel: Option<PathBuf>,
    accel: AccelChoice,
    /// The kernel that was found, and the network that was made.
    begun: Option<(PathBuf, Network)>,
}

impl OwnLab {
    fn read(values: &Values) -> Result<Self, Fault> {
        Ok(Self {
            memory_bytes: values.read(&MEMORY, parse_bytes)?.unwrap_or(256 * MIB),
            cpus: values.read(&CPUS, parse_cpus)?.unwrap_or(1),
            kernel: values.text(&KERNEL).map(PathBuf::from),
            accel: values.read(&ACCEL, str::parse)?.unwrap_or_default(),
            begun: None,
        })
    }

    fn options(&self) -> LabOptions {
        LabOptions {
            memory_bytes: self.memory_bytes,
            cpus: self.cpus,
            kernel: self.kernel.clone(),
            accel: self.accel,
            agent: AgentConfig::default(),
            ..LabOptions::default()
        }
    }
}

#[async_trait]
impl Product for OwnLab {
    fn header(&self) -> Value {
        json!({
            "memory_bytes": self.memory_bytes,
            "cpus": self.cpus,
            "kernel": self.begun.as_ref().map(|(kernel, _)| kernel).or(self.kernel.as_ref()),
            "accel": self.accel,
        })
    }

    fn usual(&self) -> Usual {
        Usual {
            bandwidth_bytes_per_s: Some(BANDWIDTH),
            downtime_limit_ms: Some(DOWNTIME_LIMIT_MS),
            policy: StopPolicy::xen_3_4(),
            ..Usual::default()
        }
    }

    fn outlook(&self) -> Outlook {
        Outlook::Lab { memory_bytes: self.memory_bytes }
    }

    fn has_agent(&self) -> bool {
        true
    }

    fn knows_guest(&self) -> bool {
        true
    }

    fn check(&self, load: &LoadSettings, _migration: &MigrationSettings, _probing: &Probing) -> Result<()> {
        check_wset(load.wset_bytes, self.memory_bytes)
    }

    /// Moves the process into a network namespace of its own.
    fn begin(&mut self) -> Result<Known> {
        // What would fail later is told before anything is started.
        let kernel = find(self.kernel.as_deref(), &Places::default())?;
        let network = crate::lab::enter()?;
        self.begun = Some((kernel.path, network));
        Ok(Known {
            hypervisor: crate::lab::qemu::version(&self.options().qemu).ok(),
            guest_kernel: Some(kernel.release),
        })
    }

    async fn open(self: Box<Self>, probing: &Probing, sink: &EventSink) -> Result<Opened> {
        let options = self.options();
        let (_, network) = self.begun.context("the lab's network was not made")?;
        let lab = Lab::start(&network, options, sink.clone()).await?;
        let mut probes = Probes::start(probing, Some(SocketAddr::new(lab.guest_addr(), 0)), sink)?;
        let transport = Transport::Tcp { addr: lab.agent_addr().to_string(), psk: lab.psk() };
        let agent = Client::connect(transport, ClientOptions::default(), sink.clone())?;
        agent.connected(AGENT_WITHIN).await.context("the agent in the guest does not answer")?;
        probes.start_with_agent(probing, agent.echo_target(), sink)?;
        let hypervisor = Arc::new(LabHypervisor::new(lab, sink.clone()).await?);
        Ok(Opened { hypervisor: Some(hypervisor), agent: Some(Box::new(agent)), probe: probes.ending() })
    }

    fn may_be_opened(&self) -> bool {
        false
    }

    /// What a lab needs here: see `blackout doctor`.
    fn look(&self) -> Vec<Finding> {
        let checks = examine(self.memory_bytes).into_iter().filter(|check| check.part == Part::Lab);
        let finding = |check: crate::lab::doctor::Check| {
            let found = check.found.replace('\n', " ");
            let mend = check.mend.map(|mend| format!("; {mend}")).unwrap_or_default();
            (check.name.into(), if check.status == Status::Miss { Err(format!("{found}{mend}")) } else { Ok(found) })
        };
        checks.map(finding).collect()
    }
}

/// The largest WSET that a guest of so much memory can possibly hold: without its kernel, the lab's
/// initramfs and the agent's reserve. Bytes. Measured on Linux 6.1 with 192 MiB to 1 GiB, where the
/// agent's own limit was 0.3 to 12 % below it.
fn wset_at_most(memory_bytes: u64) -> u64 {
    let free = (memory_bytes - memory_bytes / 64).saturating_sub(68 * MIB);
    free.saturating_sub(default_reserve(memory_bytes))
}

/// The largest WSET that such a guest is sure to hold, bytes.
fn wset_surely(memory_bytes: u64) -> u64 {
    let most = wset_at_most(memory_bytes);
    (most - most / 8) / (8 * MIB) * (8 * MIB)
}

/// A WSET that cannot fit is refused before anything is booted for it; one that perhaps does is left
/// to the agent, who knows to the page.
fn check_wset(wset_bytes: u64, memory_bytes: u64) -> Result<()> {
    if wset_bytes <= wset_at_most(memory_bytes) {
        return Ok(());
    }
    let step = 64 * MIB;
    let fits = |memory: &u64| wset_surely(*memory) >= wset_bytes;
    let memory = (1..1 << 20).map(|n| n * step).find(fits);
    let larger = memory.map(|m| format!(", or --memory {}M", m / MIB)).unwrap_or_default();
    let smaller = match wset_surely(memory_bytes) / MIB {
        0 => "no --wset at all".to_owned(),
        mib => format!("--wset {mib}M"),
    };
    bail!(
        "a guest with {} of memory cannot hold a WSET of {}: its kernel, its initramfs and the agent's reserve need \
         the rest; give {smaller}{larger}",
        show_bytes(memory_bytes),
        show_bytes(wset_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wset_that_cannot_fit_is_refused_with_one_that_does() {
        // (memory, the limit an agent there gave), bytes.
        let measured = [
            (192, 91_291_648),
            (256, 157_282_304),
            (256, 158_781_440),
            (384, 283_463_680),
            (512, 400_257_024),
            (1024, 787_668_992),
        ];
        for (mib, limit) in measured {
            assert!(wset_at_most(mib * MIB) >= limit, "{mib} MiB: what fits is not refused");
            assert!(wset_surely(mib * MIB) <= limit, "{mib} MiB: what is proposed fits");
        }
        assert!(check_wset(96 * MIB, 256 * MIB).is_ok());
        let e = check_wset(200 * MIB, 256 * MIB).unwrap_err().to_string();
        assert!(e.contains("--wset 128M, or --memory 384M"), "{e}");
        let e = check_wset(MIB, 64 * MIB).unwrap_err().to_string();
        assert!(e.contains("no --wset at all"), "{e}");
    }
}
