//! Probes: is the guest there, and how long does it take to answer?
//!
//! A probe sends on an absolute schedule ([`schedule`]), over one of two engines behind one trait
//! ([`engine::Engine`]), and every slot's fate is judged by one pure classifier ([`classify`]).
//! What comes out are [`ProbeEvent`]s; [`crate::analysis::probing`] folds them into the numbers people read.
//!
//! - [`surge`]: the `surge-ping` library's socket on a thread of its own, for intervals from 5 ms up.
//! - [`threads`]: a sender and a receiver thread, for any interval.
//!
//! They differ in how they send. What comes in is read (`hearing`) and judged ([`wire::hear`]) by
//! the same code for both, with the kernel's receive stamps.
//!
//! The measuring threads share nothing with the rest of the program but the event queue, which
//! never blocks. Sockets are opened by [`start`] itself, so the network namespace that counts is
//! the caller's.

mod clock;
mod hearing;
mod promptness;
mod socket;

pub mod classify;
pub mod engine;
pub mod schedule;
pub mod surge;
pub mod threads;
pub mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

use self::classify::{Classifier, WINDOW};
use self::engine::{Ending, Engine, Fates, Run, Stop};
use self::schedule::Schedule;
use crate::event::{self, Body, EventSink, ProbeEvent, ProbeKind, ProbeSpec};
use crate::units::show_duration;

/// Shortest interval `surge-ping` is used for: below it a timer of its kind does not keep time.
pub const SURGE_MIN_INTERVAL: Duration = Duration::from_millis(5);
/// Shortest interval at all.
pub const MIN_INTERVAL: Duration = Duration::from_micros(100);
/// Longest interval.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest deadline.
pub const MAX_DEADLINE: Duration = Duration::from_secs(60);
/// Time from [`start`] to slot 0: the kernel switches its receive stamps on a moment after it is
/// asked to.
const LEAD: Duration = Duration::from_millis(20);

/// Which engine to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// `surge-ping` for ICMP at 5 ms and more, the thread pair otherwise.
    #[default]
    Auto,
    /// `surge-ping`.
    SurgePing,
    /// The thread pair.
    Threads,
}

/// What to probe, and how.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Tells several probes of a session apart; probe 0 is the one downtime is measured with.
    pub id: u16,
    /// The target. The port is that of the UDP echo, and of no account for ICMP. An IPv6 scope is
    /// kept.
    pub target: SocketAddr,
    /// What to send.
    pub kind: ProbeKind,
    /// What does the sending.
    pub engine: EngineChoice,
    /// Distance of the slots.
    pub interval: Duration,
    /// A probe unanswered for so long is lost.
    pub deadline: Duration,
    /// Send through this network device only.
    pub device: Option<String>,
    /// Stop by itself after so many slots, once none is pending.
    pub count: Option<u64>,
    /// Bytes put before the probe's own data: what the agent's UDP echo asks for. UDP only.
    pub prefix: Vec<u8>,
}

impl ProbeOptions {
    /// ICMP every 50 ms without end, lost after 1 s, engine chosen by interval.
    #[must_use]
    pub fn icmp(id: u16, target: SocketAddr) -> Self {
        Self {
            id,
            target,
            kind: ProbeKind::Icmp,
            engine: EngineChoice::Auto,
            interval: Duration::from_millis(50),
            deadline: Duration::from_secs(1),
            device: None,
            count: None,
            prefix: Vec::new(),
        }
    }

    /// As [`icmp`](Self::icmp), to the agent's UDP echo, with the bytes it asks for in front.
    #[must_use]
    pub fn udp(id: u16, target: SocketAddr, prefix: Vec<u8>) -> Self {
        Self { kind: ProbeKind::Udp, prefix, ..Self::icmp(id, target) }
    }

    /// The engine these options lead to.
    ///
    /// # Errors
    /// When the engine asked for cannot do it.
    pub fn engine_kind(&self) -> Result<event::Engine, ProbeError> {
        let surge_can = self.kind == ProbeKind::Icmp && self.interval >= SURGE_MIN_INTERVAL;
        match self.engine {
            EngineChoice::Threads => Ok(event::Engine::Threads),
            EngineChoice::Auto if surge_can => Ok(event::Engine::SurgePing),
            EngineChoice::Auto => Ok(event::Engine::Threads),
            EngineChoice::SurgePing if surge_can => Ok(event::Engine::SurgePing),
            EngineChoice::SurgePing if self.kind == ProbeKind::Udp => {
                Err(ProbeError::Options("surge-ping sends ICMP only; use the engine 'threads' for UDP".into()))
            }
            EngineChoice::SurgePing => Err(ProbeError::Options(format!(
                "surge-ping does not keep an interval of {}: give at least {}, or use the engine 'threads'",
                show_duration(self.interval),
                show_duration(SURGE_MIN_INTERVAL),
            ))),
        }
    }

    /// Whether these options can be measured with.
    ///
    /// # Errors
    /// What is out of range, and what would be right.
    pub fn check(&self) -> Result<(), ProbeError> {
        let bad = |text: String| Err(ProbeError::Options(text));
        if self.interval < MIN_INTERVAL || self.interval > MAX_INTERVAL {
            return bad(format!(
                "the interval {} is out of range: give {} to {}",
                show_duration(self.interval),
                show_duration(MIN_INTERVAL),
                show_duration(MAX_INTERVAL)
            ));
        }
        // Open slots must stay fewer than the 16-bit sequence numbers that name them.
        let longest = self.interval.saturating_mul(WINDOW as u32 - 1_000).min(MAX_DEADLINE);
        if self.deadline.is_zero() || self.deadline > longest {
            return bad(format!(
                "the deadline {} is out of range: at an interval of {} give more than 0 and at most {}",
                show_duration(self.deadline),
                show_duration(self.interval),
                show_duration(longest)
            ));
        }
        if self.prefix.len() > 1024 {
            return bad(format!("the UDP prefix has {} bytes: give at most 1024", self.prefix.len()));
        }
        match self.target {
            SocketAddr::V4(a) if a.ip().is_broadcast() || a.ip().is_multicast() => {
                return bad(format!("{} is the address of many hosts: give that of one", a.ip()));
            }
            SocketAddr::V6(a) if a.ip().is_multicast() => {
                return bad(format!("{} is the address of many hosts: give that of one", a.ip()));
            }
            SocketAddr::V6(a) if a.ip().is_unicast_link_local() && a.scope_id() == 0 && self.device.is_none() => {
                let ip = a.ip();
                return bad(format!("{ip} is there on every link: name the network device, as in {ip}%eth0"));
            }
            _ => {}
        }
        if self.kind == ProbeKind::Udp && self.target.port() == 0 {
            return bad("a UDP probe needs the port of the agent's echo".into());
        }
        Ok(())
    }
}

/// Why a probe cannot start.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The options contradict each other or are out of range.
    #[error("{0}")]
    Options(String),
    /// Neither kind of ICMP socket is allowed.
    #[error(
        "ICMP is not allowed to this user ({said}; group {gid}, net.ipv4.ping_group_range is \"{range}\")\n\
         Either of these allows it:\n  \
         sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"\n  \
         sudo setcap cap_net_raw+ep {program}"
    )]
    NotPermitted {
        /// Effective group of this process.
        gid: u32,
        /// The groups that may.
        range: String,
        /// This program's path.
        program: String,
        /// What the operating system said.
        said: String,
    },
    /// The device cannot be used.
    #[error("cannot send through the network device '{device}': {source}; 'ip link' lists the devices there are")]
    Device {
        /// Its name.
        device: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused something else.
    #[error("cannot {what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

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
        event::Engine::Threads => Box::new(threads::Threads::open(options)?),
    };
    let id = options.id;
    let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    let t0 = sink.clock().now() + nanos(LEAD);
    let spec = ProbeSpec {
        target: options.target.ip(),
        kind: options.kind,
        engine: engine.kind(),
        interval_ns: nanos(options.interval),
        deadline_ns: nanos(options.deadline),
        t0,
        cannot_see: engine.cannot_see(),
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
    id: u16,
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
