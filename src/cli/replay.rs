//! `blackout replay`: a recorded session in the same screen.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use super::EXIT_OK;
use crate::analysis::table;
use crate::event::Nanos;
use crate::session::{Player, result};
use crate::tui::svg::{self, Paper};
use crate::tui::{self, Extra, Mode, RecorderInfo, ThemeChoice, View};
use crate::units::parse_duration;

/// Opens a recorded session in the same screen.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// The capture: its folder, or the file in it
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,
    /// Speed, times real time
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    speed: f64,
    #[command(flatten)]
    screen: super::args::ScreenArgs,
    /// Draw one frame of the live screen into an SVG file instead
    #[arg(long, value_name = "FILE", help_heading = "Picture")]
    picture: Option<PathBuf>,
    /// The frame at this time of the session [default: its end]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "picture", help_heading = "Picture")]
    at: Option<Duration>,
    /// Columns and rows of the picture
    #[arg(long, value_name = "CxR", value_parser = parse_size, default_value = "120x40", requires = "picture", help_heading = "Picture")]
    size: (u16, u16),
}

/// Runs `blackout replay`.
///
/// # Errors
/// When the capture cannot be read, or the output is no terminal.
pub fn run(args: &Args) -> Result<ExitCode> {
    if !(0.1..=100.0).contains(&args.speed) {
        bail!("a replay's speed is 0.1 to 100 times real time, not {}", args.speed);
    }
    if let Some(file) = &args.picture {
        return picture(args, file);
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
            text = table::text(&result.migrations, super::width());
        }
    });
    // That nobody may be there to read it is no reason to fail.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    tell!("capture: {}", capture.display());
}

/// Writes the frame that the live screen showed at that time.
fn picture(args: &Args, file: &Path) -> Result<ExitCode> {
    let (mut player, _) = Player::open(&args.capture)?;
    player.seek(args.at.map_or(Nanos::MAX, |at| at.as_nanos() as Nanos));
    let options = args.screen.options()?;
    let paper = if options.theme == ThemeChoice::Light { Paper::LIGHT } else { Paper::DARK };
    let mut view = View::new(options.theme.theme()?, options.markers);
    let shared = player.shared();
    let status = shared.status();
    let extra = Extra {
        now: player.position(),
        recorder: Some(RecorderInfo { path: status.path, bytes: status.bytes, trouble: None, backlog: 0 }),
        mode: Mode::Live,
    };
    let svg = shared.with_state(|state| {
        view.observe(state, extra.now);
        svg::picture(&view, state, &extra, args.size, paper)
    });
    std::fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(ExitCode::from(EXIT_OK))
}

fn parse_size(text: &str) -> Result<(u16, u16), String> {
    text.split_once('x')
        .and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)))
        .filter(|(c, r)| (1..=500).contains(c) && (1..=500).contains(r))
        .ok_or_else(|| format!("'{text}' is not a size: write columns x rows, for instance 120x40"))
}
