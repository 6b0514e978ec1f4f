//! Actions and the keys bound to them: one table, from which key handling, the help overlay and
//! the hints at the foot of the screen all come.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::run::Markers;
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

/// An action and its keys.
#[derive(Debug)]
pub struct Binding {
    /// The action.
    pub action: Action,
    /// The keys; the first is the one shown in hints.
    pub keys: &'static [Key],
    /// Where it holds.
    pub scope: Scope,
    /// The heading it stands under in the help.
    pub group: &'static str,
    /// What it does.
    pub help: &'static str,
    /// A word for the hints at the foot of the screen.
    pub hint: Option<&'static str>,
}

const fn plain(code: KeyCode) -> Key {
    Key(code, KeyModifiers::NONE)
}
const fn ch(c: char) -> Key {
    plain(KeyCode::Char(c))
}
const fn ctrl(c: char) -> Key {
    Key(KeyCode::Char(c), KeyModifiers::CONTROL)
}
const fn shift(code: KeyCode) -> Key {
    Key(code, KeyModifiers::SHIFT)
}
const fn bind(
    action: Action,
    keys: &'static [Key],
    scope: Scope,
    group: &'static str,
    help: &'static str,
    hint: Option<&'static str>,
) -> Binding {
    Binding { action, keys, scope, group, help, hint }
}

use KeyCode::{BackTab, Down, End, Enter, Esc, F, Home, Left, PageDown, PageUp, Right, Tab, Up};
use Scope::{Always, Live, OnHistory, OnLog, Replay};

const MIGRATION: &str = "Migration";
const LOAD: &str = "Controls";
const TIME: &str = "Time";
const PAGES: &str = "Pages";
const HISTORY: &str = "History";
const LOG: &str = "Log";
const REPLAY: &str = "Replay";
const SESSION: &str = "Session";

/// Every binding, as it is without a keymap file.
#[rustfmt::skip]
pub static BINDINGS: &[Binding] = &[
    bind(Action::Migrate, &[ch('m')], Live, MIGRATION, "fire a migration", Some("migrate")),
    bind(Action::Cancel, &[ch('c')], Live, MIGRATION, "cancel; guest stays put", Some("cancel")),
    bind(Action::StopAndCopy, &[ch('s')], Live, MIGRATION, "stop it now, copy the rest", Some("stop")),
    bind(Action::PostCopy, &[ch('p')], Live, MIGRATION, "run there, pull the rest", Some("post-copy")),
    bind(Action::Up, &[plain(Up), ch('k')], Always, LOAD, "the row above", None),
    bind(Action::Down, &[plain(Down), ch('j')], Always, LOAD, "the row below", None),
    bind(Action::Less, &[plain(Left), ch('h')], Live, LOAD, "less", None),
    bind(Action::More, &[plain(Right), ch('l')], Live, LOAD, "more", Some("change")),
    bind(Action::MuchLess, &[ch('['), shift(Left), ch('H')], Live, LOAD, "much less", None),
    bind(Action::MuchMore, &[ch(']'), shift(Right), ch('L')], Live, LOAD, "much more", None),
    bind(Action::Type, &[plain(Enter)], Always, LOAD, "type a value", Some("type")),
    bind(Action::Ramp, &[ch('r')], Live, LOAD, "ramp RATE from A to B", Some("ramp")),
    bind(Action::Presets, &[ch('o')], Live, LOAD, "choose a load", None),
    bind(Action::Hold, &[ch('u')], Live, LOAD, "hold BPC or PERIOD", None),
    bind(Action::PlayPause, &[ch(' ')], Replay, REPLAY, "play or pause", Some("play")),
    bind(Action::Slower, &[ch('[')], Replay, REPLAY, "slower", None),
    bind(Action::Faster, &[ch(']')], Replay, REPLAY, "faster", Some("speed")),
    bind(Action::StepBack, &[ch('(')], Replay, REPLAY, "one event back", None),
    bind(Action::StepForward, &[ch(')')], Replay, REPLAY, "one event on", Some("step")),
    bind(Action::SeekBack, &[plain(Left), ch('h')], Replay, REPLAY, "1 s back", None),
    bind(Action::SeekForward, &[plain(Right), ch('l')], Replay, REPLAY, "1 s on", Some("seek")),
    bind(Action::SeekFarBack, &[shift(Left), ch('H')], Replay, REPLAY, "10 s back", None),
    bind(Action::SeekFarForward, &[shift(Right), ch('L')], Replay, REPLAY, "10 s on", None),
    bind(Action::Freeze, &[ch('f')], Always, TIME, "freeze or follow", Some("freeze")),
    bind(Action::CursorBack, &[ch(',')], Always, TIME, "cursor back", None),
    bind(Action::CursorOn, &[ch('.')], Always, TIME, "cursor on", Some("cursor")),
    bind(Action::PanBack, &[ch('<')], Always, TIME, "half a screen back", None),
    bind(Action::PanOn, &[ch('>')], Always, TIME, "half a screen on", Some("pan")),
    bind(Action::EventBack, &[ch('N')], Always, TIME, "to the previous event", None),
    bind(Action::EventOn, &[ch('n')], Always, TIME, "to the next event", Some("event")),
    bind(Action::Events, &[ch('e')], Always, TIME, "which events n and N find", None),
    bind(Action::Measure, &[ch('v')], Always, TIME, "measure from here", Some("measure")),
    bind(Action::Mark, &[ch('x')], Live, TIME, "mark this instant", Some("mark")),
    bind(Action::ZoomIn, &[ch('+'), ch('=')], Always, TIME, "nearer", Some("zoom")),
    bind(Action::ZoomOut, &[ch('-')], Always, TIME, "farther", None),
    bind(Action::ZoomAuto, &[ch('0')], Always, TIME, "fit the migration", None),
    bind(Action::ZoomAll, &[ch('w')], Always, TIME, "the whole session", None),
    bind(Action::TimeStart, &[plain(Home)], Always, TIME, "to the beginning", None),
    bind(Action::TimeEnd, &[plain(End)], Always, TIME, "to the end", None),
    bind(Action::Back, &[plain(Esc)], Always, TIME, "leave cursor and measure", None),
    bind(Action::Tracks, &[ch('t')], Always, TIME, "choose the tracks", None),
    bind(Action::PageControls, &[ch('1')], Always, PAGES, "controls", None),
    bind(Action::PageResult, &[ch('2')], Always, PAGES, "result", None),
    bind(Action::PageHistory, &[ch('3')], Always, PAGES, "history", None),
    bind(Action::PageLog, &[ch('4')], Always, PAGES, "event log", None),
    bind(Action::NextPage, &[plain(Tab)], Always, PAGES, "next page", Some("page")),
    bind(Action::PreviousPage, &[plain(BackTab)], Always, PAGES, "previous page", None),
    bind(Action::ScrollUp, &[plain(PageUp)], Always, PAGES, "scroll up", None),
    bind(Action::ScrollDown, &[plain(PageDown)], Always, PAGES, "scroll down", None),
    bind(Action::Sort, &[ch('a')], OnHistory, HISTORY, "sort by the next column", Some("sort")),
    bind(Action::SortOrder, &[ch('A')], OnHistory, HISTORY, "turn the order round", None),
    bind(Action::Baseline, &[ch('b')], OnHistory, HISTORY, "compare others with this", Some("baseline")),
    bind(Action::Compare, &[ch('d')], OnHistory, HISTORY, "side by side", Some("compare")),
    bind(Action::Search, &[ch('/')], Always, LOG, "search the log", None),
    bind(Action::Filter, &[ch('F')], OnLog, LOG, "only what matters more", Some("filter")),
    bind(Action::Errors, &[ch('E')], Always, LOG, "read the errors", None),
    bind(Action::NextTheme, &[ch('T')], Always, SESSION, "next theme", None),
    bind(Action::Redraw, &[ctrl('l')], Always, SESSION, "draw everything anew", None),
    bind(Action::Suspend, &[ctrl('z')], Always, SESSION, "to the shell for a while", None),
    bind(Action::Help, &[ch('?'), plain(F(1))], Always, SESSION, "this help", Some("help")),
    bind(Action::Quit, &[ch('q')], Always, SESSION, "quit; asks if one runs", Some("quit")),
    bind(Action::QuitNow, &[ctrl('c')], Always, SESSION, "quit at once", None),
];

/// Where a key is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In a replay.
    pub replay: bool,
    /// The page in front.
    pub page: Page,
}

/// Which keys do what: the table, with what a keymap file has put in place of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keymap {
    /// The keys of each binding of [`BINDINGS`], in its order.
    keys: Vec<Vec<Key>>,
}

impl Default for Keymap {
    fn default() -> Self {
        Self { keys: BINDINGS.iter().map(|b| b.keys.to_vec()).collect() }
    }
}

impl Keymap {
    /// Every binding with its keys.
    pub fn bindings(&self) -> impl Iterator<Item = (&'static Binding, &[Key])> {
        BINDINGS.iter().zip(self.keys.iter().map(Vec::as_slice))
    }

    /// The action of a key press.
    #[must_use]
    pub fn action(&self, event: &KeyEvent, at: Place) -> Option<Action> {
        let key = normal(event);
        self.bindings().find(|(b, keys)| b.scope.holds(at) && keys.contains(&key)).map(|(b, _)| b.action)
    }

    /// The first key of an action, for people; empty where none is bound.
    #[must_use]
    pub fn label_of(&self, action: Action, markers: Markers) -> String {
        let keys = self.bindings().find(|(b, _)| b.action == action).and_then(|(_, keys)| keys.first());
        keys.map_or(String::new(), |k| label(*k, markers))
    }
}

/// Terminals disagree on whether `?` or a capital comes with Shift: the character says it already.
fn normal(event: &KeyEvent) -> Key {
    let mut modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
    if matches!(event.code, KeyCode::Char(_) | BackTab) {
        modifiers.remove(KeyModifiers::SHIFT);
    }
    Key(event.code, modifiers)
}

/// A key's name for people.
#[must_use]
pub fn label(key: Key, markers: Markers) -> String {
    let ascii = markers == Markers::Ascii;
    let arrow = |unicode: &'static str, plain: &'static str| if ascii { plain } else { unicode };
    let name = match key.0 {
        KeyCode::Char(' ') => "Space".to_string(),
        KeyCode::Char(c) if key.1.contains(KeyModifiers::CONTROL) => c.to_ascii_uppercase().to_string(),
        KeyCode::Char(c) => c.to_string(),
        Up => arrow("↑", "Up").into(),
        Down => arrow("↓", "Down").into(),
        Left => arrow("←", "Left").into(),
        Right => arrow("→", "Right").into(),
        Enter => "Enter".into(),
        Tab => "Tab".into(),
        BackTab => "Shift-Tab".into(),
        F(n) => format!("F{n}"),
        PageUp => "PgUp".into(),
        PageDown => "PgDn".into(),
        other => format!("{other:?}"),
    };
    let mut out = String::new();
    if key.1.contains(KeyModifiers::CONTROL) {
        out.push_str("Ctrl-");
    }
    if key.1.contains(KeyModifiers::SHIFT) {
        out.push_str("Shift-");
    }
    out + &name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> impl Iterator<Item = Place> {
        [false, true].into_iter().flat_map(|replay| Page::ALL.map(|page| Place { replay, page }))
    }

    #[test]
    fn no_key_means_two_things() {
        for at in places() {
            let mut seen: Vec<(Key, Action)> = Vec::new();
            for b in BINDINGS.iter().filter(|b| b.scope.holds(at)) {
                for key in b.keys {
                    let other = seen.iter().find(|(k, _)| k == key);
                    assert!(other.is_none(), "{key:?} is {:?} and {:?}", b.action, other);
                    seen.push((*key, b.action));
                }
            }
        }
    }

    #[test]
    fn every_binding_has_keys_and_words() {
        for b in BINDINGS {
            assert!(!b.keys.is_empty() && !b.help.is_empty(), "{:?}", b.action);
            assert_eq!(BINDINGS.iter().filter(|o| o.action == b.action).count(), 1, "{:?} is bound twice", b.action);
        }
    }

    #[test]
    fn shift_does_not_hide_a_character() {
        let (map, live) = (Keymap::default(), Place { replay: false, page: Page::Controls });
        let shifted = KeyEvent::new(KeyCode::Char('?'), KeyModifiers::SHIFT);
        assert_eq!(map.action(&shifted, live), Some(Action::Help));
        assert_eq!(map.action(&KeyEvent::new(Right, KeyModifiers::SHIFT), live), Some(Action::MuchMore));
        let m = KeyEvent::new(KeyCode::Char('m'), KeyModifiers::NONE);
        assert_eq!(map.action(&m, Place { replay: true, ..live }), None);
        assert_eq!(label(Key(KeyCode::Char('c'), KeyModifiers::CONTROL), Markers::Unicode), "Ctrl-C");
    }
}
