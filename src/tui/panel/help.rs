//! The help: generated from the table of keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::dialog::frame;
use crate::tui::draw::Ctx;
use crate::tui::keys::label;
use crate::tui::pen::width;
use crate::tui::theme::Role;

/// Columns of the keys.
const KEYS: u16 = 10;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut lines: Vec<(String, &str, bool)> = Vec::new();
    let mut group = "";
    let replay = ctx.replay().is_some();
    for (b, keys) in ctx.view.keymap.bindings().filter(|(b, _)| b.scope.concerns(replay)) {
        if b.group != group {
            group = b.group;
            lines.push((group.to_uppercase(), "", true));
        }
        let keys: Vec<String> = keys.iter().map(|k| label(*k, ctx.view.markers)).collect();
        lines.push((keys.join(" "), b.help, false));
    }
    let column = KEYS + 1 + lines.iter().map(|l| width(l.1)).max().unwrap_or(0) + 1;
    let columns = if area.width >= 2 * column + 4 { 2 } else { 1 };
    let rows = (lines.len() as u16).div_ceil(columns);
    // A heading does not stand alone at the foot of a column.
    let foot = usize::from(rows).saturating_sub(1);
    if columns == 2 && lines.get(foot).is_some_and(|l| l.2) {
        lines.insert(foot, (String::new(), "", false));
    }
    let rows = (lines.len() as u16).div_ceil(columns);
    let inner_width = (columns * column).min(area.width.saturating_sub(4));
    let mut pen = frame(ctx, area, buf, inner_width, rows, "Keys (any key closes this)");
    for (i, (keys, help, heading)) in lines.iter().enumerate() {
        let (x, y) = ((i as u16 / rows.max(1)) * column, i as u16 % rows.max(1));
        if *heading {
            pen.text(x, y, keys, ctx.style(Role::Title));
        } else {
            pen.text_to(x, y, x + KEYS, keys, ctx.style(Role::Key));
            pen.text(x + KEYS, y, help, ctx.style(Role::Text));
        }
    }
}
