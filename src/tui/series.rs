//! What happened in each column of the time axis. Only what is in view is looked at: the start is
//! found by binary search.

use crate::event::{Class, Nanos};
use crate::session::State;
use crate::session::state::{Migration, ProbeState};

use super::axis::Axis;

/// A sample speaks for so long when none comes after it, ns.
const HOLD: Nanos = 400_000_000;
/// A window longer than this is one that spans a standstill of the guest, not a rate, ns.
const STANDSTILL: Nanos = 2_000_000_000;

/// The fate of the worst probe of a column, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Ok,
    Duplicate,
    Pending,
    NotSent,
    Late,
    Error,
    Lost,
}

/// The probes due in one column.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PingColumn {
    /// The worst fate; `None` where no probe was due.
    pub(crate) worst: Option<Fate>,
    /// The longest round trip, ns.
    pub(crate) rtt_max: Option<u64>,
    /// Probes lost.
    pub(crate) lost: u32,
}

impl PingColumn {
    fn add(&mut self, fate: Fate) {
        self.worst = self.worst.max(Some(fate));
    }
}

/// The probes of each column, by when they were due.
pub(crate) fn ping_columns(probe: &ProbeState, axis: &Axis) -> Vec<PingColumn> {
    let mut columns = vec![PingColumn::default(); usize::from(axis.columns)];
    let (t0, interval) = (probe.spec.t0, probe.spec.interval_ns);
    if interval == 0 || columns.is_empty() {
        return columns;
    }
    let slot = |t: Nanos| t.saturating_sub(t0).div_ceil(interval);
    let first = slot(axis.start(0));
    let begin = probe.outcomes.partition_point(|o| o.k < first);
    let mut settled = vec![0u64; columns.len()];
    let mut before = None;
    for outcome in probe.outcomes.range(begin..) {
        let due = t0.saturating_add(outcome.k.saturating_mul(interval));
        if due >= axis.end() {
            break;
        }
        let Some(i) = axis.column(due) else { continue };
        let column = &mut columns[usize::from(i)];
        let fate = match outcome.class {
            Class::Ok => Fate::Ok,
            Class::Duplicate => Fate::Duplicate,
            Class::NotSent => Fate::NotSent,
            Class::Late => Fate::Late,
            Class::Error => Fate::Error,
            Class::Lost => Fate::Lost,
        };
        column.add(fate);
        column.lost += u32::from(fate == Fate::Lost);
        if matches!(outcome.class, Class::Ok | Class::Late) && outcome.rtt != u64::MAX {
            column.rtt_max = column.rtt_max.max(Some(outcome.rtt));
        }
        if before != Some(outcome.k) {
            settled[usize::from(i)] += 1;
        }
        before = Some(outcome.k);
    }
    // Slots that are due and have no outcome are pending; those older than the ring are unknown.
    let oldest = probe.outcomes.front().map_or(0, |o| o.k);
    let horizon = probe.stopped.map_or(axis.now, |s| s.min(axis.now)).saturating_add(1);
    for (i, column) in columns.iter_mut().enumerate() {
        let from = slot(axis.start(i as u16)).max(oldest);
        let to = slot(axis.start(i as u16 + 1).min(horizon));
        if to.saturating_sub(from) > settled[i] {
            column.add(Fate::Pending);
        }
    }
    columns
}

/// Lost probes with no reply between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    /// When the first was due, ns.
    pub(crate) from: Nanos,
    /// When the last was due, ns.
    pub(crate) to: Nanos,
    /// How many.
    pub(crate) lost: u32,
}

/// The holes in view. They are counted in probes, not in columns, so that zoom changes no figure.
pub(crate) fn holes(probe: &ProbeState, axis: &Axis) -> Vec<Hole> {
    let (t0, interval) = (probe.spec.t0, probe.spec.interval_ns);
    let mut holes: Vec<Hole> = Vec::new();
    if interval == 0 {
        return holes;
    }
    let first = axis.start(0).saturating_sub(t0).div_ceil(interval);
    let begin = probe.outcomes.partition_point(|o| o.k < first);
    let mut open = false;
    for outcome in probe.outcomes.range(begin..) {
        let due = t0.saturating_add(outcome.k.saturating_mul(interval));
        if due >= axis.end() {
            break;
        }
        match outcome.class {
            Class::Ok | Class::Late | Class::Duplicate => open = false,
            Class::Lost => {
                match holes.last_mut().filter(|_| open) {
                    Some(hole) => (hole.to, hole.lost) = (due, hole.lost + 1),
                    None => holes.push(Hole { from: due, to: due, lost: 1 }),
                }
                open = true;
            }
            Class::NotSent | Class::Error => {}
        }
    }
    holes
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
    /// The link's capacity.
    pub(crate) link: Option<f64>,
}

/// The dirty rate of each column.
pub(crate) fn rate_columns(state: &State, axis: &Axis) -> Vec<RateColumn> {
    let mut columns = vec![RateColumn::default(); usize::from(axis.columns)];
    let begin = state.reports.partition_point(|(t, _)| *t < axis.start(0));
    for (t, report) in state.reports.range(begin..) {
        if *t >= axis.end().saturating_add(report.window_ns) {
            break;
        }
        // A window longer than 2 s is one that spans a standstill of the guest, not a rate.
        let window = report.window_ns.clamp(1, 2_000_000_000);
        for i in axis.columns_of(t.saturating_sub(window - 1), *t) {
            let c = &mut columns[usize::from(i)];
            c.achieved = Some(c.achieved.unwrap_or(0.0).max(finite(report.rate_pages_per_s)));
            c.set = Some(finite(report.set.dirty.rate_pages_per_s()));
        }
    }
    if let Some((_, settings, since)) = &state.load.requested {
        for i in axis.columns_of(*since, axis.now) {
            columns[usize::from(i)].requested = Some(finite(settings.dirty.rate_pages_per_s()));
        }
    }
    for migration in visible(state, axis) {
        let mut before = None;
        let begin = migration.samples.partition_point(|(t, _)| *t < axis.start(0));
        for (t, sample) in &migration.samples[begin.min(migration.samples.len())..] {
            if *t >= axis.end() {
                break;
            }
            let seen = sample.dirty_pages_per_s.filter(|r| *r > 0.0 && r.is_finite());
            if seen.is_some()
                && seen != before
                && let Some(i) = axis.column(*t)
            {
                columns[usize::from(i)].hypervisor = seen;
            }
            before = seen.or(before);
        }
    }
    let current = link_pages_per_s(state);
    for i in 0..axis.columns {
        let t = axis.start(i);
        let past =
            state.migrations.iter().rev().find(|m| m.began <= t && m.ended.as_ref().is_some_and(|(end, _)| t < *end));
        let link = match past {
            Some(m) => m.settings.bandwidth_bytes_per_s.map(crate::units::link_pages_per_s),
            None => current,
        };
        columns[usize::from(i)].link = link;
    }
    columns
}

/// The link's capacity as set now, pages/s.
pub(crate) fn link_pages_per_s(state: &State) -> Option<f64> {
    let settings = state.next.as_ref().or(state.migrations.last().map(|m| &m.settings));
    settings.and_then(|s| s.bandwidth_bytes_per_s).map(crate::units::link_pages_per_s)
}

/// What was left to send in each column, bytes (the newest of the column).
pub(crate) fn remaining_columns(state: &State, axis: &Axis) -> Vec<Option<u64>> {
    let mut columns = vec![None; usize::from(axis.columns)];
    for migration in visible(state, axis) {
        let end = migration.ended.as_ref().map_or(axis.now, |(t, _)| *t);
        let begin = migration.samples.partition_point(|(t, _)| *t < axis.start(0)).saturating_sub(1);
        for (t, sample) in &migration.samples[begin.min(migration.samples.len())..] {
            if *t >= axis.end() {
                break;
            }
            if let Some(left) = sample.remaining_bytes {
                for i in axis.columns_of(*t, t.saturating_add(HOLD).min(end.max(*t))) {
                    columns[usize::from(i)] = Some(left);
                }
            }
        }
    }
    columns
}

/// What was sent in each column, bytes/s (the highest of the column).
pub(crate) fn throughput_columns(state: &State, axis: &Axis) -> Vec<Option<f64>> {
    let mut columns: Vec<Option<f64>> = vec![None; usize::from(axis.columns)];
    for migration in visible(state, axis) {
        let end = migration.ended.as_ref().map_or(axis.now, |(t, _)| *t);
        let begin = migration.samples.partition_point(|(t, _)| *t < axis.start(0)).saturating_sub(1);
        for (t, sample) in &migration.samples[begin.min(migration.samples.len())..] {
            if *t >= axis.end() {
                break;
            }
            if let Some(rate) = sample.throughput_bytes_per_s.map(finite) {
                for i in axis.columns_of(*t, t.saturating_add(HOLD).min(end.max(*t))) {
                    let column = &mut columns[usize::from(i)];
                    *column = Some(column.unwrap_or(0.0).max(rate));
                }
            }
        }
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
    let top = |old: Option<f64>, new: f64| Some(old.unwrap_or(0.0).max(finite(new)));
    let begin = state.host_cpu.partition_point(|(t, _)| *t < axis.start(0));
    let mut before = begin.checked_sub(1).and_then(|i| state.host_cpu.get(i)).map(|(t, _)| *t);
    for (t, seen) in state.host_cpu.range(begin..) {
        // What is told at `t` was measured since the time before.
        let from = before.map_or(*t, |b| (b + 1).max(t.saturating_sub(STANDSTILL))).min(*t);
        if from >= axis.end() {
            break;
        }
        for i in axis.columns_of(from, *t) {
            let c = &mut columns[usize::from(i)];
            c.host = top(c.host, seen.cpu_pct);
            if !seen.hypervisors.is_empty() {
                c.hypervisors = top(c.hypervisors, seen.hypervisors.iter().map(|(_, pct)| finite(*pct)).sum());
            }
        }
        before = Some(*t);
    }
    let begin = state.reports.partition_point(|(t, _)| *t < axis.start(0));
    for (t, report) in state.reports.range(begin..) {
        if *t >= axis.end().saturating_add(STANDSTILL) {
            break;
        }
        let Some(guest) = report.guest_cpu_pct.filter(|_| report.window_ns <= STANDSTILL) else { continue };
        for i in axis.columns_of(t.saturating_sub(report.window_ns.max(1) - 1), *t) {
            let c = &mut columns[usize::from(i)];
            c.guest = top(c.guest, guest);
        }
    }
    columns
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
    use std::collections::{BTreeMap, VecDeque};

    use super::*;
    use crate::event::{Engine, ProbeKind, ProbeSpec};
    use crate::session::state::Outcome;

    const MS: u64 = 1_000_000;

    fn probe(outcomes: &[(u64, Class)]) -> ProbeState {
        ProbeState {
            spec: ProbeSpec {
                target: [10, 0, 0, 2].into(),
                kind: ProbeKind::Icmp,
                engine: Engine::SurgePing,
                interval_ns: 50 * MS,
                deadline_ns: 1000 * MS,
                t0: 0,
                cannot_see: vec![],
            },
            outcomes: outcomes
                .iter()
                .map(|(k, class)| {
                    let rtt = if matches!(class, Class::Ok | Class::Late) { MS } else { u64::MAX };
                    Outcome { k: *k, sent: k * 50 * MS, rtt, class: *class }
                })
                .collect::<VecDeque<_>>(),
            counts: BTreeMap::new(),
            stopped: None,
        }
    }

    fn axis(columns: u16, column_ms: u64, now_ms: u64) -> Axis {
        Axis { column_ns: column_ms * MS, first: 0, columns, now: now_ms * MS }
    }

    #[test]
    fn one_lost_probe_shows_among_two_hundred() {
        let mut script: Vec<(u64, Class)> = (0..200).map(|k| (k, Class::Ok)).collect();
        script[77].1 = Class::Lost;
        let columns = ping_columns(&probe(&script), &axis(2, 5000, 9_949));
        assert_eq!(columns[0].worst, Some(Fate::Lost));
        assert_eq!((columns[0].lost, columns[0].rtt_max), (1, Some(MS)));
        assert_eq!(columns[1].worst, Some(Fate::Ok));
    }

    #[test]
    fn a_due_slot_without_outcome_is_pending_and_a_future_one_is_nothing() {
        let columns = ping_columns(&probe(&[(0, Class::Ok), (1, Class::Ok), (3, Class::Ok)]), &axis(8, 50, 210));
        let fates: Vec<_> = columns.iter().map(|c| c.worst).collect();
        use Fate::{Ok as O, Pending as P};
        assert_eq!(fates, [Some(O), Some(O), Some(P), Some(O), Some(P), None, None, None]);
    }

    #[test]
    fn what_the_ring_no_longer_holds_is_not_pending() {
        let columns = ping_columns(&probe(&[(4, Class::Ok)]), &axis(6, 50, 210));
        assert_eq!(columns[0].worst, None);
        assert_eq!(columns[4].worst, Some(Fate::Ok));
    }

    #[test]
    fn slots_after_the_end_of_a_probe_are_nothing() {
        let mut p = probe(&[(0, Class::Ok)]);
        p.stopped = Some(60 * MS);
        let fates: Vec<_> = ping_columns(&p, &axis(4, 50, 500)).iter().map(|c| c.worst).collect();
        assert_eq!(fates, [Some(Fate::Ok), Some(Fate::Pending), None, None]);
    }

    #[test]
    fn a_lone_reply_splits_a_hole() {
        let script: Vec<_> = (0..10).map(|k| (k, if k == 0 || k == 5 { Class::Ok } else { Class::Lost })).collect();
        let hole = |from, to| Hole { from: from * MS, to: to * MS, lost: 4 };
        assert_eq!(holes(&probe(&script), &axis(10, 50, 490)), [hole(50, 200), hole(300, 450)]);
        // The same at any zoom.
        assert_eq!(holes(&probe(&script), &axis(2, 400, 490)), [hole(50, 200), hole(300, 450)]);
    }

    #[test]
    fn scales_are_round() {
        assert_eq!(nice_ceiling(9000.0), 10_000.0);
        assert_eq!(nice_ceiling(11_000.0), 15_000.0);
        assert_eq!(nice_ceiling(2_100.0), 2_500.0);
        assert_eq!(nice_ceiling(f64::NAN), 1.0);
    }
}
