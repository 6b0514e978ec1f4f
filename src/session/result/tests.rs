use super::*;
use crate::analysis::table;
use crate::event::{
    Body, Class, DirtyCycle, Event, Fate, ForeignTime, HvEvent, LoadSettings, MigrationEvent, MigrationSettings,
    Pattern, ProbeEvent, ProbeId, ProbeKind, ProbeSpec, Role, Sample, StopPolicy,
};
use crate::session::testing::header;

const MS: u64 = 1_000_000;

fn settings(policy: &str) -> MigrationSettings {
    MigrationSettings {
        bandwidth_bytes_per_s: Some(32_000_000),
        downtime_limit_ms: Some(300),
        policy: StopPolicy {
            name: policy.to_owned(),
            remaining_pages_below: Some(50),
            rounds: Some(29),
            ram_factor: Some(3.0),
            after_ns: None,
            then: Then::StopAndCopy,
        },
        post_copy: false,
        auto_converge: false,
        extra: Default::default(),
    }
}

/// Two migrations, told as a script: one that converges, and one that a rule stops and that takes
/// the guest away for 2.9 s.
fn story() -> State {
    let mut state = State::begin(header());
    let mut tell = |ms: u64, ev: Body| state.apply(&Event::new(ms * MS, ev));
    let at = |ms: i64| Some(ForeignTime { secs: 77 + ms / 1_000, micros: ms % 1_000 * 1_000 });
    let spec = ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 2].into(), 50 * MS);
    let set = LoadSettings {
        wset_bytes: 96 << 20,
        dirty: DirtyCycle { bpc_pages: 90, period_ns: 10 * MS },
        pattern: Pattern::Cyclic,
        ..LoadSettings::default()
    };
    for host in ["a", "b"] {
        // Both on this machine: their stamps are of one clock.
        tell(0, Body::Hypervisor(HvEvent::HostUp { host: host.into(), version: "QEMU".into(), pid: Some(7) }));
    }
    tell(0, Body::Probe(ProbeEvent::Started { id: ProbeId(0), spec }));
    tell(1, Body::Agent(crate::event::AgentEvent::Ack { id: 1, set }));
    let mut migration = |n: u32, began: u64, stop: u64, resume: u64, settled: u64| {
        let (from, to) = if n == 1 { ("a", "b") } else { ("b", "a") };
        let host = str::to_owned;
        let hv = Body::Hypervisor;
        let mut events = vec![
            (
                began,
                Body::Migration(MigrationEvent::Began {
                    n,
                    from: host(from),
                    to: host(to),
                    settings: settings("xen-3.4"),
                    by: None,
                }),
            ),
            (began + 10, hv(HvEvent::Phase { phase: Phase::Setup, raw: "setup".into(), substate: None })),
            (began + 30, hv(HvEvent::Phase { phase: Phase::PreCopy, raw: "active".into(), substate: None })),
            (began + 35, hv(HvEvent::Round { round: 6, at: None })),
            (stop, hv(HvEvent::Phase { phase: Phase::StopAndCopy, raw: "device".into(), substate: None })),
            (stop + 1, hv(HvEvent::Stopped { host: host(from), at: at(stop as i64) })),
            (resume + 1, hv(HvEvent::Resumed { host: host(to), at: at(resume as i64) })),
            (
                resume + 5,
                hv(HvEvent::Sample {
                    sample: Sample {
                        transferred_bytes: Some(800_000_000),
                        total_bytes: Some(256 << 20),
                        downtime_ms: Some(5.0),
                        ..Sample::default()
                    },
                    raw: serde_json::json!({}),
                }),
            ),
            (resume + 6, Body::Migration(MigrationEvent::Ended { n, end: MigrationEnd::Done })),
            (settled, Body::Migration(MigrationEvent::Settled { n })),
        ];
        if n == 2 {
            let rule = StopRule::RamFactor { limit: 3.0, sent_bytes: 3 * (256 << 20) };
            events.push((stop - 1, Body::Migration(MigrationEvent::Ruled { n, rule, then: Then::StopAndCopy })));
        }
        for k in began.div_ceil(50) - 20..settled / 50 {
            let sent = k * 50 * MS;
            if k * 50 > stop && k * 50 < resume {
                events.push((k * 50 + 1_000, Body::Probe(ProbeEvent::Lost { id: ProbeId(0), k, sent })));
            } else {
                events.push((k * 50 + 1, Body::Probe(ProbeEvent::Ok { id: ProbeId(0), k, sent, rtt: MS / 2 })));
            }
        }
        events.sort_by_key(|(t, _)| *t);
        events.into_iter().for_each(|(t, ev)| tell(t, ev));
    };
    migration(1, 2_000, 8_020, 8_028, 10_500);
    migration(2, 12_000, 20_020, 22_916, 25_000);
    state
}

#[test]
fn a_session_in_a_table() {
    let results = result(&story());
    let [converged, stopped] = &results.migrations[..] else { panic!("two migrations") };
    assert_eq!(converged.verdict, "converged after 6 rounds");
    assert_eq!(stopped.verdict, "did not converge: stopped by policy xen-3.4 after 3.0 x RAM");
    assert_eq!(stopped.rule.as_deref(), Some("after 3.0 x RAM, stop-and-copy"));
    assert_eq!((stopped.rate_pages_per_s, stopped.rounds, stopped.settled), (Some(9_000.0), Some(6), true));
    assert_eq!(stopped.migration_ms, Some(10_922.0));
    let phases: Vec<_> = stopped.phases.iter().map(|p| (p.phase, p.ms)).collect();
    assert_eq!(phases, [("setup", 20.0), ("pre-copy", 7_990.0), ("stop-and-copy", 2_902.0), ("recovery", 28.5)]);
    // The truth is 2,896 ms; all but the hypervisor's own word must take it in.
    for downtime in &stopped.downtimes {
        let (Some(lo), Some(hi)) = (downtime.lo_ms, downtime.hi_ms) else {
            assert_eq!((downtime.method, downtime.value_ms), ("guest-clock", None));
            continue;
        };
        assert_eq!(lo <= 2_896.0 && hi >= 2_896.0, downtime.method != "reported", "{downtime:?}");
    }
    let text = table::text(&results.migrations, 120);
    insta::assert_snapshot!(text);
}

#[test]
fn tables_keep_to_the_width() {
    let results = result(&story());
    for width in [80, 120, 200] {
        let text = table::text(&results.migrations, width);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        for column in ["RATE/s", "stop-and-copy", "guest-clock", "gaps"] {
            assert!(text.contains(column), "{width}: {column} is missing");
        }
    }
    assert_eq!(table::text(&[], 80), "no migration\n");
}

#[test]
fn unknown_is_null_in_json() {
    let json = serde_json::to_value(result(&story())).unwrap();
    let downtime = &json["migrations"][1]["downtimes"];
    assert_eq!(downtime[4]["method"], "guest-clock");
    assert!(downtime[4]["value_ms"].is_null() && downtime[4]["note"].is_string());
    assert!((downtime[3]["value_ms"].as_f64().unwrap() - 2_896.0).abs() < 0.01);
    assert_eq!(json["header"]["name"], "test");
}

#[test]
fn verdicts_in_words() {
    let mut state = story();
    let m = state.migrations.last_mut().unwrap();
    m.ended = None;
    assert_eq!(row(m, 0).outcome, "unfinished");
    m.ended = Some((MS, MigrationEnd::Failed { why: "no route".into() }));
    assert_eq!(verdict(m), "failed: no route");
    m.ended = Some((MS, MigrationEnd::Cancelled { by: "the operator".into() }));
    assert_eq!(verdict(m), "cancelled by the operator after 6 rounds");
    m.ended = Some((MS, MigrationEnd::Done));
    m.ruled = vec![(m.began + 15_000 * MS, StopRule::Operator, Then::PostCopy)];
    assert_eq!(verdict(m), "did not converge: switched to post-copy by hand after 15.0 s");
    m.ruled = vec![(0, StopRule::RemainingPages { limit: 50, seen: 12 }, Then::StopAndCopy)];
    assert_eq!(verdict(m), "converged: ended by policy xen-3.4 with 12 pages left (limit 50)");
}

#[test]
fn a_cancel_that_did_not_take_effect_is_not_the_end() {
    // As recorded before schema 1.3: completed although a cancel had been ordered 0.3 s before.
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cancel-too-late.jsonl.gz");
    let (mut player, _) = crate::session::Player::open(&path).unwrap();
    player.seek(u64::MAX);
    let told = player.shared().with_state(result);
    let row = &told.migrations[0];
    assert_eq!((row.outcome, row.rule.as_deref()), ("done", None));
    assert!(row.verdict.starts_with("converged"), "{}", row.verdict);
    assert!(row.verdict.ends_with("a cancel by the operator after 1.99 s did not take effect"), "{}", row.verdict);
    assert_eq!((row.requests.len(), row.requests[0].by.as_str()), (1, "the operator"));
    assert_eq!((row.requests[0].what, row.requests[0].took_effect), ("cancel", Some(false)));
    // By a time-out, and refused.
    let mut state = story();
    let n = state.migrations.last().unwrap().n;
    let m = state.migrations.last_mut().unwrap();
    (m.ruled, m.requests) = (Vec::new(), Vec::new());
    let t = m.began + 5_000 * MS;
    let by = crate::event::By::GiveUpAfter { limit_ns: 5_000 * MS };
    let asked = MigrationEvent::Requested { n, then: Then::Cancel, by };
    state.apply(&Event::new(t, Body::Migration(asked)));
    let refused = MigrationEvent::Refused { n, then: Then::Cancel, why: "not today".into() };
    state.apply(&Event::new(t, Body::Migration(refused)));
    let said = verdict(state.migrations.last().unwrap());
    let want = "a cancel by --give-up-after 5.00 s after 5.00 s did not take effect (not today)";
    assert!(said.ends_with(want), "{said}");
    let last = crate::event::Location::At { host: "a".into(), running: true };
    let m = state.migrations.last_mut().unwrap();
    m.ended = Some((t, MigrationEnd::Unsettled { why: "silent".into(), last, seen: None }));
    assert_eq!(row_of(&state).outcome, "unsettled");
    assert!(verdict(state.migrations.last().unwrap()).contains("last seen, the guest runs at a"));
}

fn row_of(state: &State) -> crate::analysis::table::Row {
    row(state.migrations.last().unwrap(), state.now)
}

#[test]
fn a_lost_slot_is_revised_in_place_and_counted_once() {
    let mut state = story();
    let lost = |s: &State| s.probes[&ProbeId(0)].counts[&Class::Lost];
    let (before, slots) = (lost(&state), state.probes[&ProbeId(0)].outcomes.len());
    let k = state.probes[&ProbeId(0)].outcomes.iter().find(|o| o.fate == Fate::Lost).unwrap().k;
    let late = ProbeEvent::Late { id: ProbeId(0), k, sent: k * 50 * MS, rtt: 2_000 * MS };
    state.apply(&Event::new(30_000 * MS, Body::Probe(late.clone())));
    assert_eq!((lost(&state), state.probes[&ProbeId(0)].counts[&Class::Late]), (before - 1, 1));
    // Once more is a duplicate; and nothing revises an answer.
    state.apply(&Event::new(30_001 * MS, Body::Probe(late)));
    state.apply(&Event::new(30_002 * MS, Body::Probe(ProbeEvent::Lost { id: ProbeId(0), k, sent: 0 })));
    let probe = &state.probes[&ProbeId(0)];
    assert_eq!((lost(&state), probe.counts[&Class::Duplicate], probe.counts[&Class::Late]), (before - 1, 1, 1));
    assert_eq!(probe.outcomes.len(), slots);
    assert!(probe.outcomes.iter().zip(probe.outcomes.iter().skip(1)).all(|(a, b)| a.k < b.k));
}

#[test]
fn the_log_tells_a_long_loss_once() {
    let state = story();
    let told: Vec<&str> = state.log.iter().map(|l| l.text.as_str()).filter(|t| t.contains("does not answer")).collect();
    assert_eq!(told, ["probe 0: the guest does not answer since slot 401"]);
    assert!(state.log.iter().any(|l| l.text == "phase pre-copy (active)"));
}

/// Two probes of a guest that is gone from 4 to 6 s; its service comes back a second later.
fn two_probes() -> State {
    let mut state = State::begin(header());
    let mut tell = |ms: u64, ev: Body| state.apply(&Event::new(ms * MS, ev));
    let (icmp, tcp) = (ProbeId(2), ProbeId(5));
    let target = [10, 0, 0, 2].into();
    let spec = ProbeSpec { role: Some(Role::Further), ..ProbeSpec::new(ProbeKind::Icmp, target, 50 * MS) };
    tell(0, Body::Probe(ProbeEvent::Started { id: icmp, spec }));
    let spec = ProbeSpec {
        asked: Some("tcp:web:443".into()),
        port: Some(443),
        role: Some(Role::Primary),
        ..ProbeSpec::new(ProbeKind::Tcp, target, 50 * MS)
    };
    tell(0, Body::Probe(ProbeEvent::Started { id: tcp, spec }));
    let (from, to) = ("a".to_owned(), "b".to_owned());
    let began = MigrationEvent::Began { n: 1, from, to, settings: settings("none"), by: None };
    for k in 0..200_u64 {
        let (t, sent) = (k * 50 + 1, k * 50 * MS);
        if t == 2_001 {
            tell(2_000, Body::Migration(began.clone()));
        }
        for id in [icmp, tcp] {
            let ev = match k * 50 {
                4_000..6_000 => ProbeEvent::Lost { id, k, sent },
                6_000..7_000 if id == tcp => ProbeEvent::Refused { id, k, sent, rtt: MS, what: "refused".into() },
                _ => ProbeEvent::Ok { id, k, sent, rtt: MS },
            };
            tell(t, Body::Probe(ev));
        }
    }
    tell(9_000, Body::Migration(MigrationEvent::Ended { n: 1, end: MigrationEnd::Done }));
    tell(10_000, Body::Migration(MigrationEvent::Settled { n: 1 }));
    state
}

#[test]
fn each_probe_has_its_own_estimates_and_the_primary_ones_are_at_the_top() {
    let results = result(&two_probes());
    let row = &results.migrations[0];
    let gap = |downtimes: &[table::Downtime]| downtimes.iter().find(|d| d.method == "reply-gap").unwrap().value_ms;
    let seen: Vec<_> =
        row.probes.iter().map(|p| (p.id, p.name.as_str(), p.primary, p.gaps, gap(&p.downtimes))).collect();
    // Without the service the guest is back a second earlier.
    let icmp = (ProbeId(2), "icmp:10.0.0.2", false, 1, Some(2_050.0));
    assert_eq!(seen, [icmp, (ProbeId(5), "tcp:web:443", true, 1, Some(3_050.0))]);
    assert_eq!(gap(&row.downtimes), Some(3_050.0));
    assert_eq!(row.gaps_total_ms, Some(3_050.0));
    let text = text(&results, 120);
    for words in ["By probe [bounds]", "5 tcp:web:443, primary", "3.05 s [2.95, 3.05]", "probe 2: 10.0.0.2, ICMP every"]
    {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    let json = serde_json::to_value(&results).unwrap();
    assert_eq!(json["migrations"][0]["probes"][1]["name"], "tcp:web:443");
    assert_eq!(json["migrations"][0]["probes"][0]["downtimes"][0]["method"], "lost-pings");
}

#[test]
fn the_outages_of_each_probe_have_their_time_of_day() {
    let state = two_probes();
    let rows = super::probed::rows(&state);
    assert_eq!(
        rows.iter().map(|r| (r.name.as_str(), r.primary)).collect::<Vec<_>>(),
        [("icmp:10.0.0.2", false), ("tcp:web:443", true)]
    );
    for (row, lasts) in rows.iter().zip([2_000_u64, 3_000]) {
        let [outage] = &row.outages[..] else { panic!("one outage: {row:?}") };
        let time = |t: &Option<String>| t.as_ref().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let origin = (header().wall_origin_unix_ns / 1_000_000) as i64;
        assert_eq!((time(&outage.from) - origin, time(&outage.to) - origin), (3_950, 4_001 + lasts as i64));
        assert_eq!((outage.migration, outage.unanswered), (Some(1), lasts / 50));
        // The same bounds as those of the migration: it is one rule.
        let seen = state.migrations[0].downtime.as_ref().unwrap().probes.iter().find(|p| p.id == row.id).unwrap();
        let gap = seen.reply_gap().value.unwrap();
        let ms = |d: Duration| d.as_nanos() as f64 / 1e6;
        assert_eq!((outage.lo_ms, outage.hi_ms), (ms(gap.lo), Some(ms(gap.hi))));
    }
}
