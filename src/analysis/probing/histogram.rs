//! Quantiles of durations in bounded memory.
//!
//! Not by the crate `hdrhistogram`: for 1 ns to a minute at this resolution it holds some 3,800 counters one after
//! another (30 KB), where a probe's answers fill some tens. Two of them stand in each probe's figures, which are
//! copied as often as a changed state is looked at.

use std::collections::BTreeMap;

/// A histogram of nanoseconds with logarithmic buckets, each split evenly in 128: any quantile is
/// right to 0.8 %; smallest, largest and mean are exact. No more than 7,424 buckets, however long it
/// runs, and no more than there are different values: a handful where they are alike.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    buckets: BTreeMap<u16, u64>,
    n: u64,
    sum: u128,
    min: u64,
    max: u64,
}

const SPLIT_BITS: u32 = 7;
const SPLIT: u64 = 1 << SPLIT_BITS;

fn bucket_of(v: u64) -> u16 {
    if v < SPLIT {
        return v as u16;
    }
    // v has its highest bit at or above SPLIT_BITS; keep that bit and the SPLIT_BITS below it.
    let octave = u64::BITS - 1 - v.leading_zeros() - SPLIT_BITS;
    (u64::from(octave + 1) * SPLIT + ((v >> octave) - SPLIT)) as u16
}

/// The middle of a bucket.
fn value_of(bucket: u16) -> u64 {
    let b = u64::from(bucket);
    if b < SPLIT {
        return b;
    }
    let octave = b / SPLIT - 1;
    let lowest = (SPLIT + b % SPLIT) << octave;
    lowest + (1 << octave) / 2
}

impl Histogram {
    /// Adds a value.
    pub fn add(&mut self, v: u64) {
        *self.buckets.entry(bucket_of(v)).or_default() += 1;
        self.min = if self.n == 0 { v } else { self.min.min(v) };
        self.max = self.max.max(v);
        self.n += 1;
        self.sum += u128::from(v);
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Memory taken, bytes, roughly.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.buckets.len() * 16
    }

    /// The smallest value.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        (self.n > 0).then_some(self.min)
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        (self.n > 0).then_some(self.max)
    }

    /// The arithmetic mean.
    #[must_use]
    pub fn mean(&self) -> Option<u64> {
        (self.n > 0).then(|| (self.sum / u128::from(self.n)) as u64)
    }

    /// The value a share `q` (0 to 1) of all values does not exceed (nearest rank), to 0.8 %.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        if self.n == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * self.n as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (b, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(value_of(*b).clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_none() {
        let h = Histogram::default();
        assert_eq!((h.min(), h.max(), h.mean(), h.quantile(0.5)), (None, None, None, None));
    }

    #[test]
    fn small_numbers_are_exact() {
        let mut h = Histogram::default();
        (1..=100).for_each(|v| h.add(v));
        assert_eq!(
            (h.quantile(0.5), h.quantile(0.99), h.quantile(0.0), h.quantile(1.0)),
            (Some(50), Some(99), Some(1), Some(100))
        );
        assert_eq!((h.min(), h.max(), h.mean(), h.len()), (Some(1), Some(100), Some(50), 100));
    }

    proptest! {
        #[test]
        fn quantiles_are_near_the_exact_ones(mut values in proptest::collection::vec(any::<u64>().prop_map(|v| v >> (v % 60)), 1..200), q in 0.0f64..=1.0) {
            let mut h = Histogram::default();
            values.iter().for_each(|v| h.add(*v));
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let (exact, got) = (values[rank - 1], h.quantile(q).unwrap());
            prop_assert!(exact.abs_diff(got) as f64 <= exact as f64 * 0.008, "{exact} {got}");
            prop_assert!(h.buckets.len() <= 58 * 128);
        }
    }
}
