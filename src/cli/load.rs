//! `blackout load`: the generators on this machine, without any controller.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::load::cgroup::CpuBound;
use crate::load::measure::{MaxRate, max_rate};
use crate::load::{Generators, Limits, LoadArgs, LoadReport, LoadSettings, cgroup};
use crate::units::{parse_bytes, parse_duration, show_bytes, show_count, show_duration};

/// Rounds of `--measure-max`.
const ROUNDS: usize = 15;

/// Prints a line; a reader that went away is an error, not a panic.
macro_rules! say {
    ($($text:tt)*) => { writeln!(std::io::stdout(), "{}", crate::text::visible(&format!($($text)*)))? };
}

/// Runs the load generators on this machine and prints what is set and what is achieved.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout load --wset 96M --rate 9000               dirty 9,000 pages/s of 96 MiB
  blackout load --wset 96M --rate 9000 --load 50     and keep each CPU half busy
  blackout load --wset 256M --measure-max            how fast can this memory be dirtied?")]
pub struct Args {
    #[command(flatten)]
    load: LoadArgs,
    /// Stop after so long, e.g. 10s; without it, Ctrl-C stops
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_negative_numbers = true)]
    duration: Option<Duration>,
    /// Memory to leave free [default: 10 % of RAM, at least 32M]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, allow_negative_numbers = true)]
    reserve: Option<u64>,
    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,
    /// Measure the highest RATE beside a plain write loop over the same memory (256M unless --wset)
    #[arg(long, conflicts_with_all = ["load", "rate", "bpc", "period", "fill", "pattern"])]
    measure_max: bool,
}

/// Runs the command.
///
/// # Errors
/// When the settings are wrong or the memory cannot be had.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let generators = Generators::start(Limits::of_this_machine(args.reserve))?;
    if args.measure_max {
        return measure(&generators, &args);
    }
    let asked = args.load.settings()?;
    if asked.is_idle() {
        bail!("no load is asked for: give --load PERCENT, or --wset SIZE and with it --rate PAGES/S");
    }
    if let Some(limits) = cgroup::cpu_limits() {
        tell!("blackout load: {limits}");
    }
    let set = generators.apply(asked)?;
    if !args.json {
        say!("set: {}", describe(&set));
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot wait for signals")?;
    let quota = cgroup::cpu(std::path::Path::new("/"));
    let whole = runtime.block_on(watch(&generators, &args, quota.as_ref()))?;
    if args.json {
        say!("{}", serde_json::to_string(&serde_json::json!({ "whole_run": whole }))?);
    } else {
        say!(
            "whole run: RATE {:.1} pages/s over {} ({} pages)",
            whole.rate_pages_per_s,
            show_duration(Duration::from_nanos(whole.window_ns)),
            show_count(whole.pages)
        );
    }
    generators.stop();
    Ok(ExitCode::SUCCESS)
}

/// The run as a whole.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Whole {
    rate_pages_per_s: f64,
    pages: u64,
    window_ns: u64,
}

/// Prints a report a second until the time is up or somebody says stop.
async fn watch(generators: &Generators, args: &Args, quota: Option<&CpuBound>) -> anyhow::Result<Whole> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (start, first) = (Instant::now(), generators.report());
    let end = args.duration.map(|d| start + d);
    for second in 1u32.. {
        let tick = start + Duration::from_secs(1) * second;
        let stop_here = end.is_some_and(|e| e <= tick);
        let stopped = tokio::select! {
            () = sleep_until(end.map_or(tick, |e| e.min(tick))) => stop_here,
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
        };
        let report = generators.report();
        if args.json {
            say!("{}", serde_json::to_string(&report)?);
        } else {
            say!("{}", line(start.elapsed(), &report, quota));
        }
        if stopped {
            let pages = report.pages_total - first.pages_total;
            let window_ns = report.guest_ns - first.guest_ns;
            return Ok(Whole { rate_pages_per_s: pages as f64 * 1e9 / window_ns as f64, pages, window_ns });
        }
    }
    anyhow::bail!("the time is up")
}

fn describe(s: &LoadSettings) -> String {
    format!(
        "LOAD {:.0} %, WSET {}, RATE {:.1} pages/s (BPC {} / PERIOD {}), FILL {:.1} %, {}",
        s.cpu_load_pct,
        show_bytes(s.wset_bytes),
        s.dirty.rate_pages_per_s(),
        show_count(s.dirty.bpc_pages),
        show_duration(Duration::from_nanos(s.dirty.period_ns)),
        s.fill_pct,
        s.pattern.name()
    )
}

fn line(elapsed: Duration, r: &LoadReport, quota: Option<&CpuBound>) -> String {
    let saturated = match quota {
        _ if !r.saturated => String::new(),
        Some(quota) => format!("  saturated (CPU quota {quota})"),
        None => "  saturated".into(),
    };
    format!(
        "{:>6.1} s  LOAD {:>3.0} -> {:>5.1} %  WSET {}  RATE {:.1} -> {:.1} pages/s{}{}",
        elapsed.as_secs_f64(),
        r.set.cpu_load_pct,
        r.cpu_load_pct,
        show_bytes(r.wset_bytes),
        r.set.dirty.rate_pages_per_s(),
        r.rate_pages_per_s,
        r.guest_cpu_pct.map(|busy| format!("  whole machine's CPU {busy:.0} %")).unwrap_or_default(),
        saturated
    )
}

fn measure(generators: &Generators, args: &Args) -> anyhow::Result<ExitCode> {
    let wset = args.load.wset.unwrap_or(256 << 20);
    let round = args.duration.unwrap_or(Duration::from_millis(200));
    if !args.json {
        say!("WSET {}, {ROUNDS} rounds of {} each, the best of each", show_bytes(wset), show_duration(round));
    }
    for fill_pct in [100.0, 0.0] {
        let max: MaxRate = max_rate(generators, wset, fill_pct, ROUNDS, round)?;
        if args.json {
            say!("{}", serde_json::to_string(&serde_json::json!({ "max_rate": max, "ratio": max.ratio() }))?);
        } else {
            say!(
                "{:>4} bytes a page: generator {:>11} pages/s, plain loop {:>11} pages/s, ratio {:.2}",
                max.bytes_per_page,
                show_count(max.generator_pages_per_s as u64),
                show_count(max.plain_pages_per_s as u64),
                max.ratio()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
