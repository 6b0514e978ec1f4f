//! The script of a session that nobody drives: load, ramp, then each migration with its warm-up, as asked.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::watch;

use super::patience::{ns, pass, within};
use super::session::Session;
use crate::event::{Body, Intent, Level, LoadSettings, LogEvent, MigrationEnd};
use crate::session::state::Migration;
use crate::session::{Shared, State};
use crate::units::show_duration;

/// What to do without a person.
pub(crate) struct Script {
    pub load: LoadSettings,
    /// A ramp to begin with the first warm-up.
    pub ramp: Option<Intent>,
    /// Whether there is an agent to wait for.
    pub agent: bool,
    pub migrations: u32,
    pub warm_up: Duration,
    pub give_up_after: Duration,
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

/// Drives a session by its intents, and returns whether every migration ended as asked. All times of the script
/// are by the session's clock, and what does not go as asked is told in the session's log.
///
/// # Errors
/// When the load is refused or never acknowledged.
pub(crate) async fn drive(session: &Session, script: &Script) -> Result<bool> {
    tokio::select! {
        outcome = take(session, script) => outcome,
        // Why it ended by itself is told by the controller's own result.
        () = session.until_over() => Ok(false),
    }
}

async fn take(session: &Session, script: &Script) -> Result<bool> {
    let (shared, sink) = (session.shared(), session.sink());
    let send = |intent| session.ask(intent);
    let warn = |text| sink.emit(Body::Log(LogEvent { level: Level::Warn, from: "script".into(), text }));
    if script.agent {
        let connected = wait(shared, |s| s.agent.connected);
        if tokio::time::timeout(CONNECTED_WITHIN, connected).await.is_err() {
            bail!("the agent is not connected after {} s", CONNECTED_WITHIN.as_secs());
        }
    }
    if script.load != LoadSettings::default() {
        let before = shared.with_state(asked);
        send(Intent::SetLoad { to: script.load });
        set_load(shared, before).await?;
    }
    if let Some(ramp) = &script.ramp {
        send(ramp.clone());
    }
    let mut as_asked = true;
    let clock = sink.clock();
    for i in 0..script.migrations {
        pass(clock, script.warm_up).await;
        let index = i as usize;
        if clock.is_simulated() && script.ramp.is_none() {
            // A warm-up may be over in no time there, and whether there is a prediction must not be left to that.
            let foretold = |s: &State| s.forecast.as_ref().is_some_and(|f| f.1 == i + 1);
            let _ = tokio::time::timeout(FORETOLD_WITHIN, wait(shared, foretold)).await;
        }
        send(Intent::Migrate);
        let of = |s: &State, is: fn(&Migration) -> bool| own(s, index).is_some_and(is);
        // What is made ready before it begins is no part of the time it may take.
        let began = wait(shared, move |s: &State| of(s, |_| true));
        if within(clock, BEGUN_WITHIN, BEGUN_WITHIN, began).await.is_none() {
            bail!("migration {} has not begun within {} s", i + 1, BEGUN_WITHIN.as_secs());
        }
        let ended = || wait(shared, move |s: &State| of(s, |m| m.ended.is_some()));
        if within(clock, script.give_up_after, Duration::ZERO, ended()).await.is_none() {
            warn(format!("migration {}: not over after {}: cancelling it", i + 1, show_duration(script.give_up_after)));
            send(Intent::GiveUp { after_ns: ns(script.give_up_after) });
            as_asked = false;
            if within(clock, CANCELLED_WITHIN, CANCELLED_WITHIN, ended()).await.is_none() {
                // Its end is told when the session ends.
                return Ok(false);
            }
        }
        let settled = wait(shared, move |s: &State| of(s, |m| m.settled.is_some()));
        if within(clock, SETTLED_WITHIN, SETTLED_WITHIN, settled).await.is_none() {
            warn(format!("migration {}: its result is not settled after {} s", i + 1, SETTLED_WITHIN.as_secs()));
            as_asked = false;
        }
        if shared.with_state(|s| of(s, |m| matches!(m.ended, Some((_, MigrationEnd::Unsettled { .. }))))) {
            // Where the guest is, nobody knows: nothing more is done to it.
            return Ok(false);
        }
        as_asked &= shared.with_state(|s| {
            own(s, index).is_some_and(|m| matches!(&m.ended, Some((_, MigrationEnd::Done))) && m.unanswered.is_none())
        });
        if script.agent {
            // A connection that did not live through the blackout is made anew.
            within(clock, AGAIN_WITHIN, AGAIN_WITHIN, wait(shared, |s| s.agent.connected)).await;
        }
    }
    Ok(as_asked)
}

/// The migration of this index among those that blackout has begun.
fn own(s: &State, index: usize) -> Option<&Migration> {
    s.migrations.iter().filter(|m| m.by.is_none()).nth(index)
}

/// The number of the newest request for load.
pub(super) fn asked(s: &State) -> u64 {
    s.load.requested.map_or(0, |(id, ..)| id)
}

/// Waits until a request after the one of the number `before` is in effect.
async fn set_load(shared: &Shared, before: u64) -> Result<()> {
    let set = |s: &State| s.load.set.as_ref().is_some_and(|set| set.0 > before);
    let refused = |s: &State| s.load.refused.as_ref().filter(|r| r.0 > before).map(|r| r.1.clone());
    let decided = wait(shared, |s| set(s) || refused(s).is_some());
    if tokio::time::timeout(ACK_WITHIN, decided).await.is_err() {
        bail!("the agent has not acknowledged the load within {} s", ACK_WITHIN.as_secs());
    }
    if let Some(why) = shared.with_state(refused) {
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
