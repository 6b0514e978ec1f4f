//! How far a key press goes, and values on round numbers.

/// How far one key press goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A little.
    Fine,
    /// A lot.
    Coarse,
}

/// One step up or down a scale without end: a tenth of the decade (fine) or the decade (coarse),
/// at least `least`, on whole multiples of the step.
pub(super) fn decade_step(value: f64, up: bool, step: Step, least: f64) -> f64 {
    let least = if step == Step::Coarse { least * 10.0 } else { least };
    // Just under a power of ten, so that a step down from 10,000 is as small as one up to it.
    let probe = if up { value } else { value * (1.0 - 1e-9) - 1e-9 };
    let decade = if probe > 0.0 { 10f64.powf(probe.log10().floor()) } else { 0.0 };
    let size = (if step == Step::Coarse { decade } else { decade / 10.0 }).max(least);
    // The part of a step that rounding errors may take: 3.0000000001 steps are 3.
    let slack = 1e-6;
    let steps = if up { (value / size + slack).floor() + 1.0 } else { (value / size - slack).ceil() - 1.0 };
    (steps * size).max(0.0)
}

/// One step on a scale from 0 to `max`.
pub(super) fn linear_step(value: f64, up: bool, size: f64, max: f64) -> f64 {
    (if up { value + size } else { value - size }).clamp(0.0, max)
}

/// The next of `all`, round and round; the first where none of them is there now.
pub(super) fn cycled<T: Clone>(all: &[T], is_now: impl Fn(&T) -> bool, up: bool) -> T {
    let next = match all.iter().position(is_now) {
        Some(at) if up => (at + 1) % all.len(),
        Some(at) => (at + all.len() - 1) % all.len(),
        None => 0,
    };
    all[next].clone()
}

/// The number of three digits that is nearest, at least whole: 7,812.5 is 7,810.
pub(super) fn three_digits(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 0.0;
    }
    let unit = 10f64.powf(value.log10().floor() - 2.0).max(1.0);
    (value / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_digits_are_kept() {
        assert_eq!(three_digits(7812.5), 7810.0);
        assert_eq!(three_digits(0.4), 0.0);
        assert_eq!(three_digits(f64::NAN), 0.0);
    }

    proptest! {
        #[test]
        fn steps_never_stand_still_below_the_limits(rate in 1u64..100_000_000, coarse: bool) {
            let step = if coarse { Step::Coarse } else { Step::Fine };
            let up = decade_step(rate as f64, true, step, 100.0);
            let down = decade_step(rate as f64, false, step, 100.0);
            prop_assert!(up > rate as f64 && down < rate as f64);
        }

        #[test]
        fn a_step_up_and_one_down_is_where_it_was(steps in 1u64..100, exponent in 0u32..6) {
            let at = (steps * 10u64.pow(exponent)) as f64;
            let up = decade_step(at, true, Step::Fine, 1.0);
            prop_assert!((decade_step(up, false, Step::Fine, 1.0) - at).abs() < 1e-6 * at, "{} {}", at, up);
        }
    }
}
