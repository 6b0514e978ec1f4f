//! What the operator and the agent do to the state.

use super::bounds::{evict, push_bounded};

use crate::event::{AgentEvent, MigrationSettings, Nanos, OperatorEvent};
use crate::session::state::{REPORTS, Ramp, State};

/// Heartbeats kept: 22 minutes at 10 ms.
const HEARTBEATS: usize = 1 << 17;
/// Marks kept.
const MARKS: usize = 2_000;

impl State {
    pub(in crate::session) fn operator(&mut self, t: Nanos, ev: &OperatorEvent) {
        match ev {
            OperatorEvent::SetLoad { id, to } => {
                self.load.requested = Some((*id, *to, t));
                push_bounded(&mut self.requests, (t, *to), REPORTS);
                if self.load.ramp.is_some_and(|r| t >= r.began.saturating_add(r.over_ns)) {
                    self.load.ramp = None;
                }
            }
            OperatorEvent::Ramp { from_pages_per_s, to_pages_per_s, over_ns } => {
                self.load.ramp = Some(Ramp {
                    from_pages_per_s: *from_pages_per_s,
                    to_pages_per_s: *to_pages_per_s,
                    began: t,
                    over_ns: *over_ns,
                });
            }
            OperatorEvent::RampEnd => self.load.ramp = None,
            OperatorEvent::SetMigration { to } => {
                if self.next.as_ref() != Some(to) {
                    self.outdate_forecast(t);
                }
                self.next = Some(to.clone());
                if let Some(running) = self.unsettled_mut().filter(|m| m.ended.is_none()) {
                    running.retune(t, to.clone());
                }
            }
            OperatorEvent::SetPolicy { to } => {
                self.outdate_forecast(t);
                if let Some(next) = &mut self.next {
                    next.policy = to.clone();
                }
                if let Some(running) = self.unsettled_mut().filter(|m| m.ended.is_none()) {
                    let next = running.retuned.last().map_or(&running.settings, |(_, settings)| settings);
                    running.retune(t, MigrationSettings { policy: to.clone(), ..next.clone() });
                    running.settings.policy = to.clone();
                }
            }
            OperatorEvent::Mark { note, at } => {
                if self.marks.len() >= MARKS {
                    self.marks.remove(0);
                }
                let t = at.unwrap_or(t);
                let place = self.marks.partition_point(|(other, _)| *other <= t);
                self.marks.insert(place, (t, note.clone()));
            }
            OperatorEvent::Migrate
            | OperatorEvent::Cancel
            | OperatorEvent::GiveUp { .. }
            | OperatorEvent::StopAndCopy
            | OperatorEvent::PostCopy
            | OperatorEvent::Quit => {}
        }
    }

    pub(in crate::session) fn agent(&mut self, t: Nanos, ev: &AgentEvent) {
        match ev {
            AgentEvent::Connected { version, kernel, cpus, ram_bytes, wset_limit_bytes, transport, again: _ } => {
                let agent = &mut self.agent;
                agent.connected = true;
                agent.since = t;
                agent.version.clone_from(version);
                agent.kernel.clone_from(kernel);
                agent.cpus = *cpus;
                agent.ram_bytes = *ram_bytes;
                agent.wset_limit_bytes = *wset_limit_bytes;
                agent.transport.clone_from(transport);
                agent.why.clear();
            }
            AgentEvent::Disconnected { why } => {
                if self.agent.connected {
                    self.agent.since = t;
                }
                self.agent.connected = false;
                self.agent.why.clone_from(why);
            }
            AgentEvent::Ack { id, set } => {
                if self.load.set.is_none_or(|(_, before, _)| before != *set) {
                    self.outdate_forecast(t);
                }
                self.load.set = Some((*id, *set, t));
            }
            AgentEvent::Refused { id, why } => self.load.refused = Some((*id, why.clone(), t)),
            AgentEvent::Report(report) => {
                self.load.achieved = Some((t, report.clone()));
                push_bounded(&mut self.reports, (t, report.clone()), REPORTS);
                self.trail.report(t, report);
            }
            AgentEvent::Heartbeat { seq, guest_ns } => {
                let needed = self.needed_from();
                self.heartbeats.push_back((t, *seq, *guest_ns));
                evict(&mut self.heartbeats, HEARTBEATS, |b| b.0 < needed);
            }
        }
    }

    /// What a forecast rests on has changed: the one there is holds no longer.
    pub(in crate::session) fn outdate_forecast(&mut self, t: Nanos) {
        (self.changed, self.forecast) = (t, None);
    }
}
