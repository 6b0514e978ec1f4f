//! The fold: how each event changes the state. Pure; the only writer of [`State`].

mod bounds;
mod hypervisor;
mod measure;
mod migration;
mod operator;
mod probe;

use self::bounds::{LEAD, push_bounded};

use super::clean;
use super::remark;
use super::state::{CAPTIONS, LogLine, Migration, REPORTS, State};
use crate::event::{Body, Event, Header, LabEvent, Level, Nanos, SessionEvent};

/// Lines of the event log kept.
const LOG_LINES: usize = 4_000;
const FACTS: usize = 256;
/// Migrations that may run at the same time.
const AT_ONCE: usize = 16;
/// Text that is kept for as long as the session lasts, bytes; beyond, texts are kept in a few letters.
const TEXT: usize = 16 << 20;
/// A log line that was told this recently is counted and not told again.
const RECENT_LINES: usize = 4;

impl State {
    /// The state before the first event.
    #[must_use]
    pub fn begin(header: Header) -> Self {
        Self { header: Some(clean::header(header)), ..Self::default() }
    }

    /// Folds one event in, with every text in it made fit to be shown.
    pub fn apply(&mut self, event: &Event) {
        let mut event = clean::event(event);
        if let std::borrow::Cow::Owned(event) = &mut event {
            self.spent.text += clean::kept_bytes(event);
            if self.spent.text > TEXT {
                clean::cut(event);
            }
        }
        let event = &*event;
        self.now = self.now.max(event.t);
        self.events += 1;
        let t = event.t;
        if let Some(line) = remark::line(self, event) {
            self.tell(line, matches!(event.ev, Body::Log(_)));
        }
        match &event.ev {
            Body::Operator(ev) => self.operator(t, ev),
            Body::Agent(ev) => self.agent(t, ev),
            Body::Probe(ev) => self.probe(t, ev),
            Body::Hypervisor(ev) => self.hypervisor(t, event.of.unwrap_or_default(), ev),
            Body::Migration(ev) => self.migration(t, ev),
            Body::Host(ev) => {
                self.trail.host(self.host_cpu.back().map(|(before, _)| *before), t, ev);
                push_bounded(&mut self.host_cpu, (t, ev.clone()), REPORTS);
                for (host, pct) in &ev.hypervisors {
                    self.host(host).cpu_pct = Some(*pct);
                }
            }
            Body::Lab(ev) => match ev {
                LabEvent::Step { what } => self.lab.step.clone_from(what),
                LabEvent::Accel { chosen, why } => self.lab.accel = Some((chosen.clone(), why.clone())),
                LabEvent::Ready { guest, enter } => {
                    self.lab.guest = Some(guest.clone());
                    self.lab.enter = Some(enter.clone());
                }
            },
            Body::Session(ev) => self.session(t, ev),
            Body::Log(ev) if ev.from == CAPTIONS => self.caption = Some((t, ev.text.clone())),
            Body::Log(_) => {}
        }
    }

    /// Puts a line into the log; a remark that was told a moment ago is counted there instead.
    fn tell(&mut self, line: LogLine, is_remark: bool) {
        let newest = if is_remark { self.log.len() } else { 0 };
        let (said, more) = unrepeated(&line.text);
        let same = |l: &LogLine| l.level == line.level && l.from == line.from && unrepeated(&l.text).0 == said;
        let known = (newest.saturating_sub(RECENT_LINES)..newest).rev().find(|i| same(&self.log[*i]));
        match known.and_then(|i| self.log.get_mut(i)) {
            Some(known) if !line.text.is_empty() => {
                let before = unrepeated(&known.text).1;
                let times = before.saturating_add(more);
                known.text = format!("{said} ({times} times)");
                // Who follows the log is told at about 10, 100, 1,000 times.
                self.log_total += u64::from(times.ilog10() > before.ilog10());
            }
            _ => {
                push_bounded(&mut self.log, line, LOG_LINES);
                self.log_total += 1;
            }
        }
    }

    /// Counts what is not kept, since there is more of it than any session of ours writes, and says so the first time.
    fn leave_out(&mut self, t: Nanos, what: &str) {
        self.health.left_out += 1;
        if self.health.left_out == 1 {
            let text = format!("this capture has more than can be kept: {what} are left out");
            self.tell(LogLine { t, level: Level::Warn, from: "session".into(), text }, false);
        }
    }

    /// The migration that is not settled yet, if there is one.
    #[must_use]
    pub fn unsettled(&self) -> Option<&Migration> {
        self.migrations.last().filter(|m| m.settled.is_none() && !self.spent.beyond)
    }

    fn unsettled_mut(&mut self) -> Option<&mut Migration> {
        self.migrations.last_mut().filter(|m| m.settled.is_none() && !self.spent.beyond)
    }

    /// Nothing from here on may be evicted: the oldest of the newest migrations that are not settled needs it.
    fn needed_from(&self) -> Nanos {
        if self.spent.beyond {
            return Nanos::MAX;
        }
        let newest = self.migrations.iter().rev().take(AT_ONCE).filter(|m| m.settled.is_none());
        newest.map(|m| m.began.saturating_sub(LEAD)).min().unwrap_or(Nanos::MAX)
    }

    fn session(&mut self, t: Nanos, ev: &SessionEvent) {
        match ev {
            SessionEvent::Environment { key, .. }
                if self.environment.len() >= FACTS && !self.environment.contains_key(key) =>
            {
                self.leave_out(t, "further facts of the environment");
            }
            SessionEvent::Learned(fact) => {
                self.environment.insert(fact.key().to_owned(), fact.value().to_owned());
            }
            SessionEvent::Caption { text } => self.caption = Some((t, text.clone())),
            SessionEvent::Environment { key, value } => {
                self.environment.insert(key.clone(), value.clone());
            }
            SessionEvent::Overflow { lost, .. } => {
                self.health.lost_events = self.health.lost_events.saturating_add(*lost);
            }
            SessionEvent::RecorderTrouble { why } => {
                self.health.recorder_trouble = Some(why.clone());
                self.health.recorder_ever_troubled = true;
            }
            SessionEvent::RecorderRecovered { .. } => self.health.recorder_trouble = None,
            SessionEvent::Ended { why } => self.ended = Some(why.clone()),
        }
    }
}

/// A log line's text without `(n times)`, and how often it was told.
fn unrepeated(text: &str) -> (&str, u64) {
    let counted = text.strip_suffix(" times)").and_then(|t| t.rsplit_once(" ("));
    let counted = counted.and_then(|(text, n)| Some((text, n.parse().ok().filter(|n| *n > 1)?)));
    counted.unwrap_or((text, 1))
}

#[cfg(test)]
mod tests;
