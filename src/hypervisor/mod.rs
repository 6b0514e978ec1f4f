//! Live migrations, in the same words for every hypervisor.
//!
//! A product is a [`Hypervisor`] (the [`contract`]): it says what it offers and what can be seen, and starts
//! migrations, which tell what they see, both as events into the stream (all facts) and as a small
//! [`Observation`] (the newest state, for decisions), and take [`Order`]s. Above the products stand the stop policy
//! ([`policy`]) and the [`supervisor`], which know none. A product's name appears only in its own folder.

pub mod blocking;
pub mod command;
pub mod contract;
mod error;
pub mod exec;
pub mod libvirt;
pub mod observe;
pub mod place;
pub mod policy;
pub mod qmp;
pub mod supervisor;

pub use contract::{Hypervisor, Migration, Order, Prospect};
pub use error::HvError;
pub use observe::{Observation, Observations, Observer, Side, Unwatched};
pub use place::Place;
pub use supervisor::{RunCommand, follow_migration, run_migration};

pub use crate::event::{Capabilities, Parameter};
