//! The loop of every screen: what has happened is taken, then one frame is drawn, and only when something changed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use ratatui::Terminal;
use ratatui::crossterm::event::Event;

use super::options::ExitReason;
use super::pace::TICK;
use super::screen::input::{Gone, Input};
use super::screen::signals::Signals;
use super::screen::wire::Wire;
use super::screen::{Screen, in_foreground, output};
use crate::event::Nanos;

/// How soon a terminal that is still taking the last frame is looked at again.
const BUSY: Duration = Duration::from_millis(10);
/// Keys taken before it is looked for a signal and another frame is drawn.
const AT_ONCE: usize = 256;
/// A pause of the whole process longer than this is told.
pub(super) const TELLING: Duration = Duration::from_millis(500);

/// What the loop goes on with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<C> {
    On,
    /// Draw everything anew.
    Redraw,
    /// To the shell for a while.
    Suspend,
    Close(C),
}

/// What a screen shows and does; the loop does the rest.
pub(super) trait Stage {
    /// What there is to say when it has closed.
    type Closed;

    /// What to say when it closes for this reason.
    fn closed(reason: ExitReason) -> Self::Closed;

    /// Whether it should close because what it shows is over.
    fn over(&self) -> bool {
        false
    }

    /// Its own clock, ns, for what it is told of a pause.
    fn now(&self) -> Nanos {
        0
    }

    /// The whole process did not run since `since`, for so long.
    fn paused(&mut self, _since: Nanos, _pause: Duration) {}

    /// Something was pressed or the terminal is another: a frame is due.
    fn touch(&mut self);

    /// Whether a frame is due. What was found out elsewhere is heard here.
    fn due(&mut self) -> bool;

    /// How long nothing need be looked at.
    fn wait(&self) -> Duration;

    /// Draws a frame.
    ///
    /// # Errors
    /// When the terminal cannot be drawn on.
    fn draw(&mut self, terminal: &mut Terminal<Wire>) -> anyhow::Result<()>;

    /// Takes what has happened.
    fn take(&mut self, event: Event) -> Next<Self::Closed>;

    /// All that has happened so far has been taken.
    fn taken(&mut self) {}
}

/// Sends what was drawn to the terminal.
pub(super) fn send(terminal: &mut Terminal<Wire>) {
    let bytes = terminal.backend_mut().take();
    if !bytes.is_empty() {
        // Between the marks of a synchronised update (DEC mode 2026): terminals that do not know it ignore them.
        output::send(format!("\x1b[?2026h{bytes}\x1b[?2026l"));
    }
}

/// Runs a screen until it closes; `stop` closes it from outside.
///
/// # Errors
/// When the terminal cannot be used, or another thread has panicked.
pub(super) fn drive<S: Stage>(
    stage: &mut S,
    stop: &AtomicBool,
    screen: &Screen,
    signals: &Signals,
) -> anyhow::Result<S::Closed> {
    let mut terminal = Terminal::new(Wire::new())?;
    terminal.clear()?;
    let mut input = Input::begin()?;
    // When this loop last ran, on our clock and on the screen's: what lies between is a pause.
    let mut awake = (Instant::now(), stage.now());
    let mut slept = None;
    let mut away = false;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(S::closed(ExitReason::Signal));
        }
        if stage.over() {
            return Ok(S::closed(ExitReason::Over));
        }
        if output::failed() {
            return Ok(S::closed(ExitReason::Gone));
        }
        // The signal that ends a pause may be heard a little after this loop goes on.
        if awake.0.elapsed() >= TELLING {
            slept = Some((awake.1, awake.0.elapsed(), Instant::now()));
        }
        if signals.continued() {
            away = true;
            if let Some((since, pause, _)) = slept.take().filter(|(.., until)| until.elapsed() < TELLING) {
                stage.paused(since, pause);
            }
        }
        awake = (Instant::now(), stage.now());
        if !in_foreground() {
            // What it shows goes on; the terminal is another program's for now.
            away = true;
            std::thread::sleep(TICK);
            continue;
        }
        if away {
            screen.take()?;
            terminal.resize(terminal.size()?.into())?;
            away = false;
            stage.touch();
        }
        if !screen.is_taken() {
            bail!("a part of the program has panicked, as told above; what was recorded is kept");
        }
        // A frame that finds the terminal busy is left out.
        let busy = !output::idle();
        if stage.due() && !busy {
            stage.draw(&mut terminal)?;
        }
        let mut happened = match input.next(if busy { BUSY } else { stage.wait() }) {
            Ok(event) => event,
            Err(Gone) => return Ok(S::closed(ExitReason::Gone)),
        };
        // What is there is taken before the next frame, but a flood of keys keeps no frame waiting.
        let mut taken = 0;
        while let Some(event) = happened {
            taken += 1;
            match stage.take(event) {
                Next::On => {}
                Next::Redraw => terminal.resize(terminal.size()?.into())?,
                Next::Close(closed) => {
                    stage.taken();
                    return Ok(closed);
                }
                Next::Suspend => {
                    stage.taken();
                    awake = (Instant::now(), stage.now());
                    screen.suspend();
                    stage.paused(awake.1, awake.0.elapsed());
                    // The signal that ended the pause has been told of.
                    signals.continued();
                    awake = (Instant::now(), stage.now());
                    away = true;
                }
            }
            happened = if taken < AT_ONCE { input.next(Duration::ZERO).unwrap_or(None) } else { None };
        }
        stage.taken();
    }
}
