//! Hyper-V: passes over what is dirty until little is left, at most ten of them. Microsoft documents
//! that the passes end ("not guaranteed to converge"), not after how many; ten is what analysts wrote.
//!
//! No constant of it is known from Microsoft: the cap is inferred, all else and every fixed time is assumed.

use std::time::Duration;

use crate::event::MigrationSettings;
use crate::model::about::{self, Constant, Known};
use crate::model::costs::Costs;
use crate::model::rule::{Facts, Next, Rule};
use crate::model::trace::Why;

/// Passes at most (inferred).
const PASSES: u64 = 10;
/// What is left may take so long to be sent, s (assumed).
const LITTLE_S: f64 = 0.3;

pub(super) struct About;

impl about::About for About {
    fn name(&self) -> &'static str {
        "hyper-v"
    }

    fn title(&self) -> &'static str {
        "Hyper-V"
    }

    fn words(&self) -> &'static str {
        "All of memory, then what is dirty, until little is left, at most ten passes."
    }

    fn constants(&self) -> Vec<Constant> {
        use Known::{Assumed, Inferred};
        vec![
            Constant::new(
                "passes at most",
                PASSES,
                Inferred,
                "Directions on Microsoft, Live Migration Switch Over (2009); Microsoft documents no number",
            ),
            Constant::new("untouched pages", "sent in full", Assumed, "-"),
            Constant::new("little enough is left", format!("{} s at the link's speed", LITTLE_S), Assumed, "-"),
        ]
    }

    fn costs(&self) -> Costs {
        let ms = Duration::from_millis;
        Costs { setup: ms(1_000), stop: ms(50), resume: ms(300), finish: ms(1_000), ..Costs::ASSUMED }
    }

    fn rule(&self, _settings: &MigrationSettings) -> Box<dyn Rule> {
        Box::new(HyperV)
    }

    fn own_rule(&self) -> Option<String> {
        Some(format!("{PASSES} passes"))
    }
}

struct HyperV;

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
