//! Keys in the lists that come in front.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::control;
use super::situation::Situation;
use crate::session::notable::Kind;
use crate::tui::tracks::Track;
use crate::tui::view::{Menu, View};

pub(super) fn press(view: &mut View, key: &KeyEvent, menu: Menu, at: Situation<'_>) {
    match menu {
        Menu::Tracks(i) => tracks(view, key, i, at),
        Menu::Events(i) => events(view, key, i),
        Menu::Presets(row) => control::press_presets(view, key, row, at),
    }
}

/// A click on a row.
pub(super) fn click(view: &mut View, row: usize, at: Situation<'_>) {
    let Some(menu) = view.menu else { return };
    let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
    match menu {
        Menu::Tracks(_) => tracks(view, &key(KeyCode::Char(' ')), row, at),
        Menu::Events(_) => events(view, &key(KeyCode::Char(' ')), row),
        // A load is taken by a second click on it.
        Menu::Presets(selected) if selected == row => control::choose(view, row, at),
        Menu::Presets(_) => view.menu = Some(Menu::Presets(row)),
    }
}

/// The row above or below, where the key asks for it.
fn moved(key: &KeyEvent, i: usize, rows: usize) -> Option<usize> {
    match key.code {
        KeyCode::Up | KeyCode::Char('k') => Some(i.saturating_sub(1)),
        KeyCode::Down | KeyCode::Char('j') => Some((i + 1).min(rows.saturating_sub(1))),
        KeyCode::Home => Some(0),
        KeyCode::End => Some(rows.saturating_sub(1)),
        _ => None,
    }
}

fn tracks(view: &mut View, key: &KeyEvent, i: usize, at: Situation<'_>) {
    let shifted = key.modifiers.contains(KeyModifiers::SHIFT);
    let mut to = i.min(Track::ALL.len() - 1);
    match key.code {
        KeyCode::Esc | KeyCode::Enter | KeyCode::Char('t' | 'q') => {
            view.menu = None;
            return;
        }
        KeyCode::Char('K') => to = view.tracks.shift(to, false),
        KeyCode::Char('J') => to = view.tracks.shift(to, true),
        KeyCode::Up if shifted => to = view.tracks.shift(to, false),
        KeyCode::Down if shifted => to = view.tracks.shift(to, true),
        KeyCode::Char(' ') => {
            if !view.tracks.toggle(to) {
                view.notify(at.now, "one track stays");
            }
        }
        KeyCode::Char('+' | '=') => view.tracks.weigh(to, true),
        KeyCode::Char('-') => view.tracks.weigh(to, false),
        KeyCode::Char('0') => view.tracks.reset(to),
        _ => to = moved(key, to, Track::ALL.len()).unwrap_or(to),
    }
    view.menu = Some(Menu::Tracks(to));
}

fn events(view: &mut View, key: &KeyEvent, i: usize) {
    let mut to = i.min(Kind::ALL.len() - 1);
    let kinds = &mut view.time.kinds;
    match key.code {
        KeyCode::Esc | KeyCode::Enter | KeyCode::Char('e' | 'q') => {
            view.menu = None;
            return;
        }
        KeyCode::Char(' ') => kinds.toggle(Kind::ALL[to]),
        KeyCode::Char('a') => {
            let all = kinds.chosen().len() == Kind::ALL.len();
            kinds.set_all(!all);
        }
        _ => to = moved(key, to, Kind::ALL.len()).unwrap_or(to),
    }
    view.menu = Some(Menu::Events(to));
}
