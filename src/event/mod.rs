//! The event vocabulary: every fact that can be recorded, and how sources hand facts over.
//!
//! An [`Event`] is a timestamped fact from one source. Times inside events are nanoseconds of the
//! session clock (monotonic, zero at session start) unless a field says otherwise; times made on
//! foreign clocks (QMP, the guest) are kept as given beside our own and never mixed with them.
//!
//! The vocabulary is versioned ([`SCHEMA_MAJOR`], [`SCHEMA_MINOR`]): a new kind of event or field
//! raises the minor number, a changed meaning the major one.

mod agent;
mod clock;
mod forecast;
mod guest;
mod header;
mod load;
mod migration;
mod offers;
mod operator;
mod outcome;
pub mod policy;
mod probe;
#[cfg(test)]
mod schema;
mod settings;
mod sink;

use serde::{Deserialize, Serialize};

pub use agent::{AgentEvent, LoadReport};
pub use clock::SessionClock;
pub use forecast::{Converges, Ender, Forecast, Grounds, Guess, Needs, Remedy, Span, StopForecast};
pub use guest::{By, Incident, Location, Substate};
pub use header::{Header, HostFacts, Versions};
pub use load::{DirtyCycle, LoadSettings, Pattern};
pub use migration::{ForeignTime, HvEvent, MigrationEnd, MigrationEvent, MigrationSettings, Phase, Sample, SettingWhy};
pub use offers::{Cancels, Capabilities, Counts, Ends, OwnDowntime, Parameter, Resumer, Sees, Stamped};
pub use operator::{Intent, OperatorEvent};
pub use outcome::{Fate, Outcome};
pub use policy::{PolicyError, StopPolicy, StopRule, Then};
pub use probe::{Aside, Class, Engine, ProbeEvent, ProbeKind, ProbeSpec, Role};
pub use settings::SessionSettings;
pub use sink::{EventSink, Events, Hub};

/// Major version of the capture schema: a reader refuses a newer one.
pub const SCHEMA_MAJOR: u32 = 1;
/// Minor version of the capture schema: a reader skips what it does not know.
pub const SCHEMA_MINOR: u32 = 5;

/// Nanoseconds of the session clock.
pub type Nanos = u64;

/// A guest of a session, counted from 0. A session that looks at one guest only has no other number than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct GuestId(pub u16);

/// A probe of a session. The numbers tell probes apart and say nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ProbeId(pub u16);

impl std::fmt::Display for ProbeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a fact belongs to: one of several guests, one of several migrations that may run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Subject {
    /// The guest; the first one where that is not said.
    #[serde(default, skip_serializing_if = "is_first")]
    pub guest: GuestId,
    /// Number of the migration in the session; None for a fact that belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<u32>,
}

fn is_first(guest: &GuestId) -> bool {
    guest.0 == 0
}

/// One fact, at one time, from one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// When it was seen: ns of the session clock.
    pub t: Nanos,
    /// What it belongs to, where several could be meant. Since schema 1.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Subject>,
    /// What happened.
    pub ev: Body,
}

impl Event {
    /// A fact that belongs to nothing that had to be told apart.
    #[must_use]
    pub fn new(t: Nanos, ev: Body) -> Self {
        Self { t, of: None, ev }
    }
}

/// What happened. The variant is the source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Something the person did.
    Operator(OperatorEvent),
    /// Something the guest agent said, or its connection did.
    Agent(AgentEvent),
    /// The fate of a probe.
    Probe(ProbeEvent),
    /// Something a hypervisor said.
    Hypervisor(HvEvent),
    /// A migration began, was ended by a rule, or ended.
    Migration(MigrationEvent),
    /// CPU of the machine blackout runs on.
    Host(HostEvent),
    /// The lab's own doings.
    Lab(LabEvent),
    /// The session itself: recorder health, overflow, end.
    Session(SessionEvent),
    /// A remark for the event log.
    Log(LogEvent),
}

/// CPU of the machine blackout runs on, %.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostEvent {
    /// Whole machine, % of all CPUs together.
    pub cpu_pct: f64,
    /// Each hypervisor process by host name: % of one CPU.
    pub hypervisors: Vec<(String, f64)>,
}

/// The lab's own doings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LabEvent {
    /// A step of starting or stopping, for people.
    Step {
        /// What is being done.
        what: String,
    },
    /// The accelerator that will run the guest, and why.
    Accel {
        /// `kvm` or `tcg`.
        chosen: String,
        /// Why this one.
        why: String,
    },
    /// The guest answers and can be loaded and migrated.
    Ready {
        /// The guest's address.
        guest: String,
        /// A command that enters the lab's network from another terminal.
        enter: String,
    },
}

/// A fact about the surroundings that was not known when the session began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Version of the hypervisor.
    Hypervisor(String),
    /// Release of the guest's kernel.
    GuestKernel(String),
    /// `kvm`, `tcg`, or that nothing runs.
    Accelerator(String),
}

impl Fact {
    /// Its name in results.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Hypervisor(_) => "hypervisor",
            Self::GuestKernel(_) => "guest_kernel",
            Self::Accelerator(_) => "accelerator",
        }
    }

    /// What it is.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::Hypervisor(value) | Self::GuestKernel(value) | Self::Accelerator(value) => value,
        }
    }
}

/// The session itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionEvent {
    /// A fact learned after the header was written. Since schema 1.5.
    Learned(Fact),
    /// What a guided tour says at this point, until it says the next thing; empty when it is over. Since schema
    /// 1.5; before, a log line from `tour`.
    Caption {
        /// For people.
        text: String,
    },
    /// Up to schema 1.4, a fact learned after the header was written. Not written any more.
    Environment {
        /// What it is, e.g. `guest_kernel`.
        key: String,
        /// Its value.
        value: String,
    },
    /// A queue overflowed, and events were lost on the way.
    Overflow {
        /// Which queue.
        queue: String,
        /// Events lost since the last such record.
        lost: u64,
    },
    /// The capture cannot be written.
    RecorderTrouble {
        /// What the operating system said.
        why: String,
    },
    /// The capture is being written again.
    RecorderRecovered {
        /// Events held back meanwhile and now written.
        kept: u64,
    },
    /// The orderly end of the session.
    Ended {
        /// Why it ended.
        why: String,
    },
}

/// How much a remark matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For the record.
    Info,
    /// Something to look at.
    Warn,
    /// Something went wrong.
    Error,
}

/// A remark for the event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LogEvent {
    /// How much it matters.
    pub level: Level,
    /// Where it comes from, e.g. `qmp src`.
    pub from: String,
    /// The remark.
    pub text: String,
}
