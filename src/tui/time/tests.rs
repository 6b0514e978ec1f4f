//! Moving about in time, for any numbers.

use proptest::prelude::*;

use super::*;

const S: Nanos = 1_000_000_000;

fn view(columns: u16) -> TimeView {
    TimeView { columns, ..TimeView::default() }
}

fn state() -> State {
    State::default()
}

#[test]
fn a_frozen_picture_stands_still_and_following_goes_back_to_the_scale_it_had() {
    let (mut v, s) = (view(100), state());
    let before = v.axis(&s, 60 * S);
    v.hold(&before);
    assert!(!v.follows());
    let later = v.axis(&s, 90 * S);
    assert_eq!((later.first, later.column_ns), (before.first, before.column_ns));
    v.follow();
    assert_eq!((v.scale, v.edge), (Scale::Auto, Edge::Now));
    assert_eq!(v.axis(&s, 90 * S).column(90 * S), Some(99));
}

#[test]
fn panning_back_freezes_and_panning_on_to_the_end_follows() {
    let (mut v, s) = (view(100), state());
    v.pan(&s, 60 * S, -50);
    assert!(!v.follows());
    assert_eq!(v.axis(&s, 60 * S).column(60 * S), None);
    v.pan(&s, 60 * S, 49);
    assert!(!v.follows());
    v.pan(&s, 60 * S, 1);
    assert_eq!((v.scale, v.edge), (Scale::Auto, Edge::Now));
    // Nothing lies before the beginning.
    v.pan(&s, 60 * S, -10_000);
    assert_eq!(v.axis(&s, 60 * S).first, 0);
}

#[test]
fn going_to_an_instant_in_view_goes_on_following() {
    let (mut v, s) = (view(100), state());
    v.go_to(55 * S);
    v.settle(&s, 60 * S);
    assert!(v.follows());
    v.go_to(5 * S);
    v.settle(&s, 60 * S);
    assert!(!v.follows() && v.axis(&s, 60 * S).column(5 * S).is_some());
}

#[test]
fn a_stretch_is_fitted_in_with_margins() {
    let (mut v, s) = (view(100), state());
    v.fit(10 * S, 30 * S);
    v.settle(&s, 60 * S);
    let a = v.axis(&s, 60 * S);
    let (from, to) = (a.column(10 * S).unwrap(), a.column(30 * S).unwrap());
    assert!(from >= 2 && to <= 97 && to - from > 60, "{from}..{to}");
    // Before the first frame the wish waits.
    let mut early = view(0);
    early.fit(10 * S, 30 * S);
    early.settle(&s, 60 * S);
    assert!(early.follows() && early.wish.is_some());
}

#[test]
fn the_cursor_begins_at_the_right_edge_or_in_the_middle() {
    let (mut v, s) = (view(100), state());
    v.move_cursor(&s, 60 * S, -1);
    assert_eq!(v.cursor, Some(60 * S));
    v.move_cursor(&s, 60 * S, -1);
    assert_eq!(v.cursor, Some(60 * S - 200_000_000));
    let mut v = view(100);
    v.pan(&s, 60 * S, -50);
    v.move_cursor(&s, 60 * S, 1);
    assert_eq!(v.axis(&s, 60 * S).column(v.cursor.unwrap()), Some(50));
}

#[test]
fn leaving_takes_back_one_thing_at_a_time() {
    let (mut v, s) = (view(100), state());
    (v.cursor, v.anchor) = (Some(5 * S), Some(4 * S));
    v.hold(&v.axis(&s, 60 * S));
    assert!(v.back() && v.anchor.is_none() && v.cursor.is_some());
    assert!(v.back() && v.cursor.is_none() && !v.follows());
    assert!(v.back() && v.follows());
    assert!(!v.back());
}

#[test]
fn a_replay_that_goes_back_takes_the_cursor_along() {
    let mut v = view(100);
    (v.cursor, v.anchor) = (Some(50 * S), Some(40 * S));
    v.settle(&state(), 45 * S);
    assert_eq!((v.cursor, v.anchor), (Some(45 * S), Some(40 * S)));
}

#[test]
fn no_farther_than_the_whole_session() {
    let (mut v, s) = (view(100), state());
    let mut steps = 0;
    while v.zoom(&s, 60 * S, false, None) {
        steps += 1;
        assert!(steps < 40);
    }
    assert_eq!(v.axis(&s, 60 * S).first, 0);
    assert!(v.follows());
}

#[test]
fn kinds_are_chosen_one_by_one() {
    let mut k = Kinds::default();
    assert_eq!(k.chosen(), Kind::ALL);
    k.toggle(Kind::Round);
    assert!(!k.has(Kind::Round) && k.has(Kind::Loss) && k.chosen().len() == 4);
    k.set_all(false);
    assert_eq!(k.chosen(), []);
}

#[derive(Debug, Clone)]
enum Move {
    Cursor(i64),
    Pan(i64),
    Zoom(bool),
    GoTo(u64),
    Fit(u64, u64),
    Freeze,
    Follow,
    Whole,
    Later(u64),
}

fn any_move() -> impl Strategy<Value = Move> {
    let t = prop_oneof![0..200 * S, any::<u64>()];
    prop_oneof![
        any::<i64>().prop_map(Move::Cursor),
        (-3i64..4).prop_map(Move::Cursor),
        (-200i64..200).prop_map(Move::Pan),
        any::<bool>().prop_map(Move::Zoom),
        t.clone().prop_map(Move::GoTo),
        (t.clone(), t).prop_map(|(a, b)| Move::Fit(a, b)),
        Just(Move::Freeze),
        Just(Move::Follow),
        Just(Move::Whole),
        (0..20 * S).prop_map(Move::Later),
    ]
}

proptest! {
    #[test]
    fn the_cursor_stays_in_view_however_one_moves(
        moves in prop::collection::vec(any_move(), 1..40),
        columns in 1u16..300,
        mut now in prop_oneof![0..300 * S, any::<u64>()],
    ) {
        let (mut v, s) = (view(columns), state());
        for m in moves {
            let held = v.cursor.filter(|t| v.axis(&s, now).column(*t).is_some());
            let at = held.and_then(|t| v.axis(&s, now).column(t));
            match m {
                Move::Cursor(by) => v.move_cursor(&s, now, by),
                Move::Pan(by) => v.pan(&s, now, by),
                Move::Zoom(inward) => {
                    v.zoom(&s, now, inward, v.cursor);
                }
                Move::GoTo(t) => v.go_to(t),
                Move::Fit(a, b) => v.fit(a, b),
                Move::Freeze => v.hold(&v.axis(&s, now)),
                Move::Follow => v.follow(),
                Move::Whole => v.whole(),
                Move::Later(by) => now = now.saturating_add(by),
            }
            v.settle(&s, now);
            let axis = v.axis(&s, now);
            prop_assert!(axis.column_ns > 0 && axis.columns == columns);
            match m {
                Move::Cursor(_) | Move::GoTo(_) => {
                    let t = v.cursor.unwrap();
                    prop_assert!(t <= now && axis.column(t).is_some(), "{axis:?} {t}");
                }
                Move::Zoom(_) => if let (Some(t), Some(before)) = (held, at) {
                    let after = axis.column(t);
                    // Only the beginning of the session may get in the way.
                    prop_assert!(
                        after.is_some_and(|a| a.abs_diff(before) <= 1 || (axis.first == 0 && a < before)),
                        "{before} {after:?} {axis:?}"
                    );
                }
                _ => {}
            }
        }
    }
}
