//! The part of time in view, the cursor and the measure.

use crate::event::Nanos;

/// The part of time in view, the cursor and the measure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimeView {
    /// Steps of zoom from the automatic one; positive is nearer.
    pub zoom: i32,
    /// The cursor, ns of the session clock.
    pub cursor: Option<Nanos>,
    /// Where the measure begins, ns of the session clock; it ends at the cursor.
    pub anchor: Option<Nanos>,
}
