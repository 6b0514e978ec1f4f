//! Cloud Hypervisor (vmm/src/lib.rs `is_precopy_converged`, `VmSendMigrationData`): stops when
//! what is left would take no longer than `downtime_ms` at the bandwidth of the last pass, gives up
//! after `timeout_s`. Its `memory_mode: postcopy` is newer than the rule modelled here.
//!
//! Condition and defaults are read in its source; what a migration costs besides pages is assumed, all of it.

use std::time::Duration;

use crate::event::MigrationSettings;
use crate::model::about::{self, Constant, Known, Meaning, Own};
use crate::model::costs::Costs;
use crate::model::rule::{Facts, Next, Rule};

/// `downtime_ms` where it is not set, ms.
const DOWNTIME_MS: u64 = 300;
/// `timeout_s`, with `timeout_strategy` cancel.
const TIMEOUT_S: u64 = 3600;

pub(super) struct About;

impl about::About for About {
    fn name(&self) -> &'static str {
        "cloud-hypervisor"
    }

    fn title(&self) -> &'static str {
        "Cloud Hypervisor"
    }

    fn words(&self) -> &'static str {
        "All of memory, then what is dirty, until what is left can be sent within downtime_ms at the\n\
             bandwidth of the last pass; gives up after an hour."
    }

    fn constants(&self) -> Vec<Constant> {
        use Known::Source;
        vec![
            Constant::new("downtime_ms", format!("{} ms unless set", DOWNTIME_MS), Source, "VmSendMigrationData"),
            Constant::new("timeout_s", format!("{} s, then cancel", TIMEOUT_S), Source, "VmSendMigrationData"),
            Constant::new("untouched pages", "sent in full", Source, "the first pass is the whole memory table"),
        ]
    }

    fn costs(&self) -> Costs {
        let ms = Duration::from_millis;
        Costs { stop: ms(10), resume: ms(50), ..Costs::ASSUMED }
    }

    fn rule(&self, _settings: &MigrationSettings) -> Box<dyn Rule> {
        Box::new(CloudHypervisor)
    }

    fn parameters(&self) -> &'static [Own] {
        const ALL: &[Own] = &[Own::new("downtime_ms", "ms", false, Meaning::DowntimeLimit)];
        ALL
    }
}

struct CloudHypervisor;

impl Rule for CloudHypervisor {
    fn after_round(&mut self, f: &Facts) -> Next {
        let limit_s = f.settings.downtime_limit_ms.unwrap_or(DOWNTIME_MS) as f64 / 1e3;
        let last_pass = f.sent_bytes as f64 / (f.round_ns.max(1) as f64 / 1e9);
        if f.pending_pages == 0 || f.pending_bytes as f64 / last_pass.max(1.0) <= limit_s {
            f.converged()
        } else if f.now_ns >= TIMEOUT_S * 1_000_000_000 {
            Next::Cancel
        } else {
            Next::Round
        }
    }
}
