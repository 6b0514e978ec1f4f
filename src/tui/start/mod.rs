//! The start screen: what can be done here, what is missing for it, and the recorded sessions.
//!
//! As everywhere on the screen, drawing is pure and nothing here talks to the machine: what is found
//! out beside it comes as [`News`], and what the person chooses goes out as a [`Choice`].

mod actions;
mod form;
mod input;
mod run;
mod state;

pub use actions::ACTIONS;
pub use form::{Asks, Field, Form, Line, Wrong};
pub use input::{Effect, click, paste, press, wheel};
pub use run::{Closed, run};
pub use state::{Choice, Lab, Lack, News, OFFERS, Offer, Offered, Recent, Row, Sessions, Start, Told};

#[cfg(test)]
mod tests;
