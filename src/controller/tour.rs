//! The demo's tour: a script that crosses the jump by itself and says what there is to see. It does
//! nothing a person could not do, and every figure it gives was measured on the way. Where something
//! does not come about as the script wants it, or a person takes over, it ends and claims nothing.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::patience::within;
use super::script::{asked, wait};
use crate::analysis::table::Row;
use crate::event::{
    Body, EventSink, Intent, LoadSettings, MigrationEnd, MigrationSettings, Nanos, Pattern, Phase, SessionEvent,
    StopRule, Then,
};
use crate::model::Product;
use crate::session::state::Migration;
use crate::session::{Shared, State, result};
use crate::units::{show_bytes, show_count, show_duration};

/// How many times as fast as real time a tour goes unless it is told: so that all of it takes about a
/// minute and a half.
pub(crate) const SPEED: f64 = 4.0;
/// A link that carries less has no round figures for RATE below and above it, pages/s.
pub(crate) const LINK_LEAST: f64 = 500.0;

/// RATE below the jump and above it, times what the link carries.
const BELOW: f64 = 0.2;
const ABOVE: f64 = 1.5;
/// How long the ramp from one to the other takes, of the session's time.
const RAMP: Duration = Duration::from_secs(15);
/// How long a caption wants to be read.
const READ: Duration = Duration::from_millis(4500);
/// How long a step may take, of the session's time.
const PATIENCE: Duration = Duration::from_secs(1800);
/// The same at least, in real time.
const PATIENCE_LEAST: Duration = Duration::from_secs(30);
/// A gap of fewer intervals is measured too coarsely for a ratio.
const COARSE: u32 = 2;

const BY_HAND: &str = "the load was changed by hand";

/// RATE below the jump and above it, pages/s: round figures, so that PERIOD stays as it is.
pub(crate) fn rates(link_pages_per_s: f64) -> (f64, f64) {
    let round = |rate: f64| (rate / 100.0).round() * 100.0;
    (round(link_pages_per_s * BELOW), round(link_pages_per_s * ABOVE))
}

/// Over what a tour goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground {
    pub(crate) product: Product,
    /// What the link carries of a migration with its settings, pages/s.
    pub(crate) link_pages_per_s: f64,
}

/// A tour to be taken.
pub(crate) struct Tour {
    pub(crate) shared: Shared,
    pub(crate) sink: EventSink,
    pub(crate) intents: UnboundedSender<Intent>,
    pub(crate) ground: Ground,
    pub(crate) load: LoadSettings,
    pub(crate) migration: MigrationSettings,
    /// Distance of the probes.
    pub(crate) ping_interval: Duration,
    /// Whether somebody reads along: then captions stay as long in real time.
    pub(crate) read: bool,
}

/// Why a tour does not go on, in words.
type Broken = String;

impl Tour {
    /// Takes it. Comes to whether it went to its end.
    pub(crate) async fn take(&self) -> bool {
        let went = self.go().await;
        if let Err(why) = &went {
            self.say(&format!("The tour ends here: {why}. The demo is yours now: m fires, ? lists every key."));
        }
        self.pause().await;
        // Nothing more to say, so nothing is shown.
        self.say("");
        went.is_ok()
    }

    async fn go(&self) -> Result<(), Broken> {
        let there = |s: &State| (s.agent.connected && !s.hosts.is_empty()).then_some(Ok(()));
        self.wait("the guest", there).await?;
        let link = self.ground.link_pages_per_s;
        let (below, above) = rates(link);
        let at = |rate, wset_bytes| match self.load.dirty.with_rate(rate) {
            Ok(dirty) => Ok(LoadSettings { dirty, wset_bytes, ..self.load }),
            Err(e) => Err(e.to_string()),
        };
        let load = self.set_load(at(below, self.load.wset_bytes)?).await?;
        self.say(&format!(
            "SIMULATED guest: its generator dirties RATE {} of a WSET of {}; the link carries {}. Pings watch it. Next: \
             a migration below the jump.",
            rate(self.rate_set()),
            show_bytes(self.load.wset_bytes),
            rate(link)
        ));
        self.pause().await;
        let first = self.migrate("below the jump", load).await?;
        self.say(&format!("Below the jump: {}. Next: RATE rises until it is over the link.", outcome(&first)));
        self.pause().await;

        let load = self.ramp(below, above).await?;
        self.mark("RATE is over the link");
        self.say(&format!(
            "RATE is {:.1} x the link now: the guest dirties pages faster than they can be sent. Next: the same \
             migration again.",
            self.rate_set() / link
        ));
        self.pause().await;
        let second = self.migrate("above the jump", load).await?;
        self.say(&format!("Above the jump: {}. Next: half the WSET.", compare(&first, &second, self.ping_interval)));
        self.pause().await;

        let half = at(above, self.load.wset_bytes / 2 / 4096 * 4096)?;
        let load = self.set_load(half).await?;
        self.say(&format!(
            "{}Now it is {} instead of {}: once more.",
            self.left_over(&second),
            show_bytes(half.wset_bytes),
            show_bytes(self.load.wset_bytes)
        ));
        self.pause().await;
        let third = self.migrate("above the jump, half the WSET", load).await?;
        self.say(&format!(
            "Half the WSET: gone for {} instead of {}. That was the tour: the demo is yours now. m fires, ? lists \
             every key.",
            known(gap(&third.row)),
            known(gap(&second.row))
        ));
        self.pause().await;
        Ok(())
    }

    /// What the WSET has to do with the blackout above the jump, where that is known.
    fn left_over(&self, above: &Seen) -> &'static str {
        let ends = self.migration.policy.then;
        let stopped = above.row.rule.is_some() && !(self.migration.policy.has_rules() && ends != Then::StopAndCopy);
        // A guest that is slowed down converges in the end, and other orders of writing leave out some.
        let slowed = self.migration.auto_converge || self.ground.product.about().slows_the_guest_down();
        if stopped && !slowed && self.load.pattern == Pattern::Cyclic {
            "Above the jump all of the WSET is left when the guest is stopped, whatever RATE is. "
        } else {
            "What is left when the guest is stopped is part of the WSET. "
        }
    }

    fn send(&self, intent: Intent) {
        // A controller that is gone ends the session; there is nobody else to tell.
        let _ = self.intents.send(intent);
    }

    /// A caption: on the screen, in the log, in the capture.
    fn say(&self, text: &str) {
        self.sink.emit(Body::Session(SessionEvent::Caption { text: text.into() }));
    }

    fn mark(&self, note: &str) {
        self.send(Intent::Mark { note: format!("tour: {note}"), at: None });
    }

    /// As long as it takes to read a caption.
    async fn pause(&self) {
        let time = if self.read { READ } else { self.sink.clock().real(READ) };
        tokio::time::sleep(time).await;
    }

    /// Waits for what `as_asked` comes to, or for its reason why it never will.
    async fn wait<T>(
        &self,
        what: &str,
        mut as_asked: impl FnMut(&State) -> Option<Result<T, Broken>>,
    ) -> Result<T, Broken> {
        let mut came = None;
        let watch = wait(&self.shared, |s| {
            came = as_asked(s);
            came.is_some()
        });
        let in_time = within(self.sink.clock(), PATIENCE, PATIENCE_LEAST, watch).await.is_some();
        came.filter(|_| in_time).unwrap_or_else(|| Err(format!("{what} was waited for in vain")))
    }

    /// RATE as the guest has it set, pages/s.
    fn rate_set(&self) -> f64 {
        self.shared.with_state(|s| s.load.set.map_or(0.0, |(_, set, _)| set.dirty.rate_pages_per_s()))
    }

    fn asked(&self) -> u64 {
        self.shared.with_state(asked)
    }

    /// Comes to the number of the request.
    async fn set_load(&self, to: LoadSettings) -> Result<u64, Broken> {
        let before = self.asked();
        self.send(Intent::SetLoad { to });
        let set = |s: &State| match s.load.requested {
            Some((id, asked, _)) if id > before && asked == to => has(s, id),
            Some((id, ..)) if id > before => Some(Err(BY_HAND.to_owned())),
            _ => None,
        };
        self.wait("the load", set).await
    }

    /// RATE goes from one to the other by itself. Comes to the number of the last request.
    async fn ramp(&self, from: f64, to: f64) -> Result<u64, Broken> {
        let before = self.asked();
        let over_ns = u64::try_from(RAMP.as_nanos()).unwrap_or(u64::MAX);
        self.send(Intent::Ramp { from_pages_per_s: from, to_pages_per_s: to, over_ns });
        self.say(&format!(
            "RATE goes from {} to {}: watch it cross the link's {}.",
            rate(from),
            rate(to),
            rate(self.ground.link_pages_per_s)
        ));
        let wset_bytes = self.load.wset_bytes;
        let there = move |s: &State| {
            let (id, asked, _) = s.load.requested.filter(|(id, ..)| *id > before)?;
            if asked.wset_bytes != wset_bytes {
                return Some(Err(BY_HAND.to_owned()));
            }
            match (asked.dirty.rate_pages_per_s() >= to * 0.99, s.load.ramp) {
                (true, None) => has(s, id),
                (false, None) => Some(Err("the ramp was ended by hand".to_owned())),
                // On its way; a step that is refused will not be better than the next.
                (_, Some(_)) => None,
            }
        };
        self.wait("the end of the ramp", there).await
    }

    /// Fires with the load of this number, tells what goes on meanwhile, and comes to what was seen once it is
    /// settled.
    async fn migrate(&self, where_: &str, load: u64) -> Result<Seen, Broken> {
        let fired = self.sink.clock().now();
        let by_hand = |s: &State, mine: bool| match (mine, asked(s) == load) {
            (false, _) => Err("a migration was fired by hand".to_owned()),
            (true, false) => Err(BY_HAND.to_owned()),
            (true, true) => Ok(()),
        };
        self.shared.with_state(|s| by_hand(s, s.unsettled().is_none()))?;
        self.mark(where_);
        self.send(Intent::Migrate);
        let began = move |s: &State| s.migrations.last().filter(|m| m.began >= fired).map(|m| Ok(m.n));
        let n = self.wait("the migration", began).await?;
        let in_phase = move |phase: Phase| {
            move |s: &State| {
                let m = s.migrations.iter().find(|m| m.n == n)?;
                let now = m.ended.is_none() && m.phases.last().is_some_and(|p| p.phase == phase);
                (now || m.ended.is_some()).then_some(Ok(now))
            }
        };
        if self.wait("pre-copy", in_phase(Phase::PreCopy)).await? {
            self.say(&self.about_pre_copy());
        }
        if self.wait("the guest's stop", in_phase(Phase::StopAndCopy)).await? {
            self.say("Stop-and-copy: the guest stands still, and pings go unanswered until it runs at the other host.");
        }
        let settings = self.migration.clone();
        let settled = move |s: &State| {
            let m = s.migrations.iter().find(|m| m.n == n)?;
            m.settled?;
            let alone = by_hand(s, s.migrations.last().is_some_and(|last| last.n == n));
            Some(alone.and_then(|()| seen(m, s.now, &settings)))
        };
        self.wait("the result", settled).await
    }

    fn about_pre_copy(&self) -> String {
        let (link, rate) = (self.ground.link_pages_per_s, self.rate_set());
        let touched = self.ground.product.about().sends_touched_pages_only();
        let all = if touched { "all pages the guest has touched" } else { "all of the memory" };
        let outlook = if rate < link {
            "so rounds shrink"
        } else {
            "so rounds cannot shrink by themselves: something has to give"
        };
        format!(
            "Pre-copy: round 1 sends {all} while the guest runs on, each round after it what was dirtied during the \
             one before. RATE is {:.0} % of the link, {outlook}.",
            100.0 * rate / link.max(1.0)
        )
    }
}

/// The number of the request of this number, once it is in effect.
fn has(s: &State, id: u64) -> Option<Result<u64, Broken>> {
    if let Some((_, why, _)) = s.load.refused.as_ref().filter(|refused| refused.0 == id) {
        return Some(Err(format!("the agent refuses the load: {why}")));
    }
    s.load.set.filter(|set| set.0 == id).map(|_| Ok(id))
}

/// What was seen of a migration that went as the script wants it.
struct Seen {
    row: Row,
    /// The product's own rule that ended its pre-copy.
    own: Option<String>,
}

/// What is to be told of a migration, if it is worth telling.
fn seen(m: &Migration, now: Nanos, settings: &MigrationSettings) -> Result<Seen, Broken> {
    match &m.ended {
        Some((_, MigrationEnd::Done)) => {}
        Some((_, MigrationEnd::Cancelled { by })) => return Err(format!("the migration was cancelled by {by}")),
        Some((_, MigrationEnd::Unsettled { why, .. })) => return Err(format!("the migration is unsettled: {why}")),
        Some((_, MigrationEnd::Failed { why })) => return Err(format!("the migration has failed: {why}")),
        None => return Err("the migration has not ended".to_owned()),
    }
    if m.ruled.iter().any(|(_, rule, _)| *rule == StopRule::Operator) {
        return Err("the migration was ended by hand".to_owned());
    }
    if !m.retuned.is_empty() || m.settings != *settings {
        return Err("the migration's settings were changed by hand".to_owned());
    }
    let own = m.ruled.iter().find_map(|(_, rule, _)| match rule {
        StopRule::Own { words } => Some(words.clone()),
        _ => None,
    });
    Ok(Seen { row: result::row(m, now), own })
}

fn rate(pages_per_s: f64) -> String {
    format!("{} pages/s", show_count(pages_per_s.round().max(0.0) as u64))
}

/// The longest gap between two replies, as measured.
fn gap(row: &Row) -> Option<Duration> {
    let found = row.downtimes.iter().find(|d| d.method == "reply-gap").and_then(|d| d.value_ms);
    found.map(|ms| Duration::from_secs_f64(ms / 1e3))
}

fn lasted(row: &Row) -> String {
    row.migration_ms.map_or_else(|| "an unknown time".into(), |ms| show_duration(Duration::from_secs_f64(ms / 1e3)))
}

fn known(gap: Option<Duration>) -> String {
    gap.map_or_else(|| "an unknown time".into(), show_duration)
}

fn outcome(seen: &Seen) -> String {
    let rounds = match seen.row.rounds {
        Some(1) => " in 1 round".to_owned(),
        rounds => rounds.map_or_else(String::new, |n| format!(" in {n} rounds")),
    };
    format!("it took {}{rounds}, and pings saw the guest gone for {}", lasted(&seen.row), known(gap(&seen.row)))
}

/// What the other side of the jump has cost.
fn compare(below: &Seen, above: &Seen, interval: Duration) -> String {
    let (before, after) = (gap(&below.row), gap(&above.row));
    let than = match (before, after) {
        (Some(before), Some(after)) if before >= interval * COARSE && after >= before => {
            format!("{:.1} x as long as before", after.as_secs_f64() / before.as_secs_f64())
        }
        _ => format!("before it was {}", known(before)),
    };
    let rule = match (&above.own, &above.row.rule) {
        (Some(words), _) => format!("; the hypervisor gave up ({words})"),
        (None, Some(_)) => format!("; policy {} ended it", above.row.policy),
        (None, None) => String::new(),
    };
    format!("{}, gone for {}, {than}{rule}", lasted(&above.row), known(after))
}
