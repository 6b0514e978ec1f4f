//! A handle on a session that goes on: the same for a live one and a replay.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::recorder::{Recorder, RecorderStatus};
use super::state::State;

/// A session as seen from the screen. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    version: watch::Sender<u64>,
    health: Health,
}

/// Where the health of the capture comes from.
pub(super) enum Health {
    /// The recorder of a live session.
    Live(Recorder),
    /// A capture that is replayed.
    Replay(RecorderStatus),
}

impl Shared {
    pub(super) fn new(state: State, health: Health) -> Self {
        Self { inner: Arc::new(Inner { state: Mutex::new(state), version: watch::Sender::new(0), health }) }
    }

    /// Looks at the state. Events wait meanwhile (in a queue sized for it): take what is needed
    /// and go.
    pub fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.inner.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A copy of the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.with_state(State::clone)
    }

    /// A number that is another one whenever the state is.
    #[must_use]
    pub fn version(&self) -> u64 {
        *self.inner.version.borrow()
    }

    /// Waits for changes: `changed().await` on it, or `has_changed()`.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.version.subscribe()
    }

    /// Health of the capture.
    #[must_use]
    pub fn status(&self) -> RecorderStatus {
        match &self.inner.health {
            Health::Live(recorder) => recorder.status(),
            Health::Replay(status) => status.clone(),
        }
    }

    /// Changes the state and tells everyone who waits.
    pub(super) fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.inner.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.inner.version.send_modify(|version| *version += 1);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("version", &self.version()).finish_non_exhaustive()
    }
}
