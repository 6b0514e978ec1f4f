//! The event log, newest last. Levels are told by a letter, not by hue alone.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use crate::event::Level;
use crate::tui::ctx::Ctx;
use crate::tui::hits::Hit;
use crate::tui::keys::Action;
use crate::tui::log::{Group, Least, Query, window};
use crate::tui::pen::{Pen, shorten, width, wrap};
use crate::tui::theme::Role;
use crate::tui::view::{Asked, Page};

/// Columns of the source.
const FROM: u16 = 9;
/// Where the text begins.
const TEXT: u16 = 11 + FROM + 1;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    ctx.hit(area, Hit::Panel(Page::Log));
    let mut pen = Pen::new(buf, area);
    // What is being typed is looked for at once.
    let typed = ctx.view.entry.as_ref().filter(|e| e.asked == Asked::Search).map(|e| e.text.as_str());
    let search = typed.unwrap_or(&ctx.view.log.search);
    let query = ctx.view.log.query(search);
    let rows = usize::from(area.height.saturating_sub(1));
    let window = window(ctx.state, &ctx.view.log, &query, rows);
    title(ctx, &mut pen, search, &query, window.newer);
    if window.rows.is_empty() {
        let text = if ctx.state.log.is_empty() { "nothing yet" } else { "no line is like that; Esc shows all" };
        pen.text(2, 1, text, ctx.style(Role::Muted));
    }
    let selected = |group: &Group<'_>| ctx.view.log.selected.is_some_and(|n| group.first <= n && n <= group.number);
    // The selected line is there in full, and the rows it takes are its neighbours'.
    let whole = window.rows.iter().position(selected).map(|i| (i, full(&pen, &window.rows[i], rows)));
    let more = whole.as_ref().map_or(0, |(_, lines)| lines.len().saturating_sub(1));
    let over = (window.rows.len() + more).saturating_sub(rows);
    let skipped = whole.as_ref().map_or(0, |(i, _)| over.min(*i));
    let mut y = 1;
    for (i, group) in window.rows.iter().enumerate().skip(skipped) {
        if y >= area.height {
            break;
        }
        row(ctx, &mut pen, y, group, &query);
        let lines =
            whole.as_ref().filter(|(at, lines)| *at == i && lines.len() > 1).map_or(&[][..], |(_, lines)| lines);
        let high = (lines.len().max(1) as u16).min(area.height - y);
        let style = ctx.style(level(group.line.level).1);
        for (line, y) in lines.iter().zip(y..y + high) {
            pen.fill(TEXT, area.width, y, " ", Style::new());
            found(&mut pen, TEXT, y, area.width, line, &query, style);
        }
        for y in y..y + high {
            ctx.hit(pen.rect(0, y, pen.width()), Hit::LogLine(group.number));
        }
        y += high;
    }
}

/// A line with its whole text, in as many rows as it takes; of one that takes more than there are, the last
/// says so.
fn full(pen: &Pen<'_>, group: &Group<'_>, rows: usize) -> Vec<String> {
    let room = pen.width().saturating_sub(TEXT);
    let times = if group.times > 1 { format!(" ({} times)", group.times) } else { String::new() };
    let mut lines = wrap(&format!("{}{times}", group.line.text), room);
    if lines.len() > rows {
        lines.truncate(rows.max(1));
        if let Some(last) = lines.last_mut() {
            last.push_str(" …");
        }
    }
    lines
}

/// The letter and the style of a level.
fn level(level: Level) -> (&'static str, Role) {
    match level {
        Level::Info => (" ", Role::Text),
        Level::Warn => ("W", Role::Warn),
        Level::Error => ("E", Role::Error),
    }
}

fn title(ctx: &Ctx<'_>, pen: &mut Pen<'_>, search: &str, query: &Query, newer: u64) {
    let mut x = ctx.title(pen, "LOG");
    if let Some(wall) = &ctx.wall {
        x = pen.text(x, 0, &format!(" {} ", wall.offset(ctx.extra.now)), ctx.style(Role::Muted));
    }
    let log = &ctx.view.log;
    if newer > 0 {
        x = pen.text(x, 0, &format!(" {newer} newer below "), ctx.style(Role::Warn));
    }
    if log.least != Least::All {
        x = pen.text(x, 0, &format!(" {} ", log.least.words()), ctx.style(Role::Value));
    }
    if !search.is_empty() {
        let count = if query.searches() {
            let found = ctx.state.log.iter().filter(|l| query.takes(l) && query.finds(l)).count();
            format!(": {found} found")
        } else {
            String::new()
        };
        let room = pen.width().saturating_sub(x + width(&count) + 5);
        let text = format!(" '{}'{count} ", shorten(search, room, ctx.glyphs));
        x = pen.text(x, 0, &text, ctx.style(Role::Value));
    }
    if ctx.view.page != Page::Log {
        return;
    }
    let hints = [(Action::Search, "search"), (Action::Filter, "filter"), (Action::Type, "go there")];
    for (action, word) in hints {
        let key = ctx.key(action);
        if x + width(&key) + width(word) + 4 <= pen.width() && !key.is_empty() {
            let from = x;
            x = pen.text(x, 0, &format!(" {key}"), ctx.style(Role::Key));
            x = pen.text(x, 0, &format!(" {word} "), ctx.style(Role::Muted));
            ctx.hit(pen.rect(from, 0, x - from), Hit::Action(action));
        }
    }
}

fn row(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, group: &Group<'_>, query: &Query) {
    let line = group.line;
    let (letter, role) = level(line.level);
    if ctx.view.log.selected.is_some_and(|n| group.first <= n && n <= group.number) {
        pen.text(0, y, ctx.glyphs.pointer, ctx.style(Role::Key));
    }
    // The time of the day takes a column more.
    let (end, step) = if ctx.wall.is_some() { (9, 1_000_000_000) } else { (8, 100_000_000) };
    pen.right(1, end, y, &ctx.clock(line.t, step), ctx.style(Role::Muted));
    pen.text(9, y, letter, ctx.style(role));
    let from = shorten(&line.from, FROM, ctx.glyphs);
    found(pen, 11, y, TEXT - 1, &from, query, ctx.style(Role::Muted));
    let times = if group.times > 1 { format!(" {}{}", ctx.glyphs.times, group.times) } else { String::new() };
    let room = pen.width().saturating_sub(TEXT + width(&times));
    let text = shorten(&line.text, room, ctx.glyphs);
    let x = found(pen, TEXT, y, TEXT + room, &text, query, ctx.style(role));
    pen.text(x, y, &times, ctx.style(Role::Value));
}

/// A text with what is searched for reversed and underlined: seen without colour too.
fn found(pen: &mut Pen<'_>, x: u16, y: u16, end: u16, text: &str, query: &Query, style: Style) -> u16 {
    let bright = style.add_modifier(Modifier::REVERSED | Modifier::UNDERLINED);
    let (mut x, mut at) = (x, 0);
    for place in query.places(text) {
        x = pen.text_to(x, y, end, &text[at..place.start], style);
        x = pen.text_to(x, y, end, &text[place.clone()], bright);
        at = place.end;
    }
    pen.text_to(x, y, end, &text[at..], style)
}
