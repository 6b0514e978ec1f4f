//! Whole frames, in snapshots; and drawing that must survive anything.

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::ctx::{Extra, Mode};
use super::draw::draw;
use super::edit::{Control, type_load};
use super::feed::{RecorderInfo, ReplayInfo};
use super::fixture::*;
use super::glyphs::Markers;
use super::history::{Column, HistoryView};
use super::hits::{Hit, Hits};
use super::options::TuiOptions;
use super::run::run;
use super::theme::Theme;
use super::theme::ThemeChoice;
use super::time::{Edge, Scale, TimeView};
use super::view::{Asked, Confirm, Entry, Menu, Page, View};
use crate::event::{Fate, Outcome, Phase, ProbeId, Sample};
use crate::session::State;
use crate::session::state::{PhaseSpan, Ramp};

#[path = "probes_tests.rs"]
mod probes;
#[path = "results_tests.rs"]
mod results;

fn fresh() -> View {
    View::default()
}

fn screen(view: &View, state: &State, extra: &Extra, width: u16, height: u16) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            draw(view, state, extra, frame);
        })
        .unwrap();
    terminal.backend().clone()
}

/// What lies where in a frame at 80x24.
pub(super) fn hits_of(view: &mut View, state: &State, now: u64, replay: Option<ReplayInfo>) -> Hits {
    let extra = replay.map_or_else(|| live(now), |info| Extra { now, recorder: None, mode: Mode::Replay(info) });
    let mut hits = Hits::default();
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    view.observe(state, now);
    terminal.draw(|frame| hits = draw(view, state, &extra, frame)).unwrap();
    hits
}

fn live(now: u64) -> Extra {
    Extra { now, recorder: Some(recorder()), mode: Mode::Live }
}

const SIZES: [(u16, u16); 4] = [(40, 12), (80, 24), (120, 40), (200, 50)];

#[test]
fn cursor_screen() {
    let now = RESUMED + 4 * S;
    let mut view = fresh();
    view.time.scale = Scale::Column(200 * MS);
    view.time.edge = Edge::At(RESUMED + S);
    (view.time.anchor, view.time.cursor) = (Some(STOPPED), Some(RESUMED - 300 * MS));
    for (width, height) in SIZES {
        insta::assert_snapshot!(
            format!("cursor_{width}x{height}"),
            screen(&view, &migrating(now), &live(now), width, height)
        );
        let text = screen(&view, &migrating(now), &live(now), width, height).to_string();
        for word in ["FROZEN", "stop-and-copy", "lost"] {
            assert!(text.contains(word), "{word} at {width}x{height}:\n{text}");
        }
    }
}

#[test]
fn lists_screen() {
    let now = BEGAN + 11 * S;
    for (menu, name) in [(Menu::Tracks(2), "tracks_80x24"), (Menu::Events(0), "events_80x24")] {
        let view = View { menu: Some(menu), ..fresh() };
        insta::assert_snapshot!(name, screen(&view, &migrating(now), &live(now), 80, 24));
    }
}

#[test]
fn overlays_screen() {
    let now = BEGAN + 11 * S;
    let (state, extra) = (migrating(now), live(now));
    let mut view = View { help: true, ..fresh() };
    insta::assert_snapshot!("help_80x24", screen(&view, &state, &extra, 80, 24));
    view.help = false;
    view.confirm = Some(Confirm::StopAndCopy);
    insta::assert_snapshot!("confirm_80x24", screen(&view, &state, &extra, 80, 24));
    view.confirm = None;
    let mut entry = Entry::new(Asked::Control(Control::Rate), "9k/s");
    entry.error = type_load(&view.load(&state), Control::Rate, "9k/s", None, view.hold).err();
    view.entry = Some(entry);
    insta::assert_snapshot!("entry_80x24", screen(&view, &state, &extra, 80, 24));
}

/// What lies where in a frame.
fn hits(view: &View, state: &State, extra: &Extra, width: u16, height: u16) -> Hits {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut hits = Hits::default();
    terminal.draw(|frame| hits = draw(view, state, extra, frame)).unwrap();
    hits
}

/// A ramp runs, the guest is busy by its own word, WSET is not what was asked for, and the hosts
/// have said what they offer.
fn at_the_consoles() -> (View, State, Extra) {
    let now = 7_500 * MS;
    let mut state = offering(idle(now));
    state.load.ramp = Some(Ramp { from_pages_per_s: 2000.0, to_pages_per_s: 12_000.0, began: 7 * S, over_ns: 20 * S });
    let report = &mut state.load.achieved.as_mut().unwrap().1;
    (report.guest_cpu_pct, report.wset_bytes) = (Some(57.2), 64 << 20);
    let next = state.next.as_mut().unwrap();
    next.extra.insert("cpu-throttle-increment".into(), 25.into());
    next.extra.insert("cpu-throttle-initial".into(), 20.into());
    let view = View { selected: Control::Parameter(6), ..fresh() };
    (view, state, live(now))
}

#[test]
fn consoles_screen() {
    let (mut view, state, extra) = at_the_consoles();
    for (width, height) in [(80, 24), (120, 40)] {
        insta::assert_snapshot!(format!("consoles_{width}x{height}"), screen(&view, &state, &extra, width, height));
    }
    view.menu = Some(Menu::Presets(3));
    for (width, height) in [(80, 24), (120, 40)] {
        insta::assert_snapshot!(format!("presets_{width}x{height}"), screen(&view, &state, &extra, width, height));
    }
}

#[test]
fn what_is_ours_to_set_is_offered_once() {
    let (mut view, mut state, extra) = at_the_consoles();
    let all = |view: &View, state: &State| screen(view, state, &extra, 200, 50).to_string();
    for name in ["downtime-limit", "max-bandwidth"] {
        let offered = crate::tui::edit::parameters(&state);
        assert!(offered.iter().all(|p| p.name != name), "{name}");
    }
    // The last parameter can be reached, and there is none after it.
    view.selected = Control::Parameter(6);
    assert!(all(&view, &state).contains("xbzrle-cache-size"));
    assert_eq!(Control::Parameter(6).moved(1, crate::tui::edit::parameters(&state).len()), Control::Load);
    // What the hypervisor has, and what is asked for by its own name, are told with ours.
    let next = state.next.as_mut().unwrap();
    next.bandwidth_bytes_per_s = None;
    next.extra.insert("downtime-limit".into(), 500.into());
    view.selected = Control::Rate;
    let text = all(&view, &state);
    assert!(text.contains("hypervisor's own, 32.0 MB/s") && text.contains("500 ms as downtime-limit"), "{text}");
}

#[test]
fn over_the_link_has_a_texture_of_its_own_at_the_top_of_its_bars() {
    // The rate achieved is over the link by less than a step of the scale.
    let mut state = idle(20 * S);
    for (_, report) in state.reports.iter_mut() {
        report.rate_pages_per_s = 8_000.0;
    }
    for markers in [Markers::Block, Markers::Ascii, Markers::Braille] {
        let over = super::glyphs::Glyphs::of(markers).over;
        let mut view = View { markers, ..fresh() };
        view.theme = Theme::mono();
        let chart = |state: &State| {
            let text = screen(&view, state, &live(state.now), 120, 40).to_string();
            let lines = text.lines().skip_while(|l| !l.contains("DIRTY")).skip(1).take(4);
            lines.map(|line| line.matches(over).count()).sum::<usize>()
        };
        assert!(chart(&state) > 10, "{markers:?}");
        let mut under = state.clone();
        for (_, report) in under.reports.iter_mut() {
            report.rate_pages_per_s = 7_000.0;
        }
        assert_eq!(chart(&under), 0, "{markers:?}");
    }
}

#[test]
fn the_mouse_finds_controls_sliders_and_answers() {
    let (mut view, state, mut extra) = at_the_consoles();
    let there = |view: &View, extra: &Extra, hit| hits(view, &state, extra, 120, 40).area_of(hit);
    let slider = there(&view, &extra, Hit::Slider(Control::Rate)).unwrap();
    let row = there(&view, &extra, Hit::Control(Control::Rate)).unwrap();
    assert!(slider.y == row.y && slider.width >= 10 && row.width > slider.width, "{slider:?} {row:?}");
    assert!(there(&view, &extra, Hit::Control(Control::Parameter(6))).is_some());
    view.confirm = Some(Confirm::RampEnd);
    let (yes, no) = (there(&view, &extra, Hit::Answer(true)), there(&view, &extra, Hit::Answer(false)));
    assert!(yes.unwrap().right() < no.unwrap().x);
    assert_eq!(there(&view, &extra, Hit::Slider(Control::Rate)), None, "a question lies in front of it");
    view.confirm = None;
    extra.mode = Mode::Replay(replay_info(extra.now));
    assert_eq!(there(&view, &extra, Hit::Slider(Control::Rate)), None, "a replay has nothing to change");
}

#[test]
fn a_refusal_gives_its_reason() {
    let mut state = idle(7_500 * MS);
    state.load.requested.as_mut().unwrap().0 = 3;
    state.load.refused = Some((3, "WSET is over the limit".into(), 7 * S));
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let text = screen(&fresh(), &state, &live(state.now), width, height).to_string();
        assert!(text.contains("refused: WSET is over"), "{width}x{height}:\n{text}");
    }
}

#[test]
fn pages_at_80x24() {
    for (page, name) in [(Page::History, "history"), (Page::Log, "log")] {
        let view = View { page, ..fresh() };
        insta::assert_snapshot!(format!("{name}_80x24"), screen(&view, &result(), &live(SETTLED + 2 * S), 80, 24));
    }
}

#[test]
fn trouble_with_the_capture_is_loud_at_every_size() {
    let now = BEGAN + 11 * S;
    let mut extra = live(now);
    extra.recorder =
        Some(RecorderInfo { trouble: Some("No space left on device".into()), backlog: 1204, ..recorder() });
    for (width, height) in SIZES {
        let text = screen(&fresh(), &migrating(now), &extra, width, height).to_string();
        assert!(text.contains("CAPTURE IS NOT BEING WRITTEN"), "{width}x{height}:\n{text}");
    }
    // Trouble the fold knows of (a replay of such a session) shows as well.
    let mut state = migrating(now);
    state.health.recorder_trouble = Some("EIO".into());
    assert!(screen(&fresh(), &state, &live(now), 80, 24).to_string().contains("WRITTEN: EIO"));
}

#[test]
fn a_simulated_hypervisor_says_so() {
    let mut state = idle(3 * S);
    state.header.as_mut().unwrap().simulated = true;
    for (width, height, says) in [
        (200, 50, " SIMULATED "),
        (120, 40, " SIMULATED "),
        (80, 24, " SIMULATED "),
        (40, 12, " SIMULATED "),
        (30, 8, " SIM "),
        (28, 7, "SIMULATED"),
    ] {
        let shown = screen(&fresh(), &state, &live(3 * S), width, height).to_string();
        assert!(shown.contains(says), "{width}x{height}:\n{shown}");
    }
    // In the first row whatever is in front of the rest, and however little there is.
    let first_row = |view: &View, state: &State, (width, height): (u16, u16)| -> String {
        let buffer = screen(view, state, &live(3 * S), width, height).buffer().clone();
        (0..width).map(|x| buffer[(x, 0)].symbol().to_string()).collect()
    };
    let mut twice = result();
    twice.header.as_mut().unwrap().simulated = true;
    let mut again = twice.migrations[0].clone();
    again.n = 2;
    twice.migrations.push(again);
    let compared = HistoryView { baseline: Some(1), compare: true, ..HistoryView::default() };
    let fronts = [
        View { help: true, ..fresh() },
        View { confirm: Some(Confirm::StopAndCopy), ..fresh() },
        View { entry: Some(Entry::new(Asked::Control(Control::Rate), "9")), ..fresh() },
        View { menu: Some(Menu::Presets(0)), ..fresh() },
        View { menu: Some(Menu::Tracks(0)), ..fresh() },
        View { page: Page::History, history: compared, ..fresh() },
    ];
    for (i, view) in fronts.iter().enumerate() {
        for size in [(200, 50), (80, 24), (40, 12), (30, 8), (40, 1), (12, 1)] {
            let row = first_row(view, if i == 5 { &twice } else { &state }, size);
            assert!(row.contains(if size.0 >= 40 { " SIMULATED " } else { " SIM " }), "{i} at {size:?}: {row}");
        }
    }
}

#[test]
fn a_tour_has_its_captions_on_every_screen() {
    let mut state = idle(3 * S);
    let said = |t, text: &str| {
        let ev = crate::event::SessionEvent::Caption { text: text.into() };
        crate::event::Event::new(t, crate::event::Body::Session(ev))
    };
    // As captures had it up to schema 1.4.
    let (level, from) = (crate::event::Level::Info, crate::session::state::CAPTIONS.into());
    let ev = crate::event::LogEvent { level, from, text: "an earlier caption".into() };
    state.apply(&crate::event::Event::new(S, crate::event::Body::Log(ev)));
    assert_eq!(state.caption.as_ref().map(|c| c.1.as_str()), Some("an earlier caption"));
    state.apply(&said(2 * S, "look at the pings, they go unanswered"));
    for (width, height) in [(200, 50), (120, 40), (80, 24), (40, 12)] {
        let shown = screen(&fresh(), &state, &live(3 * S), width, height).to_string();
        assert!(shown.contains(" TOUR  look at the pings"), "{width}x{height}:\n{shown}");
        assert!(!shown.contains("an earlier caption") || height > 24, "{width}x{height}:\n{shown}");
    }
}

/// A session whose every text from outside is one word of so many bytes.
fn wordy(bytes: usize) -> State {
    use crate::event::{Level, MigrationEnd};
    let word = "x".repeat(bytes);
    let mut s = result();
    s.lab.step.clone_from(&word);
    s.lab.accel = Some((word.clone(), word.clone()));
    s.agent.why.clone_from(&word);
    s.caption = Some((SETTLED, word.clone()));
    s.marks = vec![(BEGAN, word.clone())];
    for line in &mut s.log {
        (line.level, line.text, line.from) = (Level::Error, word.clone(), word.clone());
    }
    let names: Vec<String> = s.hosts.keys().cloned().collect();
    for name in names {
        let host = s.hosts.remove(&name).unwrap();
        s.hosts.insert(format!("{name}{word}"), host);
    }
    for m in &mut s.migrations {
        (m.from, m.to) = (word.clone(), word.clone());
        m.ended = m.ended.take().map(|(t, _)| (t, MigrationEnd::Failed { why: word.clone() }));
        m.phases.iter_mut().for_each(|p| p.raw.clone_from(&word));
        for e in m.downtime.iter_mut().flat_map(|d| &mut d.estimates) {
            (e.note, e.value) = (Some(word.clone()), None);
        }
    }
    s
}

#[test]
fn a_word_of_a_megabyte_freezes_nothing() {
    let (usual, long) = (wordy(10), wordy(1 << 20));
    let mut worst = std::time::Duration::ZERO;
    for (width, height) in SIZES {
        for page in Page::ALL {
            let frame = |state: &State| {
                let mut view = View { page, ..fresh() };
                view.observe(state, SETTLED);
                view.page = page;
                let begun = std::time::Instant::now();
                screen(&view, state, &live(SETTLED), width, height);
                begun.elapsed()
            };
            // The best of three: the machine may be busy.
            let best = |state: &State| (0..3).map(|_| frame(state)).min().unwrap();
            let (short, long) = (best(&usual), best(&long));
            worst = worst.max(long.saturating_sub(short));
        }
    }
    println!("a frame takes {worst:?} longer");
    let most = if cfg!(debug_assertions) { 400 } else { 20 };
    assert!(worst.as_millis() < most, "{worst:?}");
}

/// Numbered words that take more than two rows.
fn words(n: usize) -> (String, Vec<String>) {
    let words: Vec<String> = (0..n).map(|i| format!("word{i:02}")).collect();
    (words.join(" "), words)
}

#[test]
fn a_long_line_of_the_log_is_read_in_full_where_it_is_selected() {
    let mut state = result();
    let (text, words) = words(30);
    state.log.push_back(crate::session::state::LogLine {
        t: SETTLED,
        level: crate::event::Level::Warn,
        from: "source".into(),
        text,
    });
    state.log_total = state.log.len() as u64;
    let number = state.log_total - 1;
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let mut view = View { page: Page::Log, ..fresh() };
        let short = screen(&view, &state, &live(SETTLED), width, height).to_string();
        view.log.select(&state, number);
        let long = screen(&view, &state, &live(SETTLED), width, height).to_string();
        assert!(!short.contains("word29"), "{short}");
        for word in &words {
            assert!(long.contains(word), "{word} at {width}x{height}:\n{long}");
        }
    }
}

#[test]
fn a_long_headline_has_the_rows_it_takes() {
    let (step, words) = words(28);
    let mut state = State::default();
    state.lab.step = step;
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let shown = screen(&fresh(), &state, &live(S), width, height).to_string();
        for word in &words {
            assert!(shown.contains(word), "{word} at {width}x{height}:\n{shown}");
        }
    }
}

#[test]
fn small_terminals_have_no_pages_and_say_so() {
    assert!(!super::draw::has_pages(40, 12) && super::draw::has_pages(80, 24));
    let mut view = View { page: Page::Log, ..fresh() };
    view.no_pages(S);
    let shown = screen(&view, &idle(S), &live(S), 40, 12).to_string();
    assert!(shown.contains("log: needs 76x22"), "{shown}");
}

#[test]
fn too_small_says_so() {
    let text = screen(&fresh(), &idle(S), &live(S), 29, 7).to_string();
    assert!(text.contains("too small: 29x7"), "{text}");
}

#[test]
fn one_lost_probe_is_visible_at_every_zoom() {
    // All is well for 50 s but for one probe.
    let now = 50 * S;
    let mut state = idle(now);
    let probe = state.probes.get_mut(&ProbeId(0)).unwrap();
    let middle = probe.outcomes.len() - 30;
    let fate = |i| if i == middle { Fate::Lost } else { Fate::Ok { rtt: 400_000 } };
    let outcomes = probe.outcomes.iter().enumerate().map(|(i, o)| Outcome { fate: fate(i), ..*o });
    probe.outcomes = outcomes.collect();
    for column in [100, 200, 500, 750, 1000, 2000, 10_000, 60_000].map(|ms| ms * MS) {
        let view = View { time: TimeView { scale: Scale::Column(column), ..TimeView::default() }, ..fresh() };
        let buffer = screen(&view, &state, &live(now), 80, 24).buffer().clone();
        let row = |y: u16| (0..80).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        let fate_row: String = (0..24).map(row).find(|r| r.trim_start().starts_with("fate")).unwrap();
        assert_eq!(fate_row.matches('×').count(), 1, "{column} ns a column: {fate_row}");
    }
}

#[test]
fn without_colour_the_screen_reads_the_same() {
    let now = STOPPED + 2 * S;
    let plain = View { theme: Theme::mono(), ..fresh() };
    let (a, b) =
        (screen(&fresh(), &migrating(now), &live(now), 120, 40), screen(&plain, &migrating(now), &live(now), 120, 40));
    assert_eq!(a.to_string(), b.to_string());
    for cell in b.buffer().content() {
        assert!(matches!(cell.fg, Color::Reset) && matches!(cell.bg, Color::Reset));
    }
}

#[test]
fn ascii_is_ascii() {
    let view = View { markers: Markers::Ascii, ..fresh() };
    for (width, height) in SIZES {
        let mut state = result();
        for line in &mut state.log {
            line.text = "µs from 日本".into();
        }
        let text = screen(&view, &state, &live(SETTLED), width, height).to_string();
        assert!(text.is_ascii(), "{text}");
    }
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        any::<u64>().prop_map(|rtt| Fate::Ok { rtt }),
        any::<u64>().prop_map(|rtt| Fate::Late { rtt }),
        Just(Fate::Lost),
        Just(Fate::Refused),
        Just(Fate::NotSent),
        Just(Fate::Error)
    ]
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Setup),
        Just(Phase::PreCopy),
        Just(Phase::StopAndCopy),
        Just(Phase::Recovery),
        Just(Phase::Moving),
        Just(Phase::Unknown),
        Just(Phase::Failed)
    ]
}

prop_compose! {
    /// The fixture, torn: numbers from nowhere, texts from hell.
    fn any_state()(
        base in 0u64..40 * S,
        outcomes in prop::collection::vec((any::<u64>(), any::<u64>(), any_fate()), 0..20),
        spec in (any::<u64>(), any::<u64>()),
        rates in prop::collection::vec((any::<u64>(), any::<f64>(), any::<u64>()), 0..6),
        phases in prop::collection::vec((any_phase(), any::<u64>(), any::<Option<u64>>()), 0..5),
        rounds in prop::collection::vec((any::<u64>(), any::<u64>()), 0..5),
        samples in prop::collection::vec((any::<u64>(), any::<Option<u64>>(), any::<Option<f64>>(), any::<Option<u64>>()), 0..5),
        bandwidth in any::<Option<u64>>(),
        text in "\\PC{0,60}",
        torn: bool,
    ) -> State {
        let mut s = if base < 20 * S { result() } else { migrating(base) };
        if !torn {
            return s;
        }
        let probe = s.probes.get_mut(&ProbeId(0)).unwrap();
        (probe.spec.interval_ns, probe.spec.t0) = spec;
        probe.outcomes = outcomes.into_iter().map(|(k, sent, fate)| Outcome { k, sent, fate }).collect();
        for ((t, rate, window), slot) in rates.into_iter().zip(s.reports.iter_mut()) {
            slot.0 = t;
            (slot.1.rate_pages_per_s, slot.1.window_ns, slot.1.set.dirty.bpc_pages) = (rate, window, t);
        }
        s.lab.step.clone_from(&text);
        for line in &mut s.log {
            line.text.clone_from(&text);
            line.from.clone_from(&text);
        }
        if let Some(m) = s.migrations.last_mut() {
            m.settings.bandwidth_bytes_per_s = bandwidth;
            m.rounds = rounds;
            m.phases = phases.into_iter().map(|(phase, from, to)| PhaseSpan { phase, raw: text.clone(), substate: None, from, to }).collect();
            m.samples = samples
                .into_iter()
                .map(|(t, left, rate, round)| {
                    (t, Sample { remaining_bytes: left, transferred_bytes: left, total_bytes: left, round, dirty_pages_per_s: rate, throughput_bytes_per_s: rate, ..Sample::default() })
                })
                .collect();
            m.to = text;
        }
        s.next = s.migrations.last().map(|m| m.settings.clone());
        s
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn drawing_survives_anything(
        state in any_state(),
        now in prop_oneof![0u64..60 * S, any::<u64>()],
        width in 0u16..220,
        height in 0u16..60,
        page in 0usize..4,
        zoom in any::<u64>(),
        cursor in any::<Option<u64>>(),
        anchor in any::<Option<u64>>(),
        overlay in 0u8..8,
        frozen in any::<Option<u64>>(),
        markers in prop_oneof![Just(Markers::Braille), Just(Markers::Block), Just(Markers::Ascii)],
        back: usize,
        torn_offers: bool,
        replay: bool,
    ) {
        let mut view = fresh();
        (view.page, view.log.bottom) = (Page::ALL[page], Some(back as u64));
        view.time.scale = [Scale::Auto, Scale::Whole, Scale::Column(zoom), Scale::Column(zoom % S)][zoom as usize % 4];
        (view.time.cursor, view.time.anchor) = (cursor, anchor);
        view.history = HistoryView {
            selected: Some((back % 5) as u32),
            reason: back as u16,
            baseline: Some((back / 5 % 5) as u32),
            sort: Column::ALL[back % Column::ALL.len()],
            falling: replay,
            compare: overlay == 7,
        };
        (view.log.selected, view.log.search) = (Some(back as u64 % 9), ["", "a", "from:agent e"][back % 3].into());
        view.time.edge = frozen.map_or(Edge::Now, Edge::At);
        view.markers = markers;
        match overlay {
            4 => view.menu = Some(Menu::Tracks(back)),
            5 => view.menu = Some(Menu::Events(back)),
            1 => view.help = true,
            2 => view.confirm = Some(Confirm::Quit),
            3 => {
                let mut entry = Entry::new(Asked::Control(Control::Rate), "日本語");
                entry.error = Some("x".repeat(200));
                view.entry = Some(entry);
            }
            6 => view.menu = Some(Menu::Presets(back)),
            _ => {}
        }
        let state = if torn_offers { offering(state) } else { state };
        view.selected = Control::Parameter((back % 12) as u16);
        let mode = if replay { Mode::Replay(replay_info(now)) } else { Mode::Live };
        let extra = Extra { now, recorder: (!replay).then(recorder), mode };
        view.observe(&state, now);
        screen(&view, &state, &extra, width, height);
    }
}

#[test]
#[ignore = "opens the screen on this terminal, to be looked at"]
fn look_at_it() {
    let from = std::env::var("FROM_S").ok().and_then(|s| s.parse::<f64>().ok()).unwrap_or(3.0);
    let mut feed = FakeFeed::new((from * 1e9) as u64);
    feed.panics = std::env::var_os("PANIC").is_some();
    if std::env::var_os("REPLAY").is_some() {
        feed.replay.set(Some(((from * 1e9) as u64, false, 1.0)));
    }
    let (tx, _rx) = tokio::sync::mpsc::unbounded_channel();
    let options = TuiOptions {
        theme: if std::env::var_os("LIGHT").is_some() { ThemeChoice::Light } else { ThemeChoice::Dark },
        markers: if std::env::var_os("ASCII").is_some() { Markers::Ascii } else { Markers::Unicode },
        ..TuiOptions::default()
    };
    let summary = run(&feed, Some(tx), options).unwrap();
    println!("{summary:?}");
}
