//! Driving a live migration, in the same words for every hypervisor.
//!
//! A [`Driver`] maps one product onto the vocabulary of [`crate::event`]: it says what the product
//! offers, starts, tunes, stops and cancels a migration, and tells what it sees, both as events
//! into the stream (all facts) and as a small [`Observation`] (the newest state, for decisions).
//! Above the drivers stand the stop policy ([`policy`], pure) and the runner ([`run`]), which know
//! no product. A product's name appears only in its own folder.

pub mod blocking;
pub mod command;
pub mod contract;
pub mod exec;
pub mod observe;
pub mod place;
pub mod policy;
pub mod qmp;
pub mod run;

use async_trait::async_trait;
use serde_json::Value;
use thiserror::Error;

pub use contract::{Hypervisor, Migration, Order, Prospect};
pub use observe::{Observation, Observations, Observer, Side, Unwatched};
pub use place::Place;
pub use run::{RunCommand, run_migration};

pub use crate::event::{Capabilities, Parameter};

use crate::event::MigrationSettings;

/// Why a hypervisor did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum HvError {
    /// It cannot be reached, or what answers is something else.
    #[error("cannot use host '{host}': {why}")]
    Unreachable {
        /// Our name for it.
        host: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// It was there and is gone.
    #[error("host '{host}' is gone: {why}")]
    Lost {
        /// Our name for it.
        host: String,
        /// What was seen of it last.
        why: String,
    },
    /// It understood and said no.
    #[error("host '{host}' refuses {what}: {why}")]
    Refused {
        /// Our name for it.
        host: String,
        /// What it was asked.
        what: String,
        /// In its own words.
        why: String,
    },
    /// It did not answer.
    #[error("host '{host}' did not answer {what} within {seconds} s")]
    Silent {
        /// Our name for it.
        host: String,
        /// What it was asked.
        what: String,
        /// How long we waited, s.
        seconds: u64,
    },
    /// It answered, but what it said cannot be read: whether it did what it was asked is not known.
    #[error("the answer of host '{host}' to {what} cannot be read: {why}")]
    Unread {
        /// Our name for it.
        host: String,
        /// What it was asked.
        what: String,
        /// What is wrong with its answer.
        why: String,
    },
    /// It does not have what was asked for.
    #[error("host '{host}' offers no {kind} '{name}'{}; it offers: {}", nearest.as_ref().map(|n| format!(" (did you mean '{n}'?)")).unwrap_or_default(), offered.join(", "))]
    NotOffered {
        /// Our name for it.
        host: String,
        /// `migration parameter` or `migration capability`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The offered name most like it.
        nearest: Option<String>,
        /// What it offers.
        offered: Vec<String>,
    },
    /// It has it, but not in this state.
    #[error("cannot {what} now: {why}")]
    NotNow {
        /// What was asked for.
        what: String,
        /// Why not, and what would make it possible.
        why: String,
    },
    /// The value cannot be used.
    #[error("invalid value '{value}' for '{name}': {hint}")]
    BadValue {
        /// The parameter.
        name: String,
        /// The value as given.
        value: String,
        /// What would be right.
        hint: String,
    },
}

impl HvError {
    /// Whether it may have been done all the same: what was said to it, if anything, does not tell.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Self::Silent { .. } | Self::Lost { .. } | Self::Unread { .. })
    }

    /// Whether it was certainly not done.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::NotNow { .. } | Self::Refused { .. } | Self::NotOffered { .. } | Self::BadValue { .. })
    }
}

/// One migration from a source to a destination, driven through one product.
///
/// A driver is made for one migration and dropped afterwards. Every method may be called from any
/// task. Facts go to the event stream as they are seen; [`Driver::observe`] gives the newest state.
#[async_trait]
pub trait Driver: Send + Sync {
    /// What is offered, with the values of this moment.
    async fn capabilities(&self) -> Result<Capabilities, HvError>;

    /// Makes both ends ready: puts the settings to them and opens the destination.
    async fn prepare(&self, settings: &MigrationSettings) -> Result<(), HvError>;

    /// Gives the command to migrate and begins to watch. Returns as soon as the command is taken.
    async fn start(&self) -> Result<(), HvError>;

    /// Asks for the running migration to be cancelled; the end is seen in [`Driver::observe`].
    async fn cancel(&self) -> Result<(), HvError>;

    /// Changes one parameter by the product's own name, also of a running migration.
    async fn tune(&self, name: &str, value: Value) -> Result<(), HvError>;

    /// Puts those of the settings to a running migration that can still be changed.
    async fn retune(&self, settings: &MigrationSettings) -> Result<(), HvError>;

    /// Runs the guest at the destination now and lets it pull what it lacks.
    async fn start_post_copy(&self) -> Result<(), HvError>;

    /// Begins to throttle the guest.
    async fn start_auto_converge(&self) -> Result<(), HvError>;

    /// Stops the guest at the source, so that the migration can finish. From here on the guest
    /// runs nowhere until it is resumed: the driver first arms what safeguard it has
    /// against the death of this process.
    async fn stop_source(&self) -> Result<(), HvError>;

    /// Sees to it that the guest runs at the destination: waits until everything has arrived
    /// there, resumes it and has this confirmed.
    async fn resume_destination(&self) -> Result<(), HvError>;

    /// Sees to it that the guest runs at the source (after a failed or cancelled migration).
    async fn resume_source(&self) -> Result<(), HvError>;

    /// Asks where the guest is, of both ends. Returns within seconds, also where an end does not answer.
    async fn locate(&self) -> Place;

    /// The states of the migration.
    fn observe(&self) -> Observations;

    /// The migration is over and the guest is seen to: safeguards stand down, watching ends.
    async fn stand_down(&self);
}
