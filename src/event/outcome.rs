//! What became of a slot: one encoding, from the engine that settles it to the mark on the screen.

use super::Nanos;
use super::probe::{Class, ProbeEvent, ProbeKind, ProbeSpec};

/// What became of a slot. A slot that is due and has none yet is *pending*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Answered before the loss deadline.
    Ok {
        /// Round-trip time, ns.
        rtt: u64,
    },
    /// Answered after the loss deadline.
    Late {
        /// Round-trip time, ns.
        rtt: u64,
    },
    /// Not answered by the loss deadline.
    Lost,
    /// Never went out: this machine's fault.
    NotSent,
    /// An error came back.
    Error,
    /// Something answered that the service is not there.
    Refused,
}

impl Fate {
    /// The class it is counted in.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Ok { .. } => Class::Ok,
            Self::Late { .. } => Class::Late,
            Self::Lost => Class::Lost,
            Self::NotSent => Class::NotSent,
            Self::Error => Class::Error,
            Self::Refused => Class::Refused,
        }
    }

    /// Round-trip time, ns; None where there was no answer.
    #[must_use]
    pub fn rtt(self) -> Option<u64> {
        match self {
            Self::Ok { rtt } | Self::Late { rtt } => Some(rtt),
            Self::Lost | Self::NotSent | Self::Error | Self::Refused => None,
        }
    }

    /// Whether the slot is a witness that what is asked was not there when the probe came: a lower bound may
    /// rest on it. An ICMP error is none, for it may be about the way; a connection that failed is one.
    #[must_use]
    pub fn is_witness(self, kind: ProbeKind) -> bool {
        match self {
            Self::Lost | Self::Refused => true,
            Self::Error => matches!(kind, ProbeKind::Tcp | ProbeKind::Http),
            Self::Ok { .. } | Self::Late { .. } | Self::NotSent => false,
        }
    }
}

/// A slot that is settled, compact: a day at 50 ms must fit in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The slot.
    pub k: u64,
    /// When it was sent, ns of the session clock; where that is not known, when it was due.
    pub sent: Nanos,
    /// What became of it.
    pub fate: Fate,
}

impl Outcome {
    /// When its answer came, ns of the session clock; None if there was none.
    #[must_use]
    pub fn answered(&self) -> Option<Nanos> {
        self.fate.rtt().map(|rtt| self.sent.saturating_add(rtt))
    }
}

impl ProbeEvent {
    /// The slot this event settles or revises; None where it does neither.
    #[must_use]
    pub fn outcome(&self, spec: &ProbeSpec) -> Option<Outcome> {
        let (k, sent, fate) = match *self {
            Self::Ok { k, sent, rtt, .. } => (k, Some(sent), Fate::Ok { rtt }),
            Self::Late { k, sent, rtt, .. } => (k, Some(sent), Fate::Late { rtt }),
            Self::Lost { k, sent, .. } => (k, Some(sent), Fate::Lost),
            Self::Refused { k, sent, .. } => (k, Some(sent), Fate::Refused),
            Self::Error { k, sent, .. } => (k, sent, Fate::Error),
            Self::NotSent { k, .. } => (k, None, Fate::NotSent),
            Self::Started { .. } | Self::Duplicate { .. } | Self::Heard { .. } | Self::Stopped { .. } => return None,
        };
        Some(Outcome { k, sent: sent.unwrap_or_else(|| spec.due(k)), fate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProbeId;

    #[test]
    fn an_outcome_is_no_larger_than_four_words() {
        // A million of them are kept of each probe.
        assert_eq!(size_of::<Outcome>(), 32);
    }

    #[test]
    fn each_event_that_settles_a_slot_has_its_outcome() {
        let spec = ProbeSpec { t0: 1_000, ..ProbeSpec::new(ProbeKind::Tcp, [10, 0, 0, 2].into(), 50) };
        let (id, k, what) = (ProbeId(3), 7, String::new);
        let of = |event: ProbeEvent| event.outcome(&spec).map(|o| (o.k, o.sent, o.fate, o.answered()));
        let settled = |sent, fate, answered| Some((7, sent, fate, answered));
        assert_eq!(of(ProbeEvent::Ok { id, k, sent: 9, rtt: 4 }), settled(9, Fate::Ok { rtt: 4 }, Some(13)));
        assert_eq!(of(ProbeEvent::Late { id, k, sent: 9, rtt: 4 }), settled(9, Fate::Late { rtt: 4 }, Some(13)));
        assert_eq!(of(ProbeEvent::Lost { id, k, sent: 9 }), settled(9, Fate::Lost, None));
        let refused = ProbeEvent::Refused { id, k, sent: 9, rtt: 4, what: what() };
        assert_eq!(of(refused), settled(9, Fate::Refused, None));
        // Not sent, or sent at a time that was not told: when it was due.
        assert_eq!(of(ProbeEvent::NotSent { id, k, why: None }), settled(1_350, Fate::NotSent, None));
        assert_eq!(of(ProbeEvent::Error { id, k, sent: None, what: what() }), settled(1_350, Fate::Error, None));
        assert_eq!(of(ProbeEvent::Error { id, k, sent: Some(9), what: what() }), settled(9, Fate::Error, None));
        for event in [ProbeEvent::Duplicate { id, k, rtt: 4 }, ProbeEvent::Stopped { id }] {
            assert_eq!(of(event), None);
        }
    }

    #[test]
    fn an_error_is_a_witness_for_a_connection_only() {
        for kind in [ProbeKind::Icmp, ProbeKind::Udp, ProbeKind::Tcp, ProbeKind::Http] {
            let connects = matches!(kind, ProbeKind::Tcp | ProbeKind::Http);
            assert_eq!(Fate::Error.is_witness(kind), connects);
            assert!(Fate::Lost.is_witness(kind) && Fate::Refused.is_witness(kind));
            assert!(!Fate::NotSent.is_witness(kind) && !Fate::Late { rtt: 1 }.is_witness(kind));
        }
    }
}
