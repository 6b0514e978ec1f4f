//! What the program says to input that is wrong: what is wrong, where, and what would be right;
//! with the exit code the README documents, and nothing of its innards.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use blackout::event::{Event, Header, HostFacts, SCHEMA_MAJOR, SCHEMA_MINOR, Versions};
use common::{BLACKOUT, Place, Ran, Running, run};
use serde_json::{Value, json};

/// Arguments that must be refused, and words of the refusal.
fn refused(place: &Place, args: &str, words: &[&str]) {
    run(place.blackout(args.split_whitespace())).ended_with(2).said(words);
}

#[test]
fn values_that_make_no_sense_are_refused_with_what_would() {
    let place = Place::new();
    for command in ["load", "lab --headless", "migrate --headless --source /a --dest /b --uri tcp:127.0.0.1:1"] {
        let bad = |args: &str, words: &[&str]| refused(&place, &format!("{command} {args}"), words);
        bad("--rate 9k/s", &["invalid RATE '9k/s'", "for instance 9000"]);
        bad("--rate -1", &["invalid RATE '-1'", "negative"]);
        bad("--rate=-1", &["invalid RATE '-1'", "negative"]);
        bad("--rate NaN", &["invalid RATE 'NaN'"]);
        bad("--rate 9000", &["RATE 9,000 pages/s dirties nothing without a WSET", "--wset 96M"]);
        bad("--wset 96X", &["invalid memory size '96X'", "96M"]);
        bad("--wset=-1", &["invalid memory size '-1'", "96M"]);
        bad("--period 10", &["invalid duration '10'", "no unit", "50ms"]);
        bad("--fill 200", &["invalid percentage '200'", "0 to 100"]);
        bad("--load 101", &["invalid percentage '101'", "0 to 100"]);
        bad("--pattern spiral", &["spiral", "cyclic", "random", "hotspot"]);
    }
    refused(&place, "lab --headless --policy foo", &["invalid stop policy 'foo'", "xen-3.4", "none", "timeout"]);
    refused(&place, "lab --headless --policy after=15", &["invalid duration '15'", "no unit"]);
    refused(&place, "lab --headless --policy then=explode", &["then=explode", "stop-and-copy", "post-copy", "cancel"]);
    refused(&place, "lab --headless --policy rounds=many", &["many", "rounds=10"]);
    refused(&place, "lab --headless --bandwidth 32MB/h", &["32MB/h", "for instance 32M"]);
    // One meaning everywhere: to QEMU 0 is no limit, to the demo it was nothing at all.
    for command in ["lab --headless", "demo --headless", "migrate --headless --source /a --dest /b --uri tcp:h:1"] {
        refused(&place, &format!("{command} --bandwidth 0"), &["bandwidth limit", "'0'", "max-bandwidth=0"]);
    }
    refused(&place, "lab --headless --warm-up 2", &["invalid duration '2'", "no unit"]);
    refused(&place, "lab --headless --ping-interval 50", &["invalid duration '50'", "no unit"]);
    refused(&place, "lab --headless --accel turbo", &["turbo", "auto", "kvm", "tcg"]);
    refused(&place, "lab --headless --migrations 0", &["--migrations", "0"]);
    refused(&place, "lab --migrations 2", &["--headless"]);
    refused(&place, "lab", &["not a terminal", "--headless"]);
    refused(&place, "ping", &["<TARGET>"]);
    refused(&place, "agent", &["--listen", "--stdio"]);
    refused(&place, "agent --listen 127.0.0.1:0", &["--psk-file"]);
    refused(&place, "frobnicate", &["frobnicate", "--help"]);
    assert!(!place.path("blackout").exists(), "nothing was started for it");
}

#[test]
fn a_load_over_this_machines_limit_is_refused_with_the_numbers() {
    let place = Place::new();
    refused(&place, "load --wset 4000000G", &["WSET", "is over the limit of", "RAM", "reserve"]);
}

#[test]
fn a_kernel_that_is_none_is_refused_before_anything_starts() {
    let place = Place::new();
    let kernel = |path: &str, words: &[&str]| refused(&place, &format!("lab --headless --kernel {path}"), words);
    kernel("/etc/passwd", &["/etc/passwd", "not a Linux kernel in the bzImage format", "/boot/vmlinuz-"]);
    kernel("/etc", &["/etc", "directory", "/boot/vmlinuz-"]);
    kernel("/nonexistent/vmlinuz", &["/nonexistent/vmlinuz", "No such file", "/boot/vmlinuz-"]);
    assert!(!place.path("blackout").exists(), "nothing was started for it");
}

/// `blackout migrate` between these sockets.
fn migrate(place: &Place, source: &str, dest: &str, more: &[&str]) -> Ran {
    let mut c =
        place.blackout(["migrate", "--headless", "--uri", "tcp:127.0.0.1:1", "--source", source, "--dest", dest]);
    c.arg("--out").arg(place.path("out")).args(more);
    run(c)
}

/// A listener that says `words` to everybody, and then listens.
fn says(place: &Place, name: &str, words: &'static [u8]) -> String {
    let listener = UnixListener::bind(place.path(name)).unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(words);
            held.push(stream);
        }
    });
    place.path(name).display().to_string()
}

#[test]
fn a_socket_that_is_no_qmp_is_named() {
    let place = Place::new();
    let is_not = ["'source'", "not QMP"];
    let ssh = says(&place, "ssh", b"SSH-2.0-OpenSSH_9.2\r\n");
    migrate(&place, &ssh, &ssh, &[]).ended_with(2).said(&is_not).said(&["SSH-2.0-OpenSSH_9.2", &ssh, "mode=control"]);
    let garbage = says(&place, "garbage", b"\xff\xfe\x00\x01\r\n");
    migrate(&place, &garbage, &ssh, &[]).ended_with(2).said(&is_not).said(&[&garbage]);
    let other = says(&place, "json", b"{\"hello\": \"world\"}\r\n");
    migrate(&place, &other, &ssh, &[]).ended_with(2).said(&is_not).said(&[&other]);
    let silent = says(&place, "silent", b"");
    migrate(&place, &silent, &ssh, &[]).ended_with(2).said(&[
        "'source'",
        &silent,
        "no QMP greeting",
        "another program",
    ]);
}

#[test]
fn a_socket_that_is_not_there_is_named() {
    let place = Place::new();
    let ssh = says(&place, "ssh", b"SSH-2.0-OpenSSH_9.2\r\n");
    let missing = place.path("missing").display().to_string();
    migrate(&place, &missing, &ssh, &[]).ended_with(2).said(&["'source'", &missing, "there is no such socket"]);
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refuses = format!("tcp:127.0.0.1:{port}");
    migrate(&place, &refuses, &ssh, &[]).ended_with(2).said(&["'source'", &refuses, "refused", "nothing listens"]);
    let file = place.file("file", "x").display().to_string();
    migrate(&place, &file, &ssh, &[]).ended_with(2).said(&["'source'", &file, "nothing listens"]);
    migrate(&place, "nonsense", &ssh, &[]).ended_with(2).said(&["--source", "'nonsense'", "tcp:host:port"]);
    let good = qmp(&place, "good", "running");
    migrate(&place, &good, &ssh, &[]).ended_with(2).said(&["'dest'", "not QMP"]);
}

/// A monitor that knows just enough to be connected to.
fn qmp(place: &Place, name: &str, status: &'static str) -> String {
    let listener = UnixListener::bind(place.path(name)).unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || monitor(stream, status));
        }
    });
    place.path(name).display().to_string()
}

fn monitor(mut stream: UnixStream, status: &str) -> Option<()> {
    let greeting = json!({"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}}, "capabilities": []}});
    stream.write_all(format!("{greeting}\r\n").as_bytes()).ok()?;
    let mut migration = json!({});
    for line in BufReader::new(stream.try_clone().ok()?).lines() {
        let request: Value = serde_json::from_str(&line.ok()?).ok()?;
        let answer = match request["execute"].as_str()? {
            "query-status" => json!({"status": status, "running": status == "running"}),
            "query-migrate-capabilities" => json!([{"capability": "events", "state": false}]),
            "query-migrate-parameters" => json!({"max-bandwidth": 1000, "downtime-limit": 300}),
            "query-migrate" => migration.clone(),
            "migrate" => {
                migration = json!({"status": "failed", "error-desc": "this is no real monitor"});
                json!({})
            }
            _ => json!({}),
        };
        stream.write_all(format!("{}\r\n", json!({"return": answer, "id": request["id"]})).as_bytes()).ok()?;
    }
    Some(())
}

/// A real agent on a port of its own, and that port.
fn agent(place: &Place, psk: &Path) -> (Running, u16) {
    let mut c = place.blackout(["agent", "--listen", "127.0.0.1:0", "--psk-file"]);
    c.arg(psk);
    let mut agent = Running::start(c);
    let mut err = BufReader::new(agent.child().stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("listening on ") {
        assert!(err.read_line(&mut said).unwrap() > 0, "it ended early: {said}");
    }
    // Read on, lest it be stopped by a full pipe.
    std::thread::spawn(move || err.read_to_end(&mut Vec::new()));
    let port = said.rsplit_once("127.0.0.1:").unwrap().1.split(',').next().unwrap().trim().parse().unwrap();
    (agent, port)
}

fn key(place: &Place, name: &str) -> PathBuf {
    let mut c = place.blackout(["agent", "--make-psk"]);
    c.arg(place.path(name));
    run(c).ended_with(0);
    place.path(name)
}

#[test]
fn a_wrong_key_is_told_at_once() {
    let place = Place::new();
    let (source, dest) = (qmp(&place, "a", "running"), qmp(&place, "b", "inmigrate"));
    let (right, wrong) = (key(&place, "right"), key(&place, "wrong"));
    let (_agent, port) = agent(&place, &right);
    let addr = format!("127.0.0.1:{port}");
    let with = |key: &Path| migrate(&place, &source, &dest, &["--agent", &addr, "--psk-file", key.to_str().unwrap()]);
    with(&wrong).ended_with(2).said(&["agent", &addr, "pre-shared key", "the same key file"]);
    // With the right key it gets as far as the migration, which this monitor cannot do.
    let ran =
        migrate(&place, &source, &dest, &["--agent", &addr, "--psk-file", right.to_str().unwrap(), "--warm-up", "0s"]);
    let ran = ran.ended_with(1).said(&["connected by tcp", "this is no real monitor"]);
    assert!(!ran.err.contains("pre-shared key"), "{ran}");
}

#[test]
fn a_key_file_that_is_none_is_named() {
    let place = Place::new();
    let (source, dest) = ("/run/a", "/run/b");
    let with = |file: &str| migrate(&place, source, dest, &["--agent", "127.0.0.1:1", "--psk-file", file]);
    with("/nonexistent/psk").ended_with(2).said(&["/nonexistent/psk", "No such file"]);
    let short = place.file("short", "abc");
    fs::set_permissions(&short, fs::Permissions::from_mode(0o600)).unwrap();
    with(short.to_str().unwrap()).ended_with(2).said(&["short", "32 bytes", "--make-psk"]);
    migrate(&place, source, dest, &["--agent", "127.0.0.1:1"]).ended_with(2).said(&["--psk-file"]);
    migrate(&place, source, dest, &["--rate", "9", "--wset", "1M"]).ended_with(2).said(&["--agent"]);
    migrate(&place, source, dest, &["--agent", "ssh:"]).ended_with(2).said(&["ssh:root@"]);
}

/// Runs a session whose `ssh` is this script.
fn with_ssh(script: &str) -> Ran {
    let place = Place::new();
    let (source, dest) = (qmp(&place, "a", "running"), qmp(&place, "b", "inmigrate"));
    let ssh = place.file("ssh", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let mut c = place.blackout(["migrate", "--headless", "--uri", "tcp:127.0.0.1:1", "--agent", "ssh:guest"]);
    c.args(["--source", &source, "--dest", &dest, "--warm-up", "0s", "--out"]);
    c.arg(place.path("out"));
    let path = std::env::var("PATH").unwrap();
    c.env("PATH", format!("{}:{path}", ssh.parent().unwrap().display()));
    run(c)
}

#[test]
fn an_agent_of_another_protocol_version_is_told_at_once() {
    let hello = r#"{"type":"hello","protocol":99,"version":"9.9","new":"field"}"#;
    // Its length goes before it, in four bytes.
    let ran = with_ssh(&format!(r"printf '\000\000\000\{:03o}%s' '{hello}'; cat >/dev/null", hello.len()));
    ran.ended_with(2).said(&["cannot work with the agent", "protocol", "99", "version"]);
    // The same way with this very program reaches the agent, so the above shows something.
    let ran = with_ssh(&format!("exec {BLACKOUT} agent --stdio"));
    ran.ended_with(1).said(&["connected by stdio"]);
}

#[test]
fn an_agent_port_where_something_else_answers_is_told() {
    let place = Place::new();
    let (source, dest) = (qmp(&place, "a", "running"), qmp(&place, "b", "inmigrate"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
            let _ = stream.read(&mut [0; 100]);
        }
    });
    let psk = key(&place, "psk");
    let ran = migrate(&place, &source, &dest, &["--agent", &addr, "--psk-file", psk.to_str().unwrap()]);
    ran.ended_with(2).said(&["agent", &addr, "not a blackout agent"]);
}

fn line(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap() + "\n"
}

fn header(schema_major: u32, schema_minor: u32) -> String {
    line(&Header {
        schema_major,
        schema_minor,
        name: "lab".into(),
        wall_origin_unix_ns: 1,
        versions: Versions::default(),
        host: HostFacts::default(),
        settings: Default::default(),
        seed: 1,
        simulated: false,
    })
}

fn remark(t: u64) -> String {
    let e: Event = serde_json::from_value(
        json!({"t": t, "ev": {"log": {"level": "info", "from": "test", "text": format!("remark {t}")}}}),
    )
    .unwrap();
    line(&e)
}

#[test]
fn a_capture_that_is_not_whole_is_read_as_far_as_it_goes() {
    let place = Place::new();
    let show = |name: &str, content: Vec<u8>| {
        let mut c = place.blackout(["show", "--json"]);
        c.arg(place.file(name, content));
        run(c)
    };
    let begin = header(SCHEMA_MAJOR, SCHEMA_MINOR);
    let whole = format!("{begin}{}{}{}", remark(1), remark(2), remark(3));
    assert_eq!(show("whole", whole.clone().into()).ended_with(0).json()["events"], 3);

    let corrupt = format!("{begin}{}{{\"t\":2,\"ev\":{{\"log\n{}", remark(1), remark(3));
    let ran = show("corrupt", corrupt.into()).ended_with(3).said(&["corrupt:3: not a valid record", "skipped"]);
    assert_eq!(ran.json()["events"], 2, "the rest is read");

    let binary = [begin.as_bytes(), b"\x00\xff\xfe\n", remark(1).as_bytes()].concat();
    assert_eq!(show("binary", binary).ended_with(3).said(&["binary:2: "]).json()["events"], 1);

    let torn = &whole[..whole.len() - 9];
    let ran = show("torn", torn.into()).ended_with(0).said(&["torn: the last line is torn", "all before it is whole"]);
    assert_eq!(ran.json()["events"], 2);

    show("newer", header(SCHEMA_MAJOR + 1, 4).into()).ended_with(2).said(&[
        "newer: ",
        &format!("schema {}.4", SCHEMA_MAJOR + 1),
        "a newer blackout",
    ]);
    show("garbage", b"\x8b\x00nonsense\nmore\n".into()).ended_with(2).said(&["garbage:1: not a capture", "header"]);
    show("empty", Vec::new()).ended_with(2).said(&["empty: is empty", "header"]);

    let minor =
        format!("{}{}{{\"t\":2,\"ev\":{{\"future\":{{}}}}}}\n", header(SCHEMA_MAJOR, SCHEMA_MINOR + 1), remark(1));
    show("minor", minor.into()).ended_with(0).said(&["1 records of a newer schema were skipped"]);
}

#[test]
fn a_capture_that_is_not_there_is_named() {
    let place = Place::new();
    refused(&place, "show /nonexistent/capture", &["/nonexistent/capture", "No such file"]);
    fs::create_dir(place.path("folder")).unwrap();
    let folder = place.path("folder").display().to_string();
    refused(&place, &format!("show {folder}"), &[&folder, "no capture.jsonl in this folder"]);
    refused(&place, &format!("replay {folder}"), &["not a terminal", "blackout show"]);
    refused(&place, "replay --speed 1000 x", &["speed", "0.1 to 100", "1000"]);
}

/// A session that ends soon and by itself; it is the capture that matters.
fn short_session(place: &Place, out: &str) -> Command {
    let (source, dest) = (qmp(place, "a", "running"), qmp(place, "b", "inmigrate"));
    let mut c = Command::new("true");
    c.args(["migrate", "--headless", "--uri", "tcp:127.0.0.1:1", "--warm-up", "0s"]);
    c.args(["--source", &source, "--dest", &dest, "--out", out]);
    c
}

#[test]
fn an_unwritable_folder_is_told_and_costs_only_the_capture() {
    let place = Place::new();
    let out = place.file("file", "in the way").join("out").display().to_string();
    let plan = short_session(&place, &out);
    let ran = run(place.blackout(plan.get_args()));
    let ran =
        ran.ended_with(3).said(&["the capture cannot be written", &out, "is not sound", "this is no real monitor"]);
    assert!(!ran.err.contains("\ncapture: "), "there is none: {ran}");
}

/// Runs the session with its capture on a file system of 64 KiB that is full.
#[test]
fn a_full_disk_is_told_and_costs_only_the_capture() {
    let place = Place::new();
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    let script =
        r#"mount -t tmpfs -o size=64k tmpfs "$0" && { cat /dev/zero >"$0/fill" 2>/dev/null; exec "$@"; } || exit 77"#;
    let plan = short_session(&place, &disk.join("out").display().to_string());
    let root = nix::unistd::geteuid().is_root();
    let mut c = Command::new("unshare");
    c.arg(if root { "-m" } else { "-Urm" }).args(["sh", "-c", script]).arg(&disk).arg(BLACKOUT).args(plan.get_args());
    c.envs(place.environment()).stdin(Stdio::null());
    let Ok(output) = c.output() else {
        common::skipped("there is no unshare here");
        return;
    };
    let err = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || err.starts_with("unshare:") {
        common::skipped(format_args!("no tmpfs can be mounted here: {err}"));
        return;
    }
    assert_eq!(output.status.code(), Some(3), "{err}");
    for word in ["the capture cannot be written", "No space left on device", "is not sound", "this is no real monitor"]
    {
        assert!(err.contains(word), "'{word}' is missing in\n{err}");
    }
    assert!(!err.contains("panicked at"), "{err}");
}

/// Runs a command nothing listens to.
fn unheard(mut command: Command) -> Option<i32> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    child.wait().unwrap().code()
}

#[test]
fn output_that_nobody_reads_is_no_reason_to_stop() {
    let place = Place::new();
    // A panic would be 101.
    assert_eq!(unheard(place.blackout(["show", "/nonexistent/capture"])), Some(2));
    for args in [&["doctor"][..], &[], &["load", "--duration", "1s"], &["ping", "127.0.0.1", "--count", "3"]] {
        let code = unheard(place.blackout(args));
        assert!(matches!(code, Some(0..=2)), "{args:?}: {code:?}");
    }
    // A session goes on to its end: its capture is what matters.
    let plan = short_session(&place, &place.path("out").display().to_string());
    assert_eq!(unheard(place.blackout(plan.get_args())), Some(1));
    let capture = fs::read_to_string(place.path("out/capture.jsonl")).unwrap();
    assert!(
        capture.contains("this is no real monitor") && capture.contains("\"ended\":{\"why\":\"quit\"}"),
        "{capture}"
    );
}
