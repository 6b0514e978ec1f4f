//! Sets of pages as ranges.

/// A set of page numbers: sorted ranges `[from, to)` that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    ranges: Vec<(u64, u64)>,
}

impl RangeSet {
    /// The set of one range.
    pub(super) fn of(from: u64, to: u64) -> Self {
        Self { ranges: if from < to { vec![(from, to)] } else { Vec::new() } }
    }

    /// How many pages.
    pub(super) fn len(&self) -> u64 {
        self.ranges.iter().map(|(from, to)| to - from).sum()
    }

    /// How many pages below `bound`.
    pub(super) fn len_below(&self, bound: u64) -> u64 {
        self.ranges.iter().map(|(from, to)| (*to).min(bound).saturating_sub(*from)).sum()
    }

    pub(super) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Index of the first range that ends behind `page`.
    fn after(&self, page: u64) -> usize {
        self.ranges.partition_point(|(_, to)| *to <= page)
    }

    pub(super) fn contains(&self, page: u64) -> bool {
        self.ranges.get(self.after(page)).is_some_and(|(from, _)| *from <= page)
    }

    /// Adds a range.
    pub(super) fn insert(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        // Those that overlap or touch it become one with it.
        let first = self.ranges.partition_point(|(_, end)| *end < from);
        let beyond = first + self.ranges[first..].partition_point(|(begin, _)| *begin <= to);
        if first < beyond {
            from = from.min(self.ranges[first].0);
            to = to.max(self.ranges[beyond - 1].1);
            self.ranges[first] = (from, to);
            self.ranges.drain(first + 1..beyond);
        } else {
            self.ranges.insert(first, (from, to));
        }
    }

    /// Adds all of another set.
    pub(super) fn union(&mut self, other: &Self) {
        for (from, to) in &other.ranges {
            self.insert(*from, *to);
        }
    }

    /// Takes a range out.
    pub(super) fn remove(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let first = self.after(from);
        let beyond = first + self.ranges[first..].partition_point(|(begin, _)| *begin < to);
        if first == beyond {
            return;
        }
        let head = (self.ranges[first].0, from);
        let tail = (to, self.ranges[beyond - 1].1);
        let kept = [head, tail].into_iter().filter(|(a, b)| a < b);
        self.ranges.splice(first..beyond, kept);
    }

    /// The first range at or behind `page`, cut off before it.
    pub(super) fn next(&self, page: u64) -> Option<(u64, u64)> {
        self.ranges.get(self.after(page)).map(|(from, to)| ((*from).max(page), *to))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(ops in prop::collection::vec((any::<bool>(), 0u64..60, 0u64..20), 0..40), at in 0u64..80, bound in 0u64..80) {
            let (mut ranges, mut set) = (RangeSet::default(), BTreeSet::new());
            for (add, from, n) in ops {
                if add {
                    ranges.insert(from, from + n);
                    set.extend(from..from + n);
                } else {
                    ranges.remove(from, from + n);
                    (from..from + n).for_each(|p| { set.remove(&p); });
                }
                prop_assert_eq!(ranges.len(), set.len() as u64);
                prop_assert!(ranges.ranges.windows(2).all(|w| w[0].1 < w[1].0) && ranges.ranges.iter().all(|r| r.0 < r.1));
            }
            prop_assert_eq!(ranges.contains(at), set.contains(&at));
            prop_assert_eq!(ranges.next(at).map(|r| r.0), set.range(at..).next().copied());
            prop_assert_eq!(ranges.len_below(bound), set.range(..bound).count() as u64);
            let mut both = RangeSet::of(10, 20);
            both.union(&ranges);
            set.extend(10..20);
            prop_assert_eq!(both.len(), set.len() as u64);
        }
    }
}
