//! Hyper-V: passes over what is dirty until little is left, at most ten of them. Microsoft documents
//! that the passes end ("not guaranteed to converge"), not after how many; ten is what analysts wrote.

use super::{Facts, Next, Rule, Why};

/// Passes at most (inferred).
pub(super) const PASSES: u64 = 10;
/// What is left may take so long to be sent, s (assumed).
pub(super) const LITTLE_S: f64 = 0.3;

pub(super) struct HyperV;

impl Rule for HyperV {
    fn after_round(&mut self, f: &Facts) -> Next {
        if f.pending_s() <= LITTLE_S {
            f.converged()
        } else if f.round >= PASSES {
            Next::Stop(Why::Gave { up: format!("{PASSES} passes") })
        } else {
            Next::Round
        }
    }
}
