//! The time axis itself, below all tracks: its labels, the operator's marks, the measure, and whether
//! the picture stands still.

use std::ops::Range;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::readout::length;
use crate::event::Nanos;
use crate::tui::ctx::Ctx;
use crate::tui::keys::Action;
use crate::tui::pen::{Pen, width};
use crate::tui::theme::Role;
use crate::units::show_duration;

/// Columns of a mark's note.
const NOTE: u16 = 10;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let g = ctx.gutter;
    if g > 0 {
        pen.right(0, g - 2, 0, &format!("{}/col", column_length(ctx.axis.column_ns)), ctx.style(Role::Muted));
        pen.cell(g - 1, 0, ctx.glyphs.axis_label, ctx.style(Role::Rule));
    }
    let sign = sign(ctx);
    labels(ctx, &mut pen, &busy(ctx, sign.as_ref().map(|(x, text)| *x..x + width(text))));
    marks(ctx, &mut pen);
    measure(ctx, &mut pen);
    ends(ctx, &mut pen);
    if let Some((x, text)) = sign {
        pen.text(g + x, 0, &text, ctx.style(Role::Frozen).add_modifier(Modifier::BOLD));
    }
}

/// The length of a column, in whole units where it has them.
fn column_length(ns: Nanos) -> String {
    match ns {
        ns if ns < 1_000_000 => format!("{} ms", ns as f64 / 1e6),
        ns if ns < 1_000_000_000 => format!("{} ms", ns / 1_000_000),
        ns if ns < 60_000_000_000 => format!("{} s", ns as f64 / 1e9),
        ns if ns < 3_600_000_000_000 => format!("{} min", ns / 60_000_000_000),
        ns => format!("{} h", ns / 3_600_000_000_000),
    }
}

/// Columns where something else stands than labels.
fn busy(ctx: &Ctx<'_>, sign: Option<Range<u16>>) -> Vec<Range<u16>> {
    let time = &ctx.view.time;
    let ends = [time.anchor, time.cursor].into_iter().flatten();
    let mut busy: Vec<_> = ends.filter_map(|t| ctx.axis.column(t)).map(|x| x..x + 1).chain(sign).collect();
    if let (Some(a), Some(b)) = (time.anchor, time.cursor) {
        busy.push(ctx.axis.columns_of(a.min(b), a.max(b)));
    }
    busy
}

fn labels(ctx: &Ctx<'_>, pen: &mut Pen<'_>, busy: &[Range<u16>]) {
    let g = ctx.gutter;
    let (apart, ahead) = match &ctx.wall {
        Some(wall) => (if ctx.axis.column_ns < 20_000_000 { 16 } else { 12 }, wall.after_midnight()),
        None => (if ctx.axis.column_ns < 20_000_000 { 12 } else { 10 }, 0),
    };
    let ticks = ctx.axis.ticks(apart, ahead);
    let step = match ticks.as_slice() {
        [a, b, ..] => b - a,
        _ => ctx.axis.column_ns,
    };
    for t in ticks {
        let Some(x) = ctx.axis.column(t) else { continue };
        let label = ctx.clock(t, step);
        let end = x + 1 + width(&label);
        if end <= ctx.axis.columns && !busy.iter().any(|b| b.start < end && x < b.end) {
            pen.cell(g + x, 0, ctx.glyphs.tick, ctx.style(Role::Rule));
            pen.text(g + x + 1, 0, &label, ctx.style(Role::Muted));
        }
    }
}

/// Flags with the first letters of their notes, as far as the next flag leaves room.
fn marks(ctx: &Ctx<'_>, pen: &mut Pen<'_>) {
    let (axis, marks) = (&ctx.axis, &ctx.state.marks);
    // Marks are kept in the order of time.
    let from = marks.partition_point(|(t, _)| *t < axis.start(0)).min(marks.len());
    let to = marks.partition_point(|(t, _)| *t < axis.end()).clamp(from, marks.len());
    let mut end = axis.columns;
    let style = ctx.style(Role::Mark);
    for (t, note) in marks[from..to].iter().rev() {
        let Some(x) = axis.column(*t).filter(|x| *x < end) else { continue };
        pen.cell(ctx.gutter + x, 0, ctx.glyphs.mark, style);
        // A blank keeps the note apart from what comes after.
        let room = end.saturating_sub(x + 2).min(NOTE);
        if room > 0 && !note.is_empty() {
            let from = ctx.gutter + x + 1;
            let to = pen.text_to(from, 0, from + room, note, style);
            pen.fill(to, to + 1, 0, " ", style);
        }
        end = x;
    }
}

/// The measure as a line from A to B, with its length where there is room.
fn measure(ctx: &Ctx<'_>, pen: &mut Pen<'_>) {
    let (Some(anchor), Some(cursor)) = (ctx.view.time.anchor, ctx.view.time.cursor) else { return };
    let (from, to) = (anchor.min(cursor), anchor.max(cursor));
    let columns = ctx.axis.columns_of(from, to);
    if columns.is_empty() || from == to {
        return;
    }
    let style = ctx.style(Role::Measure);
    let g = ctx.gutter;
    pen.fill(g + columns.start, g + columns.end, 0, ctx.glyphs.range_line, style);
    let text = format!(" {} ", length(to - from));
    let room = columns.len() as u16;
    if width(&text) + 2 <= room {
        pen.text(g + columns.start + (room - width(&text)) / 2, 0, &text, style.add_modifier(Modifier::BOLD));
    }
}

/// Where the cursor and the anchor are; those out of view show on which side.
fn ends(ctx: &Ctx<'_>, pen: &mut Pen<'_>) {
    let time = &ctx.view.time;
    let measuring = time.anchor.is_some();
    let cursor = if measuring { "B" } else { ctx.glyphs.warn };
    for (t, letter, role) in [(time.anchor, "A", Role::Anchor), (time.cursor, cursor, Role::Cursor)] {
        let Some(t) = t else { continue };
        let last = ctx.axis.columns.saturating_sub(1);
        let (x, symbol) = match ctx.axis.column(t) {
            Some(x) => (x, letter),
            None if t < ctx.axis.start(0) => (0, "<"),
            None => (last, ">"),
        };
        pen.cell(ctx.gutter + x, 0, symbol, ctx.style(role).add_modifier(Modifier::REVERSED));
    }
}

/// That the picture stands still, and how to go on: at which column, and the words.
fn sign(ctx: &Ctx<'_>) -> Option<(u16, String)> {
    let text = frozen(ctx, ctx.axis.columns / 2)?;
    let wide = width(&text);
    let right = ctx.axis.columns.saturating_sub(wide);
    // The ends of a measure stay to be seen.
    let time = &ctx.view.time;
    let ends = || [time.cursor, time.anchor].into_iter().flatten().filter_map(|t| ctx.axis.column(t));
    let hides = |x: u16| ends().any(|c| (x..x + wide).contains(&c));
    Some((if hides(right) && !hides(0) { 0 } else { right }, text))
}

/// Words about a picture that stands still, in at most `room` columns; `None` where it follows.
pub(crate) fn frozen(ctx: &Ctx<'_>, room: u16) -> Option<String> {
    if ctx.view.time.follows() {
        return None;
    }
    let key = ctx.key(Action::Freeze);
    let behind = ctx.axis.now.saturating_sub(ctx.axis.end());
    let how_far = format!(", {} behind", show_duration(Duration::from_nanos(behind)));
    let how_far = if behind == 0 { "" } else { &how_far };
    [format!(" FROZEN{how_far}: {key} follows "), format!(" FROZEN: {key} "), "FROZEN".into()]
        .into_iter()
        .find(|t| width(t) <= room.max(6))
}
