//! A guest whose blackouts are known to the microsecond: it answers what comes in on a TUN device (see `answer`),
//! except in the blackouts it was ordered.
//!
//! No answer is given in `[S, R)`: what comes in meanwhile is dropped, or held and answered at `R`.
//! Both times are read from CLOCK_MONOTONIC at the moment the responder itself turns, so the truth of
//! a blackout does not depend on when it was ordered for.

use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use crate::answer::{self, Syns};
use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Longest time it looks away from its orders.
const LOOK: Duration = Duration::from_millis(20);
/// The largest packet it answers, bytes.
const PACKET: usize = 2048;
/// Packets under way or held at once, at most.
const MOST: usize = 16_384;

// linux/if_tun.h: _IOW('T', 202, int).
nix::ioctl_write_ptr_bad!(tun_set_iff, nix::request_code_write!(b'T', 202, 4), libc::ifreq);

/// A TUN device of this name; it is gone when the file is closed.
pub(crate) fn open_tun(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open, and the request outlives the call that reads it.
    unsafe { tun_set_iff(file.as_raw_fd(), &raw const request) }?;
    Ok(file)
}

/// What the path to the guest does to its answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Path {
    /// Least delay.
    pub(crate) delay: Duration,
    /// Up to so much more, evenly distributed.
    pub(crate) jitter: Duration,
    /// Share of answers lost.
    pub(crate) loss: f64,
    /// Share of answers that come twice.
    pub(crate) duplicates: f64,
}

/// A blackout to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) at: Instant,
    pub(crate) lasts: Duration,
    /// What comes in meanwhile is held and answered at the end, instead of dropped.
    pub(crate) holds: bool,
}

/// A blackout that was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// The first moment at which nothing was answered.
    pub(crate) stopped: Instant,
    /// The first moment at which it was answered again.
    pub(crate) resumed: Instant,
    /// SYNs so far that had been sent before.
    pub(crate) again: u64,
}

/// A responder on a thread of its own; it ends when this is dropped.
pub(crate) struct Responder {
    orders: Sender<Order>,
    pub(crate) known: Receiver<Known>,
}

impl Responder {
    pub(crate) fn start(tun: File, path: Path, seed: u64) -> io::Result<Self> {
        let (orders, asked) = channel();
        let (tell, known) = channel();
        let dice = StdRng::seed_from_u64(seed);
        let mut guest = Guest {
            tun,
            path,
            dice,
            under_way: BinaryHeap::new(),
            held: Vec::new(),
            gone: None,
            syns: Syns::default(),
            again: 0,
        };
        std::thread::Builder::new().name("responder".into()).spawn(move || guest.run(&asked, &tell))?;
        Ok(Self { orders, known })
    }

    pub(crate) fn order(&self, order: Order) {
        // A responder that is gone shows itself by never telling of the blackout.
        let _ = self.orders.send(order);
    }
}

/// An answer on its way, the earliest first.
struct UnderWay {
    due: Instant,
    packet: Vec<u8>,
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

/// A blackout ahead or under way.
struct Gone {
    order: Order,
    /// When it began, once it has.
    since: Option<Instant>,
}

struct Guest {
    tun: File,
    path: Path,
    dice: StdRng,
    under_way: BinaryHeap<UnderWay>,
    held: Vec<Vec<u8>>,
    gone: Option<Gone>,
    syns: Syns,
    /// SYNs that had been sent before.
    again: u64,
}

impl Guest {
    fn run(&mut self, asked: &Receiver<Order>, tell: &Sender<Known>) {
        loop {
            match asked.try_recv() {
                Ok(order) => self.gone = Some(Gone { order, since: None }),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            if let Some(known) = self.turn(Instant::now()) {
                let _ = tell.send(known);
            }
            self.deliver();
            self.wait();
            self.take_in();
        }
    }

    /// Stops or resumes answering if it is time to.
    fn turn(&mut self, now: Instant) -> Option<Known> {
        let gone = self.gone.as_mut()?;
        let Some(since) = gone.since else {
            if now >= gone.order.at {
                gone.since = Some(now);
            }
            return None;
        };
        if now < since + gone.order.lasts {
            return None;
        }
        self.gone = None;
        for packet in std::mem::take(&mut self.held) {
            self.send(now, packet);
        }
        Some(Known { stopped: since, resumed: now, again: self.again })
    }

    fn is_gone(&self) -> bool {
        self.gone.as_ref().is_some_and(|gone| gone.since.is_some())
    }

    /// When it must look again.
    fn next(&self, now: Instant) -> Instant {
        let turn = self.gone.as_ref().map(|gone| gone.since.map_or(gone.order.at, |since| since + gone.order.lasts));
        let due = self.under_way.peek().map(|u| u.due);
        [turn, due].into_iter().flatten().fold(now + LOOK, Instant::min)
    }

    fn wait(&self) {
        let now = Instant::now();
        let timeout = TimeSpec::from_duration(self.next(now).saturating_duration_since(now));
        let mut readable = [PollFd::new(self.tun.as_fd(), PollFlags::POLLIN)];
        // Whatever it says, the next read tells.
        let _ = ppoll(&mut readable, Some(timeout), None);
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self.under_way.peek().is_some_and(|u| u.due <= now) {
            if let Some(ready) = self.under_way.pop() {
                // A full queue at the other end is a lost answer, as on any path.
                let _ = self.tun.write(&ready.packet);
            }
        }
    }

    fn take_in(&mut self) {
        let mut packet = [0_u8; PACKET];
        loop {
            let now = Instant::now();
            // Its own turn comes before a packet that came in later.
            if self.gone.as_ref().is_some_and(|g| g.since.map_or(g.order.at, |s| s + g.order.lasts) <= now) {
                return;
            }
            let Ok(n) = self.tun.read(&mut packet) else { return };
            let packet = &packet[..n];
            self.again += u64::from(self.syns.is_again(packet));
            let Some(packet) = answer::to(packet) else { continue };
            match &self.gone {
                Some(gone) if self.is_gone() => {
                    if gone.order.holds && self.held.len() < MOST {
                        self.held.push(packet);
                    }
                }
                _ => self.send(now, packet),
            }
        }
    }

    /// Sends an answer over the path.
    fn send(&mut self, now: Instant, packet: Vec<u8>) {
        if self.dice.random::<f64>() < self.path.loss {
            return;
        }
        let copies = 1 + usize::from(self.dice.random::<f64>() < self.path.duplicates);
        for _ in 0..copies {
            let due = now + self.path.delay + self.path.jitter.mul_f64(self.dice.random::<f64>());
            if due <= now {
                let _ = self.tun.write(&packet);
            } else if self.under_way.len() < MOST {
                self.under_way.push(UnderWay { due, packet: packet.clone() });
            }
        }
    }
}
