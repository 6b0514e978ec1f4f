//! A simulated guest and a simulated hypervisor.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::lab::parse_cpus;
use crate::demo::hypervisor::{ModelOptions, SimulatedHypervisor, offers, refused, version};
use crate::demo::{GuestOptions, KERNEL, SimulatedGuest};
use crate::event::{Body, DirtyCycle, EventSink, Fact, LoadSettings, MigrationSettings, SessionEvent, StopPolicy};
use crate::model::{Link, Product as Simulated};
use crate::target::field::Field;
use crate::target::opened::Opened;
use crate::target::probing::Probing;
use crate::target::product::{Finding, Kind, Known, Outlook, Product, Usual};
use crate::target::values::{Fault, Values};
use crate::units::{PAGE_BYTES, ParseError, parse_bandwidth, parse_bytes, show_bytes};

const MIB: u64 = 1 << 20;

/// A share of the guest's memory that its kernel and programs use, and that the WSET has at first.
const SHARE: u64 = 4;
/// The WSET at first, at most: a quarter of 2 GiB. Above the jump it is the blackout, some 4.6 s over
/// a gigabit link: long enough to be seen, short enough to be waited for.
const WSET: u64 = 512 * MIB;
/// What a guest uses itself, at most.
const USED: u64 = 512 * MIB;
/// RATE at first: a third of a gigabit link, so that rounds can be seen to shrink.
const RATE: f64 = 10_000.0;
/// The downtime limit where it is not told, ms.
const DOWNTIME_LIMIT_MS: u64 = 300;

const HYPERVISOR: Field = Field::new(
    "hypervisor",
    "PRODUCT",
    "Whose rules: qemu, xen-3.4, xen-4.6, vmware-4.0, vmware-5, hyper-v, cloud-hypervisor",
    "xen-3.4",
)
.or("qemu")
.checked(|t| parse_product(t).map(drop));
const MEMORY: Field = Field::new(
    "memory",
    "SIZE",
    "The guest's RAM (VMSIZE); at 2G the first round takes some 18 s over a gigabit link",
    "1G",
)
.or("2G")
.checked(|t| parse_bytes(t).map(drop).map_err(|e| e.to_string()));
const CPUS: Field = Field::new("cpus", "N", "The guest's CPUs", "4").or("2").checked(|t| parse_cpus(t).map(drop));
const LINK: Field = Field::new(
    "link",
    "RATE",
    "The link between the hosts: bits (941Mbit is gigabit Ethernet without its headers) or bytes a second",
    "10Gbit",
)
.or("941Mbit")
.checked(|t| parse_link(t).map(drop).map_err(|e| e.to_string()));
const SPEED: Field =
    Field::new("speed", "X", "How many times as fast as real time, 0.1 to 1000 [default: 1; 4 with --tour]", "10")
        .checked(|t| parse_speed(t).map(drop));
const SEED: Field =
    Field::new("seed", "N", "Seed of all jitter and of random patterns [default: another each time]", "7")
        .checked(|t| parse_seed(t).map(drop));

/// The product.
pub(crate) const KIND: Kind = Kind {
    name: "demo",
    what: "a SIMULATED guest and hypervisor",
    fields: &[HYPERVISOR, MEMORY, CPUS, LINK, SPEED, SEED],
    guest: false,
    read: |values| Ok(Box::new(Demo::read(values)?)),
};

/// Reads the name of a simulated hypervisor.
pub(crate) fn parse_product(text: &str) -> Result<Simulated, String> {
    Simulated::named(text).ok_or_else(|| {
        let names: Vec<&str> = Simulated::ALL.iter().map(|p| p.name()).collect();
        let near = crate::text::nearest(text, names.iter().copied());
        let near = near.map(|n| format!(", did you mean '{n}'?")).unwrap_or_default();
        format!("unknown hypervisor '{text}'{near}; expected one of {}", names.join(", "))
    })
}

/// Reads a link: `941Mbit`, `10Gbit`, or bytes/s as every bandwidth.
fn parse_link(text: &str) -> Result<u64, ParseError> {
    let trimmed = text.trim();
    let lower = trimmed.to_ascii_lowercase();
    let bits = lower.strip_suffix("bit/s").or_else(|| lower.strip_suffix("bit"));
    match bits {
        // Whatever is wrong with it is said of what was written.
        Some(bits) => parse_bandwidth(&bits.to_ascii_uppercase()).map(|bits| bits / 8).map_err(|e| ParseError {
            text: text.into(),
            hint: "write for instance 941Mbit, 10Gbit or 125MB/s",
            ..e
        }),
        None => parse_bandwidth(text),
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.trim().trim_end_matches(['x', 'X']).parse::<f64>().ok();
    speed
        .filter(|s| (0.1..=1000.0).contains(s))
        .ok_or_else(|| format!("invalid speed '{text}': expected a number from 0.1 to 1000, for instance 10"))
}

fn parse_seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("invalid seed '{text}': expected a whole number, for instance 7"))
}

/// What is simulated.
#[derive(Debug, Clone)]
pub(crate) struct Demo {
    /// Whose rules.
    pub(crate) hypervisor: Simulated,
    memory_bytes: u64,
    cpus: u32,
    link_bytes_per_s: u64,
    speed: Option<f64>,
    seed: u64,
}

impl Demo {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with a field.
    pub(crate) fn read(values: &Values) -> Result<Self, Fault> {
        Ok(Self {
            hypervisor: values.read(&HYPERVISOR, parse_product)?.unwrap_or(Simulated::Qemu),
            memory_bytes: values.read(&MEMORY, parse_bytes)?.unwrap_or(2048 * MIB),
            cpus: values.read(&CPUS, parse_cpus)?.unwrap_or(2),
            link_bytes_per_s: values.read(&LINK, parse_link)?.unwrap_or(117_625_000),
            speed: values.read(&SPEED, parse_speed)?,
            seed: values.read(&SEED, parse_seed)?.unwrap_or_else(rand::random),
        })
    }

    /// The guest.
    pub(crate) fn guest(&self, probing: &Probing) -> GuestOptions {
        GuestOptions {
            ram_bytes: self.memory_bytes,
            used_bytes: (self.memory_bytes / SHARE).min(USED),
            cpus: self.cpus,
            ping_interval: probing.ping().interval,
            ping_deadline: probing.ping().deadline,
            seed: self.seed,
        }
    }

    /// The hypervisor.
    pub(crate) fn model(&self) -> ModelOptions {
        ModelOptions {
            product: self.hypervisor,
            link: Link { bytes_per_s: self.link_bytes_per_s as f64, of_limit: 1.0 },
            costs: self.hypervisor.costs(),
            seed: self.seed,
        }
    }
}

#[async_trait]
impl Product for Demo {
    fn header(&self) -> Value {
        json!({
            "hypervisor": self.hypervisor.name(),
            "memory_bytes": self.memory_bytes,
            "cpus": self.cpus,
            "link_bytes_per_s": self.link_bytes_per_s,
        })
    }

    /// All of the link, and no stop policy where the product has a rule of its own.
    fn usual(&self) -> Usual {
        let period_ns = LoadSettings::default().dirty.period_ns;
        let bpc_pages = (RATE * period_ns as f64 / 1e9) as u64;
        let wset_bytes = (self.memory_bytes / SHARE).min(WSET) / PAGE_BYTES * PAGE_BYTES;
        Usual {
            bandwidth_bytes_per_s: Some(self.link_bytes_per_s),
            downtime_limit_ms: Some(DOWNTIME_LIMIT_MS),
            policy: if self.hypervisor.about().own_rule().is_some() {
                StopPolicy::none()
            } else {
                StopPolicy::xen_3_4()
            },
            load: LoadSettings { wset_bytes, dirty: DirtyCycle { bpc_pages, period_ns }, ..LoadSettings::default() },
        }
    }

    fn outlook(&self) -> Outlook {
        Outlook::Simulated {
            product: self.hypervisor,
            ram_bytes: self.memory_bytes,
            used_bytes: (self.memory_bytes / SHARE).min(USED),
            link: self.model().link,
        }
    }

    fn simulation(&self) -> Option<(Option<f64>, u64)> {
        Some((self.speed, self.seed))
    }

    fn has_agent(&self) -> bool {
        true
    }

    fn check(&self, load: &LoadSettings, migration: &MigrationSettings, probing: &Probing) -> Result<()> {
        if probing.further() > 0 {
            bail!(
                "the demo takes no --probe: its guest is simulated, and no packet ever goes there; 'blackout watch' and \
                 'blackout lab' do"
            );
        }
        let (guest, model) = (self.guest(probing), self.model());
        model.scenario(guest.memory(load), migration).check()?;
        if load.wset_bytes > guest.wset_limit_bytes() {
            bail!(
                "a WSET of {} leaves a guest of {} no reserve: its agent takes at most {}",
                show_bytes(load.wset_bytes),
                show_bytes(guest.ram_bytes),
                show_bytes(guest.wset_limit_bytes())
            );
        }
        if let Some(why) = offers(model.product, model.link, migration).unfit(&migration.policy) {
            bail!(why);
        }
        match refused(model.product, "a", migration, None).into_iter().next() {
            Some(e) => Err(e.into()),
            None => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<Known> {
        Ok(Known { hypervisor: Some(version(self.hypervisor)), guest_kernel: Some(KERNEL.into()) })
    }

    async fn open(self: Box<Self>, probing: &Probing, sink: &EventSink) -> Result<Opened> {
        let fact = Fact::Accelerator("no accelerator".to_owned());
        sink.emit(Body::Session(SessionEvent::Learned(fact)));
        let guest = SimulatedGuest::start(self.guest(probing), sink.clone())
            .context("the simulated guest cannot be started")?;
        let hypervisor = SimulatedHypervisor::new(self.model(), Arc::new(guest.clone()), sink.clone());
        let probed = guest.clone();
        Ok(Opened {
            hypervisor: Some(Arc::new(hypervisor)),
            agent: Some(Box::new(guest)),
            probe: Some(Box::new(move || probed.end())),
        })
    }

    fn may_be_opened(&self) -> bool {
        false
    }

    fn look(&self) -> Vec<Finding> {
        vec![("simulated".into(), Ok(format!("{}: always there", version(self.hypervisor))))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_in_bits_and_in_bytes() {
        assert_eq!(parse_link("941Mbit"), Ok(117_625_000));
        assert_eq!(parse_link("10Gbit/s"), Ok(1_250_000_000));
        assert_eq!(parse_link("125MB/s"), Ok(125_000_000));
        assert_eq!(parse_link("0"), Ok(0));
        for text in ["-1Mbit", "Mbit", "fast"] {
            let e = parse_link(text).unwrap_err().to_string();
            assert!(e.contains(&format!("'{text}'")), "{e}");
        }
    }

    #[test]
    fn speeds_and_products_are_checked() {
        assert_eq!(parse_speed("200x"), Ok(200.0));
        for text in ["0", "-3", "NaN", "1001", "quick"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
        assert_eq!(parse_product("qemu"), Ok(Simulated::Qemu));
        assert!(parse_product("xen-3.5").unwrap_err().contains("did you mean 'xen-3.4'?"));
    }
}
