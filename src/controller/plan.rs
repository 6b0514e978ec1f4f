//! What a session is to be: a plain plan that knows no command line.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::event::{LoadSettings, MigrationSettings};
use crate::session::outlook::Rests;

/// What is particular to a session with a simulated hypervisor.
#[derive(Debug, Clone)]
pub(crate) struct Simulation {
    /// How many times as fast as real time the session's clock goes.
    pub(crate) speed: f64,
    /// Seed of every random choice.
    pub(crate) seed: u64,
}

/// What a session is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Its name.
    pub(crate) name: String,
    /// Folder of the capture; None: a new one where sessions are kept.
    pub(crate) out: Option<PathBuf>,
    /// What it was begun with, for the header.
    pub(crate) command: String,
    /// The settings particular to that, for the header.
    pub(crate) own: Map<String, Value>,
    /// The load it is to have, for the header: it is asked for as any other.
    pub(crate) load: LoadSettings,
    /// Settings for the next migration; None where nothing is migrated.
    pub(crate) migration: Option<MigrationSettings>,
    /// What is to be said of these settings.
    pub(crate) remark: Option<String>,
    /// Distance of the probes downtime is measured with.
    pub(crate) ping_interval: Duration,
    /// A probe unanswered for so long is lost.
    pub(crate) ping_deadline: Duration,
    /// The longest such time of all probes of the session: a result is final after it.
    pub(crate) probe_deadline: Duration,
    /// The hypervisor's version, where it is known already.
    pub(crate) hypervisor: Option<String>,
    /// The guest's kernel, where it is known already.
    pub(crate) guest_kernel: Option<String>,
    /// What forecasts rest on; None where there are none.
    pub(crate) forecasts: Option<Rests>,
    /// The hypervisor is simulated; None for a real one.
    pub(crate) simulation: Option<Simulation>,
}
