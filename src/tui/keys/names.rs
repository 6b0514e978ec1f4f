//! What keys are called: on the screen, and in a keymap file.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use thiserror::Error;

use super::Key;
use crate::text::meant;
use crate::tui::glyphs::Markers;

/// Keys with a name, as they are written first; other spellings after it.
const NAMED: &[(&str, KeyCode)] = &[
    ("Space", KeyCode::Char(' ')),
    ("Enter", KeyCode::Enter),
    ("Return", KeyCode::Enter),
    ("Esc", KeyCode::Esc),
    ("Escape", KeyCode::Esc),
    ("Tab", KeyCode::Tab),
    ("Backspace", KeyCode::Backspace),
    ("Delete", KeyCode::Delete),
    ("Del", KeyCode::Delete),
    ("Insert", KeyCode::Insert),
    ("Ins", KeyCode::Insert),
    ("Home", KeyCode::Home),
    ("End", KeyCode::End),
    ("PgUp", KeyCode::PageUp),
    ("PageUp", KeyCode::PageUp),
    ("PgDn", KeyCode::PageDown),
    ("PageDown", KeyCode::PageDown),
    ("Up", KeyCode::Up),
    ("Down", KeyCode::Down),
    ("Left", KeyCode::Left),
    ("Right", KeyCode::Right),
];
const MODIFIERS: &[(&str, KeyModifiers)] =
    &[("Ctrl-", KeyModifiers::CONTROL), ("Alt-", KeyModifiers::ALT), ("Shift-", KeyModifiers::SHIFT)];

/// Why a key's name is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyNameError {
    /// Nothing is called so.
    #[error("unknown key '{0}'{1}")]
    Unknown(String, String),
    /// A character has no Shift of its own.
    #[error("'{0}': Shift is in the character already: write the character it gives, as in 'X' or '?'")]
    Shifted(String),
    /// A terminal sends the same for another key.
    #[error("'{0}' cannot be told from {1} in a terminal: write {1}, or take another key")]
    Same(String, &'static str),
    /// A terminal has nothing to send for it.
    #[error("'{0}' cannot be typed in every terminal: Ctrl goes with letters, arrows and function keys")]
    Untypable(String),
    /// A terminal sends the same at the beginning of something longer.
    #[error("'{0}' cannot be told from the beginning of a terminal's own messages: take another key")]
    Begins(String),
}

/// Reads a key as a keymap file names it: `m`, `,`, `Ctrl-x`, `Alt-Left`, `Shift-Tab`, `F5`, `Space`.
///
/// # Errors
/// When no key is called so, or a terminal cannot send it; with what would be right.
pub fn parse(text: &str) -> Result<Key, KeyNameError> {
    let mut rest = text;
    let mut modifiers = KeyModifiers::NONE;
    // A bare '-' is a key, too: a modifier needs something behind it.
    while let Some((name, modifier)) = MODIFIERS
        .iter()
        .find(|(n, _)| rest.len() > n.len() && rest.get(..n.len()).is_some_and(|r| r.eq_ignore_ascii_case(n)))
    {
        modifiers |= *modifier;
        rest = &rest[name.len()..];
    }
    let code = code(rest).ok_or_else(|| {
        let names = NAMED.iter().map(|(n, _)| *n).chain(["F1", "F5", "F12"]);
        KeyNameError::Unknown(text.into(), meant(rest, names))
    })?;
    let key = Key(code, modifiers);
    let Key(KeyCode::Char(c), _) = key else {
        return Ok(if key == Key(KeyCode::Tab, KeyModifiers::SHIFT) {
            Key(KeyCode::BackTab, KeyModifiers::NONE)
        } else {
            key
        });
    };
    if modifiers.contains(KeyModifiers::SHIFT) {
        return Err(KeyNameError::Shifted(text.into()));
    }
    if modifiers == KeyModifiers::ALT && matches!(c, '[' | ']' | '\\' | '^' | '_' | 'O' | 'P' | 'X') {
        return Err(KeyNameError::Begins(text.into()));
    }
    if !modifiers.contains(KeyModifiers::CONTROL) {
        return Ok(key);
    }
    match c.to_ascii_lowercase() {
        'i' => Err(KeyNameError::Same(text.into(), "Tab")),
        'm' | 'j' => Err(KeyNameError::Same(text.into(), "Enter")),
        'h' => Err(KeyNameError::Same(text.into(), "Backspace")),
        '[' => Err(KeyNameError::Same(text.into(), "Esc")),
        c @ ('a'..='z' | ' ') => Ok(Key(KeyCode::Char(c), modifiers)),
        _ => Err(KeyNameError::Untypable(text.into())),
    }
}

fn code(text: &str) -> Option<KeyCode> {
    let mut chars = text.chars();
    if let (Some(c), None) = (chars.next(), chars.next()) {
        return (!c.is_control() && !c.is_whitespace()).then_some(KeyCode::Char(c));
    }
    if let Some(n) = text.strip_prefix(['F', 'f']).and_then(|n| n.parse::<u8>().ok()) {
        return (1..=12).contains(&n).then_some(KeyCode::F(n));
    }
    NAMED.iter().find(|(n, _)| n.eq_ignore_ascii_case(text)).map(|(_, code)| *code)
}

/// A key as a keymap file names it; [`parse`] reads it back.
#[must_use]
pub fn name(key: Key) -> String {
    let mut out = String::new();
    for (prefix, modifier) in MODIFIERS {
        if key.1.contains(*modifier) {
            out.push_str(prefix);
        }
    }
    match key.0 {
        KeyCode::BackTab => out.push_str("Shift-Tab"),
        KeyCode::F(n) => out.push_str(&format!("F{n}")),
        KeyCode::Char(c) if c != ' ' => out.push(c),
        code => out.push_str(NAMED.iter().find(|(_, c)| *c == code).map_or("?", |(n, _)| n)),
    }
    out
}

/// A key's name for people.
#[must_use]
pub fn label(key: Key, markers: Markers) -> String {
    let arrow = match key.0 {
        _ if markers == Markers::Ascii => None,
        KeyCode::Up => Some("↑"),
        KeyCode::Down => Some("↓"),
        KeyCode::Left => Some("←"),
        KeyCode::Right => Some("→"),
        _ => None,
    };
    let name = match key {
        Key(KeyCode::Char(c), m) if m.contains(KeyModifiers::CONTROL) && c != ' ' => {
            name(Key(KeyCode::Char(c.to_ascii_uppercase()), m))
        }
        key => name(key),
    };
    match arrow {
        Some(arrow) => {
            name.replace(["Up", "Down", "Left", "Right"].into_iter().find(|n| name.ends_with(n)).unwrap_or(""), arrow)
        }
        None => name,
    }
}

/// Terminals disagree on whether `?` or a capital comes with Shift, and whether Ctrl comes with a
/// capital: the character says the first already, and the second is no difference.
pub(super) fn normal(event: &KeyEvent) -> Key {
    let mut modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
    if matches!(event.code, KeyCode::Char(_) | KeyCode::BackTab) {
        modifiers.remove(KeyModifiers::SHIFT);
    }
    match event.code {
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => {
            Key(KeyCode::Char(c.to_ascii_lowercase()), modifiers)
        }
        code => Key(code, modifiers),
    }
}

/// Whether pressing it types nothing: it keeps its meaning while a text is typed.
pub(super) fn types_nothing(key: Key) -> bool {
    matches!(key.0, KeyCode::F(_)) || key.1.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tui::keys::BINDINGS;

    #[test]
    fn every_key_of_the_table_has_a_name_that_reads_back() {
        for key in BINDINGS.iter().flat_map(|b| b.keys) {
            assert_eq!(parse(&name(*key)), Ok(*key), "{key:?}");
        }
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        let key = |code, modifiers| Ok(Key(code, modifiers));
        assert_eq!(parse("ctrl-X"), key(KeyCode::Char('x'), KeyModifiers::CONTROL));
        assert_eq!(parse("Alt--"), key(KeyCode::Char('-'), KeyModifiers::ALT));
        assert_eq!(parse("-"), key(KeyCode::Char('-'), KeyModifiers::NONE));
        assert_eq!(parse("pageup"), key(KeyCode::PageUp, KeyModifiers::NONE));
        assert_eq!(parse("Ctrl-Shift-Left"), key(KeyCode::Left, KeyModifiers::CONTROL | KeyModifiers::SHIFT));
        assert_eq!(parse("Shift-Tab"), key(KeyCode::BackTab, KeyModifiers::NONE));
        assert_eq!(parse("ß"), key(KeyCode::Char('ß'), KeyModifiers::NONE));
    }

    #[test]
    fn what_is_no_key_is_explained() {
        assert_eq!(parse("Spcae"), Err(KeyNameError::Unknown("Spcae".into(), "; did you mean 'Space'?".into())));
        assert!(matches!(parse("F13"), Err(KeyNameError::Unknown(..))));
        assert!(matches!(parse(""), Err(KeyNameError::Unknown(..))));
        assert!(matches!(parse("Ctrl-"), Err(KeyNameError::Unknown(..))));
        assert!(matches!(parse("Shift-x"), Err(KeyNameError::Shifted(_))));
        assert_eq!(parse("Ctrl-i"), Err(KeyNameError::Same("Ctrl-i".into(), "Tab")));
        assert!(matches!(parse("Ctrl-1"), Err(KeyNameError::Untypable(_))));
        assert!(matches!(parse("Alt-]"), Err(KeyNameError::Begins(_))));
        assert!(matches!(parse("Alt-O"), Err(KeyNameError::Begins(_))) && parse("Alt-o").is_ok());
    }

    #[test]
    fn labels_are_for_people() {
        assert_eq!(label(Key(KeyCode::Char('c'), KeyModifiers::CONTROL), Markers::Unicode), "Ctrl-C");
        assert_eq!(label(Key(KeyCode::Left, KeyModifiers::SHIFT), Markers::Unicode), "Shift-←");
        assert_eq!(label(Key(KeyCode::Left, KeyModifiers::SHIFT), Markers::Ascii), "Shift-Left");
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_an_error(text in "(Ctrl-|Alt-|Shift-|ctrl|-)*\\PC{0,6}") {
            if let Ok(key) = parse(&text) {
                prop_assert_eq!(parse(&name(key)), Ok(key));
            }
        }
    }
}
