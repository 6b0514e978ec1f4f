//! What a target that is driven by commands is told about itself.

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::location::{Rules, Where};
use super::pattern::{Pattern, Reader};
use super::presets;
use super::template::{CancelBy, Given, Host, Values, Word, fill};
use crate::event::MigrationSettings;

/// A target of product `command`. What is not set is the preset's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The guest, as the commands call it.
    pub guest: String,
    /// One host: where the guest is as a rule. A migration goes from where it is to the other.
    pub from: Host,
    /// The other host.
    pub to: Host,
    /// Name of the preset whose commands and patterns are used; None takes only what is set here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The command that migrates and comes back when the migration is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Vec<Word>>,
    /// Whether it gets a terminal of its own; some tools show progress only then. Default: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<bool>,
    /// How a running migration is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelBy>,
    /// The command that stops the guest at the source, so that the migration can finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<Word>>,
    /// The command that makes a guest that stands still run, at `{here}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Vec<Word>>,
    /// The product itself resumes a guest that we stopped, when the migration is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes_itself: Option<bool>,
    /// The command that says where the guest is.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub locate: Option<Where>,
    /// Patterns for the output of `migrate`; set, they take the place of the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patterns: Option<Vec<Pattern>>,
}

/// Commands and patterns, complete: those of a target, of a preset, or of both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) migrate: Vec<Word>,
    pub(super) terminal: bool,
    pub(super) cancel: Option<CancelBy>,
    pub(super) stop: Option<Vec<Word>>,
    pub(super) resume: Option<Vec<Word>>,
    pub(super) resumes_itself: bool,
    pub(super) locate: Option<Where>,
    pub(super) patterns: Vec<Pattern>,
}

impl Config {
    /// What is set here, and the preset's for the rest; checked, so that nothing of it can fail later for
    /// being written wrongly.
    pub(super) fn recipe(&self) -> Result<Recipe, ConfigError> {
        self.check_names()?;
        let of = match &self.preset {
            Some(name) => presets::preset(name)?.config,
            None => presets::Settings::default(),
        };
        let recipe = Recipe {
            migrate: self.migrate.clone().or(of.migrate).unwrap_or_default(),
            terminal: self.terminal.or(of.terminal).unwrap_or(true),
            cancel: self.cancel.clone().or(of.cancel),
            stop: self.stop.clone().or(of.stop),
            resume: self.resume.clone().or(of.resume),
            resumes_itself: self.resumes_itself.or(of.resumes_itself).unwrap_or(false),
            locate: self.locate.clone().or(of.locate),
            patterns: self.patterns.clone().or(of.patterns).unwrap_or_default(),
        };
        if recipe.migrate.is_empty() {
            let why = format!("it has no command; write migrate = [\"…\"], or preset = one of {}", presets::names());
            return Err(ConfigError::new("migrate", "", why));
        }
        if recipe.stop.is_some() && (recipe.locate.is_none() || recipe.resume.is_none()) {
            let why = "a guest that is stopped must be found and resumed: 'where' and 'resume' are needed with it";
            return Err(ConfigError::new("stop", shown(recipe.stop.as_deref()), why));
        }
        if matches!(recipe.cancel, Some(CancelBy::Given(Given::CtrlC))) && !recipe.terminal {
            return Err(ConfigError::new("cancel", "ctrl-c", "it needs terminal = true"));
        }
        self.check_words(&recipe)?;
        Reader::new(&recipe.patterns)?;
        Ok(recipe)
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        for (setting, value) in [("guest", &self.guest), ("from", &self.from.name), ("to", &self.to.name)] {
            let why = match value.chars().next() {
                None => "it is empty",
                Some('-') => "a command would take it for an option",
                Some(_) if value.chars().any(char::is_control) => "it has control characters",
                Some(_) => continue,
            };
            return Err(ConfigError::new(setting, value, why));
        }
        if self.from.name == self.to.name {
            return Err(ConfigError::new("to", &self.to.name, "it is the same host as 'from'"));
        }
        Ok(())
    }

    /// Fills every command in once, for both directions.
    fn check_words(&self, recipe: &Recipe) -> Result<(), ConfigError> {
        let settings = MigrationSettings::default();
        for (from, to) in [(&self.from, &self.to), (&self.to, &self.from)] {
            let values = |here| Values { guest: &self.guest, from, to, here, settings: &settings };
            let check = |setting, words: Option<&[Word]>, here| match words {
                Some([]) => Err(ConfigError::new(setting, "", "it has no words")),
                Some(words) => match fill(words, values(here)) {
                    Ok(_) => Ok(()),
                    Err(e) => Err(ConfigError::new(setting, shown(Some(words)), e.to_string())),
                },
                None => Ok(()),
            };
            check("migrate", Some(&recipe.migrate), None)?;
            if let Some(CancelBy::Command(words)) = &recipe.cancel {
                check("cancel", Some(words), None)?;
            }
            check("stop", recipe.stop.as_deref(), None)?;
            for here in [from, to] {
                check("resume", recipe.resume.as_deref(), Some(here))?;
                if let Some(locate) = &recipe.locate {
                    check("where", Some(&locate.run), Some(here))?;
                    Rules::new(&locate.rules, values(Some(here)))?;
                }
            }
        }
        Ok(())
    }
}

fn shown(words: Option<&[Word]>) -> String {
    let words: Vec<String> = words.unwrap_or_default().iter().map(ToString::to_string).collect();
    words.join(" ")
}
