//! What a hostile agent can do to blackout: memory and capture are bounded, and a signal ends it.
//!
//! The agent is reached through a pretended `ssh`, which says what the attack has to say without end.
//! `cargo test --test agent_hostile -- --nocapture` prints a table. `BLACKOUT_HOSTILE_PROGRAM=PATH` attacks another
//! build instead and only prints.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use blackout::agent::protocol::{AgentHello, PROTOCOL, ToController, Token, encode};
use blackout::event::{LoadReport, LoadSettings};
use common::burden::{self, Burden};
use common::{Place, Running, skipped};

const TIME: Duration = Duration::from_secs(4);

fn frame(message: &ToController) -> Vec<u8> {
    let bytes = encode(message).unwrap();
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

fn hello() -> Vec<u8> {
    frame(&ToController::Hello(Box::new(AgentHello {
        protocol: PROTOCOL,
        version: "1".into(),
        agent: 7,
        kernel: "k".into(),
        cpus: 1,
        ram_bytes: 1 << 30,
        wset_limit_bytes: 1 << 29,
        settings: LoadSettings::default(),
        applied: None,
        lease_ms: 10_000,
        lease_expired: false,
        udp_port: None,
        echo_token: Token::random(),
    })))
}

/// What is said over and over, and whether on stderr.
fn attacks() -> Vec<(&'static str, Vec<u8>, bool)> {
    let long = |n: usize| "x".repeat(n);
    let report = |guest_ns: u64| LoadReport {
        guest_ns,
        window_ns: 1,
        set: LoadSettings::default(),
        wset_bytes: u64::MAX,
        rate_pages_per_s: 1e300,
        cpu_load_pct: 1e300,
        pages_total: guest_ns,
        saturated: true,
        guest_cpu_pct: None,
    };
    let many = |make: &dyn Fn(u64) -> ToController| (0..200).flat_map(|i| frame(&make(i))).collect::<Vec<u8>>();
    vec![
        ("quiet", Vec::new(), false),
        ("refusals", many(&|id| ToController::Refused { id, why: long(15_000) }), false),
        ("acknowledgements", many(&|id| ToController::Ack { id, set: LoadSettings::default() }), false),
        ("reports", many(&|i| ToController::Report(report(i << 50))), false),
        ("pongs", many(&|n| ToController::Pong { n }), false),
        ("leases", many(&|lease_ms| ToController::LeaseExpired { lease_ms }), false),
        ("farewells", many(&|_| ToController::Bye { why: long(15_000) }), false),
        ("a second hello", hello(), false),
        ("bytes that are no message", vec![b'z'; 1 << 16], false),
        ("stderr without an end of line", vec![b'e'; 1 << 16], true),
        ("lines on stderr", b"warning: something\n".repeat(4096), true),
    ]
}

/// What the program takes, attacked so; None where it may not ping.
fn attacked(program: &Path, flood: &[u8], on_stderr: bool) -> Option<Burden> {
    let place = Place::new();
    let (hello, flood_file) = (place.file("hello", hello()), place.file("flood", flood));
    let to = if on_stderr { ">&2" } else { "" };
    let say = match flood.is_empty() {
        true => "exec sleep 60".to_owned(),
        false => format!("while cat '{}' {to}; do :; done", flood_file.display()),
    };
    let ssh = place.file("ssh", format!("#!/bin/sh\ncat '{}'\n{say}\n", hello.display()));
    std::fs::set_permissions(&ssh, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", ssh.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let mut c = Command::new(program);
    c.args(["watch", "127.0.0.1", "--headless", "--agent", "ssh:guest", "--duration", "60s", "--out"]);
    c.arg(place.path("out")).envs(place.environment()).env("PATH", path);
    c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = Running::as_it_is(c);
    let mut stderr = child.child().stderr.take().unwrap();
    let said = std::thread::spawn(move || {
        let (mut buf, mut said) = ([0; 1 << 12], Vec::new());
        while let Ok(n) = stderr.read(&mut buf) {
            if n == 0 {
                break;
            }
            if said.len() < 1 << 14 {
                said.extend_from_slice(&buf[..n]);
            }
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let burden = Burden::of(child.child(), &place.path("out/capture.jsonl"), TIME);
    // An agent that says nonsense from the beginning ends the command, with its reason.
    if burden.early {
        let said = said.join().unwrap();
        if said.contains("ermi") {
            skipped(format_args!("ICMP is not allowed here: {said}"));
            return None;
        }
    }
    Some(burden)
}

#[test]
fn a_hostile_agent_takes_neither_memory_nor_disk() {
    let (program, is_ours) = burden::program();
    let mut quiet = 0;
    println!("| attack | peak memory | above quiet | capture grows by | ended after SIGTERM |");
    for (name, flood, on_stderr) in attacks() {
        let Some(burden) = attacked(&program, &flood, on_stderr) else { return };
        if name == "quiet" {
            quiet = burden.memory;
        }
        println!("{}", burden.row(name, quiet));
        if is_ours {
            burden.is_bounded(name, quiet);
        }
    }
}
