//! The draw loop: drain the input, draw once, and only when something changed.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::queue;
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use tokio::sync::mpsc::UnboundedSender;

use super::draw::{Extra, Mode, draw};
use super::feed::{Feed, RecorderInfo, ReplayInfo};
pub use super::glyphs::Markers;
use super::hits::{Hit, Hits};
use super::input::{Effect, Situation, mouse, paste, press};
use super::screen::{Screen, Signals};
use super::theme::Depth;
pub use super::theme::ThemeChoice;
use super::view::View;
use crate::event::OperatorEvent;

/// How the screen behaves.
#[derive(Debug, Clone)]
pub struct TuiOptions {
    /// The theme.
    pub theme: ThemeChoice,
    /// Colours the terminal can show; `None` for what its environment says.
    pub colours: Option<Depth>,
    /// The characters.
    pub markers: Markers,
    /// Highest number of frames a second while data comes in (input is drawn at up to 30).
    pub max_fps: u32,
    /// Raised from outside to close the screen (a signal, the end of the session).
    pub stop: Arc<AtomicBool>,
}

impl Default for TuiOptions {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::Auto,
            colours: None,
            markers: Markers::default(),
            max_fps: 10,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// Why the screen closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The person left. [`OperatorEvent::Quit`] has been emitted.
    Quit,
    /// SIGTERM, SIGHUP or SIGINT came, or [`TuiOptions::stop`] was raised.
    Signal,
    /// [`Feed::over`].
    Over,
}

/// What is left to say when the screen has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitSummary {
    /// Why it closed.
    pub reason: ExitReason,
    /// Frames drawn.
    pub frames: u64,
}

/// Shortest time between frames, whatever the reason to draw.
const FRAME: Duration = Duration::from_millis(33);
/// How often the clock and the outside are looked at when nothing else happens.
const TICK: Duration = Duration::from_millis(100);

/// Runs the screen on this thread until it closes. What the person does goes to `intents`;
/// without them (a replay, a bystander) nothing can be changed.
///
/// The terminal is put back in order on every way out: a return, a panic, SIGTERM, SIGHUP,
/// SIGINT. From the first call on these signals no longer end the process by themselves; a
/// program that goes on after the screen listens to them itself.
///
/// # Errors
/// When the theme is invalid (file, key, nearest valid name) or the terminal cannot be used.
pub fn run(
    feed: &dyn Feed,
    intents: Option<UnboundedSender<OperatorEvent>>,
    options: TuiOptions,
) -> anyhow::Result<ExitSummary> {
    let view =
        View::new(options.theme.theme()?.at_depth(options.colours.unwrap_or_else(Depth::from_env)), options.markers);
    let signals = Signals::listen(Arc::clone(&options.stop))?;
    let screen = Screen::open()?;
    let mut session = Session { feed, intents, view, hits: Hits::default(), frames: 0 };
    let reason = session.drive(&options);
    drop(screen);
    drop(signals);
    Ok(ExitSummary { reason: reason?, frames: session.frames })
}

struct Session<'a> {
    feed: &'a dyn Feed,
    intents: Option<UnboundedSender<OperatorEvent>>,
    view: View,
    /// What lies where in the newest frame.
    hits: Hits,
    frames: u64,
}

impl Session<'_> {
    fn drive(&mut self, options: &TuiOptions) -> anyhow::Result<ExitReason> {
        let held = Held::default();
        let mut terminal = Terminal::new(CrosstermBackend::new(held.clone()))?;
        let data_gap = Duration::from_secs(1) / options.max_fps.clamp(1, 30);
        let mut drawn = Instant::now();
        let mut seen = None;
        let mut touched = true;
        loop {
            if options.stop.load(Ordering::Relaxed) {
                return Ok(ExitReason::Signal);
            }
            if self.feed.over() {
                return Ok(ExitReason::Over);
            }
            let since = drawn.elapsed();
            let fresh = Fresh::of(self.feed);
            let due =
                self.frames == 0 || (touched && since >= FRAME) || (since >= data_gap && seen.as_ref() != Some(&fresh));
            if due {
                self.frame(&mut terminal)?;
                held.show()?;
                (seen, touched, drawn) = (Some(fresh), false, Instant::now());
            }
            let wait = if touched { FRAME.saturating_sub(drawn.elapsed()) } else { data_gap.max(FRAME).min(TICK) };
            if event::poll(wait)? {
                // Everything that is there is taken before the next frame.
                while event::poll(Duration::ZERO)? {
                    touched = true;
                    if let Some(effect) = self.take(event::read()?)
                        && self.follow(effect, &mut terminal)?
                    {
                        self.hand_over();
                        return Ok(ExitReason::Quit);
                    }
                }
                self.hand_over();
            }
        }
    }

    fn frame(&mut self, terminal: &mut Terminal<CrosstermBackend<Held>>) -> anyhow::Result<()> {
        let now = self.feed.now();
        let extra =
            Extra { now, recorder: self.feed.recorder(), mode: self.feed.replay().map_or(Mode::Live, Mode::Replay) };
        let mut result = Ok(());
        let (feed, view, hits) = (self.feed, &mut self.view, &mut self.hits);
        feed.with_state(&mut |state| {
            view.observe(state, now);
            result = terminal.draw(|frame| *hits = draw(view, state, &extra, frame)).map(|_| ());
        });
        result?;
        if let Some(area) = self.hits.area_of(Hit::Time) {
            self.view.time.drawn(area.width);
        }
        self.frames += 1;
        Ok(())
    }

    fn take(&mut self, event: Event) -> Option<Effect> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let (replay, now) = (self.feed.replay(), self.feed.now());
                let steerable = self.intents.is_some();
                let (feed, view) = (self.feed, &mut self.view);
                let mut effect = None;
                feed.with_state(&mut |state| {
                    let situation = Situation { state, now, replay: replay.as_ref(), steerable };
                    effect = press(view, &key, situation);
                });
                effect
            }
            Event::Mouse(moved) => {
                let (replay, now) = (self.feed.replay(), self.feed.now());
                let steerable = self.intents.is_some();
                let (feed, view, hits) = (self.feed, &mut self.view, &self.hits);
                let mut effect = None;
                feed.with_state(&mut |state| {
                    let situation = Situation { state, now, replay: replay.as_ref(), steerable };
                    effect = mouse(view, &moved, hits, situation);
                });
                effect
            }
            Event::Paste(text) => {
                paste(&mut self.view, &text);
                None
            }
            _ => None,
        }
    }

    /// Does what a key press asked for; true to close the screen.
    fn follow(&self, effect: Effect, terminal: &mut Terminal<CrosstermBackend<Held>>) -> anyhow::Result<bool> {
        let control = self.feed.control();
        match (effect, control) {
            (Effect::Quit, _) => return Ok(true),
            // Not clear(): it asks the terminal where its cursor is, and one that does not answer
            // would end the session.
            (Effect::Redraw, _) => {
                let size = terminal.size()?;
                terminal.resize(size.into())?;
            }
            (Effect::Play(playing), Some(c)) => c.set_playing(playing),
            (Effect::Speed(speed), Some(c)) => c.set_speed(speed),
            (Effect::Step(events), Some(c)) => c.step(events),
            (Effect::Seek(to), Some(c)) => c.seek(to),
            // The loop learns these with the terminal's other manners.
            (Effect::Suspend | Effect::NextTheme, _) | (_, None) => {}
        }
        Ok(false)
    }

    /// Intents go out in their order; without a listener, or when it is gone, they are dropped.
    fn hand_over(&mut self) {
        for intent in self.view.take_intents() {
            if let Some(tx) = &self.intents {
                let _ = tx.send(intent);
            }
        }
    }
}

/// Holds what a frame writes until it is whole, so that a panic halfway leaves nothing to be
/// written after the terminal has been given back.
#[derive(Debug, Clone, Default)]
struct Held(Rc<RefCell<Vec<u8>>>);

impl Held {
    /// Writes the frame in one go, between the marks of a synchronised update (DEC mode 2026;
    /// terminals that do not know it ignore them).
    fn show(&self) -> std::io::Result<()> {
        let mut whole = Vec::new();
        queue!(whole, BeginSynchronizedUpdate)?;
        whole.append(&mut self.0.borrow_mut());
        queue!(whole, EndSynchronizedUpdate)?;
        let mut out = std::io::stdout().lock();
        out.write_all(&whole)?;
        out.flush()
    }
}

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a frame depends on beside the view: when nothing of it changes, nothing is drawn.
#[derive(Debug, PartialEq)]
struct Fresh {
    version: u64,
    tick: u64,
    recorder: Option<RecorderInfo>,
    replay: Option<ReplayInfo>,
}

impl Fresh {
    fn of(feed: &dyn Feed) -> Self {
        let replay = feed.replay();
        // The clock alone moves the axis and the elapsed time, in steps of a tenth of a second.
        Self { version: feed.version(), tick: feed.now() / 100_000_000, recorder: feed.recorder(), replay }
    }
}
