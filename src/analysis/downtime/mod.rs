//! How long the guest was gone, five ways (design: vocabulary). Pure: from what was seen between
//! the beginning of a migration and its settling to five [`Estimate`]s.
//!
//! The rules that all five share:
//! - Unknown is `None` with a note that says why; a doubt is a value with a note.
//! - `lo` and `hi` are what the data can defend, under the assumptions each estimator documents.
//! - A guest that was never gone has `lo` 0 and a `hi` that says what could have hidden.

mod clocks;
mod gaps;
mod path;
mod silence;
#[cfg(test)]
mod tests;

use crate::chunked::Chunked;
use std::time::Duration;

use super::clock::Offset;
use super::{Bounded, Downtimes, Estimate, Method};
use crate::event::{Class, ForeignTime, Nanos, ProbeSpec};

/// The outcome of one slot, compact: a day at 50 ms must fit in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The slot.
    pub k: u64,
    /// When it was sent, ns; for a slot never sent, when it was due.
    pub sent: Nanos,
    /// Round-trip time, ns; `u64::MAX` when there was none.
    pub rtt: u64,
    /// Its class.
    pub class: Class,
}

impl Outcome {
    /// When its answer came, ns of the session clock; None if there was none.
    #[must_use]
    pub fn answered(&self) -> Option<Nanos> {
        match self.class {
            Class::Ok | Class::Late if self.rtt != u64::MAX => Some(self.sent.saturating_add(self.rtt)),
            _ => None,
        }
    }
}

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
    /// The probe, if there is one.
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

/// All five estimates of one migration.
#[must_use]
pub fn estimate(seen: &Seen<'_>) -> Downtimes {
    let shape = seen.probe.map(|probe| gaps::measure(&probe, seen.calm_since, seen.disturbed, seen.began, seen.until));
    let (lost_pings, reply_gap, gaps, gaps_total) = match shape {
        Some(Some(shape)) => (shape.lost_pings, shape.reply_gap, shape.gaps, shape.gaps_total),
        Some(None) => {
            let why = "the probe was not running during the migration";
            (unknown(Method::LostPings, why), unknown(Method::ReplyGap, why), 0, Duration::ZERO)
        }
        None => {
            (unknown(Method::LostPings, "no probe ran"), unknown(Method::ReplyGap, "no probe ran"), 0, Duration::ZERO)
        }
    };
    Downtimes {
        estimates: vec![
            lost_pings,
            reply_gap,
            clocks::reported(seen.reported_ms, seen.claimed),
            clocks::stop_resume(&seen.turns),
            clocks::guest_clock(seen.heartbeats, seen.began, seen.until),
        ],
        gaps,
        gaps_total,
    }
}

/// Why a probe tells nothing of a guest at `t`: it was never answered, or not for long. None where it does.
#[must_use]
pub fn deaf(probe: &ProbeSeen<'_>, t: Nanos) -> Option<String> {
    match silence::before(probe, t, t) {
        silence::Silence::Deaf(why) => Some(why),
        silence::Silence::Hearing => None,
    }
}

/// All five of a migration that was refused before it began: there is nothing to estimate.
#[must_use]
pub fn never_ran() -> Downtimes {
    not_estimated("the migration never ran")
}

/// All five, unknown for this reason.
#[must_use]
pub fn not_estimated(why: &str) -> Downtimes {
    let estimates = Method::ALL.map(|method| unknown(method, why)).to_vec();
    Downtimes { estimates, gaps: 0, gaps_total: Duration::ZERO }
}

fn unknown(method: Method, why: impl Into<String>) -> Estimate {
    Estimate { method, value: None, note: Some(why.into()) }
}

/// A duration with bounds out of ns, its value kept between the bounds.
fn bounded(value: u64, lo: u64, hi: u64) -> Bounded {
    let hi = hi.max(lo);
    Bounded {
        value: Duration::from_nanos(value.clamp(lo, hi)),
        lo: Duration::from_nanos(lo),
        hi: Duration::from_nanos(hi),
    }
}

/// Notes joined into one, or none.
fn joined(notes: Vec<String>) -> Option<String> {
    (!notes.is_empty()).then(|| notes.join("; "))
}
