//! What the numbers mean: pure functions on data.

pub mod clock;
pub mod delta;
pub mod downtime;
pub mod explain;
pub mod prediction;
pub mod probing;
pub mod stats;
pub mod stretch;
pub mod table;

use std::time::Duration;

use crate::event::ProbeId;

/// The five ways to say how long the guest was gone (design: vocabulary).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Lost probes x interval: the paper's.
    LostPings,
    /// Last good reply's send to the first good reply's send after it.
    ReplyGap,
    /// What the hypervisor says of itself.
    Reported,
    /// The source's STOP to the destination's RESUME.
    StopResume,
    /// The step of the guest's monotonic clock against ours.
    GuestClock,
}

impl Method {
    /// All five, in the order of the vocabulary.
    pub const ALL: [Self; 5] = [Self::LostPings, Self::ReplyGap, Self::Reported, Self::StopResume, Self::GuestClock];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LostPings => "lost-pings",
            Self::ReplyGap => "reply-gap",
            Self::Reported => "reported",
            Self::StopResume => "stop-resume",
            Self::GuestClock => "guest-clock",
        }
    }
}

/// One estimate of the downtime, with its bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// How it was made.
    pub method: Method,
    /// The estimate and its bounds [lo, hi]; None when it cannot be known.
    pub value: Option<Bounded>,
    /// Why it is unknown, or what to bear in mind.
    pub note: Option<String>,
}

/// A duration with bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded {
    /// The estimate.
    pub value: Duration,
    /// Lower bound.
    pub lo: Duration,
    /// Upper bound.
    pub hi: Duration,
}

/// The five estimates of one migration, and the shape of the blackout.
#[derive(Debug, Clone, PartialEq)]
pub struct Downtimes {
    /// One for each [`Method`], in the order of [`Method::ALL`].
    pub estimates: Vec<Estimate>,
    /// How many gaps of at least two intervals there were (a blackout may have holes).
    pub gaps: u32,
    /// All gaps together.
    pub gaps_total: Duration,
    /// What each probe saw by itself, in the order of their numbers, the primary one among them. Empty where
    /// nothing was worked out.
    pub probes: Vec<ByProbe>,
}

/// What one of the probes says of a migration. A probe of the network or the guest's kernel sees them gone; one
/// of a service sees the service gone as well.
#[derive(Debug, Clone, PartialEq)]
pub struct ByProbe {
    /// Which probe.
    pub id: ProbeId,
    /// Its [name](crate::event::ProbeSpec::name).
    pub name: String,
    /// Whether the estimates at the top are this probe's.
    pub is_primary: bool,
    /// [`Method::LostPings`] and [`Method::ReplyGap`].
    pub estimates: [Estimate; 2],
    /// How many gaps of at least two intervals there were.
    pub gaps: u32,
    /// All gaps together.
    pub gaps_total: Duration,
}

impl ByProbe {
    /// Its `reply-gap`.
    #[must_use]
    pub fn reply_gap(&self) -> &Estimate {
        &self.estimates[1]
    }
}

impl Downtimes {
    /// This product does not tell what the estimate needs: an unknown one says so.
    pub fn untold(&mut self, method: Method, product: &str) {
        for estimate in self.estimates.iter_mut().filter(|e| e.method == method && e.value.is_none()) {
            estimate.note = Some(format!("not told by {}", crate::text::foreign(product)));
        }
    }
}
