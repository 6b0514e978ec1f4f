//! Predicted against measured.

use serde::Serialize;

use super::case::{Case, measured_downtime, rested_on};
use super::errors::{Agreement, Errors, agreement, errors};
use super::fit::{Missing, fit_to};
use crate::event::{Converges, Forecast, Span};
use crate::session::outlook::{Rests, question};
use crate::units::PAGE_BYTES;

/// So near to the jump either outcome is right, as a share of its RATE.
const NEAR_THE_JUMP: f64 = 0.1;

/// One prediction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Predicted {
    /// Whether it converges.
    pub converges: Converges,
    /// Migration time, ms.
    pub migration_ms: Option<Span>,
    /// Downtime by `stop-resume`, ms.
    pub downtime_ms: Option<Span>,
}

impl Predicted {
    fn of(f: &Forecast) -> Self {
        let ms = |s: Span| Span { lo: s.lo * 1e3, mid: s.mid * 1e3, hi: s.hi * 1e3 };
        Self { converges: f.converges, migration_ms: f.migration_s.map(ms), downtime_ms: f.downtime_s.map(ms) }
    }
}

/// One migration: what was predicted, and what came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Where it was recorded.
    pub label: String,
    /// WSET, bytes.
    pub wset_bytes: Option<u64>,
    /// RATE, pages/s.
    pub rate_pages_per_s: Option<f64>,
    /// Bandwidth limit, bytes/s.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// Downtime limit, ms.
    pub downtime_limit_ms: Option<u64>,
    /// The jump as it was predicted, pages/s.
    pub jump_pages_per_s: Option<f64>,
    /// The jump by the link alone, bandwidth / page size, pages/s: no prediction has a part in it.
    pub nominal_jump_pages_per_s: Option<f64>,
    /// The prediction that was recorded before it was fired; made now, without a calibration, from
    /// what was known then where none was recorded.
    pub before: Option<Predicted>,
    /// Whether that was recorded.
    pub recorded: bool,
    /// The prediction with figures fitted to all other migrations, from what was known then; None
    /// where they say too little.
    pub fitted: Option<Predicted>,
    /// Whether pre-copy ended by itself; None of one that failed or was cancelled.
    pub converged: Option<bool>,
    /// What the operator changed while it ran; it is in no error, no agreement and no fit then.
    pub changed: Option<&'static str>,
    /// Migration time measured, ms.
    pub migration_ms: Option<f64>,
    /// Downtime measured, ms.
    pub downtime_ms: Option<f64>,
    /// How that was measured: `stop-resume`, or another where that could not be.
    pub downtime_method: Option<&'static str>,
}

impl Row {
    /// Whether RATE is so near to the jump that either outcome is right: the jump of this WSET and downtime
    /// limit, as the prediction named it. One that named a wrong jump is so excused only next to that.
    #[must_use]
    pub fn near_the_jump(&self) -> bool {
        self.is_near(self.jump_pages_per_s)
    }

    /// The same of the nominal jump of the link.
    #[must_use]
    pub fn near_the_nominal_jump(&self) -> bool {
        self.is_near(self.nominal_jump_pages_per_s)
    }

    fn is_near(&self, jump: Option<f64>) -> bool {
        match (self.rate_pages_per_s, jump) {
            (Some(rate), Some(jump)) if jump > 0.0 => (rate / jump - 1.0).abs() <= NEAR_THE_JUMP,
            _ => false,
        }
    }
}

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
    let before = |rests: Rests| question(&case.before, &rests, m.began)?.answer().ok();
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
