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

fn size() -> PtySize {
    PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 }
}

/// The command that shows the screen over a fixture.
fn look() -> Vec<String> {
    let exe = std::env::current_exe().unwrap().display().to_string();
    [&exe, "--exact", "tui::tests::look_at_it", "--ignored", "--nocapture"].map(String::from).to_vec()
}

/// Runs the screen in a pseudo-terminal; `act` is called once the first frame is there, with a
/// writer to type on and the process. Returns everything written to the terminal, and success.
fn on_a_terminal(panics: bool, act: impl FnOnce(&mut dyn Write, Pid)) -> (String, bool) {
    let pty = native_pty_system().openpty(size()).expect("this machine has pseudo-terminals");
    let mut command = CommandBuilder::from_argv(look().into_iter().map(Into::into).collect());
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
    no_mode_is_left_on(text);
    assert!(text.rfind(BEGIN_FRAME).unwrap() < text.rfind(END_FRAME).unwrap(), "no frame is left open");
}

fn no_mode_is_left_on(text: &str) {
    let mut terminal = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0);
    terminal.process(text.as_bytes());
    let screen = terminal.screen();
    assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste(), "{text:?}");
    assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
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
fn half_an_escape_sequence_keeps_neither_the_picture_nor_a_signal() {
    // What Alt-[ sends is the beginning of something longer, which never comes.
    let (text, ok) = on_a_terminal(false, |keys, pid| {
        keys.write_all(b"\x1b[").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        kill(pid, Signal::SIGTERM).unwrap();
    });
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

#[test]
fn a_stopped_job_leaves_the_terminal_to_the_shell_and_takes_it_again() {
    // Job control needs a shell: it is told of the stop, has the terminal meanwhile, and gives it back.
    let pty = native_pty_system().openpty(size()).expect("this machine has pseudo-terminals");
    let look = look().iter().map(|a| format!("'{a}'")).collect::<Vec<_>>().join(" ");
    let mut command = CommandBuilder::new("sh");
    command.args(["-c", &format!("set -m; {look}; echo HE''LD; read go; fg >/dev/null; echo OV''ER $?")]);
    let before = format!("{:?}", pty.master.get_termios());
    let mut child = pty.slave.spawn_command(command).unwrap();
    let mut reader = pty.master.try_clone_reader().unwrap();
    let mut keys = pty.master.take_writer().unwrap();
    let mut seen = String::new();
    let mut held = String::new();
    let mut chunk = [0; 4096];
    let mut asked = 0;
    while !seen.contains("OVER 0") {
        let n = reader.read(&mut chunk).unwrap();
        seen.push_str(&String::from_utf8_lossy(&chunk[..n]));
        match asked {
            0 if seen.contains(END_FRAME) => keys.write_all(b"\x1a").unwrap(),
            1 if seen.contains("HELD") => {
                held = seen.clone();
                assert_eq!(format!("{:?}", pty.master.get_termios()), before, "the shell has its own modes");
                keys.write_all(b"\n").unwrap();
            }
            2 if seen[held.len()..].contains(END_FRAME) => keys.write_all(b"q").unwrap(),
            _ => continue,
        }
        asked += 1;
    }
    assert!(child.wait().unwrap().success());
    given_back(&held);
    assert!(held.find("HELD") > held.find(LEAVE), "{held:?}");
    given_back(&seen[held.len()..]);
    assert!(seen[held.len()..].contains("reason: Quit"), "{seen:?}");
    assert_eq!(format!("{:?}", pty.master.get_termios()), before);
}

#[test]
fn a_terminal_that_takes_nothing_does_not_keep_a_signal_from_ending_it() {
    let pty = native_pty_system().openpty(size()).expect("this machine has pseudo-terminals");
    let command = CommandBuilder::from_argv(look().into_iter().map(Into::into).collect());
    let mut child = pty.slave.spawn_command(command).unwrap();
    let mut keys = pty.master.take_writer().unwrap();
    // Nobody reads. Drawing everything anew again and again fills whatever holds it.
    let pid = Pid::from_raw(child.process_id().unwrap() as i32);
    std::thread::sleep(std::time::Duration::from_millis(500));
    for _ in 0..60 {
        keys.write_all(b"\x0c").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(40));
    }
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success(), "it ends in good order");
}

#[test]
fn a_terminal_that_is_hung_up_ends_it_in_good_order() {
    // Nobody reads what it says then: how it ends is all there is to see.
    for ignored in ["", "trap '' HUP; "] {
        let pty = native_pty_system().openpty(size()).expect("this machine has pseudo-terminals");
        let look = look().iter().map(|a| format!("'{a}'")).collect::<Vec<_>>().join(" ");
        let mut command = CommandBuilder::new("sh");
        command.args(["-c", &format!("{ignored}exec {look}")]);
        let mut child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let mut reader = pty.master.try_clone_reader().unwrap();
        let mut first = [0; 64];
        assert!(reader.read(&mut first).unwrap() > 0);
        drop((reader, pty.master));
        // A program that cannot say its last words may fail for it, but it ends.
        child.wait().unwrap();
    }
}
