//! How a migration went: the five downtimes side by side on one scale.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::analysis::{Bounded, Estimate};
use crate::event::{MigrationEnd, StopRule};
use crate::session::state::Migration;
use crate::tui::draw::Ctx;
use crate::tui::pen::{Pen, shorten, width, wrap};
use crate::tui::sentence::verdict;
use crate::tui::series::nice_ceiling;
use crate::tui::theme::Role;
use crate::units::{show_bytes, show_count, show_duration};

/// Where the values end and where the bounds end.
const VALUE_END: u16 = 22;
const BOUNDS_END: u16 = 42;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let Some(m) = ctx.state.migrations.iter().rev().find(|m| m.ended.is_some()) else {
        ctx.title(&mut pen, "RESULT");
        pen.text(2, 2, "No migration has ended yet. When one has, the five measures of its", ctx.style(Role::Muted));
        pen.text(2, 3, "downtime stand here side by side, each with its bounds.", ctx.style(Role::Muted));
        return;
    };
    let after = ctx.title(&mut pen, &format!("RESULT {}", m.n));
    facts(ctx, &mut pen, after, m);
    let Some(downtimes) = m.final_downtime() else {
        let text = if m.settled.is_some() { "no downtime is known" } else { "settling: the last probes are still out" };
        pen.text(2, 2, text, ctx.style(Role::Warn));
        return;
    };
    let highest = downtimes.estimates.iter().filter_map(|e| e.value).map(|v| v.hi).max().unwrap_or_default();
    let top = nice_ceiling(highest.as_secs_f64().max(1e-6));
    let chart = (BOUNDS_END + 2, pen.width().saturating_sub(1));
    let has_chart = chart.1 >= chart.0 + 12;
    head(ctx, &mut pen, chart, has_chart.then_some(top));
    for (i, estimate) in downtimes.estimates.iter().take(5).enumerate() {
        row(ctx, &mut pen, i as u16 + 2, estimate, has_chart.then_some((chart, top)));
    }
    let last = 7.min(area.height.saturating_sub(1));
    let room = pen.width().saturating_sub(3);
    let text = verdict(downtimes);
    if last + 1 >= area.height {
        pen.text(2, last, &shorten(&text, room, ctx.glyphs), ctx.style(Role::Text));
        return;
    }
    for (i, line) in wrap(&text, room).iter().enumerate() {
        pen.text(2, last + i as u16, line, ctx.style(Role::Text));
    }
}

fn head(ctx: &Ctx<'_>, pen: &mut Pen<'_>, chart: (u16, u16), top: Option<f64>) {
    let muted = ctx.style(Role::Muted);
    pen.text(2, 1, "measure", muted);
    pen.right(0, VALUE_END, 1, "downtime", muted);
    pen.right(VALUE_END, BOUNDS_END, 1, "bounds", muted);
    if let Some(top) = top {
        pen.text(chart.0, 1, "0", muted);
        let label = show_duration(Duration::from_secs_f64(top)).replace(".00 ", " ").replace(".0 ", " ");
        pen.right(chart.0 + 2, chart.1, 1, &label, muted);
        let half = show_duration(Duration::from_secs_f64(top / 2.0)).replace(".0 ", " ");
        let middle = chart.0 + (chart.1 - chart.0) / 2;
        if chart.1 - chart.0 >= 24 {
            pen.text(middle.saturating_sub(width(&half) / 2), 1, &half, muted);
        }
    }
}

fn row(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, e: &Estimate, chart: Option<((u16, u16), f64)>) {
    pen.text(2, y, e.method.name(), ctx.style(Role::Text));
    let Some(v) = e.value else {
        let note = e.note.as_deref().unwrap_or("no reason given");
        let text = format!("unknown: {note}");
        let room = pen.width().saturating_sub(15);
        pen.text(15, y, &shorten(&text, room, ctx.glyphs), ctx.style(Role::Muted));
        return;
    };
    pen.right(0, VALUE_END, y, &show_duration(v.value), ctx.style(Role::Value));
    let bounds = format!("{} to {}", show_duration(v.lo), show_duration(v.hi));
    pen.right(VALUE_END, BOUNDS_END, y, &bounds, ctx.style(Role::Muted));
    if let Some(((from, to), top)) = chart {
        range(ctx, pen, y, from, to, top, v);
    }
}

/// `├──●──┤` from lower to upper bound.
fn range(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, from: u16, to: u16, top: f64, v: Bounded) {
    let at = |d: Duration| {
        let share = (d.as_secs_f64() / top).clamp(0.0, 1.0);
        from + (share * f64::from(to - from - 1)).round() as u16
    };
    let (lo, hi, value) = (at(v.lo), at(v.hi), at(v.value));
    let line = ctx.style(Role::Muted);
    pen.fill(from, to, y, ctx.glyphs.middot, ctx.style(Role::Rule));
    pen.fill(lo, hi, y, ctx.glyphs.range_line, line);
    if hi > lo {
        pen.cell(lo, y, ctx.glyphs.range_left, line);
        pen.cell(hi, y, ctx.glyphs.range_right, line);
    }
    pen.cell(value, y, ctx.glyphs.range_point, ctx.style(Role::Value));
}

fn facts(ctx: &Ctx<'_>, pen: &mut Pen<'_>, after: u16, m: &Migration) {
    let (end, style) = end_words(ctx, m);
    let sent = m.samples.iter().rev().find_map(|(_, s)| s.transferred_bytes);
    let took = m.ended.as_ref().map(|(t, _)| Duration::from_nanos(t.saturating_sub(m.began)));
    let rule = m.ruled.last().map(|(_, rule, _)| format!("stopped by {}", rule_words(rule)));
    let rounds = m.rounds.last().map(|(_, n)| *n);
    let items = [
        Some((format!("{} {} {}", m.from, ctx.glyphs.arrow, m.to), ctx.style(Role::Value))),
        Some((end, style)),
        took.map(|t| (format!("took {}", show_duration(t)), ctx.style(Role::Text))),
        rounds.map(|n| (format!("{n} round{}", if n == 1 { "" } else { "s" }), ctx.style(Role::Text))),
        sent.map(|b| (format!("{} sent", show_bytes(b)), ctx.style(Role::Text))),
        rule.map(|r| (r, ctx.style(Role::Muted))),
    ];
    let mut x = after;
    for (text, style) in items.into_iter().flatten() {
        if x + 2 + width(&text) <= pen.width() {
            x = pen.text(x, 0, &format!(" {text} "), style);
        }
    }
}

fn end_words(ctx: &Ctx<'_>, m: &Migration) -> (String, Style) {
    match m.ended.as_ref().map(|(_, e)| e) {
        Some(MigrationEnd::Done) => ("done".into(), ctx.style(Role::Good)),
        Some(MigrationEnd::Failed { why }) => (format!("failed: {why}"), ctx.style(Role::Error)),
        Some(MigrationEnd::Cancelled { by }) => (format!("cancelled by {by}"), ctx.style(Role::Warn)),
        None => ("running".into(), ctx.style(Role::Warn)),
    }
}

/// A rule that ended pre-copy, in words.
pub(crate) fn rule_words(rule: &StopRule) -> String {
    match rule {
        StopRule::RemainingPages { limit, .. } => format!("<{} pages left", show_count(*limit)),
        StopRule::Rounds { limit } => format!("{limit} rounds"),
        StopRule::RamFactor { limit, .. } => format!("{limit} x RAM sent"),
        StopRule::Time { limit_ns } => show_duration(Duration::from_nanos(*limit_ns)),
        StopRule::Operator => "the operator".into(),
    }
}
