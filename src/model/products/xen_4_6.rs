//! Xen from 4.6 on, migration v2 (tools/libs/guest/xg_sr_save.c, `simple_precopy_policy`).
//!
//! At most five rounds with the guest running, all of memory in the first; a round that finds fewer
//! than 50 dirty pages still sends them, if there are any, and is the last. No page is skipped, no limit on what is sent.

use std::time::Duration;

use crate::event::MigrationSettings;
use crate::model::about::{self, ASSUMED, Constant, CostsKnown, Known};
use crate::model::costs::Costs;
use crate::model::rule::{Facts, Next, Rule};
use crate::model::trace::Why;

/// `SPP_MAX_ITERATIONS`.
const ROUNDS: u64 = 5;
/// `SPP_TARGET_DIRTY_COUNT`, pages.
const DIRTY_PAGES: u64 = 50;

pub(super) struct About;

impl about::About for About {
    fn name(&self) -> &'static str {
        "xen-4.6"
    }

    fn title(&self) -> &'static str {
        "Xen 4.6 and later"
    }

    fn words(&self) -> &'static str {
        "All of memory, then what is dirty, at most five rounds; no page is skipped. Then the guest is\n\
             stopped. Quick, and a busy guest pays for it with its downtime."
    }

    fn constants(&self) -> Vec<Constant> {
        use Known::Source;
        let file = "tools/libs/guest/xg_sr_save.c, simple_precopy_policy";
        vec![
            Constant::new("SPP_MAX_ITERATIONS", format!("{} rounds", ROUNDS), Source, file),
            Constant::new("SPP_TARGET_DIRTY_COUNT", format!("{} pages", DIRTY_PAGES), Source, file),
            Constant::new("pages dirty again", "sent all the same", Source, file),
            Constant::new("untouched pages", "sent in full", Source, file),
        ]
    }

    fn costs(&self) -> Costs {
        let ms = Duration::from_millis;
        Costs { setup: ms(500), stop: ms(50), resume: ms(300), finish: ms(300), ..Costs::ASSUMED }
    }

    fn costs_known(&self) -> CostsKnown {
        CostsKnown { times: ASSUMED, small: ASSUMED, header: (Known::Source, "one unsigned long a page") }
    }

    fn rule(&self, _settings: &MigrationSettings) -> Box<dyn Rule> {
        Box::new(Xen46)
    }

    fn own_rule(&self) -> Option<String> {
        Some(format!("{ROUNDS} rounds"))
    }
}

struct Xen46;

impl Rule for Xen46 {
    fn after_round(&mut self, f: &Facts) -> Next {
        if f.round >= ROUNDS {
            Next::Stop(Why::Gave { up: format!("{ROUNDS} rounds") })
        } else if f.pending_pages == 0 {
            f.converged()
        } else if f.pending_pages < DIRTY_PAGES {
            Next::LastRound(Why::Converged { pages: f.pending_pages })
        } else {
            Next::Round
        }
    }
}
