//! Holes: lost probes with no reply between them.

use super::state::ProbeState;
use crate::event::{Class, Nanos};

/// Lost probes with no reply between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// When the first was due, ns.
    pub from: Nanos,
    /// When the last was due, ns.
    pub to: Nanos,
    /// How many.
    pub lost: u64,
}

impl ProbeState {
    /// When a slot is due, ns of the session clock.
    #[must_use]
    pub fn due(&self, k: u64) -> Nanos {
        self.spec.t0.saturating_add(k.saturating_mul(self.spec.interval_ns))
    }

    /// The first hole that begins after `t`.
    #[must_use]
    pub fn next_hole(&self, t: Nanos) -> Option<Hole> {
        self.holes().into_iter().find(|h| h.from > t)
    }

    /// The last hole that begins before `t`.
    #[must_use]
    pub fn prev_hole(&self, t: Nanos) -> Option<Hole> {
        self.holes().into_iter().rfind(|h| h.from < t)
    }

    fn holes(&self) -> Vec<Hole> {
        let mut holes: Vec<Hole> = Vec::new();
        let mut open = false;
        for outcome in &self.outcomes {
            let due = self.due(outcome.k);
            match outcome.class {
                Class::Ok | Class::Late | Class::Duplicate => open = false,
                Class::Lost => {
                    match holes.last_mut().filter(|_| open) {
                        Some(hole) => (hole.to, hole.lost) = (due, hole.lost + 1),
                        None => holes.push(Hole { from: due, to: due, lost: 1 }),
                    }
                    open = true;
                }
                Class::NotSent | Class::Error => {}
            }
        }
        holes
    }
}
