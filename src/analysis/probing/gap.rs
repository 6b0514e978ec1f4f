//! Silences: stretches without a reply, with bounds on how long the target was really gone.
//!
//! Between A and B, the next slot answered after it, the target was gone for at most `hi` =
//! received(B) - sent(A): it answered A after A was sent, and B before B came in. It was gone for at
//! least `lo`, which needs witnesses, and spans from the first to the last of them:
//! - a slot in between that was lost, or overtaken by B by more than an interval: at its sending;
//! - B itself, if it waited more than an interval longer than A did (a paused guest's queue): from
//!   its sending to received(B) less A's round trip.
//!
//! So `lo` holds if the path neither loses nor delays single probes by itself. Slots we did not send
//! widen `hi` and never raise `lo`. A revised slot (lost, then late) stays a witness: it was not
//! answered when it should have been.

use std::collections::VecDeque;
use std::time::Duration;

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

#[derive(Debug, Clone, Copy, PartialEq)]
struct Reply {
    k: u64,
    sent: Nanos,
    received: Nanos,
}

impl Reply {
    fn rtt(&self) -> u64 {
        self.received.saturating_sub(self.sent)
    }
}

/// The span of what the witnesses of a stretch have seen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    first: Nanos,
    last: Nanos,
}

fn join(span: Option<Span>, more: Span) -> Option<Span> {
    let s = span.unwrap_or(more);
    Some(Span { first: s.first.min(more.first), last: s.last.max(more.last) })
}

fn at(sent: Nanos) -> Span {
    Span { first: sent, last: sent }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    from: Reply,
    to: Reply,
    witnesses: Option<Span>,
    unanswered: u64,
}

impl Stretch {
    /// `to` answers a slot after that of `from`.
    fn new(from: Reply, to: Reply, (witnesses, unanswered): (Option<Span>, u64), interval: u64) -> Self {
        let usual = from.rtt();
        let waited = to.rtt() > usual.saturating_add(interval);
        let itself = Span { first: to.sent, last: to.received.saturating_sub(usual) };
        Self { from, to, witnesses: if waited { join(witnesses, itself) } else { witnesses }, unanswered }
    }

    fn hi(&self) -> u64 {
        self.to.received.saturating_sub(self.from.sent)
    }

    /// None without a witness.
    fn lo(&self) -> Option<u64> {
        self.witnesses.map(|w| w.last - w.first)
    }

    fn gap(&self) -> Gap {
        Gap {
            from_k: self.from.k,
            to_k: Some(self.to.k),
            lo: Duration::from_nanos(self.lo().unwrap_or(0)),
            hi: Some(Duration::from_nanos(self.hi())),
            from: self.from.sent,
            to: Some(self.to.received),
            unanswered: self.unanswered,
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
    /// The newest slot answered.
    newest: Option<Reply>,
    /// Losses after the newest slot answered, as far as judged.
    trailing: Option<Span>,
    /// How many they are.
    trailing_slots: u64,
    recent: VecDeque<Stretch>,
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
            newest: None,
            trailing: None,
            trailing_slots: 0,
            recent: VecDeque::new(),
            longest: None,
            widest: 0,
            settled: Interruptions::default(),
            kept: Chunked::new(),
        }
    }

    /// Slot `k`, sent at `sent`, was answered after `rtt`; in time or late.
    pub fn answered(&mut self, k: u64, sent: Nanos, rtt: u64) {
        let to = Reply { k, sent, received: sent.saturating_add(rtt) };
        let Some(from) = self.newest else {
            (self.newest, self.trailing, self.trailing_slots) = (Some(to), None, 0);
            return;
        };
        if k <= from.k {
            self.overtaken(k, sent, rtt);
            return;
        }
        // Where no slot lies in between, what was lost is `to` itself, which speaks for itself, or
        // comes after it.
        let next = k <= from.k.saturating_add(1);
        let witnesses = self.trailing.take().filter(|_| !next);
        let unanswered = std::mem::take(&mut self.trailing_slots);
        let stretch = Stretch::new(from, to, (witnesses, unanswered), self.interval);
        self.newest = Some(to);
        // Only a slot in between can be judged, or answered, later.
        if !next {
            self.recent.push_back(stretch);
            if self.recent.len() > RECENT
                && let Some(old) = self.recent.pop_front()
            {
                self.settle(&old);
            }
        } else {
            self.settle(&stretch);
        }
    }

    /// Slot `k`, sent at `sent`, was not answered by its deadline.
    pub fn lost(&mut self, k: u64, sent: Nanos) {
        match self.newest {
            // Nothing was ever answered: there is no reply to measure from.
            None => {}
            Some(newest) if k > newest.k => {
                self.trailing = join(self.trailing, at(sent));
                self.trailing_slots += 1;
            }
            Some(_) => {
                if let Some(stretch) = self.around(k) {
                    stretch.witnesses = join(stretch.witnesses, at(sent));
                    stretch.unanswered += 1;
                }
            }
        }
    }

    fn overtaken(&mut self, k: u64, sent: Nanos, rtt: u64) {
        let interval = self.interval;
        if let Some(stretch) = self.around(k)
            && rtt > stretch.from.rtt().saturating_add(interval)
        {
            stretch.witnesses = join(stretch.witnesses, at(sent));
        }
    }

    fn around(&mut self, k: u64) -> Option<&mut Stretch> {
        self.recent.iter_mut().rev().find(|s| s.from.k < k && k < s.to.k)
    }

    /// Memory taken, bytes, roughly.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.recent.capacity() * size_of::<Stretch>() + self.kept.heap_bytes()
    }

    /// The longest silence that ended: by its lower bound, then by its upper.
    #[must_use]
    pub fn longest(&self) -> Option<Gap> {
        self.recent.iter().map(|s| s.gap()).chain(self.longest).max_by_key(|g| (g.lo, g.hi))
    }

    /// The longest from one answer to the next, from the sending of the first on, with or without a witness: no silence
    /// in between can have been longer.
    #[must_use]
    pub fn widest(&self) -> Duration {
        Duration::from_nanos(self.recent.iter().map(Stretch::hi).max().unwrap_or(0).max(self.widest))
    }

    /// The silence that lasts still, if probes after the last reply were lost.
    #[must_use]
    pub fn unfinished(&self) -> Option<Gap> {
        let (newest, span) = (self.newest?, self.trailing?);
        Some(Gap {
            from_k: newest.k,
            to_k: None,
            lo: Duration::from_nanos(span.last - span.first),
            hi: None,
            from: newest.sent,
            to: None,
            unanswered: self.trailing_slots,
        })
    }

    /// Silences with a witness one by one, in the order of time, the one that lasts still among them.
    /// Of more than some thousands the shorter ones are left out; [`interruptions`](Self::interruptions)
    /// counts all that ended.
    #[must_use]
    pub fn outages(&self) -> Vec<Gap> {
        let recent = self.recent.iter().filter(|s| s.witnesses.is_some()).map(Stretch::gap);
        let mut all: Vec<Gap> = self.kept.iter().copied().chain(recent).collect();
        all.sort_by_key(|g| g.from_k);
        all.extend(self.unfinished());
        all
    }

    /// All silences with a witness that ended, together.
    #[must_use]
    pub fn interruptions(&self) -> Interruptions {
        let mut all = self.settled;
        self.recent.iter().for_each(|s| count(&mut all, s));
        all
    }

    fn settle(&mut self, stretch: &Stretch) {
        count(&mut self.settled, stretch);
        let gap = stretch.gap();
        self.widest = self.widest.max(stretch.hi());
        if stretch.witnesses.is_some() {
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

fn count(all: &mut Interruptions, stretch: &Stretch) {
    if let Some(lo) = stretch.lo() {
        all.count += 1;
        all.lo = all.lo.saturating_add(Duration::from_nanos(lo));
        all.hi = all.hi.saturating_add(Duration::from_nanos(stretch.hi()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(d: Duration) -> u64 {
        d.as_millis() as u64
    }

    #[test]
    fn no_silence_without_a_witness() {
        let mut g = GapFinder::new(10 * MS);
        (0..100).for_each(|k| g.answered(k, k * 10 * MS, MS));
        let longest = g.longest().unwrap();
        assert_eq!((ms(longest.lo), longest.hi.map(ms)), (0, Some(11)));
        assert_eq!(g.interruptions(), Interruptions::default());
        assert_eq!(g.unfinished(), None);
    }

    #[test]
    fn slots_we_did_not_send_raise_no_lower_bound() {
        let mut g = GapFinder::new(10 * MS);
        g.answered(0, 0, MS);
        g.answered(50, 500 * MS, MS);
        let longest = g.longest().unwrap();
        assert_eq!((ms(longest.lo), longest.hi.map(ms)), (0, Some(501)));
        assert_eq!(g.interruptions().count, 0);
    }

    #[test]
    fn a_hole_in_a_blackout_makes_two() {
        let mut g = GapFinder::new(10 * MS);
        g.answered(0, 0, MS);
        g.answered(6, 60 * MS, MS);
        g.answered(10, 100 * MS, MS);
        for k in [1, 2, 3, 4, 5, 7, 8, 9] {
            g.lost(k, k * 10 * MS);
        }
        let longest = g.longest().unwrap();
        assert_eq!((longest.from_k, longest.to_k), (0, Some(6)));
        assert_eq!((ms(longest.lo), longest.hi.map(ms)), (40, Some(61)));
        let all = g.interruptions();
        assert_eq!((all.count, ms(all.lo), ms(all.hi)), (2, 60, 102));
    }

    #[test]
    fn a_silence_that_lasts_has_no_upper_bound() {
        let mut g = GapFinder::new(10 * MS);
        g.lost(0, 0);
        assert_eq!(g.unfinished(), None, "never answered: no silence to speak of");
        g.answered(1, 10 * MS, MS);
        g.lost(2, 20 * MS);
        g.lost(3, 30 * MS);
        assert_eq!(g.unfinished().map(|x| (ms(x.lo), x.hi)), Some((10, None)));
    }

    #[test]
    fn outages_have_their_bounds_and_times() {
        let mut g = GapFinder::new(10 * MS);
        g.answered(0, 0, MS);
        (1..5).for_each(|k| g.lost(k, k * 10 * MS));
        g.answered(5, 50 * MS, MS);
        g.answered(6, 60 * MS, MS);
        (7..9).for_each(|k| g.lost(k, k * 10 * MS));
        let seen =
            g.outages().iter().map(|o| (o.from / MS, o.to.map(|t| t / MS), ms(o.lo), o.unanswered)).collect::<Vec<_>>();
        assert_eq!(seen, [(0, Some(51), 30, 4), (60, None, 10, 2)]);
    }

    #[test]
    fn of_many_outages_the_longest_are_kept_and_all_are_counted() {
        let mut g = GapFinder::new(10 * MS);
        let mut k = 0;
        for n in 0..3 * KEPT as u64 {
            g.answered(k, k * 10 * MS, MS);
            let lost = if n == 77 { 40 } else { 1 };
            (k + 1..=k + lost).for_each(|k| g.lost(k, k * 10 * MS));
            k += lost + 1;
        }
        let kept = g.outages();
        assert!(kept.len() <= 3 * KEPT && kept.len() >= KEPT, "{}", kept.len());
        assert!(kept.iter().any(|o| o.unanswered == 40), "the longest is among them");
        assert_eq!(g.interruptions().count + 1, 3 * KEPT as u64);
    }

    #[test]
    fn absurd_numbers_of_a_strangers_capture_are_borne() {
        let mut g = GapFinder::new(u64::MAX);
        g.answered(u64::MAX, u64::MAX, u64::MAX);
        g.answered(u64::MAX, 0, 0);
        g.lost(u64::MAX, u64::MAX);
        let mut g = GapFinder::new(1);
        g.answered(0, u64::MAX, 1);
        g.lost(1, 0);
        g.answered(u64::MAX, 0, u64::MAX);
        let _ = (g.outages(), g.longest(), g.interruptions());
    }

    #[test]
    fn a_queue_answered_late_is_one_interruption() {
        let mut g = GapFinder::new(10 * MS);
        g.answered(0, 0, MS);
        for k in 1..=200 {
            // Some judged lost beforehand, some only as their late answer is read.
            g.lost(k, k * 10 * MS);
            g.answered(k, k * 10 * MS, (2_001 - k * 10 + 10) * MS);
        }
        let all = g.interruptions();
        assert_eq!((all.count, ms(all.lo), ms(all.hi)), (1, 2_000, 2_011));
    }

    #[test]
    fn a_single_probe_delayed_on_its_way_is_no_silence() {
        let mut g = GapFinder::new(10 * MS);
        for k in 0..100 {
            if k % 10 != 7 {
                g.answered(k, k * 10 * MS, MS);
            }
            if k % 10 == 9 {
                g.answered(k - 2, (k - 2) * 10 * MS, 25 * MS);
            }
        }
        let longest = g.longest().unwrap();
        assert_eq!((ms(longest.lo), longest.hi.map(ms)), (0, Some(21)));
        assert_eq!(g.interruptions().lo, Duration::ZERO);
    }

    proptest! {
        /// A target gone from `begin` for `gone`, its queue lost or kept, always within the bounds.
        #[test]
        fn the_true_outage_lies_within_the_bounds(
            begin in 200u64..300, gone in 0u64..3_000, interval in 1u64..60, owd in 0u64..5, kept in 0usize..400, deadline in 100u64..1_500, newest_first: bool,
        ) {
            let (begin, gone, interval, owd, deadline) = (begin * MS, gone * MS, interval * MS, owd * MS / 2, deadline * MS);
            let back = begin + gone;
            // (when judged, k, sent, received); the first `kept` probes that meet no guest wait for it.
            let mut outcomes = Vec::new();
            let mut queued = 0;
            for k in 0..(back + 500 * MS) / interval {
                let sent = k * interval;
                let arrives = sent + owd;
                let answered = if arrives < begin || arrives >= back {
                    Some(arrives)
                } else if queued < kept {
                    queued += 1;
                    Some(back)
                } else {
                    None
                };
                match answered.map(|t| t + owd) {
                    Some(t) if t < sent + deadline => outcomes.push((t, k, sent, Some(t))),
                    Some(t) => {
                        outcomes.push((sent + deadline, k, sent, None));
                        outcomes.push((t, k, sent, Some(t)));
                    }
                    None => outcomes.push((sent + deadline, k, sent, None)),
                }
            }
            outcomes.sort_by_key(|o| (o.0, if newest_first && o.3.is_some() { u64::MAX - o.1 } else { o.1 }));
            let mut g = GapFinder::new(interval);
            for (_, k, sent, received) in outcomes {
                match received {
                    Some(t) => g.answered(k, sent, t - sent),
                    None => g.lost(k, sent),
                }
            }
            let longest = g.longest().unwrap();
            let (lo, hi) = (longest.lo.as_nanos() as u64, longest.hi.unwrap().as_nanos() as u64);
            prop_assert!(lo <= gone, "lo {lo} gone {gone}");
            // Without a witness another, ordinary stretch may be the longest; it is no shorter.
            prop_assert!(hi >= gone, "hi {hi} gone {gone}");
            prop_assert!(hi - lo <= 2 * interval + 2 * (2 * owd) + interval, "[{lo}, {hi}] is wider than it need be");
        }
    }
}
