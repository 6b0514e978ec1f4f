//! The parts of `blackout replay` that draw into a file: a picture, or a cast.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::args::ScreenArgs;
use super::exit::EXIT_OK;
use crate::event::Nanos;
use crate::files::Output;
use crate::picture::cast::{self, CastOptions};
use crate::picture::{self, Format};
use crate::session::Player;
use crate::tui::theme::Depth;
use crate::tui::view::Page;
use crate::tui::{Extra, Mode, RecorderInfo, ReplayInfo, View};
use crate::units::{parse_duration, show_duration};

/// Draws into a file instead of onto the screen.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Picture and cast")]
pub(super) struct PictureArgs {
    /// Draw one frame into a file, .svg or .png
    #[arg(long, value_name = "FILE", group = "drawing")]
    picture: Option<PathBuf>,
    /// Draw the whole replay into an asciinema cast (asciicast v2), without waiting for its time
    #[arg(long, value_name = "FILE", group = "drawing")]
    cast: Option<PathBuf>,
    /// Replace the file, if there is one
    #[arg(long, requires = "drawing")]
    force: bool,
    /// Columns and rows
    #[arg(long, value_name = "CxR", value_parser = parse_size, default_value = "120x40", requires = "drawing")]
    size: (u16, u16),
    /// The page in front [default: what the live screen showed]
    #[arg(long, value_name = "PAGE", requires = "drawing")]
    page: Option<PageArg>,
    /// Draw the screen of the live session, or that of its replay
    #[arg(long = "as", value_name = "SCREEN", default_value = "live", requires = "drawing")]
    kind: Kind,
    /// Picture: the frame at this time of the session [default: its end]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "picture")]
    at: Option<Duration>,
    /// Picture: times the size of a cell of 9x19 px [default: 1 for SVG, 2 for PNG]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8), requires = "picture")]
    scale: Option<u32>,
    /// Picture: the cursor at this time of the session
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "picture")]
    cursor: Option<Duration>,
    /// Picture: measured from this time to the cursor
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "cursor")]
    measure_from: Option<Duration>,
    /// Cast: frames a second
    #[arg(long = "cast-fps", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60), default_value = "10", requires = "cast")]
    cast_fps: u32,
    /// Cast: begin at this time of the session
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "cast")]
    from: Option<Duration>,
    /// Cast: end at this time of the session
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "cast")]
    to: Option<Duration>,
    /// Cast: leave out what is further than this from any migration, load change and mark
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "cast")]
    idle_limit: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PageArg {
    Controls,
    Result,
    History,
    Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Live,
    Replay,
}

impl PictureArgs {
    /// Draws what was asked for, if anything was.
    ///
    /// # Errors
    /// When the capture cannot be read, or the file cannot be written.
    pub(super) fn run(&self, capture: &Path, speed: f64, screen: &ScreenArgs) -> Result<Option<ExitCode>> {
        match (&self.picture, &self.cast) {
            (Some(file), _) => self.picture(capture, file, speed, screen)?,
            (None, Some(file)) => self.cast(capture, file, speed, screen)?,
            (None, None) => return Ok(None),
        }
        Ok(Some(ExitCode::from(EXIT_OK)))
    }

    fn picture(&self, capture: &Path, file: &Path, speed: f64, screen: &ScreenArgs) -> Result<()> {
        let format = Format::of(file)?;
        let mut out = self.output(file, capture)?;
        let mut player = opened(capture)?;
        player.seek(self.at.map_or(Nanos::MAX, nanos));
        let now = player.position();
        let mut view = view_for(self, screen)?;
        let extra = self.extra(&player, speed)(now);
        let frame = player.shared().with_state(|state| {
            view.observe(state, now);
            self.turn_page(&mut view);
            picture::frame(&view, state, &extra, self.size)
        });
        let scale = self.scale.unwrap_or_else(|| format.scale());
        let bytes = picture::render(&frame, format, view.theme.paper, scale)?;
        out.write_all(&bytes).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(out.finish()?)
    }

    fn cast(&self, capture: &Path, file: &Path, speed: f64, screen: &ScreenArgs) -> Result<()> {
        let mut file_out = self.output(file, capture)?;
        let mut player = opened(capture)?;
        let (from, to) = (self.from.map_or(0, nanos), self.to.map_or(player.end(), nanos).min(player.end()));
        if from > to {
            bail!(
                "the cast would begin at {} and end at {}: --from must come before --to and the capture's end",
                show_duration(Duration::from_nanos(from)),
                show_duration(Duration::from_nanos(to))
            );
        }
        let mut view = view_for(self, screen)?;
        self.turn_page(&mut view);
        let options = CastOptions {
            size: self.size,
            fps: self.cast_fps,
            speed,
            from,
            to,
            idle_limit: self.idle_limit.map(nanos),
            title: title(player.header()),
        };
        let extra = self.extra(&player, speed);
        let mut out = BufWriter::new(&mut file_out);
        let done = cast::write(&mut player, &mut view, &extra, &options, &mut out)
            .and_then(|done| out.flush().map(|()| done))
            .with_context(|| format!("cannot write {}", file.display()))?;
        drop(out);
        file_out.finish()?;
        tell!("{}: {:.1} s in {} frames", file.display(), done.seconds, done.frames);
        Ok(())
    }

    /// The file to be written: never the capture, and no other that exists unless it was asked for.
    fn output(&self, file: &Path, capture: &Path) -> Result<Output> {
        let inputs = match std::fs::metadata(capture) {
            Ok(there) if there.is_dir() => crate::session::reader::captures_in(capture),
            _ => vec![capture.to_owned()],
        };
        Ok(Output::create(file, self.force, &inputs)?)
    }

    fn turn_page(&self, view: &mut View) {
        view.page = match self.page {
            None => return,
            Some(PageArg::Controls) => Page::Controls,
            Some(PageArg::Result) => Page::Result,
            Some(PageArg::History) => Page::History,
            Some(PageArg::Log) => Page::Log,
        };
    }

    /// What a frame shows beside the session, at a time of the session.
    fn extra(&self, player: &Player, speed: f64) -> impl Fn(Nanos) -> Extra + use<> {
        let status = player.shared().status();
        let (kind, length) = (self.kind, player.end());
        move |now| {
            let path = status.path.clone();
            match kind {
                Kind::Live => {
                    let recorder = RecorderInfo { path, bytes: status.bytes, trouble: None, backlog: 0 };
                    Extra { now, recorder: Some(recorder), mode: Mode::Live }
                }
                Kind::Replay => {
                    let info = ReplayInfo { path, position: now, length, playing: now < length, speed, worst: None };
                    Extra { now, recorder: None, mode: Mode::Replay(info) }
                }
            }
        }
    }
}

/// A player of the capture; what is wrong with it is told.
fn opened(capture: &Path) -> Result<Player> {
    let (player, flaws) = Player::open(capture)?;
    for note in super::feed::notes(&flaws) {
        tell!("{note}");
    }
    Ok(player)
}

/// The view that pictures and casts are drawn with: everything the options say about it.
fn view_for(args: &PictureArgs, screen: &ScreenArgs) -> Result<View> {
    let options = screen.options_of_picture();
    // A picture has all colours, whatever the terminal it is asked for on.
    let theme = options.theme.theme()?.at_depth(options.colours.unwrap_or(Depth::True));
    let mut view = View::new(theme, options.markers);
    view.clock = options.clock;
    view.time.cursor = args.cursor.map(nanos);
    view.time.anchor = args.measure_from.map(nanos);
    Ok(view)
}

fn nanos(d: Duration) -> Nanos {
    d.as_nanos().min(u128::from(Nanos::MAX)) as Nanos
}

fn parse_size(text: &str) -> Result<(u16, u16), String> {
    text.split_once('x')
        .and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)))
        .filter(|(c, r)| (1..=500).contains(c) && (1..=500).contains(r))
        .ok_or_else(|| format!("invalid size '{text}': expected columns x rows, for instance 120x40"))
}
/// The session's name; a simulated one says so.
fn title(header: &crate::event::Header) -> Option<String> {
    let mark = if header.simulated { "SIMULATED " } else { "" };
    Some(format!("{mark}{}", crate::text::foreign(&header.name))).filter(|title| !title.is_empty())
}
