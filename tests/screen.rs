//! `blackout`, `blackout lab` and `blackout replay` as a person has them: in a terminal, by their keys.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use blackout::event::{AgentEvent, Body, Event, LoadSettings, MigrationEnd, MigrationEvent, OperatorEvent};
use common::{BLACKOUT, Place, events, eventually, lab_is_possible, one_lab_at_a_time, run};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};
use vt100::MouseProtocolMode;

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const END_KEY: &str = "\x1b[F";
const CURSOR_BACK: &str = ",";

/// The program in a terminal of its own; it ends with the test.
struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    shown: Arc<Mutex<Vec<u8>>>,
    modes: String,
    // Our end stays open until the modes have been compared: a terminal nobody has open has none.
    _slave: Box<dyn SlavePty + Send>,
}

impl Terminal {
    fn start(place: &Place, args: &str) -> Self {
        Self::start_with(place, args, &[])
    }

    fn start_with(place: &Place, args: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_sized(place, args, environment, (120, 40))
    }

    fn start_sized(place: &Place, args: &str, environment: &[(&str, &str)], (cols, rows): (u16, u16)) -> Self {
        let size = PtySize { rows, cols, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(BLACKOUT);
        command.args(args.split_whitespace());
        command.env("TERM", "xterm-256color");
        place.environment().iter().for_each(|(name, value)| command.env(name, value));
        environment.iter().for_each(|(name, value)| command.env(name, value));
        let modes = modes(&*pty.master);
        let child = pty.slave.spawn_command(command).unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // The terminal answers with an error once nobody has it open any more.
            while let Ok(n @ 1..) = reader.read(&mut chunk) {
                into.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        });
        let keys = pty.master.take_writer().unwrap();
        Self { child, master: pty.master, keys, shown, modes, _slave: pty.slave }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// The terminal as a person sees it.
    fn seen(&self) -> vt100::Parser {
        let mut terminal = vt100::Parser::new(40.try_into().unwrap(), 120.try_into().unwrap(), 0);
        terminal.process(&self.shown.lock().unwrap());
        terminal
    }

    /// What stands on it.
    fn shows(&self, text: &str) -> bool {
        self.seen().screen().contents().contains(text)
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until `done`, while the program runs.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        eventually(what, || {
            let is = done(self);
            if !is && let Some(status) = self.child.try_wait().unwrap() {
                panic!("{what}: it ended too early with {status:?}:\n{}", self.text());
            }
            is
        });
    }

    /// Waits for its end; the terminal must have been given back. Returns the exit code, and what
    /// stands on the normal screen.
    fn end(&mut self) -> (u32, String) {
        self.end_after(1)
    }

    /// The same after so many screens, one after the other.
    fn end_after(&mut self, screens: usize) -> (u32, String) {
        let mut status = None;
        eventually("the program to end", || {
            status = status.take().or_else(|| self.child.try_wait().unwrap());
            status.is_some()
        });
        assert_eq!(modes(&*self.master), self.modes, "the terminal's modes are not as they were");
        // What it wrote last may still be on its way to us.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let text = self.text();
        assert_eq!(text.matches(ENTER).count(), screens, "{text}");
        assert_eq!(text.matches(LEAVE).count(), screens, "{text}");
        let after = self.seen();
        let screen = after.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is left on");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert!(!screen.bracketed_paste(), "pastes are still marked");
        assert_eq!(screen.mouse_protocol_mode(), MouseProtocolMode::None, "the mouse is still told of");
        (status.unwrap().exit_code(), text[text.find(LEAVE).unwrap()..].to_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn modes(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().expect("a terminal has modes"))
}

fn happened(capture: &Path, mut is: impl FnMut(&Body) -> bool) -> bool {
    events(capture).iter().any(|e: &Event| is(&e.ev))
}

fn acknowledged(capture: &Path, is: impl Fn(&LoadSettings) -> bool) -> bool {
    happened(capture, |body| matches!(body, Body::Agent(AgentEvent::Ack { set, .. }) if is(set)))
}

#[test]
fn a_session_by_keys_and_its_replay() {
    if !lab_is_possible() {
        return;
    }
    let _one = one_lab_at_a_time();
    let place = Place::new();
    let out = place.path("out");
    let args = format!("lab --accel tcg --wset 16M --bandwidth 100M --out {}", out.display());
    let mut screen = Terminal::start(&place, &args);
    let capture = place.capture();

    screen.until("the load of the command line", |_| acknowledged(&capture, |set| set.wset_bytes == 16 << 20));
    // RATE is selected at first: a value is typed for it.
    screen.press("\r1500\r");
    screen.until("the typed RATE", |_| {
        acknowledged(&capture, |set| set.dirty.rate_pages_per_s() == 1500.0 && set.wset_bytes == 16 << 20)
    });
    // Freeze, go back in time, set the cursor, read the help: nothing of it disturbs the session.
    screen.press("f<,,");
    screen.press("?");
    screen.until("the help", |t| t.shows("fire a migration"));
    screen.press("x");
    screen.until("no help", |t| !t.shows("fire a migration"));
    screen.press("m");
    screen.until("the migration", |_| {
        happened(&capture, |body| matches!(body, Body::Migration(MigrationEvent::Settled { n: 1 })))
    });
    let done = |body: &Body| matches!(body, Body::Migration(MigrationEvent::Ended { end: MigrationEnd::Done, .. }));
    assert!(happened(&capture, done), "it did not end well:\n{}", screen.text());
    screen.press("q");
    let (code, after) = screen.end();
    assert_eq!(code, 0, "{after}");
    assert!(!after.contains("panicked at"), "{after}");
    for word in ["a>b", "1,500", "lost-pings", "guest-clock", "capture: "] {
        assert!(after.contains(word), "'{word}' is not on the normal screen: {after}");
    }
    assert!(happened(&capture, |body| *body == Body::Operator(OperatorEvent::Quit)));
    place.nothing_is_left();

    let before = std::fs::metadata(&capture).unwrap().len();
    let mut replay = Terminal::start(&place, &format!("replay --speed 10 {}", out.display()));
    replay.until("a frame", |t| t.text().contains("\x1b[?2026l"));
    replay.press(END_KEY);
    replay.press("2");
    replay.until("the result", |t| t.shows("lost-pings"));
    replay.press(CURSOR_BACK);
    replay.press("q");
    let (code, after) = replay.end();
    assert_eq!(code, 0, "{after}");
    assert!(after.contains("lost-pings") && after.contains("capture: "), "the result is left on the screen: {after}");
    assert_eq!(std::fs::metadata(&capture).unwrap().len(), before, "a replay changes no capture");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    if !lab_is_possible() {
        return;
    }
    let _one = one_lab_at_a_time();
    let place = Place::new();
    let mut screen = Terminal::start(&place, &format!("lab --accel tcg --out {}", place.path("out").display()));
    screen.until("a frame", |t| t.text().contains("\x1b[?2026l"));
    let pid = nix::unistd::Pid::from_raw(screen.child.process_id().unwrap() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let (code, after) = screen.end();
    assert_eq!(code, 2, "{after}");
    assert!(!after.contains("panicked at"), "{after}");
    assert!(after.contains("ended by a signal") && after.contains("capture: "), "{after}");
    place.nothing_is_left();
}

#[test]
#[cfg(debug_assertions)]
fn a_panic_gives_the_terminal_back_and_leaves_nothing_behind() {
    if !lab_is_possible() {
        return;
    }
    let _one = one_lab_at_a_time();
    let place = Place::new();
    let args = format!("lab --accel tcg --out {}", place.path("out").display());
    let mut screen = Terminal::start_with(&place, &args, &[("BLACKOUT_PANIC", "1"), ("RUST_BACKTRACE", "0")]);
    let (code, after) = screen.end();
    assert_ne!(code, 0);
    assert!(
        after.contains("panicked at") && after.contains("BLACKOUT_PANIC is set"),
        "the message is readable: {after}"
    );
    eventually("the QEMUs to end", || place.qemus().is_empty());
    assert!(!events(&place.capture()).is_empty(), "what was recorded is kept");
}

#[test]
fn without_a_command_the_start_screen_opens_and_leaves_everything_as_it_was() {
    let place = Place::new();
    let mut start = Terminal::start_with(&place, "", &[("LANG", "C.UTF-8")]);
    start.until("what is offered", |t| {
        ["d demo", "l lab", "a attach", "w watch", "r replay", "q quit"].iter().all(|offer| t.shows(offer))
    });
    start.until("the sessions to be looked for", |t| t.shows("none yet in"));
    // What is typed into a form is no key, and what will not do is told there.
    start.press("a/no/such/socket\r/no/other\rtcp:127.0.0.1:4444\r\r\r\r");
    start.until("the fault", |t| t.shows("/no/such/socket: No such file or directory"));
    start.press("\x1b");
    start.until("the list", |t| t.shows("RECENT SESSIONS"));
    start.press("q");
    let (code, after) = start.end();
    assert_eq!(code, 0, "{after}");
    assert!(!after.contains("blackout") && !after.contains("panicked at"), "nothing is left to say: {after}");
    assert!(!place.path("blackout/sessions").exists(), "nothing was recorded");
}

#[test]
fn a_recent_session_is_one_key_away_and_has_the_persons_settings() {
    let place = Place::new();
    let session = place.path("blackout/sessions/20261122T194500Z-jump");
    std::fs::create_dir_all(&session).unwrap();
    // A compressed capture tells itself what it is.
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/over-the-jump.jsonl.gz");
    std::fs::copy(fixture, session.join("capture.jsonl")).unwrap();
    place.file("blackout/config.toml", "markers = \"ascii\"\n");
    let mut start = Terminal::start_with(&place, "", &[("LANG", "C.UTF-8")]);
    start.until("the session and its worst downtime", |t| t.shows("worst reply-gap") && t.shows("2.95 s"));
    assert!(start.seen().screen().contents().is_ascii(), "the settings count for the start screen");
    start.press("1");
    start.until("the replay", |t| t.shows("REPLAY"));
    start.press(END_KEY);
    start.press("2");
    start.until("the result", |t| t.shows("lost-pings"));
    assert!(start.seen().screen().contents().is_ascii(), "and for the session begun from it");
    start.press("q");
    let (code, after) = start.end_after(2);
    assert_eq!(code, 0, "{after}");
    let told = format!("$ blackout replay {}", session.display());
    assert!(after.contains(&told) && after.contains("capture: ") && after.contains("reply-gap"), "{after}");
}

/// The demo, once its guest runs and a migration could be fired.
fn demo(place: &Place) -> (Terminal, std::path::PathBuf) {
    let out = place.path("out");
    let mut screen = Terminal::start(place, &format!("demo --out {}", out.display()));
    let capture = place.capture();
    screen.until("the guest", |_| happened(&capture, |body| matches!(body, Body::Agent(AgentEvent::Ack { .. }))));
    screen.until("a frame", |t| t.shows("m migrate") || t.shows("MIGRATION"));
    (screen, capture)
}

#[test]
fn what_a_terminal_answers_is_no_key() {
    let place = Place::new();
    let (mut screen, capture) = demo(&place);
    for answer in [
        "\x1b]11;rgb:1e1e/1e1e/2e2e\x1b\\",
        "\x1b]52;c;bW1tbW1tbQ==mmm\x07",
        "\x1bP1$r0mmq\x1b\\",
        "\x1b_Gi=31;OKmq\x1b\\",
        "\x1b^mq\x1b\\\x1bXmq\x1b\\",
    ] {
        // In three parts, as a slow line delivers them.
        for part in answer.as_bytes().chunks(answer.len().div_ceil(3)) {
            screen.keys.write_all(part).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    for bytes in [&b"\x9d52;c;mq\x9c"[..], b"\x90mq\x9c", b"\x1b]0;mq\x18", b"\x1b]0;mq without an end"] {
        screen.keys.write_all(bytes).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(1_000));
    // What is typed afterwards is heard again.
    screen.press("?");
    screen.until("the help", |t| t.shows("fire a migration"));
    screen.press("xq");
    let (code, after) = screen.end();
    assert_eq!(code, 0, "{after}");
    assert!(
        !happened(&capture, |body| matches!(body, Body::Operator(OperatorEvent::Migrate))),
        "a migration was fired"
    );
}

#[test]
fn a_paste_that_never_ends_keeps_neither_ctrl_c_nor_any_other_key() {
    let place = Place::new();
    for (wait_ms, key, fires) in [(100, "\x03", false), (1_000, "q", false), (1_000, "\x03", true)] {
        let (mut screen, capture) = demo(&place);
        screen.press("\x1b[200~mmmm");
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        if fires {
            screen.press("m");
            screen.until("the migration", |_| {
                happened(&capture, |body| matches!(body, Body::Operator(OperatorEvent::Migrate)))
            });
        }
        screen.press(key);
        let (code, after) = screen.end();
        assert!(fires || code == 0, "{code}: {after}");
        let fired = happened(&capture, |body| matches!(body, Body::Operator(OperatorEvent::Migrate)));
        assert_eq!(fired, fires);
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
}

#[test]
fn a_terminal_that_does_not_know_its_size_is_drawn_on() {
    let place = Place::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/over-the-jump.jsonl.gz");
    let args = format!("replay {}", fixture.display());
    let mut screen = Terminal::start_sized(&place, &args, &[], (0, 0));
    screen.until("a frame", |t| t.shows("REPLAY") && t.shows("DIRTY"));
    // Once it has a size, that counts.
    screen.master.resize(PtySize { rows: 8, cols: 29, pixel_width: 0, pixel_height: 0 }).unwrap();
    screen.until("the new size", |t| t.text().contains("29x8"));
    screen.press("q");
    assert_eq!(screen.end().0, 0);
}

#[test]
fn a_word_of_a_megabyte_keeps_neither_a_key_nor_a_signal() {
    let place = Place::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/below-the-jump.jsonl.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(fixture).unwrap()).read_to_string(&mut text).unwrap();
    let header = text.lines().next().unwrap();
    // A record of more than 1 MiB is not read.
    let word = "x".repeat(1_000_000);
    let said = |t| Event {
        t,
        of: None,
        ev: Body::Log(blackout::event::LogEvent {
            level: blackout::event::Level::Error,
            from: "x".into(),
            text: word.clone(),
        }),
    };
    let lines = (1..5).map(|t| serde_json::to_string(&said(t * 1_000_000)).unwrap() + "\n");
    let capture = place.file("capture.jsonl", format!("{header}\n{}", lines.collect::<String>()));
    for end in ["q", "\x03", ""] {
        let mut screen = Terminal::start(&place, &format!("replay {}", capture.display()));
        screen.until("a frame", |t| t.shows("LOG") && t.shows("xxxxxxxx"));
        screen.press("4");
        let begun = std::time::Instant::now();
        if end.is_empty() {
            let pid = nix::unistd::Pid::from_raw(screen.child.process_id().unwrap() as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        }
        screen.press(end);
        screen.end();
        assert!(begun.elapsed().as_secs() < 5, "{end:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn without_a_terminal_the_help_is_printed() {
    let place = Place::new();
    let help = run(place.blackout::<&str>([])).ended_with(0);
    assert!(help.out.contains("blackout demo") && help.out.contains("SIMULATED"), "{help}");
    assert!(!help.out.contains(ENTER) && help.err.is_empty(), "{help}");
    // Nor is a screen for one that knows no more than lines.
    let mut dumb = Terminal::start_with(&place, "", &[("TERM", "dumb")]);
    let mut status = None;
    eventually("the help to be printed", || {
        status = status.take().or_else(|| dumb.child.try_wait().unwrap());
        status.is_some() && dumb.text().contains("Next:")
    });
    assert!(!dumb.text().contains(ENTER));
}

#[test]
fn files_of_keys_and_settings_are_checked_and_told_of() {
    let place = Place::new();
    let keys = place.file("keys.toml", "migrate = \"x\"\n");
    let keys = keys.to_str().unwrap();
    let clash = "'x' would mean both migrate (line 1) and mark (built in)";
    run(place.blackout(["keys", "--keymap", keys])).ended_with(2).said(&[keys, clash]);
    let config = place.file("config.toml", format!("fps = 5\nkeymap = \"{keys}\"\n"));
    let config = config.to_str().unwrap();
    run(place.blackout(["config", "--check", "--config", config])).ended_with(2).said(&[clash]);
    let wrong = place.file("wrong.toml", "fps = 5\nthem = \"dark\"\n");
    let told = ["line 2", "unknown key 'them'; did you mean 'theme'?"];
    run(place.blackout(["lab", "--headless", "--config", wrong.to_str().unwrap()])).ended_with(2).said(&told);
    // The person's own file is found where it belongs; what it has no part in works in spite of it.
    std::fs::create_dir(place.path("blackout")).unwrap();
    place.file("blackout/config.toml", "fps = 500\n");
    run(place.blackout(["config", "--check"])).ended_with(2).said(&["line 1: fps = 500"]);
    run(place.blackout(["completions", "bash"])).ended_with(0);
    place.file("blackout/config.toml", "fps = 12\n");
    let help = run(place.blackout(["lab", "--help"])).ended_with(0);
    assert!(help.out.contains("[default: 12]"), "{help}");
}
