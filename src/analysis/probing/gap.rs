//! The silences of a probe, one by one as its slots are judged, in bounded memory. What interval must contain
//! an outage is told at [`stretch`](crate::analysis::stretch).
//!
//! There is no migration here to tell what is before and what is after. So the undisturbed network is that of
//! [the newest answers](Network), and losses are taken to be the target's: the path is not accounted for, as it
//! is in the downtime of a migration. A slot that was lost and is answered late after all is no witness any
//! more; if it was held back with others it is one for that.

use std::collections::VecDeque;
use std::time::Duration;

use crate::analysis::stretch::{Answer, Baseline, Last, Stretch, proved};
use crate::chunked::Chunked;
use crate::event::Nanos;

/// A stretch without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The slot answered last before it.
    pub from_k: u64,
    /// The next slot that was answered; None if none was.
    pub to_k: Option<u64>,
    /// The target was gone for at least so long.
    pub lo: Duration,
    /// The target was gone for at most so long; None if it has not answered since.
    pub hi: Option<Duration>,
    /// When the last slot answered before it was sent, ns of the session clock: it answered after that.
    pub from: Nanos,
    /// When the next answer came, ns of the session clock; None if none did.
    pub to: Option<Nanos>,
    /// Slots in it that were not answered in time.
    pub unanswered: u64,
}

/// All interruptions together: gaps with a witness of silence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interruptions {
    /// How many.
    pub count: u64,
    /// Sum of their lower bounds.
    pub lo: Duration,
    /// Sum of their upper bounds.
    pub hi: Duration,
}

/// Answers that tell what the network is like, in each of two halves.
const HALF: u32 = 256;
/// Fewer answers than this say little of the network: the longest of them is taken for a quarter of it.
const FEW: u32 = 8;

/// The undisturbed network by the newest answers that were not held back: 256 to 512 of them. Where all of 256
/// were, the network has become slower, and they count.
#[derive(Debug, Clone, PartialEq, Default)]
struct Network {
    before: Option<Baseline>,
    calm: Option<Baseline>,
    all: Option<Baseline>,
    n: u32,
}

impl Network {
    fn baseline(&self) -> Option<Baseline> {
        match (self.before, self.calm) {
            (Some(before), Some(calm)) => Some(joined(before, calm)),
            (one, other) => one.or(other).or(self.all),
        }
    }

    /// A longer round trip than this was held back, ns.
    fn held_above(&self, interval: u64) -> u64 {
        let Some(mut baseline) = self.baseline() else { return u64::MAX };
        if self.before.is_none() && self.n < FEW {
            baseline.rtt_max = baseline.rtt_max.saturating_mul(4);
        }
        baseline.held_above(interval)
    }

    fn learn(&mut self, rtt: u64, held: bool) {
        let with = |known: Option<Baseline>| Some(known.map_or(Baseline::one(rtt), |b| joined(b, Baseline::one(rtt))));
        self.all = with(self.all);
        if !held {
            self.calm = with(self.calm);
        }
        self.n += 1;
        if self.n == HALF {
            *self = Self { before: self.calm.or(self.all), ..Self::default() };
        }
    }
}

fn joined(a: Baseline, b: Baseline) -> Baseline {
    Baseline { rtt_min: a.rtt_min.min(b.rtt_min), rtt_max: a.rtt_max.max(b.rtt_max) }
}

/// What speaks for an outage.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Evidence {
    /// When the first and the last witness were sent, ns.
    witnesses: Option<(Nanos, Nanos)>,
    /// Slots that were not answered, and have not been since.
    gone: u64,
    /// Slots that were not answered in time.
    unanswered: u64,
}

impl Evidence {
    fn add(&mut self, sent: Nanos, is_witness: bool) {
        self.gone += 1;
        self.unanswered += 1;
        if is_witness {
            let (first, last) = self.witnesses.unwrap_or((sent, sent));
            self.witnesses = Some((first.min(sent), last.max(sent)));
        }
    }

    fn join(&mut self, more: Self) {
        if let Some((first, last)) = more.witnesses {
            let (known_first, known_last) = self.witnesses.unwrap_or((first, last));
            self.witnesses = Some((known_first.min(first), known_last.max(last)));
        }
        self.gone += more.gone;
        self.unanswered += more.unanswered;
    }

    /// One of the slots was answered after all.
    fn revise(&mut self) {
        self.gone = self.gone.saturating_sub(1);
        if self.gone == 0 {
            self.witnesses = None;
        }
    }
}

/// Slots after the newest answer that were not answered.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Trailing {
    first: Nanos,
    last: Nanos,
    evidence: Evidence,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Open {
    stretch: Stretch,
    evidence: Evidence,
}

impl Open {
    fn is_evident(&self) -> bool {
        self.evidence.gone > 0 || self.stretch.is_held()
    }

    fn lo(&self) -> u64 {
        self.stretch.lo(self.evidence.witnesses)
    }

    fn gap(&self) -> Gap {
        let Stretch { last, answer, .. } = self.stretch;
        Gap {
            from_k: last.k,
            to_k: Some(answer.k),
            lo: Duration::from_nanos(self.lo()),
            hi: Some(Duration::from_nanos(self.stretch.hi())),
            from: last.sent,
            to: Some(answer.got),
            unanswered: self.evidence.unanswered,
        }
    }
}

/// Stretches kept open for losses judged after they ended.
const RECENT: usize = 4_096;
/// Silences with a witness kept one by one: when there are twice as many, the shorter half goes.
const KEPT: usize = 4_096;

/// Finds silences in the outcomes of one probe, fed in the order in which they were judged.
/// Bounded memory.
#[derive(Debug, Clone, PartialEq)]
pub struct GapFinder {
    interval: u64,
    network: Network,
    /// The answers so far.
    last: Option<Last>,
    /// What was not answered after them, as far as judged.
    trailing: Option<Trailing>,
    recent: VecDeque<Open>,
    longest: Option<Gap>,
    /// From one answer to the next, the longest of all that are settled, ns.
    widest: u64,
    settled: Interruptions,
    /// Those of the settled ones that are kept one by one.
    kept: Chunked<Gap>,
}

impl GapFinder {
    /// For a probe whose slots are `interval_ns` apart.
    #[must_use]
    pub fn new(interval_ns: u64) -> Self {
        Self {
            interval: interval_ns,
            network: Network::default(),
            last: None,
            trailing: None,
            recent: VecDeque::new(),
            longest: None,
            widest: 0,
            settled: Interruptions::default(),
            kept: Chunked::new(),
        }
    }

    /// Slot `k`, sent at `sent`, was answered after `rtt` in time.
    pub fn answered(&mut self, k: u64, sent: Nanos, rtt: u64) {
        let answer = Answer { k, sent, got: sent.saturating_add(rtt) };
        let held_above = self.network.held_above(self.interval);
        let slack = self.network.baseline().map_or(rtt, |network| network.rtt_max);
        let held = rtt > held_above;
        self.network.learn(rtt, held);
        let Some(last) = &mut self.last else {
            // Nothing was answered before: there is no reply to measure from.
            (self.last, self.trailing) = (Some(Last { k, sent, answered: sent }), None);
            return;
        };
        let stretch = Stretch::new(*last, answer, slack, held_above, self.interval);
        last.take(&answer, held, slack);
        self.join(&answer);
        let evidence = self.take_trailing(&stretch);
        let open = Open { stretch, evidence };
        // Only where slots lie in it can something be judged, or answered, later.
        if k > stretch.last.k.saturating_add(1) || stretch.is_held() {
            self.recent.push_back(open);
            if self.recent.len() > RECENT
                && let Some(old) = self.recent.pop_front()
            {
                self.settle(&old);
            }
        } else {
            self.settle(&open);
        }
    }

    /// Slot `k`, sent at `sent` and lost before, was answered after `rtt`.
    pub fn answered_late(&mut self, k: u64, sent: Nanos, rtt: u64) {
        if let Some(open) = self.around(sent) {
            open.evidence.revise();
        } else if let Some(trailing) = self.trailing.as_mut().filter(|t| (t.first..=t.last).contains(&sent)) {
            trailing.evidence.revise();
            if trailing.evidence.gone == 0 {
                self.trailing = None;
            }
        }
        self.answered(k, sent, rtt);
    }

    /// A slot sent at `sent` was not answered as it should have been; whether it is a
    /// [witness](crate::event::Fate::is_witness).
    pub fn unanswered(&mut self, sent: Nanos, is_witness: bool) {
        if let Some(open) = self.around(sent) {
            open.evidence.add(sent, is_witness);
        } else if self.last.is_some_and(|last| sent > last.answered) {
            let fresh = Trailing { first: sent, last: sent, evidence: Evidence::default() };
            let trailing = self.trailing.get_or_insert(fresh);
            (trailing.first, trailing.last) = (trailing.first.min(sent), trailing.last.max(sent));
            trailing.evidence.add(sent, is_witness);
        }
    }

    /// Hands an answer to the stretches it came together with.
    fn join(&mut self, answer: &Answer) {
        for i in (0..self.recent.len()).rev() {
            let open = &mut self.recent[i];
            if !open.stretch.is_together(answer) {
                break;
            }
            if open.stretch.join(answer) {
                let stretch = open.stretch;
                let more = self.take_trailing(&stretch);
                self.recent[i].evidence.join(more);
            }
        }
    }

    /// What was not answered and lies in a stretch, as far as that is known.
    fn take_trailing(&mut self, stretch: &Stretch) -> Evidence {
        let Some(trailing) = self.trailing.filter(|trailing| trailing.first < stretch.back()) else {
            return Evidence::default();
        };
        let Trailing { first, last, evidence } = trailing;
        if last < stretch.back() {
            self.trailing = None;
            return match evidence.witnesses {
                _ if !stretch.holds(last) => Evidence::default(),
                Some((first, last)) if !stretch.holds(first) => Evidence { witnesses: Some((last, last)), ..evidence },
                _ => evidence,
            };
        }
        // Of those in the middle it is not known on which side they lie: they speak for what comes after.
        let mut within = Evidence::default();
        if stretch.holds(first) {
            within.add(first, evidence.witnesses.is_some_and(|w| w.0 == first));
        }
        let after = Evidence {
            witnesses: evidence.witnesses.map(|(_, last)| (last, last)),
            gone: evidence.gone.saturating_sub(within.gone).max(1),
            unanswered: evidence.unanswered.saturating_sub(within.unanswered).max(1),
        };
        self.trailing = Some(Trailing { first: last, last, evidence: after });
        within
    }

    fn around(&mut self, sent: Nanos) -> Option<&mut Open> {
        self.recent.iter_mut().rev().find(|open| open.stretch.holds(sent))
    }

    /// Memory taken, bytes, roughly.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.recent.capacity() * size_of::<Open>() + self.kept.heap_bytes()
    }

    /// The longest silence that ended: by its lower bound, then by its upper.
    #[must_use]
    pub fn longest(&self) -> Option<Gap> {
        self.recent.iter().map(Open::gap).chain(self.longest).max_by_key(|g| (g.lo, g.hi))
    }

    /// The longest from one answer to the next, from the sending of the first on, with or without a witness: no silence
    /// in between can have been longer.
    #[must_use]
    pub fn widest(&self) -> Duration {
        Duration::from_nanos(self.recent.iter().map(|open| open.stretch.hi()).max().unwrap_or(0).max(self.widest))
    }

    /// The silence that lasts still, if probes after the last reply were not answered.
    #[must_use]
    pub fn unfinished(&self) -> Option<Gap> {
        let (last, Evidence { witnesses, unanswered, .. }) = (self.last?, self.trailing?.evidence);
        let slack = self.network.baseline().map_or(0, |network| network.rtt_max);
        Some(Gap {
            from_k: last.k,
            to_k: None,
            lo: Duration::from_nanos(witnesses.map_or(0, |span| proved(span, slack))),
            hi: None,
            from: last.sent,
            to: None,
            unanswered,
        })
    }

    /// Silences with a witness one by one, in the order of time, the one that lasts still among them.
    /// Of more than some thousands the shorter ones are left out; [`interruptions`](Self::interruptions)
    /// counts all that ended.
    #[must_use]
    pub fn outages(&self) -> Vec<Gap> {
        let recent = self.recent.iter().filter(|open| open.is_evident()).map(Open::gap);
        let mut all: Vec<Gap> = self.kept.iter().copied().chain(recent).collect();
        all.sort_by_key(|g| g.from_k);
        all.extend(self.unfinished());
        all
    }

    /// All silences with a witness that ended, together.
    #[must_use]
    pub fn interruptions(&self) -> Interruptions {
        let mut all = self.settled;
        self.recent.iter().for_each(|open| count(&mut all, open));
        all
    }

    fn settle(&mut self, open: &Open) {
        count(&mut self.settled, open);
        let gap = open.gap();
        self.widest = self.widest.max(open.stretch.hi());
        if open.is_evident() {
            self.kept.push_back(gap);
            if self.kept.len() >= 2 * KEPT {
                let mut all: Vec<Gap> = self.kept.iter().copied().collect();
                all.sort_by_key(|g| std::cmp::Reverse((g.lo, g.hi)));
                all.truncate(KEPT);
                all.sort_by_key(|g| g.from_k);
                self.kept = all.into_iter().collect();
            }
        }
        self.longest = self.longest.into_iter().chain([gap]).max_by_key(|g| (g.lo, g.hi));
    }
}

fn count(all: &mut Interruptions, open: &Open) {
    if open.is_evident() {
        all.count += 1;
        all.lo = all.lo.saturating_add(Duration::from_nanos(open.lo()));
        all.hi = all.hi.saturating_add(Duration::from_nanos(open.stretch.hi()));
    }
}

#[cfg(test)]
mod tests;
