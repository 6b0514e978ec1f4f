//! Keys in the lists that come in front.

use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::Situation;
use crate::tui::view::{Menu, View};

pub(super) fn press(view: &mut View, key: &KeyEvent, menu: Menu, at: Situation<'_>) {
    if let Menu::Presets(row) = menu {
        return super::control::press_presets(view, key, row, at);
    }
    let (Menu::Presets(_) | Menu::Tracks(_) | Menu::Events(_)) = menu;
    if key.code == KeyCode::Esc {
        view.menu = None;
    }
}
