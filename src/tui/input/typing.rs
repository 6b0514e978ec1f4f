//! Typing a text: a value, a note, something to search for.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::Situation;
use super::control::limit;
use crate::tui::edit;
use crate::tui::view::{Asked, Entry, View};

/// Longest text that can be typed.
const ENTRY_CHARS: usize = 80;

/// Takes pasted text: into an entry, or nowhere.
pub fn paste(view: &mut View, text: &str) {
    if let Some(entry) = &mut view.entry {
        let room = ENTRY_CHARS.saturating_sub(entry.text.chars().count());
        entry.text.extend(text.chars().filter(|c| !c.is_control()).take(room));
        entry.error = None;
    }
}

pub(super) fn typing(view: &mut View, key: &KeyEvent, at: Situation<'_>) {
    let Some(mut entry) = view.entry.take() else { return };
    match key.code {
        KeyCode::Esc => return,
        KeyCode::Backspace => {
            entry.text.pop();
            entry.error = None;
        }
        KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            entry.text.clear();
            entry.error = None;
        }
        KeyCode::Char(c) if !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
            if entry.text.chars().count() < ENTRY_CHARS {
                entry.text.push(c);
            }
            entry.error = None;
        }
        KeyCode::Enter => match submit(view, &entry, at) {
            Ok(()) => return,
            Err(why) => entry.error = Some(why),
        },
        _ => {}
    }
    view.entry = Some(entry);
}

fn submit(view: &mut View, entry: &Entry, at: Situation<'_>) -> Result<(), String> {
    let empty = entry.text.trim().is_empty();
    match &entry.asked {
        Asked::Mark(t) => super::time::mark(view, *t, entry.text.trim(), at),
        Asked::Search => super::log::search(view, entry.text.trim(), at),
        _ if empty => {}
        Asked::Control(control) if control.is_load() => {
            let to = edit::type_load(&view.load(at.state), *control, &entry.text, limit(at.state), view.hold)?;
            view.ask_load(at.state, to);
        }
        Asked::Control(control) => {
            let to = edit::type_migration(&view.migration(at.state), *control, &entry.text)?;
            view.ask_migration(at.now, to);
        }
        Asked::Ramp | Asked::Parameter(_) => {}
    }
    Ok(())
}
