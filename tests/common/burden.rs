//! What a program that is attacked takes: memory, disk, and time to end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

/// Memory above what a quiet peer leads to, bytes.
const MEMORY: u64 = 100_000_000;
/// Growth of the capture, bytes/s.
const GROWTH: u64 = 1_000_000;

/// The program to attack: that of `BLACKOUT_HOSTILE_PROGRAM`, which is only measured, or the one under test.
pub fn program() -> (PathBuf, bool) {
    let other = std::env::var_os("BLACKOUT_HOSTILE_PROGRAM").map(PathBuf::from);
    let is_ours = other.is_none();
    (other.unwrap_or_else(|| super::BLACKOUT.into()), is_ours)
}

/// What it took.
pub struct Burden {
    /// The most memory it held, bytes.
    pub memory: u64,
    /// Growth of its capture, bytes/s.
    pub growth: u64,
    /// How long it took to end once it was asked to.
    pub ended: Duration,
    /// It ended by itself before that.
    pub early: bool,
}

impl Burden {
    /// Watches a program for so long, then ends it with a signal each 500 ms.
    pub fn of(child: &mut Child, capture: &Path, time: Duration) -> Self {
        let (begun, mut memory) = (Instant::now(), 0);
        while begun.elapsed() < time && child.try_wait().unwrap().is_none() {
            memory = memory.max(peak(child.id()));
            std::thread::sleep(Duration::from_millis(50));
        }
        let early = child.try_wait().unwrap().is_some();
        let size = fs::metadata(capture).map_or(0, |m| m.len());
        let growth = (size as f64 / begun.elapsed().as_secs_f64()) as u64;
        let asked = Instant::now();
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        // The second one is obeyed at once.
        while child.try_wait().unwrap().is_none() && asked.elapsed() < Duration::from_secs(60) {
            memory = memory.max(peak(child.id()));
            let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(500));
        }
        Self { memory, growth, ended: asked.elapsed(), early }
    }

    /// A row of a table, beside what the program takes of a quiet peer, bytes.
    pub fn row(&self, attack: &str, quiet: u64) -> String {
        format!(
            "| {attack} | {:.0} MB | {:.0} MB | {:.0} kB/s | {:.1} s |",
            self.memory as f64 / 1e6,
            self.memory.saturating_sub(quiet) as f64 / 1e6,
            self.growth as f64 / 1e3,
            self.ended.as_secs_f64()
        )
    }

    /// Asserts that it is bounded.
    #[track_caller]
    pub fn is_bounded(&self, attack: &str, quiet: u64) {
        let above = self.memory.saturating_sub(quiet);
        assert!(self.memory > 0, "{attack}: it was not measured");
        assert!(above < MEMORY, "{attack}: {above} bytes more than with a quiet peer");
        assert!(self.growth < GROWTH, "{attack}: the capture grows by {} bytes/s", self.growth);
        assert!(self.ended < Duration::from_secs(30), "{attack}: ended only after {:?}", self.ended);
    }
}

/// The most memory a process has held, bytes.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
