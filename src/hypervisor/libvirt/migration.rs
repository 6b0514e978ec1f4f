//! One migration by libvirt that runs: its orders.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::changes::{Knob, speed};
use super::course::Course;
use super::host::lock;
use super::lane::{Lane, wants_post_copy};
use super::watch::{Shared, State, Watcher};
use crate::event::{EventSink, Level, MigrationSettings, Phase, Substate};
use crate::hypervisor::exec::Process;
use crate::hypervisor::place::Condition;
use crate::hypervisor::{HvError, Migration, Observations, Observer, Order, Place, Side};

/// How long a guest that was told to run may take to be seen running.
const RUNS_WITHIN: Duration = Duration::from_secs(8);
/// Between two looks for it.
const RUNS_LOOK: Duration = Duration::from_millis(100);

/// How long a migration that has just begun may take to become a job that can be aborted; 0.7 s were seen.
const JOB_WITHIN: Duration = Duration::from_secs(4);

/// A migration by libvirt. Dropped, its command is ended, and the migration goes on.
#[derive(Debug)]
pub(super) struct LibvirtMigration {
    shared: Arc<Shared>,
    /// What it was begun with, and what was changed since; None for one that another began.
    settings: Mutex<Option<MigrationSettings>>,
    watcher: AbortHandle,
}

impl Drop for LibvirtMigration {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

fn not_now(order: &Order, why: impl Into<String>) -> HvError {
    HvError::NotNow { what: order.words().trim_start_matches("to ").into(), why: why.into() }
}

/// How a migration is when watching begins.
pub(super) enum Begun {
    /// By this command of ours, with these settings.
    ByUs(Box<Process>, Box<MigrationSettings>),
    /// By another.
    ByAnother {
        /// The guest has been stopped for it.
        stopped: bool,
        /// Post-copy has begun.
        pulled: bool,
    },
}

impl LibvirtMigration {
    /// Watches a migration along `lane` in which the guest runs at the source, or does not; None where that is not
    /// known. `notes` have been taken since before it began.
    pub(super) fn watch(lane: Lane, facts: EventSink, runs: Option<bool>, begun: Begun) -> Self {
        let (source, destination) = (lane.source.notes(), lane.destination.notes());
        let observer = Observer::new(facts);
        observer.update(|o| o.source_running = runs);
        let (mut course, process, settings) = match begun {
            Begun::ByUs(process, settings) => (Course::default(), Some(*process), Some(*settings)),
            Begun::ByAnother { stopped, pulled } => (Course::under_way(stopped, pulled), None, None),
        };
        course.asleep = runs == Some(false);
        if course.asleep {
            let text = "the guest does not run at the source, so it will not run at the destination either".to_owned();
            lane.source.log(Level::Warn, text);
        }
        let (phase, raw, substate) = course.phase();
        observer.phase_within(observer.sink().clock().now(), phase, raw, substate);
        let shared = Arc::new(Shared { lane, observer, course: Mutex::new(course), cancelling: Mutex::new(false) });
        let watcher = Watcher { shared: Arc::clone(&shared), process, source, destination, state: State::default() };
        let watching = async move {
            watcher.run().await;
            // Observations end when it is left, not when there is nothing more to see.
            std::future::pending::<()>().await;
        };
        Self { shared, settings: Mutex::new(settings), watcher: tokio::spawn(watching).abort_handle() }
    }

    fn course<T>(&self, with: impl FnOnce(&mut Course) -> T) -> T {
        with(&mut self.shared.course.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> u64 {
        self.shared.observer.sink().clock().now()
    }

    /// Why nothing can be done to it at the source any more, if so.
    fn away(&self) -> Option<&'static str> {
        self.course(|course| match () {
            () if course.is_done() || course.resumed => Some("the guest is at the destination"),
            () if course.pulled => Some("post-copy has begun: the guest is at the destination"),
            () => None,
        })
    }

    async fn give(&self, command: &str, order: &Order) -> Result<(), HvError> {
        let lane = &self.shared.lane;
        lane.source.order(&format!("{command} {}", lane.guest.word), order.words()).await.map(drop)
    }

    async fn cancel(&self, order: &Order) -> Result<(), HvError> {
        if let Some(why) = self.away() {
            return Err(not_now(order, why));
        }
        // From before the order: it may be over before that is answered.
        let before = std::mem::replace(&mut *lock(&self.shared.cancelling), true);
        let until = Instant::now() + JOB_WITHIN;
        let mut done = self.give("domjobabort", order).await;
        // While the destination is being prepared there is no job yet that could be aborted.
        while matches!(done, Err(HvError::Refused { .. }))
            && self.shared.observer.now().phase == Phase::Setup
            && Instant::now() < until
        {
            sleep(RUNS_LOOK).await;
            done = self.give("domjobabort", order).await;
        }
        if done.as_ref().is_err_and(|e| !e.is_unanswered()) {
            *lock(&self.shared.cancelling) = before;
        }
        let now = self.shared.observer.now();
        if done.is_ok() && !now.phase.is_over() {
            self.shared.observer.phase_within(self.now(), now.phase, &now.raw, Some(Substate::Cancelling));
        }
        done
    }

    async fn stop_source(&self, order: &Order) -> Result<(), HvError> {
        if let Some(why) = self.away() {
            return Err(not_now(order, why));
        }
        self.give("suspend", order).await?;
        self.course(|course| course.stopped = true);
        let now = self.shared.observer.now();
        if !now.phase.is_over() {
            self.shared.observer.phase(self.now(), Phase::StopAndCopy, &now.raw);
            self.shared.observer.update(|o| o.source_running = Some(false));
        }
        Ok(())
    }

    async fn post_copy(&self, order: &Order) -> Result<(), HvError> {
        let prepared = lock(&self.settings).as_ref().is_none_or(wants_post_copy);
        if !prepared {
            return Err(not_now(order, "it was not prepared; ask for post-copy before the migration begins"));
        }
        if let Some(why) = self.away() {
            return Err(not_now(order, why));
        }
        let done = self.give("migrate-postcopy", order).await;
        // Without an answer it may have begun: then the source must not run the guest any more.
        if done.as_ref().map_or_else(HvError::is_unanswered, |()| true) {
            self.course(|course| course.pulled = true);
        }
        done
    }

    /// Sees to it that the guest runs there. libvirt resumes it by itself, and may have done so already.
    async fn resume(&self, order: &Order, side: Side) -> Result<(), HvError> {
        let lane = &self.shared.lane;
        let runs = |place: &Place| match place {
            Place::Source(is) => side == Side::Source && *is == Condition::Runs,
            Place::Destination { is, .. } => side == Side::Destination && *is == Condition::Runs,
            _ => false,
        };
        if runs(&lane.place().await) {
            return Ok(());
        }
        if side == Side::Source && self.course(|course| course.pulled) {
            return Err(not_now(order, "post-copy has begun, so the guest's newest memory is at the destination"));
        }
        let host = lane.host(side);
        let done = host.order(&format!("resume {}", lane.guest.word), order.words()).await.map(drop);
        let until = Instant::now() + RUNS_WITHIN;
        loop {
            let place = lane.place().await;
            if runs(&place) {
                return Ok(());
            }
            if Instant::now() >= until || done.is_err() {
                let location = place.location(lane.source.name(), lane.destination.name());
                let why = format!("it was told to run, and {}", location.words());
                let (host, what) = (host.name().to_owned(), order.words().to_owned());
                return done.and(Err(HvError::Refused { host, what, why }));
            }
            sleep(RUNS_LOOK).await;
        }
    }

    async fn retune(&self, order: &Order, to: &MigrationSettings) -> Result<(), HvError> {
        let before = lock(&self.settings).clone().unwrap_or_default();
        let live = MigrationSettings {
            bandwidth_bytes_per_s: to.bandwidth_bytes_per_s,
            downtime_limit_ms: to.downtime_limit_ms,
            policy: to.policy.clone(),
            ..before.clone()
        };
        let lane = &self.shared.lane;
        if to.bandwidth_bytes_per_s != before.bandwidth_bytes_per_s {
            let knob = if self.course(|course| course.pulled) { Knob::PostCopySpeed } else { Knob::Speed };
            lane.change(knob, speed(to.bandwidth_bytes_per_s)).await?;
        }
        if to.downtime_limit_ms != before.downtime_limit_ms {
            match to.downtime_limit_ms {
                Some(ms) => lane.change(Knob::Downtime, ms).await?,
                None => lane.restore(Knob::Downtime).await?,
            }
        }
        *lock(&self.settings) = Some(live.clone());
        match live == *to {
            true => Ok(()),
            false => {
                let why =
                    "of a migration that runs, libvirt changes its limits only; the other settings count next time";
                Err(not_now(order, why))
            }
        }
    }
}

#[async_trait]
impl Migration for LibvirtMigration {
    fn observe(&self) -> Observations {
        self.shared.observer.observe()
    }

    async fn order(&self, order: Order) -> Result<(), HvError> {
        if self.shared.observer.now().phase.is_over() && !matches!(order, Order::Resume(_)) {
            return Err(not_now(&order, "it is over"));
        }
        match &order {
            Order::Cancel => self.cancel(&order).await,
            Order::StopSource => self.stop_source(&order).await,
            Order::PostCopy => self.post_copy(&order).await,
            Order::AutoConverge => Err(not_now(
                &order,
                "libvirt throttles a guest from the start or not at all; choose it before the migration",
            )),
            Order::Resume(side) => self.resume(&order, *side).await,
            Order::Settings(to) => self.retune(&order, to).await,
        }
    }

    async fn locate(&self) -> Place {
        self.shared.lane.place().await
    }

    async fn leave(&self) {
        self.watcher.abort();
        self.shared.lane.put_back().await;
    }
}
