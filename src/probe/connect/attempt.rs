//! One connection of a probe: made, asked over, judged.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::answer::{self, Answer};
use crate::event::Nanos;
use crate::probe::error::ProbeError;
use crate::probe::options::Source;
use crate::probe::page::{Expected, Page};
use crate::probe::socket::{failed, send_from};

/// Bytes of an answer that are read, at most: its first line stands at the beginning, behind perhaps an interim
/// answer with its header.
const READ: usize = 4_096;

/// What an attempt is for.
#[derive(Debug)]
pub(super) enum Goal {
    /// A connection.
    Connection,
    /// A page over it.
    Page {
        /// What is sent.
        request: Vec<u8>,
        /// What should be answered.
        expected: Expected,
    },
}

impl Goal {
    pub(super) fn page(page: &Page) -> Self {
        Self::Page { request: answer::request(page), expected: page.expected.clone() }
    }
}

/// How far it is.
#[derive(Debug)]
pub(super) enum State {
    /// The SYN is out.
    Connecting,
    /// The request is out; this much of the answer is in.
    Asked {
        /// Its first bytes.
        got: Vec<u8>,
    },
}

/// What an attempt came to before its deadline.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was hoped for.
    Answered {
        /// From the SYN to the SYN-ACK as the kernel measured it, where that is all that was waited for.
        handshake: Option<Duration>,
    },
    /// Something answered that the service is not there.
    Refused(String),
    /// Something answered, and no service of that kind.
    Error(String),
    /// Connected by a SYN that was sent again.
    Retransmitted,
    /// This machine or a router says that there is no way to it any more.
    Unreachable,
}

/// A connection under way.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) k: u64,
    /// Before connect() was called, ns.
    pub(super) sent: Nanos,
    /// When it had come back: the SYN was out by then, ns.
    pub(super) out: Nanos,
    pub(super) socket: Socket,
    pub(super) state: State,
}

impl Verdict {
    /// When it was so, if it was seen at `now`: a handshake that the kernel has measured began before connect()
    /// came back, and so was over no later than that much after it, however late we looked.
    pub(super) fn at(&self, attempt: &Attempt, now: Nanos) -> Nanos {
        match self {
            Self::Answered { handshake: Some(rtt) } => {
                now.min(attempt.out.saturating_add(u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX)))
            }
            _ => now,
        }
    }
}

/// Why there is no attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Nothing was sent, and why.
    Unsent(String),
    /// The refusal was there already.
    Refused,
}

/// A socket of the calling thread's network namespace that is ready to connect.
pub(super) fn socket(target: SocketAddr, from: Option<&Source>) -> Result<Socket, ProbeError> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))
        .map_err(failed("open a TCP socket"))?;
    socket.set_linger(Some(Duration::ZERO)).map_err(failed("have a TCP socket closed with a reset"))?;
    if let Some(from) = from {
        if matches!(from, Source::Address(_)) {
            // The port is chosen by connect(), which may use one again that is taken towards another target.
            let _ = setsockopt(&socket, sockopt::IpBindAddressNoPort, &true);
        }
        send_from(&socket, from)?;
    }
    Ok(socket)
}

/// Sends the SYN.
pub(super) fn connect(socket: &Socket, target: SocketAddr) -> Result<(), Failed> {
    match socket.connect(&target.into()).map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(()),
        Err(Errno::ECONNREFUSED) => Err(Failed::Refused),
        Err(Errno::EADDRNOTAVAIL) => Err(Failed::Unsent("no free port or no such address on this machine".into())),
        Err(e) => Err(Failed::Unsent(e.desc().to_owned())),
    }
}

impl Attempt {
    /// Looks what has come of it; None while it is under way.
    pub(super) fn look(&mut self, goal: &Goal) -> Option<Verdict> {
        if let State::Asked { got } = &mut self.state {
            let Goal::Page { expected, .. } = goal else { return None };
            return read(&self.socket, got, expected);
        }
        let error = match self.socket.take_error() {
            Ok(None) => None,
            Ok(Some(e)) | Err(e) => Some(e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
        };
        match (error, goal) {
            (None, _) if self.is_with_itself() => Some(Verdict::Refused("refused".into())),
            // It was there, and gone again before we looked: what is asked for is the handshake.
            (None, _) | (Some(Errno::ECONNRESET | Errno::EPIPE), Goal::Connection) => self.connected(goal),
            (Some(Errno::ECONNREFUSED), _) => Some(Verdict::Refused("refused".into())),
            (Some(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN), _) => {
                Some(Verdict::Unreachable)
            }
            (Some(e), _) => Some(Verdict::Error(e.desc().to_lowercase())),
        }
    }

    fn connected(&mut self, goal: &Goal) -> Option<Verdict> {
        let info = info(&self.socket);
        if info.is_some_and(|info| info.tcpi_total_retrans > 0) {
            return Some(Verdict::Retransmitted);
        }
        let Goal::Page { request, .. } = goal else {
            let rtt = info.map(|info| info.tcpi_rtt).filter(|rtt| *rtt > 0);
            return Some(Verdict::Answered { handshake: rtt.map(|rtt| Duration::from_micros(rtt.into())) });
        };
        // It fits: nothing else was written, and no send buffer is smaller (tcp_wmem's least is 4 KiB).
        match (&self.socket).write(request) {
            Ok(n) if n == request.len() => {
                self.state = State::Asked { got: Vec::new() };
                None
            }
            Ok(_) => Some(Verdict::Error("the request did not fit into the send buffer".into())),
            Err(e) => Some(Verdict::Error(words(&e))),
        }
    }

    /// Whether both ends are one socket: on this machine, a port that nothing listens on may be the very one that
    /// the kernel chose for the near end.
    fn is_with_itself(&self) -> bool {
        let (near, far) = (self.socket.local_addr(), self.socket.peer_addr());
        near.ok().and_then(|a| a.as_socket()).zip(far.ok().and_then(|a| a.as_socket())).is_some_and(|(a, b)| a == b)
    }
}

/// Reads what there is of an answer.
fn read(mut socket: &Socket, got: &mut Vec<u8>, expected: &Expected) -> Option<Verdict> {
    let mut buffer = [0; READ];
    loop {
        let room = READ - got.len();
        match socket.read(&mut buffer[..room]) {
            Ok(0) => return Some(Verdict::Error(answer::unfinished(got, READ))),
            Ok(n) => got.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return None,
            Err(e) => return Some(Verdict::Error(words(&e))),
        }
        match answer::read(got) {
            Answer::More => {}
            Answer::Status(status) if expected.has(status) => return Some(Verdict::Answered { handshake: None }),
            Answer::Status(status) => return Some(Verdict::Refused(format!("HTTP {status}"))),
            Answer::Other(what) => return Some(Verdict::Error(what)),
        }
    }
}

/// What the operating system said, without its number.
fn words(e: &std::io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), |n| Errno::from_raw(n).desc().to_lowercase())
}

/// What the kernel knows of a connection: how often it sent something again, and how long the SYN-ACK took. With
/// the handshake as the only thing sent, `tcpi_rtt` is that of the SYN (net/ipv4/tcp_input.c, tcp_rtt_estimator:
/// the first sample is taken as it is).
#[allow(unsafe_code)]
fn info(socket: &Socket) -> Option<libc::tcp_info> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: getsockopt(2) writes at most `len` bytes into `info`, which has as many, and the length it wrote into
    // `len`; both live until it returns.
    let done =
        unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len) };
    // SAFETY: it was all zeroes before the call, which is a valid value of a plain C structure.
    let info = unsafe { info.assume_init() };
    let reaches = std::mem::offset_of!(libc::tcp_info, tcpi_total_retrans) + size_of::<u32>();
    (done == 0 && len as usize >= reaches).then_some(info)
}
