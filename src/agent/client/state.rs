//! What the client's threads share with its handle.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::heartbeat::Ear;
use super::super::outbox::Outbox;
use super::super::protocol::{AgentHello, HeartbeatTo, RequestId, ToAgent};
use super::failure::Failure;
use super::options::{ClientError, ClientOptions};
use super::transport::Transport;
use crate::event::{AgentEvent, Body, EventSink, Level, LoadSettings, LogEvent};

/// Requests whose answers are awaited at most; the oldest give way.
const AWAITED: usize = 4096;

/// The newest request.
#[derive(Debug, Clone, Copy)]
struct Newest {
    id: u64,
    settings: LoadSettings,
    answered: bool,
}

/// A connection that stands.
pub(super) struct Live {
    pub(super) outbox: Arc<Outbox<ToAgent>>,
    pub(super) peer_ip: Option<IpAddr>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// The address the agent was last reached at.
    peer_ip: Option<IpAddr>,
    agent: Option<AgentHello>,
    newest: Option<Newest>,
    /// Requests sent over this connection and not answered yet.
    in_flight: Vec<u64>,
    /// Requests sent over any connection whose answer has not come: each is answered once.
    awaited: BTreeSet<u64>,
    /// The newest request waits until those in flight are answered.
    held_back: bool,
    failure: Option<Failure>,
    /// What was last said about being disconnected, so that it is said once.
    said: Option<String>,
    bye: Option<ToAgent>,
}

impl State {
    /// Sends a request if there is a connection; if not, it is sent by the next.
    fn send(&mut self, id: u64, settings: LoadSettings) {
        if let Some(live) = &self.live {
            live.outbox.push(ToAgent::Set { id, settings });
            self.in_flight.push(id);
            self.await_answer(id);
        }
    }

    fn await_answer(&mut self, id: u64) {
        self.awaited.insert(id);
        while self.awaited.len() > AWAITED {
            self.awaited.pop_first();
        }
    }
}

/// What the client's threads share.
pub(super) struct Shared {
    pub(super) transport: Transport,
    pub(super) options: ClientOptions,
    /// This controller's number.
    pub(super) controller: u64,
    sink: EventSink,
    ear: Option<Arc<Ear>>,
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(transport: Transport, options: ClientOptions, sink: EventSink, ear: Option<Arc<Ear>>) -> Self {
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        Self { transport, options, controller: rand::random(), sink, ear, state, changed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn emit(&self, event: AgentEvent) {
        self.sink.emit(Body::Agent(event));
    }

    pub(super) fn warn(&self, text: String) {
        self.sink.emit(Body::Log(LogEvent { level: Level::Warn, from: "agent".into(), text }));
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state().live.is_some()
    }

    pub(super) fn agent(&self) -> Option<AgentHello> {
        self.state().agent.clone()
    }

    pub(super) fn peer_ip(&self) -> Option<IpAddr> {
        self.state().peer_ip
    }

    pub(super) fn stopping(&self) -> bool {
        self.state().bye.is_some()
    }

    /// The outcome of waiting, if there is one. `over`: the time is up.
    pub(super) fn settled(&self, over: bool, waited: Duration) -> Option<Result<AgentHello, ClientError>> {
        let state = self.state();
        if let (Some(_), Some(hello)) = (&state.live, &state.agent) {
            return Some(Ok(hello.clone()));
        }
        let agent = self.transport.to_string();
        match &state.failure {
            Some(f) if f.lasting => Some(Err(ClientError::Lasting { agent, why: f.why.clone() })),
            failure if over => {
                let why = failure.as_ref().map_or_else(|| "it has not answered yet".into(), |f| f.why.clone());
                Some(Err(ClientError::TimedOut { agent, waited, why }))
            }
            _ => None,
        }
    }

    /// Waits for a change of the connection, a stop, or until `until`. May return early.
    pub(super) fn wait_for_change(&self, until: Instant) {
        let state = self.state();
        let left = until.saturating_duration_since(Instant::now());
        drop(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits so long, or until the client is dropped.
    pub(super) fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopping() && Instant::now() < until {
            self.wait_for_change(until);
        }
    }

    /// Asks for a load, now or as soon as there is a connection. One that is not `urgent` also waits
    /// for the answers to those before it, and is forgotten for a newer one meanwhile.
    pub(super) fn request(&self, id: u64, settings: LoadSettings, urgent: bool) {
        let mut state = self.state();
        state.newest = Some(Newest { id, settings, answered: false });
        state.held_back = !urgent && !state.in_flight.is_empty();
        if !state.held_back {
            state.send(id, settings);
        }
    }

    /// Leaves: says so if there is a connection.
    pub(super) fn stop(&self, bye: ToAgent) {
        let mut state = self.state();
        if let Some(live) = &state.live {
            live.outbox.push(bye.clone());
            live.outbox.close();
        }
        state.bye = Some(bye);
        self.changed.notify_all();
    }

    /// Request `id` has been answered. False if no answer to such a request was awaited.
    pub(super) fn answered(&self, id: u64) -> bool {
        let mut state = self.state();
        if !state.awaited.remove(&id) {
            return false;
        }
        // Answers come in the order of the requests.
        state.in_flight.retain(|sent| *sent > id);
        match &mut state.newest {
            Some(newest) if newest.id == id => newest.answered = true,
            _ => {}
        }
        if state.held_back
            && state.in_flight.is_empty()
            && let Some(newest) = state.newest
        {
            state.held_back = false;
            state.send(newest.id, newest.settings);
        }
        true
    }

    /// The lease ran out while nobody was heard: what is set is no longer what was acknowledged.
    pub(super) fn lease_expired(&self, lease_ms: u64, set: LoadSettings) {
        self.warn(format!(
            "no word from here reached the agent for {} s: its lease ran out, the load fell to zero and its memory was freed",
            lease_ms as f64 / 1e3
        ));
        let answered = self.state().newest.filter(|n| n.answered).map(|n| n.id);
        if let Some(id) = answered {
            self.emit(AgentEvent::Ack { id, set });
        }
    }

    /// A connection stands. Says what the agent must hear, and tells the stream.
    pub(super) fn connected(&self, hello: &AgentHello, live: Live) {
        let mut state = self.state();
        let same = state.agent.as_ref().is_some_and(|a| a.agent == hello.agent);
        if let (false, true, Some(ear)) = (same, state.agent.is_some(), &self.ear) {
            ear.another_agent();
        }
        live.outbox.push(ToAgent::Configure {
            report_interval_ms: self.options.report_interval.as_millis() as u64,
            heartbeat: self.heartbeat(),
        });
        state.in_flight.clear();
        state.held_back = false;
        let newest = state.newest;
        let ours = newest.map(|n| RequestId { controller: self.controller, id: n.id });
        let done = ours.is_some() && hello.applied == ours && !hello.lease_expired;
        if let Some(n) = newest
            && !done
            && (!n.answered || !same)
        {
            live.outbox.push(ToAgent::Set { id: n.id, settings: n.settings });
            state.in_flight.push(n.id);
            state.await_answer(n.id);
        }
        if let Some(bye) = &state.bye {
            live.outbox.push(bye.clone());
            live.outbox.close();
        }
        state.peer_ip = live.peer_ip;
        state.live = Some(live);
        state.agent = Some(hello.clone());
        (state.failure, state.said) = (None, None);
        drop(state);
        self.emit(AgentEvent::Connected {
            version: hello.version.clone(),
            kernel: hello.kernel.clone(),
            cpus: hello.cpus,
            ram_bytes: hello.ram_bytes,
            wset_limit_bytes: hello.wset_limit_bytes,
            transport: self.transport.to_string(),
            again: same,
        });
        if let Some(n) = newest.filter(|n| done && !n.answered)
            && self.answered(n.id)
        {
            self.emit(AgentEvent::Ack { id: n.id, set: hello.settings });
        }
        if hello.lease_expired && same {
            self.lease_expired(hello.lease_ms, hello.settings);
        } else if hello.lease_expired {
            self.warn(format!(
                "the agent let the load of an earlier controller go: its lease of {} s ran out",
                hello.lease_ms as f64 / 1e3
            ));
        }
        self.changed.notify_all();
    }

    fn heartbeat(&self) -> Option<HeartbeatTo> {
        let (wanted, ear) = (self.options.heartbeat?, self.ear.as_ref()?);
        let bound = wanted.bind.map(|b| b.ip()).filter(|ip| !ip.is_unspecified());
        Some(HeartbeatTo {
            ip: wanted.advertise.map(|a| a.ip()).or(bound),
            port: wanted.advertise.map_or(ear.port, |a| a.port()),
            key: ear.key(),
            interval_us: wanted.interval.as_micros() as u64,
        })
    }

    /// There is no connection, and why. Said once for each reason.
    pub(super) fn disconnected(&self, failure: Failure) {
        let mut state = self.state();
        state.live = None;
        state.in_flight.clear();
        state.held_back = false;
        let news = state.said.as_ref() != Some(&failure.why) && state.bye.is_none();
        state.said = Some(failure.why.clone());
        let why = failure.why.clone();
        state.failure = Some(failure);
        drop(state);
        self.changed.notify_all();
        if news {
            self.emit(AgentEvent::Disconnected { why });
        }
    }
}
