//! How the screen behaves, and why it closed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::glyphs::Markers;
use super::keys::Keymap;
use super::theme::{Depth, ThemeChoice};

/// Which clock times on the screen are of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clock {
    /// Since the session began.
    #[default]
    Session,
    /// The time of the day where the screen is looked at.
    Wall,
}

impl Clock {
    /// Their names on the command line.
    pub const NAMES: &[(&str, Self)] = &[("session", Self::Session), ("wall", Self::Wall)];
}

/// How the screen behaves.
#[derive(Debug, Clone)]
pub struct TuiOptions {
    /// The theme.
    pub theme: ThemeChoice,
    /// Colours the terminal can show; `None` for what its environment says.
    pub colours: Option<Depth>,
    /// The characters.
    pub markers: Markers,
    /// The clock that times are of, at first.
    pub clock: Clock,
    /// Highest number of frames a second, 1 to 60.
    pub max_fps: u32,
    /// For a slow line: two to three frames a second while data comes in; keys are answered at once.
    pub slow: bool,
    /// Whether the mouse is listened to.
    pub mouse: bool,
    /// Which keys do what.
    pub keymap: Arc<Keymap>,
    /// Raised from outside to close the screen (a signal, the end of the session).
    pub stop: Arc<AtomicBool>,
}

impl Default for TuiOptions {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::Auto,
            colours: None,
            markers: Markers::default(),
            clock: Clock::default(),
            max_fps: 30,
            slow: false,
            mouse: true,
            keymap: Arc::default(),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// Why the screen closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The person left. [`Intent::Quit`](crate::event::Intent::Quit) has been emitted.
    Quit,
    /// SIGTERM, SIGHUP or SIGINT came, or [`TuiOptions::stop`] was raised.
    Signal,
    /// [`Feed::over`](super::Feed::over).
    Over,
    /// The terminal is gone: hung up, or it takes nothing more.
    Gone,
}

/// What is left to say when the screen has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitSummary {
    /// Why it closed.
    pub reason: ExitReason,
    /// Frames drawn.
    pub frames: u64,
}
