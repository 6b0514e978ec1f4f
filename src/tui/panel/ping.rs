//! The pings: round-trip times as bars on a logarithmic scale, and below them the worst fate of
//! each column. A hole is a hole; a single lost probe is always visible.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::event::Class;
use crate::session::state::ProbeState;
use crate::tui::ctx::Ctx;
use crate::tui::looked::Pings;
use crate::tui::pen::{Pen, width};
use crate::tui::series::{Worst, holes, ping_columns};
use crate::tui::theme::Role;
use crate::units::{show_count, show_duration};

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let g = ctx.gutter;
    pen.text(1, 0, "PING", ctx.style(Role::Title));
    let Some(probe) = ctx.state.primary() else {
        pen.text(g, 0, "no probe yet", ctx.style(Role::Muted));
        return;
    };
    legend(ctx, &mut pen, probe);
    chart(ctx, &mut pen, probe, 1);
}

/// Bars from row `top` on, and the fates in the last row.
pub(crate) fn chart(ctx: &Ctx<'_>, pen: &mut Pen<'_>, probe: &ProbeState, top: u16) {
    let g = ctx.gutter;
    let columns = ping_columns(probe, &ctx.axis);
    let fates = pen.height().saturating_sub(1);
    let rows = fates.saturating_sub(top);
    let (low, high) = decades(columns.iter().filter_map(|c| c.rtt_max));
    if g > 0 {
        for y in top..fates {
            pen.cell(g - 1, y, ctx.glyphs.axis, ctx.style(Role::Rule));
        }
        pen.right(0, g - 2, fates, "fate", ctx.style(Role::Muted));
        pen.cell(g - 1, fates, ctx.glyphs.axis, ctx.style(Role::Rule));
        scale(ctx, pen, top, rows, low, high);
    }
    for (i, column) in columns.iter().enumerate() {
        let x = g + i as u16;
        if let Some(rtt) = column.rtt_max {
            let share = ((rtt.max(1) as f64).log10() - low) / (high - low);
            let role = if column.worst == Some(Worst::Of(Class::Late)) { Role::PingLate } else { Role::PingOk };
            let body = if role == Role::PingOk { Role::PingBody } else { role };
            bar(ctx, pen, x, top, rows, share, [role, body]);
        }
        if let Some((symbol, role)) = column.worst.and_then(|worst| symbol(ctx, worst)) {
            pen.cell(x, fates, symbol, ctx.style(role));
        }
    }
    for hole in holes(probe, &ctx.axis) {
        let gone = Duration::from_nanos(u64::from(hole.down).saturating_mul(probe.spec.interval_ns));
        // A length of time is a measure's: it is named, or only what was counted is said.
        let down = show_count(u64::from(hole.down));
        let words = [
            format!("lost-pings {down} = {}", show_duration(gone)),
            format!("lost-pings {}", show_duration(gone)),
            format!("{down} {}", hole.word),
        ];
        // Columns at the edges may hold a reply as well: the words keep off them.
        let mut span = ctx.axis.columns_of(hole.from, hole.to);
        let replied = |i: u16| columns.get(usize::from(i)).is_some_and(|c| c.rtt_max.is_some());
        while !span.is_empty() && replied(span.start) {
            span.start += 1;
        }
        while !span.is_empty() && replied(span.end - 1) {
            span.end -= 1;
        }
        let (from, room) = (span.start, span.len() as u16);
        if let Some(text) = words.iter().find(|text| width(text) <= room).filter(|_| rows > 0) {
            pen.text(g + from + (room - width(text)) / 2, top + rows / 2, text, ctx.style(Role::Error));
        }
    }
}

/// A bar of `share` of `rows` rows, its top and its body in styles of their own; something is always
/// visible.
pub(crate) fn bar(ctx: &Ctx<'_>, pen: &mut Pen<'_>, x: u16, top: u16, rows: u16, share: f64, roles: [Role; 2]) {
    let eighths = eighths(share, rows);
    for row in 0..rows {
        let part = eighths.saturating_sub(u32::from(row) * 8).min(8);
        if part == 0 {
            break;
        }
        let is_top = eighths <= (u32::from(row) + 1) * 8;
        let style = ctx.style(roles[usize::from(!is_top)]);
        pen.cell(x, top + rows - 1 - row, ctx.glyphs.bars[part as usize], style);
    }
}

/// Eighths of a row for `share` of `rows` rows, at least one.
pub(crate) fn eighths(share: f64, rows: u16) -> u32 {
    let all = u32::from(rows) * 8;
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    ((share * f64::from(all)).round() as u32).clamp(1, all.max(1))
}

/// Logarithms (base 10, ns) below and above all round trips, in halves: at least a decade apart.
pub(super) fn decades(rtts: impl Iterator<Item = u64>) -> (f64, f64) {
    let (mut low, mut high) = (u64::MAX, 0);
    for rtt in rtts {
        (low, high) = (low.min(rtt.max(1)), high.max(rtt.max(1)));
    }
    if high == 0 {
        return (5.0, 7.0);
    }
    // The bars of the quickest replies keep some height.
    let bottom = ((low as f64).log10() * 2.0 - 0.3).floor() / 2.0;
    let top = ((high as f64).log10() * 2.0).ceil() / 2.0;
    (bottom, top.max(bottom + 1.0))
}

fn scale(ctx: &Ctx<'_>, pen: &mut Pen<'_>, top: u16, rows: u16, low: f64, high: f64) {
    if rows == 0 {
        return;
    }
    let muted = ctx.style(Role::Muted);
    // The ends first; whole decades between them where there are rows to spare.
    let mut taken: Vec<u16> = Vec::new();
    let mut levels = vec![high, low];
    if rows > 3 {
        levels.extend((low.ceil() as i32..=high.floor() as i32).rev().map(f64::from));
    }
    for level in levels {
        let share = (level - low) / (high - low);
        let y = top + rows - 1 - ((share * f64::from(rows)) as u16).min(rows - 1);
        if taken.iter().any(|t| t.abs_diff(y) < if rows > 6 { 2 } else { 1 }) {
            continue;
        }
        taken.push(y);
        pen.right(0, ctx.gutter - 2, y, &level_label(level), muted);
        pen.cell(ctx.gutter - 1, y, ctx.glyphs.axis_label, ctx.style(Role::Rule));
    }
}

/// 10^level ns for people; halves of a decade are shown as 3.
fn level_label(level: f64) -> String {
    let decade = level.floor() as i32;
    let digit = if level - f64::from(decade) > 0.25 { 3 } else { 1 };
    let (unit, power) = match decade {
        ..=2 => ("ns", decade),
        3..=5 => ("µs", decade - 3),
        6..=8 => ("ms", decade - 6),
        _ => ("s", decade - 9),
    };
    format!("{} {unit}", 10u64.saturating_pow(power.max(0) as u32).saturating_mul(digit))
}

/// The mark of what became of a probe; a reply in time needs none.
pub(crate) fn symbol(ctx: &Ctx<'_>, worst: Worst) -> Option<(&'static str, Role)> {
    let g = ctx.glyphs;
    let class = match worst {
        Worst::Pending => return Some((g.pending, Role::PingPending)),
        Worst::Of(class) => class,
    };
    match class {
        Class::Ok => None,
        Class::Duplicate => Some((g.duplicate, Role::PingDuplicate)),
        Class::NotSent => Some((g.not_sent, Role::PingNotSent)),
        Class::Late => Some((g.late, Role::PingLate)),
        Class::Error => Some((g.error, Role::PingError)),
        Class::Refused => Some((g.refused, Role::PingError)),
        Class::Lost => Some((g.lost, Role::PingLost)),
    }
}

fn legend(ctx: &Ctx<'_>, pen: &mut Pen<'_>, probe: &ProbeState) {
    if let Some(long) = probe.unheard() {
        let short = format!("no answer yet from {}: lost-pings, reply-gap unknown", probe.spec.target);
        let room = pen.width().saturating_sub(ctx.gutter);
        let text = if width(&long) <= room { long } else { short };
        pen.text(ctx.gutter, 0, &text, ctx.style(Role::Error));
        return;
    }
    let pings = Pings::of(ctx, probe);
    let muted = ctx.style(Role::Muted);
    let mut x = ctx.gutter;
    if let Some(rtt) = &pings.rtt {
        x = pen.text(x, 0, "rtt ", muted);
        x = pen.text(x, 0, rtt, ctx.style(Role::Value)) + 3;
    }
    x = entries(ctx, pen, x, &pings);
    let word = format!("ok {}", show_count(pings.count(Class::Ok)));
    let target = format!(
        "{} {} every {}",
        probe.spec.kind.name(),
        probe.spec.target,
        show_duration(Duration::from_nanos(probe.spec.interval_ns))
    );
    for text in [format!("{} pending", ctx.glyphs.pending), word, target] {
        if x + width(&text) <= pen.width() {
            x = pen.text(x, 0, &text, muted) + 3;
        }
    }
}

/// How many ended in what, from column `x` of the first row on, as far as there is room; the column after it.
pub(super) fn entries(ctx: &Ctx<'_>, pen: &mut Pen<'_>, mut x: u16, pings: &Pings) -> u16 {
    let muted = ctx.style(Role::Muted);
    let entries = [
        (Class::Lost, "lost", true),
        (Class::Refused, "refused", false),
        (Class::Late, "late", true),
        (Class::Error, "error", false),
        (Class::NotSent, "not sent", false),
        (Class::Duplicate, "twice", false),
    ];
    for (class, word, always) in entries {
        let Some((mark, role)) = symbol(ctx, Worst::Of(class)) else { continue };
        let n = pings.count(class);
        let number = show_count(n);
        if (n == 0 && !always) || x + 4 + width(word) + width(&number) > pen.width() {
            continue;
        }
        pen.cell(x, 0, mark, ctx.style(role));
        x = pen.text(x + 2, 0, word, muted);
        let style = if n > 0 && matches!(class, Class::Lost | Class::Refused) { Role::Error } else { Role::Value };
        x = pen.text(x + 1, 0, &number, ctx.style(style)) + 3;
    }
    x
}
