//! What the versions of VMware ESX have in common. The option names and their defaults come from dumps of the advanced options of ESX
//! later than 4.0, the course from log lines of the VMkernel; the loop itself is inferred.
//!
//! Only touched pages are sent. After each round: what is left can be sent within the switch-over
//! time goal, then switch over; the round sent too little more than was dirtied meanwhile, then ESX
//! 4.0 switches over all the same, and ESX from 5.0 on slows the guest's CPUs down in small slices
//! (Stun During Page Send) until it sends five times what is dirtied.

use crate::model::about::{Constant, Known, Sourced};
use crate::model::rule::{Facts, Next, Rule, Throttle, Untouched};
use crate::model::trace::Why;

/// `PreCopySwitchoverTimeGoal`, s.
pub(super) const SWITCHOVER_GOAL_S: f64 = 0.5;
/// `PreCopyMinProgressPerc`: sent to dirtied in a round, %.
pub(super) const MIN_PROGRESS_PCT: f64 = 130.0;
/// `SdpsTargetRate`: sent to dirtied that the stuns aim at, %.
pub(super) const SDPS_TARGET_PCT: f64 = 500.0;

/// Where the options are known from.
pub(super) const OPTIONS: Sourced = (Known::Inferred, "advanced options of a later ESX");

/// The constants all versions have.
pub(super) fn constants() -> Vec<Constant> {
    let option = |name, value: String| Constant::new(name, value, OPTIONS.0, OPTIONS.1);
    vec![
        option("PreCopySwitchoverTimeGoal", format!("{SWITCHOVER_GOAL_S} s")),
        option("PreCopyMinProgressPerc", format!("{MIN_PROGRESS_PCT} %")),
        Constant::new(
            "untouched pages",
            "not sent",
            Known::Inferred,
            "the paper, section IV.A: time nearly constant in VMSIZE",
        ),
    ]
}

pub(super) struct Vmware {
    sdps: bool,
    throttle_pct: f64,
}

impl Vmware {
    /// With or without Stun During Page Send.
    pub(super) fn new(sdps: bool) -> Self {
        Self { sdps, throttle_pct: 0.0 }
    }
}

impl Rule for Vmware {
    fn untouched(&self) -> Untouched {
        Untouched::Not
    }

    fn throttle(&self) -> Throttle {
        if self.throttle_pct > 0.0 { Throttle::Even(self.throttle_pct) } else { Throttle::None }
    }

    fn after_round(&mut self, f: &Facts) -> Next {
        if f.pending_s() <= SWITCHOVER_GOAL_S {
            return f.converged();
        }
        let t2d = f.transmit_to_dirty_pct();
        if t2d >= MIN_PROGRESS_PCT {
            return Next::Round;
        }
        if !self.sdps {
            return Next::Stop(Why::Gave {
                up: format!("sent {t2d:.0} % of what was dirtied, less than {MIN_PROGRESS_PCT} %"),
            });
        }
        // What is let through of the guest's time, times what was let through already.
        let share = (1.0 - self.throttle_pct / 100.0) * t2d / SDPS_TARGET_PCT;
        self.throttle_pct = (100.0 * (1.0 - share)).clamp(0.0, 99.0);
        Next::Round
    }
}
