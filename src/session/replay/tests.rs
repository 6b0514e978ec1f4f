use proptest::prelude::*;

use super::source::{CHECKPOINTS, EVERY};
use super::*;
use crate::session::testing::{any_event, capture, header, log};

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
    let n = 3 * EVERY as u64;
    let times: Vec<Nanos> = (0..n).collect();
    let mut p = player(&times);
    p.seek(n);
    assert!(p.checkpoints.len() >= 3 && p.checkpoints.len() <= CHECKPOINTS);
    for t in [n - 7, EVERY as u64 + 3, EVERY as u64 - 1, 5] {
        p.seek(t);
        let mut straight = State::begin(header());
        times.iter().take_while(|due| **due <= t).for_each(|t| straight.apply(&log(*t, &t.to_string())));
        assert!(p.shared().state() == straight, "at {t}");
    }
    // Over the boundary and back, event by event.
    p.seek(EVERY as u64 - 3);
    for (step, at) in [(true, 1), (true, 2), (true, 3), (false, 2), (false, 1), (false, 0)] {
        if step {
            p.step()
        } else {
            p.step_back()
        }
        assert_eq!((p.progress().0, p.position()), (EVERY - 2 + at, (EVERY - 3 + at) as u64));
        assert_eq!(p.shared().state().events, p.progress().0 as u64);
    }
}

#[test]
fn a_file_plays_like_the_events_in_it_compressed_or_not() {
    use std::io::Write;

    let events: Vec<Event> = (0..2 * EVERY as u64 + 100).map(|t| log(t, "x")).collect();
    let mut text = capture(&header(), &events).replacen("\n{\"t\":7,", "\nnonsense\n{\"t\":7,", 1);
    text += "{\"t\":12,\"ev";
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("capture.jsonl");
    std::fs::write(&plain, &text).unwrap();
    let folder = dir.path().join("compressed");
    std::fs::create_dir(&folder).unwrap();
    let file = std::fs::File::create(folder.join("capture.jsonl.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap();

    let mut straight = Player::new(header(), events, RecorderStatus::default());
    for path in [&plain, &folder] {
        let (mut p, flaws) = Player::open(path).unwrap();
        assert_eq!((flaws.corrupt.len(), flaws.torn), (1, Some(11)), "{flaws:?}");
        assert_eq!((p.progress(), p.end()), ((0, straight.progress().1), straight.end()));
        for t in [u64::MAX, 20_000, 35_000, EVERY as u64, 3, 32_800] {
            p.seek(t);
            straight.seek(t);
            assert!(p.shared().state() == straight.shared().state(), "at {t}");
            assert_eq!((p.progress(), p.trouble()), (straight.progress(), None));
        }
    }
    // A capture that is cut short while it is played is no reason to panic.
    let (mut p, _) = Player::open(&plain).unwrap();
    p.seek(u64::MAX);
    std::fs::write(&plain, &text[..2000]).unwrap();
    p.seek(20_000);
    assert!(p.trouble().is_some_and(|t| t.contains("cannot be read again")), "{:?}", p.trouble());
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
            if t % 3 == 0 {
                p.step_back();
            }
            let mut due = 0;
            let by_then = |e: &&Event| {
                due = due.max(e.t);
                due <= p.position()
            };
            prop_assert!(events.iter().take_while(by_then).count() >= p.progress().0);
        }
        p.seek(u64::MAX);
        let mut straight = State::begin(header());
        events.iter().for_each(|e| straight.apply(e));
        prop_assert!(p.shared().state() == straight);
    }
}
