//! The mouse: what lies under it is told by the frame that was drawn.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};

use super::{Effect, Situation, act, answer, history, log};
use crate::tui::hits::{Hit, Hits};
use crate::tui::view::View;

/// Takes one movement of the mouse.
pub fn mouse(view: &mut View, event: &MouseEvent, hits: &Hits, at: Situation<'_>) -> Option<Effect> {
    let (_, hit) = hits.at(event.column, event.row)?;
    match (event.kind, hit) {
        (MouseEventKind::Down(MouseButton::Left), Hit::Action(action)) => act(view, action, at),
        (MouseEventKind::Down(MouseButton::Left), Hit::Page(page)) => {
            view.page = page;
            None
        }
        (MouseEventKind::Down(MouseButton::Left), Hit::Migration(n)) => {
            view.history.select(at.state, n);
            None
        }
        (MouseEventKind::Down(MouseButton::Left), Hit::HistoryHead(i)) => {
            history::head(view, i);
            None
        }
        (MouseEventKind::Down(MouseButton::Left), Hit::LogLine(number)) => {
            log::point(view, number, at);
            None
        }
        (MouseEventKind::Down(MouseButton::Left), Hit::Answer(yes)) => answer(view, view.confirm?, yes, at),
        _ => None,
    }
}
