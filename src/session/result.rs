//! The result of a session: the rows of its table out of the state.

use std::time::Duration;

use serde::Serialize;

use super::place;
use super::probed::{self, ProbeRow};
use super::product::product;
use super::promise::Judged;
use super::state::{Befallen, Migration, Request, State};
use super::wall;
use crate::analysis::table::{self, PhaseTime, Requested, Row, Stop};
use crate::event::{Header, Location, MigrationEnd, Nanos, Phase, StopRule, Then};
use crate::units::{show_bytes, show_duration};

/// The result of a session, for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionResult {
    /// Header of the capture.
    pub header: Option<Header>,
    /// Facts learned later: guest kernel, accelerator, …
    pub environment: std::collections::BTreeMap<String, String>,
    /// Length of the session, ms.
    pub length_ms: f64,
    /// Events folded in.
    pub events: u64,
    /// Events lost on the way.
    pub lost_events: u64,
    /// Where the guest is at the end of the session, as far as is known; null where nothing is.
    pub guest: Option<Location>,
    /// Whether the capture could not be written at some time.
    pub recorder_troubled: bool,
    /// Why the session ended; null if it did not in good order.
    pub ended: Option<String>,
    /// The clocks of the hypervisors' hosts, as far as they stamp their events.
    pub clocks: Vec<HostClockRow>,
    /// One row for each migration.
    pub migrations: Vec<Row>,
    /// What each probe saw by itself.
    pub probes: Vec<ProbeRow>,
    /// What was promised, and what became of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub promises: Vec<Judged>,
}

/// A host's clock against that of this machine at the session's start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostClockRow {
    /// Our name for the host.
    pub host: String,
    /// It is ahead by this much at least, ms; negative where it is behind.
    pub ahead_at_least_ms: f64,
    /// It is ahead by this much at most, ms.
    pub ahead_at_most_ms: f64,
    /// Stamped events this rests on.
    pub stamps: usize,
    /// Whether it was set during the session, as far as was seen.
    pub stepped: bool,
}

fn clocks(state: &State) -> Vec<HostClockRow> {
    let origin = i128::from(state.header.as_ref().map_or(0, |h| h.wall_origin_unix_ns));
    let ms = |offset: i128| (-offset - origin) as f64 / 1e6;
    let row = |(host, seen): (&String, &super::state::HostState)| {
        let offset = seen.clock.now()?;
        Some(HostClockRow {
            host: host.clone(),
            ahead_at_least_ms: ms(offset.hi),
            ahead_at_most_ms: ms(offset.lo),
            stamps: offset.stamps,
            stepped: offset.stepped,
        })
    };
    state.hosts.iter().filter_map(row).collect()
}

/// The result of a session.
#[must_use]
pub fn result(state: &State) -> SessionResult {
    let none = product(state).err().map(|none| none.to_string());
    SessionResult {
        header: state.header.clone(),
        environment: state.environment.clone(),
        length_ms: millis(state.now),
        events: state.events,
        lost_events: state.health.lost_events,
        guest: state.guest().map(|(_, location)| location.clone()),
        recorder_troubled: state.health.recorder_ever_troubled,
        ended: state.ended.clone(),
        clocks: clocks(state),
        migrations: state.migrations.iter().map(|m| told(state, m, none.clone())).collect(),
        probes: probed::rows(state),
        promises: Vec::new(),
    }
}

fn millis(ns: Nanos) -> f64 {
    ns as f64 / 1e6
}

/// The row of one migration with what only the session knows of it.
fn told(state: &State, m: &Migration, not_predicted: Option<String>) -> Row {
    let began = wall::time(state, m.began);
    let ended = m.ended.as_ref().and_then(|(t, _)| wall::time(state, *t));
    Row { not_predicted, began, ended, ..row(m, state.now) }
}

/// The row of one migration; `now` closes what lasts.
#[must_use]
pub fn row(m: &Migration, now: Nanos) -> Row {
    let mut phases: Vec<PhaseTime> = Vec::new();
    for span in m.phases.iter().filter(|s| !s.phase.is_over()) {
        let ms = millis(span.to.unwrap_or(now).saturating_sub(span.from));
        match phases.iter_mut().find(|p| p.phase == span.phase.word()) {
            Some(known) => known.ms += ms,
            None => phases.push(PhaseTime { phase: span.phase.word(), ms }),
        }
    }
    let mut row = Row {
        n: m.n,
        from: m.from.clone(),
        to: m.to.clone(),
        rate_pages_per_s: m.load.map(|l| l.dirty.rate_pages_per_s()),
        wset_bytes: m.load.map(|l| l.wset_bytes),
        cpu_load_pct: m.load.map(|l| l.cpu_load_pct),
        bandwidth_bytes_per_s: m.settings.limit_bytes_per_s(),
        policy: m.settings.policy.name.clone(),
        rounds: rounds(m),
        migration_ms: m.ended.as_ref().map(|(t, _)| millis(t.saturating_sub(m.began))),
        sent_bytes: m.samples.iter().rev().find_map(|(_, s)| s.transferred_bytes),
        phases,
        downtimes: Vec::new(),
        gaps: None,
        gaps_total_ms: None,
        probes: Vec::new(),
        outcome: match &m.ended {
            Some((_, MigrationEnd::Done)) => "done",
            Some((_, MigrationEnd::Failed { .. })) => "failed",
            Some((_, MigrationEnd::Cancelled { .. })) => "cancelled",
            Some((_, MigrationEnd::Unsettled { .. })) => "unsettled",
            None => "unfinished",
        },
        rule: m.ended_by().map(|(_, rule, then)| format!("{}, {}", after(m, rule), then.word())),
        requests: m.requests.iter().map(|r| requested(m, r)).collect(),
        verdict: verdict(m),
        claims: m.claims.clone(),
        settled: m.settled.is_some(),
        predicted: m.predicted.as_ref().map(|(_, forecast)| forecast.clone()),
        not_predicted: None,
        began: None,
        ended: None,
        stop: None,
    };
    row.set_downtimes(m.downtime.as_ref());
    let stood = row.stop_resume_ms().filter(|_| m.is_done());
    row.stop = m.stop_predicted.as_ref().map(|(_, said)| Stop::new(said, &m.stop_left, stood));
    row
}

/// Pre-copy rounds: by the newest round event or sample, whichever knows more. What was synced
/// while the guest stood still is no round of pre-copy (QEMU's `dirty-sync-count` counts it as one). The
/// one definition for tables, screens and progress lines.
#[must_use]
pub fn rounds(m: &Migration) -> Option<u64> {
    let stopped = m.stopped.as_ref().map_or(Nanos::MAX, |(t, _, _)| *t);
    let told = m.rounds.partition_point(|(t, _)| *t <= stopped);
    let told = m.rounds[..told].last().map(|(_, n)| *n);
    let sampled = m.samples.partition_point(|(t, _)| *t <= stopped);
    let sampled = m.samples.range(..sampled).rev().find_map(|(_, s)| s.round);
    told.max(sampled)
}

/// How far pre-copy came when a rule ended it.
fn after(m: &Migration, rule: &StopRule) -> String {
    match rule {
        StopRule::RemainingPages { limit, seen } => format!("with {seen} pages left (limit {limit})"),
        StopRule::Rounds { limit } => format!("after {limit} rounds"),
        StopRule::RamFactor { limit, sent_bytes } => {
            let ram = m.samples.iter().rev().find_map(|(_, s)| s.total_bytes).filter(|b| *b > 0);
            match ram {
                Some(ram) => format!("after {:.1} x RAM", *sent_bytes as f64 / ram as f64),
                None => format!("after {} (limit {limit:.1} x RAM)", show_bytes(*sent_bytes)),
            }
        }
        StopRule::Time { limit_ns } => format!("after {}", show_duration(Duration::from_nanos(*limit_ns))),
        StopRule::Operator => match m.ended_by() {
            Some((t, ..)) => format!("after {}", show_duration(Duration::from_nanos(t.saturating_sub(m.began)))),
            None => "at once".to_owned(),
        },
        StopRule::Own { words } => words.clone(),
    }
}

/// What happened, in words.
#[must_use]
pub fn verdict(m: &Migration) -> String {
    let mut course = course(m);
    if let Some(cancel) = m.cancelled_in_vain() {
        let refused = cancel.refused.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let at = show_duration(Duration::from_nanos(cancel.t.saturating_sub(m.began)));
        course = format!("{course}; a cancel by {} after {at} did not take effect{refused}", cancel.by.words());
    }
    for befell in m.befell.iter().filter(|b| tells(m, b)).take(3) {
        let what = befell.what.words();
        if !course.contains(what) {
            course = format!("{course}; the guest {what} at {}", befell.host);
        }
    }
    if m.settled.is_some() && m.is_done() && m.deaf() {
        return format!("{course}; whether the guest answers is not known: it did not before either");
    }
    if m.settled.is_some() && m.unanswered.is_some() {
        return format!("{course}; the guest has not answered since");
    }
    course
}

/// Whether something that befell the guest says why it is not there: not what the end of a source's process
/// brings about, which has given its guest away.
fn tells(m: &Migration, befell: &Befallen) -> bool {
    let moved = m.resumed.as_ref().is_some_and(|(t, _, host)| *host == m.to && *t <= befell.t);
    !(moved && befell.host == m.from)
}

/// What was wanted of a migration, for programs.
fn requested(m: &Migration, request: &Request) -> Requested {
    Requested {
        after_ms: millis(request.t.saturating_sub(m.began)),
        what: request.then.word(),
        by: request.by.words(),
        took_effect: m.took_effect(request),
        refused: request.refused.clone(),
    }
}

/// How it went, whether or not the guest is there afterwards.
fn course(m: &Migration) -> String {
    let rounds_words = || match rounds(m) {
        Some(1) => " after 1 round".to_owned(),
        Some(n) => format!(" after {n} rounds"),
        None => String::new(),
    };
    match &m.ended {
        None if m.phases.last().is_some_and(|p| p.phase == Phase::Done) => {
            "done by the hypervisor, but its end was not recorded".to_owned()
        }
        None => "has not ended in this capture".to_owned(),
        Some((_, MigrationEnd::Failed { why })) => format!("failed: {why}"),
        Some((_, MigrationEnd::Cancelled { by })) => format!("cancelled by {by}{}", rounds_words()),
        Some((_, MigrationEnd::Unsettled { why, last, .. })) => {
            format!("unsettled: {why}; last seen, the guest {}", last.words())
        }
        Some((_, MigrationEnd::Done)) => match m.ended_by() {
            None => format!("converged{}", rounds_words()),
            Some((_, rule @ StopRule::RemainingPages { .. }, _)) => {
                format!("converged: ended by policy {} {}", m.settings.policy.name, after(m, rule))
            }
            Some((_, rule, then)) => {
                let how = match then {
                    Then::StopAndCopy => "stopped",
                    Then::PostCopy => "switched to post-copy",
                    Then::Cancel => "cancelled",
                    Then::AutoConverge => "throttled",
                };
                let by = match rule {
                    StopRule::Operator => "by hand".to_owned(),
                    StopRule::Own { .. } => "by the hypervisor's own rule:".to_owned(),
                    _ => format!("by policy {}", m.settings.policy.name),
                };
                let lead = if *then == Then::AutoConverge { "converged only when" } else { "did not converge:" };
                format!("{lead} {how} {by} {}", after(m, rule))
            }
        },
    }
}

/// How much of a capture was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// To its end.
    Whole,
    /// Until some instant.
    Until,
}

/// The table of a result for the terminal; that of a simulated hypervisor says so.
#[must_use]
pub fn text(result: &SessionResult, width: usize) -> String {
    // Nothing was migrated: what the probes saw is what there is.
    if result.migrations.is_empty() && !result.probes.is_empty() {
        return probed::text(&result.probes);
    }
    let mut table = table::text(&result.migrations, width);
    if result.probes.len() > 1 {
        table += &format!("\n{}", probed::text(&result.probes));
    }
    match &result.header {
        Some(header) if header.simulated => {
            let by = header.versions.hypervisor.as_deref().unwrap_or("SIMULATED");
            format!("{by}: no real guest was migrated\n\n{table}")
        }
        _ => table,
    }
}

/// The head of a result for the terminal: what was measured, where, with what. Where no more of a capture was `read`
/// than until an instant, nothing is said of its end.
#[must_use]
pub fn head(state: &State, read: Read) -> String {
    let mut lines = Vec::new();
    if let Some(header) = &state.header {
        let known = |fact: &Option<String>, key: &str| {
            fact.clone().or_else(|| state.environment.get(key).cloned()).unwrap_or_else(|| "unknown".to_owned())
        };
        let versions = &header.versions;
        lines.push(format!(
            "session      {}, {}{}",
            header.name,
            place::utc_words(header.wall_origin_unix_ns / 1_000_000_000),
            if header.simulated { ", SIMULATED" } else { "" }
        ));
        lines.push(format!("blackout     {}", versions.blackout));
        lines.push(format!(
            "hypervisor   {}, {}",
            known(&versions.hypervisor, "hypervisor"),
            known(&versions.accelerator, "accelerator")
        ));
        lines.push(format!("guest        Linux {}", known(&versions.guest_kernel, "guest_kernel")));
        lines.push(format!(
            "machine      {}, {} CPUs, {}, Linux {}",
            header.host.cpu,
            header.host.cpus,
            show_bytes(header.host.ram_bytes),
            header.host.kernel
        ));
    }
    let length = show_duration(Duration::from_nanos(state.now));
    let end = match (&state.ended, read) {
        (Some(why), _) => why,
        (None, Read::Whole) => "without an orderly end",
        (None, Read::Until) => "read so far",
    };
    lines.push(format!("length       {length}, {} events; {end}", state.events));
    if state.health.lost_events > 0 {
        lines.push(format!("LOST         {} events were lost to full queues", state.health.lost_events));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests;
