//! Snapshots of the screen and of each panel, drawn from captures of real migrations, with their
//! styles in the dark, the light and the colourless theme.

use std::path::PathBuf;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::ctx::{Ctx, Extra, Mode};
use super::feed::{RecorderInfo, ReplayInfo};
use super::fixture::{MS, S, fixture};
use super::glyphs::Markers;
use super::panel;
use super::styled::styled;
use super::theme::Theme;
use super::theme::ThemeChoice;
use super::view::{Confirm, Page, View};
use crate::event::Nanos;
use crate::session::{Player, RecorderStatus, State};

const BELOW: &str = "below-the-jump";
const OVER: &str = "over-the-jump";
const SIZES: [(u16, u16); 4] = [(40, 12), (80, 24), (120, 40), (200, 50)];
/// In the middle of the blackout of [`OVER`].
const BLACKOUT: Nanos = 34_500 * MS;

fn themes() -> [(&'static str, Theme); 3] {
    [
        ("dark", ThemeChoice::Dark.theme().unwrap()),
        ("light", ThemeChoice::Light.theme().unwrap()),
        ("mono", Theme::mono()),
    ]
}

/// A moment of a capture, as the live screen or a replay shows it.
struct Moment {
    player: Player,
    extra: Extra,
}

impl Moment {
    fn live(capture: &str, at: Nanos) -> Self {
        let (header, events) = fixture(capture);
        let mut player = Player::new(header, events, RecorderStatus::default());
        player.seek(at);
        let recorder = RecorderInfo {
            path: PathBuf::from("sessions/jump/capture.jsonl"),
            bytes: 123_456,
            trouble: None,
            backlog: 0,
        };
        let extra = Extra { now: player.position(), recorder: Some(recorder), mode: Mode::Live };
        Self { player, extra }
    }

    fn replay(capture: &str, at: Nanos) -> Self {
        let Self { player, extra } = Self::live(capture, at);
        let info = ReplayInfo {
            path: PathBuf::from("sessions/jump/capture.jsonl"),
            position: at,
            length: player.end(),
            playing: true,
            speed: 1.0,
            worst: None,
        };
        Self { player, extra: Extra { recorder: None, mode: Mode::Replay(info), ..extra } }
    }

    /// Draws in every theme. The view has seen what went before.
    fn styled(&self, set: &dyn Fn(&mut View), draw: &dyn Fn(&View, &State, &Extra) -> Buffer) -> String {
        self.player.shared().with_state(|state| {
            let frames = themes().map(|(name, theme)| {
                let mut view = View::new(theme, Markers::Unicode);
                view.observe(state, self.extra.now);
                set(&mut view);
                (name, draw(&view, state, &self.extra))
            });
            styled(&frames.each_ref().map(|(name, buffer)| (*name, buffer)))
        })
    }
}

/// The whole screen at every size, in one file.
fn screens(name: &str, moment: &Moment) {
    let sizes = SIZES.map(|size| {
        let frame = moment.styled(&|_| (), &|view, state, extra| crate::picture::frame(view, state, extra, size));
        format!("== {}x{}\n{frame}", size.0, size.1)
    });
    insta::assert_snapshot!(name, sizes.join("\n"));
}

#[test]
fn idle_screens() {
    screens("real_idle", &Moment::live(BELOW, 9 * S));
}

#[test]
fn screens_in_pre_copy_below_the_jump() {
    screens("real_below_the_jump", &Moment::live(BELOW, 13 * S));
}

#[test]
fn screens_in_pre_copy_over_the_jump() {
    screens("real_over_the_jump", &Moment::live(OVER, 28 * S));
}

#[test]
fn screens_in_the_blackout() {
    screens("real_blackout", &Moment::live(OVER, BLACKOUT));
}

#[test]
fn screens_with_the_result() {
    screens("real_result", &Moment::live(OVER, Nanos::MAX));
}

#[test]
fn screens_of_a_replay() {
    screens("real_replay", &Moment::replay(OVER, BLACKOUT));
}

type Render = fn(&Ctx<'_>, Rect, &mut Buffer);

/// One panel by itself.
fn alone(name: &str, moment: &Moment, (width, height): (u16, u16), set: &dyn Fn(&mut View), render: Render) {
    const GUTTER: u16 = 12;
    let text = moment.styled(set, &|view, state, extra| {
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        render(&Ctx::new(view, state, extra, (width.saturating_sub(GUTTER), GUTTER)), area, &mut buffer);
        buffer
    });
    insta::assert_snapshot!(format!("real_panel_{name}"), text);
}

#[test]
fn panels_over_the_jump() {
    let moment = Moment::live(OVER, 28 * S);
    let panels: [(&str, (u16, u16), Render); 9] = [
        ("header", (80, 3), panel::header::render),
        ("phases", (80, 2), panel::phases::render),
        ("dirty", (80, 8), panel::dirty::render),
        ("remaining", (80, 4), panel::remaining::render),
        ("clock", (80, 1), panel::clock::render),
        ("load", (60, 8), panel::load::render),
        ("migration", (60, 8), panel::migration::render),
        ("log", (60, 8), panel::log::render),
        ("footer", (80, 2), panel::footer::render),
    ];
    for (name, size, render) in panels {
        alone(name, &moment, size, &|_| (), render);
    }
}

#[test]
fn panels_in_the_blackout() {
    let mut moment = Moment::live(OVER, BLACKOUT);
    alone("ping", &moment, (80, 6), &|_| (), panel::ping::render);
    alone("tracks", &moment, (80, 12), &|_| (), panel::tracks::render);
    alone("tiny", &moment, (40, 12), &|_| (), panel::tiny::render);
    if let Some(recorder) = &mut moment.extra.recorder {
        recorder.trouble = Some("No space left on device".into());
    }
    alone("banner", &moment, (80, 1), &|_| (), panel::banner::render);
}

#[test]
fn panels_with_the_result() {
    let moment = Moment::live(OVER, Nanos::MAX);
    alone("result", &moment, (80, 9), &|view| view.page = Page::Result, panel::result::render);
    alone("history", &moment, (80, 5), &|view| view.page = Page::History, panel::history::render);
    alone("next_migration", &moment, (60, 8), &|_| (), panel::migration::render);
}

#[test]
fn panels_in_front() {
    let moment = Moment::live(OVER, 28 * S);
    alone("help", &moment, (80, 24), &|view| view.help = true, panel::help::render);
    alone("confirm", &moment, (80, 12), &|view| view.confirm = Some(Confirm::StopAndCopy), panel::dialog::render);
}

#[test]
fn panels_of_a_replay() {
    alone("replay_footer", &Moment::replay(OVER, BLACKOUT), (80, 2), &|_| (), panel::footer::render);
}

/// The rows at 120x40 of a moment of a capture: when it was the present, and from the end with the cursor
/// there.
pub(super) fn at_the_end_of(capture: &str, t: Nanos) -> (Vec<String>, Vec<String>) {
    let rows = |moment: &Moment, cursor: Option<Nanos>| {
        moment.player.shared().with_state(|state| {
            let mut view = View::new(Theme::mono(), Markers::Unicode);
            view.observe(state, moment.extra.now);
            (view.page, view.time.cursor) = (Page::Controls, cursor);
            let frame = crate::picture::frame(&view, state, &moment.extra, (120, 40));
            let row = |y: u16| (0..120).map(|x| frame[(x, y)].symbol()).collect::<String>();
            (0..40).map(row).collect::<Vec<_>>()
        })
    };
    (rows(&Moment::live(capture, t), None), rows(&Moment::live(capture, Nanos::MAX), Some(t)))
}

/// Numbers with a decimal and the letters behind them.
fn figures(row: &str) -> Vec<String> {
    let letters: Vec<char> = row.chars().collect();
    let mut found = Vec::new();
    for i in 1..letters.len().saturating_sub(1) {
        if letters[i] != ' ' || !letters[i - 1].is_ascii_digit() || !letters[i + 1].is_alphabetic() {
            continue;
        }
        let number: String = letters[..i].iter().rev().take_while(|c| c.is_ascii_digit() || **c == '.').collect();
        if number.contains('.') {
            found.push(letters[i + 1..].iter().take_while(|c| c.is_alphabetic() || **c == '/').collect());
        }
    }
    found
}

#[test]
fn no_number_loses_a_part_of_its_unit_at_any_size() {
    const CUT: [&str; 16] =
        ["m", "µ", "n", "M", "Mi", "K", "Ki", "G", "Gi", "k", "kB/", "MB/", "mi", "p", "pag", "pages/"];
    assert_eq!(figures("took 29.1 m"), ["m"]);
    for capture in [BELOW, OVER] {
        for at in [9 * S, 13 * S, 28 * S, BLACKOUT, Nanos::MAX] {
            let moment = Moment::live(capture, at);
            moment.player.shared().with_state(|state| {
                for size in [(30, 8), (40, 12), (76, 22), (80, 24), (100, 30), (120, 40), (160, 45), (200, 50)] {
                    for page in Page::ALL {
                        for cursor in [None, Some(at.min(20 * S))] {
                            let mut view = View::new(Theme::mono(), Markers::Unicode);
                            view.observe(state, moment.extra.now);
                            (view.page, view.time.cursor) = (page, cursor);
                            let frame = crate::picture::frame(&view, state, &moment.extra, size);
                            for y in 0..size.1 {
                                let row: String = (0..size.0).map(|x| frame[(x, y)].symbol()).collect();
                                let cut = figures(&row).into_iter().find(|unit| CUT.contains(&unit.as_str()));
                                assert_eq!(cut, None, "{capture} at {at}, {size:?}, {page:?}: {row}");
                                let left: String = row.chars().take(11).collect();
                                if left.starts_with(" LEFT") && left.contains(|c: char| c.is_ascii_digit()) {
                                    assert!(left.trim_end().ends_with(['B', 'K', 'M', 'G']), "{left}");
                                }
                            }
                        }
                    }
                }
            });
        }
    }
}

#[test]
fn every_track_is_there_at_120x40() {
    use super::tracks::Track;
    let titles = [
        (Track::Phases, "PHASE"),
        (Track::Ping, "PING"),
        (Track::Dirty, "DIRTY"),
        (Track::Throughput, "SENT"),
        (Track::Remaining, "LEFT"),
        (Track::Cpu, "CPU"),
        (Track::Step, "STEP"),
    ];
    let moment = Moment::live(OVER, 28 * S);
    moment.player.shared().with_state(|state| {
        for cursor in [None, Some(20 * S)] {
            let mut view = View::new(Theme::mono(), Markers::Unicode);
            view.time.cursor = cursor;
            let frame = crate::picture::frame(&view, state, &moment.extra, (120, 40));
            let row = |y: u16| (0..120).map(|x| frame[(x, y)].symbol()).collect::<String>();
            for (track, title) in titles.iter().filter(|(track, _)| track.has_data(state)) {
                assert!((0..40).any(|y| row(y).starts_with(&format!(" {title}"))), "{track:?} with {cursor:?}");
            }
        }
    });
}

#[test]
fn the_reasons_are_read_to_their_end_at_120x40() {
    for capture in [BELOW, OVER] {
        let moment = Moment::live(capture, Nanos::MAX);
        moment.player.shared().with_state(|state| {
            let mut view = View::new(Theme::mono(), Markers::Unicode);
            view.observe(state, moment.extra.now);
            view.page = Page::Result;
            let frame = crate::picture::frame(&view, state, &moment.extra, (120, 40));
            let row = |y: u16| (0..120).map(|x| frame[(x, y)].symbol()).collect::<String>();
            let from = (0..40).find(|y| row(*y).contains("RESULT")).unwrap();
            let text: Vec<String> = (from..38).map(row).collect();
            assert!(text.iter().any(|r| r.contains("guest-clock")), "{text:#?}");
            // Beside the result the log may stand: only its own columns count.
            let cut = |r: &String| r.chars().take(66).collect::<String>().trim_end().ends_with('…');
            assert!(!text.iter().any(cut), "{capture}: {text:#?}");
        });
    }
}
