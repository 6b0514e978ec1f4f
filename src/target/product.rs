//! What every product does for a target of it.

use anyhow::Result;
use async_trait::async_trait;
use serde_json::Value;

use super::field::Field;
use super::opened::Opened;
use super::probing::Probing;
use super::values::{Fault, Values};
use crate::event::{EventSink, LoadSettings, MigrationSettings, StopPolicy};
use crate::model;

/// A product, and how a target of it is described.
pub(crate) struct Kind {
    /// Its name in `product = "…"`.
    pub(crate) name: &'static str,
    /// What such a target is, in a line.
    pub(crate) what: &'static str,
    /// Its own fields.
    pub(crate) fields: &'static [Field],
    /// Whether its guest is somebody else's, so that there may be an agent and an address to ping.
    pub(crate) guest: bool,
    /// Makes a target of what was given; all of it has been checked against the fields.
    pub(crate) read: fn(&Values) -> Result<Box<dyn Product>, Fault>,
}

/// What a migration is asked to be where nobody says otherwise; None: as the hypervisor has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Usual {
    /// What the hypervisor may send, bytes/s.
    pub(crate) bandwidth_bytes_per_s: Option<u64>,
    /// The downtime limit, ms.
    pub(crate) downtime_limit_ms: Option<u64>,
    /// The stop policy.
    pub(crate) policy: StopPolicy,
    /// The load that the guest has at first.
    pub(crate) load: LoadSettings,
}

impl Default for Usual {
    /// Nothing is asked of hosts that are not ours.
    fn default() -> Self {
        Self {
            bandwidth_bytes_per_s: None,
            downtime_limit_ms: None,
            policy: StopPolicy::none(),
            load: LoadSettings::default(),
        }
    }
}

/// What is known of the guest's memory and its way before anything was seen: what forecasts begin with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outlook {
    /// Nothing.
    Unknown,
    /// A lab's guest of so much memory, bytes.
    Lab {
        /// VMSIZE.
        memory_bytes: u64,
    },
    /// A simulated guest.
    Simulated {
        /// Whose rules.
        product: model::Product,
        /// VMSIZE, bytes.
        ram_bytes: u64,
        /// Used besides the WSET, bytes.
        used_bytes: u64,
        /// The link.
        link: model::Link,
    },
}

/// What is known once nothing stands against a target any more, before it is open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The hypervisor's version.
    pub(crate) hypervisor: Option<String>,
    /// The guest's kernel.
    pub(crate) guest_kernel: Option<String>,
}

/// What a look at a target has found: what was looked at, and what there is, or why not.
pub(crate) type Finding = (String, Result<String, String>);

/// A target of a product, as it is described; nothing is open.
#[async_trait]
pub(crate) trait Product: Send + Sync {
    /// Its description for the header of a capture. Never a secret.
    fn header(&self) -> Value;

    /// What a migration and a load are where nobody says otherwise.
    fn usual(&self) -> Usual {
        Usual::default()
    }

    /// What forecasts begin with.
    fn outlook(&self) -> Outlook {
        Outlook::Unknown
    }

    /// Where time is simulated: how many times as fast as real time it goes if that was said, and the seed.
    fn simulation(&self) -> Option<(Option<f64>, u64)> {
        None
    }

    /// Whether the guest comes with an agent.
    fn has_agent(&self) -> bool {
        false
    }

    /// Whether the address of the guest is its own to know, so that nobody needs to name it.
    fn knows_guest(&self) -> bool {
        false
    }

    /// How many migrations it is good for, where not for any number.
    fn migrations(&self) -> Option<u32> {
        None
    }

    /// Says what cannot be done with it, before anything is begun.
    ///
    /// # Errors
    /// What cannot be, and what could.
    fn check(&self, _load: &LoadSettings, _migration: &MigrationSettings, _probing: &Probing) -> Result<()> {
        Ok(())
    }

    /// Makes this process ready for it. To be called once, while it has one thread.
    ///
    /// # Errors
    /// What is missing.
    fn begin(&mut self) -> Result<Known> {
        Ok(Known::default())
    }

    /// Opens it.
    ///
    /// # Errors
    /// What cannot be reached or started.
    async fn open(self: Box<Self>, probing: &Probing, sink: &EventSink) -> Result<Opened>;

    /// Whether a look at it may open and close it. Where not, [`Product::look`] says what there is to be seen.
    fn may_be_opened(&self) -> bool {
        true
    }

    /// What can be seen of it without opening it.
    fn look(&self) -> Vec<Finding> {
        Vec::new()
    }
}
