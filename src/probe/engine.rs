//! What every engine is: something that follows a schedule and feeds the classifier.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::classify::Classifier;
use super::schedule::Schedule;
use super::wire::{Heard, Quoted, describe};
use crate::event::{self, Aside, Body, Class, EventSink, Level, LogEvent, Nanos, ProbeEvent};

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
    /// Answers that belonged to no slot in need of one.
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

/// Further answers recorded one by one, a second; the others are counted together.
const DUPLICATES_TOLD: u32 = 10;
/// Different senders counted apart for each kind of what decides nothing.
const SENDERS: usize = 8;
/// How often counts of what decides nothing are handed over, ns.
const TELL_EVERY: Nanos = 1_000_000_000;

/// The classifier with its way into the event stream.
#[derive(Debug)]
pub struct Fates {
    /// The judge.
    pub judge: Classifier,
    sink: EventSink,
    out: Vec<ProbeEvent>,
    /// What decides nothing, not yet handed over.
    asides: BTreeMap<(Aside, Option<IpAddr>), u64>,
    /// Those senders that are counted apart.
    senders: BTreeSet<(Aside, IpAddr)>,
    /// When it is handed over, ns.
    tell_at: Nanos,
    /// Further answers recorded one by one since the last handing over.
    duplicates: u32,
}

impl Fates {
    /// Judges with `judge` and hands over to `sink`.
    #[must_use]
    pub fn new(judge: Classifier, sink: EventSink) -> Self {
        let (asides, senders) = (BTreeMap::new(), BTreeSet::new());
        Self { judge, sink, out: Vec::new(), asides, senders, tell_at: 0, duplicates: 0 }
    }

    /// The event stream.
    #[must_use]
    pub fn sink(&self) -> &EventSink {
        &self.sink
    }

    /// A remark for the event log.
    pub fn log(&self, level: Level, text: String) {
        self.sink.emit(Body::Log(LogEvent { level, from: "probe".into(), text }));
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

    /// Slot `k`, announced as going out, could not be sent.
    pub fn failed(&mut self, k: u64, why: String) {
        self.judge.failed(k, why, &mut self.out);
    }

    /// Slot `k` was answered at `at` over a connection of its own: what comes after its deadline is lost, for the
    /// connection is closed then.
    pub fn answered(&mut self, k: u64, at: Nanos) {
        let late = |sent: Nanos| at.saturating_sub(sent) >= self.judge.deadline();
        if self.judge.open_since(k).is_some_and(late) {
            self.judge.lost(k, &mut self.out);
        } else {
            self.judge.reply(k, at, &mut self.out);
        }
    }

    /// Slot `k` was answered at `at` that the service is not there.
    pub fn refused(&mut self, k: u64, at: Nanos, what: String) {
        self.judge.refused(k, at, what, &mut self.out);
    }

    /// Slot `k` came to something that is neither an answer nor a refusal.
    pub fn error(&mut self, k: u64, what: String) {
        self.judge.error(k, what, &mut self.out);
    }

    /// Slot `k` will not be answered any more.
    pub fn lost(&mut self, k: u64) {
        self.judge.lost(k, &mut self.out);
    }

    /// A message that was received at `at` from `from`.
    pub fn heard(&mut self, heard: Heard, from: Option<IpAddr>, at: Nanos) {
        match heard {
            Heard::Reply { k, sent } => match self.judge.sent_at(k) {
                Some(known) if known == sent => self.reply(k, at),
                // Passed unsent, or forgotten: the judge counts it.
                None if k < self.judge.next() => self.reply(k, at),
                _ => self.aside(Aside::Corrupt, from, 1),
            },
            Heard::Error { slot, family, kind, code } => {
                let k = match slot {
                    Quoted::Slot(k) => Some(k),
                    Quoted::Seq(seq) => self.judge.slot_of_seq(seq),
                };
                match k.filter(|k| self.judge.open_since(*k).is_some()) {
                    Some(k) => self.judge.error(k, describe(family, kind, code), &mut self.out),
                    None => self.aside(Aside::Implausible, from, 1),
                }
            }
            Heard::Hint { seq } => {
                // In flight, or answered by now: a datagram socket hands errors over behind answers.
                let slot = seq.map(|seq| self.judge.slot_of_seq(seq).and_then(|k| self.judge.sent_at(k)));
                let fresh = |sent: Nanos| at.saturating_sub(sent) < self.judge.deadline();
                let plausible = slot.is_none_or(|sent| sent.is_some_and(fresh));
                self.aside(if plausible { Aside::Unverified } else { Aside::Implausible }, from, 1);
            }
            Heard::Aside(what) => self.aside(what, from, 1),
            Heard::Other => {}
        }
    }

    /// An answer to slot `k` was received at `at`.
    fn reply(&mut self, k: u64, at: Nanos) {
        let before = self.out.len();
        self.judge.reply(k, at, &mut self.out);
        if let Some(ProbeEvent::Duplicate { .. }) = self.out[before..].last() {
            self.duplicates += 1;
            // However many answers a peer sends, what is recorded of them is bounded.
            if self.duplicates > DUPLICATES_TOLD {
                self.out.pop();
                self.aside(Aside::Duplicate, None, 1);
            }
        }
    }

    /// Counts what decides nothing.
    pub fn aside(&mut self, what: Aside, from: Option<IpAddr>, n: u64) {
        let known = |ip: &IpAddr| {
            self.senders.contains(&(what, *ip)) || self.senders.iter().filter(|s| s.0 == what).count() < SENDERS
        };
        let from = from.filter(known);
        if let Some(ip) = from {
            self.senders.insert((what, ip));
        }
        *self.asides.entry((what, from)).or_default() += n;
    }

    /// All received before `to` is fed in; hands over what is decided.
    pub fn settle(&mut self, to: Nanos) {
        self.judge.advance(to, &mut self.out);
        if to >= self.tell_at {
            self.tell_asides();
            self.tell_at = to.saturating_add(TELL_EVERY);
            self.duplicates = 0;
        }
        self.hand_over();
    }

    /// Hands over all there is at the end.
    pub fn close(&mut self) {
        self.tell_asides();
        self.hand_over();
    }

    fn tell_asides(&mut self) {
        let id = self.judge.id();
        for ((what, from), n) in std::mem::take(&mut self.asides) {
            self.out.push(ProbeEvent::Heard { id, what, n, from });
        }
    }

    /// Hands over what is decided so far.
    fn hand_over(&mut self) {
        for ev in self.out.drain(..) {
            self.sink.emit(Body::Probe(ev));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Hub, ProbeId, SessionClock};
    use crate::probe::wire::Family;

    const S: Nanos = 1_000_000_000;

    fn fates() -> (Fates, Hub) {
        let (sink, hub) = Hub::new(SessionClock::start(), 100_000);
        (Fates::new(Classifier::new(ProbeId(3), S), sink), hub)
    }

    fn told(hub: &Hub) -> Vec<ProbeEvent> {
        hub.rx.try_iter().filter_map(|e| if let Body::Probe(ev) = e.ev { Some(ev) } else { None }).collect()
    }

    #[test]
    fn a_flood_of_duplicates_makes_few_records_and_loses_none_of_the_count() {
        let (mut fates, hub) = fates();
        for k in 0..100 {
            fates.sent(k, k * 1_000_000);
            for _ in 0..1 + 400 {
                fates.heard(Heard::Reply { k, sent: k * 1_000_000 }, None, k * 1_000_000 + 5);
            }
            fates.settle(k * 1_000_000);
        }
        fates.close();
        let (mut ok, mut one, mut together) = (0, 0, 0);
        let events = told(&hub);
        for ev in &events {
            match ev {
                ProbeEvent::Ok { .. } => ok += 1,
                ProbeEvent::Duplicate { .. } => one += 1,
                ProbeEvent::Heard { what: Aside::Duplicate, n, .. } => together += n,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((ok, one + together), (100, 40_000));
        assert!(events.len() < 100 + 30, "{}", events.len());
    }

    #[test]
    fn an_answer_that_was_changed_on_its_way_is_none() {
        let (mut fates, hub) = fates();
        fates.sent(0, 7);
        fates.heard(Heard::Reply { k: 0, sent: 8 }, None, 10);
        fates.heard(Heard::Reply { k: 1 << 40, sent: 7 }, None, 10);
        fates.settle(2 * S);
        let corrupt = ProbeEvent::Heard { id: ProbeId(3), what: Aside::Corrupt, n: 2, from: None };
        assert_eq!(told(&hub), [ProbeEvent::Lost { id: ProbeId(3), k: 0, sent: 7 }, corrupt]);
    }

    #[test]
    fn an_error_decides_only_an_open_slot_and_a_hint_none() {
        let (mut fates, hub) = fates();
        let from = Some(IpAddr::from([192, 0, 2, 1]));
        fates.sent(0, 0);
        fates.sent(1, 1);
        let error = |k| Heard::Error { slot: Quoted::Slot(k), family: Family::V4, kind: 3, code: 1 };
        fates.heard(error(9), from, 2);
        fates.heard(Heard::Hint { seq: Some(1) }, from, 2);
        fates.heard(Heard::Hint { seq: Some(9) }, from, 2);
        fates.heard(error(0), from, 2);
        fates.heard(error(0), from, 2);
        fates.settle(2 * S);
        let what = "host unreachable (ICMP type 3 code 1)".to_owned();
        assert_eq!(
            told(&hub),
            [
                ProbeEvent::Error { id: ProbeId(3), k: 0, sent: Some(0), what },
                ProbeEvent::Lost { id: ProbeId(3), k: 1, sent: 1 },
                ProbeEvent::Heard { id: ProbeId(3), what: Aside::Unverified, n: 1, from },
                ProbeEvent::Heard { id: ProbeId(3), what: Aside::Implausible, n: 3, from },
            ]
        );
    }

    #[test]
    fn senders_counted_apart_are_few_however_many_there_are() {
        let (mut fates, hub) = fates();
        for a in 0..1000_u32 {
            fates.heard(Heard::Aside(Aside::Elsewhere), Some(IpAddr::from(a.to_be_bytes())), 0);
        }
        fates.close();
        let counts: Vec<u64> =
            told(&hub).iter().map(|e| if let ProbeEvent::Heard { n, .. } = e { *n } else { 0 }).collect();
        assert_eq!((counts.len(), counts.iter().sum::<u64>()), (SENDERS + 1, 1000));
    }
}
