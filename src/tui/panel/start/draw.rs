//! The frame of the start screen: which part stands where.

use std::cell::RefCell;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::look::Look;
use super::{detail, form, list};
use crate::tui::glyphs::Glyphs;
use crate::tui::hits::{Hit, Hits};
use crate::tui::keys::{Action, label};
use crate::tui::panel::dialog::framed;
use crate::tui::pen::{Pen, width, wrap};
use crate::tui::start::{ACTIONS, OFFERS, Start};
use crate::tui::theme::Role;

/// Columns of the list where the selected row has its place beside it.
const LIST: u16 = 80;

/// Draws one frame: a pure function of what it is given. Returns what lies where.
pub(crate) fn draw(start: &Start, frame: &mut Frame<'_>) -> Hits {
    let area = frame.area();
    let buf = frame.buffer_mut();
    let look = Look { start, glyphs: Glyphs::of(start.markers), hits: RefCell::default() };
    if area.width < 30 || area.height < 8 {
        too_small(&look, area, buf);
    } else {
        whole(&look, area, buf);
    }
    start.markers.purge(buf);
    look.hits.into_inner()
}

fn whole(look: &Look<'_>, area: Rect, buf: &mut Buffer) {
    // A small terminal has no row to spare for a rule.
    let top = if area.height >= 20 { 2 } else { 1 };
    header(look, &mut Pen::new(buf, Rect { height: top, ..area }));
    let bottom = area.y + area.height - 1;
    footer(look, &mut Pen::new(buf, Rect { y: bottom, height: 1, ..area }));
    let body = Rect { y: area.y + top, height: area.height - top - 1, ..area };
    if look.start.form.is_some() {
        form::render(look, body, buf);
    } else if area.width >= LIST + 30 {
        let list = LIST.max(area.width / 2);
        list::render(look, Rect { width: list, ..body }, buf);
        detail::render(look, Rect { x: body.x + list + 1, width: body.width - list - 1, ..body }, buf);
    } else {
        let below = detail::rows(look).max(body.height / 3).clamp(3, 9.min(body.height * 3 / 5));
        let rows = body.height - below;
        list::render(look, Rect { height: rows, ..body }, buf);
        detail::render(look, Rect { y: body.y + rows, height: below, ..body }, buf);
    }
    if look.start.help {
        look.hits.borrow_mut().clear();
        help(look, area, buf);
    }
}

fn header(look: &Look<'_>, pen: &mut Pen<'_>) {
    let x = pen.text(1, 0, concat!("blackout ", env!("CARGO_PKG_VERSION")), look.style(Role::Title));
    let what = "watch what a VM live migration costs, while you turn the load";
    let what = if x + 3 + width(what) < pen.width() { what } else { "live migration, measured" };
    if x + 3 + width(what) < pen.width() {
        pen.text(x + 3, 0, what, look.style(Role::Muted));
    }
    pen.fill(0, pen.width(), 1, look.glyphs.rule, look.style(Role::Rule));
}

/// What the keys do; each can be clicked.
fn footer(look: &Look<'_>, pen: &mut Pen<'_>) {
    let start = look.start;
    let own = |action: Action, word: &'static str| (start.label(action), word, action);
    let hints = match &start.form {
        Some(form) if form.is_at_end() => vec![
            ("Enter".to_owned(), "begin", Action::Type),
            ("Tab".into(), "next line", Action::Down),
            ("Esc".into(), "back", Action::Back),
        ],
        Some(_) => vec![
            ("Enter".to_owned(), "next line", Action::Type),
            ("Tab".into(), "next line", Action::Down),
            ("Esc".into(), "back", Action::Back),
        ],
        None => vec![
            (look.arrows().to_owned(), "choose", Action::Down),
            own(Action::Type, "open"),
            own(Action::Help, "help"),
            own(Action::Quit, "quit"),
        ],
    };
    let mut x = 1;
    for (i, (key, word, action)) in hints.iter().enumerate() {
        // Two keys with one meaning are one too many.
        if key.is_empty() || hints[..i].iter().any(|(_, w, _)| w == word) || x + width(key) + width(word) >= pen.width()
        {
            continue;
        }
        let from = x;
        x = pen.text(x, 0, key, look.style(Role::Key));
        x = pen.text(x + 1, 0, word, look.style(Role::Muted)) + 2;
        look.hit(pen.rect(from, 0, x - from - 2), Hit::Action(*action));
    }
}

/// What the keys do here, in two columns where there is room for them.
fn help(look: &Look<'_>, area: Rect, buf: &mut Buffer) {
    let start = look.start;
    let offers = OFFERS.iter().enumerate().filter(|(_, o)| o.key.is_some()).filter_map(|(i, offered)| {
        let key = start.row(i).map(|row| start.key(&row)).filter(|key| !key.is_empty())?;
        Some((key, format!("{}: {}", offered.name, offered.what)))
    });
    let actions = ACTIONS.iter().filter_map(|(action, help)| {
        let keys: Vec<String> = start.keymap.keys_of(*action).iter().map(|k| label(*k, start.markers)).collect();
        (!keys.is_empty()).then(|| (keys.join(" "), (*help).to_owned()))
    });
    let product = start.product_key().map(|key| (key.to_string(), "demo: the next product's rules".to_owned()));
    let recent = ("1-9".to_owned(), "a recent session".to_owned());
    let lines: Vec<(String, String)> = offers.chain(product).chain([recent]).chain(actions).collect();
    let words = lines.iter().map(|(_, help)| width(help)).max().unwrap_or(0);
    let wide = (10 + words).min(area.width.saturating_sub(4));
    let high = (lines.len() as u16).min(area.height.saturating_sub(2));
    let mut pen = framed(look.glyphs, look.style(Role::Title), area, buf, (wide, high), "Keys (any key closes this)");
    // What there is no room for is at the end, where the keys are those of every program.
    for ((key, help), y) in lines.iter().zip(0..high) {
        pen.text_to(0, y, 9, key, look.style(Role::Key));
        pen.text(10, y, help, look.style(Role::Text));
    }
}

fn too_small(look: &Look<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let text = format!("too small: {}x{}; blackout needs 30x8", area.width, area.height);
    for (line, y) in wrap(&text, area.width).iter().zip(0..) {
        pen.text(0, y, line, look.style(Role::Text));
    }
}
