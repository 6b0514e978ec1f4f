//! What is looked at: a product and its endpoints, the guest, its agent, and what a session with it is asked to
//! be where nobody says otherwise. Described in a file of targets or by flags, which make the same [`Target`].
//!
//! Each product stands in one file below [`products`], which says its fields once; help, errors and the list of
//! targets are made of that.

mod description;
pub(crate) mod field;
pub(crate) mod file;
pub(crate) mod guest;
pub(crate) mod kinds;
pub(crate) mod loader;
pub(crate) mod look;
pub(crate) mod opened;
pub(crate) mod probing;
pub(crate) mod product;
pub(crate) mod products;
pub(crate) mod resolve;
pub(crate) mod secret;
pub(crate) mod values;

pub(crate) use description::{Target, fields};
