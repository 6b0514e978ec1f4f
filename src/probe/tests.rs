//! The probe against things that answer on this machine. UDP needs no privilege anywhere.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;
use crate::analysis::probing::Summary;
use crate::event::{Hub, ProbeId, ProbeKind, SessionClock};

/// Starts the probe, lets it end by its count and folds what it said.
fn measure(options: &ProbeOptions) -> Result<Summary, ProbeError> {
    let (sink, hub) = Hub::new(SessionClock::start(), 100_000);
    let probe = start(options, &sink)?;
    let began = Instant::now();
    while !probe.is_finished() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(probe.is_finished(), "a counted probe ends by itself");
    let mut summary = Summary::new(probe.spec().clone());
    let ending = probe.stop().unwrap();
    for ev in hub.rx.try_iter() {
        if let Body::Probe(ev) = ev.ev {
            assert!(!summary.stopped, "nothing follows Stopped: {ev:?}");
            summary.apply(&ev);
        }
    }
    assert!(summary.stopped);
    assert_eq!((Some(ending.slots), ending.pending), (options.count, 0));
    Ok(summary)
}

/// A UDP echo on loopback: what `answer` says of the n-th datagram (from 0) is how often it is
/// answered.
struct Echo {
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    fn new(answer: impl Fn(usize) -> usize + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let at = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut n = 0;
            let mut buf = [0; 2048];
            while !told.load(Ordering::Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut buf) {
                    assert_eq!(&buf[..6], b"prefix");
                    for _ in 0..answer(n) {
                        let _ = socket.send_to(&buf[..len], from);
                    }
                    n += 1;
                }
            }
        });
        Self { at, stop, thread: Some(thread) }
    }

    fn options(&self, count: u64) -> ProbeOptions {
        let interval = Duration::from_millis(2);
        ProbeOptions { count: Some(count), interval, ..ProbeOptions::udp(ProbeId(3), self.at, b"prefix".to_vec()) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn every_slot_of_a_udp_probe_is_accounted_for() {
    let echo = Echo::new(|_| 1);
    let s = measure(&echo.options(100)).unwrap();
    let c = s.counts;
    // A busy machine may miss slots, and then says so; it may not lose any.
    assert_eq!((c.ok + c.late + c.not_sent, c.lost, c.error, c.duplicate), (100, 0, 0, 0), "{c:?}");
    assert!(c.ok + c.late > 0);
    assert_eq!(s.spec.engine, event::Engine::Threads);
}

#[test]
fn silence_is_loss_and_a_second_answer_a_duplicate() {
    let echo = Echo::new(|n| if n % 2 == 0 { 2 } else { 0 });
    let s = measure(&ProbeOptions { deadline: Duration::from_millis(300), ..echo.options(60) }).unwrap();
    let c = s.counts;
    assert_eq!((c.answered() + c.lost + c.not_sent, c.error), (60, 0), "{c:?}");
    // Every other datagram that arrived was answered twice.
    assert!(c.answered().abs_diff(c.lost) <= 1 && c.duplicate == c.answered(), "{c:?}");
}

#[test]
fn a_closed_port_is_an_error_not_a_loss_and_not_a_reply() {
    let at = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let interval = Duration::from_millis(5);
    let s =
        measure(&ProbeOptions { interval, count: Some(10), ..ProbeOptions::udp(ProbeId(0), at, Vec::new()) }).unwrap();
    let c = s.counts;
    assert_eq!((c.answered(), c.lost, c.error + c.not_sent), (0, 0, 10), "{c:?} {:?}", s.errors);
    assert!(s.errors.keys().all(|text| text.contains("port unreachable")), "{:?}", s.errors);
}

#[test]
fn both_engines_ping_loopback_where_icmp_is_allowed() {
    for (engine, interval) in [(EngineChoice::SurgePing, 5), (EngineChoice::Threads, 1)] {
        for target in [IpAddr::V4(Ipv4Addr::LOCALHOST), "::1".parse().unwrap()] {
            let interval = Duration::from_millis(interval);
            let o = ProbeOptions {
                engine,
                interval,
                count: Some(40),
                ..ProbeOptions::icmp(ProbeId(0), (target, 0).into())
            };
            match measure(&o) {
                Ok(s) => {
                    let c = s.counts;
                    assert_eq!((c.answered() + c.not_sent, c.error, c.lost), (40, 0, 0), "{engine:?} {target} {c:?}");
                    assert!(c.answered() > 0);
                    assert_eq!(s.spec.cannot_see, [], "both engines see all classes");
                }
                Err(ProbeError::NotPermitted { .. }) => crate::testing::skipped("ICMP is not allowed to this user"),
                // No IPv6 on this machine, for instance.
                Err(e) if target.is_ipv6() => crate::testing::skipped(&e),
                Err(e) => panic!("{e}"),
            }
        }
    }
}

#[test]
fn a_probe_without_end_stops_when_told_or_dropped() {
    let echo = Echo::new(|_| 1);
    let (sink, hub) = Hub::new(SessionClock::start(), 10_000);
    let endless = ProbeOptions { count: None, interval: Duration::from_secs(3600), ..echo.options(0) };
    start(&endless, &sink).unwrap().stop();
    drop(start(&endless, &sink).unwrap());
    let stops =
        hub.rx.try_iter().filter(|e| matches!(e.ev, Body::Probe(ProbeEvent::Stopped { id: ProbeId(3) }))).count();
    assert_eq!(stops, 2);
}

#[test]
fn the_engine_follows_from_the_interval() {
    let target = SocketAddr::from(([127, 0, 0, 1], 9));
    let with = |ms: u64, engine| ProbeOptions {
        interval: Duration::from_millis(ms),
        engine,
        ..ProbeOptions::icmp(ProbeId(0), target)
    };
    let kind = |o: ProbeOptions| o.engine_kind().unwrap();
    assert_eq!(kind(with(50, EngineChoice::Auto)), event::Engine::SurgePing);
    assert_eq!(kind(with(5, EngineChoice::Auto)), event::Engine::SurgePing);
    assert_eq!(kind(with(4, EngineChoice::Auto)), event::Engine::Threads);
    assert_eq!(kind(with(50, EngineChoice::Threads)), event::Engine::Threads);
    assert_eq!(kind(ProbeOptions::udp(ProbeId(0), target, Vec::new())), event::Engine::Threads);
    let e = with(4, EngineChoice::SurgePing).engine_kind().unwrap_err().to_string();
    assert!(e.contains("4.0 ms") && e.contains("5.0 ms") && e.contains("threads"), "{e}");
}

#[test]
fn options_out_of_range_are_refused_with_the_range() {
    let (sink, _hub) = Hub::new(SessionClock::start(), 10);
    let good = ProbeOptions::icmp(ProbeId(0), SocketAddr::from(([127, 0, 0, 1], 0)));
    let refused = |o: ProbeOptions| match start(&o, &sink) {
        Err(ProbeError::Options(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(refused(ProbeOptions { interval: Duration::ZERO, ..good.clone() }).contains("100 µs"));
    assert!(refused(ProbeOptions { deadline: Duration::ZERO, ..good.clone() }).contains("60.0 s"));
    let fast = Duration::from_micros(100);
    assert!(
        refused(ProbeOptions { interval: fast, deadline: Duration::from_secs(9), ..good.clone() }).contains("6.40 s")
    );
    assert!(refused(ProbeOptions { kind: ProbeKind::Udp, ..good }).contains("port"));
}

#[test]
fn the_address_asked_is_the_one_answers_come_from() {
    let of = |ip: &str| {
        let ip: IpAddr = ip.parse().unwrap();
        let (options, remark) = asked(&ProbeOptions::icmp(ProbeId(0), SocketAddr::new(ip, 0)));
        (options.target.ip().to_string(), remark.is_some())
    };
    assert_eq!(of("0.0.0.0"), ("127.0.0.1".into(), true));
    assert_eq!(of("::"), ("::1".into(), true));
    assert_eq!(of("::ffff:192.0.2.1"), ("192.0.2.1".into(), true));
    assert_eq!(of("192.0.2.1"), ("192.0.2.1".into(), false));
}

#[test]
fn addresses_that_no_one_host_has_are_refused() {
    let refused = |ip: &str| {
        let ip: IpAddr = ip.parse().unwrap();
        ProbeOptions::icmp(ProbeId(0), SocketAddr::new(ip, 0)).check().map_err(|e| e.to_string())
    };
    for many in ["255.255.255.255", "224.0.0.1", "ff02::1"] {
        assert!(refused(many).unwrap_err().contains("many hosts"), "{many}");
    }
    assert!(refused("fe80::1").unwrap_err().contains("fe80::1%eth0"));
    assert_eq!(refused("192.0.2.1"), Ok(()));
}
