//! What a hostile QEMU can do to blackout: memory and capture are bounded, and a signal ends it.
//!
//! `cargo test --test qmp_hostile -- --nocapture` prints a table. `BLACKOUT_HOSTILE_PROGRAM=PATH` attacks
//! another build instead and only prints; `BLACKOUT_HOSTILE_SECONDS=N` changes how long each attack goes on.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::burden::{self, Burden};
use common::{Place, Running};
use serde_json::{Value, json};

/// An attack: what is said beside, or in place of, what a QEMU says.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Attack {
    /// None: for comparison.
    Quiet,
    /// Each look is refused, in 4 MiB.
    Refusals,
    /// Each look is refused, in 400 KiB, which can just be read.
    SmallerRefusals,
    /// Each look is answered with an array of 200,000 zeros beside the figures.
    Samples,
    /// As many small events as can be written.
    Events,
    /// The status changes with each event.
    Phases,
    /// STOP and RESUME in turns.
    Flips,
    /// Events with 400 KiB of data.
    LargeEvents,
    /// Lines that are no messages.
    Garbage,
    /// One message that never ends.
    Endless,
    /// Unasked answers.
    Answers,
    /// A failure that is explained in 400 KiB of one word.
    LongError,
}

const ATTACKS: [Attack; 12] = [
    Attack::Quiet,
    Attack::Refusals,
    Attack::SmallerRefusals,
    Attack::Samples,
    Attack::Events,
    Attack::Phases,
    Attack::Flips,
    Attack::LargeEvents,
    Attack::Garbage,
    Attack::Endless,
    Attack::Answers,
    Attack::LongError,
];

/// A pretended QEMU that attacks once `migrate` was given.
struct Hostile {
    attack: Attack,
    status: &'static str,
    attacks: AtomicBool,
}

impl Hostile {
    fn open(place: &Place, name: &str, status: &'static str, attack: Attack) -> Arc<Self> {
        let host = Arc::new(Self { attack, status, attacks: AtomicBool::new(false) });
        for monitor in ["c", "e"] {
            let listener = UnixListener::bind(place.path(&format!("{name}.{monitor}"))).unwrap();
            let host = Arc::clone(&host);
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let host = Arc::clone(&host);
                    std::thread::spawn(move || host.serve(stream, monitor == "e"));
                }
            });
        }
        host
    }

    fn serve(&self, stream: UnixStream, events: bool) -> Option<()> {
        let mut out = stream.try_clone().ok()?;
        let greeting = json!({"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}}, "capabilities": []}});
        out.write_all(format!("{greeting}\r\n").as_bytes()).ok()?;
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(line)) = lines.next() {
            let request: Value = serde_json::from_str(&line).ok()?;
            let command = request["execute"].as_str()?.to_owned();
            let mut reply = self.answer(&command);
            reply["id"] = request["id"].clone();
            out.write_all(format!("{reply}\r\n").as_bytes()).ok()?;
            if command == "migrate" {
                self.attacks.store(true, Ordering::Relaxed);
            }
            if events && command == "qmp_capabilities" {
                self.flood(&mut out)?;
            }
        }
        Some(())
    }

    fn answer(&self, command: &str) -> Value {
        let refusal = |bytes| json!({"error": {"class": "GenericError", "desc": "x".repeat(bytes)}});
        let ram = json!({"total": 1 << 28, "transferred": 1 << 20, "remaining": 1 << 24, "dirty-sync-count": 1,
            "mbps": 8.0, "dirty-pages-rate": 100, "page-size": 4096});
        match (command, self.attack) {
            ("query-migrate", _) if !self.attacks.load(Ordering::Relaxed) => json!({"return": {}}),
            // As much as a message could hold where up to 4 MiB were taken.
            ("query-migrate", Attack::Refusals) => refusal((4 << 20) - 4096),
            ("query-migrate", Attack::SmallerRefusals) => refusal(400 << 10),
            ("query-migrate", Attack::Samples) => {
                json!({"return": {"status": "active", "ram": ram, "more": vec![0; 200_000]}})
            }
            ("query-migrate", Attack::LongError) => {
                json!({"return": {"status": "failed", "error-desc": "x".repeat(400 << 10)}})
            }
            ("query-migrate", _) => json!({"return": {"status": "active", "ram": ram}}),
            ("query-status", _) => json!({"return": {"status": self.status, "running": self.status == "running"}}),
            ("query-migrate-capabilities", _) => {
                json!({"return": [{"capability": "events", "state": true}]})
            }
            ("query-migrate-parameters", _) => json!({"return": {"max-bandwidth": 1000, "downtime-limit": 300}}),
            _ => json!({"return": {}}),
        }
    }

    /// Says without end what the attack has to say on the monitor for events.
    fn flood(&self, out: &mut UnixStream) -> Option<()> {
        while !self.attacks.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let event = |name: &str, data: Value| {
            let stamp = json!({"seconds": 1_795_377_490, "microseconds": 5});
            json!({"event": name, "data": data, "timestamp": stamp}).to_string()
        };
        let mut n = 0u64;
        loop {
            n += 1;
            let odd = n % 2 == 1;
            let line = match self.attack {
                Attack::Events => event("MIGRATION_PASS", json!({ "pass": n })),
                Attack::Phases => event("MIGRATION", json!({"status": format!("state-{n}")})),
                Attack::Flips => event(if odd { "STOP" } else { "RESUME" }, Value::Null),
                Attack::LargeEvents => event("X", json!({"a": vec![0; 200_000]})),
                Attack::Garbage => format!("\u{1b}[2Jgarbage {n}"),
                Attack::Answers => json!({"return": {"n": n}, "id": n + (1 << 40)}).to_string(),
                Attack::Endless => {
                    out.write_all(b"{\"a\": \"").ok()?;
                    loop {
                        out.write_all(&[b'x'; 1 << 16]).ok()?;
                    }
                }
                _ => return Some(()),
            };
            out.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        }
    }
}

fn attacked(program: &Path, attack: Attack, time: Duration) -> Burden {
    let place = Place::new();
    let _source = Hostile::open(&place, "a", "running", attack);
    let _destination = Hostile::open(&place, "b", "inmigrate", attack);
    let at = |name: &str| format!("{0}.c,{0}.e", place.path(name).display());
    let mut c = Command::new(program);
    c.args(["migrate", "--headless", "--warm-up", "100ms", "--uri", "tcp:127.0.0.1:9", "--policy", "none"]);
    c.args(["--source", &at("a"), "--dest", &at("b"), "--out"]).arg(place.path("out")).envs(place.environment());
    c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = Running::as_it_is(c);
    let mut stderr = child.child().stderr.take().unwrap();
    // Read, so that nothing waits for it; bounded, so that the test is not what takes the memory.
    std::thread::spawn(move || {
        let mut buf = [0; 1 << 16];
        while stderr.read(&mut buf).is_ok_and(|n| n > 0) {}
    });
    Burden::of(child.child(), &place.path("out/capture.jsonl"), time)
}

#[test]
fn a_hostile_qemu_takes_neither_memory_nor_disk() {
    let (program, is_ours) = burden::program();
    let seconds = std::env::var("BLACKOUT_HOSTILE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4);
    let mut quiet = 0;
    println!("| attack | peak memory | above quiet | capture grows by | ended after SIGTERM |");
    for attack in ATTACKS {
        let burden = attacked(&program, attack, Duration::from_secs(seconds));
        if attack == Attack::Quiet {
            quiet = burden.memory;
        }
        let name = format!("{attack:?}");
        println!("{}", burden.row(&name, quiet));
        if is_ours {
            burden.is_bounded(&name, quiet);
        }
    }
}
