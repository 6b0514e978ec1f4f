//! Looking on while a scenario happens, and changing it on the way.

use std::time::Duration;

use super::trace::Why;
use crate::event::{DirtyCycle, MigrationSettings, Pattern, Phase, StopRule};

/// What has just happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A round begins.
    RoundBegan,
    /// Some pages more have been sent, or a little time has passed.
    Sending,
    /// The guest stands still at the source.
    Stopped,
    /// The guest runs at the destination.
    Resumed,
    /// The guest can be reached again.
    Answering,
    /// It is over.
    Ended,
}

/// The migration at one instant. Times in ns since it began.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Now.
    pub now_ns: u64,
    /// What has just happened.
    pub step: Step,
    /// The phase.
    pub phase: Phase,
    /// The round, from 1; 0 before the first.
    pub round: u64,
    /// What has gone over the link so far, bytes.
    pub sent_bytes: u64,
    /// Left to send as far as the hypervisor knows, bytes.
    pub remaining_bytes: u64,
    /// Pages of zeroes so far, of which only a mark was sent; None of a product that does not tell.
    pub marked_pages: Option<u64>,
    /// The guest's memory, bytes.
    pub total_bytes: u64,
    /// Dirty rate as seen over the last round, pages/s.
    pub dirty_pages_per_s: Option<f64>,
    /// What the link carries for this migration now, bytes/s.
    pub bandwidth_bytes_per_s: f64,
    /// How much the guest is throttled, %.
    pub throttle_pct: f64,
    /// Downtime if it switched over now.
    pub expected_downtime: Option<Duration>,
    /// How fast the guest's time goes for its writers: 1 as ours, 0 when it stands still, between
    /// when it is throttled.
    pub guest_share: f64,
    /// Why pre-copy has ended, once it has.
    pub why: Option<Why>,
}

/// Something to be changed in the middle of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// The generator is set to something else. WSET stays as it is in the running scenario.
    Dirty {
        /// BPC and PERIOD.
        dirty: DirtyCycle,
        /// The order of the writes.
        pattern: Pattern,
    },
    /// New settings: bandwidth, downtime limit and policy count from now on.
    Settings(MigrationSettings),
    /// End pre-copy by stopping the guest.
    StopAndCopy(StopRule),
    /// Run the guest at the destination and pull the rest.
    PostCopy(StopRule),
    /// Begin to throttle the guest.
    AutoConverge,
    /// Give up.
    Cancel,
}

/// Somebody who looks on.
pub trait Watcher {
    /// How often to be asked while pages are sent; None to be told of the steps only.
    fn every(&self) -> Option<Duration>;

    /// When to be asked next if no step comes before, ns since the migration began, later than `now_ns`;
    /// `u64::MAX` for with the steps only.
    fn due_ns(&self, now_ns: u64) -> u64 {
        self.every().map_or(u64::MAX, |every| {
            let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
            (now_ns - now_ns % every_ns).saturating_add(every_ns)
        })
    }

    /// It is told what is, and may wait as long as it likes: virtual time stands meanwhile.
    fn look(&mut self, view: &View) -> Vec<Order>;
}

/// Nobody.
impl Watcher for () {
    fn every(&self) -> Option<Duration> {
        None
    }

    fn look(&mut self, _: &View) -> Vec<Order> {
        Vec::new()
    }
}
