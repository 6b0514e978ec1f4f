use proptest::prelude::*;

use super::*;

/// A log of these lines, the first of which has this number.
fn state(first: u64, lines: &[(Level, &str, &str)]) -> State {
    let log = lines
        .iter()
        .enumerate()
        .map(|(i, (level, from, text))| LogLine {
            t: i as u64,
            level: *level,
            from: (*from).into(),
            text: (*text).into(),
        })
        .collect();
    State { log, log_total: first + lines.len() as u64, ..State::default() }
}

fn numbered(n: u64) -> State {
    let texts: Vec<String> = (0..n).map(|i| format!("line {i}")).collect();
    let lines: Vec<_> = texts.iter().map(|t| (Level::Info, "lab", t.as_str())).collect();
    state(0, &lines)
}

fn seen(state: &State, view: &LogView, height: usize) -> (Vec<u64>, u64) {
    let window = window(state, view, &view.query(&view.search), height);
    (window.rows.iter().map(|g| g.number).collect(), window.newer)
}

#[test]
fn the_view_stays_on_its_lines_while_others_come() {
    let mut view = LogView::default();
    let (ten, twenty) = (numbered(10), numbered(20));
    assert_eq!(seen(&ten, &view, 3), (vec![7, 8, 9], 0));
    assert!(view.step(&ten, false));
    assert_eq!(seen(&ten, &view, 3), (vec![7, 8, 9], 0));
    assert_eq!(seen(&twenty, &view, 3), (vec![7, 8, 9], 10));
    for _ in 0..3 {
        view.step(&twenty, false);
    }
    assert_eq!(seen(&twenty, &view, 3), (vec![6, 7, 8], 11));
    view.scroll(&twenty, true, 100);
    assert_eq!((view.selected, seen(&twenty, &view, 2)), (None, (vec![18, 19], 0)));
}

#[test]
fn scrolling_takes_the_selection_along() {
    let twenty = numbered(20);
    let mut view = LogView::default();
    view.scroll(&twenty, false, 5);
    assert_eq!((view.selected, seen(&twenty, &view, 3)), (None, (vec![12, 13, 14], 5)));
    view.select(&twenty, 13);
    view.scroll(&twenty, false, 5);
    assert_eq!((view.selected, seen(&twenty, &view, 3)), (Some(8), (vec![7, 8, 9], 10)));
}

#[test]
fn lines_dropped_from_the_ring_keep_the_others_numbers() {
    let full = numbered(10);
    let mut view = LogView::default();
    view.select(&full, 4);
    view.bottom = Some(5);
    assert_eq!(seen(&full, &view, 3).0, [3, 4, 5]);
    let mut later = full.clone();
    for _ in 0..4 {
        later.log.pop_front();
    }
    assert_eq!(seen(&later, &view, 3).0, [4, 5, 6], "what is gone above is made up below");
    let gone = state(100, &[(Level::Info, "lab", "a"), (Level::Info, "lab", "b")]);
    assert_eq!(seen(&gone, &view, 3).0, [100, 101]);
}

#[test]
fn filters_by_level_and_source() {
    let state = state(
        7,
        &[
            (Level::Info, "agent", "connected"),
            (Level::Warn, "policy", "29 rounds"),
            (Level::Error, "agent", "connection lost"),
            (Level::Error, "host a", "is lost"),
        ],
    );
    let mut view = LogView { least: Least::Warnings, ..LogView::default() };
    assert_eq!(seen(&state, &view, 9).0, [8, 9, 10]);
    view.least = view.least.next();
    assert_eq!(seen(&state, &view, 9).0, [9, 10]);
    view.search = "from:AGENT".into();
    assert_eq!(seen(&state, &view, 9).0, [9]);
    assert!(view.back() && view.back() && !view.back());
    assert_eq!(seen(&state, &view, 9).0, [7, 8, 9, 10]);
}

#[test]
fn steps_go_from_match_to_match() {
    let mut state = numbered(30);
    state.log[4].text = "The Guest stands still".into();
    state.log[20].text = "the guest runs".into();
    let mut view = LogView { search: "guest".into(), ..LogView::default() };
    assert!(view.step(&state, false));
    assert_eq!(view.selected, Some(20));
    assert!(view.step(&state, false));
    assert_eq!(view.selected, Some(4));
    assert!(!view.step(&state, false));
    assert!(view.step(&state, true) && !view.step(&state, true));
    assert_eq!(view.selected, Some(20), "where there is no further match it stays");
    let query = view.query("GUEST");
    assert_eq!(query.places("guest, Guest"), [0..5, 7..12]);
    assert_eq!(Query::new(Least::All, "é").places("né é"), [1..3, 4..6]);
}

#[test]
fn lines_alike_are_one_row() {
    let alike = (Level::Warn, "probe", "late");
    let state = state(0, &[(Level::Info, "lab", "a"), alike, alike, alike, (Level::Info, "lab", "b")]);
    let mut view = LogView::default();
    let window = window(&state, &view, &view.query(""), 9);
    assert_eq!(
        window.rows.iter().map(|g| (g.first, g.number, g.times)).collect::<Vec<_>>(),
        [(0, 0, 1), (1, 3, 3), (4, 4, 1)]
    );
    view.step(&state, false);
    view.step(&state, false);
    assert_eq!(view.selected, Some(3));
    view.step(&state, false);
    assert_eq!(view.selected, Some(0));
}

#[test]
fn a_row_that_has_grown_is_not_shown_twice() {
    let alike = (Level::Warn, "probe", "late");
    let state = state(0, &[alike, alike, alike, alike]);
    let view = LogView { selected: Some(1), bottom: Some(1), ..LogView::default() };
    let window = window(&state, &view, &view.query(""), 3);
    assert_eq!(window.rows.iter().map(|g| (g.number, g.times)).collect::<Vec<_>>(), [(3, 4)]);
}

#[test]
fn errors_stick_until_they_are_read() {
    let e = |text| (Level::Error, "lab", text);
    let mut view = LogView::default();
    view.observe(&state(0, &[(Level::Warn, "lab", "w"), e("first"), e("second")]));
    assert_eq!(view.unread, Some((2, 1, "first".into())));
    // The ring has dropped them: they are not read for all that.
    let later = state(3, &[e("third")]);
    view.observe(&later);
    view.observe(&later);
    assert_eq!(view.unread, Some((3, 1, "first".into())));
    view.read_all(&later);
    view.observe(&later);
    assert_eq!(view.unread, None);
    // A replay goes back and on again: what was read stays read.
    view.observe(&state(0, &[e("first")]));
    view.observe(&later);
    assert_eq!(view.unread, None);
    view.observe(&state(4, &[e("fourth")]));
    assert_eq!(view.unread, Some((1, 4, "fourth".into())));
}

proptest! {
    #[test]
    fn any_view_shows_all_it_can(
        lines in prop::collection::vec((0u8..3, 0u8..2, 0u8..3), 0..40),
        first in 0u64..5,
        selected in prop::option::of(0u64..60),
        bottom in prop::option::of(0u64..60),
        least in 0u8..3,
        search in "[ab :]{0,4}|from:[ab]",
        height in 0usize..12,
        moves in prop::collection::vec((any::<bool>(), any::<bool>()), 0..8),
    ) {
        let levels = [Level::Info, Level::Warn, Level::Error];
        let lines: Vec<_> = lines
            .iter()
            .map(|(l, f, t)| (levels[usize::from(*l)], ["a", "b"][usize::from(*f)], ["ab", "b é", "c"][usize::from(*t)]))
            .collect();
        let state = state(first, &lines);
        let least = [Least::All, Least::Warnings, Least::Errors][usize::from(least)];
        let mut view = LogView { selected, bottom, least, search, ..LogView::default() };
        for (scroll, down) in moves {
            if scroll { view.scroll(&state, down, 3) } else { view.step(&state, down); }
        }
        view.observe(&state);
        let query = view.query(&view.search);
        let shown = window(&state, &view, &query, height);
        let all: Vec<_> = starting(&state, &query, 0).collect();
        prop_assert_eq!(shown.rows.len(), height.min(all.len()));
        prop_assert!(shown.rows.windows(2).all(|w| w[0].number < w[1].first));
        prop_assert!(shown.rows.iter().all(|g| query.takes(g.line)));
        let taken = state.log.iter().filter(|l| query.takes(l)).count() as u64;
        prop_assert!(shown.newer <= taken);
        // A selected line that is shown at all is in view.
        let there = view.selected.filter(|n| line(&state, *n).is_some_and(|l| query.takes(l)));
        if let Some(n) = there.filter(|_| height > 0 && view.bottom.is_some()) {
            prop_assert!(shown.rows.iter().any(|g| g.first <= n && n <= g.number), "{n} of {:?}", shown);
        }
    }
}

#[test]
#[ignore = "measures what a frame pays for a full log"]
fn what_a_full_log_costs() {
    let mut state = numbered(4_000);
    state.log[3].text = "needle".into();
    for (name, search, least) in
        [("all", "", Least::All), ("filtered", "", Least::Errors), ("searched", "needle", Least::All)]
    {
        let view = LogView { search: search.into(), least, ..LogView::default() };
        let query = view.query(search);
        let began = std::time::Instant::now();
        for _ in 0..1_000 {
            let window = window(&state, &view, &query, 16);
            let matches = if query.searches() { state.log.iter().filter(|l| query.finds(l)).count() } else { 0 };
            std::hint::black_box((window, matches));
        }
        println!("{name}: {:?} a frame", began.elapsed() / 1_000);
    }
}
