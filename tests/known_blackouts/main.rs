//! Blackouts whose length is known, measured with the real probe and the real estimators.
//!
//! ```text
//! cargo test --release --test known_blackouts                  15 lanes of 4 blackouts, about 40 s
//! cargo test --release --test known_blackouts -- --ignored     300 blackouts with ICMP, about 4 minutes
//! cargo test --release --test known_blackouts -- --ignored --kind tcp     300 with TCP, about 5 minutes
//! ```
//! Dropped and held mixed, probed over a clean path, with 20 ms of delay give or take 10, with 0.5 % of loss, and
//! with every CPU busy: by ICMP 5 ms to 3 s at 50, 10 and 1 ms; by UDP, TCP and HTTP (`--kind`) 50 ms to 5 s at 50
//! and 10 ms. The truth must lie within the bounds of `lost-pings` and of `reply-gap`, in all but at most one of a
//! kind; and, where the path loses nothing by itself, within those of the outage that the probe saw without knowing
//! of a migration. SYNs that come a second time are counted: their answers would hide the end of a blackout, or all
//! of it. Such an answer is not believed, and with the deadline as it is there are none but where this machine stood
//! still. `--harsh`
//! adds what the bounds make no claim about by themselves (5 % of loss, 5 % of duplicates, 50 ms of jitter) and
//! reports it too. `--seed N` repeats a run as far as a machine can be repeated, `--blackouts N` says how many a
//! lane. Without `--kind` all conditions are for ICMP, and the other kinds have a clean path, once each.
//!
//! Has no test harness: a harness has threads, and a process with threads cannot enter a namespace. Each
//! lane is a process of its own, in a network namespace of its own. Skips where namespaces or TUN devices
//! are not to be had, unless BLACKOUT_REQUIRE_TUN=1.
#![allow(unsafe_code, reason = "the ioctl that makes a TUN device")]

mod answer;
mod lane;
mod responder;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use blackout::event::ProbeKind;
use lane::{Bounds, Lane, Measured};
use responder::Path;
use serde_json::{Value, json};

/// What a lane's process is told by.
const ROLE: &str = "KNOWN_BLACKOUTS_ROLE";
const KINDS: [ProbeKind; 4] = [ProbeKind::Icmp, ProbeKind::Udp, ProbeKind::Tcp, ProbeKind::Http];
/// Blackouts of one kind in a long run.
const MANY: u64 = 300;
const DEFAULT_SEED: u64 = 20_261_127;

struct Condition {
    name: &'static str,
    path: Path,
    /// Every CPU has something else to do as well.
    busy: bool,
    /// What the bounds make no claim about by themselves.
    harsh: bool,
}

fn conditions() -> Vec<Condition> {
    let ms = Duration::from_millis;
    let clean = Path::default();
    let soft = |name, path| Condition { name, path, busy: false, harsh: false };
    let harsh = |name, path| Condition { name, path, busy: false, harsh: true };
    vec![
        soft("clean", clean),
        soft("delay 20 ms ± 10", Path { delay: ms(10), jitter: ms(20), ..clean }),
        soft("loss 0.5 %", Path { loss: 0.005, ..clean }),
        Condition { busy: true, ..soft("CPUs busy", clean) },
        harsh("loss 5 %", Path { loss: 0.05, ..clean }),
        harsh("duplicates 5 %", Path { duplicates: 0.05, ..clean }),
        harsh("jitter 50 ms", Path { jitter: ms(50), ..clean }),
    ]
}

/// How often it is probed, ms.
fn intervals(kind: ProbeKind) -> &'static [u64] {
    match kind {
        ProbeKind::Icmp => &[50, 10, 1],
        ProbeKind::Udp | ProbeKind::Tcp | ProbeKind::Http => &[50, 10],
    }
}

struct Options {
    seed: u64,
    /// Only this kind, in every condition.
    kind: Option<ProbeKind>,
    blackouts: u32,
    harsh: bool,
    verbose: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Ok(role) = std::env::var(ROLE) {
        return role_main(&role);
    }
    if args.iter().any(|a| a == "--list") {
        println!("known_blackouts: test");
        return ExitCode::SUCCESS;
    }
    let options = match options(&args) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(why) = missing() {
        let required = std::env::var("BLACKOUT_REQUIRE_TUN").is_ok_and(|v| v == "1");
        println!("{}: {why}", if required { "failed" } else { "skipped" });
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    match measure(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("failed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn options(args: &[String]) -> Result<Options, String> {
    let after = |name: &str| args.iter().position(|a| a == name).map(|i| args.get(i + 1).cloned().unwrap_or_default());
    let number = |name: &str| match after(name) {
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("invalid {name} '{text}': expected a number")),
        None => Ok(None),
    };
    let all = args.iter().any(|a| a == "--ignored" || a == "--include-ignored");
    let kind = after("--kind").map(|name| {
        let kind = KINDS.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| format!("invalid --kind '{name}': expected icmp, udp, tcp or http"))
    });
    let kind = kind.transpose()?;
    let lanes = 4 * intervals(kind.unwrap_or(ProbeKind::Icmp)).len() as u64;
    let blackouts = number("--blackouts")?.unwrap_or(if all { MANY.div_ceil(lanes) } else { 4 });
    Ok(Options {
        kind,
        seed: number("--seed")?.unwrap_or(DEFAULT_SEED),
        blackouts: u32::try_from(blackouts.max(1)).map_err(|_| "invalid --blackouts: too many".to_owned())?,
        harsh: args.iter().any(|a| a == "--harsh"),
        verbose: args.iter().any(|a| a == "--nocapture" || a == "--verbose"),
    })
}

/// What the responder needs and this machine lacks.
fn missing() -> Option<String> {
    let can = Command::new(std::env::current_exe().ok()?).env(ROLE, "can").stdout(Stdio::piped()).output();
    match can {
        Ok(out) if out.status.success() => None,
        Ok(out) => Some(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
        Err(e) => Some(e.to_string()),
    }
}

/// One lane with what it measured.
struct Cell {
    place: Place,
    measured: Vec<Measured>,
}

/// What a lane is about.
#[derive(Debug, Clone, Copy)]
struct Place {
    condition: usize,
    kind: ProbeKind,
    interval_ms: u64,
}

/// Every lane there is to be.
fn places(options: &Options, conditions: &[Condition]) -> Vec<Place> {
    let all = options.kind.unwrap_or(ProbeKind::Icmp);
    let asked = (0..conditions.len()).filter(|i| options.harsh || !conditions[*i].harsh);
    let of = |condition| intervals(all).iter().map(move |ms| Place { condition, kind: all, interval_ms: *ms });
    let mut places: Vec<Place> = asked.flat_map(of).collect();
    if options.kind.is_none() {
        let others = KINDS.into_iter().filter(|kind| *kind != all);
        places.extend(others.map(|kind| Place { condition: 0, kind, interval_ms: 50 }));
    }
    places
}

/// Measures all; true if the bounds hold as they must.
fn measure(options: &Options) -> Result<bool, String> {
    let (began, conditions) = (Instant::now(), conditions());
    println!("known blackouts: seed {}, {} a lane", options.seed, options.blackouts);
    let mut cells = Vec::new();
    // Busy CPUs would disturb the others: they have a turn of their own. So have harsh lanes.
    for busy in [false, true] {
        let burners = if busy { burn()? } else { Vec::new() };
        for harsh in [false, true] {
            let is_now = |p: &&Place| conditions[p.condition].busy == busy && conditions[p.condition].harsh == harsh;
            let now: Vec<Place> = places(options, &conditions).iter().filter(is_now).copied().collect();
            cells.extend(lanes(options, &conditions, &now)?);
        }
        drop(burners);
    }
    print!("{}", table(&conditions, &cells));
    let mut good = true;
    for (kind, harsh) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let is = |c: &&Cell| c.place.kind == kind && conditions[c.place.condition].harsh == harsh;
        let some: Vec<&Cell> = cells.iter().filter(is).collect();
        let n: usize = some.iter().map(|c| c.measured.len()).sum();
        if n == 0 {
            continue;
        }
        let outside = |of: fn(&Measured) -> Option<Bounds>| {
            some.iter().flat_map(|c| &c.measured).filter(|m| of(m).is_none_or(|b| overshoot(m.truth, b) > 0)).count()
        };
        let (lost, gap) = (outside(|m| m.lost_pings), outside(|m| m.reply_gap));
        let again: u64 = some.iter().filter_map(|c| c.measured.last()).map(|m| m.again).sum();
        let what = format!("{}{}", kind.name(), if harsh { ", harsh conditions" } else { "" });
        println!(
            "{what}: {n} blackouts, outside the bounds of lost-pings {lost}, of reply-gap {gap}; SYNs sent again {again}"
        );
        // A machine that stands still for a tenth of a second may send one again. Of a deadline that is too long,
        // each blackout would have its own.
        good &= (harsh || (lost <= 1 && gap <= 1)) && again <= n as u64 / 20;
    }
    // What a path loses by itself is an outage's for all a probe knows: there the bounds make no claim.
    let own = |c: &&Cell| conditions[c.place.condition].path.loss == 0.0 && !conditions[c.place.condition].harsh;
    let seen: Vec<(u64, Bounds)> =
        cells.iter().filter(own).flat_map(|c| &c.measured).filter_map(|m| Some((m.truth, m.outage?))).collect();
    let outside = seen.iter().filter(|(truth, b)| overshoot(*truth, *b) > 0).count();
    println!("outages on paths without loss: {} seen, outside the bounds {outside}", seen.len());
    good &= outside <= 1 + seen.len() / 100 && !seen.is_empty();
    for cell in &cells {
        for m in &cell.measured {
            let outside = [m.lost_pings, m.reply_gap].into_iter().any(|b| b.is_none_or(|b| overshoot(m.truth, b) > 0));
            if outside || options.verbose {
                let word = if outside { "outside" } else { "inside" };
                let Place { condition, kind, interval_ms } = cell.place;
                let name = conditions[condition].name;
                println!("{word}: {}, {name}, at {interval_ms} ms: {}", kind.name(), words(m));
            }
        }
    }
    println!(
        "test known_blackouts ... {} ({:.0} s)",
        if good { "ok" } else { "FAILED" },
        began.elapsed().as_secs_f32()
    );
    Ok(good)
}

/// Runs the lanes of some conditions side by side.
fn lanes(options: &Options, conditions: &[Condition], some: &[Place]) -> Result<Vec<Cell>, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut running = Vec::new();
    for place in some {
        let Place { condition, kind, interval_ms } = *place;
        let path = conditions[condition].path;
        let role = json!({
            "condition": conditions[condition].name,
            "kind": kind,
            "delay": path.delay.as_secs_f64(),
            "jitter": path.jitter.as_secs_f64(),
            "loss": path.loss,
            "duplicates": path.duplicates,
            "interval_ms": interval_ms,
            "blackouts": options.blackouts,
            "seed": options.seed ^ (condition as u64) << 32 ^ interval_ms << 40 ^ (kind as u64) << 56,
        });
        let child = Command::new(&exe).env(ROLE, role.to_string()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|e| e.to_string()).map(Ended)?;
        let out = child.0.stdout.take().ok_or("a lane without an output")?;
        // All are read as they come: a lane that waits for its reader would measure that.
        let heard =
            std::thread::spawn(move || -> Vec<String> { BufReader::new(out).lines().map_while(Result::ok).collect() });
        running.push((child, heard, *place));
    }
    let mut cells = Vec::new();
    for (mut child, heard, place) in running {
        let lines = heard.join().map_err(|_| "the thread that read a lane is gone")?;
        let (mut measured, mut said) = (Vec::new(), String::new());
        for line in lines {
            match serde_json::from_str::<Value>(&line).ok().as_ref().and_then(parsed) {
                Some(m) => measured.push(m),
                None => said.push_str(&line),
            }
        }
        let status = child.0.wait().map_err(|e| e.to_string())?;
        if !status.success() || measured.len() != options.blackouts as usize {
            let (name, kind, ms) = (conditions[place.condition].name, place.kind.name(), place.interval_ms);
            return Err(format!("the lane {kind}, {name}, at {ms} ms ended with {status}: {said}"));
        }
        cells.push(Cell { place, measured });
    }
    Ok(cells)
}

/// A process that is ended with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As many processes as there are CPUs that do nothing but take time.
fn burn() -> Result<Vec<Ended>, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    let burner = |_| {
        let child = Command::new(&exe).env(ROLE, "burn").stdin(Stdio::piped()).spawn();
        child.map(Ended).map_err(|e| e.to_string())
    };
    (0..cpus).map(burner).collect()
}

/// How far the truth lies outside, ns.
fn overshoot(truth: u64, b: Bounds) -> u64 {
    truth.saturating_sub(b.hi).max(b.lo.saturating_sub(truth))
}

fn table(conditions: &[Condition], cells: &[Cell]) -> String {
    let ms = |ns: u64| ns as f64 / 1e6;
    let head = "kind condition         interval   n  | lost-pings: inside  worst over  median width | reply-gap: inside  \
                worst over  median width\n";
    let mut text = head.to_owned();
    for cell in cells {
        let Place { condition, kind, interval_ms } = cell.place;
        let (kind, name) = (kind.name(), conditions[condition].name);
        text += &format!("{kind:<4} {name:<17} {interval_ms:>5} ms {:>3}  |", cell.measured.len());
        for of in [|m: &Measured| m.lost_pings, |m: &Measured| m.reply_gap] {
            let known: Vec<(u64, Bounds)> = cell.measured.iter().filter_map(|m| Some((m.truth, of(m)?))).collect();
            let inside = known.iter().filter(|(truth, b)| overshoot(*truth, *b) == 0).count();
            let worst = known.iter().map(|(truth, b)| overshoot(*truth, *b)).max().unwrap_or(0);
            let mut widths: Vec<u64> = known.iter().map(|(_, b)| b.hi - b.lo).collect();
            widths.sort_unstable();
            let median = widths.get(widths.len() / 2).copied().unwrap_or(0);
            text += &format!(" {inside:>18}  {:>7.2} ms  {:>9.2} ms |", ms(worst), ms(median));
        }
        text.truncate(text.trim_end_matches(" |").len());
        text.push('\n');
    }
    text
}

fn words(m: &Measured) -> String {
    let ms = |ns: u64| ns as f64 / 1e6;
    let bounds = |b: Option<Bounds>| match b {
        Some(b) => format!("{:.2} [{:.2}, {:.2}] ms", ms(b.value), ms(b.lo), ms(b.hi)),
        None => "unknown".to_owned(),
    };
    let how = if m.held { "held" } else { "dropped" };
    format!(
        "{how} {:.3} ms, lost-pings {}, reply-gap {}, outage {}; {}",
        ms(m.truth),
        bounds(m.lost_pings),
        bounds(m.reply_gap),
        bounds(m.outage),
        m.notes
    )
}

fn role_main(role: &str) -> ExitCode {
    match role {
        "can" => {
            let tun = blackout::lab::enter().map_err(|e| e.to_string());
            match tun.and_then(|_| responder::open_tun("known0").map_err(|e| format!("no TUN device: {e}"))) {
                Ok(_) => ExitCode::SUCCESS,
                Err(why) => {
                    println!("{why}");
                    ExitCode::FAILURE
                }
            }
        }
        "burn" => {
            // Ends with the process that wants it, whatever that one ends of: then its input is closed.
            std::thread::spawn(|| {
                let mut n = 0_u64;
                loop {
                    n = std::hint::black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                }
            });
            let _ = std::io::stdin().read_line(&mut String::new());
            ExitCode::SUCCESS
        }
        lane => match serde_json::from_str::<Value>(lane).ok().as_ref().and_then(lane_of) {
            Some(lane) => {
                let told = lane::run(&lane, |m| {
                    println!("{}", told(m));
                    let _ = std::io::stdout().flush();
                });
                match told {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(why) => {
                        println!("{}: {why}", lane.condition);
                        ExitCode::FAILURE
                    }
                }
            }
            None => ExitCode::FAILURE,
        },
    }
}

fn lane_of(v: &Value) -> Option<Lane> {
    let seconds = |key: &str| v[key].as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok());
    Some(Lane {
        condition: v["condition"].as_str()?.to_owned(),
        kind: serde_json::from_value(v["kind"].clone()).ok()?,
        path: Path {
            delay: seconds("delay")?,
            jitter: seconds("jitter")?,
            loss: v["loss"].as_f64()?,
            duplicates: v["duplicates"].as_f64()?,
        },
        interval: Duration::from_millis(v["interval_ms"].as_u64()?),
        blackouts: u32::try_from(v["blackouts"].as_u64()?).ok()?,
        seed: v["seed"].as_u64()?,
    })
}

fn told(m: &Measured) -> Value {
    let bounds = |b: Option<Bounds>| b.map(|b| json!([b.lo, b.value, b.hi]));
    json!({
        "truth": m.truth, "held": m.held, "again": m.again, "notes": m.notes,
        "lost_pings": bounds(m.lost_pings), "reply_gap": bounds(m.reply_gap), "outage": bounds(m.outage),
    })
}

fn parsed(v: &Value) -> Option<Measured> {
    let bounds = |v: &Value| {
        let at = |i: usize| v.get(i).and_then(Value::as_u64);
        Some(Bounds { lo: at(0)?, value: at(1)?, hi: at(2)? })
    };
    Some(Measured {
        truth: v["truth"].as_u64()?,
        held: v["held"].as_bool()?,
        lost_pings: bounds(&v["lost_pings"]),
        reply_gap: bounds(&v["reply_gap"]),
        outage: bounds(&v["outage"]),
        again: v["again"].as_u64()?,
        notes: v["notes"].as_str()?.to_owned(),
    })
}
