//! Why the estimators of a downtime disagree, in words. Says only what follows from the estimates
//! and from what was seen of the migration.

use std::time::Duration;

use super::{Bounded, Downtimes, Method};
use crate::units::show_duration;

/// What was seen of a migration beside its downtimes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Distance of the probe's slots.
    pub interval: Option<Duration>,
    /// Who stopped the guest from outside, before the hypervisor would have: `policy xen-3.4`,
    /// `the operator`.
    pub stopped_by: Option<String>,
    /// From the guest's RESUME to its first answer.
    pub recovery: Option<Duration>,
}

/// Why the estimates are what they are, the weightiest reason first. Never empty.
#[must_use]
pub fn explain(d: &Downtimes, seen: &Circumstances) -> Vec<String> {
    let known: Vec<(Method, Bounded)> = d.estimates.iter().filter_map(|e| Some((e.method, e.value?))).collect();
    let of = |method| known.iter().find(|(m, _)| *m == method).map(|(_, v)| *v);
    match known.as_slice() {
        [] => return vec!["nothing is known of the downtime".to_owned()],
        [(Method::Reported, _)] => return vec!["only the hypervisor's own word is known".to_owned()],
        [(only, _)] => return vec![format!("only {} is known: nothing to compare it with", only.name())],
        _ => {}
    }
    let agree = agree(&known);
    let mut reasons = Vec::new();
    if agree {
        reasons.push(match known.len() {
            5 => "all five agree within their bounds".to_owned(),
            n => format!("the {n} that are known agree within their bounds"),
        });
    }
    let standing = [Method::StopResume, Method::GuestClock].into_iter().find_map(|m| Some((m, of(m)?)));
    reasons.extend(reported(
        of(Method::Reported),
        standing.or(of(Method::ReplyGap).map(|g| (Method::ReplyGap, g))),
        seen,
    ));
    if !agree {
        let others: Vec<_> = known.iter().copied().filter(|(m, _)| *m != Method::Reported).collect();
        if others.len() > 1 && others.len() < known.len() && self::agree(&others) {
            reasons.push(format!("the other {} agree within their bounds", others.len()));
        }
    }
    let probed = (of(Method::LostPings), of(Method::ReplyGap));
    reasons.extend(held(probed));
    reasons.extend(recovery(probed.1, standing, seen));
    reasons.extend(holes(d, probed.0));
    reasons.extend(clock(of(Method::GuestClock), of(Method::StopResume)));
    reasons.extend(steps(probed, standing, seen));
    if reasons.is_empty() {
        reasons.push("they differ by more than their bounds, and nothing that was seen says why".to_owned());
    }
    reasons
}

/// Whether one truth may lie within all bounds.
fn agree(known: &[(Method, Bounded)]) -> bool {
    let lo = known.iter().map(|(_, v)| v.lo).max();
    let hi = known.iter().map(|(_, v)| v.hi).min();
    lo <= hi
}

/// A hypervisor's figure that does not fit what was seen from outside.
fn reported(word: Option<Bounded>, seen_by: Option<(Method, Bounded)>, seen: &Circumstances) -> Option<String> {
    let (word, (method, outside)) = (word?, seen_by?);
    if word.hi < outside.lo {
        let missing = show_duration(outside.value.saturating_sub(word.value));
        return Some(match &seen.stopped_by {
            // It takes the time when it would stop the guest itself, even where it finds it stopped.
            Some(who) => format!(
                "reported begins {missing} late: {who} had stopped the guest, and the hypervisor counts from the \
                 moment it would itself"
            ),
            None => format!("reported leaves out {missing} that {} saw", method.name()),
        });
    }
    (word.lo > outside.hi).then(|| {
        let more = show_duration(word.value.saturating_sub(outside.value));
        format!("reported is {more} longer than {}, beyond the bounds of both", method.name())
    })
}

/// Probes that waited for the guest instead of being lost.
fn held((lost, gap): (Option<Bounded>, Option<Bounded>)) -> Option<String> {
    let (lost, gap) = (lost?, gap?);
    // A gap needs a probe that was lost, in error or held back; here none was lost or in error.
    if lost.value.is_zero() && !gap.lo.is_zero() {
        return Some("probes queued and came back late: nothing lost, yet the guest was away".to_owned());
    }
    (lost.hi < gap.lo).then(|| {
        let less = show_duration(gap.value.saturating_sub(lost.value));
        format!("lost-pings is {less} shorter than reply-gap: not every probe of the gap was lost")
    })
}

/// A guest that runs but does not answer yet is still gone for those who wait.
fn recovery(gap: Option<Bounded>, standing: Option<(Method, Bounded)>, seen: &Circumstances) -> Option<String> {
    let (gap, (_, standing), recovery) = (gap?, standing?, seen.recovery?);
    // The first probe may be due one interval after the resume: only what is beyond tells of the guest.
    let slow = recovery > seen.interval.unwrap_or_default();
    (slow && gap.value > standing.value).then(|| {
        format!(
            "reply-gap is longer: the guest answered again only {} after RESUME (recovery)",
            show_duration(recovery)
        )
    })
}

/// A blackout in several pieces.
fn holes(d: &Downtimes, lost: Option<Bounded>) -> Option<String> {
    (d.gaps > 1).then(|| {
        let all = if lost.is_some() { ", lost-pings counts all" } else { "" };
        format!(
            "there were {} gaps, {} together: reply-gap is the longest alone{all}",
            d.gaps,
            show_duration(d.gaps_total)
        )
    })
}

/// The guest's own clock against the hypervisor's events.
fn clock(clock: Option<Bounded>, turns: Option<Bounded>) -> Option<String> {
    let (clock, turns) = (clock?, turns?);
    let by = show_duration(clock.value.abs_diff(turns.value));
    if clock.lo > turns.hi {
        Some(format!("the guest's clock stood still {by} longer than from STOP to RESUME"))
    } else if clock.hi < turns.lo {
        Some(format!("the guest's clock stood still {by} less than from STOP to RESUME"))
    } else {
        None
    }
}

/// Probes see in steps of their interval.
fn steps(
    (lost, gap): (Option<Bounded>, Option<Bounded>),
    standing: Option<(Method, Bounded)>,
    seen: &Circumstances,
) -> Option<String> {
    let (interval, (_, standing)) = (seen.interval?, standing?);
    let off = |probed: Bounded| {
        let by = probed.value.abs_diff(standing.value);
        by <= interval.saturating_mul(2) && show_duration(probed.value) != show_duration(standing.value)
    };
    let stepped = [(Method::LostPings, lost), (Method::ReplyGap, gap)];
    let names: Vec<&str> =
        stepped.into_iter().filter(|(_, v)| v.is_some_and(off)).map(|(method, _)| method.name()).collect();
    let verb = if names.len() > 1 { "are" } else { "is" };
    (!names.is_empty()).then(|| format!("{} {verb} made of {} steps", names.join(" and "), show_duration(interval)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::Estimate;

    fn ms(v: u64) -> Duration {
        Duration::from_millis(v)
    }

    fn downtimes(values: [Option<(u64, u64, u64)>; 5]) -> Downtimes {
        let estimates = Method::ALL
            .into_iter()
            .zip(values)
            .map(|(method, v)| Estimate {
                method,
                value: v.map(|(value, lo, hi)| Bounded { value: ms(value), lo: ms(lo), hi: ms(hi) }),
                note: None,
            })
            .collect();
        Downtimes { estimates, gaps: 1, gaps_total: ms(100), probes: Vec::new() }
    }

    fn seen() -> Circumstances {
        Circumstances { interval: Some(ms(50)), stopped_by: None, recovery: Some(ms(39)) }
    }

    /// Over the jump on QEMU 10.0.2, stopped by the policy.
    fn stopped() -> Downtimes {
        downtimes([
            Some((2_900, 2_800, 3_000)),
            Some((2_950, 2_840, 2_990)),
            Some((11, 10, 12)),
            Some((2_920, 2_920, 2_930)),
            Some((2_920, 2_919, 2_921)),
        ])
    }

    #[test]
    fn a_stop_from_outside_explains_the_hypervisors_figure() {
        let who = Circumstances { stopped_by: Some("policy xen-3.4".into()), ..seen() };
        let said = explain(&stopped(), &who);
        assert_eq!(
            said,
            [
                "reported begins 2.91 s late: policy xen-3.4 had stopped the guest, and the hypervisor counts from \
                 the moment it would itself",
                "the other 4 agree within their bounds",
                "lost-pings and reply-gap are made of 50.0 ms steps",
            ]
        );
        // Without a stop from outside, nothing is said of one.
        assert_eq!(explain(&stopped(), &seen())[0], "reported leaves out 2.91 s that stop-resume saw");
    }

    #[test]
    fn agreement_is_said_and_the_grain_of_the_probes() {
        // Below the jump: all bounds meet at 50.7 ms.
        let d = downtimes([
            Some((50, 0, 127)),
            Some((100, 0, 127)),
            Some((51, 50, 52)),
            Some((50, 50, 60)),
            Some((50, 50, 51)),
        ]);
        let said = explain(&d, &seen());
        assert_eq!(said, ["all five agree within their bounds", "reply-gap is made of 50.0 ms steps"]);
        let late = Circumstances { recovery: Some(ms(90)), ..seen() };
        assert!(explain(&d, &late)[1].contains("answered again only 90.0 ms after RESUME"));
        let four = Downtimes { estimates: d.estimates[..4].to_vec(), ..d };
        assert_eq!(explain(&four, &seen())[0], "the 4 that are known agree within their bounds");
    }

    #[test]
    fn held_probes_and_holes() {
        let mut d = downtimes([Some((0, 0, 900)), Some((800, 700, 850)), None, Some((790, 780, 800)), None]);
        assert!(explain(&d, &seen()).iter().any(|r| r.starts_with("probes queued and came back late")));
        assert!(!explain(&d, &seen()).iter().any(|r| r.contains("gaps")));
        d.gaps = 2;
        assert!(explain(&d, &seen()).iter().any(|r| r.starts_with("there were 2 gaps, 100 ms together")));
        d.estimates[0].value = Some(Bounded { value: ms(200), lo: ms(150), hi: ms(250) });
        assert!(explain(&d, &seen()).iter().any(|r| r.starts_with("lost-pings is 600 ms shorter")));
    }

    #[test]
    fn clocks_apart_are_named() {
        let d = downtimes([None, None, None, Some((100, 90, 110)), Some((300, 280, 320))]);
        assert_eq!(explain(&d, &seen()), ["the guest's clock stood still 200 ms longer than from STOP to RESUME"]);
        let d = downtimes([Some((900, 850, 950)), None, None, Some((100, 90, 110)), None]);
        assert!(explain(&d, &seen())[0].contains("nothing that was seen says why"));
    }

    #[test]
    fn little_knowledge_says_little() {
        assert_eq!(explain(&downtimes([None; 5]), &seen()), ["nothing is known of the downtime"]);
        let d = downtimes([None, None, Some((5, 4, 6)), None, None]);
        assert_eq!(explain(&d, &seen()), ["only the hypervisor's own word is known"]);
    }

    proptest! {
        #[test]
        fn agreement_is_claimed_exactly_where_it_is(
            values in prop::collection::vec(prop::option::of(any::<[u16; 3]>()), 5),
            gaps in 0u32..4,
            recovery in prop::option::of(0u64..500),
        ) {
            let values: Vec<_> = values.into_iter().map(|v| v.map(|mut v| {
                v.sort_unstable();
                (u64::from(v[1]), u64::from(v[0]), u64::from(v[2]))
            })).collect();
            let known: Vec<_> = values.iter().flatten().copied().collect();
            let mut d = downtimes(values.try_into().unwrap());
            d.gaps = gaps;
            let said = explain(&d, &Circumstances { recovery: recovery.map(ms), ..seen() });
            prop_assert!(!said.is_empty());
            let meet = known.iter().map(|v| v.1).max() <= known.iter().map(|v| v.2).min();
            let claimed = said[0].ends_with("agree within their bounds") && !said[0].starts_with("the other");
            prop_assert_eq!(claimed, known.len() > 1 && meet);
        }
    }
}
