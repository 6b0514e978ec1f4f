//! What a migration will be: the model run on what is known, and on what may be instead.
//!
//! Each input that is not known exactly is a span; the model is run on some combinations of them, and
//! what comes of it is a span again.

pub mod basis;
pub mod calibration;
mod changes;
mod check;
mod horizon;
mod jump;
pub mod left;
mod scenario;
mod situation;
pub mod stop;
pub mod words;

pub use basis::{Basis, Content};
pub use calibration::Calibration;
pub use changes::Change;
pub use scenario::likeliest;
pub use situation::Situation;

use self::changes::run_with;
use self::horizon::converged;
use self::scenario::{Point, scenario};
use crate::event::{Converges, Forecast, Guess, Needs, Pattern, Span};
use crate::model::{End, ScenarioError, Trace};
use crate::units::PAGE_BYTES;

/// Combinations of the inputs the model is run on, besides the likeliest.
const SAMPLES: u32 = 15;
/// Pages from which on a guest that is not written to cyclically takes the model long: fewer
/// combinations then, and no search for the jump.
const LARGE_PAGES: u64 = 4 << 20;
/// The same by the writes that are taken one by one.
const MANY_WRITES: f64 = 2e7;

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
