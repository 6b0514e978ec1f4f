//! ICMP through the `surge-ping` library, on one thread of its own.
//!
//! The library decides neither when to send nor what is lost. Time is kept by a kernel timer that
//! fires at `t0 + k * interval` for ever without being set again and wakes the thread through the
//! very descriptor set its sockets are watched by; tokio's own timers work in whole milliseconds.
//! The library's time-out is two minutes, so that an answer after our deadline still reaches the
//! classifier and is `late`.
//!
//! Known of the library (0.9.1) and handled or said here: an ICMP error resolves as `Ok`, so the
//! type is looked at; a second answer finds nobody waiting and vanishes, so duplicates cannot be
//! seen; datagram sockets give it no ICMP errors; receive times are read in user space.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use socket2::Type;
use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};

use super::clock::Monotonic;
use super::engine::{ATTENTION, Ending, Engine, Fates, Run};
use super::promptness::be_prompt;
use super::schedule::{Schedule, Turn, seq_of};
use super::socket::{failed, family_of, filter_answers, ident_of, not_permitted};
use super::wire::{Body, Family, describe};
use super::{ProbeError, ProbeOptions};
use crate::event::{self, Class, Nanos};

/// The library's time-out: an answer later than this is not seen. Shorter than it takes the
/// 16-bit sequence to come round at the shortest interval.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// Reach of a timer that always expires before a slot's time-out.
const ANCHOR: Duration = Duration::from_secs(60);

/// The `surge-ping` engine with its socket open.
pub struct SurgePing {
    runtime: Runtime,
    client: Client,
    target: SocketAddr,
    token: u64,
    datagram: bool,
}

impl SurgePing {
    /// Opens the library's client in the caller's network namespace.
    ///
    /// # Errors
    /// When ICMP is not allowed or the operating system refuses.
    pub fn open(options: &ProbeOptions) -> Result<Self, ProbeError> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(failed("set up the measuring thread's runtime"))?;
        let family = family_of(&options.target);
        let mut config = Config::builder().kind(match family {
            Family::V4 => ICMP::V4,
            Family::V6 => ICMP::V6,
        });
        if let Some(device) = &options.device {
            config = config.interface(device);
        }
        let token: u64 = rand::random();
        let client = {
            let _inside = runtime.enter();
            Client::new(&config.build()).map_err(|source| refusal(source, options))?
        };
        let socket = client.get_socket();
        let datagram = socket.get_type() == Type::DGRAM;
        if !datagram {
            // A raw socket sees all the host's ICMP, our own requests on loopback included.
            filter_answers(&borrow(&socket), family, ident_of(token), Some(token))?;
        }
        Ok(Self { runtime, client, target: options.target, token, datagram })
    }
}

/// The library's socket for as long as the library holds it.
#[allow(unsafe_code)]
fn borrow(socket: &surge_ping::AsyncSocket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to `socket`, which keeps it open for the lifetime of the
    // borrow given out here.
    unsafe { BorrowedFd::borrow_raw(socket.get_native_sock()) }
}

/// What the library's refusal means. Its own message folds both kinds of socket into one.
fn refusal(source: std::io::Error, options: &ProbeOptions) -> ProbeError {
    match (source.kind(), &options.device) {
        (std::io::ErrorKind::PermissionDenied, _) => {
            let raw = std::io::Error::from_raw_os_error(nix::errno::Errno::EPERM as i32);
            let datagram = std::io::Error::from_raw_os_error(nix::errno::Errno::EACCES as i32);
            not_permitted(&datagram, &raw)
        }
        (_, Some(device)) => ProbeError::Device { device: device.clone(), source },
        _ => ProbeError::Os { what: "open an ICMP socket", source },
    }
}

impl Engine for SurgePing {
    fn kind(&self) -> event::Engine {
        event::Engine::SurgePing
    }

    fn cannot_see(&self) -> Vec<Class> {
        vec![Class::Duplicate]
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = vec![
            "surge-ping hides duplicates".to_owned(),
            format!("answers later than {} s are not seen", TIMEOUT.as_secs()),
            "answers are stamped in user space".to_owned(),
        ];
        if self.datagram {
            remarks.push("ICMP errors are not seen on this kind of socket: such probes count as lost".to_owned());
        }
        remarks
    }

    fn run(self: Box<Self>, run: Run) -> Ending {
        be_prompt();
        let Self { runtime, client, target, token, .. } = *self;
        let probe = Probe { client, target, token };
        // A task is woken by another of the same runtime for nothing; the future `block_on` itself
        // runs is woken by a system call, each time.
        let measuring = runtime.spawn(measure(probe, run));
        runtime.block_on(measuring).unwrap_or_default()
    }
}

/// A timer that fires at `t0 + k * interval`.
#[allow(unsafe_code)]
fn timer(schedule: &Schedule, mono: &Monotonic) -> std::io::Result<AsyncFd<OwnedFd>> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    let every = TimeSpec::from_duration(Duration::from_nanos(schedule.interval()));
    timer.set(Expiration::IntervalDelayed(mono.timespec(schedule.t0), every), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    // SAFETY: an `OwnedFd` gives out the same open descriptor for as long as it lives, and the
    // `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(OwnedFd::from(timer), Interest::READABLE) }.map_err(Into::into)
}

async fn measure(probe: Probe, run: Run) -> Ending {
    let mono = Monotonic::of(run.fates.sink().clock());
    let timer = match timer(&run.schedule, &mono) {
        Ok(timer) => timer,
        Err(e) => {
            let text = format!("cannot set the schedule's timer: {e}");
            let log = event::LogEvent { level: event::Level::Error, from: "probe".into(), text };
            run.fates.sink().emit(event::Body::Log(log));
            return Ending::default();
        }
    };
    // Every slot's time-out would wake the runtime by a system call, were it the first to expire of
    // all timers; this one, of no other use, is there before them.
    let anchor = tokio::spawn(async {
        loop {
            tokio::time::sleep(ANCHOR).await;
        }
    });
    let mut pace = Pace {
        probe: Arc::new(probe),
        echo: Probe::echo,
        run,
        mono,
        timer,
        rest: None,
        open: FuturesUnordered::new(),
        next: 0,
        read_through: ReadThrough::default(),
    };
    poll_fn(|cx| pace.poll(cx)).await;
    anchor.abort();
    pace.run.fates.ending()
}

/// The measuring loop. Written out as one poll function, since it runs cold every time it is
/// woken: what is not polled costs nothing.
struct Pace<F, G> {
    probe: Arc<Probe>,
    /// Sends one slot and waits for its end.
    echo: G,
    run: Run,
    mono: Monotonic,
    timer: AsyncFd<OwnedFd>,
    /// Wakes us where the timer and the answers do not do so often enough.
    rest: Option<Pin<Box<tokio::time::Sleep>>>,
    open: FuturesUnordered<F>,
    next: u64,
    read_through: ReadThrough,
}

impl<F, G> Pace<F, G>
where
    F: Future<Output = End>,
    G: Fn(Arc<Probe>, u64, Nanos, Monotonic) -> F,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Polling also sends the slot that was just added.
            while let Poll::Ready(Some(end)) = self.open.poll_next_unpin(cx) {
                end.report(&mut self.run.fates);
            }
            self.run.fates.hand_over();
            let ticked = self.timer.poll_read_ready(cx).map(|ready| {
                // The reading sets the timer going again, for its next absolute time.
                let _ = nix::unistd::read(&self.timer, &mut [0; 8]);
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
            });
            let rested = self.rest.as_mut().is_some_and(|rest| rest.as_mut().poll(cx).is_ready());
            if ticked.is_pending() && !rested {
                return Poll::Pending;
            }
            if self.turn() {
                return Poll::Ready(());
            }
        }
    }

    /// Does what is due now; true when all is over.
    fn turn(&mut self) -> bool {
        let Run { schedule, fates, stop } = &mut self.run;
        let now = self.mono.now();
        let turn = schedule.turn(self.next, now);
        match turn {
            Turn::Send { k } => {
                fates.sent(k, now);
                self.open.push((self.echo)(Arc::clone(&self.probe), k, now, self.mono));
                self.next = k + 1;
            }
            Turn::Missed { through } => {
                fates.not_sent_through(through);
                self.next = through + 1;
            }
            Turn::Wait { .. } | Turn::Over => {}
        }
        fates.settle(self.read_through.at_turn(now));
        let over = turn == Turn::Over;
        let unhurried = over || u128::from(schedule.interval()) > ATTENTION.as_nanos();
        self.rest = unhurried.then(|| {
            let due = fates.judge.next_deadline().map(|t| Duration::from_nanos(t.saturating_sub(now)));
            Box::pin(tokio::time::sleep(due.unwrap_or(ATTENTION).min(ATTENTION).max(Duration::from_millis(1))))
        });
        stop.is_set() || (over && fates.judge.pending() == 0)
    }
}

/// Up to when all that arrived is sure to have reached us.
///
/// The runtime turns to us before it turns to the library's receiving task, and both after it has
/// looked at the sockets; so what had arrived when we last but one had our turn has been taken in.
#[derive(Debug, Default)]
struct ReadThrough([Nanos; 2]);

impl ReadThrough {
    fn at_turn(&mut self, now: Nanos) -> Nanos {
        let [older, newer] = self.0;
        self.0 = [newer, now];
        older
    }
}

struct Probe {
    client: Client,
    target: SocketAddr,
    token: u64,
}

/// How the library's wait for a slot ended.
struct End {
    k: u64,
    /// When the answer was received, ns of the session clock, or why there is none.
    outcome: Result<Nanos, Option<String>>,
}

impl End {
    fn report(self, fates: &mut Fates) {
        match self.outcome {
            Ok(at) => fates.reply(self.k, at),
            Err(Some(what)) => fates.error(self.k, what),
            Err(None) => {}
        }
    }
}

impl Probe {
    /// Sends slot `k`, due for sending since `at`, and waits for its end.
    async fn echo(self: Arc<Self>, k: u64, at: Nanos, mono: Monotonic) -> End {
        let mut pinger = self.client.pinger(self.target.ip(), PingIdentifier(ident_of(self.token))).await;
        pinger.timeout(TIMEOUT);
        if let SocketAddr::V6(target) = self.target {
            pinger.scope_id(target.scope_id());
        }
        let body = Body { token: self.token, k, sent: at }.bytes();
        let mut ping = pin!(pinger.ping(PingSequence(seq_of(k)), &body));
        // The library counts the round trip from when its sending returned, which is when the
        // first poll does.
        let mut returned = None;
        let answer = poll_fn(|cx| {
            let polled = ping.as_mut().poll(cx);
            returned.get_or_insert_with(|| mono.now());
            polled
        })
        .await;
        let returned = returned.unwrap_or(at);
        End { k, outcome: judge(answer).map(|rtt| returned + rtt.as_nanos() as u64) }
    }
}

/// The library's answer: a round trip only if it is an echo reply.
fn judge(answer: Result<(IcmpPacket, Duration), SurgeError>) -> Result<Duration, Option<String>> {
    match answer {
        Ok((packet, rtt)) => {
            let (family, kind, code) = match &packet {
                IcmpPacket::V4(p) => (Family::V4, p.get_icmp_type().0, p.get_icmp_code().0),
                IcmpPacket::V6(p) => (Family::V6, p.get_icmpv6_type().0, p.get_icmpv6_code().0),
            };
            if kind == family.reply() { Ok(rtt) } else { Err(Some(describe(family, kind, code))) }
        }
        // Lost long since, and judged so by us.
        Err(SurgeError::Timeout { .. }) => Err(None),
        Err(SurgeError::IOError(e)) => Err(Some(format!("cannot send: {e}"))),
        Err(e) => Err(Some(format!("surge-ping: {e}"))),
    }
}
