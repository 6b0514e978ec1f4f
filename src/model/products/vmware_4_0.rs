//! VMware ESX 4.0: when a round makes too little progress it switches over with what is left.

use std::time::Duration;

use super::vmware::{self, Vmware};
use crate::event::MigrationSettings;
use crate::model::about::{self, ASSUMED, Constant, CostsKnown, Known};
use crate::model::costs::Costs;
use crate::model::rule::Rule;

pub(super) struct About;

impl about::About for About {
    fn name(&self) -> &'static str {
        "vmware-4.0"
    }

    fn title(&self) -> &'static str {
        "VMware ESX 4.0"
    }

    fn words(&self) -> &'static str {
        "Touched pages, then what is dirty, until what is left can be sent within half a second. When a\n\
             round makes too little progress it switches over with what is left, however long that takes."
    }

    fn constants(&self) -> Vec<Constant> {
        let mut all = vmware::constants();
        let from = "Stun During Page Send came with vSphere 5.0";
        all.push(Constant::new("when it makes too little progress", "switches over", Known::Inferred, from));
        all
    }

    /// The fixed times are calibrated against the paper's Table II; of its testbed only sums are known, and
    /// which part is whose is assumed.
    fn costs(&self) -> Costs {
        let ms = Duration::from_millis;
        Costs { setup: ms(12_000), stop: ms(50), resume: ms(280), finish: ms(6_000), ..Costs::ASSUMED }
    }

    fn costs_known(&self) -> CostsKnown {
        CostsKnown { times: (Known::Calibrated, "the paper, Table II"), small: ASSUMED, header: ASSUMED }
    }

    fn rule(&self, _settings: &MigrationSettings) -> Box<dyn Rule> {
        Box::new(Vmware::new(false))
    }

    fn own_rule(&self) -> Option<String> {
        Some(format!("a round that sends less than {} % of what is dirtied", vmware::MIN_PROGRESS_PCT))
    }

    fn sends_touched_pages_only(&self) -> bool {
        true
    }
}
