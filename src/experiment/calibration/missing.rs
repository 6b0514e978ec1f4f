//! What could not be fitted.

/// Something that could not be fitted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
    /// The figures of the calibration that are the default's for it.
    pub keys: Vec<&'static str>,
}

impl Missing {
    pub(super) fn of(keys: &[&'static str], what: &str, why: &str) -> Self {
        Self { what: what.into(), why: why.into(), keys: keys.to_vec() }
    }
}
