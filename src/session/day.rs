//! A day of a live session at 50 ms: what it holds is bounded.

use super::state::{REPORTS, State};
use super::testing::header;
use crate::event::{
    AgentEvent, Body, Event, HostEvent, LoadReport, LoadSettings, Nanos, OperatorEvent, ProbeEvent, ProbeId, ProbeKind,
    ProbeSpec,
};

const MS: Nanos = 1_000_000;
const HOUR: Nanos = 3_600_000 * MS;

/// What happens in the 50 ms that begin at `t`.
fn fold(state: &mut State, t: Nanos) {
    let k = t / (50 * MS);
    let mut tell = |ev| state.apply(&Event::new(t, ev));
    tell(Body::Probe(if k.is_multiple_of(1000) {
        ProbeEvent::Lost { id: ProbeId(0), k, sent: t }
    } else {
        ProbeEvent::Ok { id: ProbeId(0), k, sent: t, rtt: MS }
    }));
    tell(Body::Agent(AgentEvent::Heartbeat { seq: k, guest_ns: t }));
    if k.is_multiple_of(2) {
        let report = LoadReport {
            guest_ns: t,
            window_ns: 100 * MS,
            set: LoadSettings::default(),
            wset_bytes: 0,
            rate_pages_per_s: 9_000.0,
            cpu_load_pct: 0.0,
            pages_total: k,
            saturated: false,
            guest_cpu_pct: Some(5.0),
        };
        tell(Body::Agent(AgentEvent::Report(report)));
    }
    if k.is_multiple_of(20) {
        tell(Body::Host(HostEvent { cpu_pct: 10.0, hypervisors: vec![("a".to_owned(), 20.0)] }));
    }
    if k.is_multiple_of(40) {
        tell(Body::Operator(OperatorEvent::SetLoad { id: k, to: LoadSettings::default() }));
    }
}

#[test]
fn memory_is_flat_over_a_day() {
    let spec = ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 2].into(), 50 * MS);
    let mut state = State::begin(header());
    state.apply(&Event::new(0, Body::Probe(ProbeEvent::Started { id: ProbeId(0), spec })));
    let mut held = Vec::new();
    for t in (0..24 * HOUR).step_by(50 * MS as usize) {
        fold(&mut state, t);
        if (t + 50 * MS).is_multiple_of(HOUR) {
            held.push(state.heap_bytes());
        }
    }
    assert!(state.reports.len() <= REPORTS && state.requests.len() <= REPORTS && state.host_cpu.len() <= REPORTS);
    assert!(state.heartbeats.len() <= 1 << 17 && state.log.len() <= 4000);
    let probe = &state.probes[&ProbeId(0)];
    assert!(probe.outcomes.len() <= 1 << 20);
    assert!(held[23] < 64 << 20, "{held:?}");
    // By the 16th hour all rings are full; what still grows are the summaries.
    assert!(held[23] - held[15] < 3 << 20, "{held:?}");
    // The first hour is told as exactly as the last one: each loss, and where.
    let hour = probe.outcomes.summary(0, 71_999);
    assert_eq!((hour.count(crate::event::Class::Lost), hour.settled()), (72, 72_000));
    assert_eq!(probe.next_hole(MS).map(|h| (h.from, h.down)), Some((50_000 * MS, 1)));
    println!("a day at 50 ms holds {:.1} MiB", held[23] as f64 / 1_048_576.0);
}
