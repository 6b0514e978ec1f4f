//! The numbers people read, as a pure fold over a probe's events.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::gap::{Gap, GapFinder, Interruptions};
use super::histogram::Histogram;
use crate::event::{Aside, Fate, Outcome, ProbeEvent, ProbeSpec};
use crate::text::foreign;

/// Different error texts counted apart; the rest are counted together.
const ERROR_TEXTS: usize = 8;

/// Kinds and senders of what decides nothing that are counted apart.
const ASIDES: usize = 128;

fn count(texts: &mut BTreeMap<String, u64>, text: &str) {
    let room = texts.len() < ERROR_TEXTS || texts.contains_key(text);
    *texts.entry(if room { foreign(text) } else { "other".into() }).or_default() += 1;
}

/// How many slots ended in each class. A revised slot counts once; duplicates count apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered in time.
    pub ok: u64,
    /// Answered after the deadline.
    pub late: u64,
    /// Not answered by the deadline, and not since.
    pub lost: u64,
    /// Further answers to slots already answered.
    pub duplicate: u64,
    /// Slots that passed unsent, or could not be sent here.
    pub not_sent: u64,
    /// The service was not there: refused, or an HTTP status that was not expected.
    pub refused: u64,
    /// An ICMP error came back (in a capture of schema 1.2 or before, also: sending failed).
    pub error: u64,
}

impl Counts {
    /// Slots that were answered, in time or late.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.ok + self.late
    }

    /// Slots sent whose fate is known; pending ones and those not sent are not among them.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.ok + self.late + self.lost + self.error + self.refused
    }

    /// Share of the decided slots that were lost, refused or ended in an error, %; None before any.
    #[must_use]
    pub fn loss_pct(&self) -> Option<f64> {
        (self.decided() > 0).then(|| 100.0 * (self.lost + self.error + self.refused) as f64 / self.decided() as f64)
    }
}

/// Running numbers of one probe; bounded memory however long it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its schedule and limits.
    pub spec: ProbeSpec,
    /// Slots by class.
    pub counts: Counts,
    /// Round trips of all first answers, in time or late, ns.
    pub rtt: Histogram,
    /// Distance of each actual sending from when its slot was due, ns.
    pub spacing: Histogram,
    /// Silences.
    pub gaps: GapFinder,
    /// What the errors said, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Why slots could not be sent, and how many could not.
    pub unsent: BTreeMap<String, u64>,
    /// What was heard and decides nothing: its kind and sender, and how many.
    pub asides: BTreeMap<(Aside, Option<IpAddr>), u64>,
    /// Whether the probe has ended.
    pub stopped: bool,
}

impl Summary {
    /// An empty summary of a probe that has begun.
    #[must_use]
    pub fn new(spec: ProbeSpec) -> Self {
        Self {
            counts: Counts::default(),
            rtt: Histogram::default(),
            spacing: Histogram::default(),
            gaps: GapFinder::new(spec.interval_ns),
            errors: BTreeMap::new(),
            unsent: BTreeMap::new(),
            asides: BTreeMap::new(),
            stopped: false,
            spec,
        }
    }

    /// Folds one event of this probe in.
    pub fn apply(&mut self, event: &ProbeEvent) {
        if let Some(outcome) = event.outcome(&self.spec) {
            self.settle(outcome);
        }
        match *event {
            ProbeEvent::Started { ref spec, .. } => *self = Self::new(spec.clone()),
            ProbeEvent::Ok { k, sent, .. }
            | ProbeEvent::Lost { k, sent, .. }
            | ProbeEvent::Error { k, sent: Some(sent), .. }
            | ProbeEvent::Refused { k, sent, .. } => self.went_out(k, sent),
            // Always the revision of a `Lost`, which has counted the sending.
            ProbeEvent::Late { .. } | ProbeEvent::Error { sent: None, .. } => {}
            ProbeEvent::Duplicate { .. } => self.counts.duplicate += 1,
            ProbeEvent::NotSent { ref why, .. } => {
                if let Some(why) = why {
                    count(&mut self.unsent, why);
                }
            }
            ProbeEvent::Heard { what, n, from, .. } => {
                if what == Aside::Duplicate {
                    self.counts.duplicate = self.counts.duplicate.saturating_add(n);
                }
                let room = self.asides.len() < ASIDES || self.asides.contains_key(&(what, from));
                let known = self.asides.entry((what, from.filter(|_| room))).or_default();
                *known = known.saturating_add(n);
            }
            ProbeEvent::Stopped { .. } => self.stopped = true,
        }
        if let ProbeEvent::Error { what, .. } | ProbeEvent::Refused { what, .. } = event {
            count(&mut self.errors, what);
        }
    }

    /// Counts a slot that is settled, or whose loss is revised.
    fn settle(&mut self, outcome: Outcome) {
        let Outcome { k, sent, fate } = outcome;
        match fate {
            Fate::Ok { .. } => self.counts.ok += 1,
            Fate::Late { .. } => {
                self.counts.lost = self.counts.lost.saturating_sub(1);
                self.counts.late += 1;
            }
            Fate::Lost => self.counts.lost += 1,
            Fate::NotSent => self.counts.not_sent += 1,
            Fate::Error => self.counts.error += 1,
            Fate::Refused => self.counts.refused += 1,
        }
        if let Some(rtt) = fate.rtt() {
            self.rtt.add(rtt);
        }
        match fate {
            Fate::Ok { rtt } => self.gaps.answered(k, sent, rtt),
            Fate::Late { rtt } => self.gaps.answered_late(k, sent, rtt),
            Fate::Lost | Fate::Error | Fate::Refused => {
                self.gaps.unanswered(sent, fate.is_witness(self.spec.kind));
            }
            Fate::NotSent => {}
        }
    }

    fn went_out(&mut self, k: u64, sent: u64) {
        self.spacing.add(sent.abs_diff(self.spec.due(k)));
    }

    /// Memory taken, bytes, roughly.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let texts: usize = self.errors.keys().chain(self.unsent.keys()).map(|t| t.len() + 64).sum();
        self.rtt.heap_bytes() + self.spacing.heap_bytes() + self.gaps.heap_bytes() + texts + self.asides.len() * 48
    }

    /// Whether probes were not answered and none ever was: then nothing is known of the target, not even
    /// that it answers probes of this kind at all.
    #[must_use]
    pub fn never_answered(&self) -> bool {
        self.counts.answered() == 0 && self.counts.decided() > 0
    }

    /// Answers this machine's kernel dropped: so many slots may be called lost though they were answered.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.asides
            .iter()
            .filter(|((what, _), _)| *what == Aside::Dropped)
            .fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// As one JSON object; durations in ns, unknown as null.
    #[must_use]
    pub fn json(&self) -> Value {
        let c = &self.counts;
        let ns = |d: Duration| d.as_nanos() as u64;
        let gap = |g: Gap| {
            json!({
                "from_k": g.from_k, "to_k": g.to_k, "lo_ns": ns(g.lo), "hi_ns": g.hi.map(ns),
                "from_ns": g.from, "to_ns": g.to, "unanswered": g.unanswered,
            })
        };
        let asides: Vec<Value> =
            self.asides.iter().map(|((what, from), n)| json!({"what": what, "n": n, "from": from})).collect();
        let Interruptions { count, lo, hi } = self.gaps.interruptions();
        json!({
            "spec": self.spec,
            "ok": c.ok, "late": c.late, "lost": c.lost, "duplicate": c.duplicate,
            "not_sent": c.not_sent, "error": c.error, "refused": c.refused,
            "loss_pct": c.loss_pct(),
            "rtt_ns": {
                "n": self.rtt.len(), "min": self.rtt.min(), "p50": self.rtt.quantile(0.5),
                "mean": self.rtt.mean(), "p99": self.rtt.quantile(0.99), "max": self.rtt.max(),
            },
            "spacing_error_ns": {
                "p50": self.spacing.quantile(0.5), "p99": self.spacing.quantile(0.99), "max": self.spacing.max(),
            },
            "longest_reply_gap": self.gaps.longest().map(gap),
            "unfinished_reply_gap": self.gaps.unfinished().map(gap),
            "interruptions": {"count": count, "lo_ns": ns(lo), "hi_ns": ns(hi)},
            "outages": self.gaps.outages().into_iter().map(gap).collect::<Vec<_>>(),
            "never_answered": self.never_answered(),
            "errors": self.errors,
            "unsent": self.unsent,
            "heard": asides,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ProbeId, ProbeKind};

    fn summary() -> Summary {
        Summary::new(ProbeSpec {
            deadline_ns: 50,
            t0: 1_000,
            ..ProbeSpec::new(ProbeKind::Icmp, [127, 0, 0, 1].into(), 10)
        })
    }

    #[test]
    fn each_slot_counts_once_and_pending_not_at_all() {
        let mut s = summary();
        let id = ProbeId(0);
        assert_eq!(s.counts.loss_pct(), None);
        for ev in [
            ProbeEvent::Ok { id, k: 0, sent: 1_000, rtt: 4 },
            ProbeEvent::Lost { id, k: 1, sent: 1_013 },
            ProbeEvent::Lost { id, k: 2, sent: 1_020 },
            ProbeEvent::NotSent { id, k: 3, why: None },
            ProbeEvent::Late { id, k: 1, sent: 1_013, rtt: 60 },
            ProbeEvent::Duplicate { id, k: 0, rtt: 70 },
            ProbeEvent::Error { id, k: 4, sent: None, what: "host unreachable".into() },
            ProbeEvent::Stopped { id },
        ] {
            s.apply(&ev);
        }
        let c = Counts { ok: 1, late: 1, lost: 1, duplicate: 1, not_sent: 1, error: 1, refused: 0 };
        assert_eq!((s.counts, c.answered(), c.decided(), c.loss_pct()), (c, 2, 4, Some(50.0)));
        assert_eq!((s.rtt.len(), s.rtt.min(), s.rtt.max()), (2, Some(4), Some(60)));
        assert_eq!((s.spacing.len(), s.spacing.max()), (3, Some(3)));
        assert!(s.stopped && s.errors["host unreachable"] == 1);
        let j = s.json();
        assert_eq!((&j["lost"], &j["rtt_ns"]["max"], &j["loss_pct"]), (&json!(1), &json!(60), &json!(50.0)));
    }

    #[test]
    fn nothing_known_is_null() {
        let j = summary().json();
        assert!(j["loss_pct"].is_null() && j["rtt_ns"]["p50"].is_null() && j["longest_reply_gap"].is_null());
    }

    #[test]
    fn error_texts_are_bounded() {
        let mut s = summary();
        (0..100).for_each(|k| s.apply(&ProbeEvent::Error { id: ProbeId(0), k, sent: None, what: format!("e{k}") }));
        assert_eq!((s.errors.len(), s.errors["other"]), (ERROR_TEXTS + 1, 92));
    }
}
