//! What is about to be migrated.

use crate::event::{LoadSettings, MigrationSettings};

/// What is about to be migrated.
#[derive(Debug, Clone, PartialEq)]
pub struct Situation {
    /// The load, with the RATE that is really reached.
    pub load: LoadSettings,
    /// What the migration is asked to be.
    pub settings: MigrationSettings,
    /// The guest's memory as the hypervisor migrates it, bytes.
    pub ram_bytes: u64,
}
