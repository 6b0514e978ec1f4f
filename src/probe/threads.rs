//! The engine of our own: a sender thread that does nothing but keep time, and a receiver thread
//! that can take its time, because the kernel stamps what arrives.
//!
//! The sender sleeps on CLOCK_MONOTONIC to an absolute time with its timer slack taken away,
//! announces a slot to the receiver and sends it. The receiver reads the socket in batches, maps
//! the kernel's stamps onto the session clock, feeds the classifier and moves its time forward only
//! to the instant before the batch was read: whatever had arrived by then has been read, so a
//! stalled receiver never makes a timely answer late.

mod hearing;

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use socket2::SockAddr;

use self::hearing::{Ear, Sound};
use super::clock::{Monotonic, StampMap};
use super::engine::{ATTENTION, Ending, Engine, Run, Stop};
use super::promptness::be_prompt;
use super::schedule::{Schedule, Turn};
use super::socket::{self, Channel, Mode};
use super::wire::{BODY_BYTES, Body, Family, ICMP_HEADER, Quoted, echo_request};
use super::{ProbeError, ProbeOptions};
use crate::event::{self, Body as EventBody, Class, Level, LogEvent, Nanos};

/// The receiver reads this often while answers keep coming: waking for each would cost more than
/// sending them does, and their stamps are the kernel's anyway.
const BATCH: Duration = Duration::from_millis(30);
/// How long the receiver may be held up before the sender leaves slots unsent.
const PATIENCE: Duration = Duration::from_secs(2);
/// MSG_DONTWAIT: the sender never waits for buffer space.
const DONT_WAIT: i32 = nix::sys::socket::MsgFlags::MSG_DONTWAIT.bits();

/// The thread-pair engine with its socket open.
#[derive(Debug)]
pub struct Threads {
    channel: Channel,
    token: u64,
    prefix: Vec<u8>,
}

/// What the sender tells the receiver, in the order in which it happened.
#[derive(Debug)]
enum Word {
    /// Slot `k` goes out now (told before it does, so that no answer can be ahead of it).
    Sent { k: u64, at: Nanos },
    /// It did not go out after all.
    Failed { k: u64, error: Errno },
    /// Slots up to and including `k` passed unsent.
    Missed { through: u64 },
    /// Nothing more will be sent.
    Over,
}

impl Threads {
    /// Opens the socket in the caller's network namespace.
    ///
    /// # Errors
    /// When ICMP is not allowed or the operating system refuses.
    pub fn open(options: &ProbeOptions) -> Result<Self, ProbeError> {
        let token = rand::random();
        let channel = socket::open(options.kind, options.target, options.device.as_deref(), token)?;
        Ok(Self { channel, token, prefix: options.prefix.clone() })
    }
}

impl Engine for Threads {
    fn kind(&self) -> event::Engine {
        event::Engine::Threads
    }

    fn cannot_see(&self) -> Vec<Class> {
        Vec::new()
    }

    fn remarks(&self) -> Vec<String> {
        vec!["answers are stamped by the kernel".into()]
    }

    fn run(self: Box<Self>, run: Run) -> Ending {
        let Self { channel, token, prefix } = *self;
        let Run { schedule, fates, stop } = run;
        let mono = Monotonic::of(fates.sink().clock());
        let queue = PATIENCE.as_nanos() / u128::from(schedule.interval());
        let (tell, told) = sync_channel((queue as usize).clamp(64, 16_384));
        let ear = Ear::new(channel.family, channel.mode, token);
        let batching = u128::from(schedule.interval()) < BATCH.as_nanos();
        let receiver =
            Hearer { channel: &channel, ear, stamps: StampMap::new(mono), fates, told, open: true, batching };
        thread::scope(|scope| {
            let sender = Sender {
                channel: &channel,
                message: Message::new(channel.family, channel.mode, token, &prefix),
                mono,
                schedule,
                stop: &stop,
                tell,
            };
            let spawned = thread::Builder::new().name("probe-send".into()).spawn_scoped(scope, move || sender.run());
            if let Err(e) = spawned {
                receiver.warn(format!("cannot start the sending thread: {e}"));
                return Ending::default();
            }
            receiver.run(&stop)
        })
    }
}

/// The bytes of one probe, made anew for each slot in place.
struct Message {
    family: Family,
    mode: Mode,
    token: u64,
    prefix: usize,
    bytes: Vec<u8>,
}

impl Message {
    fn new(family: Family, mode: Mode, token: u64, prefix: &[u8]) -> Self {
        let prefix = if mode == Mode::Udp { prefix } else { &[] };
        let mut bytes = prefix.to_vec();
        bytes.resize(prefix.len() + BODY_BYTES, 0);
        Self { family, mode, token, prefix: prefix.len(), bytes }
    }

    /// Sends slot `k`, stamped `sent`.
    fn send(&mut self, channel: &Channel, k: u64, sent: Nanos) -> Result<(), Errno> {
        let body = Body { token: self.token, k, sent };
        match self.mode {
            Mode::Udp => {
                self.bytes[self.prefix..].copy_from_slice(&body.bytes());
                attempt(|| channel.socket.send_with_flags(&self.bytes, DONT_WAIT))
            }
            Mode::Datagram | Mode::Raw { .. } => {
                let ident = if let Mode::Raw { ident } = self.mode { ident } else { 0 };
                let mut packet = [0; ICMP_HEADER + BODY_BYTES];
                echo_request(self.family, ident, &body, &mut packet);
                let to: &SockAddr = &channel.target;
                attempt(|| channel.socket.send_to_with_flags(&packet, to, DONT_WAIT))
            }
        }
    }
}

/// Sends; and again if refused, since a socket that hears of ICMP errors refuses the next sending
/// with the error of an earlier one, once. A second refusal is this one's own.
fn attempt(mut send: impl FnMut() -> std::io::Result<usize>) -> Result<(), Errno> {
    let mut last = Errno::EIO;
    for _ in 0..2 {
        match send() {
            Ok(_) => return Ok(()),
            Err(e) => last = e.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        }
    }
    Err(last)
}

struct Sender<'a> {
    channel: &'a Channel,
    message: Message,
    mono: Monotonic,
    schedule: Schedule,
    stop: &'a Stop,
    tell: SyncSender<Word>,
}

impl Sender<'_> {
    fn run(mut self) {
        be_prompt();
        let mut next = 0;
        while !self.stop.is_set() {
            let now = self.mono.now();
            match self.schedule.turn(next, now) {
                Turn::Wait { until } => {
                    self.mono.sleep_until(until.min(now + ATTENTION.as_nanos() as u64));
                    continue;
                }
                Turn::Send { k } => {
                    if !self.send(k) {
                        break;
                    }
                    next = k + 1;
                }
                Turn::Missed { through } => {
                    next = through + 1;
                    let _ = self.tell.try_send(Word::Missed { through });
                }
                Turn::Over => break,
            }
        }
        // The receiver also learns it from the queue's end, should this not fit in.
        let _ = self.tell.try_send(Word::Over);
    }

    /// False when the receiver is gone.
    fn send(&mut self, k: u64) -> bool {
        let at = self.mono.now();
        match self.tell.try_send(Word::Sent { k, at }) {
            Ok(()) => {}
            // The receiver has not run for thousands of slots. Unannounced, this one may not go
            // out; the next announcement makes it not-sent.
            Err(TrySendError::Full(_)) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
        }
        if let Err(error) = self.message.send(self.channel, k, at) {
            let _ = self.tell.try_send(Word::Failed { k, error });
        }
        true
    }
}

struct Hearer<'a> {
    channel: &'a Channel,
    ear: Ear,
    stamps: StampMap,
    fates: super::engine::Fates,
    told: Receiver<Word>,
    /// Whether the sender may still send.
    open: bool,
    /// Whether answers come so often that they are read in batches.
    batching: bool,
}

impl Hearer<'_> {
    fn run(mut self, stop: &Stop) -> Ending {
        let _ = nix::sys::prctl::set_timerslack(1_000_000);
        let mut sounds = Vec::new();
        loop {
            let stopping = stop.is_set();
            let begun = self.stamps.begin_batch();
            let heard = self.ear.listen(&self.channel.socket, &self.stamps, &mut sounds);
            self.stamps.end_batch(begun);
            // What was said before the answers were read covers every slot they can belong to.
            self.take_words();
            self.take_sounds(&mut sounds);
            // A batch cut short says nothing of what had arrived by then.
            self.fates.settle(if heard < hearing::MOST { begun } else { 0 });
            if stopping || (!self.open && self.fates.judge.pending() == 0) {
                break;
            }
            if heard > 0 && self.batching {
                thread::sleep(BATCH);
            } else {
                self.wait(begun);
            }
        }
        // The sender may have said something since; a slot it sent stays open for ever.
        while self.open {
            self.take_words();
            thread::sleep(Duration::from_millis(1));
        }
        self.fates.settle(0);
        self.fates.ending()
    }

    fn warn(&self, text: String) {
        let from = "probe".to_owned();
        self.fates.sink().emit(EventBody::Log(LogEvent { level: Level::Warn, from, text }));
    }

    fn take_words(&mut self) {
        loop {
            match self.told.try_recv() {
                Ok(Word::Sent { k, at }) => self.fates.sent(k, at),
                Ok(Word::Failed { k, error }) => self.fates.error(k, format!("cannot send: {}", error.desc())),
                Ok(Word::Missed { through }) => self.fates.not_sent_through(through),
                Ok(Word::Over) | Err(TryRecvError::Disconnected) => {
                    self.open = false;
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn take_sounds(&mut self, sounds: &mut Vec<Sound>) {
        for sound in sounds.drain(..) {
            match sound {
                Sound::Reply { k, at } => self.fates.reply(k, at),
                Sound::Error { slot, what } => {
                    let k = match slot {
                        Quoted::Slot(k) => Some(k),
                        Quoted::Seq(seq) => self.fates.judge.slot_of_seq(seq),
                    };
                    if let Some(k) = k {
                        self.fates.error(k, what);
                    }
                }
            }
        }
        if let Some(dropped) = self.ear.take_dropped() {
            self.warn(format!(
                "the kernel dropped {dropped} answers because the receive buffer was full: that many slots may be \
                 called lost though they were answered (raise net.core.rmem_max)"
            ));
        }
    }

    /// Waits for something to hear, or until time itself decides something.
    fn wait(&self, now: Nanos) {
        let due = self.fates.judge.next_deadline().map(|t| Duration::from_nanos(t.saturating_sub(now)));
        let patience = due.unwrap_or(ATTENTION).min(ATTENTION) + Duration::from_millis(1);
        hearing::wait(&self.channel.socket, patience);
    }
}
