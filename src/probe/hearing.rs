//! Reading what came in, for every engine: messages with the kernel's receive stamps, ICMP errors as
//! packets (raw sockets) or from the error queue (datagram sockets), and how many the kernel dropped.

use std::io::IoSliceMut;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, getsockopt, recvmsg, sockopt};
use nix::sys::time::TimeSpec;

use super::clock::{Leaps, Monotonic, StampMap};
use super::engine::Fates;
use super::socket::dropped;
use super::wire::{Family, Heard, Mode, Ours, hear, hear_error};
use crate::event::{Aside, Level, Nanos};

/// Something that may concern a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sound {
    heard: Heard,
    /// Who sent it.
    from: Option<IpAddr>,
    /// Received at, ns of the session clock.
    at: Nanos,
}

/// Most messages read in one batch, so that a flood cannot keep time from moving.
const MOST: usize = 65_536;
/// How often the kernel is asked what it dropped, and the clocks are compared, ns.
const LOOK_FOR_DROPS: Nanos = 1_000_000_000;
/// What a small message takes of the receive buffer, bytes, at the most.
const MESSAGE_BYTES: usize = 1_280;
/// Bytes read of a message: more than any answer to what we send.
const READ_BYTES: usize = 2_048;

/// Reads one socket and tells the judge.
#[derive(Debug)]
pub(crate) struct Hearing {
    pub(crate) fates: Fates,
    ours: Ours,
    stamps: StampMap,
    leaps: Leaps,
    sounds: Vec<Sound>,
    control: Vec<u8>,
    /// Messages the receive buffer holds.
    room: usize,
    /// The kernel's count of messages it dropped, as far as told.
    dropped: u32,
    /// When it is asked again, ns.
    ask_at: Nanos,
    /// When the batch before this one was read, ns.
    before: Nanos,
    /// Messages with a wrong checksum this machine had received when the probe began.
    damaged: Option<u64>,
    /// The same when drops were counted last.
    refused: Option<u64>,
}

/// What a reading of the socket was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// All that was received before it has been read, ns of the session clock; 0 if the batch was cut
    /// short.
    pub(crate) through: Nanos,
    /// When it began, ns.
    pub(crate) begun: Nanos,
    /// Messages in it.
    pub(crate) heard: usize,
}

impl Hearing {
    pub(crate) fn new(socket: BorrowedFd<'_>, ours: Ours, mono: Monotonic, fates: Fates) -> Self {
        // sock_extended_err with the address of the sender of an error, a stamp.
        let control = cmsg_space!(TimeSpec, [u8; 128]);
        let buffer = getsockopt(&socket, sockopt::RcvBuf).unwrap_or(0);
        let before = mono.now();
        Self {
            fates,
            ours,
            stamps: StampMap::new(mono),
            leaps: Leaps::new(),
            sounds: Vec::new(),
            control,
            room: buffer / MESSAGE_BYTES,
            dropped: dropped(socket).unwrap_or(0),
            ask_at: 0,
            before,
            damaged: damaged(&ours),
            refused: damaged(&ours),
        }
    }

    /// Reads all there is; [`digest`](Self::digest) tells the judge of it.
    pub(crate) fn listen(&mut self, socket: BorrowedFd<'_>) -> Batch {
        let begun = self.stamps.begin_batch();
        let heard = self.read_all(socket);
        self.stamps.end_batch(begun);
        if begun >= self.ask_at {
            self.ask_at = begun.saturating_add(LOOK_FOR_DROPS);
            self.look_for_drops(socket);
            if let Some(leap) = self.leaps.look() {
                self.fates.log(Level::Warn, leap);
            }
        }
        // A batch cut short says nothing of what had arrived by then.
        Batch { through: if heard < MOST { begun } else { 0 }, begun, heard }
    }

    /// Tells the judge what was heard.
    pub(crate) fn digest(&mut self) {
        for Sound { heard, from, at } in self.sounds.drain(..) {
            self.fates.heard(heard, from, at);
        }
    }

    /// How long to wait after `batch` before the next one, where answers need not be read as they come:
    /// `most`, or less where the receive buffer would be a quarter full by then.
    pub(crate) fn rest(&mut self, batch: Batch, most: Duration) -> Duration {
        let since = batch.begun.saturating_sub(self.before).max(1);
        self.before = batch.begun;
        let quarter = (self.room / 4).max(1) as u128;
        let fills_in = u128::from(since) * quarter / (batch.heard.max(1) as u128);
        Duration::from_nanos(u64::try_from(fills_in).unwrap_or(u64::MAX)).clamp(Duration::from_micros(200), most)
    }

    /// Says what is known only at the end.
    pub(crate) fn close(&mut self, socket: BorrowedFd<'_>) {
        self.look_for_drops(socket);
        if let (Some(before), Some(now)) = (self.damaged, damaged(&self.ours))
            && now > before
        {
            let text = format!(
                "{} ICMP messages with a wrong checksum came in meanwhile and were refused by the kernel; answers to \
                 this probe may have been among them",
                now - before
            );
            self.fates.log(Level::Warn, text);
        }
    }

    fn look_for_drops(&mut self, socket: BorrowedFd<'_>) {
        let now = dropped(socket).unwrap_or(self.dropped);
        let mut new = u64::from(now.wrapping_sub(std::mem::replace(&mut self.dropped, now)));
        if new > 0 && matches!((self.ours.mode, self.ours.family), (Mode::Raw { .. }, Family::V6)) {
            // Here the kernel counts what has a wrong checksum among what it dropped.
            let damaged = damaged(&self.ours);
            let refused = damaged.zip(self.refused).map_or(0, |(now, before)| now.saturating_sub(before));
            (self.refused, new) = (damaged, new.saturating_sub(refused));
        }
        if new > 0 {
            self.fates.aside(Aside::Dropped, None, new);
        }
    }

    fn read_all(&mut self, socket: BorrowedFd<'_>) -> usize {
        let (mut n, mut failures) = (0, 0);
        while n < MOST && failures < 64 {
            match self.read(socket, MsgFlags::MSG_DONTWAIT) {
                Ok(()) => {}
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => break,
                // The error of a past sending, told once; its details are in the error queue.
                Err(_) => failures += 1,
            }
            n += 1;
        }
        if !matches!(self.ours.mode, Mode::Raw { .. }) {
            while n < MOST && self.read(socket, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_ERRQUEUE).is_ok() {
                n += 1;
            }
        }
        n
    }

    fn read(&mut self, socket: BorrowedFd<'_>, flags: MsgFlags) -> Result<(), Errno> {
        let mut buf = [0u8; READ_BYTES];
        let mut iov = [IoSliceMut::new(&mut buf)];
        let (mut stamp, mut error) = (None, None);
        let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut iov, Some(&mut self.control), flags)?;
        for c in message.cmsgs()? {
            match c {
                ControlMessageOwned::ScmTimestampns(t) => stamp = Some(t),
                ControlMessageOwned::Ipv4RecvErr(e, by) => error = Some((e, by.and_then(v4))),
                ControlMessageOwned::Ipv6RecvErr(e, by) => error = Some((e, by.and_then(v6))),
                _ => {}
            }
        }
        let address = message.address.as_ref().and_then(ip_of);
        let n = message.bytes.min(READ_BYTES);
        let data = &buf[..n];
        let (heard, from) = if flags.contains(MsgFlags::MSG_ERRQUEUE) {
            // SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6; what is of local origin failed when it was sent.
            let Some((e, by)) = error.filter(|(e, _)| matches!(e.ee_origin, 2 | 3)) else { return Ok(()) };
            (hear_error(&self.ours, address, e.ee_type, e.ee_code, data), by)
        } else {
            (hear(&self.ours, address, data), address)
        };
        if heard != Heard::Other {
            let at = stamp.map_or_else(|| self.stamps.session_now(), |t| self.stamps.session_time(t).0);
            self.sounds.push(Sound { heard, from, at });
        }
        Ok(())
    }
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
}

fn v4(by: nix::libc::sockaddr_in) -> Option<IpAddr> {
    let octets = by.sin_addr.s_addr.to_ne_bytes();
    (i32::from(by.sin_family) == nix::libc::AF_INET).then(|| IpAddr::from(octets))
}

fn v6(by: nix::libc::sockaddr_in6) -> Option<IpAddr> {
    (i32::from(by.sin6_family) == nix::libc::AF_INET6).then(|| IpAddr::from(by.sin6_addr.s6_addr))
}

/// ICMP messages with a wrong checksum this machine (its network namespace, of this thread) has
/// received so far, where a socket of this kind is not handed them.
fn damaged(ours: &Ours) -> Option<u64> {
    let (file, line, field) = match (ours.mode, ours.family) {
        (Mode::Raw { .. }, Family::V4) | (Mode::Udp, _) => return None,
        (_, Family::V4) => ("/proc/thread-self/net/snmp", "Icmp:", "InCsumErrors"),
        (_, Family::V6) => ("/proc/thread-self/net/snmp6", "Icmp6InCsumErrors", ""),
    };
    let text = std::fs::read_to_string(file).ok()?;
    let mut lines = text.lines().filter(|l| l.split_whitespace().next() == Some(line));
    let first = lines.next()?;
    if field.is_empty() {
        return first.split_whitespace().nth(1)?.parse().ok();
    }
    let at = first.split_whitespace().position(|word| word == field)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

/// Waits until there is something to hear, for `patience` at most.
pub(crate) fn wait(socket: BorrowedFd<'_>, patience: Duration) {
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::from(100u8));
    let _ = poll(&mut fds, patience);
}
