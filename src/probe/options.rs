//! What to probe, and how; and whether that can be measured.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::classify::WINDOW;
use super::error::ProbeError;
use super::page::Page;
use crate::event::{self, ProbeId, ProbeKind, Role};
use crate::text::visible;
use crate::units::show_duration;

/// Shortest interval `surge-ping` is used for: below it a timer of its kind does not keep time.
pub const SURGE_MIN_INTERVAL: Duration = Duration::from_millis(5);
/// Shortest interval at all.
pub const MIN_INTERVAL: Duration = Duration::from_micros(100);
/// Longest interval.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest deadline.
pub const MAX_DEADLINE: Duration = Duration::from_secs(60);
/// Shortest interval of a probe that makes a connection for each slot: each of them costs this machine a port
/// and the guest an entry in its tables, and both sides some packets.
pub const MIN_CONNECTIONS: Duration = Duration::from_millis(10);
/// The deadline of such a probe unless another is asked for.
pub const CONNECT_DEADLINE: Duration = Duration::from_millis(900);
/// The kernel sends an unanswered SYN again after so long (RFC 6298; TCP_TIMEOUT_INIT of Linux), and what
/// answers it says nothing of the guest when the slot was due.
pub const SYN_AGAIN: Duration = Duration::from_secs(1);

/// Which engine to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// `surge-ping` for ICMP at 5 ms and more, the thread pair otherwise.
    #[default]
    Auto,
    /// `surge-ping`.
    SurgePing,
    /// The thread pair.
    Threads,
}

/// Where a probe is sent from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Through this network device only.
    Device(String),
    /// From this address of this machine.
    Address(IpAddr),
}

impl Source {
    /// Reads an address or the name of a network device; whether there is such a one is not looked for.
    ///
    /// # Errors
    /// When it can be neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Address(ip));
        }
        // linux/if.h: IFNAMSIZ is 16 with the zero at its end; net/core/dev.c: dev_valid_name.
        let fits = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
        if text.is_empty() || text.len() > 15 || !text.chars().all(fits) {
            let why = "is neither an address nor a network device: write for instance 192.0.2.1 or eth0";
            return Err(format!("'{}' {why}", visible(text)));
        }
        Ok(Self::Device(text.into()))
    }

    /// The device, if it is one.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        if let Self::Device(name) = self { Some(name) } else { None }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(name) => f.write_str(name),
            Self::Address(ip) => ip.fmt(f),
        }
    }
}

/// What to probe, and how.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Tells several probes of a session apart; the one with the lowest is what downtime is measured with.
    pub id: ProbeId,
    /// The target. The port is that of the UDP echo or the TCP service, and of no account for ICMP. An IPv6
    /// scope is kept.
    pub target: SocketAddr,
    /// What to send.
    pub kind: ProbeKind,
    /// What does the sending.
    pub engine: EngineChoice,
    /// Distance of the slots.
    pub interval: Duration,
    /// A probe unanswered for so long is lost.
    pub deadline: Duration,
    /// Where it is sent from; None leaves that to the kernel.
    pub from: Option<Source>,
    /// Stop by itself after so many slots, once none is pending.
    pub count: Option<u64>,
    /// Bytes put before the probe's own data: what the agent's UDP echo asks for. UDP only.
    pub prefix: Vec<u8>,
    /// The page that is asked for. HTTP only, and needed there.
    pub http: Option<Page>,
    /// A refused connection is as good as an answer. TCP only.
    pub refused_is_ok: bool,
    /// What the operator wrote, for those who read of it.
    pub asked: Option<String>,
    /// What it is for, where several probes of a session are told apart.
    pub role: Option<Role>,
}

impl ProbeOptions {
    /// ICMP every 50 ms without end, lost after 1 s, engine chosen by interval.
    #[must_use]
    pub fn icmp(id: ProbeId, target: SocketAddr) -> Self {
        Self {
            id,
            target,
            kind: ProbeKind::Icmp,
            engine: EngineChoice::Auto,
            interval: Duration::from_millis(50),
            deadline: Duration::from_secs(1),
            from: None,
            count: None,
            prefix: Vec::new(),
            http: None,
            refused_is_ok: false,
            asked: None,
            role: None,
        }
    }

    /// A connection to that port every 50 ms without end, lost after 0.9 s.
    #[must_use]
    pub fn tcp(id: ProbeId, target: SocketAddr) -> Self {
        Self { kind: ProbeKind::Tcp, deadline: CONNECT_DEADLINE, ..Self::icmp(id, target) }
    }

    /// As [`tcp`](Self::tcp), and this page asked for over the connection.
    #[must_use]
    pub fn http(id: ProbeId, target: SocketAddr, page: Page) -> Self {
        Self { kind: ProbeKind::Http, http: Some(page), ..Self::tcp(id, target) }
    }

    /// Whether it makes a connection for each slot.
    #[must_use]
    pub fn connects(&self) -> bool {
        matches!(self.kind, ProbeKind::Tcp | ProbeKind::Http)
    }

    /// As [`icmp`](Self::icmp), to the agent's UDP echo, with the bytes it asks for in front.
    #[must_use]
    pub fn udp(id: ProbeId, target: SocketAddr, prefix: Vec<u8>) -> Self {
        Self { kind: ProbeKind::Udp, prefix, ..Self::icmp(id, target) }
    }

    /// The engine these options lead to.
    ///
    /// # Errors
    /// When the engine asked for cannot do it.
    pub fn engine_kind(&self) -> Result<event::Engine, ProbeError> {
        if self.connects() {
            return match self.engine {
                EngineChoice::Auto => Ok(event::Engine::Connections),
                EngineChoice::SurgePing | EngineChoice::Threads => {
                    let kind = self.kind.name().to_uppercase();
                    Err(ProbeError::Options(format!("{kind} has an engine of its own; do not choose one")))
                }
            };
        }
        let surge_can = self.kind == ProbeKind::Icmp && self.interval >= SURGE_MIN_INTERVAL;
        match self.engine {
            EngineChoice::Threads => Ok(event::Engine::Threads),
            EngineChoice::Auto if surge_can => Ok(event::Engine::SurgePing),
            EngineChoice::Auto => Ok(event::Engine::Threads),
            EngineChoice::SurgePing if surge_can => Ok(event::Engine::SurgePing),
            EngineChoice::SurgePing if self.kind != ProbeKind::Icmp => {
                let kind = self.kind.name().to_uppercase();
                Err(ProbeError::Options(format!("surge-ping sends ICMP only; use the engine 'threads' for {kind}")))
            }
            EngineChoice::SurgePing => Err(ProbeError::Options(format!(
                "surge-ping does not keep an interval of {}: give at least {}, or use the engine 'threads'",
                show_duration(self.interval),
                show_duration(SURGE_MIN_INTERVAL),
            ))),
        }
    }

    /// Whether these options can be measured with.
    ///
    /// # Errors
    /// What is out of range, and what would be right.
    pub fn check(&self) -> Result<(), ProbeError> {
        let bad = |text: String| Err(ProbeError::Options(text));
        if self.interval < MIN_INTERVAL || self.interval > MAX_INTERVAL {
            return bad(format!(
                "the interval {} is out of range: give {} to {}",
                show_duration(self.interval),
                show_duration(MIN_INTERVAL),
                show_duration(MAX_INTERVAL)
            ));
        }
        if self.connects() {
            self.check_connections()?;
        }
        // Open slots must stay fewer than the 16-bit sequence numbers that name them.
        let longest = self.interval.saturating_mul(WINDOW as u32 - 1_000).min(MAX_DEADLINE);
        if self.deadline.is_zero() || self.deadline > longest {
            return bad(format!(
                "the deadline {} is out of range: at an interval of {} give more than 0 and at most {}",
                show_duration(self.deadline),
                show_duration(self.interval),
                show_duration(longest)
            ));
        }
        if self.prefix.len() > 1024 {
            return bad(format!("the UDP prefix has {} bytes: give at most 1024", self.prefix.len()));
        }
        match self.target {
            SocketAddr::V4(a) if a.ip().is_broadcast() || a.ip().is_multicast() => {
                return bad(format!("{} is the address of many hosts: give that of one", a.ip()));
            }
            SocketAddr::V6(a) if a.ip().is_multicast() => {
                return bad(format!("{} is the address of many hosts: give that of one", a.ip()));
            }
            SocketAddr::V6(a) if a.ip().is_unicast_link_local() && a.scope_id() == 0 && self.device().is_none() => {
                let ip = a.ip();
                return bad(format!("{ip} is there on every link: name the network device, as in {ip}%eth0"));
            }
            _ => {}
        }
        if let Some(Source::Address(from)) = &self.from
            && from.to_canonical().is_ipv4() != self.target.ip().to_canonical().is_ipv4()
        {
            return bad(format!("{} and from={from} are not of one family", self.target.ip()));
        }
        match self.kind {
            ProbeKind::Udp if self.target.port() == 0 => bad("a UDP probe needs the port of the echo".into()),
            ProbeKind::Tcp | ProbeKind::Http if self.target.port() == 0 => bad("a port is needed".into()),
            ProbeKind::Http if self.http.is_none() => bad("an HTTP probe needs a page to ask for".into()),
            _ => Ok(()),
        }
    }

    /// What is particular to a connection for each slot. At most the deadline over the interval of them are open
    /// at once: fewer than a hundred.
    fn check_connections(&self) -> Result<(), ProbeError> {
        let kind = self.kind.name().to_uppercase();
        if self.interval < MIN_CONNECTIONS {
            return Err(ProbeError::Options(format!(
                "the interval {} is too short for {kind}, which makes a connection for each slot: give at least {}",
                show_duration(self.interval),
                show_duration(MIN_CONNECTIONS)
            )));
        }
        if self.deadline >= SYN_AGAIN {
            return Err(ProbeError::Options(format!(
                "the deadline {} is too long for {kind}: give less than {}, for instance 900ms; after that time this \
                 machine sends an unanswered SYN again by itself, whose answer would hide that the guest was gone",
                show_duration(self.deadline),
                show_duration(SYN_AGAIN)
            )));
        }
        Ok(())
    }

    /// The network device it is tied to, if it is.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.from.as_ref().and_then(Source::device)
    }
}
