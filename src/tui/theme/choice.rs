//! Which theme is asked for.

use std::borrow::Cow;
use std::path::PathBuf;

use super::{Theme, ThemeError, builtin};

/// Which theme the screen wears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ThemeChoice {
    /// `dark` or `light`, by what the terminal says of its background.
    #[default]
    Auto,
    /// The theme of this name: a file of the theme folder, or built in.
    Named(Cow<'static, str>),
    /// A theme file.
    File(PathBuf),
}

impl ThemeChoice {
    /// For dark backgrounds.
    #[allow(non_upper_case_globals, reason = "it reads as the variant it stands for")]
    pub const Dark: Self = Self::Named(Cow::Borrowed("dark"));
    /// For light backgrounds.
    #[allow(non_upper_case_globals, reason = "it reads as the variant it stands for")]
    pub const Light: Self = Self::Named(Cow::Borrowed("light"));

    /// From what is written after `--theme`: `auto`, a name, or a path (it has a `/` in it, or ends
    /// in `.toml`).
    #[must_use]
    pub fn of(text: &str) -> Self {
        match text {
            "auto" => Self::Auto,
            path if path.contains('/') || path.ends_with(".toml") => Self::File(PathBuf::from(path)),
            name => Self::Named(Cow::Owned(name.into())),
        }
    }

    /// The theme itself, in all its colours.
    ///
    /// # Errors
    /// When there is none of that name, or it is invalid: file, line, key, nearest valid name.
    pub fn theme(&self) -> Result<Theme, ThemeError> {
        match self {
            Self::Auto => {
                let light = std::env::var("COLORFGBG").ok().and_then(|v| light_ground(&v)).unwrap_or(false);
                builtin::full(if light { "light" } else { "dark" })
            }
            Self::Named(name) => builtin::full(name),
            Self::File(path) => Theme::load(path),
        }
    }
}

/// Whether the background is light by `COLORFGBG` (`15;0`, `0;default;15`: the last number is the
/// background's, one of the 16 colours); `None` where it does not say. The dark ones are 0 to 6 and
/// 8, as rxvt's users and vim have it.
///
/// The terminal itself is not asked (OSC 11): over a slow line its answer could come after we have
/// ceased to wait for it, and would then be read as keys, some of which fire migrations.
fn light_ground(colorfgbg: &str) -> Option<bool> {
    match colorfgbg.rsplit_once(';')?.1.parse::<u8>().ok()? {
        0..=6 | 8 => Some(false),
        7 | 9..=15 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_no_name() {
        assert_eq!(ThemeChoice::of("auto"), ThemeChoice::Auto);
        assert_eq!(ThemeChoice::of("light"), ThemeChoice::Light);
        assert_eq!(ThemeChoice::of("./light"), ThemeChoice::File("./light".into()));
        assert_eq!(ThemeChoice::of("mine.toml"), ThemeChoice::File("mine.toml".into()));
    }

    #[test]
    fn the_ground_is_read_where_the_terminal_tells_it() {
        assert_eq!(light_ground("15;0"), Some(false));
        assert_eq!(light_ground("0;default;15"), Some(true));
        assert_eq!(light_ground("0;7"), Some(true));
        assert_eq!(light_ground("12;8"), Some(false));
        for silent in ["", "15", "15;default", "0;99", "0;x"] {
            assert_eq!(light_ground(silent), None, "{silent}");
        }
    }
}
