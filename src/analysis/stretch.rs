//! A stretch between two answers of a probe, with bounds on how long what is asked was really gone. The one
//! rule for the downtime of a migration and for the outages of a probe.
//!
//! Let the guest answer nothing between `S` and `R`; the outage is `D = R - S`. A probe sent at
//! `s` whose reply came at `r` was answered by the guest at some `a` with `s <= a <= r`, and `a`
//! is not inside `(S, R)`.
//!
//! **Upper bound, without any assumption.** Of all answers with `a >= R`, let `r2` be the first to
//! be received. Whatever was received before `r2` was answered at `a <= S`, hence sent at
//! `s <= S`; let `s1` be the latest such send. Then `r2 >= R` and `s1 <= S`, so
//! `D <= r2 - s1`. This pair is a neighbouring pair in *receive* order, so the largest
//! `r(i+1) - max(s(0..=i))` over all neighbours bounds every outage in the window, whether its
//! probes were lost, held back and answered late (the saw-tooth of a queueing tap), re-ordered, or
//! never sent.
//!
//! **Lower bound.** What proves that the guest was gone? A [witness](crate::event::Fate::is_witness): a lost or
//! refused probe reached the guest inside the outage. A *held* probe, whose round trip is longer than the
//! network's: it reached the guest inside the outage and was answered when the guest was back. Let `n` be the
//! longest round trip of the undisturbed network. The first such probe, sent at `f`, arrived by `f + n`, so
//! `S <= f + n`. The last witness, sent at `l`, arrived at `l` or later, so `R >= l`; a held one received at
//! `r2` was answered at `R`, so `R >= r2 - n`. Hence `D >= max(l, r2 - n) - (f + n)`. The assumptions: no probe
//! takes longer on its way than `n`, losses are the outage's, and a guest that is back answers at once.
//!
//! **Value**, by the vocabulary: from the last good reply's send to the first good reply's send
//! after it. For a held reply the send that counts is the one an undisturbed probe answered at the
//! same time would have had, `r2 - n`.

use crate::event::Nanos;

/// A round trip this much above the baseline, or more, was held back, whatever the interval, ns.
const HELD_AT_LEAST: u64 = 5_000_000;

/// An answered slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The slot.
    pub k: u64,
    /// When it was sent, ns of the session clock.
    pub sent: Nanos,
    /// When its answer came, ns of the session clock.
    pub got: Nanos,
}

impl Answer {
    /// Round-trip time, ns.
    #[must_use]
    pub fn rtt(&self) -> u64 {
        self.got.saturating_sub(self.sent)
    }
}

/// The undisturbed network: its shortest and longest round trip, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Baseline {
    /// The shortest.
    pub rtt_min: u64,
    /// The longest.
    pub rtt_max: u64,
}

impl Baseline {
    /// Of one answer.
    #[must_use]
    pub fn one(rtt: u64) -> Self {
        Self { rtt_min: rtt, rtt_max: rtt }
    }

    /// Takes a further round trip into account: a network may grow slower.
    pub fn learn(&mut self, rtt: u64) {
        self.rtt_max = self.rtt_max.max(rtt);
        self.rtt_min = self.rtt_min.min(rtt);
    }

    /// A probe whose round trip is longer than this was held back, ns; of slots `interval` ns apart.
    #[must_use]
    pub fn held_above(&self, interval: u64) -> u64 {
        self.rtt_max.saturating_add(interval.max(HELD_AT_LEAST))
    }

    /// Whether a probe was held back.
    #[must_use]
    pub fn held(&self, rtt: u64, interval: u64) -> bool {
        rtt > self.held_above(interval)
    }
}

/// What is known of the answers received so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// The highest slot among them.
    pub k: u64,
    /// The latest send among them, ns.
    pub sent: Nanos,
    /// The latest send among them that counts: of one held back, that of an undisturbed one, ns.
    pub answered: Nanos,
}

impl Last {
    /// Takes one more in. `slack` is the longest round trip of the undisturbed network, ns.
    pub fn take(&mut self, answer: &Answer, held: bool, slack: u64) {
        let counts = if held { answer.sent.max(answer.got.saturating_sub(slack)) } else { answer.sent };
        self.k = self.k.max(answer.k);
        self.sent = self.sent.max(answer.sent);
        self.answered = self.answered.max(counts);
    }
}

/// A stretch between what was received so far and the next answer in receive order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The answers before it.
    pub last: Last,
    /// The answer that ends it.
    pub answer: Answer,
    /// The longest round trip of the undisturbed network, ns.
    slack: u64,
    /// A longer round trip was held back, ns.
    held_above: u64,
    interval: u64,
    /// When the earliest of the probes was sent that were held back and came together with the answer.
    held: Option<Nanos>,
}

impl Stretch {
    /// The stretch that `answer` ends. `slack` is the longest round trip of the undisturbed network, and a
    /// longer one than `held_above` was held back, ns.
    #[must_use]
    pub fn new(last: Last, answer: Answer, slack: u64, held_above: u64, interval: u64) -> Self {
        let mut stretch = Self { last, answer, slack, held_above, interval, held: None };
        stretch.join(&answer);
        stretch
    }

    /// Takes in an answer received after the first: probes that were held back may overtake each other on
    /// their way back, and be overtaken. True if it changed anything.
    pub fn join(&mut self, answer: &Answer) -> bool {
        let silent = self.answer.got.saturating_sub(self.slack).saturating_sub(self.last.answered);
        let held = answer.rtt() > self.held_above;
        // One sent long before the last answer was late for a reason of its own.
        let of_this = answer.sent.saturating_add(self.slack) > self.last.answered;
        if silent < self.interval.saturating_mul(2) || !self.is_together(answer) || !held || !of_this {
            return false;
        }
        let before = self.held;
        self.held = Some(before.map_or(answer.sent, |sent| sent.min(answer.sent)));
        self.held != before
    }

    /// Whether an answer came together with the one that ends this.
    #[must_use]
    pub fn is_together(&self, answer: &Answer) -> bool {
        answer.got <= self.answer.got.saturating_add(self.slack)
    }

    /// Whether probes were held back in it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The send that counts of the answer that ends it, ns.
    #[must_use]
    pub fn back(&self) -> Nanos {
        if self.is_held() { self.answer.got.saturating_sub(self.slack) } else { self.answer.sent }
    }

    /// Whether a slot sent then lies in it.
    #[must_use]
    pub fn holds(&self, sent: Nanos) -> bool {
        self.last.answered < sent && sent < self.back()
    }

    /// From the last good reply's send to that of the next, ns.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.back().saturating_sub(self.last.answered)
    }

    /// It was gone for at most so long, ns.
    #[must_use]
    pub fn hi(&self) -> u64 {
        self.answer.got.saturating_sub(self.last.sent)
    }

    /// It was gone for at least so long, ns, by when the first and the last witness in it were sent.
    #[must_use]
    pub fn lo(&self, witnesses: Option<(Nanos, Nanos)>) -> u64 {
        let span = match self.held {
            Some(held) => Some((witnesses.map_or(held, |(first, _)| first.min(held)), self.back())),
            None => witnesses,
        };
        span.map_or(0, |span| proved(span, self.slack))
    }
}

/// How long it must have been gone for witnesses sent from `first` to `last`, ns.
#[must_use]
pub fn proved((first, last): (Nanos, Nanos), slack: u64) -> u64 {
    last.saturating_sub(first.saturating_add(slack))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn stretch(sent: u64, got: u64) -> Stretch {
        let last = Last { k: 0, sent: 100 * MS, answered: 100 * MS };
        let answer = Answer { k: 9, sent: sent * MS, got: got * MS };
        Stretch::new(last, answer, MS, 11 * MS, 10 * MS)
    }

    #[test]
    fn witnesses_prove_and_nothing_else_does() {
        let s = stretch(200, 201);
        assert_eq!((s.value(), s.hi(), s.lo(None)), (100 * MS, 101 * MS, 0));
        assert_eq!(s.lo(Some((110 * MS, 190 * MS))), 79 * MS);
        assert_eq!(s.lo(Some((150 * MS, 150 * MS))), 0);
        assert!(s.holds(110 * MS) && !s.holds(100 * MS) && !s.holds(200 * MS));
    }

    #[test]
    fn one_held_back_tells_when_it_was_back_in_any_order() {
        // Sent at 110, answered when the guest was back at 200.
        let s = stretch(110, 201);
        assert_eq!((s.value(), s.hi(), s.lo(None), s.is_held()), (100 * MS, 101 * MS, 89 * MS, true));
        // The newest of the queue comes first; the oldest belongs to the same stretch.
        let mut s = stretch(195, 201);
        assert!(!s.is_held());
        assert!(s.join(&Answer { k: 1, sent: 110 * MS, got: 201 * MS }));
        assert_eq!((s.value(), s.lo(None)), (100 * MS, 89 * MS));
        // What came later, or was sent long before, does not.
        assert!(!s.join(&Answer { k: 1, sent: 105 * MS, got: 203 * MS }));
        assert!(!s.join(&Answer { k: 1, sent: 90 * MS, got: 201 * MS }));
    }
}
