//! Xen from 4.6 on, migration v2 (tools/libs/guest/xg_sr_save.c, `simple_precopy_policy`).
//!
//! At most five rounds with the guest running, all of memory in the first; a round that finds fewer
//! than 50 dirty pages still sends them, if there are any, and is the last. No page is skipped, no limit on what is sent.

use super::{Facts, Next, Rule, Why};

/// `SPP_MAX_ITERATIONS`.
pub(super) const ROUNDS: u64 = 5;
/// `SPP_TARGET_DIRTY_COUNT`, pages.
pub(super) const DIRTY_PAGES: u64 = 50;

pub(super) struct Xen46;

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
