//! Steps of the guest's clock against ours: while the guest stands still, so does its clock.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::ping::bar;
use crate::analysis::Method;
use crate::chunked::Chunked;
use crate::event::Nanos;
use crate::session::State;
use crate::tui::axis::Axis;
use crate::tui::ctx::Ctx;
use crate::tui::pen::{Pen, width};
use crate::tui::theme::Role;
use crate::units::show_duration;

/// Steps shorter than this are the way through the network, ns.
const JITTER: Nanos = 10_000_000;
/// So many datagrams before the view are looked at: the newest of them may have come late.
const LATE: usize = 16;
/// A guest's clock that went back by more was started anew, ns: no datagram is as late.
const ANEW: Nanos = 5_000_000_000;
/// A step that fills the track, ns: logarithms from [`JITTER`] on.
const FULL: f64 = 1e10;
/// So many heartbeats in view are looked at one by one.
const FEW: usize = 4_096;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let g = ctx.gutter;
    pen.text(1, 0, "STEP", ctx.style(Role::Title));
    if g > 0 {
        for y in 0..area.height {
            pen.cell(g - 1, y, ctx.glyphs.axis, ctx.style(Role::Rule));
        }
    }
    if ctx.state.heartbeats.is_empty() {
        pen.text(g + 1, 0, "no heartbeat of the guest's clock yet", ctx.style(Role::Muted));
        return;
    }
    let columns = step_columns(ctx.state, &ctx.axis);
    for x in ctx.axis.columns_of(ctx.axis.start(0), ctx.axis.now) {
        if columns.get(usize::from(x)).is_some_and(Option::is_some) {
            pen.cell(g + x, area.height - 1, ctx.glyphs.middot, ctx.style(Role::Muted));
        }
    }
    let steps: Vec<(u16, Nanos)> =
        (0u16..).zip(&columns).filter_map(|(x, step)| Some((x, step.filter(|s| *s >= JITTER)?))).collect();
    for (x, step) in &steps {
        let share = (*step as f64 / JITTER as f64).log10() / (FULL / JITTER as f64).log10();
        bar(ctx, &mut pen, g + x, 0, area.height, share, [Role::ClockStep, Role::ClockStep]);
    }
    // The longest have their figures first; one that would lie on a bar or on another's figure has none.
    let mut taken: Vec<std::ops::Range<u16>> = steps.iter().map(|(x, _)| *x..x + 1).collect();
    let mut longest = steps;
    longest.sort_by_key(|(x, step)| (std::cmp::Reverse(*step), *x));
    for (x, step) in longest {
        let text = show_duration(Duration::from_nanos(step));
        let room = x + 1..x + 1 + width(&text);
        if room.end <= ctx.axis.columns && taken.iter().all(|t| t.end <= room.start || room.end < t.start) {
            pen.text(g + room.start, area.height - 1, &text, ctx.style(Role::ClockStep));
            taken.push(room.start..room.end + 1);
        }
    }
}

/// The longest step of each column, ns: by how much more our clock went on between two heartbeats than
/// the guest's. `None` where no heartbeat came. A step lies in the column of the heartbeat after it. The
/// step of a migration is the one its `guest-clock` tells: between two heartbeats lies also what their
/// ways differ, which the estimate sees through.
pub(crate) fn step_columns(state: &State, axis: &Axis) -> Vec<Option<Nanos>> {
    let mut columns = raw_columns(state, axis);
    for m in &state.migrations {
        let until = m.settled.or(m.ended.as_ref().map(|(t, _)| *t));
        let (Some(until), Some(downtime)) = (until, &m.downtime) else { continue };
        let clock = downtime.estimates.iter().find(|e| e.method == Method::GuestClock);
        let Some(value) = clock.and_then(|e| e.value) else { continue };
        if axis.columns_of(m.began, until).is_empty() {
            continue;
        }
        let beats = &state.heartbeats;
        let from = beats.partition_point(|(t, ..)| *t < m.began);
        let to = beats.partition_point(|(t, ..)| *t <= until);
        if from >= to {
            continue;
        }
        let (step, t) = longest_step(beats, from.saturating_sub(1), to - 1);
        let column = axis.column(t).and_then(|i| columns.get_mut(usize::from(i)));
        // A longer one in the same column is another's.
        if let Some(Some(longest)) = column.map(|c| c.as_mut().filter(|c| **c <= step)) {
            *longest = u64::try_from(value.value.as_nanos()).unwrap_or(u64::MAX);
        }
    }
    columns
}

fn raw_columns(state: &State, axis: &Axis) -> Vec<Option<Nanos>> {
    let mut columns: Vec<Option<Nanos>> = vec![None; usize::from(axis.columns)];
    let beats = &state.heartbeats;
    let from = beats.partition_point(|(t, ..)| *t < axis.start(0));
    if beats.partition_point(|(t, ..)| *t < axis.end()).saturating_sub(from) > FEW {
        for (i, column) in (0..axis.columns).zip(&mut columns) {
            let from = beats.partition_point(|(t, ..)| *t < axis.start(i));
            let to = beats.partition_point(|(t, ..)| *t < axis.start(i + 1));
            // The heartbeat before the column: a step lies in the column of the one after it.
            *column = (from < to).then(|| longest_step(beats, from.saturating_sub(1), to - 1).0);
        }
        return columns;
    }
    let begin = from.saturating_sub(LATE);
    let mut before: Option<(Nanos, u64, u64)> = None;
    for beat in beats.range(begin.min(beats.len())..) {
        let (t, seq, guest) = *beat;
        if t >= axis.end() {
            break;
        }
        // A repeated or late datagram says nothing.
        let step = before
            .filter(|(bt, bs, bg)| t >= *bt && seq > *bs && guest >= *bg)
            .map(|(bt, _, bg)| (t - bt).saturating_sub(guest - bg));
        if let (Some(i), Some(step)) = (axis.column(t), step) {
            let column = &mut columns[usize::from(i)];
            *column = (*column).max(Some(step));
        }
        // An agent that was started anew counts from 0, a guest that was has a new clock.
        if before.is_none_or(|(_, bs, bg)| seq > bs || guest > bg || bg - guest > ANEW) {
            before = Some(*beat);
        }
    }
    columns
}

/// The longest step between two heartbeats of `from..=to`, ns, and when the later of the two came. Where
/// the clocks went on alike from end to end there is no step between, so only the stretches with one are
/// looked into.
fn longest_step(beats: &Chunked<(Nanos, u64, u64)>, from: usize, to: usize) -> (Nanos, Nanos) {
    let (Some((t0, _, g0)), Some((t1, _, g1))) = (beats.get(from), beats.get(to)) else { return (0, 0) };
    let forward = t1 >= t0 && g1 >= g0;
    let step = if forward { (t1 - t0).saturating_sub(g1 - g0) } else { 0 };
    if to <= from + 1 || (forward && step < JITTER) {
        return (step, *t1);
    }
    let middle = from + (to - from) / 2;
    longest_step(beats, from, middle).max(longest_step(beats, middle, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn a_standstill_among_many_heartbeats_is_found_in_its_column() {
        // Every 10 ms for 100 s; the guest stands still for 2.5 s from 40 s on.
        let mut state = State::default();
        for i in 0..10_000_u64 {
            let t = i * 10 * MS;
            if !(40_000..42_500).contains(&(i * 10)) {
                let guest = if i * 10 < 40_000 { t } else { t - 2_490 * MS };
                state.heartbeats.push_back((t, i, guest));
            }
        }
        let axis = Axis { column_ns: 1_000 * MS, first: 0, columns: 100, now: 100_000 * MS };
        let steps = step_columns(&state, &axis);
        let seen: Vec<_> = (0..100).filter(|i| steps[*i].is_some_and(|s| s >= JITTER)).collect();
        assert_eq!((seen, steps[42]), (vec![42], Some(2_490 * MS)));
        assert_eq!((steps[0], steps[41]), (Some(0), None));
    }

    #[test]
    fn the_step_of_a_migration_is_its_guest_clock() {
        use std::time::Duration;

        use crate::analysis::{Bounded, Downtimes, Estimate};
        // Between the two heartbeats beside the standstill 167 ms are missing; the estimate sees through the
        // jam of the later one.
        let beat = |i: u64| match i {
            0..50 => (i * 10 * MS, i, i * 10 * MS),
            _ => (i * 10 * MS + 167 * MS, i, i * 10 * MS),
        };
        let mut state = crate::tui::fixture::migrating(0);
        state.heartbeats = (0..200).map(beat).collect();
        let m = &mut state.migrations[0];
        (m.began, m.settled) = (200 * MS, Some(1_500 * MS));
        let ms = Duration::from_millis;
        let value = Some(Bounded { value: ms(135), lo: ms(130), hi: ms(140) });
        let estimates = vec![Estimate { method: Method::GuestClock, value, note: None }];
        m.downtime = Some(Downtimes { estimates, gaps: 0, gaps_total: Duration::ZERO, probes: Vec::new() });
        // The same at any zoom, also where the migration is not in view as a whole.
        for (column_ns, first, at) in [(100 * MS, 0, 6), (100 * MS, 6, 0), (10 * MS, 66, 0), (2_000 * MS, 0, 0)] {
            let axis = Axis { column_ns, first, columns: 8, now: 4_000 * MS };
            assert_eq!(step_columns(&state, &axis)[at], Some(135 * MS), "{column_ns} {first}");
        }
    }

    #[test]
    fn a_standstill_is_a_step_and_a_repeated_datagram_is_none() {
        let beat = |t: u64, seq, guest: u64| (t * MS, seq, guest * MS);
        let beats =
            [beat(100, 1, 5000), beat(150, 2, 5050), beat(160, 1, 5000), beat(3200, 3, 5100), beat(3250, 4, 5150)];
        let state = State { heartbeats: beats.into_iter().collect(), ..State::default() };
        let axis = Axis { column_ns: 1000 * MS, first: 0, columns: 5, now: 4000 * MS };
        assert_eq!(step_columns(&state, &axis), [Some(0), None, None, Some(3000 * MS), None]);
        // The step is the same at any zoom.
        let near = Axis { column_ns: 50 * MS, first: 64, columns: 2, now: 4000 * MS };
        assert_eq!(step_columns(&state, &near), [Some(3000 * MS), Some(0)]);
    }
}
