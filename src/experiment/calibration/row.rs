//! One migration: what was predicted, and what came.

use serde::Serialize;

use crate::event::{Converges, Forecast, Span};

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
    pub(super) fn of(f: &Forecast) -> Self {
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
