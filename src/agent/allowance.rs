//! Bounds on what a peer can make us do and say: how often, and how often it is told.

use std::time::{Duration, Instant};

/// How often at most a remark of one kind is made.
const REMARK_GAP: Duration = Duration::from_secs(10);

/// So many things a second, with a reserve for bursts.
#[derive(Debug)]
pub(super) struct Allowance {
    per_s: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    /// `per_s` things a second, and `burst` at once.
    pub(super) fn new(per_s: f64, burst: f64) -> Self {
        Self { per_s, burst, left: burst, at: Instant::now() }
    }

    /// Takes one out; false if there is none left now.
    pub(super) fn take(&mut self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + passed * self.per_s).min(self.burst);
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }
}

/// Remarks of one kind: the first few are made, then one every ten seconds at most, which counts
/// those left out before it.
#[derive(Debug)]
pub(super) struct Folded {
    free: Allowance,
    left_out: u64,
}

impl Default for Folded {
    fn default() -> Self {
        Self::new(1.0)
    }
}

impl Folded {
    /// `first` remarks are made at once.
    pub(super) fn new(first: f64) -> Self {
        Self { free: Allowance::new(1.0 / REMARK_GAP.as_secs_f64(), first), left_out: 0 }
    }

    /// The remark, if it is to be made now.
    pub(super) fn say(&mut self, remark: impl FnOnce() -> String) -> Option<String> {
        self.say_at(Instant::now(), remark)
    }

    fn say_at(&mut self, now: Instant, remark: impl FnOnce() -> String) -> Option<String> {
        if !self.free.take_at(now) {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        let left_out = std::mem::take(&mut self.left_out);
        Some(match left_out {
            0 => remark(),
            n => format!("{} ({n} more like it before this one)", remark()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_rate_with_a_burst() {
        let mut allowance = Allowance::new(10.0, 3.0);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((0..5).filter(|_| allowance.take_at(at(0))).count(), 3);
        assert!(!allowance.take_at(at(50)) && allowance.take_at(at(150)));
        let over_a_second = (0..1000).filter(|n| allowance.take_at(at(1000 + n))).count();
        assert!((10..=13).contains(&over_a_second), "{over_a_second}");
        // A clock that stands still or is asked late grants nothing twice.
        assert!(!allowance.take_at(at(0)));
    }

    #[test]
    fn repeated_remarks_are_folded_and_counted() {
        let mut folded = Folded::default();
        let start = Instant::now();
        let mut say = |s| folded.say_at(start + Duration::from_secs(s), || format!("at {s}"));
        assert_eq!(say(0).as_deref(), Some("at 0"));
        assert_eq!((say(1), say(9)), (None, None));
        assert_eq!(say(11).as_deref(), Some("at 11 (2 more like it before this one)"));
        assert_eq!(say(30).as_deref(), Some("at 30"));
        let mut three = Folded::new(3.0);
        assert_eq!((0..9).filter_map(|_| three.say(String::new)).count(), 3);
    }
}
