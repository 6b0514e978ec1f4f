//! One session: begun with a plan, driven by intents or a script, and closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::closing::{self, Closed, Waiting};
use super::forecast::{self, Forecaster};
use super::header::header;
use super::plan::Plan;
use super::serve::{Controller, Terms, announce};
use crate::event::{Body, EventSink, Intent, Level, Location, LogEvent, MigrationEnd, MigrationEvent, SessionClock};
use crate::host;
use crate::session::{FinishReport, Live, RecorderOptions, Shared, place};
use crate::target::opened::Opened;

/// How long the capture may take to be written when the end was cut short.
pub(crate) const WRITTEN_WITHIN: Duration = Duration::from_millis(300);

/// A session that is under way. Dropped, it ends at once; what was recorded is kept.
pub(crate) struct Session {
    sink: EventSink,
    shared: Shared,
    live: Live,
    intents: UnboundedSender<Intent>,
    over: Arc<AtomicBool>,
    waiting: Waiting,
    controller: JoinHandle<Result<()>>,
    forecaster: Option<Forecaster>,
    host: Option<host::Watch>,
}

impl Session {
    /// Begins one. `prepare` brings up the guest; it runs beside the front end, so that a screen shows what is
    /// being done. To be called inside an async runtime.
    ///
    /// # Errors
    /// When sessions cannot be kept where they are.
    pub(crate) fn start<F, P>(plan: &Plan, prepare: F) -> Result<Self>
    where
        F: FnOnce(EventSink) -> P,
        P: Future<Output = Result<Opened>> + Send + 'static,
    {
        if plan.out.is_none() {
            place::checked_sessions_dir()?;
        }
        let recorder = RecorderOptions { out: plan.out.clone(), ..RecorderOptions::default() };
        let clock = plan.simulation.as_ref().map_or_else(SessionClock::start, |s| SessionClock::simulated(s.speed));
        let (sink, live) = Live::start_at(clock, header(plan), recorder);
        let shared = live.shared();
        if let Some(migration) = &plan.migration {
            announce(&sink, migration);
        }
        if let Some(text) = plan.remark.clone() {
            sink.emit(Body::Log(LogEvent { level: Level::Info, from: "settings".into(), text }));
        }
        // This machine is not the one that is simulated.
        let host = plan.simulation.is_none().then(|| watch_host(&sink, &shared)).flatten();
        let forecaster = plan.forecasts.clone().and_then(|rests| forecast::begin(sink.clone(), shared.clone(), rests));

        let (intents, inbox) = unbounded_channel();
        let over = Arc::new(AtomicBool::new(false));
        let waiting = Waiting::default();
        let preparing = prepare(sink.clone());
        let controller = tokio::spawn({
            let next = plan.migration.clone().unwrap_or_default();
            let terms = Terms { next, probe_deadline: plan.probe_deadline, waiting: waiting.clone() };
            let controller = Controller::new(sink.clone(), shared.clone(), terms);
            let over = Arc::clone(&over);
            async move {
                let result = controller.serve(preparing, inbox).await;
                over.store(true, Ordering::Relaxed);
                result
            }
        });
        Ok(Self { sink, shared, live, intents, over, waiting, controller, forecaster, host })
    }

    /// Where its events go.
    pub(crate) fn sink(&self) -> &EventSink {
        &self.sink
    }

    /// Its state.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Where intents go.
    pub(crate) fn intents(&self) -> UnboundedSender<Intent> {
        self.intents.clone()
    }

    /// Asks for something.
    pub(crate) fn ask(&self, intent: Intent) {
        // A controller that is gone shows in the state; there is nobody else to tell.
        let _ = self.intents.send(intent);
    }

    /// Raised when the session is over by itself.
    pub(crate) fn over(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.over)
    }

    /// Waits until the session is over by itself.
    pub(crate) async fn until_over(&self) {
        while !self.over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Quits, and waits until what was started has ended. Comes to what the controller came to.
    pub(crate) async fn close(
        &mut self,
        impatient: Option<watch::Receiver<bool>>,
        tell: impl Fn(&str),
    ) -> Closed<Result<()>> {
        self.ask(Intent::Quit);
        closing::close(&mut self.controller, &self.waiting, impatient, tell).await
    }

    /// Writes what there is and says what became of the capture; `why` is why it ended. Blocks: for
    /// [`WRITTEN_WITHIN`] at most where the end was cut short.
    pub(crate) fn finish(self, why: &str, cut_short: bool) -> FinishReport {
        drop(self.forecaster);
        drop(self.host);
        leave_unsettled(&self.sink, &self.shared, why);
        if cut_short { self.live.finish_within(why, WRITTEN_WITHIN) } else { self.live.finish(why) }
    }
}

/// Tells the end of a migration that is left running: that it goes on without us, and where the guest was
/// last known to be, is all that can be said of it.
fn leave_unsettled(sink: &EventSink, shared: &Shared, why: &str) {
    let running = shared.with_state(|s| {
        let n = s.migrations.last().filter(|m| m.ended.is_none())?.n;
        let (seen, last) = match s.guest() {
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
