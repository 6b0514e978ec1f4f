//! What the probes of a session saw by themselves: their figures, and each outage with its bounds and its
//! time by the wall clock.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::state::State;
use super::wall;
use crate::analysis::probing::{Gap, Summary};
use crate::event::{Nanos, ProbeId};
use crate::units::show_duration;

/// Outages listed one by one for people: the longest ones. JSON has all that are kept.
const LISTED: usize = 100;

/// What one probe saw, for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeRow {
    /// Which probe.
    pub id: ProbeId,
    /// What it is called.
    pub name: String,
    /// Whether downtime is measured with it.
    pub primary: bool,
    /// The address that is asked.
    pub target: String,
    /// Its counts, round trips and silences, ns.
    pub summary: Value,
    /// Every silence with a witness, in the order of time; of more than some thousands the longest.
    pub outages: Vec<Outage>,
    #[serde(skip)]
    head: String,
    #[serde(skip)]
    lines: Vec<String>,
    #[serde(skip)]
    count: u64,
}

/// A silence of the target: it was gone for at least `lo_ms` and at most `hi_ms`, somewhere between `from`
/// and `to`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outage {
    /// By the wall clock of the machine that recorded it (RFC 3339, with the offset of where it is read):
    /// the last answer before it is to a probe sent then. None where the session has no wall clock.
    pub from: Option<String>,
    /// The next answer came then; None if none did.
    pub to: Option<String>,
    /// The same by the session clock, ms.
    pub from_ms: f64,
    /// The same by the session clock, ms.
    pub to_ms: Option<f64>,
    /// It was gone for at least so long, ms.
    pub lo_ms: f64,
    /// It was gone for at most so long, ms; None if it has not answered since.
    pub hi_ms: Option<f64>,
    /// Probes in it that were not answered in time.
    pub unanswered: u64,
    /// The migration it falls into, if one was under way.
    pub migration: Option<u32>,
}

/// What the probes of a session saw.
#[must_use]
pub fn rows(state: &State) -> Vec<ProbeRow> {
    state.digests.iter().map(|(id, summary)| row(state, *id, summary)).collect()
}

fn row(state: &State, id: ProbeId, summary: &Summary) -> ProbeRow {
    let spec = &summary.spec;
    let span = |ns| show_duration(Duration::from_nanos(ns));
    let kind = spec.kind.name().to_uppercase();
    let port = spec.port.map(|port| format!(" port {port}")).unwrap_or_default();
    let primary = state.primary_id() == Some(id);
    let mut figures = summary.json();
    if let Some(object) = figures.as_object_mut() {
        object.remove("outages");
    }
    let gaps = summary.gaps.outages();
    ProbeRow {
        id,
        name: spec.name(),
        primary,
        target: spec.target.to_string(),
        summary: figures,
        outages: gaps.iter().map(|gap| outage(state, gap)).collect(),
        head: format!(
            "probe {id}: {}{}, {kind}{port} every {}, lost after {}{}",
            spec.asked
                .as_ref()
                .filter(|asked| **asked != spec.target.to_string())
                .map(|asked| format!("{asked}, "))
                .unwrap_or_default(),
            spec.target,
            span(spec.interval_ns),
            span(spec.deadline_ns),
            if primary && state.digests.len() > 1 { ", primary" } else { "" }
        ),
        lines: summary.lines(None),
        count: summary.gaps.interruptions().count + u64::from(summary.gaps.unfinished().is_some()),
    }
}

fn outage(state: &State, gap: &Gap) -> Outage {
    let ms = |ns: Nanos| ns as f64 / 1e6;
    let span = |d: Duration| d.as_nanos() as f64 / 1e6;
    let end = gap.to.unwrap_or(Nanos::MAX);
    let during = |m: &&super::state::Migration| {
        m.began <= end && m.settled.or(m.ended.as_ref().map(|e| e.0)).unwrap_or(Nanos::MAX) >= gap.from
    };
    Outage {
        from: wall::time(state, gap.from),
        to: gap.to.and_then(|t| wall::time(state, t)),
        from_ms: ms(gap.from),
        to_ms: gap.to.map(ms),
        lo_ms: span(gap.lo),
        hi_ms: gap.hi.map(span),
        unanswered: gap.unanswered,
        migration: state.migrations.iter().find(during).map(|m| m.n),
    }
}

/// All that for the terminal.
#[must_use]
pub fn text(rows: &[ProbeRow]) -> String {
    let mut out = String::new();
    for row in rows {
        out += &format!("{}\n", row.head);
        for line in &row.lines {
            out += &format!("  {line}\n");
        }
        out += &outages(row);
    }
    out
}

fn outages(row: &ProbeRow) -> String {
    if row.outages.is_empty() {
        return String::new();
    }
    let mut longest: Vec<&Outage> = row.outages.iter().collect();
    longest.sort_by(|a, b| (b.lo_ms, b.hi_ms).partial_cmp(&(a.lo_ms, a.hi_ms)).unwrap_or(std::cmp::Ordering::Equal));
    longest.truncate(LISTED);
    longest.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
    let left_out = row.count.saturating_sub(longest.len() as u64);
    let mut out = format!(
        "  {} outage{}: sent at the latest before, answered again, gone for [at least, at most], probes unanswered\n",
        row.count,
        if row.count == 1 { "" } else { "s" }
    );
    let clock = |wall: &Option<String>, ms: f64| wall.clone().unwrap_or_else(|| format!("{:.3} s", ms / 1e3));
    let span = |ms: f64| show_duration(Duration::from_nanos((ms * 1e6) as u64));
    for o in longest {
        let to = o.to_ms.map_or_else(|| "not answered since".to_owned(), |ms| clock(&o.to, ms));
        let gone = match o.hi_ms {
            Some(hi) => format!("[{}, {}]", span(o.lo_ms), span(hi)),
            None => format!("at least {}", span(o.lo_ms)),
        };
        let migration = o.migration.map(|n| format!(", during migration {n}")).unwrap_or_default();
        out += &format!("    {}  {to}  {gone}  {}{migration}\n", clock(&o.from, o.from_ms), o.unanswered);
    }
    if left_out > 0 {
        out += &format!("    and {left_out} shorter ones\n");
    }
    out
}

/// The outages of a session in two figures: how many, and the bounds of the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outages {
    /// How many, of all probes.
    pub count: u64,
    /// How many probes there were that were answered at all.
    pub probes: usize,
    /// How many were never answered, so that nothing is known of their targets.
    pub unknown: usize,
    /// The longest: gone for at least and at most so long; no upper bound if it has not ended.
    pub longest: Option<(Duration, Option<Duration>)>,
}

/// The longest outage that the primary probe saw: from the last answer before it to the first one after it, ns, which
/// is none if it lasts still.
#[must_use]
pub fn worst(state: &State) -> Option<(Nanos, Option<Nanos>)> {
    let summary = state.digests.get(&state.primary_id()?)?;
    let longest = summary.gaps.outages().into_iter().max_by_key(|gap| (gap.lo, gap.hi))?;
    Some((longest.from, longest.to))
}

/// The outages seen by all probes; None where nothing is known of any target, as none ever answered.
#[must_use]
pub fn in_brief(state: &State) -> Option<Outages> {
    let known = || state.digests.values().filter(|digest| digest.counts.answered() > 0);
    let probes = known().count();
    if probes == 0 {
        return None;
    }
    let count = |digest: &Summary| {
        digest.gaps.interruptions().count.saturating_add(u64::from(digest.gaps.unfinished().is_some()))
    };
    let longest = known().flat_map(|digest| digest.gaps.outages()).max_by_key(|g| (g.lo, g.hi)).map(|g| (g.lo, g.hi));
    let count = known().fold(0_u64, |sum, digest| sum.saturating_add(count(digest)));
    Some(Outages { count, probes, unknown: state.digests.len() - probes, longest })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{
        Body, Engine, Event, MigrationEvent, MigrationSettings, ProbeEvent, ProbeId, ProbeKind, ProbeSpec,
    };
    use crate::session::testing::header;

    const MS: Nanos = 1_000_000;

    /// A watch at 50 ms that answers but for the slots named.
    fn watched(silent: impl Fn(u64) -> bool) -> State {
        let mut header = header();
        header.wall_origin_unix_ns = 1_795_376_700 * 1_000_000_000;
        header.simulated = false;
        let mut state = State::begin(header);
        let spec =
            ProbeSpec { engine: Engine::SurgePing, ..ProbeSpec::new(ProbeKind::Icmp, [192, 0, 2, 10].into(), 50 * MS) };
        state.apply(&Event::new(0, Body::Probe(ProbeEvent::Started { id: ProbeId(0), spec })));
        for k in 0..400 {
            let sent = k * 50 * MS;
            let ev = if silent(k) {
                ProbeEvent::Lost { id: ProbeId(0), k, sent }
            } else {
                ProbeEvent::Ok { id: ProbeId(0), k, sent, rtt: MS }
            };
            state.apply(&Event::new(sent + MS, Body::Probe(ev)));
        }
        state
    }

    #[test]
    fn an_outage_is_told_with_its_bounds_and_its_time() {
        let state = watched(|k| (100..150).contains(&k));
        let rows = rows(&state);
        let o = &rows[0].outages[0];
        assert_eq!((o.lo_ms, o.hi_ms, o.unanswered, o.migration), (2449.0, Some(2551.0), 50, None));
        assert_eq!((o.from_ms, o.to_ms), (4950.0, Some(7501.0)));
        let from = o.from.as_ref().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(from.as_millisecond(), 1_795_376_700_000 + 4950);
        let text = text(&rows);
        for words in ["probe 0: 192.0.2.10, ICMP every 50.0 ms", "loss 12.50 %", "1 outage:", "[2.45 s, 2.55 s]  50"] {
            assert!(text.contains(words), "{words} is missing in\n{text}");
        }
        assert!(text.contains(o.from.as_ref().unwrap().as_str()), "{text}");
        assert_eq!(in_brief(&state).unwrap().count, 1);
        assert_eq!(worst(&state), Some((4950 * MS, Some(7501 * MS))));
        assert_eq!(worst(&watched(|_| false)), None);
    }

    #[test]
    fn a_target_that_never_answered_has_no_outage_and_nothing_is_known_of_it() {
        let mut state = watched(|_| true);
        let rows = rows(&state);
        assert_eq!((rows[0].outages.len(), in_brief(&state)), (0, None));
        // Beside another that did answer it is told apart.
        let spec = ProbeSpec::new(ProbeKind::Icmp, [192, 0, 2, 11].into(), 50 * MS);
        let id = ProbeId(1);
        state.apply(&Event::new(20_000 * MS, Body::Probe(ProbeEvent::Started { id, spec })));
        state.apply(&Event::new(20_000 * MS, Body::Probe(ProbeEvent::Ok { id, k: 400, sent: 20_000 * MS, rtt: MS })));
        assert_eq!(in_brief(&state), Some(Outages { count: 0, probes: 1, unknown: 1, longest: None }));
        assert!(text(&rows).contains("no answer since the start"), "{}", text(&rows));
        assert_eq!(rows[0].summary["never_answered"], json!(true));
    }

    #[test]
    fn an_outage_that_lasts_has_no_end_and_one_in_a_migration_says_so() {
        let mut state = watched(|k| k >= 390);
        let settings = MigrationSettings::default();
        let began = MigrationEvent::Began { n: 3, from: "a".into(), to: "b".into(), settings, by: None };
        state.apply(&Event::new(19_000 * MS, Body::Migration(began)));
        let rows = rows(&state);
        let o = &rows[0].outages[0];
        assert_eq!((o.to.as_ref(), o.hi_ms, o.lo_ms, o.migration), (None, None, 449.0, Some(3)));
        assert!(text(&rows).contains("not answered since  at least 449 ms  10, during migration 3"), "{}", text(&rows));
    }

    #[test]
    fn replayed_it_is_the_same() {
        let state = watched(|k| k % 7 == 3);
        let json = serde_json::to_value(rows(&state)).unwrap();
        assert_eq!(json[0]["outages"].as_array().unwrap().len(), 57);
        assert_eq!(json[0]["summary"]["lost"], json!(57));
    }
}
