//! The terminal in raw mode on its alternate screen, put back in order on every way out.

mod decode;
pub(super) mod input;
pub(super) mod output;
mod sequence;
pub(super) mod signals;
pub(super) mod wire;

use std::io::{IsTerminal, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::terminal::{
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{self, Command};
use ratatui::layout::Size;

/// Whether the terminal is ours now: restored once, by whoever comes first.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Presses, releases and drags of the mouse (1000, 1002), told in numbers of any size (1006). A mouse
/// that only moves (1003) is not asked for: it would cost a message a column.
const MOUSE_ON: &str = "\x1b[?1000h\x1b[?1002h\x1b[?1006h";
const MOUSE_OFF: &str = "\x1b[?1006l\x1b[?1002l\x1b[?1000l";

/// The terminal in raw mode on its alternate screen, for as long as this lives.
pub(crate) struct Screen {
    mouse: bool,
}

impl Screen {
    /// Takes the terminal. A panic anywhere gives it back before its message is printed.
    pub(crate) fn open(mouse: bool) -> anyhow::Result<Self> {
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
        output::begin().context("the terminal cannot be written to")?;
        let screen = Self { mouse };
        screen.take()?;
        Ok(screen)
    }

    /// Takes the terminal, whoever has had it meanwhile.
    pub(crate) fn take(&self) -> anyhow::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        // Raw mode is believed to be on where somebody else has switched it off.
        let _ = disable_raw_mode();
        enable_raw_mode().context("the terminal cannot be put into raw mode")?;
        let mut text = ansi(&[&EnterAlternateScreen, &Hide, &EnableBracketedPaste]);
        if self.mouse {
            text.push_str(MOUSE_ON);
        }
        output::insist(&text);
        Ok(())
    }

    /// Whether the terminal is still ours: a panic on another thread has given it back.
    pub(crate) fn is_taken(&self) -> bool {
        TAKEN.load(Ordering::SeqCst)
    }

    /// Gives the terminal back and stops this process and those of its job, until somebody tells them to
    /// go on. Where there is nobody who could, it goes on by itself.
    pub(crate) fn suspend(&self) {
        restore();
        // As a terminal does it for Ctrl-Z: the whole job, or the shell would wait for the rest of it.
        let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        // The signal may reach another thread first; this one stops in its sleep.
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Columns and rows of the terminal. One that does not know its own size (0x0: an emulator that never
/// said, a container's) is taken for what `COLUMNS` and `LINES` say, else for 80x24.
pub(crate) fn size() -> std::io::Result<Size> {
    let crossterm::terminal::WindowSize { columns: width, rows: height, .. } = crossterm::terminal::window_size()?;
    let told = |name: &str, usual: u16| {
        std::env::var(name).ok().and_then(|n| n.parse().ok()).filter(|n| (1..=1000).contains(n)).unwrap_or(usual)
    };
    Ok(Size {
        width: if width == 0 { told("COLUMNS", 80) } else { width },
        height: if height == 0 { told("LINES", 24) } else { height },
    })
}

/// Whether our job has the terminal: a job in the background must neither read nor write there.
pub(crate) fn in_foreground() -> bool {
    tcgetpgrp(stdout()).map_or(true, |group| group == getpgrp())
}

fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // In the background, touching the terminal would stop us, and a signal to end would be in vain.
        let mut quietly = SigSet::empty();
        quietly.add(Signal::SIGTTOU);
        let before = quietly.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
        let leave = ansi(&[&DisableBracketedPaste, &LeaveAlternateScreen, &Show]);
        // Nothing can be done where the terminal is gone: each step is tried, none is insisted on.
        output::insist(&(ansi(&[&EndSynchronizedUpdate]) + MOUSE_OFF + &leave));
        let _ = disable_raw_mode();
        if let Ok(before) = before {
            let _ = before.thread_set_mask();
        }
    }
}

/// What commands are to a terminal.
fn ansi(commands: &[&dyn Ansi]) -> String {
    let mut text = String::new();
    for command in commands {
        command.write(&mut text);
    }
    text
}

trait Ansi {
    fn write(&self, out: &mut String);
}

impl<C: Command> Ansi for C {
    fn write(&self, out: &mut String) {
        // Writing to a text cannot fail.
        let _ = self.write_ansi(out);
    }
}

/// Takes in what a terminal might send, in two parts.
#[cfg(test)]
pub(crate) fn fuzz(bytes: &[u8], cut: usize) {
    let now = std::time::Instant::now();
    let mut heard = sequence::Sequences::new(now);
    for part in [&bytes[..cut], &bytes[cut..]] {
        heard.take(part, now);
    }
    while let Some(due) = heard.due() {
        assert!(due <= now + Duration::from_secs(1), "{heard:?} waits for longer than a second");
        heard.pass(due);
    }
    assert!(heard.events().count() <= bytes.len() + 1);
}
