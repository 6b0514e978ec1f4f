//! The size of a cell of the screen in a picture.

/// Width of a cell, px.
pub(crate) const CELL_W: u32 = 9;
/// Height of a cell, px.
pub(crate) const CELL_H: u32 = 19;
/// From the top of a cell to the baseline of its text, px.
pub(crate) const BASELINE: u32 = 15;
/// Margin around the screen, px.
pub(crate) const MARGIN: u32 = 12;
