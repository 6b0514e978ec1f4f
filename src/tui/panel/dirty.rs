//! The dirty rate against the link's capacity: the picture of the jump.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::ping::eighths;
use crate::tui::draw::Ctx;
use crate::tui::pen::{Pen, width};
use crate::tui::series::{RateColumn, link_pages_per_s, nice_ceiling, rate_columns};
use crate::tui::theme::Role;
use crate::units::show_count;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    pen.text(1, 0, "DIRTY", ctx.style(Role::Title));
    legend(ctx, &mut pen);
    let rows = area.height.saturating_sub(1);
    if rows == 0 {
        return;
    }
    let columns = rate_columns(ctx.state, &ctx.axis);
    let highest = columns
        .iter()
        .flat_map(|c| [c.achieved, c.set, c.requested, c.hypervisor, c.link.map(|l| l * 1.1)])
        .flatten()
        .fold(0.0, f64::max);
    let top = nice_ceiling(highest);
    scale(ctx, &mut pen, rows, top);
    let chart = Chart { ctx, rows, top };
    for (i, column) in columns.iter().enumerate() {
        // The future has no line either.
        if ctx.axis.start(i as u16) <= ctx.axis.now {
            chart.column(&mut pen, ctx.gutter + i as u16, column);
        }
    }
}

struct Chart<'a> {
    ctx: &'a Ctx<'a>,
    rows: u16,
    top: f64,
}

impl Chart<'_> {
    /// The row from below in which a value lies.
    fn row(&self, value: f64) -> u16 {
        ((eighths(value / self.top, self.rows) - 1) / 8) as u16
    }

    fn column(&self, pen: &mut Pen<'_>, x: u16, c: &RateColumn) {
        let (ctx, glyphs) = (self.ctx, self.ctx.glyphs);
        let over = matches!((c.achieved, c.link), (Some(a), Some(l)) if a > l);
        let link_row = c.link.map(|l| self.row(l));
        // Per row from below: how much of it the bar fills, in eighths.
        let filled = c.achieved.filter(|a| *a > 0.0).map_or(0, |a| eighths(a / self.top, self.rows));
        let part = |row: u16| filled.saturating_sub(u32::from(row) * 8).min(8);
        for row in 0..self.rows {
            let part = part(row);
            if part == 0 {
                break;
            }
            let above = over && link_row.is_some_and(|l| row >= l);
            let symbol = if above && part == 8 { glyphs.over } else { glyphs.bars[part as usize] };
            let is_top = filled <= (u32::from(row) + 1) * 8;
            let role = if above {
                Role::RateOver
            } else if is_top {
                Role::RateAchieved
            } else {
                Role::RateBody
            };
            pen.cell(x, self.y(row), symbol, ctx.style(role));
        }
        if let Some(row) = link_row {
            // Where the bar passes the line within one row, the bar's own colour and texture say so.
            if !(over && part(row) > 0 && self.row(c.achieved.unwrap_or(0.0)) == row) {
                self.overlay(pen, x, row, part(row), glyphs.link, Role::Link, over);
            }
        }
        let bar_row = c.achieved.map(|a| self.row(a));
        for (value, symbol, role) in
            [(c.set, glyphs.set, Role::RateSet), (c.requested, glyphs.requested, Role::RateRequested)]
        {
            let row = value.map(|v| self.row(v));
            if let Some(row) = row.filter(|_| row != bar_row && row != link_row) {
                self.overlay(pen, x, row, part(row), symbol, role, over);
            }
        }
        if let Some(seen) = c.hypervisor {
            let row = self.row(seen);
            self.overlay(pen, x, row, part(row), glyphs.hypervisor, Role::RateHypervisor, over);
        }
    }

    fn y(&self, row: u16) -> u16 {
        self.rows - row
    }

    /// A mark on the bar or beside it: over a full cell it keeps the bar's colour behind it.
    #[allow(clippy::too_many_arguments)]
    fn overlay(&self, pen: &mut Pen<'_>, x: u16, row: u16, part: u32, symbol: &str, role: Role, over: bool) {
        let mut style = self.ctx.style(role);
        let behind = self.ctx.style(if over && role != Role::Link { Role::RateOver } else { Role::RateBody }).fg;
        if part == 8
            && let Some(colour) = behind
        {
            style.bg = Some(colour);
        }
        pen.cell(x, self.y(row), symbol, style);
    }
}

fn scale(ctx: &Ctx<'_>, pen: &mut Pen<'_>, rows: u16, top: f64) {
    let g = ctx.gutter;
    if g == 0 {
        return;
    }
    let (muted, rule) = (ctx.style(Role::Muted), ctx.style(Role::Rule));
    for y in 1..=rows {
        pen.cell(g - 1, y, ctx.glyphs.axis, rule);
    }
    let mut label = |y: u16, text: &str, style| {
        pen.right(0, g - 2, y, text, style);
        pen.cell(g - 1, y, ctx.glyphs.axis_label, rule);
    };
    let link_y = link_pages_per_s(ctx.state).map(|l| rows - ((eighths(l / top, rows) - 1) / 8) as u16);
    if rows >= 6 {
        let y = rows - ((eighths(0.5, rows) - 1) / 8) as u16;
        label(y, &show_count((top / 2.0) as u64), muted);
    }
    label(1, &show_count(top as u64), muted);
    if let (Some(y), Some(link)) = (link_y, link_pages_per_s(ctx.state)) {
        let text = format!("link {}", show_count(link as u64));
        let text = if width(&text) > g - 2 { show_count(link as u64) } else { text };
        pen.fill(0, g - 2, y, " ", Style::new());
        pen.right(0, g - 2, y, &text, ctx.style(Role::Link));
        pen.cell(g - 1, y, ctx.glyphs.axis_label, rule);
    }
}

fn legend(ctx: &Ctx<'_>, pen: &mut Pen<'_>) {
    let state = ctx.state;
    let link = link_pages_per_s(state);
    let achieved = state.load.achieved.as_ref().map(|(_, r)| r.rate_pages_per_s.round());
    let requested = ctx.view.load(state).dirty.rate_pages_per_s().round();
    let set = state.load.set.as_ref().map(|(_, l, _)| l.dirty.rate_pages_per_s());
    let set = set.filter(|s| (s - requested).abs() >= 0.5);
    let hypervisor = state
        .migrations
        .last()
        .filter(|m| m.ended.is_none())
        .and_then(|m| m.samples.last())
        .and_then(|(_, s)| s.dirty_pages_per_s)
        .filter(|r| *r > 0.0);
    let over = matches!((achieved, link), (Some(a), Some(l)) if a > l);
    let bar = ctx.glyphs.bars[6];
    let role = if over { Role::RateOver } else { Role::RateAchieved };
    let entries = [
        (if over { ctx.glyphs.over } else { bar }, role, "achieved", achieved),
        (ctx.glyphs.link, Role::Link, "link", link),
        (ctx.glyphs.requested, Role::RateRequested, "requested", Some(requested)),
        (ctx.glyphs.hypervisor, Role::RateHypervisor, "seen by hypervisor", hypervisor),
        (ctx.glyphs.set, Role::RateSet, "set", set),
    ];
    let mut x = ctx.gutter;
    for (symbol, role, word, value) in entries {
        let Some(value) = value.filter(|v| v.is_finite()) else { continue };
        let number = show_count(value.max(0.0) as u64);
        if x + 3 + width(word) + width(&number) > pen.width() {
            continue;
        }
        pen.cell(x, 0, symbol, ctx.style(role));
        x = pen.text(x + 2, 0, word, ctx.style(Role::Muted));
        x = pen.text(x + 1, 0, &number, ctx.style(Role::Value)) + 2;
    }
    if x + 7 <= pen.width() {
        pen.text(x, 0, "pages/s", ctx.style(Role::Muted));
    }
}
