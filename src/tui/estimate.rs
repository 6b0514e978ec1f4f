//! What is likely to come, from what is measured. Each is an estimate and must be shown as one
//! ("about"); what cannot be estimated is None.

use crate::event::{MigrationSettings, Nanos, Pattern, Phase, Sample};
use crate::session::State;
use crate::session::state::{Migration, Ramp};
use crate::units::PAGE_BYTES;

/// From this share of the link's capacity on, RATE is near the link.
pub(crate) const NEAR: f64 = 0.9;

/// The running migration, if one runs.
pub(crate) fn running(state: &State) -> Option<&Migration> {
    state.migrations.last().filter(|m| m.ended.is_none())
}

/// The newest sample of a migration.
pub(crate) fn newest(m: &Migration) -> Sample {
    m.samples.last().map(|(_, s)| s.clone()).unwrap_or_default()
}

/// The link, bytes/s: as set, else as measured.
pub(crate) fn link_bytes_per_s(m: &Migration, sample: &Sample) -> Option<f64> {
    m.settings.limit_bytes_per_s().map(|b| b as f64).or(sample.throughput_bytes_per_s).filter(|b| *b > 0.0)
}

/// What goes over the link now, bytes/s: as measured, else as set.
pub(crate) fn throughput(m: &Migration, sample: &Sample) -> Option<f64> {
    let measured = sample.throughput_bytes_per_s.filter(|t| *t > 0.0 && t.is_finite());
    measured.or(m.settings.limit_bytes_per_s().map(|b| b as f64)).filter(|t| *t > 0.0)
}

/// The dirty rate to judge by, pages/s: the hypervisor's where it has one, else the agent's. The
/// hypervisor sees a page once a round, however often it is written, and only at the round's end:
/// where the generator walks cyclically and writes more, its RATE is the better word.
pub(crate) fn dirty_pages_per_s(state: &State, sample: &Sample) -> Option<f64> {
    let seen = sample.dirty_pages_per_s.filter(|r| *r > 0.0 && r.is_finite());
    let report = state.load.achieved.as_ref().map(|(_, r)| r);
    let agent = report.map(|r| (r.rate_pages_per_s, r.set.pattern)).filter(|(r, _)| r.is_finite());
    match (seen, agent) {
        (Some(seen), Some((agent, Pattern::Cyclic))) => Some(seen.max(agent)),
        (Some(seen), _) => Some(seen),
        (None, agent) => agent.map(|(rate, _)| rate),
    }
}

/// Dirty rate to link: over 1, pre-copy does not converge.
pub(crate) fn dirty_to_link(state: &State, m: &Migration, sample: &Sample) -> Option<f64> {
    Some(dirty_pages_per_s(state, sample)? * PAGE_BYTES as f64 / link_bytes_per_s(m, sample)?)
}

/// Whether the whole WSET passes within the downtime limit: then a migration ends even over the link.
pub(crate) fn wset_fits(wset_bytes: u64, settings: &MigrationSettings) -> bool {
    match (settings.limit_bytes_per_s(), settings.downtime_limit_ms) {
        (Some(link), Some(limit)) if link > 0 && wset_bytes > 0 => {
            wset_bytes as f64 / link as f64 <= limit as f64 / 1000.0
        }
        _ => false,
    }
}

/// How long until what is left has been copied, s, if nothing more is dirtied.
pub(crate) fn rest_s(m: &Migration, sample: &Sample) -> Option<f64> {
    Some(sample.remaining_bytes? as f64 / throughput(m, sample)?).filter(|s| s.is_finite())
}

/// How long until a rule of the stop policy ends pre-copy, s.
pub(crate) fn policy_in_s(m: &Migration, sample: &Sample, now: Nanos) -> Option<f64> {
    let policy = &m.settings.policy;
    let mut in_s = f64::INFINITY;
    let round = sample.round.or(m.rounds.last().map(|(_, n)| *n)).unwrap_or(0);
    if let Some(rounds) = policy.rounds
        && round > 1
        && m.rounds.len() > 1
    {
        let recent = &m.rounds[m.rounds.len().saturating_sub(6)..];
        let (first, last) = (recent[0], recent[recent.len() - 1]);
        let each = last.0.saturating_sub(first.0) as f64 / 1e9 / last.1.saturating_sub(first.1).max(1) as f64;
        let into = now.saturating_sub(last.0) as f64 / 1e9;
        // The limit is reached when one more round begins than it allows.
        in_s = in_s.min((rounds.saturating_add(1).saturating_sub(round) as f64 * each - into).max(0.0));
    }
    if let (Some(factor), Some(total), Some(speed)) = (policy.ram_factor, sample.total_bytes, throughput(m, sample)) {
        let to_go = factor * total as f64 - sample.transferred_bytes.unwrap_or(0) as f64;
        in_s = in_s.min(to_go.max(0.0) / speed);
    }
    if let Some(ns) = policy.after_ns {
        in_s = in_s.min(m.began.saturating_add(ns).saturating_sub(now) as f64 / 1e9);
    }
    in_s.is_finite().then_some(in_s)
}

/// How long a ramp still takes, s.
pub(crate) fn ramp_left_s(ramp: &Ramp, now: Nanos) -> f64 {
    ramp.began.saturating_add(ramp.over_ns).saturating_sub(now) as f64 / 1e9
}

/// Where a ramp is, pages/s.
pub(crate) fn ramp_at(ramp: &Ramp, now: Nanos) -> f64 {
    let elapsed = std::time::Duration::from_nanos(now.saturating_sub(ramp.began));
    let over = std::time::Duration::from_nanos(ramp.over_ns);
    crate::load::ramp::rate_after(ramp.from_pages_per_s, ramp.to_pages_per_s, over, elapsed)
}

/// How long until a ramp crosses the link's capacity, s; None where it does not, or has.
pub(crate) fn crosses_in_s(ramp: &Ramp, link_pages_per_s: f64, now: Nanos) -> Option<f64> {
    let (from, to) = (ramp.from_pages_per_s, ramp.to_pages_per_s);
    let share = (link_pages_per_s - from) / (to - from);
    if !share.is_finite() || !(0.0..=1.0).contains(&share) {
        return None;
    }
    let in_s = share * ramp.over_ns as f64 / 1e9 - now.saturating_sub(ramp.began) as f64 / 1e9;
    Some(in_s).filter(|s| *s > 0.0)
}

/// The phase a migration is in.
pub(crate) fn phase(m: &Migration) -> Phase {
    m.phases.last().map_or(Phase::Setup, |s| s.phase)
}

/// A duration that is only an estimate, for people, s.
pub(crate) fn rough_seconds(s: f64) -> String {
    if !s.is_finite() || s > 86_400.0 {
        "more than a day".into()
    } else if s >= 100.0 {
        format!("{:.0} min", s / 60.0)
    } else if s >= 3.0 {
        format!("{s:.0} s")
    } else {
        format!("{s:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture::{self, BEGAN, S};

    const RAMP: Ramp = Ramp { from_pages_per_s: 2000.0, to_pages_per_s: 12_000.0, began: 7 * S, over_ns: 20 * S };

    #[test]
    fn a_ramp_tells_when_it_crosses_the_link() {
        // 7,812.5 lies at 58 % of the way: 11.6 s after the beginning.
        let at = |now| crosses_in_s(&RAMP, 7812.5, now);
        assert!((at(8 * S).unwrap() - 10.625).abs() < 1e-9);
        assert_eq!(at(20 * S), None, "it has crossed");
        assert_eq!(crosses_in_s(&RAMP, 20_000.0, 8 * S), None);
        assert_eq!(crosses_in_s(&Ramp { to_pages_per_s: 2000.0, ..RAMP }, 7812.5, 8 * S), None);
        assert!((ramp_left_s(&RAMP, 20 * S) - 7.0).abs() < 1e-9);
        assert_eq!(ramp_at(&RAMP, 17 * S), 7000.0);
    }

    #[test]
    fn a_wset_that_passes_at_once_is_no_trouble() {
        let settings = fixture::settings();
        assert!(wset_fits(9_000_000, &settings), "0.28 s");
        assert!(!wset_fits(96 << 20, &settings));
        assert!(!wset_fits(1, &MigrationSettings { downtime_limit_ms: None, ..settings }));
    }

    #[test]
    fn the_agent_knows_better_than_a_bitmap_only_for_a_cyclic_walk() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        let sample = Sample { dirty_pages_per_s: Some(8028.0), ..Sample::default() };
        let report = &mut state.load.achieved.as_mut().unwrap().1;
        report.rate_pages_per_s = 20_000.0;
        assert_eq!(dirty_pages_per_s(&state, &sample), Some(20_000.0));
        state.load.achieved.as_mut().unwrap().1.set.pattern = Pattern::Hotspot;
        assert_eq!(dirty_pages_per_s(&state, &sample), Some(8028.0));
        state.load.achieved = None;
        assert_eq!(dirty_pages_per_s(&state, &Sample::default()), None);
    }
}
