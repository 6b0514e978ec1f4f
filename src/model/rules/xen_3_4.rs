//! Xen 3.4, `xc_domain_save` (tools/libxc/xc_domain_save.c, read in 3.4.4; XenServer 5.6 is 3.4.2).
//!
//! Each round goes over all of memory in batches of 1024 pages to be sent. Before each batch the
//! log of dirty pages is looked at (not cleared), and what is dirty again is left for the next
//! round: it costs nothing now. So a hot set makes rounds short, and above the jump migration time
//! *falls* as RATE rises. The last round, with the guest stopped, sends everything.

use super::{Facts, Next, Rule, Why};
use crate::event::MigrationSettings;
use crate::event::policy::{XEN_3_4_PAGES, XEN_3_4_RAM_FACTOR, XEN_3_4_ROUNDS};

/// `MAX_BATCH_SIZE`, pages.
pub(super) const BATCH_PAGES: u64 = 1024;
/// `START_MBIT_RATE`, Mbit/s, of the adaptive bandwidth that no build had switched on.
pub(super) const START_MBIT_PER_S: f64 = 100.0;
/// `MAX_MBIT_RATE`, Mbit/s.
pub(super) const MAX_MBIT_PER_S: f64 = 500.0;
/// How far above the dirty rate the next round goes, Mbit/s (`+ 50` in the source; Clark et al. 2005, on dynamic rate-limiting).
pub(super) const STEP_MBIT_PER_S: f64 = 50.0;

pub(super) struct Xen34 {
    /// The adaptive bandwidth now, Mbit/s, if it is switched on.
    adaptive_mbit: Option<f64>,
    last_sent_pages: u64,
}

impl Xen34 {
    pub(super) fn new(settings: &MigrationSettings) -> Self {
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
