//! The part of time that is asked for: how much, up to where, and where to go next.

use crate::event::Nanos;

/// How much time a column stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// As much as fits the running migration in, or the one that has just ended.
    #[default]
    Auto,
    /// As much as fits the whole session in.
    Whole,
    /// So long, ns.
    Column(Nanos),
}

/// Where the view ends on the right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Edge {
    /// Now: the view follows.
    #[default]
    Now,
    /// Here, ns of the session clock: the view stands still while data goes on being collected.
    At(Nanos),
}

/// Where to go once the number of columns is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// This instant comes into view.
    Show(Nanos),
    /// This stretch fills the view.
    Fit(Nanos, Nanos),
}

/// All of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) scale: Scale,
    pub(crate) edge: Edge,
    pub(crate) wish: Option<Wish>,
}
