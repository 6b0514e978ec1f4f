//! Why a try to connect failed.

/// Why a try to connect failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Trying again cannot help until somebody changes something.
    pub lasting: bool,
    /// What failed and what it said, for people.
    pub why: String,
}

impl Failure {
    pub(super) fn passing(why: String) -> Self {
        Self { lasting: false, why }
    }

    pub(super) fn lasting(why: String) -> Self {
        Self { lasting: true, why }
    }
}
