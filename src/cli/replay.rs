//! `blackout replay`: a recorded session in the same screen.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;

use super::exit::EXIT_OK;
use super::picture::PictureArgs;
use super::say;
use crate::session::result;
use crate::tui;

/// Opens a recorded session in the same screen.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// The capture: its folder, or the file in it; - for standard input
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,
    /// Speed, times real time
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    speed: f64,
    #[command(flatten)]
    screen: super::args::ScreenArgs,
    #[command(flatten)]
    picture: PictureArgs,
}

/// Runs `blackout replay`.
///
/// # Errors
/// When the capture cannot be read, or the output is no terminal.
pub fn run(args: &Args) -> Result<ExitCode> {
    if !(0.1..=100.0).contains(&args.speed) {
        bail!("a replay's speed is 0.1 to 100 times real time, not {}", args.speed);
    }
    if let Some(done) = args.picture.run(&args.capture, args.speed, &args.screen)? {
        return Ok(done);
    }
    if !std::io::stdout().is_terminal() {
        bail!("the output is not a terminal: 'blackout show {}' prints the result table", args.capture.display());
    }
    let feed = super::feed::ReplayFeed::open(&args.capture, args.speed)?;
    for note in feed.notes() {
        tell!("{note}");
    }
    let options = args.screen.options()?;
    let closed = tui::run(&feed, None, options)?;
    if closed.reason != tui::ExitReason::Gone {
        leave_result(&feed, &args.capture);
    }
    Ok(ExitCode::from(EXIT_OK))
}

/// Leaves on the normal screen what the screen had to show: the result so far, and where it is from.
fn leave_result(feed: &dyn tui::Feed, capture: &Path) {
    let mut text = String::new();
    feed.with_state(&mut |state| {
        let result = result::result(state);
        if !result.migrations.is_empty() {
            text = result::text(&result, say::width());
        }
    });
    // That nobody may be there to read it is no reason to fail.
    let _ = say::print(&text);
    tell!("capture: {}", capture.display());
}
