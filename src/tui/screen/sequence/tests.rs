//! No byte string from a terminal is anything else for being cut, and no part of a string is a key.

use proptest::prelude::*;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;

/// Everything at once, or in parts, without any time between; events of a second of silence after it
/// included.
fn heard(parts: &[&[u8]]) -> Vec<Event> {
    let now = Instant::now();
    let mut s = Sequences::new(now);
    for part in parts {
        s.pass(now);
        s.take(part, now);
    }
    silence(&mut s, now);
    s.events().collect()
}

fn silence(s: &mut Sequences, from: Instant) {
    let end = from + Duration::from_secs(1);
    while let Some(due) = s.due() {
        assert!(due <= end, "{s:?} waits for longer than a second");
        s.pass(due);
    }
}

fn keys(bytes: &[u8]) -> Vec<KeyEvent> {
    let key = |e| match e {
        Event::Key(key) => key,
        other => panic!("{other:?}"),
    };
    heard(&[bytes]).into_iter().map(key).collect()
}

fn char_keys(text: &str) -> Vec<KeyEvent> {
    text.chars().map(|c| KeyCode::Char(c).into()).collect()
}

#[test]
fn what_is_typed_is_heard() {
    assert_eq!(keys("qä日".as_bytes()), char_keys("qä日"));
    assert_eq!(keys(b"\x1b"), [KeyCode::Esc.into()]);
    assert_eq!(keys(b"\x1b\x1b[A"), [KeyCode::Esc.into(), KeyCode::Up.into()]);
    assert_eq!(keys(b"\x1bx"), [KeyEvent::new(KeyCode::Char('x'), KeyModifiers::ALT)]);
    assert_eq!(keys(b"\x1b\x7f"), [KeyEvent::new(KeyCode::Backspace, KeyModifiers::ALT)]);
    assert_eq!(
        keys(b"\x1bOP\x1bOA\x1b[[A\x9bB\x8fC"),
        [KeyCode::F(1).into(), KeyCode::Up.into(), KeyCode::F(1).into(), KeyCode::Down.into(), KeyCode::Right.into()]
    );
    assert_eq!(
        keys(b"\x03\r\t\n"),
        [
            KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL),
            KeyCode::Enter.into(),
            KeyCode::Tab.into(),
            KeyEvent::new(KeyCode::Char('j'), KeyModifiers::CONTROL)
        ]
    );
}

#[test]
fn answers_of_a_terminal_are_swallowed_whole() {
    for answer in [
        &b"\x1b]11;rgb:1e1e/1e1e/2e2e\x07"[..],
        b"\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\",
        b"\x1b]52;c;bW1tbW0=\x1b\\",
        b"\x9d11;rgb:ffff/ffff/ffff\x9c",
        "\u{9d}l my title\u{9c}".as_bytes(),
        // A letter that has the byte of an 8-bit end in it.
        "\x1b]lĜ mmm\x07".as_bytes(),
        b"\x1bP1$r0m\x1b\\",
        b"\x1bP>|xterm(390)\x1b\\",
        b"\x90+r436f=323536\x9c",
        b"\x1b_Gi=1;OK\x1b\\",
        b"\x1b^private\x1b\\",
        b"\x1bXstring\x1b\\",
        b"\x98m\x9c\x9em\x9c\x9fm\x9c",
        // Aborted.
        b"\x1b]0;mmm\x18",
        b"\x1b]0;mmm\x1a",
        // An ESC that ends nothing; ends that come late; cursor, device, focus, sizes.
        b"\x1b]0;\x1b[A\x1bm\x1b]m\x07",
        b"\x1b\\\x9c\x1b[201~",
        b"\x1b[12;40R\x1b[?62;c\x1b[>41;390;0c\x1b[I\x1b[O\x1b[8;24;80t\x1b[?2026;2$y",
    ] {
        let then: Vec<u8> = [answer, b"q"].concat();
        assert_eq!(keys(&then), char_keys("q"), "{:?}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn what_does_not_end_is_given_up() {
    for begun in
        [&b"\x1b]52;c;mmm"[..], b"\x1bPmmm\x1b", b"\x1b[", b"\x1b[1;", b"\x1bO", b"\x1b[[", b"\x1b[M ", b"\xc3"]
    {
        let now = Instant::now();
        let mut s = Sequences::new(now);
        s.take(begun, now);
        silence(&mut s, now);
        s.take(b"q", now + Duration::from_secs(1));
        let events: Vec<Event> = s.events().collect();
        assert_eq!(events, [Event::Key(KeyCode::Char('q').into())], "{begun:?}");
    }
    // A sequence of any length is none, but it ends where it ends.
    let long = [b"\x1b[", &b"1;"[..].repeat(10_000)[..], b"Aq"].concat();
    assert_eq!(keys(&long), char_keys("q"));
}

#[test]
fn a_paste_is_one_paste() {
    let paste = |text: &str| Event::Paste(text.to_owned());
    assert_eq!(heard(&[b"\x1b[200~m\x1b[A\x03\r\x1b]0;x\x07\x1b[201~"]), [paste("m\x1b[A\x03\r\x1b]0;x\x07")]);
    assert_eq!(heard(&["\x1b[200~ü\x1b\x1b[201~".as_bytes()]), [paste("ü\x1b")]);
    assert_eq!(heard(&[b"\x9b200~m\x9b201~"]), [paste("m")]);
    assert_eq!(heard(&[b"\x1b[200~12\x1b[201~\x1b[200~\x1b[201~"]), [paste("12"), paste("")]);
    // One without an end is over after a silence, and of one that is too long the beginning is kept.
    assert_eq!(heard(&[b"\x1b[200~12"]), [paste("12")]);
    let long = [&b"\x1b[200~"[..], &b"m".repeat(10 << 20), b"\x1b[201~"].concat();
    let [Event::Paste(text)] = &heard(&[&long])[..] else { panic!("not one paste") };
    assert!(text.len() <= PASTE && text.bytes().all(|b| b == b'm'));
}

#[test]
fn ctrl_c_is_heard_in_a_paste_or_a_string_that_does_not_end() {
    let ctrl_c = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    for begun in [&b"\x1b[200~abc"[..], b"\x1b]52;c;abc", b"\x1b[200~abc\x1b[20"] {
        let mut now = Instant::now();
        let mut s = Sequences::new(now);
        s.take(begun, now);
        now += Duration::from_millis(10);
        s.pass(now);
        s.take(b"\x03", now);
        s.pass(now + TYPED);
        assert_eq!(s.events().collect::<Vec<_>>(), std::slice::from_ref(&ctrl_c), "{begun:?}");
        s.take(b"q", now + TYPED);
        assert_eq!(s.events().collect::<Vec<_>>(), [Event::Key(KeyCode::Char('q').into())]);
    }
}

#[test]
fn keys_pressed_again_and_again_get_through_in_the_end() {
    // A person who presses a key each 300 ms leaves no silence of 700 ms.
    for begun in [&b"\x1b]0;"[..], b"\x1b[200~"] {
        let mut now = Instant::now();
        let mut s = Sequences::new(now);
        s.take(begun, now);
        let mut presses = 0;
        while !s.events().any(|e| e == Event::Key(KeyCode::Char('q').into())) {
            now += Duration::from_millis(300);
            s.pass(now);
            s.take(b"q", now);
            presses += 1;
            assert!(presses < 25, "{begun:?}");
        }
    }
}

fn introducer() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![
        b"\x1b]".to_vec(),
        b"\x1bP".to_vec(),
        b"\x1b_".to_vec(),
        b"\x1b^".to_vec(),
        b"\x1bX".to_vec(),
        b"\x9d".to_vec(),
        b"\x90".to_vec(),
        b"\x9f".to_vec(),
        b"\x9e".to_vec(),
        b"\x98".to_vec(),
        "\u{9d}".as_bytes().to_vec(),
    ])
}

fn terminator() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![
        b"\x07".to_vec(),
        b"\x1b\\".to_vec(),
        b"\x9c".to_vec(),
        "\u{9c}".as_bytes().to_vec(),
        b"\x18".to_vec(),
        b"\x1a".to_vec(),
    ])
}

/// Bytes as they come: of sequences, of characters, of anything.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::sample::select(vec![
            &b"\x1b"[..],
            b"\x1b[",
            b"\x1b[200~",
            b"\x1b[201~",
            b"\x1b]",
            b"\x1b\\",
            b"\x1bO",
            b"\x1b[M",
            b"\x1b[[",
            b"\x1b[<0;5;5M",
            b"\x1b[1;5A",
            b"\x07",
            b"\x18",
            b"\x03",
            b"m",
            b"\x9d",
            b"\x9c",
            b"\x9b",
            b"\xc2",
            b"\xf0\x9f",
        ])
        .prop_map(<[u8]>::to_vec),
        "\\PC{0,4}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn bytes_in_parts_say_what_they_say_at_once(bytes in garbage(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        at.sort_unstable();
        let mut parts = Vec::new();
        let mut from = 0;
        for to in at.into_iter().chain([bytes.len()]) {
            parts.push(&bytes[from..to]);
            from = to;
        }
        prop_assert_eq!(heard(&parts), heard(&[&bytes]));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(heard(&single), heard(&[&bytes]));
    }

    #[test]
    fn no_part_of_a_string_is_a_key(begin in introducer(), content in garbage(), end in terminator(), ends: bool) {
        // Whole characters, so that the end's first byte is not taken for the rest of one.
        let mut content: String = String::from_utf8_lossy(&content).into_owned();
        content.retain(|c| !matches!(c, BELL | CAN | SUB | ST));
        let content = content.replace("\x1b\\", "");
        prop_assume!(!content.contains("\x1b\\") && !content.ends_with(['\x03', '\x1b']));
        let mut bytes = [begin, content.into_bytes()].concat();
        if ends {
            bytes.extend(end);
        }
        prop_assert_eq!(heard(&[&bytes]), []);
    }

    #[test]
    fn after_any_garbage_and_a_second_a_key_is_itself(bytes in garbage()) {
        let now = Instant::now();
        let mut s = Sequences::new(now);
        s.take(&bytes, now);
        silence(&mut s, now);
        s.events().for_each(drop);
        s.take(b"q", now + Duration::from_secs(1));
        prop_assert_eq!(s.events().collect::<Vec<_>>(), [Event::Key(KeyCode::Char('q').into())]);
    }

    #[test]
    fn a_paste_holds_whatever_was_pasted(content in garbage()) {
        let text = String::from_utf8_lossy(&content).replace("\x1b[201~", "").replace("\u{9b}201~", "");
        prop_assume!(!text.contains("\x1b[201~") && !text.contains("\u{9b}201~"));
        let bytes = format!("\x1b[200~{text}\x1b[201~");
        prop_assert_eq!(heard(&[bytes.as_bytes()]), [Event::Paste(text)]);
    }
}
