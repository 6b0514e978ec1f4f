//! How well stops are foretold: guests in the lab stopped with settings drawn at random, and what was said of
//! each stop beside what came. Not run with the other tests, for it takes half a minute a stop, and wants a
//! machine that does nothing else:
//!
//!     cargo test --release --test stop_estimate -- --ignored --nocapture
//!
//! `STOPS=30` says how many, `SEED=1` which (it is printed), `FROM=0` after how many draws to begin (so that a
//! long series can be made in parts), `DIR=…` keeps what was found in a file, and sums up all that is in it.
//! Not in a debug build: the program is in the guest's initramfs, and a larger one is more memory to copy.
//! Simulated guests are stopped in every run of the tests.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use common::{Place, lab_is_possible, one_lab_at_a_time, run};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// What is asked of one stop.
#[derive(Debug)]
struct Draw {
    memory_mib: u64,
    wset_mib: u64,
    bandwidth: u64,
    rate: u64,
    pattern: &'static str,
    after_ms: u64,
}

impl Draw {
    /// The stop comes from early in the first round to the third.
    fn new(rng: &mut StdRng, used_bytes: impl Fn(u64) -> u64) -> Self {
        let memory_mib = rng.random_range(192..=384_u64);
        let wset_mib = rng.random_range(4..=memory_mib / 3);
        let bandwidth = rng.random_range(10..=64_u64) * 1_000_000;
        let rate = (rng.random_range(0.0..4.0) * bandwidth as f64 / 4096.0) as u64;
        let pattern = ["cyclic", "cyclic", "random", "hotspot"][rng.random_range(0..4)];
        let first_round_ms = (used_bytes(memory_mib * MIB) + wset_mib * MIB) as f64 * 1e3 / bandwidth as f64;
        let after_ms = (rng.random_range(0.05..3.0) * first_round_ms) as u64;
        Self { memory_mib, wset_mib, bandwidth, rate, pattern, after_ms: after_ms.clamp(200, 25_000) }
    }

    fn args(&self) -> String {
        format!(
            "--memory {}M --wset {}M --rate {} --pattern {} --bandwidth {} --policy after={}ms,then=stop-and-copy \
             --warm-up 2s --json",
            self.memory_mib, self.wset_mib, self.rate, self.pattern, self.bandwidth, self.after_ms
        )
    }

    fn words(&self) -> String {
        format!(
            "{:>4}M WSET {:>3}M {:>2} MB/s RATE {:>6} {:7} at {:>5.1} s",
            self.memory_mib,
            self.wset_mib,
            self.bandwidth / 1_000_000,
            self.rate,
            self.pattern,
            self.after_ms as f64 / 1e3
        )
    }
}

/// Said: likeliest, least, most; and what came, s.
#[derive(Debug, Clone, Copy)]
struct Stop {
    said: f64,
    lo: f64,
    hi: f64,
    came: f64,
}

impl Stop {
    /// Of the first migration of a result; None where it converged before it could be stopped.
    fn of(told: &Value) -> Option<Self> {
        let stop = &told["migrations"][0]["stop"];
        let s = |name: &str| stop["said_s"][name].as_f64();
        Some(Self { said: s("mid")?, lo: s("lo")?, hi: s("hi")?, came: stop["measured_s"].as_f64()? })
    }

    fn inside(&self) -> bool {
        (self.lo..=self.hi).contains(&self.came)
    }

    /// Measured less said, % of what came.
    fn error_pct(&self) -> f64 {
        100.0 * (self.came - self.said) / self.came
    }

    fn words(&self) -> String {
        let inside = if self.inside() { "inside" } else { "OUTSIDE" };
        let Self { said, lo, hi, came } = self;
        format!("said {said:6.2} [{lo:6.2}, {hi:6.2}] came {came:6.2} s {inside:7} {:+6.1} %", self.error_pct())
    }
}

/// How many lie inside, of how many, and the median of the errors, %.
fn sum_up(stops: &[Stop]) -> (usize, usize, f64) {
    let mut errors: Vec<f64> = stops.iter().map(|s| s.error_pct().abs()).collect();
    errors.sort_by(f64::total_cmp);
    let inside = stops.iter().filter(|s| s.inside()).count();
    (inside, stops.len(), errors.get(errors.len() / 2).copied().unwrap_or(f64::NAN))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")))
}

/// Adds a stop to those of earlier parts, and gives all of them back.
fn kept(dir: &Path, seed: u64, fresh: &[(u64, Stop)]) -> Vec<Stop> {
    let path = dir.join(format!("stops-{seed}"));
    let mut text = std::fs::read_to_string(&path).unwrap_or_default();
    for (i, Stop { said, lo, hi, came }) in fresh {
        let _ = writeln!(text, "{i} {said} {lo} {hi} {came}");
    }
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(&path, &text).unwrap();
    let line = |line: &str| {
        let n: Vec<f64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        Stop { said: n[1], lo: n[2], hi: n[3], came: n[4] }
    };
    text.lines().map(line).collect()
}

#[test]
#[ignore = "half a minute a stop, on a machine that does nothing else"]
fn stops_in_the_lab_are_foretold() {
    if !lab_is_possible() {
        return;
    }
    let _one = one_lab_at_a_time();
    let (seed, stops, from) = (number("SEED", rand::random::<u32>().into()), number("STOPS", 30), number("FROM", 0));
    println!("seed {seed}, {stops} stops from draw {from} on");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut found = Vec::new();
    for i in 0.. {
        let draw = Draw::new(&mut rng, |memory| 80 * MIB + memory / 64);
        if i < from {
            continue;
        }
        if found.len() as u64 == stops {
            println!("the next part begins with FROM={i}");
            break;
        }
        let place = Place::new();
        let ran = run(place.lab(&draw.args()));
        if ran.out.is_empty() {
            println!("{i:>3} {}  did not run: {}", draw.words(), ran.err.lines().last().unwrap_or(""));
            continue;
        }
        match Stop::of(&ran.json()) {
            Some(stop) => {
                println!("{i:>3} {}  {}", draw.words(), stop.words());
                found.push((i, stop));
            }
            None => println!("{i:>3} {}  converged before it could be stopped", draw.words()),
        }
    }
    let all: Vec<Stop> = match std::env::var_os("DIR") {
        Some(dir) => kept(Path::new(&dir), seed, &found),
        None => found.into_iter().map(|(_, stop)| stop).collect(),
    };
    let (inside, n, median) = sum_up(&all);
    println!("{inside} of {n} inside, median error {median:.1} %");
    assert!(n < 10 || (inside * 10 >= n * 9 && median < 15.0), "{inside} of {n} inside, median error {median:.1} %");
}

#[test]
fn stops_of_simulated_guests_are_foretold_and_recorded() {
    let mut rng = StdRng::seed_from_u64(7);
    let mut found = Vec::new();
    for i in 0..6 {
        // The demo uses a quarter of the memory itself.
        let draw = Draw::new(&mut rng, |memory| memory / 4);
        let place = Place::new();
        let mut demo = place.blackout(["demo", "--headless", "--speed", "20", "--seed", "5", "--out"]);
        demo.arg(place.path("out")).args(draw.args().split_whitespace());
        let told = run(demo).ended_with(0).json();
        let Some(stop) = Stop::of(&told) else { continue };
        println!("{i} {}  {}", draw.words(), stop.words());
        // The capture tells the same, and has what was said with the time it was said for.
        let mut show = place.blackout(["show", "--json"]);
        show.arg(place.path("out"));
        assert_eq!(run(show).ended_with(0).json()["migrations"], told["migrations"]);
        let text = std::fs::read_to_string(place.capture()).unwrap();
        assert!(text.contains("\"stop_forecast\""), "it is not recorded");
        found.push(stop);
    }
    let (inside, n, median) = sum_up(&found);
    assert!(n >= 3 && inside + 1 >= n && median < 15.0, "{inside} of {n} inside, median error {median:.1} %");
}
