//! Which actions of the keymap hold on the start screen.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::tui::keys::{Action, Keymap, Place};
use crate::tui::page::Page;

/// The actions of the keymap that hold here, and what they do here.
pub const ACTIONS: [(Action, &str); 13] = [
    (Action::Up, "the row above"),
    (Action::Down, "the row below"),
    (Action::ScrollUp, "five rows up"),
    (Action::ScrollDown, "five rows down"),
    (Action::TimeStart, "to the first row"),
    (Action::TimeEnd, "to the last row"),
    (Action::Type, "open the selected row"),
    (Action::NextTheme, "next theme"),
    (Action::Redraw, "draw everything anew"),
    (Action::Suspend, "to the shell for a while"),
    (Action::Help, "this help"),
    (Action::Quit, "quit"),
    (Action::QuitNow, "quit, also while typing"),
];

/// The action of a key that holds here.
pub(super) fn action(keymap: &Keymap, key: &KeyEvent) -> Option<Action> {
    let found = keymap.action(key, Place { replay: false, page: Page::Controls })?;
    ACTIONS.iter().map(|(action, _)| *action).find(|action| *action == found)
}

/// Whether a character is the key of an action that holds here.
pub(super) fn is_taken(keymap: &Keymap, c: char) -> bool {
    action(keymap, &KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE)).is_some()
}
