//! The stop policy: what ends pre-copy from above the hypervisor. Pure functions on data.
//!
//! Some hypervisors iterate for ever when the guest dirties memory faster than the link carries
//! it. Xen 3.4 did not: `xc_domain_save` ended pre-copy after 29 rounds, after sending 3 x RAM, or
//! when a round had fewer than 50 pages to send, and the jump of the paper's downtimes is the work
//! of these rules. [`decide`] applies the same rules to whatever a driver observes. Differences
//! from Xen, which looks at its rules only between rounds: `ram` and `after` are looked at with
//! every sample, and sent bytes are those on the wire (a zero page costs a few bytes, not a page).

use std::time::Duration;

use super::Observation;
use crate::event::{Phase, StopPolicy, StopRule};
use crate::units::{PAGE_BYTES, nanos};

/// The rule that ends pre-copy now, if one does. Only pre-copy can be ended; where the product does not say
/// which phase it is in, a rule of time counts all the same. `elapsed` counts from the start of the migration;
/// `ram_bytes` is the guest's RAM where it is known.
#[must_use]
pub fn decide(
    policy: &StopPolicy,
    observation: &Observation,
    elapsed: Duration,
    ram_bytes: Option<u64>,
) -> Option<StopRule> {
    if observation.phase == Phase::Moving {
        return time_is_over(policy, elapsed);
    }
    if observation.phase != Phase::PreCopy {
        return None;
    }
    // A round that has begun with number n means that n - 1 are complete.
    if let (Some(limit), Some(begun)) = (policy.rounds, observation.round)
        && begun > limit
    {
        return Some(StopRule::Rounds { limit });
    }
    if let (Some(limit), Some(sent), Some(ram)) =
        (policy.ram_factor, observation.sample.transferred_bytes, ram_bytes.filter(|r| *r > 0))
        && sent as f64 > limit * ram as f64
    {
        return Some(StopRule::RamFactor { limit, sent_bytes: sent });
    }
    // Within a round `remaining` falls towards zero while the guest dirties on unseen, so only a
    // round's first look counts; the first round begins with all of RAM.
    if let (Some(limit), Some(bytes), Some(2..)) =
        (policy.remaining_pages_below, observation.round_remaining_bytes, observation.round)
    {
        let seen = bytes.div_ceil(PAGE_BYTES);
        if seen < limit {
            return Some(StopRule::RemainingPages { limit, seen });
        }
    }
    time_is_over(policy, elapsed)
}

fn time_is_over(policy: &StopPolicy, elapsed: Duration) -> Option<StopRule> {
    let limit_ns = policy.after_ns.filter(|limit| nanos(elapsed) >= *limit)?;
    Some(StopRule::Time { limit_ns })
}

/// A rule in words: `after 29 rounds`.
#[must_use]
pub fn describe(rule: &StopRule) -> String {
    rule.words()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Sample;

    fn seen(round: u64, first_pages: u64, sent: u64) -> Observation {
        Observation {
            phase: Phase::PreCopy,
            round: Some(round),
            round_remaining_bytes: Some(first_pages * PAGE_BYTES),
            sample: Sample { transferred_bytes: Some(sent), ..Sample::default() },
            ..Observation::default()
        }
    }

    const RAM: Option<u64> = Some(1 << 30);

    #[test]
    fn xen_stops_after_29_complete_rounds() {
        let p = StopPolicy::xen_3_4();
        let at = |r| decide(&p, &seen(r, 1000, 0), Duration::ZERO, RAM);
        assert_eq!(at(29), None);
        assert_eq!(at(30), Some(StopRule::Rounds { limit: 29 }));
    }

    #[test]
    fn xen_stops_when_more_than_three_times_ram_is_sent() {
        let p = StopPolicy::xen_3_4();
        let at = |sent, ram| decide(&p, &seen(5, 1000, sent), Duration::ZERO, ram);
        assert_eq!(at(3 << 30, RAM), None);
        assert_eq!(at((3 << 30) + 1, RAM), Some(StopRule::RamFactor { limit: 3.0, sent_bytes: (3 << 30) + 1 }));
        assert_eq!(at(u64::MAX, None), None, "an unknown RAM size decides nothing");
        assert_eq!(at(1, Some(0)), None);
    }

    #[test]
    fn remaining_counts_only_at_the_start_of_a_later_round() {
        let p = StopPolicy::xen_3_4();
        let at = |o: &Observation| decide(&p, o, Duration::ZERO, RAM);
        assert_eq!(at(&seen(4, 49, 0)), Some(StopRule::RemainingPages { limit: 50, seen: 49 }));
        assert_eq!(at(&seen(4, 50, 0)), None);
        assert_eq!(at(&seen(1, 49, 0)), None);
        let mut late = seen(4, 5000, 0);
        late.sample.remaining_bytes = Some(0);
        assert_eq!(at(&late), None, "the end of a round is not a small round");
        late.round_remaining_bytes = None;
        assert_eq!(at(&late), None);
    }

    #[test]
    fn time_and_phase() {
        let p = StopPolicy::timeout(Duration::from_secs(15));
        let mut o = seen(3, 1000, 0);
        assert_eq!(decide(&p, &o, Duration::from_millis(14_999), RAM), None);
        assert_eq!(decide(&p, &o, Duration::from_secs(15), RAM), Some(StopRule::Time { limit_ns: 15_000_000_000 }));
        for phase in [Phase::Setup, Phase::StopAndCopy, Phase::PostCopy, Phase::Done, Phase::Unknown, Phase::Idle] {
            o.phase = phase;
            assert_eq!(decide(&p, &o, Duration::from_secs(99), RAM), None, "{phase:?}");
        }
        let none = StopPolicy::none();
        assert_eq!(decide(&none, &seen(999, 0, u64::MAX), Duration::MAX, RAM), None);
    }
}
