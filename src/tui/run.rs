//! The screen of a session: what it draws from, and what becomes of keys and mouse.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::crossterm::event::{Event, KeyEventKind, MouseEvent, MouseEventKind};
use tokio::sync::mpsc::UnboundedSender;

use super::ctx::{Extra, Mode};
use super::draw::{draw, has_pages};
use super::feed::Feed;
use super::hits::{Hit, Hits};
use super::input::{Effect, Situation, mouse, paste, press};
use super::options::{ExitReason, ExitSummary, TuiOptions};
use super::pace::{Pace, Urgent};
use super::screen::signals::Signals;
use super::screen::wire::Wire;
use super::screen::{self, Screen};
use super::stage::{self, Next, Stage, TELLING};
use super::theme::{self, Depth};
use super::view::View;
use crate::event::{Intent, Nanos};
use crate::session::State;
use crate::units::show_duration;

/// How long the warning before a suspension holds.
const WARNED: Duration = Duration::from_secs(5);

/// Runs the screen on this thread until it closes. What the person does goes to `intents`;
/// without them (a replay, a bystander) nothing can be changed.
///
/// The terminal is put back in order on every way out: a return, a panic, SIGTERM, SIGHUP,
/// SIGINT; and while the process is stopped with Ctrl-Z. From the first call on these signals no
/// longer end the process by themselves; a program that goes on after the screen listens to them
/// itself.
///
/// # Errors
/// When the theme is invalid (file, key, nearest valid name), the terminal cannot be used, or
/// another thread has panicked.
pub fn run(
    feed: &dyn Feed,
    intents: Option<UnboundedSender<Intent>>,
    options: TuiOptions,
) -> anyhow::Result<ExitSummary> {
    let depth = options.colours.unwrap_or_else(Depth::from_env);
    let mut view = View::new(options.theme.theme()?.at_depth(depth), options.markers);
    view.keymap = Arc::clone(&options.keymap);
    view.clock = options.clock;
    let signals = Signals::listen(&options.stop)?;
    let screen = Screen::open(options.mouse)?;
    let mut session = Session {
        feed,
        intents,
        view,
        copy: None,
        hits: Hits::default(),
        frames: 0,
        pace: Pace::new(&options),
        depth,
        pointed: None,
        warned: None,
    };
    let reason = stage::drive(&mut session, &options.stop, &screen, &signals);
    drop(screen);
    drop(signals);
    Ok(ExitSummary { reason: reason?, frames: session.frames })
}

/// Whether the terminal is large enough to have pages; one of unknown size is.
fn output_has_pages() -> bool {
    screen::size().map_or(true, |size| has_pages(size.width, size.height))
}

struct Session<'a> {
    feed: &'a dyn Feed,
    intents: Option<UnboundedSender<Intent>>,
    view: View,
    /// The state as it was last looked at, and its version.
    copy: Option<(u64, State)>,
    /// What lies where in the newest frame.
    hits: Hits,
    frames: u64,
    /// When the next frame is due.
    pace: Pace,
    /// Colours the terminal can show.
    depth: Depth,
    /// Where the mouse was last, and what it did there.
    pointed: Option<MouseEvent>,
    /// When it was said what a suspension would do to the running migration.
    warned: Option<Instant>,
}

impl Stage for Session<'_> {
    type Closed = ExitReason;

    fn closed(reason: ExitReason) -> ExitReason {
        reason
    }

    fn over(&self) -> bool {
        self.feed.over()
    }

    fn now(&self) -> Nanos {
        self.feed.now()
    }

    fn paused(&mut self, since: Nanos, pause: Duration) {
        self.tell_pause(since, pause);
    }

    fn touch(&mut self) {
        self.pace.touched = true;
    }

    fn due(&mut self) -> bool {
        self.pace.due(self.feed)
    }

    fn wait(&self) -> Duration {
        self.pace.wait()
    }

    fn draw(&mut self, terminal: &mut Terminal<Wire>) -> anyhow::Result<()> {
        let now = self.pace.instant(self.feed.now());
        let extra =
            Extra { now, recorder: self.feed.recorder(), mode: self.feed.replay().map_or(Mode::Live, Mode::Replay) };
        self.refresh();
        let Some((_, state)) = &self.copy else { return Ok(()) };
        let (view, hits) = (&mut self.view, &mut self.hits);
        view.observe(state, now);
        let urgent = Urgent::of(state);
        terminal.draw(|frame| *hits = draw(view, state, &extra, frame))?;
        if let Some(area) = hits.area_of(Hit::Time) {
            view.time.drawn(area.width);
        }
        let column_ns = view.time.axis(state, now).column_ns;
        stage::send(terminal);
        self.view.help_row = self.view.help_row.min(self.hits.help_end());
        self.view.history.reason = self.view.history.reason.min(self.hits.reasons_end());
        self.pace.drew(self.feed, urgent, column_ns);
        self.frames += 1;
        #[cfg(debug_assertions)]
        assert!(std::env::var_os("BLACKOUT_PANIC").is_none(), "BLACKOUT_PANIC is set");
        Ok(())
    }

    fn take(&mut self, event: Event) -> Next<ExitReason> {
        self.effect(event).map_or(Next::On, |effect| self.follow(effect))
    }

    /// Intents go out in their order; without a listener, or when it is gone, they are dropped.
    fn taken(&mut self) {
        for intent in self.view.take_intents() {
            if let Some(tx) = &self.intents {
                let _ = tx.send(intent);
            }
        }
    }
}

impl Session<'_> {
    fn effect(&mut self, event: Event) -> Option<Effect> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                self.touch();
                let paged = output_has_pages();
                self.situated(|view, _, at| {
                    let page = view.page;
                    let effect = press(view, &key, at);
                    if view.page != page && !paged {
                        view.no_pages(at.now);
                    }
                    effect
                })
            }
            // Where nothing can have changed nothing is drawn.
            Event::Mouse(event) if event.kind == MouseEventKind::Moved || self.dragged_nowhere(&event) => None,
            Event::Mouse(event) => {
                self.touch();
                self.pointed = Some(event);
                self.situated(|view, hits, at| mouse(view, &event, hits, at))
            }
            Event::Paste(text) => {
                self.touch();
                paste(&mut self.view, &text);
                None
            }
            Event::Resize(..) => {
                self.touch();
                None
            }
            _ => None,
        }
    }

    /// A drag within one cell: terminals that count pixels send many of them.
    fn dragged_nowhere(&self, event: &MouseEvent) -> bool {
        matches!(event.kind, MouseEventKind::Drag(_)) && self.pointed.as_ref() == Some(event)
    }

    /// Lends `act` the session as it is now.
    fn situated(&mut self, act: impl Fn(&mut View, &Hits, Situation<'_>) -> Option<Effect>) -> Option<Effect> {
        let (replay, now) = (self.feed.replay(), self.feed.now());
        let steerable = self.intents.is_some();
        self.refresh();
        let (_, state) = self.copy.as_ref()?;
        act(&mut self.view, &self.hits, Situation { state, now, replay: replay.as_ref(), steerable })
    }

    /// Copies the state if it has changed: whatever is drawn or asked of it takes nobody's time but ours.
    fn refresh(&mut self) {
        let version = self.feed.version();
        if self.copy.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.copy = Some((version, self.feed.state()));
        }
    }

    /// Does what a key press asked for.
    fn follow(&mut self, effect: Effect) -> Next<ExitReason> {
        match (effect, self.feed.control()) {
            (Effect::Quit, _) => return Next::Close(ExitReason::Quit),
            (Effect::Suspend, _) if self.may_suspend() => return Next::Suspend,
            (Effect::Redraw, _) => return Next::Redraw,
            (Effect::NextTheme, _) => self.next_theme(),
            (Effect::Play(playing), Some(c)) => c.set_playing(playing),
            (Effect::Speed(speed), Some(c)) => c.set_speed(speed),
            (Effect::Step(events), Some(c)) => c.step(events),
            (Effect::Seek(to), Some(c)) => c.seek(to),
            (Effect::Suspend, _) | (_, None) => {}
        }
        Next::On
    }

    /// A running migration needs this program: a guest that was stopped for the copy is told to run on
    /// by us. So that is said first, and done when it is asked for again.
    fn may_suspend(&mut self) -> bool {
        let mut running = false;
        self.feed.with_state(&mut |state| running = state.migrations.last().is_some_and(|m| m.ended.is_none()));
        let warned = self.warned.take().is_some_and(|at| at.elapsed() < WARNED);
        if !running || self.intents.is_none() || warned {
            return true;
        }
        self.warned = Some(Instant::now());
        let text = "a migration runs, and its guest may wait for this program: press again to stop it all the same";
        self.view.notify(self.feed.now(), text);
        false
    }

    /// Says that the whole process has not run since `since`, for so long, if that was long.
    fn tell_pause(&mut self, since: Nanos, pause: Duration) {
        if pause < TELLING {
            return;
        }
        let live = self.feed.replay().is_none();
        let what = if live { ": probes of that time are not-sent" } else { "" };
        let pause = show_duration(Duration::from_millis(pause.as_millis() as u64 / 100 * 100));
        self.view.notify(self.feed.now(), format!("stopped for {pause}{what}"));
        if live && self.intents.is_some() {
            self.view.ask(Intent::Mark { note: format!("blackout itself was stopped for {pause}"), at: Some(since) });
            self.taken();
        }
    }

    fn next_theme(&mut self) {
        self.view.theme = theme::next(&self.view.theme.name, self.depth);
        let text = format!("theme {}", self.view.theme.name);
        self.view.notify(self.feed.now(), text);
    }
}
