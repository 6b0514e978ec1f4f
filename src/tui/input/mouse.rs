//! The mouse: what lies under it is told by the frame that was drawn.

use ratatui::crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Rect;

use super::press::{act, answer};
use super::situation::{Effect, Situation};
use super::{control, history, log, menu, time};
use crate::event::Nanos;
use crate::tui::edit::Control;
use crate::tui::hits::{Hit, Hits};
use crate::tui::keys::Action;
use crate::tui::view::{Front, Page, View};

/// A turn of the wheel pans by this part of the screen.
const PAN: u16 = 8;

/// Takes one movement of the mouse.
pub fn mouse(view: &mut View, event: &MouseEvent, hits: &Hits, at: Situation<'_>) -> Option<Effect> {
    let under = hits.at(event.column, event.row);
    match event.kind {
        MouseEventKind::Down(MouseButton::Left) => down(view, event, under, at),
        MouseEventKind::Drag(MouseButton::Left) => drag(view, event, at),
        MouseEventKind::Up(MouseButton::Left) => {
            view.pointer.held = None;
            None
        }
        MouseEventKind::Down(MouseButton::Right) => {
            // A list closes; what else stands in front stays.
            if let Some(Front::Menu(_)) = view.front() {
                view.menu = None;
            } else if view.front().is_none() {
                (view.time.cursor, view.time.anchor) = (None, None);
            }
            None
        }
        MouseEventKind::ScrollUp => wheel(view, event, under?, true, at),
        MouseEventKind::ScrollDown => wheel(view, event, under?, false, at),
        MouseEventKind::ScrollLeft | MouseEventKind::ScrollRight => {
            pan(view, event.kind == MouseEventKind::ScrollRight, at);
            None
        }
        _ => None,
    }
}

fn down(view: &mut View, event: &MouseEvent, under: Option<(Rect, Hit)>, at: Situation<'_>) -> Option<Effect> {
    view.notice = None;
    if view.front() == Some(Front::Help) {
        view.help = false;
        return None;
    }
    let Some((area, hit)) = under else {
        // A click beside a list closes it.
        if let Some(Front::Menu(_)) = view.front() {
            view.menu = None;
        }
        return None;
    };
    view.pointer.held = Some((area, hit));
    let double = view.pointer.click(hit);
    match hit {
        Hit::Action(action) => return act(view, action, at),
        Hit::Page(page) | Hit::Panel(page) => view.page = page,
        Hit::Reasons(_) => view.page = Page::Result,
        Hit::Answer(yes) => return answer(view, view.confirm?, yes, at),
        Hit::Row(row) => menu::click(view, row, at),
        Hit::Control(control) => {
            (view.page, view.selected) = (Page::Controls, control);
            if double && at.steerable {
                return act(view, Action::Type, at);
            }
        }
        Hit::Slider(control) => slide(view, control, share(area, event.column), at),
        Hit::Time => {
            view.time.anchor = None;
            view.time.point(at.state, at.now, event.column - area.x);
        }
        Hit::Position => return seek(view, share(area, event.column), at),
        Hit::Migration(n) => {
            view.history.select(at.state, n);
            let migration = at.state.migrations.iter().find(|m| m.n == n);
            if let Some(migration) = migration.filter(|_| double) {
                time::fit(view, migration, at.now);
            }
        }
        Hit::LogLine(n) => {
            log::point(view, n, at);
            let oldest = at.state.log_total.saturating_sub(at.state.log.len() as u64);
            let line = n.checked_sub(oldest).and_then(|i| at.state.log.get(i as usize));
            if let Some(line) = line.filter(|_| double) {
                view.time.go_to(line.t);
            }
        }
        Hit::HistoryHead(i) => history::head(view, i),
        // A click anywhere closes the help, above.
        Hit::Help(_) => {}
    }
    None
}

/// Where in an area's width a column lies, 0 at its first and 1 at its last.
fn share(area: Rect, column: u16) -> f64 {
    let last = area.width.saturating_sub(1).max(1);
    f64::from(column.saturating_sub(area.x).min(last)) / f64::from(last)
}

fn drag(view: &mut View, event: &MouseEvent, at: Situation<'_>) -> Option<Effect> {
    let (area, hit) = view.pointer.held?;
    match hit {
        Hit::Slider(control) => slide(view, control, share(area, event.column), at),
        Hit::Position => return seek(view, share(area, event.column), at),
        Hit::Time => {
            // The press set the cursor: from there on it is measured.
            let from = view.time.anchor.or(view.time.cursor);
            let to = view.time.point(at.state, at.now, event.column.saturating_sub(area.x));
            view.time.anchor = from.filter(|f| *f != to || view.time.anchor.is_some());
        }
        _ => {}
    }
    None
}

/// Puts a control to a place on its slider.
fn slide(view: &mut View, control: Control, share: f64, at: Situation<'_>) {
    if !at.steerable {
        return;
    }
    control::drag(view, control, share, at);
}

fn seek(view: &mut View, share: f64, at: Situation<'_>) -> Option<Effect> {
    let length = at.replay?.length;
    view.time.follow();
    Some(Effect::Seek((share * length as f64).round() as Nanos))
}

fn wheel(view: &mut View, event: &MouseEvent, under: (Rect, Hit), up: bool, at: Situation<'_>) -> Option<Effect> {
    let (area, hit) = under;
    let scroll = if up { Action::ScrollUp } else { Action::ScrollDown };
    match hit {
        Hit::Help(end) => {
            view.help_row = if up { view.help_row.saturating_sub(3) } else { (view.help_row + 3).min(end) };
        }
        Hit::Time if event.modifiers.intersects(KeyModifiers::SHIFT | KeyModifiers::ALT) => pan(view, !up, at),
        Hit::Time => {
            let axis = view.time.axis(at.state, at.now);
            time::zoom(view, up, Some(axis.start(event.column.saturating_sub(area.x))), at);
        }
        Hit::Panel(Page::Log) | Hit::LogLine(_) => log::act(view, scroll, at),
        Hit::Panel(Page::Result) | Hit::Reasons(_) => history::reasons(view, up),
        Hit::Panel(Page::History) | Hit::Migration(_) | Hit::HistoryHead(_) => history::page(view, up, at),
        _ => {}
    }
    None
}

fn pan(view: &mut View, onward: bool, at: Situation<'_>) {
    let by = i64::from((view.time.axis(at.state, at.now).columns / PAN).max(1));
    view.time.pan(at.state, at.now, if onward { by } else { -by });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::State;
    use crate::tui::fixture::{self, BEGAN, RESUMED, S};
    use crate::tui::tests::hits_of;
    use crate::tui::time::Scale;
    use crate::tui::view::Menu;

    struct Desk {
        view: View,
        state: State,
        now: Nanos,
        replay: bool,
    }

    impl Desk {
        fn new() -> Self {
            let now = RESUMED + 2 * S;
            Self { view: View::default(), state: fixture::migrating(now), now, replay: false }
        }
        fn hits(&mut self) -> Hits {
            let hits =
                hits_of(&mut self.view, &self.state, self.now, self.replay.then(|| fixture::replay_info(self.now)));
            if let Some(area) = hits.area_of(Hit::Time) {
                self.view.time.drawn(area.width);
            }
            hits
        }
        fn does(&mut self, kind: MouseEventKind, column: u16, row: u16, modifiers: KeyModifiers) -> Option<Effect> {
            let hits = self.hits();
            let info = self.replay.then(|| fixture::replay_info(self.now));
            let at = Situation { state: &self.state, now: self.now, replay: info.as_ref(), steerable: !self.replay };
            mouse(&mut self.view, &MouseEvent { kind, column, row, modifiers }, &hits, at)
        }
        fn left(&mut self, column: u16, row: u16) -> Option<Effect> {
            self.does(MouseEventKind::Down(MouseButton::Left), column, row, KeyModifiers::NONE)
        }
        fn time(&mut self) -> Rect {
            self.hits().area_of(Hit::Time).unwrap()
        }
        fn column(&self, t: Nanos) -> Option<u16> {
            self.view.time.axis(&self.state, self.now).column(t)
        }
    }

    #[test]
    fn a_click_sets_the_cursor_and_a_drag_measures() {
        let mut d = Desk::new();
        let area = d.time();
        d.left(area.x + 30, area.y + 2);
        let from = d.view.time.cursor.unwrap();
        assert_eq!((d.column(from), d.view.time.anchor), (Some(30), None));
        d.does(MouseEventKind::Drag(MouseButton::Left), area.x + 40, area.y + 2, KeyModifiers::NONE);
        assert_eq!((d.view.time.anchor, d.column(d.view.time.cursor.unwrap())), (Some(from), Some(40)));
        // Beyond the edge of the tracks it ends at the edge.
        d.does(MouseEventKind::Drag(MouseButton::Left), 0, area.y + 2, KeyModifiers::NONE);
        assert_eq!(d.column(d.view.time.cursor.unwrap()), Some(0));
        d.does(MouseEventKind::Up(MouseButton::Left), 0, 0, KeyModifiers::NONE);
        assert_eq!(d.does(MouseEventKind::Drag(MouseButton::Left), area.x + 50, area.y, KeyModifiers::NONE), None);
        assert_eq!(d.column(d.view.time.cursor.unwrap()), Some(0));
        d.does(MouseEventKind::Down(MouseButton::Right), area.x, area.y, KeyModifiers::NONE);
        assert_eq!((d.view.time.cursor, d.view.time.anchor), (None, None));
    }

    #[test]
    fn the_wheel_zooms_about_the_pointer_and_pans_with_shift() {
        let mut d = Desk::new();
        let area = d.time();
        let before = d.view.time.axis(&d.state, d.now);
        let t = before.start(20);
        d.does(MouseEventKind::ScrollUp, area.x + 20, area.y, KeyModifiers::NONE);
        let after = d.view.time.axis(&d.state, d.now);
        assert!(after.column_ns < before.column_ns && after.column(t) == Some(20));
        d.does(MouseEventKind::ScrollUp, area.x + 20, area.y, KeyModifiers::SHIFT);
        assert!(d.view.time.axis(&d.state, d.now).first < after.first);
        assert_eq!(d.view.time.scale, Scale::Column(after.column_ns));
    }

    #[test]
    fn pages_hints_and_lists_answer_to_a_click() {
        let mut d = Desk::new();
        let log = d.hits().area_of(Hit::Page(Page::Log)).unwrap();
        d.left(log.x, log.y);
        assert_eq!(d.view.page, Page::Log);
        d.view.menu = Some(Menu::Tracks(0));
        let row = d.hits().area_of(Hit::Row(3)).unwrap();
        d.left(row.x, row.y);
        assert!(d.view.tracks.entries()[3].hidden && d.view.menu == Some(Menu::Tracks(3)));
        d.left(0, 0);
        assert_eq!(d.view.menu, None);
    }

    #[test]
    fn a_click_on_the_bar_of_a_replay_seeks() {
        let mut d = Desk::new();
        d.replay = true;
        let bar = d.hits().area_of(Hit::Position).unwrap();
        assert_eq!(d.left(bar.x, bar.y), Some(Effect::Seek(0)));
        let length = fixture::replay_info(0).length;
        assert_eq!(d.left(bar.right() - 1, bar.y), Some(Effect::Seek(length)));
    }

    #[test]
    fn a_double_click_on_a_migration_fits_it_in() {
        let mut d = Desk::new();
        let mut hits = Hits::default();
        hits.add(Rect::new(0, 0, 10, 1), Hit::Migration(1));
        d.time();
        for _ in 0..2 {
            let at = Situation { state: &d.state, now: d.now, replay: None, steerable: true };
            let kind = MouseEventKind::Down(MouseButton::Left);
            mouse(&mut d.view, &MouseEvent { kind, column: 1, row: 0, modifiers: KeyModifiers::NONE }, &hits, at);
        }
        d.view.time.settle(&d.state, d.now);
        assert_eq!(d.view.history.chosen(&d.state).map(|m| m.n), Some(1));
        assert!(d.column(BEGAN).is_some() && d.column(RESUMED).is_some());
        // It fills most of the view.
        assert!(d.column(RESUMED).unwrap() - d.column(BEGAN).unwrap() > 34);
    }
}
