//! A list to choose from, with a title, a selected row and a line about its keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::dialog::frame;
use crate::tui::ctx::Ctx;
use crate::tui::hits::Hit;
use crate::tui::pen::width;
use crate::tui::theme::Role;

pub(crate) fn list(
    ctx: &Ctx<'_>,
    area: Rect,
    buf: &mut Buffer,
    title: &str,
    rows: &[String],
    selected: usize,
    keys: &str,
) {
    let wide = rows.iter().map(|r| width(r)).chain([width(keys), width(title) + 2]).max().unwrap_or(0);
    let high = rows.len() as u16 + 2;
    let inner = super::dialog::inner(area, wide, high);
    let mut pen = frame(ctx, area, buf, wide, high, title);
    for (i, row) in rows.iter().enumerate() {
        let style = ctx.style(if i == selected { Role::SelectedRow } else { Role::Text });
        pen.fill(0, wide, i as u16, " ", style);
        pen.text(0, i as u16, row, style);
        ctx.hit(Rect { y: inner.y + i as u16, height: 1, ..inner }, Hit::Row(i));
    }
    pen.text(0, high - 1, keys, ctx.style(Role::Muted));
}
