//! How the history is shown: what is selected, sorted and compared.

/// How the history is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryView {
    /// Number of the migration that is selected; without one, the newest.
    pub selected: Option<u32>,
    /// Number of the migration others are compared with.
    pub baseline: Option<u32>,
}
