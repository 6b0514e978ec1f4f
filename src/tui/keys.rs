//! Actions and the keys bound to them: one table, from which key handling, the help overlay and
//! the hints at the foot of the screen all come.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::run::Markers;

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
    /// Mark this instant.
    Mark,
    /// Select the control above.
    Up,
    /// Select the control below.
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
    /// Show the controls.
    PageControls,
    /// Show the result of the newest migration.
    PageResult,
    /// Show all migrations of the session.
    PageHistory,
    /// Show the event log.
    PageLog,
    /// Show the next page.
    NextPage,
    /// Nearer in time.
    ZoomIn,
    /// Farther in time.
    ZoomOut,
    /// As near as fits the migration.
    ZoomAuto,
    /// Older log lines.
    LogUp,
    /// Newer log lines.
    LogDown,
    /// Show or hide the help.
    Help,
    /// Draw everything anew.
    Redraw,
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
    /// Previous event.
    StepBack,
    /// Next event.
    StepForward,
    /// A second back.
    SeekBack,
    /// A second forward.
    SeekForward,
    /// Ten seconds back.
    SeekFarBack,
    /// Ten seconds forward.
    SeekFarForward,
    /// The beginning.
    SeekStart,
    /// The end.
    SeekEnd,
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
}

impl Scope {
    /// Whether it holds.
    #[must_use]
    pub fn holds(self, replay: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Live => !replay,
            Self::Replay => replay,
        }
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

use KeyCode::{Down, End, Enter, Home, Left, PageDown, PageUp, Right, Tab, Up};

const MIGRATION: &str = "Migration";
const LOAD: &str = "Controls";
const VIEW: &str = "View";
const REPLAY: &str = "Replay";
const SESSION: &str = "Session";

/// Every binding.
pub static BINDINGS: &[Binding] = &[
    bind(Action::Migrate, &[ch('m')], Scope::Live, MIGRATION, "fire a migration", Some("migrate")),
    bind(Action::Cancel, &[ch('c')], Scope::Live, MIGRATION, "cancel; guest stays put", Some("cancel")),
    bind(Action::StopAndCopy, &[ch('s')], Scope::Live, MIGRATION, "stop it now, copy the rest", Some("stop")),
    bind(Action::PostCopy, &[ch('p')], Scope::Live, MIGRATION, "run there, pull the rest", Some("post-copy")),
    bind(Action::Up, &[plain(Up), ch('k')], Scope::Live, LOAD, "select the control above", None),
    bind(Action::Down, &[plain(Down), ch('j')], Scope::Live, LOAD, "select the control below", None),
    bind(Action::Less, &[plain(Left), ch('h')], Scope::Live, LOAD, "less", None),
    bind(Action::More, &[plain(Right), ch('l')], Scope::Live, LOAD, "more", Some("change")),
    bind(Action::MuchLess, &[ch('['), shift(Left)], Scope::Live, LOAD, "much less", None),
    bind(Action::MuchMore, &[ch(']'), shift(Right)], Scope::Live, LOAD, "much more", None),
    bind(Action::Type, &[plain(Enter)], Scope::Live, LOAD, "type a value", Some("type")),
    bind(Action::PlayPause, &[ch(' ')], Scope::Replay, REPLAY, "play or pause", Some("play")),
    bind(Action::Slower, &[ch('<'), plain(Down)], Scope::Replay, REPLAY, "slower", None),
    bind(Action::Faster, &[ch('>'), plain(Up)], Scope::Replay, REPLAY, "faster", Some("faster")),
    bind(Action::StepBack, &[ch(',')], Scope::Replay, REPLAY, "previous event", None),
    bind(Action::StepForward, &[ch('.')], Scope::Replay, REPLAY, "next event", Some("step")),
    bind(Action::SeekBack, &[plain(Left), ch('h')], Scope::Replay, REPLAY, "1 s back", None),
    bind(Action::SeekForward, &[plain(Right), ch('l')], Scope::Replay, REPLAY, "1 s on", Some("seek")),
    bind(Action::SeekFarBack, &[ch('['), shift(Left)], Scope::Replay, REPLAY, "10 s back", None),
    bind(Action::SeekFarForward, &[ch(']'), shift(Right)], Scope::Replay, REPLAY, "10 s on", None),
    bind(Action::SeekStart, &[plain(Home)], Scope::Replay, REPLAY, "to the beginning", None),
    bind(Action::SeekEnd, &[plain(End)], Scope::Replay, REPLAY, "to the end", None),
    bind(Action::ZoomIn, &[ch('+'), ch('=')], Scope::Always, VIEW, "nearer in time", Some("zoom")),
    bind(Action::ZoomOut, &[ch('-')], Scope::Always, VIEW, "farther in time", None),
    bind(Action::ZoomAuto, &[ch('0')], Scope::Always, VIEW, "fit the migration", None),
    bind(Action::PageControls, &[ch('1')], Scope::Always, VIEW, "controls", None),
    bind(Action::PageResult, &[ch('2')], Scope::Always, VIEW, "result", None),
    bind(Action::PageHistory, &[ch('3')], Scope::Always, VIEW, "history", None),
    bind(Action::PageLog, &[ch('4')], Scope::Always, VIEW, "event log", None),
    bind(Action::NextPage, &[plain(Tab)], Scope::Always, VIEW, "next page", Some("page")),
    bind(Action::LogUp, &[plain(PageUp)], Scope::Always, VIEW, "older log lines", None),
    bind(Action::LogDown, &[plain(PageDown)], Scope::Always, VIEW, "newer log lines", None),
    bind(Action::Mark, &[ch('x')], Scope::Live, SESSION, "mark this instant", Some("mark")),
    bind(Action::Redraw, &[ctrl('l')], Scope::Always, SESSION, "draw everything anew", None),
    bind(Action::Help, &[ch('?')], Scope::Always, SESSION, "this help", Some("help")),
    bind(Action::Quit, &[ch('q')], Scope::Always, SESSION, "quit; asks if one runs", Some("quit")),
    bind(Action::QuitNow, &[ctrl('c')], Scope::Always, SESSION, "quit at once", None),
];

/// The action of a key press.
#[must_use]
pub fn action(event: &KeyEvent, replay: bool) -> Option<Action> {
    let key = normal(event);
    BINDINGS.iter().find(|b| b.scope.holds(replay) && b.keys.contains(&key)).map(|b| b.action)
}

/// The first key of an action, for people.
#[must_use]
pub fn label_of(action: Action, markers: Markers) -> String {
    BINDINGS
        .iter()
        .find(|b| b.action == action)
        .and_then(|b| b.keys.first())
        .map_or(String::new(), |k| label(*k, markers))
}

/// Terminals disagree on whether `?` or a capital comes with Shift: the character says it already.
fn normal(event: &KeyEvent) -> Key {
    let mut modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
    if matches!(event.code, KeyCode::Char(_)) {
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

    #[test]
    fn no_key_means_two_things() {
        for replay in [false, true] {
            let mut seen: Vec<(Key, Action)> = Vec::new();
            for b in BINDINGS.iter().filter(|b| b.scope.holds(replay)) {
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
        let shifted = KeyEvent::new(KeyCode::Char('?'), KeyModifiers::SHIFT);
        assert_eq!(action(&shifted, false), Some(Action::Help));
        assert_eq!(action(&KeyEvent::new(Right, KeyModifiers::SHIFT), false), Some(Action::MuchMore));
        assert_eq!(action(&KeyEvent::new(KeyCode::Char('m'), KeyModifiers::NONE), true), None);
        assert_eq!(label(Key(KeyCode::Char('c'), KeyModifiers::CONTROL), Markers::Unicode), "Ctrl-C");
    }
}
