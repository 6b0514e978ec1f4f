//! The start screen: what it hears, and what becomes of keys and mouse.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::crossterm::event::{Event, KeyEventKind, MouseButton, MouseEventKind};

use super::{Choice, Effect, News, Start, Wrong, click, paste, press, wheel};
use crate::tui::hits::Hits;
use crate::tui::options::{ExitReason, TuiOptions};
use crate::tui::panel;
use crate::tui::screen::Screen;
use crate::tui::screen::signals::Signals;
use crate::tui::screen::wire::Wire;
use crate::tui::stage::{self, Next, Stage};
use crate::tui::theme::{self, Depth};

/// How often it is looked for news and signals.
const TICK: Duration = Duration::from_millis(50);

/// Why the start screen closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// Something was chosen.
    Chosen(Choice),
    /// It was left.
    Left(ExitReason),
}

/// Runs the start screen on this thread until something is chosen or it is left. `products` are those
/// that the demo knows, `news` is what is
/// found out meanwhile; `check` says what is wrong with what a form asked for.
///
/// The terminal is put back in order on every way out, as by [`tui::run`](fn@crate::tui::run).
///
/// # Errors
/// When the theme is invalid, the terminal cannot be used, or another thread has panicked.
pub fn run(
    folder: String,
    products: Vec<String>,
    news: &Receiver<News>,
    check: &dyn Fn(&Choice) -> Result<(), Wrong>,
    options: &TuiOptions,
) -> anyhow::Result<Closed> {
    let depth = options.colours.unwrap_or_else(Depth::from_env);
    let theme = options.theme.theme()?.at_depth(depth);
    let mut start = Start::new(theme, options.markers, Arc::clone(&options.keymap), folder);
    start.products = products;
    let signals = Signals::listen(&options.stop)?;
    let screen = Screen::open(options.mouse)?;
    let mut at = Loop { start, news, stale: true, hits: Hits::default(), depth, check };
    let closed = stage::drive(&mut at, &options.stop, &screen, &signals);
    drop(screen);
    drop(signals);
    closed
}

struct Loop<'a> {
    start: Start,
    /// What is found out meanwhile.
    news: &'a Receiver<News>,
    /// Whether there is something else to draw.
    stale: bool,
    /// What lies where in the newest frame.
    hits: Hits,
    /// Colours the terminal can show.
    depth: Depth,
    check: &'a dyn Fn(&Choice) -> Result<(), Wrong>,
}

impl Stage for Loop<'_> {
    type Closed = Closed;

    fn closed(reason: ExitReason) -> Closed {
        Closed::Left(reason)
    }

    fn touch(&mut self) {
        self.stale = true;
    }

    fn due(&mut self) -> bool {
        // Who has told everything is gone; there is nothing to hear then.
        while let Ok(news) = self.news.try_recv() {
            self.start.hear(news);
            self.stale = true;
        }
        self.stale
    }

    fn wait(&self) -> Duration {
        TICK
    }

    fn draw(&mut self, terminal: &mut Terminal<Wire>) -> anyhow::Result<()> {
        let (start, hits) = (&self.start, &mut self.hits);
        terminal.draw(|frame| *hits = panel::start::draw(start, frame))?;
        stage::send(terminal);
        self.stale = false;
        Ok(())
    }

    fn take(&mut self, event: Event) -> Next<Closed> {
        self.stale = true;
        match self.effect(event) {
            None => Next::On,
            Some(Effect::Quit) => Next::Close(Closed::Left(ExitReason::Quit)),
            Some(Effect::Choose(choice)) => match (self.check)(&choice) {
                Ok(()) => Next::Close(Closed::Chosen(choice)),
                Err(wrong) => {
                    if let Some(form) = &mut self.start.form {
                        form.refuse(wrong);
                    }
                    Next::On
                }
            },
            Some(Effect::Redraw) => Next::Redraw,
            Some(Effect::NextTheme) => {
                self.start.theme = theme::next(&self.start.theme.name, self.depth);
                Next::On
            }
            Some(Effect::Suspend) => Next::Suspend,
        }
    }
}

impl Loop<'_> {
    fn effect(&mut self, event: Event) -> Option<Effect> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => press(&mut self.start, &key),
            Event::Mouse(event) => match event.kind {
                MouseEventKind::Down(MouseButton::Left) => {
                    let hit = self.hits.at(event.column, event.row).map(|(_, hit)| hit);
                    click(&mut self.start, hit)
                }
                MouseEventKind::ScrollUp => {
                    wheel(&mut self.start, false);
                    None
                }
                MouseEventKind::ScrollDown => {
                    wheel(&mut self.start, true);
                    None
                }
                _ => None,
            },
            Event::Paste(text) => {
                paste(&mut self.start, &text);
                None
            }
            _ => None,
        }
    }
}
