//! Keys that move about in time.

use std::time::Duration;

use super::situation::{Effect, Situation, ask};
use crate::event::{Intent, Nanos};
use crate::session::notable::{self, Notable};
use crate::session::probed;
use crate::session::state::Migration;
use crate::tui::keys::Action;
use crate::tui::options::Clock;
use crate::tui::view::{Asked, Menu, View};
use crate::units::show_duration;

/// So long after the end of an outage a replay goes, ns.
const AFTER: Nanos = 2_000_000_000;

pub(super) fn act(view: &mut View, action: Action, at: Situation<'_>) -> Option<Effect> {
    let (state, now) = (at.state, at.now);
    match action {
        Action::CursorBack => view.time.move_cursor(state, now, -1),
        Action::CursorOn => view.time.move_cursor(state, now, 1),
        Action::PanBack => pan(view, at, -1),
        Action::PanOn => pan(view, at, 1),
        Action::EventBack => jump(view, false, at),
        Action::EventOn => jump(view, true, at),
        Action::Events => view.menu = Some(Menu::Events(0)),
        Action::Tracks => view.menu = Some(Menu::Tracks(0)),
        Action::Measure => measure(view, at),
        // The instant is that of the key press, however long the note takes to write.
        Action::Mark if at.steerable => {
            let t = view.time.cursor.unwrap_or(now);
            ask(view, Asked::Mark(t));
        }
        Action::Mark => view.notify(now, "nothing can be changed here: this screen only watches"),
        Action::Freeze if view.time.follows() => {
            let axis = view.time.axis(state, now);
            view.time.hold(&axis);
        }
        Action::Freeze => view.time.follow(),
        Action::ZoomIn => zoom(view, true, view.time.cursor, at),
        Action::ZoomOut => zoom(view, false, view.time.cursor, at),
        Action::ZoomAuto => automatic(view, at),
        Action::ZoomAll => view.time.whole(),
        Action::WorstOutage => return worst(view, at),
        Action::WallClock => other_clock(view, at),
        Action::TimeStart | Action::TimeEnd => return end(view, action == Action::TimeStart, at),
        Action::Back => {
            view.time.back();
        }
        _ => {}
    }
    None
}

/// Marks an instant.
pub(super) fn mark(view: &mut View, t: Nanos, note: &str, at: Situation<'_>) {
    view.ask(Intent::Mark { note: note.to_owned(), at: Some(t) });
    let time = view.time_words(at.state, t, 100_000_000);
    view.notify(at.now, format!("marked {time}"));
}

/// Nearer or farther; the instant `about` keeps its place.
pub(super) fn zoom(view: &mut View, inward: bool, about: Option<Nanos>, at: Situation<'_>) {
    if !view.time.zoom(at.state, at.now, inward, about) {
        let text = if inward { "no nearer than 0.1 ms a column" } else { "the whole session is in view" };
        view.notify(at.now, text);
    }
}

/// Half a screen back or on.
fn pan(view: &mut View, at: Situation<'_>, way: i64) {
    let half = i64::from(view.time.axis(at.state, at.now).columns / 2).max(1);
    view.time.pan(at.state, at.now, way * half);
}

/// The beginning or the end of the session; a replay goes there itself.
fn end(view: &mut View, start: bool, at: Situation<'_>) -> Option<Effect> {
    if let Some(info) = at.replay {
        view.time.follow();
        return Some(Effect::Seek(if start { 0 } else { info.length }));
    }
    if start {
        view.time.pan(at.state, at.now, i64::MIN);
    } else {
        view.time.follow();
    }
    None
}

/// The longest outage into view, with the cursor at its beginning; a replay goes behind its end.
fn worst(view: &mut View, at: Situation<'_>) -> Option<Effect> {
    let found = at.replay.map_or_else(|| probed::worst(at.state), |info| info.worst);
    let Some((from, to)) = found else {
        view.notify(at.now, "no outage was seen");
        return None;
    };
    let end = to.unwrap_or_else(|| at.replay.map_or(at.now, |info| info.length));
    let words = view.time_words(at.state, from, 100_000_000);
    let gone = show_duration(Duration::from_nanos(end.saturating_sub(from)));
    view.notify(at.now, format!("the worst outage: from {words} on, at most {gone}"));
    let info = at.replay;
    if info.is_none_or(|info| info.position >= end) {
        view.time.fit(from, end);
        view.time.settle(at.state, at.now);
        view.time.cursor = Some(from);
        return None;
    }
    view.time.follow();
    Some(Effect::Seek(end.saturating_add(AFTER).min(info.map_or(end, |info| info.length))))
}

/// Times of the other clock from now on.
fn other_clock(view: &mut View, at: Situation<'_>) {
    let to = if view.clock == Clock::Wall { Clock::Session } else { Clock::Wall };
    view.clock = to;
    let text = match (to, view.wall(at.state)) {
        (Clock::Session, _) => "times since the session began".to_owned(),
        (Clock::Wall, Some(wall)) => format!("times of the day, {}", wall.offset(at.now)),
        (Clock::Wall, None) => {
            view.clock = Clock::Session;
            "this session has no wall clock: times are since it began".to_owned()
        }
    };
    view.notify(at.now, text);
}

/// Sets the anchor at the cursor; at the same place again, takes it away.
fn measure(view: &mut View, at: Situation<'_>) {
    let there = view.time.ensure_cursor(at.state, at.now);
    if there && view.time.anchor == view.time.cursor {
        view.time.anchor = None;
        return;
    }
    view.time.anchor = view.time.cursor;
    let [back, on] = [Action::CursorBack, Action::CursorOn].map(|a| view.keymap.label_of(a, view.markers));
    view.notify(at.now, format!("measuring from here: {back} and {on} move the other end"));
}

/// Fits the migration the cursor stands on; without one, or when it is fitted in already, goes back to
/// following the newest.
fn automatic(view: &mut View, at: Situation<'_>) {
    let on = view.time.cursor.and_then(|t| {
        at.state.migrations.iter().rev().find(|m| stretch(m, at.now).0 <= t && t <= stretch(m, at.now).1)
    });
    let Some(migration) = on else { return view.time.automatic() };
    let before = view.time.clone();
    fit(view, migration, at.now);
    view.time.settle(at.state, at.now);
    if view.time == before {
        view.time.automatic();
    }
}

/// Fills the view with a migration.
pub(super) fn fit(view: &mut View, migration: &Migration, now: Nanos) {
    let (from, to) = stretch(migration, now);
    view.time.fit(from, to);
}

fn stretch(m: &Migration, now: Nanos) -> (Nanos, Nanos) {
    let end = m.answered.max(m.ended.as_ref().map(|(t, _)| *t));
    (m.began, end.filter(|_| m.ended.is_some()).unwrap_or(now))
}

/// The cursor to the next or the previous event.
fn jump(view: &mut View, onward: bool, at: Situation<'_>) {
    let kinds = view.time.kinds.chosen();
    if kinds.is_empty() {
        let key = view.keymap.label_of(Action::Events, view.markers);
        return view.notify(at.now, format!("no kind of event is chosen: {key} chooses"));
    }
    let axis = view.time.axis(at.state, at.now);
    // Without a cursor the search begins at the edge of what is in view.
    let found = match (view.time.cursor, onward) {
        (Some(t), true) => notable::next(at.state, &kinds, t),
        (Some(t), false) => notable::prev(at.state, &kinds, t),
        (None, true) => notable::next(at.state, &kinds, axis.start(0).saturating_sub(1)),
        (None, false) => notable::prev(at.state, &kinds, axis.end().min(at.now.saturating_add(1))),
    };
    match found.filter(|n| n.t <= at.now) {
        Some(Notable { t, text, .. }) => {
            view.time.go_to(t);
            view.time.settle(at.state, at.now);
            let time = view.time_words(at.state, t, 1_000_000);
            view.notify(at.now, format!("{time} {text}"));
        }
        None => {
            let way = if onward { "later" } else { "earlier" };
            view.notify(at.now, format!("no {way} event of the chosen kinds"));
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::super::press::press;
    use super::*;
    use crate::event::MigrationEnd;
    use crate::session::State;
    use crate::tui::feed::ReplayInfo;
    use crate::tui::fixture::{self, BEGAN, RESUMED, S, STOPPED};
    use crate::tui::time::Scale;

    struct Desk {
        view: View,
        state: State,
        now: Nanos,
    }

    impl Desk {
        fn at(now: Nanos) -> Self {
            let mut view = View::default();
            view.time.drawn(68);
            Self { view, state: fixture::migrating(now), now }
        }
        fn code(&mut self, code: KeyCode) -> Option<Effect> {
            let at = Situation { state: &self.state, now: self.now, replay: None, steerable: true };
            let effect = press(&mut self.view, &KeyEvent::new(code, KeyModifiers::NONE), at);
            self.view.observe(&self.state, self.now);
            effect
        }
        fn keys(&mut self, keys: &str) {
            for c in keys.chars() {
                self.code(KeyCode::Char(c));
            }
        }
        fn notice(&self) -> &str {
            self.view.notice.as_ref().map_or("", |n| &n.1)
        }
    }

    #[test]
    fn jumps_say_what_was_found_and_that_there_is_nothing_more() {
        let mut d = Desk::at(RESUMED + 2 * S);
        d.keys("N");
        assert!(d.notice().starts_with("0:25") && d.notice().contains("done"), "{}", d.notice());
        d.view.time.go_to(STOPPED - 100_000_000);
        d.keys("n");
        assert!(d.notice().contains("stop-and-copy") || d.notice().contains("lost"), "{}", d.notice());
        d.view.time.go_to(d.now);
        d.keys("n");
        assert_eq!(d.notice(), "no later event of the chosen kinds");
        d.view.time.kinds.set_all(false);
        d.keys("n");
        assert!(d.notice().contains("e chooses"), "{}", d.notice());
    }

    #[test]
    fn a_mark_is_of_the_moment_of_the_key_however_long_the_note_takes() {
        let mut d = Desk::at(BEGAN + 3 * S);
        d.keys("x");
        let pressed = d.now;
        d.now += 20 * S;
        d.keys("jump");
        d.code(KeyCode::Enter);
        assert_eq!(d.view.take_intents(), [Intent::Mark { note: "jump".into(), at: Some(pressed) }]);
        // With a cursor it is the cursor's instant; a note may be left out.
        d.view.time.go_to(5 * S);
        d.keys("x");
        d.code(KeyCode::Enter);
        assert_eq!(d.view.take_intents(), [Intent::Mark { note: String::new(), at: Some(5 * S) }]);
    }

    #[test]
    fn measure_and_escape_take_turns() {
        let mut d = Desk::at(BEGAN + 3 * S);
        d.keys(",,v,,");
        let (anchor, cursor) = (d.view.time.anchor.unwrap(), d.view.time.cursor.unwrap());
        assert!(anchor > cursor);
        d.keys("f");
        for expected in [(true, false), (false, false), (false, true)] {
            d.code(KeyCode::Esc);
            assert_eq!((d.view.time.cursor.is_some(), d.view.time.follows()), expected);
        }
    }

    #[test]
    fn zero_fits_the_migration_under_the_cursor_then_follows() {
        let mut d = Desk::at(RESUMED + 60 * S);
        d.state.migrations[0].ended = Some((RESUMED, MigrationEnd::Done));
        d.view.time.go_to(STOPPED);
        d.keys("0");
        let axis = d.view.time.axis(&d.state, d.now);
        assert!(!d.view.time.follows() && axis.column(BEGAN).is_some() && axis.column(RESUMED).is_some());
        d.keys("0");
        assert!(d.view.time.follows() && d.view.time.scale == Scale::Auto);
        d.keys("w");
        assert_eq!(d.view.time.axis(&d.state, d.now).first, 0);
        d.code(KeyCode::Home);
        assert_eq!(d.view.time.axis(&d.state, d.now).first, 0);
    }

    #[test]
    fn the_worst_outage_comes_into_view_and_there_may_be_none() {
        let mut d = Desk::at(RESUMED + 60 * S);
        d.keys("W");
        assert_eq!((d.notice(), d.view.time.cursor), ("no outage was seen", None));
        let info = ReplayInfo { worst: Some((STOPPED, Some(RESUMED))), ..fixture::replay_info(BEGAN) };
        let at = Situation { state: &d.state, now: BEGAN, replay: Some(&info), steerable: false };
        let key = KeyEvent::new(KeyCode::Char('W'), KeyModifiers::NONE);
        assert_eq!(press(&mut d.view, &key, at), Some(Effect::Seek((RESUMED + 2 * S).min(info.length))));
        assert!(d.notice().contains("from 0:22.2 on, at most 2.90 s"), "{}", d.notice());
        let there = ReplayInfo { position: info.length, ..info.clone() };
        let at = Situation { state: &d.state, now: info.length, replay: Some(&there), steerable: false };
        assert_eq!((press(&mut d.view, &key, at), d.view.time.cursor), (None, Some(STOPPED)));
        let axis = d.view.time.axis(&d.state, info.length);
        assert!(axis.column(STOPPED).is_some() && axis.column(RESUMED).is_some());
    }

    #[test]
    fn times_are_of_the_wall_clock_where_there_is_one() {
        let mut d = Desk::at(BEGAN);
        d.keys("C");
        assert!(d.notice().contains("has no wall clock") && d.view.clock == Clock::Session, "{}", d.notice());
        d.state.header.as_mut().unwrap().wall_origin_unix_ns = 1_795_376_700 * S;
        d.keys("C");
        assert!(d.notice().starts_with("times of the day, UTC") && d.view.clock == Clock::Wall, "{}", d.notice());
        d.keys("C");
        assert_eq!((d.notice(), d.view.clock), ("times since the session began", Clock::Session));
    }

    #[test]
    fn lists_open_choose_and_close() {
        let mut d = Desk::at(BEGAN);
        d.keys("ej ");
        assert_eq!(d.view.time.kinds.chosen().len(), 4);
        d.code(KeyCode::Esc);
        d.keys("tjjJ+ ");
        let e = d.view.tracks.entries()[3];
        assert!(e.hidden && e.track == crate::tui::tracks::Track::Dirty && e.weight == 6);
        assert_eq!(d.view.menu, Some(Menu::Tracks(3)));
        d.code(KeyCode::Enter);
        assert_eq!(d.view.menu, None);
    }
}
