//! Probes on the wire: what we send, and how an answer or an ICMP error is read back.
//!
//! Every probe carries 32 bytes, big endian: magic, version, token (random for each probe run),
//! slot, send time. [`hear`] judges whatever was received, for every engine and kind of socket, by
//! its bytes and the address it came from:
//!
//! - an answer counts only if it comes from the address that was asked and has all that was sent:
//!   identifier, sequence number, magic, token and the full 64 bits of the slot. So neither a
//!   stranger's ping nor a wrapped sequence number is taken for ours;
//! - an ICMP error decides a slot only if it quotes enough of the probe to show the token, which
//!   cannot be guessed from elsewhere. One that quotes 8 bytes of it, all that RFC 792 asks for, is
//!   a hint (address, identifier and sequence number can be guessed): it is counted and told, and
//!   the slot is lost at its deadline if it is not answered;
//! - source quench and redirects are no failures and decide nothing.
//!
//! Sources: RFC 792 and RFC 4443 (ICMP), RFC 1071 (checksum), RFC 5927 (ICMP attacks), RFC 6633 (source
//! quench is deprecated).

use std::net::IpAddr;

use super::schedule::seq_of;
use crate::event::{Aside, Nanos};

/// First four bytes of a probe: `BLKO`.
const MAGIC: u32 = 0x424c_4b4f;
const VERSION: u32 = 1;
/// Bytes of a probe's own data.
pub const BODY_BYTES: usize = 32;
/// Bytes of an ICMP echo header.
pub(crate) const ICMP_HEADER: usize = 8;

/// What a probe says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// Tells probe runs apart.
    pub token: u64,
    /// The slot.
    pub k: u64,
    /// When it was sent, ns of the session clock.
    pub sent: Nanos,
}

impl Body {
    /// The bytes on the wire.
    #[must_use]
    pub fn bytes(&self) -> [u8; BODY_BYTES] {
        let mut b = [0; BODY_BYTES];
        b[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        b[4..8].copy_from_slice(&VERSION.to_be_bytes());
        b[8..16].copy_from_slice(&self.token.to_be_bytes());
        b[16..24].copy_from_slice(&self.k.to_be_bytes());
        b[24..32].copy_from_slice(&self.sent.to_be_bytes());
        b
    }

    /// Reads the first 32 bytes of `b`; None if they are not a probe's.
    #[must_use]
    pub fn read(b: &[u8]) -> Option<Self> {
        if u32_at(b, 0)? != MAGIC || u32_at(b, 4)? != VERSION {
            return None;
        }
        Some(Self { token: u64_at(b, 8)?, k: u64_at(b, 16)?, sent: u64_at(b, 24)? })
    }

    /// Reads the last 32 bytes of `b`: a UDP echo may keep or drop what was put before them.
    #[must_use]
    pub fn read_tail(b: &[u8]) -> Option<Self> {
        Self::read(b.get(b.len().checked_sub(BODY_BYTES)?..)?)
    }
}

fn u16_at(b: &[u8], i: usize) -> Option<u16> {
    b.get(i..i + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn u32_at(b: &[u8], i: usize) -> Option<u32> {
    b.get(i..i + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn u64_at(b: &[u8], i: usize) -> Option<u64> {
    b.get(i..i + 8)?.try_into().ok().map(u64::from_be_bytes)
}

/// The address family an ICMP message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// ICMP.
    V4,
    /// ICMPv6.
    V6,
}

impl Family {
    /// Type of an echo request.
    pub(crate) fn request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    /// Type of an echo reply.
    pub(crate) fn reply(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }

    /// Types of the errors that say a probe was not delivered: unreachable, time exceeded,
    /// parameter problem (and packet too big).
    pub(crate) fn errors(self) -> &'static [u8] {
        match self {
            Self::V4 => &[3, 11, 12],
            Self::V6 => &[1, 2, 3, 4],
        }
    }

    /// Types of messages that quote a probe and are no failure: source quench, redirect.
    pub(crate) fn informational(self) -> &'static [u8] {
        match self {
            Self::V4 => &[4, 5],
            Self::V6 => &[137],
        }
    }

    /// The number of its ICMP in an IP header.
    fn protocol(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 58,
        }
    }
}

/// Writes the echo request for `body` into `out`; with the checksum for IPv4 (the kernel makes the
/// one of IPv6, and both on datagram sockets).
///
/// `out` has [`ICMP_HEADER`] and [`BODY_BYTES`] bytes.
pub(crate) fn echo_request(family: Family, ident: u16, body: &Body, out: &mut [u8]) {
    out[0] = family.request();
    out[1..4].fill(0);
    out[4..6].copy_from_slice(&ident.to_be_bytes());
    out[6..8].copy_from_slice(&seq_of(body.k).to_be_bytes());
    out[8..].copy_from_slice(&body.bytes());
    if family == Family::V4 {
        let sum = checksum(out);
        out[2..4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(b: &[u8]) -> u16 {
    let mut sum: u32 = b.chunks(2).map(|c| (u32::from(c[0]) << 8) | u32::from(c.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// How a socket hands messages over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// ICMP datagram socket: the kernel owns the identifier; errors come by the error queue.
    Datagram,
    /// Raw ICMP socket: sees the whole host's ICMP, so a filter and the identifier select ours;
    /// errors come as packets. Over IPv4 each message has its IP header in front.
    Raw {
        /// Our identifier.
        ident: u16,
    },
    /// UDP; errors come by the error queue.
    Udp,
}

/// What a probe sends, against which all that is received is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ours {
    /// ICMP or ICMPv6.
    pub family: Family,
    /// How messages are handed over.
    pub mode: Mode,
    /// The address that is asked.
    pub target: IpAddr,
    /// Tells probe runs apart.
    pub token: u64,
    /// Bytes put before a probe's own, over UDP.
    pub prefix: usize,
}

/// What a received message means to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// An answer to slot `k`, which says it was sent at `sent`, ns of the session clock.
    Reply {
        /// The slot.
        k: u64,
        /// When the probe says it was sent.
        sent: Nanos,
    },
    /// An ICMP error that is sure to be about the slot.
    Error {
        /// The slot.
        slot: Quoted,
        /// ICMP or ICMPv6.
        family: Family,
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// An ICMP error that may be about the slot with these 16 bits, or about none of ours.
    Hint {
        /// The low bits of the slot; None where not even those are quoted.
        seq: Option<u16>,
    },
    /// Ours as it seems, and it decides nothing.
    Aside(Aside),
    /// Nothing of ours.
    Other,
}

/// How an ICMP error names the slot it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoted {
    /// The whole number: the quotation is long enough.
    Slot(u64),
    /// Its low 16 bits only.
    Seq(u16),
}

/// Tokens that differ in no more bits than this are one token that was damaged on its way; two that
/// were drawn at random do so once in a million times.
const DAMAGED_BITS: u32 = 8;

/// Judges a message as it was read from the socket. `source` is the address it came from, as the
/// kernel says.
#[must_use]
pub fn hear(ours: &Ours, source: Option<IpAddr>, message: &[u8]) -> Heard {
    let heard = match (ours.mode, ours.family) {
        (Mode::Udp, _) => echoed(ours, source, message),
        (Mode::Raw { .. }, Family::V4) => after_ipv4_header(message).and_then(|icmp| icmp_message(ours, source, icmp)),
        (Mode::Raw { .. }, Family::V6) | (Mode::Datagram, _) => icmp_message(ours, source, message),
    };
    heard.unwrap_or(Heard::Other)
}

/// Judges an ICMP error by what it quotes. `destination` is where the quoted packet went, `quoted`
/// what followed its IP header (over UDP, what followed its UDP header), perhaps cut short.
#[must_use]
pub fn hear_error(ours: &Ours, destination: Option<IpAddr>, kind: u8, code: u8, quoted: &[u8]) -> Heard {
    let elsewhere = destination.is_some_and(|ip| ip.to_canonical() != ours.target);
    let heard = if ours.mode == Mode::Udp {
        quotation(ours, elsewhere, (kind, code), None, quoted.get(ours.prefix..).unwrap_or_default())
    } else {
        request(ours, elsewhere, kind, code, quoted).unwrap_or(Heard::Aside(Aside::Implausible))
    };
    if ours.family.informational().contains(&kind) && heard != Heard::Other {
        return Heard::Aside(Aside::Informational);
    }
    heard
}

/// An answer over UDP. The echo may keep or drop what was put before the probe's own bytes.
fn echoed(ours: &Ours, source: Option<IpAddr>, datagram: &[u8]) -> Option<Heard> {
    match Body::read_tail(datagram) {
        Some(body) => Some(answer(ours, source, None, body)),
        None if datagram.len() < BODY_BYTES => Some(Heard::Aside(Aside::Truncated)),
        None => Some(Heard::Aside(Aside::Corrupt)),
    }
}

fn icmp_message(ours: &Ours, source: Option<IpAddr>, icmp: &[u8]) -> Option<Heard> {
    let (kind, code) = (*icmp.first()?, *icmp.get(1)?);
    if kind == ours.family.reply() {
        if ours.ident().is_some_and(|ident| u16_at(icmp, 4) != Some(ident)) {
            return None;
        }
        let seq = u16_at(icmp, 6)?;
        // Only a raw socket is handed what has a wrong checksum, and over IPv4 only.
        if ours.family == Family::V4 && checksum(icmp) != 0 {
            return Some(Heard::Aside(Aside::Corrupt));
        }
        let data = icmp.get(ICMP_HEADER..)?;
        if data.len() < BODY_BYTES {
            return Some(Heard::Aside(Aside::Truncated));
        }
        return Some(match Body::read(data) {
            Some(body) => answer(ours, source, Some(seq), body),
            None => Heard::Aside(Aside::Corrupt),
        });
    }
    if !ours.family.errors().contains(&kind) && !ours.family.informational().contains(&kind) {
        return None;
    }
    // A redirect over IPv6 has two addresses, and the quotation as an option: it is about the route.
    let quoted = icmp.get(ICMP_HEADER..)?;
    let (destination, inner) = match ours.family {
        Family::V4 if *quoted.get(9)? == ours.family.protocol() => {
            let octets: [u8; 4] = quoted.get(16..20)?.try_into().ok()?;
            (IpAddr::from(octets), after_ipv4_header(quoted)?)
        }
        Family::V6 if *quoted.get(6)? == ours.family.protocol() => {
            let octets: [u8; 16] = quoted.get(24..40)?.try_into().ok()?;
            (IpAddr::from(octets), quoted.get(40..)?)
        }
        _ => return None,
    };
    // Another program's.
    if ours.ident().is_some_and(|ident| u16_at(inner, 4) != Some(ident)) {
        return None;
    }
    Some(hear_error(ours, Some(destination), kind, code, inner))
}

/// An answer with all its bytes.
fn answer(ours: &Ours, source: Option<IpAddr>, seq: Option<u16>, body: Body) -> Heard {
    let damaged = (body.token ^ ours.token).count_ones();
    if damaged > DAMAGED_BITS {
        return Heard::Other;
    }
    if damaged > 0 || seq.is_some_and(|seq| seq != seq_of(body.k)) {
        return Heard::Aside(Aside::Corrupt);
    }
    if source.is_some_and(|ip| ip.to_canonical() != ours.target) {
        return Heard::Aside(Aside::Elsewhere);
    }
    Heard::Reply { k: body.k, sent: body.sent }
}

/// Our echo request as an error quotes it.
fn request(ours: &Ours, elsewhere: bool, kind: u8, code: u8, inner: &[u8]) -> Option<Heard> {
    let Some(quoted_type) = inner.first() else { return Some(Heard::Hint { seq: None }) };
    if *quoted_type != ours.family.request() || ours.ident().is_some_and(|ident| u16_at(inner, 4) != Some(ident)) {
        return None;
    }
    let Some(seq) = u16_at(inner, 6) else { return Some(Heard::Hint { seq: None }) };
    Some(quotation(ours, elsewhere, (kind, code), Some(seq), inner.get(ICMP_HEADER..).unwrap_or_default()))
}

/// Our own bytes as an error quotes them: it decides only if they reach as far as the token.
fn quotation(ours: &Ours, elsewhere: bool, (kind, code): (u8, u8), seq: Option<u16>, body: &[u8]) -> Heard {
    const IMPLAUSIBLE: Heard = Heard::Aside(Aside::Implausible);
    if elsewhere {
        return IMPLAUSIBLE;
    }
    let Some(token) = u64_at(body, 8) else { return Heard::Hint { seq } };
    if u32_at(body, 0) != Some(MAGIC) || token != ours.token {
        return IMPLAUSIBLE;
    }
    match (u64_at(body, 16), seq) {
        (Some(k), Some(seq)) if seq != seq_of(k) => IMPLAUSIBLE,
        (Some(k), _) => Heard::Error { slot: Quoted::Slot(k), family: ours.family, kind, code },
        (None, Some(seq)) => Heard::Error { slot: Quoted::Seq(seq), family: ours.family, kind, code },
        (None, None) => Heard::Hint { seq: None },
    }
}

impl Ours {
    /// The identifier, where it is ours to choose.
    fn ident(&self) -> Option<u16> {
        match self.mode {
            Mode::Raw { ident } => Some(ident),
            Mode::Datagram | Mode::Udp => None,
        }
    }
}

/// Strips the IPv4 header a raw socket delivers.
fn after_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    (packet[0] >> 4 == 4 && header >= 20).then(|| packet.get(header..))?
}

/// An ICMP error in words.
pub(crate) fn describe(family: Family, kind: u8, code: u8) -> String {
    let words = match (family, kind, code) {
        (Family::V4, 3, 0) => "network unreachable",
        (Family::V4, 3, 1) | (Family::V6, 1, 3) => "host unreachable",
        (Family::V4, 3, 2) => "protocol unreachable",
        (Family::V4, 3, 3) | (Family::V6, 1, 4) => "port unreachable",
        (Family::V4, 3, 9 | 10 | 13) | (Family::V6, 1, 1) => "administratively prohibited",
        (Family::V4, 3, _) | (Family::V6, 1, 1..) => "destination unreachable",
        (Family::V6, 1, 0) => "no route to destination",
        (Family::V6, 2, _) => "packet too big",
        (Family::V4, 11, _) | (Family::V6, 3, _) => "time exceeded",
        (Family::V4, 12, _) | (Family::V6, 4, _) => "parameter problem",
        _ => "ICMP error",
    };
    let name = if family == Family::V4 { "ICMP" } else { "ICMPv6" };
    format!("{words} ({name} type {kind} code {code})")
}

#[cfg(test)]
mod tests;
