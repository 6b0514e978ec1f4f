//! The caption of a guided tour, below the banner, while there is one.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use crate::tui::ctx::Ctx;
use crate::tui::pen::{Pen, shorten, width, wrap};
use crate::tui::theme::Role;

/// Rows it has at most.
const ROWS: u16 = 3;
const LABEL: &str = " TOUR ";

/// The newest caption; a tour that is over says nothing more, with an empty one.
fn text<'a>(ctx: &'a Ctx<'_>) -> Option<&'a str> {
    ctx.state.caption.as_ref().map(|(_, text)| text.as_str()).filter(|text| !text.is_empty())
}

/// Rows the caption wants in so many columns; 0 without one.
pub(crate) fn rows(ctx: &Ctx<'_>, columns: u16) -> u16 {
    let lines = text(ctx).map_or(0, |text| wrap(text, room(columns)).len());
    u16::try_from(lines).unwrap_or(ROWS).min(ROWS)
}

fn room(columns: u16) -> u16 {
    columns.saturating_sub(width(LABEL) + 2).max(1)
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let Some(text) = text(ctx) else { return };
    let mut pen = Pen::new(buf, area);
    let style = ctx.style(Role::Good).add_modifier(Modifier::BOLD);
    pen.text(0, 0, LABEL, style.add_modifier(Modifier::REVERSED));
    let lines = wrap(text, room(area.width));
    let last = area.height.saturating_sub(1);
    for (y, line) in (0..area.height).zip(&lines) {
        let rest = if y == last { lines[usize::from(y)..].join(" ") } else { line.clone() };
        pen.text(width(LABEL) + 1, y, &shorten(&rest, room(area.width), ctx.glyphs), style);
    }
}
