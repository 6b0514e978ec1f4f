//! Keys that select and change the controls.

use super::{Situation, ask};
use crate::session::State;
use crate::tui::edit::{self, Step};
use crate::tui::keys::Action;
use crate::tui::view::{Asked, Page, View};

pub(super) fn act(view: &mut View, action: Action, at: Situation<'_>) {
    match action {
        Action::Up => view.selected = view.selected.moved(-1, offered(at.state)),
        Action::Down => view.selected = view.selected.moved(1, offered(at.state)),
        Action::Less => nudge(view, false, Step::Fine, at),
        Action::More => nudge(view, true, Step::Fine, at),
        Action::MuchLess => nudge(view, false, Step::Coarse, at),
        Action::MuchMore => nudge(view, true, Step::Coarse, at),
        Action::Type => {
            view.page = Page::Controls;
            ask(view, Asked::Control(view.selected));
        }
        _ => {}
    }
}

/// How many parameters are offered.
fn offered(state: &State) -> usize {
    edit::offers(state).map_or(0, |o| o.parameters.len())
}

/// The largest WSET the agent takes, bytes, once it has said so.
pub(super) fn limit(state: &State) -> Option<u64> {
    Some(state.agent.wset_limit_bytes).filter(|l| *l > 0)
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
    } else {
        let from = view.migration(at.state);
        let to = edit::nudge_migration(&from, control, up, step);
        if to != from {
            view.ask_migration(at.now, to);
        }
    }
}
