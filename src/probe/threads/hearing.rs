//! Reading what came in: answers with the kernel's receive stamps, ICMP errors as packets (raw
//! sockets) or from the error queue (datagram sockets).

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use nix::sys::time::TimeSpec;
use socket2::Socket;

use crate::event::Nanos;
use crate::probe::clock::StampMap;
use crate::probe::socket::Mode;
use crate::probe::wire::{Body, Family, Heard, Quoted, after_ipv4_header, describe, hear, quoted_request};

/// Something that concerns a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sound {
    /// An answer to slot `k`, received at `at`, ns of the session clock.
    Reply { k: u64, at: Nanos },
    /// An ICMP error.
    Error { slot: Quoted, what: String },
}

/// Reads one socket.
#[derive(Debug)]
pub(super) struct Ear {
    family: Family,
    mode: Mode,
    token: u64,
    control: Vec<u8>,
    /// The kernel's count of messages it dropped, and how much of it was already told.
    dropped: (u32, u32),
}

/// Most messages read in one batch, so that a flood cannot keep time from moving.
pub(super) const MOST: usize = 65_536;

impl Ear {
    pub(super) fn new(family: Family, mode: Mode, token: u64) -> Self {
        // sock_extended_err with the address of who complained, a stamp, the drop count.
        let control = cmsg_space!(TimeSpec, u32, [u8; 128]);
        Self { family, mode, token, control, dropped: (0, 0) }
    }

    /// Reads all there is; how many messages that was.
    pub(super) fn listen(&mut self, socket: &Socket, stamps: &StampMap, out: &mut Vec<Sound>) -> usize {
        let (mut n, mut failures) = (0, 0);
        while n < MOST && failures < 64 {
            match self.read(socket, stamps, MsgFlags::MSG_DONTWAIT) {
                Ok(sound) => out.extend(sound),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => break,
                // The error of a past sending, told once; its details are in the error queue.
                Err(_) => failures += 1,
            }
            n += 1;
        }
        if !matches!(self.mode, Mode::Raw { .. }) {
            while let Ok(sound) = self.read(socket, stamps, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_ERRQUEUE) {
                out.extend(sound);
                n += 1;
                if n >= MOST {
                    break;
                }
            }
        }
        n
    }

    /// Messages dropped by the kernel since the last call, if any.
    pub(super) fn take_dropped(&mut self) -> Option<u32> {
        let new = self.dropped.0.wrapping_sub(self.dropped.1);
        self.dropped.1 = self.dropped.0;
        (new > 0).then_some(new)
    }

    fn read(&mut self, socket: &Socket, stamps: &StampMap, flags: MsgFlags) -> Result<Option<Sound>, Errno> {
        let mut buf = [0u8; 2048];
        let mut iov = [IoSliceMut::new(&mut buf)];
        let (mut stamp, mut complaint) = (None, None);
        let msg = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut iov, Some(&mut self.control), flags)?;
        for c in msg.cmsgs()? {
            match c {
                ControlMessageOwned::ScmTimestampns(t) => stamp = Some(t),
                ControlMessageOwned::RxqOvfl(n) => self.dropped.0 = n,
                ControlMessageOwned::Ipv4RecvErr(e, _) | ControlMessageOwned::Ipv6RecvErr(e, _) => complaint = Some(e),
                _ => {}
            }
        }
        let n = msg.bytes;
        let data = &buf[..n];
        if flags.contains(MsgFlags::MSG_ERRQUEUE) {
            let icmp = complaint.is_some_and(|e| matches!(e.ee_origin, 2 | 3)); // SO_EE_ORIGIN_ICMP, _ICMP6
            let what = complaint.map_or_else(String::new, |e| {
                if icmp {
                    describe(self.family, e.ee_type, e.ee_code)
                } else {
                    Errno::from_raw(e.ee_errno as i32).desc().to_owned()
                }
            });
            return Ok(self.quoted(data).map(|slot| Sound::Error { slot, what }));
        }
        let at = || stamp.map_or_else(|| stamps.session_now(), |t| stamps.session_time(t).0);
        Ok(match self.mode {
            Mode::Udp => Body::read_tail(data)
                .filter(|body| body.token == self.token)
                .map(|body| Sound::Reply { k: body.k, at: at() }),
            Mode::Datagram | Mode::Raw { .. } => match self.icmp(data) {
                Heard::Reply { k } => Some(Sound::Reply { k, at: at() }),
                Heard::Error { slot, kind, code } => {
                    Some(Sound::Error { slot, what: describe(self.family, kind, code) })
                }
                Heard::Other => None,
            },
        })
    }

    fn icmp(&self, data: &[u8]) -> Heard {
        match (self.mode, self.family) {
            (Mode::Raw { ident }, Family::V4) => {
                after_ipv4_header(data).map_or(Heard::Other, |icmp| hear(self.family, Some(ident), self.token, icmp))
            }
            (Mode::Raw { ident }, Family::V6) => hear(self.family, Some(ident), self.token, data),
            _ => hear(self.family, None, self.token, data),
        }
    }

    /// The slot an error queue entry is about: its data is what we sent.
    fn quoted(&self, data: &[u8]) -> Option<Quoted> {
        match self.mode {
            Mode::Udp => Body::read_tail(data).filter(|b| b.token == self.token).map(|b| Quoted::Slot(b.k)),
            Mode::Datagram | Mode::Raw { .. } => quoted_request(self.family, None, self.token, data),
        }
    }
}

/// Waits until there is something to hear, for `patience` at most.
pub(super) fn wait(socket: &Socket, patience: Duration) {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::from(100u8));
    let _ = poll(&mut fds, patience);
}
