//! How much a sentence matters.

/// How much a sentence matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Calm,
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// The guest is gone, or something failed.
    Bad,
}
