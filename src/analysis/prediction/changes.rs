//! What was changed while a migration ran: the model goes through the same.

use crate::event::{DirtyCycle, MigrationSettings, Pattern};
use crate::model::{Engine, Order, Scenario, ScenarioError, Trace, View, Watcher, run, run_watched};

/// Something that was changed while it ran.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The generator was set to another cycle or pattern.
    Load {
        /// BPC and PERIOD.
        dirty: DirtyCycle,
        /// The order of the writes.
        pattern: Pattern,
    },
    /// Other settings were given.
    Settings(MigrationSettings),
}

/// Runs a scenario in which these changes happen, each so many ns after it began, in the order of time.
pub(super) fn run_with(scenario: &Scenario, changes: &[(u64, Change)]) -> Result<Trace, ScenarioError> {
    if changes.is_empty() {
        return run(scenario);
    }
    let other = changes.iter().any(|(_, c)| matches!(c, Change::Load { pattern, .. } if *pattern != Pattern::Cyclic));
    let engine = if other { Engine::Bitmap } else { scenario.engine() };
    run_watched(scenario, engine, &mut Changing { changes })
}

/// Gives the changes as orders when they are due.
struct Changing<'a> {
    /// Those still to come.
    changes: &'a [(u64, Change)],
}

impl Watcher for Changing<'_> {
    fn every(&self) -> Option<std::time::Duration> {
        None
    }

    fn due_ns(&self, _: u64) -> u64 {
        self.changes.first().map_or(u64::MAX, |(t, _)| *t)
    }

    fn look(&mut self, view: &View) -> Vec<Order> {
        let due = self.changes.partition_point(|(t, _)| *t <= view.now_ns);
        let (now, later) = self.changes.split_at(due);
        self.changes = later;
        let order = |(_, change): &(u64, Change)| match change {
            Change::Load { dirty, pattern } => Order::Dirty { dirty: *dirty, pattern: *pattern },
            Change::Settings(settings) => Order::Settings(settings.clone()),
        };
        now.iter().map(order).collect()
    }
}
