use crate::chunked::Chunked;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;

mod two_hosts;

use self::two_hosts::{stop_resume, turn};
use super::*;
use crate::event::{Fate, Outcome, ProbeKind, ProbeSpec};

const MS: u64 = 1_000_000;

fn spec(interval_ns: u64) -> ProbeSpec {
    ProbeSpec::new(ProbeKind::Icmp, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), interval_ns)
}

/// One letter a slot: `.` answered after 1 ms, `x` lost, `n` not sent, `e` error, `r` refused, `L` late, two
/// seconds after it was sent, and a digit d: held back and answered d intervals after it was sent.
/// A blank is a slot without an outcome.
fn script(letters: &str, interval: u64) -> Chunked<Outcome> {
    let outcome = |(k, letter): (usize, char)| {
        let (k, sent) = (k as u64, k as u64 * interval);
        let fate = match letter {
            '.' => Fate::Ok { rtt: MS },
            'x' => Fate::Lost,
            'n' => Fate::NotSent,
            'e' => Fate::Error,
            'r' => Fate::Refused,
            'L' => Fate::Late { rtt: 2_000 * MS },
            d => Fate::Ok { rtt: u64::from(d.to_digit(10)?) * interval },
        };
        Some(Outcome { k, sent, fate })
    };
    letters.chars().enumerate().filter_map(outcome).collect()
}

/// The migration begins at slot 10 and settles `after` slots beyond the last.
fn measured(letters: &str) -> Downtimes {
    measured_by(letters, ProbeKind::Icmp)
}

fn measured_by(letters: &str, kind: ProbeKind) -> Downtimes {
    let interval = 50 * MS;
    let (spec, outcomes, none) = (ProbeSpec { kind, ..spec(interval) }, script(letters, interval), Chunked::new());
    let seen = Seen {
        calm_since: 0,
        disturbed: &[],
        began: 10 * interval,
        until: letters.len() as u64 * interval,
        probe: Some(ProbeSeen { spec: &spec, outcomes: &outcomes, stopped: None }),
        heartbeats: &none,
        turns: Turns::default(),
        claimed: None,
        reported_ms: None,
    };
    estimate(&seen)
}

fn of(downtimes: &Downtimes, method: Method) -> (u128, u128, u128) {
    let estimate = &downtimes.estimates[Method::ALL.iter().position(|m| *m == method).unwrap()];
    let v = estimate.value.unwrap();
    (v.value.as_millis(), v.lo.as_millis(), v.hi.as_millis())
}

fn note(downtimes: &Downtimes, method: Method) -> String {
    let estimate = &downtimes.estimates[Method::ALL.iter().position(|m| *m == method).unwrap()];
    estimate.note.clone().unwrap_or_default()
}

#[test]
fn a_guest_that_was_never_gone() {
    let d = measured("....................");
    assert_eq!(of(&d, Method::LostPings), (0, 0, 50));
    // From one send to the next answer.
    assert_eq!(of(&d, Method::ReplyGap), (0, 0, 51));
    assert_eq!((d.gaps, d.gaps_total), (0, Duration::ZERO));
    assert_eq!(note(&d, Method::ReplyGap), "");
}

#[test]
fn a_plain_blackout() {
    let d = measured("............xxxx..........");
    assert_eq!(of(&d, Method::LostPings), (200, 150, 250));
    // Sends: 550 ms to 800 ms; lost from 600 to 750; the slowest way is 1 ms.
    assert_eq!(of(&d, Method::ReplyGap), (250, 149, 251));
    assert_eq!((d.gaps, d.gaps_total.as_millis()), (1, 250));
}

#[test]
fn the_blackout_before_does_not_blur_this_one() {
    // The first blackout is a saw-tooth that ends in slot 13; the second is plain.
    let interval = 50 * MS;
    let outcomes = script("....987654321..........xxxx......", interval);
    let (spec, none) = (spec(interval), Chunked::new());
    let seen = Seen {
        calm_since: 13 * interval,
        disturbed: &[],
        began: 22 * interval,
        until: 33 * interval,
        probe: Some(ProbeSeen { spec: &spec, outcomes: &outcomes, stopped: None }),
        heartbeats: &none,
        turns: Turns::default(),
        claimed: None,
        reported_ms: None,
    };
    let d = estimate(&seen);
    assert_eq!(of(&d, Method::ReplyGap), (250, 149, 251));
    assert_eq!(of(&d, Method::LostPings), (200, 150, 250));
    assert_eq!(d.gaps, 1);
}

#[test]
fn losses_before_the_migration_are_not_its_own() {
    let d = measured("..x.................");
    assert_eq!(of(&d, Method::LostPings), (0, 0, 50));
    assert_eq!(of(&d, Method::ReplyGap), (0, 0, 51));
}

#[test]
fn a_blackout_with_a_hole() {
    let d = measured("............xxxx.xx.......");
    assert_eq!(of(&d, Method::LostPings), (300, 200, 400));
    assert!(note(&d, Method::LostPings).contains("6 unanswered in 2 stretches, 4 in the longest"));
    assert_eq!(of(&d, Method::ReplyGap), (250, 149, 251));
    assert_eq!((d.gaps, d.gaps_total.as_millis()), (2, 400));
}

#[test]
fn a_saw_tooth_is_a_blackout_without_a_loss() {
    // Sent at 600 to 800 ms, all answered at 850 ms.
    let d = measured("............54321.........");
    assert_eq!(of(&d, Method::LostPings).0, 0);
    assert!(of(&d, Method::LostPings).2 >= 250, "{d:?}");
    assert!(note(&d, Method::LostPings).contains("held back"));
    // From 550 ms to 849 ms; gone at 601 ms at the latest, back at 849 ms at the earliest.
    assert_eq!(of(&d, Method::ReplyGap), (299, 248, 300));
    assert_eq!(d.gaps, 1);
}

#[test]
fn a_full_queue_loses_the_later_ones() {
    // Three held back, three dropped, answered at 900 ms.
    let d = measured("............654xxx.........");
    assert_eq!(of(&d, Method::ReplyGap), (349, 298, 350));
    assert_eq!((d.gaps, d.gaps_total.as_millis()), (1, 349));
}

#[test]
fn slots_not_sent_prove_nothing_and_hide_much() {
    let d = measured("............nnnn..........");
    assert_eq!(of(&d, Method::LostPings), (0, 0, 250));
    assert_eq!(of(&d, Method::ReplyGap), (0, 0, 251));
    assert!(note(&d, Method::ReplyGap).contains("could hide"));
    assert_eq!(d.gaps, 0);
}

#[test]
fn errors_are_no_replies_and_no_proof() {
    let d = measured("............eeee..........");
    assert_eq!(of(&d, Method::LostPings), (200, 0, 250));
    assert_eq!(of(&d, Method::ReplyGap), (250, 0, 251));
}

#[test]
fn a_connection_that_is_refused_is_a_witness_and_no_reply() {
    // The kernel answers, the service does not; an error is a witness where a connection is asked for.
    for (letters, kind) in [
        ("............rrrr..........", ProbeKind::Tcp),
        ("............rrrr..........", ProbeKind::Http),
        ("............eeee..........", ProbeKind::Tcp),
    ] {
        let d = measured_by(letters, kind);
        assert_eq!(of(&d, Method::LostPings), (200, 150, 250), "{letters}");
        assert_eq!(of(&d, Method::ReplyGap), (250, 149, 251), "{letters}");
    }
    let d = measured_by("............rrrr..........", ProbeKind::Tcp);
    assert!(note(&d, Method::LostPings).contains("4 of them were refused"), "{d:?}");
}

#[test]
fn late_replies_are_replies() {
    let letters = format!("............{}{}", "L", ".".repeat(60));
    let d = measured(&letters);
    assert_eq!(of(&d, Method::LostPings).0, 0);
    assert_eq!(of(&d, Method::ReplyGap).0, 0, "one late reply among good ones is no gap");
}

#[test]
fn a_guest_that_does_not_come_back() {
    let d = measured("............xxxxxxxx");
    assert!(note(&d, Method::ReplyGap).contains("still open"));
    assert_eq!(of(&d, Method::ReplyGap), (450, 349, 450));
    let never = measured("            xxxxxxxx");
    for method in [Method::LostPings, Method::ReplyGap] {
        assert!(unknown_is(&never, method).contains("answered none of 8 probes"), "{never:?}");
    }
}

/// Why an estimate is unknown, which it must be.
fn unknown_is(d: &Downtimes, method: Method) -> String {
    let estimate = d.estimates.iter().find(|e| e.method == method).unwrap();
    assert_eq!(estimate.value, None, "{estimate:?}");
    estimate.note.clone().unwrap()
}

#[test]
fn a_probe_that_never_worked_knows_nothing() {
    for letters in ["x".repeat(40), "e".repeat(40), format!("{}{}", "x".repeat(8), "e".repeat(32))] {
        let d = measured(&letters);
        for method in [Method::LostPings, Method::ReplyGap] {
            assert!(unknown_is(&d, method).contains("answered none of 40 probes"), "{d:?}");
        }
        assert_eq!((d.gaps, d.gaps_total), (0, Duration::ZERO));
    }
    // One that is answered from the destination on: when the guest fell silent is not known.
    let d = measured(&format!("{}{}", "x".repeat(20), ".".repeat(20)));
    assert!(unknown_is(&d, Method::ReplyGap).contains("none of the 10 probes before the migration"), "{d:?}");
    assert!(unknown_is(&d, Method::LostPings).contains("none of the 10 probes before the migration"));
}

#[test]
fn a_guest_that_fell_silent_long_before_is_not_the_migrations() {
    // Silent from slot 4 on; the migration begins at slot 30, with and without a return.
    let interval = 50 * MS;
    for tail in ["xxxxxxxxxx", "xxxxx....."] {
        let outcomes = script(&format!("....{}{tail}", "x".repeat(30)), interval);
        let (spec, none) = (spec(interval), Chunked::new());
        let seen = Seen {
            disturbed: &[],
            calm_since: 0,
            began: 30 * interval,
            until: 44 * interval,
            probe: Some(ProbeSeen { spec: &spec, outcomes: &outcomes, stopped: None }),
            heartbeats: &none,
            turns: Turns::default(),
            claimed: None,
            reported_ms: None,
        };
        for method in [Method::LostPings, Method::ReplyGap] {
            let why = unknown_is(&estimate(&seen), method);
            assert!(why.contains("no probe for 1.30 s when the migration began (26 probes)"), "{why}");
        }
        // One that fell silent just before it began did so because of it, for all we know.
        assert!(estimate(&Seen { began: 6 * interval, ..seen }).estimates[1].value.is_some());
    }
}

#[test]
fn a_lossy_path_may_lose_the_probe_beside_the_outage() {
    // 10 ms between the slots, 5 ms of delay; the guest is gone for 5.6 ms and one slot falls into it. The
    // one before was lost by the path, which loses three of the 600 slots before.
    let interval = 10 * MS;
    let measure = |path_loses: bool, tail: &str| {
        let before: String = (0..600).map(|k| if path_loses && k % 200 == 100 { 'x' } else { '.' }).collect();
        let outcomes = script(&format!("{before}{tail}{}", ".".repeat(60)), interval);
        let (spec, none) = (spec(interval), Chunked::new());
        let seen = Seen {
            disturbed: &[],
            calm_since: 0,
            began: 600 * interval,
            until: 650 * interval,
            probe: Some(ProbeSeen { spec: &spec, outcomes: &outcomes, stopped: None }),
            heartbeats: &none,
            turns: Turns::default(),
            claimed: None,
            reported_ms: None,
        };
        estimate(&seen)
    };
    let lossy = measure(true, "..xx..");
    // The last answer before was sent at 10 ms, the next came at 41 ms.
    assert_eq!(of(&lossy, Method::ReplyGap), (30, 0, 31));
    assert_eq!(of(&lossy, Method::LostPings), (20, 0, 30));
    for method in [Method::LostPings, Method::ReplyGap] {
        assert!(note(&lossy, method).contains("the path itself lost 3 of the 5"), "{lossy:?}");
    }
    // The same on a path that lost nothing: both are the outage's.
    let clean = measure(false, "..xx..");
    assert_eq!((of(&clean, Method::ReplyGap), of(&clean, Method::LostPings)), ((30, 9, 31), (20, 10, 30)));
    // A long outage loses one interval of its lower bound, not all of it; one held back is no loss.
    let long = measure(true, "..xxxxxxxxxxxxxxxxxxxx..");
    assert_eq!((of(&long, Method::ReplyGap), of(&long, Method::LostPings)), ((210, 179, 211), (200, 180, 210)));
    let held = measure(true, "..x987654321..");
    assert_eq!(of(&held, Method::ReplyGap), (109, 88, 110));
}

#[test]
fn outcomes_that_are_still_on_their_way_are_no_gap() {
    // At 1 ms an engine hands over in batches: the last 30 slots have no outcome yet.
    let interval = MS;
    let outcomes = script(&format!("{}xxxxxx{}", ".".repeat(300), ".".repeat(1_000)), interval);
    let outcomes: Chunked<Outcome> = outcomes
        .iter()
        .map(|o| Outcome { fate: o.fate.rtt().map_or(o.fate, |_| Fate::Ok { rtt: MS / 5 }), ..*o })
        .collect();
    let (spec, none) = (spec(interval), Chunked::new());
    let seen = Seen {
        disturbed: &[],
        calm_since: 0,
        began: 200 * interval,
        until: 1_336 * interval,
        probe: Some(ProbeSeen { spec: &spec, outcomes: &outcomes, stopped: None }),
        heartbeats: &none,
        turns: Turns::default(),
        claimed: None,
        reported_ms: None,
    };
    let d = estimate(&seen);
    assert_eq!((of(&d, Method::ReplyGap), note(&d, Method::ReplyGap)), ((7, 4, 7), String::new()));
    assert_eq!((of(&d, Method::LostPings), note(&d, Method::LostPings)), ((6, 5, 7), String::new()));
}

#[test]
fn missing_outcomes_widen_the_bounds() {
    let d = measured("............    ..........");
    assert_eq!(of(&d, Method::LostPings), (0, 0, 250));
    assert_eq!(of(&d, Method::ReplyGap), (0, 0, 251));
}

#[test]
fn no_probe_is_unknown() {
    let none = Chunked::new();
    let seen = Seen {
        calm_since: 0,
        disturbed: &[],
        began: 1,
        until: 2,
        probe: None,
        heartbeats: &none,
        turns: Turns::default(),
        claimed: None,
        reported_ms: None,
    };
    let d = estimate(&seen);
    assert_eq!(d.estimates.len(), Method::ALL.len());
    for (estimate, method) in d.estimates.iter().zip(Method::ALL) {
        assert_eq!((estimate.method, estimate.value), (method, None));
        assert!(estimate.note.is_some());
    }
}

#[test]
fn a_probe_that_came_late_or_left_early_says_so() {
    let (mut spec, none) = (spec(50 * MS), Chunked::new());
    spec.t0 = 1_000 * MS;
    let outcomes: Chunked<Outcome> =
        (0..20).map(|k| Outcome { k, sent: 1_000 * MS + k * 50 * MS, fate: Fate::Ok { rtt: MS } }).collect();
    let probe = ProbeSeen { spec: &spec, outcomes: &outcomes, stopped: Some(2_000 * MS) };
    let seen = Seen {
        calm_since: 0,
        disturbed: &[],
        began: 500 * MS,
        until: 3_000 * MS,
        probe: Some(probe),
        heartbeats: &none,
        turns: Turns::default(),
        claimed: None,
        reported_ms: Some(5.0),
    };
    let d = estimate(&seen);
    for method in [Method::LostPings, Method::ReplyGap] {
        assert!(note(&d, method).contains("500 ms after"), "{d:?}");
        assert!(note(&d, method).contains("stopped before"), "{d:?}");
    }
    assert_eq!(of(&d, Method::Reported), (5, 4, 6));
    let before = Seen { until: 900 * MS, ..seen };
    assert!(estimate(&before).estimates[1].value.is_none());
}

/// Heartbeats each 10 ms of guest time; the guest stands still for `outage` after `stop`.
fn beats(stop: u64, outage: u64, until: u64, way: impl Fn(u64) -> u64) -> Chunked<(u64, u64, u64)> {
    let mut all: Vec<(u64, u64, u64)> = (0..until / (10 * MS))
        .map(|seq| {
            let ran = seq * 10 * MS;
            let sent = if ran < stop { ran } else { ran + outage };
            (sent + way(seq), seq, ran + 77_000 * MS)
        })
        .collect();
    all.sort_unstable();
    all.into_iter().collect()
}

#[test]
fn the_guest_clock_sees_through_a_jam() {
    // At the socket 30 heartbeats wait up to 300 ms; the guest itself stood still for 40 ms.
    let way = |seq: u64| if (150..180).contains(&seq) { (180 - seq) * 10 * MS } else { MS };
    let beats = beats(1_000 * MS, 40 * MS, 3_000 * MS, way);
    let e = clocks::guest_clock(&beats, 800 * MS, 2_900 * MS);
    let v = e.value.unwrap();
    assert!(v.lo <= Duration::from_millis(40) && v.hi >= Duration::from_millis(40), "{e:?}");
    assert!(v.hi < Duration::from_millis(60), "{e:?}");
}

#[test]
fn a_guest_clock_without_heartbeats_after() {
    let mut few = beats(u64::MAX, 0, 900 * MS, |_| MS);
    assert!(clocks::guest_clock(&Chunked::new(), 0, 1).value.is_none());
    let e = clocks::guest_clock(&few, 1_000 * MS, 2_000 * MS);
    assert!(e.value.is_none() && e.note.unwrap().contains("after the migration began"));
    // A guest booted anew during the migration has another clock: no step of its own.
    few.extend((0..50).map(|i| (1_000 * MS + i * 10 * MS, i, i * 10 * MS)));
    let e = clocks::guest_clock(&few, 950 * MS, 2_000 * MS);
    assert!(e.value.is_none_or(|v| v.value < Duration::from_millis(5)), "{e:?}");
}

/// What a guest does with probes that come while it is gone.
#[derive(Debug, Clone, Copy)]
enum Gone {
    Drops,
    Holds,
    /// Holds so many, drops the rest.
    HoldsSome(usize),
}

#[derive(Debug, Clone)]
struct World {
    interval: u64,
    /// Least one-way time and how much it varies, ns.
    way: u64,
    jitter: u64,
    /// Gone from here for so long, ns.
    stop: u64,
    outage: u64,
    gone: Gone,
    began: u64,
    slots: u64,
    /// Random numbers, in ppm of the jitter: two a slot.
    dice: Vec<u64>,
}

fn world() -> impl Strategy<Value = World> {
    let interval = prop_oneof![Just(MS), Just(10 * MS), Just(50 * MS), MS..100 * MS];
    let gone = prop_oneof![
        3 => Just(Gone::Drops),
        3 => Just(Gone::Holds),
        2 => (1_usize..50).prop_map(Gone::HoldsSome),
    ];
    let jitter = prop_oneof![Just(0), 0..MS, 0..20 * MS];
    let outage = prop_oneof![Just(0), 0..60 * MS, 0..3_000 * MS];
    (interval, 10_000..30 * MS, jitter, outage, gone, any::<u64>(), any::<u64>())
        .prop_flat_map(|(interval, way, jitter, outage, gone, phase, lead)| {
            // At least 64 answers before the migration begins; the stop comes at any phase.
            let lead = (64 + lead % 200) * interval + 4 * (way + jitter);
            let stop = lead + phase % (40 * interval);
            let slots = (stop + outage) / interval + 60 + 4 * (way + jitter) / interval;
            let dice = proptest::collection::vec(0_u64..=1_000_000, (slots * 2) as usize);
            dice.prop_map(move |mut dice| {
                // The network shows its best and its worst before the migration begins.
                dice[..2].fill(1_000_000);
                dice[2..4].fill(0);
                World { interval, way, jitter, stop, outage, gone, began: lead, slots, dice }
            })
        })
        .prop_filter("small enough", |w| w.slots < 5_000)
}

impl World {
    fn there(&self, k: u64) -> u64 {
        self.way + self.jitter * self.dice[k as usize * 2] / 1_000_000
    }

    fn back(&self, k: u64) -> u64 {
        self.way + self.jitter * self.dice[k as usize * 2 + 1] / 1_000_000
    }

    fn outcomes(&self) -> Chunked<Outcome> {
        let resume = self.stop + self.outage;
        let mut held = 0;
        (0..self.slots)
            .map(|k| {
                let sent = k * self.interval;
                let arrived = sent + self.there(k);
                let during = arrived > self.stop && arrived < resume;
                let holds = match self.gone {
                    Gone::Drops => false,
                    Gone::Holds => true,
                    Gone::HoldsSome(n) => held < n,
                };
                if during && !holds {
                    return Outcome { k, sent, fate: Fate::Lost };
                }
                held += usize::from(during);
                let answered = if during { resume } else { arrived };
                let rtt = answered + self.back(k) - sent;
                Outcome { k, sent, fate: if rtt > 1_000 * MS { Fate::Late { rtt } } else { Fate::Ok { rtt } } }
            })
            .collect()
    }

    /// The assumption of the lower bound: nothing is slower on its way than the slowest round trip
    /// before; and that of `lost-pings`: nothing varies more.
    fn assumption(&self) -> bool {
        let quiet: Vec<u64> = (0..self.slots)
            .filter(|k| k * self.interval + self.there(*k) + self.back(*k) <= self.began)
            .map(|k| self.there(k) + self.back(k))
            .collect();
        let (Some(min), Some(max)) = (quiet.iter().min(), quiet.iter().max()) else { return false };
        (0..self.slots).all(|k| self.there(k) + self.back(k) <= *max && self.there(k) - self.way <= max - min)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn an_injected_outage_is_within_the_bounds(world in world()) {
        let (spec, outcomes, none) = (spec(world.interval), world.outcomes(), Chunked::new());
        let seen = Seen {
            calm_since: 0,
            disturbed: &[],
            began: world.began,
            until: world.slots * world.interval + 4 * (world.way + world.jitter),
            probe: Some(ProbeSeen { spec: &spec, outcomes: &outcomes, stopped: None }),
            heartbeats: &none,
            turns: Turns::default(),
            claimed: None,
            reported_ms: None,
        };
        let d = estimate(&seen);
        let truth = Duration::from_nanos(world.outage);
        let gap = d.estimates[1].value.unwrap();
        prop_assert!(truth <= gap.hi, "outage {truth:?} above {gap:?}");
        prop_assert!(gap.lo <= gap.value && gap.value <= gap.hi);
        prop_assert!(world.assumption());
        prop_assert!(gap.lo <= truth, "outage {truth:?} below {gap:?}");
        let lost = d.estimates[0].value.unwrap();
        prop_assert!(lost.lo <= truth && truth <= lost.hi, "outage {truth:?} not in {lost:?}");
        // The bounds are worth something: no wider than a few intervals and round trips.
        let width = Duration::from_nanos(3 * world.interval + 8 * (world.way + world.jitter) + 15 * MS);
        prop_assert!(gap.hi - gap.lo <= width, "{gap:?} is wider than {width:?}");
        let one_gap = u32::from(matches!(world.gone, Gone::Drops));
        if world.jitter == 0 && world.outage > 4 * world.interval + 100 * MS {
            prop_assert!(d.gaps >= one_gap.max(1) && d.gaps <= 2, "{} gaps", d.gaps);
        }
    }

    #[test]
    fn an_injected_step_is_within_the_bounds(
        stop in 600 * MS..1_500 * MS,
        outage in prop_oneof![Just(0), 0..20 * MS, 0..5_000 * MS],
        jitter in prop_oneof![Just(0), 0..5 * MS],
        dice in proptest::collection::vec(0_u64..=1_000_000, 300),
    ) {
        let beats = beats(stop, outage, 2_500 * MS, |seq| MS + jitter * dice[seq as usize % 300] / 1_000_000);
        let e = clocks::guest_clock(&beats, 500 * MS, 2_400 * MS + outage);
        let (v, truth) = (e.value.unwrap(), Duration::from_nanos(outage));
        prop_assert!(v.lo <= truth && truth <= v.hi, "outage {truth:?} not in {v:?}");
        prop_assert!(v.hi - v.lo <= Duration::from_nanos(3 * jitter + MS), "{v:?}");
    }

    #[test]
    fn a_stop_is_within_the_bounds(outage in 0..5_000_u64, late in (0..50_u64, 0..50_u64), stamped: bool, one: bool) {
        let at = |ms: u64| stamped.then_some(ms as i64 * 1_000);
        let stop = turn("a", (700 + late.0) * MS, at(700), None);
        let resume = turn("b", (700 + outage + late.1) * MS, at(700 + outage), None);
        let e = stop_resume(stop, resume, one);
        let (v, truth) = (e.value.unwrap(), Duration::from_millis(outage));
        prop_assert!(v.lo <= truth && truth <= v.hi, "outage {truth:?} not in {v:?}");
    }
}
