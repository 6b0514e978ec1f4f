//! The first line of a capture: what was measured, where, with what.

use serde::{Deserialize, Serialize};

use super::SessionSettings;

/// Versions of everything that took part. Unknown is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Versions {
    /// This program.
    pub blackout: String,
    /// The hypervisor.
    pub hypervisor: Option<String>,
    /// The guest's kernel.
    pub guest_kernel: Option<String>,
    /// `kvm` or `tcg`.
    pub accelerator: Option<String>,
}

/// The machine blackout ran on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostFacts {
    /// CPU model.
    pub cpu: String,
    /// Number of CPUs.
    pub cpus: u32,
    /// RAM, bytes.
    pub ram_bytes: u64,
    /// Kernel release.
    pub kernel: String,
}

/// The header of a capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Header {
    /// Schema version, major: a reader refuses a newer one.
    pub schema_major: u32,
    /// Schema version, minor.
    pub schema_minor: u32,
    /// Name of the session.
    pub name: String,
    /// Wall clock at session start, ns since the epoch. For people; durations never come from it.
    pub wall_origin_unix_ns: u64,
    /// Versions.
    pub versions: Versions,
    /// The machine.
    pub host: HostFacts,
    /// All settings the session was started with.
    pub settings: SessionSettings,
    /// Seed of every random choice of the session.
    pub seed: u64,
    /// True if the hypervisor is simulated.
    pub simulated: bool,
}
