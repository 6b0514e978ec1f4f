//! Which theme is asked for.

use std::path::PathBuf;

use super::{DARK, LIGHT, Theme, ThemeError};

/// Which theme the screen wears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ThemeChoice {
    /// For dark backgrounds.
    #[default]
    Dark,
    /// For light backgrounds.
    Light,
    /// A theme file.
    File(PathBuf),
}

impl ThemeChoice {
    /// The theme itself, in all its colours.
    ///
    /// # Errors
    /// When it is invalid: file, key, nearest valid name.
    pub fn theme(&self) -> Result<Theme, ThemeError> {
        match self {
            Self::Dark => Theme::parse("dark (built in)", DARK),
            Self::Light => Theme::parse("light (built in)", LIGHT),
            Self::File(path) => Theme::load(path),
        }
    }
}
