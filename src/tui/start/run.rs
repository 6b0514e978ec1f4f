//! The loop of the start screen: news and keys in, a frame out when something changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::bail;
use ratatui::Terminal;
use ratatui::crossterm::event::{Event, KeyEventKind, MouseButton, MouseEventKind};

use super::{Choice, Effect, News, Start, Wrong, click, paste, press, wheel};
use crate::tui::hits::Hits;
use crate::tui::options::{ExitReason, TuiOptions};
use crate::tui::panel;
use crate::tui::run::AT_ONCE;
use crate::tui::screen::input::{Gone, Input};
use crate::tui::screen::signals::Signals;
use crate::tui::screen::wire::Wire;
use crate::tui::screen::{Screen, in_foreground, output};
use crate::tui::theme::{self, Depth};

/// How often it is looked for news and signals.
const TICK: Duration = Duration::from_millis(50);
/// How soon a terminal that is still taking the last frame is looked at again.
const BUSY: Duration = Duration::from_millis(10);

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
    let mut at = Loop { start, hits: Hits::default(), depth, check };
    let closed = at.drive(news, options, &screen, &signals);
    drop(screen);
    drop(signals);
    closed
}

struct Loop<'a> {
    start: Start,
    /// What lies where in the newest frame.
    hits: Hits,
    /// Colours the terminal can show.
    depth: Depth,
    check: &'a dyn Fn(&Choice) -> Result<(), Wrong>,
}

impl Loop<'_> {
    fn drive(
        &mut self,
        news: &Receiver<News>,
        options: &TuiOptions,
        screen: &Screen,
        signals: &Signals,
    ) -> anyhow::Result<Closed> {
        let mut terminal = Terminal::new(Wire::new())?;
        terminal.clear()?;
        let mut input = Input::begin()?;
        let (mut stale, mut away) = (true, false);
        loop {
            if options.stop.load(Ordering::Relaxed) {
                return Ok(Closed::Left(ExitReason::Signal));
            }
            if output::failed() {
                return Ok(Closed::Left(ExitReason::Gone));
            }
            away |= signals.continued();
            if !in_foreground() {
                away = true;
                std::thread::sleep(TICK);
                continue;
            }
            if away {
                screen.take()?;
                terminal.resize(terminal.size()?.into())?;
                (away, stale) = (false, true);
            }
            if !screen.is_taken() {
                bail!("a part of the program has panicked, as told above");
            }
            // Who has told everything is gone; there is nothing to hear then.
            while let Ok(news) = news.try_recv() {
                self.start.hear(news);
                stale = true;
            }
            // A frame that finds the terminal busy is left out.
            let busy = !output::idle();
            if stale && !busy {
                self.frame(&mut terminal)?;
                stale = false;
            }
            let mut happened = match input.next(if busy { BUSY } else { TICK }) {
                Ok(event) => event,
                Err(Gone) => return Ok(Closed::Left(ExitReason::Gone)),
            };
            let mut taken = 0;
            while let Some(event) = happened {
                (stale, taken) = (true, taken + 1);
                match self.take(event) {
                    None => {}
                    Some(Effect::Quit) => return Ok(Closed::Left(ExitReason::Quit)),
                    Some(Effect::Choose(choice)) => match (self.check)(&choice) {
                        Ok(()) => return Ok(Closed::Chosen(choice)),
                        Err(wrong) => {
                            if let Some(form) = &mut self.start.form {
                                form.refuse(wrong);
                            }
                        }
                    },
                    Some(Effect::Redraw) => terminal.resize(terminal.size()?.into())?,
                    Some(Effect::NextTheme) => {
                        self.start.theme = theme::next(&self.start.theme.name, self.depth);
                    }
                    Some(Effect::Suspend) => {
                        screen.suspend();
                        signals.continued();
                        away = true;
                    }
                }
                happened = if taken < AT_ONCE { input.next(Duration::ZERO).unwrap_or(None) } else { None };
            }
        }
    }

    fn frame(&mut self, terminal: &mut Terminal<Wire>) -> anyhow::Result<()> {
        let (start, hits) = (&self.start, &mut self.hits);
        terminal.draw(|frame| *hits = panel::start::draw(start, frame))?;
        let bytes = terminal.backend_mut().take();
        if !bytes.is_empty() {
            // Between the marks of a synchronised update, as every frame.
            output::send(format!("\x1b[?2026h{bytes}\x1b[?2026l"));
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Option<Effect> {
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
