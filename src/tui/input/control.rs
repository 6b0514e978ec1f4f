//! Keys that select and change the controls, ramps and the list of loads.

use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::situation::{Situation, ask_from};
use crate::session::State;
use crate::tui::edit::{self, Control, Hold, Preset, Step};
use crate::tui::keys::Action;
use crate::tui::series::link_pages_per_s;
use crate::tui::view::{Asked, Confirm, Menu, Page, View};

pub(super) fn act(view: &mut View, action: Action, at: Situation<'_>) {
    match action {
        Action::Up => view.selected = view.selected.moved(-1, offered(at.state)),
        Action::Down => view.selected = view.selected.moved(1, offered(at.state)),
        Action::Less => nudge(view, false, Step::Fine, at),
        Action::More => nudge(view, true, Step::Fine, at),
        Action::MuchLess => nudge(view, false, Step::Coarse, at),
        Action::MuchMore => nudge(view, true, Step::Coarse, at),
        Action::Type => type_value(view, at),
        Action::Ramp if at.state.load.ramp.is_some() => view.confirm = Some(Confirm::RampEnd),
        Action::Ramp => {
            let text = suggested_ramp(rate_now(view, at.state), link_pages_per_s(at.state));
            ask_from(view, Asked::Ramp, text);
        }
        Action::Presets => view.menu = Some(Menu::Presets(0)),
        Action::Hold => {
            view.page = Page::Controls;
            view.hold = view.hold.other();
            let text = match view.hold {
                Hold::Period => "PERIOD is held: when RATE changes, BPC follows",
                Hold::Bpc => "BPC is held: when RATE changes, PERIOD follows",
            };
            view.notify(at.now, text);
        }
        _ => {}
    }
}

/// Opens the line on which the selected control's value is typed.
fn type_value(view: &mut View, at: Situation<'_>) {
    view.page = Page::Controls;
    let settings = view.migration(at.state);
    match view.selected {
        Control::Parameter(i) => match edit::parameter(at.state, i) {
            Some(p) => {
                let value = edit::changed(&settings, p).unwrap_or(&p.value);
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                ask_from(view, Asked::Parameter(p.name.clone()), text);
            }
            None => view.notify(at.now, "the hypervisor no longer offers this"),
        },
        control if control.is_load() => {
            let text = edit::show_typed(&view.load(at.state), control);
            ask_from(view, Asked::Control(control), text);
        }
        control => ask_from(view, Asked::Control(control), edit::show_value(&settings, control)),
    }
}

/// The largest WSET the agent takes, bytes, once it has said so.
pub(super) fn limit(state: &State) -> Option<u64> {
    Some(state.agent.wset_limit_bytes).filter(|l| *l > 0)
}

/// RATE as requested, pages/s.
pub(super) fn rate_now(view: &View, state: &State) -> f64 {
    view.load(state).dirty.rate_pages_per_s()
}

/// How many parameters are offered beyond our own controls.
fn offered(state: &State) -> usize {
    edit::parameters(state).len()
}

/// A ramp across the jump from the RATE there is, as a first proposal.
fn suggested_ramp(rate: f64, link: Option<f64>) -> String {
    let to = match link {
        Some(link) if rate < link => 1.5 * link,
        Some(link) => 0.5 * link,
        None => 2.0 * rate.max(1000.0),
    };
    let round = |r: f64| (r / 100.0).round() * 100.0;
    format!("{:.0} to {:.0} in 20s", round(rate), round(to))
}

fn nudge(view: &mut View, up: bool, step: Step, at: Situation<'_>) {
    view.page = Page::Controls;
    let control = view.selected;
    if control.is_load() {
        let from = view.load(at.state);
        let to = edit::nudge_load(&from, control, up, step, limit(at.state), view.hold);
        if to != from {
            view.ask_load(at.state, to);
        }
        return;
    }
    let from = view.migration(at.state);
    let mut to = edit::nudge_migration(&from, control, up, step);
    if let Control::Parameter(i) = control {
        match edit::parameter(at.state, i) {
            None => view.notify(at.now, "the hypervisor no longer offers this"),
            Some(p) if !p.live && at.running() => {
                view.notify(at.now, format!("{} cannot be changed while a migration runs", p.name));
            }
            Some(p) => match edit::nudge_parameter(&from, p, up, step) {
                Some(value) => {
                    to.extra.insert(p.name.clone(), value);
                }
                None => view.notify(at.now, "not a number: Enter types it"),
            },
        }
    }
    if to != from {
        view.ask_migration(at.now, to);
    }
}

/// Puts a control of the load to a place on its slider, 0 to 1: what a drag of the mouse does.
#[allow(dead_code, reason = "for the mouse")]
pub(super) fn drag(view: &mut View, control: Control, share: f64, at: Situation<'_>) {
    (view.page, view.selected) = (Page::Controls, control);
    let from = view.load(at.state);
    let to = edit::set_share_holding(&from, control, share, limit(at.state), link_pages_per_s(at.state), view.hold);
    if to != from {
        view.ask_load(at.state, to);
    }
}

/// The loads to choose from now.
pub(crate) fn presets(view: &View, state: &State) -> Vec<Preset> {
    edit::presets(&view.load(state), limit(state), link_pages_per_s(state))
}

/// Takes a load from the list.
pub(super) fn choose(view: &mut View, row: usize, at: Situation<'_>) {
    let Some(preset) = presets(view, at.state).get(row).copied() else { return };
    view.menu = None;
    view.page = Page::Controls;
    if preset.load != view.load(at.state) {
        view.ask_load(at.state, preset.load);
    }
    view.notify(at.now, format!("load: {}, {}", preset.name, preset.shows));
}

/// A key in the list of loads.
pub(super) fn press_presets(view: &mut View, key: &KeyEvent, row: usize, at: Situation<'_>) {
    let last = presets(view, at.state).len().saturating_sub(1);
    let to = match key.code {
        KeyCode::Up | KeyCode::Char('k') | KeyCode::BackTab => row.checked_sub(1).unwrap_or(last),
        KeyCode::Down | KeyCode::Char('j') | KeyCode::Tab => {
            if row >= last {
                0
            } else {
                row + 1
            }
        }
        KeyCode::Home => 0,
        KeyCode::End => last,
        KeyCode::Enter => return choose(view, row.min(last), at),
        KeyCode::Esc | KeyCode::Char('o' | 'q') => {
            view.menu = None;
            return;
        }
        KeyCode::Char(c) => match c.to_digit(10).and_then(|d| (d as usize).checked_sub(1)) {
            Some(row) => return choose(view, row, at),
            None => row,
        },
        _ => row,
    };
    view.menu = Some(Menu::Presets(to.min(last)));
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyModifiers;

    use super::*;
    use crate::event::Intent;
    use crate::session::state::Ramp;
    use crate::tui::fixture::{self, MS, S};
    use crate::tui::input::press;

    fn keys(view: &mut View, state: &State, codes: &[KeyCode]) {
        for code in codes {
            let at = Situation { state, now: state.now, replay: None, steerable: true };
            press(view, &KeyEvent::new(*code, KeyModifiers::NONE), at);
        }
    }

    fn rate_asked(view: &mut View) -> f64 {
        let intents = view.take_intents();
        let [Intent::SetLoad { to }] = intents.as_slice() else { panic!("{intents:?}") };
        to.dirty.rate_pages_per_s().round()
    }

    #[test]
    fn a_load_is_chosen_by_arrows_or_digit() {
        let state = fixture::idle(7_500 * MS);
        let mut view = View::default();
        keys(&mut view, &state, &[KeyCode::Char('o'), KeyCode::Down, KeyCode::Down, KeyCode::Enter]);
        assert_eq!((view.menu, rate_asked(&mut view)), (None, 7030.0));
        keys(&mut view, &state, &[KeyCode::Char('o'), KeyCode::Char('4')]);
        assert_eq!((view.menu, rate_asked(&mut view)), (None, 8980.0));
        keys(&mut view, &state, &[KeyCode::Char('o'), KeyCode::Up, KeyCode::Esc]);
        assert_eq!((view.menu, view.take_intents()), (None, vec![]));
    }

    #[test]
    fn holding_bpc_lets_period_follow() {
        let state = fixture::idle(7_500 * MS);
        let mut view = View::default();
        keys(&mut view, &state, &[KeyCode::Char('u'), KeyCode::Char('l')]);
        let intents = view.take_intents();
        let [Intent::SetLoad { to }] = intents.as_slice() else { panic!("{intents:?}") };
        assert_eq!((to.dirty.bpc_pages, to.dirty.rate_pages_per_s().round()), (90, 9100.0));
    }

    #[test]
    fn a_running_ramp_is_ended_only_when_meant() {
        let mut state = fixture::idle(7_500 * MS);
        let ramp = Ramp { from_pages_per_s: 2000.0, to_pages_per_s: 12_000.0, began: 7 * S, over_ns: 20 * S };
        state.load.ramp = Some(ramp);
        let mut view = View::default();
        keys(&mut view, &state, &[KeyCode::Char('r'), KeyCode::Char('n')]);
        assert_eq!(view.take_intents(), []);
        keys(&mut view, &state, &[KeyCode::Char('r'), KeyCode::Char('y')]);
        assert_eq!(view.take_intents(), [Intent::RampEnd]);
        state.load.ramp = None;
        keys(&mut view, &state, &[KeyCode::Char('r')]);
        assert_eq!(view.entry.as_ref().map(|e| e.text.as_str()), Some("9000 to 3900 in 20s"));
    }

    #[test]
    fn a_drag_goes_where_the_slider_shows_it() {
        let state = fixture::idle(7_500 * MS);
        let mut view = View::default();
        let at = Situation { state: &state, now: state.now, replay: None, steerable: true };
        drag(&mut view, Control::Rate, 0.3, at);
        assert_eq!((rate_asked(&mut view), view.selected), (3910.0, Control::Rate));
    }

    #[test]
    fn parameters_are_reached_below_the_five_and_nudged() {
        let state = fixture::offering(fixture::idle(7_500 * MS));
        let mut view = View { selected: Control::AutoConverge, ..View::default() };
        keys(&mut view, &state, &[KeyCode::Down, KeyCode::Right]);
        assert_eq!(view.selected, Control::Parameter(0));
        let intents = view.take_intents();
        let [Intent::SetMigration { to }] = intents.as_slice() else { panic!("{intents:?}") };
        assert_eq!(to.extra["announce-initial"], 51);
    }
}
