//! All that is printed: standard output and standard error, each behind the filter for text from outside.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::text::{json, visible, visible_lines};

/// Says one line on stderr: see [`say::tell`].
macro_rules! tell {
    ($($text:tt)*) => { $crate::cli::say::tell(format_args!($($text)*)) };
}

/// One line on standard error. That it can be read by nobody is no reason to stop, as it would
/// be for `eprintln!`: a session goes on when its terminal is gone.
pub(super) fn tell(text: Arguments<'_>) {
    let line = visible(&text.to_string()).into_owned() + "\n";
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Text of several lines on standard error; those after the first are indented.
pub(super) fn tell_lines(text: &str) {
    let lines = crate::text::indented(text) + "\n";
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// Text on standard output. A reader that has read enough, as in `blackout show … | head`, is no failure.
///
/// # Errors
/// When it cannot be written for another reason.
pub(super) fn print(text: &str) -> io::Result<()> {
    put(visible_lines(text).as_bytes())
}

/// A value as JSON for people and programs: indented, on standard output.
///
/// # Errors
/// When it cannot be written.
pub(super) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    put(json(&text).as_bytes())
}

/// A value as one line of JSON.
pub(super) fn json_line(value: &impl Serialize) -> io::Result<String> {
    Ok(json(&serde_json::to_string(value)?).into_owned())
}

fn put(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A panic's message may hold text from outside: it goes through the filter, too.
pub(super) fn filter_panics() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        tell_lines(&format!("thread '{name}' {info}"));
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            tell_lines(&trace.to_string());
        }
    }));
}

/// Columns for tables on standard output: the terminal's, or 120.
pub(super) fn width() -> usize {
    let terminal = std::io::stdout().is_terminal().then(crossterm::terminal::size).and_then(Result::ok);
    terminal.map(|(columns, _)| usize::from(columns)).filter(|columns| *columns >= 40).unwrap_or(120)
}
