//! Blackouts whose length is known, measured with the real probe and the real estimators.
//!
//! ```text
//! cargo test --release --test known_blackouts                  12 lanes of 4 blackouts, about 40 s
//! cargo test --release --test known_blackouts -- --ignored     300 blackouts, about 4 minutes
//! ```
//! Dropped and held mixed, 5 ms to 3 s, probed at 50, 10 and 1 ms, over a clean path, with 20 ms of delay
//! give or take 10, with 0.5 % of loss, and with every CPU busy. The truth must lie within the bounds of
//! `lost-pings` and of `reply-gap`, in all but at most one. `--harsh` adds what the bounds make no claim
//! about by themselves (5 % of loss, 5 % of duplicates, 50 ms of jitter) and reports it too. `--seed N`
//! repeats a run as far as a machine can be repeated, `--blackouts N` says how many a lane.
//!
//! Has no test harness: a harness has threads, and a process with threads cannot enter a namespace. Each
//! lane is a process of its own, in a network namespace of its own. Skips where namespaces or TUN devices
//! are not to be had, unless BLACKOUT_REQUIRE_TUN=1.
#![allow(unsafe_code, reason = "the ioctl that makes a TUN device")]

mod lane;
mod responder;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use lane::{Bounds, Lane, Measured};
use responder::Path;
use serde_json::{Value, json};

/// What a lane's process is told by.
const ROLE: &str = "KNOWN_BLACKOUTS_ROLE";
const INTERVALS_MS: [u64; 3] = [50, 10, 1];
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

struct Options {
    seed: u64,
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
    let blackouts = number("--blackouts")?.unwrap_or(if all { 25 } else { 4 });
    Ok(Options {
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
    condition: usize,
    interval_ms: u64,
    measured: Vec<Measured>,
}

/// Measures all; true if the bounds hold as they must.
fn measure(options: &Options) -> Result<bool, String> {
    let (began, conditions) = (Instant::now(), conditions());
    println!("known blackouts: seed {}, {} a lane", options.seed, options.blackouts);
    let mut cells = Vec::new();
    // Busy CPUs would disturb the others: they have a turn of their own.
    for busy in [false, true] {
        let turn: Vec<usize> = (0..conditions.len())
            .filter(|i| conditions[*i].busy == busy && (options.harsh || !conditions[*i].harsh))
            .collect();
        let burners = if busy { burn()? } else { Vec::new() };
        // Harsh lanes only after the others, so that they do not disturb them either.
        for harsh in [false, true] {
            let some = turn.iter().filter(|i| conditions[**i].harsh == harsh);
            cells.extend(lanes(options, &conditions, &some.copied().collect::<Vec<_>>())?);
        }
        drop(burners);
    }
    print!("{}", table(&conditions, &cells));
    let mut good = true;
    for harsh in [false, true] {
        let some: Vec<&Cell> = cells.iter().filter(|c| conditions[c.condition].harsh == harsh).collect();
        let n: usize = some.iter().map(|c| c.measured.len()).sum();
        if n == 0 {
            continue;
        }
        let outside = |of: fn(&Measured) -> Option<Bounds>| {
            some.iter().flat_map(|c| &c.measured).filter(|m| of(m).is_none_or(|b| overshoot(m.truth, b) > 0)).count()
        };
        let (lost, gap) = (outside(|m| m.lost_pings), outside(|m| m.reply_gap));
        let what = if harsh { "harsh conditions" } else { "all" };
        println!("{what}: {n} blackouts, outside the bounds of lost-pings {lost}, of reply-gap {gap}");
        good &= harsh || (lost <= 1 && gap <= 1);
    }
    for cell in &cells {
        for m in &cell.measured {
            let outside = [m.lost_pings, m.reply_gap].into_iter().any(|b| b.is_none_or(|b| overshoot(m.truth, b) > 0));
            if outside || options.verbose {
                let word = if outside { "outside" } else { "inside" };
                println!("{word}: {} at {} ms: {}", conditions[cell.condition].name, cell.interval_ms, words(m));
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
fn lanes(options: &Options, conditions: &[Condition], some: &[usize]) -> Result<Vec<Cell>, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut running = Vec::new();
    for condition in some {
        for interval_ms in INTERVALS_MS {
            let path = conditions[*condition].path;
            let role = json!({
                "condition": conditions[*condition].name,
                "delay": path.delay.as_secs_f64(),
                "jitter": path.jitter.as_secs_f64(),
                "loss": path.loss,
                "duplicates": path.duplicates,
                "interval_ms": interval_ms,
                "blackouts": options.blackouts,
                "seed": options.seed ^ (*condition as u64) << 32 ^ interval_ms << 40,
            });
            let child = Command::new(&exe).env(ROLE, role.to_string()).stdout(Stdio::piped()).spawn();
            let mut child = child.map_err(|e| e.to_string()).map(Ended)?;
            let out = child.0.stdout.take().ok_or("a lane without an output")?;
            // All are read as they come: a lane that waits for its reader would measure that.
            let heard = std::thread::spawn(move || -> Vec<String> {
                BufReader::new(out).lines().map_while(Result::ok).collect()
            });
            running.push((child, heard, *condition, interval_ms));
        }
    }
    let mut cells = Vec::new();
    for (mut child, heard, condition, interval_ms) in running {
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
            let name = conditions[condition].name;
            return Err(format!("the lane {name} at {interval_ms} ms ended with {status}: {said}"));
        }
        cells.push(Cell { condition, interval_ms, measured });
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
    let head = "condition         interval   n  | lost-pings: inside  worst over  median width | reply-gap: inside  \
                worst over  median width\n";
    let mut text = head.to_owned();
    for cell in cells {
        let name = conditions[cell.condition].name;
        text += &format!("{name:<17} {:>5} ms {:>3}  |", cell.interval_ms, cell.measured.len());
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
        "{how} {:.3} ms, lost-pings {}, reply-gap {}; {}",
        ms(m.truth),
        bounds(m.lost_pings),
        bounds(m.reply_gap),
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
        "truth": m.truth, "held": m.held, "notes": m.notes,
        "lost_pings": bounds(m.lost_pings), "reply_gap": bounds(m.reply_gap),
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
        notes: v["notes"].as_str()?.to_owned(),
    })
}
