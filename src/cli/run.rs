//! Runs a session of the command line: a front end on top of it, what it prints and its exit code.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::args::SessionArgs;
use super::exit::{EXIT_CAPTURE, EXIT_NOT_AS_ASKED, EXIT_UNSETTLED};
use super::feed::LiveFeed;
use super::headless;
use super::impatience::impatience;
use super::{promises, say};
use crate::controller::requests;
use crate::controller::script::{self, Script};
use crate::controller::session::WRITTEN_WITHIN;
use crate::controller::tour::{Ground, Tour};
use crate::controller::{Closed, Plan, Session, Simulation};
use crate::event::{EventSink, Intent, LoadSettings, MigrationEnd, MigrationSettings};
use crate::session::outlook::Rests;
use crate::session::promise::Judged;
use crate::session::{FinishReport, Shared, State, result};
use crate::target::opened::Opened;
use crate::text::{foreign, in_full};
use crate::tui;
use crate::units::show_duration;

/// What a session is started with.
pub(super) struct SessionPlan {
    /// The command.
    pub command: &'static str,
    /// The session's name unless it is given one.
    pub name: String,
    /// What is to be said of the settings that nobody asked for.
    pub remark: Option<String>,
    pub args: SessionArgs,
    pub load: LoadSettings,
    /// Settings for the next migration; None where nothing is migrated.
    pub migration: Option<MigrationSettings>,
    /// Whether there is an agent to wait for.
    pub agent: bool,
    /// The command's own settings, for the header.
    pub own: Map<String, Value>,
    pub hypervisor: Option<String>,
    pub guest_kernel: Option<String>,
    /// What forecasts rest on; None where nothing is migrated.
    pub forecasts: Option<Rests>,
    /// The hypervisor is simulated; None for a real one.
    pub simulation: Option<Simulation>,
    /// The tour to take: over what it goes.
    pub tour: Option<Ground>,
    /// The longest time an unanswered probe stays open.
    pub probe_deadline: Duration,
}

impl SessionPlan {
    fn plan(&self) -> Plan {
        let (capture, probe) = (&self.args.capture, &self.args.probe);
        Plan {
            name: capture.name.clone().unwrap_or_else(|| self.name.clone()),
            out: capture.out.clone(),
            command: self.command.into(),
            own: self.own.clone(),
            load: self.load,
            migration: self.migration.clone(),
            remark: self.remark.clone(),
            ping_interval: probe.ping_interval,
            ping_deadline: probe.ping_deadline,
            probe_deadline: self.probe_deadline,
            hypervisor: self.hypervisor.clone(),
            guest_kernel: self.guest_kernel.clone(),
            forecasts: self.forecasts.clone(),
            simulation: self.simulation.clone(),
        }
    }

    /// The ramp asked for on the command line.
    fn ramp(&self) -> Option<Intent> {
        self.args.ramp.as_ref().map(|ramp| requests::intent(ramp, self.load.dirty.rate_pages_per_s()))
    }

    /// The tour to take through this session.
    fn tour(&self, session: &Session) -> Option<Tour> {
        Some(Tour {
            ground: self.tour?,
            ping_interval: self.args.probe.ping_interval,
            shared: session.shared().clone(),
            sink: session.sink().clone(),
            intents: session.intents(),
            load: self.load,
            migration: self.migration.clone().unwrap_or_default(),
            read: !self.args.headless.headless,
        })
    }
}

/// Runs a session to its end. `prepare` brings up the guest; it runs beside the front end, so
/// that a screen shows what is being done.
///
/// # Errors
/// When the guest could not be brought up or the load was refused; what was recorded is kept.
pub(super) fn session<F, P>(plan: SessionPlan, prepare: F) -> Result<ExitCode>
where
    F: FnOnce(EventSink) -> P,
    P: Future<Output = Result<Opened>> + Send + 'static,
{
    let runtime = runtime(&plan).context("starting the async runtime")?;
    let inside = runtime.enter();
    let mut session = Session::start(&plan.plan(), prepare)?;
    let shared = session.shared().clone();

    // Tells to the very end: what becomes of a migration that a quit cancels, too.
    let teller = plan.args.headless.headless.then(|| runtime.spawn(headless::tell(shared.clone())));
    let front = if plan.args.headless.headless {
        runtime.block_on(without_screen(&session, &plan))
    } else {
        let touring = plan.tour(&session).map(|tour| runtime.spawn(async move { tour.take().await }));
        let left = screen(&session, &plan);
        if let Some(touring) = touring {
            // Gone before the session is quit: nothing is asked for or said in its name afterwards.
            touring.abort();
            let _ = runtime.block_on(touring);
        }
        left
    };
    // The front end is done: the controller ends what was started, then the capture is closed.
    let impatient = impatience().ok();
    let waits = |what: &str| tell!("blackout: closing: waiting for {what} (Ctrl-C: end at once)");
    let closed = runtime.block_on(session.close(impatient, waits));
    if let Some(teller) = teller {
        std::thread::sleep(headless::TOLD_WITHIN);
        teller.abort();
    }
    let (worked, cut_short) = match closed {
        Closed::InOrder(result) => (result.and(front), false),
        Closed::CutShort(why) => (Err(why), true),
    };
    let report = session.finish(&worked.as_ref().map_or_else(in_full, |_| "quit".into()), cut_short);
    drop(inside);
    runtime.shutdown_timeout(if cut_short { WRITTEN_WITHIN } else { Duration::from_secs(1) });

    let judged = shared.with_state(|state| plan.args.promises.judge(state));
    tell_result(&shared, plan.args.headless.json, &judged)?;
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
        tell!("blackout: {}", in_full(e));
        return Ok(ExitCode::from(EXIT_UNSETTLED));
    }
    Ok(ExitCode::from(exit_code(sound, worked?, &came_of, promises::exit_code(&judged))))
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

/// The exit code of a session that could do its work. What concerns a guest comes first, and what was `promised` last.
fn exit_code(sound: bool, as_asked: bool, came_of: &CameOf, promised: u8) -> u8 {
    match () {
        () if !came_of.unsettled.is_empty() => EXIT_UNSETTLED,
        () if !sound => EXIT_CAPTURE,
        () if !as_asked || came_of.failed => EXIT_NOT_AS_ASKED,
        () => promised,
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

fn tell_result(shared: &Shared, json: bool, judged: &[Judged]) -> Result<()> {
    let mut result = shared.with_state(result::result);
    if json {
        result.promises = judged.to_vec();
        say::print_json(&result)?;
    } else if !result.migrations.is_empty() || !result.probes.is_empty() {
        say::print(&result::text(&result, say::width()))?;
    }
    if !json {
        promises::print(judged)?;
    }
    Ok(())
}

/// Drives the session as the arguments say; whether all went as asked.
async fn without_screen(session: &Session, plan: &SessionPlan) -> Result<bool> {
    if let Some(tour) = plan.tour(session) {
        return tokio::select! {
            as_asked = tour.take() => Ok(as_asked),
            () = session.until_over() => Ok(false),
            signal = ended_by_signal() => Err(anyhow!("ended by {signal}")),
        };
    }
    let asked = &plan.args.headless;
    if plan.migration.is_none() {
        return Ok(watch(session, asked.watch_for).await);
    }
    let script = Script {
        load: plan.load,
        ramp: plan.ramp(),
        agent: plan.agent,
        migrations: asked.migrations,
        warm_up: asked.warm_up,
        give_up_after: asked.give_up_after,
    };
    tokio::select! {
        outcome = script::drive(session, &script) => outcome,
        signal = ended_by_signal() => Err(anyhow!("ended by {signal}")),
    }
}

/// Watches for as long as was asked; whether it did. Where no time was asked for, a signal is the way to end.
async fn watch(session: &Session, asked: Option<Duration>) -> bool {
    let watched = async {
        script::wait(session.shared(), |s| !s.probes.is_empty()).await;
        match asked {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = watched => true,
        () = session.until_over() => false,
        _ = ended_by_signal() => asked.is_none(),
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

fn screen(session: &Session, plan: &SessionPlan) -> Result<bool> {
    // A tour sets the load itself.
    if plan.load != LoadSettings::default() && plan.tour.is_none() {
        session.ask(Intent::SetLoad { to: plan.load });
    }
    if let Some(ramp) = plan.ramp() {
        session.ask(ramp);
    }
    let feed = LiveFeed { shared: session.shared().clone(), clock: session.sink().clock(), over: session.over() };
    match tui::run(&feed, Some(session.intents()), plan.args.screen.options()?)?.reason {
        tui::ExitReason::Gone => bail!("the terminal is gone"),
        tui::ExitReason::Signal => bail!("ended by a signal"),
        tui::ExitReason::Quit | tui::ExitReason::Over => Ok(true),
    }
}

/// Threads of the async runtime of a session: hypervisors, agents and a front end keep few busy.
pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4)
}

/// Workers enough for hypervisors, agents and a front end; a session that only watches needs one.
fn runtime(plan: &SessionPlan) -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(if plan.migration.is_some() { workers() } else { 1 });
    builder.enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::super::exit::EXIT_UNKNOWN;
    use super::*;

    #[test]
    fn the_exit_code_tells_the_worst_first() {
        let none = CameOf::default;
        let exit_code = |sound, as_asked, came_of: &CameOf| exit_code(sound, as_asked, came_of, EXIT_UNKNOWN);
        assert_eq!(exit_code(true, true, &none()), EXIT_UNKNOWN, "what was promised comes last");
        assert_eq!(exit_code(true, false, &none()), EXIT_NOT_AS_ASKED);
        let failed = CameOf { failed: true, ..none() };
        assert_eq!(exit_code(true, true, &failed), EXIT_NOT_AS_ASKED, "also where nobody asked for it headless");
        assert_eq!(exit_code(false, true, &failed), EXIT_CAPTURE, "something of ours was lost");
        let unsettled = CameOf { unsettled: vec!["migration 1".into()], failed: true, lost: 7 };
        assert_eq!(exit_code(false, false, &unsettled), EXIT_UNSETTLED);
    }
}
