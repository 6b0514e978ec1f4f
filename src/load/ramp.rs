//! A ramp: RATE going from one value to another by itself, so that a load crosses the jump on its
//! own. Its text form, and the straight line it follows.

use std::time::Duration;

use crate::event::DirtyCycle;
use crate::units::{ParseError, parse_duration, parse_rate};

use super::params::{DEFAULT_PERIOD, MAX_RATE};

/// How to write a ramp.
const HINT: &str = "for instance '2000..12000/20s', '2000 to 12000 in 20s' or, from the RATE there is, \
                    'to 12000 in 20s'";

/// A ramp as asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RampSpec {
    /// RATE at the beginning, pages/s; None begins at the RATE that is set then.
    pub from_pages_per_s: Option<f64>,
    /// RATE at the end, pages/s.
    pub to_pages_per_s: f64,
    /// How long it takes. Never 0.
    pub over: Duration,
}

/// Reads a ramp: `2000..12000/20s`, `2000 to 12000 in 20s`, `2000 12000 20s`; without its beginning
/// (`to 12000 in 20s`, `..12000/20s`) it starts from the RATE there is.
///
/// # Errors
/// When a RATE is no number from 0 to [`MAX_RATE`], the time is no positive duration with its unit,
/// or one of them is missing.
pub(crate) fn parse(text: &str) -> Result<RampSpec, ParseError> {
    let fail = |why: String| ParseError { text: text.into(), what: "ramp", why, hint: HINT };
    if text.contains("...") {
        return Err(fail("'...' is neither '..' nor a number".into()));
    }
    let spaced = text.replace("..", " to ").replace('/', " in ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let words = words.strip_prefix(&["from"]).unwrap_or(&words);
    let (from, rest) = match words {
        ["to", rest @ ..] => (None, rest),
        [from, "to", rest @ ..] => (Some(*from), rest),
        [from, rest @ ..] => (Some(*from), rest),
        [] => return Err(fail("it is empty".into())),
    };
    let (to, time) = match rest {
        [to, "in" | "over", time @ ..] | [to, time @ ..] => (*to, time.concat()),
        [] => return Err(fail("it does not say where RATE is to go".into())),
    };
    let rate = |text: &str| match parse_rate(text) {
        Ok(rate) if rate <= MAX_RATE => Ok(rate),
        Ok(_) => Err(fail(format!("'{text}' is over the highest RATE, 1,000,000,000 pages/s"))),
        Err(e) => Err(fail(format!("'{text}' is not a RATE ({})", e.why))),
    };
    let (from_pages_per_s, to_pages_per_s) = (from.map(rate).transpose()?, rate(to)?);
    if time.is_empty() {
        return Err(fail("it does not say how long it is to take".into()));
    }
    let over = parse_duration(&time).map_err(|e| fail(format!("'{time}' is not a duration ({})", e.why)))?;
    if over.is_zero() {
        return Err(fail("it takes no time at all; to jump there at once, set RATE itself".into()));
    }
    Ok(RampSpec { from_pages_per_s, to_pages_per_s, over })
}

/// RATE so long after the beginning of a ramp: on the straight line, and exactly `to` from its end
/// on. Pages/s.
#[must_use]
pub(crate) fn rate_after(from_pages_per_s: f64, to_pages_per_s: f64, over: Duration, elapsed: Duration) -> f64 {
    if elapsed >= over {
        return to_pages_per_s;
    }
    from_pages_per_s + (to_pages_per_s - from_pages_per_s) * (elapsed.as_secs_f64() / over.as_secs_f64())
}

/// The cycle for a RATE on a ramp. The PERIOD of `base` is held, as nearly as whole pages allow:
/// each step counts from there, so what one step makes of it is not handed on to the next. A RATE
/// too low for any PERIOD is 0.
#[must_use]
pub(crate) fn cycle_at(base: DirtyCycle, rate_pages_per_s: f64) -> DirtyCycle {
    // A single page in a long PERIOD is a low RATE's doing, not somebody's wish.
    let stretched = base.bpc_pages == 1 && base.period_ns > DEFAULT_PERIOD.as_nanos() as u64;
    let period_ns = if stretched { DEFAULT_PERIOD.as_nanos() as u64 } else { base.period_ns };
    let held = DirtyCycle { bpc_pages: 2, period_ns };
    held.with_rate(rate_pages_per_s).unwrap_or(DirtyCycle { bpc_pages: 0, period_ns })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ramp(from: Option<f64>, to: f64, seconds: f64) -> Result<RampSpec, ParseError> {
        Ok(RampSpec { from_pages_per_s: from, to_pages_per_s: to, over: Duration::from_secs_f64(seconds) })
    }

    #[test]
    fn ramps_are_read_as_people_write_them() {
        for text in [
            "2000..12000/20s",
            "2000 to 12000 in 20s",
            "2000 12000 20s",
            " from 2_000 to 12000 over 20 s ",
            "2000 .. 12000 / 20s",
        ] {
            assert_eq!(parse(text), ramp(Some(2000.0), 12_000.0, 20.0), "{text}");
        }
        for text in ["to 12000 in 1.5m", "..12000/90s"] {
            assert_eq!(parse(text), ramp(None, 12_000.0, 90.0), "{text}");
        }
        assert_eq!(parse("9000.5..0/500ms"), ramp(Some(9000.5), 0.0, 0.5), "downwards, to nothing");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("", "empty"),
            ("-1..9000/5s", "'-1' is not a RATE (it is negative)"),
            ("2000..-9000/5s", "'-9000' is not a RATE (it is negative)"),
            ("2000..NaN/5s", "'NaN' is not a RATE"),
            ("2000..inf/5s", "'inf' is not a RATE"),
            ("0..1000000001/5s", "highest RATE"),
            ("2000..9000", "how long"),
            ("2000", "where RATE is to go"),
            ("to", "where RATE is to go"),
            ("2000..9000/0s", "no time at all"),
            ("2000..9000/-5s", "negative"),
            ("2000..9000/5", "no unit"),
            ("2000...9000/5s", "'...'"),
            ("2k..9000/5s", "'2k' is not a RATE"),
            ("2000 to 9000 in 20s please", "'20splease' is not a duration"),
        ] {
            let e = parse(text).unwrap_err().to_string();
            assert!(e.contains(says) && e.contains("2000..12000/20s"), "{text}: {e}");
        }
    }

    #[test]
    fn the_line_is_straight_and_ends_where_it_should() {
        let s = Duration::from_secs;
        assert_eq!(rate_after(2000.0, 12_000.0, s(20), s(0)), 2000.0);
        assert_eq!(rate_after(2000.0, 12_000.0, s(20), s(5)), 4500.0);
        assert_eq!(rate_after(12_000.0, 2000.0, s(20), s(10)), 7000.0);
        assert_eq!(rate_after(2000.0, 12_000.1, s(20), s(20)), 12_000.1);
        assert_eq!(rate_after(2000.0, 12_000.1, s(20), s(99)), 12_000.1);
    }

    #[test]
    fn the_period_is_held_over_the_whole_ramp() {
        let base = DirtyCycle { bpc_pages: 0, period_ns: 50_000_000 };
        assert_eq!(cycle_at(base, 0.0), base);
        assert_eq!(cycle_at(base, 9000.0), DirtyCycle { bpc_pages: 450, period_ns: 50_000_000 });
        let slow = DirtyCycle { bpc_pages: 1, period_ns: 2_000_000_000 };
        assert_eq!(cycle_at(slow, 9000.0), DirtyCycle { bpc_pages: 90, period_ns: 10_000_000 });
        assert_eq!(cycle_at(base, 1e-9).bpc_pages, 0, "slower than the longest PERIOD");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(ramp) = parse(&text) {
                let rates = [ramp.from_pages_per_s.unwrap_or(0.0), ramp.to_pages_per_s];
                prop_assert!(rates.iter().all(|r| (0.0..=MAX_RATE).contains(r)) && !ramp.over.is_zero());
            }
        }

        #[test]
        fn every_step_can_be_set(from in 0.0..MAX_RATE, to in 0.0..MAX_RATE, at in 0.0..1.2f64, period in 100_000u64..3_600_000_000_000) {
            let rate = rate_after(from, to, Duration::from_secs(1), Duration::from_secs_f64(at));
            prop_assert!((from.min(to)..=from.max(to)).contains(&rate));
            let base = DirtyCycle { bpc_pages: 7, period_ns: period };
            prop_assert!(cycle_at(base, rate).check().is_ok());
        }
    }
}
