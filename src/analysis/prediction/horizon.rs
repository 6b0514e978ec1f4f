//! How long a pre-copy is watched on the model, and whether it converged.

use std::time::Duration;

use crate::event::StopRule;
use crate::model::{End, Scenario, Trace, Why};
use crate::units::PAGE_BYTES;

/// A pre-copy is taken for endless when it lasts so many times its first round, and so much more.
const ENDLESS: (f64, Duration) = (10.0, Duration::from_secs(30));
/// No pre-copy is watched longer.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// A pre-copy that has not ended by then will not.
pub(super) fn endless(s: &Scenario) -> Duration {
    let first_round_s = (s.guest.used_pages * PAGE_BYTES) as f64 / s.bandwidth_bytes_per_s().max(1.0);
    Duration::try_from_secs_f64(ENDLESS.1.as_secs_f64() + ENDLESS.0 * first_round_s).unwrap_or(LONGEST)
}

/// By then a rule of the stop policy has ended it, if it has any.
pub(super) fn ruled(s: &Scenario) -> Duration {
    let p = &s.settings.policy;
    let all_s = (s.guest.ram_pages * PAGE_BYTES) as f64 / s.bandwidth_bytes_per_s().max(1.0);
    let rules = [
        p.after_ns.map(|ns| ns as f64 / 1e9),
        // Below the jump the link is idle at times.
        p.ram_factor.map(|factor| 1.2 * factor * all_s),
        p.rounds.map(|rounds| rounds as f64 * all_s),
    ];
    let first = rules.into_iter().flatten().min_by(f64::total_cmp);
    first.map_or(Duration::ZERO, |s| Duration::try_from_secs_f64(s + 10.0).unwrap_or(LONGEST))
}

/// Whether pre-copy ended because so little was left that the hypervisor was content.
pub(super) fn converged(trace: &Trace) -> bool {
    trace.end == End::Done
        && matches!(trace.why, Some(Why::Converged { .. } | Why::Ruled(StopRule::RemainingPages { .. })))
}
