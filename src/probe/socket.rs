//! Opening the sockets probes go through, and saying what to do when that is not allowed.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};

use super::error::ProbeError;
use super::options::Source;
use super::wire::{Family, Mode, Ours};
use crate::event::ProbeKind;

/// Receive buffer asked for, bytes: a guest that was paused answers thousands of queued probes at
/// once, and what does not fit would be taken for lost.
const RECEIVE_BUFFER: usize = 16 << 20;

/// An open socket and how to use it.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) socket: Socket,
    pub(crate) ours: Ours,
    pub(crate) target: SockAddr,
}

/// The family of an address.
pub(crate) fn family_of(target: &SocketAddr) -> Family {
    if target.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// Opens a socket for the thread-pair engine, in the caller's network namespace.
pub(crate) fn open(
    kind: ProbeKind,
    target: SocketAddr,
    from: Option<&Source>,
    token: u64,
    prefix: usize,
) -> Result<Channel, ProbeError> {
    let family = family_of(&target);
    let (domain, icmp) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let (socket, mode) = match kind {
        ProbeKind::Udp => {
            (Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(failed("open a UDP socket"))?, Mode::Udp)
        }
        ProbeKind::Tcp | ProbeKind::Http => {
            return Err(ProbeError::Options("TCP and HTTP probes open a socket for each slot".into()));
        }
        ProbeKind::Icmp => match Socket::new(domain, Type::DGRAM, Some(icmp)) {
            Ok(socket) => (socket, Mode::Datagram),
            Err(datagram) => match Socket::new(domain, Type::RAW, Some(icmp)) {
                Ok(socket) => (socket, Mode::Raw { ident: ident_of(token) }),
                Err(raw) => return Err(not_permitted(&datagram, &raw)),
            },
        },
    };
    socket.set_nonblocking(true).map_err(failed("make the socket non-blocking"))?;
    if let Some(from) = from {
        send_from(&socket, from)?;
    }
    let ours = Ours { family, mode, target: target.ip().to_canonical(), token, prefix };
    prepare(&socket, &ours)?;
    // A UDP socket is not tied to the target either: what answers from another address is to be heard.
    Ok(Channel { socket, ours, target: SockAddr::from(target) })
}

/// Sets a socket up for hearing: kernel receive stamps, ICMP errors, room for a crowd of answers.
pub(crate) fn prepare<'a, S: AsFd>(socket: &'a S, ours: &Ours) -> Result<(), ProbeError>
where
    SockRef<'a>: From<&'a S>,
{
    set(socket, sockopt::ReceiveTimestampns, true, "ask for kernel receive stamps")?;
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER).map_err(failed("set the receive buffer"))?;
    }
    match (ours.mode, ours.family) {
        (Mode::Raw { ident }, family) => filter_answers(socket, family, ident),
        (Mode::Datagram | Mode::Udp, Family::V4) => set(socket, sockopt::Ipv4RecvErr, true, "ask for ICMP errors"),
        (Mode::Datagram | Mode::Udp, Family::V6) => set(socket, sockopt::Ipv6RecvErr, true, "ask for ICMP errors"),
    }
}

/// Messages dropped by the kernel so far because the socket's receive buffer was full; None where it
/// does not say.
#[allow(unsafe_code)]
pub(crate) fn dropped(socket: BorrowedFd<'_>) -> Option<u32> {
    // linux/sock_diag.h: SK_MEMINFO_DROPS is the ninth of nine.
    const DROPS: usize = 8;
    let mut info = [0_u32; DROPS + 1];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `len` bytes into `info`, which has as many, and the length
    // it wrote into `len`; both live until it returns.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    (done == 0 && len as usize == size_of_val(&info)).then_some(info[DROPS])
}

/// Whether `n` more descriptors can be had. Asked beforehand where a library would panic without them.
pub(crate) fn room_for(n: usize) -> Result<(), ProbeError> {
    let what = "open what a probe needs (raise the limit of open files, ulimit -n)";
    let open = || std::fs::File::open("/dev/null").map_err(failed(what));
    let all: Result<Vec<_>, _> = std::iter::repeat_with(open).take(n).collect();
    all.map(drop)
}

/// Takes the error a socket holds back for the next call, so that what that call says is its own.
pub(crate) fn take_error(socket: BorrowedFd<'_>) {
    let _ = nix::sys::socket::getsockopt(&socket, sockopt::SocketError);
}

fn set<O>(socket: &impl AsFd, option: O, value: O::Val, what: &'static str) -> Result<(), ProbeError>
where
    O: nix::sys::socket::SetSockOpt,
    O::Val: Sized,
{
    setsockopt(socket, option, &value).map_err(|e| failed(what)(e.into()))
}

/// Ties a socket to what it is to be sent from.
pub(crate) fn send_from(socket: &Socket, from: &Source) -> Result<(), ProbeError> {
    match from {
        Source::Device(device) => socket
            .bind_device(Some(device.as_bytes()))
            .map_err(|source| ProbeError::Device { device: device.clone(), source }),
        Source::Address(address) => {
            let bound = socket.bind(&SocketAddr::new(*address, 0).into());
            bound.map_err(|source| ProbeError::Address { address: *address, source })
        }
    }
}

/// The ICMP identifier of a run with this token; never 0.
pub(crate) fn ident_of(token: u64) -> u16 {
    ((token >> 48) as u16).max(1)
}

/// Has the kernel drop all ICMP but answers with our identifier and what quotes a probe, so that a busy
/// host's ICMP does not wake the measuring thread. Whether they are ours in every byte is judged by
/// us, as on other sockets.
fn filter_answers<'a, S>(socket: &'a S, family: Family, ident: u16) -> Result<(), ProbeError>
where
    SockRef<'a>: From<&'a S>,
{
    SockRef::from(socket).attach_filter(&answer_filter(family, ident)).map_err(failed("filter the host's ICMP"))
}

/// Classic BPF. On raw IPv4 sockets packets begin with the IP header, so X is set to its length;
/// on raw IPv6 sockets they begin with the ICMPv6 header, and X is 0.
fn answer_filter(family: Family, ident: u16) -> Vec<SockFilter> {
    const LDX_IMM: u16 = 0x01;
    const LDX_IP_HEADER: u16 = 0xb1; // X = 4 * (P[k] & 0xf)
    const LD_BYTE: u16 = 0x50; // A = P[X + k]
    const LD_HALF: u16 = 0x48;
    const JUMP_EQ: u16 = 0x15;
    const RETURN: u16 = 0x06;

    let quoting: Vec<u8> = [family.errors(), family.informational()].concat();
    // Layout: [set X] [load type] [is reply?] {one test for each quoting type} [drop] [load ident] [is
    // ours?] [pass] [drop]
    let drop_at = 3 + quoting.len();
    let pass_at = drop_at + 3;
    let jump = |from: usize, to: usize| (to - from - 1) as u8;

    let mut program = vec![
        match family {
            Family::V4 => SockFilter::new(LDX_IP_HEADER, 0, 0, 0),
            Family::V6 => SockFilter::new(LDX_IMM, 0, 0, 0),
        },
        SockFilter::new(LD_BYTE, 0, 0, 0),
        SockFilter::new(JUMP_EQ, jump(2, drop_at + 1), 0, u32::from(family.reply())),
    ];
    for (i, kind) in quoting.iter().enumerate() {
        program.push(SockFilter::new(JUMP_EQ, jump(3 + i, pass_at), 0, u32::from(*kind)));
    }
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program.push(SockFilter::new(LD_HALF, 0, 0, 4));
    program.push(SockFilter::new(JUMP_EQ, 0, 1, u32::from(ident)));
    program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}

/// Wraps what the operating system said.
pub(crate) fn failed(what: &'static str) -> impl Fn(io::Error) -> ProbeError {
    move |source| ProbeError::Os { what, source }
}

/// Turns the refusals of both kinds of ICMP socket into advice.
pub(crate) fn not_permitted(datagram: &io::Error, raw: &io::Error) -> ProbeError {
    let refused = |e: &io::Error| matches!(e.raw_os_error(), Some(libc_errno::EPERM | libc_errno::EACCES));
    if !refused(raw) {
        let source = raw.raw_os_error().map_or_else(|| raw.kind().into(), io::Error::from_raw_os_error);
        return ProbeError::Os { what: "open an ICMP socket", source };
    }
    let program = std::env::current_exe().map_or_else(|_| "blackout".to_owned(), |p| p.display().to_string());
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range")
        .map_or_else(|_| "unknown".to_owned(), |text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    ProbeError::NotPermitted { gid: nix::unistd::getegid().as_raw(), range, program, said: datagram.to_string() }
}

/// The two errno values a refusal comes with.
mod libc_errno {
    pub(super) const EPERM: i32 = nix::errno::Errno::EPERM as i32;
    pub(super) const EACCES: i32 = nix::errno::Errno::EACCES as i32;
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::probe::wire::{Body, echo_request};

    const TOKEN: u64 = 0xfeed_beef_dead_cafe;

    /// Runs the filter in the kernel, on a socket that needs no privilege, and tells whether
    /// `packet` passes.
    fn passes(family: Family, packet: &[u8]) -> bool {
        let (near, far) = UnixDatagram::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        filter_answers(&far, family, 7).unwrap();
        let _ = near.send(packet);
        far.recv(&mut [0; 256]).is_ok_and(|n| n == packet.len())
    }

    fn packet(family: Family, kind: u8, ident: u16, token: u64) -> Vec<u8> {
        let mut icmp = [0; 40];
        echo_request(family, ident, &Body { token, k: 1, sent: 2 }, &mut icmp);
        icmp[0] = kind;
        // An IPv4 header with one word of options: the filter must not take its length for granted.
        let mut b = if family == Family::V4 { vec![0x46; 24] } else { Vec::new() };
        b.extend(icmp);
        b
    }

    #[test]
    fn only_our_answers_and_errors_pass_the_filter() {
        for family in [Family::V4, Family::V6] {
            assert!(passes(family, &packet(family, family.reply(), 7, TOKEN)));
            assert!(!passes(family, &packet(family, family.reply(), 8, TOKEN)), "another's identifier");
            assert!(passes(family, &packet(family, family.reply(), 7, TOKEN ^ 1)), "damaged: counted by us");
            assert!(!passes(family, &packet(family, family.request(), 7, TOKEN)), "our own request on loopback");
            for kind in [family.errors(), family.informational()].concat() {
                assert!(passes(family, &packet(family, kind, 99, 0)), "what quotes a probe is read by us");
            }
            assert!(!passes(family, &packet(family, 13, 7, TOKEN)), "a time stamp request");
        }
    }

    #[test]
    fn a_refusal_prints_the_commands_that_mend_it() {
        let eperm = io::Error::from_raw_os_error(libc_errno::EPERM);
        let text = not_permitted(&io::Error::from_raw_os_error(libc_errno::EACCES), &eperm).to_string();
        assert!(text.contains("sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""), "{text}");
        assert!(text.contains("sudo setcap cap_net_raw+ep "), "{text}");
        let other = io::Error::from(io::ErrorKind::AddrNotAvailable);
        assert!(matches!(not_permitted(&other, &other), ProbeError::Os { .. }));
    }

    #[test]
    fn a_udp_channel_needs_no_privilege() {
        let echo = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let c = open(ProbeKind::Udp, echo.local_addr().unwrap(), None, TOKEN, 0).unwrap();
        c.socket.send_to(b"x", &c.target).unwrap();
        let (n, from) = echo.recv_from(&mut [0; 8]).unwrap();
        echo.send_to(b"y", from).unwrap();
        c.socket.set_nonblocking(false).unwrap();
        assert_eq!((n, (&c.socket).read(&mut [0; 8]).unwrap()), (1, 1));
        assert_eq!(dropped(c.socket.as_fd()), Some(0));
        let gone =
            open(ProbeKind::Udp, echo.local_addr().unwrap(), Some(&Source::Device("no-such-dev".into())), TOKEN, 0);
        assert!(gone.unwrap_err().to_string().contains("no-such-dev"));
        let not_ours = Source::Address([192, 0, 2, 77].into());
        let gone = open(ProbeKind::Udp, echo.local_addr().unwrap(), Some(&not_ours), TOKEN, 0);
        assert!(gone.unwrap_err().to_string().starts_with("cannot send from 192.0.2.77: "));
    }
}
