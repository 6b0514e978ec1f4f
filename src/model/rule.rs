//! What a product does between rounds: a strategy, and what it is told.

use std::time::Duration;

use super::trace::Why;
use super::writer::MADE_UP_NS;
use crate::event::MigrationSettings;

/// How pages that were never touched are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untouched {
    /// Like any other.
    InFull,
    /// As a mark of so many bytes.
    Mark(u64),
    /// Not at all.
    Not,
}

/// How the guest is throttled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Throttle {
    /// Not at all.
    None,
    /// Its CPUs get this share of the time taken away, evenly, %.
    Even(f64),
    /// Its CPUs sleep in turns with running for `slice_ms`, so that this share of the time is slept, %.
    Sleeps { pct: f64, slice_ms: f64 },
}

impl Throttle {
    /// The share of the time taken away, %.
    pub(super) fn pct(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Even(pct) | Self::Sleeps { pct, .. } => pct,
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
            Self::Sleeps { pct, slice_ms } => {
                let slept_ms = slice_ms * pct / (100.0 - pct);
                if slept_ms * 1e6 <= MADE_UP_NS.max(period_ns) as f64 { 1.0 } else { 1.0 - pct / 100.0 }
            }
        }
    }
}

/// What a rule knows when a round is over and the log has been read.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The round that is over, from 1.
    pub(crate) round: u64,
    /// Since the migration began, ns.
    pub(crate) now_ns: u64,
    /// How long the round took, ns.
    pub(crate) round_ns: u64,
    /// What it sent, pages.
    pub(crate) sent_pages: u64,
    /// What it sent, bytes.
    pub(crate) sent_bytes: u64,
    /// What it left out, pages.
    pub(crate) skipped_pages: u64,
    /// Sent in all rounds, pages.
    pub(crate) total_sent_pages: u64,
    /// Newly found dirty, pages.
    pub(crate) dirtied_pages: u64,
    /// To be sent now, pages.
    pub(crate) pending_pages: u64,
    /// To be sent now, bytes.
    pub(crate) pending_bytes: u64,
    /// VMSIZE, pages.
    pub(crate) ram_pages: u64,
    /// What the link carries, bytes/s.
    pub(crate) bytes_per_s: f64,
    /// What is asked for.
    pub(crate) settings: &'a MigrationSettings,
}

impl Facts<'_> {
    /// How long what is pending takes to be sent.
    pub(super) fn pending_s(&self) -> f64 {
        self.pending_bytes as f64 / self.bytes_per_s
    }

    /// Sent to dirtied in the round that is over, %.
    pub(super) fn transmit_to_dirty_pct(&self) -> f64 {
        100.0 * self.sent_pages as f64 / self.dirtied_pages.max(1) as f64
    }

    pub(super) fn converged(&self) -> Next {
        Next::Stop(Why::Converged { pages: self.pending_pages })
    }
}

/// What comes after a round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
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
pub(crate) struct Cut {
    /// When less than this is left, bytes.
    pub(crate) below_bytes: u64,
    /// How often that is looked at.
    pub(crate) every: Duration,
}

/// A product's strategy.
pub(crate) trait Rule {
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
