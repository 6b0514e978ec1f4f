//! What every part of the start screen gets to see.

use std::cell::RefCell;

use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::tui::glyphs::Glyphs;
use crate::tui::hits::{Hit, Hits};
use crate::tui::pen::Pen;
use crate::tui::start::Start;
use crate::tui::theme::Role;

/// What every part of the screen gets to see.
pub(super) struct Look<'a> {
    pub(super) start: &'a Start,
    pub(super) glyphs: &'static Glyphs,
    pub(super) hits: RefCell<Hits>,
}

impl Look<'_> {
    pub(super) fn style(&self, role: Role) -> Style {
        self.start.theme.style(role)
    }

    pub(super) fn hit(&self, area: Rect, hit: Hit) {
        self.hits.borrow_mut().add(area, hit);
    }

    /// A line that divides, with a title; returns the column after the title.
    pub(super) fn title(&self, pen: &mut Pen<'_>, y: u16, text: &str) -> u16 {
        pen.fill(0, pen.width(), y, self.glyphs.rule, self.style(Role::Rule));
        pen.text(1, y, &format!(" {text} "), self.style(Role::Title))
    }

    /// The arrows, as they are called here.
    pub(super) fn arrows(&self) -> &'static str {
        if self.glyphs.arrow.is_ascii() { "Up Down" } else { "↑↓" }
    }
}
