//! The terminal: taken for the screen, and given back in order on every way out.

use std::io::{IsTerminal, Write, stdout};
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Whether the terminal is ours now: restored once, by whoever comes first.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode on its alternate screen, for as long as this lives.
pub(crate) struct Screen(());

impl Screen {
    /// Takes the terminal. A panic anywhere gives it back before its message is printed.
    pub(crate) fn open() -> anyhow::Result<Self> {
        static HOOK: Once = Once::new();
        if !stdout().is_terminal() {
            bail!("standard output is not a terminal: run with --headless, or in a terminal");
        }
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                before(info);
            }));
        });
        TAKEN.store(true, Ordering::SeqCst);
        let screen = Self(());
        enable_raw_mode().context("the terminal cannot be put into raw mode")?;
        execute!(stdout(), EnterAlternateScreen, Hide, EnableBracketedPaste)
            .context("the terminal cannot be written to")?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nothing can be done where the terminal is gone: each step is tried, none is insisted on.
        let _ = execute!(stdout(), EndSynchronizedUpdate, DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = stdout().flush();
    }
}

/// Raises a flag when SIGTERM, SIGHUP or SIGINT comes, for as long as this lives.
pub(crate) struct Signals {
    done: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Begins to listen, on a thread of its own.
    pub(crate) fn listen(flag: Arc<AtomicBool>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("signals cannot be listened to")?;
        let streams = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?)
        };
        let (done, over) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("tui-signals".into()).spawn(move || {
            runtime.block_on(async move {
                let (mut term, mut hup, mut int) = streams;
                tokio::select! {
                    _ = term.recv() => flag.store(true, Ordering::Relaxed),
                    _ = hup.recv() => flag.store(true, Ordering::Relaxed),
                    _ = int.recv() => flag.store(true, Ordering::Relaxed),
                    _ = over => {}
                }
            });
        })?;
        Ok(Self { done: Some(done), thread: Some(thread) })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Dropping the sender ends the listener.
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
