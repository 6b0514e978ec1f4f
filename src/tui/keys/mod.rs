//! Actions and the keys bound to them: one table, from which key handling, the help overlay, the
//! hints at the foot of the screen, `blackout keys` and the template of a keymap file all come.

mod file;
mod keymap;
mod names;
mod print;
mod table;

use ratatui::crossterm::event::{KeyCode, KeyModifiers};

pub use file::KeymapError;
pub use keymap::Keymap;
pub use names::{KeyNameError, label, name, parse};
pub use print::{markdown, template, text};
pub use table::{BINDINGS, Binding};

use super::view::Page;

/// What a key press can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fire a migration.
    Migrate,
    /// Cancel the running migration.
    Cancel,
    /// Stop the guest now and copy the rest.
    StopAndCopy,
    /// Switch the running migration to post-copy.
    PostCopy,
    /// The row above: a control, a migration, a line of the log.
    Up,
    /// The row below.
    Down,
    /// Less of the selected control.
    Less,
    /// More of it.
    More,
    /// Much less of it.
    MuchLess,
    /// Much more of it.
    MuchMore,
    /// Type a value for it.
    Type,
    /// Let RATE go from one value to another by itself.
    Ramp,
    /// Choose a load from a list.
    Presets,
    /// Choose which of BPC and PERIOD is held when RATE changes.
    Hold,
    /// The cursor a column back in time.
    CursorBack,
    /// The cursor a column on in time.
    CursorOn,
    /// Half a screen back in time.
    PanBack,
    /// Half a screen on in time.
    PanOn,
    /// The cursor to the previous event.
    EventBack,
    /// The cursor to the next event.
    EventOn,
    /// Choose which events the cursor jumps to.
    Events,
    /// Measure from the cursor on.
    Measure,
    /// Mark this instant, with a note.
    Mark,
    /// Freeze the picture, or follow what happens.
    Freeze,
    /// Nearer in time.
    ZoomIn,
    /// Farther in time.
    ZoomOut,
    /// As near as fits the migration.
    ZoomAuto,
    /// The whole session.
    ZoomAll,
    /// The longest outage into view.
    WorstOutage,
    /// Times of the wall clock, or since the session began.
    WallClock,
    /// The beginning of the session.
    TimeStart,
    /// The end: now.
    TimeEnd,
    /// Leave what was begun: measure, cursor, frozen picture.
    Back,
    /// Hide, order and resize the tracks.
    Tracks,
    /// Show the controls.
    PageControls,
    /// Show the result of a migration.
    PageResult,
    /// Show all migrations of the session.
    PageHistory,
    /// Show the event log.
    PageLog,
    /// Show the next page.
    NextPage,
    /// Show the previous page.
    PreviousPage,
    /// A page up in a list.
    ScrollUp,
    /// A page down in a list.
    ScrollDown,
    /// Sort the history by the next column.
    Sort,
    /// Turn the order of the history round.
    SortOrder,
    /// Make the selected migration the one others are compared with.
    Baseline,
    /// Put the selected migration and the baseline side by side.
    Compare,
    /// Search the log.
    Search,
    /// Show only lines of the log that matter more.
    Filter,
    /// Read the errors that have not been read.
    Errors,
    /// The next theme.
    NextTheme,
    /// Show or hide the help.
    Help,
    /// Draw everything anew.
    Redraw,
    /// Stop the program and give the terminal back for a while.
    Suspend,
    /// Leave; asks first while a migration runs.
    Quit,
    /// Leave at once.
    QuitNow,
    /// Play or pause.
    PlayPause,
    /// Play slower.
    Slower,
    /// Play faster.
    Faster,
    /// One event back.
    StepBack,
    /// One event on.
    StepForward,
    /// A second back.
    SeekBack,
    /// A second on.
    SeekForward,
    /// Ten seconds back.
    SeekFarBack,
    /// Ten seconds on.
    SeekFarForward,
}

/// Where a binding holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In a live session and in a replay.
    Always,
    /// In a live session.
    Live,
    /// In a replay.
    Replay,
    /// Where the history is in front.
    OnHistory,
    /// Where the log is in front.
    OnLog,
}

impl Scope {
    /// Whether it holds.
    #[must_use]
    pub fn holds(self, at: Place) -> bool {
        match self {
            Self::Always => true,
            Self::Live => !at.replay,
            Self::Replay => at.replay,
            Self::OnHistory => at.page == Page::History,
            Self::OnLog => at.page == Page::Log,
        }
    }

    /// Whether it holds on any page.
    #[must_use]
    pub fn concerns(self, replay: bool) -> bool {
        Page::ALL.into_iter().any(|page| self.holds(Place { replay, page }))
    }
}

/// A key with its modifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub KeyCode, pub KeyModifiers);

/// Where a key is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In a replay.
    pub replay: bool,
    /// The page in front.
    pub page: Page,
}

impl Place {
    /// Every place there is.
    pub fn all() -> impl Iterator<Item = Self> {
        [false, true].into_iter().flat_map(|replay| Page::ALL.map(|page| Self { replay, page }))
    }
}
