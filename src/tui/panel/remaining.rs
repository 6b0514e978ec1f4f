//! Memory left to send. It may rise: that is what not converging looks like.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::ping::bar;
use crate::tui::ctx::Ctx;
use crate::tui::looked;
use crate::tui::pen::{Pen, width};
use crate::tui::series::{nice_ceiling, remaining_columns};
use crate::tui::theme::Role;
use crate::units::{show_bandwidth, show_bytes};

const MIB: f64 = 1_048_576.0;

/// A number of bytes in at most four columns: `812K`, `97M`, `2.0G`.
fn brief_bytes(bytes: u64) -> String {
    const UNITS: [char; 7] = ['B', 'K', 'M', 'G', 'T', 'P', 'E'];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if value < 9.95 && unit > 0 { format!("{value:.1}{}", UNITS[unit]) } else { format!("{value:.0}{}", UNITS[unit]) }
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let g = ctx.gutter;
    let columns = remaining_columns(ctx.state, &ctx.axis);
    let newest = looked::sample(ctx);
    let titled = area.height >= 3;
    pen.text(1, 0, "LEFT", ctx.style(Role::Title));
    let (top, rows) = if titled { (1, area.height - 1) } else { (0, area.height) };
    let highest = nice_ceiling(columns.iter().flatten().max().map_or(1.0, |b| *b as f64 / MIB));
    if titled {
        let items = newest.map_or([None, None, None], |s| {
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
            // Beside the title there is room for a number and its unit in short, or for nothing.
            newest.and_then(|s| s.remaining_bytes).map(brief_bytes).filter(|l| width(l) <= g - 8).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brief_numbers_have_units_and_four_columns_at_most() {
        let of = [0, 999, 1_023, 1 << 20, 96 << 20, 2052 << 20, 10 << 30, u64::MAX].map(brief_bytes);
        assert_eq!(of, ["0B", "999B", "1.0K", "1.0M", "96M", "2.0G", "10G", "16E"]);
        for shift in 0..64 {
            for bytes in [1_u64 << shift, (1 << shift) - 1, (1 << shift) / 10 * 9] {
                assert!(brief_bytes(bytes).len() <= 4, "{bytes}: {}", brief_bytes(bytes));
            }
        }
    }
}
