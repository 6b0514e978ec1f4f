//! The screen of a session that only watches.

use super::ctx::{Extra, Mode};
use super::fixture::{MS, S, watched};
use super::glyphs::Markers;
use super::theme::Theme;
use super::view::{Page, View};
use crate::session::State;

fn screen(state: &State, page: Page, (width, height): (u16, u16)) -> Vec<String> {
    let mut view = View::new(Theme::mono(), Markers::Unicode);
    let now = 20 * S;
    view.observe(state, now);
    view.page = page;
    let extra = Extra { now, recorder: None, mode: Mode::Live };
    let frame = crate::picture::frame(&view, state, &extra, (width, height));
    (0..height).map(|y| (0..width).map(|x| frame[(x, y)].symbol()).collect()).collect()
}

#[test]
fn outages_stand_below_the_probes_and_nothing_of_a_migration() {
    let state = watched(1, |_, k| (100..120).contains(&k) || (200..203).contains(&k) || k >= 385);
    let sizes = [(40, 12), (80, 24), (120, 40), (200, 50)];
    let all =
        sizes.map(|size| format!("== {}x{}\n{}", size.0, size.1, screen(&state, Page::Controls, size).join("\n")));
    insta::assert_snapshot!("watch", all.join("\n"));
    for (size, screen) in sizes.iter().zip(&all) {
        assert!(screen.contains("NO ANSWER") && screen.contains("3 outages"), "{size:?}: {screen}");
        for word in ["MIGRATION", "RATE", "DIRTY", "SENT", "LEFT", "PHASE", "migrate", "agent"] {
            assert!(!screen.contains(word), "{word} at {size:?}: {screen}");
        }
    }
    let tabs = &screen(&state, Page::Controls, (80, 24))[22];
    assert!(tabs.contains("2 outages") && tabs.contains("4 log") && !tabs.contains("history"), "{tabs}");
    let log = screen(&state, Page::Log, (80, 24)).join("\n");
    assert!(log.contains("LOG") && !log.contains("OUTAGES"), "{log}");
}

#[test]
fn at_the_cursor_only_what_is_watched_is_told() {
    let state = watched(1, |_, _| false);
    let mut view = View::new(Theme::mono(), Markers::Unicode);
    view.time.cursor = Some(10 * S);
    let extra = Extra { now: 20 * S, recorder: None, mode: Mode::Live };
    let frame = crate::picture::frame(&view, &state, &extra, (80, 24));
    let rows: Vec<String> = (0..24).map(|y| (0..80).map(|x| frame[(x, y)].symbol()).collect()).collect();
    let text = rows.join("\n");
    assert!(text.contains("CPU host") && !text.contains("RATE") && !text.contains("hypervisor"), "{text}");
}

#[test]
fn the_newest_outages_are_in_view_and_the_rest_is_counted() {
    let state = watched(1, |_, k| k > 5 && k % 10 < 3);
    let rows = screen(&state, Page::Controls, (80, 24));
    let title = rows.iter().position(|r| r.contains("OUTAGES")).unwrap();
    assert!(rows[title].contains("39 outages, the longest") && rows[title].contains("earlier"), "{}", rows[title]);
    assert!(rows[title + 1].contains("0:19.4"), "{:#?}", &rows[title..]);
}

#[test]
fn of_several_targets_each_outage_says_whose_it_is() {
    let state = watched(3, |id, k| id == 1 && (100..120).contains(&k));
    let rows = screen(&state, Page::Controls, (80, 24));
    let found = rows.iter().find(|r| r.contains("949 ms to 1.05 s") && r.contains("unanswered"));
    let row = found.unwrap_or_else(|| panic!("{rows:#?}"));
    assert!(row.contains("probe 1"), "{row}");
    assert_eq!(state.digests[&crate::event::ProbeId(1)].gaps.outages()[0].from, 4_950 * MS);
}
