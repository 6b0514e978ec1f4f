//! What the agent's threads share: the generators, the one session, the request in hand, the lease.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::heartbeat::{Heart, Target};
use super::super::protocol::{AgentHello, HeartbeatTo, PROTOCOL, RequestId, ToController, Token, version};
use super::options::{Log, ServerOptions};
use super::session::Session;
use crate::event::LoadSettings;
use crate::load::{Generators, LoadError, monotonic_ns};

/// A controller heard of within this time is alive, and keeps the agent to itself.
const ALIVE: Duration = Duration::from_secs(5);
/// The lease counts at most so much between two looks: time in which the guest stood still, or its
/// clock jumped, is no silence of the controller's.
const LEASE_STEP: Duration = Duration::from_secs(1);

/// Something to put into effect.
#[derive(Debug, Clone, Copy)]
enum Job {
    Set(RequestId, LoadSettings),
    /// No load, no memory.
    LetGo,
}

/// Requests: one is waiting at most, since a newer one replaces it.
#[derive(Debug, Default)]
struct Jobs {
    waiting: Option<Job>,
    running: Option<RequestId>,
    applied: Option<RequestId>,
    /// The lease ran out, and no controller has been told yet.
    lease_expired: bool,
}

/// The agent.
pub(super) struct Agent {
    pub(super) generators: Generators,
    pub(super) heart: Heart,
    pub(super) stop: AtomicBool,
    id: u64,
    echo: Token,
    log: Log,
    lease: Duration,
    silent_ns: AtomicU64,
    /// The controller that heartbeats are sent for.
    beats_for: AtomicU64,
    report_ns: AtomicU64,
    session: Mutex<Option<Arc<Session>>>,
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("id", &self.id).field("session", &self.session).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    pub(super) fn new(generators: Generators, heart: Heart, echo: Token, options: &ServerOptions) -> Self {
        let agent = Self {
            generators,
            heart,
            stop: AtomicBool::new(false),
            id: rand::random(),
            echo,
            log: Arc::clone(&options.log),
            lease: options.lease,
            silent_ns: AtomicU64::new(0),
            beats_for: AtomicU64::new(0),
            report_ns: AtomicU64::new(0),
            session: Mutex::new(None),
            jobs: Mutex::new(Jobs::default()),
            changed: Condvar::new(),
        };
        agent.set_report_interval(options.report_interval);
        agent
    }

    pub(super) fn log(&self, text: &str) {
        (self.log)(text);
    }

    /// No more heartbeats.
    pub(super) fn heart_off(&self) {
        self.heart.aim(None);
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Wakes the threads that wait for something to do.
    pub(super) fn wake(&self) {
        let _jobs = lock(&self.jobs);
        self.changed.notify_all();
    }

    /// Makes `session` the one that is served.
    ///
    /// # Errors
    /// Why not: another controller is alive.
    pub(super) fn admit(&self, session: &Arc<Session>) -> Result<(), String> {
        let mut current = lock(&self.session);
        if let Some(former) = current.take() {
            let silent = Duration::from_nanos(former.silent_ns());
            if former.controller != session.controller && silent < ALIVE {
                let why = format!(
                    "another controller ({}) has this agent, last heard of {:.1} s ago",
                    former.peer,
                    silent.as_secs_f64()
                );
                *current = Some(former);
                return Err(why);
            }
            former.outbox.push(ToController::Bye { why: format!("replaced by {}", session.peer) });
            former.end();
        }
        if self.beats_for.swap(session.controller, Ordering::Relaxed) != session.controller {
            // Another controller's heartbeats end with its lease on the agent.
            self.heart_off();
        }
        *current = Some(Arc::clone(session));
        self.silent_ns.store(0, Ordering::Relaxed);
        // The hello goes out before anything else can be said to this controller.
        session.outbox.push(ToController::Hello(Box::new(self.hello())));
        Ok(())
    }

    fn hello(&self) -> AgentHello {
        let jobs = lock(&self.jobs);
        let kernel =
            nix::sys::utsname::uname().map_or_else(|_| String::new(), |u| u.release().to_string_lossy().into());
        AgentHello {
            protocol: PROTOCOL,
            version: version(),
            agent: self.id,
            kernel,
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            ram_bytes: self.generators.limits().ram_bytes,
            wset_limit_bytes: self.generators.wset_limit_bytes(),
            settings: self.generators.settings(),
            applied: jobs.applied,
            lease_ms: self.lease.as_millis() as u64,
            lease_expired: jobs.lease_expired,
            udp_port: self.heart.port(),
            echo_token: self.echo,
        }
    }

    /// The session is over.
    pub(super) fn leave(&self, session: &Arc<Session>) {
        session.end();
        let mut current = lock(&self.session);
        if current.as_ref().is_some_and(|c| Arc::ptr_eq(c, session)) {
            *current = None;
        }
    }

    /// Breaks the connection.
    pub(super) fn hang_up(&self) {
        let session = lock(&self.session).take();
        if let Some(session) = session {
            session.end();
        }
    }

    /// The controller has said something: it lives.
    pub(super) fn heard(&self, session: &Session) {
        session.heard();
        // It got our hello, so it knows.
        lock(&self.jobs).lease_expired = false;
        self.silent_ns.store(0, Ordering::Relaxed);
    }

    /// Says something to controller number `controller`, if it is there.
    fn tell(&self, controller: u64, message: ToController) {
        let session = lock(&self.session).clone();
        if let Some(session) = session.filter(|s| s.controller == controller) {
            session.outbox.push(message);
        }
    }

    pub(super) fn set_report_interval(&self, interval: Duration) {
        let ns = interval.clamp(Duration::from_millis(10), Duration::from_secs(10)).as_nanos() as u64;
        self.report_ns.store(ns, Ordering::Relaxed);
    }

    /// Aims the heartbeats where the controller wants them.
    pub(super) fn aim(&self, heartbeat: Option<HeartbeatTo>, peer: Option<IpAddr>) {
        let target = heartbeat.and_then(|h| {
            let ip = h.ip.or(peer)?;
            let interval = Duration::from_micros(h.interval_us.clamp(1_000, 10_000_000));
            Some(Target { to: SocketAddr::new(ip, h.port), key: h.key, interval })
        });
        if heartbeat.is_some() && target.is_none() {
            self.log("heartbeats asked for without an address to send them to: there will be none");
        }
        self.heart.aim(target);
    }

    /// Takes a request in. It is answered when it is in effect, refused or superseded.
    pub(super) fn request(&self, request: RequestId, settings: LoadSettings) {
        let mut jobs = lock(&self.jobs);
        if jobs.running == Some(request) {
            // Sent again after a reconnect; its answer will go to the new connection.
            return;
        }
        if jobs.applied == Some(request) && jobs.waiting.is_none() && jobs.running.is_none() {
            let set = self.generators.settings();
            drop(jobs);
            self.tell(request.controller, ToController::Ack { id: request.id, set });
            return;
        }
        let former = jobs.waiting.replace(Job::Set(request, settings));
        self.changed.notify_all();
        drop(jobs);
        if let Some(Job::Set(former, _)) = former
            && former != request
        {
            let why = format!("superseded by request {} before it was begun", request.id);
            self.tell(former.controller, ToController::Refused { id: former.id, why });
        }
    }

    /// Lets load and memory go.
    pub(super) fn let_go(&self) {
        lock(&self.jobs).waiting = Some(Job::LetGo);
        self.changed.notify_all();
    }

    /// Puts requests into effect, one after the other.
    pub(super) fn apply_loop(&self) {
        while let Some(job) = self.next_job() {
            let go_on = || lock(&self.jobs).waiting.is_none() && !self.stopping();
            match job {
                Job::LetGo => {
                    if let Err(e) = self.generators.apply(LoadSettings::default()) {
                        self.log(&format!("cannot let the load go: {e}"));
                    }
                }
                Job::Set(request, settings) => {
                    let result = self.generators.apply_while(settings, &go_on);
                    let mut jobs = lock(&self.jobs);
                    jobs.running = None;
                    let answer = match result {
                        Ok(set) => {
                            jobs.applied = Some(request);
                            ToController::Ack { id: request.id, set }
                        }
                        Err(e) => ToController::Refused { id: request.id, why: refusal(&e, jobs.waiting) },
                    };
                    drop(jobs);
                    self.tell(request.controller, answer);
                }
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        loop {
            if self.stopping() {
                return None;
            }
            if let Some(job) = jobs.waiting.take() {
                if let Job::Set(request, _) = job {
                    jobs.running = Some(request);
                }
                return Some(job);
            }
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reports at the interval, and watches the lease.
    pub(super) fn report_loop(&self) {
        let (mut due, mut last) = (monotonic_ns(), monotonic_ns());
        while !self.stopping() {
            let interval = self.report_ns.load(Ordering::Relaxed);
            let now = monotonic_ns();
            self.watch_lease(now.saturating_sub(last));
            last = now;
            if now >= due {
                let session = lock(&self.session).clone();
                if let Some(session) = session {
                    session.outbox.put_newest(ToController::Report(self.generators.report()));
                }
                due = if now > due + interval { now + interval } else { due + interval };
            }
            let wait = Duration::from_nanos(due.saturating_sub(monotonic_ns())).min(LEASE_STEP / 4);
            std::thread::sleep(wait);
        }
    }

    fn watch_lease(&self, passed_ns: u64) {
        let step = passed_ns.min(LEASE_STEP.as_nanos() as u64);
        let silent = self.silent_ns.fetch_add(step, Ordering::Relaxed) + step;
        if u128::from(silent) < self.lease.as_nanos() {
            return;
        }
        // Also where there is no load to let go.
        if self.heart.beats() {
            self.log(&format!("no word from a controller for {:?}: no more heartbeats", self.lease));
            self.heart_off();
        }
        if self.is_idle() {
            return;
        }
        self.log(&format!("no word from a controller for {:?}: load and memory are let go", self.lease));
        self.silent_ns.store(0, Ordering::Relaxed);
        {
            let mut jobs = lock(&self.jobs);
            jobs.waiting = Some(Job::LetGo);
            jobs.lease_expired = true;
            self.changed.notify_all();
        }
        let session = lock(&self.session).clone();
        if let Some(session) = session {
            session.outbox.push(ToController::LeaseExpired { lease_ms: self.lease.as_millis() as u64 });
        }
    }

    /// Whether the lease ran out and no controller has come since.
    pub(super) fn is_orphan(&self) -> bool {
        lock(&self.jobs).lease_expired
    }

    fn is_idle(&self) -> bool {
        let set = self.generators.settings();
        let jobs = lock(&self.jobs);
        set.wset_bytes == 0
            && set.cpu_load_pct == 0.0
            && set.dirty.bpc_pages == 0
            && jobs.running.is_none()
            && jobs.waiting.is_none()
    }
}

fn refusal(error: &LoadError, waiting: Option<Job>) -> String {
    match (error, waiting) {
        (LoadError::Superseded { .. }, Some(Job::Set(by, _))) => format!("superseded by request {}: {error}", by.id),
        _ => error.to_string(),
    }
}
