//! The screen on a real terminal: whatever ends it, the terminal is given back.

use std::io::{Read, Write};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const BEGIN_FRAME: &str = "\x1b[?2026h";
const END_FRAME: &str = "\x1b[?2026l";

/// Runs the screen in a pseudo-terminal; `act` is called once the first frame is there, with a
/// writer to type on and the process. Returns everything written to the terminal, and success.
fn on_a_terminal(panics: bool, act: impl FnOnce(&mut dyn Write, Pid)) -> (String, bool) {
    let pty = native_pty_system()
        .openpty(PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 })
        .expect("this machine has pseudo-terminals");
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    command.args(["--exact", "tui::tests::look_at_it", "--ignored", "--nocapture"]);
    command.env("RUST_BACKTRACE", "0");
    if panics {
        command.env("PANIC", "1");
    }
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let mut reader = pty.master.try_clone_reader().unwrap();
    let mut writer = pty.master.take_writer().unwrap();
    let pid = Pid::from_raw(child.process_id().unwrap() as i32);
    let mut seen = Vec::new();
    let mut act = Some(act);
    let mut chunk = [0; 4096];
    // The terminal answers with an error once the process is gone.
    while let Ok(n) = reader.read(&mut chunk) {
        if n == 0 {
            break;
        }
        seen.extend_from_slice(&chunk[..n]);
        let first_frame = String::from_utf8_lossy(&seen).contains(END_FRAME);
        if first_frame && let Some(act) = act.take() {
            act(&mut writer, pid);
        }
    }
    let status = child.wait().unwrap();
    (String::from_utf8_lossy(&seen).into_owned(), status.success())
}

fn given_back(text: &str) {
    let left = text.rfind(LEAVE).expect("the alternate screen is left");
    assert!(text.find(ENTER).expect("the alternate screen is entered") < left);
    assert_eq!(text.matches(LEAVE).count(), 1);
    assert!(text.rfind(SHOW_CURSOR).expect("the cursor is shown") > text.find(ENTER).unwrap());
    assert!(text.rfind(BEGIN_FRAME).unwrap() < text.rfind(END_FRAME).unwrap(), "no frame is left open");
}

#[test]
fn a_key_changes_the_load_and_another_quits() {
    let (text, ok) = on_a_terminal(false, |keys, _| keys.write_all(b"lq").unwrap());
    given_back(&text);
    assert!(ok && text.contains("reason: Quit"), "{text:?}");
}

#[test]
fn sigterm_gives_the_terminal_back() {
    let (text, ok) = on_a_terminal(false, |_, pid| kill(pid, Signal::SIGTERM).unwrap());
    given_back(&text);
    assert!(ok && text.contains("reason: Signal"), "{text:?}");
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_speaks() {
    let (text, ok) = on_a_terminal(true, |_, _| {});
    given_back(&text);
    assert!(!ok);
    assert!(text.find("the feed breaks").unwrap() > text.rfind(LEAVE).unwrap(), "the message is readable");
}
