//! Datagrams beside the protocol: heartbeats from the agent, and echoes as a second probe target.
//!
//! | datagram | bytes |
//! |---|---|
//! | heartbeat | `BKH2`, sequence (8), guest CLOCK_MONOTONIC in ns (8), tag (16) |
//! | echo request | `BKEQ`, token (16), anything |
//! | echo reply | `BKER`, the rest as in the request: never longer than it |
//!
//! Numbers are big-endian. Key and token are agreed on over the authenticated channel. A heartbeat's
//! tag is BLAKE2s, keyed, over all that comes before it, and each is taken once: reading the link is
//! not enough to forge one, and to repeat one does nothing. (Who carries them can still hold them
//! back.) Echoes say nothing of the guest but that it answers, like a ping; their token, in clear,
//! keeps strangers off, not those who read the link.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput as _, KeyInit, Mac as _};

use super::allowance::{Allowance, Folded};
use super::protocol::Token;
use crate::load::{PROMPT, keep_time, monotonic_ns};

const HEARTBEAT: &[u8; 4] = b"BKH2";
const ECHO_REQUEST: &[u8; 4] = b"BKEQ";
const ECHO_REPLY: &[u8; 4] = b"BKER";
/// Bytes of an echo's magic and token.
const PREFIX_BYTES: usize = 20;
/// Bytes of a heartbeat that its tag authenticates: magic, sequence, time.
const TAGGED_BYTES: usize = 4 + 8 + 8;
/// Bytes of a heartbeat.
pub const HEARTBEAT_BYTES: usize = TAGGED_BYTES + 16;
/// How often a thread that waits for datagrams looks whether it should end.
const LOOK: Duration = Duration::from_millis(200);

fn prefix(magic: &[u8; 4], token: Token) -> [u8; PREFIX_BYTES] {
    let mut out = [0; PREFIX_BYTES];
    out[..4].copy_from_slice(magic);
    out[4..].copy_from_slice(&token.0);
    out
}

fn mac(key: Token, tagged: &[u8]) -> Option<Blake2sMac<U16>> {
    // Refused for keys longer than 32 bytes only.
    Some(<Blake2sMac<_> as KeyInit>::new_from_slice(&key.0).ok()?.chain_update(tagged))
}

/// A heartbeat datagram.
#[must_use]
pub fn encode_heartbeat(key: Token, seq: u64, guest_ns: u64) -> [u8; HEARTBEAT_BYTES] {
    let mut out = [0; HEARTBEAT_BYTES];
    out[..4].copy_from_slice(HEARTBEAT);
    out[4..12].copy_from_slice(&seq.to_be_bytes());
    out[12..TAGGED_BYTES].copy_from_slice(&guest_ns.to_be_bytes());
    if let Some(mac) = mac(key, &out[..TAGGED_BYTES]) {
        out[TAGGED_BYTES..].copy_from_slice(&mac.finalize_fixed());
    }
    out
}

/// Sequence number and guest time (ns) of a heartbeat that was made with `key`.
#[must_use]
pub fn decode_heartbeat(key: Token, datagram: &[u8]) -> Option<(u64, u64)> {
    let datagram: &[u8; HEARTBEAT_BYTES] = datagram.try_into().ok()?;
    let (tagged, tag) = datagram.split_at(TAGGED_BYTES);
    let rest = tagged.strip_prefix(HEARTBEAT)?;
    // Compares in constant time.
    mac(key, tagged)?.verify_slice(tag).ok()?;
    let (seq, guest_ns) = rest.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*seq), u64::from_be_bytes(guest_ns.try_into().ok()?)))
}

/// Which sequence numbers have been taken: each once, and none that is 64 behind the newest.
#[derive(Debug, Default)]
struct Taken {
    /// One more than the newest.
    next: u64,
    /// Bit n: `next - 1 - n` was taken.
    seen: u64,
}

impl Taken {
    /// Whether `seq` is new; then it is taken.
    fn take(&mut self, seq: u64) -> bool {
        let Some(after) = seq.checked_add(1) else { return false };
        if after > self.next {
            self.seen = self.seen.checked_shl(u32::try_from(after - self.next).unwrap_or(64)).unwrap_or(0) | 1;
            self.next = after;
            return true;
        }
        let bit = 1u64.checked_shl(u32::try_from(self.next - after).unwrap_or(64)).unwrap_or(0);
        let new = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        new
    }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where heartbeats go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) to: SocketAddr,
    pub(super) key: Token,
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

    /// Whether heartbeats are sent.
    pub(super) fn beats(&self) -> bool {
        lock(&self.shared.target).is_some()
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
        *lock(&self.shared.target) = target;
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
        let target = *lock(&shared.target);
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
        let _ = shared.socket.send_to(&encode_heartbeat(aim.key, seq, monotonic_ns()), aim.to);
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

/// What the ear hears.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A heartbeat: its sequence number and guest time, ns.
    Beat(u64, u64),
    /// A remark on datagrams that were not taken.
    Remark(String),
}

/// What a heartbeat must be to be taken.
#[derive(Debug)]
struct Trust {
    key: Token,
    taken: Taken,
}

/// The controller's ear: a thread of its own that stamps heartbeats as soon as they are there.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) port: u16,
    trust: Arc<Mutex<Trust>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// Listens on `socket` for heartbeats that come at this distance; more than twice as many are
    /// not taken.
    pub(super) fn start(
        socket: UdpSocket,
        interval: Duration,
        heard: impl Fn(Heard) + Send + 'static,
    ) -> std::io::Result<Self> {
        socket.set_read_timeout(Some(LOOK))?;
        let port = socket.local_addr()?.port();
        let trust = Arc::new(Mutex::new(Trust { key: Token::random(), taken: Taken::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (of_thread, trusted) = (Arc::clone(&stop), Arc::clone(&trust));
        let work = move || listen(&socket, interval, &trusted, &of_thread, &heard);
        let thread = thread::Builder::new().name("heartbeat-ear".into()).spawn(work)?;
        Ok(Self { port, trust, stop, thread: Some(thread) })
    }

    /// The key that heartbeats must be made with.
    pub(super) fn key(&self) -> Token {
        lock(&self.trust).key
    }

    /// Another agent beats from now on: it gets a key of its own, and its count begins anew.
    pub(super) fn another_agent(&self) {
        *lock(&self.trust) = Trust { key: Token::random(), taken: Taken::default() };
    }
}

fn listen(socket: &UdpSocket, interval: Duration, trust: &Mutex<Trust>, stop: &AtomicBool, heard: &dyn Fn(Heard)) {
    let per_s = 2.0 / interval.as_secs_f64().max(1e-3);
    let mut allowance = Allowance::new(per_s, per_s.max(20.0));
    let (mut forged, mut flood) = (Folded::default(), Folded::default());
    let mut buffer = [0; 128];
    while !stop.load(Ordering::Acquire) {
        let n = match socket.recv(&mut buffer) {
            Ok(n) => n,
            Err(e) if is_timeout(&e) => continue,
            Err(_) => {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
        };
        let judged = lock(trust).judge(&buffer[..n]);
        let remark = match judged {
            Judged::Beat(seq, guest_ns) if allowance.take() => {
                heard(Heard::Beat(seq, guest_ns));
                None
            }
            Judged::Beat(..) => flood.say(|| "more heartbeats than asked for: left out".into()),
            Judged::Forged => {
                forged.say(|| "a heartbeat not made with this session's key: left out, it may be forged".into())
            }
            // Usual on a network that repeats datagrams.
            Judged::Again | Judged::Other => None,
        };
        remark.into_iter().for_each(|remark| heard(Heard::Remark(remark)));
    }
}

/// What a datagram is.
enum Judged {
    Beat(u64, u64),
    /// A heartbeat that was taken before.
    Again,
    /// Looks like a heartbeat, but was not made with the key.
    Forged,
    /// Something else.
    Other,
}

impl Trust {
    fn judge(&mut self, datagram: &[u8]) -> Judged {
        match decode_heartbeat(self.key, datagram) {
            Some((seq, guest_ns)) if self.taken.take(seq) => Judged::Beat(seq, guest_ns),
            Some(_) => Judged::Again,
            None if datagram.starts_with(HEARTBEAT) => Judged::Forged,
            None => Judged::Other,
        }
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
        let ear = Ear::start(local(), Duration::from_millis(1), move |heard| {
            if let Heard::Beat(seq, ns) = heard {
                tx.send((seq, ns)).unwrap_or(());
            }
        });
        let ear = ear.unwrap();
        let heart = Heart::start(local(), Token::random()).unwrap();
        let to = SocketAddr::from(([127, 0, 0, 1], ear.port));
        let target = |ms| Some(Target { to, key: ear.key(), interval: Duration::from_millis(ms) });
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

    #[test]
    fn what_is_forged_or_repeated_is_not_taken_and_floods_are_bounded() {
        let (tx, rx) = channel();
        let ear = Ear::start(local(), Duration::from_millis(100), move |heard| tx.send(heard).unwrap_or(())).unwrap();
        let (socket, to) = (local(), SocketAddr::from(([127, 0, 0, 1], ear.port)));
        let send = |datagram: &[u8]| {
            socket.send_to(datagram, to).unwrap();
        };
        let next = || rx.recv_timeout(Duration::from_secs(60)).unwrap();
        let real = encode_heartbeat(ear.key(), 5, 1_000);
        send(&real);
        assert_eq!(next(), Heard::Beat(5, 1_000));
        // Each byte of it changed, as by someone on the path; then repeated as it was.
        for at in 0..real.len() {
            let mut forged = real;
            forged[at] ^= 1;
            send(&forged);
        }
        send(&encode_heartbeat(Token::random(), 6, 2_000));
        send(&real);
        send(&encode_heartbeat(ear.key(), 6, 3_000));
        assert!(matches!(next(), Heard::Remark(said) if said.contains("forged")));
        assert_eq!(next(), Heard::Beat(6, 3_000));
        // After a change of agents what the former one said means nothing.
        let former = ear.key();
        ear.another_agent();
        send(&encode_heartbeat(former, 7, 4_000));
        send(&encode_heartbeat(ear.key(), 0, 5_000));
        assert_eq!(next(), Heard::Beat(0, 5_000));
        for seq in 1..=1000 {
            send(&encode_heartbeat(ear.key(), seq, seq));
        }
        drop(ear);
        let beats = rx.iter().filter(|h| matches!(h, Heard::Beat(..))).count();
        assert!(beats < 100, "{beats} of 1000 beats taken at 10 a second");
    }

    #[test]
    fn each_number_is_taken_once_in_whatever_order() {
        let mut taken = Taken::default();
        assert!(taken.take(0) && taken.take(70) && taken.take(69) && taken.take(7));
        assert!(!taken.take(0) && !taken.take(6) && !taken.take(69) && !taken.take(7) && !taken.take(70));
        assert!(taken.take(1 << 40) && !taken.take(70) && !taken.take(u64::MAX));
    }

    proptest! {
        #[test]
        fn strangers_datagrams_are_ignored(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode_heartbeat(Token([7; 16]), &bytes), None);
            prop_assert!(!answer(Token([7; 16]), &mut bytes));
        }
    }
}
