//! From key presses to changes of the view, intents for the controller and orders to a replay.

pub(crate) mod control;
mod history;
mod log;
mod menu;
mod mouse;
mod press;
mod replay;
mod situation;
mod time;
mod typing;

pub use mouse::mouse;
pub use press::press;
pub use situation::{Effect, Situation};
pub(in crate::tui) use typing::edit_line;
pub use typing::paste;
