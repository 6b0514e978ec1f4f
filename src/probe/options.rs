//! What to probe, and how; and whether that can be measured.

use std::net::SocketAddr;
use std::time::Duration;

use super::classify::WINDOW;
use super::error::ProbeError;
use crate::event::{self, ProbeId, ProbeKind};
use crate::units::show_duration;

/// Shortest interval `surge-ping` is used for: below it a timer of its kind does not keep time.
pub const SURGE_MIN_INTERVAL: Duration = Duration::from_millis(5);
/// Shortest interval at all.
pub const MIN_INTERVAL: Duration = Duration::from_micros(100);
/// Longest interval.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest deadline.
pub const MAX_DEADLINE: Duration = Duration::from_secs(60);
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

/// What to probe, and how.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Tells several probes of a session apart; the one with the lowest is what downtime is measured with.
    pub id: ProbeId,
    /// The target. The port is that of the UDP echo, and of no account for ICMP. An IPv6 scope is
    /// kept.
    pub target: SocketAddr,
    /// What to send.
    pub kind: ProbeKind,
    /// What does the sending.
    pub engine: EngineChoice,
    /// Distance of the slots.
    pub interval: Duration,
    /// A probe unanswered for so long is lost.
    pub deadline: Duration,
    /// Send through this network device only.
    pub device: Option<String>,
    /// Stop by itself after so many slots, once none is pending.
    pub count: Option<u64>,
    /// Bytes put before the probe's own data: what the agent's UDP echo asks for. UDP only.
    pub prefix: Vec<u8>,
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
            device: None,
            count: None,
            prefix: Vec::new(),
        }
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
        let surge_can = self.kind == ProbeKind::Icmp && self.interval >= SURGE_MIN_INTERVAL;
        match self.engine {
            EngineChoice::Threads => Ok(event::Engine::Threads),
            EngineChoice::Auto if surge_can => Ok(event::Engine::SurgePing),
            EngineChoice::Auto => Ok(event::Engine::Threads),
            EngineChoice::SurgePing if surge_can => Ok(event::Engine::SurgePing),
            EngineChoice::SurgePing if self.kind == ProbeKind::Udp => {
                Err(ProbeError::Options("surge-ping sends ICMP only; use the engine 'threads' for UDP".into()))
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
            SocketAddr::V6(a) if a.ip().is_unicast_link_local() && a.scope_id() == 0 && self.device.is_none() => {
                let ip = a.ip();
                return bad(format!("{ip} is there on every link: name the network device, as in {ip}%eth0"));
            }
            _ => {}
        }
        if self.kind == ProbeKind::Udp && self.target.port() == 0 {
            return bad("a UDP probe needs the port of the agent's echo".into());
        }
        Ok(())
    }
}
