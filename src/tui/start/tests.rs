//! The start screen's frames in snapshots, its keys, and drawing that must survive anything.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::session::probed::Outages;
use crate::tui::glyphs::Markers;
use crate::tui::hits::{Hit, Hits};
use crate::tui::keys::{Action, Keymap};
use crate::tui::panel;
use crate::tui::theme::Theme;

const SIZES: [(u16, u16); 4] = [(40, 12), (80, 24), (120, 40), (200, 50)];
const S: u64 = 1_000_000_000;

fn fresh() -> Start {
    Start::new(
        Theme::parse("dark", crate::tui::theme::DARK).unwrap(),
        Markers::Unicode,
        Arc::default(),
        "/home/me/.local/state/blackout/sessions".into(),
    )
}

fn lack(name: &str, found: &str, mend: &str) -> Lack {
    Lack { name: name.into(), found: found.into(), mend: mend.into() }
}

fn missing() -> Lab {
    Lab::Missing(vec![
        lack(
            "qemu",
            "qemu-system-x86_64: it is not there",
            "sudo apt-get install --no-install-recommends qemu-system-x86",
        ),
        lack("guest kernel", "no vmlinuz-* in /boot", "sudo apt-get install linux-image-cloud-amd64"),
    ])
}

fn recent(name: &str, days_ago: u64, told: Told) -> Recent {
    Recent {
        capture: format!("/s/{name}/capture.jsonl").into(),
        name: name.into(),
        began_unix_ns: (1_795_376_700 - days_ago * 86_400) * S,
        duration_ns: (days_ago != 4).then_some(123 * S),
        bytes: 4 << 20,
        simulated: name.contains("demo"),
        told,
    }
}

fn with_sessions() -> Start {
    let known = |migrations, worst: Option<(&'static str, u64)>| Told::Known {
        duration_ns: 123 * S,
        migrations,
        worst: worst.map(|(method, ms)| (method, Duration::from_millis(ms))),
        outages: (migrations == 0).then(|| Outages {
            probes: 1,
            unknown: 0,
            count: 2,
            longest: Some((Duration::from_millis(2800), Some(Duration::from_millis(2900)))),
        }),
    };
    let mut start = fresh();
    start.hear(News::Sessions(Sessions::Found(vec![
        recent("demo", 0, Told::Reading),
        recent("lab", 1, Told::Reading),
        recent("migrate", 2, Told::Reading),
        recent("watch", 3, Told::Reading),
        recent("a-week-of-soaking-at-once", 4, Told::Reading),
        recent("lab", 5, Told::Reading),
    ])));
    for (i, told) in [
        known(3, Some(("reply-gap", 4230))),
        known(1, Some(("reply-gap", 96))),
        known(2, Some(("stop-resume", 2896))),
        known(0, None),
        Told::Unread("too large to be read here: 64.0 MiB and more".into()),
    ]
    .into_iter()
    .enumerate()
    {
        start.hear(News::Told(i, told));
    }
    start
}

fn drawn(start: &Start, width: u16, height: u16) -> (TestBackend, Hits) {
    let mut hits = Hits::default();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| hits = panel::start::draw(start, frame)).unwrap();
    (terminal.backend().clone(), hits)
}

fn frame(start: &Start, width: u16, height: u16) -> (String, Hits) {
    let (backend, hits) = drawn(start, width, height);
    (backend.to_string(), hits)
}

fn key(start: &mut Start, code: KeyCode) -> Option<Effect> {
    press(start, &KeyEvent::new(code, KeyModifiers::NONE))
}

fn keys(start: &mut Start, text: &str) -> Option<Effect> {
    text.chars().fold(None, |_, c| key(start, KeyCode::Char(c)))
}

fn sizes(name: &str, start: &Start) {
    for (width, height) in SIZES {
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), frame(start, width, height).0);
    }
}

#[test]
fn a_bare_machine() {
    let mut start = fresh();
    start.hear(News::Lab(missing()));
    start.hear(News::Sessions(Sessions::Found(Vec::new())));
    keys(&mut start, "j");
    sizes("bare", &start);
    assert!(frame(&start, 40, 12).0.contains("not ready: qemu, guest"));
}

#[test]
fn a_machine_with_a_lab_and_sessions() {
    let mut start = with_sessions();
    start.hear(News::Lab(Lab::Ready(vec![lack(
        "kvm",
        "/dev/kvm is not there; the lab runs under emulation (TCG), some ten times slower",
        "sudo modprobe kvm_intel",
    )])));
    sizes("ready", &start);
    // The third of the sessions, whose figure is by another estimator.
    key(&mut start, KeyCode::End);
    keys(&mut start, "kkk");
    sizes("session", &start);
}

#[test]
fn a_form_and_what_is_wrong_with_it() {
    let mut start = fresh();
    keys(&mut start, "a");
    paste(&mut start, "/run/src.qmp\n");
    key(&mut start, KeyCode::Enter);
    start.form.as_mut().unwrap().refuse(Wrong {
        field: 1,
        why: "/run/dst.qmp: No such file or directory; QEMU makes it with -qmp unix:/run/dst.qmp,server=on,wait=off"
            .into(),
    });
    for (width, height) in [(40, 12), (80, 24)] {
        insta::assert_snapshot!(format!("attach_{width}x{height}"), frame(&start, width, height).0);
    }
}

#[test]
fn the_first_frame_waits_for_nothing() {
    let (text, _) = frame(&fresh(), 80, 24);
    assert!(text.contains("checking…") && text.contains("looking…"), "{text}");
    insta::assert_snapshot!("help_80x24", {
        let mut start = fresh();
        keys(&mut start, "?");
        frame(&start, 80, 24).0
    });
}

#[test]
fn each_offer_is_one_key_away() {
    let chosen = |text: &str| keys(&mut with_sessions(), text);
    assert_eq!(chosen("d"), Some(Effect::Choose(Choice::Demo(None))));
    assert_eq!(chosen("l"), Some(Effect::Choose(Choice::Lab)));
    assert_eq!(chosen("q"), Some(Effect::Quit));
    assert_eq!(chosen("2"), Some(Effect::Choose(Choice::Recent("/s/lab/capture.jsonl".into()))));
    assert_eq!(chosen("9"), None, "there is no ninth session");
    for (text, asks) in [("a", Asks::Attach), ("w", Asks::Watch), ("r", Asks::Replay)] {
        let mut start = with_sessions();
        assert_eq!(keys(&mut start, text), None);
        assert_eq!(start.form.unwrap().asks, asks);
    }
    let mut start = fresh();
    keys(&mut start, "?");
    assert!(start.help);
    assert_eq!(keys(&mut start, "d"), None, "any key closes the help, and does no more");
    assert!(!start.help);
}

#[test]
fn arrows_and_enter_reach_every_row() {
    let mut start = with_sessions();
    let mut seen = Vec::new();
    for _ in 0..start.rows() {
        if let Some(effect) = key(&mut start, KeyCode::Enter) {
            seen.push(effect);
        }
        (start.form, start.help) = (None, false);
        key(&mut start, KeyCode::Down);
    }
    assert_eq!(seen.len(), 3 + 6, "demo, lab, quit and the sessions: {seen:?}");
    assert_eq!(start.selected, start.rows() - 1, "the last row is the last");
    key(&mut start, KeyCode::Home);
    assert_eq!(key(&mut start, KeyCode::Enter), Some(Effect::Choose(Choice::Demo(None))));
}

#[test]
fn a_lab_that_is_ready_is_selected_unless_a_key_was_pressed() {
    let mut start = fresh();
    assert_eq!(start.selected, 0);
    start.hear(News::Lab(missing()));
    assert_eq!(start.selected, 0, "the demo stays selected");
    start.hear(News::Lab(Lab::Ready(Vec::new())));
    assert_eq!(OFFERS[start.selected].offer, Offer::Lab);
    let mut start = fresh();
    keys(&mut start, "jk");
    start.hear(News::Lab(Lab::Ready(Vec::new())));
    assert_eq!(start.selected, 0);
}

#[test]
fn a_form_is_filled_in_line_by_line() {
    let mut start = fresh();
    keys(&mut start, "w");
    assert_eq!(key(&mut start, KeyCode::Enter), None);
    let form = start.form.as_ref().unwrap();
    assert!(form.lines[0].error.as_ref().unwrap().contains("192.0.2.10"), "what is needed is said");
    // What are keys elsewhere is text here.
    keys(&mut start, "q.d");
    let choice = Choice::Form(Asks::Watch, vec!["q.d".into()]);
    assert_eq!(key(&mut start, KeyCode::Enter), Some(Effect::Choose(choice)));
    key(&mut start, KeyCode::Esc);
    assert_eq!(start.form, None);

    keys(&mut start, "a");
    for text in ["/a", "", "tcp:h:1", "", "", ""] {
        paste(&mut start, text);
        assert_eq!(key(&mut start, KeyCode::Enter), None);
    }
    let form = start.form.as_ref().unwrap();
    assert_eq!((form.at, form.lines[1].error.is_some()), (1, true), "the empty needed line is gone to");
    assert_eq!(press(&mut start, &KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Effect::Quit));
}

#[test]
fn the_mouse_selects_and_opens() {
    let mut start = with_sessions();
    for (width, height) in SIZES {
        let (_, hits) = frame(&start, width, height);
        assert!(hits.area_of(Hit::Row(1)).is_some(), "{width}x{height}");
        for action in [Action::Type, Action::Help, Action::Quit] {
            assert!(hits.area_of(Hit::Action(action)).is_some(), "{action:?} at {width}x{height}");
        }
    }
    assert_eq!(click(&mut start, Some(Hit::Row(1))), None);
    assert_eq!(start.selected, 1);
    assert_eq!(click(&mut start, Some(Hit::Row(1))), Some(Effect::Choose(Choice::Lab)));
    wheel(&mut start, true);
    assert_eq!(start.selected, 2);
    click(&mut start, Some(Hit::Row(2)));
    click(&mut start, Some(Hit::Row(4)));
    assert_eq!(start.form.as_ref().unwrap().at, 4);
    click(&mut start, Some(Hit::Action(Action::Back)));
    assert_eq!(start.form, None);
    assert_eq!(click(&mut start, Some(Hit::Action(Action::Quit))), Some(Effect::Quit));
}

#[test]
fn a_keymap_of_ones_own_holds_here_too() {
    let mut start = fresh();
    start.keymap = Arc::new(Keymap::parse("k.toml", "quit = \"d\"\ncompare = []\nup = \"Up\"\n").unwrap());
    assert_eq!(keys(&mut start, "d"), Some(Effect::Quit));
    let demo = start.row(0).unwrap();
    assert_eq!(start.key(&demo), "", "a key that means something else is not shown");
    assert!(frame(&start, 80, 24).0.contains("d quit"));
}

#[test]
fn no_two_offers_have_one_key() {
    let map = Keymap::default();
    for (i, offered) in OFFERS.iter().enumerate() {
        let Some(c) = offered.key else { continue };
        assert!(!c.is_ascii_digit() && !actions::is_taken(&map, c), "{}", offered.name);
        assert!(OFFERS[..i].iter().all(|other| other.key != Some(c)), "{}", offered.name);
    }
}

#[test]
fn without_colour_or_unicode_it_says_the_same() {
    let mut start = with_sessions();
    start.hear(News::Lab(missing()));
    for (width, height) in SIZES {
        let with = frame(&start, width, height).0;
        let plain = Start { theme: Theme::mono(), ..start.clone() };
        assert_eq!(with, frame(&plain, width, height).0);
        let ascii = Start { markers: Markers::Ascii, ..start.clone() };
        assert!(frame(&ascii, width, height).0.is_ascii());
    }
    let (text, _) = frame(&start, 80, 24);
    assert_eq!(text.matches("SIMULATED").count(), 3, "the offer, its text and a session: {text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn drawing_survives_anything(
        names in prop::collection::vec("\\PC{0,30}", 0..25),
        began in any::<u64>(),
        lasted in any::<Option<u64>>(),
        text in "\\PC{0,80}",
        pressed in prop::collection::vec(0u8..12, 0..12),
        typed in "\\PC{0,40}",
        width in 0u16..220,
        height in 0u16..60,
        markers in prop_oneof![Just(Markers::Braille), Just(Markers::Block), Just(Markers::Ascii)],
    ) {
        let mut start = Start { markers, ..fresh() };
        start.hear(News::Lab(Lab::Missing(vec![lack(&text, &text, &text)])));
        let told = |i: usize| match i % 3 {
            0 => Told::Unread(text.clone()),
            1 => Told::Known { duration_ns: began, migrations: i, worst: lasted.map(|ns| ("stop-resume", Duration::from_nanos(ns))), outages: None },
            _ => Told::Reading,
        };
        let all = names.iter().enumerate().map(|(i, name)| Recent {
            began_unix_ns: began,
            duration_ns: lasted,
            bytes: began,
            ..recent(name, 0, told(i))
        });
        start.hear(News::Sessions(Sessions::Found(all.collect())));
        for k in pressed {
            let code = [KeyCode::Up, KeyCode::Down, KeyCode::End, KeyCode::PageDown, KeyCode::Enter, KeyCode::Esc,
                KeyCode::Tab, KeyCode::BackTab, KeyCode::Char('a'), KeyCode::Char('?'), KeyCode::Char('w'), KeyCode::Home]
                [usize::from(k)];
            key(&mut start, code);
        }
        paste(&mut start, &typed);
        start.hear(News::Told(names.len(), Told::Reading));
        drawn(&start, width, height);
        start.hear(News::Sessions(Sessions::Unreadable(text.clone())));
        prop_assert!(start.row(start.selected).is_some());
        drawn(&start, width, height);
    }
}

#[test]
fn a_key_goes_through_the_products_of_the_demo() {
    let mut start = fresh();
    start.products = ["qemu", "xen-3.4", "hyper-v"].map(String::from).to_vec();
    let key = |start: &mut Start, c| press(start, &KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
    assert_eq!(key(&mut start, 'd'), Some(Effect::Choose(Choice::Demo(None))), "the product of the settings");
    key(&mut start, 'p');
    insta::assert_snapshot!("product_80x24", frame(&start, 80, 24).0);
    assert_eq!(key(&mut start, 'd'), Some(Effect::Choose(Choice::Demo(Some("xen-3.4".into())))));
    key(&mut start, 'p');
    key(&mut start, 'p');
    assert_eq!(key(&mut start, 'd'), Some(Effect::Choose(Choice::Demo(None))), "and round again");
    start.keymap = Arc::new(Keymap::parse("k.toml", "post_copy = []\nup = \"p\"\n").unwrap());
    assert_eq!(start.product_key(), None, "the person's own keys come first");
}
