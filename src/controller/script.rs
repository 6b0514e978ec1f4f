//! The script of a session that nobody drives: load, ramp, then each migration with its warm-up, as asked.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::patience::{ns, pass, within};
use crate::event::{Body, EventSink, Level, LoadSettings, LogEvent, MigrationEnd, OperatorEvent};
use crate::session::state::Migration;
use crate::session::{Shared, State};
use crate::units::show_duration;

/// What to do without a person.
pub(crate) struct Plan {
    pub load: LoadSettings,
    /// A ramp to begin with the first warm-up.
    pub ramp: Option<OperatorEvent>,
    /// Whether there is an agent to wait for.
    pub agent: bool,
    pub migrations: u32,
    pub warm_up: Duration,
    pub give_up_after: Duration,
    /// The session's: all times of the plan are by its clock, and what does not go as planned is told to it.
    pub sink: EventSink,
}

impl Plan {
    fn warn(&self, text: String) {
        self.sink.emit(Body::Log(LogEvent { level: Level::Warn, from: "script".into(), text }));
    }
}

/// How long the agent may take to fill and lock a WSET.
const ACK_WITHIN: Duration = Duration::from_secs(120);
/// How long the agent may take to be connected when the session begins.
const CONNECTED_WITHIN: Duration = Duration::from_secs(120);
/// How long it may take to make a migration ready: a lab may have to start a host for it.
const BEGUN_WITHIN: Duration = Duration::from_secs(300);
/// How long a migration that is given up may take to be over; the run gives it 10 s, and a few more to
/// find out where the guest is.
const CANCELLED_WITHIN: Duration = Duration::from_secs(30);
/// How long the guest and the last probes may take to settle a result: a guest is waited for for 60 s.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// How long the agent may take to answer again after a blackout.
const AGAIN_WITHIN: Duration = Duration::from_secs(30);
/// How long a forecast of a simulated migration is waited for, in real time.
const FORETOLD_WITHIN: Duration = Duration::from_secs(2);

/// Drives the session through `intents` and returns whether every migration ended as asked.
///
/// # Errors
/// When the load is refused or never acknowledged.
pub(crate) async fn drive(shared: &Shared, intents: &UnboundedSender<OperatorEvent>, plan: &Plan) -> Result<bool> {
    let send = |intent| {
        // A controller that is gone shows in the state; there is nobody else to tell.
        let _ = intents.send(intent);
    };
    if plan.agent {
        let connected = wait(shared, |s| s.agent.connected);
        if tokio::time::timeout(CONNECTED_WITHIN, connected).await.is_err() {
            bail!("the agent is not connected after {} s", CONNECTED_WITHIN.as_secs());
        }
    }
    if plan.load != LoadSettings::default() {
        send(OperatorEvent::SetLoad { id: 1, to: plan.load });
        set_load(shared).await?;
    }
    if let Some(ramp) = &plan.ramp {
        send(ramp.clone());
    }
    let mut as_asked = true;
    let clock = plan.sink.clock();
    for i in 0..plan.migrations {
        pass(clock, plan.warm_up).await;
        let index = i as usize;
        if clock.is_simulated() && plan.ramp.is_none() {
            // A warm-up may be over in no time there, and whether there is a prediction must not be left to that.
            let foretold = |s: &State| s.forecast.as_ref().is_some_and(|f| f.1 == i + 1);
            let _ = tokio::time::timeout(FORETOLD_WITHIN, wait(shared, foretold)).await;
        }
        send(OperatorEvent::Migrate);
        let of = |s: &State, is: fn(&Migration) -> bool| s.migrations.get(index).is_some_and(is);
        // What is made ready before it begins is no part of the time it may take.
        let began = wait(shared, move |s: &State| of(s, |_| true));
        if within(clock, BEGUN_WITHIN, BEGUN_WITHIN, began).await.is_none() {
            bail!("migration {} has not begun within {} s", i + 1, BEGUN_WITHIN.as_secs());
        }
        let ended = || wait(shared, move |s: &State| of(s, |m| m.ended.is_some()));
        if within(clock, plan.give_up_after, Duration::ZERO, ended()).await.is_none() {
            plan.warn(format!(
                "migration {}: not over after {}: cancelling it",
                i + 1,
                show_duration(plan.give_up_after)
            ));
            send(OperatorEvent::GiveUp { after_ns: ns(plan.give_up_after) });
            as_asked = false;
            if within(clock, CANCELLED_WITHIN, CANCELLED_WITHIN, ended()).await.is_none() {
                // Its end is told when the session ends.
                return Ok(false);
            }
        }
        let settled = wait(shared, move |s: &State| of(s, |m| m.settled.is_some()));
        if within(clock, SETTLED_WITHIN, SETTLED_WITHIN, settled).await.is_none() {
            plan.warn(format!("migration {}: its result is not settled after {} s", i + 1, SETTLED_WITHIN.as_secs()));
            as_asked = false;
        }
        if shared.with_state(|s| of(s, |m| matches!(m.ended, Some((_, MigrationEnd::Unsettled { .. }))))) {
            // Where the guest is, nobody knows: nothing more is done to it.
            return Ok(false);
        }
        as_asked &= shared.with_state(|s| {
            s.migrations
                .get(index)
                .is_some_and(|m| matches!(&m.ended, Some((_, MigrationEnd::Done))) && m.unanswered.is_none())
        });
        if plan.agent {
            // A connection that did not live through the blackout is made anew.
            within(clock, AGAIN_WITHIN, AGAIN_WITHIN, wait(shared, |s| s.agent.connected)).await;
        }
    }
    Ok(as_asked)
}

async fn set_load(shared: &Shared) -> Result<()> {
    let decided = wait(shared, |s| {
        s.load.set.as_ref().is_some_and(|set| set.0 == 1) || s.load.refused.as_ref().is_some_and(|r| r.0 == 1)
    });
    if tokio::time::timeout(ACK_WITHIN, decided).await.is_err() {
        bail!("the agent has not acknowledged the load within {} s", ACK_WITHIN.as_secs());
    }
    if let Some(why) = shared.with_state(|s| s.load.refused.as_ref().map(|r| r.1.clone())) {
        bail!("the agent refuses the load: {why}");
    }
    Ok(())
}

/// Waits until the state is as asked.
pub(crate) async fn wait(shared: &Shared, mut as_asked: impl FnMut(&State) -> bool) {
    let mut changes: watch::Receiver<u64> = shared.subscribe();
    loop {
        if shared.with_state(&mut as_asked) {
            return;
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
