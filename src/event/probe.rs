//! The fate of each probe. Rules of measurement: probe k is due at `t0 + k * interval`, absolutely;
//! there is one record for each outcome, and a slot that is due and has none yet is *pending*.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Nanos;

/// What a probe sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// ICMP echo, answered by the guest's kernel.
    Icmp,
    /// UDP echo, answered by the agent.
    Udp,
}

/// What does the sending and receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The surge-ping library.
    SurgePing,
    /// Our own sender/receiver thread pair with kernel receive time stamps.
    Threads,
}

/// The classes a probe can end in. A probe whose fate is open is in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// Its slot passed before we could send it: our fault, never the guest's.
    NotSent,
    /// Sending failed, or an ICMP error came back. Never a reply.
    Error,
}

/// Everything needed to read the outcomes of one probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
}

/// The fate of a probe. `id` tells several probes of a session apart; `k` is the slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeEvent {
    /// The probe begins.
    Started {
        /// Which probe.
        id: u16,
        /// Its schedule and limits.
        spec: ProbeSpec,
    },
    /// Answered in time.
    Ok {
        /// Which probe.
        id: u16,
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
        id: u16,
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
        id: u16,
        /// The slot.
        k: u64,
        /// When it was sent: ns of the session clock.
        sent: Nanos,
    },
    /// Answered once more.
    Duplicate {
        /// Which probe.
        id: u16,
        /// The slot.
        k: u64,
        /// Round-trip time of this further answer, ns.
        rtt: u64,
    },
    /// The slot passed unsent.
    NotSent {
        /// Which probe.
        id: u16,
        /// The slot.
        k: u64,
    },
    /// Sending failed, or an ICMP error came back.
    Error {
        /// Which probe.
        id: u16,
        /// The slot.
        k: u64,
        /// What was said.
        what: String,
    },
    /// The probe ends; slots without an outcome stay open for ever.
    Stopped {
        /// Which probe.
        id: u16,
    },
}
