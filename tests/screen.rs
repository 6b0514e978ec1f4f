//! `blackout lab` and `blackout replay` as a person has them: in a terminal, by their keys.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use blackout::event::{AgentEvent, Body, Event, LoadSettings, MigrationEnd, MigrationEvent, OperatorEvent};
use common::{BLACKOUT, Place, events, eventually, lab_is_possible, one_lab_at_a_time};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, SlavePty, native_pty_system};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const END_KEY: &str = "\x1b[F";
const REDRAW: &str = "\x0c";

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
        let size = PtySize { rows: 40, cols: 120, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(BLACKOUT);
        command.args(args.split_whitespace());
        command.env("TERM", "xterm-256color");
        place.environment().iter().for_each(|(name, value)| command.env(name, value));
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
        let mut status = None;
        eventually("the program to end", || {
            status = status.take().or_else(|| self.child.try_wait().unwrap());
            status.is_some()
        });
        assert_eq!(modes(&*self.master), self.modes, "the terminal's modes are not as they were");
        // What it wrote last may still be on its way to us.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let text = self.text();
        assert!(!text.contains("panicked at"), "{text}");
        assert_eq!(text.matches(ENTER).count(), 1, "{text}");
        assert_eq!(text.matches(LEAVE).count(), 1, "{text}");
        assert!(text.rfind(SHOW_CURSOR) > text.find(ENTER), "the cursor is hidden");
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
    screen.press("m");
    screen.until("the migration", |_| {
        happened(&capture, |body| matches!(body, Body::Migration(MigrationEvent::Settled { n: 1 })))
    });
    let done = |body: &Body| matches!(body, Body::Migration(MigrationEvent::Ended { end: MigrationEnd::Done, .. }));
    assert!(happened(&capture, done), "it did not end well:\n{}", screen.text());
    screen.press("q");
    let (code, after) = screen.end();
    assert_eq!(code, 0, "{after}");
    for word in ["a>b", "1,500", "lost-pings", "guest-clock", "capture: "] {
        assert!(after.contains(word), "'{word}' is not on the normal screen: {after}");
    }
    assert!(happened(&capture, |body| *body == Body::Operator(OperatorEvent::Quit)));
    place.nothing_is_left();

    let before = std::fs::metadata(&capture).unwrap().len();
    let mut replay = Terminal::start(&place, &format!("replay --speed 10 {}", out.display()));
    replay.until("a frame", |t| t.text().contains("\x1b[?2026l"));
    replay.press(END_KEY);
    // Drawn anew, what is on the screen comes in one piece.
    replay.press("2");
    replay.press(REDRAW);
    replay.until("the result", |t| t.text().contains("lost-pings"));
    replay.press("q");
    assert_eq!(replay.end().0, 0);
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
    assert!(after.contains("ended by a signal") && after.contains("capture: "), "{after}");
    place.nothing_is_left();
}
