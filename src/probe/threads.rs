//! The engine of our own: a sender thread that does nothing but keep time, and a receiver thread
//! that can take its time, because the kernel stamps what arrives.
//!
//! The sender sleeps on CLOCK_MONOTONIC to an absolute time with its timer slack taken away,
//! announces a slot to the receiver and sends it. The receiver reads the socket in batches, maps
//! the kernel's stamps onto the session clock, feeds the classifier and moves its time forward only
//! to the instant before the batch was read: whatever had arrived by then has been read, so a
//! stalled receiver never makes a timely answer late.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use super::clock::Monotonic;
use super::engine::{ATTENTION, Ending, Engine, Run, Stop};
use super::error::ProbeError;
use super::hearing::{self, Batch, Hearing};
use super::options::ProbeOptions;
use super::promptness::be_prompt;
use super::schedule::{Schedule, Turn};
use super::socket::{self, Channel, take_error};
use super::wire::{BODY_BYTES, Body, ICMP_HEADER, Mode, Ours, echo_request};
use crate::event::{self, Class, Level, Nanos};

/// The receiver reads this often while answers keep coming: waking for each would cost more than
/// sending them does, and their stamps are the kernel's anyway.
const BATCH: Duration = Duration::from_millis(30);
/// More messages than this in one batch are a crowd, and read in batches at any interval.
const CROWD: usize = 16;
/// How long the receiver may be held up before the sender leaves slots unsent.
const PATIENCE: Duration = Duration::from_secs(2);
/// MSG_DONTWAIT: the sender never waits for buffer space.
const DONT_WAIT: i32 = nix::sys::socket::MsgFlags::MSG_DONTWAIT.bits();

/// The thread-pair engine with its socket open.
#[derive(Debug)]
pub struct Threads {
    channel: Channel,
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
        let prefix = options.prefix.clone();
        let channel = socket::open(options.kind, options.target, options.from.as_ref(), token, prefix.len())?;
        Ok(Self { channel, prefix })
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
        let Self { channel, prefix } = *self;
        let Run { schedule, fates, stop } = run;
        let mono = Monotonic::of(fates.sink().clock());
        let queue = PATIENCE.as_nanos() / u128::from(schedule.interval());
        let (tell, told) = sync_channel((queue as usize).clamp(64, 16_384));
        let batching = u128::from(schedule.interval()) < BATCH.as_nanos();
        let hearing = Hearing::new(channel.socket.as_fd(), channel.ours, mono, fates);
        let receiver = Hearer { channel: &channel, hearing, told, open: true, batching };
        thread::scope(|scope| {
            let sender = Sender {
                channel: &channel,
                message: Message::new(&channel.ours, &prefix),
                mono,
                schedule,
                stop: &stop,
                tell,
                unsaid: VecDeque::new(),
            };
            let spawned = thread::Builder::new().name("probe-send".into()).spawn_scoped(scope, move || sender.run());
            if let Err(e) = spawned {
                receiver.hearing.fates.log(Level::Error, format!("cannot start the sending thread: {e}"));
                return Ending::default();
            }
            receiver.run(&stop)
        })
    }
}

/// The bytes of one probe, made anew for each slot in place.
struct Message {
    ours: Ours,
    bytes: Vec<u8>,
}

impl Message {
    fn new(ours: &Ours, prefix: &[u8]) -> Self {
        let lead = if ours.mode == Mode::Udp { prefix } else { &[0; ICMP_HEADER] };
        let mut bytes = lead.to_vec();
        bytes.resize(lead.len() + BODY_BYTES, 0);
        Self { ours: *ours, bytes }
    }

    /// Sends slot `k`, stamped `sent`.
    fn send(&mut self, channel: &Channel, k: u64, sent: Nanos) -> Result<(), Errno> {
        let body = Body { token: self.ours.token, k, sent };
        match self.ours.mode {
            Mode::Udp => {
                let lead = self.bytes.len() - BODY_BYTES;
                self.bytes[lead..].copy_from_slice(&body.bytes());
            }
            Mode::Datagram => echo_request(self.ours.family, 0, &body, &mut self.bytes),
            Mode::Raw { ident } => echo_request(self.ours.family, ident, &body, &mut self.bytes),
        }
        attempt(channel, || channel.socket.send_to_with_flags(&self.bytes, &channel.target, DONT_WAIT))
    }
}

/// Sends; and again if refused, since a socket that hears of ICMP errors refuses the next sending
/// with the error of an earlier one. What is said once that is taken away is this one's own.
fn attempt(channel: &Channel, mut send: impl FnMut() -> std::io::Result<usize>) -> Result<(), Errno> {
    let mut last = Errno::EIO;
    for _ in 0..3 {
        match send() {
            Ok(_) => return Ok(()),
            Err(e) => last = e.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        }
        take_error(channel.socket.as_fd());
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
    /// Failures the receiver had no room to be told of yet.
    unsaid: VecDeque<Word>,
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
        // A slot that could not be sent must not be called lost. The receiver, if it is there, reads on
        // until the queue ends.
        while let Some(word) = self.unsaid.pop_front() {
            if self.tell.send(word).is_err() {
                break;
            }
        }
        // The receiver also learns it from the queue's end, should this not fit in.
        let _ = self.tell.try_send(Word::Over);
    }

    /// Tells what there was no room for; false while there is none.
    fn catch_up(&mut self) -> bool {
        while let Some(word) = self.unsaid.pop_front() {
            if let Err(TrySendError::Full(word)) = self.tell.try_send(word) {
                self.unsaid.push_front(word);
                return false;
            }
        }
        true
    }

    /// False when the receiver is gone.
    fn send(&mut self, k: u64) -> bool {
        if !self.catch_up() {
            return true;
        }
        let at = self.mono.now();
        match self.tell.try_send(Word::Sent { k, at }) {
            Ok(()) => {}
            // The receiver has not run for thousands of slots. Unannounced, this one may not go
            // out; the next announcement makes it not-sent.
            Err(TrySendError::Full(_)) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
        }
        if let Err(error) = self.message.send(self.channel, k, at) {
            self.unsaid.push_back(Word::Failed { k, error });
            self.catch_up();
        }
        true
    }
}

struct Hearer<'a> {
    channel: &'a Channel,
    hearing: Hearing,
    told: Receiver<Word>,
    /// Whether the sender may still send.
    open: bool,
    /// Whether answers come so often that they are read in batches.
    batching: bool,
}

impl Hearer<'_> {
    fn run(mut self, stop: &Stop) -> Ending {
        let _ = nix::sys::prctl::set_timerslack(1_000_000);
        let channel = self.channel;
        let socket = channel.socket.as_fd();
        loop {
            let stopping = stop.is_set();
            let batch = self.hearing.listen(socket);
            // What was said before the answers were read covers every slot they can belong to.
            self.take_words();
            self.hearing.digest();
            self.hearing.fates.settle(batch.through);
            if stopping || (!self.open && self.hearing.fates.judge.pending() == 0) {
                break;
            }
            let rest = self.hearing.rest(batch, BATCH);
            if batch.heard > CROWD || (batch.heard > 0 && self.batching) {
                thread::sleep(rest);
            } else {
                self.wait(batch);
            }
        }
        // The sender may have said something since; a slot it sent stays open for ever.
        while self.open {
            self.take_words();
            thread::sleep(Duration::from_millis(1));
        }
        self.hearing.close(socket);
        self.hearing.fates.close();
        self.hearing.fates.ending()
    }

    fn take_words(&mut self) {
        let fates = &mut self.hearing.fates;
        loop {
            match self.told.try_recv() {
                Ok(Word::Sent { k, at }) => fates.sent(k, at),
                Ok(Word::Failed { k, error }) => fates.failed(k, error.desc().to_owned()),
                Ok(Word::Missed { through }) => fates.not_sent_through(through),
                Ok(Word::Over) | Err(TryRecvError::Disconnected) => {
                    self.open = false;
                    return;
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// Waits for something to hear, or until time itself decides something.
    fn wait(&self, batch: Batch) {
        let due = self.hearing.fates.judge.next_deadline();
        let due = due.map(|t| Duration::from_nanos(t.saturating_sub(batch.begun)));
        let patience = due.unwrap_or(ATTENTION).min(ATTENTION) + Duration::from_millis(1);
        hearing::wait(self.channel.socket.as_fd(), patience);
    }
}
