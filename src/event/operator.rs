//! What the person does. The screen emits these, the controller records them and acts on them.

use serde::{Deserialize, Serialize};

use super::{LoadSettings, MigrationSettings, Nanos, StopPolicy};

/// Something the person did (or, headless, asked for on the command line).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperatorEvent {
    /// Asks the generators for these settings. *Requested* until the agent acknowledges `id`.
    SetLoad {
        /// Number of the request, rising from 1.
        id: u64,
        /// All settings, changed or not.
        to: LoadSettings,
    },
    /// Settings for the next migration; those that can be are also put to a running one.
    SetMigration {
        /// All settings, changed or not.
        to: MigrationSettings,
    },
    /// Fire.
    Migrate,
    /// Cancel the running migration.
    Cancel,
    /// The time given with `--give-up-after` is over: cancel the running migration. Since schema 1.3.
    GiveUp {
        /// That time, ns since the migration began.
        after_ns: u64,
    },
    /// Stop the source now and let the migration finish.
    StopAndCopy,
    /// Switch the running migration to post-copy.
    PostCopy,
    /// Replaces the stop policy, also of a running migration. Not written any more: a policy is one of the settings
    /// of [`OperatorEvent::SetMigration`].
    SetPolicy {
        /// The new policy.
        to: StopPolicy,
    },
    /// Lets RATE go from one value to another by itself; PERIOD is held. The steps are `SetLoad`s of
    /// their own. Any other change of RATE, BPC or PERIOD ends it.
    Ramp {
        /// RATE at the beginning, pages/s.
        from_pages_per_s: f64,
        /// RATE at the end, pages/s.
        to_pages_per_s: f64,
        /// How long it takes, ns.
        over_ns: u64,
    },
    /// Ends a ramp where it is.
    RampEnd,
    /// Marks an instant.
    Mark {
        /// A note.
        note: String,
        /// The instant, ns of the session clock; without one, now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Nanos>,
    },
    /// Ends the session.
    Quit,
}

/// What a front end asks the controller to do. The controller records it as an [`OperatorEvent`], and gives a
/// request for load its number.
#[derive(Debug, Clone, PartialEq)]
pub enum Intent {
    /// See [`OperatorEvent::SetLoad`].
    SetLoad {
        /// All settings, changed or not.
        to: LoadSettings,
    },
    /// See [`OperatorEvent::SetMigration`].
    SetMigration {
        /// All settings, changed or not.
        to: MigrationSettings,
    },
    /// See [`OperatorEvent::Migrate`].
    Migrate,
    /// See [`OperatorEvent::Cancel`].
    Cancel,
    /// See [`OperatorEvent::GiveUp`].
    GiveUp {
        /// The time that is over, ns since the migration began.
        after_ns: u64,
    },
    /// See [`OperatorEvent::StopAndCopy`].
    StopAndCopy,
    /// See [`OperatorEvent::PostCopy`].
    PostCopy,
    /// See [`OperatorEvent::Ramp`].
    Ramp {
        /// RATE at the beginning, pages/s.
        from_pages_per_s: f64,
        /// RATE at the end, pages/s.
        to_pages_per_s: f64,
        /// How long it takes, ns.
        over_ns: u64,
    },
    /// See [`OperatorEvent::RampEnd`].
    RampEnd,
    /// See [`OperatorEvent::Mark`].
    Mark {
        /// A note.
        note: String,
        /// The instant, ns of the session clock; without one, now.
        at: Option<Nanos>,
    },
    /// See [`OperatorEvent::Quit`].
    Quit,
}

impl Intent {
    /// As it is recorded; `id` is the number of a request for load.
    #[must_use]
    pub fn recorded(self, id: u64) -> OperatorEvent {
        match self {
            Self::SetLoad { to } => OperatorEvent::SetLoad { id, to },
            Self::SetMigration { to } => OperatorEvent::SetMigration { to },
            Self::Migrate => OperatorEvent::Migrate,
            Self::Cancel => OperatorEvent::Cancel,
            Self::GiveUp { after_ns } => OperatorEvent::GiveUp { after_ns },
            Self::StopAndCopy => OperatorEvent::StopAndCopy,
            Self::PostCopy => OperatorEvent::PostCopy,
            Self::Ramp { from_pages_per_s, to_pages_per_s, over_ns } => {
                OperatorEvent::Ramp { from_pages_per_s, to_pages_per_s, over_ns }
            }
            Self::RampEnd => OperatorEvent::RampEnd,
            Self::Mark { note, at } => OperatorEvent::Mark { note, at },
            Self::Quit => OperatorEvent::Quit,
        }
    }
}
