//! Holes: probes that were down (lost, refused, in error) with no reply between them. Found in a time that does not grow with the
//! number of probes.

use super::outcomes::Outcomes;
use super::state::ProbeState;
use crate::event::{Class, Nanos};

/// Probes that were lost, refused or in error, with no reply between them. Counted in probes, wherever the view begins and
/// however far it spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// When the first was due, ns.
    pub from: Nanos,
    /// When the last was due, ns.
    pub to: Nanos,
    /// How many.
    pub down: u64,
    /// Whether all of them were lost: none was refused or ended in an error.
    pub all_lost: bool,
}

impl Hole {
    /// What they were, in a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        if self.all_lost { "lost" } else { "down" }
    }
}

/// The same in slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u64,
    last: u64,
    down: u64,
    all_lost: bool,
}

impl Span {
    /// The hole a slot that was down lies in.
    fn around(outcomes: &Outcomes, k: u64) -> Self {
        let before = k.checked_sub(1).and_then(|to| outcomes.prev_reply(0, to));
        let first = outcomes.next_down(before.map_or(0, |b| b + 1), k).unwrap_or(k);
        let after = k.checked_add(1).and_then(|from| outcomes.next_reply(from, u64::MAX));
        let last = outcomes.prev_down(k, after.map_or(u64::MAX, |a| a - 1)).unwrap_or(k);
        let sum = outcomes.summary(first, last);
        Self { first, last, down: sum.down().max(1), all_lost: sum.count(Class::Lost) == sum.down() }
    }

    /// The first hole that begins at slot `from` or later.
    fn next(outcomes: &Outcomes, from: u64) -> Option<Self> {
        let hole = Self::around(outcomes, outcomes.next_down(from, u64::MAX)?);
        if hole.first >= from {
            return Some(hole);
        }
        let after = outcomes.next_reply(hole.last.checked_add(1)?, u64::MAX)?;
        Some(Self::around(outcomes, outcomes.next_down(after, u64::MAX)?))
    }
}

impl ProbeState {
    /// The first slot due at `t` or later.
    #[must_use]
    pub fn slot_from(&self, t: Nanos) -> u64 {
        t.saturating_sub(self.spec.t0).div_ceil(self.spec.interval_ns.max(1))
    }

    /// The first hole that begins after `t`.
    #[must_use]
    pub fn next_hole(&self, t: Nanos) -> Option<Hole> {
        let from = if t < self.spec.t0 { 0 } else { self.slot_from(t.saturating_add(1)) };
        Span::next(&self.outcomes, from).map(|span| self.hole(span))
    }

    /// The last hole that begins before `t`.
    #[must_use]
    pub fn prev_hole(&self, t: Nanos) -> Option<Hole> {
        let k = self.outcomes.prev_down(0, self.slot_from(t).checked_sub(1)?)?;
        Some(self.hole(Span::around(&self.outcomes, k)))
    }

    /// The holes of a stretch of time, whole also where they reach beyond it. Of those shorter than
    /// `fine` ns no more than one is told of in each `fine` ns: they could not be drawn apart.
    #[must_use]
    pub fn holes(&self, from: Nanos, to: Nanos, fine: Nanos) -> Vec<Hole> {
        let mut holes = Vec::new();
        if self.spec.interval_ns == 0 {
            return holes;
        }
        let Some(last) = self.slot_from(to).checked_sub(1) else { return holes };
        let mut at = self.slot_from(from);
        while let Some(k) = self.outcomes.next_down(at, last) {
            let hole = self.hole(Span::around(&self.outcomes, k));
            holes.push(hole);
            let Some(after) = self.outcomes.next_reply(k, last) else { break };
            at = after;
            if hole.to - hole.from < fine {
                let next = (hole.to / fine + 1).saturating_mul(fine);
                at = at.max(self.slot_from(next));
            }
        }
        holes
    }

    fn hole(&self, span: Span) -> Hole {
        Hole { from: self.spec.due(span.first), to: self.spec.due(span.last), down: span.down, all_lost: span.all_lost }
    }
}
