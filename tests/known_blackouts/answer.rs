//! What the guest answers, packet by packet and without a memory: an ICMP echo, a UDP echo on every port, a TCP
//! connection on every port, and a page for whatever is sent over one. IPv4 only. Pure.

use std::collections::VecDeque;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bytes of a TCP header without options.
const HEADER: usize = 20;
const SYN: u8 = 2;
const PUSH: u8 = 8;
const ACK: u8 = 16;
/// What every request for a page is answered with.
const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// SYNs remembered.
const SYNS: usize = 4_096;

/// The answer to a packet; None where it gets none.
pub(crate) fn to(packet: &[u8]) -> Option<Vec<u8>> {
    let (head, protocol) = ip(packet)?;
    match protocol {
        ICMP => echo(packet, head),
        UDP => {
            let mut answer = packet.to_vec();
            // The checksums stay right: what they sum up is the same in another order.
            swap(&mut answer, 12, 4);
            swap(&mut answer, head, 2);
            (packet.len() >= head + 8).then_some(answer)
        }
        TCP => connection(packet, head),
        _ => None,
    }
}

/// SYNs that came in, to tell those that came before.
#[derive(Debug, Default)]
pub(crate) struct Syns(VecDeque<[u8; 8]>);

impl Syns {
    /// Whether this is one that was sent before: the same port and the same number.
    pub(crate) fn is_again(&mut self, packet: &[u8]) -> bool {
        let syn = ip(packet).filter(|(_, protocol)| *protocol == TCP).and_then(|(head, _)| {
            let segment = packet.get(head..)?;
            (segment.get(13)? & (SYN | ACK) == SYN).then(|| <[u8; 8]>::try_from(segment.get(..8)?).ok())?
        });
        let Some(syn) = syn else { return false };
        if self.0.contains(&syn) {
            return true;
        }
        self.0.push_back(syn);
        if self.0.len() > SYNS {
            self.0.pop_front();
        }
        false
    }
}

/// Bytes of the IP header, and the protocol over it.
fn ip(packet: &[u8]) -> Option<(usize, u8)> {
    let first = packet.first()?;
    let head = usize::from(first & 15) * 4;
    (first >> 4 == 4 && head >= 20 && packet.len() >= head + 8).then(|| (head, packet[9]))
}

/// Swaps two neighbours of `n` bytes each.
fn swap(bytes: &mut [u8], at: usize, n: usize) {
    for i in at..at + n {
        bytes.swap(i, i + n);
    }
}

fn echo(packet: &[u8], head: usize) -> Option<Vec<u8>> {
    const ECHO_REQUEST: u8 = 8;
    if packet[head] != ECHO_REQUEST {
        return None;
    }
    let mut answer = packet.to_vec();
    swap(&mut answer, 12, 4);
    answer[8] = 64;
    put_checksum(&mut answer[..head], 10, 0);
    answer[head] = 0;
    put_checksum(&mut answer[head..], 2, 0);
    Some(answer)
}

/// A SYN is acknowledged, data is answered with a page, and everything else with nothing.
fn connection(packet: &[u8], head: usize) -> Option<Vec<u8>> {
    let segment = packet.get(head..)?;
    if segment.len() < HEADER {
        return None;
    }
    let number = |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
    let data = segment.len().checked_sub(usize::from(segment[12] >> 4) * 4)?;
    let (seq, ack, flags, payload) = match segment[13] & (SYN | ACK) {
        SYN => (1_000, number(4).wrapping_add(1), SYN | ACK, &[][..]),
        ACK if data > 0 => (number(8), number(4).wrapping_add(data as u32), PUSH | ACK, PAGE),
        _ => return None,
    };
    let mut tcp = vec![0; HEADER];
    tcp[..2].copy_from_slice(&segment[2..4]);
    tcp[2..4].copy_from_slice(&segment[..2]);
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&ack.to_be_bytes());
    tcp[12] = (HEADER as u8 / 4) << 4;
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    tcp.extend_from_slice(payload);
    let mut answer = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, TCP, 0, 0];
    answer[2..4].copy_from_slice(&((20 + tcp.len()) as u16).to_be_bytes());
    answer.extend_from_slice(&packet[16..20]);
    answer.extend_from_slice(&packet[12..16]);
    put_checksum(&mut answer, 10, 0);
    // The pseudo header: both addresses, the protocol, the length.
    let pseudo = sum(&answer[12..20]) + u32::from(TCP) + tcp.len() as u32;
    put_checksum(&mut tcp, 16, pseudo);
    answer.extend_from_slice(&tcp);
    Some(answer)
}

/// Puts the checksum of RFC 1071 at `at`, over all these bytes and what was summed up before.
fn put_checksum(bytes: &mut [u8], at: usize, before: u32) {
    bytes[at..at + 2].fill(0);
    let mut sum = before + sum(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0))).sum()
}
