//! Themes: styles by what they mean, read from TOML.
//!
//! Nothing on the screen relies on hue: every distinction a theme makes is also made by a letter,
//! a texture or a word, so [`Theme::mono`] loses nothing.
//!
//! A theme comes from the folder of the configuration ([`folder`]) or is [built in](BUILT_IN); it
//! holds 24-bit colours, and [`Theme::at_depth`] brings them down to what the terminal has.

mod builtin;
pub mod check;
mod choice;
mod depth;
mod parse;
mod roles;

use std::path::Path;
use std::sync::LazyLock;

use ratatui::style::{Color, Style};

pub use builtin::{BUILT_IN, DARK, LIGHT, Listed, MONOCHROME, Source, folder, list, load, names, next, source};
pub use choice::ThemeChoice;
pub use depth::Depth;
pub use parse::ThemeError;
pub use roles::Role;

use super::picture::Paper;

/// Styles by role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theme {
    /// Its name.
    pub name: String,
    /// What it is for, in a line.
    pub about: String,
    /// The terminal's own two colours that it is made for: pictures are drawn on them.
    pub paper: Paper,
    looks: Vec<Look>,
}

/// The style of a role, and its colours where there are but 16.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    style: Style,
    /// One of the 16 colours, or the terminal's own; `None` for the nearest to the style's.
    fg16: Option<Color>,
    bg16: Option<Color>,
}

impl Theme {
    /// The style of a role.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        self.looks.get(role as usize).map(|look| look.style).unwrap_or_default()
    }

    /// Bold, reverse and underline only: for `NO_COLOR`.
    #[must_use]
    pub fn mono() -> Self {
        static MONO: LazyLock<Theme> = LazyLock::new(|| {
            // The built-in theme is valid (tested); were it not, the screen would be all plain.
            Theme::parse("monochrome (built in)", MONOCHROME).unwrap_or_else(|_| Theme {
                name: "monochrome".into(),
                about: String::new(),
                paper: Paper::DARK,
                looks: vec![Look::default(); Role::ALL.len()],
            })
        });
        MONO.clone()
    }

    /// Reads a theme file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a valid theme.
    pub fn load(path: &Path) -> Result<Self, ThemeError> {
        let file = path.display().to_string();
        let text = crate::files::read_text(path, crate::files::SETTINGS_LIMIT)
            .map_err(|source| ThemeError::Unreadable { file: file.clone(), source })?;
        Self::parse(&file, &text)
    }

    /// Reads the text of a theme; `file` is named in errors.
    ///
    /// # Errors
    /// When it is not TOML, names a key that is unknown, or gives a value that cannot be.
    pub fn parse(file: &str, text: &str) -> Result<Self, ThemeError> {
        parse::theme(file, text)
    }

    /// The same theme with colours the terminal can show. Without any colour it is the monochrome
    /// theme by its own name: what it said with colours alone has to be said otherwise.
    #[must_use]
    pub fn at_depth(mut self, depth: Depth) -> Self {
        if depth == Depth::Mono {
            return Self { name: self.name, about: self.about, ..Self::mono() };
        }
        for Look { style, fg16, bg16 } in &mut self.looks {
            style.fg = style.fg.map(|c| depth.colour(c, *fg16));
            style.bg = style.bg.map(|c| depth.colour(c, *bg16));
        }
        self
    }
}
