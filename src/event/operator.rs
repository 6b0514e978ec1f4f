//! What the person does. The screen emits these, the controller records them and acts on them.

use serde::{Deserialize, Serialize};

use super::{LoadSettings, MigrationSettings, StopPolicy};

/// Something the person did (or, headless, asked for on the command line).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Stop the source now and let the migration finish.
    StopAndCopy,
    /// Switch the running migration to post-copy.
    PostCopy,
    /// Replaces the stop policy, also of a running migration.
    SetPolicy {
        /// The new policy.
        to: StopPolicy,
    },
    /// Marks this instant.
    Mark {
        /// A note.
        note: String,
    },
    /// Ends the session.
    Quit,
}
