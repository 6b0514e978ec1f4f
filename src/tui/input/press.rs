//! One key press: what stands in front takes it, else it is an action of the keymap.

use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::situation::{Effect, Situation};
use super::{control, history, log, menu, replay, time, typing};
use crate::event::{Intent, Phase};
use crate::tui::axis::phase_now;
use crate::tui::keys::{Action, Place};
use crate::tui::view::{Confirm, Front, Page, View};

/// Lines of the help that a page is.
const HELP_PAGE: u16 = 16;

/// Takes one key press.
pub fn press(view: &mut View, key: &KeyEvent, at: Situation<'_>) -> Option<Effect> {
    // A remark stays until the next key at most: in a replay that stands still no time passes.
    view.notice = None;
    let place = Place { replay: at.replay.is_some(), page: view.page };
    let action = view.keymap.action(key, place);
    match action {
        Some(Action::QuitNow) => {
            view.ask(Intent::Quit);
            return Some(Effect::Quit);
        }
        Some(Action::Suspend) => return Some(Effect::Suspend),
        _ => {}
    }
    match view.front() {
        Some(Front::Entry) => typing::typing(view, key, at),
        Some(Front::Confirm(confirm)) => match key.code {
            KeyCode::Char('y' | 'Y') => answer(view, confirm, true, at),
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => answer(view, confirm, false, at),
            _ => None,
        },
        Some(Front::Help) => {
            help(view, key, action);
            None
        }
        Some(Front::Menu(menu)) => {
            menu::press(view, key, menu, at);
            None
        }
        None => act(view, action?, at),
    }
}

/// Scrolls the help; any other key closes it, and does nothing else.
fn help(view: &mut View, key: &KeyEvent, action: Option<Action>) {
    match (key.code, action) {
        (KeyCode::Up, _) | (_, Some(Action::Up)) => view.help_row = view.help_row.saturating_sub(1),
        (KeyCode::Down, _) | (_, Some(Action::Down)) => view.help_row = view.help_row.saturating_add(1),
        (KeyCode::PageUp, _) | (_, Some(Action::ScrollUp)) => view.help_row = view.help_row.saturating_sub(HELP_PAGE),
        (KeyCode::PageDown | KeyCode::Char(' '), _) | (_, Some(Action::ScrollDown)) => {
            view.help_row = view.help_row.saturating_add(HELP_PAGE);
        }
        (KeyCode::Home, _) => view.help_row = 0,
        (KeyCode::End, _) => view.help_row = u16::MAX,
        _ => view.help = false,
    }
}

/// Does what a key asks for; a click on a hint does the same.
pub(super) fn act(view: &mut View, action: Action, at: Situation<'_>) -> Option<Effect> {
    match action {
        Action::Help => (view.help, view.help_row) = (true, 0),
        Action::Redraw => return Some(Effect::Redraw),
        Action::Suspend => return Some(Effect::Suspend),
        Action::NextTheme => return Some(Effect::NextTheme),
        Action::Quit if at.running() && at.steerable => view.confirm = Some(Confirm::Quit),
        Action::Quit | Action::QuitNow => {
            view.ask(Intent::Quit);
            return Some(Effect::Quit);
        }
        Action::PageControls => view.page = Page::Controls,
        Action::PageResult => view.page = Page::Result,
        Action::PageHistory => view.page = Page::History,
        Action::PageLog => view.page = Page::Log,
        Action::NextPage => turn(view, 1),
        Action::PreviousPage => turn(view, Page::ALL.len() - 1),
        Action::PlayPause
        | Action::Slower
        | Action::Faster
        | Action::StepBack
        | Action::StepForward
        | Action::SeekBack
        | Action::SeekForward
        | Action::SeekFarBack
        | Action::SeekFarForward => return replay::act(view, action, at),
        Action::Back if history::back(view) || log::back(view) => {}
        Action::CursorBack
        | Action::CursorOn
        | Action::PanBack
        | Action::PanOn
        | Action::EventBack
        | Action::EventOn
        | Action::Events
        | Action::Measure
        | Action::Mark
        | Action::Freeze
        | Action::ZoomIn
        | Action::ZoomOut
        | Action::ZoomAuto
        | Action::ZoomAll
        | Action::WorstOutage
        | Action::WallClock
        | Action::TimeStart
        | Action::TimeEnd
        | Action::Back
        | Action::Tracks => return time::act(view, action, at),
        Action::Sort | Action::SortOrder | Action::Baseline | Action::Compare => history::act(view, action, at),
        Action::Search | Action::Filter | Action::Errors => log::act(view, action, at),
        Action::Up | Action::Down | Action::ScrollUp | Action::ScrollDown => match view.page {
            Page::Controls if matches!(action, Action::Up | Action::Down) => control::act(view, action, at),
            Page::Result | Page::History => history::act(view, action, at),
            Page::Controls | Page::Log => log::act(view, action, at),
        },
        Action::Type if view.page == Page::History => history::act(view, action, at),
        Action::Type if view.page == Page::Log => log::act(view, action, at),
        _ if !at.steerable => view.notify(at.now, "nothing can be changed here: this screen only watches"),
        Action::Migrate | Action::Cancel | Action::StopAndCopy | Action::PostCopy => migration(view, action, at),
        Action::Less
        | Action::More
        | Action::MuchLess
        | Action::MuchMore
        | Action::Type
        | Action::Ramp
        | Action::Presets
        | Action::Hold => control::act(view, action, at),
    }
    None
}

fn turn(view: &mut View, by: usize) {
    let i = Page::ALL.iter().position(|p| *p == view.page).unwrap_or(0);
    view.page = Page::ALL[(i + by) % Page::ALL.len()];
}

fn migration(view: &mut View, action: Action, at: Situation<'_>) {
    let running = at.running();
    match action {
        Action::Migrate if running => view.notify(at.now, "a migration is running already"),
        Action::Migrate if at.state.only_watches() => {
            view.notify(at.now, "no hypervisor is attached: 'blackout lab' and 'blackout migrate' have one");
        }
        Action::Migrate if at.state.hosts.is_empty() => view.notify(at.now, "no hypervisor has reported yet"),
        Action::Migrate => match &at.state.route {
            Some(Err(why)) => view.notify(at.now, why.clone()),
            Some(Ok(_)) | None => view.ask(Intent::Migrate),
        },
        _ if !running => view.notify(at.now, "no migration is running: m fires one"),
        Action::StopAndCopy if phase_now(at.state) == Phase::StopAndCopy => {
            view.notify(at.now, "the guest stands still already");
        }
        Action::Cancel => view.confirm = Some(Confirm::Cancel),
        Action::StopAndCopy => view.confirm = Some(Confirm::StopAndCopy),
        Action::PostCopy if !view.migration(at.state).post_copy => {
            view.notify(at.now, "post-copy was not prepared: switch it on before the migration");
        }
        Action::PostCopy => view.confirm = Some(Confirm::PostCopy),
        _ => {}
    }
}

/// Takes the answer to a question.
pub(super) fn answer(view: &mut View, confirm: Confirm, yes: bool, at: Situation<'_>) -> Option<Effect> {
    view.confirm = None;
    if !yes {
        return None;
    }
    match confirm {
        Confirm::Quit => {
            view.ask(Intent::Quit);
            return Some(Effect::Quit);
        }
        Confirm::RampEnd => view.ask(Intent::RampEnd),
        _ if !at.running() => view.notify(at.now, "the migration has ended meanwhile"),
        Confirm::Cancel => view.ask(Intent::Cancel),
        Confirm::StopAndCopy => view.ask(Intent::StopAndCopy),
        Confirm::PostCopy => view.ask(Intent::PostCopy),
    }
    None
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyModifiers;

    use super::*;
    use crate::event::Nanos;
    use crate::session::State;
    use crate::tui::edit::Control;
    use crate::tui::fixture::{self, BEGAN, MS, S};
    use crate::tui::input::paste;
    use crate::tui::view::{Asked, Entry, Menu};

    struct Desk {
        view: View,
        state: State,
        now: Nanos,
    }

    impl Desk {
        fn idle() -> Self {
            let now = 7_500 * MS;
            Self { view: View::default(), state: fixture::idle(now), now }
        }
        fn running() -> Self {
            let now = BEGAN + 11 * S;
            Self { view: View::default(), state: fixture::migrating(now), now }
        }
        fn code(&mut self, code: KeyCode) -> Option<Effect> {
            let at = Situation { state: &self.state, now: self.now, replay: None, steerable: true };
            press(&mut self.view, &KeyEvent::new(code, KeyModifiers::NONE), at)
        }
        fn keys(&mut self, keys: &str) -> Option<Effect> {
            keys.chars().fold(None, |_, c| self.code(KeyCode::Char(c)))
        }
    }

    #[test]
    fn one_thing_stands_in_front_and_takes_the_keys() {
        let mut d = Desk::running();
        (d.view.help, d.view.menu, d.view.confirm) = (true, Some(Menu::Events(0)), Some(Confirm::Quit));
        d.view.entry = Some(Entry::new(Asked::Search, ""));
        let mut seen = Vec::new();
        while let Some(front) = d.view.front() {
            seen.push(front);
            d.code(KeyCode::Esc);
        }
        assert_eq!(seen, [Front::Entry, Front::Confirm(Confirm::Quit), Front::Help, Front::Menu(Menu::Events(0))]);
    }

    #[test]
    fn a_held_key_sends_one_request_a_batch() {
        let mut d = Desk::idle();
        d.keys("lll");
        let intents = d.view.take_intents();
        let [Intent::SetLoad { to }] = intents.as_slice() else { panic!("{intents:?}") };
        assert_eq!(to.dirty.rate_pages_per_s().round(), 9300.0);
        // The next batch goes on from there, though nobody has answered yet.
        d.keys("l");
        let intents = d.view.take_intents();
        let [Intent::SetLoad { to }] = intents.as_slice() else { panic!("{intents:?}") };
        assert_eq!(to.dirty.rate_pages_per_s().round(), 9400.0);
        assert!(d.view.load_pending(&d.state));
        // Once the session has it, the session's word counts.
        d.state.load.requested = Some((4, *to, d.now));
        d.state.load.set = Some((4, *to, d.now));
        d.view.observe(&d.state, d.now);
        assert!(!d.view.load_pending(&d.state));
    }

    #[test]
    fn order_is_kept_between_load_and_fire() {
        let mut d = Desk::idle();
        d.keys("lml");
        let kinds: Vec<_> = d.view.take_intents().into_iter().map(|i| matches!(i, Intent::Migrate)).collect();
        assert_eq!(kinds, [false, true, false]);
    }

    #[test]
    fn what_hurts_is_asked_about() {
        for (key, intent) in [('c', Intent::Cancel), ('s', Intent::StopAndCopy)] {
            let mut d = Desk::running();
            d.keys(&format!("{key}n"));
            assert_eq!(d.view.take_intents(), []);
            d.keys(&format!("{key}y"));
            assert_eq!(d.view.take_intents(), [intent]);
        }
        let mut d = Desk::running();
        assert_eq!(d.keys("q"), None);
        assert_eq!(d.keys("y"), Some(Effect::Quit));
        assert_eq!(Desk::idle().keys("q"), Some(Effect::Quit));
    }

    #[test]
    fn what_makes_no_sense_now_is_said_and_not_sent() {
        let mut d = Desk::idle();
        d.keys("csp");
        assert_eq!(d.view.take_intents(), []);
        assert!(d.view.notice.take().unwrap().1.contains("no migration"));
        let mut d = Desk::running();
        d.keys("m");
        assert_eq!(d.view.take_intents(), []);
        assert!(d.view.notice.is_some());
        d.keys("p");
        assert!(d.view.notice.take().unwrap().1.contains("not prepared"));
    }

    #[test]
    fn a_typed_value_is_taken_or_explained() {
        let mut d = Desk::idle();
        d.code(KeyCode::Enter);
        d.keys("9k/s");
        d.code(KeyCode::Enter);
        assert!(d.view.entry.as_ref().unwrap().error.as_ref().unwrap().contains("invalid RATE '9k/s'"));
        assert_eq!(d.view.take_intents(), []);
        for _ in 0..3 {
            d.code(KeyCode::Backspace);
        }
        d.keys("500");
        d.code(KeyCode::Enter);
        assert_eq!(d.view.entry, None);
        let intents = d.view.take_intents();
        let [Intent::SetLoad { to }] = intents.as_slice() else { panic!("{intents:?}") };
        assert_eq!(to.dirty.rate_pages_per_s(), 9500.0);
    }

    #[test]
    fn a_paste_reaches_only_an_entry_and_brings_no_control_characters() {
        let mut d = Desk::idle();
        paste(&mut d.view, "m");
        assert_eq!(d.view.take_intents(), []);
        d.code(KeyCode::Enter);
        paste(&mut d.view, "12\x1b[31m_000\n");
        assert_eq!(d.view.entry.as_ref().unwrap().text, "12[31m_000");
    }

    #[test]
    fn a_bystander_changes_nothing() {
        let mut d = Desk::running();
        for key in ['m', 'c', 's', 'p', 'x', 'l'] {
            let at = Situation { state: &d.state, now: d.now, replay: None, steerable: false };
            press(&mut d.view, &KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE), at);
        }
        assert_eq!(d.view.take_intents(), []);
        assert_eq!(d.view.confirm, None);
    }

    #[test]
    fn replay_keys_stay_in_range() {
        let info = fixture::replay_info(500 * MS);
        let state = fixture::idle(500 * MS);
        let mut view = View::default();
        let mut go = |code| {
            let at = Situation { state: &state, now: 0, replay: Some(&info), steerable: false };
            press(&mut view, &KeyEvent::new(code, KeyModifiers::NONE), at)
        };
        assert_eq!(go(KeyCode::Left), Some(Effect::Seek(0)));
        assert_eq!(go(KeyCode::End), Some(Effect::Seek(info.length)));
        assert_eq!(go(KeyCode::Char(']')), Some(Effect::Speed(1.0)));
        assert_eq!(go(KeyCode::Char('[')), Some(Effect::Speed(0.25)));
        assert_eq!(go(KeyCode::Char(' ')), Some(Effect::Play(true)));
        assert_eq!(go(KeyCode::Char(')')), Some(Effect::Step(1)));
    }

    #[test]
    fn a_change_brings_the_controls_to_the_front() {
        let mut d = Desk::idle();
        d.keys("2l");
        assert_eq!((d.view.page, d.view.selected), (Page::Controls, Control::Rate));
        d.keys("j");
        assert_eq!(d.view.selected, Control::Bpc);
    }
}
