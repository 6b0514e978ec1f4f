//! A replay as an asciinema cast: the bytes a terminal would get, with their times.
//!
//! The format is asciicast v2: a header line, then a line `[seconds, "o", text]` for each frame
//! that changes anything. Time is the replay's; nothing waits for it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::time::Duration;

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::Hide;
use ratatui::crossterm::queue;
use ratatui::crossterm::style::force_color_output;
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use ratatui::layout::Rect;
use serde_json::json;

use super::frame::Stage;
use crate::event::Nanos;
use crate::session::{Player, State};
use crate::tui::Extra;
use crate::tui::view::View;
use crate::units::{show_count, show_duration};

const SECOND: f64 = 1e9;
/// The most frames of a cast: 27 hours at 10 a second.
const FRAMES: u64 = 1_000_000;

/// What to play, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CastOptions {
    /// Columns and rows.
    pub size: (u16, u16),
    /// Frames a second of the cast.
    pub fps: u32,
    /// Times real time.
    pub speed: f64,
    /// From this time of the session, ns.
    pub from: Nanos,
    /// To this time of the session, ns.
    pub to: Nanos,
    /// What is further than this from any migration, load change or mark is left out, ns.
    pub idle_limit: Option<Nanos>,
    /// Title.
    pub title: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CastSummary {
    /// Frames that changed anything.
    pub frames: u64,
    /// Length of the cast, s.
    pub seconds: f64,
    /// Bytes for the terminal.
    pub bytes: u64,
}

/// Plays `player` through the drawing code into a cast. `extra` says what a frame shows beside the
/// session, at a time of the session.
///
/// # Errors
/// When `out` cannot be written to.
pub(crate) fn write(
    player: &mut Player,
    view: &mut View,
    extra: &dyn Fn(Nanos) -> Extra,
    options: &CastOptions,
    out: &mut dyn Write,
) -> io::Result<CastSummary> {
    // The theme's colours belong to the cast, not to the terminal this runs in.
    force_color_output(true);
    let (columns, rows) = options.size;
    let (from, to) = (options.from.min(player.end()), options.to.min(player.end()));
    player.seek(Nanos::MAX);
    let shared = player.shared();
    let spans = shared.with_state(|state| kept(state, from, to, options.idle_limit));
    let began = player.header().wall_origin_unix_ns.saturating_add(from);
    let step = (SECOND * options.speed / f64::from(options.fps.max(1))).round().max(1.0) as Nanos;
    let frames = spans.iter().fold(0, |n: u64, (a, b)| n.saturating_add((b - a) / step + 1));
    if frames > FRAMES {
        let length = Duration::from_nanos(spans.iter().fold(0, |n: Nanos, (a, b)| n.saturating_add(b - a)));
        let why = format!(
            "a cast of {} would have {} frames, more than {}; give --to, --idle-limit, a higher --speed or a lower \
             --cast-fps",
            show_duration(length),
            show_count(frames),
            show_count(FRAMES)
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    writeln!(out, "{}", crate::text::json(&header(options, began).to_string()))?;

    let mut stage = Stage::new(options.size);
    let mut screen = Buffer::empty(Rect::new(0, 0, columns, rows));
    let pipe = Pipe::default();
    let mut backend = CrosstermBackend::new(&pipe);
    queue!(&pipe, Hide, Clear(ClearType::All))?;
    let mut summary = CastSummary { frames: 0, seconds: 0.0, bytes: 0 };
    for (played, t) in instants(&spans, step) {
        player.seek(t);
        let next = shared.with_state(|state| {
            view.observe(state, t);
            stage.frame(view, state, &extra(t))
        });
        summary.seconds = played as f64 / SECOND / options.speed;
        let changes = screen.diff(&next);
        if changes.is_empty() {
            continue;
        }
        backend.draw(changes.into_iter())?;
        screen = next;
        let text = pipe.take_frame()?;
        (summary.frames, summary.bytes) = (summary.frames + 1, summary.bytes + text.len() as u64);
        writeln!(out, "[{:.6}, \"o\", {}]", summary.seconds, crate::text::json(&json!(text).to_string()))?;
    }
    out.flush()?;
    Ok(summary)
}

fn header(options: &CastOptions, began_unix_ns: u64) -> serde_json::Value {
    let mut header = json!({
        "version": 2,
        "width": options.size.0,
        "height": options.size.1,
        "timestamp": began_unix_ns / 1_000_000_000,
        "env": { "TERM": "xterm-256color" },
    });
    if let Some(title) = &options.title {
        header["title"] = json!(title);
    }
    header
}

/// The stretches of `from..=to` that are played, in order and apart.
fn kept(state: &State, from: Nanos, to: Nanos, idle_limit: Option<Nanos>) -> Vec<(Nanos, Nanos)> {
    let Some(limit) = idle_limit else { return vec![(from, to)] };
    let migrations = state.migrations.iter().map(|m| {
        let ended = m.ended.as_ref().map(|e| e.0);
        (m.began, m.settled.or(ended).unwrap_or(Nanos::MAX))
    });
    let loads = state.requests.iter().map(|r| (r.0, r.0));
    let marks = state.marks.iter().map(|m| (m.0, m.0));
    let mut wanted: Vec<(Nanos, Nanos)> = migrations
        .chain(loads)
        .chain(marks)
        .map(|(a, b)| (a.saturating_sub(limit).max(from), b.saturating_add(limit).min(to)))
        .filter(|(a, b)| a <= b)
        .collect();
    wanted.sort_unstable();
    let mut spans: Vec<(Nanos, Nanos)> = Vec::new();
    for (a, b) in wanted {
        match spans.last_mut() {
            Some(last) if a <= last.1 => last.1 = last.1.max(b),
            _ => spans.push((a, b)),
        }
    }
    if spans.is_empty() {
        // Nothing ever happens: its beginning stands for all.
        spans.push((from, from.saturating_add(limit).min(to).max(from)));
    }
    spans
}

/// Times to draw at: (session time played before, session time). The last is the very end.
fn instants(spans: &[(Nanos, Nanos)], step: Nanos) -> impl Iterator<Item = (Nanos, Nanos)> {
    let total: Nanos = spans.iter().map(|(a, b)| b.saturating_sub(*a)).sum();
    let place = move |played: Nanos| {
        let mut left = played;
        for (a, b) in spans {
            let length = b.saturating_sub(*a);
            if left < length {
                return a + left;
            }
            left -= length;
        }
        spans.last().map_or(0, |s| s.1)
    };
    (0..total.div_ceil(step)).map(move |i| i * step).chain([total]).map(move |played| (played, place(played)))
}

/// Where the terminal's bytes gather until a frame is whole.
#[derive(Default)]
struct Pipe(RefCell<Vec<u8>>);

impl Pipe {
    /// What has been written, between the marks of a synchronised update.
    fn take_frame(&self) -> io::Result<String> {
        let mut whole = Vec::new();
        queue!(whole, BeginSynchronizedUpdate)?;
        whole.append(&mut self.0.borrow_mut());
        queue!(whole, EndSynchronizedUpdate)?;
        String::from_utf8(whole).map_err(io::Error::other)
    }
}

impl Write for &Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::{Color, Modifier};

    use super::*;
    use crate::picture;
    use crate::session::RecorderStatus;
    use crate::tui::Mode;
    use crate::tui::fixture::{S, fixture};

    fn options(size: (u16, u16)) -> CastOptions {
        CastOptions { size, fps: 10, speed: 1.0, from: 0, to: Nanos::MAX, idle_limit: None, title: None }
    }

    fn player(name: &str) -> Player {
        let (header, events) = fixture(name);
        Player::new(header, events, RecorderStatus::default())
    }

    fn extra(now: Nanos) -> Extra {
        Extra { now, recorder: None, mode: Mode::Live }
    }

    /// A cast: its header, and its events with their times.
    type Cast = (serde_json::Value, Vec<(f64, String)>);

    fn parse(cast: &[u8]) -> Cast {
        let text = std::str::from_utf8(cast).unwrap();
        let mut lines = text.lines();
        let header = serde_json::from_str(lines.next().unwrap()).unwrap();
        let events = lines
            .map(|line| {
                let (time, code, data): (f64, String, String) = serde_json::from_str(line).unwrap();
                assert_eq!(code, "o");
                (time, data)
            })
            .collect();
        (header, events)
    }

    fn colour(c: Color) -> vt100::Color {
        match c {
            Color::Reset => vt100::Color::Default,
            Color::Rgb(r, g, b) => vt100::Color::Rgb(r, g, b),
            Color::Indexed(i) => vt100::Color::Idx(i),
            // crossterm writes the sixteen by their numbers.
            named => {
                const NAMED: [Color; 16] = [
                    Color::Black,
                    Color::Red,
                    Color::Green,
                    Color::Yellow,
                    Color::Blue,
                    Color::Magenta,
                    Color::Cyan,
                    Color::Gray,
                    Color::DarkGray,
                    Color::LightRed,
                    Color::LightGreen,
                    Color::LightYellow,
                    Color::LightBlue,
                    Color::LightMagenta,
                    Color::LightCyan,
                    Color::White,
                ];
                vt100::Color::Idx(NAMED.iter().position(|c| *c == named).unwrap() as u8)
            }
        }
    }

    /// What a terminal shows must be what was drawn, cell by cell.
    fn assert_shows(screen: &vt100::Screen, buffer: &Buffer, when: &str) {
        let area = buffer.area;
        for y in 0..area.height {
            for x in 0..area.width {
                let (shown, drawn) = (screen.cell(y, x).unwrap(), &buffer[(x, y)]);
                let symbol = if shown.has_contents() { shown.contents() } else { " " };
                assert_eq!(symbol, drawn.symbol(), "{when}, column {x}, row {y}");
                assert_eq!(shown.fgcolor(), colour(drawn.fg), "ink {when}, column {x}, row {y}");
                assert_eq!(shown.bgcolor(), colour(drawn.bg), "ground {when}, column {x}, row {y}");
                for (modifier, on) in [
                    (Modifier::BOLD, shown.bold()),
                    (Modifier::DIM, shown.dim()),
                    (Modifier::ITALIC, shown.italic()),
                    (Modifier::UNDERLINED, shown.underline()),
                    (Modifier::REVERSED, shown.inverse()),
                ] {
                    assert_eq!(on, drawn.modifier.contains(modifier), "{modifier:?} {when}, column {x}, row {y}");
                }
            }
        }
    }

    #[test]
    fn a_terminal_fed_with_the_cast_shows_the_frames() {
        for size in [(80, 24), (120, 40)] {
            let mut player = player("over-the-jump");
            let options = CastOptions { from: 31 * S, to: 38 * S, fps: 4, ..options(size) };
            let mut cast = Vec::new();
            let summary = write(&mut player, &mut View::default(), &extra, &options, &mut cast).unwrap();
            let (header, events) = parse(&cast);
            assert_eq!(
                (&header["version"], &header["width"], &header["height"]),
                (&json!(2), &json!(size.0), &json!(size.1))
            );
            assert_eq!(header["timestamp"], json!((player.header().wall_origin_unix_ns + 31 * S) / 1_000_000_000));
            assert_eq!(events.len() as u64, summary.frames);

            let mut terminal = vt100::Parser::new(size.1.try_into().unwrap(), size.0.try_into().unwrap(), 0);
            let mut view = View::default();
            for (time, data) in events {
                assert!(data.starts_with("\x1b[?2026h") && data.ends_with("\x1b[?2026l"), "{data:?}");
                terminal.process(data.as_bytes());
                let t = 31 * S + (time * 1e9).round() as Nanos;
                player.seek(t);
                let frame = player.shared().with_state(|state| {
                    view.observe(state, t);
                    picture::frame(&view, state, &extra(t), size)
                });
                assert_shows(terminal.screen(), &frame, &format!("at {time} s of {size:?}"));
            }
            assert!(terminal.screen().hide_cursor());
            assert!((summary.seconds - 7.0).abs() < 1e-9, "{summary:?}");
        }
    }

    #[test]
    fn only_what_changes_is_written() {
        let mut cast = Vec::new();
        let (_, events) = {
            write(&mut player("below-the-jump"), &mut View::default(), &extra, &options((120, 40)), &mut cast).unwrap();
            parse(&cast)
        };
        let whole = events[0].1.len();
        let later: usize = events[1..].iter().map(|e| e.1.len()).sum();
        assert!(later / (events.len() - 1) < whole, "{whole} bytes at first, then {later} in {} frames", events.len());
        assert!(events.windows(2).all(|w| w[0].0 < w[1].0), "times go up");
    }

    #[test]
    fn speed_shortens_the_cast() {
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        let slow = CastOptions { from: 9 * S, to: 12 * S, fps: 2, ..options((40, 12)) };
        let fast = CastOptions { speed: 2.0, ..slow.clone() };
        let a = write(&mut player("below-the-jump"), &mut View::default(), &extra, &slow, &mut once).unwrap();
        let b = write(&mut player("below-the-jump"), &mut View::default(), &extra, &fast, &mut twice).unwrap();
        assert!((a.seconds - 3.0).abs() < 1e-9 && (b.seconds - 1.5).abs() < 1e-9, "{a:?} {b:?}");
    }

    #[test]
    fn idle_stretches_are_cut_and_migrations_are_not() {
        let (header, events) = fixture("below-the-jump");
        let mut player = Player::new(header, events, RecorderStatus::default());
        player.seek(Nanos::MAX);
        let end = player.end();
        player.shared().with_state(|state| {
            let m = &state.migrations[0];
            let (load, settled) = (state.requests[0].0, m.settled.unwrap());
            assert_eq!(kept(state, 0, end, None), [(0, end)]);
            let spans = kept(state, 0, end, Some(S));
            assert_eq!(spans, [(load - S, load + S), (m.began - S, settled + S)]);
            // A wide limit joins them; a window cuts them.
            assert_eq!(kept(state, 0, end, Some(60 * S)), [(0, end)]);
            assert_eq!(kept(state, m.began, end, Some(S)), [(m.began, settled + S)]);
            assert_eq!(kept(state, 0, 2 * S, Some(S)), [(0, S)]);
        });
    }

    #[test]
    fn instants_skip_what_is_cut_and_end_at_the_end() {
        let times: Vec<_> = instants(&[(10, 20), (50, 55)], 4).collect();
        assert_eq!(times, [(0, 10), (4, 14), (8, 18), (12, 52), (15, 55)]);
        assert_eq!(instants(&[(7, 7)], 4).collect::<Vec<_>>(), [(0, 7)]);
    }
}
