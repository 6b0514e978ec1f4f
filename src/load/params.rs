//! The algebra of the parameters: RATE = BPC / PERIOD (paper, section III).
//!
//! Any two of BPC, PERIOD and RATE give the third. A [`DirtyCycle`] stores BPC and PERIOD, so the
//! three cannot disagree. BPC is a whole number of pages: where a RATE is set, PERIOD gives way by
//! as little as it must, so that the RATE is the one asked for (to the nanosecond of PERIOD).

use std::time::Duration;

use super::LoadError;
use crate::event::{DirtyCycle, LoadSettings, Pattern};
use crate::units::PAGE_BYTES;

/// PERIOD where none is given. Long enough that waking up costs nothing, short enough that a
/// migration sees an even RATE.
pub(crate) const DEFAULT_PERIOD: Duration = Duration::from_millis(10);
/// Shortest PERIOD: below it, a thread cannot be woken in time.
pub(crate) const MIN_PERIOD: Duration = Duration::from_micros(100);
/// Longest PERIOD.
pub(crate) const MAX_PERIOD: Duration = Duration::from_secs(3600);
/// Highest RATE, pages/s: more than any memory takes, so it means "as fast as you can".
pub(crate) const MAX_RATE: f64 = 1e9;

const RATE_RANGE: &str = "a RATE is 0 to 1,000,000,000 pages/s";
const BPC_RANGE: &str = "with this PERIOD it makes a RATE over 1,000,000,000 pages/s";
const PERIOD_RANGE: &str = "a PERIOD is 100 µs to 1 h";
const PERIOD_FOLLOWS: &str = "BPC / RATE makes a PERIOD outside 100 µs to 1 h";

fn out_of_range(what: &'static str, value: impl ToString, right: &'static str) -> LoadError {
    LoadError::OutOfRange { what, value: value.to_string(), right }
}

fn check_rate(rate: f64) -> Result<(), LoadError> {
    if rate.is_finite() && (0.0..=MAX_RATE).contains(&rate) {
        Ok(())
    } else {
        Err(out_of_range("RATE", rate, RATE_RANGE))
    }
}

fn check_period(period: Duration) -> Result<u64, LoadError> {
    if (MIN_PERIOD..=MAX_PERIOD).contains(&period) {
        Ok(period.as_nanos() as u64)
    } else {
        Err(out_of_range("PERIOD", format!("{period:?}"), PERIOD_RANGE))
    }
}

/// BPC and PERIOD for a RATE, with PERIOD as near to `period_ns` as whole pages and the shortest
/// PERIOD allow. `rate` is positive and in range.
fn cycle_near(rate: f64, period_ns: u64) -> Result<DirtyCycle, LoadError> {
    let smallest = (rate * MIN_PERIOD.as_secs_f64()).ceil();
    let bpc = (rate * period_ns as f64 / 1e9).round().max(smallest).max(1.0);
    DirtyCycle { bpc_pages: bpc as u64, period_ns }.with_rate_at_bpc(rate)
}

impl DirtyCycle {
    /// Sets RATE, holds PERIOD; BPC follows. BPC being whole pages and at least 1, PERIOD is then
    /// adjusted to make the RATE exact. A PERIOD longer than `DEFAULT_PERIOD` of a single page is
    /// taken for one that a low RATE stretched, and shrinks back. RATE 0 sets BPC 0.
    ///
    /// # Errors
    /// When the RATE is negative, not a number or above `MAX_RATE`, or the PERIOD would exceed
    /// `MAX_PERIOD`.
    pub fn with_rate(self, rate_pages_per_s: f64) -> Result<Self, LoadError> {
        check_rate(rate_pages_per_s)?;
        let stretched = self.bpc_pages <= 1 && self.period_ns > DEFAULT_PERIOD.as_nanos() as u64;
        let held = if stretched { DEFAULT_PERIOD.as_nanos() as u64 } else { self.period_ns };
        if rate_pages_per_s == 0.0 {
            return Ok(Self { bpc_pages: 0, period_ns: held });
        }
        cycle_near(rate_pages_per_s, held)
    }

    /// Sets RATE, holds BPC; PERIOD follows. RATE 0 sets BPC 0 and leaves PERIOD.
    ///
    /// # Errors
    /// When the RATE is out of range or makes a PERIOD that is.
    pub fn with_rate_at_bpc(self, rate_pages_per_s: f64) -> Result<Self, LoadError> {
        check_rate(rate_pages_per_s)?;
        if rate_pages_per_s == 0.0 {
            return Ok(Self { bpc_pages: 0, ..self });
        }
        let bpc_pages = self.bpc_pages.max(1);
        let period_ns = (bpc_pages as f64 * 1e9 / rate_pages_per_s).round();
        if !(MIN_PERIOD.as_nanos() as f64..=MAX_PERIOD.as_nanos() as f64).contains(&period_ns) {
            return Err(out_of_range("RATE", rate_pages_per_s, PERIOD_FOLLOWS));
        }
        Ok(Self { bpc_pages, period_ns: period_ns as u64 })
    }

    /// Sets BPC, holds PERIOD; RATE follows.
    ///
    /// # Errors
    /// When the RATE would exceed `MAX_RATE`.
    pub fn with_bpc(self, bpc_pages: u64) -> Result<Self, LoadError> {
        let cycle = Self { bpc_pages, ..self };
        cycle.check()?;
        Ok(cycle)
    }

    /// Sets BPC, holds RATE; PERIOD follows. With RATE 0 there is nothing to hold and PERIOD stays.
    ///
    /// # Errors
    /// When the PERIOD would be out of range.
    pub fn with_bpc_at_rate(self, bpc_pages: u64) -> Result<Self, LoadError> {
        let rate = self.rate_pages_per_s();
        let cycle = Self { bpc_pages, ..self };
        if rate == 0.0 || bpc_pages == 0 { cycle.with_bpc(bpc_pages) } else { cycle.with_rate_at_bpc(rate) }
    }

    /// Sets PERIOD, holds BPC; RATE follows.
    ///
    /// # Errors
    /// When the PERIOD is out of range or the RATE would exceed `MAX_RATE`.
    pub fn with_period(self, period: Duration) -> Result<Self, LoadError> {
        let cycle = Self { period_ns: check_period(period)?, ..self };
        cycle.check()?;
        Ok(cycle)
    }

    /// Sets PERIOD (as nearly as whole pages allow), holds RATE; BPC follows.
    ///
    /// # Errors
    /// When the PERIOD is out of range.
    pub fn with_period_at_rate(self, period: Duration) -> Result<Self, LoadError> {
        let period_ns = check_period(period)?;
        let rate = self.rate_pages_per_s();
        if rate == 0.0 { Ok(Self { period_ns, ..self }) } else { cycle_near(rate, period_ns) }
    }

    /// The cycle that any two of BPC, PERIOD and RATE make, starting from `self` for what is not
    /// given. All three are accepted if they agree within 1 %.
    ///
    /// # Errors
    /// When a value is out of range or three values disagree.
    pub fn with_any(
        self,
        bpc_pages: Option<u64>,
        period: Option<Duration>,
        rate_pages_per_s: Option<f64>,
    ) -> Result<Self, LoadError> {
        match (bpc_pages, period, rate_pages_per_s) {
            (None, None, None) => Ok(self),
            (None, None, Some(rate)) => self.with_rate(rate),
            (None, Some(period), None) if self.bpc_pages > 0 => self.with_period_at_rate(period),
            (None, Some(period), None) => self.with_period(period),
            (Some(bpc), None, None) => self.with_bpc(bpc),
            (Some(bpc), Some(period), None) => Self { bpc_pages: bpc, ..self }.with_period(period),
            (Some(bpc), None, Some(rate)) => Self { bpc_pages: bpc, ..self }.with_rate_at_bpc(rate),
            (None, Some(period), Some(rate)) => {
                check_rate(rate)?;
                let period_ns = check_period(period)?;
                if rate == 0.0 { Ok(Self { bpc_pages: 0, period_ns }) } else { cycle_near(rate, period_ns) }
            }
            (Some(bpc_pages), Some(period), Some(rate)) => {
                check_rate(rate)?;
                let cycle = Self { bpc_pages, ..self }.with_period(period)?;
                let derived = cycle.rate_pages_per_s();
                if (derived - rate).abs() > 0.01 * rate.max(derived) {
                    let period_ms = period.as_secs_f64() * 1e3;
                    return Err(LoadError::Disagree { bpc_pages, period_ms, rate, derived });
                }
                Ok(cycle)
            }
        }
    }

    /// Checks PERIOD and RATE against their ranges.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn check(&self) -> Result<(), LoadError> {
        check_period(Duration::from_nanos(self.period_ns))?;
        if self.rate_pages_per_s() > MAX_RATE {
            return Err(out_of_range("BPC", self.bpc_pages, BPC_RANGE));
        }
        Ok(())
    }
}

impl LoadSettings {
    /// Whether there is a RATE, but no WSET it could dirty.
    #[must_use]
    pub fn dirties_nothing(&self) -> bool {
        self.dirty.bpc_pages > 0 && self.wset_bytes == 0
    }

    /// Whether nothing at all is asked of the generators.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.cpu_load_pct == 0.0 && self.wset_bytes == 0 && self.dirty.bpc_pages == 0
    }

    /// Checks every parameter against its range and rounds WSET up to whole pages. The memory limit
    /// is another matter: see `Limits`.
    ///
    /// # Errors
    /// When a parameter is out of range.
    pub fn checked(mut self) -> Result<Self, LoadError> {
        let percent = |p: f64| p.is_finite() && (0.0..=100.0).contains(&p);
        if !percent(self.cpu_load_pct) {
            return Err(out_of_range("LOAD", self.cpu_load_pct, "a LOAD is 0 to 100 %"));
        }
        if !percent(self.fill_pct) {
            return Err(out_of_range("FILL", self.fill_pct, "a FILL is 0 to 100 %"));
        }
        if self.wset_bytes > 1 << 60 {
            return Err(out_of_range("WSET", self.wset_bytes, "no machine has that much memory"));
        }
        self.dirty.check()?;
        self.wset_bytes = self.wset_bytes.next_multiple_of(PAGE_BYTES);
        Ok(self)
    }
}

impl Pattern {
    /// Its name, as written on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cyclic => "cyclic",
            Self::Random => "random",
            Self::Hotspot => "hotspot",
        }
    }

    /// All patterns, the default first.
    pub const ALL: [Self; 3] = [Self::Cyclic, Self::Random, Self::Hotspot];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cycle(bpc_pages: u64, period_ms: u64) -> DirtyCycle {
        DirtyCycle { bpc_pages, period_ns: period_ms * 1_000_000 }
    }

    #[test]
    fn any_two_give_the_third() {
        let start = cycle(0, 10);
        let ten_ms = Some(Duration::from_millis(10));
        assert_eq!(start.with_any(None, ten_ms, Some(9000.0)), Ok(cycle(90, 10)));
        assert_eq!(start.with_any(Some(90), ten_ms, None), Ok(cycle(90, 10)));
        assert_eq!(start.with_any(Some(90), None, Some(9000.0)), Ok(cycle(90, 10)));
        assert_eq!(start.with_any(Some(90), ten_ms, Some(9000.0)), Ok(cycle(90, 10)));
        let error = start.with_any(Some(90), ten_ms, Some(4500.0)).unwrap_err().to_string();
        assert!(error.contains("9000.0") && error.contains("4500.0"), "{error}");
    }

    #[test]
    fn what_is_held_stays() {
        let nine = cycle(90, 10);
        assert_eq!(nine.with_bpc(180), Ok(cycle(180, 10)));
        assert_eq!(nine.with_bpc_at_rate(180), Ok(cycle(180, 20)));
        assert_eq!(nine.with_period(Duration::from_millis(20)), Ok(cycle(90, 20)));
        assert_eq!(nine.with_period_at_rate(Duration::from_millis(20)), Ok(cycle(180, 20)));
        assert_eq!(nine.with_rate(4500.0), Ok(cycle(45, 10)));
        assert_eq!(nine.with_rate_at_bpc(4500.0), Ok(cycle(90, 20)));
        assert_eq!(nine.with_rate(0.0), Ok(cycle(0, 10)));
    }

    #[test]
    fn a_low_rate_does_not_leave_a_long_period_behind() {
        let slow = cycle(90, 10).with_rate(0.5).unwrap();
        assert_eq!(slow, cycle(1, 2000));
        assert_eq!(slow.with_rate(9000.0), Ok(cycle(90, 10)));
    }

    #[test]
    fn out_of_range_is_refused() {
        let start = cycle(1, 10);
        for rate in [-1.0, f64::NAN, f64::INFINITY, 2e9, 1e-9] {
            assert!(start.with_rate(rate).is_err(), "{rate}");
        }
        assert!(start.with_period(Duration::ZERO).is_err());
        assert!(start.with_bpc(u64::MAX).is_err());
        assert!(DirtyCycle { bpc_pages: 1, period_ns: 0 }.check().is_err());
        for settings in [
            LoadSettings { cpu_load_pct: 101.0, ..LoadSettings::default() },
            LoadSettings { fill_pct: f64::NAN, ..LoadSettings::default() },
            LoadSettings { wset_bytes: u64::MAX, ..LoadSettings::default() },
        ] {
            assert!(settings.checked().is_err(), "{settings:?}");
        }
        let odd = LoadSettings { wset_bytes: 4097, ..LoadSettings::default() }.checked().unwrap();
        assert_eq!(odd.wset_bytes, 8192);
    }

    proptest! {
        #[test]
        fn a_set_rate_is_the_rate_made(rate in 0.01f64..1e9, bpc in 0u64..100_000, period in 100_000u64..10_000_000_000) {
            let made = DirtyCycle { bpc_pages: bpc, period_ns: period }.with_rate(rate).unwrap();
            let error = (made.rate_pages_per_s() - rate).abs() / rate;
            // Half a nanosecond in the shortest PERIOD.
            prop_assert!(error <= 0.5e-9 / 100e-6 * 1.01, "{made:?}: {error}");
            prop_assert!(made.check().is_ok());
        }
    }
}
