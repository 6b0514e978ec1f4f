//! What the simulated guest is made of.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::event::LoadSettings;
use crate::load::limits::default_reserve;
use crate::load::wset_limit;
use crate::model::{Guest, Link, Product, Scenario, ScenarioError};

/// The guest's address, of those kept for documents (RFC 5737): no packet ever goes there.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
/// What the guest says its kernel is.
pub const KERNEL: &str = "simulated";

/// What the guest is made of, and how it is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestOptions {
    /// VMSIZE, bytes.
    pub ram_bytes: u64,
    /// What it uses itself, besides the WSET, bytes.
    pub used_bytes: u64,
    /// Its CPUs.
    pub cpus: u32,
    /// Distance of the probes.
    pub ping_interval: Duration,
    /// A probe unanswered for so long is lost.
    pub ping_deadline: Duration,
    /// Seed of all jitter and noise.
    pub seed: u64,
}

impl GuestOptions {
    /// The largest WSET its agent takes, bytes.
    #[must_use]
    pub fn wset_limit_bytes(&self) -> u64 {
        wset_limit(self.ram_bytes.saturating_sub(self.used_bytes), Some(default_reserve(self.ram_bytes)))
    }

    /// The guest's memory with these generators.
    #[must_use]
    pub fn memory(&self, load: &LoadSettings) -> Guest {
        Guest::with_load(self.ram_bytes, self.used_bytes, load)
    }

    /// Whether such a guest can be and can have this load.
    ///
    /// # Errors
    /// The first quantity that is impossible, and why.
    pub fn check(&self, load: &LoadSettings) -> Result<(), ScenarioError> {
        let product = Product::Qemu;
        Scenario {
            product,
            guest: self.memory(load),
            link: Link { bytes_per_s: 1e9, of_limit: 1.0 },
            costs: product.costs(),
            settings: Default::default(),
            horizon: Duration::from_secs(1),
            seed: self.seed,
        }
        .check()
    }
}
