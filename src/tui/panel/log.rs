//! The event log, newest last. Levels are told by a letter, not by hue alone.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::event::Level;
use crate::tui::axis::clock;
use crate::tui::draw::Ctx;
use crate::tui::pen::{Pen, shorten};
use crate::tui::theme::Role;

/// Columns of the source.
const FROM: u16 = 9;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let after = ctx.title(&mut pen, "LOG");
    let log = &ctx.state.log;
    let rows = usize::from(area.height.saturating_sub(1));
    let back = ctx.view.log.back.min(log.len().saturating_sub(rows));
    if back > 0 {
        pen.text(after, 0, &format!(" {back} newer below "), ctx.style(Role::Warn));
    }
    let end = log.len() - back;
    for (y, line) in log.range(end.saturating_sub(rows)..end).enumerate() {
        let y = y as u16 + 1;
        let (letter, role) = match line.level {
            Level::Info => (" ", Role::Text),
            Level::Warn => ("W", Role::Warn),
            Level::Error => ("E", Role::Error),
        };
        pen.right(0, 8, y, &clock(line.t, 100_000_000), ctx.style(Role::Muted));
        pen.text(9, y, letter, ctx.style(role));
        pen.text(11, y, &shorten(&line.from, FROM, ctx.glyphs), ctx.style(Role::Muted));
        let x = 11 + FROM + 1;
        let room = pen.width().saturating_sub(x);
        pen.text(x, y, &shorten(&line.text, room, ctx.glyphs), ctx.style(role));
    }
}
