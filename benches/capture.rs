//! How fast a capture is written, read and folded: events as a session probing at 1 kHz makes them.

use std::hint::black_box;
use std::io::Cursor;

use blackout::event::{
    AgentEvent, Body, Event, Header, HostFacts, HvEvent, ProbeEvent, ProbeId, ProbeKind, ProbeSpec, Sample, Versions,
};
use blackout::session::{Live, Reader, RecorderOptions, State};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn header() -> Header {
    Header {
        schema_major: blackout::event::SCHEMA_MAJOR,
        schema_minor: blackout::event::SCHEMA_MINOR,
        name: "bench".to_owned(),
        wall_origin_unix_ns: 0,
        versions: Versions::default(),
        host: HostFacts::default(),
        settings: Default::default(),
        seed: 0,
        simulated: true,
    }
}

/// A probe outcome each millisecond, a heartbeat each 10, a sample each 100.
fn events(n: u64) -> Vec<Event> {
    let spec = ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 2].into(), 1_000_000);
    let mut events = vec![Event::new(0, Body::Probe(ProbeEvent::Started { id: ProbeId(0), spec }))];
    for k in 0..n {
        let t = k * 1_000_000 + 123_456;
        let mut tell = |ev| events.push(Event::new(t, ev));
        tell(Body::Probe(ProbeEvent::Ok { id: ProbeId(0), k, sent: t, rtt: 234_567 }));
        if k % 10 == 0 {
            tell(Body::Agent(AgentEvent::Heartbeat { seq: k / 10, guest_ns: t }));
        }
        if k % 100 == 0 {
            let sample = Sample { transferred_bytes: Some(t), dirty_pages_per_s: Some(9_000.5), ..Sample::default() };
            let raw = serde_json::json!({"status": "active", "ram": {"mbps": 255.7, "remaining": t, "normal": k}});
            tell(Body::Hypervisor(HvEvent::Sample { sample, raw }));
        }
    }
    events
}

fn capture(c: &mut Criterion) {
    let events = events(50_000);
    let mut text = serde_json::to_vec(&header()).unwrap_or_default();
    text.push(b'\n');
    for event in &events {
        let _ = serde_json::to_writer(&mut text, event);
        text.push(b'\n');
    }
    let mut group = c.benchmark_group("capture");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("read", |b| {
        b.iter(|| {
            Reader::new("bench".into(), Cursor::new(text.as_slice())).map(|reader| reader.filter(Result::is_ok).count())
        });
    });
    group.bench_function("read and fold", |b| {
        b.iter(|| {
            Reader::new("bench".into(), Cursor::new(text.as_slice())).map(|mut reader| reader.read_state(|_| ()).events)
        });
    });
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("fold", |b| {
        b.iter(|| {
            let mut state = State::begin(header());
            events.iter().for_each(|event| state.apply(event));
            black_box(state.events)
        });
    });
    group.bench_function("hub, recorder and disk", |b| {
        b.iter_batched(
            || (tempfile::tempdir().ok(), events.clone()),
            |(dir, events)| {
                let out = dir.as_ref().map(|d| d.path().to_owned());
                let (sink, live) = Live::start(header(), RecorderOptions { out, ..RecorderOptions::default() });
                for event in events {
                    sink.emit_at(event.t, event.ev);
                }
                let report = live.finish("bench");
                assert!(report.is_sound(), "{report:?}");
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, capture);
criterion_main!(benches);
