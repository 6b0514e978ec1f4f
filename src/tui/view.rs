//! What the screen remembers by itself: selection, pages, zoom, an entry being typed, and requests
//! on their way to the controller. Everything else is in the session's state.

use std::sync::Arc;

pub use super::asked::{Asked, Confirm, Front, Menu};
use super::axis::clock;
use super::edit::{Control, Hold, default_migration};
pub use super::entry::Entry;
use super::glyphs::Markers;
use super::history::HistoryView;
use super::hits::Pointer;
use super::keys::Keymap;
use super::log::LogView;
use super::options::Clock;
pub use super::page::Page;
use super::theme::{DARK, Theme};
use super::time::TimeView;
use super::tracks::TrackList;
use crate::event::{Intent, LoadSettings, MigrationSettings, Nanos};
use crate::session::State;
use crate::session::wall::Wall;

/// How long a notice stays, ns.
const NOTICE_NS: Nanos = 4_000_000_000;
/// How long a migration setting is shown as asked before the controller's word counts again, ns.
const ASKED_NS: Nanos = 2_000_000_000;

/// What the screen remembers by itself.
#[derive(Debug, Clone)]
pub struct View {
    /// Styles.
    pub theme: Theme,
    /// Characters.
    pub markers: Markers,
    /// The clock that times are of.
    pub clock: Clock,
    /// The page in front.
    pub page: Page,
    /// The selected control.
    pub selected: Control,
    /// What is held when RATE changes.
    pub hold: Hold,
    /// A value being typed.
    pub entry: Option<Entry>,
    /// A question being asked.
    pub confirm: Option<Confirm>,
    /// A list in front.
    pub menu: Option<Menu>,
    /// Whether the help is shown.
    pub help: bool,
    /// The first line of the help in view.
    pub help_row: u16,
    /// Which keys do what.
    pub keymap: Arc<Keymap>,
    /// The part of time in view, the cursor, the measure.
    pub time: TimeView,
    /// Which tracks are shown, in which order and how high.
    pub tracks: TrackList,
    /// How the history is shown.
    pub history: HistoryView,
    /// How the log is shown.
    pub log: LogView,
    /// A passing remark and until when it stays, ns.
    pub notice: Option<(Nanos, String)>,
    pub(super) asked_load: Option<(u64, LoadSettings)>,
    pub(super) asked_migration: Option<(Nanos, MigrationSettings)>,
    pub(super) intents: Vec<Intent>,
    /// What the mouse holds.
    pub(super) pointer: Pointer,
    pub(super) seen_settled: usize,
    pub(super) seen_begun: usize,
}

impl Default for View {
    fn default() -> Self {
        // The built-in theme is valid (tested); were it not, the screen would do without colour.
        Self::new(Theme::parse("dark", DARK).unwrap_or_else(|_| Theme::mono()), Markers::Unicode)
    }
}

impl View {
    /// A fresh view.
    #[must_use]
    pub fn new(theme: Theme, markers: Markers) -> Self {
        Self {
            theme,
            markers,
            clock: Clock::default(),
            page: Page::Controls,
            selected: Control::Rate,
            hold: Hold::default(),
            entry: None,
            confirm: None,
            menu: None,
            help: false,
            help_row: 0,
            keymap: Arc::default(),
            time: TimeView::default(),
            tracks: TrackList::default(),
            pointer: Pointer::default(),
            history: HistoryView::default(),
            log: LogView::default(),
            notice: None,
            asked_load: None,
            asked_migration: None,
            intents: Vec::new(),
            seen_settled: 0,
            seen_begun: 0,
        }
    }

    /// Takes notice of what has happened: a result brings its page to the front, a migration that
    /// begins brings back the controls.
    pub fn observe(&mut self, state: &State, now: Nanos) {
        let settled = state.migrations.iter().filter(|m| m.final_downtime().is_some()).count();
        let begun = state.migrations.len();
        self.time.settle(state, now);
        if begun > self.seen_begun && self.page == Page::Result {
            self.page = Page::Controls;
        }
        if settled > self.seen_settled && self.page == Page::Controls && self.entry.is_none() {
            self.page = Page::Result;
        }
        if settled > self.seen_settled && self.page != Page::History {
            (self.history.selected, self.history.reason) = (None, 0);
        }
        self.log.observe(state);
        (self.seen_settled, self.seen_begun) = (settled, begun);
        if self.notice.as_ref().is_some_and(|(until, _)| *until <= now) {
            self.notice = None;
        }
        if self.asked_load.as_ref().is_some_and(|(id, _)| state.load.requested.as_ref().is_some_and(|r| r.0 >= *id)) {
            self.asked_load = None;
        }
        let answered = |(at, to): &(Nanos, MigrationSettings)| {
            state.next.as_ref() == Some(to) || now.saturating_sub(*at) > ASKED_NS
        };
        if self.asked_migration.as_ref().is_some_and(answered) {
            self.asked_migration = None;
        }
    }

    /// What stands in front of all panels, if anything does.
    #[must_use]
    pub fn front(&self) -> Option<Front> {
        let entry = self.entry.as_ref().map(|_| Front::Entry);
        let confirm = self.confirm.map(Front::Confirm);
        entry.or(confirm).or(self.help.then_some(Front::Help)).or(self.menu.map(Front::Menu))
    }

    /// The wall clock, where times are to be of it and the session has one.
    pub(crate) fn wall(&self, state: &State) -> Option<Wall> {
        if self.clock == Clock::Wall { Wall::of(state) } else { None }
    }

    /// A time as it is shown, with as many decimals as tell neighbours `step` ns apart.
    pub(crate) fn time_words(&self, state: &State, t: Nanos, step: Nanos) -> String {
        self.wall(state).map_or_else(|| clock(t, step), |wall| wall.clock(t, step))
    }

    /// The load as requested: what is on its way, else what the session knows.
    #[must_use]
    pub fn load(&self, state: &State) -> LoadSettings {
        let load = &state.load;
        let asked = self.asked_load.as_ref().map(|(_, l)| *l);
        asked
            .or(load.requested.as_ref().map(|(_, l, _)| *l))
            .or(load.set.as_ref().map(|(_, l, _)| *l))
            .or(load.achieved.as_ref().map(|(_, r)| r.set))
            .unwrap_or_default()
    }

    /// Whether the newest request has not been acknowledged yet.
    #[must_use]
    pub fn load_pending(&self, state: &State) -> bool {
        let requested = state.load.requested.as_ref().map_or(0, |r| r.0);
        let answered = state.load.set.as_ref().map_or(0, |s| s.0).max(state.load.refused.as_ref().map_or(0, |r| r.0));
        self.asked_load.is_some() || requested > answered
    }

    /// The settings for the next migration (or the running one): what is on its way, else what the
    /// session knows.
    #[must_use]
    pub fn migration(&self, state: &State) -> MigrationSettings {
        let asked = self.asked_migration.as_ref().map(|(_, m)| m.clone());
        asked
            .or_else(|| state.next.clone())
            .or_else(|| state.migrations.last().map(|m| m.settings.clone()))
            .unwrap_or_else(default_migration)
    }

    /// Asks for a load. Requests not yet handed over are replaced, so a held key floods nobody.
    pub fn ask_load(&mut self, state: &State, to: LoadSettings) {
        if let (Some(Intent::SetLoad { to: waiting }), Some((_, asked))) =
            (self.intents.last_mut(), &mut self.asked_load)
        {
            (*waiting, *asked) = (to, to);
            return;
        }
        let last = self.asked_load.as_ref().map_or(0, |a| a.0).max(state.load.requested.as_ref().map_or(0, |r| r.0));
        self.asked_load = Some((last + 1, to));
        self.intents.push(Intent::SetLoad { to });
    }

    /// Asks for migration settings.
    pub fn ask_migration(&mut self, now: Nanos, to: MigrationSettings) {
        self.asked_migration = Some((now, to.clone()));
        if let Some(Intent::SetMigration { to: waiting }) = self.intents.last_mut() {
            *waiting = to;
        } else {
            self.intents.push(Intent::SetMigration { to });
        }
    }

    /// Asks for something else.
    pub fn ask(&mut self, intent: Intent) {
        self.intents.push(intent);
    }

    /// Hands over what has been asked for since the last call.
    pub fn take_intents(&mut self) -> Vec<Intent> {
        std::mem::take(&mut self.intents)
    }

    /// Says that the page turned to has no place on a terminal so small.
    pub(super) fn no_pages(&mut self, now: Nanos) {
        self.notify(now, format!("{}: needs 76x22", self.page.name()));
    }

    /// Shows a passing remark.
    pub fn notify(&mut self, now: Nanos, text: impl Into<String>) {
        self.notice = Some((now.saturating_add(NOTICE_NS), text.into()));
    }
}
