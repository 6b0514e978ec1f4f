//! What each product does between rounds, a small strategy each, with its constants and where they
//! are known from.

mod cloud_hypervisor;
mod explain;
mod hyper_v;
mod qemu;
mod vmware;
mod xen_3_4;
mod xen_4_6;

use std::time::Duration;

pub use explain::{Constant, Known, constants, explain};

use super::scenario::{Product, Scenario};
use super::trace::Why;
use super::writer::MADE_UP_NS;
use crate::event::MigrationSettings;
use crate::event::policy::{XEN_3_4_RAM_FACTOR, XEN_3_4_ROUNDS};

/// How pages that were never touched are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untouched {
    /// Like any other.
    InFull,
    /// As a mark of so many bytes.
    Mark(u64),
    /// Not at all.
    Not,
}

/// How the guest is throttled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Throttle {
    /// Not at all.
    None,
    /// Its CPUs get this share of the time taken away, evenly, %.
    Even(f64),
    /// Its CPUs sleep in turns with running for 10 ms, so that this share of the time is slept, %.
    Sleeps(f64),
}

impl Throttle {
    /// The share of the time taken away, %.
    pub(super) fn pct(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Even(pct) | Self::Sleeps(pct) => pct,
        }
    }

    /// What is left of the generator's RATE.
    ///
    /// The generator keeps an absolute schedule and makes up for what it is late, up to 20 ms or one
    /// PERIOD if that is longer ([`crate::load`]); sleeps no longer than that do not slow it down at all.
    pub(super) fn share(self, period_ns: u64) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Even(pct) => 1.0 - pct / 100.0,
            Self::Sleeps(pct) => {
                let slept_ms = qemu::THROTTLE_SLICE_MS * pct / (100.0 - pct);
                if slept_ms * 1e6 <= MADE_UP_NS.max(period_ns) as f64 { 1.0 } else { 1.0 - pct / 100.0 }
            }
        }
    }
}

/// What a rule knows when a round is over and the log has been read.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// The round that is over, from 1.
    pub(super) round: u64,
    /// Since the migration began, ns.
    pub(super) now_ns: u64,
    /// How long the round took, ns.
    pub(super) round_ns: u64,
    /// What it sent, pages.
    pub(super) sent_pages: u64,
    /// What it sent, bytes.
    pub(super) sent_bytes: u64,
    /// What it left out, pages.
    pub(super) skipped_pages: u64,
    /// Sent in all rounds, pages.
    pub(super) total_sent_pages: u64,
    /// Newly found dirty, pages.
    pub(super) dirtied_pages: u64,
    /// To be sent now, pages.
    pub(super) pending_pages: u64,
    /// To be sent now, bytes.
    pub(super) pending_bytes: u64,
    /// VMSIZE, pages.
    pub(super) ram_pages: u64,
    /// What the link carries, bytes/s.
    pub(super) bytes_per_s: f64,
    /// What is asked for.
    pub(super) settings: &'a MigrationSettings,
}

impl Facts<'_> {
    /// How long what is pending takes to be sent.
    fn pending_s(&self) -> f64 {
        self.pending_bytes as f64 / self.bytes_per_s
    }

    /// Sent to dirtied in the round that is over, %.
    fn transmit_to_dirty_pct(&self) -> f64 {
        100.0 * self.sent_pages as f64 / self.dirtied_pages.max(1) as f64
    }

    fn converged(&self) -> Next {
        Next::Stop(Why::Converged { pages: self.pending_pages })
    }
}

/// What comes after a round.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Another one.
    Round,
    /// Another one, which is the last.
    LastRound(Why),
    /// The guest is stopped.
    Stop(Why),
    /// The migration is given up.
    Cancel,
}

/// A round may be cut short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cut {
    /// When less than this is left, bytes.
    pub(super) below_bytes: u64,
    /// How often that is looked at.
    pub(super) every: Duration,
}

/// A product's strategy.
pub(super) trait Rule {
    fn untouched(&self) -> Untouched {
        Untouched::InFull
    }

    /// Pages a batch has, where each batch looks at the log before it is sent and leaves out what is
    /// dirty again.
    fn skips_in_batches_of(&self) -> Option<u64> {
        None
    }

    /// Whether what is left is counted in whole pages, also those of which only a mark is sent.
    fn counts_whole_pages(&self) -> bool {
        false
    }

    /// Whether a round is cut short, and what it left is taken over into the next.
    fn cut(&self, _bytes_per_s: f64, _settings: &MigrationSettings) -> Option<Cut> {
        None
    }

    /// Whether each reading of the log is counted as a round, also the one after which the guest is
    /// stopped.
    fn reading_the_log_is_a_round(&self) -> bool {
        false
    }

    /// How often a bandwidth limit is accounted for: what may be sent in that time goes in one burst.
    fn bursts_every(&self) -> Option<Duration> {
        None
    }

    /// A log that has not been read for so long is read in the middle of a round.
    fn reads_the_log_every(&self) -> Option<Duration> {
        None
    }

    /// Whether the last of it goes as fast as the link can, whatever the setting.
    fn lifts_the_limit_at_the_end(&self) -> bool {
        false
    }

    /// What the link may carry now, of what is set, bytes/s.
    fn bytes_per_s(&self, set: f64) -> f64 {
        set
    }

    /// Begins to throttle the guest where that is offered.
    fn throttle_from_now(&mut self) {}

    fn throttle(&self) -> Throttle {
        Throttle::None
    }

    fn after_round(&mut self, facts: &Facts) -> Next;
}

/// The strategy of the scenario's product.
pub(super) fn rule(scenario: &Scenario) -> Box<dyn Rule> {
    match scenario.product {
        Product::Xen34 => Box::new(xen_3_4::Xen34::new(&scenario.settings)),
        Product::Xen46 => Box::new(xen_4_6::Xen46),
        Product::Qemu => Box::new(qemu::Qemu::new(&scenario.settings)),
        Product::Vmware40 => Box::new(vmware::Vmware::esx_4_0()),
        Product::Vmware5 => Box::new(vmware::Vmware::with_sdps()),
        Product::HyperV => Box::new(hyper_v::HyperV),
        Product::CloudHypervisor => Box::new(cloud_hypervisor::CloudHypervisor),
    }
}

/// What a bandwidth limit lets through, bytes/s, where a page costs `page_bytes` with its header.
pub(super) fn lets_through(product: Product, limit_bytes_per_s: f64, page_bytes: u64) -> f64 {
    match product {
        Product::Qemu => qemu::lets_through(limit_bytes_per_s, page_bytes),
        _ => limit_bytes_per_s,
    }
}

/// The bandwidth limit that holds where none is set, bytes/s.
#[must_use]
pub fn limit_unless_set(product: Product) -> Option<u64> {
    (product == Product::Qemu).then_some(qemu::MAX_BANDWIDTH)
}

/// Whether the product, when somebody else stops the guest, goes on with rounds at the limited speed until
/// what is left suits it; else it looks at its log at once and sends all there is.
#[must_use]
pub fn finishes_in_rounds(product: Product) -> bool {
    product == Product::Qemu
}

/// Whether the product can run the guest at the destination before its memory is there.
#[must_use]
pub fn has_post_copy(product: Product) -> bool {
    // Cloud Hypervisor's `memory_mode: postcopy` is newer than the rule modelled here.
    product == Product::Qemu
}

/// Whether the product leaves out pages the guest has never touched.
#[must_use]
pub fn sends_touched_pages_only(product: Product) -> bool {
    matches!(product, Product::Vmware40 | Product::Vmware5)
}

/// Whether the product slows the guest down by itself where pre-copy makes too little progress.
#[must_use]
pub fn slows_the_guest_down(product: Product) -> bool {
    product == Product::Vmware5
}

/// Whether the product can be told to throttle the guest.
#[must_use]
pub fn has_auto_converge(product: Product) -> bool {
    product == Product::Qemu
}

/// The product's own rule that ends a pre-copy which does not converge, in words; None where it has
/// none.
#[must_use]
pub fn own_rule(product: Product) -> Option<String> {
    match product {
        Product::Xen34 => Some(format!("{XEN_3_4_ROUNDS} rounds or {XEN_3_4_RAM_FACTOR} x RAM sent")),
        Product::Xen46 => Some(format!("{} rounds", xen_4_6::ROUNDS)),
        Product::Vmware40 => {
            Some(format!("a round that sends less than {} % of what is dirtied", vmware::MIN_PROGRESS_PCT))
        }
        Product::HyperV => Some(format!("{} passes", hyper_v::PASSES)),
        Product::Vmware5 => Some("Stun During Page Send: the guest is slowed down until it converges".to_owned()),
        Product::Qemu | Product::CloudHypervisor => None,
    }
}
