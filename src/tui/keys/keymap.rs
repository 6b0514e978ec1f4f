//! The table with what a keymap file has put in place of it.

use ratatui::crossterm::event::KeyEvent;

use super::names::{label, normal};
use super::{Action, BINDINGS, Binding, Key, Place};
use crate::tui::glyphs::Markers;

/// Which keys do what: the table, with what a keymap file has put in place of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keymap {
    /// The keys of each binding of [`BINDINGS`], in its order.
    pub(super) keys: Vec<Vec<Key>>,
}

impl Default for Keymap {
    fn default() -> Self {
        Self { keys: BINDINGS.iter().map(|b| b.keys.to_vec()).collect() }
    }
}

impl Keymap {
    /// Every binding with its keys.
    pub fn bindings(&self) -> impl Iterator<Item = (&'static Binding, &[Key])> {
        BINDINGS.iter().zip(self.keys.iter().map(Vec::as_slice))
    }

    /// The action of a key press.
    #[must_use]
    pub fn action(&self, event: &KeyEvent, at: Place) -> Option<Action> {
        let key = normal(event);
        self.bindings().find(|(b, keys)| b.scope.holds(at) && keys.contains(&key)).map(|(b, _)| b.action)
    }

    /// The keys of an action.
    #[must_use]
    pub fn keys_of(&self, action: Action) -> &[Key] {
        self.bindings().find(|(b, _)| b.action == action).map_or(&[], |(_, keys)| keys)
    }

    /// The first key of an action, for people; empty where none is bound.
    #[must_use]
    pub fn label_of(&self, action: Action, markers: Markers) -> String {
        self.keys_of(action).first().map_or(String::new(), |k| label(*k, markers))
    }
}

/// The first key that means two things in one place: the key and the two bindings' numbers.
pub(super) fn clash(keys: &[Vec<Key>]) -> Option<(Key, usize, usize)> {
    for at in Place::all() {
        let mut seen: Vec<(Key, usize)> = Vec::new();
        for (i, (_, keys)) in BINDINGS.iter().zip(keys).enumerate().filter(|(_, (b, _))| b.scope.holds(at)) {
            for key in keys {
                match seen.iter().find(|(k, other)| k == key && *other != i) {
                    Some((_, other)) => return Some((*key, *other, i)),
                    None => seen.push((*key, i)),
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::{KeyCode, KeyModifiers};

    use super::*;
    use crate::tui::view::Page;

    #[test]
    fn no_built_in_key_means_two_things() {
        let named = clash(&Keymap::default().keys).map(|(k, a, b)| (k, BINDINGS[a].name, BINDINGS[b].name));
        assert_eq!(named, None);
    }

    #[test]
    fn shift_does_not_hide_a_character() {
        let (map, live) = (Keymap::default(), Place { replay: false, page: Page::Controls });
        let shifted = KeyEvent::new(KeyCode::Char('?'), KeyModifiers::SHIFT);
        assert_eq!(map.action(&shifted, live), Some(Action::Help));
        assert_eq!(map.action(&KeyEvent::new(KeyCode::Right, KeyModifiers::SHIFT), live), Some(Action::MuchMore));
        let m = KeyEvent::new(KeyCode::Char('m'), KeyModifiers::NONE);
        assert_eq!(map.action(&m, Place { replay: true, ..live }), None);
        let ctrl = KeyEvent::new(KeyCode::Char('C'), KeyModifiers::CONTROL | KeyModifiers::SHIFT);
        assert_eq!(map.action(&ctrl, live), Some(Action::QuitNow));
    }
}
