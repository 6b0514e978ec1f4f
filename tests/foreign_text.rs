//! Text from outside (names, captures, arguments, files, hosts, refusals) never reaches a terminal as it
//! is: what would act on it, turn its reading direction round or not show is written out.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixListener;

use blackout::event::{Header, HostFacts, SCHEMA_MAJOR, SCHEMA_MINOR, Versions};
use blackout::text::is_hidden;
use common::{Place, Ran, run};
use serde_json::{Value, json};

/// A title, a bell, a return, a line break with a line that looks like one of ours, a tab, C1, DEL,
/// a turned reading direction, no width, a tag.
const EVIL: &str = "x\x1b]0;owned\x07y\x1b[31m\r\nblackout: all is well\t\u{9b}2J\u{85}\u{7f}\u{202e}abc\u{2066}\u{200b}\u{feff}\u{e0041}z";

/// Nothing in what was printed acts on a terminal, and no line is forged.
fn is_plain(ran: &Ran) {
    for (name, text) in [("stdout", &ran.out), ("stderr", &ran.err)] {
        let bad: Vec<char> = text.chars().filter(|c| *c != '\n' && is_hidden(*c)).collect();
        assert!(bad.is_empty(), "{name} holds {bad:?}: {text:?}");
        assert!(!text.lines().any(|l| l.starts_with("blackout: all is well")), "{name} holds a forged line: {text}");
    }
}

fn header(name: &str) -> Header {
    Header {
        schema_major: SCHEMA_MAJOR,
        schema_minor: SCHEMA_MINOR,
        name: name.into(),
        wall_origin_unix_ns: 1_795_380_977_354_870_760,
        versions: Versions {
            blackout: name.into(),
            hypervisor: Some(name.into()),
            guest_kernel: Some(name.into()),
            accelerator: Some(name.into()),
        },
        host: HostFacts { cpu: name.into(), cpus: 1, ram_bytes: 1 << 30, kernel: name.into() },
        settings: json!({ "command": name, name: [name, { name: name }] }).into(),
        seed: 1,
        simulated: false,
    }
}

/// Every kind of event that holds text, with this text in it.
fn events(evil: &str) -> Vec<Value> {
    let policy = json!({"name": evil, "remaining_pages_below": null, "rounds": 3, "ram_factor": null, "after_ns": null,
        "then": "stop-and-copy"});
    let settings = json!({"bandwidth_bytes_per_s": 1, "downtime_limit_ms": 1, "policy": policy, "post_copy": false,
        "auto_converge": false, "extra": {evil: evil}});
    let offers = json!({"product": evil, "parameters": [{"name": evil, "value": evil, "unit": evil, "live": true}],
        "post_copy": true, "auto_converge": true, "stop_and_copy": true, "cancel": true, "own_rule": evil});
    let spec = json!({"target": "192.0.2.1", "kind": "icmp", "engine": "threads", "interval_ns": 50_000_000,
        "deadline_ns": 1_000_000_000, "t0": 0, "cannot_see": []});
    let agent = json!({"connected": {"version": evil, "kernel": evil, "cpus": 1, "ram_bytes": 1, "wset_limit_bytes": 1,
        "transport": evil, "again": false}});
    let of_session = |ev: Value| json!({ "session": ev });
    let mut all = vec![
        json!({"log": {"level": "error", "from": evil, "text": evil}}),
        json!({"lab": {"step": {"what": evil}}}),
        json!({"lab": {"accel": {"chosen": evil, "why": evil}}}),
        json!({"lab": {"ready": {"guest": evil, "enter": evil}}}),
        of_session(json!({"environment": {"key": evil, "value": evil}})),
        of_session(json!({"environment": {"key": "hypervisor", "value": evil}})),
        of_session(json!({"overflow": {"queue": evil, "lost": 3}})),
        of_session(json!({"recorder_trouble": {"why": evil}})),
        json!({ "agent": agent }),
        json!({"agent": {"refused": {"id": 1, "why": evil}}}),
        json!({"agent": {"disconnected": {"why": evil}}}),
        json!({"operator": {"mark": {"note": evil}}}),
        json!({"operator": {"set_migration": {"to": settings}}}),
        json!({"operator": {"set_policy": {"to": policy}}}),
        json!({"host": {"cpu_pct": 1.0, "hypervisors": [[evil, 2.0]]}}),
        json!({"probe": {"started": {"id": 0, "spec": spec}}}),
        json!({"probe": {"error": {"id": 0, "k": 1, "what": evil}}}),
        json!({"hypervisor": {"host_up": {"host": evil, "version": evil, "pid": null}}}),
        json!({"hypervisor": {"offers": {"host": evil, "offers": offers}}}),
        json!({"hypervisor": {"host_lost": {"host": evil, "why": evil}}}),
    ];
    let last = json!({"at": {"host": evil, "running": true}});
    let ends = [
        json!({"failed": {"why": evil}}),
        json!({"cancelled": {"by": evil}}),
        json!({"unsettled": {"why": evil, "last": last, "seen": null}}),
        json!("done"),
    ];
    for (n, end) in ends.iter().enumerate() {
        let n = n + 1;
        all.extend([
            json!({"migration": {"began": {"n": n, "from": evil, "to": evil, "settings": settings}}}),
            json!({"hypervisor": {"phase": {"phase": "pre-copy", "raw": evil}}}),
            json!({"hypervisor": {"located": {"location": {"at": {"host": evil, "running": true}}}}}),
            json!({"hypervisor": {"located": {"location": {"unknown": {"why": evil}}}}}),
            json!({"hypervisor": {"befell": {"host": evil, "what": "reset", "detail": evil, "at": null}}}),
            json!({"migration": {"requested": {"n": n, "then": "cancel", "by": {"rule": {"own": {"words": evil}}}}}}),
            json!({"migration": {"refused": {"n": n, "then": "cancel", "why": evil}}}),
            json!({"hypervisor": {"raw": {"host": evil, "name": evil, "at": null, "data": {evil: evil}}}}),
            json!({"hypervisor": {"stopped": {"host": evil, "at": null}}}),
            json!({"hypervisor": {"resumed": {"host": evil, "at": null}}}),
            json!({"migration": {"ruled": {"n": n, "rule": {"own": {"words": evil}}, "then": "stop-and-copy"}}}),
            json!({"migration": {"ended": {"n": n, "end": end}}}),
            json!({"migration": {"settled": {"n": n}}}),
        ]);
    }
    all.push(json!({"session": {"ended": {"why": evil}}}));
    all.into_iter().enumerate().map(|(t, ev)| json!({"t": t * 1_000_000, "ev": ev})).collect()
}

fn capture(evil: &str) -> String {
    let lines = events(evil).into_iter().map(|e| e.to_string());
    let head = serde_json::to_string(&header(evil)).unwrap();
    std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn a_capture_full_of_escapes_is_shown_with_all_of_them_written_out() {
    let place = Place::new();
    let file = place.file("capture.jsonl", capture(EVIL));
    let show = |args: &[&str]| {
        let mut c = place.blackout(["show"]);
        c.args(args).arg(&file);
        let ran = run(c).ended_with(0);
        is_plain(&ran);
        ran
    };
    let text = show(&[]);
    assert!(text.out.contains("session      x\\x1b]0;owned\\x07y"), "{text}");
    assert!(text.out.contains("\\u{202e}abc") && text.out.contains("\\x9b2J"), "{text}");
    let told = show(&["--json"]).json();
    assert_eq!(told["header"]["name"], EVIL, "a program gets it as it was written");
    assert_eq!(told["migrations"].as_array().map(Vec::len), Some(4));
    show(&["--width", "60"]);
}

#[test]
fn broken_records_and_strange_names_of_files_are_told_in_visible_letters() {
    let place = Place::new();
    let name = OsString::from_vec([EVIL.replace('/', "").as_bytes(), b"\xff\xfe"].concat());
    let text = capture(EVIL) + "{\"t\":1,\"ev\":{\"x\u{202e}\u{9b}\u{7f}\":{}}}\n{\"t\":\"\u{200b}\"}\n";
    fs::write(place.path("").join(&name), text).unwrap();
    let with = |args: &[&str], code: i32| {
        let mut c = place.blackout(args.iter().map(OsString::from));
        c.arg(place.path("").join(&name));
        let ran = run(c).ended_with(code);
        is_plain(&ran);
        ran
    };
    let shown = with(&["show"], 3);
    assert!(shown.err.contains("not a valid record") && shown.err.contains("\\u{202e}"), "{shown}");
    with(&["calibrate"], 2);
    with(&["replay"], 2);
    for option in ["--theme", "--keymap", "--config", "--kernel", "--calibration"] {
        with(&["lab", "--headless", option], 2);
    }
    with(&["themes", "--check"], 2);
    with(&["agent", "--listen", "127.0.0.1:0", "--psk-file"], 2);
    with(&["agent", "--make-psk"], 2);
}

#[test]
fn arguments_are_quoted_in_visible_letters() {
    let place = Place::new();
    let evil = EVIL;
    let lines: [&[&str]; 14] = [
        &[evil],
        &["show"],
        &["show", evil],
        &["replay", evil],
        &["ping", evil],
        &["watch", evil],
        &["lab", "--headless", "--rate", evil],
        &["lab", "--headless", "--policy", evil],
        &["lab", "--headless", "--accel", evil],
        &["load", "--wset", evil],
        &["themes", "--print", evil],
        &["migrate", "--headless", "--source", evil, "--dest", evil, "--uri", evil],
        &["migrate", "--headless", "--source", "/a", "--dest", "/b", "--uri", "tcp:127.0.0.1:1", "--agent", evil],
        &["completions", evil],
    ];
    for line in lines {
        let ran = run(place.blackout(line.iter().copied()));
        is_plain(&ran);
        assert!(!ran.err.is_empty(), "{line:?}");
    }
    let mut c = place.blackout(["show"]);
    c.arg(OsString::from_vec(b"\xff\x1b[2J\xc2\x9b".to_vec()));
    is_plain(&run(c).ended_with(2));
}

#[test]
fn files_of_settings_are_quoted_in_visible_letters() {
    let place = Place::new();
    let quoted = json!(EVIL).to_string();
    // TOML takes no raw control characters: as escapes they reach the values.
    let quoted = blackout::text::json(&quoted).replace("\\udb40\\udc41", "\\U000E0041");
    for (name, text) in [
        ("key.toml", format!("{quoted} = 1\n")),
        ("value.toml", format!("theme = {quoted}\n")),
        ("rate.toml", format!("ping_interval = {quoted}\n")),
        ("raw.toml", format!("theme = \"{EVIL}\"\n")),
        ("base.toml", format!("base = {quoted}\n[style]\n{quoted} = {quoted}\n")),
        ("about.toml", format!("base = \"dark\"\nabout = {quoted}\n")),
    ] {
        let file = place.file(name, text);
        for args in [
            ["config", "--check", "--config"],
            ["lab", "--headless", "--config"],
            ["lab", "--headless", "--theme"],
            ["lab", "--headless", "--keymap"],
        ] {
            let mut c = place.blackout(args);
            c.arg(&file);
            is_plain(&run(c));
        }
        let mut c = place.blackout(["themes", "--check"]);
        c.arg(&file);
        is_plain(&run(c));
        // The list of themes has everybody's own.
        let own = place.path("config/blackout/themes");
        fs::create_dir_all(&own).unwrap();
        fs::copy(&file, own.join(format!("x\x1b[31m\u{202e}{name}"))).unwrap();
    }
    let mut c = place.blackout(["themes"]);
    c.env("XDG_CONFIG_HOME", place.path("config"));
    is_plain(&run(c).ended_with(0));
}

/// A monitor whose every answer is a refusal full of escapes.
fn refusing(place: &Place, name: &str, greeting: bool) -> String {
    let listener = UnixListener::bind(place.path(name)).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let version = json!({"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": EVIL});
                let hello = json!({"QMP": {"version": version, "capabilities": []}});
                let hello = if greeting { format!("{hello}\r\n") } else { EVIL.to_owned() + "\n" };
                stream.write_all(hello.as_bytes()).ok()?;
                for line in BufReader::new(stream.try_clone().ok()?).lines() {
                    let asked: Value = serde_json::from_str(&line.ok()?).ok()?;
                    let answer = match asked["execute"].as_str()? {
                        "qmp_capabilities" => json!({"return": {}, "id": asked["id"]}),
                        _ => json!({"error": {"class": EVIL, "desc": EVIL}, "id": asked["id"]}),
                    };
                    stream.write_all(format!("{answer}\r\n").as_bytes()).ok()?;
                }
                Some(())
            });
        }
    });
    place.path(name).display().to_string()
}

#[test]
fn what_a_monitor_says_is_told_in_visible_letters() {
    let place = Place::new();
    for greeting in [true, false] {
        let (a, b) =
            (refusing(&place, &format!("a{greeting}"), greeting), refusing(&place, &format!("b{greeting}"), greeting));
        let mut c =
            place.blackout(["migrate", "--headless", "--uri", "tcp:127.0.0.1:1", "--warm-up", "0s", "--source", &a]);
        c.args(["--dest", &b, "--out"]).arg(place.path(&format!("out{greeting}")));
        let ran = run(c);
        is_plain(&ran);
        assert!(ran.err.contains("owned"), "{ran}");
    }
}

#[test]
fn names_of_files_may_be_anything_and_work() {
    let place = Place::new();
    let name = OsString::from_vec(b"a\n\x1b[2J.jsonl".to_vec());
    fs::write(place.path("").join(&name), capture("plain")).unwrap();
    let mut c = place.blackout(["show"]);
    c.arg(place.path("").join(&name));
    let ran = run(c).ended_with(0);
    assert!(ran.out.contains("session      plain"), "{ran}");
    assert!(!name.as_bytes().is_empty());
}
