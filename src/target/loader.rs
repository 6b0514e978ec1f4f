//! Who puts a load into effect in the guest.

use crate::agent::client::Client;
use crate::demo::SimulatedGuest;
use crate::event::LoadSettings;

/// The agent in the guest, whichever it is. The answers come as events.
pub(crate) trait Loader: Send + Sync {
    /// Asks for a load.
    fn set(&self, id: u64, to: LoadSettings);
    /// The same for one of many of which only the newest matters.
    fn follow(&self, id: u64, to: LoadSettings);
    /// Leaves it, with its load let go. May block.
    fn let_go(self: Box<Self>);
}

impl Loader for Client {
    fn set(&self, id: u64, to: LoadSettings) {
        Self::set(self, id, to);
    }

    fn follow(&self, id: u64, to: LoadSettings) {
        Self::follow(self, id, to);
    }

    fn let_go(self: Box<Self>) {
        self.close(false);
    }
}

impl Loader for SimulatedGuest {
    fn set(&self, id: u64, to: LoadSettings) {
        self.set_load(id, to);
    }

    fn follow(&self, id: u64, to: LoadSettings) {
        self.set_load(id, to);
    }

    /// The guest goes on without a controller for as long as it is probed.
    fn let_go(self: Box<Self>) {}
}
