//! A migration from its beginning to its end.

use super::bounds::REQUESTS;

use crate::chunked::Chunked;
use crate::event::{By, MigrationEnd, MigrationEvent, Nanos, Phase, StopRule, Substate};
use crate::session::state::{Migration, PhaseSpan, Request, State};

/// Estimates of how long a stopped guest still stands, kept of one migration: an hour at one a second.
const STOP_FORECASTS: usize = 3_600;
/// Migrations kept. Those that begin later are counted, and nothing else.
const MIGRATIONS: usize = 10_000;
/// Stretches of a phase kept of one migration; beyond, the last one stands for all that follow.
const PHASES: usize = 64;

impl State {
    pub(in crate::session) fn migration(&mut self, t: Nanos, ev: &MigrationEvent) {
        match ev {
            MigrationEvent::Ready { from, to } => self.route = Some(Ok((from.clone(), to.clone()))),
            MigrationEvent::NotReady { why } => self.route = Some(Err(why.clone())),
            MigrationEvent::Began { .. } if self.migrations.len() >= MIGRATIONS => {
                self.spent.beyond = true;
                self.leave_out(t, "further migrations");
            }
            MigrationEvent::Began { n, from, to, settings, by } => {
                let heard = self.primary().is_none_or(|p| p.deaf(t).is_none());
                let load = self.load.set.map(|s| s.1).or_else(|| self.load.achieved.as_ref().map(|a| a.1.set));
                self.migrations.push(Migration {
                    n: *n,
                    from: from.clone(),
                    to: to.clone(),
                    settings: settings.clone(),
                    by: by.clone(),
                    retuned: Vec::new(),
                    predicted: self.forecast.as_ref().filter(|f| f.1 == *n).map(|f| (f.0, f.2.clone())),
                    expected: None,
                    stop_predicted: None,
                    stop_left: Vec::new(),
                    load,
                    began: t,
                    ended: None,
                    settled: None,
                    phases: Vec::new(),
                    rounds: Vec::new(),
                    samples: Chunked::new(),
                    ruled: Vec::new(),
                    requests: Vec::new(),
                    befell: Vec::new(),
                    earlier_stops: Vec::new(),
                    claims: Vec::new(),
                    heard,
                    stopped: None,
                    resumed: None,
                    answered: None,
                    unanswered: None,
                    downtime: None,
                });
            }
            MigrationEvent::Ruled { n, rule, then } => {
                if let Some(m) = self.numbered(*n).filter(|m| m.ruled.len() < REQUESTS) {
                    // Before schema 1.3 what was wanted was not told apart from what was ordered.
                    if m.requests.last().is_none_or(|r| r.then != *then) && !matches!(rule, StopRule::Own { .. }) {
                        let by = if *rule == StopRule::Operator { By::Operator } else { By::Rule(rule.clone()) };
                        m.requests.push(Request { t, then: *then, by, refused: None });
                    }
                    m.ruled.push((t, rule.clone(), *then));
                }
            }
            MigrationEvent::Requested { n, then, by } => {
                if let Some(m) = self.numbered(*n).filter(|m| m.requests.len() < REQUESTS) {
                    m.requests.push(Request { t, then: *then, by: by.clone(), refused: None });
                }
            }
            MigrationEvent::Refused { n, then, why } => {
                if let Some(m) = self.numbered(*n)
                    && let Some(request) = m.requests.iter_mut().rev().find(|r| r.then == *then)
                {
                    request.refused = Some(why.clone());
                }
            }
            MigrationEvent::Ended { n, end } => {
                let probed = self.is_probed();
                if let Some(m) = self.numbered(*n) {
                    m.ended = Some((t, end.clone()));
                    let (phase, raw) = match end {
                        MigrationEnd::Done => (Phase::Done, ""),
                        MigrationEnd::Failed { why } => (Phase::Failed, why.as_str()),
                        MigrationEnd::Cancelled { by } => (Phase::Cancelled, by.as_str()),
                        MigrationEnd::Unsettled { why, .. } => (Phase::Unsettled, why.as_str()),
                    };
                    if m.unanswered.is_none() && m.phases.last().is_none_or(|p| p.phase != phase) {
                        m.enter_or_await(t, phase, raw, None, probed);
                    }
                    self.measure(*n, t);
                }
            }
            // Something was changed while it was being computed.
            MigrationEvent::Forecast { n, of, .. } if *of < self.changed && self.numbered(*n).is_none() => {}
            MigrationEvent::Forecast { n, forecast, .. } => match self.numbered(*n) {
                Some(m) if m.ended.is_none() => m.expected = Some((t, forecast.clone())),
                // It was still being computed when the migration ended.
                Some(_) => {}
                None => self.forecast = Some((t, *n, forecast.clone())),
            },
            MigrationEvent::StopForecast { n, of, forecast } => {
                let Some(m) = self.numbered(*n) else { return };
                if m.stop_predicted.is_none() {
                    m.stop_predicted = Some((*of, forecast.clone()));
                } else if m.stop_left.len() < STOP_FORECASTS {
                    m.stop_left.push((*of, forecast.clone()));
                }
            }
            MigrationEvent::Settled { n } => {
                if let Some(m) = self.numbered(*n) {
                    m.settled = Some(t);
                    if let Some(raw) = m.unanswered.clone() {
                        m.enter(t, Phase::Done, &raw, None);
                    }
                    if let Some(last) = m.phases.last_mut() {
                        last.to.get_or_insert(t);
                    }
                    self.measure(*n, t);
                }
            }
        }
    }

    pub(in crate::session) fn numbered(&mut self, n: u32) -> Option<&mut Migration> {
        let at = self.place_of(n)?;
        self.migrations.get_mut(at)
    }

    /// Where the newest migration of this number is.
    pub(in crate::session) fn place_of(&mut self, n: u32) -> Option<usize> {
        for at in self.spent.numbered..self.migrations.len() {
            self.spent.places.insert(self.migrations[at].n, at);
        }
        self.spent.numbered = self.migrations.len();
        self.spent.places.get(&n).copied()
    }
}

impl Migration {
    /// It failed before a hypervisor said anything of it.
    pub(in crate::session) fn never_ran(&self) -> bool {
        matches!(self.ended, Some((_, MigrationEnd::Failed { .. })))
            && self.phases.iter().all(|p| p.phase == Phase::Failed)
            && self.samples.is_empty()
            && self.rounds.is_empty()
            && self.stopped.is_none()
    }

    /// Enters a phase; but a guest that runs at the destination and has not answered yet is in
    /// `recovery`, whatever the hypervisor says.
    pub(in crate::session) fn enter_or_await(
        &mut self,
        t: Nanos,
        phase: Phase,
        raw: &str,
        substate: Option<Substate>,
        probed: bool,
    ) {
        let moved = self.resumed.as_ref().is_some_and(|r| r.2 == self.to);
        if phase == Phase::Done && probed && moved && self.answered.is_none() {
            self.enter(t, Phase::Recovery, raw, None);
            self.unanswered = Some(raw.to_owned());
        } else {
            self.enter(t, phase, raw, substate);
        }
    }

    /// Closes the phase that lasts and begins the next; the same phase again changes nothing.
    pub(in crate::session) fn enter(&mut self, t: Nanos, phase: Phase, raw: &str, substate: Option<Substate>) {
        if let Some(last) = self.phases.last_mut() {
            if last.phase == phase && last.raw == raw && last.substate == substate {
                return;
            }
            last.to.get_or_insert(t);
        }
        let full = self.phases.len() >= PHASES;
        let next = PhaseSpan { phase, raw: raw.to_owned(), substate, from: t, to: None };
        match self.phases.last_mut().filter(|_| full) {
            Some(last) => *last = PhaseSpan { from: last.from, ..next },
            None => self.phases.push(next),
        }
    }
}
