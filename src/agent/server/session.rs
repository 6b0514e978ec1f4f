//! One controller's session, as the agent sees it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::outbox::Outbox;
use super::super::protocol::ToController;
use crate::load::monotonic_ns;

/// A controller that is being served.
pub(super) struct Session {
    /// Its number.
    pub(super) controller: u64,
    /// Where it is, for people.
    pub(super) peer: String,
    /// What is to be said to it.
    pub(super) outbox: Outbox<ToController>,
    /// Breaks the connection.
    pub(super) hang_up: Box<dyn Fn() + Send + Sync>,
    heard_ns: AtomicU64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("controller", &self.controller)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(controller: u64, peer: String, hang_up: Box<dyn Fn() + Send + Sync>) -> Self {
        let heard_ns = AtomicU64::new(monotonic_ns());
        Self { controller, peer, outbox: Outbox::new(), hang_up, heard_ns }
    }

    /// The controller has said something.
    pub(super) fn heard(&self) {
        self.heard_ns.store(monotonic_ns(), Ordering::Relaxed);
    }

    /// For how long it has said nothing, ns.
    pub(super) fn silent_ns(&self) -> u64 {
        monotonic_ns().saturating_sub(self.heard_ns.load(Ordering::Relaxed))
    }

    /// Ends the session.
    pub(super) fn end(&self) {
        self.outbox.close();
        (self.hang_up)();
    }
}
