//! Predicted against measured.

use serde::Serialize;

use super::case::{Case, measured_downtime, rested_on};
use super::errors::{Agreement, Errors, agreement, errors};
use super::fit::fit_to;
use super::missing::Missing;
use super::row::{Predicted, Row};
use crate::session::outlook::{Rests, question};
use crate::units::PAGE_BYTES;

/// Predicted against measured, of several migrations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// One row for each.
    pub rows: Vec<Row>,
    /// Errors of the predictions before firing.
    pub before: Errors,
    /// Errors of each prediction with figures fitted to all other migrations.
    pub fitted: Errors,
    /// Convergence, before firing.
    pub agreement_before: Agreement,
    /// Convergence, with the fitted figures.
    pub agreement_fitted: Agreement,
    /// What could not be fitted.
    pub missing: Vec<Missing>,
}

/// Predicts each migration from what was known when it was fired, and sets what came beside it.
///
/// The fitted figures of a row are those of all migrations but this one: what a figure was fitted to
/// it cannot be tested on.
#[must_use]
pub fn compare(cases: &[Case], missing: Vec<Missing>) -> Comparison {
    let rows: Vec<Row> = (0..cases.len()).map(|i| row(cases, i)).collect();
    Comparison {
        before: errors(&rows, |r| r.before.as_ref()),
        fitted: errors(&rows, |r| r.fitted.as_ref()),
        agreement_before: agreement(&rows, |r| r.before.as_ref()),
        agreement_fitted: agreement(&rows, |r| r.fitted.as_ref()),
        rows,
        missing,
    }
}

fn row(cases: &[Case], i: usize) -> Row {
    let case = &cases[i];
    let m = &case.migration;
    let before = |rests: Rests| question(&case.before, &rests, m.began).ok()??.answer().ok();
    let recorded = m.predicted.as_ref().map(|(_, forecast)| forecast.clone());
    let first = recorded.clone().or_else(|| before(rested_on(case)));
    let others: Vec<&Case> = cases.iter().enumerate().filter(|(k, _)| *k != i).map(|(_, case)| case).collect();
    let fitted = fit_to(&others).and_then(|fit| before(Rests::On(fit.calibration)));
    let downtime = measured_downtime(m);
    Row {
        label: case.label.clone(),
        wset_bytes: m.load.map(|l| l.wset_bytes),
        rate_pages_per_s: m.load.map(|l| l.dirty.rate_pages_per_s()),
        bandwidth_bytes_per_s: m.settings.limit_bytes_per_s(),
        downtime_limit_ms: m.settings.downtime_limit_ms,
        jump_pages_per_s: first.as_ref().and_then(|f| f.jump_pages_per_s),
        nominal_jump_pages_per_s: m.settings.limit_bytes_per_s().map(|b| b as f64 / PAGE_BYTES as f64),
        before: first.as_ref().map(Predicted::of),
        recorded: recorded.is_some(),
        fitted: fitted.as_ref().map(Predicted::of),
        converged: case.converged(),
        changed: case.changed(),
        migration_ms: case.migration_ms(),
        downtime_ms: downtime.map(|(ms, _)| ms),
        downtime_method: downtime.map(|(_, method)| method.name()),
    }
}
