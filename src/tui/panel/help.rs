//! The help: generated from the table of keys, in as many columns as there is room for; where there
//! is not room for all, it scrolls.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::dialog::{frame, inner};
use crate::tui::ctx::Ctx;
use crate::tui::hits::Hit;
use crate::tui::keys::label;
use crate::tui::pen::width;
use crate::tui::theme::Role;

/// Most columns of the help.
const MOST_COLUMNS: u16 = 3;

/// A line: the keys and what they do, or a heading.
struct Line {
    keys: String,
    help: &'static str,
    heading: bool,
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let lines = lines(ctx);
    // A long list of keys runs up to its words and is cut there: most are short.
    let keys = lines.iter().filter(|l| !l.heading).map(|l| width(&l.keys)).max().unwrap_or(0).clamp(8, 11) + 1;
    let column = keys + lines.iter().map(|l| width(l.help)).max().unwrap_or(0) + 2;
    let columns = ((area.width.saturating_sub(4) + 2) / column).clamp(1, MOST_COLUMNS);
    let high = (lines.len() as u16).div_ceil(columns).min(area.height.saturating_sub(2));
    let end = (lines.len() as u16).saturating_sub(columns * high);
    let first = ctx.view.help_row.min(end);
    let wide = (columns * column).min(area.width.saturating_sub(4));
    let title = match end {
        0 => "Keys (any key closes this)".to_owned(),
        _ => {
            let arrows = if ctx.glyphs.arrow.is_ascii() { "Up Down" } else { "↑↓" };
            format!("Keys: {arrows} PgDn scroll, any other closes")
        }
    };
    ctx.hit(inner(area, wide, high), Hit::Help(end));
    let mut pen = frame(ctx, area, buf, wide, high, &title);
    for (i, line) in lines.iter().skip(usize::from(first)).take(usize::from(columns * high)).enumerate() {
        let (x, y) = ((i as u16 / high.max(1)) * column, i as u16 % high.max(1));
        if line.heading {
            pen.text(x, y, &line.keys, ctx.style(Role::Title));
        } else {
            pen.text_to(x, y, x + keys - 1, &line.keys, ctx.style(Role::Key));
            pen.text_to(x + keys, y, x + column - 1, line.help, ctx.style(Role::Text));
        }
    }
    // What lies beyond the edges is said at them.
    let right = pen.width().saturating_sub(1);
    if first > 0 {
        pen.text(right, 0, if ctx.glyphs.arrow.is_ascii() { "^" } else { "▲" }, ctx.style(Role::Key));
    }
    if first < end {
        pen.text(
            right,
            high.saturating_sub(1),
            if ctx.glyphs.arrow.is_ascii() { "v" } else { "▼" },
            ctx.style(Role::Key),
        );
    }
}

/// All lines, grouped as the table is.
fn lines(ctx: &Ctx<'_>) -> Vec<Line> {
    let replay = ctx.replay().is_some();
    let mut lines = Vec::new();
    let mut group = "";
    for (b, keys) in ctx.view.keymap.bindings().filter(|(b, keys)| b.scope.concerns(replay) && !keys.is_empty()) {
        if b.group != group {
            group = b.group;
            lines.push(Line { keys: group.to_uppercase(), help: "", heading: true });
        }
        let keys: Vec<String> = keys.iter().map(|k| label(*k, ctx.view.markers)).collect();
        lines.push(Line { keys: keys.join(" "), help: b.help, heading: false });
    }
    lines
}
