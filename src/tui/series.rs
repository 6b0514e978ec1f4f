//! What happened in each column of the time axis, in a time that grows with the columns and not
//! with what there is to tell: probes are summed up by the session's pyramid, reports and samples by
//! its trail wherever there are too many of them in view.

use std::ops::Range;

use crate::chunked::Chunked;
use crate::event::{Class, Nanos, Sample};
use crate::session::state::{Migration, ProbeState, REPORTS};
use crate::session::trail::{STANDSTILL, Tick};
use crate::session::{State, Summary};

use super::axis::Axis;

/// A sample speaks for so long when none comes after it, ns.
const HOLD: Nanos = 400_000_000;
/// So many reports or samples in view are looked at one by one; where there are more the trail tells.
const FEW: usize = 2_048;

/// What became of the worst probe of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worst {
    /// Nothing yet.
    Pending,
    /// It is settled, in this class.
    Of(Class),
}

impl Worst {
    /// All of them, the worst first.
    pub(crate) const RANKED: [Self; 8] = [
        Self::Of(Class::Lost),
        Self::Of(Class::Refused),
        Self::Of(Class::Error),
        Self::Of(Class::Late),
        Self::Of(Class::NotSent),
        Self::Pending,
        Self::Of(Class::Duplicate),
        Self::Of(Class::Ok),
    ];
}

/// The probes due in one column.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PingColumn {
    /// The worst of them; `None` where no probe was due.
    pub(crate) worst: Option<Worst>,
    /// The longest round trip, ns.
    pub(crate) rtt_max: Option<u64>,
    /// Probes that were down: lost, refused, or in error.
    pub(crate) down: u32,
    /// The shortest round trip, ns.
    pub(crate) rtt_min: Option<u64>,
    /// What became of how many.
    pub(crate) sum: Summary,
    /// Probes whose fate is open.
    pub(crate) pending: u64,
}

/// The probes of each column, by when they were due.
pub(crate) fn ping_columns(probe: &ProbeState, axis: &Axis) -> Vec<PingColumn> {
    let mut columns = vec![PingColumn::default(); usize::from(axis.columns)];
    let (t0, interval) = (probe.spec.t0, probe.spec.interval_ns);
    if interval == 0 {
        return columns;
    }
    // The first slot due at `t` or later; those due before slot 0 are none.
    let slot = |t: Nanos| if t <= t0 { 0 } else { (t - t0).div_ceil(interval) };
    // Slots that are due and have no outcome are pending; those before the first and those that
    // are known only summed up are not.
    let oldest = probe.outcomes.first().map_or(0, |first| first.max(probe.outcomes.reach()));
    let horizon = probe.stopped.map_or(axis.now, |s| s.min(axis.now)).saturating_add(1);
    for (i, column) in columns.iter_mut().enumerate() {
        let (from, to) = (slot(axis.start(i as u16)), slot(axis.start(i as u16 + 1)));
        if to <= from {
            continue;
        }
        let sum = probe.outcomes.summary(from, to - 1);
        let due = to.min(slot(horizon)).saturating_sub(from.max(oldest));
        column.pending = due.saturating_sub(sum.settled());
        let there = |worst: &Worst| match worst {
            Worst::Pending => column.pending > 0,
            Worst::Of(class) => sum.any(*class),
        };
        column.worst = Worst::RANKED.into_iter().find(there);
        column.down = u32::try_from(sum.down()).unwrap_or(u32::MAX);
        (column.rtt_min, column.rtt_max) = (sum.rtt.map(|r| r.0), sum.rtt.map(|r| r.1));
        column.sum = sum;
    }
    columns
}

/// Probes that were down, with no reply between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    /// When the first was due, ns.
    pub(crate) from: Nanos,
    /// When the last was due, ns.
    pub(crate) to: Nanos,
    /// How many.
    pub(crate) down: u32,
    /// What they were: lost, or down in several ways.
    pub(crate) word: &'static str,
}

/// The holes in view. They are counted in probes, not in columns, so that zoom changes no figure;
/// of those shorter than a column no more than one a column is told of.
pub(crate) fn holes(probe: &ProbeState, axis: &Axis) -> Vec<Hole> {
    let holes = probe.holes(axis.start(0), axis.end(), axis.column_ns);
    let narrow = |down| u32::try_from(down).unwrap_or(u32::MAX);
    holes.into_iter().map(|h| Hole { from: h.from, to: h.to, down: narrow(h.down), word: h.word() }).collect()
}

/// The dirty rate in one column, pages/s.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RateColumn {
    /// Achieved by the agent (the highest of the column).
    pub(crate) achieved: Option<f64>,
    /// Set at the agent.
    pub(crate) set: Option<f64>,
    /// Requested by the operator.
    pub(crate) requested: Option<f64>,
    /// Seen by the hypervisor, where it was renewed.
    pub(crate) hypervisor: Option<f64>,
    /// The bandwidth limit.
    pub(crate) link: Option<f64>,
}

/// The dirty rate of each column.
pub(crate) fn rate_columns(state: &State, axis: &Axis) -> Vec<RateColumn> {
    let mut columns = vec![RateColumn::default(); usize::from(axis.columns)];
    let migrations: Vec<&Migration> = visible(state, axis).collect();
    agent_rates(state, axis, &mut columns);
    // A guest that stands still achieves nothing, whatever a window tells that spans the stop. The
    // column the stop lies in tells of the time before it.
    for m in &migrations {
        let Some((stopped, ..)) = m.stopped else { continue };
        let resumed = m.resumed.as_ref().map(|(t, ..)| *t).or(m.ended.as_ref().map(|(t, _)| *t)).unwrap_or(axis.now);
        for i in axis.columns_of(stopped, resumed) {
            if axis.start(i) > stopped && axis.start(i + 1) < resumed {
                columns[usize::from(i)].achieved = None;
            }
        }
    }
    requested_rates(state, axis, &mut columns);
    if let Some(samples) = few_samples(state, axis) {
        for (m, from) in samples {
            let mut before = None;
            for (t, sample) in m.samples.range(from..).take_while(|(t, _)| *t < axis.end()) {
                let seen = sample.dirty_pages_per_s.filter(|r| *r > 0.0 && r.is_finite());
                if seen.is_some()
                    && seen != before
                    && is_long_enough(m, *t)
                    && let Some(i) = axis.column(*t)
                {
                    columns[usize::from(i)].hypervisor = seen;
                }
                before = seen.or(before);
            }
        }
    } else {
        each_tick(state, axis, |i, tick| columns[i].hypervisor = tick.dirty_seen.or(columns[i].hypervisor));
    }
    for i in 0..axis.columns {
        columns[usize::from(i)].link = link_at(state, axis.start(i));
    }
    columns
}

/// The link's capacity at an instant, pages/s: that of the migration which ran then, else the one set now.
pub(crate) fn link_at(state: &State, t: Nanos) -> Option<f64> {
    let ran = |m: &&Migration| m.began <= t && m.ended.as_ref().is_some_and(|(end, _)| t < *end);
    match state.migrations.iter().rev().find(ran) {
        Some(m) => m.settings.limit_bytes_per_s().map(crate::units::link_pages_per_s),
        None => link_pages_per_s(state),
    }
}

/// The rate that the hypervisor of the migration under way had seen by `t`, pages/s.
pub(crate) fn seen_by_hypervisor(state: &State, t: Nanos) -> Option<f64> {
    let m = state.migrations.iter().rev().find(|m| m.began <= t)?;
    if m.ended.as_ref().is_some_and(|(end, _)| *end < t) {
        return None;
    }
    let until = m.samples.partition_point(|(at, _)| *at <= t).min(m.samples.len());
    let mut newest = m
        .samples
        .range(..until)
        .rev()
        .filter_map(|(at, s)| Some((*at, s.dirty_pages_per_s.filter(|r| *r > 0.0 && r.is_finite())?)));
    let (mut first, mut rate) = newest.next()?;
    // It counts from where it was first told on.
    for (at, before) in newest {
        if before == rate {
            first = at;
        } else if is_long_enough(m, first) {
            break;
        } else {
            (first, rate) = (at, before);
        }
    }
    is_long_enough(m, first).then_some(rate)
}

/// A rate over less time than this is a handful of pages, and where they fell.
const SHORT: Nanos = 100_000_000;

/// Whether a rate first told at `t` was measured over a time that makes it one: hypervisors measure it over
/// the round that has ended before.
fn is_long_enough(m: &Migration, t: Nanos) -> bool {
    let begun = m.rounds.partition_point(|(at, _)| *at <= t);
    let at = |i: usize| m.rounds.get(i).map(|(at, _)| *at);
    match (begun.checked_sub(2).and_then(at), begun.checked_sub(1).and_then(at)) {
        (Some(from), Some(to)) => to.saturating_sub(from) >= SHORT,
        // The first round: what is told in it was measured since the migration began, or before.
        _ => true,
    }
}

/// What the agent achieved and had set.
fn agent_rates(state: &State, axis: &Axis, columns: &mut [RateColumn]) {
    let Some(reports) = few(&state.reports, axis) else {
        each_tick(state, axis, |i, tick| {
            columns[i].achieved = highest(columns[i].achieved, tick.achieved);
            columns[i].set = tick.set.or(columns[i].set);
        });
        return;
    };
    for (t, report) in state.reports.range(reports) {
        let whole = report.window_ns <= STANDSTILL;
        let window = report.window_ns.clamp(1, STANDSTILL);
        for i in axis.columns_of(t.saturating_sub(window - 1), *t) {
            let c = &mut columns[usize::from(i)];
            if whole {
                c.achieved = highest(c.achieved, Some(finite(report.rate_pages_per_s)));
            }
            c.set = Some(finite(report.set.dirty.rate_pages_per_s()));
        }
    }
}

/// What was asked for: in each column the newest request by its end.
fn requested_rates(state: &State, axis: &Axis, columns: &mut [RateColumn]) {
    let newest = state.load.requested.as_ref().map(|(_, settings, t)| (*t, *settings));
    for (i, column) in columns.iter_mut().enumerate() {
        let (start, end) = (axis.start(i as u16), axis.start(i as u16 + 1));
        if start > axis.now {
            break;
        }
        let asked = state.requests.partition_point(|(t, _)| *t < end);
        let held = asked.checked_sub(1).and_then(|i| state.requests.get(i)).map(|(_, settings)| *settings);
        let settings = newest.filter(|(t, _)| *t < end).map(|(_, settings)| settings).or(held);
        column.requested = settings.map(|s| finite(s.dirty.rate_pages_per_s()));
    }
}

/// The bandwidth limit as set now, pages/s.
pub(crate) fn link_pages_per_s(state: &State) -> Option<f64> {
    let settings = state.next.as_ref().or(state.migrations.last().map(|m| &m.settings));
    settings.and_then(|s| s.limit_bytes_per_s()).map(crate::units::link_pages_per_s)
}

/// What was left to send in each column, bytes (the newest of the column).
pub(crate) fn remaining_columns(state: &State, axis: &Axis) -> Vec<Option<u64>> {
    let mut columns = vec![None; usize::from(axis.columns)];
    if !each_sample(state, axis, |i, sample| columns[i] = sample.remaining_bytes.or(columns[i])) {
        each_tick(state, axis, |i, tick| columns[i] = tick.remaining_bytes.or(columns[i]));
    }
    columns
}

/// What was sent in each column, bytes/s (the highest of the column).
pub(crate) fn throughput_columns(state: &State, axis: &Axis) -> Vec<Option<f64>> {
    let mut columns = vec![None; usize::from(axis.columns)];
    let sampled = each_sample(state, axis, |i, sample| {
        columns[i] = highest(columns[i], sample.throughput_bytes_per_s.map(finite));
    });
    if !sampled {
        each_tick(state, axis, |i, tick| columns[i] = highest(columns[i], tick.throughput));
    }
    columns
}

/// How busy the CPUs were in one column, % (the highest of the column).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct CpuColumn {
    /// This machine, % of all its CPUs.
    pub(crate) host: Option<f64>,
    /// The hypervisors on it together, % of one CPU.
    pub(crate) hypervisors: Option<f64>,
    /// The guest by its own kernel, % of all its CPUs.
    pub(crate) guest: Option<f64>,
}

/// The CPUs of each column.
pub(crate) fn cpu_columns(state: &State, axis: &Axis) -> Vec<CpuColumn> {
    let mut columns = vec![CpuColumn::default(); usize::from(axis.columns)];
    let (Some(seen), Some(reports)) = (few(&state.host_cpu, axis), few(&state.reports, axis)) else {
        each_tick(state, axis, |i, tick| {
            let c = &mut columns[i];
            c.host = highest(c.host, tick.host_cpu_pct);
            c.hypervisors = highest(c.hypervisors, tick.hypervisors_pct);
            c.guest = highest(c.guest, tick.guest_cpu_pct);
        });
        return columns;
    };
    let mut before = seen.start.checked_sub(1).and_then(|i| state.host_cpu.get(i)).map(|(t, _)| *t);
    for (t, seen) in state.host_cpu.range(seen) {
        // What is told at `t` was measured since the time before.
        let from = before.map_or(*t, |b| b.saturating_add(1).max(t.saturating_sub(STANDSTILL))).min(*t);
        for i in axis.columns_of(from, *t) {
            let c = &mut columns[usize::from(i)];
            c.host = highest(c.host, Some(finite(seen.cpu_pct)));
            let sum = seen.hypervisors.iter().map(|(_, pct)| finite(*pct)).sum();
            c.hypervisors = highest(c.hypervisors, (!seen.hypervisors.is_empty()).then_some(sum));
        }
        before = Some(*t);
    }
    for (t, report) in state.reports.range(reports).filter(|(_, r)| r.window_ns <= STANDSTILL) {
        for i in axis.columns_of(t.saturating_sub(report.window_ns.max(1) - 1), *t) {
            let c = &mut columns[usize::from(i)];
            c.guest = highest(c.guest, report.guest_cpu_pct.map(finite));
        }
    }
    columns
}

/// The indices of what was told in view or shortly after, of windows that may begin in view: as
/// long as there are few enough to look at each, and none of the view has been let go of.
fn few<T>(told: &Chunked<(Nanos, T)>, axis: &Axis) -> Option<Range<usize>> {
    let from = told.partition_point(|(t, _)| *t < axis.start(0));
    let to = told.partition_point(|(t, _)| *t < axis.end().saturating_add(STANDSTILL));
    let all_there = from > 0 || told.len() < REPORTS;
    (all_there && to.saturating_sub(from) <= FEW).then_some(from..to.max(from))
}

/// The migrations in view, with the index of the sample that still speaks at its beginning: as
/// long as there are few enough to look at each.
fn few_samples<'a>(state: &'a State, axis: &Axis) -> Option<Vec<(&'a Migration, usize)>> {
    let mut total = 0_usize;
    let mut found = Vec::new();
    for m in visible(state, axis) {
        let from = m.samples.partition_point(|(t, _)| *t < axis.start(0)).saturating_sub(1);
        total += m.samples.partition_point(|(t, _)| *t < axis.end()).saturating_sub(from);
        if total > FEW {
            return None;
        }
        found.push((m, from));
    }
    Some(found)
}

/// Hands each sample to the columns it speaks for, in order; false if there are too many.
fn each_sample(state: &State, axis: &Axis, mut look: impl FnMut(usize, &Sample)) -> bool {
    let Some(migrations) = few_samples(state, axis) else { return false };
    for (m, from) in migrations {
        let end = m.ended.as_ref().map_or(axis.now, |(t, _)| *t);
        for (t, sample) in m.samples.range(from..).take_while(|(t, _)| *t < axis.end()) {
            let until = t.saturating_add(HOLD).min(end.max(*t));
            axis.columns_of(*t, until).for_each(|i| look(usize::from(i), sample));
        }
    }
    true
}

/// Hands each bucket of the trail to its columns, in order.
fn each_tick(state: &State, axis: &Axis, mut look: impl FnMut(usize, &Tick)) {
    for (from, to, tick) in state.trail.within(axis.start(0), axis.end().saturating_sub(1), axis.column_ns) {
        axis.columns_of(from, to).for_each(|i| look(usize::from(i), tick));
    }
}

fn highest(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

/// The migrations that are at least partly in view.
pub(crate) fn visible<'a>(state: &'a State, axis: &Axis) -> impl Iterator<Item = &'a Migration> + use<'a> {
    let (from, to) = (axis.start(0), axis.end());
    state.migrations.iter().filter(move |m| {
        let end = m.settled.or(m.ended.as_ref().map(|(t, _)| *t));
        m.began < to && end.is_none_or(|e| e >= from)
    })
}

/// The smallest round number (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten) that is at least `value`.
pub(crate) fn nice_ceiling(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let decade = 10f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|m| m * decade)
        .find(|n| *n >= value * 0.999_999)
        .unwrap_or(value)
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::{Engine, Fate, Outcome, ProbeKind, ProbeSpec};

    const MS: u64 = 1_000_000;

    const OK: Fate = Fate::Ok { rtt: MS };

    fn probe(outcomes: &[(u64, Fate)]) -> ProbeState {
        ProbeState {
            spec: ProbeSpec {
                engine: Engine::SurgePing,
                ..ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 2].into(), 50 * MS)
            },
            outcomes: outcomes.iter().map(|(k, fate)| Outcome { k: *k, sent: k * 50 * MS, fate: *fate }).collect(),
            counts: BTreeMap::new(),
            stopped: None,
        }
    }

    fn axis(columns: u16, column_ms: u64, now_ms: u64) -> Axis {
        Axis { column_ns: column_ms * MS, first: 0, columns, now: now_ms * MS }
    }

    #[test]
    fn one_lost_probe_shows_among_two_hundred() {
        let mut script: Vec<(u64, Fate)> = (0..200).map(|k| (k, OK)).collect();
        script[77].1 = Fate::Lost;
        let columns = ping_columns(&probe(&script), &axis(2, 5000, 9_949));
        assert_eq!(columns[0].worst, Some(Worst::Of(Class::Lost)));
        assert_eq!((columns[0].down, columns[0].rtt_max), (1, Some(MS)));
        assert_eq!(columns[1].worst, Some(Worst::Of(Class::Ok)));
    }

    #[test]
    fn a_due_slot_without_outcome_is_pending_and_a_future_one_is_nothing() {
        let columns = ping_columns(&probe(&[(0, OK), (1, OK), (3, OK)]), &axis(8, 50, 210));
        let fates: Vec<_> = columns.iter().map(|c| c.worst).collect();
        let (o, p) = (Some(Worst::Of(Class::Ok)), Some(Worst::Pending));
        assert_eq!(fates, [o, o, p, o, p, None, None, None]);
    }

    #[test]
    fn what_the_ring_no_longer_holds_is_not_pending() {
        let columns = ping_columns(&probe(&[(4, OK)]), &axis(6, 50, 210));
        assert_eq!(columns[0].worst, None);
        assert_eq!(columns[4].worst, Some(Worst::Of(Class::Ok)));
    }

    #[test]
    fn slots_after_the_end_of_a_probe_are_nothing() {
        let mut p = probe(&[(0, OK)]);
        p.stopped = Some(60 * MS);
        let fates: Vec<_> = ping_columns(&p, &axis(4, 50, 500)).iter().map(|c| c.worst).collect();
        assert_eq!(fates, [Some(Worst::Of(Class::Ok)), Some(Worst::Pending), None, None]);
    }

    #[test]
    fn a_lone_reply_splits_a_hole() {
        let script: Vec<_> = (0..10).map(|k| (k, if k == 0 || k == 5 { OK } else { Fate::Lost })).collect();
        let hole = |from, to| Hole { from: from * MS, to: to * MS, down: 4, word: "lost" };
        assert_eq!(holes(&probe(&script), &axis(10, 50, 490)), [hole(50, 200), hole(300, 450)]);
        // The same at any zoom.
        assert_eq!(holes(&probe(&script), &axis(2, 400, 490)), [hole(50, 200), hole(300, 450)]);
    }

    #[test]
    fn a_rate_over_a_short_round_is_none() {
        let mut state = crate::tui::fixture::migrating(crate::tui::fixture::BEGAN + 11_000 * MS);
        let (began, m) = (crate::tui::fixture::BEGAN, &mut state.migrations[0]);
        m.rounds = vec![(began, 1), (began + 3_000 * MS, 2), (began + 3_002 * MS, 3), (began + 6_000 * MS, 4)];
        let told = |ms, rate| (began + ms * MS, Sample { dirty_pages_per_s: Some(rate), ..Sample::default() });
        // After a round of 3 s, one of 2 ms, one of 3 s.
        m.samples = [told(3_001, 9_000.0), told(3_100, 50_000.0), told(3_200, 50_000.0), told(6_100, 8_900.0)]
            .into_iter()
            .collect();
        let at = |ms| seen_by_hypervisor(&state, began + ms * MS);
        assert_eq!(
            [at(2_000), at(3_001), at(3_150), at(5_000), at(6_100)],
            [None, Some(9_000.0), Some(9_000.0), Some(9_000.0), Some(8_900.0)]
        );
        let axis = Axis { column_ns: 100 * MS, first: began / (100 * MS), columns: 70, now: began + 6_500 * MS };
        let seen: Vec<f64> = rate_columns(&state, &axis).iter().filter_map(|c| c.hypervisor).collect();
        assert_eq!(seen, [9_000.0, 8_900.0]);
    }

    #[test]
    fn scales_are_round() {
        assert_eq!(nice_ceiling(9000.0), 10_000.0);
        assert_eq!(nice_ceiling(11_000.0), 15_000.0);
        assert_eq!(nice_ceiling(2_100.0), 2_500.0);
        assert_eq!(nice_ceiling(f64::NAN), 1.0);
    }
}
