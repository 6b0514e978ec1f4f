//! Keys that move about in time.

use super::{Effect, Situation};
use crate::event::{Nanos, OperatorEvent};
use crate::tui::keys::Action;
use crate::tui::view::View;

pub(super) fn act(view: &mut View, action: Action, at: Situation<'_>) -> Option<Effect> {
    match action {
        Action::ZoomIn => view.time.zoom = (view.time.zoom + 1).min(12),
        Action::ZoomOut => view.time.zoom = (view.time.zoom - 1).max(-12),
        Action::ZoomAuto => view.time.zoom = 0,
        Action::TimeStart if at.replay.is_some() => return Some(Effect::Seek(0)),
        Action::TimeEnd => return at.replay.map(|info| Effect::Seek(info.length)),
        Action::Mark if at.steerable => mark(view, at.now, "", at),
        _ => {}
    }
    None
}

/// Marks an instant.
pub(super) fn mark(view: &mut View, t: Nanos, note: &str, at: Situation<'_>) {
    view.ask(OperatorEvent::Mark { note: note.to_owned(), at: Some(t) });
    view.notify(at.now, "marked");
}
