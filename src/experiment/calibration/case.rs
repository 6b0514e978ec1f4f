//! Reading migrations out of a session, each with what was known before it.

use crate::analysis::Method;
use crate::analysis::prediction::Calibration;
use crate::event::{Body, Event, Header, MigrationEnd, MigrationEvent, Nanos, StopRule, Then};
use crate::session::State;
use crate::session::outlook::Rests;
use crate::session::state::Migration;

/// A recorded migration, and what was known when it was fired.
#[derive(Debug, Clone)]
pub struct Case {
    /// Where it was recorded, for people.
    pub label: String,
    /// The session just before.
    pub before: State,
    /// How it went.
    pub migration: Migration,
    /// Another load was set while it ran.
    pub other_load: bool,
}

impl Case {
    /// Migration time, ms, of one that ended well.
    #[must_use]
    pub fn migration_ms(&self) -> Option<f64> {
        match &self.migration.ended {
            Some((t, MigrationEnd::Done)) => Some(millis(t.saturating_sub(self.migration.began))),
            _ => None,
        }
    }

    /// Whether pre-copy ended by what the hypervisor was content with. None of one that failed or was
    /// cancelled: nobody knows what would have come of it.
    #[must_use]
    pub fn converged(&self) -> Option<bool> {
        self.migration_ms()?;
        // Auto-converge slows the guest down, and pre-copy goes on until it converges.
        let goes_on = |rule: &StopRule, then: &Then| {
            matches!(rule, StopRule::RemainingPages { .. }) || *then == Then::AutoConverge
        };
        Some(self.migration.ruled.iter().all(|(_, rule, then)| goes_on(rule, then)))
    }

    /// What the operator changed while it ran: it is no longer the migration that was predicted.
    #[must_use]
    pub fn changed(&self) -> Option<&'static str> {
        let m = &self.migration;
        if m.ruled.iter().any(|(_, rule, _)| matches!(rule, StopRule::Operator)) {
            Some("ended by the operator")
        } else if !m.retuned.is_empty() {
            Some("other settings while it ran")
        } else if self.other_load {
            Some("another load while it ran")
        } else {
            None
        }
    }
}

pub(super) fn millis(ns: Nanos) -> f64 {
    ns as f64 / 1e6
}

/// The sessions as they were before each migration may take this much together, bytes. Some hundred
/// migrations of an ordinary lab take a tenth of it.
const BEFORE_BYTES: usize = 160 << 20;
/// Migrations looked at in one capture.
const CASES: usize = 1_000;

/// The migrations of one capture that came to an end, each with the session as it was before.
#[must_use]
pub fn collect(label: &str, header: Header, events: impl Iterator<Item = Event>) -> Vec<Case> {
    let mut state = State::begin(header);
    let mut before: Vec<(u32, State)> = Vec::new();
    let mut other_load: Vec<u32> = Vec::new();
    let mut held = 0;
    for event in events {
        if let Body::Migration(MigrationEvent::Began { n, settings, .. }) = &event.ev
            && before.len() < CASES
            && held < BEFORE_BYTES
        {
            held += before.last().map_or(0, |(_, last)| state.weight(last));
            let mut so_far = state.clone();
            so_far.next = Some(settings.clone());
            before.push((*n, so_far));
        }
        state.apply(&event);
        // Looked at as it happens: of a long session the state keeps the newest reports only.
        if let (Body::Agent(_), Some(n)) = (&event.ev, runs_with_another_load(&state))
            && other_load.last() != Some(&n)
        {
            other_load.push(n);
        }
    }
    let several = before.len() > 1;
    let case = |(n, before): (u32, State)| {
        let migration = state.migrations.iter().rev().find(|m| m.n == n && m.ended.is_some())?.clone();
        let label = if several { format!("{label} #{n}") } else { label.to_owned() };
        Some(Case { label, before, migration, other_load: other_load.contains(&n) })
    };
    before.into_iter().filter_map(case).collect()
}

/// The migration that runs, if the agent has set or reported another load since it began.
fn runs_with_another_load(state: &State) -> Option<u32> {
    let running = state.migrations.last().filter(|m| m.ended.is_none())?;
    let load = running.load?;
    let set = state.load.set.as_ref().map(|(_, set, _)| *set);
    let reported = state.load.achieved.as_ref().filter(|(t, _)| *t >= running.began).map(|(_, r)| r.set);
    [set, reported].into_iter().flatten().any(|other| other != load).then_some(running.n)
}

/// Downtime as measured, ms, and how: by `stop-resume`, else by the guest's clock.
#[must_use]
pub fn measured_downtime(m: &Migration) -> Option<(f64, Method)> {
    let all = &m.downtime.as_ref()?.estimates;
    let by = |method| {
        let value = all.iter().find(|e| e.method == method).and_then(|e| e.value)?;
        Some((value.value.as_secs_f64() * 1e3, method))
    };
    by(Method::StopResume).or_else(|| by(Method::GuestClock))
}

/// What predictions rested on that were made of a capture without a calibration.
#[must_use]
pub fn rested_on(case: &Case) -> Rests {
    let settings = case.before.header.as_ref().map(|h| &h.settings);
    let lab = settings.and_then(|s| {
        // Captures of schema 1.0 have the settings of the lab among all others.
        let early = (s.command.as_deref() == Some("lab")).then(|| s.own.get("memory_bytes")?.as_u64()).flatten();
        s.own.get("lab").and_then(|lab| lab["memory_bytes"].as_u64()).or(early)
    });
    lab.map_or(Rests::Unknown, |memory_bytes| Rests::On(Calibration::lab(memory_bytes)))
}

/// The guest's memory as it is migrated, bytes.
pub(super) fn total(m: &Migration) -> Option<u64> {
    m.samples.iter().rev().find_map(|(_, s)| s.total_bytes)
}
