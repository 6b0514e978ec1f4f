//! Runs a session: the stream, the recorder, the controller, and a front end on top.

use std::io::Write;
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
use super::controller::{Controller, announce};
use super::feed::LiveFeed;
use super::headless::{self, Plan};
use super::stage::Stage;
use super::{EXIT_CAPTURE, EXIT_NOT_AS_ASKED, EXIT_OK};
use crate::agent::client::Client;
use crate::analysis::table;
use crate::event::{
    Body, EventSink, Header, HostFacts, Level, LoadSettings, LogEvent, MigrationSettings, OperatorEvent, SCHEMA_MAJOR,
    SCHEMA_MINOR, Versions,
};
use crate::session::{FinishReport, Live, RecorderOptions, Shared, result};
use crate::tui;

/// How long the end of a session may take: cancelling a migration, ending a lab.
const CLOSE_WITHIN: Duration = Duration::from_secs(40);

/// Everything a front end needs once the guest can be loaded and migrated.
pub(super) struct Ready {
    pub stage: Box<dyn Stage>,
    pub agent: Option<Client>,
    pub probe: Option<crate::probe::ProbeHandle>,
}

/// What a session is started with.
pub(super) struct SessionPlan {
    /// The command, and the session's name unless it is given one.
    pub command: &'static str,
    pub args: SessionArgs,
    pub load: LoadSettings,
    /// Whether there is an agent to wait for.
    pub agent: bool,
    /// The command's own settings, for the header.
    pub own: Value,
    pub hypervisor: Option<String>,
    pub guest_kernel: Option<String>,
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
    let runtime = Runtime::new().context("starting the async runtime")?;
    let inside = runtime.enter();
    let migration = plan.args.migration.settings();
    let name = plan.args.capture.name.clone().unwrap_or_else(|| plan.command.into());
    let recorder = RecorderOptions { out: plan.args.capture.out.clone(), ..RecorderOptions::default() };
    let (sink, live) = Live::start(header(&plan, name, &migration), recorder);
    let shared = live.shared();
    announce(&sink, &migration);

    let (intents, inbox) = unbounded_channel();
    let over = Arc::new(AtomicBool::new(false));
    let preparing = prepare(sink.clone());
    let mut controller = runtime.spawn({
        let (sink, shared, over) = (sink.clone(), shared.clone(), Arc::clone(&over));
        let deadline = plan.args.probe.ping_deadline;
        async move {
            let result = control(preparing, inbox, sink, shared, migration, deadline).await;
            over.store(true, Ordering::Relaxed);
            result
        }
    });

    // Tells to the very end: what becomes of a migration that a quit cancels, too.
    let teller = plan.args.headless.headless.then(|| runtime.spawn(headless::tell(shared.clone())));
    let front = if plan.args.headless.headless {
        runtime.block_on(headless_front(&shared, &intents, &plan, &over))
    } else {
        let feed = LiveFeed { shared: shared.clone(), clock: sink.clock(), over };
        screen(&feed, intents.clone(), &plan)
    };
    // The front end is done: the controller ends what was started, then the capture is closed.
    let _ = intents.send(OperatorEvent::Quit);
    let closed = runtime.block_on(async { tokio::time::timeout(CLOSE_WITHIN, &mut controller).await });
    if closed.is_err() {
        controller.abort();
    }
    if let Some(teller) = teller {
        std::thread::sleep(headless::TOLD_WITHIN);
        teller.abort();
    }
    let worked = match closed {
        Ok(Ok(result)) => result.and(front),
        Ok(Err(e)) => Err(anyhow!("the controller is gone: {e}")),
        Err(_) => Err(anyhow!("the controller did not end within {} s", CLOSE_WITHIN.as_secs())),
    };
    let why = worked.as_ref().map_or_else(super::in_full, |_| "quit".into());
    let report = live.finish(&why);
    drop(inside);
    runtime.shutdown_timeout(Duration::from_secs(1));

    tell_result(&shared, plan.args.headless.json)?;
    tell_capture(&report);
    let as_asked = worked?;
    Ok(ExitCode::from(match (report.is_sound(), as_asked) {
        (false, _) => EXIT_CAPTURE,
        (true, false) => EXIT_NOT_AS_ASKED,
        (true, true) => EXIT_OK,
    }))
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
    let text = if json {
        serde_json::to_string_pretty(&result)? + "\n"
    } else if result.migrations.is_empty() {
        return Ok(());
    } else {
        table::text(&result.migrations, super::width())
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Nobody reads it any more; the capture still has it.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

async fn control(
    preparing: impl Future<Output = Result<Ready>>,
    mut inbox: UnboundedReceiver<OperatorEvent>,
    sink: EventSink,
    shared: Shared,
    next: MigrationSettings,
    probe_deadline: Duration,
) -> Result<()> {
    let mut early = Vec::new();
    tokio::pin!(preparing);
    let ready = loop {
        tokio::select! {
            ready = &mut preparing => break ready,
            intent = inbox.recv() => match intent {
                None => return Ok(()),
                Some(intent) => {
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
        let text = super::in_full(e);
        sink.emit(Body::Log(LogEvent { level: Level::Error, from: "blackout".into(), text }));
    })?;
    let mut controller = Controller::new(sink, shared, ready.stage, ready.agent, next, probe_deadline);
    for intent in early {
        controller.act(intent).await;
    }
    controller.serve(inbox).await;
    if let Some(probe) = ready.probe {
        let _ = tokio::task::spawn_blocking(move || probe.stop()).await;
    }
    Ok(())
}

async fn headless_front(
    shared: &Shared,
    intents: &UnboundedSender<OperatorEvent>,
    plan: &SessionPlan,
    over: &AtomicBool,
) -> Result<bool> {
    let work = Plan {
        load: plan.load,
        agent: plan.agent,
        migrations: plan.args.headless.migrations,
        warm_up: plan.args.headless.warm_up,
        give_up_after: plan.args.headless.give_up_after,
    };
    tokio::select! {
        outcome = headless::drive(shared, intents, &work) => outcome,
        // Why it ended by itself is told by the controller's own result.
        () = raised(over) => Ok(false),
        signal = ended_by_signal() => Err(anyhow!("ended by {signal}")),
    }
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
    if plan.load != LoadSettings::default() {
        let _ = intents.send(OperatorEvent::SetLoad { id: 1, to: plan.load });
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
            "migration": migration,
            "ping_interval_ns": probe.ping_interval.as_nanos() as u64,
            "ping_deadline_ns": probe.ping_deadline.as_nanos() as u64,
        }),
        seed: rand::random(),
        simulated: false,
    }
}

/// The machine, as far as it can be told.
fn host_facts() -> HostFacts {
    let kernel = sysinfo::System::kernel_version().unwrap_or_default();
    let Ok(mut machine) = sysinfo::System::new() else {
        return HostFacts { kernel, ..HostFacts::default() };
    };
    machine.refresh_cpu_all();
    machine.refresh_memory();
    HostFacts {
        cpu: machine.cpus().first().map(|c| c.brand().trim().to_owned()).unwrap_or_default(),
        cpus: machine.cpus().len() as u32,
        ram_bytes: machine.total_memory(),
        kernel,
    }
}
