//! Migrations between real QEMUs that run nothing but their firmware.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blackout::event::{
    Body, By, Event, EventSink, Hub, HvEvent, Location, MigrationEnd, MigrationEvent, MigrationSettings, Phase,
    SessionClock, StopPolicy, Then,
};
use blackout::hypervisor::qmp::{Endpoint, GuardianCommand, HostSpec, QmpHost, QmpHypervisor, QmpOptions, guardian};
use blackout::hypervisor::{Hypervisor, RunCommand, run_migration};
use common::{QEMU, qemu_is_here};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Generous: nothing here is timed, this only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A QEMU that ends with the test.
struct Qemu {
    child: Child,
    name: String,
    dir: PathBuf,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Qemu {
    fn start(dir: &Path, name: &str, incoming: bool) -> Self {
        let mut c = Command::new(QEMU);
        c.args(["-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults", "-no-user-config", "-machine", "q35"]);
        for monitor in ["c", "e", "g"] {
            let socket = format!("socket,id={monitor},path={}/{name}.{monitor},server=on,wait=off", dir.display());
            c.args(["-chardev", &socket, "-mon", &format!("chardev={monitor},mode=control")]);
        }
        if incoming {
            c.args(["-incoming", "defer"]);
        }
        let child = c.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let q = Self { child, name: name.into(), dir: dir.into() };
        let begun = Instant::now();
        while !q.socket("g").exists() {
            assert!(begun.elapsed() < PATIENCE, "QEMU did not open its monitors");
            std::thread::sleep(Duration::from_millis(20));
        }
        q
    }

    fn socket(&self, monitor: &str) -> PathBuf {
        self.dir.join(format!("{}.{monitor}", self.name))
    }

    fn spec(&self) -> HostSpec {
        let at = |m: &str| Endpoint::Unix(self.socket(m));
        let (events, guardian) = (Some(at("e")), Some(at("g")));
        HostSpec { name: self.name.clone(), control: at("c"), events, guardian, pid: Some(self.child.id()) }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This test program again, as a guardian.
fn guardian_command() -> GuardianCommand {
    let script = "BLACKOUT_TEST_ENDS=\"$2 $4\" exec \"$0\" guardian_process --exact --ignored --nocapture";
    let exe = std::env::current_exe().unwrap().display().to_string();
    GuardianCommand { program: "sh".into(), arguments: vec!["-c".into(), script.into(), exe], log: None }
}

#[test]
#[ignore = "not a test: the guardian's process"]
fn guardian_process() {
    let Ok(ends) = std::env::var("BLACKOUT_TEST_ENDS") else { return };
    let (s, d) = ends.split_once(' ').unwrap();
    let pids = [None, None];
    guardian::serve(&s.parse().unwrap(), &d.parse().unwrap(), pids, &mut |text| eprintln!("guardian: {text}")).unwrap();
}

fn settings(bandwidth: u64, policy: &str) -> MigrationSettings {
    MigrationSettings {
        bandwidth_bytes_per_s: Some(bandwidth),
        policy: policy.parse().unwrap(),
        ..MigrationSettings::default()
    }
}

struct Bench {
    sink: EventSink,
    hub: Hub,
    dir: PathBuf,
    source: Arc<QmpHost>,
    destination: Arc<QmpHost>,
}

impl Bench {
    async fn new(dir: &Path, source: &Qemu, destination: &Qemu) -> Self {
        let (sink, hub) = Hub::new(SessionClock::start(), 100_000);
        let source = Arc::new(QmpHost::connect(source.spec(), sink.clone()).await.unwrap());
        let destination = Arc::new(QmpHost::connect(destination.spec(), sink.clone()).await.unwrap());
        Self { sink, hub, dir: dir.into(), source, destination }
    }

    fn hypervisor(&self) -> QmpHypervisor {
        let mut options = QmpOptions::to(format!("unix:{}", self.dir.join("m").display()));
        options.guardian = Some(guardian_command());
        QmpHypervisor::new(Arc::clone(&self.source), Arc::clone(&self.destination), options, self.sink.clone())
    }

    async fn run(&self, settings: MigrationSettings, commands: mpsc::Receiver<RunCommand>) -> MigrationEnd {
        let hypervisor = self.hypervisor();
        let run = run_migration(&hypervisor, 1, settings, self.sink.clone(), commands);
        tokio::time::timeout(PATIENCE, run).await.expect("the migration hangs")
    }

    fn events(&self) -> Vec<Event> {
        self.hub.rx.try_iter().collect()
    }
}

fn no_commands() -> mpsc::Receiver<RunCommand> {
    mpsc::channel(1).1
}

fn phases(events: &[Event]) -> Vec<Phase> {
    let mut phases: Vec<Phase> = events
        .iter()
        .filter_map(|e| match &e.ev {
            Body::Hypervisor(HvEvent::Phase { phase, .. }) => Some(*phase),
            _ => None,
        })
        .collect();
    phases.dedup();
    phases
}

fn index(events: &[Event], what: &str, mut is: impl FnMut(&Body) -> bool) -> usize {
    events.iter().position(|e| is(&e.ev)).unwrap_or_else(|| panic!("no {what} in {events:#?}"))
}

async fn status(host: &QmpHost) -> String {
    let answer = host.execute("query-status", Value::Null).await.unwrap();
    answer["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_migrates_by_itself() {
    if !qemu_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Qemu::start(dir.path(), "a", false), Qemu::start(dir.path(), "b", true));
    let bench = Bench::new(dir.path(), &a, &b).await;
    let offer = bench.hypervisor().capabilities().await.unwrap();
    assert!(offer.post_copy && offer.parameter("max-bandwidth").is_some_and(|p| p.unit == "bytes/s"), "{offer:?}");
    let end = bench.run(settings(100_000_000, "none"), no_commands()).await;
    assert_eq!(end, MigrationEnd::Done);
    assert_eq!(status(&bench.destination).await, "running");
    let events = bench.events();
    let want = [Phase::Setup, Phase::PreCopy, Phase::StopAndCopy, Phase::Recovery, Phase::Done];
    assert_eq!(phases(&events), want, "{events:#?}");
    let stop = index(
        &events,
        "stop",
        |e| matches!(e, Body::Hypervisor(HvEvent::Stopped { host, at: Some(_) }) if host == "a"),
    );
    let resume =
        index(&events, "resume", |e| matches!(e, Body::Hypervisor(HvEvent::Resumed { host, .. }) if host == "b"));
    let ended =
        index(&events, "end", |e| matches!(e, Body::Migration(MigrationEvent::Ended { end: MigrationEnd::Done, .. })));
    assert!(stop < resume && resume < ended);
    index(
        &events,
        "raw pass",
        |e| matches!(e, Body::Hypervisor(HvEvent::Raw { name, .. }) if name == "MIGRATION_PASS"),
    );
    let reported = events.iter().find_map(|e| match &e.ev {
        Body::Hypervisor(HvEvent::Sample { sample, raw }) if raw["status"] == "completed" => sample.downtime_ms,
        _ => None,
    });
    assert!(reported.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_guest_runs_at_the_destination() {
    if !qemu_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Qemu::start(dir.path(), "a", false), Qemu::start(dir.path(), "b", true));
    let bench = Bench::new(dir.path(), &a, &b).await;
    let (tx, rx) = mpsc::channel(4);
    let fast = RunCommand::SetMigration(settings(50_000_000, "timeout=500ms"));
    let view = bench.source.view();
    let helper = tokio::spawn(async move {
        // Once the guest stands still, the rest may go quickly.
        let mut view = view;
        view.wait_for(|v| v.running == Some(false)).await.unwrap();
        tx.send(fast).await.unwrap();
    });
    let end = bench.run(settings(100_000, "timeout=500ms"), rx).await;
    helper.await.unwrap();
    assert_eq!(end, MigrationEnd::Done);
    assert_eq!(status(&bench.destination).await, "running");
    assert_eq!(status(&bench.source).await, "postmigrate");
    let events = bench.events();
    let ruled =
        index(&events, "rule", |e| matches!(e, Body::Migration(MigrationEvent::Ruled { then: Then::StopAndCopy, .. })));
    let stop = index(&events, "stop", |e| matches!(e, Body::Hypervisor(HvEvent::Stopped { .. })));
    assert!(events[ruled].t < events[stop].t);
    assert_eq!(phases(&events)[2..], [Phase::StopAndCopy, Phase::Recovery, Phase::Done]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_migration_leaves_the_guest_running_even_when_it_was_stopped() {
    if !qemu_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Qemu::start(dir.path(), "a", false), Qemu::start(dir.path(), "b", true));
    let bench = Bench::new(dir.path(), &a, &b).await;
    let (tx, rx) = mpsc::channel(4);
    let mut view = bench.source.view();
    let helper = tokio::spawn(async move {
        tx.send(RunCommand::StopAndCopy).await.unwrap();
        view.wait_for(|v| v.running == Some(false)).await.unwrap();
        tx.send(RunCommand::Cancel { by: By::Operator }).await.unwrap();
    });
    let end = bench.run(settings(100_000, "none"), rx).await;
    helper.await.unwrap();
    assert_eq!(end, MigrationEnd::Cancelled { by: "the operator".into() });
    assert_eq!(status(&bench.source).await, "running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dying_end_is_a_failure_with_a_reason() {
    if !qemu_is_here() {
        return;
    }
    for dies in ["a", "b"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut a, mut b) = (Qemu::start(dir.path(), "a", false), Qemu::start(dir.path(), "b", true));
        let bench = Bench::new(dir.path(), &a, &b).await;
        let killed = async {
            let mut view = bench.source.view();
            view.wait_for(|v| v.running == Some(false)).await.unwrap();
            if dies == "a" { a.kill() } else { b.kill() }
        };
        // Stopped by the policy, so that the guest must be resumed where it still is.
        let (end, ()) = tokio::join!(bench.run(settings(100_000, "timeout=300ms"), no_commands()), killed);
        let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
        assert!(why.contains("is gone"), "{why}");
        let events = bench.events();
        index(&events, "loss", |e| matches!(e, Body::Hypervisor(HvEvent::HostLost { host, .. }) if host == dies));
        if dies == "b" {
            assert_eq!(status(&bench.source).await, "running", "{why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_killed_at_the_destinations_resume_has_migrated() {
    if !qemu_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut a, b) = (Qemu::start(dir.path(), "a", false), Qemu::start(dir.path(), "b", true));
    let bench = Bench::new(dir.path(), &a, &b).await;
    let killed = async {
        let mut view = bench.destination.view();
        view.wait_for(|v| v.running == Some(true)).await.unwrap();
        a.kill();
    };
    let (end, ()) = tokio::join!(bench.run(settings(100_000_000, "none"), no_commands()), killed);
    assert_eq!(end, MigrationEnd::Done);
    assert_eq!(status(&bench.destination).await, "running");
    let events = bench.events();
    let there = Location::At { host: "b".into(), running: true };
    index(&events, "place", |e| matches!(e, Body::Hypervisor(HvEvent::Located { location }) if *location == there));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_offered_is_refused_before_anything_happens() {
    if !qemu_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Qemu::start(dir.path(), "a", false), Qemu::start(dir.path(), "b", true));
    let bench = Bench::new(dir.path(), &a, &b).await;
    let mut s = settings(1_000_000, "none");
    s.extra.insert("downtime-limt".into(), json!(3));
    let end = bench.run(s, no_commands()).await;
    let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("did you mean 'downtime-limit'"), "{why}");
    assert_eq!(status(&bench.source).await, "running");
    // The wrong way round: the destination of this one is a running guest.
    let options = QmpOptions { guardian: None, ..QmpOptions::to("unix:/nowhere") };
    let d = QmpHypervisor::new(Arc::clone(&bench.destination), Arc::clone(&bench.source), options, bench.sink.clone());
    let why = d.apply(&settings(1, "none")).await.unwrap_err().to_string();
    assert!(why.contains("-incoming defer"), "{why}");
}

/// The controller of the test below: migrates, says when the guest stands still, and is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "not a test: the controller's process"]
async fn controller_process() {
    let Ok(ends) = std::env::var("BLACKOUT_TEST_ENDS") else { return };
    let (s, d) = ends.split_once(' ').unwrap();
    let (sink, _hub) = Hub::new(SessionClock::start(), 100_000);
    let source = Arc::new(QmpHost::connect(HostSpec::parse("a", s).unwrap(), sink.clone()).await.unwrap());
    let destination = Arc::new(QmpHost::connect(HostSpec::parse("b", d).unwrap(), sink.clone()).await.unwrap());
    let mut view = source.view();
    tokio::spawn(async move {
        view.wait_for(|v| v.running == Some(false)).await.unwrap();
        eprintln!("STOPPED");
    });
    let uri = std::env::var("BLACKOUT_TEST_URI").unwrap();
    let options = QmpOptions { guardian: Some(guardian_command()), ..QmpOptions::to(uri) };
    let hypervisor = QmpHypervisor::new(source, destination, options, sink.clone());
    let end = run_migration(&hypervisor, 1, settings(100_000, "timeout=300ms"), sink, no_commands()).await;
    panic!("was to be killed, but ended: {end:?}");
}

#[test]
fn a_guardian_resumes_the_guest_of_a_killed_controller() {
    if !qemu_is_here() {
        return;
    }
    // With a monitor for the guardian, and with one monitor for all.
    for own_monitor in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Qemu::start(dir.path(), "a", false), Qemu::start(dir.path(), "b", true));
        let monitors = |q: &Qemu| {
            let p = |m: &str| q.socket(m).display().to_string();
            if own_monitor { [p("c"), p("e"), p("g")].join(",") } else { p("c") }
        };
        let mut controller = Command::new(std::env::current_exe().unwrap())
            .args(["controller_process", "--exact", "--ignored", "--nocapture"])
            .env("BLACKOUT_TEST_ENDS", format!("{} {}", monitors(&a), monitors(&b)))
            .env("BLACKOUT_TEST_URI", format!("unix:{}", dir.path().join("m").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(controller.stderr.take().unwrap()));
        let told = lines.by_ref().map_while(Result::ok).any(|l| l.contains("STOPPED"));
        controller.kill().unwrap();
        controller.wait().unwrap();
        assert!(told, "the controller never stopped the guest");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            // The guardian needs the monitors `c` where it has none of its own; `e` is free.
            let (sink, _hub) = Hub::new(SessionClock::start(), 1000);
            let at = |q: &Qemu| HostSpec::parse(&q.name, &q.socket("e").display().to_string()).unwrap();
            let source = QmpHost::connect(at(&a), sink.clone()).await.unwrap();
            let destination = QmpHost::connect(at(&b), sink).await.unwrap();
            assert_ne!(status(&destination).await, "running");
            source.execute("migrate-set-parameters", json!({"max-bandwidth": 50_000_000})).await.unwrap();
            let mut view = destination.view();
            tokio::time::timeout(PATIENCE, view.wait_for(|v| v.running == Some(true)))
                .await
                .expect("nobody resumed the guest")
                .unwrap();
            assert_eq!(status(&source).await, "postmigrate");
        });
    }
}

#[test]
fn the_default_stops_nobodys_guest() {
    assert!(!StopPolicy::default().has_rules());
}
