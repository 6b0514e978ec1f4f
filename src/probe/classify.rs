//! The one judge of probes: what was sent, what came back and how far time has gone in, classes
//! out. Pure, without clock or socket; both engines feed it.
//!
//! Rules, for each slot:
//! - it ends in exactly one class of ok, late, lost, refused, not-sent, error; until then it is pending;
//! - the only revision is lost to late, and `Late` always follows a `Lost` of the same slot;
//! - further answers are duplicates, counted apart, and change nothing;
//! - an answer to a slot never sent, already an error, or too old to be remembered is stray.
//!
//! Memory is bounded: the newest [`WINDOW`] slots are remembered.

use std::collections::VecDeque;

use super::schedule::slot_of;
use crate::event::{Nanos, ProbeEvent, ProbeId};

/// Slots remembered. Fewer than 65,536, so that 16 bits name an open slot unambiguously.
pub const WINDOW: usize = 65_000;

/// What is known of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Answered,
    Lost,
    NotSent,
    Error,
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    sent: Nanos,
    fate: Fate,
}

/// Classifies the slots of one probe. All times are ns of the session clock.
#[derive(Debug, Clone)]
pub struct Classifier {
    id: ProbeId,
    deadline: u64,
    window: usize,
    /// Slot number of `slots[0]`.
    base: u64,
    slots: VecDeque<Slot>,
    /// No slot before this one is pending.
    first_pending: u64,
    pending: usize,
    stray: u64,
}

impl Classifier {
    /// A classifier for probe `id`: a slot unanswered `deadline_ns` after its sending is lost.
    #[must_use]
    pub fn new(id: ProbeId, deadline_ns: u64) -> Self {
        Self::with_window(id, deadline_ns, WINDOW)
    }

    fn with_window(id: ProbeId, deadline_ns: u64, window: usize) -> Self {
        Self {
            id,
            deadline: deadline_ns,
            window,
            base: 0,
            slots: VecDeque::new(),
            first_pending: 0,
            pending: 0,
            stray: 0,
        }
    }

    /// Which probe.
    #[must_use]
    pub fn id(&self) -> ProbeId {
        self.id
    }

    /// A slot unanswered for so long is lost, ns.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// The first slot nothing is known of yet.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// Slots sent whose fate is open.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Answers (and ICMP errors) that belonged to no slot in need of one.
    #[must_use]
    pub fn stray(&self) -> u64 {
        self.stray
    }

    /// When the oldest pending slot is lost, if one is pending.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Nanos> {
        if self.pending == 0 {
            return None;
        }
        let from = self.first_pending.saturating_sub(self.base) as usize;
        self.slots.iter().skip(from).find(|s| s.fate == Fate::Pending).map(|s| s.sent.saturating_add(self.deadline))
    }

    /// The slot an ICMP header's 16 bits mean, among those dealt with so far.
    #[must_use]
    pub fn slot_of_seq(&self, seq: u16) -> Option<u64> {
        let k = slot_of(seq, self.next().checked_sub(1)?)?;
        (k >= self.base).then_some(k)
    }

    /// Slot `k` went out at `at`. Slots skipped before it passed unsent. A slot dealt with already
    /// is left as it is.
    pub fn sent(&mut self, k: u64, at: Nanos, out: &mut Vec<ProbeEvent>) {
        if k < self.next() {
            return;
        }
        if k > self.next() {
            self.not_sent_through(k - 1, out);
        }
        self.push(Slot { sent: at, fate: Fate::Pending }, out);
        self.pending += 1;
    }

    /// All slots up to and including `k` that were not dealt with passed unsent.
    pub fn not_sent_through(&mut self, k: u64, out: &mut Vec<ProbeEvent>) {
        while self.next() <= k {
            out.push(ProbeEvent::NotSent { id: self.id, k: self.next(), why: None });
            self.push(Slot { sent: 0, fate: Fate::NotSent }, out);
        }
    }

    /// Sending slot `k`, which was announced as going out, failed here: this machine's fault.
    pub fn failed(&mut self, k: u64, why: impl Into<String>, out: &mut Vec<ProbeEvent>) {
        if let Some(slot) = self.slot_mut(k).filter(|slot| slot.fate == Fate::Pending) {
            slot.fate = Fate::NotSent;
            self.pending -= 1;
            out.push(ProbeEvent::NotSent { id: self.id, k, why: Some(why.into()) });
        }
    }

    /// When slot `k` was sent, if its fate is open, ns of the session clock.
    #[must_use]
    pub fn open_since(&self, k: u64) -> Option<Nanos> {
        self.slot(k).filter(|slot| slot.fate == Fate::Pending).map(|slot| slot.sent)
    }

    /// When slot `k` was sent, if it was and is remembered, ns of the session clock.
    #[must_use]
    pub fn sent_at(&self, k: u64) -> Option<Nanos> {
        self.slot(k).filter(|slot| slot.fate != Fate::NotSent).map(|slot| slot.sent)
    }

    /// An ICMP error came back for slot `k`.
    pub fn error(&mut self, k: u64, what: impl Into<String>, out: &mut Vec<ProbeEvent>) {
        match self.slot_mut(k) {
            Some(slot) if slot.fate == Fate::Pending => {
                slot.fate = Fate::Error;
                let sent = Some(slot.sent);
                self.pending -= 1;
                out.push(ProbeEvent::Error { id: self.id, k, sent, what: what.into() });
            }
            _ => self.stray += 1,
        }
    }

    /// An answer to slot `k` was received at `at`.
    pub fn reply(&mut self, k: u64, at: Nanos, out: &mut Vec<ProbeEvent>) {
        let (id, deadline) = (self.id, self.deadline);
        let Some(slot) = self.slot_mut(k) else {
            self.stray += 1;
            return;
        };
        let sent = slot.sent;
        let rtt = at.saturating_sub(sent);
        match slot.fate {
            Fate::Pending => {
                slot.fate = Fate::Answered;
                self.pending -= 1;
                if rtt < deadline {
                    out.push(ProbeEvent::Ok { id, k, sent, rtt });
                } else {
                    out.push(ProbeEvent::Lost { id, k, sent });
                    out.push(ProbeEvent::Late { id, k, sent, rtt });
                }
            }
            Fate::Lost => {
                slot.fate = Fate::Answered;
                out.push(ProbeEvent::Late { id, k, sent, rtt });
            }
            Fate::Answered => out.push(ProbeEvent::Duplicate { id, k, rtt }),
            Fate::NotSent | Fate::Error | Fate::Refused => self.stray += 1,
        }
    }

    /// Slot `k` was answered at `at` that the service is not there; after the deadline it is lost.
    pub fn refused(&mut self, k: u64, at: Nanos, what: impl Into<String>, out: &mut Vec<ProbeEvent>) {
        let (id, deadline) = (self.id, self.deadline);
        let Some(slot) = self.slot_mut(k).filter(|slot| slot.fate == Fate::Pending) else {
            self.stray += 1;
            return;
        };
        let (sent, rtt) = (slot.sent, at.saturating_sub(slot.sent));
        if rtt < deadline {
            slot.fate = Fate::Refused;
            self.pending -= 1;
            out.push(ProbeEvent::Refused { id, k, sent, rtt, what: what.into() });
        } else {
            self.lost(k, out);
        }
    }

    /// Slot `k` will not be answered any more: it is lost, without its deadline being waited for.
    pub fn lost(&mut self, k: u64, out: &mut Vec<ProbeEvent>) {
        let id = self.id;
        if let Some(slot) = self.slot_mut(k).filter(|slot| slot.fate == Fate::Pending) {
            slot.fate = Fate::Lost;
            let sent = slot.sent;
            self.pending -= 1;
            out.push(ProbeEvent::Lost { id, k, sent });
        }
    }

    /// Everything received before `to` has been fed in: slots whose deadline is not after `to`
    /// are lost.
    pub fn advance(&mut self, to: Nanos, out: &mut Vec<ProbeEvent>) {
        self.first_pending = self.first_pending.max(self.base);
        while self.first_pending < self.next() {
            let k = self.first_pending;
            let (id, deadline) = (self.id, self.deadline);
            let Some(slot) = self.slot_mut(k) else { break };
            if slot.fate == Fate::Pending {
                if slot.sent.saturating_add(deadline) > to {
                    break;
                }
                slot.fate = Fate::Lost;
                out.push(ProbeEvent::Lost { id, k, sent: slot.sent });
                self.pending -= 1;
            }
            self.first_pending += 1;
        }
    }

    fn slot(&self, k: u64) -> Option<&Slot> {
        let i = usize::try_from(k.checked_sub(self.base)?).ok()?;
        self.slots.get(i)
    }

    fn slot_mut(&mut self, k: u64) -> Option<&mut Slot> {
        let i = usize::try_from(k.checked_sub(self.base)?).ok()?;
        self.slots.get_mut(i)
    }

    fn push(&mut self, slot: Slot, out: &mut Vec<ProbeEvent>) {
        self.slots.push_back(slot);
        if self.slots.len() <= self.window {
            return;
        }
        if let Some(old) = self.slots.pop_front() {
            // Only when time was never advanced: the deadline is shorter than the window.
            if old.fate == Fate::Pending {
                self.pending -= 1;
                out.push(ProbeEvent::Lost { id: self.id, k: self.base, sent: old.sent });
            }
            self.base += 1;
        }
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
