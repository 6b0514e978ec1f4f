//! Agent and client together, over loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::client::{ClientError, HeartbeatOptions};
use super::heartbeat::{decode_echo_reply, decode_heartbeat, encode_echo};
use super::link::{Receiver, Sender, halves};
use super::protocol::{ControllerHello, HeartbeatTo, PROTOCOL, ToAgent, ToController, Token, version};
use super::{Client, ClientOptions, Endpoint, Psk, Server, ServerOptions, Transport, noise};
use crate::event::{AgentEvent, Body, DirtyCycle, Event, Hub, LoadSettings, SessionClock};
use crate::load::Limits;

/// Longer than any machine needs; only a defect makes a test wait so long.
const LONG: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

struct Stage {
    server: Server,
    psk: Psk,
    said: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    fn new(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let (psk, said) = (Psk::random(), Arc::new(Mutex::new(Vec::new())));
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let log = Arc::clone(&said);
        let mut options = ServerOptions {
            limits: Limits { ram_bytes: 256 * MIB, reserve_bytes: 0 },
            log: Arc::new(move |text| log.lock().unwrap().push(text.to_owned())),
            ..ServerOptions::new(Endpoint::Listen { addr, psk: psk.clone() })
        };
        change(&mut options);
        Self { server: Server::start(options).unwrap(), psk, said }
    }

    fn addr(&self) -> SocketAddr {
        self.server.local_addr().unwrap()
    }

    fn client(&self, change: impl FnOnce(&mut ClientOptions)) -> (Client, Hub) {
        connect(self.addr(), self.psk.clone(), change)
    }

    fn heard(&self, what: &str) {
        let heard = || self.said.lock().unwrap().iter().any(|s| s.contains(what));
        eventually(heard, || format!("'{what}' in {:?}", self.said.lock().unwrap()));
    }

    /// A controller that is not ours.
    fn stranger(&self) -> (Receiver, Sender, TcpStream) {
        let mut stream = TcpStream::connect(self.addr()).unwrap();
        let channel = noise::initiate(&mut stream, &self.psk).unwrap();
        let clone = || Box::new(stream.try_clone().unwrap());
        let (receiver, sender) = halves(clone(), clone(), Some(channel));
        (receiver, sender, stream)
    }
}

fn connect(addr: SocketAddr, psk: Psk, change: impl FnOnce(&mut ClientOptions)) -> (Client, Hub) {
    let (sink, hub) = Hub::new(SessionClock::start(), 100_000);
    let mut options = ClientOptions { report_interval: Duration::from_millis(20), ..ClientOptions::default() };
    change(&mut options);
    (Client::connect(Transport::Tcp { addr: addr.to_string(), psk }, options, sink).unwrap(), hub)
}

fn eventually(done: impl Fn() -> bool, what: impl Fn() -> String) {
    let until = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < until, "never came: {}", what());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The next event that `pick` picks.
fn next<T>(hub: &Hub, pick: impl Fn(&Body) -> Option<T>) -> T {
    let until = Instant::now() + LONG;
    loop {
        let Event { ev, .. } = hub.rx.recv_timeout(until - Instant::now()).expect("the event never came");
        if let Some(picked) = pick(&ev) {
            return picked;
        }
    }
}

fn next_ack(hub: &Hub, wanted: u64) -> LoadSettings {
    next(hub, |ev| match ev {
        Body::Agent(AgentEvent::Ack { id, set }) if *id == wanted => Some(*set),
        Body::Agent(AgentEvent::Refused { id, why }) if *id == wanted => panic!("refused: {why}"),
        _ => None,
    })
}

fn next_connected(hub: &Hub) -> bool {
    next(hub, |ev| match ev {
        Body::Agent(AgentEvent::Connected { again, .. }) => Some(*again),
        _ => None,
    })
}

fn settings(wset_mib: u64, bpc_pages: u64) -> LoadSettings {
    let dirty = DirtyCycle { bpc_pages, period_ns: 5_000_000 };
    LoadSettings { wset_bytes: wset_mib * MIB, dirty, ..LoadSettings::default() }
}

#[test]
fn a_load_is_set_acknowledged_reported_and_let_go() {
    let stage = Stage::new(|_| ());
    let (client, hub) = stage.client(|_| ());
    let hello = client.wait_connected(LONG).unwrap();
    assert!(hello.wset_limit_bytes > 0 && hello.wset_limit_bytes <= 256 * MIB);
    client.set(1, settings(4, 10));
    assert_eq!(next_ack(&hub, 1), settings(4, 10));
    next(&hub, |ev| match ev {
        Body::Agent(AgentEvent::Report(r)) if r.set == settings(4, 10) && r.rate_pages_per_s > 0.0 => Some(()),
        _ => None,
    });
    client.set(2, settings(100_000, 10));
    let why = next(&hub, |ev| match ev {
        Body::Agent(AgentEvent::Refused { id: 2, why }) => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("256.0 MiB"), "{why}");
    assert_eq!(stage.server.settings(), settings(4, 10));
    drop(client);
    eventually(|| stage.server.settings() == LoadSettings::default(), || "an idle load".into());
}

#[test]
fn a_reconnect_loses_no_setting() {
    let stage = Stage::new(|_| ());
    let (client, hub) = stage.client(|_| ());
    client.set(1, settings(2, 3));
    assert!(!next_connected(&hub));
    next_ack(&hub, 1);
    for id in 2..5 {
        stage.server.hang_up();
        next(&hub, |ev| matches!(ev, Body::Agent(AgentEvent::Disconnected { .. })).then_some(()));
        assert_eq!(stage.server.settings(), settings(2, id + 1));
        // Asked for while there may be no connection: it must not be lost.
        client.set(id, settings(2, id + 2));
        assert!(next_connected(&hub));
        assert_eq!(next_ack(&hub, id), settings(2, id + 2));
    }
    client.close(true);
    assert_eq!(stage.server.settings(), settings(2, 6));
}

#[test]
fn an_agent_that_starts_anew_is_given_the_load_again() {
    let psk = Psk::random();
    let start = |addr| {
        let limits = Limits { ram_bytes: 256 * MIB, reserve_bytes: 0 };
        let endpoint = Endpoint::Listen { addr, psk: psk.clone() };
        Server::start(ServerOptions { limits, log: Arc::new(|_| ()), ..ServerOptions::new(endpoint) })
    };
    let first = start(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = first.local_addr().unwrap();
    let (client, hub) = connect(addr, psk.clone(), |_| ());
    client.set(1, settings(1, 1));
    next_ack(&hub, 1);
    drop(first);
    next(&hub, |ev| matches!(ev, Body::Agent(AgentEvent::Disconnected { .. })).then_some(()));
    let second = start(addr).unwrap();
    assert!(!next_connected(&hub));
    assert_eq!(next_ack(&hub, 1), settings(1, 1));
    assert_eq!(second.settings(), settings(1, 1));
}

#[test]
fn a_wrong_key_is_told_on_both_sides_and_harms_nobody() {
    let stage = Stage::new(|_| ());
    let (client, hub) = connect(stage.addr(), Psk::random(), |_| ());
    let error = client.wait_connected(Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }) && error.to_string().contains("pre-shared key"), "{error}");
    let why = next(&hub, |ev| match ev {
        Body::Agent(AgentEvent::Disconnected { why }) => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("refuses our pre-shared key"), "{why}");
    stage.heard("the pre-shared key differs");
    drop(client);
    stage.client(|_| ()).0.wait_connected(LONG).unwrap();
}

#[test]
fn another_version_is_told_on_both_sides() {
    let stage = Stage::new(|_| ());
    let (mut receiver, mut sender, _stream) = stage.stranger();
    let hello = ControllerHello { protocol: PROTOCOL + 1, version: "99.0".into(), controller: 1 };
    sender.send(&ToAgent::Hello(hello)).unwrap();
    match receiver.receive::<ToController>().unwrap() {
        ToController::Refuse { protocol, why, .. } => {
            assert_eq!(protocol, PROTOCOL);
            assert!(why.contains("99.0") && why.contains(&version()), "{why}");
        }
        other => panic!("{other:?}"),
    }
    stage.heard("protocol versions differ");
}

#[test]
fn strangers_do_not_disturb_a_controller() {
    let stage = Stage::new(|_| ());
    let (client, hub) = stage.client(|_| ());
    client.wait_connected(LONG).unwrap();
    TcpStream::connect(stage.addr()).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    stage.heard("not a blackout agent");
    let (mut receiver, mut sender, _stream) = stage.stranger();
    sender.send(&ToAgent::Hello(ControllerHello { protocol: PROTOCOL, version: version(), controller: 7 })).unwrap();
    match receiver.receive::<ToController>().unwrap() {
        ToController::Refuse { why, .. } => assert!(why.contains("another controller"), "{why}"),
        other => panic!("{other:?}"),
    }
    // One that has the key and then talks nonsense.
    let (_receiver, mut sender, mut stream) = stage.stranger();
    sender.send(&"nonsense").unwrap();
    let _ = stream.read(&mut [0; 64]);
    stage.heard("not a message");
    client.set(1, settings(1, 1));
    next_ack(&hub, 1);
}

#[test]
fn a_lease_that_runs_out_lets_the_load_go_and_says_so() {
    let stage = Stage::new(|options| options.lease = Duration::from_millis(500));
    let (client, hub) = stage.client(|options| options.ping_interval = LONG);
    client.set(1, settings(2, 3));
    next_ack(&hub, 1);
    let text = next(&hub, |ev| match ev {
        Body::Log(log) => Some(log.text.clone()),
        _ => None,
    });
    assert!(text.contains("0.5 s") && text.contains("lease"), "{text}");
    assert_eq!(next_ack(&hub, 1), LoadSettings::default());
    eventually(|| stage.server.settings() == LoadSettings::default(), || "an idle load".into());
    // It was told, so a reconnect does not tell it again, and the load stays off.
    client.set(2, settings(1, 1));
    assert_eq!(next_ack(&hub, 2), settings(1, 1));
}

#[test]
fn a_lease_that_ran_out_in_between_is_told_on_reconnect() {
    let stage = Stage::new(|options| options.lease = Duration::from_millis(300));
    let (mut receiver, mut sender, stream) = stage.stranger();
    let hello = || ToAgent::Hello(ControllerHello { protocol: PROTOCOL, version: version(), controller: 7 });
    sender.send(&hello()).unwrap();
    receiver.receive::<ToController>().unwrap();
    sender.send(&ToAgent::Set { id: 1, settings: settings(1, 1) }).unwrap();
    while !matches!(receiver.receive::<ToController>().unwrap(), ToController::Ack { id: 1, .. }) {}
    drop((receiver, sender, stream));
    eventually(|| stage.server.settings() == LoadSettings::default(), || "an idle load".into());
    let (mut receiver, mut sender, _stream) = stage.stranger();
    sender.send(&hello()).unwrap();
    match receiver.receive::<ToController>().unwrap() {
        ToController::Hello(hello) => assert!(hello.lease_expired && hello.settings == LoadSettings::default()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn heartbeats_and_echoes_need_the_token() {
    let stage = Stage::new(|_| ());
    let (client, hub) = stage.client(|options| {
        options.heartbeat =
            Some(HeartbeatOptions { interval: Duration::from_millis(2), ..HeartbeatOptions::default() });
    });
    client.wait_connected(LONG).unwrap();
    let beat = || {
        next(&hub, |ev| match ev {
            Body::Agent(AgentEvent::Heartbeat { seq, guest_ns }) => Some((*seq, *guest_ns)),
            _ => None,
        })
    };
    let (first, second) = (beat(), beat());
    assert!(second.0 > first.0 && second.1 > first.1);
    let echo = client.echo_target().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.send_to(&encode_echo(echo.token, b"k=7"), echo.addr).unwrap();
    let mut buffer = [0; 64];
    let n = socket.recv(&mut buffer).unwrap();
    assert_eq!(decode_echo_reply(echo.token, &buffer[..n]), Some(&b"k=7"[..]));
    // They go on after a reconnect, in the same sequence.
    stage.server.hang_up();
    assert!(next_connected(&hub));
    assert!(beat().0 > second.0);
}

#[test]
fn many_changes_are_each_answered() {
    let stage = Stage::new(|_| ());
    let (client, hub) = stage.client(|_| ());
    client.wait_connected(LONG).unwrap();
    for id in 1..=50 {
        client.set(id, settings(id % 7, id));
    }
    let mut answered = Vec::new();
    while answered.last() != Some(&50) {
        answered.push(next(&hub, |ev| match ev {
            Body::Agent(AgentEvent::Ack { id, .. } | AgentEvent::Refused { id, .. }) => Some(*id),
            _ => None,
        }));
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=50).collect::<Vec<_>>());
    assert_eq!(stage.server.settings(), settings(1, 50));
}

#[test]
fn before_a_silent_agent_only_the_newest_step_waits() {
    let (listener, psk) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), Psk::random());
    let (client, hub) = connect(listener.local_addr().unwrap(), psk.clone(), |_| ());
    let mut stream = listener.accept().unwrap().0;
    let channel = noise::respond(&mut stream, &psk).unwrap();
    let clone = || Box::new(stream.try_clone().unwrap());
    let (mut receiver, mut sender) = halves(clone(), clone(), Some(channel));
    receiver.receive_first::<ToAgent>().unwrap();
    let hello = Stage::new(|_| ()).client(|_| ()).0.wait_connected(LONG).unwrap();
    sender.send(&ToController::Hello(Box::new(hello))).unwrap();
    next_connected(&hub);
    let mut next_set = || loop {
        if let ToAgent::Set { id, settings } = receiver.receive::<ToAgent>().unwrap() {
            return (id, settings);
        }
    };
    for id in 1..=5000 {
        client.follow(id, settings(1, id));
    }
    assert_eq!(next_set(), (1, settings(1, 1)));
    sender.send(&ToController::Ack { id: 1, set: settings(1, 1) }).unwrap();
    assert_eq!(next_set(), (5000, settings(1, 5000)));
    // What a person asks for waits for nobody, and takes the place of a step that waits.
    client.follow(5001, settings(1, 7));
    client.set(5002, settings(2, 8));
    assert_eq!(next_set(), (5002, settings(2, 8)));
    for id in [5000, 5002] {
        sender.send(&ToController::Ack { id, set: settings(2, 8) }).unwrap();
    }
    next_ack(&hub, 5002);
    client.follow(5003, settings(2, 9));
    assert_eq!(next_set(), (5003, settings(2, 9)), "the step that gave way is not sent after all");
    assert!(client.is_connected());
}

#[test]
fn an_agent_of_another_version_is_named() {
    let (listener, psk) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), Psk::random());
    let (client, _hub) = connect(listener.local_addr().unwrap(), psk.clone(), |_| ());
    let mut stream = listener.accept().unwrap().0;
    let channel = noise::respond(&mut stream, &psk).unwrap();
    let clone = || Box::new(stream.try_clone().unwrap());
    let (_receiver, mut sender) = halves(clone(), clone(), Some(channel));
    let refuse = ToController::Refuse { protocol: 99, version: "99.0".into(), why: "too old".into() };
    sender.send(&refuse).unwrap();
    let error = client.wait_connected(LONG).unwrap_err();
    assert!(matches!(error, ClientError::Lasting { .. }), "{error}");
    assert!(error.to_string().contains("version 99") && error.to_string().contains(&version()), "{error}");
}

#[test]
fn an_agent_that_falls_silent_is_given_up() {
    let (listener, psk) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), Psk::random());
    let (client, hub) = connect(listener.local_addr().unwrap(), psk.clone(), |options| {
        options.dead_after = Duration::from_millis(300);
    });
    let mut stream = listener.accept().unwrap().0;
    let channel = noise::respond(&mut stream, &psk).unwrap();
    let clone = || Box::new(stream.try_clone().unwrap());
    let (mut receiver, mut sender) = halves(clone(), clone(), Some(channel));
    receiver.receive_first::<ToAgent>().unwrap();
    let hello = Stage::new(|_| ()).client(|_| ()).0.wait_connected(LONG).unwrap();
    sender.send(&ToController::Hello(Box::new(hello))).unwrap();
    let why = next(&hub, |ev| match ev {
        Body::Agent(AgentEvent::Disconnected { why }) => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("says nothing"), "{why}");
    assert!(!client.is_connected());
}

#[test]
fn nobody_there_is_an_error_in_time() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (client, _hub) = connect(free, Psk::random(), |_| ());
    let error = client.wait_connected(Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains("refused") && error.contains(&free.to_string()), "{error}");
    let (sink, hub) = Hub::new(SessionClock::start(), 1000);
    let command = vec!["sh".into(), "-c".into(), "echo no such agent >&2; exit 3".into()];
    let _client = Client::connect(Transport::Stdio { command }, ClientOptions::default(), sink).unwrap();
    next(&hub, |ev| match ev {
        Body::Agent(AgentEvent::Disconnected { why }) => {
            (why.contains("no such agent") && why.contains('3')).then_some(())
        }
        _ => None,
    });
}

/// The first message of a handshake with this key, as recorded on the network.
fn recorded(psk: &Psk) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (_client, _hub) = connect(listener.local_addr().unwrap(), psk.clone(), |_| ());
    let mut first = vec![0; 50];
    listener.accept().unwrap().0.read_exact(&mut first).unwrap();
    first
}

#[test]
fn two_hundred_strangers_do_not_keep_the_owner_out() {
    let stage = Stage::new(|_| ());
    let (addr, first) = (stage.addr(), recorded(&stage.psk));
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let strangers: Vec<_> = (0..4)
        .map(|worker| {
            let (first, over) = (first.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut held: Vec<(TcpStream, usize)> = Vec::new();
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    // Those that were dropped come again at once: 50 at all times.
                    held.retain(|(stream, _)| stream.peek(&mut [0]).is_err_and(|e| is_pending(&e)));
                    while held.len() < 50 {
                        let Ok(stream) = TcpStream::connect(addr) else { break };
                        stream.set_nonblocking(true).unwrap();
                        held.push((stream, 0));
                    }
                    // Two workers keep silent, two drip the message that was recorded.
                    for (stream, sent) in held.iter_mut().filter(|_| worker % 2 == 0) {
                        if *sent < first.len() && stream.write_all(&first[*sent..=*sent]).is_ok() {
                            *sent += 1;
                        }
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..3 {
        let begun = Instant::now();
        let (client, _hub) = stage.client(|_| ());
        client.wait_connected(LONG).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        eprintln!("in within {:?}", begun.elapsed());
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    strangers.into_iter().for_each(|s| s.join().unwrap());
    // And however many there were, little was said of them.
    assert!(stage.said.lock().unwrap().len() < 40, "{:?}", stage.said.lock().unwrap());
}

fn is_pending(e: &std::io::Error) -> bool {
    e.kind() == std::io::ErrorKind::WouldBlock
}

#[test]
fn a_stranger_has_one_deadline_for_all_it_says() {
    let stage = Stage::new(|_| ());
    let begun = Instant::now();
    // It has the key, and then sends a message of 257 bytes, each by itself in time.
    let (mut receiver, _sender, mut stream) = stage.stranger();
    std::thread::spawn(move || {
        while stream.write_all(&[1]).is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    assert!(receiver.receive::<ToController>().is_err());
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(20), "{took:?}");
    stage.heard("is not let in");
}

#[test]
fn a_recorded_handshake_is_refused() {
    let stage = Stage::new(|_| ());
    let first = recorded(&stage.psk);
    let play = || {
        let mut stream = TcpStream::connect(stage.addr()).unwrap();
        stream.write_all(&first).unwrap();
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).map(|()| answer)
    };
    assert_eq!(play().unwrap(), [0, 48], "not played yet");
    assert!(play().is_err());
    stage.heard("played again");
}

#[test]
fn whatever_answers_in_the_agents_place_ends_nothing() {
    let stage = Stage::new(|_| ());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (client, hub) = connect(listener.local_addr().unwrap(), stage.psk.clone(), |_| ());
    // "Your key is refused", not a handshake, nonsense, nothing at all.
    for answer in [&[0, 0][..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0, 48], &[7; 60], b""] {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.write_all(answer);
        drop(stream);
        let told = client.wait_connected(Duration::from_millis(50));
        assert!(matches!(told, Err(ClientError::TimedOut { .. })), "{told:?}");
    }
    let why = next(&hub, |ev| match ev {
        Body::Agent(AgentEvent::Disconnected { why }) => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("refuses our pre-shared key"), "{why}");
    // Then the agent is there again, at the same address: a relay to it.
    let agent = stage.addr();
    let relay = std::thread::spawn(move || {
        let (mut near, mut far) = (listener.accept().unwrap().0, TcpStream::connect(agent).unwrap());
        let (mut back, mut forth) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back, &mut forth));
        let _ = std::io::copy(&mut near, &mut far);
    });
    client.wait_connected(LONG).unwrap();
    drop(client);
    stage.server.hang_up();
    let _ = relay.join();
}

#[test]
fn heartbeats_end_with_the_lease_without_any_load() {
    let stage = Stage::new(|options| options.lease = Duration::from_millis(500));
    let (mut receiver, mut sender, stream) = stage.stranger();
    sender.send(&ToAgent::Hello(ControllerHello { protocol: PROTOCOL, version: version(), controller: 7 })).unwrap();
    receiver.receive::<ToController>().unwrap();
    let ear = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to =
        HeartbeatTo { ip: None, port: ear.local_addr().unwrap().port(), key: Token::random(), interval_us: 10_000 };
    sender.send(&ToAgent::Configure { report_interval_ms: 1000, heartbeat: Some(to) }).unwrap();
    ear.set_read_timeout(Some(LONG)).unwrap();
    let mut buffer = [0; 64];
    let n = ear.recv(&mut buffer).unwrap();
    assert!(decode_heartbeat(to.key, &buffer[..n]).is_some());
    drop((receiver, sender, stream));
    stage.heard("no more heartbeats");
    ear.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let silent = || ear.recv(&mut [0; 64]).is_err();
    eventually(silent, || "an end of the heartbeats".into());
}

#[test]
fn another_controller_ends_the_former_ones_heartbeats() {
    let stage = Stage::new(|_| ());
    let ear = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to =
        HeartbeatTo { ip: None, port: ear.local_addr().unwrap().port(), key: Token::random(), interval_us: 10_000 };
    let hello = |n| ToAgent::Hello(ControllerHello { protocol: PROTOCOL, version: version(), controller: n });
    let (mut receiver, mut sender, stream) = stage.stranger();
    sender.send(&hello(7)).unwrap();
    receiver.receive::<ToController>().unwrap();
    sender.send(&ToAgent::Configure { report_interval_ms: 1000, heartbeat: Some(to) }).unwrap();
    ear.set_read_timeout(Some(LONG)).unwrap();
    ear.recv(&mut [0; 64]).unwrap();
    drop((receiver, sender, stream));
    stage.heard("is gone");
    // It asks for none and keeps the lease alive.
    let (mut receiver, mut sender, _stream) = stage.stranger();
    sender.send(&hello(8)).unwrap();
    receiver.receive::<ToController>().unwrap();
    ear.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    eventually(|| ear.recv(&mut [0; 64]).is_err(), || "an end of the heartbeats".into());
}

#[test]
fn an_agent_that_says_more_than_it_was_asked_is_not_heard() {
    let (listener, psk) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), Psk::random());
    let (client, hub) = connect(listener.local_addr().unwrap(), psk.clone(), |_| ());
    let mut stream = listener.accept().unwrap().0;
    let channel = noise::respond(&mut stream, &psk).unwrap();
    let clone = || Box::new(stream.try_clone().unwrap());
    let (mut receiver, mut sender) = halves(clone(), clone(), Some(channel));
    receiver.receive_first::<ToAgent>().unwrap();
    let mut hello = Stage::new(|_| ()).client(|_| ()).0.wait_connected(LONG).unwrap();
    hello.kernel = format!("\x1b[2J{}", "k".repeat(8000));
    sender.send(&ToController::Hello(Box::new(hello))).unwrap();
    client.set(1, settings(1, 1));
    let until = Instant::now() + Duration::from_secs(3);
    let mut sent = 0;
    while Instant::now() < until && sent < 50_000 {
        sent += 1;
        let message = match sent % 3 {
            0 => ToController::Refused { id: sent, why: format!("\x07{}", "x".repeat(15_000)) },
            1 => ToController::LeaseExpired { lease_ms: sent },
            _ => ToController::Refused { id: 1, why: "y".repeat(15_000) },
        };
        sender.send(&message).unwrap();
    }
    let events: Vec<String> = hub.rx.try_iter().map(|e| serde_json::to_string(&e.ev).unwrap()).collect();
    let bytes: usize = events.iter().map(String::len).sum();
    assert!(sent > 2000, "{sent} messages were read, so they were not all held up");
    assert!(events.len() < 60 && bytes < 20_000, "{} events of {bytes} bytes: {events:?}", events.len());
    assert_eq!(events.iter().filter(|e| e.contains("refused")).count(), 1);
    assert!(events.iter().all(|e| !e.contains("\\u001b") && !e.contains("\\u0007")), "{events:?}");
    assert!(events.iter().any(|e| e.contains("left out")), "{events:?}");
}
