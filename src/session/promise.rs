//! Promises of a session: what was promised, and whether what was measured kept it.
//!
//! What is not known is not kept: a figure whose bounds hold the limit decides nothing, and neither does one that
//! could not be had.

use std::time::Duration;

use serde::Serialize;

use super::state::{Migration, State};
use crate::analysis::probing::Summary;
use crate::analysis::{Bounded, ByProbe, Estimate, Method};
use crate::event::ProbeId;
use crate::units::{show_count, show_duration};

/// What is promised of a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Promise {
    /// No migration takes the guest away for longer.
    Downtime {
        /// The longest there may be.
        most: Duration,
        /// The estimator that decides; None for all that are known, so that the longest does.
        by: Option<Method>,
    },
    /// No probe sees its target gone for longer, migration or not.
    Outage {
        /// The longest there may be.
        most: Duration,
    },
    /// No probe loses more of what it sent.
    Loss {
        /// The largest share, %.
        most_pct: f64,
    },
}

/// What became of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that was promised was seen to be so.
    Kept,
    /// Something was seen that was not promised.
    Broken,
    /// Neither.
    NotKnown,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "broken",
            Self::NotKnown => "not known",
        }
    }
}

/// A promise and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// `max-downtime`, `max-outage` or `max-loss`.
    pub promise: &'static str,
    /// What was promised, ms; null where it is a share.
    pub at_most_ms: Option<f64>,
    /// What was promised, %; null where it is a time.
    pub at_most_pct: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
    /// The migration that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<u32>,
    /// The estimator that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'static str>,
    /// The probe that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeId>,
    /// All of it in a sentence.
    pub words: String,
}

/// What decides, and the sentence without its verdict.
#[derive(Debug, Default)]
struct Found {
    migration: Option<u32>,
    method: Option<&'static str>,
    probe: Option<ProbeId>,
    words: String,
}

impl Found {
    fn said(words: String) -> Self {
        Self { words, ..Self::default() }
    }
}

impl Promise {
    /// What became of it in this session.
    #[must_use]
    pub fn judge(&self, state: &State) -> Judged {
        let ms = |d: Duration| Some(d.as_nanos() as f64 / 1e6);
        let (promise, at_most_ms, at_most_pct, (verdict, found), limit) = match *self {
            Self::Downtime { most, by } => {
                ("max-downtime", ms(most), None, downtime(state, most, by), show_duration(most))
            }
            Self::Outage { most } => {
                let each = state.digests.iter().map(|(id, digest)| outage(id, digest, most));
                ("max-outage", ms(most), None, worst(each, "probes"), show_duration(most))
            }
            Self::Loss { most_pct } => {
                let each = state.digests.iter().map(|(id, digest)| loss(id, digest, most_pct));
                ("max-loss", None, Some(most_pct), worst(each, "probes"), format!("{most_pct} %"))
            }
        };
        let words = format!("{}: {}, promised at most {limit}", verdict.word(), found.words);
        let Found { migration, method, probe, .. } = found;
        Judged { promise, at_most_ms, at_most_pct, verdict, migration, method, probe, words }
    }
}

/// What became of all of them together: broken if one is, and kept only if each is. None where nothing is promised.
#[must_use]
pub fn together(all: &[Judged]) -> Option<Verdict> {
    let has = |verdict| all.iter().any(|j| j.verdict == verdict);
    [Verdict::Broken, Verdict::NotKnown, Verdict::Kept].into_iter().find(|v| has(*v))
}

/// What decides among several, each with a figure to compare it by: the worst of those that broke the promise, else
/// the first of which it is not known, else the one that came nearest; `of` is what there are several of.
fn worst(each: impl Iterator<Item = (Verdict, f64, Found)>, of: &str) -> (Verdict, Found) {
    let rank = |verdict| match verdict {
        Verdict::Broken => 2,
        Verdict::NotKnown => 1,
        Verdict::Kept => 0,
    };
    let nothing = (Verdict::NotKnown, Found::said("no probe has told anything".to_owned()));
    let mut n = 0_usize;
    let found = each.inspect(|_| n += 1).reduce(|a, b| if (rank(b.0), b.1) > (rank(a.0), a.1) { b } else { a });
    let Some((verdict, _, mut found)) = found else { return nothing };
    if n > 1 {
        found.words += &match verdict {
            Verdict::Kept | Verdict::Broken => format!(", the most of {n} {of}"),
            Verdict::NotKnown => format!(", one of {n} {of}"),
        };
    }
    (verdict, found)
}

fn downtime(state: &State, most: Duration, by: Option<Method>) -> (Verdict, Found) {
    let ran: Vec<&Migration> = state.migrations.iter().filter(|m| !m.never_ran()).collect();
    if ran.is_empty() {
        let beside = if state.only_watches() { ", as a session that only watches migrates nothing" } else { "" };
        return (Verdict::NotKnown, Found::said(format!("nothing was migrated{beside}")));
    }
    worst(ran.iter().map(|m| one_downtime(m, most, by)), "migrations")
}

/// An estimate that is known: by which estimator, and of which probe where it is not the primary one's.
struct Known<'a> {
    method: Method,
    probe: Option<&'a ByProbe>,
    of: Bounded,
}

impl Known<'_> {
    fn found(&self, n: u32, words: String) -> Found {
        Found { migration: Some(n), method: Some(self.method.name()), probe: self.probe.map(|p| p.id), words }
    }

    fn words(&self, n: u32) -> String {
        let probe = self.probe.map(|p| format!(" of probe {} ({})", p.id, p.name)).unwrap_or_default();
        format!("migration {n} was down for {} by {}{probe}", show_duration(self.of.value), self.method.name())
    }
}

/// One migration: whether, by how much, and what decides.
fn one_downtime(m: &Migration, most: Duration, by: Option<Method>) -> (Verdict, f64, Found) {
    let asked = |e: &&Estimate| by.is_none_or(|by| e.method == by);
    let first = m.downtime.iter().flat_map(|d| &d.estimates).filter(asked).map(|e| (None, e));
    let others = m.downtime.iter().flat_map(|d| &d.probes).filter(|p| !p.is_primary);
    let others = others.flat_map(|p| p.estimates.iter().filter(asked).map(move |e| (Some(p), e)));
    let known: Vec<Known<'_>> = first
        .clone()
        .chain(others)
        .filter_map(|(probe, e)| Some(Known { method: e.method, probe, of: e.value? }))
        .collect();
    let s = |known: &Known<'_>| known.of.value.as_secs_f64();
    if let Some(over) = known.iter().filter(|k| k.of.lo > most).max_by_key(|k| k.of.value) {
        return (Verdict::Broken, s(over), over.found(m.n, over.words(m.n)));
    }
    let Some(longest) = known.iter().max_by_key(|k| k.of.hi) else {
        let why = first.clone().find_map(|(_, e)| e.note.clone()).unwrap_or_else(|| "it has not ended".to_owned());
        let by = by.map(|by| format!(" by {}", by.name())).unwrap_or_default();
        let words = format!("how long migration {} was down{by} could not be seen ({why})", m.n);
        return (Verdict::NotKnown, f64::INFINITY, Found { migration: Some(m.n), words, ..Found::default() });
    };
    let mut words = longest.words(m.n);
    if by.is_none() && known.len() == 1 {
        words += ", the only one known";
    }
    let verdict = if longest.of.hi > most {
        words += &format!(", but [{}, {}] is possible", show_duration(longest.of.lo), show_duration(longest.of.hi));
        Verdict::NotKnown
    } else if m.settled.is_none() {
        words += ", but its result is not final";
        Verdict::NotKnown
    } else {
        Verdict::Kept
    };
    (verdict, s(longest), longest.found(m.n, words))
}

fn outage(id: &ProbeId, digest: &Summary, most: Duration) -> (Verdict, f64, Found) {
    let found = |words: String| Found { probe: Some(*id), words, ..Found::default() };
    if digest.counts.answered() == 0 {
        return (Verdict::NotKnown, f64::INFINITY, found(format!("probe {id} was never answered")));
    }
    let outages = digest.gaps.outages();
    let span = |lo: Duration, hi: Option<Duration>| match hi {
        Some(hi) => format!("[{}, {}]", show_duration(lo), show_duration(hi)),
        None => format!("at least {}", show_duration(lo)),
    };
    if let Some(over) = outages.iter().filter(|gap| gap.lo > most).max_by_key(|gap| gap.lo) {
        let words = format!("probe {id} saw its target gone for {}", span(over.lo, over.hi));
        return (Verdict::Broken, over.lo.as_secs_f64(), found(words));
    }
    let open = |gap: &&crate::analysis::probing::Gap| gap.hi.is_none_or(|hi| hi > most);
    if let Some(gap) = outages.iter().filter(open).max_by_key(|gap| gap.lo) {
        let words = format!("probe {id} saw its target gone for {}", span(gap.lo, gap.hi));
        return (Verdict::NotKnown, gap.lo.as_secs_f64(), found(words));
    }
    let widest = digest.gaps.widest();
    if widest > most {
        let words = format!("probe {id} looked away for up to {}, in which nothing was seen", show_duration(widest));
        return (Verdict::NotKnown, widest.as_secs_f64(), found(words));
    }
    let longest = outages.iter().max_by_key(|gap| gap.hi);
    let words = match longest {
        Some(gap) => format!("probe {id} saw its target gone for {} at the longest", span(gap.lo, gap.hi)),
        None => format!("probe {id} saw no outage, and none longer than {} can have been", show_duration(widest)),
    };
    (Verdict::Kept, longest.map_or(0.0, |gap| gap.lo.as_secs_f64()), found(words))
}

fn loss(id: &ProbeId, digest: &Summary, most_pct: f64) -> (Verdict, f64, Found) {
    let found = |words: String| Found { probe: Some(*id), words, ..Found::default() };
    let counts = &digest.counts;
    let Some(pct) = counts.loss_pct() else {
        return (Verdict::NotKnown, f64::INFINITY, found(format!("the fate of no packet of probe {id} is known")));
    };
    let gone = counts.lost + counts.error + counts.refused;
    let words = format!("probe {id} lost {pct:.2} % ({} of {})", show_count(gone), show_count(counts.decided()));
    (if pct > most_pct { Verdict::Broken } else { Verdict::Kept }, pct, found(words))
}

#[cfg(test)]
mod tests;
