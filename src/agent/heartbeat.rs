//! Datagrams beside the protocol: heartbeats from the agent, and echoes as a second probe target.
//!
//! | datagram | bytes |
//! |---|---|
//! | heartbeat | `BKHB`, token (16), sequence (8), guest CLOCK_MONOTONIC in ns (8) |
//! | echo request | `BKEQ`, token (16), anything |
//! | echo reply | `BKER`, the rest as in the request: never longer than it |
//!
//! Numbers are big-endian. The tokens are agreed on over the authenticated channel; a datagram
//! without the right one is ignored. They keep strangers out, not somebody who reads the link.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::protocol::Token;
use crate::load::{PROMPT, keep_time, monotonic_ns};

const HEARTBEAT: &[u8; 4] = b"BKHB";
const ECHO_REQUEST: &[u8; 4] = b"BKEQ";
const ECHO_REPLY: &[u8; 4] = b"BKER";
/// Bytes of magic and token.
pub const PREFIX_BYTES: usize = 20;
/// Bytes of a heartbeat.
pub const HEARTBEAT_BYTES: usize = PREFIX_BYTES + 16;
/// How often a thread that waits for datagrams looks whether it should end.
const LOOK: Duration = Duration::from_millis(200);

fn prefix(magic: &[u8; 4], token: Token) -> [u8; PREFIX_BYTES] {
    let mut out = [0; PREFIX_BYTES];
    out[..4].copy_from_slice(magic);
    out[4..].copy_from_slice(&token.0);
    out
}

/// A heartbeat datagram.
#[must_use]
pub fn encode_heartbeat(token: Token, seq: u64, guest_ns: u64) -> [u8; HEARTBEAT_BYTES] {
    let mut out = [0; HEARTBEAT_BYTES];
    out[..PREFIX_BYTES].copy_from_slice(&prefix(HEARTBEAT, token));
    out[PREFIX_BYTES..PREFIX_BYTES + 8].copy_from_slice(&seq.to_be_bytes());
    out[PREFIX_BYTES + 8..].copy_from_slice(&guest_ns.to_be_bytes());
    out
}

/// Sequence number and guest time (ns) of a heartbeat that bears `token`.
#[must_use]
pub fn decode_heartbeat(token: Token, datagram: &[u8]) -> Option<(u64, u64)> {
    let rest = datagram.strip_prefix(&prefix(HEARTBEAT, token)[..])?;
    let (seq, guest_ns) = rest.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*seq), u64::from_be_bytes(guest_ns.try_into().ok()?)))
}

/// An echo request with a payload.
#[must_use]
pub fn encode_echo(token: Token, payload: &[u8]) -> Vec<u8> {
    [&prefix(ECHO_REQUEST, token)[..], payload].concat()
}

/// The payload of an echo reply that bears `token`.
#[must_use]
pub fn decode_echo_reply(token: Token, datagram: &[u8]) -> Option<&[u8]> {
    datagram.strip_prefix(&prefix(ECHO_REPLY, token)[..])
}

/// Turns an echo request that bears `token` into its reply, in place; false if it is none.
fn answer(token: Token, datagram: &mut [u8]) -> bool {
    let ours = datagram.starts_with(&prefix(ECHO_REQUEST, token));
    if ours {
        datagram[..4].copy_from_slice(ECHO_REPLY);
    }
    ours
}

/// Where heartbeats go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) to: SocketAddr,
    pub(super) token: Token,
    pub(super) interval: Duration,
}

#[derive(Debug)]
struct Shared {
    socket: UdpSocket,
    echo: Token,
    target: Mutex<Option<Target>>,
    stop: AtomicBool,
}

/// The agent's datagrams: one thread beats, another answers echoes, on one socket.
#[derive(Debug)]
pub(super) struct Heart {
    shared: Arc<Shared>,
    beat: Option<JoinHandle<()>>,
    echo: Option<JoinHandle<()>>,
}

impl Heart {
    /// Starts both threads; there are no heartbeats until there is a target.
    pub(super) fn start(socket: UdpSocket, echo: Token) -> std::io::Result<Self> {
        socket.set_read_timeout(Some(LOOK))?;
        let shared = Arc::new(Shared { socket, echo, target: Mutex::new(None), stop: AtomicBool::new(false) });
        let mut heart = Self { shared: Arc::clone(&shared), beat: None, echo: None };
        let of_beat = Arc::clone(&shared);
        heart.beat = Some(thread::Builder::new().name("heartbeat".into()).spawn(move || beat(&of_beat))?);
        heart.echo = Some(thread::Builder::new().name("udp-echo".into()).spawn(move || echo_loop(&shared))?);
        Ok(heart)
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.shared.socket.local_addr().ok().map(|a| a.port())
    }

    /// Sends heartbeats here from now on, or to nobody. The sequence goes on.
    pub(super) fn aim(&self, target: Option<Target>) {
        let v6 = self.shared.socket.local_addr().is_ok_and(|a| a.is_ipv6());
        let target = target.map(|mut t| {
            if let (true, IpAddr::V4(ip)) = (v6, t.to.ip()) {
                t.to.set_ip(ip.to_ipv6_mapped().into());
            }
            t
        });
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
        if let Some(beat) = &self.beat {
            beat.thread().unpark();
        }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(beat) = self.beat.take() {
            beat.thread().unpark();
            let _ = beat.join();
        }
        if let Some(echo) = self.echo.take() {
            let _ = echo.join();
        }
    }
}

/// Beats on an absolute schedule. A beat missed in a pause stays missed.
fn beat(shared: &Shared) {
    keep_time(PROMPT);
    let (mut seq, mut due, mut former) = (0u64, 0u64, None);
    while !shared.stop.load(Ordering::Acquire) {
        let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(aim) = target else {
            former = None;
            thread::park();
            continue;
        };
        let (now, interval) = (monotonic_ns(), aim.interval.as_nanos() as u64);
        if former != Some(aim) || now > due.saturating_add(interval) {
            (former, due) = (Some(aim), now);
        }
        if now < due {
            thread::park_timeout(Duration::from_nanos(due - now));
            continue;
        }
        // Unsent is lost: the network may be gone while the guest moves.
        let _ = shared.socket.send_to(&encode_heartbeat(aim.token, seq, monotonic_ns()), aim.to);
        seq += 1;
        due += interval;
    }
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn echo_loop(shared: &Shared) {
    let mut buffer = [0; 2048];
    while !shared.stop.load(Ordering::Acquire) {
        match shared.socket.recv_from(&mut buffer) {
            Ok((n, from)) if answer(shared.echo, &mut buffer[..n]) => {
                let _ = shared.socket.send_to(&buffer[..n], from);
            }
            // A stranger's datagram, a time-out, or an ICMP error for a heartbeat sent earlier.
            Ok(_) => {}
            Err(e) if is_timeout(&e) => {}
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The controller's ear: a thread of its own that stamps heartbeats as soon as they are there.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) port: u16,
    pub(super) token: Token,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// Listens on `socket`; `heard` gets sequence number and guest time (ns) of each heartbeat.
    pub(super) fn start(socket: UdpSocket, heard: impl Fn(u64, u64) + Send + 'static) -> std::io::Result<Self> {
        socket.set_read_timeout(Some(LOOK))?;
        let (port, token) = (socket.local_addr()?.port(), Token::random());
        let stop = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&stop);
        let thread = thread::Builder::new().name("heartbeat-ear".into()).spawn(move || {
            let mut buffer = [0; 128];
            while !of_thread.load(Ordering::Acquire) {
                match socket.recv(&mut buffer) {
                    Ok(n) => {
                        if let Some((seq, guest_ns)) = decode_heartbeat(token, &buffer[..n]) {
                            heard(seq, guest_ns);
                        }
                    }
                    Err(e) if is_timeout(&e) => {}
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        })?;
        Ok(Self { port, token, stop, thread: Some(thread) })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use proptest::prelude::*;

    use super::*;

    fn local() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn heartbeats_arrive_in_sequence_and_go_on_after_a_new_aim() {
        let (tx, rx) = channel();
        let ear = Ear::start(local(), move |seq, ns| tx.send((seq, ns)).unwrap_or(())).unwrap();
        let heart = Heart::start(local(), Token::random()).unwrap();
        let to = SocketAddr::from(([127, 0, 0, 1], ear.port));
        let target = |ms| Some(Target { to, token: ear.token, interval: Duration::from_millis(ms) });
        heart.aim(target(1));
        let mut beats: Vec<_> = (0..10).map(|_| rx.recv().unwrap()).collect();
        heart.aim(target(2));
        beats.extend((0..10).map(|_| rx.recv().unwrap()));
        assert!(beats.windows(2).all(|w| w[1].0 > w[0].0 && w[1].1 > w[0].1), "{beats:?}");
        assert_eq!(beats[0].0, 0);
    }

    #[test]
    fn only_requests_with_the_token_are_echoed() {
        let token = Token::random();
        let heart = Heart::start(local(), token).unwrap();
        let (socket, to) = (local(), SocketAddr::from(([127, 0, 0, 1], heart.port().unwrap())));
        for stranger in [&b"hello"[..], &encode_echo(Token::random(), b"x"), &prefix(ECHO_REPLY, token)] {
            socket.send_to(stranger, to).unwrap();
        }
        let request = encode_echo(token, b"payload");
        socket.send_to(&request, to).unwrap();
        let mut buffer = [0; 100];
        let n = socket.recv(&mut buffer).unwrap();
        assert_eq!(decode_echo_reply(token, &buffer[..n]), Some(&b"payload"[..]));
        assert_eq!(n, request.len());
    }

    proptest! {
        #[test]
        fn strangers_datagrams_are_ignored(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode_heartbeat(Token([7; 16]), &bytes), None);
            prop_assert!(!answer(Token([7; 16]), &mut bytes));
        }
    }
}
