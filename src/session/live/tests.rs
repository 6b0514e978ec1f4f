use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::event::{AgentEvent, Level, LogEvent, ProbeEvent, ProbeId};
use crate::session::Reader;
use crate::session::testing::{any_event, header, log};

/// Set for the process that is killed: the folder it records to.
const VICTIM: &str = "BLACKOUT_TEST_VICTIM";
/// Set for the process in its own mount namespace: the folder to mount a small disk on.
const SMALL_DISK: &str = "BLACKOUT_TEST_SMALL_DISK";

fn options(folder: &std::path::Path) -> RecorderOptions {
    RecorderOptions { out: Some(folder.to_owned()), ..RecorderOptions::default() }
}

fn replayed(path: &std::path::Path) -> State {
    Reader::open(path).unwrap().read_state(|e| panic!("{e}"))
}

fn wait_until(what: &str, mut true_yet: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !true_yet() {
        assert!(Instant::now() < deadline, "in a minute not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_gives_the_very_state(events in proptest::collection::vec(any_event(), 0..300)) {
        let dir = tempfile::tempdir().unwrap();
        let (sink, live) = Live::start(header(), options(dir.path()));
        for event in &events {
            sink.emit_at(event.t, event.ev.clone());
        }
        let shared = live.shared();
        let report = live.finish("enough");
        prop_assert!(report.trouble.is_none() && report.unwritten == 0 && !report.ever_troubled);
        prop_assert_eq!(report.events, events.len() as u64 + 1);
        let again = replayed(dir.path());
        prop_assert_eq!(shared.state(), again);
    }
}

#[test]
fn numbers_json_does_not_know_are_not_folded_in_either() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, live) = Live::start(header(), options(dir.path()));
    let sample = crate::event::Sample { throttle_pct: Some(f64::NAN), round: Some(3), ..Default::default() };
    sink.emit(Body::Hypervisor(HvEvent::Sample { sample, raw: serde_json::Value::Null }));
    sink.emit(Body::Host(crate::event::HostEvent { cpu_pct: f64::INFINITY, hypervisors: Vec::new() }));
    let shared = live.shared();
    assert_eq!(live.finish("enough").events, 3);
    assert_eq!(shared.state(), replayed(dir.path()));
    shared.with_state(|s| assert!(s.host_cpu.is_empty() && s.log[0].text.contains("not finite")));
}

#[test]
fn waiters_are_woken() {
    let dir = tempfile::tempdir().unwrap();
    let (sink, live) = Live::start(header(), options(dir.path()));
    let mut changes = live.subscribe();
    let before = live.shared().version();
    sink.emit(log(1, "x").ev);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.unwrap().unwrap() });
    assert!(live.shared().version() > before);
    assert_eq!(live.state().log.len(), 1);
}

#[test]
fn a_session_dropped_in_a_panic_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_owned();
    let died = thread::spawn(move || {
        let (sink, _live) = Live::start(header(), options(&folder));
        for i in 0..1_000 {
            sink.emit(log(i, &format!("line {i}")).ev);
        }
        std::panic::resume_unwind(Box::new("as a test"));
    });
    assert!(died.join().is_err());
    let state = replayed(dir.path());
    assert_eq!(state.events, 1_001);
    assert_eq!(state.ended.as_deref(), Some("the program failed"));
}

#[test]
fn a_folder_that_cannot_be_made_is_trouble_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    // A file stands where the folder should be: refuses root as well.
    let folder = dir.path().join("sessions");
    fs::write(&folder, "in the way").unwrap();
    let (sink, live) = Live::start(header(), options(&folder));
    sink.emit(log(1, "kept in memory").ev);
    wait_until("trouble is an event", || live.state().health.recorder_trouble.is_some());
    wait_until("the line waits", || live.recorder_status().backlog >= 2);
    fs::remove_file(&folder).unwrap();
    wait_until("recovery is an event", || {
        let health = live.state().health;
        health.recorder_trouble.is_none() && health.recorder_ever_troubled
    });
    let shared = live.shared();
    let report = live.finish("enough");
    assert_eq!((report.unwritten, &report.trouble, report.ever_troubled), (0, &None, true));
    assert!(!report.is_sound());
    assert_eq!(shared.state(), replayed(&folder));
}

#[test]
fn what_could_never_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sessions");
    fs::write(&folder, "in the way").unwrap();
    let options = RecorderOptions { drain_limit: Duration::from_millis(300), ..options(&folder) };
    let (sink, live) = Live::start(header(), options);
    for i in 0..10 {
        sink.emit(log(i, "line").ev);
    }
    wait_until("trouble is an event", || live.state().health.recorder_trouble.is_some());
    let report = live.finish("enough");
    // Ten lines, the trouble and the end.
    assert_eq!((report.events, report.unwritten), (0, 12));
    let why = report.trouble.unwrap();
    assert!(why.contains("sessions"), "{why}");
}

#[test]
fn a_recorder_without_room_is_told_of_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sessions");
    fs::write(&folder, "in the way").unwrap();
    let options = RecorderOptions { backlog_bytes: 4_000, ..options(&folder) };
    let (sink, live) = Live::start(header(), options);
    for i in 0..200 {
        sink.emit(log(i, &format!("{i}: a line of some length, so that the room is soon full")).ev);
    }
    wait_until("the loss is counted", || live.recorder_status().lost > 100);
    fs::remove_file(&folder).unwrap();
    wait_until("all is written", || {
        let status = live.recorder_status();
        status.trouble.is_none() && status.backlog == 0
    });
    sink.emit(log(1_000, "there is room again").ev);
    let report = live.finish("enough");
    let state = replayed(&folder);
    assert!(state.health.lost_events >= 100, "{}", state.health.lost_events);
    assert_eq!(report.lost, state.health.lost_events);
    assert!(!report.is_sound());
}

#[test]
fn a_second_capture_in_a_folder_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["first", "second"] {
        let (sink, live) = Live::start(header(), options(dir.path()));
        sink.emit(log(1, text).ev);
        live.finish("enough");
    }
    assert_eq!(replayed(&dir.path().join("capture.jsonl")).log[0].text, "first");
    assert_eq!(replayed(&dir.path().join("capture-2.jsonl")).log[0].text, "second");
    assert_eq!(replayed(dir.path()).log[0].text, "second");
}

/// Runs one test of this binary in a process of its own.
fn own_process(program: &str, args: &[&str], test: &str, variable: &str, folder: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    if program != std::env::current_exe().unwrap().to_str().unwrap() {
        command.arg(std::env::current_exe().unwrap());
    }
    command
        .args([&format!("session::live::tests::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(variable, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Not a test by itself: the process that [`kill_9_leaves_all_but_the_last_moment`] kills.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os(VICTIM) else { return };
    let (sink, live) = Live::start(header(), options(std::path::Path::new(&folder)));
    let clock = sink.clock();
    // Ends by itself should its killer be gone.
    for seq in 0.. {
        sink.emit(Body::Agent(AgentEvent::Heartbeat { seq, guest_ns: clock.now() }));
        if clock.now() > 30_000_000_000 {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    drop(live);
}

#[test]
fn kill_9_leaves_all_but_the_last_moment() {
    let dir = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let mut child = own_process(exe.to_str().unwrap(), &[], "victim", VICTIM, dir.path()).spawn().unwrap();
    let capture = dir.path().join("capture.jsonl");
    wait_until("the victim records", || fs::metadata(&capture).is_ok_and(|m| m.len() > 40_000));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let mut reader = Reader::open(dir.path()).unwrap();
    let state = reader.read_state(|e| panic!("{e}"));
    assert!(state.events > 400, "{}", state.events);
    assert_eq!(state.ended, None);
    // No heartbeat is missing before the end.
    assert!(state.heartbeats.iter().map(|b| b.1).eq(0..state.heartbeats.len() as u64));
}

/// Not a test by itself: runs in a mount namespace of its own, on a disk of 256 KiB.
#[test]
fn on_a_small_disk() {
    let Some(folder) = std::env::var_os(SMALL_DISK) else { return };
    let folder = std::path::PathBuf::from(folder);
    let none: Option<&str> = None;
    nix::mount::mount(Some("tmpfs"), &folder, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=256k")).unwrap();
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![b'x'; 128 << 10]).unwrap();
    let (sink, live) = Live::start(header(), options(&folder));
    for k in 0..5_000 {
        sink.emit(Body::Probe(ProbeEvent::Lost { id: ProbeId(0), k, sent: k }));
    }
    wait_until("the disk is full", || live.state().health.recorder_trouble.is_some());
    // What is there is whole lines, and more events are taken meanwhile.
    let mut reader = Reader::open(&folder).unwrap();
    let so_far = reader.read_state(|e| panic!("{e}"));
    assert!(so_far.events > 500 && reader.torn().is_none(), "{} {:?}", so_far.events, reader.torn());
    sink.emit(Body::Log(LogEvent { level: Level::Info, from: "test".into(), text: "while it is full".into() }));
    wait_until("it is held back", || live.state().log.iter().any(|l| l.text == "while it is full"));
    let why = live.recorder_status().trouble.unwrap();
    assert!(why.contains("No space left"), "{why}");
    nix::mount::mount(none, &folder, none, nix::mount::MsFlags::MS_REMOUNT, Some("size=8m")).unwrap();
    wait_until("it recovers", || live.state().health.recorder_trouble.is_none());
    let shared = live.shared();
    let report = live.finish("enough");
    assert_eq!((report.unwritten, report.lost, report.ever_troubled), (0, 0, true));
    assert_eq!(shared.state(), replayed(&folder));
    let lost = shared.with_state(|s| s.health.orphan_outcomes);
    assert_eq!(lost, 5_000);
}

#[test]
fn a_full_disk_loses_nothing() {
    let can = |args: &[&str]| Command::new("unshare").args(args).arg("true").output().is_ok_and(|o| o.status.success());
    let args: &[&str] = if can(&["-m"]) {
        &["-m"]
    } else if can(&["-Urm"]) {
        &["-Urm"]
    } else {
        crate::testing::skipped("this machine allows no mount namespace, so there is no small disk to fill");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let output = own_process("unshare", args, "on_a_small_disk", SMALL_DISK, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
