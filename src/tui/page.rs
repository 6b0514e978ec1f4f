//! The pages: what is in front where not everything fits.

/// What is in front where not everything fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Page {
    /// Load and migration controls.
    #[default]
    Controls,
    /// The newest migration's result.
    Result,
    /// All migrations of the session.
    History,
    /// The event log.
    Log,
}

impl Page {
    /// All pages, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Controls, Self::Result, Self::History, Self::Log];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Controls => "controls",
            Self::Result => "result",
            Self::History => "history",
            Self::Log => "log",
        }
    }
}
