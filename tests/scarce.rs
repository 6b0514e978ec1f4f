//! Few threads, few open files: every command says which limit is too low and ends, at once.
//!
//! `BLACKOUT=/path/to/blackout` tries another build.

use std::process::Command;
use std::time::{Duration, Instant};

/// Each command, and whether it needs more than next to nothing.
const COMMANDS: [(&str, bool); 11] = [
    ("demo --headless --warm-up 100ms", true),
    ("watch 127.0.0.1", true),
    ("ping 127.0.0.1 --count 2", true),
    ("show /nonexistent", false),
    ("replay /nonexistent", true),
    ("lab --headless", true),
    ("migrate --headless --source unix:/nonexistent --dest unix:/nonexistent --uri tcp:127.0.0.1:1", true),
    ("agent --listen 127.0.0.1:0 --psk-file /dev/null", true),
    ("load --load 1 --duration 300ms", true),
    // Says what it finds even so.
    ("doctor", false),
    ("themes", false),
];

/// Runs a command under limits that `wrap` sets. Exit code, what it said, how long it took.
fn run(wrap: &[&str], command: &str) -> (Option<i32>, String, Duration) {
    let blackout = std::env::var("BLACKOUT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_blackout").into());
    let out = tempfile::tempdir().expect("a folder");
    let begun = Instant::now();
    let mut words = vec!["-s", "KILL", "20"];
    words.extend(wrap);
    words.push(&blackout);
    words.extend(command.split(' '));
    let output = Command::new("timeout")
        .args(words)
        .env("XDG_STATE_HOME", out.path())
        .env("HOME", out.path())
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("timeout runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned(), begun.elapsed())
}

fn tried(wrap: &[&str], limit: &str) {
    let mut wrong = Vec::new();
    for (command, needs) in COMMANDS {
        let (code, said, took) = run(wrap, command);
        let panicked = said.contains("panicked") || said.contains("RUST_BACKTRACE");
        let told = !needs || (code == Some(2) && said.contains(limit));
        if panicked || !told || took > Duration::from_secs(15) || code.is_none_or(|c| c > 3) {
            wrong.push(format!("{command}: {code:?} after {took:?}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn eight_descriptors_are_too_few_and_named() {
    tried(&["prlimit", "--nofile=8:8"], "ulimit -n");
}

#[test]
fn two_threads_are_too_few_and_named() {
    if !nix::unistd::getuid().is_root() {
        eprintln!("skipped: only root can become a user that has no other processes");
        return;
    }
    // For root itself the limit does not hold.
    tried(&["prlimit", "--nproc=2:2", "setpriv", "--reuid", "65531", "--clear-groups"], "ulimit -u");
}
