//! What strangers can send, changed at random: no byte of it may panic, hang or take memory without bound.
//!
//! Each target has a corpus of what is right, which is cut, spliced and changed. The ordinary run of the tests
//! takes some hundred of each; a long run is
//!
//! ```text
//! PROPTEST_CASES=1000000 cargo test --release --lib fuzz::
//! ```
//!
//! What fails is made small and kept in `proptest-regressions/`, and is tried first from then on.

use std::io::Cursor;
use std::path::PathBuf;

use proptest::prelude::*;

use crate::agent::protocol::{Decoder, ToAgent, ToController, decode, decode_first, encode, frame};
use crate::event::{Event, Header, HostFacts, LoadSettings, SCHEMA_MAJOR, SCHEMA_MINOR, Versions};
use crate::session::{Reader, State, result};

/// What formats are made of: pieces that mean something in one of them.
const PIECES: &[&[u8]] = &[
    b"",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\u",
    b":",
    b",",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"9".as_slice(),
    b"\x1b",
    b"\x1b[",
    b"\x1b]",
    b"\x1bP",
    b"\x1b\\",
    b"\x07",
    b"\x9b",
    b"\x1b[200~",
    b"\x1b[201~",
    b"\x1b[<0;1;1M",
    b"=",
    b"[[",
    b"]]",
    b"\"\"\"",
    b"#",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\xc3",
    b"\xf4\x8f\xbf\xbf",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
];

/// One change of a byte string.
#[derive(Debug, Clone)]
enum Change {
    Flip(usize, u8),
    Cut(usize, usize),
    Insert(usize, usize),
    Repeat(usize, usize, u8),
    Swap(usize, usize),
    End(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(i, byte)| Change::Flip(i, byte)),
        2 => (at(), 1_usize..40).prop_map(|(i, n)| Change::Cut(i, n)),
        4 => (at(), at()).prop_map(|(i, piece)| Change::Insert(i, piece)),
        2 => (at(), 1_usize..30, any::<u8>()).prop_map(|(i, n, times)| Change::Repeat(i, n, times)),
        1 => (at(), at()).prop_map(|(i, j)| Change::Swap(i, j)),
        1 => at().prop_map(Change::End),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let len = bytes.len().max(1);
        match *change {
            Change::Flip(i, byte) => bytes.get_mut(i % len).into_iter().for_each(|b| *b = byte),
            Change::Cut(i, n) => {
                let from = (i % len).min(bytes.len());
                bytes.drain(from..(from + n).min(bytes.len()));
            }
            Change::Insert(i, piece) => {
                let at = i % (bytes.len() + 1);
                bytes.splice(at..at, PIECES[piece % PIECES.len()].iter().copied());
            }
            Change::Repeat(i, n, times) => {
                let from = (i % len).min(bytes.len());
                let part = bytes[from..(from + n).min(bytes.len())].repeat(usize::from(times));
                bytes.splice(from..from, part);
            }
            Change::Swap(i, j) if !bytes.is_empty() => bytes.swap(i % len, j % len),
            Change::Swap(..) => {}
            Change::End(at) => bytes.truncate(at % (len + 1)),
        }
    }
    bytes
}

/// One of the corpus with some changes; now and then something else altogether.
fn hostile(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => (proptest::sample::select(corpus), proptest::collection::vec(change(), 1..8))
            .prop_map(|(bytes, changes)| changed(bytes, &changes)),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

fn texts(items: &[&str]) -> Vec<Vec<u8>> {
    items.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn header() -> Header {
    Header {
        schema_major: SCHEMA_MAJOR,
        schema_minor: SCHEMA_MINOR,
        name: "fuzz".into(),
        wall_origin_unix_ns: 1,
        versions: Versions::default(),
        host: HostFacts::default(),
        settings: serde_json::json!({"command": "lab"}).into(),
        seed: 1,
        simulated: false,
    }
}

/// Captures with a migration, a probe and all kinds of records.
fn captures() -> Vec<Vec<u8>> {
    let head = serde_json::to_string(&header()).unwrap_or_default();
    let records = include_str!("fuzz/records.jsonl");
    let lines: Vec<&str> = records.lines().collect();
    let mut all: Vec<Vec<u8>> = lines.iter().map(|line| format!("{head}\n{line}\n").into_bytes()).collect();
    all.push(format!("{head}\n{records}").into_bytes());
    all
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn captures_are_read_shown_and_played(bytes in hostile(captures())) {
        if let Ok(mut reader) = Reader::new(PathBuf::from("fuzz"), Cursor::new(bytes)) {
            let mut wrong = 0;
            let state = reader.read_state(|_| wrong += 1);
            let results = result::result(&state);
            let shown = result::head(&state, result::Read::Whole) + &result::text(&results, 80);
            prop_assert!(!shown.chars().any(|c| c != '\n' && crate::text::is_hidden(c)), "{shown:?}");
            prop_assert!(serde_json::to_string(&results).is_ok());
        }
    }

    #[test]
    fn records_are_folded_in_any_order(
        records in proptest::collection::vec((0_usize..1000, proptest::collection::vec(change(), 0..3)), 1..40),
    ) {
        let lines: Vec<&str> = include_str!("fuzz/records.jsonl").lines().collect();
        let mut state = State::begin(header());
        for (i, changes) in records {
            let line = changed(lines[i % lines.len()].as_bytes().to_vec(), &changes);
            if let Ok(event) = serde_json::from_slice::<Event>(&line) {
                state.apply(&event);
            }
        }
        let results = result::result(&state);
        let shown = result::head(&state, result::Read::Whole) + &result::text(&results, 80);
        prop_assert!(!shown.chars().any(|c| c != '\n' && crate::text::is_hidden(c)), "{shown:?}");
    }

    #[test]
    fn frames_of_an_agent(bytes in hostile(agent_frames()), cut in any::<usize>()) {
        let mut decoder = Decoder::default();
        let cut = cut % (bytes.len() + 1);
        for part in [&bytes[..cut], &bytes[cut..]] {
            decoder.feed(part);
            while let Ok(Some(message)) = decoder.next_message() {
                let _ = decode::<ToController>(&message);
                let _ = decode_first::<ToController>(&message);
                let _ = decode::<ToAgent>(&message);
                let _ = decode_first::<ToAgent>(&message);
            }
        }
    }

    #[test]
    fn messages_of_a_monitor(bytes in hostile(texts(&[
        "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \"major\": 10}, \"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n",
        "{\"return\": {\"status\": \"active\", \"ram\": {\"total\": 1, \"remaining\": 2, \"mbps\": 3.5, \"dirty-sync-count\": 4}}, \"id\": 7}\r\n",
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 8}\r\n",
        "{\"timestamp\": {\"seconds\": 1795380977, \"microseconds\": 354870}, \"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\r\n",
        "{\"timestamp\": {\"seconds\": -1, \"microseconds\": -1}, \"event\": \"STOP\"}\r\n",
    ]))) {
        crate::hypervisor::qmp::fuzz(&bytes);
    }

    #[test]
    fn themes(bytes in hostile(texts(&[crate::tui::theme::DARK, crate::tui::theme::LIGHT,
        "base = \"dark\"\nabout = \"x\"\n[style]\nmuted = \"#404040\"\nwarning = { fg = \"red\", bold = true }\n"])))
    {
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = crate::tui::theme::Theme::parse("fuzz", &text);
        }
    }

    #[test]
    fn files_of_keys(bytes in hostile(vec![
        crate::tui::keys::template(&crate::tui::keys::Keymap::default()).into_bytes(),
        b"migrate = [\"m\", \"Ctrl-x\"]\ncancel = \"F1\"\n".to_vec(),
    ])) {
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = crate::tui::keys::Keymap::parse("fuzz", &text);
        }
    }

    #[test]
    fn what_a_terminal_sends(bytes in hostile(texts(&[
        "q\x1b[A\x1bOP\x1bx\x1b[200~pasted\x1b[201~m", "\x1b]11;rgb:0000/0000/0000\x1b\\m", "\x1b[<0;10;20M\x1b[<0;10;20m",
        "\x1bP1$r0m\x1b\\\x1b_x\x1b\\\x1b^y\x07\x1bXz\x1b\\", "\x1b[M !!\x1b[27;5;99~\x1b[99;5u", "äöü日本\u{9b}A\u{90}x\u{9c}",
    ])), cut in any::<usize>()) {
        crate::tui::fuzz_terminal(&bytes, cut % (bytes.len() + 1));
    }

    #[test]
    fn what_a_web_server_answers(bytes in hostile(texts(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 503 Busy\r\n\r\n",
        "http://[::1]:81/a?b=c=200..299,interval=1s,from=eth0", "tcp:web:443,deadline=500ms,refused-is-ok,primary",
    ]))) {
        crate::probe::fuzz(&bytes, None);
    }

    #[test]
    fn icmp_messages(bytes in hostile(icmp()), from in any::<Option<u32>>()) {
        crate::probe::fuzz(&bytes, from);
    }
}

proptest! {
    // Each value is checked by the whole command line, which takes its time.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.div_ceil(8), ..ProptestConfig::default() })]

    #[test]
    fn files_of_settings(bytes in hostile(texts(&[
        "theme = \"dark\"\nfps = 10\nmouse = false\nping_interval = \"50ms\"\n[lab]\nmemory = \"256M\"\ncpus = 1\n",
        "slow = true\nmarkers = \"ascii\"\nkeymap = \"/x\"\n", "[lab]\nkernel = \"/boot\"\naccel = \"tcg\"\n",
    ]))) {
        if let Ok(text) = String::from_utf8(bytes) {
            crate::cli::fuzz_settings(&text);
        }
    }
}

fn agent_frames() -> Vec<Vec<u8>> {
    let framed = |bytes: Result<Vec<u8>, _>| {
        frame(&bytes.unwrap_or_else(|e: crate::agent::protocol::ProtocolError| panic!("{e}")))
    };
    vec![
        framed(encode(&ToController::Refused { id: 3, why: "no".into() })),
        framed(encode(&ToController::Ack { id: 3, set: LoadSettings::default() })),
        framed(encode(&ToController::Pong { n: 9 })),
        framed(encode(&ToController::Bye { why: "bye".into() })),
        framed(encode(&ToAgent::Set { id: 1, settings: LoadSettings::default() })),
        framed(encode(&ToAgent::Ping { n: 1 })),
        frame(br#"{"type":"hello","protocol":99,"version":"9.9","new":"field"}"#),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
    ]
}

fn icmp() -> Vec<Vec<u8>> {
    let body = crate::probe::wire::Body { token: 7, k: 3, sent: 5 }.bytes();
    let echo = |kind: u8| [&[kind, 0, 0, 0, 0, 1, 0, 3][..], &body[..]].concat();
    // An error that quotes a request: an IPv4 header before it.
    let ip = [0x45, 0, 0, 60, 0, 0, 0, 0, 64, 1, 0, 0, 127, 0, 0, 1, 192, 0, 2, 1];
    let error = |kind: u8| [&[kind, 1, 0, 0, 0, 0, 0, 0][..], &ip[..], &echo(8)[..]].concat();
    vec![echo(0), echo(8), echo(129), [&ip[..], &echo(0)[..]].concat(), error(3), error(11), error(4)]
}
