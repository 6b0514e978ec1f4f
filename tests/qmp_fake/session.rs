//! A whole session of the program against pretended QEMUs that take no cancel: it ends all the same, says
//! that it is unsettled, prints its result, and leaves a whole capture.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::server::Fake;
use super::{arrive, ram};

/// The exit code of a session that lost sight of a migration.
const UNSETTLED: i32 = 4;

struct Session {
    _dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Session {
    fn start(dir: tempfile::TempDir, extra: &[&str]) -> Self {
        let p = |name: &str| dir.path().join(name).display().to_string();
        let out = p("out.jsonl");
        let child = Command::new(env!("CARGO_BIN_EXE_blackout"))
            .args(["migrate", "--headless", "--json", "--warm-up", "0s", "--uri", "tcp:127.0.0.1:1", "--out", &out])
            .args(["--source", &format!("{},{}", p("a.c"), p("a.e"))])
            .args(["--dest", &format!("{},{}", p("b.c"), p("b.e"))])
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { _dir: dir, child: Some(child) }
    }

    fn terminate(&self) {
        let pid = self.child.as_ref().unwrap().id();
        Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
    }

    async fn ended(mut self, within: Duration) -> (Output, Value, tempfile::TempDir) {
        let child = self.child.take().unwrap();
        let pid = child.id();
        let waiting = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let Ok(output) = tokio::time::timeout(within, waiting).await else {
            Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
            panic!("not ended within {within:?}");
        };
        let output = output.unwrap();
        let result = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        let dir = std::mem::replace(&mut self._dir, tempfile::tempdir().unwrap());
        (output, result, dir)
    }
}

fn pair() -> (tempfile::TempDir, Fake, Fake) {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Fake::open(dir.path(), "a", "running"), Fake::open(dir.path(), "b", "inmigrate"));
    (dir, a, b)
}

fn last_records(dir: &Path) -> String {
    let name = std::fs::read_dir(dir).unwrap().flatten().find(|e| e.file_name().to_string_lossy().starts_with("out"));
    let path = name.unwrap().path();
    let path = if path.is_dir() { path.join("capture.jsonl") } else { path };
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_out_whose_cancel_is_refused_ends_unsettled() {
    let (dir, a, _b) = pair();
    a.refuse("migrate_cancel", "not today");
    let session = Session::start(dir, &["--give-up-after", "1s"]);
    a.given("migrate").await;
    a.migration("active", ram(1, 5000));
    let (output, result, dir) = session.ended(Duration::from_secs(45)).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(UNSETTLED), "{stderr}");
    assert!(stderr.contains("UNSETTLED") && stderr.contains("runs at source"), "{stderr}");
    let row = &result["migrations"][0];
    assert_eq!(row["outcome"], "unsettled", "{row}");
    let request = &row["requests"][0];
    assert_eq!(
        (&request["by"], &request["took_effect"]),
        (&Value::from("--give-up-after 1.00 s"), &Value::from(false)),
        "{request}"
    );
    assert!(last_records(dir.path()).contains("\"unsettled\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_is_obeyed_at_once_with_the_result_and_a_whole_capture() {
    let (dir, a, _b) = pair();
    a.hang(&["migrate_cancel"]);
    let session = Session::start(dir, &[]);
    a.given("migrate").await;
    a.migration("active", ram(1, 5000));
    session.terminate();
    a.given("migrate_cancel").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = Instant::now();
    session.terminate();
    let (output, result, dir) = session.ended(Duration::from_secs(20)).await;
    let took = second.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(took < Duration::from_secs(2), "{took:?}: {stderr}");
    assert_eq!(output.status.code(), Some(UNSETTLED), "{stderr}");
    assert_eq!(result["migrations"][0]["outcome"], "unsettled");
    let capture = last_records(dir.path());
    assert!(capture.ends_with('\n') && capture.lines().last().unwrap().contains("ended"), "{capture}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_signal_is_enough_where_a_cancel_hangs() {
    let (dir, a, _b) = pair();
    a.hang(&["migrate_cancel"]);
    let session = Session::start(dir, &[]);
    a.given("migrate").await;
    a.migration("active", ram(1, 5000));
    session.terminate();
    let (output, result, _) = session.ended(Duration::from_secs(45)).await;
    assert_eq!(output.status.code(), Some(UNSETTLED), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(result["migrations"][0]["requests"][0]["by"], "the end of the session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_is_not_at_the_source_is_not_migrated_and_both_hosts_keep_their_names() {
    let (dir, a, b) = pair();
    a.status("postmigrate");
    b.status("running");
    let session = Session::start(dir, &[]);
    let (output, result, _) = session.ended(Duration::from_secs(30)).await;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let row = &result["migrations"][0];
    assert_eq!((&row["from"], &row["to"], &row["outcome"]), (&"source".into(), &"dest".into(), &"failed".into()));
    assert!(row["verdict"].as_str().unwrap().contains("the guest runs at dest"), "{row}");
    assert_eq!(result["guest"]["at"]["host"], "dest");
    assert!(!a.orders().contains(&"migrate".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_guest_is_is_told_at_attach_and_after_the_move() {
    let (dir, a, b) = pair();
    let session = Session::start(dir, &[]);
    a.given("migrate").await;
    a.migration("active", ram(1, 5000));
    a.looked(2).await;
    b.answer(serde_json::json!({"status": "completed"}));
    arrive(&a, &b, ram(2, 0));
    let (output, result, dir) = session.ended(Duration::from_secs(30)).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(result["guest"]["at"]["host"], "dest");
    let capture = last_records(dir.path());
    let at = |text: &str| capture.find(text).unwrap_or_else(|| panic!("no {text} in {capture}"));
    assert!(at("\"located\":{\"location\":{\"at\":{\"host\":\"source\",\"running\":true") < at("\"began\""));
    assert!(at("\"ready\":{\"from\":\"source\"") < at("\"began\""));
    assert!(at("\"located\":{\"location\":{\"at\":{\"host\":\"dest\",\"running\":true") < at("\"ended\""));
}
