//! Values with bounds, and values that are unknown.

use std::time::Duration;

use crate::analysis::{Bounded, Estimate, Method};

pub(super) fn unknown(method: Method, why: impl Into<String>) -> Estimate {
    Estimate { method, value: None, note: Some(why.into()) }
}

/// A duration with bounds out of ns, its value kept between the bounds.
pub(super) fn bounded(value: u64, lo: u64, hi: u64) -> Bounded {
    let hi = hi.max(lo);
    Bounded {
        value: Duration::from_nanos(value.clamp(lo, hi)),
        lo: Duration::from_nanos(lo),
        hi: Duration::from_nanos(hi),
    }
}

/// Notes joined into one, or none.
pub(super) fn joined(notes: Vec<String>) -> Option<String> {
    (!notes.is_empty()).then(|| notes.join("; "))
}
