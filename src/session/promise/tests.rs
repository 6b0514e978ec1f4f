use super::*;
use crate::analysis::{Downtimes, Estimate, downtime};
use crate::event::{
    Body, Event, HvEvent, MigrationEnd, MigrationEvent, MigrationSettings, Phase, ProbeEvent, ProbeId, ProbeKind,
    ProbeSpec,
};
use crate::session::testing::header;

const MS: u64 = 1_000_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A session in which each migration was down for these figures, ms: [value, lo, hi] by each estimator.
fn migrated(all: &[&[(Method, [u64; 3])]]) -> State {
    let mut state = State::begin(header());
    for (i, seen) in all.iter().enumerate() {
        let (n, t) = (i as u32 + 1, (i as u64 + 1) * 100_000 * MS);
        let settings = MigrationSettings::default();
        let began = MigrationEvent::Began { n, from: "a".into(), to: "b".into(), settings, by: None };
        state.apply(&Event::new(t, Body::Migration(began)));
        let phase = HvEvent::Phase { phase: Phase::PreCopy, raw: "active".into(), substate: None };
        state.apply(&Event::new(t + MS, Body::Hypervisor(phase)));
        state.apply(&Event::new(t + 2 * MS, Body::Migration(MigrationEvent::Ended { n, end: MigrationEnd::Done })));
        let of = |method: Method| {
            let found = seen.iter().find(|(m, _)| *m == method);
            let value = found.map(|(_, [value, lo, hi])| Bounded { value: ms(*value), lo: ms(*lo), hi: ms(*hi) });
            Estimate { method, value, note: value.is_none().then(|| "not told by x".to_owned()) }
        };
        let m = state.migrations.last_mut().unwrap();
        m.settled = Some(t + 3 * MS);
        m.downtime = Some(Downtimes {
            estimates: Method::ALL.map(of).to_vec(),
            gaps: 0,
            gaps_total: Duration::ZERO,
            probes: Vec::new(),
        });
    }
    state
}

fn judged(state: &State, most: u64, by: Option<Method>) -> (Verdict, String) {
    let judged = Promise::Downtime { most: ms(most), by }.judge(state);
    (judged.verdict, judged.words)
}

#[test]
fn the_longest_of_the_known_decides_and_says_which() {
    use Method::{LostPings, ReplyGap, Reported};
    let first: &[_] = &[(ReplyGap, [410, 400, 420]), (Reported, [5, 5, 5])];
    let second: &[_] = &[(ReplyGap, [2310, 2280, 2340]), (LostPings, [2300, 2250, 2350])];
    let state = migrated(&[first, second]);
    let (verdict, words) = judged(&state, 1000, None);
    assert_eq!(verdict, Verdict::Broken);
    assert_eq!(
        words,
        "broken: migration 2 was down for 2.31 s by reply-gap, the most of 2 migrations, promised at most 1.00 s"
    );
    assert_eq!(judged(&state, 3000, None).0, Verdict::Kept);
    let first = migrated(&[first]);
    assert_eq!(
        judged(&first, 500, None).1,
        "kept: migration 1 was down for 410 ms by reply-gap, promised at most 500 ms"
    );
    // The one that is asked for, however long the others are.
    assert_eq!(judged(&first, 10, Some(Reported)).0, Verdict::Kept);
    assert_eq!(judged(&first, 10, Some(ReplyGap)).0, Verdict::Broken);
}

#[test]
fn another_probe_decides_where_it_saw_more() {
    let mut state = migrated(&[&[(Method::ReplyGap, [410, 400, 420])]]);
    let gap = |of: [u64; 3]| {
        let value = Some(Bounded { value: ms(of[0]), lo: ms(of[1]), hi: ms(of[2]) });
        let unknown = Estimate { method: Method::LostPings, value: None, note: None };
        [unknown, Estimate { method: Method::ReplyGap, value, note: None }]
    };
    let probe = |id: u16, of| ByProbe {
        id: ProbeId(id),
        name: "tcp guest:22".to_owned(),
        is_primary: id == 0,
        estimates: gap(of),
        gaps: 1,
        gaps_total: ms(of[0]),
    };
    let probes = vec![probe(0, [410, 400, 420]), probe(3, [900, 850, 950])];
    state.migrations[0].downtime.as_mut().unwrap().probes = probes;
    let judged = Promise::Downtime { most: ms(500), by: None }.judge(&state);
    assert_eq!((judged.verdict, judged.probe), (Verdict::Broken, Some(ProbeId(3))));
    assert!(judged.words.contains("900 ms by reply-gap of probe 3 (tcp guest:22)"), "{}", judged.words);
    assert_eq!(Promise::Downtime { most: ms(960), by: None }.judge(&state).verdict, Verdict::Kept);
}

#[test]
fn what_is_not_known_is_not_kept() {
    use Method::{GuestClock, ReplyGap, Reported};
    let state = migrated(&[&[(ReplyGap, [990, 960, 1020])]]);
    let (verdict, words) = judged(&state, 1000, None);
    assert_eq!(verdict, Verdict::NotKnown);
    assert!(words.contains("by reply-gap, the only one known, but [960 ms, 1.02 s] is possible"), "{words}");
    let (verdict, words) = judged(&state, 1000, Some(GuestClock));
    assert_eq!(verdict, Verdict::NotKnown);
    assert!(words.starts_with("not known: how long migration 1 was down by guest-clock could not be seen (not told"));
    // One of two is enough to break it, and not to keep it.
    let blind: &[_] = &[];
    assert_eq!(judged(&migrated(&[&[(Reported, [9, 9, 9])], blind]), 5, None).0, Verdict::Broken);
    assert_eq!(judged(&migrated(&[&[(Reported, [9, 9, 9])], blind]), 50, None).0, Verdict::NotKnown);
    assert_eq!(judged(&migrated(&[]), 50, None).1, "not known: nothing was migrated, promised at most 50.0 ms");
    let mut open = migrated(&[&[(ReplyGap, [10, 5, 15])]]);
    assert_eq!(judged(&open, 50, None).0, Verdict::Kept);
    open.migrations[0].settled = None;
    assert_eq!(judged(&open, 50, None).0, Verdict::NotKnown);
}

#[test]
fn one_that_never_ran_was_down_for_no_time() {
    let mut state = migrated(&[&[(Method::ReplyGap, [10, 5, 15])]]);
    let began = MigrationEvent::Began {
        n: 2,
        from: "a".into(),
        to: "b".into(),
        settings: MigrationSettings::default(),
        by: None,
    };
    let end = MigrationEnd::Failed { why: "refused".into() };
    state.apply(&Event::new(900_000 * MS, Body::Migration(began)));
    state.apply(&Event::new(900_001 * MS, Body::Migration(MigrationEvent::Ended { n: 2, end })));
    assert_eq!(state.migrations[1].downtime, Some(downtime::never_ran()));
    assert_eq!(judged(&state, 50, None).0, Verdict::Kept);
}

/// Pings at 50 ms, answered but for the slots of which `fate` says otherwise: lost, or not sent.
fn watched(fate: impl Fn(u64) -> Option<bool>) -> State {
    let mut state = State::begin(header());
    let spec = ProbeSpec::new(ProbeKind::Icmp, [192, 0, 2, 10].into(), 50 * MS);
    state.apply(&Event::new(0, Body::Probe(ProbeEvent::Started { id: ProbeId(0), spec })));
    for k in 0..400 {
        let sent = k * 50 * MS;
        let ev = match fate(k) {
            None => ProbeEvent::Ok { id: ProbeId(0), k, sent, rtt: MS },
            Some(true) => ProbeEvent::Lost { id: ProbeId(0), k, sent },
            Some(false) => ProbeEvent::NotSent { id: ProbeId(0), k, why: None },
        };
        state.apply(&Event::new(sent + MS, Body::Probe(ev)));
    }
    state
}

#[test]
fn an_outage_counts_by_its_bounds_and_what_was_not_looked_at_is_not_known() {
    let outage = |state: &State, most: u64| Promise::Outage { most: ms(most) }.judge(state);
    // Gone for [950 ms, 1.05 s].
    let gone = watched(|k| (100..120).contains(&k).then_some(true));
    assert_eq!(outage(&gone, 900).verdict, Verdict::Broken);
    assert_eq!(
        outage(&gone, 900).words,
        "broken: probe 0 saw its target gone for [949 ms, 1.05 s], promised at most 900 ms"
    );
    assert_eq!((outage(&gone, 1000).verdict, outage(&gone, 1100).verdict), (Verdict::NotKnown, Verdict::Kept));
    let lasts = watched(|k| (k >= 390).then_some(true));
    assert_eq!((outage(&lasts, 300).verdict, outage(&lasts, 5000).verdict), (Verdict::Broken, Verdict::NotKnown));
    let unsent = watched(|k| (100..120).contains(&k).then_some(false));
    assert_eq!(outage(&unsent, 500).verdict, Verdict::NotKnown);
    assert!(
        outage(&unsent, 500).words.contains("probe 0 looked away for up to 1.05 s"),
        "{}",
        outage(&unsent, 500).words
    );
    assert_eq!(outage(&unsent, 1100).verdict, Verdict::Kept);
    let calm = watched(|_| None);
    assert_eq!((outage(&calm, 100).verdict, outage(&calm, 10).verdict), (Verdict::Kept, Verdict::NotKnown));
    assert_eq!(outage(&watched(|_| Some(true)), 100).verdict, Verdict::NotKnown);
    assert_eq!(outage(&migrated(&[]), 100).words, "not known: no probe has told anything, promised at most 100 ms");
}

#[test]
fn a_share_lost_is_held_against_what_is_decided() {
    let loss = |state: &State, most_pct: f64| Promise::Loss { most_pct }.judge(state);
    let one = watched(|k| (k == 7).then_some(true));
    assert_eq!(loss(&one, 0.1).words, "broken: probe 0 lost 0.25 % (1 of 400), promised at most 0.1 %");
    assert_eq!((loss(&one, 0.25).verdict, loss(&one, 0.24).verdict), (Verdict::Kept, Verdict::Broken));
    assert_eq!(loss(&watched(|_| Some(false)), 1.0).verdict, Verdict::NotKnown);
    assert_eq!(loss(&migrated(&[]), 1.0).verdict, Verdict::NotKnown);
}

#[test]
fn together_the_worst_counts() {
    let of = |verdicts: &[Verdict]| {
        let state = migrated(&[]);
        let one = Promise::Loss { most_pct: 1.0 }.judge(&state);
        let all: Vec<Judged> = verdicts.iter().map(|v| Judged { verdict: *v, ..one.clone() }).collect();
        together(&all)
    };
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[Verdict::Kept, Verdict::NotKnown]), Some(Verdict::NotKnown));
    assert_eq!(of(&[Verdict::Kept, Verdict::NotKnown, Verdict::Broken]), Some(Verdict::Broken));
    assert_eq!(of(&[Verdict::Kept]), Some(Verdict::Kept));
}
