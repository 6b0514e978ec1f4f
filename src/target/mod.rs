//! What is looked at: a product and its endpoints, the guest, its agent and its probes.

pub(crate) mod loader;
pub(crate) mod opened;
