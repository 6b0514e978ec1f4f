//! Keeping a connection up: one try after the other, for as long as the client lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::allowance::{Allowance, Folded};
use super::super::link::{LinkError, Receiver, Sender};
use super::super::outbox::Outbox;
use super::super::protocol::{AgentHello, ControllerHello, PROTOCOL, ProtocolError, ToAgent, ToController, version};
use super::failure::Failure;
use super::state::{Live, Shared};
use super::transport::{Line, Opened};
use crate::event::AgentEvent;

/// Wait before the first new try after a connection was lost; it doubles from try to try.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Wait before trying again what cannot help until somebody changes something.
const LASTING_RETRY: Duration = Duration::from_secs(5);
/// Time for a farewell to arrive.
const FAREWELL: Duration = Duration::from_millis(500);
/// Time for an agent to greet, on however loaded a guest; also for ssh to get there.
const GREETING: Duration = Duration::from_secs(30);

/// Connects again and again until the client is dropped.
pub(super) fn keep_up(shared: &Arc<Shared>) {
    let mut wait = FIRST_RETRY;
    while !shared.stopping() {
        let stood = AtomicBool::new(false);
        let failure = run(shared, &stood);
        let pause = if failure.lasting { LASTING_RETRY } else { wait };
        wait = if stood.into_inner() { FIRST_RETRY } else { (wait * 2).min(shared.options.connect_timeout / 2) };
        shared.disconnected(failure);
        shared.pause(pause);
    }
}

/// One connection, from the first try to its end. Returns why it ended.
fn run(shared: &Arc<Shared>, stood: &AtomicBool) -> Failure {
    let opened = match shared.transport.open(shared.options.connect_timeout, shared.options.dead_after) {
        Ok(opened) => opened,
        Err(failure) => return failure,
    };
    let Opened { mut receiver, mut sender, line, peer_ip } = opened;
    let (line, heard) = (Arc::new(line), Arc::new(Heard::new()));
    let outbox = Arc::new(Outbox::new());
    // It hangs up when the agent is silent for too long, from the greeting on.
    let watch = {
        let (shared, line, outbox, heard) =
            (Arc::clone(shared), Arc::clone(&line), Arc::clone(&outbox), Arc::clone(&heard));
        thread::Builder::new().name("agent-watch".into()).spawn(move || watch(&shared, &line, &outbox, &heard))
    };
    let failure = match greet(shared, &mut receiver, &mut sender) {
        Err(failure) => failure,
        Ok(hello) => {
            stood.store(true, Ordering::Relaxed);
            heard.greeted();
            shared.connected(&hello, Live { outbox: Arc::clone(&outbox), peer_ip });
            let sending = {
                let (line, outbox) = (Arc::clone(&line), Arc::clone(&outbox));
                thread::Builder::new().name("to-agent".into()).spawn(move || {
                    // What fails here fails the reading too, which says so. A farewell is sent whole
                    // before the line is cut.
                    let _ = outbox.drain_into(sender);
                    line.finish();
                })
            };
            let failure = match &sending {
                Ok(_) => listen(shared, &mut receiver, &heard),
                Err(e) => Failure::passing(e.to_string()),
            };
            // A sender stuck in a dead connection would never end.
            outbox.close();
            line.hang_up();
            if let Ok(sending) = sending {
                let _ = sending.join();
            }
            failure
        }
    };
    outbox.close();
    heard.over();
    let silent = heard.was_silent();
    if let Ok(watch) = watch {
        watch.thread().unpark();
        let _ = watch.join();
    }
    match silent {
        Some(time) => Failure::passing(format!("the agent says nothing for {:.0} s", time.as_secs_f64())),
        None => Failure { why: failure.why + &line.remark(), ..failure },
    }
}

/// When the agent was last heard.
struct Heard {
    start: Instant,
    last_ms: AtomicU64,
    greeted: AtomicBool,
    over: AtomicBool,
    silent_ms: AtomicU64,
}

impl Heard {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let no = || AtomicBool::new(false);
        Self { start: Instant::now(), last_ms: zero(), greeted: no(), over: no(), silent_ms: zero() }
    }

    fn now(&self) {
        self.last_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn greeted(&self) {
        self.now();
        self.greeted.store(true, Ordering::Relaxed);
    }

    fn over(&self) {
        self.over.store(true, Ordering::Release);
    }

    fn silence(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }

    fn was_silent(&self) -> Option<Duration> {
        Some(self.silent_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0).map(Duration::from_millis)
    }
}

/// Renews the lease, and hangs up on an agent that is silent for too long.
fn watch(shared: &Shared, line: &Line, outbox: &Outbox<ToAgent>, heard: &Heard) {
    let (mut n, mut next_ping, mut leaving) = (0, Instant::now(), None);
    while !heard.over.load(Ordering::Acquire) {
        let greeted = heard.greeted.load(Ordering::Relaxed);
        let limit = if greeted { shared.options.dead_after } else { GREETING };
        let silence = heard.silence();
        if silence > limit {
            heard.silent_ms.store(silence.as_millis() as u64, Ordering::Relaxed);
            line.hang_up();
            return;
        }
        if shared.stopping() {
            let since = *leaving.get_or_insert_with(Instant::now);
            if !greeted || since.elapsed() > FAREWELL {
                line.hang_up();
                return;
            }
        }
        if greeted && Instant::now() >= next_ping {
            n += 1;
            outbox.push(ToAgent::Ping { n });
            next_ping = Instant::now() + shared.options.ping_interval;
        }
        thread::park_timeout(Duration::from_millis(50));
    }
}

fn greet(shared: &Shared, receiver: &mut Receiver, sender: &mut Sender) -> Result<AgentHello, Failure> {
    let hello = ControllerHello { protocol: PROTOCOL, version: version(), controller: shared.controller };
    sender.send(&ToAgent::Hello(hello)).map_err(failure)?;
    match receiver.receive_first::<ToController>().map_err(failure)?.tamed() {
        ToController::Hello(hello) => Ok(*hello),
        ToController::Refuse { why, .. } => Err(Failure::passing(why)),
        _ => Err(Failure::passing("the agent does not begin with a hello".into())),
    }
}

fn failure(e: LinkError) -> Failure {
    let lasting = matches!(e, LinkError::Protocol(ProtocolError::Version { .. }));
    Failure { lasting, why: e.to_string() }
}

/// Messages of an agent's that are read each second at most. Ours, with a report each 10 ms and a
/// ramp of 1,000 steps a second, says less.
const MESSAGES_PER_S: f64 = 2000.0;

/// What of an agent's words is taken in: it may be a stranger's, and say anything as fast as it can.
struct Intake {
    messages: Allowance,
    reports: Allowance,
    ends_of_leases: Allowance,
    flood: Folded,
    unasked: Folded,
}

impl Intake {
    fn new(report_interval: Duration) -> Self {
        // The agent reports each 10 ms at the oftenest; late reports may arrive all at once.
        let reports_per_s = 2.0 / report_interval.max(Duration::from_millis(10)).as_secs_f64();
        Self {
            messages: Allowance::new(MESSAGES_PER_S, MESSAGES_PER_S),
            reports: Allowance::new(reports_per_s, reports_per_s.max(20.0)),
            ends_of_leases: Allowance::new(0.1, 3.0),
            flood: Folded::default(),
            unasked: Folded::default(),
        }
    }

    /// Holds up an agent that says too much, which it feels as a network that takes no more.
    fn pace(&mut self) -> Option<String> {
        let mut remark = None;
        while !self.messages.take() {
            let slower = || format!("the agent sends more than {MESSAGES_PER_S} messages a second: it is read slower");
            remark = remark.or_else(|| self.flood.say(slower));
            thread::sleep(Duration::from_millis(1));
        }
        remark
    }
}

/// Listens until the connection ends; returns why it did.
fn listen(shared: &Shared, receiver: &mut Receiver, heard: &Heard) -> Failure {
    let mut intake = Intake::new(shared.options.report_interval);
    loop {
        let message = match receiver.receive::<ToController>() {
            Ok(message) => message.tamed(),
            Err(e) => return failure(e),
        };
        heard.now();
        if let Some(remark) = intake.pace() {
            shared.warn(remark);
        }
        match message {
            ToController::Ack { id, set } if shared.answered(id) => shared.emit(AgentEvent::Ack { id, set }),
            ToController::Refused { id, why } if shared.answered(id) => shared.emit(AgentEvent::Refused { id, why }),
            ToController::Report(report) if intake.reports.take() => shared.emit(AgentEvent::Report(report)),
            ToController::Pong { .. } => {}
            ToController::LeaseExpired { lease_ms } if intake.ends_of_leases.take() => {
                shared.lease_expired(lease_ms, Default::default());
            }
            ToController::Ack { .. }
            | ToController::Refused { .. }
            | ToController::Report(_)
            | ToController::LeaseExpired { .. } => {
                let left_out = || "the agent says what it was not asked, or more often than it was: left out".into();
                intake.unasked.say(left_out).into_iter().for_each(|remark| shared.warn(remark));
            }
            ToController::Bye { why } => return Failure::passing(format!("the agent hangs up: {why}")),
            ToController::Hello(_) | ToController::Refuse { .. } => {
                return Failure::passing("the agent greets twice".into());
            }
        }
    }
}
