//! Keys that scroll, filter and search the event log.

use super::Situation;
use crate::tui::keys::Action;
use crate::tui::view::View;

pub(super) fn act(view: &mut View, action: Action, at: Situation<'_>) {
    match action {
        Action::Up | Action::ScrollUp => {
            view.log.back = (view.log.back + 5).min(at.state.log.len().saturating_sub(1));
        }
        Action::Down | Action::ScrollDown => view.log.back = view.log.back.saturating_sub(5),
        _ => {}
    }
}

/// Searches the log.
pub(super) fn search(_view: &mut View, _text: &str, _at: Situation<'_>) {}
