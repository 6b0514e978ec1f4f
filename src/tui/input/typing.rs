//! Typing a text: a value, a ramp, a note, something to search for.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::control::{limit, rate_now};
use super::situation::{Effect, Situation};
use crate::event::Intent;
use crate::load::ramp;
use crate::tui::edit;
use crate::tui::view::{Asked, Entry, View};

/// Takes pasted text: into an entry, or nowhere.
pub fn paste(view: &mut View, text: &str) {
    if let Some(entry) = &mut view.entry {
        entry.insert(text);
    }
}

pub(super) fn typing(view: &mut View, key: &KeyEvent, at: Situation<'_>) -> Option<Effect> {
    let mut entry = view.entry.take()?;
    match key.code {
        KeyCode::Esc => return None,
        KeyCode::Enter => match submit(view, &entry, at) {
            Ok(()) => return None,
            Err(why) => entry.error = Some(why),
        },
        _ => edit_line(&mut entry, key),
    }
    view.entry = Some(entry);
    None
}

/// Takes a key that edits the line or types on it; others change nothing.
pub(in crate::tui) fn edit_line<A>(entry: &mut Entry<A>, key: &KeyEvent) {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Left => entry.step(false),
        KeyCode::Right => entry.step(true),
        KeyCode::Home => entry.jump(false),
        KeyCode::End => entry.jump(true),
        KeyCode::Backspace if ctrl || key.modifiers.contains(KeyModifiers::ALT) => entry.delete_word(),
        KeyCode::Backspace => entry.backspace(),
        KeyCode::Delete => entry.delete(),
        KeyCode::Char('a') if ctrl => entry.jump(false),
        KeyCode::Char('e') if ctrl => entry.jump(true),
        KeyCode::Char('h') if ctrl => entry.backspace(),
        KeyCode::Char('w') if ctrl => entry.delete_word(),
        KeyCode::Char('u') if ctrl => entry.delete_before(),
        KeyCode::Char(c) if !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
            entry.insert(c.encode_utf8(&mut [0; 4]));
        }
        _ => {}
    }
}

fn submit(view: &mut View, entry: &Entry, at: Situation<'_>) -> Result<(), String> {
    let text = entry.text.trim();
    match &entry.asked {
        Asked::Mark(t) => super::time::mark(view, *t, text, at),
        Asked::Search => super::log::search(view, text, at),
        _ if text.is_empty() => {}
        Asked::Control(control) if control.is_load() => {
            let from = view.load(at.state);
            let to = edit::type_load(&from, *control, text, limit(at.state), view.hold)?;
            // What was shown to start from is rounded: taken back as it stood, it changes nothing.
            if to != from && !entry.is_untouched() {
                view.ask_load(at.state, to);
            }
        }
        Asked::Control(control) => {
            let from = view.migration(at.state);
            let to = edit::type_migration(&from, *control, text)?;
            if to != from {
                view.ask_migration(at.now, to);
            }
        }
        Asked::Ramp => {
            let spec = ramp::parse(text).map_err(|e| e.to_string())?;
            view.ask(Intent::Ramp {
                from_pages_per_s: spec.from_pages_per_s.unwrap_or_else(|| rate_now(view, at.state)),
                to_pages_per_s: spec.to_pages_per_s,
                over_ns: u64::try_from(spec.over.as_nanos()).unwrap_or(u64::MAX),
            });
        }
        Asked::Parameter(name) => parameter(view, name, text, at)?,
    }
    Ok(())
}

fn parameter(view: &mut View, name: &str, text: &str, at: Situation<'_>) -> Result<(), String> {
    let offered = edit::offers(at.state).and_then(|o| o.parameter(name));
    let offered = offered.ok_or_else(|| format!("the hypervisor no longer offers '{name}'"))?;
    if !offered.live && at.running() {
        return Err(format!("'{name}' cannot be changed while a migration runs"));
    }
    let mut to = view.migration(at.state);
    match edit::type_parameter(offered, text)? {
        // What it is anyway need not be asked for.
        Some(value) if value == offered.value && !to.extra.contains_key(name) => return Ok(()),
        Some(value) => to.extra.insert(name.to_owned(), value),
        None => to.extra.remove(name),
    };
    if to != view.migration(at.state) {
        view.ask_migration(at.now, to);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tui::edit::Control;
    use crate::tui::fixture::{self, BEGAN, MS, S};
    use crate::tui::input::press;

    fn enter(view: &mut View, state: &crate::session::State, text: &str) {
        let at = Situation { state, now: state.now, replay: None, steerable: true };
        paste(view, text);
        press(view, &KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE), at);
    }

    #[test]
    fn a_ramp_is_asked_for_or_explained() {
        let state = fixture::idle(7_500 * MS);
        let mut view = View { entry: Some(Entry::new(Asked::Ramp, "")), ..View::default() };
        enter(&mut view, &state, "to 12000");
        assert!(view.entry.as_ref().unwrap().error.as_ref().unwrap().contains("how long"));
        enter(&mut view, &state, " in 20s");
        let want = Intent::Ramp { from_pages_per_s: 9000.0, to_pages_per_s: 12_000.0, over_ns: 20 * S };
        assert_eq!((view.entry.take(), view.take_intents()), (None, vec![want]));
    }

    #[test]
    fn a_parameter_goes_into_the_settings_unless_it_is_fixed_now() {
        let state = fixture::offering(fixture::idle(7_500 * MS));
        let typed = |state: &_, name: &str, text: &str| {
            let mut view = View { entry: Some(Entry::new(Asked::Parameter(name.into()), "1")), ..View::default() };
            enter(&mut view, state, text);
            let error = view.entry.take().and_then(|e| e.error);
            let settings = view.take_intents().pop().map(|i| match i {
                Intent::SetMigration { to } => to.extra,
                other => panic!("{other:?}"),
            });
            (error, settings)
        };
        let (error, extra) = typed(&state, "cpu-throttle-initial", "30");
        assert_eq!((error, extra.unwrap()["cpu-throttle-initial"].clone()), (None, json!(30)));
        assert_eq!(typed(&state, "cpu-throttle-initial", "20"), (None, None), "that is what it is");
        assert!(typed(&state, "gone", "20").0.unwrap().contains("no longer"));
        let running = fixture::offering(fixture::migrating(BEGAN + 5 * S));
        assert!(typed(&running, "multifd-channels", "4").0.unwrap().contains("while a migration runs"));
    }

    #[test]
    fn taking_what_was_shown_changes_nothing() {
        let state = fixture::idle(7_500 * MS);
        for control in Control::LOAD.into_iter().chain(Control::MIGRATION) {
            let mut view = View { selected: control, ..View::default() };
            let at = Situation { state: &state, now: state.now, replay: None, steerable: true };
            for _ in 0..2 {
                press(&mut view, &KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE), at);
            }
            assert_eq!((view.entry.take(), view.take_intents()), (None, vec![]), "{control:?}");
        }
    }
}
