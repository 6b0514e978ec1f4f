use proptest::prelude::*;

use super::*;
use crate::session::testing::{any_event, header, log};

fn player(times: &[Nanos]) -> Player {
    let events = times.iter().map(|t| log(*t, &t.to_string())).collect();
    Player::new(header(), events, RecorderStatus::default())
}

#[test]
fn time_passes_at_the_speed_that_is_set() {
    let mut p = player(&[10, 20, 30, 1_000]);
    p.advance(5_000);
    p.advance(6_000);
    assert_eq!((p.position(), p.progress()), (0, (0, 4)), "it begins paused");
    p.set_paused(false);
    p.advance(6_010);
    assert_eq!((p.position(), p.progress().0), (10, 1));
    p.set_speed(2.0);
    p.advance(6_020);
    assert_eq!((p.position(), p.progress().0), (30, 3));
    p.set_speed(1e9);
    assert_eq!(p.speed(), 100.0);
    p.set_speed(f64::NAN);
    p.set_speed(0.0);
    assert_eq!(p.speed(), 0.1);
    p.advance(6_120);
    assert_eq!(p.position(), 40);
    p.advance(1_000_000);
    assert_eq!((p.position(), p.at_end()), (1_000, true));
}

#[test]
fn steps_and_seeks() {
    let mut p = player(&[10, 30, 20, 40]);
    p.set_paused(false);
    p.step();
    assert_eq!((p.position(), p.progress().0, p.paused()), (10, 1, true));
    p.step();
    p.step();
    // Handed over late: due with the one before it.
    assert_eq!((p.position(), p.progress().0), (30, 3));
    p.seek(15);
    assert_eq!((p.shared().state().events, p.position()), (1, 15));
    p.seek(u64::MAX);
    p.step();
    assert_eq!((p.position(), p.at_end()), (40, true));
    let mut empty = player(&[]);
    empty.step();
    empty.seek(5);
    assert_eq!((empty.position(), empty.at_end()), (0, true));
}

#[test]
fn going_back_over_checkpoints_gives_the_same_state() {
    let n = 3 * CHECKPOINT_EVENTS as u64;
    let times: Vec<Nanos> = (0..n).collect();
    let mut p = player(&times);
    p.seek(n);
    assert!(p.checkpoints.len() >= 2 && p.checkpoints.len() <= CHECKPOINTS);
    for t in [n - 7, CHECKPOINT_EVENTS as u64 + 3, 5] {
        p.seek(t);
        let mut fresh = player(&times);
        fresh.seek(t);
        assert!(p.shared().state() == fresh.shared().state(), "at {t}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_way_through_a_capture_ends_in_the_same_state(
        events in proptest::collection::vec(any_event(), 1..120),
        ways in proptest::collection::vec(any::<u32>(), 1..8),
    ) {
        let mut p = Player::new(header(), events.clone(), RecorderStatus::default());
        for t in ways {
            p.seek(u64::from(t));
            p.step();
        }
        p.seek(u64::MAX);
        let mut straight = State::begin(header());
        events.iter().for_each(|e| straight.apply(e));
        prop_assert!(p.shared().state() == straight);
    }
}
