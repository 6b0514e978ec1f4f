//! Memory left to send. It may rise: that is what not converging looks like.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::ping::bar;
use crate::tui::draw::Ctx;
use crate::tui::pen::{Pen, width};
use crate::tui::series::{nice_ceiling, remaining_columns};
use crate::tui::theme::Role;
use crate::units::{show_bandwidth, show_bytes};

const MIB: f64 = 1_048_576.0;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let g = ctx.gutter;
    let columns = remaining_columns(ctx.state, &ctx.axis);
    let newest = ctx.state.migrations.last().filter(|m| m.ended.is_none()).and_then(|m| m.samples.last());
    let titled = area.height >= 3;
    pen.text(1, 0, "LEFT", ctx.style(Role::Title));
    let (top, rows) = if titled { (1, area.height - 1) } else { (0, area.height) };
    let highest = nice_ceiling(columns.iter().flatten().max().map_or(1.0, |b| *b as f64 / MIB));
    if titled {
        let items = newest.map_or([None, None, None], |(_, s)| {
            [
                s.remaining_bytes.map(|b| ("left to send", show_bytes(b))),
                s.transferred_bytes.map(|b| ("sent", show_bytes(b))),
                s.throughput_bytes_per_s.map(|b| ("at", show_bandwidth(b))),
            ]
        });
        let mut x = g;
        for (word, value) in items.into_iter().flatten() {
            if x + 3 + width(word) + width(&value) <= area.width {
                x = pen.text(x, 0, word, ctx.style(Role::Muted)) + 1;
                x = pen.text(x, 0, &value, ctx.style(Role::Value)) + 3;
            }
        }
        if x == g {
            pen.text(g, 0, "left to send", ctx.style(Role::Muted));
        }
    }
    if g > 0 {
        for y in top..area.height {
            pen.cell(g - 1, y, ctx.glyphs.axis, ctx.style(Role::Rule));
        }
        let label = if titled {
            show_bytes((highest * MIB) as u64)
        } else {
            newest.and_then(|(_, s)| s.remaining_bytes).map_or(String::new(), |b| format!("{:.0}M", b as f64 / MIB))
        };
        pen.right(if titled { 0 } else { 6 }, g - 2, top, &label.replace(".0 ", " "), ctx.style(Role::Muted));
        pen.cell(g - 1, top, ctx.glyphs.axis_label, ctx.style(Role::Rule));
    }
    for (i, left) in columns.iter().enumerate() {
        if let Some(left) = left.filter(|l| *l > 0) {
            bar(
                ctx,
                &mut pen,
                g + i as u16,
                top,
                rows,
                left as f64 / MIB / highest,
                [Role::Remaining, Role::RemainingBody],
            );
        }
    }
}
