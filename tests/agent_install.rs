//! The agent goes into a guest over ssh and out of it again. The ssh here is pretended: it runs what it is given in
//! another home on this machine, as the far side of ssh would; what is installed is a static program that answers as
//! the agent does.

#![allow(clippy::unwrap_used, reason = "a test's own files")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Place, Ran, run};

/// Answers `agent --check`, and with `--listen` stays until it is ended.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
  if (argc > 2 && !strcmp(argv[2], "--check")) { puts("WSET at most 1.00 GiB now"); return 0; }
  if (argc > 3 && !strcmp(argv[2], "--listen")) {
    if (!strcmp(argv[3], "192.0.2.1:1")) { fputs("the port cannot be had\n", stderr); return 2; }
    for (;;) pause();
  }
  return 7;
}
"#;

/// The far side's home, and what runs there.
struct Far {
    place: Place,
    home: PathBuf,
    program: PathBuf,
}

impl Far {
    fn new() -> Option<Self> {
        let place = Place::new();
        let home = place.path("far home");
        std::fs::create_dir(&home).unwrap();
        let script = format!("#!/bin/sh\nfor last; do :; done\nHOME='{}' exec sh -c \"$last\"\n", home.display());
        std::fs::create_dir(place.path("bin")).unwrap();
        let ssh = place.file("bin/ssh", script);
        std::fs::set_permissions(ssh, PermissionsExt::from_mode(0o755)).unwrap();
        let source = place.file("agent.c", PROGRAM);
        let program = place.path("agent");
        let made = Command::new("cc").arg("-static").arg("-o").arg(&program).arg(source).status();
        if !made.is_ok_and(|status| status.success()) {
            common::skipped("no static program can be made here (cc -static)");
            return None;
        }
        Some(Self { place, home, program })
    }

    fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.blackout(["agent"]);
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(arguments).env("PATH", format!("{}:{path}", self.place.path("bin").display()));
        command
    }

    fn install(&self, more: &[&str]) -> Command {
        let mut command = self.agent(&["--install", "ssh:guest", "--program"]);
        command.arg(&self.program).args(more);
        command
    }

    fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.home.join(".blackout-agent/pid")).ok()?.trim().parse().ok()
    }
}

impl Drop for Far {
    /// A test that fails leaves nothing running either.
    fn drop(&mut self) {
        if let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

fn printed(ran: &Ran, words: &[&str]) {
    words.iter().for_each(|word| assert!(ran.out.contains(word), "'{word}' is missing in\n{ran}"));
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    Path::new(&format!("/proc/{pid}")).exists() && !stat.contains(") Z ")
}

fn ends(pid: u32) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while runs(pid) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    !runs(pid)
}

#[test]
fn it_is_copied_shown_to_run_and_removed_without_a_trace() {
    let Some(far) = Far::new() else { return };
    let told = run(far.install(&[])).ended_with(0);
    printed(&told, &["installed in ~/.blackout-agent of guest", "WSET at most 1.00 GiB", "--agent ssh:guest"]);
    assert!(far.home.join(".blackout-agent/blackout").exists());
    assert_eq!(far.pid(), None, "a session starts it");
    run(far.agent(&["--remove", "ssh:guest"])).ended_with(0);
    assert_eq!(std::fs::read_dir(&far.home).unwrap().count(), 0, "nothing is left");
    printed(&run(far.agent(&["--remove", "ssh:guest"])).ended_with(0), &["there was none"]);
}

#[test]
fn one_that_listens_is_started_replaced_and_ended() {
    let Some(far) = Far::new() else { return };
    let psk = far.place.path("psk");
    run(far.agent(&["--make-psk", psk.to_str().unwrap()])).ended_with(0);
    let listening = ["--listen", "127.0.0.1:7070", "--psk-file", psk.to_str().unwrap()];
    printed(&run(far.install(&listening)).ended_with(0), &["--agent HOST:7070"]);
    let first = far.pid().unwrap();
    assert!(runs(first));
    let held = std::fs::read(far.home.join(".blackout-agent/psk")).unwrap();
    assert_eq!(held, std::fs::read(&psk).unwrap().trim_ascii_end(), "the key is there");
    run(far.install(&listening)).ended_with(0);
    let second = far.pid().unwrap();
    assert!(second != first && ends(first) && runs(second), "the old one has made room");
    run(far.agent(&["--remove", "ssh:guest"])).ended_with(0);
    assert!(ends(second));
    assert_eq!(std::fs::read_dir(&far.home).unwrap().count(), 0, "nothing is left");
    // One that does not start is told, with what it said.
    let wrong = ["--listen", "192.0.2.1:1", "--psk-file", psk.to_str().unwrap()];
    run(far.install(&wrong)).ended_with(2).said(&["does not start there", "the port cannot be had"]);
}

#[test]
fn another_program_with_the_recorded_id_is_left_alone() {
    let Some(far) = Far::new() else { return };
    run(far.install(&[])).ended_with(0);
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    std::fs::write(far.home.join(".blackout-agent/pid"), other.id().to_string()).unwrap();
    run(far.agent(&["--remove", "ssh:guest"])).ended_with(0);
    assert!(runs(other.id()), "it is none of ours");
    other.kill().unwrap();
    other.wait().unwrap();
}
