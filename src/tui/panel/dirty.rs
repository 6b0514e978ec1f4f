//! The dirty rate against the bandwidth limit: the picture of the jump.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::curve::Curve;
use super::ping::eighths;
use crate::session::State;
use crate::tui::axis::Axis;
use crate::tui::ctx::Ctx;
use crate::tui::looked;
use crate::tui::pen::{Pen, width};
use crate::tui::series::{RateColumn, nice_ceiling, rate_columns};
use crate::tui::theme::Role;
use crate::units::show_count;

/// How far above everything else the scale follows what the hypervisor sees.
const SEEN_ABOVE: f64 = 1.5;

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
        .flat_map(|c| [c.achieved, c.set, c.requested, c.link.map(|l| l * 1.1)])
        .flatten()
        .fold(0.0, f64::max);
    // What the hypervisor sees has little room above what is achieved: one rate out of a short time is to
    // flatten nothing else. Where nothing else is known it has all it needs.
    let seen = columns.iter().filter_map(|c| c.hypervisor).fold(0.0, f64::max);
    let known = columns.iter().any(|c| c.achieved.is_some_and(|a| a > 0.0));
    let top = nice_ceiling(if known { highest.max(seen.min(highest * SEEN_ABOVE)) } else { highest.max(seen) });
    scale(ctx, &mut pen, rows, top);
    let achieved = |state: &State, axis: &Axis| rate_columns(state, axis).iter().map(|c| c.achieved).collect();
    let chart = Chart { ctx, rows, top, curve: Curve::new(ctx, rows, top, achieved) };
    // The future has no line either.
    let past = columns.iter().zip(0u16..).filter(|(_, i)| ctx.axis.start(*i) <= ctx.axis.now);
    for (column, i) in past {
        chart.column(&mut pen, i, column);
    }
    chart.crossings(&mut pen, &columns);
}

struct Chart<'a> {
    ctx: &'a Ctx<'a>,
    rows: u16,
    top: f64,
    curve: Curve,
}

/// Whether more is dirtied than the link takes.
fn over(c: &RateColumn) -> Option<bool> {
    Some(c.achieved? > c.link?)
}

impl Chart<'_> {
    /// The row from below in which a value lies.
    fn row(&self, value: f64) -> u16 {
        ((eighths(value / self.top, self.rows) - 1) / 8) as u16
    }

    fn column(&self, pen: &mut Pen<'_>, i: u16, c: &RateColumn) {
        let (ctx, glyphs, curve) = (self.ctx, self.ctx.glyphs, &self.curve);
        let x = ctx.gutter + i;
        let over = over(c) == Some(true);
        let link_row = c.link.map(|l| self.row(l));
        let bar_row = curve.top_row(i);
        for row in 0..=bar_row.unwrap_or(0) {
            let Some(symbol) = curve.symbol(glyphs, i, row) else { break };
            let above = over && link_row.is_some_and(|l| row >= l);
            let role = if above {
                Role::RateOver
            } else if bar_row == Some(row) {
                Role::RateAchieved
            } else {
                Role::RateBody
            };
            let mut letter = [0; 4];
            // Whole cells above the line have a texture; the top stays as high as it is.
            let symbol = if above && curve.full(i, row) { glyphs.over } else { symbol.encode_utf8(&mut letter) };
            pen.cell(x, self.y(row), symbol, ctx.style(role));
        }
        if let Some(row) = link_row {
            // Where the bar passes the line within the line's own row, one cell in two has the bar's texture:
            // without colours, too, it is seen which of the two is higher.
            if over && bar_row == Some(row) && (ctx.axis.first + u64::from(i)) % 2 == 1 {
                pen.cell(x, self.y(row), glyphs.over, ctx.style(Role::RateOver));
            } else {
                self.overlay(pen, i, row, glyphs.link, Role::Link, over);
            }
        }
        for (value, symbol, role) in
            [(c.set, glyphs.set, Role::RateSet), (c.requested, glyphs.requested, Role::RateRequested)]
        {
            let row = value.map(|v| self.row(v));
            if let Some(row) = row.filter(|_| row != bar_row && row != link_row) {
                self.overlay(pen, i, row, symbol, role, over);
            }
        }
        if let Some(seen) = c.hypervisor {
            self.overlay(pen, i, self.row(seen), glyphs.hypervisor, Role::RateHypervisor, over);
        }
    }

    /// Where the rate achieved passes the link: the jump. The words stand before it, where the rate was
    /// under the line and there is nothing else.
    fn crossings(&self, pen: &mut Pen<'_>, columns: &[RateColumn]) {
        let (ctx, words) = (self.ctx, format!("over the limit {}", self.ctx.glyphs.warn));
        // A guest that begins again after a standstill is briefly under the line: that is no jump.
        let enough = 500_000_000_u64.div_ceil(ctx.axis.column_ns);
        let (mut under, mut last_under, mut free) = (0, 0, 0);
        for (c, i) in columns.iter().zip(0u16..) {
            let Some(now) = over(c) else { continue };
            if !now {
                (under, last_under) = (if i > last_under + 3 { 1 } else { under + 1 }, i);
                continue;
            }
            // Nothing was known for long in between: that is no crossing seen.
            let crossed = under >= enough && i - last_under <= 3 && i > free;
            under = 0;
            if !crossed {
                continue;
            }
            let row = self.curve.top_row(i).max(c.link.map(|l| self.row(l) + 1)).unwrap_or(0).min(self.rows - 1);
            let style = ctx.style(Role::RateOver).add_modifier(Modifier::BOLD);
            let text = if i - free > width(&words) { words.as_str() } else { ctx.glyphs.warn };
            pen.text(ctx.gutter + i - width(text).min(i), self.y(row), text, style);
            // A rate that wavers about the line is marked once.
            free = i + 4;
        }
    }

    fn y(&self, row: u16) -> u16 {
        self.rows - row
    }

    /// A mark on the bar or beside it: over a full cell it keeps the bar's colour behind it.
    fn overlay(&self, pen: &mut Pen<'_>, i: u16, row: u16, symbol: &str, role: Role, over: bool) {
        let mut style = self.ctx.style(role);
        // A bar that passes the line within its row has the line on it, too.
        let passed = over && role == Role::Link && self.curve.top_row(i) == Some(row);
        let behind = if over && (role != Role::Link || passed) { Role::RateOver } else { Role::RateBody };
        if (passed || self.curve.full(i, row))
            && let Some(colour) = self.ctx.style(behind).fg
        {
            style.bg = Some(colour);
        }
        pen.cell(self.ctx.gutter + i, self.y(row), symbol, style);
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
    let link = looked::link(ctx);
    let link_y = link.map(|l| rows - ((eighths(l / top, rows) - 1) / 8) as u16);
    if rows >= 6 {
        let y = rows - ((eighths(0.5, rows) - 1) / 8) as u16;
        label(y, &show_count((top / 2.0) as u64), muted);
    }
    label(1, &show_count(top as u64), muted);
    if let (Some(y), Some(link)) = (link_y, link) {
        let text = format!("limit {}", show_count(link as u64));
        let text = if width(&text) > g - 2 { show_count(link as u64) } else { text };
        pen.fill(0, g - 2, y, " ", Style::new());
        pen.right(0, g - 2, y, &text, ctx.style(Role::Link));
        pen.cell(g - 1, y, ctx.glyphs.axis_label, rule);
    }
}

fn legend(ctx: &Ctx<'_>, pen: &mut Pen<'_>) {
    let rates = looked::rates(ctx);
    let whole = |rate: Option<f64>| rate.map(f64::round);
    let (achieved, link, requested) = (whole(rates.achieved), rates.link, whole(rates.requested));
    // What is set needs a word only where it is not what was asked for.
    let set = rates.set.filter(|s| requested.is_none_or(|r| (s - r).abs() >= 0.5));
    let hypervisor = rates.hypervisor;
    let over = matches!((achieved, link), (Some(a), Some(l)) if a > l);
    let bar = ctx.glyphs.bars[6];
    let role = if over { Role::RateOver } else { Role::RateAchieved };
    let entries = [
        (if over { ctx.glyphs.over } else { bar }, role, "achieved", achieved),
        (ctx.glyphs.link, Role::Link, "limit", link),
        (ctx.glyphs.requested, Role::RateRequested, "requested", requested),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::ctx::{Extra, Mode};
    use crate::tui::fixture::{self, MS, S};
    use crate::tui::glyphs::Markers;
    use crate::tui::view::View;

    /// How high the bar of a rate stands, in eighths of a row, and whether the line of the link is on it.
    fn drawn(rate: f64, markers: Markers, hypervisor: Option<f64>) -> (u32, bool, String) {
        let now = 7 * S;
        let mut state = fixture::idle(now);
        state.next.as_mut().unwrap().bandwidth_bytes_per_s = Some(28_717 * 4096);
        // The same scale for all: 40,000 is asked for.
        for i in 0..state.reports.len() {
            let (t, mut report) = state.reports.get(i).cloned().unwrap();
            report.rate_pages_per_s = if t > 5 * S { rate } else { 40_000.0 };
            report.set = fixture::load(40_000.0);
            *state.reports.get_mut(i).unwrap() = (t, report);
        }
        state.load.requested = Some((3, fixture::load(40_000.0), S));
        if let Some(seen) = hypervisor {
            let mut m = fixture::migrating(fixture::BEGAN + 2 * S).migrations.remove(0);
            m.began = 5 * S;
            m.rounds.clear();
            m.samples = [(6 * S, crate::event::Sample { dirty_pages_per_s: Some(seen), ..Default::default() })]
                .into_iter()
                .collect();
            state.migrations = vec![m];
        }
        let view = View { markers, ..View::default() };
        let extra = Extra { now, recorder: None, mode: Mode::Live };
        let ctx = Ctx::new(&view, &state, &extra, (60, 12));
        let area = Rect::new(0, 0, 72, 11);
        let mut buf = Buffer::empty(area);
        render(&ctx, area, &mut buf);
        let x = 12 + ctx.axis.column(6_500 * MS).unwrap();
        let glyphs = crate::tui::glyphs::Glyphs::of(markers);
        let (mut eighths, mut line) = (0, false);
        for y in 1..11 {
            let symbol = buf[(x, y)].symbol();
            line |= symbol == glyphs.link;
            eighths += match glyphs.bars.iter().position(|b| *b == symbol) {
                Some(part) => part as u32,
                None if symbol == glyphs.over || symbol == glyphs.link => 8,
                None => 0,
            };
        }
        let top: String = (0..12).map(|x| buf[(x, 1)].symbol()).collect();
        (eighths, line, top)
    }

    #[test]
    fn bars_over_the_link_are_to_scale_and_have_its_line_on_them() {
        // Ten rows for 40,000 pages/s: an eighth is 500.
        for markers in [Markers::Block, Markers::Ascii] {
            let at = |rate| drawn(rate, markers, None);
            for (rate, eighths) in [(33_000.0, 66), (34_500.0, 69), (36_500.0, 73), (40_000.0, 80)] {
                let (high, line, top) = at(rate);
                assert!(line && top.contains("40,000"), "{rate}: {top}");
                // ASCII has fewer heights.
                assert!(high == eighths || markers == Markers::Ascii, "{rate}: {high}");
            }
            // Under the link the line hides nothing but its own row.
            assert!(at(20_000.0).1 && at(28_717.0).1);
        }
    }

    #[test]
    fn what_the_hypervisor_sees_does_not_flatten_the_rest() {
        for (seen, least, most) in
            [(35_000.0, "40,000", "40,000"), (50_000.0, "50,000", "60,000"), (9e6, "60,000", "60,000")]
        {
            let top = drawn(33_000.0, Markers::Block, Some(seen)).2;
            assert!(top.contains(least) || top.contains(most), "{seen}: {top}");
        }
    }
}
