//! The engine against servers on this machine, which need no privilege.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use socket2::{Domain, Type};

use super::*;
use crate::event::{Body, Hub, ProbeEvent, ProbeId, ProbeKind, SessionClock};
use crate::probe::asked::Asked;
use crate::probe::{ProbeOptions, start};

const SLOTS: u64 = 12;

/// Starts the probe that is written so, at 127.0.0.1, lets it end by its count and returns what it said.
fn measure(text: &str, count: u64) -> Vec<ProbeEvent> {
    let asked: Asked = text.parse().unwrap();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let ping = ProbeOptions::icmp(ProbeId(0), nowhere);
    let options = asked.options(ProbeId(0), crate::event::Role::Primary, nowhere, &ping);
    let (sink, hub) = Hub::new(SessionClock::start(), 10_000);
    let probe = start(&ProbeOptions { count: Some(count), ..options }, &sink).unwrap();
    let began = Instant::now();
    while !probe.is_finished() && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let ending = probe.stop().unwrap();
    assert_eq!((ending.slots, ending.pending), (count, 0));
    hub.rx.try_iter().filter_map(|e| if let Body::Probe(ev) = e.ev { Some(ev) } else { None }).collect()
}

/// What became of the slots that were sent, in words, one for each way.
fn ways(events: &[ProbeEvent]) -> Vec<String> {
    let mut ways: Vec<String> = events.iter().filter_map(way).collect();
    ways.dedup();
    ways
}

fn way(event: &ProbeEvent) -> Option<String> {
    Some(match event {
        ProbeEvent::Ok { .. } => "ok".into(),
        ProbeEvent::Lost { .. } => "lost".into(),
        ProbeEvent::Refused { what, .. } => format!("refused: {what}"),
        ProbeEvent::Error { what, .. } => format!("error: {what}"),
        ProbeEvent::Heard { what, .. } => what.name().into(),
        // A busy machine may miss one.
        ProbeEvent::NotSent { why: None, .. } | ProbeEvent::Started { .. } | ProbeEvent::Stopped { .. } => return None,
        other => format!("{other:?}"),
    })
}

/// A server on 127.0.0.1 that does `serve` with each connection.
struct Server {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new(serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        serve(stream);
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self { port, stop, thread: Some(thread) }
    }

    /// One that answers each request so.
    fn saying(answer: &'static str) -> Self {
        Self::new(move |mut stream| {
            use std::io::{Read, Write};
            let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
            let mut request = [0; 1_024];
            let n = stream.read(&mut request).unwrap_or(0);
            if request[..n].starts_with(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:") {
                let _ = stream.write_all(answer.as_bytes());
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_connection_is_an_answer_whatever_the_server_does_with_it() {
    for server in [
        Server::new(drop),
        Server::new(|stream| drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)))),
    ] {
        let events = measure(&format!("tcp:127.0.0.1:{},interval=10ms", server.port), SLOTS);
        assert_eq!(ways(&events), ["ok"], "{events:?}");
        let ProbeEvent::Started { spec, .. } = &events[0] else { panic!("{events:?}") };
        assert_eq!((spec.kind, spec.port, spec.deadline_ns), (ProbeKind::Tcp, Some(server.port), 900_000_000));
        assert_eq!(spec.engine, event::Engine::Connections);
    }
}

#[test]
fn the_time_is_that_of_the_handshake_however_late_it_is_seen() {
    let server = Server::new(drop);
    let target = SocketAddr::from(([127, 0, 0, 1], server.port));
    let socket = attempt::socket(target, None).unwrap();
    let clock = SessionClock::start();
    let sent = clock.now();
    attempt::connect(&socket, target).unwrap();
    let mut attempt = Attempt { k: 0, sent, out: clock.now(), socket, state: State::Connecting };
    std::thread::sleep(Duration::from_millis(300));
    let verdict = attempt.look(&Goal::Connection).unwrap();
    let took = verdict.at(&attempt, clock.now()) - sent;
    assert!(took < 200_000_000, "{verdict:?}: {took} ns");
}

#[test]
fn a_closed_port_is_a_refusal_and_an_answer_where_that_is_enough() {
    let port = closed_port();
    let events = measure(&format!("tcp:127.0.0.1:{port},interval=10ms"), SLOTS);
    assert_eq!(ways(&events), ["refused: refused"], "{events:?}");
    let events = measure(&format!("tcp:127.0.0.1:{port},interval=10ms,refused-is-ok"), SLOTS);
    assert_eq!(ways(&events), ["ok"], "{events:?}");
    let events = measure(&format!("http://127.0.0.1:{port},interval=10ms"), SLOTS);
    assert_eq!(ways(&events), ["refused: refused"], "{events:?}");
}

#[test]
fn a_port_that_is_connected_with_itself_is_a_closed_one() {
    let target = SocketAddr::from(([127, 0, 0, 1], closed_port()));
    let socket = attempt::socket(target, None).unwrap();
    socket.bind(&target.into()).unwrap();
    attempt::connect(&socket, target).unwrap();
    assert_eq!(socket.take_error().unwrap().map(|e| e.to_string()), None, "it is connected");
    let mut attempt = Attempt { k: 0, sent: 0, out: 0, socket, state: State::Connecting };
    assert_eq!(attempt.look(&Goal::Connection), Some(Verdict::Refused("refused".into())));
}

#[test]
fn a_page_is_judged_by_its_status() {
    let of = |answer: &'static str, expected: &str| {
        let server = Server::saying(answer);
        ways(&measure(&format!("http://127.0.0.1:{}/health{expected},interval=10ms", server.port), SLOTS))
    };
    assert_eq!(of("HTTP/1.1 200 OK\r\n\r\n", ""), ["ok"]);
    assert_eq!(of("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", ""), ["ok"]);
    assert_eq!(of("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "=200"), ["refused: HTTP 302"]);
    assert_eq!(of("HTTP/1.1 503 Busy\r\n\r\n", ""), ["refused: HTTP 503"]);
    assert_eq!(of("HTTP/1.1 503 Busy\r\n\r\n", "=503"), ["ok"]);
    assert_eq!(of("220 mail ESMTP\r\n", ""), ["error: not HTTP: '220 mail ESMTP'"]);
    assert_eq!(of("", ""), ["error: closed without an answer"]);
    assert_eq!(of("HTTP/1.1 2", ""), ["error: closed in the middle of an answer"]);
    let long: &'static str = String::leak(format!("HTTP/1.1 103 Early\r\nX: {}\r\n", "x".repeat(100_000)));
    assert_eq!(of(long, ""), ["error: no status in the first 4096 bytes"]);
}

#[test]
fn a_server_that_says_nothing_is_lost_at_the_deadline() {
    let kept = std::sync::Mutex::new(Vec::new());
    let server = Server::new(move |stream| kept.lock().unwrap().push(stream));
    let began = Instant::now();
    let events = measure(&format!("http://127.0.0.1:{},interval=20ms,deadline=200ms", server.port), 20);
    assert_eq!(ways(&events), ["lost"], "{events:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "each is given up at its deadline, beside the others");
}

#[test]
fn a_connection_made_by_a_second_syn_is_no_answer() {
    // A listener whose queue is full drops every SYN; once it is emptied, the kernel's second one is answered, 1 s
    // after the first.
    let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let listener = TcpListener::from(listener);
    let target = listener.local_addr().unwrap();
    let full: Vec<TcpStream> =
        (0..2).filter_map(|_| TcpStream::connect_timeout(&target, Duration::from_millis(50)).ok()).collect();
    assert!(!full.is_empty());
    let socket = attempt::socket(target, None).unwrap();
    attempt::connect(&socket, target).unwrap();
    let mut by_hand = Attempt { k: 0, sent: 0, out: 0, socket, state: State::Connecting };
    // Until here and 600 ms more nothing is answered; from then on everything is.
    let opened = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        listener.set_nonblocking(true).unwrap();
        let until = Instant::now() + Duration::from_millis(1_500);
        while Instant::now() < until {
            if listener.accept().is_err() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    let began = Instant::now();
    let events = measure(&format!("tcp:{target},interval=50ms"), 20);
    let lost = events.iter().filter(|e| matches!(e, ProbeEvent::Lost { .. })).count();
    // Sent in the first 600 ms, less what passed before slot 0: none of them is answered by a later SYN.
    assert!((9..=13).contains(&lost), "{lost} lost: {events:?}");
    assert!(events.iter().any(|e| matches!(e, ProbeEvent::Ok { .. })), "{events:?}");
    while began.elapsed() < Duration::from_millis(1_300) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The kernel did answer the slot that was open all the time: with what a longer deadline would have believed.
    assert_eq!(by_hand.look(&Goal::Connection), Some(Verdict::Retransmitted));
    opened.join().unwrap();
}
