//! The contract: what every product does for blackout, in the same words.
//!
//! A [`Hypervisor`] is one product pointed at one guest, for the whole of a session: it says what it offers and
//! what can be seen of it, where the guest is, takes settings between migrations, starts a migration or joins
//! one that runs already, and is closed at the end. A [`Migration`] is one that runs: observations come out of
//! it, orders go in. Nothing above knows a product.
//!
//! Facts go to the event stream as they are seen; [`super::Observation`] is the newest state, for decisions.

use std::sync::Arc;

use async_trait::async_trait;

use super::{HvError, Observations, Place, Side};
use crate::event::{Capabilities, EventSink, Location, MigrationEnd, MigrationSettings};

/// What is known between migrations.
#[derive(Debug, Clone, PartialEq)]
pub struct Prospect {
    /// Our name for the host the next migration would come from.
    pub from: String,
    /// Our name for the host it would go to.
    pub to: String,
    /// Where the guest is, seen from that migration.
    pub place: Place,
    /// Why there can be none now, and what would make one possible.
    pub obstacle: Option<String>,
}

impl Prospect {
    /// Where the guest is, by the names of hosts.
    #[must_use]
    pub fn location(&self) -> Location {
        self.place.location(&self.from, &self.to)
    }
}

/// One product pointed at one guest, for the whole of a session. Every method may be called from any task.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// What is offered and what can be seen, with the values of this moment.
    ///
    /// # Errors
    /// If it cannot be reached or does not answer.
    async fn capabilities(&self) -> Result<Capabilities, HvError>;

    /// Where the guest is, and what the next migration would be. Returns within seconds, also where a host does
    /// not answer; then the place is unknown.
    async fn prospect(&self) -> Prospect;

    /// What of these settings would not be taken, a line each. Changes nothing at a host that is not our own.
    async fn check(&self, _settings: &MigrationSettings) -> Vec<String> {
        Vec::new()
    }

    /// Makes everything ready for a migration with these settings. What it changes at hosts that are not our own
    /// is told before it is done, and put back when the migration is over ([`Migration::leave`]), when it is not
    /// to begin after all ([`Hypervisor::withdraw`]), or at [`Hypervisor::close`]. May be dropped before it is
    /// done.
    ///
    /// # Errors
    /// If something asked for is not offered, or was refused. Nothing has begun then.
    async fn apply(&self, settings: &MigrationSettings) -> Result<(), HvError>;

    /// The migration that was made ready for does not begin: puts back what was changed for it.
    async fn withdraw(&self) {}

    /// Gives the command to migrate and begins to watch. Returns as soon as the command is taken. What is seen of
    /// this migration goes into `facts`, which says which one it is.
    ///
    /// # Errors
    /// If it was refused. Where the answer does not say that ([`HvError::is_unanswered`]), it may have begun all
    /// the same; [`Hypervisor::join`] then finds it.
    async fn start(&self, facts: EventSink) -> Result<Arc<dyn Migration>, HvError>;

    /// A migration of the guest that is under way already, whoever has begun it; None if there is none, or
    /// where the product does not say.
    ///
    /// # Errors
    /// If that cannot be asked.
    async fn join(&self, _facts: EventSink) -> Result<Option<Arc<dyn Migration>>, HvError> {
        Ok(None)
    }

    /// Waits until a migration of the guest is under way that was not begun here, which [`Hypervisor::join`] then
    /// finds; for ever where the product does not say. One that was begun here, or was joined, is not told again
    /// although it may still go on. Looks only, and changes nothing. May be dropped without loss.
    async fn begun(&self) {
        std::future::pending().await
    }

    /// A migration has ended so: makes ready for the next one, as far as hosts of our own need it.
    ///
    /// # Errors
    /// If the next one will not be possible.
    async fn after(&self, _end: &MigrationEnd) -> Result<(), HvError> {
        Ok(())
    }

    /// The session is over: puts back what is still changed, and ends sessions, tasks, shells and processes
    /// of its own.
    async fn close(&self);
}

/// What a running migration can be told. Which of it a product takes, its [`Capabilities`] say.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Give up; the guest stays at the source. Whether it came in time is seen in what is observed.
    Cancel,
    /// Stop the guest at the source, so that the migration can finish. From here on it runs nowhere until it is
    /// resumed: what safeguard there is against the death of this process is armed first.
    StopSource,
    /// Run the guest at the destination now and let it pull what it lacks.
    PostCopy,
    /// Throttle the guest until pre-copy converges.
    AutoConverge,
    /// See to it that the guest runs there. Given only where the guest is known to stand; one that runs
    /// already is no error. At the destination this waits until everything has arrived.
    Resume(Side),
    /// New settings; those that can be changed while it runs are.
    Settings(Box<MigrationSettings>),
}

impl Order {
    /// In words that follow "asked".
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            Self::Cancel => "to cancel",
            Self::StopSource => "to stop the guest",
            Self::PostCopy => "to start post-copy",
            Self::AutoConverge => "to throttle the guest",
            Self::Resume(Side::Source) => "to run the guest at the source",
            Self::Resume(Side::Destination) => "to run the guest at the destination",
            Self::Settings(_) => "to change its settings",
        }
    }
}

/// A migration that runs. Every method may be called from any task. Dropped without [`Migration::leave`] while
/// the guest is stopped, its safeguard acts as if this process had died.
#[async_trait]
pub trait Migration: Send + Sync {
    /// The newest state of it, and each that follows.
    fn observe(&self) -> Observations;

    /// Gives an order.
    ///
    /// # Errors
    /// [`HvError::NotNow`] if the product does not offer it, or not in this state; it was not carried out then.
    async fn order(&self, order: Order) -> Result<(), HvError>;

    /// Asks where the guest is. Returns within seconds, also where a host does not answer.
    async fn locate(&self) -> Place;

    /// It is over and the guest is seen to: safeguards stand down, what was changed for it is put back, watching
    /// ends.
    async fn leave(&self);
}
