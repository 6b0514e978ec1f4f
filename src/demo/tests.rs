//! The simulated guest by itself, and taken along by a migration on the model.

use std::sync::Arc;

use tokio::sync::mpsc::{Sender, channel};

use super::*;
use crate::demo::hypervisor::{ModelOptions, SimulatedHypervisor};
use crate::event::{AgentEvent, Body, Event, Hub, HvEvent, MigrationEnd, MigrationSettings, ProbeEvent, SessionClock};
use crate::event::{By, OperatorEvent};
use crate::event::{MigrationEvent, StopPolicy, StopRule};
use crate::hypervisor::{RunCommand, run_migration};
use crate::model::{Link, Product};
use crate::session::{State, result};

const MIB: u64 = 1 << 20;
const MS: Nanos = 1_000_000;
const S: Nanos = 1000 * MS;

fn options() -> GuestOptions {
    GuestOptions {
        ram_bytes: 512 * MIB,
        used_bytes: 128 * MIB,
        cpus: 1,
        ping_interval: Duration::from_millis(50),
        ping_deadline: Duration::from_secs(1),
        seed: 3,
    }
}

fn load(rate: u64, wset_mib: u64) -> LoadSettings {
    let dirty = DirtyCycle { bpc_pages: rate / 100, period_ns: 10_000_000 };
    LoadSettings { wset_bytes: wset_mib * MIB, dirty, ..LoadSettings::default() }
}

/// A guest whose time is nobody's but the test's.
fn world() -> (World, Hub) {
    let (sink, hub) = Hub::new(SessionClock::start(), 1 << 20);
    (World::begin(options(), sink), hub)
}

fn told(hub: &Hub) -> Vec<Event> {
    assert_eq!(hub.take_lost(), 0);
    hub.rx.try_iter().collect()
}

fn heartbeats(events: &[Event]) -> Vec<(Nanos, u64)> {
    let of = |e: &Event| match e.ev {
        Body::Agent(AgentEvent::Heartbeat { guest_ns, .. }) => Some((e.t, guest_ns)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn a_guest_that_runs_answers_every_probe_on_its_absolute_schedule() {
    let (mut world, hub) = world();
    world.live_until(5 * S);
    let events = told(&hub);
    assert!(events.windows(2).all(|w| w[0].t <= w[1].t), "everything is told in order");
    let Body::Probe(ProbeEvent::Started { spec, .. }) = &events[0].ev else { panic!("{:?}", events[0]) };
    let mut next = 0;
    for event in &events {
        match event.ev {
            Body::Probe(ProbeEvent::Ok { k, sent, rtt, .. }) => {
                assert_eq!((k, sent), (next, spec.t0 + k * 50 * MS));
                assert_eq!(event.t, sent + rtt);
                next += 1;
            }
            Body::Probe(ProbeEvent::Started { .. }) | Body::Agent(_) => {}
            ref other => panic!("{other:?}"),
        }
    }
    assert!(next >= 98, "{next} probes in 5 s");
    let heartbeats = heartbeats(&events);
    assert!(heartbeats.len() >= 495, "{}", heartbeats.len());
    assert!(heartbeats.windows(2).all(|w| w[1].1 - w[0].1 == 10 * MS));
}

#[test]
fn a_guest_that_stands_still_says_nothing_and_its_clock_stands() {
    let (mut world, hub) = world();
    let t = 2 * S;
    world.take(t);
    world.stop(t);
    world.request(t + S, 1, load(900, 64));
    world.pass(5 * S);
    let events = told(&hub);
    let after = events.iter().filter(|e| e.t > t + 10 * MS && !matches!(e.ev, Body::Probe(ProbeEvent::Lost { .. })));
    assert_eq!(after.collect::<Vec<_>>(), Vec::<&Event>::new());
    let before = heartbeats(&events).last().copied().unwrap();
    world.resume(5 * S, 5 * S + 400 * MS);
    world.pass(9 * S);
    world.release();
    let events = told(&hub);
    let lost: Vec<Nanos> = events
        .iter()
        .filter_map(|e| match e.ev {
            Body::Probe(ProbeEvent::Lost { sent, .. }) => Some(sent),
            _ => None,
        })
        .collect();
    assert!(lost.last().is_some_and(|sent| (5 * S + 300 * MS..5 * S + 400 * MS).contains(sent)), "{lost:?}");
    let first = heartbeats(&events)[0];
    assert!(first.0 >= 5 * S + 400 * MS, "nothing comes before the network leads to it");
    let (ours, its) = (first.0 - before.0, first.1 - before.1);
    assert!((ours - its).abs_diff(3 * S) < 5 * MS, "its clock stood for 3 s: {ours} {its}");
    let acked = events.iter().find(|e| matches!(e.ev, Body::Agent(AgentEvent::Ack { id: 1, .. }))).unwrap();
    assert!(acked.t > 5 * S + 400 * MS, "a request waits until the guest can hear it");
}

#[test]
fn a_load_takes_effect_and_is_reported_as_achieved() {
    let (mut world, hub) = world();
    world.request(S, 1, load(9000, 96));
    world.request(S, 2, load(9000, 4096));
    world.request(S, 3, load(900_000_000, 96));
    world.live_until(3 * S);
    let events = told(&hub);
    let said = |is: &dyn Fn(&AgentEvent) -> bool| events.iter().any(|e| matches!(&e.ev, Body::Agent(word) if is(word)));
    assert!(said(&|w| matches!(w, AgentEvent::Ack { id: 1, set } if *set == load(9000, 96))));
    let limit = crate::units::show_bytes(options().wset_limit_bytes());
    assert!(said(&|w| matches!(w, AgentEvent::Refused { id: 2, why } if why.contains(&limit))), "{limit}");
    assert!(said(&|w| matches!(w, AgentEvent::Refused { id: 3, why } if why.contains("no memory takes more"))));
    let last = events.iter().rev().find_map(|e| match &e.ev {
        Body::Agent(AgentEvent::Report(report)) => Some(report.clone()),
        _ => None,
    });
    let report = last.unwrap();
    assert!((report.rate_pages_per_s / 9000.0 - 1.0).abs() < 0.01, "{report:?}");
    assert_eq!((report.wset_bytes, report.set), (96 * MIB, load(9000, 96)));
    assert_eq!(world.take(3 * S), options().memory(&load(9000, 96)));
}

fn acks(events: &[Event]) -> Vec<(u64, Nanos)> {
    let of = |e: &Event| match e.ev {
        Body::Agent(AgentEvent::Ack { id, .. }) => Some((id, e.t)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn requests_arrive_in_order_however_the_guest_stands() {
    let (mut world, hub) = world();
    let (t, reached) = (2 * S, 3 * S + 400 * MS);
    world.request(t - MS / 100, 1, load(100, 64));
    world.take(t);
    world.stop(t);
    world.request(t + 500 * MS, 2, load(200, 64));
    world.pass(3 * S - MS / 20);
    world.request(3 * S - MS / 20, 3, load(300, 64));
    world.pass(3 * S);
    world.resume(3 * S, reached);
    for (id, at) in [(4, 3 * S + 200 * MS), (5, reached - MS / 20), (6, reached + MS), (7, reached + 50 * MS)] {
        world.pass(at);
        world.request(at, id, load(id * 100, 64));
    }
    world.pass(5 * S);
    let events = told(&hub);
    let acks = acks(&events);
    assert_eq!(acks.iter().map(|a| a.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert!(acks[0].1 > reached + 44 * MS && acks.windows(2).all(|w| w[0].1 <= w[1].1), "{acks:?}");
    let words = events.iter().filter(|e| matches!(e.ev, Body::Agent(AgentEvent::Report(_) | AgentEvent::Ack { .. })));
    let set: Vec<u64> = words
        .filter_map(|e| match &e.ev {
            Body::Agent(AgentEvent::Report(report)) => Some(report.set.dirty.bpc_pages),
            Body::Agent(AgentEvent::Ack { set, .. }) => Some(set.dirty.bpc_pages),
            _ => None,
        })
        .skip_while(|bpc| *bpc == 0 || *bpc > 7)
        .collect();
    assert!(set.windows(2).all(|w| w[0] <= w[1]), "a report overtakes no answer: {set:?}");
}

#[test]
fn a_guest_that_stands_still_fills_no_memory_meanwhile() {
    let (mut world, hub) = world();
    world.request(S, 1, load(100, 200));
    world.take(S + 10 * MS);
    world.stop(S + 10 * MS);
    // Shorter than what is left of the filling.
    world.resume(S + 30 * MS, S + 30 * MS);
    world.pass(2 * S);
    let fill = (200 * MIB) as f64 / 2.5e9 * 1e9;
    let (_, acked) = acks(&told(&hub))[0];
    let took = (acked - S) as f64 - fill;
    assert!((20e6..23e6).contains(&took), "{took} ns more than the filling");
}

#[test]
fn where_nobody_takes_what_is_told_the_guest_waits_and_so_does_the_clock() {
    let (sink, hub) = Hub::new(SessionClock::simulated(1000.0), 2000);
    let guest = SimulatedGuest::start(options(), sink.clone()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(hub.take_lost(), 0);
    assert!(sink.clock().now() < 100 * S, "{} s", sink.clock().now() / S);
    // It goes on where there is room.
    let before = told(&hub).last().unwrap().t;
    std::thread::sleep(Duration::from_millis(50));
    assert!(told(&hub).last().unwrap().t > before + S);
    guest.end();
    assert!(matches!(told(&hub).last().unwrap().ev, Body::Probe(ProbeEvent::Stopped { .. })));
}

/// A session with one migration on the model: all its events, and how it ended.
struct Ran {
    events: Vec<Event>,
    end: MigrationEnd,
}

impl Ran {
    fn row(&self) -> crate::analysis::table::Row {
        let mut state = State::default();
        self.events.iter().for_each(|e| state.apply(e));
        let t = state.now;
        state.apply(&Event::new(t, Body::Migration(MigrationEvent::Settled { n: 1 })));
        result::row(&state.migrations[0], t)
    }

    /// What the hypervisor told, since the migration began, samples left out.
    fn course(&self) -> Vec<(Nanos, HvEvent)> {
        let setup = |e: &&Event| matches!(e.ev, Body::Hypervisor(HvEvent::Phase { .. }));
        let began = self.events.iter().find(setup).unwrap().t;
        let of = |e: &Event| match &e.ev {
            // What comes up before it begins.
            Body::Hypervisor(_) if e.t < began => None,
            Body::Hypervisor(HvEvent::Sample { .. } | HvEvent::Located { .. }) => None,
            Body::Hypervisor(ev) => Some((e.t - began, ev.clone())),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }
}

/// Runs one migration of a loaded guest; `also` is given a way to command it.
fn migrate(
    speed: f64,
    product: Product,
    rate: u64,
    settings: MigrationSettings,
    also: impl FnOnce(Sender<RunCommand>, EventSink),
) -> Ran {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (sink, hub) = Hub::new(SessionClock::simulated(speed), 1 << 20);
    let guest = SimulatedGuest::start(options(), sink.clone()).unwrap();
    guest.set_load(1, load(rate, 128));
    let set = |e: &Event| matches!(e.ev, Body::Agent(AgentEvent::Ack { .. }));
    let mut events = Vec::new();
    while !events.last().is_some_and(set) {
        events.push(hub.rx.recv_timeout(Duration::from_secs(60)).unwrap());
    }
    let options =
        ModelOptions { product, link: Link { bytes_per_s: 1e8, of_limit: 1.0 }, costs: product.costs(), seed: 3 };
    let hypervisor = SimulatedHypervisor::new(options, Arc::new(guest.clone()), sink.clone());
    let (commands, inbox) = channel(8);
    also(commands, sink.clone());
    let over = AtomicBool::new(false);
    let end = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Somebody who does something all the time.
            while !over.load(Ordering::Relaxed) {
                sink.emit(Body::Operator(OperatorEvent::Mark { note: String::new(), at: None }));
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let end = runtime.block_on(run_migration(&hypervisor, 1, settings, sink.clone(), inbox));
        over.store(true, Ordering::Relaxed);
        end
    });
    let ended = sink.clock().now();
    // Until the last of its probes has its class.
    let late = |e: &Event| matches!(e.ev, Body::Probe(ProbeEvent::Ok { sent, .. }) if sent > ended + 2 * S);
    while !events.last().is_some_and(late) {
        events.push(hub.rx.recv_timeout(Duration::from_secs(60)).unwrap());
    }
    guest.end();
    Ran { events, end }
}

#[test]
fn a_migration_is_told_as_a_hypervisor_tells_it() {
    let ran = migrate(400.0, Product::Qemu, 4000, MigrationSettings::default(), |_, _| ());
    assert_eq!(ran.end, MigrationEnd::Done);
    let row = ran.row();
    assert!(row.rounds.is_some_and(|n| n >= 2), "{row:?}");
    assert_eq!(row.rule, None);
    let bounds = |method: &str| {
        let d = row.downtimes.iter().find(|d| d.method == method).unwrap();
        (d.lo_ms.unwrap(), d.hi_ms.unwrap())
    };
    let stood = bounds("stop-resume");
    let announce = Product::Qemu.costs().announce.as_secs_f64() * 1e3;
    for method in ["lost-pings", "reply-gap"] {
        let (lo, hi) = bounds(method);
        assert!(lo <= stood.1 + announce && stood.0 + announce <= hi, "{method}: {lo} to {hi}, stood {stood:?}");
    }
    let clock = bounds("guest-clock");
    assert!(clock.0 <= stood.1 && stood.0 <= clock.1, "{clock:?} {stood:?}");
    let mut words: Vec<&str> = Vec::new();
    for (_, ev) in ran.course() {
        words.push(match ev {
            HvEvent::Phase { phase, .. } => phase.word(),
            HvEvent::Stopped { .. } => "STOP",
            HvEvent::Resumed { .. } => "RESUME",
            HvEvent::Offers { .. } => "offers",
            HvEvent::Round { .. } => continue,
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(words, ["setup", "pre-copy", "STOP", "stop-and-copy", "RESUME", "recovery", "done"]);
}

#[test]
fn the_speed_changes_nothing_but_how_long_it_takes() {
    let policy = StopPolicy { rounds: Some(4), ..StopPolicy::xen_3_4() };
    let settings = MigrationSettings { policy, ..MigrationSettings::default() };
    let runs: Vec<Ran> =
        [1000.0, 300.0].map(|speed| migrate(speed, Product::Qemu, 40_000, settings.clone(), |_, _| ())).into();
    assert_eq!(runs[0].course(), runs[1].course());
    for ran in runs {
        let at = |is: &dyn Fn(&Body) -> bool| ran.events.iter().find(|e| is(&e.ev)).unwrap().t;
        let fifth = at(&|b| matches!(b, Body::Hypervisor(HvEvent::Round { round: 5, .. })));
        let rule = StopRule::Rounds { limit: 4 };
        let ruled = at(&|b| matches!(b, Body::Migration(MigrationEvent::Ruled { rule: r, .. }) if *r == rule));
        let stopped = at(&|b| matches!(b, Body::Hypervisor(HvEvent::Stopped { .. })));
        assert_eq!((fifth, fifth), (ruled, stopped), "the policy fires when the fifth round begins");
    }
}

#[test]
fn what_is_done_meanwhile_is_never_ahead_of_what_is_simulated() {
    let ran = migrate(1000.0, Product::Qemu, 4000, MigrationSettings::default(), |_, _| ());
    let began = ran.events.iter().position(|e| matches!(e.ev, Body::Hypervisor(HvEvent::Phase { .. }))).unwrap();
    let (mut ahead, mut marks) = (0, 0);
    for event in &ran.events[began..] {
        match event.ev {
            Body::Operator(_) => (ahead, marks) = (ahead.max(event.t), marks + 1),
            Body::Hypervisor(_) => assert!(ahead <= event.t, "{ahead} before {event:?}"),
            _ => {}
        }
    }
    assert!(marks > 10, "{marks}");
}

#[test]
fn what_somebody_asked_for_is_decided_after_it_was_asked_for() {
    let ran = migrate(20.0, Product::Qemu, 40_000, MigrationSettings::default(), |commands, sink| {
        std::thread::spawn(move || {
            // Past the start, and between two looks.
            std::thread::sleep(Duration::from_millis(101));
            sink.emit(Body::Operator(OperatorEvent::StopAndCopy));
            commands.blocking_send(RunCommand::StopAndCopy).unwrap();
        });
    });
    assert_eq!(ran.end, MigrationEnd::Done);
    let at = |is: &dyn Fn(&Body) -> bool| ran.events.iter().find(|e| is(&e.ev)).unwrap().t;
    let asked = at(&|b| matches!(b, Body::Operator(OperatorEvent::StopAndCopy)));
    let ruled = at(&|b| matches!(b, Body::Migration(MigrationEvent::Ruled { rule: StopRule::Operator, .. })));
    let stopped = at(&|b| matches!(b, Body::Hypervisor(HvEvent::Stopped { .. })));
    assert!(asked <= ruled && ruled <= stopped, "{asked} {ruled} {stopped}");
}

#[test]
fn a_migration_that_is_cancelled_leaves_the_guest_at_the_source() {
    let settings = MigrationSettings::default();
    let ran = migrate(200.0, Product::Qemu, 40_000, settings, |commands, _| {
        commands.try_send(RunCommand::Cancel { by: By::Operator }).unwrap()
    });
    assert!(matches!(ran.end, MigrationEnd::Cancelled { .. }), "{:?}", ran.end);
    assert!(!ran.events.iter().any(|e| matches!(e.ev, Body::Hypervisor(HvEvent::Stopped { .. }))));
    assert!(!ran.events.iter().any(|e| matches!(e.ev, Body::Probe(ProbeEvent::Lost { .. }))));
}

#[test]
fn post_copy_runs_the_guest_there_and_pulls_the_rest() {
    let policy = StopPolicy { then: crate::event::Then::PostCopy, ..StopPolicy::timeout(Duration::from_secs(3)) };
    let settings = MigrationSettings { policy, post_copy: true, ..MigrationSettings::default() };
    let ran = migrate(400.0, Product::Qemu, 40_000, settings, |_, _| ());
    assert_eq!(ran.end, MigrationEnd::Done);
    let row = ran.row();
    assert!(row.phases.iter().any(|p| p.phase == "post-copy" && p.ms > 100.0), "{row:?}");
    assert!(row.verdict.contains("switched to post-copy"), "{}", row.verdict);
    // QEMU decides that itself, and counts until the device's state has been sent.
    let value = |method: &str| row.downtimes.iter().find(|d| d.method == method).and_then(|d| d.value_ms).unwrap();
    let resume = Product::Qemu.costs().resume.as_secs_f64() * 1e3;
    assert!((value("reported") - (value("stop-resume") - resume)).abs() < 0.01, "{row:?}");
}
