//! The model: pre-copy and post-copy migration of a guest under our generators, page by page.
//!
//! A [`Scenario`] says what is migrated, over what, by whose rules; [`run`] lets it happen in virtual
//! time and returns the [`Trace`]: every round, when the guest stood still, when it answered again.
//! [`run_watched`] is the same with somebody looking on and changing things on the way, as the
//! simulated hypervisor does.
//!
//! What is page-exact: which pages each round has to send, which of them are sent, skipped and
//! dirtied again, given the order of the generator's writes. What is a figure: the bandwidth (a
//! constant), the fixed costs of [`Costs`]. What each product's rule is, and where it is known from,
//! stands in [`products`]; everything nobody could verify is marked as assumed there.
//!
//! Two engines do the same: [`Engine::Interval`] keeps sets of pages as ranges and is quick,
//! [`Engine::Bitmap`] keeps a bit a page, takes every write one by one and can follow any pattern.

pub(crate) mod about;
mod bitmap;
mod costs;
mod course;
pub mod explain;
mod intervals;
mod memory;
pub mod parameters;
mod pieces;
pub mod products;
mod pull;
mod ranges;
mod rule;
mod scenario;
mod schedule;
mod sim;
mod trace;
mod watcher;
mod writer;

pub use about::{Constant, Known};
pub use costs::Costs;
pub use course::{run, run_watched};
pub use products::Product;
pub use scenario::{Background, Engine, Guest, Link, MAX_RAM_PAGES, MEMORY_BYTES_PER_S, Scenario, ScenarioError};
pub use trace::{End, Pull, Round, Trace, Why};
pub use watcher::{Order, Step, View, Watcher};

#[cfg(test)]
mod tests;
