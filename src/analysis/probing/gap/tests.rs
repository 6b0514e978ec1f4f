use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn ms(d: Duration) -> u64 {
    d.as_millis() as u64
}

#[test]
fn no_silence_without_a_witness() {
    let mut g = GapFinder::new(10 * MS);
    (0..100).for_each(|k| g.answered(k, k * 10 * MS, MS));
    let longest = g.longest().unwrap();
    assert_eq!((ms(longest.lo), longest.hi.map(ms)), (0, Some(11)));
    assert_eq!(g.interruptions(), Interruptions::default());
    assert_eq!(g.unfinished(), None);
}

#[test]
fn slots_we_did_not_send_raise_no_lower_bound() {
    let mut g = GapFinder::new(10 * MS);
    g.answered(0, 0, MS);
    g.answered(50, 500 * MS, MS);
    let longest = g.longest().unwrap();
    assert_eq!((ms(longest.lo), longest.hi.map(ms)), (0, Some(501)));
    assert_eq!(g.interruptions().count, 0);
}

#[test]
fn a_hole_in_a_blackout_makes_two() {
    let mut g = GapFinder::new(10 * MS);
    g.answered(0, 0, MS);
    g.answered(6, 60 * MS, MS);
    g.answered(10, 100 * MS, MS);
    for k in [1, 2, 3, 4, 5, 7, 8, 9] {
        g.unanswered(k * 10 * MS, true);
    }
    let longest = g.longest().unwrap();
    assert_eq!((longest.from_k, longest.to_k), (0, Some(6)));
    assert_eq!((ms(longest.lo), longest.hi.map(ms)), (39, Some(61)));
    let all = g.interruptions();
    assert_eq!((all.count, ms(all.lo), ms(all.hi)), (2, 58, 102));
}

#[test]
fn a_silence_that_lasts_has_no_upper_bound() {
    let mut g = GapFinder::new(10 * MS);
    g.unanswered(0, true);
    assert_eq!(g.unfinished(), None, "never answered: no silence to speak of");
    g.answered(1, 10 * MS, MS);
    g.unanswered(20 * MS, true);
    g.unanswered(30 * MS, true);
    assert_eq!(g.unfinished().map(|x| (ms(x.lo), x.hi)), Some((9, None)));
}

#[test]
fn outages_have_their_bounds_and_times() {
    let mut g = GapFinder::new(10 * MS);
    g.answered(0, 0, MS);
    (1..5).for_each(|k| g.unanswered(k * 10 * MS, true));
    g.answered(5, 50 * MS, MS);
    g.answered(6, 60 * MS, MS);
    (7..9).for_each(|k| g.unanswered(k * 10 * MS, true));
    let seen =
        g.outages().iter().map(|o| (o.from / MS, o.to.map(|t| t / MS), ms(o.lo), o.unanswered)).collect::<Vec<_>>();
    assert_eq!(seen, [(0, Some(51), 29, 4), (60, None, 9, 2)]);
}

#[test]
fn of_many_outages_the_longest_are_kept_and_all_are_counted() {
    let mut g = GapFinder::new(10 * MS);
    let mut k = 0;
    for n in 0..3 * KEPT as u64 {
        g.answered(k, k * 10 * MS, MS);
        let lost = if n == 77 { 40 } else { 1 };
        (k + 1..=k + lost).for_each(|k| g.unanswered(k * 10 * MS, true));
        k += lost + 1;
    }
    let kept = g.outages();
    assert!(kept.len() <= 3 * KEPT && kept.len() >= KEPT, "{}", kept.len());
    assert!(kept.iter().any(|o| o.unanswered == 40), "the longest is among them");
    assert_eq!(g.interruptions().count + 1, 3 * KEPT as u64);
}

#[test]
fn absurd_numbers_of_a_strangers_capture_are_borne() {
    let mut g = GapFinder::new(u64::MAX);
    g.answered(u64::MAX, u64::MAX, u64::MAX);
    g.answered(u64::MAX, 0, 0);
    g.unanswered(u64::MAX, true);
    let mut g = GapFinder::new(1);
    g.answered(0, u64::MAX, 1);
    g.unanswered(0, false);
    g.answered_late(3, 0, u64::MAX);
    g.answered(u64::MAX, 0, u64::MAX);
    let _ = (g.outages(), g.longest(), g.interruptions());
}

#[test]
fn a_queue_answered_late_is_one_interruption() {
    let mut g = GapFinder::new(10 * MS);
    g.answered(0, 0, MS);
    for k in 1..=200 {
        // Some judged lost beforehand, some only as their late answer is read.
        g.unanswered(k * 10 * MS, true);
        g.answered(k, k * 10 * MS, (2_001 - k * 10 + 10) * MS);
    }
    let all = g.interruptions();
    assert_eq!((all.count, ms(all.lo), ms(all.hi)), (1, 1_999, 2_011));
}

#[test]
fn a_single_probe_delayed_on_its_way_is_no_silence() {
    let mut g = GapFinder::new(10 * MS);
    for k in 0..100 {
        if k % 10 != 7 {
            g.answered(k, k * 10 * MS, MS);
        }
        if k % 10 == 9 {
            g.answered(k - 2, (k - 2) * 10 * MS, 25 * MS);
        }
    }
    let longest = g.longest().unwrap();
    assert_eq!((ms(longest.lo), longest.hi.map(ms)), (0, Some(21)));
    assert_eq!(g.interruptions().lo, Duration::ZERO);
}

#[test]
fn a_lost_probe_that_is_answered_after_all_is_no_outage() {
    let mut g = GapFinder::new(10 * MS);
    for k in (0..20).filter(|k| *k != 10) {
        g.answered(k, k * 10 * MS, MS);
    }
    g.unanswered(100 * MS, true);
    assert_eq!(g.interruptions().count, 1);
    g.answered_late(10, 100 * MS, 1_500 * MS);
    assert_eq!((g.interruptions().count, g.outages().len()), (0, 0));
}

#[test]
fn an_error_is_an_outage_that_proves_no_length() {
    let mut g = GapFinder::new(10 * MS);
    g.answered(0, 0, MS);
    (1..5).for_each(|k| g.unanswered(k * 10 * MS, false));
    assert_eq!(g.unfinished().map(|gap| (gap.lo, gap.unanswered)), Some((Duration::ZERO, 4)));
    g.answered(5, 50 * MS, MS);
    let seen: Vec<_> = g.outages().iter().map(|o| (o.lo, o.hi.map(ms), o.unanswered)).collect();
    assert_eq!(seen, [(Duration::ZERO, Some(51), 4)]);
}

#[test]
fn a_network_that_has_become_slower_is_no_outage_for_ever() {
    let mut g = GapFinder::new(10 * MS);
    (0..2_000).for_each(|k| g.answered(k, k * 10 * MS, if k < 600 { MS } else { 80 * MS }));
    let all = g.interruptions();
    assert!(all.count <= 1 && all.hi < Duration::from_millis(100), "{all:?}");
    // Slots were lost for 200 ms; the lower bound allows for the way as it is now.
    g.answered(2_020, 20_200 * MS, 80 * MS);
    (2_000..2_020).for_each(|k| g.unanswered(k * 10 * MS, true));
    assert_eq!(g.longest().map(|gap| (ms(gap.lo), gap.hi.map(ms))), Some((110, Some(290))));
}

proptest! {
    /// A target gone from `begin` for `gone`, its queue lost or kept, always within the bounds.
    #[test]
    fn the_true_outage_lies_within_the_bounds(
        begin in 200u64..900, gone in 0u64..3_000, interval in 1u64..60, owd in 0u64..5, kept in 0usize..400, deadline in 100u64..1_500, newest_first: bool,
    ) {
        let (begin, gone, interval, owd, deadline) = (begin * MS, gone * MS, interval * MS, owd * MS / 2, deadline * MS);
        let back = begin + gone;
        // (when judged, k, sent, received); the first `kept` probes that meet no guest wait for it.
        let mut outcomes = Vec::new();
        let mut queued = 0;
        for k in 0..(back + 500 * MS) / interval {
            let sent = k * interval;
            let arrives = sent + owd;
            let answered = if arrives < begin || arrives >= back {
                Some(arrives)
            } else if queued < kept {
                queued += 1;
                Some(back)
            } else {
                None
            };
            match answered.map(|t| t + owd) {
                Some(t) if t < sent + deadline => outcomes.push((t, k, sent, Some(t))),
                Some(t) => {
                    outcomes.push((sent + deadline, k, sent, None));
                    outcomes.push((t, k, sent, Some(t)));
                }
                None => outcomes.push((sent + deadline, k, sent, None)),
            }
        }
        outcomes.sort_by_key(|o| (o.0, if newest_first && o.3.is_some() { u64::MAX - o.1 } else { o.1 }));
        let mut g = GapFinder::new(interval);
        for (_, k, sent, received) in outcomes {
            match received {
                Some(t) if t - sent >= deadline => g.answered_late(k, sent, t - sent),
                Some(t) => g.answered(k, sent, t - sent),
                None => g.unanswered(sent, true),
            }
        }
        let longest = g.longest().unwrap();
        let (lo, hi) = (longest.lo.as_nanos() as u64, longest.hi.unwrap().as_nanos() as u64);
        prop_assert!(lo <= gone, "lo {lo} gone {gone}");
        // Without a witness another, ordinary stretch may be the longest; it is no shorter.
        prop_assert!(hi >= gone, "hi {hi} gone {gone}");
        prop_assert!(hi - lo <= 3 * interval + 4 * (2 * owd) + 5 * MS, "[{lo}, {hi}] is wider than it need be");
    }
}
