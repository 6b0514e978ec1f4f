//! ICMP through the socket of the `surge-ping` library, on one thread of its own.
//!
//! The library opens the socket and sends; when to send, what was received and what is lost is
//! decided here. Time is kept by a kernel timer that fires at `t0 + k * interval` for ever without
//! being set again and wakes the thread through the very descriptor set its socket is watched by;
//! tokio's own timers work in whole milliseconds.
//!
//! Why the library's own receiving (0.9.1) is not used: an answer from another address, a second answer
//! and one cut short vanish in it without a count, whatever else has the right sequence number is an
//! answer, and datagram sockets give it no ICMP errors. What is heard is read and judged as for the
//! other engine, by `Hearing`.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::FutureExt;
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use socket2::Type;
use surge_ping::{AsyncSocket, Config, ICMP};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};

use super::clock::Monotonic;
use super::engine::{ATTENTION, Ending, Engine, Run};
use super::error::ProbeError;
use super::hearing::Hearing;
use super::options::{ProbeOptions, Source};
use super::promptness::be_prompt;
use super::schedule::{Schedule, Turn};
use super::socket::{failed, family_of, ident_of, not_permitted, prepare, room_for, take_error};
use super::wire::{BODY_BYTES, Body, Family, ICMP_HEADER, Mode, Ours, echo_request};
use crate::event::{self, Class, Nanos};

/// Descriptors the runtime (its signals included), the timer and the socket take, and some.
const DESCRIPTORS: usize = 14;

/// The `surge-ping` engine with its socket open.
pub struct SurgePing {
    runtime: Runtime,
    socket: AsyncSocket,
    target: SocketAddr,
    ours: Ours,
}

impl SurgePing {
    /// Opens the library's socket in the caller's network namespace.
    ///
    /// # Errors
    /// When ICMP is not allowed or the operating system refuses.
    pub fn open(options: &ProbeOptions) -> Result<Self, ProbeError> {
        room_for(DESCRIPTORS)?;
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
        match &options.from {
            Some(Source::Device(device)) => config = config.interface(device),
            Some(Source::Address(ip)) => config = config.bind(SocketAddr::new(*ip, 0)),
            None => {}
        }
        let token: u64 = rand::random();
        let socket = {
            let _inside = runtime.enter();
            AsyncSocket::new(&config.build()).map_err(|source| refusal(source, options))?
        };
        let mode = match socket.get_type() {
            Type::DGRAM => Mode::Datagram,
            _ => Mode::Raw { ident: ident_of(token) },
        };
        let ours = Ours { family, mode, target: options.target.ip().to_canonical(), token, prefix: 0 };
        prepare(&borrow(&socket), &ours)?;
        Ok(Self { runtime, socket, target: options.target, ours })
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
    match (source.kind(), &options.from) {
        (std::io::ErrorKind::PermissionDenied, _) if options.device().is_none() => {
            let raw = std::io::Error::from_raw_os_error(nix::errno::Errno::EPERM as i32);
            let datagram = std::io::Error::from_raw_os_error(nix::errno::Errno::EACCES as i32);
            not_permitted(&datagram, &raw)
        }
        (_, Some(Source::Device(device))) => ProbeError::Device { device: device.clone(), source },
        (_, Some(Source::Address(address))) => ProbeError::Address { address: *address, source },
        _ => ProbeError::Os { what: "open an ICMP socket", source },
    }
}

impl Engine for SurgePing {
    fn kind(&self) -> event::Engine {
        event::Engine::SurgePing
    }

    fn cannot_see(&self) -> Vec<Class> {
        Vec::new()
    }

    fn remarks(&self) -> Vec<String> {
        vec!["answers are stamped by the kernel".to_owned()]
    }

    fn run(self: Box<Self>, run: Run) -> Ending {
        be_prompt();
        let Self { runtime, socket, target, ours } = *self;
        // A task is woken by another of the same runtime for nothing; the future `block_on` itself
        // runs is woken by a system call, each time.
        let measuring = runtime.spawn(measure(Sending { socket, target, ours }, run));
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

/// The descriptors a measuring loop is woken by.
#[allow(unsafe_code)]
fn watched(sending: &Sending, schedule: &Schedule, mono: &Monotonic) -> std::io::Result<[AsyncFd<OwnedFd>; 2]> {
    let socket = borrow(&sending.socket).try_clone_to_owned()?;
    // SAFETY: as above.
    let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
    Ok([timer(schedule, mono)?, socket])
}

async fn measure(sending: Sending, run: Run) -> Ending {
    let Run { schedule, fates, stop } = run;
    let mono = Monotonic::of(fates.sink().clock());
    let [timer, readable] = match watched(&sending, &schedule, &mono) {
        Ok(watched) => watched,
        Err(e) => {
            fates.log(event::Level::Error, format!("cannot watch the schedule's timer and the socket: {e}"));
            return Ending::default();
        }
    };
    let hearing = Hearing::new(readable.as_fd(), sending.ours, mono, fates);
    let mut pace = Pace { sending, schedule, stop, hearing, mono, timer, readable, rest: None, next: 0 };
    poll_fn(|cx| pace.poll(cx)).await;
    pace.hearing.close(pace.readable.as_fd());
    pace.hearing.fates.close();
    pace.hearing.fates.ending()
}

/// The measuring loop. Written out as one poll function, since it runs cold every time it is
/// woken: what is not polled costs nothing.
struct Pace {
    sending: Sending,
    schedule: Schedule,
    stop: super::engine::Stop,
    hearing: Hearing,
    mono: Monotonic,
    timer: AsyncFd<OwnedFd>,
    /// The socket once more, to be woken by what comes in.
    readable: AsyncFd<OwnedFd>,
    /// Wakes us where the timer and the answers do not do so often enough.
    rest: Option<Pin<Box<tokio::time::Sleep>>>,
    next: u64,
}

impl Pace {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let heard = self.readable.poll_read_ready(cx).map(|ready| {
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
            });
            let ticked = self.timer.poll_read_ready(cx).map(|ready| {
                // The reading sets the timer going again, for its next absolute time.
                let _ = nix::unistd::read(&self.timer, &mut [0; 8]);
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
            });
            let rested = self.rest.as_mut().is_some_and(|rest| rest.as_mut().poll(cx).is_ready());
            if heard.is_pending() && ticked.is_pending() && !rested {
                return Poll::Pending;
            }
            if self.turn() {
                return Poll::Ready(());
            }
        }
    }

    /// Does what is due now; true when all is over.
    fn turn(&mut self) -> bool {
        let now = self.mono.now();
        let turn = self.schedule.turn(self.next, now);
        match turn {
            Turn::Send { k } => {
                self.hearing.fates.sent(k, now);
                if let Err(why) = self.sending.send(k, now) {
                    self.hearing.fates.failed(k, why);
                }
                self.next = k + 1;
            }
            Turn::Missed { through } => {
                self.hearing.fates.not_sent_through(through);
                self.next = through + 1;
            }
            Turn::Wait { .. } | Turn::Over => {}
        }
        let batch = self.hearing.listen(self.readable.as_fd());
        self.hearing.digest();
        self.hearing.fates.settle(batch.through);
        let over = turn == Turn::Over;
        let pending = self.hearing.fates.judge.pending();
        if self.stop.is_set() || (over && pending == 0) {
            return true;
        }
        let unhurried = over || u128::from(self.schedule.interval()) > ATTENTION.as_nanos();
        self.rest = unhurried.then(|| {
            let due = self.hearing.fates.judge.next_deadline();
            let due = due.map(|t| Duration::from_nanos(t.saturating_sub(now)));
            Box::pin(tokio::time::sleep(due.unwrap_or(ATTENTION).min(ATTENTION).max(Duration::from_millis(1))))
        });
        false
    }
}

/// The socket and what goes out by it.
struct Sending {
    socket: AsyncSocket,
    target: SocketAddr,
    ours: Ours,
}

impl Sending {
    /// Sends slot `k`, due for sending since `at`; or why it could not be sent.
    fn send(&self, k: u64, at: Nanos) -> Result<(), String> {
        let ident = if let Mode::Raw { ident } = self.ours.mode { ident } else { 0 };
        let mut packet = [0; ICMP_HEADER + BODY_BYTES];
        echo_request(self.ours.family, ident, &Body { token: self.ours.token, k, sent: at }, &mut packet);
        let mut last = String::new();
        // A socket that hears of ICMP errors refuses the next sending with the error of an earlier
        // one. What is said once that is taken away is this one's own.
        for _ in 0..3 {
            match self.socket.send_to(&mut packet, &self.target).now_or_never() {
                Some(Ok(_)) => return Ok(()),
                Some(Err(e)) => last = words(&e),
                None => return Err("no room in the send buffer".to_owned()),
            }
            take_error(borrow(&self.socket));
        }
        Err(last)
    }
}

/// What the operating system said, without its number.
fn words(e: &std::io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), |n| nix::errno::Errno::from_raw(n).desc().to_owned())
}
