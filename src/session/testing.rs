//! What the tests of this room share.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::event::{
    AgentEvent, Body, By, Capabilities, Class, Converges, DirtyCycle, Ender, Engine, Event, Fact, Forecast,
    ForeignTime, Grounds, Guess, Header, HostEvent, HostFacts, HvEvent, Incident, LabEvent, Level, LoadReport,
    LoadSettings, Location, LogEvent, MigrationEnd, MigrationEvent, MigrationSettings, Nanos, Needs, OperatorEvent,
    Parameter, Pattern, Phase, ProbeEvent, ProbeId, ProbeKind, ProbeSpec, Remedy, Sample, SessionEvent, SettingWhy,
    Span, StopForecast, StopPolicy, StopRule, Substate, Then, Versions,
};

pub(crate) fn header() -> Header {
    Header {
        schema_major: crate::event::SCHEMA_MAJOR,
        schema_minor: crate::event::SCHEMA_MINOR,
        name: "test".to_owned(),
        wall_origin_unix_ns: 1_795_376_700_000_000_000,
        versions: Versions { blackout: "0.0".to_owned(), ..Versions::default() },
        host: HostFacts { cpu: "a CPU".to_owned(), cpus: 2, ram_bytes: 8 << 30, kernel: "6.1".to_owned() },
        settings: json!({"bandwidth": 32_000_000, "ratio": 0.1}).into(),
        seed: u64::MAX,
        simulated: false,
    }
}

pub(crate) fn log(t: Nanos, text: &str) -> Event {
    let ev = Body::Log(LogEvent { level: Level::Info, from: "test".to_owned(), text: text.to_owned() });
    Event::new(t, ev)
}

/// A capture as text.
pub(crate) fn capture(header: &Header, events: &[Event]) -> String {
    let mut text = serde_json::to_string(header).unwrap() + "\n";
    for event in events {
        text += &serde_json::to_string(event).unwrap();
        text.push('\n');
    }
    text
}

/// Any event of the vocabulary, with hostile numbers and texts, in no sensible order.
pub(crate) fn any_event() -> BoxedStrategy<Event> {
    (any::<u32>(), body()).prop_map(|(t, ev)| Event::new(u64::from(t), ev)).boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![Just("a".to_owned()), Just("b".to_owned()), ".{0,12}"].boxed()
}

fn number() -> BoxedStrategy<f64> {
    any::<f64>().prop_filter("finite", |n| n.is_finite()).boxed()
}

fn at() -> BoxedStrategy<Option<ForeignTime>> {
    proptest::option::of((any::<i64>(), any::<i64>()).prop_map(|(secs, micros)| ForeignTime { secs, micros })).boxed()
}

fn value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        number().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(text(), inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

fn load() -> BoxedStrategy<LoadSettings> {
    let pattern = prop_oneof![Just(Pattern::Cyclic), Just(Pattern::Random), Just(Pattern::Hotspot)];
    (number(), any::<u64>(), any::<u64>(), any::<u64>(), number(), pattern)
        .prop_map(|(cpu_load_pct, wset_bytes, bpc_pages, period_ns, fill_pct, pattern)| LoadSettings {
            cpu_load_pct,
            wset_bytes,
            dirty: DirtyCycle { bpc_pages, period_ns },
            fill_pct,
            pattern,
        })
        .boxed()
}

fn then() -> BoxedStrategy<Then> {
    prop_oneof![Just(Then::StopAndCopy), Just(Then::PostCopy), Just(Then::Cancel), Just(Then::AutoConverge)].boxed()
}

fn policy() -> BoxedStrategy<StopPolicy> {
    let some = || proptest::option::of(any::<u64>());
    (text(), some(), some(), proptest::option::of(number()), some(), then())
        .prop_map(|(name, remaining_pages_below, rounds, ram_factor, after_ns, then)| StopPolicy {
            name,
            remaining_pages_below,
            rounds,
            ram_factor,
            after_ns,
            then,
        })
        .boxed()
}

fn settings() -> BoxedStrategy<MigrationSettings> {
    let some = || proptest::option::of(any::<u64>());
    (some(), some(), policy(), any::<bool>(), any::<bool>(), proptest::collection::btree_map(text(), value(), 0..2))
        .prop_map(|(bandwidth_bytes_per_s, downtime_limit_ms, policy, post_copy, auto_converge, extra)| {
            MigrationSettings { bandwidth_bytes_per_s, downtime_limit_ms, policy, post_copy, auto_converge, extra }
        })
        .boxed()
}

fn sample() -> BoxedStrategy<Sample> {
    let some = || proptest::option::of(any::<u64>());
    let part = || proptest::option::of(number());
    ((some(), some(), some(), some()), (part(), part(), part(), part(), part(), part(), part()))
        .prop_map(
            |(
                (transferred_bytes, remaining_bytes, total_bytes, round),
                (
                    dirty_pages_per_s,
                    throughput_bytes_per_s,
                    throttle_pct,
                    expected_downtime_ms,
                    downtime_ms,
                    total_time_ms,
                    setup_time_ms,
                ),
            )| Sample {
                transferred_bytes,
                remaining_bytes,
                total_bytes,
                round,
                dirty_pages_per_s,
                throughput_bytes_per_s,
                throttle_pct,
                expected_downtime_ms,
                downtime_ms,
                total_time_ms,
                setup_time_ms,
                zero_pages: round,
                progress: dirty_pages_per_s,
            },
        )
        .boxed()
}

fn probe() -> BoxedStrategy<ProbeEvent> {
    let spec = (1_u64..100_000_000, 0_u64..5_000_000_000, any::<u32>(), any::<bool>()).prop_map(
        |(interval_ns, deadline_ns, t0, v6)| ProbeSpec {
            engine: Engine::SurgePing,
            deadline_ns,
            t0: u64::from(t0),
            cannot_see: vec![Class::Duplicate, Class::Late],
            ..ProbeSpec::new(
                ProbeKind::Udp,
                if v6 { "fe80::1".parse().unwrap() } else { "10.0.0.2".parse().unwrap() },
                interval_ns,
            )
        },
    );
    let slot = || ((0_u16..2).prop_map(ProbeId), 0_u64..60, any::<u32>(), any::<u32>());
    prop_oneof![
        2 => ((0_u16..2).prop_map(ProbeId), spec).prop_map(|(id, spec)| ProbeEvent::Started { id, spec }),
        9 => slot().prop_map(|(id, k, s, r)| ProbeEvent::Ok { id, k, sent: s.into(), rtt: r.into() }),
        3 => slot().prop_map(|(id, k, s, r)| ProbeEvent::Late { id, k, sent: s.into(), rtt: r.into() }),
        5 => slot().prop_map(|(id, k, s, _)| ProbeEvent::Lost { id, k, sent: s.into() }),
        1 => slot().prop_map(|(id, k, _, r)| ProbeEvent::Duplicate { id, k, rtt: r.into() }),
        1 => slot().prop_map(|(id, k, ..)| ProbeEvent::NotSent { id, k, why: None }),
        1 => (slot(), proptest::option::of(any::<u64>()), text())
            .prop_map(|((id, k, ..), sent, what)| ProbeEvent::Error { id, k, sent, what }),
        1 => (slot(), text()).prop_map(|((id, k, s, r), what)| {
            ProbeEvent::Refused { id, k, sent: s.into(), rtt: r.into(), what }
        }),
        1 => (0_u16..2).prop_map(|id| ProbeEvent::Stopped { id: ProbeId(id) }),
    ]
    .boxed()
}

fn agent() -> BoxedStrategy<AgentEvent> {
    let report = (any::<u64>(), load(), number(), number(), any::<bool>()).prop_map(
        |(n, set, rate_pages_per_s, cpu_load_pct, saturated)| LoadReport {
            guest_ns: n,
            window_ns: n / 3,
            set,
            wset_bytes: n / 7,
            rate_pages_per_s,
            cpu_load_pct,
            pages_total: n / 5,
            saturated,
            guest_cpu_pct: saturated.then_some(cpu_load_pct),
        },
    );
    prop_oneof![
        (text(), text(), any::<u64>(), any::<bool>()).prop_map(|(version, kernel, n, again)| {
            let (cpus, transport) = (n as u32, "stdio".to_owned());
            AgentEvent::Connected { version, kernel, cpus, ram_bytes: n, wset_limit_bytes: n / 2, transport, again }
        }),
        text().prop_map(|why| AgentEvent::Disconnected { why }),
        (any::<u64>(), load()).prop_map(|(id, set)| AgentEvent::Ack { id, set }),
        (any::<u64>(), text()).prop_map(|(id, why)| AgentEvent::Refused { id, why }),
        report.prop_map(AgentEvent::Report),
        (any::<u64>(), any::<u64>()).prop_map(|(seq, guest_ns)| AgentEvent::Heartbeat { seq, guest_ns }),
        (any::<u64>(), any::<u32>()).prop_map(|(seq, ns)| AgentEvent::Heartbeat { seq, guest_ns: ns.into() }),
    ]
    .boxed()
}

fn hypervisor() -> BoxedStrategy<HvEvent> {
    let phase = prop_oneof![
        Just(Phase::Setup),
        Just(Phase::PreCopy),
        Just(Phase::StopAndCopy),
        Just(Phase::Recovery),
        Just(Phase::Done),
        Just(Phase::Moving),
        Just(Phase::Unknown)
    ];
    prop_oneof![
        (text(), text(), any::<Option<u32>>()).prop_map(|(host, version, pid)| HvEvent::HostUp { host, version, pid }),
        (text(), text()).prop_map(|(host, why)| HvEvent::HostLost { host, why }),
        (text(), any::<u64>()).prop_map(|(host, ns)| HvEvent::RoundTrip { host, ns }),
        (text(), text(), at(), value()).prop_map(|(host, name, at, data)| HvEvent::Raw { host, name, at, data }),
        (text(), text(), value(), any::<bool>()).prop_map(|(host, name, value, live)| HvEvent::Offers {
            host,
            offers: Capabilities {
                product: name.clone(),
                parameters: vec![Parameter { name, value, unit: "ms".into(), live }],
                post_copy: live,
                ..Capabilities::default()
            },
        }),
        (text(), at()).prop_map(|(host, at)| HvEvent::Stopped { host, at }),
        (text(), at()).prop_map(|(host, at)| HvEvent::Resumed { host, at }),
        (phase, text(), any::<bool>()).prop_map(|(phase, raw, paused)| {
            let substate = paused.then_some(Substate::Paused);
            HvEvent::Phase { phase, raw, substate }
        }),
        location().prop_map(|location| HvEvent::Located { location }),
        (text(), text(), at())
            .prop_map(|(host, detail, at)| { HvEvent::Befell { host, what: Incident::Panicked, detail, at } }),
        (any::<u64>(), at()).prop_map(|(round, at)| HvEvent::Round { round, at }),
        (sample(), value()).prop_map(|(sample, raw)| HvEvent::Sample { sample, raw }),
        (text(), text(), value(), value(), any::<bool>()).prop_map(|(host, name, from, to, back)| HvEvent::Setting {
            host,
            name,
            from,
            to,
            why: if back { SettingWhy::PutBack } else { SettingWhy::Asked },
        }),
    ]
    .boxed()
}

fn location() -> BoxedStrategy<Location> {
    prop_oneof![
        (text(), any::<bool>()).prop_map(|(host, running)| Location::At { host, running }),
        Just(Location::Both),
        Just(Location::Nowhere),
        Just(Location::Moving),
        text().prop_map(|why| Location::Unknown { why }),
    ]
    .boxed()
}

fn forecast() -> BoxedStrategy<Forecast> {
    let span = || proptest::option::of((number(), number(), number()).prop_map(|(lo, mid, hi)| Span { lo, mid, hi }));
    let part = || proptest::option::of(number());
    let converges = prop_oneof![Just(Converges::Yes), Just(Converges::Perhaps), Just(Converges::No)];
    (converges, (span(), span(), span(), span()), (part(), part(), part(), part()), any::<bool>())
        .prop_map(|(converges, (rounds, migration_s, downtime_s, left_s), (jump, rate, bandwidth, limit), guesses)| {
            let needs = Needs {
                rate_below_pages_per_s: rate,
                bandwidth_from_bytes_per_s: bandwidth,
                downtime_limit_from_ms: limit,
                rounds_without_policy: limit.map(|ms| ms as u64),
                nearest: limit.map(|_| Remedy::Rate),
            };
            let guesses = if guesses { vec![Guess::Memory, Guess::Link] } else { Vec::new() };
            let followed_s = jump;
            let jump_pages_per_s = jump;
            Forecast {
                converges,
                rounds,
                migration_s,
                downtime_s,
                followed_s,
                left_s,
                jump_pages_per_s,
                needs,
                guesses,
                ender: limit.map(|_| Ender::Own { rule: "29 rounds".into(), little_left: true }),
                grounds: left_s.map(|span| {
                    Box::new(Grounds {
                        product: "qemu".into(),
                        content_bytes: span,
                        link_bytes_per_s: span,
                        fixed_s: span,
                        own_hot_pages: 1,
                        own_pages: 2,
                        own_pages_per_s: span.mid,
                    })
                }),
            }
        })
        .boxed()
}

fn migration() -> BoxedStrategy<MigrationEvent> {
    let rule = prop_oneof![
        (any::<u64>(), any::<u64>()).prop_map(|(limit, seen)| StopRule::RemainingPages { limit, seen }),
        any::<u64>().prop_map(|limit| StopRule::Rounds { limit }),
        (number(), any::<u64>()).prop_map(|(limit, sent_bytes)| StopRule::RamFactor { limit, sent_bytes }),
        any::<u64>().prop_map(|limit_ns| StopRule::Time { limit_ns }),
        Just(StopRule::Operator),
        text().prop_map(|words| StopRule::Own { words }),
    ];
    let end = prop_oneof![
        Just(MigrationEnd::Done),
        text().prop_map(|why| MigrationEnd::Failed { why }),
        text().prop_map(|by| MigrationEnd::Cancelled { by }),
        (text(), location(), any::<Option<u64>>()).prop_map(|(why, last, seen)| MigrationEnd::Unsettled {
            why,
            last,
            seen
        }),
    ];
    let by = prop_oneof![
        Just(By::Operator),
        any::<u64>().prop_map(|limit| By::Rule(StopRule::Rounds { limit })),
        any::<u64>().prop_map(|limit_ns| By::GiveUpAfter { limit_ns }),
        Just(By::Closing),
        Just(By::Another),
    ];
    prop_oneof![
        (1_u32..4, text(), text(), settings(), prop::option::of(by.clone()))
            .prop_map(|(n, from, to, settings, by)| { MigrationEvent::Began { n, from, to, settings, by } }),
        (text(), text()).prop_map(|(from, to)| MigrationEvent::Ready { from, to }),
        text().prop_map(|why| MigrationEvent::NotReady { why }),
        (1_u32..4, rule, then()).prop_map(|(n, rule, then)| MigrationEvent::Ruled { n, rule, then }),
        (1_u32..4, then(), by).prop_map(|(n, then, by)| MigrationEvent::Requested { n, then, by }),
        (1_u32..4, then(), text()).prop_map(|(n, then, why)| MigrationEvent::Refused { n, then, why }),
        (1_u32..4, end).prop_map(|(n, end)| MigrationEvent::Ended { n, end }),
        (1_u32..4).prop_map(|n| MigrationEvent::Settled { n }),
        (1_u32..4, any::<u32>(), (number(), number(), number())).prop_map(|(n, of, (lo, mid, hi))| {
            let span = Span { lo, mid, hi };
            let forecast = StopForecast { stood_s: lo, left_s: span, bytes: span, bytes_per_s: span };
            MigrationEvent::StopForecast { n, of: of.into(), forecast }
        }),
        (1_u32..4, any::<u32>(), forecast()).prop_map(|(n, of, forecast)| MigrationEvent::Forecast {
            n,
            of: of.into(),
            forecast
        }),
    ]
    .boxed()
}

fn body() -> BoxedStrategy<Body> {
    let operator = prop_oneof![
        (any::<u64>(), load()).prop_map(|(id, to)| OperatorEvent::SetLoad { id, to }),
        settings().prop_map(|to| OperatorEvent::SetMigration { to }),
        policy().prop_map(|to| OperatorEvent::SetPolicy { to }),
        (text(), any::<Option<u64>>()).prop_map(|(note, at)| OperatorEvent::Mark { note, at }),
        (0.0..1e6, 0.0..1e6, any::<u64>()).prop_map(|(from_pages_per_s, to_pages_per_s, over_ns)| {
            OperatorEvent::Ramp { from_pages_per_s, to_pages_per_s, over_ns }
        }),
        Just(OperatorEvent::RampEnd),
        Just(OperatorEvent::Migrate),
        any::<u64>().prop_map(|after_ns| OperatorEvent::GiveUp { after_ns }),
        Just(OperatorEvent::Quit),
    ];
    let session = prop_oneof![
        (text(), text()).prop_map(|(key, value)| SessionEvent::Environment { key, value }),
        text().prop_map(|release| SessionEvent::Learned(Fact::GuestKernel(release))),
        text().prop_map(|text| SessionEvent::Caption { text }),
        (text(), any::<u32>()).prop_map(|(queue, lost)| SessionEvent::Overflow { queue, lost: lost.into() }),
        text().prop_map(|why| SessionEvent::RecorderTrouble { why }),
        any::<u64>().prop_map(|kept| SessionEvent::RecorderRecovered { kept }),
    ];
    let lab = prop_oneof![
        text().prop_map(|what| LabEvent::Step { what }),
        (text(), text()).prop_map(|(chosen, why)| LabEvent::Accel { chosen, why }),
        (text(), text()).prop_map(|(guest, enter)| LabEvent::Ready { guest, enter }),
    ];
    prop_oneof![
        2 => operator.prop_map(Body::Operator),
        3 => agent().prop_map(Body::Agent),
        8 => probe().prop_map(Body::Probe),
        4 => hypervisor().prop_map(Body::Hypervisor),
        3 => migration().prop_map(Body::Migration),
        1 => (number(), proptest::collection::vec((text(), number()), 0..3))
            .prop_map(|(cpu_pct, hypervisors)| Body::Host(HostEvent { cpu_pct, hypervisors })),
        1 => lab.prop_map(Body::Lab),
        1 => session.prop_map(Body::Session),
        1 => text().prop_map(|text| log(0, &text).ev),
    ]
    .boxed()
}
