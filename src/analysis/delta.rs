//! How far one result is from another.

use super::Bounded;

/// The difference between a value and its baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delta {
    /// Value less baseline, in the unit of the two; of downtimes, s.
    pub by: f64,
    /// The same in % of the baseline; None where the baseline is 0.
    pub percent: Option<f64>,
    /// No difference is shown: the values are the same, or their bounds overlap.
    pub alike: bool,
}

impl Delta {
    /// Of two values that are exact.
    #[must_use]
    pub fn exact(value: f64, baseline: f64) -> Self {
        let by = value - baseline;
        Self { by, percent: percent(by, baseline), alike: by == 0.0 }
    }

    /// Of two values that are known within bounds. Where the bounds overlap, both may be of one
    /// truth: a difference inside the bounds is not a difference.
    #[must_use]
    pub fn bounded(value: &Bounded, baseline: &Bounded) -> Self {
        let (of, base) = (value.value.as_secs_f64(), baseline.value.as_secs_f64());
        Self { alike: value.overlaps(baseline), ..Self::exact(of, base) }
    }
}

fn percent(by: f64, baseline: f64) -> Option<f64> {
    (baseline != 0.0).then(|| 100.0 * by / baseline).filter(|p| p.is_finite())
}

impl Bounded {
    /// Whether one truth may lie within the bounds of both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn ms(value: u64, lo: u64, hi: u64) -> Bounded {
        let ms = Duration::from_millis;
        Bounded { value: ms(value), lo: ms(lo), hi: ms(hi) }
    }

    #[test]
    fn a_difference_inside_the_bounds_is_none() {
        let near = Delta::bounded(&ms(120, 70, 170), &ms(100, 50, 150));
        assert!(near.alike);
        assert!((near.by - 0.020).abs() < 1e-9 && (near.percent.unwrap() - 20.0).abs() < 1e-9);
        assert!(!Delta::bounded(&ms(300, 250, 350), &ms(100, 50, 150)).alike);
    }

    #[test]
    fn nothing_is_a_share_of_nothing() {
        let from_nothing = Delta::exact(5.0, 0.0);
        assert_eq!((from_nothing.percent, from_nothing.alike), (None, false));
        assert!(Delta::exact(0.0, 0.0).alike);
    }

    proptest! {
        #[test]
        fn overlap_is_mutual_and_holds_where_a_value_is_shared(a in any::<[u32; 3]>(), b in any::<[u32; 3]>()) {
            let sorted = |mut v: [u32; 3]| {
                v.sort_unstable();
                ms(u64::from(v[1]), u64::from(v[0]), u64::from(v[2]))
            };
            let (a, b) = (sorted(a), sorted(b));
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
            prop_assert!(a.overlaps(&a));
            let lo = a.lo.max(b.lo);
            prop_assert_eq!(a.overlaps(&b), lo <= a.hi && lo <= b.hi);
        }
    }
}
