//! The products a target can be of: one line each.

use super::product::Kind;
use super::products;

/// Every product there is.
pub(crate) const KINDS: &[Kind] =
    &[products::qmp::KIND, products::libvirt::KIND, products::command::KIND, products::lab::KIND, products::demo::KIND];

/// The product of this name.
pub(crate) fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
