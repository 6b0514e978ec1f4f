//! Where the guest is, what befell it, and who wanted something done to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StopRule;
use crate::units::show_duration;

/// Where the guest is, as far as is known (design: vocabulary). Unknown is never taken for "not running".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// On this host, and on no other that we know of.
    At {
        /// Our name for the host.
        host: String,
        /// Whether it runs there, or stands still.
        running: bool,
    },
    /// Two hosts run it at the same time, which must never be.
    Both,
    /// No host has it any more: it ended, or was lost.
    Nowhere,
    /// Under way between two hosts; the product does not say more.
    Moving,
    /// Not known.
    Unknown {
        /// Why the place cannot be told, for people.
        why: String,
    },
}

impl Location {
    /// The host that has the guest, where exactly one is known to have it.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::At { host, .. } => Some(host),
            Self::Both | Self::Nowhere | Self::Moving | Self::Unknown { .. } => None,
        }
    }

    /// In words that follow "the guest": `runs at a`, `stands still at b`, `is on its way`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::At { host, running: true } => format!("runs at {host}"),
            Self::At { host, running: false } => format!("stands still at {host}"),
            Self::Both => "runs on both hosts".to_owned(),
            Self::Nowhere => "is on neither host".to_owned(),
            Self::Moving => "is on its way from one host to the other".to_owned(),
            Self::Unknown { why } if why.is_empty() => "is at an unknown place".to_owned(),
            Self::Unknown { why } => format!("is at an unknown place ({why})"),
        }
    }
}

/// A state within a phase that is not the phase's ordinary course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Substate {
    /// Post-copy has lost its connection: the guest stands wherever it touches memory that has not arrived.
    Paused,
    /// A paused post-copy is being taken up again over a new connection.
    Recovering,
    /// A cancel is being carried out. It may still come too late.
    Cancelling,
    /// Waits for a device of the guest to be unplugged before memory is copied.
    WaitingForDevice,
    /// Waits to be told to switch over, with the guest stopped.
    WaitingToSwitchOver,
    /// The state of the devices is handed over.
    HandingOver,
    /// The guest is kept in step with a second one, for ever.
    Replicating,
    /// Everything has arrived and the guest stands still: blackout waits before it resumes it.
    WaitingToResume,
}

impl Substate {
    /// The word of the vocabulary.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Recovering => "recovering",
            Self::Cancelling => "cancelling",
            Self::WaitingForDevice => "waiting for a device",
            Self::WaitingToSwitchOver => "waiting to switch over",
            Self::HandingOver => "handing over",
            Self::Replicating => "replicating",
            Self::WaitingToResume => "waiting to resume",
        }
    }

    /// Whether memory moves in it, so that what is left and how fast it shrinks says when it ends.
    #[must_use]
    pub fn moves(self) -> bool {
        matches!(self, Self::HandingOver)
    }
}

/// Something that befell the guest on a host and that is no part of any migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Incident {
    /// It was shut down, or powered off.
    ShutDown,
    /// It was reset.
    Reset,
    /// Its kernel panicked.
    Panicked,
    /// A read or write of one of its disks failed.
    IoError,
    /// Its watchdog ran out.
    Watchdog,
}

impl Incident {
    /// In words that follow "the guest".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::ShutDown => "shut down",
            Self::Reset => "was reset",
            Self::Panicked => "panicked",
            Self::IoError => "had an I/O error",
            Self::Watchdog => "let its watchdog run out",
        }
    }
}

/// Who wanted a migration to be cancelled, stopped or changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The operator asked for it.
    Operator,
    /// A rule of the stop policy.
    Rule(StopRule),
    /// The time given with `--give-up-after` is over.
    GiveUpAfter {
        /// That time, ns since the migration began.
        limit_ns: u64,
    },
    /// The session ends while the migration runs: the operator quits, or a signal came.
    Closing,
    /// Not asked for through this program, as far as it knows.
    Another,
}

impl By {
    /// In words: `the operator`, `--give-up-after 20.0 s`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Operator => "the operator".to_owned(),
            Self::Rule(rule) => rule.words(),
            Self::GiveUpAfter { limit_ns } => {
                format!("--give-up-after {}", show_duration(Duration::from_nanos(*limit_ns)))
            }
            Self::Closing => "the end of the session".to_owned(),
            Self::Another => "another than blackout".to_owned(),
        }
    }
}
