//! Events folded, and what the state is then.

use super::*;
use crate::event::{
    HvEvent, MigrationEnd, MigrationEvent, MigrationSettings, Phase, ProbeEvent, ProbeId, ProbeKind, ProbeSpec,
};
use crate::session::testing::header;

const MS: Nanos = 1_000_000;

fn told(events: impl IntoIterator<Item = (Nanos, Body)>) -> State {
    let mut state = State::begin(header());
    for (t, ev) in events {
        state.apply(&Event::new(t, ev));
    }
    state
}

fn probe() -> Body {
    let spec = ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 2].into(), 50 * MS);
    Body::Probe(ProbeEvent::Started { id: ProbeId(0), spec })
}

fn done() -> Vec<(Nanos, Body)> {
    let settings = MigrationSettings::default();
    let began = MigrationEvent::Began { n: 1, from: "a".into(), to: "b".into(), settings, by: None };
    let phase = |phase, raw: &str| Body::Hypervisor(HvEvent::Phase { phase, raw: raw.into(), substate: None });
    vec![
        (100 * MS, Body::Migration(began)),
        (200 * MS, phase(Phase::PreCopy, "active")),
        (300 * MS, Body::Hypervisor(HvEvent::Stopped { host: "a".into(), at: None })),
        (300 * MS, phase(Phase::StopAndCopy, "active")),
        (900 * MS, Body::Hypervisor(HvEvent::Resumed { host: "b".into(), at: None })),
        (901 * MS, phase(Phase::Recovery, "completed")),
        (902 * MS, phase(Phase::Done, "completed")),
        (903 * MS, Body::Migration(MigrationEvent::Ended { n: 1, end: MigrationEnd::Done })),
    ]
}

fn phases(state: &State) -> Vec<(Phase, Nanos, Option<Nanos>)> {
    state.migrations[0].phases.iter().map(|p| (p.phase, p.from / MS, p.to.map(|t| t / MS))).collect()
}

#[test]
fn recovery_lasts_until_the_guest_answers() {
    let answer =
        |k, sent: Nanos, rtt: Nanos| Body::Probe(ProbeEvent::Ok { id: ProbeId(0), k, sent: sent * MS, rtt: rtt * MS });
    let before = std::iter::once((0, probe())).chain(done());
    // An answer given before the guest ran again says nothing of its recovery.
    let waiting = told(before.clone().chain([(904 * MS, answer(5, 250, 40))]));
    assert_eq!(phases(&waiting).last(), Some(&(Phase::Recovery, 901, None)));
    let answered = told(before.chain([(970 * MS, answer(18, 900, 65)), (990 * MS, answer(19, 950, 30))]));
    let expected = [
        (Phase::PreCopy, 200, Some(300)),
        (Phase::StopAndCopy, 300, Some(901)),
        (Phase::Recovery, 901, Some(965)),
        (Phase::Done, 965, None),
    ];
    assert_eq!(phases(&answered), expected);
    assert_eq!(answered.migrations[0].answered, Some(965 * MS));
}

#[test]
fn a_refused_migration_never_ran() {
    let settings = MigrationSettings::default();
    let end = MigrationEnd::Failed { why: "no destination".into() };
    let refused = [
        MigrationEvent::Began { n: 1, from: "?".into(), to: "?".into(), settings, by: None },
        MigrationEvent::Ended { n: 1, end },
        MigrationEvent::Settled { n: 1 },
    ];
    let state = told(std::iter::once((0, probe())).chain(refused.map(|ev| (100 * MS, Body::Migration(ev)))));
    let downtime = state.migrations[0].final_downtime().unwrap();
    assert_eq!(downtime.estimates.len(), 5);
    assert!(
        downtime.estimates.iter().all(|e| e.value.is_none() && e.note.as_deref() == Some("the migration never ran"))
    );
}

#[test]
fn a_guest_that_never_answered_is_not_waited_for_and_no_failure() {
    let lost = |k: u64| (k * 50 * MS + 1, Body::Probe(ProbeEvent::Lost { id: ProbeId(0), k, sent: k * 50 * MS }));
    let late = done().into_iter().map(|(t, ev)| (t + 2_000 * MS, ev));
    let silent = std::iter::once((0, probe())).chain((0..40).map(lost));
    let told_so = told(silent.clone());
    let words = told_so.probes[&ProbeId(0)].unheard().unwrap();
    assert_eq!(
        words,
        "no answer yet from 10.0.0.2 since the probe began (40 probes): lost-pings and reply-gap will be unknown"
    );
    assert_eq!(told_so.log.iter().filter(|l| l.text.contains("no answer yet from 10.0.0.2")).count(), 1);
    let state = told(
        silent
            .chain(late)
            .chain((40..90).map(lost))
            .chain([(5_000 * MS, Body::Migration(MigrationEvent::Settled { n: 1 }))]),
    );
    let m = &state.migrations[0];
    assert!(m.unanswered.is_none() && m.deaf() && !state.is_probed());
    let verdict = crate::session::result::verdict(m);
    assert!(verdict.ends_with("whether the guest answers is not known: it did not before either"), "{verdict}");
    let unknown = m.final_downtime().unwrap().estimates[..2].iter().all(|e| e.value.is_none());
    assert!(unknown, "{:?}", m.downtime);
}

#[test]
fn figures_that_cannot_be_are_claims_and_used_nowhere() {
    let sample = |t: Nanos, sample: crate::event::Sample| {
        (t * MS, Body::Hypervisor(HvEvent::Sample { sample, raw: serde_json::Value::Null }))
    };
    let cannot = crate::event::Sample {
        downtime_ms: Some(3_600_000.0),
        round: Some(u64::MAX),
        remaining_bytes: Some(u64::MAX),
        ..Default::default()
    };
    let round = Body::Hypervisor(HvEvent::Round { round: u64::MAX, at: None });
    let began = done().remove(0);
    let rest = done().split_off(1);
    let looks = [sample(150, cannot.clone()), (160 * MS, round), sample(170, cannot)];
    let state = told([began].into_iter().chain(looks).chain(rest));
    let m = &state.migrations[0];
    assert!(m.rounds.is_empty() && m.samples.iter().all(|(_, s)| *s == crate::event::Sample::default()));
    assert_eq!(m.claims.len(), 3, "{:?}", m.claims);
    let row = crate::session::result::row(m, state.now);
    assert_eq!((row.rounds, row.claims.len()), (None, 3));
    let reported = m.downtime.as_ref().unwrap().estimates[2].clone();
    assert_eq!(reported.value, None);
    assert!(reported.note.unwrap().starts_with("the hypervisor claims a downtime of 60m00s"), "{:?}", m.claims);
}

#[test]
fn a_stop_before_the_switch_over_is_kept_apart() {
    let turn = |t: Nanos, stops: bool| {
        let (host, at) = ("a".to_owned(), None);
        let ev = if stops { HvEvent::Stopped { host, at } } else { HvEvent::Resumed { host, at } };
        (t * MS, Body::Hypervisor(ev))
    };
    let began = done().remove(0);
    let rest = done().split_off(1);
    let state = told([began].into_iter().chain([turn(150, true), turn(170, false)]).chain(rest));
    let m = &state.migrations[0];
    assert_eq!(m.earlier_stops, [(150 * MS, 170 * MS)]);
    let e = &m.downtime.as_ref().unwrap().estimates[3];
    assert_eq!(e.value.unwrap().value.as_millis(), 600);
    assert!(e.note.as_ref().unwrap().contains("stood still for 20.0 ms before"), "{e:?}");
}

#[test]
fn without_a_probe_nobody_waits_for_an_answer() {
    assert_eq!(phases(&told(done())).last(), Some(&(Phase::Done, 902, None)));
    let silent = std::iter::once((0, probe())).chain(done());
    let settled = told(silent.chain([(5000 * MS, Body::Migration(MigrationEvent::Settled { n: 1 }))]));
    assert_eq!(phases(&settled).last(), Some(&(Phase::Done, 5000, Some(5000))));
    assert!(settled.migrations[0].unanswered.is_some(), "a guest that is gone is not forgotten");
}

#[test]
fn what_a_product_does_not_tell_is_unknown_and_says_so() {
    use crate::analysis::Method;
    use crate::event::{Capabilities, Counts, OwnDowntime, Sees, Stamped};
    // Neither stop nor resume was seen, and no downtime was reported.
    let blind = |sees: Option<Sees>| {
        let offers = Capabilities { product: "xl \x1b[2J4.17".into(), sees, ..Capabilities::default() };
        let offers = (0, Body::Hypervisor(HvEvent::Offers { host: "a".into(), offers }));
        let turned = |ev: &Body| matches!(ev, Body::Hypervisor(HvEvent::Stopped { .. } | HvEvent::Resumed { .. }));
        let state = told(std::iter::once(offers).chain(done().into_iter().filter(|(_, ev)| !turned(ev))));
        let downtimes = state.migrations[0].downtime.clone().expect("it has ended");
        move |method: Method| {
            let estimate = downtimes.estimates.iter().find(|e| e.method == method).unwrap().clone();
            assert_eq!(estimate.value, None, "{method:?}");
            estimate.note.unwrap_or_default()
        }
    };
    let nothing = blind(Some(Sees::default()));
    for method in [Method::Reported, Method::StopResume] {
        let note = nothing(method);
        assert!(note.starts_with("not told by xl ") && !note.contains('\x1b'), "{method:?}: {note}");
    }
    // What the probe and the agent lack is not the product's doing.
    assert!(!nothing(Method::ReplyGap).contains("not told by") && !nothing(Method::GuestClock).contains("not told by"));
    let downtime = Some(OwnDowntime { counts: Counts::Unsaid, resolution_ns: 1 });
    let everything = blind(Some(Sees { downtime, stop_resume: Some(Stamped::Hosts), ..Sees::default() }));
    let unsaid = blind(None);
    for method in [Method::Reported, Method::StopResume] {
        assert!(!everything(method).contains("not told by"), "{method:?}: {}", everything(method));
        assert!(!unsaid(method).contains("not told by"), "{method:?}: {}", unsaid(method));
    }
}
