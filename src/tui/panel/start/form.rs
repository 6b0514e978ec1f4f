//! A form being filled in: a line for each thing asked for, what to type, and what is wrong.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::look::Look;
use crate::tui::hits::Hit;
use crate::tui::panel::dialog;
use crate::tui::pen::{Pen, width, wrap};
use crate::tui::theme::Role;

pub(super) fn render(look: &Look<'_>, area: Rect, buf: &mut Buffer) {
    let Some(form) = &look.start.form else { return };
    let fields = form.asks.fields();
    let mut pen = Pen::new(buf, area);
    let mut y = 0;
    // A small terminal has its rows for what is typed.
    if area.height >= fields.len() as u16 + 5 {
        look.title(&mut pen, 0, &form.asks.title().to_uppercase());
        y = 2;
    }
    let names = fields.iter().map(|f| width(f.name)).max().unwrap_or(0) + 4;
    for (i, (field, line)) in fields.iter().zip(&form.lines).enumerate() {
        let at = i == form.at;
        look.hit(pen.rect(0, y, pen.width()), Hit::Row(i));
        let role = if at { Role::Selected } else { Role::Muted };
        if at {
            pen.text(0, y, look.glyphs.pointer, look.style(Role::Key));
        }
        pen.text(2, y, field.name, look.style(role));
        if at {
            let mut rest = Pen::new(buf, Rect { x: area.x, y: area.y + y, width: area.width, height: 1 });
            dialog::line(&|role| look.style(role), &mut rest, names, 0, line);
            pen = Pen::new(buf, area);
        } else if line.text.is_empty() {
            let word = if field.needed { "(needed)" } else { "(may be left empty)" };
            pen.text(names, y, word, look.style(Role::Muted));
        } else {
            pen.text(names, y, &line.text, look.style(Role::Value));
        }
        y += 1;
    }
    let Some((field, line)) = fields.get(form.at).zip(form.lines.get(form.at)) else { return };
    y += u16::from(area.height > y + 4);
    let room = pen.width().saturating_sub(3);
    // What is wrong says what would be right as well.
    let (text, role) = match &line.error {
        Some(why) => (format!("{} {why}", look.glyphs.warn), Role::Error),
        None => (field.hint.to_owned(), Role::Muted),
    };
    for line in wrap(&text, room) {
        pen.text(2, y, &line, look.style(role));
        y += 1;
    }
}
