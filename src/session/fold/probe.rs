//! What outcomes of probes do to the state.

use super::bounds::PATIENCE;
use std::sync::Arc;

use crate::analysis::downtime::{self, ProbeSeen};
use crate::analysis::probing;
use crate::event::{Aside, Class, Nanos, Outcome, Phase, ProbeEvent};
use crate::session::outcomes::{OUTCOMES, Outcomes, Placed};
use crate::session::state::{ProbeState, State};

const PROBES: usize = 64;

impl State {
    pub(in crate::session) fn probe(&mut self, t: Nanos, ev: &ProbeEvent) {
        match ev {
            ProbeEvent::Started { id, spec } if self.digests.len() < PROBES || self.digests.contains_key(id) => {
                self.digests.insert(*id, Arc::new(probing::Summary::new(spec.clone())));
            }
            other => {
                if let Some(digest) = self.digests.get_mut(&other.id()) {
                    Arc::make_mut(digest).apply(other);
                }
            }
        }
        let needed = self.needed_from();
        match *ev {
            ProbeEvent::Started { id, .. } if self.probes.len() >= PROBES && !self.probes.contains_key(&id) => {
                self.leave_out(t, "further probes");
                return;
            }
            ProbeEvent::Started { id, ref spec } => {
                let fresh = ProbeState {
                    spec: spec.clone(),
                    outcomes: Outcomes::default(),
                    counts: Default::default(),
                    stopped: None,
                };
                self.probes.insert(id, fresh);
                return;
            }
            ProbeEvent::Stopped { id } => {
                if let Some(probe) = self.probes.get_mut(&id) {
                    probe.stopped = Some(t);
                }
                return;
            }
            ProbeEvent::Heard { id, what, n, .. } => {
                if let (Aside::Duplicate, Some(probe)) = (what, self.probes.get_mut(&id)) {
                    let count = probe.counts.entry(Class::Duplicate).or_default();
                    *count = count.saturating_add(n);
                }
                return;
            }
            _ => {}
        }
        let id = ev.id();
        let Some(probe) = self.probes.get_mut(&id) else {
            self.health.orphan_outcomes += 1;
            return;
        };
        if let ProbeEvent::Duplicate { k, .. } = *ev {
            *probe.counts.entry(Class::Duplicate).or_default() += 1;
            probe.outcomes.duplicate(k);
            return;
        }
        let Some(outcome) = ev.outcome(&probe.spec) else { return };
        if probe.put(outcome) == Placed::TooFarBehind {
            self.leave_out(t, "outcomes of a probe that come long after those of later slots");
            return;
        }
        while probe.outcomes.len() > OUTCOMES
            && (probe.outcomes.len() > OUTCOMES * PATIENCE || probe.outcomes.front().is_some_and(|o| o.sent < needed))
        {
            probe.outcomes.pop_front();
        }
        if let Some(at) = outcome.answered().filter(|_| self.primary_id() == Some(id)) {
            self.answered(at);
        }
    }

    /// Whether an answer can be expected at all: not of a guest that had not answered before either.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        let heard = self.migrations.last().is_none_or(|m| m.heard || m.answered.is_some());
        heard && self.primary().is_some_and(|p| p.stopped.is_none())
    }

    /// The guest answered: what was `recovery` is over.
    pub(in crate::session) fn answered(&mut self, t: Nanos) {
        let Some(m) = self.unsettled_mut() else { return };
        if m.answered.is_some() || m.resumed.as_ref().is_none_or(|r| r.0 > t) {
            return;
        }
        m.answered = Some(t);
        if let Some(raw) = m.unanswered.take() {
            let from = m.phases.last().map_or(t, |p| p.from.max(t));
            m.enter(from, Phase::Done, &raw, None);
        }
    }
}

impl ProbeState {
    /// That this probe was never answered, in words, once three of its slots say so; None where it was.
    #[must_use]
    pub fn unheard(&self) -> Option<String> {
        let count = |class| self.counts.get(&class).copied().unwrap_or(0);
        let unanswered = count(Class::Lost).saturating_add(count(Class::Error)).saturating_add(count(Class::Refused));
        let never = count(Class::Ok) == 0 && count(Class::Late) == 0 && unanswered >= 3;
        never.then(|| {
            format!(
                "no answer yet from {} since the probe began ({} probes): lost-pings and reply-gap will be unknown",
                self.spec.target,
                crate::units::show_count(unanswered)
            )
        })
    }

    /// Why this probe tells nothing of a guest at `t`: it was never answered, or not for long. None where it
    /// does, or where that is not known yet.
    #[must_use]
    pub fn deaf(&self, t: Nanos) -> Option<String> {
        downtime::deaf(&self.seen(), t)
    }

    /// What an estimator looks at.
    pub(in crate::session) fn seen(&self) -> ProbeSeen<'_> {
        ProbeSeen { spec: &self.spec, outcomes: &self.outcomes, stopped: self.stopped }
    }

    /// Puts an outcome in its slot and counts it.
    pub(in crate::session) fn put(&mut self, new: Outcome) -> Placed {
        let placed = self.outcomes.put(new);
        let counted = match placed {
            Placed::New => new.fate.class(),
            Placed::Revised(old) => {
                if let Some(count) = self.counts.get_mut(&old) {
                    *count = count.saturating_sub(1);
                }
                new.fate.class()
            }
            Placed::Again => Class::Duplicate,
            Placed::Nothing | Placed::TooFarBehind => return placed,
        };
        *self.counts.entry(counted).or_default() += 1;
        placed
    }
}
