//! `blackout ping`: a probe alone, with an honest summary.
//!
//! Its numbers are made by the fold that a session keeps for each of its probes ([`Summary`]), and by nothing
//! else. Of a session it keeps no more than that: no slots one by one (32 MiB a probe), no record and no screen,
//! so that it can run for as long as it is let at 10 kHz in a few megabytes.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::json;

use super::exit::{EXIT_CAPTURE, EXIT_NOT_AS_ASKED, EXIT_OK, EXIT_TROUBLE};
use super::printer::Printer;
use crate::analysis::probing::{Summary, ms};
use crate::event::{Body, Engine, Event, Hub, Nanos, ProbeEvent, ProbeId, ProbeSpec, SessionClock};
use crate::probe::engine::Ending;
use crate::probe::schedule::Schedule;
use crate::probe::{self, EngineChoice, ProbeOptions, Source};
use crate::target::resolve::IpFamily;
use crate::text::visible;
use crate::units::{ParseError, parse_duration, show_duration};

/// How often events are taken in and printed.
const REFRESH: Duration = Duration::from_millis(100);
/// The same where nothing is shown on the way.
const QUIET_REFRESH: Duration = Duration::from_millis(250);

/// How a ping ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Answered,
    SomeLost,
    Nothing,
    NotWhole,
}

impl Verdict {
    fn code(self) -> u8 {
        match self {
            Self::Answered => EXIT_OK,
            Self::SomeLost => EXIT_NOT_AS_ASKED,
            Self::Nothing => EXIT_TROUBLE,
            Self::NotWhole => EXIT_CAPTURE,
        }
    }
}

/// Ping a target on an absolute schedule and account for every slot
///
/// Exit code 0 when everything sent was answered, 1 when something was lost or an ICMP error came
/// back, 2 when nothing could be measured, 3 when answers or events were lost on this machine, so
/// that the numbers are not whole.
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
    /// Stop after this time
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// A probe unanswered after this time is lost; an answer after it is late
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
        Ok(verdict) => ExitCode::from(verdict.code()),
        // What reads our output has closed it.
        Err(e) if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::from(EXIT_TROUBLE)
        }
        Err(e) => {
            tell!("blackout ping: {}", crate::text::in_full(&e));
            ExitCode::from(EXIT_TROUBLE)
        }
    })
}

fn ping(args: &Args) -> anyhow::Result<Verdict> {
    let options = ProbeOptions {
        engine: match args.engine {
            EngineArg::Auto => EngineChoice::Auto,
            EngineArg::SurgePing => EngineChoice::SurgePing,
            EngineArg::Threads => EngineChoice::Threads,
        },
        interval: args.interval,
        deadline: args.deadline,
        from: args.device.clone().map(Source::Device),
        count: args.count.or_else(|| args.duration.map(|d| slots_in(d, args.interval))),
        ..ProbeOptions::icmp(ProbeId(0), resolve(args)?)
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
    // Taken in several times a second; the queue has room for some seconds of everything a slot can
    // make events of.
    let (sink, hub) = Hub::new(clock, (12 * a_second).clamp(8_192, 131_072));
    let probe = probe::start(&options, &sink)?;
    let mut screen = Screen::new(args, probe.spec().clone(), Printer::start()?);
    screen.headline(&args.target)?;

    let last =
        options.count.map(|n| clock.instant(Schedule::new(probe.spec().t0, probe.spec().interval_ns, None).due(n)));
    loop {
        // With nothing to show, there is no hurry but for the end.
        let left = last.map_or(Duration::MAX, |t| t.saturating_duration_since(Instant::now()));
        wait(&signals, if args.quiet { left.clamp(Duration::from_millis(50), QUIET_REFRESH) } else { REFRESH });
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
    // All is measured. A reader that takes its time is waited for, but not against a signal.
    while !screen.out.is_done()? {
        wait(&signals, Duration::from_millis(10));
        if matches!(signals.read_signal(), Ok(Some(_))) {
            break;
        }
    }
    Ok(screen.verdict())
}

/// How many slots fall into a span of time; at least one.
fn slots_in(span: Duration, interval: Duration) -> u64 {
    (span.as_nanos() / interval.as_nanos().max(1)).clamp(1, u128::from(u64::MAX)) as u64
}

fn resolve(args: &Args) -> anyhow::Result<SocketAddr> {
    let family = match (args.v4, args.v6) {
        (true, _) => Some(IpFamily::V4),
        (_, true) => Some(IpFamily::V6),
        _ => None,
    };
    Ok(crate::target::resolve::target(&args.target, family)?)
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
    out: Printer,
}

impl Screen {
    fn new(args: &Args, spec: ProbeSpec, out: Printer) -> Self {
        let next_line = spec.t0 + 1_000_000_000;
        Self { summary: Summary::new(spec), json: args.json, quiet: args.quiet, overflow: 0, next_line, out }
    }

    fn headline(&mut self, target: &str) -> io::Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        let spec = &self.summary.spec;
        let line = format!(
            "{} ({}): ICMP every {} by {}, lost after {}\n",
            visible(target),
            spec.target,
            show_duration(Duration::from_nanos(spec.interval_ns)),
            engine_name(spec.engine),
            show_duration(Duration::from_nanos(spec.deadline_ns)),
        );
        self.out.print(line.into_bytes(), true)
    }

    /// Takes in what has happened and hands what is to be printed to the printer, which may be slow.
    fn take(&mut self, hub: &Hub) -> io::Result<()> {
        let mut out = Vec::new();
        let (mut lines, mut more) = (0, 0);
        for Event { t, ev, .. } in hub.rx.try_iter() {
            match &ev {
                Body::Probe(event) => {
                    self.summary.apply(event);
                    if self.quiet || self.json {
                        // Events go out whole below, or not at all.
                    } else if let Some(line) = line(event, &self.summary.spec) {
                        if lines < LINES {
                            writeln!(out, "  {}", visible(&line))?;
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
                writeln!(out, "{}", super::say::json_line(&Event::new(t, ev))?)?;
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
        self.out.print(out, false)
    }

    fn brief(&self) -> String {
        let c = &self.summary.counts;
        let rtt = self.summary.rtt.quantile(0.5).map_or_else(|| "-".into(), ms);
        format!(
            "ok {}  late {}  lost {}  errors {}  not-sent {}  rtt p50 {rtt} ms",
            c.ok, c.late, c.lost, c.error, c.not_sent
        )
    }

    /// How it ended, as its exit code says.
    fn verdict(&self) -> Verdict {
        let c = &self.summary.counts;
        match () {
            () if self.overflow > 0 || self.summary.dropped() > 0 || (self.json && self.out.unprinted() > 0) => {
                Verdict::NotWhole
            }
            () if c.lost + c.error > 0 => Verdict::SomeLost,
            () if c.answered() > 0 => Verdict::Answered,
            () => Verdict::Nothing,
        }
    }

    fn close(&mut self, target: &str, ending: Option<Ending>, remarks: &[String], end: Nanos) -> io::Result<()> {
        let text = if self.json {
            let mut summary = self.summary.json();
            summary["pending"] = json!(ending.map(|e| e.pending));
            summary["stray"] = json!(ending.map(|e| e.stray));
            summary["events_lost"] = json!(self.overflow);
            summary["not_printed"] = json!(self.out.unprinted());
            summary["remarks"] = json!(remarks);
            crate::text::json(&json!({ "summary": summary }).to_string()).into_owned()
        } else {
            crate::text::visible_lines(&self.text(target, ending, remarks, end)).into_owned()
        };
        self.out.print((text + "\n").into_bytes(), true)
    }

    fn text(&self, target: &str, ending: Option<Ending>, remarks: &[String], end: Nanos) -> String {
        let s = &self.summary;
        let sent = ending.map_or_else(|| "unknown".into(), |e| (s.counts.decided() + e.pending).to_string());
        let span = Duration::from_nanos(end.saturating_sub(s.spec.t0));
        let target = visible(target);
        let mut lines =
            vec![format!("{target} : {sent} sent in {} by {}", show_duration(span), engine_name(s.spec.engine))];
        lines.extend(s.lines(ending.map(|e| e.pending)).into_iter().map(|line| format!("  {line}")));
        if self.overflow > 0 {
            lines.push(format!("  {} events were lost here: the counts above are too low by them", self.overflow));
        }
        if self.out.unprinted() > 0 {
            lines.push(format!(
                "  {} bytes were not printed, because what reads the output is slow; the summary has all",
                self.out.unprinted()
            ));
        }
        lines.push(format!("  note: {}", remarks.join("; ")));
        lines.join("\n")
    }
}

fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::SurgePing => "surge-ping",
        Engine::Threads => "threads",
        Engine::Connections => "connections",
    }
}

/// What is worth a line: everything but an answer in time.
fn line(event: &ProbeEvent, spec: &ProbeSpec) -> Option<String> {
    Some(match event {
        ProbeEvent::Late { k, rtt, .. } => format!("slot {k}: late, answered after {} ms", ms(*rtt)),
        ProbeEvent::Lost { k, .. } => format!("slot {k}: lost"),
        ProbeEvent::Duplicate { k, rtt, .. } => format!("slot {k}: duplicate after {} ms", ms(*rtt)),
        ProbeEvent::NotSent { k, why: None, .. } => format!("slot {k}: not sent, this machine was busy"),
        ProbeEvent::NotSent { k, why: Some(why), .. } => format!("slot {k}: not sent, {}", visible(why)),
        ProbeEvent::Heard { what, n, from, .. } => what.words(*n, *from, spec.target),
        ProbeEvent::Refused { k, what, .. } => format!("slot {k}: {}", visible(what)),
        ProbeEvent::Error { k, what, .. } => format!("slot {k}: error, {what}"),
        ProbeEvent::Started { .. } | ProbeEvent::Ok { .. } | ProbeEvent::Stopped { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::event::Class;

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
    fn its_numbers_are_those_a_session_has_of_the_same_events() {
        use crate::session::State;
        let (id, ms) = (ProbeId(0), 1_000_000);
        let spec = ProbeSpec::new(crate::event::ProbeKind::Icmp, [127, 0, 0, 1].into(), 50 * ms);
        let mut events = vec![ProbeEvent::Started { id, spec: spec.clone() }];
        for k in 0..500 {
            let sent = k * 50 * ms;
            events.push(match k {
                100..140 | 300 => ProbeEvent::Lost { id, k, sent },
                200..205 => ProbeEvent::Error { id, k, sent: Some(sent), what: "host unreachable".into() },
                250 => ProbeEvent::NotSent { id, k, why: None },
                _ => ProbeEvent::Ok { id, k, sent, rtt: ms },
            });
        }
        events.push(ProbeEvent::Late { id, k: 300, sent: 15_000 * ms, rtt: 1_500 * ms });
        let mut screen = Screen::new(&parse("ping a").unwrap(), spec, Printer::start().unwrap());
        let mut session = State::default();
        for (event, t) in events.into_iter().zip(0..) {
            screen.summary.apply(&event);
            session.apply(&Event::new(t, Body::Probe(event)));
        }
        assert_eq!(session.digests[&id].json(), screen.summary.json());
        assert_eq!(screen.verdict(), Verdict::SomeLost);
        assert_eq!((screen.summary.counts.lost, screen.summary.counts.late), (40, 1));
    }

    #[test]
    fn the_summary_says_what_is_not_seen_and_what_is_unknown() {
        let spec = ProbeSpec {
            engine: Engine::SurgePing,
            cannot_see: vec![Class::Duplicate],
            ..ProbeSpec::new(crate::event::ProbeKind::Icmp, [127, 0, 0, 1].into(), 50_000_000)
        };
        let mut screen = Screen::new(&parse("ping a").unwrap(), spec, Printer::start().unwrap());
        let nothing = screen.text("a", Some(Ending { slots: 1, pending: 1, stray: 0 }), &[], 1);
        assert!(nothing.contains("pending 1") && nothing.contains("loss unknown"), "{nothing}");
        screen.summary.apply(&ProbeEvent::Ok { id: ProbeId(0), k: 0, sent: 0, rtt: 40_000 });
        let text = screen.text("a", Some(Ending { slots: 1, pending: 0, stray: 0 }), &["a remark".into()], 1);
        assert!(text.contains("duplicates not seen") && text.contains("loss 0.00 %"), "{text}");
        assert!(text.contains("0.040/0.040/0.040/0.040/0.040 ms") && text.contains("a remark"), "{text}");
    }
}
