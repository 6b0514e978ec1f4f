//! The guest's stop and resume, stamped by the clocks of two hosts.

use std::time::Duration;

use super::MS;
use crate::analysis::Estimate;
use crate::analysis::clock::{HostClock, Offset};
use crate::analysis::downtime::{Turn, Turns, clocks};
use crate::event::ForeignTime;

pub(super) fn turn<'a>(host: &'a str, heard: u64, at_us: Option<i64>, offset: Option<Offset>) -> Turn<'a> {
    let at = at_us.map(|us| ForeignTime { secs: 1_000 + us.div_euclid(1_000_000), micros: us.rem_euclid(1_000_000) });
    Turn { t: heard, at, host, offset }
}

pub(super) fn stop_resume(stopped: Turn<'_>, resumed: Turn<'_>, one_clock: bool) -> Estimate {
    let turns = Turns { stopped: Some(stopped), resumed: Some(resumed), one_clock, earlier: &[] };
    clocks::stop_resume(&turns)
}

fn ms(e: &Estimate) -> Option<(u128, u128, u128)> {
    e.value.map(|v| (v.value.as_millis(), v.lo.as_millis(), v.hi.as_millis()))
}

#[test]
fn stop_and_resume_on_one_clock() {
    // Heard 3 ms and 10 ms late: the time stamps' difference, and both within the bounds; above them
    // the time from the CPUs' stop to its telling.
    let one = stop_resume(turn("a", 103 * MS, Some(100_000), None), turn("b", 3_010 * MS, Some(3_000_000), None), true);
    assert_eq!(ms(&one), Some((2_900, 2_899, 2_917)));
    assert!(one.note.as_deref().unwrap().contains("of one clock"));
    // A hypervisor whose clock failed sends -1.
    let failed = Turn { at: Some(ForeignTime { secs: -1, micros: -1 }), ..turn("a", 100 * MS, None, None) };
    assert_eq!(ms(&stop_resume(failed, turn("b", 108 * MS, Some(5_000), None), true)).unwrap().0, 8);
    // Handed over the wrong way round, by two connections.
    let crossed = stop_resume(turn("a", 110 * MS, Some(100_000), None), turn("b", 109 * MS, Some(108_000), None), true);
    assert_eq!(ms(&crossed), Some((8, 0, 18)));
    assert!(clocks::stop_resume(&Turns { stopped: Some(failed), ..Turns::default() }).value.is_none());
    // Two machines, and nothing known of their clocks.
    let blind = stop_resume(turn("a", 103 * MS, Some(100_000), None), turn("b", 3_003 * MS, Some(9_000), None), false);
    assert_eq!(ms(&blind), Some((2_900, 2_850, 2_950)));
    assert!(blind.note.as_deref().unwrap().contains("nothing is known of the hosts' clocks"));
}

#[test]
fn stops_before_the_switch_over_are_told_and_not_counted() {
    let (stopped, resumed) = (turn("a", 100 * MS, None, None), turn("b", 151 * MS, None, None));
    let note = |earlier: &[(u64, u64)]| {
        let turns = Turns { stopped: Some(stopped), resumed: Some(resumed), one_clock: true, earlier };
        let estimate = clocks::stop_resume(&turns);
        assert_eq!(ms(&estimate).unwrap().0, 51);
        estimate.note.unwrap()
    };
    assert!(!note(&[]).contains("before"));
    assert!(note(&[(10 * MS, 30 * MS)]).ends_with("it had stood still for 20.0 ms before, and went on at the source"));
    let two = note(&[(10 * MS, 30 * MS), (40 * MS, 75 * MS)]);
    assert!(two.contains("stood still 2 times before, 55.0 ms in all, 35.0 ms at the longest"), "{two}");
    let none = clocks::stop_resume(&Turns { earlier: &[(10 * MS, 30 * MS)], ..Turns::default() });
    assert!(none.value.is_none() && none.note.unwrap().contains("stood still for 20.0 ms"));
}

/// A migration between two hosts with clocks of their own: the guest stands still for 51 ms.
struct TwoHosts {
    /// By how much each clock is ahead of ours, ns, at a time of ours.
    ahead: [fn(u64) -> i64; 2],
    /// The way of an event, ms: shortest, and how much more at most.
    ways: [(u64, u64); 2],
    /// Events each host stamps before the stop, and after.
    events: [u64; 2],
    measured_way: bool,
}

impl TwoHosts {
    fn stop_resume(&self) -> Estimate {
        let (stop, resume) = (20_000 * MS, 20_051 * MS);
        let mut clocks = [HostClock::default(), HostClock::default()];
        let mut turns = Vec::new();
        for (i, clock) in clocks.iter_mut().enumerate() {
            let (shortest, more) = self.ways[i];
            let mut tell = |at: u64, k: u64| {
                let ns = at as i64 + (self.ahead[i])(at);
                let stamp = ForeignTime {
                    secs: 1_000_000 + ns.div_euclid(1_000_000_000),
                    micros: ns.rem_euclid(1_000_000_000) / 1_000,
                };
                let heard = at + (shortest + if more == 0 { 0 } else { k * 7_919 % (more + 1) }) * MS;
                clock.stamp(heard, Some(stamp));
                (heard, stamp)
            };
            let n = self.events[i];
            (0..n).for_each(|k| _ = tell(20_000 * MS - (n - k) * 90 * MS, k));
            turns.push(tell([stop, resume][i], 3));
            (0..n.min(10)).for_each(|k| _ = tell(20_100 * MS + k * 50 * MS, k));
            if self.measured_way {
                clock.round_trip(2 * shortest * MS + MS / 2);
            }
        }
        let turn =
            |i: usize, host| Turn { t: turns[i].0, at: Some(turns[i].1), host, offset: clocks[i].at(turns[i].0) };
        stop_resume(turn(0, "a"), turn(1, "b"), false)
    }
}

#[test]
fn two_hosts_whose_clocks_differ_are_corrected() {
    const S: i64 = 1_000_000_000;
    let truth = Duration::from_millis(51);
    type Ahead = fn(u64) -> i64;
    let apart: [[Ahead; 2]; 7] = [
        [|_| 0, |_| S / 5],
        [|_| 0, |_| -S / 5],
        [|_| 7 * S, |_| 3_607 * S],
        [|_| 0, |_| -3_600 * S],
        // 100 ppm apart.
        [|_| 0, |t| S / 5 + t as i64 / 10_000],
        // The destination's is set by a minute in the middle of the migration; the source's by 0.2 s.
        [|_| 0, |t| if t < 10_000_000_000 { 0 } else { 60 * S }],
        [|t| if t < 15_000_000_000 { 0 } else { -S / 5 }, |_| 0],
    ];
    for (i, ahead) in apart.into_iter().enumerate() {
        for ways in [[(0, 3), (0, 3)], [(2, 10), (50, 0)], [(50, 0), (2, 10)], [(25, 5), (1, 1)]] {
            for events in [[200, 200], [200, 6], [6, 200], [1, 0], [0, 0]] {
                for measured_way in [true, false] {
                    let e = TwoHosts { ahead, ways, events, measured_way }.stop_resume();
                    let v = e.value.unwrap();
                    assert!(v.lo <= truth && truth <= v.hi, "{i} {ways:?} {events:?}: {e:?}");
                    // Never wider than two ways of 50 ms (or as they were measured), and sharp where the ways
                    // are short and known.
                    let at_most = if measured_way { 250 } else { 120 };
                    assert!(v.hi - v.lo <= Duration::from_millis(at_most), "{i} {ways:?} {events:?}: {e:?}");
                    if measured_way && ways[0].0 == 0 && events == [200, 200] {
                        assert!(v.hi - v.lo <= Duration::from_millis(30), "{i}: {e:?}");
                        assert!(v.value.abs_diff(truth) <= Duration::from_millis(5), "{i}: {e:?}");
                    }
                }
            }
        }
    }
    let said = TwoHosts { ahead: apart[0], ways: [(0, 3), (0, 3)], events: [200, 200], measured_way: true };
    let note = said.stop_resume().note.unwrap();
    assert!(note.contains("the clock of b is 200 ms ahead of that of a ("), "{note}");
    let said = TwoHosts { ahead: apart[6], ..said };
    assert!(said.stop_resume().note.unwrap().contains("a clock was set during the session"));
}

#[test]
fn two_hosts_on_one_machine_with_clocks_of_their_own_are_not_taken_for_one() {
    // As a hypervisor whose clock is moved for a test: on this machine, but 0.2 s ahead.
    let two =
        TwoHosts { ahead: [|_| 0, |_| 200_000_000], ways: [(0, 1), (0, 1)], events: [50, 50], measured_way: true };
    let (one, note) = (two.stop_resume(), two.stop_resume().note.unwrap());
    assert!(note.contains("200 ms ahead"), "{note}");
    let offset = |ahead: i128| Some(Offset { lo: -ahead - 1_000_000, hi: -ahead, stamps: 50, stepped: false });
    let (stop, resume) = (100_000, 351_000);
    let (a, b) = (turn("a", 100 * MS, Some(stop), offset(0)), turn("b", 151 * MS, Some(resume), offset(200_000_000)));
    let v = stop_resume(a, b, true).value.unwrap();
    assert_eq!(v.value.as_millis(), 51);
    assert!(v.hi < Duration::from_millis(64) && v.lo > Duration::from_millis(48), "{v:?}");
    assert!(one.value.unwrap().value.abs_diff(Duration::from_millis(51)) < Duration::from_millis(3));
}
