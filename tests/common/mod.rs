//! What the tests of the whole program share: a place of their own to run it in, and how to look
//! at what it did.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "helpers of tests; not every test needs all")]

pub mod burden;
pub mod contract;
pub mod libvirt;
pub mod tun;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use blackout::event::Event;
use blackout::lab;
use serde_json::Value;

/// The program under test.
pub const BLACKOUT: &str = env!("CARGO_BIN_EXE_blackout");
/// Ends a test that hangs; nothing is timed by it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Held by a test as long as its lab runs: two cores carry one lab at a time.
pub fn one_lab_at_a_time() -> MutexGuard<'static, ()> {
    static LAB: Mutex<()> = Mutex::new(());
    LAB.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that a test is skipped, past the test runner, which keeps what a passing test prints.
pub fn skipped(why: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// The QEMU that tests start by themselves.
pub const QEMU: &str = "qemu-system-x86_64";

/// Whether [`QEMU`] is here; says so if not. `BLACKOUT_REQUIRE_QEMU=1` makes a missing one a failure.
pub fn qemu_is_here() -> bool {
    let found = Command::new(QEMU).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var("BLACKOUT_REQUIRE_QEMU").as_deref() != Ok("1"), "{QEMU} not found but required");
        skipped(format_args!("{QEMU} not found"));
    }
    found
}

/// A guest of its own kind: firmware that writes half a megabyte over and over, so that a migration over
/// a slow link does not end before it is to be ended.
pub fn busy_firmware() -> Vec<u8> {
    const CODE: [u8; 24] = [
        0xfa, // cli
        0xb8, 0x00, 0x10, // again: mov ax, 0x1000
        0x8e, 0xc0, // segment: mov es, ax
        0x31, 0xff, // xor di, di
        0xb9, 0x00, 0x80, // mov cx, 0x8000
        0xf3, 0xab, // rep stosw
        0x05, 0x00, 0x10, // add ax, 0x1000
        0x3d, 0x00, 0x90, // cmp ax, 0x9000
        0x72, 0xef, // jb segment
        0xeb, 0xea, // jmp again
        0xf4, // hlt
    ];
    // At the reset vector: jmp f000:0000.
    const RESET: [u8; 5] = [0xea, 0x00, 0x00, 0x00, 0xf0];
    let mut rom = vec![0; 0x1_0000];
    rom[..CODE.len()].copy_from_slice(&CODE);
    rom[0xfff0..0xfff5].copy_from_slice(&RESET);
    rom
}

/// Whether a lab can run here; says so if not. `BLACKOUT_REQUIRE_QEMU=1` makes it a failure.
pub fn lab_is_possible() -> bool {
    let qemu = Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status();
    let why = match qemu {
        Err(_) => Some("qemu-system-x86_64 is not installed".to_owned()),
        Ok(_) => lab::kernel::find(None, &lab::kernel::Places::default()).err().map(|e| e.to_string()),
    };
    if let Some(why) = why {
        assert!(std::env::var("BLACKOUT_REQUIRE_QEMU").as_deref() != Ok("1"), "the lab is required, but {why}");
        skipped(&why);
        return false;
    }
    true
}

/// Folders of its own for one run of the program, and nothing of the user's.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        // Short: the path of a socket has little room.
        let dir = tempfile::Builder::new().prefix("bo").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file with this content.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// What keeps the program inside this place, for every way of starting it.
    pub fn environment(&self) -> [(&'static str, PathBuf); 4] {
        ["XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"]
            .map(|name| (name, self.dir.path().to_owned()))
    }

    pub fn blackout<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut c = Command::new(BLACKOUT);
        c.args(args).envs(self.environment()).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
        c
    }

    /// A headless lab under emulation, so that no time is lost on an accelerator that hangs.
    pub fn lab(&self, args: &str) -> Command {
        let mut c = self.blackout(["lab", "--headless", "--accel", "tcg", "--out"]);
        c.arg(self.path("out")).args(args.split_whitespace());
        c
    }

    /// The capture [`lab`](Self::lab) makes.
    pub fn capture(&self) -> PathBuf {
        self.path("out/capture.jsonl")
    }

    /// QEMUs whose command line speaks of this place.
    pub fn qemus(&self) -> Vec<u32> {
        let needle = self.dir.path().to_string_lossy().into_owned();
        let speaks = |pid: &u32| {
            let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let cmdline = String::from_utf8_lossy(&cmdline).into_owned();
            cmdline.starts_with("qemu-system") && cmdline.contains(&needle)
        };
        pids().filter(speaks).collect()
    }

    /// Folders of labs, running or dead.
    pub fn run_dirs(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path("blackout"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("lab-")))
            .collect()
    }

    /// Asserts that no process and no folder of a lab is left.
    pub fn nothing_is_left(&self) {
        eventually("the QEMUs to end", || self.qemus().is_empty());
        assert_eq!(self.run_dirs(), Vec::<PathBuf>::new(), "folders of the lab are left");
    }
}

/// All processes we can see.
pub fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// The network namespace of a process, as the kernel names it.
pub fn network_of(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

/// Waits for something that must come, for longer than any busy machine takes.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a run printed, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let ran = Self { status: output.status, out: text(&output.stdout), err: text(&output.stderr) };
        // Whatever happens, nobody is shown the program's innards.
        for innards in ["panicked at", "RUST_BACKTRACE", "Some(", "Err(", "Os {", "kind: ", "called `"] {
            assert!(!ran.err.contains(innards) && !ran.out.contains(innards), "'{innards}' in\n{ran}");
        }
        ran
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Asserts that stderr says all this.
    #[track_caller]
    pub fn said(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "'{word}' is missing in\n{self}");
        }
        self
    }

    /// The result, as printed with `--json`.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e} in\n{self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n-- stdout\n{}\n-- stderr\n{}", self.status, self.out, self.err)
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(mut command: Command) -> Ran {
    Ran::of(command.output().unwrap())
}

/// A process that ends with the test, whatever happens.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::as_it_is(command)
    }

    /// With the command's own stdout and stderr.
    pub fn as_it_is(mut command: Command) -> Self {
        Self { child: Some(command.spawn().unwrap()) }
    }

    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    pub fn pid(&mut self) -> u32 {
        self.child().id()
    }

    pub fn signal(&mut self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Asserts that it still runs.
    #[track_caller]
    pub fn runs(&mut self) {
        if self.child().try_wait().unwrap().is_some() {
            panic!("it ended too early: {}", self.take());
        }
    }

    /// Waits for its end.
    pub fn take(&mut self) -> Ran {
        Ran::of(self.child.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The events in a capture that is perhaps still being written; whole lines only.
pub fn events(capture: &Path) -> Vec<Event> {
    let text = fs::read_to_string(capture).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().skip(1).map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

/// Waits for an event in the capture of a running program.
#[track_caller]
pub fn await_event(running: &mut Running, capture: &Path, what: &str, mut is: impl FnMut(&Event) -> bool) {
    eventually(what, || {
        let seen = events(capture).iter().any(&mut is);
        if !seen {
            running.runs();
        }
        seen
    });
}
