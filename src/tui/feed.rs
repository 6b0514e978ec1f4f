//! What the screen draws from: a live session and a replay look the same from here.

use std::path::PathBuf;

use crate::event::Nanos;
use crate::session::State;

/// Where the screen gets its state from. Implemented by the live session and by the replay.
///
/// The screen calls it from its own thread, at most 30 times a second.
pub trait Feed {
    /// Lends the state for as long as `f` runs. Everyone else waits meanwhile: nothing is drawn then, nor
    /// done that takes the longer the longer a text is.
    fn with_state(&self, f: &mut dyn FnMut(&State));
    /// A copy of the state, to draw from. It shares with the original what is long.
    fn state(&self) -> State {
        let mut copy = State::default();
        self.with_state(&mut |state| copy = state.clone());
        copy
    }
    /// Changes whenever the state does.
    fn version(&self) -> u64;
    /// The session clock now; in a replay, the position.
    fn now(&self) -> Nanos;
    /// The recorder; `None` where nothing is recorded (a replay).
    fn recorder(&self) -> Option<RecorderInfo>;
    /// The replay; `None` in a live session.
    fn replay(&self) -> Option<ReplayInfo> {
        None
    }
    /// The replay's controls; `None` in a live session.
    fn control(&self) -> Option<&dyn ReplayControl> {
        None
    }
    /// Whether the screen should close by itself, because the session is over.
    fn over(&self) -> bool {
        false
    }
}

/// Health of the capture being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecorderInfo {
    /// The capture's folder or file.
    pub path: PathBuf,
    /// Written so far, bytes.
    pub bytes: u64,
    /// Why it cannot be written now.
    pub trouble: Option<String>,
    /// Events waiting to be written.
    pub backlog: u64,
}

/// Where a replay is.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayInfo {
    /// The capture.
    pub path: PathBuf,
    /// Position, ns of the session clock.
    pub position: Nanos,
    /// Length of the capture, ns.
    pub length: Nanos,
    /// Whether it plays.
    pub playing: bool,
    /// Speed, times real time.
    pub speed: f64,
    /// The longest outage of the capture: from, and to where it ended, ns.
    pub worst: Option<(Nanos, Option<Nanos>)>,
}

/// The controls of a replay. Out-of-range positions are brought into range.
pub trait ReplayControl {
    /// Plays or pauses.
    fn set_playing(&self, playing: bool);
    /// Sets the speed, times real time.
    fn set_speed(&self, speed: f64);
    /// Goes to the next (`+1`) or previous (`-1`) event, and pauses.
    fn step(&self, events: i64);
    /// Goes to a position, ns of the session clock.
    fn seek(&self, to: Nanos);
}
