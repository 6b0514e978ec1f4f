//! The tracks above one another, on one time axis, and what cursor and measure tell below it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::{clock, cpu, dirty, phases, ping, probes, readout, remaining, step, throughput};
use crate::tui::ctx::Ctx;
use crate::tui::hits::Hit;
use crate::tui::theme::Role;
use crate::tui::tracks::Track;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let readout = readout::rows(ctx, area.width).min(area.height / 3);
    let charts = area.height - readout;
    let tracks = charts.saturating_sub(1);
    let mut y = area.y;
    let probes = ctx.state.probes.len();
    let heights = ctx.view.tracks.heights(tracks, probes, |track| track.has_data(ctx.state));
    for (entry, height) in ctx.view.tracks.entries().iter().zip(heights) {
        let render = match entry.track {
            Track::Phases => phases::render,
            Track::Ping if probes > 1 => probes::render,
            Track::Ping => ping::render,
            Track::Dirty => dirty::render,
            Track::Throughput => throughput::render,
            Track::Remaining => remaining::render,
            Track::Cpu => cpu::render,
            Track::Step => step::render,
        };
        if height > 0 {
            render(ctx, Rect { y, height, ..area }, buf);
        }
        y += height;
    }
    clock::render(ctx, Rect { y: area.y + tracks, height: charts.min(1), ..area }, buf);
    let columns = Rect { x: area.x + ctx.gutter, width: area.width.saturating_sub(ctx.gutter), ..area };
    ctx.hit(Rect { height: charts, ..columns }, Hit::Time);
    lines(ctx, Rect { height: tracks, ..columns }, buf);
    readout::render(ctx, Rect { y: area.y + charts, height: readout, ..area }, buf);
}

/// The cursor and the anchor of the measure, through all tracks. `area` has exactly the columns of the
/// axis.
pub(crate) fn lines(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let time = &ctx.view.time;
    for (t, role) in [(time.anchor, Role::Anchor), (time.cursor, Role::Cursor)] {
        let Some(column) = t.and_then(|t| ctx.axis.column(t)).filter(|c| *c < area.width) else { continue };
        for y in area.y..area.bottom() {
            let Some(cell) = buf.cell_mut((area.x + column, y)) else { continue };
            if cell.symbol() == " " {
                let style = ctx.style(role).remove_modifier(Modifier::REVERSED);
                cell.set_symbol(ctx.glyphs.axis).set_style(style);
                cell.modifier.remove(Modifier::REVERSED);
            } else if role == Role::Cursor {
                // What stands here is still to be read: only its two colours change places.
                cell.modifier.toggle(Modifier::REVERSED);
            }
        }
    }
}
