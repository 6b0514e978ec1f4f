//! How long a running migration still takes: the model's course beside what has been seen.

use super::Change;
use crate::model::Trace;

/// What has been seen of a running migration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Seen {
    /// Since it began, s.
    pub elapsed_s: f64,
    /// When each round began, since the migration began: (number, s).
    pub rounds: Vec<(u64, f64)>,
    /// When the guest was stopped, since the migration began, s.
    pub stopped_s: Option<f64>,
    /// What was changed on the way, since the migration began, ns, in the order of time.
    pub changes: Vec<(u64, Change)>,
}

/// What is left of the model's course, s: from the newest milestone both have passed; below 0 where the
/// real thing is later than that. None where the model is over before it has come so far.
pub(super) fn left_s(trace: &Trace, seen: &Seen) -> Option<f64> {
    let s = |ns: u64| ns as f64 / 1e9;
    let end = trace.migration_time().as_secs_f64();
    let (model, real) = match (seen.stopped_s, trace.stopped_ns) {
        (Some(real), Some(model)) => (s(model), real),
        _ => {
            let (number, real) = seen.rounds.last().copied().unwrap_or((1, 0.0));
            let round = trace.rounds.iter().find(|r| r.number == number)?;
            (if number <= 1 { 0.0 } else { s(round.began_ns) }, if number <= 1 { 0.0 } else { real })
        }
    };
    Some(end - model - (seen.elapsed_s - real))
}
