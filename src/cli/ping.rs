//! `blackout ping`: a probe alone, with an honest summary.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args as ClapArgs, ValueEnum};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::json;

use crate::event::{Body, Class, Engine, Event, Hub, Nanos, ProbeEvent, ProbeSpec, SessionClock};
use crate::probe::engine::Ending;
use crate::probe::gap::Gap;
use crate::probe::schedule::Schedule;
use crate::probe::summary::Summary;
use crate::probe::{self, EngineChoice, ProbeOptions};
use crate::units::{ParseError, parse_duration, show_duration};

/// Exit code when something was not answered.
const SOME_LOST: u8 = 1;
/// How often events are taken in and printed.
const REFRESH: Duration = Duration::from_millis(100);
/// Exit code when nothing could be measured.
const TROUBLE: u8 = 2;

/// Ping a target on an absolute schedule and account for every slot
///
/// Exit code 0 when everything was answered, 1 when something was lost or ended in an error,
/// 2 when it could not be measured.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Host name or address
    target: String,
    /// Distance of the probes
    #[arg(short, long, value_name = "TIME", default_value = "50ms", value_parser = duration)]
    interval: Duration,
    /// Stop after this many slots
    #[arg(short, long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop after so long
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// A probe unanswered for so long is lost; an answer after it is late
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    deadline: Duration,
    /// What does the sending; auto is surge-ping at 5 ms and more, threads below
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    engine: EngineArg,
    /// Send through this network device only
    #[arg(short = 'I', long)]
    device: Option<String>,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// IPv6 only
    #[arg(short = '6')]
    v6: bool,
    /// One JSON object a line: every event, then the summary (with --quiet the summary alone)
    #[arg(long)]
    json: bool,
    /// Print the summary only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EngineArg {
    Auto,
    SurgePing,
    Threads,
}

fn duration(text: &str) -> Result<Duration, ParseError> {
    parse_duration(text)
}

/// Runs the command. All trouble is printed and turned into exit code 2 here.
///
/// # Errors
/// None: the type is that of all commands.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    Ok(match ping(&args) {
        Ok(summary) if summary.counts.lost + summary.counts.error > 0 => ExitCode::from(SOME_LOST),
        Ok(summary) if summary.counts.answered() > 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(TROUBLE),
        // Whoever read our output has had enough.
        Err(e) if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::from(TROUBLE)
        }
        Err(e) => {
            tell!("blackout ping: {}", super::in_full(&e));
            ExitCode::from(TROUBLE)
        }
    })
}

fn ping(args: &Args) -> anyhow::Result<Summary> {
    let options = ProbeOptions {
        engine: match args.engine {
            EngineArg::Auto => EngineChoice::Auto,
            EngineArg::SurgePing => EngineChoice::SurgePing,
            EngineArg::Threads => EngineChoice::Threads,
        },
        interval: args.interval,
        deadline: args.deadline,
        device: args.device.clone(),
        count: args.count.or_else(|| args.duration.map(|d| slots_in(d, args.interval))),
        ..ProbeOptions::icmp(0, resolve(args)?)
    };
    // Blocked before any thread is there, so that none of them takes the signals away.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("cannot hold back signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot watch for signals")?;

    let a_second = (1_000_000_000 / options.interval.as_nanos().max(1)) as usize;
    let clock = SessionClock::start();
    let (sink, hub) = Hub::new(clock, (4 * a_second).clamp(256, 65_536));
    let probe = probe::start(&options, &sink)?;
    let mut screen = Screen::new(args, probe.spec().clone());
    screen.headline(&args.target)?;

    let last =
        options.count.map(|n| clock.instant(Schedule::new(probe.spec().t0, probe.spec().interval_ns, None).due(n)));
    loop {
        // With nothing to show, there is no hurry but for the end.
        let left = last.map_or(Duration::MAX, |t| t.saturating_duration_since(Instant::now()));
        wait(
            &signals,
            if args.quiet { left.clamp(Duration::from_millis(50), Duration::from_secs(1)) } else { REFRESH },
        );
        let finished = probe.is_finished();
        screen.take(&hub)?;
        if finished || matches!(signals.read_signal(), Ok(Some(_))) {
            break;
        }
    }
    let remarks = probe.remarks().to_vec();
    let ending = probe.stop();
    let end = clock.now();
    screen.take(&hub)?;
    screen.close(&args.target, ending, &remarks, end)?;
    Ok(screen.summary)
}

/// How many slots fall into a span of time; at least one.
fn slots_in(span: Duration, interval: Duration) -> u64 {
    (span.as_nanos() / interval.as_nanos().max(1)).clamp(1, u128::from(u64::MAX)) as u64
}

fn resolve(args: &Args) -> anyhow::Result<SocketAddr> {
    let wanted = |a: &SocketAddr| !(args.v4 && a.is_ipv6() || args.v6 && a.is_ipv4());
    let found: Vec<SocketAddr> = (args.target.as_str(), 0)
        .to_socket_addrs()
        .with_context(|| format!("cannot find '{}'", args.target))?
        .collect();
    match found.iter().find(|a| wanted(a)) {
        Some(a) => Ok(*a),
        None => bail!("'{}' has no IPv{} address", args.target, if args.v4 { 4 } else { 6 }),
    }
}

fn wait(signals: &SignalFd, patience: Duration) {
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::from(100u8));
    let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], patience);
}

/// Lines about single slots printed for each batch of events; the rest are only counted.
const LINES: usize = 20;

struct Screen {
    summary: Summary,
    json: bool,
    quiet: bool,
    /// Events the queue could not hold.
    overflow: u64,
    /// When the next line of counts is due, ns of the session clock.
    next_line: Nanos,
}

impl Screen {
    fn new(args: &Args, spec: ProbeSpec) -> Self {
        let next_line = spec.t0 + 1_000_000_000;
        Self { summary: Summary::new(spec), json: args.json, quiet: args.quiet, overflow: 0, next_line }
    }

    fn headline(&self, target: &str) -> io::Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        let spec = &self.summary.spec;
        println_checked(&format!(
            "{target} ({}): ICMP every {} by {}, lost after {}",
            spec.target,
            show_duration(Duration::from_nanos(spec.interval_ns)),
            engine_name(spec.engine),
            show_duration(Duration::from_nanos(spec.deadline_ns)),
        ))
    }

    fn take(&mut self, hub: &Hub) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let (mut lines, mut more) = (0, 0);
        for Event { t, ev } in hub.rx.try_iter() {
            match &ev {
                Body::Probe(event) => {
                    self.summary.apply(event);
                    if self.quiet || self.json {
                        // Events go out whole below, or not at all.
                    } else if let Some(line) = line(event) {
                        if lines < LINES {
                            writeln!(out, "  {line}")?;
                            lines += 1;
                        } else {
                            more += 1;
                        }
                    }
                }
                Body::Log(log) => tell!("blackout ping: {}", log.text),
                _ => {}
            }
            if self.json && !self.quiet {
                serde_json::to_writer(&mut out, &Event { t, ev })?;
                writeln!(out)?;
            }
            if t >= self.next_line && !self.json && !self.quiet {
                self.next_line += 1_000_000_000 * (1 + (t - self.next_line) / 1_000_000_000);
                writeln!(out, "{:>5} s  {}", (t - self.summary.spec.t0) / 1_000_000_000, self.brief())?;
            }
        }
        if more > 0 {
            writeln!(out, "  ... and {more} more")?;
        }
        self.overflow += hub.take_lost();
        out.flush()
    }

    fn brief(&self) -> String {
        let c = &self.summary.counts;
        let rtt = self.summary.rtt.quantile(0.5).map_or_else(|| "-".into(), ms);
        format!(
            "ok {}  late {}  lost {}  errors {}  not-sent {}  rtt p50 {rtt} ms",
            c.ok, c.late, c.lost, c.error, c.not_sent
        )
    }

    fn close(&self, target: &str, ending: Option<Ending>, remarks: &[String], end: Nanos) -> io::Result<()> {
        if self.json {
            let mut summary = self.summary.json();
            summary["pending"] = json!(ending.map(|e| e.pending));
            summary["stray"] = json!(ending.map(|e| e.stray));
            summary["events_lost"] = json!(self.overflow);
            summary["remarks"] = json!(remarks);
            return println_checked(&json!({ "summary": summary }).to_string());
        }
        println_checked(&self.text(target, ending, remarks, end))
    }

    fn text(&self, target: &str, ending: Option<Ending>, remarks: &[String], end: Nanos) -> String {
        let s = &self.summary;
        let c = &s.counts;
        let cannot = |class: Class, n: u64| {
            if s.spec.cannot_see.contains(&class) { "not seen".to_owned() } else { n.to_string() }
        };
        let pending = ending.map_or_else(|| "unknown".into(), |e| e.pending.to_string());
        let sent = ending.map_or_else(|| "unknown".into(), |e| (c.decided() + e.pending).to_string());
        let span = Duration::from_nanos(end.saturating_sub(s.spec.t0));
        let mut lines = vec![
            format!("{target} : {sent} sent in {} by {}", show_duration(span), engine_name(s.spec.engine)),
            format!(
                "  ok {}  late {}  lost {}  errors {}  duplicates {}  not-sent {}  pending {pending}",
                c.ok,
                c.late,
                c.lost,
                c.error,
                cannot(Class::Duplicate, c.duplicate),
                c.not_sent,
            ),
            match c.loss_pct() {
                Some(pct) => format!("  loss {pct:.2} % (lost and errors, of {} whose fate is known)", c.decided()),
                None => "  loss unknown: no probe's fate is known".into(),
            },
        ];
        if let (Some(min), Some(p50), Some(mean), Some(p99), Some(max)) =
            (s.rtt.min(), s.rtt.quantile(0.5), s.rtt.mean(), s.rtt.quantile(0.99), s.rtt.max())
        {
            let [min, p50, mean, p99, max] = [min, p50, mean, p99, max].map(ms);
            lines.push(format!("  rtt min/p50/mean/p99/max {min}/{p50}/{mean}/{p99}/{max} ms (ok and late)"));
        }
        lines.extend(s.gaps.longest().map(|g| format!("  longest reply gap {}", show_gap(&g))));
        lines.extend(s.gaps.unfinished().map(|g| format!("  no answer at the end: {}", show_gap(&g))));
        let all = s.gaps.interruptions();
        if all.count > 0 {
            let (lo, hi) = (show_duration(all.lo), show_duration(all.hi));
            lines.push(format!("  interruptions {}, together {lo} to {hi}", all.count));
        }
        if let (Some(p50), Some(p99), Some(max)) = (s.spacing.quantile(0.5), s.spacing.quantile(0.99), s.spacing.max())
        {
            let [p50, p99, max] = [p50, p99, max].map(ms);
            lines.push(format!("  spacing error p50/p99/max {p50}/{p99}/{max} ms against the schedule"));
        }
        lines.extend(s.errors.iter().map(|(text, n)| format!("  error {n} x {text}")));
        if c.not_sent > 0 {
            lines.push(format!("  {} slots passed unsent: this machine was busy; no loss of the target's", c.not_sent));
        }
        if self.overflow > 0 {
            lines.push(format!("  {} events were lost here: the counts above are too low by them", self.overflow));
        }
        lines.push(format!("  note: {}", remarks.join("; ")));
        lines.join("\n")
    }
}

fn show_gap(gap: &Gap) -> String {
    let slots =
        gap.to_k.map_or_else(|| format!("since slot {}", gap.from_k), |to| format!("slots {} to {to}", gap.from_k));
    let lo = show_duration(gap.lo);
    match gap.hi {
        Some(hi) => format!("[{lo}, {}] ({slots})", show_duration(hi)),
        None => format!("gone for at least {lo} ({slots})"),
    }
}

fn println_checked(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::SurgePing => "surge-ping",
        Engine::Threads => "threads",
    }
}

/// Nanoseconds as milliseconds, to the microsecond.
fn ms(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}

/// What is worth a line: everything but an answer in time.
fn line(event: &ProbeEvent) -> Option<String> {
    Some(match event {
        ProbeEvent::Late { k, rtt, .. } => format!("slot {k}: late, answered after {} ms", ms(*rtt)),
        ProbeEvent::Lost { k, .. } => format!("slot {k}: lost"),
        ProbeEvent::Duplicate { k, rtt, .. } => format!("slot {k}: duplicate after {} ms", ms(*rtt)),
        ProbeEvent::NotSent { k, .. } => format!("slot {k}: not sent"),
        ProbeEvent::Error { k, what, .. } => format!("slot {k}: error, {what}"),
        ProbeEvent::Started { .. } | ProbeEvent::Ok { .. } | ProbeEvent::Stopped { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, String> {
        Cli::try_parse_from(line.split_whitespace()).map(|c| c.args).map_err(|e| e.to_string())
    }

    #[test]
    fn durations_count_slots() {
        let a = parse("ping 127.0.0.1 --interval 10ms --duration 5s").unwrap();
        assert_eq!(slots_in(a.duration.unwrap(), a.interval), 500);
        assert_eq!(slots_in(Duration::from_millis(3), Duration::from_millis(10)), 1);
    }

    #[test]
    fn bad_usage_is_refused() {
        for bad in [
            "ping",
            "ping a --interval 50",
            "ping a --count 0",
            "ping a -4 -6",
            "ping a -c 1 -d 1s",
            "ping a --engine x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("ping a --interval 50").unwrap_err().contains("it has no unit"));
    }

    #[test]
    fn addresses_are_chosen_by_family() {
        assert_eq!(resolve(&parse("ping 127.0.0.1 -4").unwrap()).unwrap().ip().to_string(), "127.0.0.1");
        let e = resolve(&parse("ping 127.0.0.1 -6").unwrap()).unwrap_err().to_string();
        assert!(e.contains("no IPv6 address"), "{e}");
    }

    #[test]
    fn the_summary_says_what_is_not_seen_and_what_is_unknown() {
        let spec = ProbeSpec {
            target: [127, 0, 0, 1].into(),
            kind: crate::event::ProbeKind::Icmp,
            engine: Engine::SurgePing,
            interval_ns: 50_000_000,
            deadline_ns: 1_000_000_000,
            t0: 0,
            cannot_see: vec![Class::Duplicate],
        };
        let mut screen = Screen::new(&parse("ping a").unwrap(), spec);
        let nothing = screen.text("a", Some(Ending { slots: 1, pending: 1, stray: 0 }), &[], 1);
        assert!(nothing.contains("pending 1") && nothing.contains("loss unknown"), "{nothing}");
        screen.summary.apply(&ProbeEvent::Ok { id: 0, k: 0, sent: 0, rtt: 40_000 });
        let text = screen.text("a", Some(Ending { slots: 1, pending: 0, stray: 0 }), &["a remark".into()], 1);
        assert!(text.contains("duplicates not seen") && text.contains("loss 0.00 %"), "{text}");
        assert!(text.contains("0.040/0.040/0.040/0.040/0.040 ms") && text.contains("a remark"), "{text}");
    }
}
