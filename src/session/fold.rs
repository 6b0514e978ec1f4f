//! The fold: how each event changes the state. Pure; the only writer of [`State`].

use std::sync::Arc;

use super::claims;
use super::clean;
use super::outcomes::{OUTCOMES, Outcomes, Placed};
use super::remark;
use super::state::{
    Befallen, CAPTIONS, HostState, LogLine, Migration, Outcome, PhaseSpan, ProbeState, REPORTS, Ramp, Request, State,
};
use crate::analysis::Method;
use crate::analysis::downtime::{self, ProbeSeen, Seen, Turn, Turns};
use crate::analysis::probing;
use crate::chunked::Chunked;
use crate::event::{
    AgentEvent, Aside, Body, By, Class, Event, ForeignTime, GuestId, Header, HvEvent, LabEvent, Level, Location,
    MigrationEnd, MigrationEvent, MigrationSettings, Nanos, OperatorEvent, Phase, ProbeEvent, SessionEvent, StopRule,
    Subject, Substate,
};

/// Heartbeats kept: 22 minutes at 10 ms.
const HEARTBEATS: usize = 1 << 17;
/// While a migration is not settled nothing it needs is evicted, until there are so many times
/// the usual: a migration that never settles must not eat the machine.
const PATIENCE: usize = 4;
/// So much before the beginning of a migration its estimators look back, ns.
const LEAD: Nanos = 60_000_000_000;
/// Samples kept of one migration; beyond, every other older one goes, so the shape stays.
const SAMPLES: usize = 1 << 15;
/// Rounds kept of one migration.
const ROUNDS: usize = 1 << 16;
/// Requests, and things that befell the guest, kept of one migration.
const REQUESTS: usize = 256;
/// Estimates of how long a stopped guest still stands, kept of one migration: an hour at one a second.
const STOP_FORECASTS: usize = 3_600;
/// Lines of the event log kept.
const LOG_LINES: usize = 4_000;
/// Marks kept.
const MARKS: usize = 2_000;
/// Migrations kept. Those that begin later are counted, and nothing else.
const MIGRATIONS: usize = 10_000;
/// Stretches of a phase kept of one migration; beyond, the last one stands for all that follow.
const PHASES: usize = 64;
/// Hosts, probes and facts of the environment kept.
const HOSTS: usize = 64;
const PROBES: usize = 64;
const FACTS: usize = 256;
/// Guests whose place is kept.
const GUESTS: usize = 1024;
/// Migrations that may run at the same time.
const AT_ONCE: usize = 16;
/// What further hosts are kept as, all together.
const FURTHER_HOSTS: &str = "(further hosts)";
/// Text that is kept for as long as the session lasts, bytes; beyond, texts are kept in a few letters.
const TEXT: usize = 16 << 20;
/// What the estimators may look at for all migrations together: so many outcomes and heartbeats, and so many
/// more an event. A session whose probe runs at 1 kHz and that migrates each 10 s needs a quarter of it.
const LOOKS: u64 = 20_000_000;
const LOOKS_AN_EVENT: u64 = 64;
/// Migrations before one that are looked at for what disturbed its network.
const BEFORE: usize = 64;
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

    /// The migration a hypervisor's fact belongs to, as long as it is not settled; the newest where that is not said.
    fn running(&mut self, of: Subject) -> Option<&mut Migration> {
        let at = self.place_of_running(of)?;
        self.migrations.get_mut(at)
    }

    fn place_of_running(&mut self, of: Subject) -> Option<usize> {
        let at = match of.migration {
            Some(n) => self.place_of(n)?,
            None if self.spent.beyond => return None,
            None => self.migrations.len().checked_sub(1)?,
        };
        self.migrations[at].settled.is_none().then_some(at)
    }

    /// Where a guest is.
    fn locate(&mut self, t: Nanos, guest: GuestId, location: Location) {
        if self.guests.len() < GUESTS || self.guests.contains_key(&guest) {
            self.guests.insert(guest, (t, location));
        } else {
            self.leave_out(t, "further guests");
        }
    }

    /// Nothing from here on may be evicted: the oldest of the newest migrations that are not settled needs it.
    fn needed_from(&self) -> Nanos {
        if self.spent.beyond {
            return Nanos::MAX;
        }
        let newest = self.migrations.iter().rev().take(AT_ONCE).filter(|m| m.settled.is_none());
        newest.map(|m| m.began.saturating_sub(LEAD)).min().unwrap_or(Nanos::MAX)
    }

    fn host(&mut self, name: &str) -> &mut HostState {
        let room = self.hosts.len() < HOSTS || self.hosts.contains_key(name);
        let name = if room { name } else { FURTHER_HOSTS };
        self.hosts.entry(name.to_owned()).or_default()
    }

    fn operator(&mut self, t: Nanos, ev: &OperatorEvent) {
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

    fn agent(&mut self, t: Nanos, ev: &AgentEvent) {
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

    fn probe(&mut self, t: Nanos, ev: &ProbeEvent) {
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
        let (id, k, sent, rtt, class) = match *ev {
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
            ProbeEvent::Ok { id, k, sent, rtt } => (id, k, Some(sent), rtt, Class::Ok),
            ProbeEvent::Late { id, k, sent, rtt } => (id, k, Some(sent), rtt, Class::Late),
            ProbeEvent::Lost { id, k, sent } => (id, k, Some(sent), u64::MAX, Class::Lost),
            ProbeEvent::Duplicate { id, k, rtt } => (id, k, None, rtt, Class::Duplicate),
            ProbeEvent::NotSent { id, k, .. } => (id, k, None, u64::MAX, Class::NotSent),
            ProbeEvent::Error { id, k, .. } => (id, k, None, u64::MAX, Class::Error),
        };
        let Some(probe) = self.probes.get_mut(&id) else {
            self.health.orphan_outcomes += 1;
            return;
        };
        if class == Class::Duplicate {
            *probe.counts.entry(Class::Duplicate).or_default() += 1;
            probe.outcomes.duplicate(k);
            return;
        }
        let due = || probe.spec.t0.saturating_add(k.saturating_mul(probe.spec.interval_ns));
        let outcome = Outcome { k, sent: sent.unwrap_or_else(due), rtt, class };
        if probe.put(outcome) == Placed::TooFarBehind {
            self.leave_out(t, "outcomes of a probe that come long after those of later slots");
            return;
        }
        while probe.outcomes.len() > OUTCOMES
            && (probe.outcomes.len() > OUTCOMES * PATIENCE || probe.outcomes.front().is_some_and(|o| o.sent < needed))
        {
            probe.outcomes.pop_front();
        }
        if self.primary_id() == Some(id) && rtt != u64::MAX {
            self.answered(outcome.sent.saturating_add(rtt));
        }
    }

    fn hypervisor(&mut self, t: Nanos, of: Subject, ev: &HvEvent) {
        match ev {
            HvEvent::HostUp { host, version, pid } => {
                // Another process perhaps, but the same machine's clock.
                let clock = std::mem::take(&mut self.host(host).clock);
                *self.host(host) = HostState { version: version.clone(), pid: *pid, clock, ..HostState::default() };
            }
            HvEvent::Offers { host, offers } => self.host(host).offers = Some(offers.clone()),
            HvEvent::HostLost { host, why } => {
                let state = self.host(host);
                state.lost = Some(why.clone());
                state.running = None;
                state.cpu_pct = None;
                for (seen, location) in self.guests.values_mut().filter(|(_, l)| l.host() == Some(host)) {
                    let why = format!("host '{host}', where it was, is lost");
                    (*seen, *location) = (t, Location::Unknown { why });
                }
            }
            HvEvent::Raw { host, at, .. } => self.host(host).clock.stamp(t, *at),
            HvEvent::RoundTrip { host, ns } => self.host(host).clock.round_trip(*ns),
            HvEvent::Setting { .. } => {}
            HvEvent::Located { location } => {
                if self.guests.get(&of.guest).is_none_or(|(_, l)| l != location) {
                    self.locate(t, of.guest, location.clone());
                }
            }
            HvEvent::Befell { host, what, detail, at } => {
                self.host(host).clock.stamp(t, *at);
                if let Some(m) = self.running(of).filter(|m| m.befell.len() < REQUESTS) {
                    m.befell.push(Befallen { t, host: host.clone(), what: *what, detail: detail.clone() });
                }
            }
            HvEvent::Stopped { host, at } => {
                self.host(host).running = Some(false);
                self.host(host).clock.stamp(t, *at);
                // The source's stop may be handed over after the destination's resume.
                if self.guests.get(&of.guest).is_none_or(|(_, l)| l.host().is_none_or(|at| at == host)) {
                    self.locate(t, of.guest, Location::At { host: host.clone(), running: false });
                }
                if let Some(m) = self.running(of).filter(|m| m.from == *host) {
                    // Stopped once more after it went on at the source: that stop is the one.
                    let went_on = m.resumed.as_ref().is_some_and(|r| r.2 == m.from);
                    let before = m.stopped.as_ref().map(|s| s.0);
                    if m.stopped.is_none() || went_on {
                        m.stopped = Some((t, *at, host.clone()));
                    }
                    if went_on {
                        let resume = m.resumed.take();
                        if let (Some(stop), Some((resume, ..))) = (before, resume)
                            && m.earlier_stops.len() < REQUESTS
                        {
                            m.earlier_stops.push((stop, resume));
                        }
                    }
                }
            }
            HvEvent::Resumed { host, at } => {
                self.host(host).running = Some(true);
                self.host(host).clock.stamp(t, *at);
                self.locate(t, of.guest, Location::At { host: host.clone(), running: true });
                if let Some(m) = self.running(of) {
                    // The two hosts' events may be handed over in either order, so the resume at
                    // the destination counts without a stop; one at the source needs a stop.
                    let counts = *host == m.to || (*host == m.from && m.stopped.is_some());
                    if counts && m.resumed.is_none() {
                        m.resumed = Some((t, *at, host.clone()));
                    }
                }
            }
            HvEvent::Phase { phase, raw, substate } => {
                let probed = self.is_probed();
                if let Some(m) = self.running(of) {
                    m.enter_or_await(t, *phase, raw, *substate, probed);
                }
            }
            HvEvent::Round { round, .. } => {
                let can_be = |m: &&mut Migration| claims::round_can_be(*round, t.saturating_sub(m.began));
                if let Some(m) = self.running(of).filter(|m| m.rounds.len() < ROUNDS).filter(can_be) {
                    m.rounds.push((t, *round));
                }
            }
            HvEvent::Sample { sample, .. } => {
                let Some(at) = self.place_of_running(of) else { return };
                let m = &mut self.migrations[at];
                let (sample, claims) = claims::judged(sample, t.saturating_sub(m.began));
                for claim in claims {
                    if !m.claims.contains(&claim) && m.claims.len() < claims::MOST {
                        m.claims.push(claim);
                    }
                }
                self.trail.sample(t, &sample, &m.samples);
                m.samples.push((t, sample));
                if m.samples.len() >= SAMPLES {
                    let newer = m.samples.len() - SAMPLES / 4;
                    let kept = m.samples.iter().enumerate().filter(|(i, _)| *i >= newer || i % 2 == 0);
                    m.samples = kept.map(|(_, sample)| sample.clone()).collect();
                }
            }
        }
    }

    fn migration(&mut self, t: Nanos, ev: &MigrationEvent) {
        match ev {
            MigrationEvent::Ready { from, to } => self.route = Some(Ok((from.clone(), to.clone()))),
            MigrationEvent::NotReady { why } => self.route = Some(Err(why.clone())),
            MigrationEvent::Began { .. } if self.migrations.len() >= MIGRATIONS => {
                self.spent.beyond = true;
                self.leave_out(t, "further migrations");
            }
            MigrationEvent::Began { n, from, to, settings } => {
                let heard = self.primary().is_none_or(|p| p.deaf(t).is_none());
                let load = self.load.set.map(|s| s.1).or_else(|| self.load.achieved.as_ref().map(|a| a.1.set));
                self.migrations.push(Migration {
                    n: *n,
                    from: from.clone(),
                    to: to.clone(),
                    settings: settings.clone(),
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

    /// Whether an answer can be expected at all: not of a guest that had not answered before either.
    #[must_use]
    pub fn is_probed(&self) -> bool {
        let heard = self.migrations.last().is_none_or(|m| m.heard || m.answered.is_some());
        heard && self.primary().is_some_and(|p| p.stopped.is_none())
    }

    /// The guest answered: what was `recovery` is over.
    fn answered(&mut self, t: Nanos) {
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

    /// What a forecast rests on has changed: the one there is holds no longer.
    fn outdate_forecast(&mut self, t: Nanos) {
        (self.changed, self.forecast) = (t, None);
    }

    fn numbered(&mut self, n: u32) -> Option<&mut Migration> {
        let at = self.place_of(n)?;
        self.migrations.get_mut(at)
    }

    /// Where the newest migration of this number is.
    fn place_of(&mut self, n: u32) -> Option<usize> {
        for at in self.spent.numbered..self.migrations.len() {
            self.spent.places.insert(self.migrations[at].n, at);
        }
        self.spent.numbered = self.migrations.len();
        self.spent.places.get(&n).copied()
    }

    /// Whether the estimators may look at what was seen since `since` once more.
    fn may_look(&mut self, since: Nanos) -> bool {
        let beats = self.heartbeats.len() - self.heartbeats.partition_point(|b| b.0 < since);
        let slots = self.primary().map_or(0, |p| {
            let first = since.saturating_sub(p.spec.t0) / p.spec.interval_ns.max(1);
            p.outcomes.len() - p.outcomes.partition_point(|o| o.k < first)
        });
        self.spent.looks = self.spent.looks.saturating_add((beats + slots) as u64);
        self.spent.looks <= LOOKS.saturating_add(self.events.saturating_mul(LOOKS_AN_EVENT))
    }

    /// Computes the downtimes of migration `n` from what was seen until `until`.
    fn measure(&mut self, n: u32, until: Nanos) {
        let Some(at) = self.place_of(n) else { return };
        let m = &self.migrations[at];
        if m.never_ran() {
            self.migrations[at].downtime = Some(downtime::never_ran());
            return;
        }
        if !self.may_look(self.migrations[at].began.saturating_sub(LEAD)) {
            let why = "there are too many migrations for what was seen in between: not worked out";
            self.migrations[at].downtime = Some(downtime::not_estimated(why));
            return;
        }
        let m = &self.migrations[at];
        let turns = self.turns(m);
        let disturbed: Vec<(Nanos, Nanos)> = self.migrations[at.saturating_sub(BEFORE)..at]
            .iter()
            .map(|before| (before.began, before.settled.or(before.ended.as_ref().map(|e| e.0)).unwrap_or(m.began)))
            .collect();
        let seen = Seen {
            disturbed: &disturbed,
            calm_since: self.migrations[..at].iter().rev().take(BEFORE).find_map(|before| before.settled).unwrap_or(0),
            began: m.began,
            until,
            probe: self.primary().map(|p| ProbeSeen { spec: &p.spec, outcomes: &p.outcomes, stopped: p.stopped }),
            heartbeats: &self.heartbeats,
            turns,
            claimed: m.claims.iter().find(|c| c.starts_with(claims::DOWNTIME)).map(String::as_str),
            reported_ms: m.samples.iter().rev().find_map(|(_, s)| s.downtime_ms),
        };
        let mut downtimes = downtime::estimate(&seen);
        let offers = self.hosts.get(&m.from).and_then(|host| host.offers.as_ref());
        if let Some((product, sees)) = offers.and_then(|offers| Some((&offers.product, offers.sees.as_ref()?))) {
            for (method, told) in [
                (Method::Reported, sees.downtime.is_some() || seen.claimed.is_some()),
                (Method::StopResume, sees.stop_resume.is_some()),
            ] {
                if !told {
                    downtimes.untold(method, product);
                }
            }
        }
        self.migrations[at].downtime = Some(downtimes);
    }

    /// The stop and resume of a migration with what is known of the clocks that stamped them.
    fn turns<'a>(&'a self, m: &'a Migration) -> Turns<'a> {
        let turn = |seen: &'a Option<(Nanos, Option<ForeignTime>, String)>| {
            seen.as_ref().map(|(t, at, host)| {
                let offset = self.hosts.get(host).and_then(|h| h.clock.at(*t));
                Turn { t: *t, at: *at, host, offset }
            })
        };
        // A process we know is on this machine, and has its clock.
        let here = |host: &str| self.hosts.get(host).is_some_and(|h| h.pid.is_some());
        let one_clock = match (&m.stopped, &m.resumed) {
            (Some((.., from)), Some((.., to))) => from == to || (here(from) && here(to)),
            _ => false,
        };
        Turns { stopped: turn(&m.stopped), resumed: turn(&m.resumed), one_clock, earlier: &m.earlier_stops }
    }

    fn session(&mut self, t: Nanos, ev: &SessionEvent) {
        match ev {
            SessionEvent::Environment { key, .. }
                if self.environment.len() >= FACTS && !self.environment.contains_key(key) =>
            {
                self.leave_out(t, "further facts of the environment");
            }
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

impl Migration {
    /// It failed before a hypervisor said anything of it.
    fn never_ran(&self) -> bool {
        matches!(self.ended, Some((_, MigrationEnd::Failed { .. })))
            && self.phases.iter().all(|p| p.phase == Phase::Failed)
            && self.samples.is_empty()
            && self.rounds.is_empty()
            && self.stopped.is_none()
    }

    /// Enters a phase; but a guest that runs at the destination and has not answered yet is in
    /// `recovery`, whatever the hypervisor says.
    fn enter_or_await(&mut self, t: Nanos, phase: Phase, raw: &str, substate: Option<Substate>, probed: bool) {
        let moved = self.resumed.as_ref().is_some_and(|r| r.2 == self.to);
        if phase == Phase::Done && probed && moved && self.answered.is_none() {
            self.enter(t, Phase::Recovery, raw, None);
            self.unanswered = Some(raw.to_owned());
        } else {
            self.enter(t, phase, raw, substate);
        }
    }

    /// Closes the phase that lasts and begins the next; the same phase again changes nothing.
    fn enter(&mut self, t: Nanos, phase: Phase, raw: &str, substate: Option<Substate>) {
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

impl ProbeState {
    /// That this probe was never answered, in words, once three of its slots say so; None where it was.
    #[must_use]
    pub fn unheard(&self) -> Option<String> {
        let count = |class| self.counts.get(&class).copied().unwrap_or(0);
        let unanswered = count(Class::Lost).saturating_add(count(Class::Error));
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
        downtime::deaf(&ProbeSeen { spec: &self.spec, outcomes: &self.outcomes, stopped: self.stopped }, t)
    }

    /// Puts an outcome in its slot and counts it.
    fn put(&mut self, new: Outcome) -> Placed {
        let placed = self.outcomes.put(new);
        let counted = match placed {
            Placed::New => new.class,
            Placed::Revised(old) => {
                if let Some(count) = self.counts.get_mut(&old) {
                    *count = count.saturating_sub(1);
                }
                new.class
            }
            Placed::Again => Class::Duplicate,
            Placed::Nothing | Placed::TooFarBehind => return placed,
        };
        *self.counts.entry(counted).or_default() += 1;
        placed
    }
}

/// A log line's text without `(n times)`, and how often it was told.
fn unrepeated(text: &str) -> (&str, u64) {
    let counted = text.strip_suffix(" times)").and_then(|t| t.rsplit_once(" ("));
    let counted = counted.and_then(|(text, n)| Some((text, n.parse().ok().filter(|n| *n > 1)?)));
    counted.unwrap_or((text, 1))
}

/// Pushes and drops the oldest beyond `limit`.
fn push_bounded<T: Clone>(ring: &mut Chunked<T>, item: T, limit: usize) {
    ring.push_back(item);
    if ring.len() > limit {
        ring.pop_front();
    }
}

/// Drops from the front what exceeds `limit` and may go; beyond [`PATIENCE`] times the limit it
/// goes whether it may or not.
fn evict<T>(ring: &mut Chunked<T>, limit: usize, may_go: impl Fn(&T) -> bool) {
    while ring.len() > limit && (ring.len() > limit * PATIENCE || ring.front().is_some_and(&may_go)) {
        ring.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Engine, HvEvent, MigrationSettings, ProbeKind, ProbeSpec};
    use crate::session::testing::header;

    const MS: Nanos = 1_000_000;

    fn told(events: impl IntoIterator<Item = (Nanos, Body)>) -> State {
        let mut state = State::begin(header());
        for (t, ev) in events {
            state.apply(&Event::new(t, ev));
        }
        state
    }

    fn probe() -> Body {
        let spec = ProbeSpec {
            target: [10, 0, 0, 2].into(),
            kind: ProbeKind::Icmp,
            engine: Engine::Threads,
            interval_ns: 50 * MS,
            deadline_ns: 1000 * MS,
            t0: 0,
            cannot_see: Vec::new(),
        };
        Body::Probe(ProbeEvent::Started { id: 0, spec })
    }

    fn done() -> Vec<(Nanos, Body)> {
        let settings = MigrationSettings::default();
        let began = MigrationEvent::Began { n: 1, from: "a".into(), to: "b".into(), settings };
        let phase = |phase, raw: &str| Body::Hypervisor(HvEvent::Phase { phase, raw: raw.into(), substate: None });
        vec![
            (100 * MS, Body::Migration(began)),
            (200 * MS, phase(Phase::PreCopy, "active")),
            (300 * MS, Body::Hypervisor(HvEvent::Stopped { host: "a".into(), at: None })),
            (300 * MS, phase(Phase::StopAndCopy, "active")),
            (900 * MS, Body::Hypervisor(HvEvent::Resumed { host: "b".into(), at: None })),
            (901 * MS, phase(Phase::Recovery, "completed")),
            (902 * MS, phase(Phase::Done, "completed")),
            (903 * MS, Body::Migration(MigrationEvent::Ended { n: 1, end: MigrationEnd::Done })),
        ]
    }

    fn phases(state: &State) -> Vec<(Phase, Nanos, Option<Nanos>)> {
        state.migrations[0].phases.iter().map(|p| (p.phase, p.from / MS, p.to.map(|t| t / MS))).collect()
    }

    #[test]
    fn recovery_lasts_until_the_guest_answers() {
        let answer =
            |k, sent: Nanos, rtt: Nanos| Body::Probe(ProbeEvent::Ok { id: 0, k, sent: sent * MS, rtt: rtt * MS });
        let before = std::iter::once((0, probe())).chain(done());
        // An answer given before the guest ran again says nothing of its recovery.
        let waiting = told(before.clone().chain([(904 * MS, answer(5, 250, 40))]));
        assert_eq!(phases(&waiting).last(), Some(&(Phase::Recovery, 901, None)));
        let answered = told(before.chain([(970 * MS, answer(18, 900, 65)), (990 * MS, answer(19, 950, 30))]));
        let expected = [
            (Phase::PreCopy, 200, Some(300)),
            (Phase::StopAndCopy, 300, Some(901)),
            (Phase::Recovery, 901, Some(965)),
            (Phase::Done, 965, None),
        ];
        assert_eq!(phases(&answered), expected);
        assert_eq!(answered.migrations[0].answered, Some(965 * MS));
    }

    #[test]
    fn a_refused_migration_never_ran() {
        let settings = MigrationSettings::default();
        let end = MigrationEnd::Failed { why: "no destination".into() };
        let refused = [
            MigrationEvent::Began { n: 1, from: "?".into(), to: "?".into(), settings },
            MigrationEvent::Ended { n: 1, end },
            MigrationEvent::Settled { n: 1 },
        ];
        let state = told(std::iter::once((0, probe())).chain(refused.map(|ev| (100 * MS, Body::Migration(ev)))));
        let downtime = state.migrations[0].final_downtime().unwrap();
        assert_eq!(downtime.estimates.len(), 5);
        assert!(
            downtime
                .estimates
                .iter()
                .all(|e| e.value.is_none() && e.note.as_deref() == Some("the migration never ran"))
        );
    }

    #[test]
    fn a_guest_that_never_answered_is_not_waited_for_and_no_failure() {
        let lost = |k: u64| (k * 50 * MS + 1, Body::Probe(ProbeEvent::Lost { id: 0, k, sent: k * 50 * MS }));
        let late = done().into_iter().map(|(t, ev)| (t + 2_000 * MS, ev));
        let silent = std::iter::once((0, probe())).chain((0..40).map(lost));
        let told_so = told(silent.clone());
        let words = told_so.probes[&0].unheard().unwrap();
        assert_eq!(
            words,
            "no answer yet from 10.0.0.2 since the probe began (40 probes): lost-pings and reply-gap will be unknown"
        );
        assert_eq!(told_so.log.iter().filter(|l| l.text.contains("no answer yet from 10.0.0.2")).count(), 1);
        let state = told(
            silent
                .chain(late)
                .chain((40..90).map(lost))
                .chain([(5_000 * MS, Body::Migration(MigrationEvent::Settled { n: 1 }))]),
        );
        let m = &state.migrations[0];
        assert!(m.unanswered.is_none() && m.deaf() && !state.is_probed());
        let verdict = crate::session::result::verdict(m);
        assert!(verdict.ends_with("whether the guest answers is not known: it did not before either"), "{verdict}");
        let unknown = m.final_downtime().unwrap().estimates[..2].iter().all(|e| e.value.is_none());
        assert!(unknown, "{:?}", m.downtime);
    }

    #[test]
    fn figures_that_cannot_be_are_claims_and_used_nowhere() {
        let sample = |t: Nanos, sample: crate::event::Sample| {
            (t * MS, Body::Hypervisor(HvEvent::Sample { sample, raw: serde_json::Value::Null }))
        };
        let cannot = crate::event::Sample {
            downtime_ms: Some(3_600_000.0),
            round: Some(u64::MAX),
            remaining_bytes: Some(u64::MAX),
            ..Default::default()
        };
        let round = Body::Hypervisor(HvEvent::Round { round: u64::MAX, at: None });
        let began = done().remove(0);
        let rest = done().split_off(1);
        let looks = [sample(150, cannot.clone()), (160 * MS, round), sample(170, cannot)];
        let state = told([began].into_iter().chain(looks).chain(rest));
        let m = &state.migrations[0];
        assert!(m.rounds.is_empty() && m.samples.iter().all(|(_, s)| *s == crate::event::Sample::default()));
        assert_eq!(m.claims.len(), 3, "{:?}", m.claims);
        let row = crate::session::result::row(m, state.now);
        assert_eq!((row.rounds, row.claims.len()), (None, 3));
        let reported = m.downtime.as_ref().unwrap().estimates[2].clone();
        assert_eq!(reported.value, None);
        assert!(reported.note.unwrap().starts_with("the hypervisor claims a downtime of 60m00s"), "{:?}", m.claims);
    }

    #[test]
    fn a_stop_before_the_switch_over_is_kept_apart() {
        let turn = |t: Nanos, stops: bool| {
            let (host, at) = ("a".to_owned(), None);
            let ev = if stops { HvEvent::Stopped { host, at } } else { HvEvent::Resumed { host, at } };
            (t * MS, Body::Hypervisor(ev))
        };
        let began = done().remove(0);
        let rest = done().split_off(1);
        let state = told([began].into_iter().chain([turn(150, true), turn(170, false)]).chain(rest));
        let m = &state.migrations[0];
        assert_eq!(m.earlier_stops, [(150 * MS, 170 * MS)]);
        let e = &m.downtime.as_ref().unwrap().estimates[3];
        assert_eq!(e.value.unwrap().value.as_millis(), 600);
        assert!(e.note.as_ref().unwrap().contains("stood still for 20.0 ms before"), "{e:?}");
    }

    #[test]
    fn without_a_probe_nobody_waits_for_an_answer() {
        assert_eq!(phases(&told(done())).last(), Some(&(Phase::Done, 902, None)));
        let silent = std::iter::once((0, probe())).chain(done());
        let settled = told(silent.chain([(5000 * MS, Body::Migration(MigrationEvent::Settled { n: 1 }))]));
        assert_eq!(phases(&settled).last(), Some(&(Phase::Done, 5000, Some(5000))));
        assert!(settled.migrations[0].unanswered.is_some(), "a guest that is gone is not forgotten");
    }
}
