//! `blackout migrate` between two real QEMUs that somebody else started: every migration parameter and
//! capability of both is the same before and after, however the migration ends.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blackout::event::{Body, Event, HvEvent, SettingWhy};
use common::{Place, QEMU, busy_firmware, eventually, pids, qemu_is_here};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// A QEMU with three monitors for blackout and one for the test.
struct Qemu {
    child: Child,
    sockets: PathBuf,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Qemu {
    fn start(place: &Place, name: &str, incoming: bool) -> Self {
        let mut c = Command::new(QEMU);
        c.args(["-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults", "-no-user-config", "-machine", "q35"]);
        c.arg("-bios").arg(place.file("bios", busy_firmware()));
        let sockets = place.path(name);
        for monitor in ["c", "e", "g", "t"] {
            let socket = format!("socket,id={monitor},path={}.{monitor},server=on,wait=off", sockets.display());
            c.args(["-chardev", &socket, "-mon", &format!("chardev={monitor},mode=control")]);
        }
        if incoming {
            c.args(["-incoming", "defer"]);
        }
        let child = c.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let qemu = Self { child, sockets };
        eventually("QEMU to open its monitors", || UnixStream::connect(qemu.socket("t")).is_ok());
        qemu
    }

    fn socket(&self, monitor: &str) -> PathBuf {
        PathBuf::from(format!("{}.{monitor}", self.sockets.display()))
    }

    fn monitors(&self) -> String {
        ["c", "e", "g"].map(|m| self.socket(m).display().to_string()).join(",")
    }

    /// Gives a command over the test's own monitor.
    fn ask(&self, command: &str, arguments: Value) -> Value {
        let mut stream = UnixStream::connect(self.socket("t")).unwrap();
        let request = match arguments {
            Value::Null => json!({"execute": command}),
            arguments => json!({"execute": command, "arguments": arguments}),
        };
        stream.write_all(format!("{{\"execute\":\"qmp_capabilities\"}}{request}").as_bytes()).unwrap();
        let mut answers = BufReader::new(stream).lines().map_while(Result::ok).filter(|l| !l.contains("\"event\""));
        // The greeting, and the answer to qmp_capabilities.
        let answer: Value = serde_json::from_str(&answers.nth(2).unwrap()).unwrap();
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer["return"].clone()
    }

    /// Every migration parameter and capability.
    fn settings(&self) -> BTreeMap<String, Value> {
        let parameters = self.ask("query-migrate-parameters", Value::Null);
        let capabilities = self.ask("query-migrate-capabilities", Value::Null);
        let mut all: BTreeMap<String, Value> =
            parameters.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        for c in capabilities.as_array().unwrap() {
            all.insert(format!("capability {}", c["capability"].as_str().unwrap()), c["state"].clone());
        }
        all
    }

    fn migration(&self) -> String {
        self.ask("query-migrate", Value::Null)["status"].as_str().unwrap_or_default().to_owned()
    }

    fn guest(&self) -> String {
        self.ask("query-status", Value::Null)["status"].as_str().unwrap_or_default().to_owned()
    }
}

/// A `blackout migrate` at work, and what it has said so far.
struct Blackout {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Blackout {
    fn said(&self, what: &str) -> bool {
        self.said.lock().unwrap().iter().any(|l| l.contains(what))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn guardians(&self) -> Vec<u32> {
        let parent = self.child.id().to_string();
        let is_ours = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let ppid = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1).map(str::to_owned));
            ppid.as_deref() == Some(&parent) && String::from_utf8_lossy(&cmdline).contains("internal-guardian")
        };
        pids().filter(is_ours).collect()
    }
}

impl Drop for Blackout {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two QEMUs, and the former settings of both.
struct Bench {
    place: Place,
    source: Qemu,
    destination: Qemu,
    before: [BTreeMap<String, Value>; 2],
}

impl Bench {
    /// With settings of its owner's that are nobody's defaults.
    fn new() -> Self {
        let place = Place::new();
        let source = Qemu::start(&place, "a", false);
        let destination = Qemu::start(&place, "b", true);
        let own = json!({"max-bandwidth": 77_000_000, "downtime-limit": 123, "max-postcopy-bandwidth": 5_000_000});
        source.ask("migrate-set-parameters", own);
        let own = json!({"capabilities": [{"capability": "auto-converge", "state": true}]});
        source.ask("migrate-set-capabilities", own);
        let before = [source.settings(), destination.settings()];
        Self { place, source, destination, before }
    }

    fn migrate(&self, flags: &str) -> Blackout {
        let uri = format!("unix:{}", self.place.path("m").display());
        let mut c = self.place.blackout(["migrate", "--uri", &uri]);
        c.args(["--source", &self.source.monitors(), "--dest", &self.destination.monitors()]);
        self.start(c, flags)
    }

    /// The same with a target that is described in a file.
    fn attach(&self, flags: &str) -> Blackout {
        let uri = format!("unix:{}", self.place.path("m").display());
        let (source, dest) = (self.source.monitors(), self.destination.monitors());
        let file = self.place.file(
            "b.toml",
            format!("[target.two]\nproduct = \"qmp\"\nsource = \"{source}\"\ndest = \"{dest}\"\nuri = \"{uri}\"\n"),
        );
        let mut look = self.place.blackout(["targets", "two", "--check", "--config"]);
        let looked = common::run({
            look.arg(&file);
            look
        });
        let looked = looked.ended_with(0);
        for words in ["source: reached: ", "offers: cancel, stop-and-copy", "from source to dest"] {
            assert!(looked.out.contains(words), "'{words}' is missing in\n{looked}");
        }
        let mut c = self.place.blackout(["attach", "two", "--config"]);
        c.arg(file);
        self.start(c, flags)
    }

    fn start(&self, mut c: Command, flags: &str) -> Blackout {
        c.args(["--headless", "--json", "--warm-up", "100ms"]);
        c.arg("--out").arg(self.place.path("out")).args(flags.split_whitespace());
        let mut child = c.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (heard, stderr) = (Arc::clone(&said), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Blackout { child, said }
    }

    fn under_way(&self, blackout: &Blackout) {
        eventually("the migration to be active", || {
            assert!(!blackout.said("failed"), "{:#?}", blackout.said.lock().unwrap());
            self.source.migration() == "active"
        });
    }

    /// What was set and put back, as the capture tells it.
    fn told(&self) -> Vec<(String, String, SettingWhy)> {
        let text = std::fs::read_to_string(self.place.path("out/capture.jsonl")).unwrap_or_default();
        let events = text.lines().filter_map(|l| serde_json::from_str::<Event>(l).ok());
        events
            .filter_map(|e| match e.ev {
                Body::Hypervisor(HvEvent::Setting { host, name, why, .. }) => Some((host, name, why)),
                _ => None,
            })
            .collect()
    }

    /// The table's rows; fails where anything is not as it was. `dead` is a destination that has ended.
    fn check(&self, what: &str, blackout: &Blackout, dead: bool) {
        let now = |q: &Qemu| q.settings();
        let same = || now(&self.source) == self.before[0] && (dead || now(&self.destination) == self.before[1]);
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !same() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let told = self.told();
        let ends = [("source", &self.source), ("dest", &self.destination)];
        for ((end, qemu), before) in ends.into_iter().zip(&self.before) {
            if end == "dest" && dead {
                let _ = writeln!(std::io::stderr(), "| {what} | {end} | (ended) | | |");
                continue;
            }
            let after = qemu.settings();
            let differing: Vec<String> = before
                .iter()
                .filter(|(name, value)| after.get(*name) != Some(value))
                .map(|(name, value)| format!("{name}: {value} -> {:?}", after.get(name)))
                .collect();
            let set: Vec<&str> = told
                .iter()
                .filter(|(host, _, why)| host == end && *why != SettingWhy::PutBack)
                .map(|(_, name, _)| name.as_str())
                .collect();
            let _ = writeln!(
                std::io::stderr(),
                "| {what} | {end} | {} compared | set meanwhile: {} | differing after: {} |",
                before.len(),
                if set.is_empty() { "nothing".to_owned() } else { set.join(", ") },
                if differing.is_empty() { "none".to_owned() } else { differing.join(", ") },
            );
            let said = blackout.said.lock().unwrap();
            assert!(differing.is_empty(), "{what}, {end}: {differing:#?}\n{}", said.join("\n"));
        }
    }
}

const SLOW: &str =
    "--bandwidth 100K --downtime-limit 50ms --post-copy --auto-converge --param cpu-throttle-increment=7";

#[test]
fn after_a_success_nothing_is_changed() {
    if !qemu_is_here() {
        return;
    }
    for (what, flags) in [
        ("success, no flags", ""),
        ("success, flags", "--bandwidth 90M --downtime-limit 200ms --post-copy --param cpu-throttle-increment=7"),
        ("success, policy", "--bandwidth 2M --policy timeout=200ms"),
    ] {
        let bench = Bench::new();
        let mut blackout = bench.migrate(flags);
        let status = blackout.child.wait().unwrap();
        assert!(status.success(), "{:#?}", blackout.said.lock().unwrap());
        assert_eq!(bench.destination.guest(), "running");
        bench.check(what, &blackout, false);
        let told = bench.told();
        let set: Vec<&str> =
            told.iter().filter(|t| t.2 != SettingWhy::PutBack).map(|(_, name, _)| name.as_str()).collect();
        let back = told.iter().filter(|t| t.2 == SettingWhy::PutBack).count();
        assert_eq!(set.len(), back, "{told:?}");
        match flags {
            "" => assert_eq!(set, ["events"], "nothing was asked for"),
            _ => assert!(set.contains(&"max-bandwidth") && blackout.said("setting max-bandwidth from 77000000 to")),
        }
        assert!(blackout.said("putting events back from true to false"));
    }
}

#[test]
fn a_look_and_a_migration_by_name_change_nothing() {
    if !qemu_is_here() {
        return;
    }
    let bench = Bench::new();
    let mut blackout = bench.attach("--bandwidth 90M");
    let status = blackout.child.wait().unwrap();
    assert!(status.success(), "{:#?}", blackout.said.lock().unwrap());
    assert_eq!(bench.destination.guest(), "running");
    bench.check("success, by name", &blackout, false);
}

#[test]
fn after_a_cancel_nothing_is_changed() {
    if !qemu_is_here() {
        return;
    }
    let bench = Bench::new();
    let mut blackout = bench.migrate(&format!("{SLOW} --give-up-after 1500ms"));
    bench.under_way(&blackout);
    assert_ne!(bench.source.settings(), bench.before[0], "what was asked for is set");
    blackout.child.wait().unwrap();
    assert_eq!(bench.source.guest(), "running");
    bench.check("cancel", &blackout, false);
}

#[test]
fn after_a_failure_nothing_is_changed() {
    if !qemu_is_here() {
        return;
    }
    let mut bench = Bench::new();
    let mut blackout = bench.migrate(SLOW);
    bench.under_way(&blackout);
    bench.destination.child.kill().unwrap();
    bench.destination.child.wait().unwrap();
    blackout.child.wait().unwrap();
    eventually("the guest to run at the source", || bench.source.guest() == "running");
    bench.check("failure (the destination was killed)", &blackout, true);
}

#[test]
fn after_a_quit_in_mid_migration_nothing_is_changed() {
    if !qemu_is_here() {
        return;
    }
    let bench = Bench::new();
    let mut blackout = bench.migrate(SLOW);
    bench.under_way(&blackout);
    blackout.signal(Signal::SIGTERM);
    blackout.child.wait().unwrap();
    assert_eq!(bench.source.guest(), "running");
    bench.check("quit in mid-migration (SIGTERM)", &blackout, false);
    // At once, without waiting for anything: what is left is the guardian's.
    let bench = Bench::new();
    let mut blackout = bench.migrate(SLOW);
    bench.under_way(&blackout);
    for _ in 0..4 {
        if blackout.child.try_wait().unwrap().is_none() {
            blackout.signal(Signal::SIGTERM);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    blackout.child.wait().unwrap();
    let _ = bench.source.ask("migrate_cancel", Value::Null);
    bench.check("quit at once (SIGTERM, four times)", &blackout, false);
}

#[test]
fn after_a_kill_nothing_is_changed() {
    if !qemu_is_here() {
        return;
    }
    for kill_guardian in [false, true] {
        let bench = Bench::new();
        let mut blackout = bench.migrate(SLOW);
        bench.under_way(&blackout);
        if kill_guardian {
            let guardians = blackout.guardians();
            assert_eq!(guardians.len(), 1, "{guardians:?}");
            kill(Pid::from_raw(guardians[0] as i32), Signal::SIGKILL).unwrap();
            eventually("another guardian", || blackout.said("another guardian has taken its place"));
        }
        blackout.signal(Signal::SIGKILL);
        blackout.child.wait().unwrap();
        // The migration goes on by itself, with the settings it was fired with.
        std::thread::sleep(Duration::from_secs(1));
        assert_ne!(bench.source.settings(), bench.before[0], "a migration keeps what it was fired with");
        let _ = bench.source.ask("migrate_cancel", Value::Null);
        let what = if kill_guardian { "kill -9 of the guardian, then of blackout" } else { "kill -9" };
        bench.check(what, &blackout, false);
    }
}

#[test]
fn after_a_kill_with_the_guest_stopped_it_runs_and_nothing_is_changed() {
    if !qemu_is_here() {
        return;
    }
    let bench = Bench::new();
    let mut blackout = bench.migrate("--bandwidth 200K --policy timeout=300ms");
    bench.under_way(&blackout);
    eventually("the guest to be stopped", || bench.source.guest() == "paused");
    blackout.signal(Signal::SIGKILL);
    blackout.child.wait().unwrap();
    eventually("the guest to run at the destination", || bench.destination.guest() == "running");
    bench.check("kill -9 with the guest stopped", &blackout, false);
}
