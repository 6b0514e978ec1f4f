//! The scenario that the model is run on, out of what is known and of what the rest may be.

use std::time::Duration;

use super::basis::Basis;
use super::horizon::{LONGEST, endless, ruled};
use super::situation::Situation;
use crate::event::Span;
use crate::model::Scenario;
use crate::units::PAGE_BYTES;

/// A point in the space of what the inputs may be: each from 0 (the least) over 0.5 (the likeliest)
/// to 1 (the most).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    content: f64,
    phase: f64,
    top: f64,
    resume: f64,
    link: f64,
    rate: f64,
}

impl Point {
    /// The likeliest.
    pub(super) const MID: Self = Self { content: 0.5, phase: 0.0, top: 0.5, resume: 0.5, link: 0.5, rate: 0.5 };

    /// The `i`-th of a sequence that fills the space evenly: Roberts' R-sequence, powers of the root of
    /// x^7 = x + 1 (M. Roberts, The Unreasonable Effectiveness of Quasirandom Sequences, 2018).
    pub(super) fn nth(i: u32) -> Self {
        let root: f64 = 1.112_775_684_278_706;
        let mut step = 1.0;
        let mut next = || {
            step /= root;
            (0.5 + f64::from(i) * step).fract()
        };
        Self { content: next(), phase: next(), top: next(), resume: next(), link: next(), rate: next() }
    }
}

fn between(span: &Span, at: f64) -> f64 {
    if at < 0.5 {
        span.lo + (span.mid - span.lo) * at * 2.0
    } else {
        span.mid + (span.hi - span.mid) * (at - 0.5) * 2.0
    }
}

/// The scenario at a point.
pub(super) fn scenario(s: &Situation, basis: &Basis, at: Point) -> Scenario {
    let ram_pages = s.ram_bytes / PAGE_BYTES;
    let wset_pages = s.load.wset_bytes.div_ceil(PAGE_BYTES).min(ram_pages);
    let mut guest = basis.guest(s, ram_pages, wset_pages);
    let content = between(&basis.content.of(wset_pages * PAGE_BYTES, s.ram_bytes), at.content) as u64 / PAGE_BYTES;
    guest.used_pages = content.clamp(wset_pages, ram_pages);
    let beside = guest.used_pages - wset_pages;
    guest.top_pages = (between(&basis.top_bytes, at.top) as u64 / PAGE_BYTES).min(beside);
    let room = beside - guest.top_pages;
    guest.background.hot_pages = guest.background.hot_pages.min(room);
    guest.background.pages = guest.background.pages.min(room - guest.background.hot_pages);
    guest.at_page = (wset_pages as f64 * at.phase) as u64;
    // What the agent says of its RATE is an average of the last moments.
    let wobble = if basis.exact { 1.0 } else { 0.99 + 0.02 * at.rate };
    let period_ns = (guest.dirty.period_ns as f64 / wobble) as u64;
    guest.dirty.period_ns = period_ns.max(1);
    let mut costs = basis.costs;
    costs.resume = Duration::from_secs_f64(between(&basis.resume_s, at.resume).max(0.0));
    let mut link = basis.link;
    link.bytes_per_s = between(&basis.link_bytes_per_s, at.link);
    let mut scenario = Scenario {
        product: basis.product,
        guest,
        link,
        costs,
        settings: s.settings.clone(),
        horizon: LONGEST,
        seed: 1,
    };
    scenario.horizon = endless(&scenario).max(ruled(&scenario)).min(LONGEST);
    scenario
}

/// The scenario with the likeliest of all inputs.
#[must_use]
pub fn likeliest(s: &Situation, basis: &Basis) -> Scenario {
    scenario(s, basis, Point::MID)
}
