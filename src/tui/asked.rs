//! What stands in front of the panels: a text to type, a question to answer, the help, a list to choose from.

use super::edit::Control;
use crate::event::Nanos;

/// What a text is typed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The value of a control.
    Control(Control),
    /// A ramp of RATE.
    Ramp,
    /// The note of a mark at this instant, ns.
    Mark(Nanos),
    /// What to search the log for.
    Search,
    /// The value of a parameter by the hypervisor's own name.
    Parameter(String),
}

/// Something that is asked about before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// Cancel the running migration.
    Cancel,
    /// Stop the guest and copy the rest.
    StopAndCopy,
    /// Switch to post-copy.
    PostCopy,
    /// End the ramp of RATE where it is.
    RampEnd,
    /// Leave while a migration runs.
    Quit,
}

/// What stands in front of all panels. There is one at a time: it is drawn, and it takes the keys and the mouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// A line to type on.
    Entry,
    /// A question.
    Confirm(Confirm),
    /// The help.
    Help,
    /// A list.
    Menu(Menu),
}

/// A list in front of everything else, and its selected row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Menu {
    /// Loads to choose from.
    Presets(usize),
    /// The tracks: which, in which order, how high.
    Tracks(usize),
    /// The kinds of events the cursor jumps to.
    Events(usize),
}
