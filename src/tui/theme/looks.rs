//! A theme: the style of each role.

use ratatui::style::{Color, Style};

use super::paper::Paper;
use super::roles::Role;

/// Styles by role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theme {
    /// Its name.
    pub name: String,
    /// What it is for, in a line.
    pub about: String,
    /// The terminal's own two colours that it is made for: pictures are drawn on them.
    pub paper: Paper,
    pub(super) looks: Vec<Look>,
}

/// The style of a role, and its colours where there are but 16.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) style: Style,
    /// One of the 16 colours, or the terminal's own; `None` for the nearest to the style's.
    pub(super) fg16: Option<Color>,
    pub(super) bg16: Option<Color>,
}

impl Theme {
    /// The style of a role.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        self.looks.get(role as usize).map(|look| look.style).unwrap_or_default()
    }
}
