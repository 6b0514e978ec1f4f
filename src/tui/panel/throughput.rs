//! What is sent a second, against the bandwidth limit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::curve::Curve;
use super::ping::eighths;
use crate::tui::ctx::Ctx;
use crate::tui::looked;
use crate::tui::pen::{Pen, width};
use crate::tui::series::{nice_ceiling, throughput_columns};
use crate::tui::theme::Role;
use crate::units::{PAGE_BYTES, show_bandwidth};

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let g = ctx.gutter;
    let columns = throughput_columns(ctx.state, &ctx.axis);
    let link = looked::link(ctx).map(|pages| pages * PAGE_BYTES as f64);
    let highest = columns.iter().flatten().copied().chain(link.map(|l| l * 1.1)).fold(0.0, f64::max);
    let top_value = nice_ceiling(highest);
    pen.text(1, 0, "SENT", ctx.style(Role::Title));
    legend(ctx, &mut pen, link);
    let rows = area.height.saturating_sub(1);
    if rows == 0 {
        return;
    }
    if g > 0 {
        for y in 1..=rows {
            pen.cell(g - 1, y, ctx.glyphs.axis, ctx.style(Role::Rule));
        }
        let label = show_bandwidth(top_value).replace(".0 ", " ");
        pen.right(0, g - 2, 1, &label, ctx.style(Role::Muted));
        pen.cell(g - 1, 1, ctx.glyphs.axis_label, ctx.style(Role::Rule));
    }
    let curve = Curve::new(ctx, rows, top_value, throughput_columns);
    curve.draw(ctx, &mut pen, g, rows, [Role::Throughput, Role::ThroughputBody]);
    // In a single row the line would lie on the bars and tell nothing.
    let Some(link) = link.filter(|_| rows > 1) else { return };
    let row = ((eighths(link / top_value, rows) - 1) / 8) as u16;
    for x in ctx.axis.columns_of(ctx.axis.start(0), ctx.axis.now) {
        let mut style = ctx.style(Role::Link);
        if curve.full(x, row) {
            // On the bar, with the bar's colour behind it.
            style.bg = ctx.style(Role::ThroughputBody).fg.or(style.bg);
        } else if curve.symbol(ctx.glyphs, x, row).is_some() {
            continue;
        }
        pen.cell(g + x, rows - row, ctx.glyphs.link, style);
    }
}

fn legend(ctx: &Ctx<'_>, pen: &mut Pen<'_>, link: Option<f64>) {
    let now = looked::sample(ctx).and_then(|s| s.throughput_bytes_per_s);
    let mut x = ctx.gutter;
    let entries =
        [(ctx.glyphs.bars[6], Role::Throughput, "throughput", now), (ctx.glyphs.link, Role::Link, "limit", link)];
    for (symbol, role, word, value) in entries {
        let value = value.filter(|v| v.is_finite()).map_or(String::new(), show_bandwidth);
        if x + 3 + width(word) + width(&value) > pen.width() {
            continue;
        }
        pen.cell(x, 0, symbol, ctx.style(role));
        x = pen.text(x + 2, 0, word, ctx.style(Role::Muted));
        x = pen.text(x + 1, 0, &value, ctx.style(Role::Value)) + 2;
    }
}
