//! The table: every action with its name, its built-in keys, where it holds and what it does.

use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::{Action, Key, Scope};

/// An action and its keys.
#[derive(Debug)]
pub struct Binding {
    /// The action's name in a keymap file.
    pub name: &'static str,
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
    name: &'static str,
    action: Action,
    keys: &'static [Key],
    scope: Scope,
    group: &'static str,
    help: &'static str,
    hint: Option<&'static str>,
) -> Binding {
    Binding { name, action, keys, scope, group, help, hint }
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
    bind("migrate", Action::Migrate, &[ch('m')], Live, MIGRATION, "fire a migration", Some("migrate")),
    bind("cancel", Action::Cancel, &[ch('c')], Live, MIGRATION, "cancel; guest stays put", Some("cancel")),
    bind("stop_and_copy", Action::StopAndCopy, &[ch('s')], Live, MIGRATION, "stop now, copy the rest", Some("stop")),
    bind("post_copy", Action::PostCopy, &[ch('p')], Live, MIGRATION, "run there, pull the rest", Some("post-copy")),
    bind("up", Action::Up, &[plain(Up), ch('k')], Always, LOAD, "the row above", None),
    bind("down", Action::Down, &[plain(Down), ch('j')], Always, LOAD, "the row below", None),
    bind("less", Action::Less, &[plain(Left), ch('h')], Live, LOAD, "less", None),
    bind("more", Action::More, &[plain(Right), ch('l')], Live, LOAD, "more", Some("change")),
    bind("much_less", Action::MuchLess, &[ch('['), shift(Left), ch('H')], Live, LOAD, "much less", None),
    bind("much_more", Action::MuchMore, &[ch(']'), shift(Right), ch('L')], Live, LOAD, "much more", None),
    bind("type", Action::Type, &[plain(Enter)], Always, LOAD, "type a value", Some("type")),
    bind("ramp", Action::Ramp, &[ch('r')], Live, LOAD, "ramp RATE from A to B", Some("ramp")),
    bind("presets", Action::Presets, &[ch('o')], Live, LOAD, "choose a load", None),
    bind("hold", Action::Hold, &[ch('u')], Live, LOAD, "hold BPC or PERIOD", None),
    bind("play_pause", Action::PlayPause, &[ch(' ')], Replay, REPLAY, "play or pause", Some("play")),
    bind("slower", Action::Slower, &[ch('[')], Replay, REPLAY, "slower", None),
    bind("faster", Action::Faster, &[ch(']')], Replay, REPLAY, "faster", Some("speed")),
    bind("step_back", Action::StepBack, &[ch('(')], Replay, REPLAY, "one event back", None),
    bind("step_forward", Action::StepForward, &[ch(')')], Replay, REPLAY, "one event on", Some("step")),
    bind("seek_back", Action::SeekBack, &[plain(Left), ch('h')], Replay, REPLAY, "1 s back", None),
    bind("seek_forward", Action::SeekForward, &[plain(Right), ch('l')], Replay, REPLAY, "1 s on", Some("seek")),
    bind("seek_far_back", Action::SeekFarBack, &[shift(Left), ch('H')], Replay, REPLAY, "10 s back", None),
    bind("seek_far_forward", Action::SeekFarForward, &[shift(Right), ch('L')], Replay, REPLAY, "10 s on", None),
    bind("freeze", Action::Freeze, &[ch('f')], Always, TIME, "freeze or follow", Some("freeze")),
    bind("cursor_back", Action::CursorBack, &[ch(',')], Always, TIME, "cursor back", None),
    bind("cursor_on", Action::CursorOn, &[ch('.')], Always, TIME, "cursor on", Some("cursor")),
    bind("pan_back", Action::PanBack, &[ch('<')], Always, TIME, "half a screen back", None),
    bind("pan_on", Action::PanOn, &[ch('>')], Always, TIME, "half a screen on", Some("pan")),
    bind("event_back", Action::EventBack, &[ch('N')], Always, TIME, "to the previous event", None),
    bind("event_on", Action::EventOn, &[ch('n')], Always, TIME, "to the next event", Some("event")),
    bind("events", Action::Events, &[ch('e')], Always, TIME, "choose the events", None),
    bind("measure", Action::Measure, &[ch('v')], Always, TIME, "measure from here", Some("measure")),
    bind("mark", Action::Mark, &[ch('x')], Live, TIME, "mark this instant", Some("mark")),
    bind("zoom_in", Action::ZoomIn, &[ch('+'), ch('=')], Always, TIME, "nearer", Some("zoom")),
    bind("zoom_out", Action::ZoomOut, &[ch('-')], Always, TIME, "farther", None),
    bind("zoom_auto", Action::ZoomAuto, &[ch('0')], Always, TIME, "fit the migration", None),
    bind("zoom_all", Action::ZoomAll, &[ch('w')], Always, TIME, "the whole session", None),
    bind("worst_outage", Action::WorstOutage, &[ch('W')], Always, TIME, "the worst outage", Some("worst")),
    bind("wall_clock", Action::WallClock, &[ch('C')], Always, TIME, "time of the day or not", None),
    bind("time_start", Action::TimeStart, &[plain(Home)], Always, TIME, "to the beginning", None),
    bind("time_end", Action::TimeEnd, &[plain(End)], Always, TIME, "to the end", None),
    bind("back", Action::Back, &[plain(Esc)], Always, TIME, "leave cursor and measure", Some("leave")),
    bind("tracks", Action::Tracks, &[ch('t')], Always, TIME, "choose the tracks", None),
    bind("page_controls", Action::PageControls, &[ch('1')], Always, PAGES, "controls", None),
    bind("page_result", Action::PageResult, &[ch('2')], Always, PAGES, "result", None),
    bind("page_history", Action::PageHistory, &[ch('3')], Always, PAGES, "history", None),
    bind("page_log", Action::PageLog, &[ch('4')], Always, PAGES, "event log", None),
    bind("next_page", Action::NextPage, &[plain(Tab)], Always, PAGES, "next page", Some("page")),
    bind("previous_page", Action::PreviousPage, &[plain(BackTab)], Always, PAGES, "previous page", None),
    bind("scroll_up", Action::ScrollUp, &[plain(PageUp)], Always, PAGES, "scroll up", None),
    bind("scroll_down", Action::ScrollDown, &[plain(PageDown)], Always, PAGES, "scroll down", None),
    bind("sort", Action::Sort, &[ch('a')], OnHistory, HISTORY, "sort by the next column", Some("sort")),
    bind("sort_order", Action::SortOrder, &[ch('A')], OnHistory, HISTORY, "turn the order round", None),
    bind("baseline", Action::Baseline, &[ch('b')], OnHistory, HISTORY, "compare others with this", Some("baseline")),
    bind("compare", Action::Compare, &[ch('d')], OnHistory, HISTORY, "side by side", Some("compare")),
    bind("search", Action::Search, &[ch('/')], Always, LOG, "search the log", Some("search")),
    bind("filter", Action::Filter, &[ch('F')], OnLog, LOG, "only what matters more", Some("filter")),
    bind("errors", Action::Errors, &[ch('E')], Always, LOG, "read the errors", None),
    bind("next_theme", Action::NextTheme, &[ch('T')], Always, SESSION, "next theme", None),
    bind("redraw", Action::Redraw, &[ctrl('l')], Always, SESSION, "draw everything anew", None),
    bind("suspend", Action::Suspend, &[ctrl('z')], Always, SESSION, "to the shell for a while", None),
    bind("help", Action::Help, &[ch('?'), plain(F(1))], Always, SESSION, "this help", Some("help")),
    bind("quit", Action::Quit, &[ch('q')], Always, SESSION, "quit; asks if one runs", Some("quit")),
    bind("quit_now", Action::QuitNow, &[ctrl('c')], Always, SESSION, "quit at once", None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binding_has_a_name_keys_and_words() {
        for b in BINDINGS {
            assert!(!b.keys.is_empty() && !b.help.is_empty(), "{:?}", b.action);
            assert_eq!(BINDINGS.iter().filter(|o| o.action == b.action).count(), 1, "{:?} is bound twice", b.action);
            let same: String = b.name.split('_').map(|w| w[..1].to_uppercase() + &w[1..]).collect();
            assert_eq!(same, format!("{:?}", b.action), "the name is the action's");
        }
    }
}
