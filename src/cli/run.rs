//! Runs a session: the stream, the recorder, the controller, and a front end on top.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::args::SessionArgs;
use super::closing::{self, Closed};
use super::feed::LiveFeed;
use super::headless;
use super::{EXIT_CAPTURE, EXIT_NOT_AS_ASKED, EXIT_OK, EXIT_UNSETTLED, say};
use crate::controller::loader::Loader;
use crate::controller::requests::{self, Requests};
use crate::controller::script::{self, Plan};
use crate::controller::stage::Stage;
use crate::controller::tour::{Ground, Tour};
use crate::controller::{Controller, Terms, Waiting, announce, forecast};
use crate::event::{
    Body, EventSink, Header, HostFacts, Level, LoadSettings, Location, LogEvent, MigrationEnd, MigrationEvent,
    MigrationSettings, OperatorEvent, SCHEMA_MAJOR, SCHEMA_MINOR, SessionClock, Versions,
};
use crate::host;
use crate::session::outlook::Rests;
use crate::session::{FinishReport, Live, RecorderOptions, Shared, State, place, result};
use crate::text::foreign;
use crate::tui;
use crate::units::show_duration;

/// How long the capture may take to be written when the end was cut short.
const WRITTEN_WITHIN: Duration = Duration::from_millis(300);

/// Everything a front end needs once the guest can be loaded and migrated.
pub(super) struct Ready {
    /// Where migrations take place; None in a session that only watches.
    pub stage: Option<Box<dyn Stage>>,
    pub agent: Option<Box<dyn Loader>>,
    /// Ends the probing.
    pub probe: Option<EndProbing>,
}

/// Ends the probing; may block.
pub(super) type EndProbing = Box<dyn FnOnce() + Send>;

/// Ends a real probe.
pub(super) fn ending(probe: crate::probe::ProbeHandle) -> EndProbing {
    Box::new(move || {
        probe.stop();
    })
}

/// What is particular to a session with a simulated hypervisor.
#[derive(Debug, Clone)]
pub(super) struct Simulation {
    /// How many times as fast as real time the session's clock goes.
    pub speed: f64,
    /// Seed of every random choice.
    pub seed: u64,
    /// The tour to take: over what it goes.
    pub tour: Option<Ground>,
}

/// What a session is started with.
pub(super) struct SessionPlan {
    /// The command, and the session's name unless it is given one.
    pub command: &'static str,
    pub args: SessionArgs,
    pub load: LoadSettings,
    /// Settings for the next migration.
    pub migration: MigrationSettings,
    /// Whether there is an agent to wait for.
    pub agent: bool,
    /// Whether there is a hypervisor to migrate with.
    pub migrates: bool,
    /// The command's own settings, for the header.
    pub own: Value,
    pub hypervisor: Option<String>,
    pub guest_kernel: Option<String>,
    /// What forecasts rest on; None where nothing is migrated.
    pub forecasts: Option<Rests>,
    /// The hypervisor is simulated; None for a real one.
    pub simulation: Option<Simulation>,
}

/// Runs a session to its end. `prepare` brings up the guest; it runs beside the front end, so
/// that a screen shows what is being done.
///
/// # Errors
/// When the guest could not be brought up or the load was refused; what was recorded is kept.
pub(super) fn session<F, P>(plan: SessionPlan, prepare: F) -> Result<ExitCode>
where
    F: FnOnce(EventSink) -> P,
    P: Future<Output = Result<Ready>> + Send + 'static,
{
    if plan.args.capture.out.is_none() {
        place::checked_sessions_dir()?;
    }
    let runtime = runtime(&plan).context("starting the async runtime")?;
    let inside = runtime.enter();
    let migration = plan.migration.clone();
    let name = plan.args.capture.name.clone().unwrap_or_else(|| plan.command.into());
    let recorder = RecorderOptions { out: plan.args.capture.out.clone(), ..RecorderOptions::default() };
    let clock = plan.simulation.as_ref().map_or_else(SessionClock::start, |s| SessionClock::simulated(s.speed));
    let (sink, live) = Live::start_at(clock, header(&plan, name, &migration), recorder);
    let shared = live.shared();
    if plan.migrates {
        announce(&sink, &migration);
        let defaults = plan.args.migration.defaults_in(&migration);
        let text = match defaults {
            Some(defaults) if plan.command == "migrate" => {
                format!("{defaults}; everything else is the hypervisor's own")
            }
            Some(defaults) => format!("defaults of '{}' for what was not asked for: {defaults}", plan.command),
            None => String::new(),
        };
        if !text.is_empty() {
            sink.emit(Body::Log(LogEvent { level: Level::Info, from: "settings".into(), text }));
        }
    }
    // This machine is not the one that is simulated.
    let host_cpu = plan.simulation.is_none().then(|| watch_host(&sink, &shared)).flatten();

    let forecaster = plan.forecasts.clone().and_then(|rests| forecast::begin(sink.clone(), shared.clone(), rests));

    let (intents, inbox) = unbounded_channel();
    let over = Arc::new(AtomicBool::new(false));
    let waiting = Waiting::default();
    let preparing = prepare(sink.clone());
    let mut controller = runtime.spawn({
        let (sink, shared, over) = (sink.clone(), shared.clone(), Arc::clone(&over));
        let probe_deadline = plan.args.probe.ping_deadline;
        let terms = Terms { next: migration, probe_deadline, waiting: waiting.clone() };
        async move {
            let result = control(preparing, inbox, sink, shared, terms).await;
            over.store(true, Ordering::Relaxed);
            result
        }
    });

    // Tells to the very end: what becomes of a migration that a quit cancels, too.
    let teller = plan.args.headless.headless.then(|| runtime.spawn(headless::tell(shared.clone())));
    let tour = plan.simulation.as_ref().and_then(|s| s.tour).map(|ground| Tour {
        ground,
        ping_interval: plan.args.probe.ping_interval,
        shared: shared.clone(),
        sink: sink.clone(),
        intents: intents.clone(),
        load: plan.load,
        migration: plan.migration.clone(),
        read: !plan.args.headless.headless,
    });
    let front = if let (true, Some(tour)) = (plan.args.headless.headless, &tour) {
        runtime.block_on(async {
            tokio::select! {
                as_asked = tour.take() => Ok(as_asked),
                () = raised(&over) => Ok(false),
                signal = ended_by_signal() => Err(anyhow!("ended by {signal}")),
            }
        })
    } else if plan.args.headless.headless {
        runtime.block_on(headless_front(&shared, &intents, &plan, &over, &sink))
    } else {
        let touring = tour.map(|tour| runtime.spawn(async move { tour.take().await }));
        let feed = LiveFeed { shared: shared.clone(), clock: sink.clock(), over };
        let left = screen(&feed, intents.clone(), &plan);
        if let Some(touring) = touring {
            // Gone before the session is quit: nothing is asked for or said in its name afterwards.
            touring.abort();
            let _ = runtime.block_on(touring);
        }
        left
    };
    // The front end is done: the controller ends what was started, then the capture is closed.
    let impatient = closing::impatience().ok();
    let _ = intents.send(OperatorEvent::Quit);
    let closed = runtime.block_on(closing::close(&mut controller, &waiting, impatient));
    drop(forecaster);
    drop(host_cpu);
    if let Some(teller) = teller {
        std::thread::sleep(headless::TOLD_WITHIN);
        teller.abort();
    }
    let (worked, in_order) = match closed {
        Closed::InOrder(result) => (result.and(front), true),
        Closed::CutShort(why) => (Err(why), false),
    };
    let why = worked.as_ref().map_or_else(crate::text::in_full, |_| "quit".into());
    leave_unsettled(&sink, &shared, &why);
    let report = if in_order { live.finish(&why) } else { live.finish_within(&why, WRITTEN_WITHIN) };
    drop(inside);
    runtime.shutdown_timeout(if in_order { Duration::from_secs(1) } else { WRITTEN_WITHIN });

    tell_result(&shared, plan.args.headless.json)?;
    tell_capture(&report);
    let came_of = shared.with_state(CameOf::read);
    for line in &came_of.unsettled {
        tell!("blackout: {line}");
    }
    if came_of.lost > 0 && report.lost == 0 {
        tell!("blackout: {} event(s) were lost in blackout's own queues: the result may lack something", came_of.lost);
    }
    // Answers dropped by this machine's kernel are missing in the numbers, if not in the capture.
    let unheard = shared.with_state(|s| s.digests.values().any(|d| d.dropped() > 0));
    let sound = report.is_sound() && came_of.lost == 0 && !unheard;
    if let (false, Err(e)) = (came_of.unsettled.is_empty(), &worked) {
        tell!("blackout: {}", crate::text::in_full(e));
        return Ok(ExitCode::from(EXIT_UNSETTLED));
    }
    Ok(ExitCode::from(exit_code(sound, worked?, &came_of)))
}

/// What a session came to, as far as its exit code tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct CameOf {
    /// A line on each migration that was lost sight of.
    unsettled: Vec<String>,
    /// Whether a migration failed.
    failed: bool,
    /// Events lost in our own queues.
    lost: u64,
}

impl CameOf {
    fn read(state: &State) -> Self {
        let ends = || state.migrations.iter().filter_map(|m| m.ended.as_ref().map(|(_, end)| (m.n, end)));
        let unsettled = ends().filter_map(|(n, end)| match end {
            MigrationEnd::Unsettled { last, seen, .. } => {
                let ago = seen.map_or_else(String::new, |t| {
                    let ago = Duration::from_nanos(state.now.saturating_sub(t));
                    format!(", {} before the end of the session", show_duration(ago))
                });
                let last = foreign(&last.words());
                Some(format!("migration {n} is UNSETTLED: the guest {last} when it was last seen{ago}: look there"))
            }
            _ => None,
        });
        Self {
            unsettled: unsettled.collect(),
            failed: ends().any(|(_, end)| matches!(end, MigrationEnd::Failed { .. })),
            lost: state.health.lost_events,
        }
    }
}

/// The exit code of a session that could do its work. What concerns a guest comes first.
fn exit_code(sound: bool, as_asked: bool, came_of: &CameOf) -> u8 {
    match () {
        () if !came_of.unsettled.is_empty() => EXIT_UNSETTLED,
        () if !sound => EXIT_CAPTURE,
        () if !as_asked || came_of.failed => EXIT_NOT_AS_ASKED,
        () => EXIT_OK,
    }
}

/// Tells the end of a migration that is left running: that it goes on without us, and where the guest was
/// last known to be, is all that can be said of it.
fn leave_unsettled(sink: &EventSink, shared: &Shared, why: &str) {
    let running = shared.with_state(|s| {
        let n = s.migrations.last().filter(|m| m.ended.is_none())?.n;
        let (seen, last) = match &s.guest {
            Some((t, location)) => (Some(*t), location.clone()),
            None => (None, Location::Unknown { why: "it was never seen".into() }),
        };
        Some((n, MigrationEnd::Unsettled { why: format!("blackout ended while it ran: {why}"), last, seen }))
    });
    if let Some((n, end)) = running {
        sink.emit(Body::Migration(MigrationEvent::Ended { n, end }));
        sink.emit(Body::Migration(MigrationEvent::Settled { n }));
    }
}

/// Says where the capture is and, whatever else went wrong, whether it is whole.
fn tell_capture(report: &FinishReport) {
    if report.events > 0 || report.is_sound() {
        tell!("capture: {}", report.path.display());
    }
    if !report.is_sound() {
        tell!(
            "blackout: the capture {} is not sound: {} event(s) not written, {} lost{}",
            report.path.display(),
            report.unwritten,
            report.lost,
            report.trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
        );
    }
}

fn tell_result(shared: &Shared, json: bool) -> Result<()> {
    let result = shared.with_state(result::result);
    if json {
        say::print_json(&result)?;
    } else if !result.migrations.is_empty() || !result.probes.is_empty() {
        say::print(&result::text(&result, super::width()))?;
    }
    Ok(())
}

async fn control(
    preparing: impl Future<Output = Result<Ready>>,
    mut inbox: UnboundedReceiver<OperatorEvent>,
    sink: EventSink,
    shared: Shared,
    terms: Terms,
) -> Result<()> {
    let waiting = terms.waiting.clone();
    let mut requests = Requests::at_speed(sink.clock().speed());
    let mut early = Vec::new();
    tokio::pin!(preparing);
    let ready = loop {
        tokio::select! {
            ready = &mut preparing => break ready,
            intent = inbox.recv() => match intent {
                None => return Ok(()),
                // A ramp is recorded when it begins.
                Some(intent @ (OperatorEvent::Ramp { .. } | OperatorEvent::RampEnd)) => early.push(intent),
                Some(intent) => {
                    let intent = match intent {
                        OperatorEvent::SetLoad { id, to } => {
                            let request = requests.take(id, to, sink.clock().now());
                            OperatorEvent::SetLoad { id: request.id, to: request.to }
                        }
                        other => other,
                    };
                    sink.emit(Body::Operator(intent.clone()));
                    if intent == OperatorEvent::Quit {
                        return Ok(());
                    }
                    early.push(intent);
                }
            },
        }
    };
    let ready = ready.inspect_err(|e| {
        let text = crate::text::in_full(e);
        sink.emit(Body::Log(LogEvent { level: Level::Error, from: "blackout".into(), text }));
    })?;
    let mut controller = Controller::new(sink, shared, ready.stage, ready.agent, requests, terms);
    // Before anything is done: what is refused is refused with the hosts' names.
    controller.look_around().await;
    for intent in early {
        match intent {
            OperatorEvent::SetLoad { id, to } => controller.give(id, to, true),
            OperatorEvent::Ramp { .. } | OperatorEvent::RampEnd => controller.take(intent).await,
            other => controller.act(other).await,
        }
    }
    controller.serve(inbox).await;
    if let Some(probe) = ready.probe {
        waiting.on("the probe to stop");
        let _ = crate::allowed::blocking("probe-end", probe).await;
    }
    Ok(())
}

async fn headless_front(
    shared: &Shared,
    intents: &UnboundedSender<OperatorEvent>,
    plan: &SessionPlan,
    over: &AtomicBool,
    sink: &EventSink,
) -> Result<bool> {
    if !plan.migrates {
        return Ok(watch_front(shared, plan.args.headless.watch_for, over).await);
    }
    let work = Plan {
        load: plan.load,
        ramp: ramp(plan),
        agent: plan.agent,
        migrations: plan.args.headless.migrations,
        warm_up: plan.args.headless.warm_up,
        give_up_after: plan.args.headless.give_up_after,
        sink: sink.clone(),
    };
    tokio::select! {
        outcome = script::drive(shared, intents, &work) => outcome,
        // Why it ended by itself is told by the controller's own result.
        () = raised(over) => Ok(false),
        signal = ended_by_signal() => Err(anyhow!("ended by {signal}")),
    }
}

/// Watches for as long as was asked; whether it did. Where no time was asked for, a signal is the way to end.
async fn watch_front(shared: &Shared, asked: Option<Duration>, over: &AtomicBool) -> bool {
    let watched = async {
        script::wait(shared, |s| !s.probes.is_empty()).await;
        match asked {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = watched => true,
        () = raised(over) => false,
        _ = ended_by_signal() => asked.is_none(),
    }
}

/// The ramp asked for on the command line.
fn ramp(plan: &SessionPlan) -> Option<OperatorEvent> {
    plan.args.ramp.as_ref().map(|ramp| requests::intent(ramp, plan.load.dirty.rate_pages_per_s()))
}

async fn raised(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for a signal that asks this program to end, and names it.
async fn ended_by_signal() -> &'static str {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    }
}

fn screen(feed: &LiveFeed, intents: UnboundedSender<OperatorEvent>, plan: &SessionPlan) -> Result<bool> {
    // A tour sets the load itself.
    let toured = plan.simulation.as_ref().is_some_and(|s| s.tour.is_some());
    if plan.load != LoadSettings::default() && !toured {
        let _ = intents.send(OperatorEvent::SetLoad { id: 1, to: plan.load });
    }
    if let Some(ramp) = ramp(plan) {
        let _ = intents.send(ramp);
    }
    match tui::run(feed, Some(intents), plan.args.screen.options()?)?.reason {
        tui::ExitReason::Gone => bail!("the terminal is gone"),
        tui::ExitReason::Signal => bail!("ended by a signal"),
        tui::ExitReason::Quit | tui::ExitReason::Over => Ok(true),
    }
}

fn header(plan: &SessionPlan, name: String, migration: &MigrationSettings) -> Header {
    let probe = &plan.args.probe;
    Header {
        schema_major: SCHEMA_MAJOR,
        schema_minor: SCHEMA_MINOR,
        name,
        wall_origin_unix_ns: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64),
        versions: Versions {
            blackout: env!("CARGO_PKG_VERSION").into(),
            hypervisor: plan.hypervisor.clone(),
            guest_kernel: plan.guest_kernel.clone(),
            accelerator: None,
        },
        host: host_facts(),
        settings: json!({
            "command": plan.command,
            plan.command: plan.own,
            "load": plan.load,
            "migration": plan.migrates.then_some(migration),
            "ping_interval_ns": probe.ping_interval.as_nanos() as u64,
            "ping_deadline_ns": probe.ping_deadline.as_nanos() as u64,
        }),
        seed: plan.simulation.as_ref().map_or_else(rand::random, |s| s.seed),
        simulated: plan.simulation.is_some(),
    }
}

/// The machine, as far as it can be told.
fn host_facts() -> HostFacts {
    let mut facts = HostFacts {
        cpu: "unknown".into(),
        // What this process may use, where the machine as a whole cannot be asked; never 0.
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        ram_bytes: crate::load::limits::Memory::now().total_bytes,
        kernel: sysinfo::System::kernel_version().unwrap_or_else(|_| "unknown".into()),
    };
    if let Ok(mut machine) = sysinfo::System::new() {
        machine.refresh_cpu_all();
        if let Some(first) = machine.cpus().first() {
            facts.cpus = machine.cpus().len() as u32;
            facts.cpu = first.brand().trim().to_owned();
        }
    }
    facts
}

/// Workers enough for hypervisors, agents and a front end; a session that only watches needs one.
fn runtime(plan: &SessionPlan) -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(if plan.migrates { super::workers() } else { 1 });
    builder.enable_all().build()
}

/// CPU of this machine and of the hypervisors that are known to run on it. A session does without
/// where it cannot be had.
fn watch_host(sink: &EventSink, shared: &Shared) -> Option<host::Watch> {
    let of_watch = shared.clone();
    let hypervisors = move || {
        of_watch.with_state(|state| {
            let here = state.hosts.iter().filter(|(_, host)| host.lost.is_none());
            here.filter_map(|(name, host)| Some((name.clone(), host.pid?))).collect()
        })
    };
    host::watch(sink.clone(), hypervisors, host::INTERVAL)
        .inspect_err(|e| {
            let log = LogEvent { level: Level::Warn, from: "host".into(), text: e.to_string() };
            sink.emit(Body::Log(log));
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_the_worst_first() {
        let none = CameOf::default;
        assert_eq!(exit_code(true, true, &none()), EXIT_OK);
        assert_eq!(exit_code(true, false, &none()), EXIT_NOT_AS_ASKED);
        let failed = CameOf { failed: true, ..none() };
        assert_eq!(exit_code(true, true, &failed), EXIT_NOT_AS_ASKED, "also where nobody asked for it headless");
        assert_eq!(exit_code(false, true, &failed), EXIT_CAPTURE, "something of ours was lost");
        let unsettled = CameOf { unsettled: vec!["migration 1".into()], failed: true, lost: 7 };
        assert_eq!(exit_code(false, false, &unsettled), EXIT_UNSETTLED);
    }
}
