//! Keys that choose, sort and compare migrations.

use super::situation::Situation;
use crate::event::Nanos;
use crate::tui::history::Column;
use crate::tui::keys::Action;
use crate::tui::view::{Page, View};

/// Rows of a page.
const PAGE_ROWS: isize = 5;

pub(super) fn act(view: &mut View, action: Action, at: Situation<'_>) {
    let sorted = view.page == Page::History;
    match action {
        Action::Up => view.history.step(at.state, -1, sorted),
        Action::Down => view.history.step(at.state, 1, sorted),
        Action::ScrollUp | Action::ScrollDown if view.page == Page::Result => {
            reasons(view, action == Action::ScrollUp);
        }
        Action::ScrollUp | Action::ScrollDown => page(view, action == Action::ScrollUp, at),
        Action::Sort => {
            let next = Column::ALL.iter().position(|c| *c == view.history.sort).map_or(0, |i| i + 1);
            (view.history.sort, view.history.falling) = (Column::ALL[next % Column::ALL.len()], false);
        }
        Action::SortOrder => view.history.falling = !view.history.falling,
        Action::Baseline => baseline(view, at),
        Action::Compare => compare(view, at),
        Action::Type => {
            if let Some(m) = view.history.chosen(at.state) {
                let end = m.settled.or(m.ended.as_ref().map(|(t, _)| *t)).unwrap_or(at.now);
                let (n, began) = (m.n, m.began);
                fit(view, began, end);
                view.notify(at.now, format!("the time of migration {n}"));
            }
        }
        _ => {}
    }
}

/// Selects the migration a page further up or down.
pub(super) fn page(view: &mut View, up: bool, at: Situation<'_>) {
    view.history.step(at.state, if up { -PAGE_ROWS } else { PAGE_ROWS }, view.page == Page::History);
}

/// Scrolls the reasons of a result; the next frame knows where they end.
pub(super) fn reasons(view: &mut View, up: bool) {
    let reason = &mut view.history.reason;
    *reason = if up { reason.saturating_sub(1) } else { reason.saturating_add(1) };
}

fn baseline(view: &mut View, at: Situation<'_>) {
    let Some(n) = view.history.chosen(at.state).map(|m| m.n) else {
        return view.notify(at.now, "no migration yet");
    };
    if view.history.baseline == Some(n) {
        view.history.baseline = None;
        view.notify(at.now, "no baseline any more");
    } else {
        view.history.baseline = Some(n);
        view.notify(at.now, format!("migration {n} is the baseline: select another"));
    }
}

fn compare(view: &mut View, at: Situation<'_>) {
    if view.history.compare {
        view.history.compare = false;
        return;
    }
    let base = view.history.compared_with(at.state).map(|m| m.n);
    match (base, view.history.chosen(at.state).map(|m| m.n)) {
        (Some(base), Some(n)) if base != n => view.history.compare = true,
        (Some(_), _) => view.notify(at.now, "this is the baseline: select another migration"),
        (None, _) => {
            let key = view.keymap.label_of(Action::Baseline, view.markers);
            view.notify(at.now, format!("no baseline yet: {key} makes the selected migration one"));
        }
    }
}

/// Leaves the comparison; false if there is none to leave.
pub(super) fn back(view: &mut View) -> bool {
    view.page == Page::History && std::mem::take(&mut view.history.compare)
}

/// Sorts by the column whose head was pointed at.
pub(super) fn head(view: &mut View, i: usize) {
    if let Some(column) = Column::ALL.get(i) {
        view.history.sort_by(*column);
    }
}

/// Brings a stretch of time into view.
fn fit(view: &mut View, from: Nanos, to: Nanos) {
    view.time.fit(from, to);
}
