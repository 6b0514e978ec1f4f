//! Commands and patterns for tools that many have, as data.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::ConfigError;
use super::location::Where;
use super::pattern::Pattern;
use super::template::{CancelBy, Word};
use crate::text::nearest;

const TABLE: &str = include_str!("presets.toml");

/// A preset.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Preset {
    /// What it drives, in a line, and against what it was run.
    pub about: String,
    /// Keys that a host needs or may have, and what each is.
    #[serde(default)]
    pub host: BTreeMap<String, String>,
    #[serde(rename = "set")]
    pub(super) config: Settings,
}

/// What a preset sets; the names are those of the target's own settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Settings {
    pub(super) migrate: Option<Vec<Word>>,
    pub(super) terminal: Option<bool>,
    pub(super) cancel: Option<CancelBy>,
    pub(super) stop: Option<Vec<Word>>,
    pub(super) resume: Option<Vec<Word>>,
    pub(super) resumes_itself: Option<bool>,
    #[serde(rename = "where")]
    pub(super) locate: Option<Where>,
    pub(super) patterns: Option<Vec<Pattern>>,
}

/// All presets by name.
///
/// # Errors
/// If the program's own table cannot be read, which a test rules out.
pub fn all() -> Result<BTreeMap<String, Preset>, ConfigError> {
    toml::from_str(TABLE).map_err(|e| ConfigError::new("presets", "presets.toml", e.to_string()))
}

/// The preset of that name.
pub(super) fn preset(name: &str) -> Result<Preset, ConfigError> {
    let mut all = all()?;
    all.remove(name).ok_or_else(|| {
        let hint = nearest(name, all.keys().map(String::as_str));
        let hint = hint.map(|near| format!(" (did you mean '{near}'?)")).unwrap_or_default();
        ConfigError::new("preset", name, format!("there is none of that name{hint}; there are {}", names()))
    })
}

/// Their names, for people.
pub(super) fn names() -> String {
    let all = all().unwrap_or_default();
    all.keys().cloned().collect::<Vec<_>>().join(", ")
}
