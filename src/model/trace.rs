//! What came of a scenario.

use std::time::Duration;

use crate::event::StopRule;

/// One round of pre-copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Its number, from 1.
    pub number: u64,
    /// When it began, ns since the migration began.
    pub began_ns: u64,
    /// When it ended, ns since the migration began.
    pub ended_ns: u64,
    /// What it had to send, pages.
    pub to_send_pages: u64,
    /// What it sent, pages; pages of zeroes that only a mark is sent for are not among them.
    pub sent_pages: u64,
    /// What it left for the next because it was dirty again already, pages.
    pub skipped_pages: u64,
    /// What went over the link, bytes.
    pub sent_bytes: u64,
    /// How much the guest was throttled, %.
    pub throttle_pct: f64,
}

/// Why pre-copy ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// The product's own rule: what is left can be sent within the downtime it allows, or is next
    /// to nothing.
    Converged {
        /// What was left, pages.
        pages: u64,
    },
    /// The product's own rule gave up on convergence.
    Gave {
        /// The rule in words, with its figure: `29 rounds`.
        up: String,
    },
    /// A rule of ours from above, or the operator.
    Ruled(StopRule),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The guest runs at the destination.
    Done,
    /// It was given up; the guest stays at the source.
    Cancelled,
    /// It was still in pre-copy when the horizon was reached.
    Endless,
}

/// Post-copy's pull phase.
#[derive(Debug, Clone, PartialEq)]
pub struct Pull {
    /// Pages that were missing at the destination when the guest began to run there.
    pub missing_pages: u64,
    /// Pages the guest touched before they had come.
    pub faults: u64,
    /// How long the guest waited for them in all, ns.
    pub waited_ns: u64,
    /// When the last page had come, ns since the migration began.
    pub ended_ns: u64,
}

/// A migration as it went. All times in ns since the migration began.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// How it ended.
    pub end: End,
    /// Why pre-copy ended; None if it did not.
    pub why: Option<Why>,
    /// The rounds of pre-copy.
    pub rounds: Vec<Round>,
    /// What went over the link in all, bytes.
    pub sent_bytes: u64,
    /// What was left when the guest had been stopped, pages.
    pub left_pages: u64,
    /// When the guest was stopped at the source.
    pub stopped_ns: Option<u64>,
    /// When it ran at the destination.
    pub resumed_ns: Option<u64>,
    /// When it answered again (the network leads there).
    pub answering_ns: Option<u64>,
    /// When the source was no longer needed, or the migration was given up.
    pub finished_ns: u64,
    /// The pull phase, if there was one.
    pub pull: Option<Pull>,
}

impl Trace {
    /// Migration time: from its start until the source can be deactivated.
    #[must_use]
    pub fn migration_time(&self) -> Duration {
        Duration::from_nanos(self.finished_ns)
    }

    /// Downtime as a ping sees it: from the stop until the guest answers again.
    #[must_use]
    pub fn downtime(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.answering_ns? - self.stopped_ns?))
    }

    /// From the stop at the source until the guest runs at the destination.
    #[must_use]
    pub fn stop_resume(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.resumed_ns? - self.stopped_ns?))
    }

    /// Whether pre-copy came to its end by itself, with so little left as it was meant to.
    #[must_use]
    pub fn converged(&self) -> bool {
        matches!(self.why, Some(Why::Converged { .. }))
    }
}
