//! The keymap file: what it names takes the place of the built-in keys.
//!
//! ```toml
//! migrate = ["m", "F5"]
//! cursor_back = ","
//! errors = []
//! ```

use std::path::Path;

use thiserror::Error;
use toml::de::DeValue;

use super::keymap::clash;
use super::names::{name, parse, types_nothing};
use super::{Action, BINDINGS, Key, KeyNameError, Keymap};
use crate::setting_file::{self, FileError, line};
use crate::text::meant;

/// Why a keymap file cannot be used.
#[derive(Debug, Error)]
pub enum KeymapError {
    /// Not a file of settings at all.
    #[error("keymap {0}")]
    File(#[from] FileError),
    /// An action nobody knows.
    #[error("keymap {file}, line {line}: no action is called '{action}'{hint} ('blackout keys' lists all)")]
    UnknownAction {
        /// The file of keys, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The name that was read.
        action: String,
        /// What there is instead, as the end of a sentence.
        hint: String,
    },
    /// A key nobody has.
    #[error("keymap {file}, line {line}: {action}: {why}")]
    BadKey {
        /// The file of keys, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The action.
        action: &'static str,
        /// What is wrong with the key.
        why: KeyNameError,
    },
    /// Neither a key nor a list of keys.
    #[error(
        "keymap {file}, line {line}: {action}: write a key in quotes, or a list of them: \"m\" or [\"m\", \"F5\"]; [] takes the action off the keyboard"
    )]
    NoKeys {
        /// The file of keys, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The action.
        action: &'static str,
    },
    /// A key that would mean two things.
    #[error("keymap {file}: '{key}' would mean both {one} and {other}: give one of them another key, or []")]
    Clash {
        /// The file of keys, as it was named.
        file: String,
        /// The key, as it stands in the file.
        key: String,
        /// One action, and where it got the key from.
        one: String,
        /// The other, and where it got the key from.
        other: String,
    },
    /// Nobody would find the way without it.
    #[error("keymap {file}, line {line}: {action} needs a key: without one there is no way {way}")]
    Needed {
        /// The file of keys, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The action.
        action: &'static str,
        /// The way that would not be found.
        way: &'static str,
    },
    /// A key that is text, for an action that holds while text is typed.
    #[error(
        "keymap {file}, line {line}: {action} also works while a text is typed, and '{key}' would be text: take a key with Ctrl or Alt, or a function key"
    )]
    Text {
        /// The file of keys, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The action.
        action: &'static str,
        /// The key, as it stands in the file.
        key: String,
    },
}

impl Keymap {
    /// Reads a keymap file.
    ///
    /// # Errors
    /// When it cannot be read or is not a valid keymap: file, line, what is wrong, what would be right.
    pub fn load(path: &Path) -> Result<Self, KeymapError> {
        Self::parse(&path.display().to_string(), &setting_file::read(path)?)
    }

    /// Reads the text of a keymap file; `file` is named in errors.
    ///
    /// # Errors
    /// As [`Keymap::load`], but for the reading.
    pub fn parse(file: &str, text: &str) -> Result<Self, KeymapError> {
        let mut map = Self::default();
        let mut lines: Vec<Option<usize>> = vec![None; BINDINGS.len()];
        for (key, value) in &setting_file::table(file, text)? {
            let (at, action) = (line(text, key.span().start), key.get_ref().as_ref());
            let Some(i) = BINDINGS.iter().position(|b| b.name == action) else {
                let hint = meant(action, BINDINGS.iter().map(|b| b.name));
                return Err(KeymapError::UnknownAction { file: file.into(), line: at, action: action.into(), hint });
            };
            let action = BINDINGS[i].name;
            let no_keys = || KeymapError::NoKeys { file: file.into(), line: at, action };
            let names: Vec<(usize, &str)> = match value.get_ref() {
                DeValue::String(one) => vec![(at, one.as_ref())],
                DeValue::Array(list) => list
                    .iter()
                    .map(|v| v.get_ref().as_str().map(|s| (line(text, v.span().start), s)).ok_or_else(no_keys))
                    .collect::<Result<_, _>>()?,
                _ => return Err(no_keys()),
            };
            let mut keys: Vec<Key> = Vec::new();
            for (line, written) in names {
                let file = file.to_owned();
                let key =
                    parse(written).map_err(|why| KeymapError::BadKey { file: file.clone(), line, action, why })?;
                if matches!(BINDINGS[i].action, Action::QuitNow | Action::Suspend) && !types_nothing(key) {
                    return Err(KeymapError::Text { file, line, action, key: name(key) });
                }
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            let way = match BINDINGS[i].action {
                Action::Quit => Some("out"),
                Action::Help => Some("about"),
                _ => None,
            };
            if let (Some(way), true) = (way, keys.is_empty()) {
                return Err(KeymapError::Needed { file: file.into(), line: at, action, way });
            }
            (map.keys[i], lines[i]) = (keys, Some(at));
        }
        match clash(&map.keys) {
            None => Ok(map),
            Some((key, one, other)) => {
                let tell = |i: usize| match lines[i] {
                    Some(line) => format!("{} (line {line})", BINDINGS[i].name),
                    None => format!("{} (built in)", BINDINGS[i].name),
                };
                Err(KeymapError::Clash { file: file.into(), key: name(key), one: tell(one), other: tell(other) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;
    use crate::tui::keys::Place;
    use crate::tui::view::Page;

    fn fault(text: &str) -> String {
        Keymap::parse("k.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn what_it_names_is_replaced_and_the_rest_stays() {
        let map = Keymap::parse("k.toml", "migrate = [\"F5\", \"M\"]\nmark = []\nerrors = \"x\"\n").unwrap();
        let at = Place { replay: false, page: Page::Controls };
        let press = |code| map.action(&KeyEvent::new(code, KeyModifiers::NONE), at);
        assert_eq!(press(KeyCode::F(5)), Some(Action::Migrate));
        assert_eq!(press(KeyCode::Char('M')), Some(Action::Migrate));
        assert_eq!(press(KeyCode::Char('m')), None);
        assert_eq!(press(KeyCode::Char('x')), Some(Action::Errors));
        assert_eq!(press(KeyCode::Char('q')), Some(Action::Quit));
    }

    #[test]
    fn faults_are_told_with_line_and_remedy() {
        assert_eq!(
            fault("# mine\nmigrat = \"m\""),
            "keymap k.toml, line 2: no action is called 'migrat'; did you mean 'migrate'? ('blackout keys' lists all)"
        );
        assert_eq!(
            fault("mark = [\n\"x\",\n\"Entr\"]"),
            "keymap k.toml, line 3: mark: unknown key 'Entr'; did you mean 'Enter'?"
        );
        assert!(fault("mark = 3").contains("line 1: mark: write a key in quotes"));
        assert!(fault("mark = [\"x\", 3]").contains("line 1: mark: write a key in quotes"));
        assert!(fault("mark = ").contains("line 1: not TOML"));
        assert!(fault("help = []").contains("line 1: help needs a key"));
        assert!(fault("quit = []").contains("line 1: quit needs a key"));
        assert!(fault("quit_now = \"x\"").contains("while a text is typed"));
    }

    #[test]
    fn a_clash_names_both_and_where_they_come_from() {
        assert_eq!(
            fault("\nmigrate = \"x\""),
            "keymap k.toml: 'x' would mean both migrate (line 2) and mark (built in): give one of them another key, or []"
        );
        assert!(fault("migrate = \"F9\"\nmark = \"F9\"").contains("migrate (line 1) and mark (line 2)"));
        // Where they never hold in one place, a key may mean two things.
        assert!(Keymap::parse("k.toml", "migrate = \"F9\"\nplay_pause = \"F9\"").is_ok());
        assert!(fault("sort = \"q\"").contains("quit (built in)"));
    }

    proptest! {
        #[test]
        fn no_file_breaks_it(text in "(migrate|help|x)? ?=? ?[\\[\"]*\\PC{0,12}[\\]\"]*") {
            let _ = Keymap::parse("k.toml", &text);
        }
    }
}
