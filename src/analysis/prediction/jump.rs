//! Where a migration ceases to converge, and what would make it converge.

use super::horizon::{converged, endless};
use crate::event::{Converges, DirtyCycle, Ender, Needs, Remedy, StopPolicy, StopRule};
use crate::model::{Scenario, Trace, Why, run};

/// What is sent within so long is next to nothing, s.
const LITTLE_S: f64 = 0.1;
/// Halvings of a search: to better than 1 % of a range of 1 to 100.
const STEPS: u32 = 9;

fn with_rate(s: &Scenario, rate_pages_per_s: f64) -> Scenario {
    let mut s = s.clone();
    // PERIOD is held as nearly as whole pages allow, and is never shorter than a generator can have.
    let (rate, period_s) = (rate_pages_per_s.max(1e-3), s.guest.dirty.period_ns as f64 / 1e9);
    let bpc_pages = (rate * period_s).round().max(1.0) as u64;
    let shortest = crate::load::MIN_PERIOD.as_nanos() as f64;
    let period_ns = (bpc_pages as f64 * 1e9 / rate).clamp(shortest, 1e15) as u64;
    s.guest.dirty = DirtyCycle { bpc_pages, period_ns };
    s
}

fn converges(s: &Scenario) -> bool {
    run(s).is_ok_and(|trace| converged(&trace))
}

/// Whether it lies below the jump: it converges, or a rule of the product gives up on convergence when next
/// to nothing is left. (Xen 3.4 ends after 29 rounds well below the link's speed already, but what it has
/// to send then grows at the link's speed only.)
fn is_below(s: &Scenario) -> bool {
    run(s).is_ok_and(|trace| ends_well(s, &trace))
}

/// The least factor within `1..=most` for which `holds`, to about 1 %.
fn least(most: f64, mut holds: impl FnMut(f64) -> bool) -> Option<f64> {
    if !holds(most) {
        return None;
    }
    let (mut no, mut yes) = (1.0f64, most);
    for _ in 0..STEPS {
        let between = (no * yes).sqrt();
        if holds(between) {
            yes = between;
        } else {
            no = between;
        }
    }
    Some(yes)
}

/// The same without a stop policy.
fn alone(s: &Scenario) -> Scenario {
    let mut alone = s.clone();
    alone.settings.policy = StopPolicy::none();
    alone.horizon = endless(s);
    alone
}

/// How it goes without its stop policy; None where it has none, or where one run is impossible.
fn without_policy(s: &Scenario) -> Option<Trace> {
    if s.settings.policy.has_rules() { run(&alone(s)).ok() } else { None }
}

/// What ends a course that did not converge.
pub(super) fn ender(s: &Scenario, trace: &Trace) -> Option<Ender> {
    if converged(trace) {
        return None;
    }
    match trace.why.as_ref()? {
        Why::Ruled(rule) => Some(Ender::Policy {
            name: s.settings.policy.name.clone(),
            rule: rule_words(rule),
            then: s.settings.policy.then,
            too_early: without_policy(s).is_some_and(|trace| ends_well(s, &trace)),
        }),
        Why::Gave { up } => Some(Ender::Own { rule: up.clone(), little_left: is_little(s, trace) }),
        Why::Converged { .. } => None,
    }
}

fn rule_words(rule: &StopRule) -> String {
    match rule {
        StopRule::RemainingPages { limit, .. } => format!("fewer than {limit} pages left"),
        StopRule::Rounds { limit } => format!("{limit} rounds"),
        StopRule::RamFactor { limit, .. } => format!("{limit} x RAM sent"),
        StopRule::Time { limit_ns } => crate::units::show_duration(std::time::Duration::from_nanos(*limit_ns)),
        StopRule::Operator => "by hand".into(),
        StopRule::Own { words } => words.clone(),
    }
}

/// Whether it converges, or the product's own rule ends it when next to nothing is left.
pub(super) fn ends_well(s: &Scenario, t: &Trace) -> bool {
    converged(t) || (matches!(t.why, Some(Why::Gave { .. })) && is_little(s, t))
}

/// Whether what is left can be sent in next to no time.
fn is_little(s: &Scenario, t: &Trace) -> bool {
    t.left_pages as f64 <= LITTLE_S * s.link_pages_per_s()
}

/// The jump, pages/s, and what would make it converge if it does not.
pub(super) fn search(s: &Scenario, verdict: Converges) -> (Option<f64>, Needs) {
    if s.guest.wset_pages == 0 {
        return (None, Needs::default());
    }
    let link = s.link_pages_per_s();
    // From a hundredth of the link to four times of it.
    let (low, high) = (link / 100.0, link * 4.0);
    let from_where = |s: &Scenario, holds: fn(&Scenario) -> bool| {
        let found = holds(&with_rate(s, low))
            .then(|| least(high / low, |factor| !holds(&with_rate(s, low * factor))))
            .flatten();
        found.map(|factor| low * factor)
    };
    // The jump is the hypervisor's; a policy may end a pre-copy that would have converged later.
    let alone = alone(s);
    let jump = from_where(&alone, is_below);
    // What converges with the likeliest of all inputs needs nothing else for it.
    if verdict == Converges::Yes || converges(s) {
        return (jump, Needs::default());
    }
    let rounds_without_policy =
        without_policy(s).filter(|trace| ends_well(s, trace)).map(|trace| trace.rounds.len() as u64);
    let bandwidth = s.settings.bandwidth_bytes_per_s.filter(|b| *b > 0).map(|b| b as f64);
    let bandwidth_from = bandwidth.and_then(|bandwidth| {
        let most = (s.link.bytes_per_s / bandwidth).clamp(1.0, 1000.0);
        let factor = least(most, |factor| {
            let mut s = s.clone();
            s.settings.bandwidth_bytes_per_s = Some((bandwidth * factor) as u64);
            converges(&s)
        });
        factor.map(|factor| bandwidth * factor)
    });
    let limit = s.settings.downtime_limit_ms.map(|ms| ms.max(1) as f64);
    let limit_from = limit.and_then(|limit| {
        let factor = least((60_000.0 / limit).max(1.0), |factor| {
            let mut s = s.clone();
            s.settings.downtime_limit_ms = Some((limit * factor) as u64);
            converges(&s)
        });
        factor.map(|factor| limit * factor)
    });
    // Where rounds are few, some RATEs below the highest that converges do not: all below must.
    let rate_below = from_where(s, converges).and_then(|highest| {
        let lower = std::iter::successors(Some(highest), |rate| Some(rate * 0.9)).take_while(|rate| *rate > low);
        let all_below = |rate: &f64| [0.95, 0.9, 0.8].iter().all(|share| converges(&with_rate(s, rate * share)));
        lower.into_iter().find(all_below)
    });
    let needs = Needs {
        rate_below_pages_per_s: rate_below,
        bandwidth_from_bytes_per_s: bandwidth_from,
        downtime_limit_from_ms: limit_from,
        rounds_without_policy,
        nearest: None,
    };
    let rate = s.guest.rate_pages_per_s();
    let times = [
        // A policy that is in the way costs nothing to be left out.
        (Remedy::Policy, rounds_without_policy.map(|_| 1.0)),
        (Remedy::Rate, needs.rate_below_pages_per_s.filter(|to| *to > 0.0).map(|to| rate / to)),
        (Remedy::Bandwidth, bandwidth_from.zip(bandwidth).map(|(to, is)| to / is)),
        (Remedy::DowntimeLimit, limit_from.zip(limit).map(|(to, is)| to / is)),
    ];
    let nearest = times.into_iter().filter_map(|(remedy, times)| Some((remedy, times?)));
    let nearest = nearest.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(remedy, _)| remedy);
    let needs = Needs { nearest, ..needs };
    (jump, needs)
}
