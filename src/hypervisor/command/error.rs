//! A setting of a target that cannot be used.

use thiserror::Error;

use crate::text::visible;

/// A setting that cannot be used: which, its value, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid {setting} '{}': {}", visible(value), visible(why))]
pub struct ConfigError {
    /// Its name.
    pub setting: &'static str,
    /// The value as given.
    pub value: String,
    /// What is wrong with it and what would be right.
    pub why: String,
}

impl ConfigError {
    pub(super) fn new(setting: &'static str, value: impl Into<String>, why: impl Into<String>) -> Self {
        Self { setting, value: value.into(), why: why.into() }
    }
}
