//! Migrations in the same words for every hypervisor; the product's own words are kept beside them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    By, Capabilities, Forecast, Incident, Location, Nanos, StopForecast, StopPolicy, StopRule, Substate, Then,
};

/// The phases of a migration, the same for every hypervisor (design: vocabulary).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No migration.
    Idle,
    /// Connections and state are being prepared.
    Setup,
    /// RAM is copied while the guest runs.
    PreCopy,
    /// The guest stands still at the source and what is left is copied.
    StopAndCopy,
    /// The guest runs at the destination and pulls what it lacks.
    PostCopy,
    /// The guest runs again at the destination but has not answered yet.
    Recovery,
    /// Ended well.
    Done,
    /// Ended badly.
    Failed,
    /// Ended by request; the guest stays at the source.
    Cancelled,
    /// Under way: the product does not say which of the phases it is in. Since schema 1.4.
    Moving,
    /// Lost sight of: neither its end nor where the guest is could be learnt. Since schema 1.3.
    Unsettled,
    /// A state of the product's that we do not know: treated as still running.
    Unknown,
}

impl Phase {
    /// Whether a migration is over in this phase (or there is none).
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Idle | Self::Done | Self::Failed | Self::Cancelled | Self::Unsettled)
    }

    /// The word of the vocabulary.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Setup => "setup",
            Self::PreCopy => "pre-copy",
            Self::StopAndCopy => "stop-and-copy",
            Self::PostCopy => "post-copy",
            Self::Recovery => "recovery",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unsettled => "unsettled",
            Self::Moving => "moving",
            Self::Unknown => "unknown",
        }
    }
}

/// A time made on another machine's or process's clock, kept as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ForeignTime {
    /// Seconds since the epoch by that clock.
    pub secs: i64,
    /// Microseconds.
    pub micros: i64,
}

/// What a migration is asked to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MigrationSettings {
    /// Limit on what the hypervisor may send, bytes/s. None leaves the hypervisor's own.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// Downtime the hypervisor may plan for when it decides to switch over, ms.
    pub downtime_limit_ms: Option<u64>,
    /// What ends pre-copy.
    pub policy: StopPolicy,
    /// Prepare for post-copy.
    pub post_copy: bool,
    /// Throttle the guest from the start.
    pub auto_converge: bool,
    /// Further parameters by the hypervisor's own name.
    pub extra: BTreeMap<String, Value>,
}

impl Default for MigrationSettings {
    /// The hypervisor's own bandwidth and downtime limit, pre-copy only, no stop policy.
    fn default() -> Self {
        Self {
            bandwidth_bytes_per_s: None,
            downtime_limit_ms: None,
            policy: StopPolicy::default(),
            post_copy: false,
            auto_converge: false,
            extra: std::collections::BTreeMap::new(),
        }
    }
}

impl MigrationSettings {
    /// What the hypervisor is told it may send, bytes/s; None where that is left to itself, or lifted.
    /// QEMU's own `max-bandwidth` among the further parameters counts above ours, and there 0 is no
    /// limit. This is a *limit*: what the network carries, the *link*, is another figure.
    #[must_use]
    pub fn limit_bytes_per_s(&self) -> Option<u64> {
        let own = self.extra.get("max-bandwidth");
        let own = own.map(|v| v.as_u64().or_else(|| v.as_str().and_then(|s| s.trim().parse().ok())));
        own.unwrap_or(self.bandwidth_bytes_per_s).filter(|limit| *limit > 0)
    }
}

/// One look at a running migration. Unknown is `None`, never 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sample {
    /// Sent so far, bytes.
    pub transferred_bytes: Option<u64>,
    /// Left to send by the hypervisor's estimate, bytes. May rise.
    pub remaining_bytes: Option<u64>,
    /// Guest RAM, bytes.
    pub total_bytes: Option<u64>,
    /// Pre-copy rounds begun (QEMU: `dirty-sync-count`).
    pub round: Option<u64>,
    /// Dirty rate the hypervisor sees, pages/s (QEMU: `dirty-pages-rate`, fresh only at a bitmap sync).
    pub dirty_pages_per_s: Option<f64>,
    /// Throughput, bytes/s (QEMU: `mbps`, renewed each 100 ms).
    pub throughput_bytes_per_s: Option<f64>,
    /// Throttling of the guest's CPUs, %.
    pub throttle_pct: Option<f64>,
    /// Downtime expected if it switched over now, ms.
    pub expected_downtime_ms: Option<f64>,
    /// Downtime reported of a finished migration, ms.
    pub downtime_ms: Option<f64>,
    /// Time by the hypervisor's own clock, ms.
    pub total_time_ms: Option<f64>,
    /// Time spent in setup, ms.
    pub setup_time_ms: Option<f64>,
    /// Pages found to be all zeroes so far, of which only a mark was sent (QEMU: `duplicate`); once
    /// the first round is over, all there are. Since schema 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_pages: Option<u64>,
    /// How much is done by the product's own account, 0 to 1. May fall. Since schema 1.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
}

/// Something a hypervisor said. `host` is our name for it: `a`, `b`, … in the lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HvEvent {
    /// A hypervisor is there.
    HostUp {
        /// Our name for it.
        host: String,
        /// Product and version.
        version: String,
        /// Its process, if it is on this machine.
        pid: Option<u32>,
    },
    /// How long a command took to this hypervisor and back when it was attached: the shortest way of an
    /// event to us is shorter. Since schema 1.3.
    RoundTrip {
        /// Our name for it.
        host: String,
        /// How long, ns.
        ns: u64,
    },
    /// What a hypervisor offers, with the present values; again whenever a value has changed.
    Offers {
        /// Our name for it.
        host: String,
        /// What it offers.
        offers: Capabilities,
    },
    /// A hypervisor is gone.
    HostLost {
        /// Our name for it.
        host: String,
        /// What became of it, for people.
        why: String,
    },
    /// An event in the product's own words, all fields kept.
    Raw {
        /// Our name for it.
        host: String,
        /// The product's name of the event, e.g. `MIGRATION_PASS`.
        name: String,
        /// The product's own time stamp.
        at: Option<ForeignTime>,
        /// Its data.
        data: Value,
    },
    /// The guest stands still on this host.
    Stopped {
        /// Our name for it.
        host: String,
        /// The product's own time stamp.
        at: Option<ForeignTime>,
    },
    /// The guest runs on this host.
    Resumed {
        /// Our name for it.
        host: String,
        /// The product's own time stamp.
        at: Option<ForeignTime>,
    },
    /// The running migration is in this phase.
    Phase {
        /// The phase, in our words.
        phase: Phase,
        /// The product's own word.
        raw: String,
        /// What is out of the ordinary in it. Since schema 1.3.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        substate: Option<Substate>,
    },
    /// Where the guest is: told once the hosts are attached, after each migration, and whenever it was asked
    /// for and has changed. Since schema 1.3.
    Located {
        /// Where it is.
        location: Location,
    },
    /// Something befell the guest. Since schema 1.3.
    Befell {
        /// Our name for the host it is on.
        host: String,
        /// What.
        what: Incident,
        /// In the product's own words, where it says more; else empty.
        detail: String,
        /// The product's own time stamp.
        at: Option<ForeignTime>,
    },
    /// A pre-copy round begins.
    Round {
        /// Its number, from 1.
        round: u64,
        /// The product's own time stamp.
        at: Option<ForeignTime>,
    },
    /// Blackout sets one of a hypervisor's own settings, at a host that is not its own; told before the
    /// command is given. Since schema 1.3.
    Setting {
        /// Our name for it.
        host: String,
        /// The product's own name of the setting.
        name: String,
        /// Its value before; null if it was not known.
        from: Value,
        /// The value it is to have.
        to: Value,
        /// On whose account it is set.
        why: SettingWhy,
    },
    /// One look at the running migration.
    Sample {
        /// What we understand of it.
        sample: Sample,
        /// All of it, in the product's own words.
        raw: Value,
    },
}

/// Why blackout sets a hypervisor's setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SettingWhy {
    /// The operator asked for it.
    Asked,
    /// What the operator asked for cannot be had, or not be watched, without it.
    Needed,
    /// It gets its former value again.
    PutBack,
}

/// How a migration ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MigrationEnd {
    /// The guest runs at the destination and the source may be deactivated.
    Done,
    /// It failed.
    Failed {
        /// What is said of the failure, by the hypervisor or by who watched it, for people.
        why: String,
    },
    /// It was cancelled; the guest runs at the source.
    Cancelled {
        /// By whom: the operator or a rule.
        by: String,
    },
    /// Lost sight of: whether it succeeded, or where the guest is, could not be learnt. Since schema 1.3.
    Unsettled {
        /// Why nothing more is known.
        why: String,
        /// Where the guest was last known to be.
        last: Location,
        /// When that was seen, ns of the session clock; None if it was never seen anywhere.
        seen: Option<Nanos>,
    },
}

/// A migration as blackout drives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MigrationEvent {
    /// What the next migration would be: told once the hosts are attached, and after each migration.
    /// Since schema 1.3.
    Ready {
        /// Source host.
        from: String,
        /// Destination host.
        to: String,
    },
    /// No migration is possible until something is done about it. Since schema 1.3.
    NotReady {
        /// Why, and what would make one possible.
        why: String,
    },
    /// The command to migrate is about to be given. Migration time counts from here.
    Began {
        /// Number of the migration in the session, from 1.
        n: u32,
        /// Source host.
        from: String,
        /// Destination host.
        to: String,
        /// What it is asked to be; of one that another has begun, that is not known, and these are the defaults.
        settings: MigrationSettings,
        /// Who has begun it, where that was not blackout: its time counts from when it was first seen. Since
        /// schema 1.4.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<By>,
    },
    /// Somebody wants it to be cancelled, stopped or changed. Whether that took effect is another fact: see
    /// [`MigrationEvent::Ruled`], [`MigrationEvent::Refused`] and [`MigrationEvent::Ended`]. Since schema 1.3.
    Requested {
        /// Number of the migration.
        n: u32,
        /// What is wanted.
        then: Then,
        /// Who wants it.
        by: By,
    },
    /// What was requested last is not done: the hypervisor refused it, or did not answer. Since schema 1.3.
    Refused {
        /// Number of the migration.
        n: u32,
        /// What was wanted.
        then: Then,
        /// Why it is not done.
        why: String,
    },
    /// A rule of the policy, or the operator, had pre-copy ended: the hypervisor took the order. An order to
    /// cancel may still come too late; then the migration ends otherwise than cancelled.
    Ruled {
        /// Number of the migration.
        n: u32,
        /// The rule.
        rule: StopRule,
        /// What was done.
        then: Then,
    },
    /// It ended; migration time counts to here.
    Ended {
        /// Number of the migration.
        n: u32,
        /// How.
        end: MigrationEnd,
    },
    /// What it is expected to be: before it begins, and while it runs. Since schema 1.2.
    Forecast {
        /// Number of the migration, also of one that has not begun.
        n: u32,
        /// The time of the newest event it takes account of, ns: what was changed later it does not know.
        of: Nanos,
        /// What is expected.
        forecast: Forecast,
    },
    /// How long the guest will stand still: when it is stopped, and from then on until it runs again. Since
    /// schema 1.3.
    StopForecast {
        /// Number of the migration.
        n: u32,
        /// The instant it is told for, ns: what was seen later is not in it.
        of: super::Nanos,
        /// What is expected.
        forecast: StopForecast,
    },
    /// Its aftermath is settled (guest answers again, late probes are in): the result is final.
    Settled {
        /// Number of the migration.
        n: u32,
    },
}
