//! What a stranger puts in the place of the folder for labs before root starts one: a link to
//! another user's folder, a folder of his own, a FIFO, a lock that he holds.
//!
//! Each attack runs in a mount namespace with a `/tmp` of its own, so it needs root; elsewhere it is
//! skipped and says so. `BLACKOUT=/path/to/blackout` tries another build (not one below `/tmp`, which is not seen then).

use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A user that owns nothing else.
const STRANGER: u32 = 65_533;

/// Runs `attack` (shell) as the stranger and then root's `lab` after it; `check` (shell) is run last.
fn lab_after(attack: &str, check: &str) -> Option<(Output, Duration)> {
    let blackout = std::env::var("BLACKOUT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_blackout").into());
    // A guest that small is refused, but only after the sweep.
    // The victim's folder looks like a dead lab's; process 4194303 is the last there can be.
    let script = format!(
        "mount -t tmpfs -o mode=1777 tmpfs /tmp && mkdir -m 700 -p /tmp/victim/lab-4194303/data && echo kept > /tmp/victim/lab-4194303/data/file \
         && setpriv --reuid {STRANGER} --regid {STRANGER} --clear-groups sh -c '{attack}' || exit 99
         cp '{blackout}' /tmp/blackout-under-test
         timeout -s KILL 30 /tmp/blackout-under-test lab --headless --memory 16M --out /tmp/out 2>&1; code=$?
         {check}
         exit $code"
    );
    if !nix::unistd::getuid().is_root() {
        eprintln!("skipped: only root can become another user and mount a /tmp of its own");
        return None;
    }
    let begun = Instant::now();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .env_remove("XDG_RUNTIME_DIR")
        .env("XDG_STATE_HOME", "/tmp/state")
        .output()
        .expect("unshare runs");
    if output.status.code() == Some(99) || String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        eprintln!("skipped: no mount namespace here: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some((output, begun.elapsed()))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_link_to_a_victims_folder_deletes_nothing() {
    let check = "test -e /tmp/victim/lab-4194303/data/file && echo victim untouched";
    let Some((output, _)) = lab_after("ln -s /tmp/victim /tmp/blackout-0", check) else { return };
    let text = said(&output);
    assert!(text.contains("victim untouched"), "{text}");
    assert!(text.contains("blackout-0") && text.contains("not a folder"), "{text}");
    assert_eq!(output.status.code(), Some(2), "{text}");
}

#[test]
fn a_strangers_folder_is_refused() {
    let attack = "mkdir -m 777 -p /tmp/blackout-0/lab-4194303/x";
    let Some((output, _)) = lab_after(attack, "test -d /tmp/blackout-0/lab-4194303/x && echo untouched") else {
        return;
    };
    let text = said(&output);
    assert!(text.contains(&format!("user {STRANGER}")) && text.contains("\nuntouched"), "{text}");
    assert_eq!(output.status.code(), Some(2), "{text}");
}

#[test]
fn a_fifo_and_a_held_lock_hang_nothing() {
    for attack in [
        "mkfifo /tmp/blackout-0",
        "mkdir -m 777 /tmp/blackout-0; (exec >/dev/null 2>&1; timeout 40 flock -x /tmp/blackout-0 sleep 40) & sleep 0.3",
    ] {
        let Some((output, took)) = lab_after(attack, "true") else { return };
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{attack}: {text}");
        assert!(took < Duration::from_secs(20), "{attack}: {took:?}");
    }
}
