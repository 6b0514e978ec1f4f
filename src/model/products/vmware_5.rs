//! VMware ESX from 5.0 on: as 4.0, but a guest that makes too little progress is slowed down.

use std::time::Duration;

use super::vmware::{self, Vmware};
use crate::event::MigrationSettings;
use crate::model::about::{self, Constant, Known};
use crate::model::costs::Costs;
use crate::model::rule::Rule;

pub(super) struct About;

impl about::About for About {
    fn name(&self) -> &'static str {
        "vmware-5"
    }

    fn title(&self) -> &'static str {
        "VMware ESX 5.0 and later"
    }

    fn words(&self) -> &'static str {
        "As ESX 4.0, but when a round makes too little progress the guest is slowed down until five\n\
             times as much is sent as is dirtied: downtime stays near half a second, the guest crawls."
    }

    fn constants(&self) -> Vec<Constant> {
        let mut all = vmware::constants();
        let (known, from) = vmware::OPTIONS;
        all.push(Constant::new("SdpsTargetRate", format!("{} %", vmware::SDPS_TARGET_PCT), known, from));
        let how = "in one step to the target, at most 99 %";
        all.push(Constant::new("how the stuns are set", how, Known::Assumed, "-"));
        all
    }

    fn costs(&self) -> Costs {
        let ms = Duration::from_millis;
        Costs { setup: ms(1_000), stop: ms(30), resume: ms(150), finish: ms(1_000), ..Costs::ASSUMED }
    }

    fn rule(&self, _settings: &MigrationSettings) -> Box<dyn Rule> {
        Box::new(Vmware::new(true))
    }

    fn own_rule(&self) -> Option<String> {
        Some("Stun During Page Send: the guest is slowed down until it converges".to_owned())
    }

    fn sends_touched_pages_only(&self) -> bool {
        true
    }

    fn slows_the_guest_down(&self) -> bool {
        true
    }
}
