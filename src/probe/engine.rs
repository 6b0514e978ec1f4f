//! What every engine is: something that follows a schedule and feeds the classifier.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::classify::Classifier;
use super::schedule::Schedule;
use crate::event::{self, Body, Class, EventSink, Nanos, ProbeEvent};

/// Longest time an engine sleeps without looking whether it is to stop.
pub const ATTENTION: Duration = Duration::from_millis(100);

/// An engine that is ready: its sockets are open. It differs from others in how it sends and
/// receives, never in how it judges.
pub trait Engine: Send {
    /// Its name in the capture.
    fn kind(&self) -> event::Engine;

    /// Classes it cannot see.
    fn cannot_see(&self) -> Vec<Class>;

    /// What a reader of its numbers should bear in mind, a sentence each.
    fn remarks(&self) -> Vec<String>;

    /// Measures until told to stop or until the schedule is over and no slot is pending. Runs on a
    /// thread of its own.
    fn run(self: Box<Self>, run: Run) -> Ending;
}

/// What no event tells: how a probe stood when it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ending {
    /// Slots dealt with: sent or passed unsent.
    pub slots: u64,
    /// Slots sent whose fate was open, and now stays so.
    pub pending: u64,
    /// Answers and ICMP errors that belonged to no slot in need of one.
    pub stray: u64,
}

/// What an engine is given to work with.
#[derive(Debug)]
pub struct Run {
    /// When each slot is due.
    pub schedule: Schedule,
    /// The judge and the way out.
    pub fates: Fates,
    /// Whether to stop.
    pub stop: Stop,
}

/// A request to stop; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The classifier with its way into the event stream.
#[derive(Debug)]
pub struct Fates {
    /// The judge.
    pub judge: Classifier,
    sink: EventSink,
    out: Vec<ProbeEvent>,
}

impl Fates {
    /// Judges with `judge` and hands over to `sink`.
    #[must_use]
    pub fn new(judge: Classifier, sink: EventSink) -> Self {
        Self { judge, sink, out: Vec::new() }
    }

    /// The event stream.
    #[must_use]
    pub fn sink(&self) -> &EventSink {
        &self.sink
    }

    /// How things stand.
    #[must_use]
    pub fn ending(&self) -> Ending {
        let judge = &self.judge;
        Ending { slots: judge.next(), pending: judge.pending() as u64, stray: judge.stray() }
    }

    /// Slot `k` went out at `at`.
    pub fn sent(&mut self, k: u64, at: Nanos) {
        self.judge.sent(k, at, &mut self.out);
    }

    /// Slots up to and including `k` passed unsent, unless dealt with.
    pub fn not_sent_through(&mut self, k: u64) {
        self.judge.not_sent_through(k, &mut self.out);
    }

    /// Slot `k` could not be sent, or an ICMP error came back.
    pub fn error(&mut self, k: u64, what: String) {
        self.judge.error(k, what, &mut self.out);
    }

    /// An answer to slot `k` was received at `at`.
    pub fn reply(&mut self, k: u64, at: Nanos) {
        self.judge.reply(k, at, &mut self.out);
    }

    /// All received before `to` is fed in; hands over what is decided.
    pub fn settle(&mut self, to: Nanos) {
        self.judge.advance(to, &mut self.out);
        self.hand_over();
    }

    /// Hands over what is decided so far.
    pub fn hand_over(&mut self) {
        for ev in self.out.drain(..) {
            self.sink.emit(Body::Probe(ev));
        }
    }
}
