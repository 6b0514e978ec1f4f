//! Steps of the guest's clock against ours: while the guest stands still, so does its clock.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::ping::bar;
use crate::event::Nanos;
use crate::session::State;
use crate::tui::axis::Axis;
use crate::tui::draw::Ctx;
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
    let mut free = 0;
    for (x, step) in columns.iter().enumerate() {
        let (x, Some(step)) = (x as u16, step.filter(|s| *s >= JITTER)) else { continue };
        let share = (step as f64 / JITTER as f64).log10() / (FULL / JITTER as f64).log10();
        bar(ctx, &mut pen, g + x, 0, area.height, share, [Role::ClockStep, Role::ClockStep]);
        let text = show_duration(Duration::from_nanos(step));
        if x >= free && x + 1 + width(&text) <= ctx.axis.columns {
            free = pen.text(g + x + 1, area.height - 1, &text, ctx.style(Role::ClockStep)) - g + 1;
        }
    }
}

/// The longest step of each column, ns: by how much more our clock went on between two heartbeats than
/// the guest's. `None` where no heartbeat came. A step lies in the column of the heartbeat after it.
pub(crate) fn step_columns(state: &State, axis: &Axis) -> Vec<Option<Nanos>> {
    let mut columns: Vec<Option<Nanos>> = vec![None; usize::from(axis.columns)];
    let beats = &state.heartbeats;
    let begin = beats.partition_point(|(t, ..)| *t < axis.start(0)).saturating_sub(LATE);
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

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
