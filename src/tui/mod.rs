//! The screen: pure drawing of a session's state, and keys that become intents.
//!
//! The screen never talks to a socket. It reads a [`Feed`] (a live session or a replay) and emits
//! [`Intent`](crate::event::Intent)s; the controller acts on them.

mod asked;
mod axis;
mod ctx;
pub mod draw;
pub mod edit;
pub mod entry;
mod estimate;
pub mod feed;
pub mod glyphs;
pub mod history;
pub mod hits;
pub mod input;
pub mod keys;
pub mod log;
mod looked;
mod options;
mod outcome;
mod pace;
mod page;
mod panel;
mod pen;
pub mod run;
mod screen;
pub mod sentence;
mod series;
mod stage;
pub mod start;
pub mod theme;
pub mod time;
mod tone;
pub mod tracks;
pub mod view;
mod watching;
mod window;

pub use ctx::{Extra, Mode};
pub use draw::draw;
pub use feed::{Feed, RecorderInfo, ReplayControl, ReplayInfo};
pub use glyphs::Markers;
pub use options::{Clock, ExitReason, ExitSummary, TuiOptions};
pub use run::run;
pub use theme::ThemeChoice;
pub use view::View;

#[cfg(test)]
pub(crate) use screen::fuzz as fuzz_terminal;

#[cfg(test)]
mod capture_tests;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod pty_tests;
#[cfg(test)]
mod styled;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watch_tests;
