//! Probes on the wire: what we send, and how an answer or an ICMP error is read back.
//!
//! Every probe carries 32 bytes, big endian: magic, version, token (random for each probe run),
//! slot, send time. An answer counts only if magic and token are ours, and the slot is the full 64
//! bits, so neither a stranger's ping nor a wrapped sequence number is taken for ours.
//! Sources: RFC 792 and RFC 4443 (ICMP), RFC 1071 (checksum).

use super::schedule::seq_of;
use crate::event::Nanos;

/// First four bytes of a probe: `BLKO`.
pub(crate) const MAGIC: u32 = 0x424c_4b4f;
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
    /// parameter problem (and packet too big). Redirects and source quenches are not among them.
    pub(crate) fn errors(self) -> &'static [u8] {
        match self {
            Self::V4 => &[3, 11, 12],
            Self::V6 => &[1, 2, 3, 4],
        }
    }
}

/// Writes the echo request for `body` into `out`; with the checksum for IPv4 (the kernel makes the
/// one of IPv6, and both on datagram sockets).
pub(crate) fn echo_request(family: Family, ident: u16, body: &Body, out: &mut [u8; ICMP_HEADER + BODY_BYTES]) {
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

/// What a received message means to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// An answer to slot `k`.
    Reply { k: u64 },
    /// An ICMP error about the slot.
    Error { slot: Quoted, kind: u8, code: u8 },
    /// Nothing of ours.
    Other,
}

/// How an ICMP error names the slot it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoted {
    /// The whole number: the quotation is long enough.
    Slot(u64),
    /// Its low 16 bits only.
    Seq(u16),
}

/// Strips the IPv4 header a raw socket delivers.
pub(crate) fn after_ipv4_header(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    (packet[0] >> 4 == 4 && header >= 20).then(|| packet.get(header..))?
}

/// Reads an ICMP message. `ident` is None where the kernel has chosen and checked it.
pub(crate) fn hear(family: Family, ident: Option<u16>, token: u64, icmp: &[u8]) -> Heard {
    hear_inner(family, ident, token, icmp).unwrap_or(Heard::Other)
}

fn hear_inner(family: Family, ident: Option<u16>, token: u64, icmp: &[u8]) -> Option<Heard> {
    let (kind, code) = (*icmp.first()?, *icmp.get(1)?);
    if kind == family.reply() {
        if ident.is_some_and(|ours| u16_at(icmp, 4) != Some(ours)) {
            return None;
        }
        let body = Body::read(icmp.get(ICMP_HEADER..)?)?;
        return (body.token == token).then_some(Heard::Reply { k: body.k });
    }
    if !family.errors().contains(&kind) {
        return None;
    }
    let quoted = icmp.get(ICMP_HEADER..)?;
    let inner = match family {
        Family::V4 if *quoted.get(9)? == 1 => after_ipv4_header(quoted)?,
        Family::V6 if *quoted.get(6)? == 58 => quoted.get(40..)?,
        _ => return None,
    };
    let slot = quoted_request(family, ident, token, inner)?;
    Some(Heard::Error { slot, kind, code })
}

/// Reads our own echo request as an error quotes it, perhaps cut short.
pub(crate) fn quoted_request(family: Family, ident: Option<u16>, token: u64, inner: &[u8]) -> Option<Quoted> {
    if *inner.first()? != family.request() || ident.is_some_and(|ours| u16_at(inner, 4) != Some(ours)) {
        return None;
    }
    let seq = u16_at(inner, 6)?;
    match inner.get(ICMP_HEADER..).and_then(Body::read) {
        Some(body) => (body.token == token).then_some(Quoted::Slot(body.k)),
        // A router need quote no more than these eight bytes (RFC 792).
        None => Some(Quoted::Seq(seq)),
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: Body = Body { token: 0xfeed_beef_dead_cafe, k: 70_000, sent: 123 };

    fn request(family: Family) -> [u8; 40] {
        let mut b = [0; 40];
        echo_request(family, 0x1234, &BODY, &mut b);
        b
    }

    fn error_v4(kind: u8, inner: &[u8]) -> Vec<u8> {
        let mut b = vec![kind, 1, 0, 0, 0, 0, 0, 0, 0x45];
        b.extend([0; 8]);
        b.push(1);
        b.extend([0; 10]);
        b.extend(inner);
        b
    }

    #[test]
    fn a_reply_is_ours_only_with_ident_and_token() {
        for family in [Family::V4, Family::V6] {
            let mut b = request(family);
            assert_eq!(hear(family, Some(0x1234), BODY.token, &b), Heard::Other, "our own request is no answer");
            b[0] = family.reply();
            assert_eq!(hear(family, Some(0x1234), BODY.token, &b), Heard::Reply { k: 70_000 });
            assert_eq!(hear(family, None, BODY.token, &b), Heard::Reply { k: 70_000 });
            assert_eq!(hear(family, Some(1), BODY.token, &b), Heard::Other);
            assert_eq!(hear(family, Some(0x1234), 1, &b), Heard::Other);
        }
    }

    #[test]
    fn checksum_is_that_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&request(Family::V4)), 0, "a packet with its checksum sums to nought");
    }

    #[test]
    fn an_error_names_its_slot_by_64_or_by_16_bits() {
        let inner = request(Family::V4);
        let heard = hear(Family::V4, Some(0x1234), BODY.token, &error_v4(3, &inner));
        assert_eq!(heard, Heard::Error { slot: Quoted::Slot(70_000), kind: 3, code: 1 });
        let heard = hear(Family::V4, Some(0x1234), BODY.token, &error_v4(3, &inner[..8]));
        assert_eq!(heard, Heard::Error { slot: Quoted::Seq(4_464), kind: 3, code: 1 });
        assert_eq!(hear(Family::V4, Some(0x1234), BODY.token, &error_v4(5, &inner)), Heard::Other, "a redirect");
        assert_eq!(hear(Family::V4, Some(9), BODY.token, &error_v4(3, &inner)), Heard::Other, "a stranger's");
    }

    #[test]
    fn errors_over_ipv6() {
        let mut b = vec![1, 3, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 40, 58, 64];
        b.extend([0; 32]);
        b.extend(request(Family::V6));
        let heard = hear(Family::V6, Some(0x1234), BODY.token, &b);
        assert_eq!(heard, Heard::Error { slot: Quoted::Slot(70_000), kind: 1, code: 3 });
        assert_eq!(describe(Family::V6, 1, 3), "host unreachable (ICMPv6 type 1 code 3)");
    }

    #[test]
    fn a_udp_echo_may_keep_its_prefix() {
        let mut b = b"prefix".to_vec();
        b.extend(BODY.bytes());
        assert_eq!(Body::read_tail(&b), Some(BODY));
        assert_eq!(Body::read_tail(&BODY.bytes()), Some(BODY));
        assert_eq!(Body::read_tail(b"short"), None);
    }

    proptest! {
        #[test]
        fn nothing_received_is_too_strange(mut b in proptest::collection::vec(any::<u8>(), 0..120), kind in 0u8..140) {
            if let Some(first) = b.first_mut() {
                *first = kind;
            }
            for family in [Family::V4, Family::V6] {
                for ident in [None, Some(7)] {
                    let taken = matches!(hear(family, ident, 42, &b), Heard::Reply { .. });
                    prop_assert!(!taken);
                }
            }
            let _ = (after_ipv4_header(&b), Body::read_tail(&b));
        }
    }
}
