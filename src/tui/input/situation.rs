//! What a key press happens in, and what it asks for.

use crate::event::Nanos;
use crate::session::State;
use crate::tui::feed::ReplayInfo;
use crate::tui::view::{Asked, Entry, View};

/// What a key press asks of the loop, beside the view and its intents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Close the screen.
    Quit,
    /// Draw everything anew.
    Redraw,
    /// Give the terminal back and stop until the shell says go on.
    Suspend,
    /// Wear the next theme.
    NextTheme,
    /// Play or pause the replay.
    Play(bool),
    /// Change the speed of the replay.
    Speed(f64),
    /// Step the replay by events.
    Step(i64),
    /// Seek in the replay, ns.
    Seek(Nanos),
}

/// What a key press happens in.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The session.
    pub state: &'a State,
    /// Now, ns.
    pub now: Nanos,
    /// The replay, if it is one.
    pub replay: Option<&'a ReplayInfo>,
    /// Whether anybody listens to intents.
    pub steerable: bool,
}

impl Situation<'_> {
    /// Whether a migration runs.
    pub(super) fn running(&self) -> bool {
        self.state.migrations.last().is_some_and(|m| m.ended.is_none())
    }
}

/// Opens a line to type on.
pub(super) fn ask(view: &mut View, asked: Asked) {
    ask_from(view, asked, "");
}

/// Opens a line to type on, which shows the present value.
pub(super) fn ask_from(view: &mut View, asked: Asked, present: impl Into<String>) {
    view.entry = Some(Entry::new(asked, present));
}
