//! Result, history, comparison and log: by key and mouse, drawn.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::style::Modifier;

use super::*;
use crate::event::{Level, MigrationEnd};
use crate::session::state::LogLine;
use crate::tui::hits::{Hit, Hits};
use crate::tui::input::{Situation, mouse, press};

const NOW: u64 = SETTLED + 2 * S;

struct Desk {
    view: View,
    state: State,
    replay: bool,
}

impl Desk {
    fn on(page: Page) -> Self {
        Self { view: View { page, ..fresh() }, state: result(), replay: false }
    }

    fn key(&mut self, code: KeyCode) -> &mut Self {
        let info = replay_info(NOW);
        let replay = self.replay.then_some(&info);
        let at = Situation { state: &self.state, now: NOW, replay, steerable: !self.replay };
        press(&mut self.view, &KeyEvent::new(code, KeyModifiers::NONE), at);
        self
    }

    fn keys(&mut self, keys: &str) -> &mut Self {
        for c in keys.chars() {
            self.key(KeyCode::Char(c));
        }
        self
    }

    fn shows(&self, width: u16, height: u16) -> String {
        screen(&self.view, &self.state, &live(NOW), width, height).to_string()
    }

    fn hits(&self) -> Hits {
        let mut hits = Hits::default();
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| hits = draw(&self.view, &self.state, &live(NOW), frame)).unwrap();
        hits
    }

    fn click(&mut self, hit: Hit) {
        let hits = self.hits();
        let area = hits.area_of(hit).unwrap_or_else(|| panic!("{hit:?} is nowhere"));
        let event = MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column: area.x,
            row: area.y,
            modifiers: KeyModifiers::NONE,
        };
        let at = Situation { state: &self.state, now: NOW, replay: None, steerable: true };
        mouse(&mut self.view, &event, &hits, at);
    }
}

#[test]
fn the_result_page_turns_over_earlier_migrations() {
    let mut d = Desk::on(Page::Result);
    assert!(d.shows(80, 24).contains("RESULT 3/3"));
    d.key(KeyCode::Up);
    let cancelled = d.shows(80, 24);
    assert!(cancelled.contains("RESULT 2/3") && cancelled.contains("no downtime is known"), "{cancelled}");
    d.key(KeyCode::Up).key(KeyCode::Up);
    assert!(d.shows(80, 24).contains("RESULT 1/3"));
    // The newest comes up by itself when one settles.
    let mut next = d.state.migrations[2].clone();
    next.n = 4;
    d.view.observe(&d.state, NOW);
    d.key(KeyCode::Up);
    d.state.migrations.push(next);
    d.view.observe(&d.state, NOW);
    d.view.page = Page::Result;
    assert!(d.shows(80, 24).contains("RESULT 4/4"), "{}", d.shows(80, 24));
}

#[test]
fn the_reason_is_on_the_card_at_every_size() {
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let text = Desk::on(Page::Result).shows(width, height);
        for part in ["reported begins 2.89 s late: policy xen-3.4", "RATE 9,000/s", "1.15 x limit", "WSET 96.0 MiB"] {
            assert!(text.contains(part), "{part} at {width}x{height}:\n{text}");
        }
    }
    assert!(Desk::on(Page::Result).shows(200, 50).contains("stop-and-copy 2.90 s"));
}

#[test]
fn every_reason_is_on_the_screen_or_can_be_scrolled_to() {
    for (width, height) in [(76, 22), (80, 24), (100, 30), (120, 40), (160, 40), (200, 50)] {
        for n in 1..=3 {
            let mut d = Desk::on(Page::Result);
            d.view.history.selected = Some(n);
            let m = d.view.history.result(&d.state).unwrap();
            let extra = live(NOW);
            let ctx = crate::tui::ctx::Ctx::new(&d.view, &d.state, &extra, (68, 12));
            let all: Vec<String> = crate::tui::panel::result::why(&ctx, m).into_iter().map(|(text, _)| text).collect();
            let all = all.join(" ");
            let mut wanted = all.split_whitespace().peekable();
            let (mut rows, mut end) = (String::new(), 0);
            while d.view.history.reason <= end {
                let (mut terminal, mut hits) =
                    (Terminal::new(TestBackend::new(width, height)).unwrap(), Hits::default());
                terminal.draw(|frame| hits = draw(&d.view, &d.state, &extra, frame)).unwrap();
                end = hits.reasons_end();
                let area = hits.area_of(Hit::Reasons(end)).unwrap_or_else(|| panic!("no reasons at {width}x{height}"));
                for y in area.rows() {
                    let row: String = y.positions().map(|at| terminal.backend().buffer()[at].symbol()).collect();
                    rows += &format!("{row}\n");
                    for word in row.split_whitespace() {
                        wanted.next_if(|w| *w == word.trim_end_matches('…'));
                    }
                }
                d.key(KeyCode::PageDown);
            }
            assert_eq!(wanted.next(), None, "of migration {n} at {width}x{height}: {all}\n{rows}");
            if (width, height) == (120, 40) {
                assert_eq!(end, 0, "all of it has room at 120x40");
            }
        }
    }
}

#[test]
fn what_there_is_no_result_of_yet_is_said_in_full() {
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let mut d = Desk::on(Page::Result);
        d.state.migrations.clear();
        let text: String = d.shows(width, height);
        let mut wanted = "No migration has ended yet. each with its bounds.".split_whitespace().peekable();
        for word in text.split_whitespace() {
            wanted.next_if(|w| *w == word);
        }
        assert_eq!(wanted.next(), None, "at {width}x{height}:\n{text}");
    }
}

#[test]
fn what_ended_pre_copy_is_said_in_full_in_the_title() {
    let now = STOPPED + S;
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let text = screen(&fresh(), &migrating(now), &live(now), width, height).to_string();
        let title = text.lines().find(|l| l.contains("MIGRATION")).unwrap();
        assert!(title.contains("ended by 29 rounds") || title.contains("ended by 3 x RAM sent"), "{text}");
    }
}

#[test]
fn a_failed_migration_says_where_the_guest_is() {
    let mut d = Desk::on(Page::Result);
    let m = d.state.migrations.last_mut().unwrap();
    m.ended = Some((SETTLED, MigrationEnd::Failed { why: "connection reset".into() }));
    m.resumed = None;
    let text = d.shows(80, 24);
    assert!(text.contains("failed") && text.contains("connection reset"), "{text}");
    assert!(d.shows(200, 50).contains("the guest stands still at a since"), "{}", d.shows(200, 50));
}

#[test]
fn history_by_key() {
    let mut d = Desk::on(Page::History);
    d.keys("aa");
    let text = d.shows(80, 24);
    assert!(text.contains("by RATE, rising"), "{text}");
    d.keys("A");
    let text = d.shows(80, 24);
    let place = |rate: &str| text.find(rate).unwrap();
    assert!(place("  9,000/s ") < place("  2,000/s "), "{text}");
    // No baseline, no comparison.
    d.keys("d");
    assert!(!d.view.history.compare);
    assert!(d.view.notice.as_ref().unwrap().1.contains("b makes the selected"));
    d.keys("b");
    assert_eq!(d.view.history.baseline, Some(3));
    d.key(KeyCode::Down).key(KeyCode::Down).keys("d");
    insta::assert_snapshot!("compare_80x24", d.shows(80, 24));
    d.key(KeyCode::Esc);
    insta::assert_snapshot!("baseline_80x24", d.shows(80, 24));
}

#[test]
fn a_difference_inside_the_bounds_is_marked() {
    let mut d = Desk::on(Page::History);
    let estimates = &mut d.state.migrations[2].downtime.as_mut().unwrap().estimates;
    let gap = estimates[1].value.as_mut().unwrap();
    (gap.value, gap.hi) = (gap.value + std::time::Duration::from_millis(40), gap.hi * 2);
    d.view.history.baseline = Some(1);
    let text = d.shows(80, 24);
    assert!(text.contains("≈ +1.4 %"), "{text}");
    assert!(text.contains("3 vs 1: time +10.4 s (+155 %)"), "{text}");
    d.view.markers = Markers::Ascii;
    assert!(d.shows(80, 24).contains("~ +1.4 %"));
}

#[test]
fn a_long_history_keeps_the_selected_row_in_view() {
    let mut d = Desk::on(Page::History);
    let one = d.state.migrations[0].clone();
    d.state.migrations = (1..=60).map(|n| crate::session::state::Migration { n, ..one.clone() }).collect();
    assert!(d.shows(80, 24).contains("54 above, 0 below"), "{}", d.shows(80, 24));
    for _ in 0..6 {
        d.key(KeyCode::PageUp);
    }
    let text = d.shows(80, 24);
    assert!(text.contains("▸  30") && text.contains("26 above, 28 below"), "{text}");
}

#[test]
fn history_and_log_by_mouse() {
    let mut d = Desk::on(Page::History);
    d.click(Hit::Migration(1));
    assert_eq!(d.view.history.selected, Some(1));
    d.click(Hit::HistoryHead(2));
    d.click(Hit::HistoryHead(2));
    assert_eq!((d.view.history.sort, d.view.history.falling), (Column::Rate, true));
    d.view.page = Page::Log;
    d.click(Hit::LogLine(9));
    assert_eq!(d.view.log.selected, Some(9));
}

#[test]
fn enter_goes_there_in_time_also_in_a_replay() {
    for replay in [false, true] {
        let mut d = Desk { replay, ..Desk::on(Page::History) };
        d.key(KeyCode::Enter);
        assert!(d.view.entry.is_none() && d.view.page == Page::History);
        assert!(d.view.notice.as_ref().is_some_and(|(_, text)| text.contains("migration 3")));
        let mut d = Desk { replay, ..Desk::on(Page::Log) };
        d.key(KeyCode::Up).key(KeyCode::Enter);
        assert_eq!(d.view.time.cursor, Some(SETTLED));
    }
}

#[test]
fn the_log_is_searched_while_one_types() {
    let mut d = Desk::on(Page::Log);
    d.keys("/guest");
    let cells = |d: &Desk, modifier: Modifier| {
        let buffer = screen(&d.view, &d.state, &live(NOW), 120, 40).buffer().clone();
        (0..40)
            .flat_map(|y| (20..120).map(move |x| (x, y)))
            .filter(|at| buffer[*at].modifier.contains(modifier))
            .count()
    };
    // Two lines tell of the guest: five letters each, seen without colour.
    assert_eq!(cells(&d, Modifier::UNDERLINED | Modifier::REVERSED), 10);
    d.key(KeyCode::Enter);
    assert_eq!(d.view.log.selected, Some(9));
    d.key(KeyCode::Up);
    assert_eq!(d.view.log.selected, Some(7));
    insta::assert_snapshot!("search_80x24", d.shows(80, 24));
    d.key(KeyCode::Esc);
    assert_eq!(d.view.log.search, "");
    d.keys("FF");
    let text = d.shows(80, 24);
    assert!(text.contains("errors only") && text.contains("connection lost") && !text.contains("29 rounds: stop"));
}

#[test]
fn errors_stay_on_the_screen_until_they_are_read() {
    let mut d = Desk::on(Page::Controls);
    d.view.observe(&d.state, NOW);
    let far = LogLine { t: NOW, level: Level::Error, from: "host b".into(), text: "is lost: no answer".into() };
    d.state.log.push_back(far);
    d.state.log_total = d.state.log.len() as u64;
    d.view.observe(&d.state, NOW);
    for (width, height) in SIZES {
        let text = d.shows(width, height);
        assert!(text.contains("2 errors not read: "), "{width}x{height}:\n{text}");
        assert!(text.contains("E reads"), "{width}x{height}:\n{text}");
    }
    d.keys("E");
    let text = d.shows(80, 24);
    assert!(!text.contains("not read") && text.contains("errors only"), "{text}");
    assert_eq!(d.view.page, Page::Log);
    d.view.observe(&d.state, NOW);
    assert_eq!(d.view.log.unread, None);
}
