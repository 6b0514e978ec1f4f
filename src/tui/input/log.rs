//! Keys that scroll, filter and search the event log.

use super::situation::{Situation, ask};
use crate::event::Nanos;
use crate::tui::keys::Action;
use crate::tui::log::{self, Least};
use crate::tui::view::{Asked, Entry, Page, View};

/// Rows of a page.
const PAGE_ROWS: usize = 5;

pub(super) fn act(view: &mut View, action: Action, at: Situation<'_>) {
    let state = at.state;
    match action {
        Action::Up | Action::Down => {
            let down = action == Action::Down;
            let searching = !view.log.search.is_empty();
            if !view.log.step(state, down) && searching {
                view.notify(at.now, if down { "no match below" } else { "no match above" });
            }
        }
        Action::ScrollUp => view.log.scroll(state, false, PAGE_ROWS),
        Action::ScrollDown => view.log.scroll(state, true, PAGE_ROWS),
        Action::Filter => {
            view.log.least = view.log.least.next();
            view.notify(at.now, format!("the log shows {}", view.log.least.words()));
        }
        Action::Search => {
            view.page = Page::Log;
            ask(view, Asked::Search);
            if let Some(Entry { text, .. }) = &mut view.entry {
                text.clone_from(&view.log.search);
            }
        }
        Action::Errors => errors(view, at),
        Action::Type => {
            let newest = log::numbers(state).end.saturating_sub(1);
            if let Some(line) = log::line(state, view.log.selected.unwrap_or(newest)) {
                go_to(view, line.t);
            }
        }
        _ => {}
    }
}

/// Shows the errors, beginning with the first that has not been read; from then on they are.
fn errors(view: &mut View, at: Situation<'_>) {
    view.page = Page::Log;
    view.log.search.clear();
    view.log.follow();
    view.log.least = Least::Errors;
    match view.log.unread.take() {
        Some((_, first, _)) if log::line(at.state, first).is_some() => view.log.select(at.state, first),
        Some(_) => {}
        None => view.notify(at.now, "all errors have been read"),
    }
    view.log.read_all(at.state);
}

/// Searches the log and goes to the newest match.
pub(super) fn search(view: &mut View, text: &str, at: Situation<'_>) {
    view.page = Page::Log;
    view.log.search = text.to_owned();
    view.log.follow();
    if view.log.query(text).searches() && !view.log.step(at.state, false) {
        view.notify(at.now, format!("no line has '{text}'"));
    }
}

/// Selects the line that was pointed at.
pub(super) fn point(view: &mut View, number: u64, at: Situation<'_>) {
    view.page = Page::Log;
    view.log.select(at.state, number);
}

/// Leaves search, filter or selection; false if there is none to leave.
pub(super) fn back(view: &mut View) -> bool {
    view.page == Page::Log && view.log.back()
}

/// Moves the time cursor.
fn go_to(view: &mut View, t: Nanos) {
    view.time.go_to(t);
}
