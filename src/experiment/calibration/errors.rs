//! How far predictions were off, and whether convergence was predicted right.

use serde::Serialize;

use super::row::{Predicted, Row};
use crate::analysis::Method;
use crate::analysis::stats::percentile;
use crate::event::Converges;

/// A downtime this near to what was predicted is right, as a share of what was measured,
const DOWNTIME_WITHIN: f64 = 0.2;
/// or by so much, ms.
const DOWNTIME_WITHIN_MS: f64 = 50.0;

/// How far predicted migration times were off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MigrationErrors {
    /// Migration times that were both predicted and measured.
    pub n: usize,
    /// Median error, %.
    pub median_pct: f64,
    /// Worst error, %.
    pub worst_pct: f64,
    /// Of these `n`, in their predicted interval.
    pub in_interval: usize,
}

/// How far predicted downtimes were off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DowntimeErrors {
    /// Downtimes that were both predicted and measured.
    pub n: usize,
    /// Median error, %.
    pub median_pct: f64,
    /// Median error, ms.
    pub median_ms: f64,
    /// Worst error, ms.
    pub worst_ms: f64,
    /// Of these `n`, within 20 % or 50 ms.
    pub within: usize,
    /// Of these `n`, in their predicted interval.
    pub in_interval: usize,
    /// Of these `n`, not measured by `stop-resume`.
    pub otherwise_measured: usize,
}

/// How far predictions were off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Errors {
    /// Of the migration times; None if there was nothing to compare.
    pub migration: Option<MigrationErrors>,
    /// Migration times measured, but not predicted.
    pub migration_unpredicted: usize,
    /// Of the downtimes; None if there was nothing to compare.
    pub downtime: Option<DowntimeErrors>,
    /// Downtimes measured, but not predicted.
    pub downtime_unpredicted: usize,
}

/// Outcomes of pre-copy against what was predicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Migrations.
    pub cases: usize,
    /// Predicted right.
    pub right: usize,
    /// Predicted wrong.
    pub wrong: usize,
    /// Left open.
    pub open: usize,
}

/// Whether convergence was predicted right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Farther than 10 % from the jump that was predicted, or with none.
    pub outside: Tally,
    /// Within 10 % of it, where either outcome is right.
    pub inside: Tally,
    /// Farther than 10 % from the nominal jump of the link, in which no prediction has a part, or with none.
    pub outside_nominal: Tally,
    /// Ended, but nothing was predicted.
    pub unpredicted: usize,
}

impl Tally {
    fn count(&mut self, predicted: Converges, converged: bool) {
        self.cases += 1;
        match (predicted, converged) {
            (Converges::Perhaps, _) => self.open += 1,
            (Converges::Yes, true) | (Converges::No, false) => self.right += 1,
            _ => self.wrong += 1,
        }
    }
}

fn worst(of: &[f64]) -> f64 {
    of.iter().copied().fold(0.0, f64::max)
}

/// Of all rows in which nothing was changed on the way.
pub(super) fn errors(rows: &[Row], which: impl Fn(&Row) -> Option<&Predicted>) -> Errors {
    let (mut time, mut down_pct, mut down_ms) = (Vec::new(), Vec::new(), Vec::new());
    let (mut time_in, mut within, mut down_in, mut otherwise) = (0, 0, 0, 0);
    let mut all = Errors::default();
    for row in rows.iter().filter(|r| r.changed.is_none()) {
        let p = which(row);
        if let Some(m) = row.migration_ms.filter(|m| *m > 0.0) {
            if let Some(p) = p.and_then(|p| p.migration_ms) {
                time.push((p.mid - m).abs() / m * 100.0);
                time_in += usize::from(p.holds(m));
            } else {
                all.migration_unpredicted += 1;
            }
        }
        // That of a migration that did not end well was never predicted.
        if let Some(m) = row.downtime_ms.filter(|m| *m > 0.0 && row.migration_ms.is_some()) {
            if let Some(p) = p.and_then(|p| p.downtime_ms) {
                let off = (p.mid - m).abs();
                down_pct.push(off / m * 100.0);
                down_ms.push(off);
                within += usize::from(off <= DOWNTIME_WITHIN * m || off <= DOWNTIME_WITHIN_MS);
                down_in += usize::from(p.holds(m));
                otherwise += usize::from(row.downtime_method != Some(Method::StopResume.name()));
            } else {
                all.downtime_unpredicted += 1;
            }
        }
    }
    all.migration = percentile(&time, 50.0).map(|median_pct| MigrationErrors {
        n: time.len(),
        median_pct,
        worst_pct: worst(&time),
        in_interval: time_in,
    });
    all.downtime =
        percentile(&down_pct, 50.0).zip(percentile(&down_ms, 50.0)).map(|(median_pct, median_ms)| DowntimeErrors {
            n: down_ms.len(),
            median_pct,
            median_ms,
            worst_ms: worst(&down_ms),
            within,
            in_interval: down_in,
            otherwise_measured: otherwise,
        });
    all
}

/// Of all rows in which nothing was changed on the way and of which it is known how pre-copy ended.
pub(super) fn agreement(rows: &[Row], which: impl Fn(&Row) -> Option<&Predicted>) -> Agreement {
    let mut all = Agreement::default();
    for row in rows.iter().filter(|r| r.changed.is_none()) {
        let Some(converged) = row.converged else { continue };
        let Some(p) = which(row) else {
            all.unpredicted += 1;
            continue;
        };
        let tally = if row.near_the_jump() { &mut all.inside } else { &mut all.outside };
        tally.count(p.converges, converged);
        if !row.near_the_nominal_jump() {
            all.outside_nominal.count(p.converges, converged);
        }
    }
    all
}
