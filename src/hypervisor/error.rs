//! Why a hypervisor did not do what it was asked.

use thiserror::Error;

/// Why a hypervisor did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum HvError {
    /// It cannot be reached, or what answers is something else.
    #[error("cannot use host '{host}': {why}")]
    Unreachable {
        /// Our name for it.
        host: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// It was there and is gone.
    #[error("host '{host}' is gone: {why}")]
    Lost {
        /// Our name for it.
        host: String,
        /// What was seen of it last.
        why: String,
    },
    /// It understood and said no.
    #[error("host '{host}' refuses {what}: {why}")]
    Refused {
        /// Our name for it.
        host: String,
        /// What it was asked.
        what: String,
        /// In its own words.
        why: String,
    },
    /// It did not answer.
    #[error("host '{host}' did not answer {what} within {seconds} s")]
    Silent {
        /// Our name for it.
        host: String,
        /// What it was asked.
        what: String,
        /// How long we waited, s.
        seconds: u64,
    },
    /// It answered, but what it said cannot be read: whether it did what it was asked is not known.
    #[error("the answer of host '{host}' to {what} cannot be read: {why}")]
    Unread {
        /// Our name for it.
        host: String,
        /// What it was asked.
        what: String,
        /// What is wrong with its answer.
        why: String,
    },
    /// It does not have what was asked for.
    #[error("host '{host}' offers no {kind} '{name}'{}; it offers: {}", nearest.as_ref().map(|n| format!(" (did you mean '{n}'?)")).unwrap_or_default(), offered.join(", "))]
    NotOffered {
        /// Our name for it.
        host: String,
        /// `migration parameter` or `migration capability`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The offered name most like it.
        nearest: Option<String>,
        /// What it offers.
        offered: Vec<String>,
    },
    /// It has it, but not in this state.
    #[error("cannot {what} now: {why}")]
    NotNow {
        /// What was asked for.
        what: String,
        /// Why not, and what would make it possible.
        why: String,
    },
    /// The value cannot be used.
    #[error("invalid value '{value}' for '{name}': {hint}")]
    BadValue {
        /// The parameter.
        name: String,
        /// The value as given.
        value: String,
        /// What would be right.
        hint: String,
    },
}

impl HvError {
    /// Whether it may have been done all the same: what was said to it, if anything, does not tell.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Self::Silent { .. } | Self::Lost { .. } | Self::Unread { .. })
    }

    /// Whether it was certainly not done.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::NotNow { .. } | Self::Refused { .. } | Self::NotOffered { .. } | Self::BadValue { .. })
    }
}
