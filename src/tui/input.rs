//! From key presses to changes of the view, intents for the controller and orders to a replay.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::axis::phase_now;
use super::edit::{self, Step};
use super::feed::ReplayInfo;
use super::keys::{self, Action};
use super::view::{Confirm, Entry, Page, View};
use crate::event::{Nanos, OperatorEvent, Phase};
use crate::session::State;

/// Longest text that can be typed for a value.
const ENTRY_CHARS: usize = 32;
/// Speeds of a replay, times real time.
const SPEEDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 100.0];

/// What a key press asks of the loop, beside the view and its intents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Close the screen.
    Quit,
    /// Draw everything anew.
    Redraw,
    /// Play or pause the replay.
    Play(bool),
    /// Change the speed of the replay.
    Speed(f64),
    /// Step the replay by events.
    Step(i64),
    /// Seek in the replay, ns.
    Seek(Nanos),
}

/// What a key press happens in.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The session.
    pub state: &'a State,
    /// Now, ns.
    pub now: Nanos,
    /// The replay, if it is one.
    pub replay: Option<&'a ReplayInfo>,
    /// Whether anybody listens to intents.
    pub steerable: bool,
}

/// Takes one key press.
pub fn press(view: &mut View, key: &KeyEvent, at: Situation<'_>) -> Option<Effect> {
    let action = keys::action(key, at.replay.is_some());
    if action == Some(Action::QuitNow) {
        view.ask(OperatorEvent::Quit);
        return Some(Effect::Quit);
    }
    if view.entry.is_some() {
        typing(view, key, at);
        return None;
    }
    if let Some(confirm) = view.confirm {
        return answer(view, key, confirm, at);
    }
    if view.help {
        // Any key closes it, and does nothing else.
        view.help = false;
        return None;
    }
    act(view, action?, at)
}

/// Takes pasted text: into an entry, or nowhere.
pub fn paste(view: &mut View, text: &str) {
    if let Some(entry) = &mut view.entry {
        let room = ENTRY_CHARS.saturating_sub(entry.text.chars().count());
        entry.text.extend(text.chars().filter(|c| !c.is_control()).take(room));
        entry.error = None;
    }
}

fn act(view: &mut View, action: Action, at: Situation<'_>) -> Option<Effect> {
    let running = at.state.migrations.last().is_some_and(|m| m.ended.is_none());
    match action {
        Action::Help => view.help = true,
        Action::Redraw => return Some(Effect::Redraw),
        Action::Quit if running && at.steerable => view.confirm = Some(Confirm::Quit),
        Action::Quit | Action::QuitNow => {
            view.ask(OperatorEvent::Quit);
            return Some(Effect::Quit);
        }
        Action::PageControls => view.page = Page::Controls,
        Action::PageResult => view.page = Page::Result,
        Action::PageHistory => view.page = Page::History,
        Action::PageLog => view.page = Page::Log,
        Action::NextPage => {
            let i = Page::ALL.iter().position(|p| *p == view.page).unwrap_or(0);
            view.page = Page::ALL[(i + 1) % Page::ALL.len()];
        }
        Action::ZoomIn => view.zoom = (view.zoom + 1).min(12),
        Action::ZoomOut => view.zoom = (view.zoom - 1).max(-12),
        Action::ZoomAuto => view.zoom = 0,
        Action::LogUp => view.log_back = (view.log_back + 5).min(at.state.log.len().saturating_sub(1)),
        Action::LogDown => view.log_back = view.log_back.saturating_sub(5),
        Action::PlayPause
        | Action::Slower
        | Action::Faster
        | Action::StepBack
        | Action::StepForward
        | Action::SeekBack
        | Action::SeekForward
        | Action::SeekFarBack
        | Action::SeekFarForward
        | Action::SeekStart
        | Action::SeekEnd => return replay(action, at.replay?),
        _ if !at.steerable => view.notify(at.now, "nothing can be changed here: this screen only watches"),
        Action::Migrate if running => view.notify(at.now, "a migration is running already"),
        Action::Migrate if at.state.hosts.is_empty() => view.notify(at.now, "no hypervisor has reported yet"),
        Action::Migrate => view.ask(OperatorEvent::Migrate),
        Action::Mark => {
            view.ask(OperatorEvent::Mark { note: String::new(), at: None });
            view.notify(at.now, "marked");
        }
        Action::Cancel | Action::StopAndCopy | Action::PostCopy if !running => {
            view.notify(at.now, "no migration is running: m fires one");
        }
        Action::StopAndCopy if phase_now(at.state) == Phase::StopAndCopy => {
            view.notify(at.now, "the guest stands still already");
        }
        Action::Cancel => view.confirm = Some(Confirm::Cancel),
        Action::StopAndCopy => view.confirm = Some(Confirm::StopAndCopy),
        Action::PostCopy if !view.migration(at.state).post_copy => {
            view.notify(at.now, "post-copy was not prepared: switch it on before the migration");
        }
        Action::PostCopy => view.confirm = Some(Confirm::PostCopy),
        Action::Up => select(view, -1),
        Action::Down => select(view, 1),
        Action::Less => nudge(view, false, Step::Fine, at),
        Action::More => nudge(view, true, Step::Fine, at),
        Action::MuchLess => nudge(view, false, Step::Coarse, at),
        Action::MuchMore => nudge(view, true, Step::Coarse, at),
        Action::Type => {
            view.page = Page::Controls;
            view.entry = Some(Entry { control: view.selected, text: String::new(), error: None });
        }
    }
    None
}

fn select(view: &mut View, by: isize) {
    // The first press on another page only brings the controls to the front.
    if view.page == Page::Controls {
        view.selected = view.selected.moved(by);
    }
    view.page = Page::Controls;
}

fn limit(state: &State) -> Option<u64> {
    Some(state.agent.wset_limit_bytes).filter(|l| *l > 0)
}

fn nudge(view: &mut View, up: bool, step: Step, at: Situation<'_>) {
    view.page = Page::Controls;
    let control = view.selected;
    if control.is_load() {
        let from = view.load(at.state);
        let to = edit::nudge_load(&from, control, up, step, limit(at.state));
        if to != from {
            view.ask_load(at.state, to);
        }
    } else {
        let from = view.migration(at.state);
        let to = edit::nudge_migration(&from, control, up, step);
        if to != from {
            view.ask_migration(at.now, to);
        }
    }
}

fn typing(view: &mut View, key: &KeyEvent, at: Situation<'_>) {
    let Some(mut entry) = view.entry.take() else { return };
    match key.code {
        KeyCode::Esc => return,
        KeyCode::Backspace => {
            entry.text.pop();
            entry.error = None;
        }
        KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            entry.text.clear();
            entry.error = None;
        }
        KeyCode::Char(c) if !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
            if entry.text.chars().count() < ENTRY_CHARS {
                entry.text.push(c);
            }
            entry.error = None;
        }
        KeyCode::Enter if entry.text.trim().is_empty() => return,
        KeyCode::Enter => match submit(view, &entry, at) {
            Ok(()) => return,
            Err(why) => entry.error = Some(why),
        },
        _ => {}
    }
    view.entry = Some(entry);
}

fn submit(view: &mut View, entry: &Entry, at: Situation<'_>) -> Result<(), String> {
    if entry.control.is_load() {
        let to = edit::type_load(&view.load(at.state), entry.control, &entry.text, limit(at.state))?;
        view.ask_load(at.state, to);
    } else {
        let to = edit::type_migration(&view.migration(at.state), entry.control, &entry.text)?;
        view.ask_migration(at.now, to);
    }
    Ok(())
}

fn answer(view: &mut View, key: &KeyEvent, confirm: Confirm, at: Situation<'_>) -> Option<Effect> {
    match key.code {
        KeyCode::Char('y' | 'Y') => {}
        KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
            view.confirm = None;
            return None;
        }
        _ => return None,
    }
    view.confirm = None;
    let running = at.state.migrations.last().is_some_and(|m| m.ended.is_none());
    match confirm {
        Confirm::Quit => {
            view.ask(OperatorEvent::Quit);
            return Some(Effect::Quit);
        }
        _ if !running => view.notify(at.now, "the migration has ended meanwhile"),
        Confirm::Cancel => view.ask(OperatorEvent::Cancel),
        Confirm::StopAndCopy => view.ask(OperatorEvent::StopAndCopy),
        Confirm::PostCopy => view.ask(OperatorEvent::PostCopy),
    }
    None
}

fn replay(action: Action, info: &ReplayInfo) -> Option<Effect> {
    const SECOND: Nanos = 1_000_000_000;
    let at = SPEEDS.iter().position(|s| *s >= info.speed).unwrap_or(SPEEDS.len() - 1);
    Some(match action {
        Action::PlayPause => Effect::Play(!info.playing),
        Action::Slower => Effect::Speed(SPEEDS[at.saturating_sub(1)]),
        Action::Faster => Effect::Speed(SPEEDS[(at + 1).min(SPEEDS.len() - 1)]),
        Action::StepBack => Effect::Step(-1),
        Action::StepForward => Effect::Step(1),
        Action::SeekBack => Effect::Seek(info.position.saturating_sub(SECOND)),
        Action::SeekForward => Effect::Seek(info.position.saturating_add(SECOND).min(info.length)),
        Action::SeekFarBack => Effect::Seek(info.position.saturating_sub(10 * SECOND)),
        Action::SeekFarForward => Effect::Seek(info.position.saturating_add(10 * SECOND).min(info.length)),
        Action::SeekStart => Effect::Seek(0),
        Action::SeekEnd => Effect::Seek(info.length),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::edit::Control;
    use crate::tui::fixture::{self, BEGAN, MS, S};

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
    fn a_held_key_sends_one_request_a_batch() {
        let mut d = Desk::idle();
        d.keys("lll");
        let intents = d.view.take_intents();
        let [OperatorEvent::SetLoad { id: 3, to }] = intents.as_slice() else { panic!("{intents:?}") };
        assert_eq!(to.dirty.rate_pages_per_s().round(), 9300.0);
        // The next batch goes on from there, though nobody has answered yet.
        d.keys("l");
        let intents = d.view.take_intents();
        let [OperatorEvent::SetLoad { id: 4, to }] = intents.as_slice() else { panic!("{intents:?}") };
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
        let kinds: Vec<_> = d.view.take_intents().into_iter().map(|i| matches!(i, OperatorEvent::Migrate)).collect();
        assert_eq!(kinds, [false, true, false]);
    }

    #[test]
    fn what_hurts_is_asked_about() {
        for (key, intent) in [('c', OperatorEvent::Cancel), ('s', OperatorEvent::StopAndCopy)] {
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
        assert!(d.view.entry.as_ref().unwrap().error.as_ref().unwrap().contains("not a RATE"));
        assert_eq!(d.view.take_intents(), []);
        for _ in 0..3 {
            d.code(KeyCode::Backspace);
        }
        d.keys("500");
        d.code(KeyCode::Enter);
        assert_eq!(d.view.entry, None);
        let intents = d.view.take_intents();
        let [OperatorEvent::SetLoad { to, .. }] = intents.as_slice() else { panic!("{intents:?}") };
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
        assert_eq!(go(KeyCode::Char('>')), Some(Effect::Speed(1.0)));
        assert_eq!(go(KeyCode::Char('<')), Some(Effect::Speed(0.25)));
        assert_eq!(go(KeyCode::Char(' ')), Some(Effect::Play(true)));
        assert_eq!(go(KeyCode::Char('.')), Some(Effect::Step(1)));
    }

    #[test]
    fn controls_come_to_the_front_before_they_move() {
        let mut d = Desk::idle();
        d.keys("2");
        d.keys("j");
        assert_eq!((d.view.page, d.view.selected), (Page::Controls, Control::Rate));
        d.keys("j");
        assert_eq!(d.view.selected, Control::Bpc);
    }
}
