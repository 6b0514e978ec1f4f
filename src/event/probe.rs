//! The fate of each probe. Rules of measurement: probe k is due at `t0 + k * interval`, absolutely;
//! there is one record for each outcome, and a slot that is due and has none yet is *pending*.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Nanos, ProbeId};

/// What a probe sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// ICMP echo, answered by the guest's kernel.
    Icmp,
    /// UDP echo, answered by the agent.
    Udp,
    /// A TCP connection, opened and closed for each slot; answered by the guest's kernel. Since schema 1.5.
    Tcp,
    /// HTTP GET over a connection of its own for each slot; answered by a server in the guest. Since schema 1.5.
    Http,
}

impl Class {
    /// Whether the slot was answered, in time or late.
    #[must_use]
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Ok | Self::Late)
    }

    /// Whether what is asked did not answer the slot as it should: it was down, or the way to it was.
    #[must_use]
    pub fn is_down(self) -> bool {
        matches!(self, Self::Lost | Self::Error | Self::Refused)
    }
}

impl ProbeKind {
    /// Its name, as the operator writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Http => "http",
        }
    }
}

/// What does the sending and receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The surge-ping library.
    SurgePing,
    /// Our own sender/receiver thread pair with kernel receive time stamps.
    Threads,
    /// A thread of our own that makes a connection for each slot. Since schema 1.5.
    Connections,
}

/// The classes a probe can end in. A probe whose fate is open is in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Answered before the loss deadline.
    Ok,
    /// Answered after the loss deadline.
    Late,
    /// Not answered by the loss deadline.
    Lost,
    /// A further answer to a probe already answered; counted apart.
    Duplicate,
    /// Its slot passed before we could send it, or sending failed here: our fault, never the guest's.
    NotSent,
    /// An ICMP error came back. Never a reply.
    Error,
    /// The service was not there though something answered: a connection was refused, or the HTTP status was
    /// not the one expected. Counts as down. Since schema 1.5.
    Refused,
}

/// What a probe hears that decides no slot, or is known to have missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Aside {
    /// A further answer to a slot already answered, beyond those recorded one by one.
    Duplicate,
    /// An answer from another address than was asked.
    Elsewhere,
    /// An answer with less in it than was sent.
    Truncated,
    /// An answer with something else in it than was sent, or with a wrong checksum.
    Corrupt,
    /// An ICMP error that quotes too little of the probe to tell whether it is about ours.
    Unverified,
    /// An ICMP error that quotes a probe we did not send, or one that is no longer open.
    Implausible,
    /// An ICMP message that reports no failure: source quench, redirect.
    Informational,
    /// An answer the kernel dropped because the receive buffer was full. Any slot may have been
    /// answered by it.
    Dropped,
    /// A connection that this machine's kernel made with a SYN sent again: its slot is lost. Since schema 1.5.
    Retransmitted,
    /// A connection that ended because there is no way to the target any more, by what this machine or a router
    /// says: its slot is lost. Since schema 1.5.
    Unreachable,
}

impl Aside {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Duplicate,
        Self::Elsewhere,
        Self::Truncated,
        Self::Corrupt,
        Self::Unverified,
        Self::Implausible,
        Self::Informational,
        Self::Dropped,
        Self::Retransmitted,
        Self::Unreachable,
    ];

    /// Its name in the capture.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Elsewhere => "elsewhere",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::Unverified => "unverified",
            Self::Implausible => "implausible",
            Self::Informational => "informational",
            Self::Dropped => "dropped",
            Self::Retransmitted => "retransmitted",
            Self::Unreachable => "unreachable",
        }
    }

    /// A sentence on `n` of them, heard by a probe of `target`.
    #[must_use]
    pub fn words(self, n: u64, from: Option<IpAddr>, target: IpAddr) -> String {
        let s = if n == 1 { "" } else { "s" };
        let were = if n == 1 { "was" } else { "were" };
        let by = from.map(|ip| format!(" from {ip}")).unwrap_or_default();
        match self {
            Self::Duplicate => format!("{n} further answer{s}{by} to slots already answered"),
            Self::Elsewhere => {
                let whence = from.map_or_else(|| "other addresses".to_owned(), |ip| ip.to_string());
                format!("{n} answer{s} came from {whence}, not from {target}: no repl{} of the target", ies(n))
            }
            Self::Truncated => format!("{n} answer{s}{by} {were} truncated, which decides nothing"),
            Self::Corrupt => format!("{n} answer{s}{by} {were} corrupt, which decides nothing"),
            Self::Unverified => {
                format!("{n} ICMP error{s}{by} quoted too little to tell whether a probe of ours was meant: not used")
            }
            Self::Implausible => format!("{n} ICMP error{s}{by} quoted no open probe of ours: not used"),
            Self::Informational => {
                format!("{n} ICMP message{s}{by} that {} no failure", if n == 1 { "is" } else { "are" })
            }
            Self::Dropped => format!(
                "{n} answer{s} {were} dropped by this machine's kernel, the receive buffer being full: up to that many \
                 slots may be called lost though they were answered (raise net.core.rmem_max)"
            ),
            Self::Retransmitted => format!(
                "{n} connection{s} {were} answered only after this machine had sent its SYN again: lost, since nothing \
                 answered the first"
            ),
            Self::Unreachable => format!(
                "{n} connection{s} ended without an answer, there being no way to {target} any more (no route to host): \
                 lost"
            ),
        }
    }
}

fn ies(n: u64) -> &'static str {
    if n == 1 { "y" } else { "ies" }
}

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Downtime is measured with it, where no probe is named.
    Primary,
    /// Has a row and estimates of its own.
    #[default]
    Further,
}

/// Everything needed to read the outcomes of one probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProbeSpec {
    /// The target.
    pub target: IpAddr,
    /// What it sends.
    pub kind: ProbeKind,
    /// What does the sending.
    pub engine: Engine,
    /// Distance of the slots, ns.
    pub interval_ns: u64,
    /// A probe unanswered for so long is lost, ns.
    pub deadline_ns: u64,
    /// When slot 0 is due: ns of the session clock.
    pub t0: Nanos,
    /// Classes this engine cannot see.
    pub cannot_see: Vec<Class>,
    /// What it was asked to probe, as the operator wrote it: `tcp:web:443`. None for a bare address, and
    /// before schema 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The port it asks; None where the kind has none, and before schema 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The address or network device it sends from, where one was named. Since schema 1.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is for. None before schema 1.5: the probe with the lowest number is the primary one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// A refused connection is as good as an answer: only the guest's kernel is asked for. TCP only; since
    /// schema 1.5.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused_is_ok: bool,
}

impl ProbeSpec {
    /// A probe of that kind that sees every class, whose slot 0 is due at 0; lost after a second.
    #[must_use]
    pub fn new(kind: ProbeKind, target: IpAddr, interval_ns: u64) -> Self {
        Self {
            target,
            kind,
            engine: Engine::Threads,
            interval_ns,
            deadline_ns: 1_000_000_000,
            t0: 0,
            cannot_see: Vec::new(),
            asked: None,
            port: None,
            from: None,
            role: None,
            refused_is_ok: false,
        }
    }

    /// What it is called: as the operator wrote it, else what it asks in the same way, `tcp:192.0.2.10:443`.
    #[must_use]
    pub fn name(&self) -> String {
        if let Some(asked) = &self.asked {
            return asked.clone();
        }
        match self.port {
            Some(port) => format!("{}:{}", self.kind.name(), SocketAddr::new(self.target, port)),
            None => format!("{}:{}", self.kind.name(), self.target),
        }
    }

    /// When slot `k` is due, ns of the session clock.
    #[must_use]
    pub fn due(&self, k: u64) -> Nanos {
        self.t0.saturating_add(k.saturating_mul(self.interval_ns))
    }
}

/// The fate of a probe. `id` tells several probes of a session apart; `k` is the slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProbeEvent {
    /// The probe begins.
    Started {
        /// Which probe.
        id: ProbeId,
        /// Its schedule and limits.
        spec: ProbeSpec,
    },
    /// Answered in time.
    Ok {
        /// Which probe.
        id: ProbeId,
        /// The slot.
        k: u64,
        /// When it was sent: ns of the session clock.
        sent: Nanos,
        /// Round-trip time, ns.
        rtt: u64,
    },
    /// Answered after the deadline; an earlier `Lost` for the same slot is thereby revised.
    Late {
        /// Which probe.
        id: ProbeId,
        /// The slot.
        k: u64,
        /// When it was sent: ns of the session clock.
        sent: Nanos,
        /// Round-trip time, ns.
        rtt: u64,
    },
    /// Not answered by the deadline.
    Lost {
        /// Which probe.
        id: ProbeId,
        /// The slot.
        k: u64,
        /// When it was sent: ns of the session clock.
        sent: Nanos,
    },
    /// Answered once more.
    Duplicate {
        /// Which probe.
        id: ProbeId,
        /// The slot.
        k: u64,
        /// Round-trip time of this further answer, ns.
        rtt: u64,
    },
    /// The slot passed unsent, or could not be sent: this machine's fault, never the target's.
    NotSent {
        /// Which probe.
        id: ProbeId,
        /// The slot.
        k: u64,
        /// Why it could not be sent, in the operating system's words; None where the slot passed
        /// while this machine was busy. Since schema 1.3.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// An ICMP error about the slot came back from the network. Up to schema 1.2 also a failed sending.
    Error {
        /// Which probe.
        id: ProbeId,
        /// The slot.
        k: u64,
        /// When it was sent: ns of the session clock. None before schema 1.5.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent: Option<Nanos>,
        /// What was said.
        what: String,
    },
    /// The service answered that it is not there, before the deadline: down, though something answers. Since
    /// schema 1.5.
    Refused {
        /// Which probe.
        id: ProbeId,
        /// The slot.
        k: u64,
        /// When it was sent: ns of the session clock.
        sent: Nanos,
        /// Time to that answer, ns.
        rtt: u64,
        /// What was answered: `refused`, `HTTP 503`.
        what: String,
    },
    /// Messages that were heard and decide no slot, counted since the last such record of the same
    /// kind and sender. Since schema 1.3.
    Heard {
        /// Which probe.
        id: ProbeId,
        /// What kind of message.
        what: Aside,
        /// How many.
        n: u64,
        /// Who sent them, where that is known and there are not too many different senders.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<IpAddr>,
    },
    /// The probe ends; slots without an outcome stay open for ever.
    Stopped {
        /// Which probe.
        id: ProbeId,
    },
}

impl ProbeEvent {
    /// Which probe it is about.
    #[must_use]
    pub fn id(&self) -> ProbeId {
        match *self {
            Self::Started { id, .. }
            | Self::Ok { id, .. }
            | Self::Late { id, .. }
            | Self::Lost { id, .. }
            | Self::Duplicate { id, .. }
            | Self::NotSent { id, .. }
            | Self::Error { id, .. }
            | Self::Refused { id, .. }
            | Self::Heard { id, .. }
            | Self::Stopped { id } => id,
        }
    }
}
