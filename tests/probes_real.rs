//! `blackout ping` against a target that misbehaves, made of a TUN device in a network namespace of its own:
//! both engines, raw and datagram sockets, IPv4 and IPv6 must judge alike, and nothing of what is heard
//! may vanish.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on ends")]

mod common;

use std::io::Read;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::tun::{self, Packet, Tun};
use serde_json::{Value, json};

const V4: &str = "10.99.0.2";
const V6: &str = "fd99::2";
const SLOTS: u64 = 40;

/// One run of `blackout ping`: how it is judged.
#[derive(Debug, Clone, PartialEq)]
struct Judged {
    ok: u64,
    lost: u64,
    error: u64,
    not_sent: u64,
    duplicate: u64,
    heard: Vec<(String, u64)>,
    code: Option<i32>,
}

fn ping(target: &str, engine: &str, more: &[&str]) -> std::process::Child {
    let mut command = Command::new(common::BLACKOUT);
    command.args(["ping", target, "--json", "-q", "--engine", engine]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn summary(child: std::process::Child) -> (Value, Option<i32>) {
    let ran = child.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    let last = out.lines().last().unwrap_or_default();
    let json: Value =
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{e} in {out}\n{}", String::from_utf8_lossy(&ran.stderr)));
    (json["summary"].clone(), ran.status.code())
}

fn judged(child: std::process::Child) -> Judged {
    let (s, code) = summary(child);
    let n = |key: &str| s[key].as_u64().unwrap();
    let heard = s["heard"].as_array().unwrap().iter();
    let heard = heard.map(|h| (h["what"].as_str().unwrap().to_owned(), h["n"].as_u64().unwrap()));
    Judged {
        ok: n("ok"),
        lost: n("lost"),
        error: n("error"),
        not_sent: n("not_sent"),
        duplicate: n("duplicate"),
        heard: heard.filter(|(what, _)| what != "duplicate").collect(),
        code,
    }
}

/// Every engine against both families at once, all of which must come to `expected` but for slots that were
/// not sent by a busy machine.
fn all(case: &str, socket: &str, families: &[&str], expected: &Judged) {
    let slots = SLOTS.to_string();
    let more = ["-i", "10ms", "-c", &slots, "--deadline", "300ms"];
    let runs = families.iter().flat_map(|target| ["surge-ping", "threads"].map(|engine| (*target, engine)));
    let children: Vec<_> = runs.map(|(target, engine)| (target, engine, ping(target, engine, &more))).collect();
    for (target, engine, child) in children {
        let mut seen = judged(child);
        let unsent = seen.not_sent;
        assert!(unsent < SLOTS / 2, "{case}: too busy a machine: {seen:?}");
        let part = |n: u64| if n.is_multiple_of(SLOTS) { n - n / SLOTS * unsent } else { n };
        let heard = expected.heard.iter().map(|(what, n)| (what.clone(), part(*n))).collect();
        let expected = Judged {
            ok: part(expected.ok),
            lost: part(expected.lost),
            error: part(expected.error),
            duplicate: part(expected.duplicate),
            heard,
            ..expected.clone()
        };
        seen.not_sent = 0;
        // The last answer ends it: whether its copies were read as well is left to chance.
        if (expected.duplicate.saturating_sub(4)..=expected.duplicate).contains(&seen.duplicate) {
            seen.duplicate = expected.duplicate;
        }
        assert_eq!(seen, expected, "{case}, {socket} socket, {engine}, {target}");
    }
}

fn nothing() -> Judged {
    Judged { ok: 0, lost: 0, error: 0, not_sent: 0, duplicate: 0, heard: Vec::new(), code: Some(0) }
}

fn lost() -> Judged {
    Judged { lost: SLOTS, code: Some(1), ..nothing() }
}

fn ok() -> Judged {
    Judged { ok: SLOTS, ..nothing() }
}

fn heard(what: &str) -> Vec<(String, u64)> {
    vec![(what.to_owned(), SLOTS)]
}

fn stranger(p: &Packet) -> IpAddr {
    if p.is_v4() { [10, 99, 0, 77].into() } else { "fd99::77".parse().unwrap() }
}

fn cases(world: &Tun, socket: &str) {
    let both = [V4, V6];

    world.answer(|p| vec![p.reply(); 5]);
    all("duplicates", socket, &both, &Judged { duplicate: 4 * SLOTS, ..ok() });

    world.answer(move |p| vec![p.reply().from(stranger(p))]);
    all("another address", socket, &both, &Judged { heard: heard("elsewhere"), ..lost() });

    world.answer(move |p| vec![p.reply().from(stranger(p)), p.reply()]);
    all("another address, too", socket, &both, &Judged { heard: heard("elsewhere"), ..ok() });

    world.answer(|p| vec![p.reply().cut(20)]);
    all("truncated", socket, &both, &Judged { heard: heard("truncated"), ..lost() });

    world.answer(|p| vec![p.reply().flip(30)]);
    all("changed", socket, &both, &Judged { heard: heard("corrupt"), ..lost() });
    world.answer(|p| vec![p.reply().flip(39)]);
    all("changed in the time of sending", socket, &both, &Judged { heard: heard("corrupt"), ..lost() });

    // Datagram sockets are not handed what has a wrong checksum: the kernel's own count is told then.
    world.answer(|p| vec![p.reply().wrong_checksum()]);
    let refused = if socket == "raw" { heard("corrupt") } else { Vec::new() };
    all("wrong checksum", socket, &[V4], &Judged { heard: refused, ..lost() });
    all("wrong checksum", socket, &[V6], &lost());

    world.answer(|p| vec![p.error(4, 0, 40), p.reply()]);
    all("source quench beside the answer", socket, &[V4], &Judged { heard: heard("informational"), ..ok() });
    world.answer(|p| vec![p.error(4, 0, 40)]);
    all("source quench", socket, &[V4], &Judged { heard: heard("informational"), ..lost() });

    world.answer(|p| vec![p.error(p.unreachable(), 1, 40)]);
    all("unreachable", socket, &both, &Judged { error: SLOTS, code: Some(1), ..nothing() });

    world.answer(|p| vec![p.error(p.unreachable(), 1, 8)]);
    all("a blind error", socket, &both, &Judged { heard: heard("unverified"), ..lost() });
    world.answer(|p| vec![p.error(p.unreachable(), 1, 8), p.reply()]);
    all("a blind error before the answer", socket, &both, &Judged { heard: heard("unverified"), ..ok() });
    world.answer(|p| vec![p.forged_error(p.unreachable(), 1), p.reply()]);
    all("an error with a token made up", socket, &both, &Judged { heard: heard("implausible"), ..ok() });

    world.answer(|_| Vec::new());
    all("silence", socket, &both, &lost());
}

#[test]
fn all_engines_and_sockets_judge_alike() {
    if !tun::inside("all_engines_and_sockets_judge_alike") {
        return;
    }
    let world = Tun::open("bo-t0");
    // Raw sockets first: the namespace begins without datagram ICMP.
    cases(&world, "raw");
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
    cases(&world, "datagram");
}

#[test]
fn no_answer_is_lost_to_duplicates() {
    if !tun::inside("no_answer_is_lost_to_duplicates") {
        return;
    }
    let world = Tun::open("bo-t1");
    world.answer(|p| vec![p.reply(); 5]);
    for socket in ["raw", "datagram"] {
        for (engine, every, slots) in
            [("surge-ping", "50ms", "60"), ("surge-ping", "5ms", "400"), ("threads", "1ms", "2000")]
        {
            for target in [V4, V6] {
                let (s, code) = summary(ping(target, engine, &["-i", every, "-c", slots]));
                let n = |key: &str| s[key].as_u64().unwrap();
                let what = format!("{socket} {engine} {target}: {s}");
                assert_eq!(n("ok") + n("late") + n("not_sent"), slots.parse::<u64>().unwrap(), "{what}");
                assert_eq!((n("lost"), n("error"), n("events_lost"), code), (0, 0, 0, Some(0)), "{what}");
                // The last answer ends it: whether its copies were read as well is left to chance.
                let all = 4 * (n("ok") + n("late"));
                assert!((all - 4..=all).contains(&n("duplicate")), "{what}");
                // A busy machine may hold an answer up for some intervals; none was gone for tenths of a second.
                let longest = s["longest_reply_gap"]["lo_ns"].as_u64().unwrap();
                assert!(longest < 300_000_000, "{what}");
            }
        }
        let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
    }
    // Whatever is printed, and however slowly it is read.
    let args = ["ping", V4, "--json", "-i", "1ms", "-c", "3000", "--engine", "threads"];
    let mut slow = Command::new(common::BLACKOUT).args(args).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let mut out = String::new();
    slow.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(slow.wait().unwrap().code(), Some(0));
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let s = &last["summary"];
    assert_eq!(s["ok"].as_u64().unwrap() + s["late"].as_u64().unwrap() + s["not_sent"].as_u64().unwrap(), 3000, "{s}");
    assert_eq!((s["lost"].as_u64(), s["events_lost"].as_u64()), (Some(0), Some(0)), "{s}");
    let ok = out.lines().filter(|l| l.contains("\"ok\":{")).count() as u64;
    assert_eq!(ok, s["ok"].as_u64().unwrap(), "each answer is among the events");
}

#[test]
fn what_this_machine_cannot_send_is_no_loss() {
    if !tun::inside("what_this_machine_cannot_send_is_no_loss") {
        return;
    }
    let world = Tun::open("bo-t2");
    world.answer(|p| vec![p.reply()]);
    for socket in ["raw", "datagram"] {
        for engine in ["surge-ping", "threads"] {
            // No route to it.
            let (s, code) = summary(ping("10.55.0.1", engine, &["-i", "10ms", "-c", "20"]));
            assert_eq!(
                (s["not_sent"].as_u64(), s["lost"].as_u64(), s["error"].as_u64()),
                (Some(20), Some(0), Some(0)),
                "{s}"
            );
            assert_eq!((code, &s["loss_pct"]), (Some(2), &Value::Null), "{socket} {engine} {s}");
            assert!(s["unsent"]["Network is unreachable"].as_u64() > Some(15), "{s}");
            // The device goes down on the way.
            let child = ping(V4, engine, &["-i", "10ms", "-c", "100", "--deadline", "200ms"]);
            std::thread::sleep(Duration::from_millis(500));
            tun::ip("link set bo-t2 down");
            let (s, code) = summary(child);
            assert!(s["not_sent"].as_u64().unwrap() > 20 && s["ok"].as_u64().unwrap() > 10, "{socket} {engine} {s}");
            // One probe may have been under way.
            assert!(s["lost"].as_u64().unwrap() <= 1 && s["error"] == json!(0), "{socket} {engine} {s}");
            assert!(code == Some(0) || s["lost"] == json!(1), "{code:?} {s}");
            tun::ip("link set bo-t2 up");
        }
        let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
    }
}

#[test]
fn a_target_that_never_answered_is_called_that() {
    if !tun::inside("a_target_that_never_answered_is_called_that") {
        return;
    }
    let world = Tun::open("bo-t3");
    world.answer(|_| Vec::new());
    let args = ["ping", V4, "-i", "10ms", "-c", "30", "--deadline", "200ms"];
    let ran = Command::new(common::BLACKOUT).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{text}");
    assert!(text.contains("no answer since the start: nothing is known of 10.99.0.2"), "{text}");
    assert!(!text.contains("gone for") && !text.contains("interruptions"), "{text}");

    // A watch without a screen: the same, and an outage with its bounds and its time once it did answer.
    world.answer(|p| vec![p.reply()]);
    let place = common::Place::new();
    let mut watch = place.blackout(["watch", V4, "--headless", "--duration", "3s", "--ping-interval", "20ms"]);
    watch.args(["--ping-deadline", "300ms", "--json", "--out"]).arg(place.path("out")).stdout(Stdio::piped());
    let watch = watch.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    world.answer(|_| Vec::new());
    std::thread::sleep(Duration::from_millis(500));
    world.answer(|p| vec![p.reply()]);
    let ran = watch.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(0));
    let live: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let outages = live["probes"][0]["outages"].as_array().unwrap();
    assert_eq!(outages.len(), 1, "{live}");
    let o = &outages[0];
    let (lo, hi) = (o["lo_ms"].as_f64().unwrap(), o["hi_ms"].as_f64().unwrap());
    assert!(lo <= 520.0 && hi >= 480.0 && hi - lo < 150.0, "{o}");
    assert!(o["from"].as_str().unwrap().starts_with("20") && o["to"].is_string(), "{o}");
    // The capture says the same.
    let show = place.blackout(["show", "--json"]).arg(place.path("out")).output().unwrap();
    let shown: Value = serde_json::from_slice(&show.stdout).unwrap();
    assert_eq!(shown["probes"], live["probes"]);
    let text = place.blackout(["show"]).arg(place.path("out")).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("1 outage:") && text.contains("rtt min/p50") && text.contains("loss"), "{text}");
}
