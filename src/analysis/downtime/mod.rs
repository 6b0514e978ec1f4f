//! How long the guest was gone, five ways (design: vocabulary). Pure: from what was seen between
//! the beginning of a migration and its settling to five estimates.
//!
//! The rules that all five share:
//! - Unknown is `None` with a note that says why; a doubt is a value with a note.
//! - `lo` and `hi` are what the data can defend, under the assumptions each estimator documents.
//! - A guest that was never gone has `lo` 0 and a `hi` that says what could have hidden.

mod bounds;
mod clocks;
mod gaps;
mod path;
mod seen;
mod silence;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::seen::{ProbeSeen, Seen, Turn, Turns};

use self::bounds::unknown;
use super::{Downtimes, Estimate, Method};
use crate::event::Nanos;

/// All five estimates of one migration, by the primary probe.
#[must_use]
pub fn estimate(seen: &Seen<'_>) -> Downtimes {
    let ([lost_pings, reply_gap], gaps, gaps_total) = by_probe(seen);
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
        probes: Vec::new(),
    }
}

/// `lost-pings` and `reply-gap` by the probe of `seen`, and how many gaps there were, and how long together.
#[must_use]
pub fn by_probe(seen: &Seen<'_>) -> ([Estimate; 2], u32, Duration) {
    let shape = seen.probe.map(|probe| gaps::measure(&probe, seen.calm_since, seen.disturbed, seen.began, seen.until));
    let none = |why: &str| ([unknown(Method::LostPings, why), unknown(Method::ReplyGap, why)], 0, Duration::ZERO);
    match shape {
        Some(Some(shape)) => ([shape.lost_pings, shape.reply_gap], shape.gaps, shape.gaps_total),
        Some(None) => none("the probe was not running during the migration"),
        None => none("no probe ran"),
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
    Downtimes { estimates, gaps: 0, gaps_total: Duration::ZERO, probes: Vec::new() }
}
