//! What was seen of a migration, out of which its downtime is estimated.

use crate::analysis::clock::Offset;
use crate::chunked::Chunked;
use crate::event::{ForeignTime, Nanos, Outcome, ProbeSpec};

/// The probe a downtime is measured with.
#[derive(Debug, Clone, Copy)]
pub struct ProbeSeen<'a> {
    /// Its schedule and limits.
    pub spec: &'a ProbeSpec,
    /// Outcomes in slot order.
    pub outcomes: &'a Chunked<Outcome>,
    /// When it stopped, if it did, ns.
    pub stopped: Option<Nanos>,
}

/// A stop or resume of the guest as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn<'a> {
    /// When we heard of it, ns of the session clock.
    pub t: Nanos,
    /// When it happened, by the hypervisor's own clock.
    pub at: Option<ForeignTime>,
    /// The host that told of it.
    pub host: &'a str,
    /// What is known of that clock's offset to ours at that time.
    pub offset: Option<Offset>,
}

/// The guest's stop and resume at the switch-over, and what else is known of its standing still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns<'a> {
    /// The guest stopped.
    pub stopped: Option<Turn<'a>>,
    /// The guest ran again.
    pub resumed: Option<Turn<'a>>,
    /// Both hosts are on one machine, or they are one: their stamps are of one clock.
    pub one_clock: bool,
    /// Stops before the switch-over after which it went on at the source: (stop, resume), ns of the
    /// session clock.
    pub earlier: &'a [(Nanos, Nanos)],
}

/// All that was seen of one migration.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Nothing disturbed the network between then and the beginning: when the result of the
    /// migration before was settled, else 0. Only probes sent since tell what the network is like.
    pub calm_since: Nanos,
    /// When the migrations before this one began and were settled, ns: what was lost in them is not the
    /// path's doing.
    pub disturbed: &'a [(Nanos, Nanos)],
    /// The migration began, ns.
    pub began: Nanos,
    /// Its result was settled (or, provisionally, the newest event), ns.
    pub until: Nanos,
    /// The probe to measure with, if there is one.
    pub probe: Option<ProbeSeen<'a>>,
    /// Heartbeats: (received ns of the session clock, sequence, guest ns).
    pub heartbeats: &'a Chunked<(Nanos, u64, u64)>,
    /// The guest's stop and resume.
    pub turns: Turns<'a>,
    /// A downtime the hypervisor claims and that cannot be, in words.
    pub claimed: Option<&'a str>,
    /// The hypervisor's own word, ms.
    pub reported_ms: Option<f64>,
}
