//! How the event log is shown: scrolled, filtered, searched.

/// How the event log is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogView {
    /// Lines scrolled back.
    pub back: usize,
}
