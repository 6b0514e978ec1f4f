//! Real `virsh migrate` between two real libvirt hosts, driven as a command: it ends well, is cancelled, stopped
//! by a rule, killed in the middle, and loses its link.
//!
//! Needs root for network namespaces of its own, and libvirt; skipped without, unless `BLACKOUT_REQUIRE_LIBVIRT=1`.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blackout::event::{
    Body, By, Event, EventSink, Hub, HvEvent, Location, MigrationEnd, MigrationEvent, MigrationSettings, Phase,
    SessionClock, StopPolicy,
};
use blackout::hypervisor::{Hypervisor, RunCommand, command, run_migration};
use common::{busy_firmware, skipped};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tokio::sync::mpsc;

/// Only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Less than the guest dirties: pre-copy does not end by itself.
const SLOW: u64 = 1 << 20;

/// Why there can be no libvirt hosts here.
fn obstacle() -> Option<String> {
    let has = |program: &str, argument: &str| {
        Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let missing = [("libvirtd", "--version"), ("virsh", "--version"), ("ip", "-V"), (common::QEMU, "--version")];
    match missing.into_iter().find(|(program, argument)| !has(program, argument)) {
        Some((program, _)) => Some(format!("{program} is not installed")),
        None if !geteuid().is_root() => Some("libvirt hosts of one's own need root".into()),
        None => None,
    }
}

/// Two libvirt hosts that end with the test.
struct Hosts {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // The script ends with its stdin, and everything in its namespaces with it.
        drop(self.stdin.take());
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Hosts {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("blackout-libvirt-").tempdir().unwrap();
        let mut child = Command::new("unshare")
            .args(["--pid", "--net", "--mount", "--fork", "--kill-child", "--mount-proc"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/libvirt-hosts"))
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut hosts = Self { child, stdin, stdout, dir };
        hosts.hear("ready");
        hosts
    }

    fn hear(&mut self, wanted: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), wanted);
    }

    fn cable(&mut self, what: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{what}").unwrap();
        self.hear("ok");
    }

    fn uri(&self, host: &str) -> String {
        format!("qemu+unix:///system?socket={}/{host}/sock", self.dir.path().display())
    }

    fn virsh(&self, host: &str, arguments: &[&str]) -> Output {
        Command::new("virsh").args(["-c", &self.uri(host)]).args(arguments).output().unwrap()
    }

    /// A guest that runs nothing but firmware that dirties memory.
    fn guest(&self) {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        fs::write(file("busy.rom"), busy_firmware()).unwrap();
        let xml = format!(
            r#"<domain type="qemu"><name>g1</name><memory unit="MiB">64</memory><vcpu>1</vcpu>
            <os><type arch="x86_64" machine="q35">hvm</type><loader type="rom">{}</loader></os>
            <features><acpi/></features>
            <cpu mode="custom" match="exact" check="none"><model fallback="forbid">qemu64</model></cpu>
            <devices><emulator>/usr/bin/{}</emulator><controller type="usb" model="none"/>
            <memballoon model="none"/></devices></domain>"#,
            file("busy.rom"),
            common::QEMU,
        );
        fs::write(file("g1.xml"), xml).unwrap();
        let created = self.virsh("a", &["create", &file("g1.xml")]);
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    }

    fn open(&self, sink: &EventSink) -> Arc<dyn Hypervisor> {
        let host = |name: &str, ip: &str| {
            let uri = self.uri(name);
            format!("{{ name = '{name}', uri = '{uri}', peer-uri = 'qemu+tcp://{ip}/system', address = 'tcp://{ip}' }}")
        };
        let text = format!(
            "preset = 'virsh'\nguest = 'g1'\nfrom = {}\nto = {}",
            host("a", "192.0.2.1"),
            host("b", "192.0.2.2")
        );
        command::open(toml::from_str(&text).unwrap(), sink.clone()).unwrap()
    }

    /// The `virsh` that migrates.
    fn migrating(&self) -> Pid {
        let ours = self.dir.path().display().to_string();
        let is_it = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                let line = String::from_utf8_lossy(&line).into_owned();
                line.starts_with("virsh\0") && line.contains(&ours) && line.contains("\0migrate\0")
            })
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
        Pid::from_raw(pids.into_iter().find(is_it).expect("a virsh that migrates"))
    }
}

/// What is done to a migration once it is seen under way.
enum Deed {
    Nothing,
    Cancel,
    Cut,
    Kill,
}

struct Test {
    hosts: Hosts,
    hypervisor: Arc<dyn Hypervisor>,
    sink: EventSink,
    hub: Hub,
    n: u32,
}

impl Test {
    /// A migration, with everything it told.
    async fn migrate(&mut self, limit: Option<u64>, policy: StopPolicy, deed: Deed) -> (MigrationEnd, Vec<Body>) {
        self.n += 1;
        let from = self.hypervisor.prospect().await.from;
        if limit.is_some() {
            // So that it does not end by chance.
            let set = self.hosts.virsh(&from, &["migrate-setmaxdowntime", "g1", "10"]);
            assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        }
        let settings = MigrationSettings { bandwidth_bytes_per_s: limit, policy, ..MigrationSettings::default() };
        let (tell, commands) = mpsc::channel(4);
        let begun = Instant::now();
        let sink = self.sink.clone();
        let running = run_migration(&*self.hypervisor, self.n, settings, sink, commands);
        tokio::pin!(running);
        let mut told = Vec::new();
        let mut deed = Some(deed);
        let mut seen = None;
        let end = loop {
            tokio::select! {
                end = &mut running => break end,
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {told:?}");
            told.extend(self.hub.rx.try_iter().map(|Event { ev, .. }| ev));
            let moves = |ev: &Body| matches!(ev, Body::Hypervisor(HvEvent::Phase { phase: Phase::Moving, .. }));
            if seen.is_none() && told.iter().any(moves) {
                seen = Some(Instant::now());
            }
            if seen.is_none_or(|seen: Instant| seen.elapsed() < Duration::from_secs(1)) {
                continue;
            }
            match deed.take() {
                None | Some(Deed::Nothing) => {}
                Some(Deed::Cancel) => tell.send(RunCommand::Cancel { by: By::Operator }).await.unwrap(),
                Some(Deed::Cut) => self.hosts.cable("cut"),
                Some(Deed::Kill) => {
                    kill(self.hosts.migrating(), Signal::SIGKILL).unwrap();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let state = self.hosts.virsh("b", &["domstate", "g1"]);
                    let state = String::from_utf8_lossy(&state.stdout).into_owned();
                    assert!(state.contains("paused"), "it does not go on: {state}");
                    self.hosts.virsh(&from, &["migrate-setspeed", "g1", "1000"]);
                }
            }
        };
        told.extend(self.hub.rx.try_iter().map(|Event { ev, .. }| ev));
        eprintln!("migration {}: {end:?} after {:.1} s", self.n, begun.elapsed().as_secs_f64());
        (end, told)
    }

    async fn is_at(&self, host: &str) -> bool {
        self.hypervisor.prospect().await.location() == Location::At { host: host.into(), running: true }
    }
}

fn logged(told: &[Body], words: &str) -> bool {
    told.iter().any(|ev| matches!(ev, Body::Log(log) if log.text.contains(words)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn virsh_migrate_between_real_hosts() {
    if let Some(why) = obstacle() {
        assert!(std::env::var("BLACKOUT_REQUIRE_LIBVIRT").as_deref() != Ok("1"), "libvirt is required, but {why}");
        return skipped(why);
    }
    let hosts = Hosts::start();
    let ours = hosts.dir.path().display().to_string();
    hosts.guest();
    let (sink, hub) = Hub::new(SessionClock::start(), 1 << 16);
    let hypervisor = hosts.open(&sink);
    let mut test = Test { hosts, hypervisor, sink, hub, n: 0 };
    assert!(test.is_at("a").await);
    assert!(test.hypervisor.join(test.sink.clone()).await.unwrap().is_none());

    // What is not offered is refused before anything begins.
    let rounds: StopPolicy = "rounds=3,then=post-copy".parse().unwrap();
    let (end, told) = test.migrate(None, rounds, Deed::Nothing).await;
    assert!(matches!(&end, MigrationEnd::Failed { .. }), "{end:?}");
    assert!(!logged(&told, "runs: virsh"), "{told:?}");

    let (end, told) = test.migrate(Some(SLOW), StopPolicy::none(), Deed::Cancel).await;
    assert_eq!(end, MigrationEnd::Cancelled { by: "the operator".into() });
    assert!(test.is_at("a").await);
    let progress = |ev: &Body| match ev {
        Body::Hypervisor(HvEvent::Sample { sample, .. }) => sample.progress,
        _ => None,
    };
    assert!(told.iter().filter_map(progress).all(|p| (0.0..=1.0).contains(&p)));
    assert!(told.iter().filter_map(progress).count() > 0, "{told:?}");

    // libvirt gives up about half a minute later.
    let (end, _) = test.migrate(Some(SLOW), StopPolicy::none(), Deed::Cut).await;
    test.hosts.cable("mend");
    assert!(matches!(&end, MigrationEnd::Failed { why } if why.contains("exit status 1")), "{end:?}");
    assert!(test.is_at("a").await);

    // Over the limit: the guest is stopped, and libvirt runs it at the destination.
    let policy = StopPolicy::timeout(Duration::from_secs(3));
    let (end, told) = test.migrate(Some(SLOW), policy, Deed::Nothing).await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(told.iter().any(|ev| matches!(ev, Body::Migration(MigrationEvent::Ruled { .. }))), "{told:?}");
    let stopped = |ev: &Body| matches!(ev, Body::Hypervisor(HvEvent::Phase { phase: Phase::StopAndCopy, .. }));
    assert!(told.iter().any(stopped), "{told:?}");
    assert!(test.is_at("b").await);

    // And back, with nothing in its way.
    let (end, _) = test.migrate(None, StopPolicy::none(), Deed::Nothing).await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(test.is_at("a").await);

    // The command is killed, the migration goes on, and its end is told as it is.
    let (end, told) = test.migrate(Some(SLOW), StopPolicy::none(), Deed::Kill).await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(logged(&told, "killed by SIGKILL), and said last: Migration: ["), "{told:?}");
    assert!(logged(&told, "the migration goes on, and is followed"), "{told:?}");
    assert!(test.is_at("b").await);

    test.hypervisor.close().await;
    drop(test);
    let left: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&ours))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
