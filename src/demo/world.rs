//! The guest and its way to us, from event to event.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::guest::{ADDRESS, GuestOptions, KERNEL};
use super::queue::Queue;
use crate::event::{
    AgentEvent, Body, Class, DirtyCycle, EventSink, LoadReport, LoadSettings, Nanos, Pattern, ProbeEvent, ProbeId,
    ProbeKind, ProbeSpec,
};
use crate::load::LoadError;
use crate::load::limits::default_reserve;
use crate::model::Guest;

const MS: Nanos = 1_000_000;
/// The guest has been up so long when the session begins, ns of its clock.
const UPTIME: Nanos = 60_000 * MS;
/// From the session's start to the agent's first word, and to the first probe.
const CONNECTED: Nanos = 5 * MS;
/// Distance of heartbeats, as a real agent is asked for them.
const HEARTBEAT: Nanos = 10 * MS;
/// Distance of load reports, as a real agent is asked for them.
const REPORT: Nanos = 100 * MS;
/// Shortest round trip of a probe.
const RTT_LEAST: Nanos = 180_000;
/// Half of what its jitter mostly is.
const RTT_JITTER: f64 = 120_000.0;
/// A segment that found no way is sent again after so long (the agent bounds its back-off, 44 ms).
const SENT_AGAIN: Nanos = 44 * MS;
/// How fast the agent fills and locks a growing WSET, bytes/s.
const FILL_BYTES_PER_S: f64 = 2.5e9;
/// The achieved RATE and LOAD are off what is set by so much at most.
const NOISE: f64 = 0.004;
/// What the guest's kernel and agent use of its CPUs, %.
const IDLE_PCT: f64 = 1.5;
/// Whole pages a second that one CPU writes (measured, one thread).
const PAGES_PER_CPU_S: f64 = 3.6e6;

/// What happens on the way to the guest, or here.
#[derive(Debug)]
enum Happening {
    /// Slot `k` is due.
    ProbeDue {
        k: u64,
    },
    /// The probe arrives where the guest is, or was.
    ProbeArrives {
        k: u64,
        sent: Nanos,
        rtt: u64,
    },
    ProbeAnswered {
        k: u64,
        sent: Nanos,
        rtt: u64,
    },
    ProbeLost {
        k: u64,
        sent: Nanos,
    },
    HeartbeatArrives {
        seq: u64,
        guest_ns: u64,
    },
    /// The next request comes to where the guest is, or was.
    RequestArrives,
    /// The agent's word arrives here.
    Said(AgentEvent),
}

/// What happens in the guest, by its clock.
#[derive(Debug)]
enum Within {
    /// The agent is to send one.
    HeartbeatDue,
    /// The agent is to report.
    ReportDue,
    /// What was asked for is in effect.
    RequestDone { id: u64, to: LoadSettings },
}

/// The guest, from its beginning to its end.
pub(super) struct World {
    options: GuestOptions,
    sink: EventSink,
    rng: StdRng,
    queue: Queue<Happening>,
    /// By the guest's clock: all of it waits while the guest stands still.
    within: Queue<Within>,
    /// Everything until then has happened.
    now: Nanos,
    /// A migration has its time.
    taken: bool,
    over: bool,
    running: bool,
    stopped: Nanos,
    /// How long it has stood still in all.
    stood: Nanos,
    /// The network leads to it from then on.
    reached: Nanos,
    /// Requests on their way. The connection delivers them in order, whatever happens to a segment.
    sent: VecDeque<(u64, LoadSettings)>,
    /// Of them, how many have come to a guest that stood still.
    held: usize,
    /// A segment to the guest has found no way: before that the connection delivers nothing to it.
    to_guest: Nanos,
    /// The newest word of the agent arrives then.
    from_guest: Nanos,
    set: LoadSettings,
    /// What is set has changed since it was asked for.
    changed: bool,
    /// The last request is in effect then, guest time.
    busy_until: Nanos,
    wset_bytes: u64,
    /// How fast time goes for the writers.
    share: f64,
    /// Pages written until `counted`, guest time.
    pages: f64,
    counted: Nanos,
    reported: (Nanos, f64),
    heartbeats: u64,
    t0: Nanos,
}

impl World {
    pub(super) fn begin(options: GuestOptions, sink: EventSink) -> Self {
        let now = sink.clock().now();
        let mut world = Self {
            rng: StdRng::seed_from_u64(options.seed),
            queue: Queue::new(),
            within: Queue::new(),
            now,
            taken: false,
            over: false,
            running: true,
            stopped: 0,
            stood: 0,
            reached: 0,
            sent: VecDeque::new(),
            held: 0,
            to_guest: 0,
            from_guest: 0,
            set: LoadSettings::default(),
            changed: false,
            busy_until: 0,
            wset_bytes: 0,
            share: 1.0,
            pages: 0.0,
            counted: 0,
            reported: (0, 0.0),
            heartbeats: 0,
            t0: now + 4 * CONNECTED,
            options,
            sink,
        };
        world.counted = world.guest_ns(now);
        world.reported.0 = world.counted;
        let spec = ProbeSpec {
            deadline_ns: ns(world.options.ping_deadline),
            t0: world.t0,
            cannot_see: vec![Class::Duplicate],
            ..ProbeSpec::new(ProbeKind::Icmp, ADDRESS, ns(world.options.ping_interval).max(1))
        };
        world.emit(now, Body::Probe(ProbeEvent::Started { id: ProbeId(0), spec }));
        world.from_guest = now + CONNECTED;
        world.queue.push(world.from_guest, Happening::Said(world.hello()));
        world.queue.push(world.t0, Happening::ProbeDue { k: 0 });
        world.within.push(world.counted + 2 * CONNECTED, Within::HeartbeatDue);
        world.within.push(world.counted + REPORT, Within::ReportDue);
        world
    }

    fn hello(&self) -> AgentEvent {
        AgentEvent::Connected {
            version: env!("CARGO_PKG_VERSION").into(),
            kernel: KERNEL.into(),
            cpus: self.options.cpus,
            ram_bytes: self.options.ram_bytes,
            wset_limit_bytes: self.options.wset_limit_bytes(),
            transport: "simulation".into(),
            again: false,
        }
    }

    fn emit(&self, t: Nanos, ev: Body) {
        self.sink.emit_at(t, ev);
    }

    /// The guest's CLOCK_MONOTONIC at `t`: it stands while the guest does.
    fn guest_ns(&self, t: Nanos) -> Nanos {
        let until = if self.running { t } else { self.stopped };
        UPTIME + until.saturating_sub(self.stood)
    }

    fn is_reached(&self, t: Nanos) -> bool {
        self.running && t >= self.reached
    }

    /// Whether a migration has its time.
    pub(super) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Lets it live until then, but no longer than for so long; comes to how far it has got. A guest whose
    /// time a migration has lives by [`pass`](Self::pass).
    pub(super) fn live_for(&mut self, at_most: Nanos, until: Nanos) -> Nanos {
        self.live_until(until.min(self.now.saturating_add(at_most)));
        self.now
    }

    /// Lets it live until then, unless a migration has its time.
    pub(super) fn live_until(&mut self, t: Nanos) {
        if !self.taken {
            self.advance(t);
        }
    }

    fn advance(&mut self, t: Nanos) {
        if self.over {
            return;
        }
        loop {
            let outside = self.queue.due().filter(|at| *at <= t);
            let within = self.within_due().filter(|at| *at <= t && outside.is_none_or(|outside| *at < outside));
            if let Some(at) = within {
                self.now = self.now.max(at);
                if let Some(what) = self.within.pop() {
                    self.happen_within(self.now, what);
                }
            } else if let Some(what) = outside.and_then(|_| self.queue.pop()) {
                self.now = self.now.max(outside.unwrap_or_default());
                self.happen(self.now, what);
            } else {
                break;
            }
        }
        self.now = self.now.max(t);
    }

    /// When something happens next in the guest, session time; None while it stands still.
    fn within_due(&self) -> Option<Nanos> {
        let due = self.within.due().filter(|_| self.running)?;
        Some((due + self.stood).saturating_sub(UPTIME))
    }

    fn happen_within(&mut self, t: Nanos, what: Within) {
        let now = self.guest_ns(t);
        match what {
            Within::HeartbeatDue => {
                if self.is_reached(t) {
                    let seq = self.heartbeats;
                    let way = self.one_way();
                    self.queue.push(t + way, Happening::HeartbeatArrives { seq, guest_ns: now });
                }
                self.heartbeats += 1;
                self.within.push(now + HEARTBEAT, Within::HeartbeatDue);
            }
            Within::ReportDue => {
                let report = self.report(t);
                self.say(t, AgentEvent::Report(report));
                self.within.push(now + REPORT, Within::ReportDue);
            }
            Within::RequestDone { id, to } => {
                self.count(t);
                (self.set, self.wset_bytes, self.changed) = (to, to.wset_bytes, true);
                self.say(t, AgentEvent::Ack { id, set: to });
            }
        }
    }

    fn happen(&mut self, t: Nanos, what: Happening) {
        match what {
            Happening::ProbeDue { k } => self.send_probe(k, t),
            Happening::ProbeArrives { k, sent, rtt } => {
                let deadline = ns(self.options.ping_deadline);
                if self.is_reached(t) && rtt <= deadline {
                    self.queue.push(sent + rtt, Happening::ProbeAnswered { k, sent, rtt });
                } else {
                    self.queue.push(sent + deadline.max(rtt), Happening::ProbeLost { k, sent });
                }
            }
            Happening::ProbeAnswered { k, sent, rtt } => {
                self.emit(t, Body::Probe(ProbeEvent::Ok { id: ProbeId(0), k, sent, rtt }));
            }
            Happening::ProbeLost { k, sent } => self.emit(t, Body::Probe(ProbeEvent::Lost { id: ProbeId(0), k, sent })),
            Happening::HeartbeatArrives { seq, guest_ns } => {
                self.emit(t, Body::Agent(AgentEvent::Heartbeat { seq, guest_ns }));
            }
            Happening::RequestArrives => self.request_arrives(t),
            Happening::Said(word) => self.emit(t, Body::Agent(word)),
        }
    }

    fn send_probe(&mut self, k: u64, t: Nanos) {
        let rtt = RTT_LEAST + self.jitter();
        self.queue.push(t + rtt / 2, Happening::ProbeArrives { k, sent: t, rtt });
        let next = k + 1;
        let due = self.t0.saturating_add(next.saturating_mul(ns(self.options.ping_interval).max(1)));
        self.queue.push(due, Happening::ProbeDue { k: next });
    }

    /// Mostly little, now and then more.
    fn jitter(&mut self) -> Nanos {
        let u: f64 = self.rng.random_range(0.0..1.0);
        (-(1.0 - u).ln() * RTT_JITTER) as Nanos
    }

    fn one_way(&mut self) -> Nanos {
        (RTT_LEAST + self.jitter()) / 2
    }

    /// What the agent says on its connection arrives, if need be when the network leads to it again.
    fn say(&mut self, t: Nanos, word: AgentEvent) {
        let sent = if t >= self.reached { t } else { self.reached + SENT_AGAIN };
        // What was said before arrives before.
        self.from_guest = self.from_guest.max(sent + self.one_way());
        self.queue.push(self.from_guest, Happening::Said(word));
    }

    /// Pages written until `t` are counted.
    fn count(&mut self, t: Nanos) {
        let now = self.guest_ns(t);
        let passed = now.saturating_sub(self.counted) as f64 / 1e9;
        self.pages += self.rate() * self.share * passed;
        self.counted = now;
    }

    fn rate(&self) -> f64 {
        if self.wset_bytes == 0 { 0.0 } else { self.set.dirty.rate_pages_per_s() }
    }

    fn report(&mut self, t: Nanos) -> LoadReport {
        self.count(t);
        let guest_ns = self.guest_ns(t);
        let window_ns = guest_ns.saturating_sub(self.reported.0).max(1);
        let written = self.pages - self.reported.1;
        self.reported = (guest_ns, self.pages);
        let mut noisy = |value: f64| value * (1.0 + self.rng.random_range(-NOISE..NOISE));
        let rate = noisy(written.max(0.0) * 1e9 / window_ns as f64);
        let cpu = noisy(self.set.cpu_load_pct * self.share).clamp(0.0, 100.0);
        let writing = 100.0 * rate / PAGES_PER_CPU_S / f64::from(self.options.cpus.max(1));
        let guest_cpu = noisy(IDLE_PCT) + cpu + writing;
        LoadReport {
            guest_ns,
            window_ns,
            set: self.set,
            wset_bytes: self.wset_bytes,
            rate_pages_per_s: rate,
            cpu_load_pct: cpu,
            pages_total: self.pages as u64,
            saturated: self.share < 1.0 && self.rate() > 0.0,
            guest_cpu_pct: Some(guest_cpu.min(100.0)),
        }
    }

    /// A request goes out to the agent.
    pub(super) fn request(&mut self, now: Nanos, id: u64, to: LoadSettings) {
        let arrives = self.now.max(now) + self.one_way();
        self.sent.push_back((id, to));
        self.queue.push(arrives, Happening::RequestArrives);
    }

    fn request_arrives(&mut self, t: Nanos) {
        if !self.running {
            self.held += 1;
            return;
        }
        if t < self.reached {
            self.to_guest = self.to_guest.max(self.reached + SENT_AGAIN);
        }
        if t < self.to_guest {
            // It, or one before it, has found no way.
            self.queue.push(self.to_guest, Happening::RequestArrives);
        } else if let Some((id, to)) = self.sent.pop_front() {
            self.take_request(t, id, to);
        }
    }

    fn take_request(&mut self, t: Nanos, id: u64, to: LoadSettings) {
        if let Some(why) = self.refusal(&to) {
            self.say(t, AgentEvent::Refused { id, why });
            return;
        }
        let grown = to.wset_bytes.saturating_sub(self.wset_bytes) as f64;
        let fill = (grown / FILL_BYTES_PER_S * 1e9) as Nanos;
        self.busy_until = self.busy_until.max(self.guest_ns(t)) + fill + MS / 5;
        self.within.push(self.busy_until, Within::RequestDone { id, to });
    }

    /// Why a load cannot be had, as the agent says it.
    fn refusal(&self, to: &LoadSettings) -> Option<String> {
        let o = &self.options;
        let limit_bytes = o.wset_limit_bytes();
        if to.wset_bytes > limit_bytes && to.wset_bytes > self.wset_bytes {
            let e = LoadError::WsetOverLimit {
                asked_bytes: to.wset_bytes,
                limit_bytes,
                ram_bytes: o.ram_bytes,
                spare_bytes: o.ram_bytes.saturating_sub(o.used_bytes),
                reserve_bytes: default_reserve(o.ram_bytes),
                bound: None,
            };
            return Some(e.to_string());
        }
        to.checked().err().map(|e| e.to_string()).or_else(|| o.check(to).err().map(|e| e.to_string()))
    }

    /// A migration begins: from here on it says how time goes.
    pub(super) fn take(&mut self, t: Nanos) -> Guest {
        self.live_until(t);
        (self.taken, self.changed) = (true, false);
        let held = LoadSettings { wset_bytes: self.wset_bytes, ..self.set };
        self.options.memory(&held)
    }

    pub(super) fn pass(&mut self, t: Nanos) -> Option<(DirtyCycle, Pattern)> {
        if self.taken {
            self.advance(t);
        }
        std::mem::take(&mut self.changed).then_some((self.set.dirty, self.set.pattern))
    }

    pub(super) fn run_at(&mut self, share: f64) {
        // What stands still is told by `stop` and `resume`.
        if self.taken && self.running && share > 0.0 && share != self.share {
            self.count(self.now);
            self.share = share;
        }
    }

    pub(super) fn stop(&mut self, t: Nanos) {
        if self.taken && self.running {
            self.count(t);
            (self.running, self.stopped) = (false, t);
        }
    }

    pub(super) fn resume(&mut self, t: Nanos, reached: Nanos) {
        if self.running {
            return;
        }
        let stood = t.saturating_sub(self.stopped);
        self.stood += stood;
        (self.running, self.reached, self.share) = (true, reached, 1.0);
        if self.held > 0 {
            self.to_guest = self.to_guest.max(reached + SENT_AGAIN);
        }
        for _ in 0..std::mem::take(&mut self.held) {
            self.queue.push(self.to_guest, Happening::RequestArrives);
        }
    }

    /// The migration is over. A guest that it left standing runs on.
    pub(super) fn release(&mut self) {
        if std::mem::take(&mut self.taken) {
            self.resume(self.now, self.now);
            self.count(self.now);
            self.share = 1.0;
        }
    }

    /// Nothing happens any more.
    pub(super) fn end(&mut self) {
        self.over = true;
        self.emit(self.now, Body::Probe(ProbeEvent::Stopped { id: ProbeId(0) }));
    }
}

fn ns(d: std::time::Duration) -> Nanos {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
