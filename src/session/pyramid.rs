//! The outcomes of a probe, summed up: how many of which class, shortest and longest round trip,
//! of any stretch of slots, in a time that does not grow with the number of slots.
//!
//! The lowest level holds the class of every single slot, so that a lost probe is found at its
//! slot however far the view spans; each level above sums up sixteen of the one below. Every level
//! is bounded, the coarser ones reach further back.

use crate::chunked::Chunked;
use crate::event::Class;

/// Binary logarithm of the slots of a bucket, from fine to coarse.
const SHIFT: [u32; 4] = [4, 8, 12, 16];
/// Buckets kept. At 1 kHz: 70 minutes, 4.6 hours, a day and a half, 12 days; at 50 ms 50 times as long.
const KEPT: [usize; 4] = [1 << 18, 1 << 16, 1 << 15, 1 << 14];
/// The coarsest level.
const TOP: usize = 3;
/// One in each nibble.
const ONES: u64 = 0x1111_1111_1111_1111;
/// The class bits of each nibble.
const CLASSES: u64 = ONES * 7;

/// A nibble's class bits.
fn code(class: Class) -> u64 {
    match class {
        Class::Ok => 1,
        Class::Late => 2,
        Class::Lost => 3,
        Class::NotSent => 4,
        Class::Error => 5,
        Class::Refused => 6,
        Class::Duplicate => 7,
    }
}

/// By code, less one: those a slot ends in, and further answers.
const ALL: [Class; 7] =
    [Class::Ok, Class::Late, Class::Lost, Class::NotSent, Class::Error, Class::Refused, Class::Duplicate];
/// Classes a slot ends in.
const ENDS: usize = 6;

/// What became of a stretch of slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Slots by class, in the order of [`ALL`].
    counts: [u64; ALL.len()],
    /// Shortest and longest round trip, ns.
    pub rtt: Option<(u64, u64)>,
    /// Bit by class: what there was, also where it could not be counted.
    seen: u8,
}

impl Summary {
    /// How many slots ended in a class; further answers for [`Class::Duplicate`].
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        self.counts[code(class) as usize - 1]
    }

    /// Whether there was any. It may be so with a count of 0: of slots so long ago that only
    /// stretches longer than the one asked for are known, each is counted where it begins.
    #[must_use]
    pub fn any(&self, class: Class) -> bool {
        self.seen & (1 << code(class)) != 0
    }

    /// Slots that were down: lost, refused, or ended in an error.
    #[must_use]
    pub fn down(&self) -> u64 {
        ALL.into_iter().filter(|class| class.is_down()).map(|class| self.count(class)).sum()
    }

    /// Slots that have an outcome.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.counts[..ENDS].iter().sum()
    }

    fn add(&mut self, class: usize, n: u64) {
        if n > 0 {
            self.counts[class] += n;
            self.seen |= 2 << class;
        }
    }

    fn took(&mut self, min: u64, max: u64) {
        if min <= max {
            let (low, high) = self.rtt.unwrap_or((min, max));
            self.rtt = Some((low.min(min), high.max(max)));
        }
    }
}

/// Sixteen slots: a nibble each.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Leaf {
    at: u64,
    classes: u64,
    rtt_min: u64,
    rtt_max: u64,
    duplicates: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Node {
    at: u64,
    counts: [u32; ALL.len()],
    rtt_min: u64,
    rtt_max: u64,
}

impl Leaf {
    /// The nibbles of the slots `from..=to` (0 to 15).
    fn mask(from: u64, to: u64) -> u64 {
        (u64::MAX >> (60 - 4 * (to - from))) << (4 * from)
    }

    /// A bit in each nibble of the mask that is of this class.
    fn of(&self, class: u64, mask: u64) -> u64 {
        let differs = (self.classes & CLASSES) ^ (class * ONES);
        !(differs | differs >> 1 | differs >> 2) & ONES & mask
    }

    fn class(&self, slot: u64) -> Option<Class> {
        let code = self.classes >> (4 * slot) & 7;
        ALL.get((code as usize).checked_sub(1)?).copied()
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// An answer, in time or late.
    Reply,
    /// One that was down: lost, refused, or in error.
    Down,
}

impl Want {
    fn codes(self) -> impl Iterator<Item = u64> {
        let wanted = move |class: &Class| match self {
            Self::Reply => class.is_answer(),
            Self::Down => class.is_down(),
        };
        ALL.into_iter().filter(wanted).map(code)
    }

    fn bits(self, leaf: &Leaf, mask: u64) -> u64 {
        self.codes().fold(0, |bits, code| bits | leaf.of(code, mask))
    }

    fn is_in(self, node: &Node) -> bool {
        self.codes().any(|code| node.counts[code as usize - 1] > 0)
    }
}

/// The levels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pyramid {
    leaves: Chunked<Leaf>,
    nodes: [Chunked<Node>; 3],
    /// Slots before this one are no longer known, by level.
    gone: [u64; 4],
}

impl Pyramid {
    /// Slots before this one are not known one by one.
    pub(super) fn reach(&self) -> u64 {
        self.gone[0]
    }

    /// The class of a slot; None if it has none, or none any more.
    pub(super) fn class(&self, k: u64) -> Option<Class> {
        let i = self.leaves.find(k >> SHIFT[0], |l| l.at).ok()?;
        self.leaves[i].class(k & 15)
    }

    /// Puts the outcome of a slot in, in place of the one it had (`old`).
    pub(super) fn put(&mut self, k: u64, old: Option<Class>, new: Class, rtt: Option<u64>) {
        if let Some(leaf) = self.leaf(k) {
            let nibble = 4 * (k & 15);
            leaf.classes = leaf.classes & !(7 << nibble) | code(new) << nibble;
            if let Some(rtt) = rtt {
                (leaf.rtt_min, leaf.rtt_max) = (leaf.rtt_min.min(rtt), leaf.rtt_max.max(rtt));
            }
        }
        self.each_node(k, |node| {
            if let Some(old) = old {
                let count = &mut node.counts[code(old) as usize - 1];
                *count = count.saturating_sub(1);
            }
            let count = &mut node.counts[code(new) as usize - 1];
            *count = count.saturating_add(1);
            if let Some(rtt) = rtt {
                (node.rtt_min, node.rtt_max) = (node.rtt_min.min(rtt), node.rtt_max.max(rtt));
            }
        });
    }

    /// A further answer for a slot.
    pub(super) fn duplicate(&mut self, k: u64) {
        if let Some(leaf) = self.leaf(k) {
            leaf.classes |= 8 << (4 * (k & 15));
            leaf.duplicates = leaf.duplicates.saturating_add(1);
        }
        self.each_node(k, |node| node.counts[ENDS] = node.counts[ENDS].saturating_add(1));
    }

    fn leaf(&mut self, k: u64) -> Option<&mut Leaf> {
        let empty = |at| Leaf { at, classes: 0, rtt_min: u64::MAX, rtt_max: 0, duplicates: 0 };
        bucket(&mut self.leaves, &mut self.gone[0], 0, k, |l| l.at, empty)
    }

    fn each_node(&mut self, k: u64, mut change: impl FnMut(&mut Node)) {
        let empty = |at| Node { at, counts: [0; ALL.len()], rtt_min: u64::MAX, rtt_max: 0 };
        for (i, (nodes, gone)) in self.nodes.iter_mut().zip(&mut self.gone[1..]).enumerate() {
            if let Some(node) = bucket(nodes, gone, i + 1, k, |n| n.at, empty) {
                change(node);
            }
        }
    }

    /// What became of the slots `from..=to`. `rtt` looks the shortest and longest round trip of a
    /// few slots up where outcomes are still held one by one.
    pub(super) fn summary(&self, from: u64, to: u64, rtt: &impl Fn(u64, u64) -> Option<Rtt>) -> Summary {
        let mut sum = Summary::default();
        if from <= to {
            self.gather(TOP, from, to, rtt, &mut sum);
        }
        sum
    }

    fn gather(&self, level: usize, from: u64, to: u64, rtt: &impl Fn(u64, u64) -> Option<Rtt>, sum: &mut Summary) {
        let Some(below) = level.checked_sub(1) else { return self.gather_leaves(from, to, rtt, sum) };
        for node in self.overlapping(level, from, to) {
            let (lo, hi) = bounds(level, node.at);
            if from <= lo && hi <= to {
                (0..ALL.len()).for_each(|class| sum.add(class, u64::from(node.counts[class])));
                sum.took(node.rtt_min, node.rtt_max);
            } else if lo.max(from) >= self.gone[below] {
                self.gather(below, lo.max(from), hi.min(to), rtt, sum);
            } else {
                for class in 0..ALL.len() {
                    if node.counts[class] > 0 {
                        sum.seen |= 2 << class;
                        sum.counts[class] += if from <= lo { u64::from(node.counts[class]) } else { 0 };
                    }
                }
                sum.took(node.rtt_min, node.rtt_max);
            }
        }
    }

    fn gather_leaves(&self, from: u64, to: u64, rtt: &impl Fn(u64, u64) -> Option<Rtt>, sum: &mut Summary) {
        let first = start(&self.leaves, from >> SHIFT[0], |l| l.at);
        for leaf in self.leaves.range(first..).take_while(|l| l.at <= to >> SHIFT[0]) {
            let (lo, hi) = bounds(0, leaf.at);
            let (a, b) = (lo.max(from), hi.min(to));
            let mask = Leaf::mask(a - lo, b - lo);
            for class in 0..ENDS {
                sum.add(class, u64::from(leaf.of(class as u64 + 1, mask).count_ones()));
            }
            if leaf.duplicates > 0 {
                let here = u64::from((leaf.classes >> 3 & ONES & mask).count_ones());
                sum.add(ENDS, if mask == u64::MAX { u64::from(leaf.duplicates) } else { here });
            }
            let whole = (leaf.rtt_min, leaf.rtt_max);
            if mask == u64::MAX {
                sum.took(whole.0, whole.1);
            } else if Want::Reply.bits(leaf, mask) != 0 {
                let (min, max) = rtt(a, b).unwrap_or(whole);
                sum.took(min, max);
            }
        }
    }

    fn overlapping(&self, level: usize, from: u64, to: u64) -> impl DoubleEndedIterator<Item = &Node> {
        let nodes = &self.nodes[level - 1];
        let first = start(nodes, from >> SHIFT[level], |n| n.at);
        let end = start(nodes, (to >> SHIFT[level]) + 1, |n| n.at);
        nodes.range(first..end)
    }

    /// The first such slot of `from..=to`. Of slots that are known only summed up, those down
    /// are taken to come first and the answered ones last.
    pub(super) fn next(&self, want: Want, from: u64, to: u64) -> Option<u64> {
        if from > to { None } else { self.next_in(TOP, want, from, to) }
    }

    fn next_in(&self, level: usize, want: Want, from: u64, to: u64) -> Option<u64> {
        let Some(below) = level.checked_sub(1) else {
            let first = start(&self.leaves, from >> SHIFT[0], |l| l.at);
            return self.leaves.range(first..).take_while(|l| l.at <= to >> SHIFT[0]).find_map(|leaf| {
                let (lo, hi) = bounds(0, leaf.at);
                let bits = want.bits(leaf, Leaf::mask(lo.max(from) - lo, hi.min(to) - lo));
                (bits != 0).then(|| lo + u64::from(bits.trailing_zeros() / 4))
            });
        };
        self.overlapping(level, from, to).filter(|node| want.is_in(node)).find_map(|node| {
            let (lo, hi) = bounds(level, node.at);
            if lo.max(from) >= self.gone[below] {
                return self.next_in(below, want, lo.max(from), hi.min(to));
            }
            Some(if want == Want::Down { lo } else { hi }).filter(|k| (from..=to).contains(k))
        })
    }

    /// The last such slot of `from..=to`.
    pub(super) fn prev(&self, want: Want, from: u64, to: u64) -> Option<u64> {
        if from > to { None } else { self.prev_in(TOP, want, from, to) }
    }

    fn prev_in(&self, level: usize, want: Want, from: u64, to: u64) -> Option<u64> {
        let Some(below) = level.checked_sub(1) else {
            let first = start(&self.leaves, from >> SHIFT[0], |l| l.at);
            let end = start(&self.leaves, (to >> SHIFT[0]) + 1, |l| l.at);
            return self.leaves.range(first..end).rev().find_map(|leaf| {
                let (lo, hi) = bounds(0, leaf.at);
                let bits = want.bits(leaf, Leaf::mask(lo.max(from) - lo, hi.min(to) - lo));
                (bits != 0).then(|| lo + u64::from((63 - bits.leading_zeros()) / 4))
            });
        };
        self.overlapping(level, from, to).rev().filter(|node| want.is_in(node)).find_map(|node| {
            let (lo, hi) = bounds(level, node.at);
            if lo.max(from) >= self.gone[below] {
                return self.prev_in(below, want, lo.max(from), hi.min(to));
            }
            Some(if want == Want::Down { lo } else { hi }).filter(|k| (from..=to).contains(k))
        })
    }

    /// What this holds that `other`, an older copy of it, does not, bytes.
    pub(super) fn own_bytes(&self, other: &Self) -> usize {
        let nodes = self.nodes.iter().zip(&other.nodes).map(|(ours, theirs)| ours.own_bytes(theirs));
        self.leaves.own_bytes(&other.leaves) + nodes.sum::<usize>()
    }

    /// Memory taken, bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.leaves.heap_bytes() + self.nodes.iter().map(Chunked::heap_bytes).sum::<usize>()
    }
}

/// Shortest and longest round trip, ns.
pub(super) type Rtt = (u64, u64);

/// First and last slot of a bucket.
fn bounds(level: usize, at: u64) -> (u64, u64) {
    let lo = at << SHIFT[level];
    (lo, lo | ((1 << SHIFT[level]) - 1))
}

/// The index of the first bucket from `at` on.
fn start<T>(level: &Chunked<T>, at: u64, key: impl Fn(&T) -> u64) -> usize {
    level.find(at, key).unwrap_or_else(|i| i)
}

/// The bucket of a slot, made if it is missing; None if it is gone.
fn bucket<'a, T: Clone>(
    buckets: &'a mut Chunked<T>,
    gone: &mut u64,
    level: usize,
    k: u64,
    key: impl Fn(&T) -> u64,
    empty: impl Fn(u64) -> T,
) -> Option<&'a mut T> {
    if k < *gone {
        return None;
    }
    let at = k >> SHIFT[level];
    match buckets.find(at, &key) {
        Ok(i) => buckets.get_mut(i),
        Err(i) => {
            buckets.insert(i, empty(at));
            if buckets.len() <= KEPT[level] {
                return buckets.get_mut(i);
            }
            if let Some(first) = buckets.front() {
                *gone = bounds(level, key(first)).1.saturating_add(1);
            }
            buckets.pop_front();
            // The one just put in may be the one that went.
            buckets.get_mut(i.checked_sub(1)?)
        }
    }
}
