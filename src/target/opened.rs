//! A target that is open: what a session acts on.

use std::sync::Arc;

use super::loader::Loader;
use crate::hypervisor::Hypervisor;

/// Everything that is needed once the guest can be loaded and migrated.
pub(crate) struct Opened {
    /// Where migrations take place; None where nothing can be migrated.
    pub(crate) hypervisor: Option<Arc<dyn Hypervisor>>,
    /// Who loads the guest.
    pub(crate) agent: Option<Box<dyn Loader>>,
    /// Ends the probing.
    pub(crate) probe: Option<EndProbing>,
}

/// Ends the probing; may block.
pub(crate) type EndProbing = Box<dyn FnOnce() + Send>;
