//! The result table of a session: for the terminal as text, for programs as JSON.

use std::time::Duration;

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::prediction::words;
use super::{ByProbe, Downtimes, Estimate, Method};
use crate::event::{Forecast, ProbeId, Span, StopForecast};
use crate::units::{show_bytes, show_count, show_duration};

/// One downtime, for programs. Unknown is `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Downtime {
    /// The estimator, by its name in the vocabulary.
    pub method: &'static str,
    /// The estimate, ms.
    pub value_ms: Option<f64>,
    /// Its lower bound, ms.
    pub lo_ms: Option<f64>,
    /// Its upper bound, ms.
    pub hi_ms: Option<f64>,
    /// Why it is unknown, or what to bear in mind.
    pub note: Option<String>,
}

impl From<&Estimate> for Downtime {
    fn from(estimate: &Estimate) -> Self {
        let ms = |d: Duration| d.as_nanos() as f64 / 1e6;
        Self {
            method: estimate.method.name(),
            value_ms: estimate.value.map(|v| ms(v.value)),
            lo_ms: estimate.value.map(|v| ms(v.lo)),
            hi_ms: estimate.value.map(|v| ms(v.hi)),
            note: estimate.note.clone(),
        }
    }
}

/// What one probe saw of a migration, for programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeDowntimes {
    /// Which probe.
    pub id: ProbeId,
    /// What it is called.
    pub name: String,
    /// Whether the downtimes of the migration are this probe's.
    pub primary: bool,
    /// `lost-pings` and `reply-gap`.
    pub downtimes: Vec<Downtime>,
    /// How many gaps of at least two intervals it saw.
    pub gaps: u32,
    /// All gaps together, ms.
    pub gaps_total_ms: f64,
}

impl From<&ByProbe> for ProbeDowntimes {
    fn from(seen: &ByProbe) -> Self {
        Self {
            id: seen.id,
            name: seen.name.clone(),
            primary: seen.is_primary,
            downtimes: seen.estimates.iter().map(Downtime::from).collect(),
            gaps: seen.gaps,
            gaps_total_ms: seen.gaps_total.as_nanos() as f64 / 1e6,
        }
    }
}

/// How long one phase lasted, all its stretches together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseTime {
    /// The phase, by its name in the vocabulary.
    pub phase: &'static str,
    /// How long, ms.
    pub ms: f64,
}

/// Something that was wanted of a running migration: who wanted it, and whether it took effect, are two
/// facts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Requested {
    /// When, ms after the migration began.
    pub after_ms: f64,
    /// What: `cancel`, `stop-and-copy`, `post-copy` or `auto-converge`.
    pub what: &'static str,
    /// Who wanted it, in words.
    pub by: String,
    /// Whether it took effect; null while that is open.
    pub took_effect: Option<bool>,
    /// Why it is not done, if the hypervisor refused it or did not answer.
    pub refused: Option<String>,
}

/// The result of one migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its number in the session, from 1.
    pub n: u32,
    /// When it began, by the wall clock of the machine that recorded it (RFC 3339, with the offset of where it is read);
    /// null where the session has no wall clock.
    pub began: Option<String>,
    /// When it ended, by the same clock; null while it runs.
    pub ended: Option<String>,
    /// Source host.
    pub from: String,
    /// Destination host.
    pub to: String,
    /// RATE set when it began, pages/s.
    pub rate_pages_per_s: Option<f64>,
    /// WSET set when it began, bytes.
    pub wset_bytes: Option<u64>,
    /// LOAD set when it began, %.
    pub cpu_load_pct: Option<f64>,
    /// Bandwidth it was allowed, bytes/s.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// Stop policy.
    pub policy: String,
    /// Pre-copy rounds.
    pub rounds: Option<u64>,
    /// Migration time, ms; unknown while it runs.
    pub migration_ms: Option<f64>,
    /// Sent, bytes.
    pub sent_bytes: Option<u64>,
    /// The phases that lasted.
    pub phases: Vec<PhaseTime>,
    /// The five downtimes, in the order of the vocabulary.
    pub downtimes: Vec<Downtime>,
    /// How many gaps of at least two intervals the probe saw.
    pub gaps: Option<u32>,
    /// All gaps together, ms.
    pub gaps_total_ms: Option<f64>,
    /// What each probe saw by itself; the five downtimes above are those of the primary one.
    pub probes: Vec<ProbeDowntimes>,
    /// `done`, `failed`, `cancelled`, `unsettled` or `unfinished`.
    pub outcome: &'static str,
    /// The rule that ended pre-copy, in words.
    pub rule: Option<String>,
    /// What was wanted of it while it ran, and whether that took effect.
    pub requests: Vec<Requested>,
    /// What happened, in words.
    pub verdict: String,
    /// Figures the hypervisor gave that cannot be, in words; they are used nowhere.
    pub claims: Vec<String>,
    /// Whether the result is final.
    pub settled: bool,
    /// What was predicted just before it was fired; unknown where nothing could be.
    pub predicted: Option<Forecast>,
    /// Why nothing could be predicted, in words, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_predicted: Option<String>,
    /// How long the guest would stand still, as it was said when it was stopped; unknown where it was not
    /// stopped from above, or where nothing could be said.
    pub stop: Option<Stop>,
}

/// What was said of a stop beside what came of it. The quantity is `stop-resume`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stop {
    /// Said when the guest was stopped, s.
    pub said_s: Span,
    /// What came, s; unknown where it did not end well or was not seen.
    pub measured_s: Option<f64>,
    /// Measured less said, % of what was said.
    pub error_pct: Option<f64>,
    /// Whether it lies within what was said.
    pub inside: Option<bool>,
    /// Said while it stood still: since the stop, s, and from then on, s.
    pub countdown_s: Vec<(f64, Span)>,
}

impl Stop {
    /// What was said, with what came if the migration ended well, ms.
    #[must_use]
    pub fn new(said: &StopForecast, countdown: &[(u64, StopForecast)], measured_ms: Option<f64>) -> Self {
        let said_s = said.whole_s();
        let measured_s = measured_ms.map(|ms| ms / 1e3);
        Self {
            said_s,
            measured_s,
            error_pct: measured_s.filter(|_| said_s.mid > 0.0).map(|s| 100.0 * (s / said_s.mid - 1.0)),
            inside: measured_s.map(|s| said_s.holds(s)),
            countdown_s: countdown.iter().map(|(_, f)| (f.stood_s, f.left_s)).collect(),
        }
    }
}

impl Row {
    /// From the source's stop to the destination's resume, ms, where it is known: what a prediction
    /// of the downtime is to be held against.
    #[must_use]
    pub fn stop_resume_ms(&self) -> Option<f64> {
        self.downtimes.iter().find(|d| d.method == Method::StopResume.name()).and_then(|d| d.value_ms)
    }

    /// Takes the downtimes over.
    pub fn set_downtimes(&mut self, downtimes: Option<&Downtimes>) {
        self.downtimes = match downtimes {
            Some(d) => d.estimates.iter().map(Downtime::from).collect(),
            None => Method::ALL
                .iter()
                .map(|method| Downtime {
                    method: method.name(),
                    value_ms: None,
                    lo_ms: None,
                    hi_ms: None,
                    note: Some("the migration has not ended".to_owned()),
                })
                .collect(),
        };
        self.gaps = downtimes.map(|d| d.gaps);
        self.gaps_total_ms = downtimes.map(|d| d.gaps_total.as_nanos() as f64 / 1e6);
        self.probes = downtimes.map_or_else(Vec::new, |d| d.probes.iter().map(ProbeDowntimes::from).collect());
    }
}

const UNKNOWN: &str = "?";

fn ms(ms: Option<f64>) -> String {
    ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()).map_or_else(|| UNKNOWN.to_owned(), show_duration)
}

fn or_unknown<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), show)
}

/// A value with its bounds, in one unit: `2.90 s [2.85, 2.95]`.
fn with_bounds(d: &Downtime) -> String {
    let (Some(value), Some(lo), Some(hi)) = (d.value_ms, d.lo_ms, d.hi_ms) else {
        return UNKNOWN.to_owned();
    };
    let (unit, scale) = if value.max(hi) >= 1000.0 { ("s", 1e3) } else { ("ms", 1.0) };
    let number = |ms: f64| {
        let n = ms / scale;
        match n {
            n if n >= 100.0 => format!("{n:.0}"),
            n if n >= 10.0 => format!("{n:.1}"),
            0.0 => "0".to_owned(),
            n => format!("{n:.2}"),
        }
    };
    format!("{} {unit} [{}, {}]", number(value), number(lo), number(hi))
}

/// The table as text, at most `width` columns wide where that is possible at all: columns that do
/// not fit go into a further table below, each with the migration's number.
#[must_use]
pub fn text(rows: &[Row], width: usize) -> String {
    if rows.is_empty() {
        return "no migration\n".to_owned();
    }
    let mut phases: Vec<&'static str> = Vec::new();
    for phase in rows.iter().flat_map(|r| &r.phases) {
        if !phases.contains(&phase.phase) {
            phases.push(phase.phase);
        }
    }
    let column = |title: &str, cell: &dyn Fn(&Row) -> String| -> Vec<String> {
        std::iter::once(title.to_owned()).chain(rows.iter().map(cell)).collect()
    };
    let number = column("n", &|r| r.n.to_string());
    let mut facts = vec![
        column("from>to", &|r| format!("{}>{}", r.from, r.to)),
        column("RATE/s", &|r| or_unknown(r.rate_pages_per_s, |rate| show_count(rate.round() as u64))),
        column("WSET", &|r| or_unknown(r.wset_bytes, show_bytes)),
        column("rounds", &|r| or_unknown(r.rounds, |n| n.to_string())),
        column("time", &|r| ms(r.migration_ms)),
        column("sent", &|r| or_unknown(r.sent_bytes, show_bytes)),
    ];
    for phase in phases {
        facts.push(column(phase, &|r| {
            r.phases.iter().find(|p| p.phase == phase).map_or_else(|| "-".to_owned(), |p| ms(Some(p.ms)))
        }));
    }
    facts.push(column("outcome", &|r| r.outcome.to_owned()));
    let mut downtimes: Vec<Vec<String>> = Vec::new();
    for (i, method) in Method::ALL.iter().enumerate() {
        downtimes.push(column(method.name(), &|r| r.downtimes.get(i).map_or_else(|| UNKNOWN.to_owned(), with_bounds)));
    }
    downtimes.push(column("gaps", &|r| match (r.gaps, r.gaps_total_ms) {
        (Some(0), _) => "0".to_owned(),
        (Some(n), total) => format!("{n}, {}", ms(total)),
        _ => UNKNOWN.to_owned(),
    }));

    let mut out = String::new();
    lay_out(&mut out, &number, &facts, width);
    out.push_str("\nDowntime [bounds]\n");
    lay_out(&mut out, &number, &downtimes, width);
    by_probe(&mut out, rows, width);
    out.push('\n');
    for row in rows {
        wrap(&mut out, &format!("{}: {}", row.n, row.verdict), width);
        if let Some(forecast) = &row.predicted {
            let line = words::beside(forecast, row.outcome, row.migration_ms, row.stop_resume_ms());
            wrap(&mut out, &format!("   predicted by the model: {line}"), width);
        }
        if let Some(why) = &row.not_predicted {
            wrap(&mut out, &format!("   {why}"), width);
        }
        if let Some(stop) = &row.stop {
            let line = words::stop_beside(&stop.said_s, stop.measured_s);
            wrap(&mut out, &format!("   said at the stop: stop-resume {line}"), width);
        }
        for downtime in &row.downtimes {
            if let Some(note) = &downtime.note {
                wrap(&mut out, &format!("   {}: {note}", downtime.method), width);
            }
        }
        for probe in row.probes.iter().filter(|probe| !probe.primary) {
            for downtime in &probe.downtimes {
                if let Some(note) = &downtime.note {
                    wrap(&mut out, &format!("   {}, {}: {note}", probe.name, downtime.method), width);
                }
            }
        }
    }
    out
}

/// What each probe saw, side by side; nothing where there was one at most.
fn by_probe(out: &mut String, rows: &[Row], width: usize) {
    if rows.iter().all(|row| row.probes.len() < 2) {
        return;
    }
    let all: Vec<(u32, &ProbeDowntimes)> =
        rows.iter().flat_map(|row| row.probes.iter().map(|probe| (row.n, probe))).collect();
    let column = |title: &str, cell: &dyn Fn(&ProbeDowntimes) -> String| -> Vec<String> {
        std::iter::once(title.to_owned()).chain(all.iter().map(|(_, probe)| cell(probe))).collect()
    };
    let number: Vec<String> = std::iter::once("n".to_owned()).chain(all.iter().map(|(n, _)| n.to_string())).collect();
    let mut columns =
        vec![column("probe", &|p| format!("{} {}{}", p.id, p.name, if p.primary { ", primary" } else { "" }))];
    for (i, method) in [Method::LostPings, Method::ReplyGap].into_iter().enumerate() {
        columns.push(column(method.name(), &|p| p.downtimes.get(i).map_or_else(|| UNKNOWN.to_owned(), with_bounds)));
    }
    columns.push(column("gaps", &|p| match p.gaps {
        0 => "0".to_owned(),
        n => format!("{n}, {}", ms(Some(p.gaps_total_ms))),
    }));
    out.push_str("\nBy probe [bounds]\n");
    lay_out(out, &number, &columns, width);
}

fn cells_width(column: &[String]) -> usize {
    column.iter().map(|cell| cell.width()).max().unwrap_or(0)
}

fn lay_out(out: &mut String, number: &[String], columns: &[Vec<String>], width: usize) {
    // Each once: a capture may have thousands of migrations.
    let (first, widths) = (cells_width(number), columns.iter().map(|c| cells_width(c)).collect::<Vec<_>>());
    let mut from = 0;
    while from < columns.len() {
        let (mut used, mut to) = (first, from);
        for width_of in &widths[from..] {
            used += 2 + width_of;
            if used > width && to > from {
                break;
            }
            to += 1;
        }
        for (line, n) in number.iter().enumerate() {
            let mut text = format!("{n:>first$}");
            for (column, width) in columns[from..to].iter().zip(&widths[from..to]) {
                let pad = width.saturating_sub(column[line].width());
                text.push_str("  ");
                text.push_str(&column[line]);
                text.push_str(&" ".repeat(pad));
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        from = to;
    }
}

/// Wraps at words; further lines are indented by five.
fn wrap(out: &mut String, text: &str, width: usize) {
    let indent = text.len() - text.trim_start().len();
    let (mut line, mut used) = (" ".repeat(indent), indent);
    let mut bare = true;
    for word in text.split_whitespace() {
        let wide = word.width();
        if !bare && used + 1 + wide > width {
            out.push_str(&line);
            out.push('\n');
            (line, used) = (" ".repeat(5), 5);
            bare = true;
        }
        if !bare {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += wide;
        bare = false;
    }
    out.push_str(&line);
    out.push('\n');
}
