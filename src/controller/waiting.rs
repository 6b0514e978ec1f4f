//! What the end of a session waits for, for whoever has to be told.

use std::sync::{Arc, Mutex, PoisonError};

/// What the end of the session waits for, as whoever waits says it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<Option<&'static str>>>);

impl Waiting {
    pub(crate) fn on(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    pub(crate) fn now(&self) -> &'static str {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or("the hypervisor to answer")
    }
}
