//! What a simulated migration is made of: the guest's side of it, and whose rules.

use std::time::Duration;

use super::offers::heeded;
use crate::event::{DirtyCycle, MigrationSettings, Nanos, Pattern};
use crate::model::{Costs, Guest, Link, Product, Scenario};

/// A pre-copy that nobody has ended after so long is given up.
const HORIZON: Duration = Duration::from_secs(24 * 3600);

/// The simulated guest that is migrated. Times are ns of the session clock.
pub trait LiveGuest: Send + Sync {
    /// From now on its time is the migration's, until it is let go, and the session clock stands until it is
    /// granted more. Comes to when that is, and to its memory and its writers as they are then.
    fn take(&self) -> (Nanos, Guest);
    /// Lets everything happen that happens until `t`; comes to what its generator is set to if that has
    /// changed.
    fn pass(&self, t: Nanos) -> Option<(DirtyCycle, Pattern)>;
    /// How fast time goes for its writers: 1 when it is not throttled.
    fn run_at(&self, share: f64);
    /// It stands still from `t` on.
    fn stop(&self, t: Nanos);
    /// It runs again from `t` on, and the network leads to it from `reached` on.
    fn resume(&self, t: Nanos, reached: Nanos);
    /// Its time is its own again.
    fn release(&self);
}

/// What is simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOptions {
    /// Whose rules.
    pub product: Product,
    /// The way between the hosts.
    pub link: Link,
    /// What costs time besides.
    pub costs: Costs,
    /// Seed of the random patterns.
    pub seed: u64,
}

impl ModelOptions {
    /// A migration of this guest with these settings.
    #[must_use]
    pub fn scenario(&self, guest: Guest, settings: &MigrationSettings) -> Scenario {
        Scenario {
            product: self.product,
            guest,
            link: self.link,
            costs: self.costs,
            settings: heeded(self.product, settings),
            horizon: HORIZON,
            seed: self.seed,
        }
    }
}
