//! What a migration will be: the model run on what is known, and on what may be instead.
//!
//! Each input that is not known exactly is a span; the model is run on some combinations of them, and
//! what comes of it is a span again.

pub mod basis;
pub mod calibration;
mod changes;
mod horizon;
mod jump;
pub mod left;
pub mod stop;
pub mod words;

use std::time::Duration;

pub use basis::{Basis, Content};
pub use calibration::Calibration;
pub use changes::Change;

use self::changes::run_with;
use self::horizon::{LONGEST, converged, endless, ruled};
use crate::event::{Converges, Forecast, Guess, LoadSettings, MigrationSettings, Needs, Pattern, Span};
use crate::model::{End, Scenario, ScenarioError, Trace};
use crate::units::PAGE_BYTES;

/// Combinations of the inputs the model is run on, besides the likeliest.
const SAMPLES: u32 = 15;
/// Pages from which on a guest that is not written to cyclically takes the model long: fewer
/// combinations then, and no search for the jump.
const LARGE_PAGES: u64 = 4 << 20;
/// The same by the writes that are taken one by one.
const MANY_WRITES: f64 = 2e7;
/// What is about to be migrated.
#[derive(Debug, Clone, PartialEq)]
pub struct Situation {
    /// The load, with the RATE that is really reached.
    pub load: LoadSettings,
    /// What the migration is asked to be.
    pub settings: MigrationSettings,
    /// The guest's memory as the hypervisor migrates it, bytes.
    pub ram_bytes: u64,
}

/// A point in the space of what the inputs may be: each from 0 (the least) over 0.5 (the likeliest)
/// to 1 (the most).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    content: f64,
    phase: f64,
    top: f64,
    resume: f64,
    link: f64,
    rate: f64,
}

impl Point {
    /// The likeliest.
    const MID: Self = Self { content: 0.5, phase: 0.0, top: 0.5, resume: 0.5, link: 0.5, rate: 0.5 };

    /// The `i`-th of a sequence that fills the space evenly: Roberts' R-sequence, powers of the root of
    /// x^7 = x + 1 (M. Roberts, The Unreasonable Effectiveness of Quasirandom Sequences, 2018).
    fn nth(i: u32) -> Self {
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
fn scenario(s: &Situation, basis: &Basis, at: Point) -> Scenario {
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

/// What nobody has seen.
fn guesses(basis: &Basis) -> Vec<Guess> {
    let memory = basis.content.is_unseen().then_some(Guess::Memory);
    memory.into_iter().chain(basis.link_guessed.then_some(Guess::Link)).collect()
}

/// Predicts a migration.
///
/// # Errors
/// When the scenario cannot be: what is impossible, and why.
pub fn forecast(s: &Situation, basis: &Basis) -> Result<Forecast, ScenarioError> {
    forecast_from(s, basis, None)
}

/// Predicts a migration that runs, from what has been seen of it.
///
/// # Errors
/// As [`forecast`].
pub fn forecast_running(s: &Situation, basis: &Basis, seen: &left::Seen) -> Result<Forecast, ScenarioError> {
    forecast_from(s, basis, Some(seen))
}

fn forecast_from(s: &Situation, basis: &Basis, seen: Option<&left::Seen>) -> Result<Forecast, ScenarioError> {
    let mid = scenario(s, basis, Point::MID);
    mid.check()?;
    let changes = seen.map_or(&[][..], |seen| &seen.changes);
    let is_cyclic = |c: &Change| !matches!(c, Change::Load { pattern, .. } if *pattern != Pattern::Cyclic);
    let cyclic = s.load.pattern == Pattern::Cyclic && changes.iter().all(|(_, c)| is_cyclic(c));
    let writes = mid.guest.rate_pages_per_s() * mid.horizon.as_secs_f64();
    let large = !cyclic && (mid.guest.ram_pages > LARGE_PAGES || writes > MANY_WRITES);
    let samples = if large { 2 } else { SAMPLES };
    let mut traces = vec![run_with(&mid, changes)?];
    for i in 1..=samples {
        // What is possible at the likeliest point may be impossible at another; then there is one less.
        traces.extend(run_with(&scenario(s, basis, Point::nth(i)), changes));
    }
    let well = traces.iter().filter(|t| converged(t)).count();
    let converges = match well {
        0 => Converges::No,
        n if n == traces.len() => Converges::Yes,
        _ => Converges::Perhaps,
    };
    let ended: Vec<&Trace> = traces.iter().filter(|t| t.end != End::Endless).collect();
    // What did not end in the time looked at would be the longest: no span is better than a short one.
    let all = ended.len() == traces.len();
    let span =
        |f: &dyn Fn(&Trace) -> Option<f64>| Span::of(ended.iter().filter_map(|t| f(t)).collect()).filter(|_| all);
    let announced = basis.costs.announce.as_secs_f64();
    let (jump_pages_per_s, needs) = match (large, seen) {
        (false, None) => jump::search(&mid, converges),
        _ => (None, Needs::default()),
    };
    Ok(Forecast {
        converges,
        rounds: span(&|t| Some(t.rounds.len() as f64)),
        migration_s: span(&|t| Some(t.migration_time().as_secs_f64())),
        followed_s: (!all).then_some(mid.horizon.as_secs_f64()),
        downtime_s: span(&|t| t.downtime().map(|d| (d.as_secs_f64() - announced).max(0.0))),
        left_s: seen.and_then(|seen| span(&|t| left::left_s(t, seen))),
        jump_pages_per_s,
        needs,
        guesses: guesses(basis),
        ender: jump::ender(&mid, &traces[0]).filter(|_| converges != Converges::Yes),
        grounds: Some(Box::new(basis.grounds(mid.guest.wset_pages * PAGE_BYTES, s.ram_bytes))),
    })
}

#[cfg(test)]
mod tests;
