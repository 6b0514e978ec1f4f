//! The time axis itself, below all tracks, with the operator's marks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::axis::clock;
use crate::tui::draw::Ctx;
use crate::tui::pen::{Pen, width};
use crate::tui::theme::Role;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let g = ctx.gutter;
    let muted = ctx.style(Role::Muted);
    if g > 0 {
        let column = ctx.axis.column_ns;
        let text = match column {
            c if c < 1_000_000_000 => format!("{} ms/col", c / 1_000_000),
            c => format!("{} s/col", c / 1_000_000_000),
        };
        pen.right(0, g - 2, 0, &text, muted);
        pen.cell(g - 1, 0, ctx.glyphs.axis_label, ctx.style(Role::Rule));
    }
    let ticks = ctx.axis.ticks(10);
    let step = match ticks.as_slice() {
        [a, b, ..] => b - a,
        _ => ctx.axis.column_ns,
    };
    for t in ticks {
        let Some(x) = ctx.axis.column(t) else { continue };
        let label = clock(t, step);
        if x + 1 + width(&label) <= ctx.axis.columns {
            pen.cell(g + x, 0, ctx.glyphs.tick, ctx.style(Role::Rule));
            pen.text(g + x + 1, 0, &label, muted);
        }
    }
    for (t, _) in &ctx.state.marks {
        if let Some(x) = ctx.axis.column(*t) {
            pen.cell(g + x, 0, ctx.glyphs.mark, ctx.style(Role::Mark));
        }
    }
}
