//! Probes: is the guest there, and how long does it take to answer?
//!
//! A probe sends on an absolute schedule ([`schedule`]), over one of three engines behind one trait
//! ([`engine::Engine`]), and every slot's fate is judged by one pure classifier ([`classify`]).
//! What comes out are [`ProbeEvent`]s; [`crate::analysis::probing`] folds them into the numbers people read.
//!
//! - [`surge`]: the `surge-ping` library's socket on a thread of its own, for intervals from 5 ms up.
//! - [`threads`]: a sender and a receiver thread, for any interval.
//! - [`connect`]: a connection for each slot, for TCP and HTTP.
//!
//! They differ in how they send. What comes in for the first two is read (`hearing`) and judged
//! ([`wire::hear`]) by the same code, with the kernel's receive stamps.
//!
//! The measuring threads share nothing with the rest of the program but the event queue, which
//! never blocks. Sockets are opened by [`start`] itself, so the network namespace that counts is
//! the caller's.

mod clock;
mod error;
mod hearing;
mod options;
mod promptness;
mod socket;

pub mod asked;
pub mod classify;
pub mod connect;
pub mod engine;
pub mod page;
pub mod schedule;
pub mod surge;
pub mod threads;
pub mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::error::ProbeError;
pub use self::options::{
    CONNECT_DEADLINE, EngineChoice, MAX_DEADLINE, MAX_INTERVAL, MIN_CONNECTIONS, MIN_INTERVAL, ProbeOptions,
    SURGE_MIN_INTERVAL, SYN_AGAIN, Source,
};

use self::classify::Classifier;
use self::engine::{Ending, Engine, Fates, Run, Stop};
use self::schedule::Schedule;
use crate::event::{self, Body, EventSink, ProbeEvent, ProbeId, ProbeKind, ProbeSpec};

/// Time from [`start`] to slot 0: the kernel switches its receive stamps on a moment after it is
/// asked to.
const LEAD: Duration = Duration::from_millis(20);

/// Starts a probe. Opens its sockets in the caller's network namespace, emits
/// [`ProbeEvent::Started`] and measures on threads of its own until stopped, or until `count` slots
/// have their fate; then emits [`ProbeEvent::Stopped`].
///
/// # Errors
/// When the options are out of range, ICMP is not allowed (the message has the commands that mend
/// it), or the operating system refuses a socket or a thread.
pub fn start(options: &ProbeOptions, sink: &EventSink) -> Result<ProbeHandle, ProbeError> {
    let (options, asked) = asked(options);
    let options = &options;
    options.check()?;
    let engine: Box<dyn Engine> = match options.engine_kind()? {
        event::Engine::SurgePing => Box::new(surge::SurgePing::open(options)?),
        event::Engine::Connections => Box::new(connect::Connect::open(options)?),
        event::Engine::Threads => Box::new(threads::Threads::open(options)?),
    };
    let id = options.id;
    let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    let t0 = sink.clock().now() + nanos(LEAD);
    let spec = ProbeSpec {
        engine: engine.kind(),
        deadline_ns: nanos(options.deadline),
        t0,
        cannot_see: engine.cannot_see(),
        asked: options.asked.clone(),
        port: Some(options.target.port()).filter(|port| *port > 0 && options.kind != ProbeKind::Icmp),
        from: options.from.as_ref().map(ToString::to_string),
        role: options.role,
        refused_is_ok: options.refused_is_ok,
        ..ProbeSpec::new(options.kind, options.target.ip(), nanos(options.interval))
    };
    let remarks = asked.into_iter().chain(engine.remarks()).collect();
    let stop = Stop::default();
    let run = Run {
        schedule: Schedule::new(t0, spec.interval_ns, options.count),
        fates: Fates::new(Classifier::new(id, spec.deadline_ns), sink.clone()),
        stop: stop.clone(),
    };
    sink.emit(Body::Probe(ProbeEvent::Started { id, spec: spec.clone() }));
    let stopped = SayStopped { id, sink: sink.clone() };
    let thread = std::thread::Builder::new()
        .name(format!("probe-{id}"))
        .spawn(move || {
            let _stopped = stopped;
            engine.run(run)
        })
        .map_err(socket::failed("start the measuring thread"))?;
    Ok(ProbeHandle { spec, remarks, stop, thread: Some(thread) })
}

/// The options with the address that the kernel will ask, and a remark where that is another one than
/// was given: answers come from there.
fn asked(options: &ProbeOptions) -> (ProbeOptions, Option<String>) {
    let given = options.target.ip();
    let ip = match given.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut options = options.clone();
    if ip == given {
        return (options, None);
    }
    options.target = SocketAddr::new(ip, options.target.port());
    (options, Some(format!("{given} stands for {ip}, which is asked")))
}

/// Emits `Stopped` when the measuring thread ends, however it ends.
struct SayStopped {
    id: ProbeId,
    sink: EventSink,
}

impl Drop for SayStopped {
    fn drop(&mut self) {
        self.sink.emit(Body::Probe(ProbeEvent::Stopped { id: self.id }));
    }
}

/// A running probe. Dropping it stops it.
#[derive(Debug)]
pub struct ProbeHandle {
    spec: ProbeSpec,
    remarks: Vec<String>,
    stop: Stop,
    thread: Option<JoinHandle<Ending>>,
}

impl ProbeHandle {
    /// Its schedule and limits, as in its `Started` event.
    #[must_use]
    pub fn spec(&self) -> &ProbeSpec {
        &self.spec
    }

    /// What a reader of its numbers should bear in mind, a sentence each.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it and waits for its threads, at most some 100 ms. Afterwards its `Stopped` event is
    /// in the stream and nothing follows it. Returns how it stood; None if its thread panicked.
    pub fn stop(mut self) -> Option<Ending> {
        self.halt()
    }

    /// Asks it to stop, and waits for nothing: of several probes, each is asked before one is waited for.
    pub fn ask_to_stop(&self) {
        self.stop.set();
    }

    fn halt(&mut self) -> Option<Ending> {
        self.stop.set();
        // A panic there was printed by the hook and `Stopped` was emitted: nothing to add.
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for ProbeHandle {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Judges what anybody might send to a probe.
#[cfg(test)]
pub(crate) fn fuzz(bytes: &[u8], from: Option<u32>) {
    use std::net::{IpAddr, Ipv4Addr};

    use wire::{Family, Mode, Ours};
    connect::fuzz(bytes);
    let _ = String::from_utf8_lossy(bytes).parse::<asked::Asked>();
    let source = from.map(|ip| IpAddr::V4(Ipv4Addr::from_bits(ip)));
    for family in [Family::V4, Family::V6] {
        for mode in [Mode::Datagram, Mode::Raw { ident: 1 }, Mode::Udp] {
            let ours = Ours { family, mode, target: Ipv4Addr::new(192, 0, 2, 1).into(), token: 7, prefix: 0 };
            let _ = wire::hear(&ours, source, bytes);
            let _ = wire::hear_error(&ours, source, bytes.first().copied().unwrap_or(3), 1, bytes);
        }
    }
}

#[cfg(test)]
mod tests;
