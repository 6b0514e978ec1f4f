//! Xen 3.4, `xc_domain_save` (tools/libxc/xc_domain_save.c, read in 3.4.4; XenServer 5.6 is 3.4.2).
//!
//! Each round goes over all of memory in batches of 1024 pages to be sent. Before each batch the
//! log of dirty pages is looked at (not cleared), and what is dirty again is left for the next
//! round: it costs nothing now. So a hot set makes rounds short, and above the jump migration time
//! *falls* as RATE rises. The last round, with the guest stopped, sends everything.

use std::time::Duration;

use crate::event::MigrationSettings;
use crate::event::policy::{XEN_3_4_PAGES, XEN_3_4_RAM_FACTOR, XEN_3_4_ROUNDS};
use crate::model::about::{self, ASSUMED, Constant, CostsKnown, Known, Meaning, Own};
use crate::model::costs::Costs;
use crate::model::rule::{Facts, Next, Rule};
use crate::model::trace::Why;

/// `MAX_BATCH_SIZE`, pages.
const BATCH_PAGES: u64 = 1024;
/// `START_MBIT_RATE`, Mbit/s, of the adaptive bandwidth that no build had switched on.
const START_MBIT_PER_S: f64 = 100.0;
/// `MAX_MBIT_RATE`, Mbit/s.
const MAX_MBIT_PER_S: f64 = 500.0;
/// How far above the dirty rate the next round goes, Mbit/s (`+ 50` in the source; Clark et al. 2005, on dynamic rate-limiting).
const STEP_MBIT_PER_S: f64 = 50.0;

pub(super) struct About;

impl about::About for About {
    fn name(&self) -> &'static str {
        "xen-3.4"
    }

    fn title(&self) -> &'static str {
        "Xen 3.4 (XenServer 5.6)"
    }

    fn words(&self) -> &'static str {
        "All of memory in the first round, then what is dirty, round after round. A page that is dirty\n\
             again when its turn comes is left for the next round. The guest is stopped when a round has\n\
             next to nothing to send, after 29 rounds, or when 3 x RAM has been sent; then everything left\n\
             is sent. Above the jump the rounds are hollow: migration time falls as RATE rises, downtime is\n\
             WSET over the link."
    }

    fn constants(&self) -> Vec<Constant> {
        use Known::{Assumed, Source};
        let file = "tools/libxc/xc_domain_save.c, Xen 3.4.4";
        // XenServer's toolstack could have given others; nothing says that 5.6 did.
        let default = "the same, where the toolstack gives none; that XenServer 5.6 gave none is inferred";
        vec![
            Constant::new("DEF_MAX_ITERS", format!("{XEN_3_4_ROUNDS} rounds"), Source, default),
            Constant::new("DEF_MAX_FACTOR", format!("{XEN_3_4_RAM_FACTOR} x RAM"), Source, default),
            Constant::new("fewer pages end it", format!("{XEN_3_4_PAGES} pages"), Source, file),
            Constant::new("MAX_BATCH_SIZE", format!("{} pages", BATCH_PAGES), Source, "tools/libxc/xg_save_restore.h"),
            Constant::new("pages dirty again", "left for the next round", Source, file),
            Constant::new("untouched pages", "sent in full", Source, file),
            Constant::new(
                "to_fix",
                format!("{} pages", self.costs().to_fix_pages),
                Assumed,
                "how many it is depends on the guest",
            ),
            Constant::new(
                "adaptive bandwidth (off)",
                format!(
                    "from {} to {} Mbit/s, {} above the dirty rate",
                    START_MBIT_PER_S, MAX_MBIT_PER_S, STEP_MBIT_PER_S
                ),
                Source,
                "the same, under #ifdef ADAPTIVE_SAVE, which is not defined by default; Clark et al. 2005",
            ),
        ]
    }

    /// The fixed times are calibrated against the paper's Table II; of its testbed only sums are known, and
    /// which part is whose is assumed.
    fn costs(&self) -> Costs {
        let ms = Duration::from_millis;
        Costs {
            setup: ms(4_000),
            stop: ms(200),
            resume: ms(3_600),
            announce: ms(550),
            finish: ms(500),
            to_fix_pages: 64,
            ..Costs::ASSUMED
        }
    }

    fn costs_known(&self) -> CostsKnown {
        CostsKnown {
            times: (Known::Calibrated, "the paper, Table II"),
            small: ASSUMED,
            header: (Known::Source, "one unsigned long a page"),
        }
    }

    fn rule(&self, settings: &MigrationSettings) -> Box<dyn Rule> {
        Box::new(Xen34::new(settings))
    }

    fn own_rule(&self) -> Option<String> {
        Some(format!("{XEN_3_4_ROUNDS} rounds or {XEN_3_4_RAM_FACTOR} x RAM sent"))
    }

    /// `adaptive` is the bandwidth control of Clark et al. that is in the source and was in no build.
    fn parameters(&self) -> &'static [Own] {
        const ALL: &[Own] = &[Own::new("adaptive", "", false, Meaning::Own)];
        ALL
    }

    fn leaves_out_what_is_dirty_again(&self) -> bool {
        true
    }
}

struct Xen34 {
    /// The adaptive bandwidth now, Mbit/s, if it is switched on.
    adaptive_mbit: Option<f64>,
    last_sent_pages: u64,
}

impl Xen34 {
    fn new(settings: &MigrationSettings) -> Self {
        let adaptive = settings.extra.get("adaptive").and_then(serde_json::Value::as_bool) == Some(true);
        Self { adaptive_mbit: adaptive.then_some(START_MBIT_PER_S), last_sent_pages: u64::MAX }
    }
}

fn gave(up: String) -> Next {
    Next::Stop(Why::Gave { up })
}

impl Rule for Xen34 {
    fn skips_in_batches_of(&self) -> Option<u64> {
        Some(BATCH_PAGES)
    }

    fn bytes_per_s(&self, set: f64) -> f64 {
        self.adaptive_mbit.map_or(set, |mbit| set.min(mbit * 125_000.0))
    }

    fn after_round(&mut self, f: &Facts) -> Next {
        let at_full_rate = self.adaptive_mbit.is_some_and(|mbit| mbit >= MAX_MBIT_PER_S);
        let growing = at_full_rate && f.sent_pages > self.last_sent_pages;
        self.last_sent_pages = f.sent_pages;
        if let Some(mbit) = &mut self.adaptive_mbit
            && f.round_ns > 0
        {
            let dirty_mbit = f.dirtied_pages as f64 * 4096.0 * 8.0 / (f.round_ns as f64 / 1e3);
            if dirty_mbit > *mbit {
                *mbit = (dirty_mbit + STEP_MBIT_PER_S).min(MAX_MBIT_PER_S);
            }
        }
        if f.sent_pages + f.skipped_pages < XEN_3_4_PAGES {
            f.converged()
        } else if f.round >= XEN_3_4_ROUNDS {
            gave(format!("{XEN_3_4_ROUNDS} rounds"))
        } else if f.total_sent_pages as f64 > XEN_3_4_RAM_FACTOR * f.ram_pages as f64 {
            gave(format!("{XEN_3_4_RAM_FACTOR} x RAM sent"))
        } else if growing {
            gave("a round larger than the one before at the highest bandwidth".into())
        } else {
            Next::Round
        }
    }
}
