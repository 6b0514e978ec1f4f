//! The kernel's clocks beside the session clock.
//!
//! The session clock is CLOCK_MONOTONIC with another origin. Kernel receive stamps come on
//! CLOCK_REALTIME, which can be stepped; they are carried over by the difference of the two clocks
//! sampled when the stamp is read, and only believed if the result lies where it must.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

use crate::event::{Nanos, SessionClock};
use crate::units::show_duration;

fn read(clock: ClockId) -> i128 {
    // Reading these two clocks cannot fail on Linux; zero would show as a broken schedule at once.
    clock_gettime(clock).map_or(0, as_nanos)
}

fn as_nanos(t: TimeSpec) -> i128 {
    i128::from(t.tv_sec()) * 1_000_000_000 + i128::from(t.tv_nsec())
}

/// The session clock expressed on CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Monotonic {
    /// CLOCK_MONOTONIC minus session clock, ns.
    origin: i128,
}

impl Monotonic {
    pub(crate) fn of(clock: SessionClock) -> Self {
        // Of several tries the one in which the two readings lay closest together is believed.
        let mut best = (i128::MAX, 0);
        for _ in 0..5 {
            let before = read(ClockId::CLOCK_MONOTONIC);
            let session = i128::from(clock.now());
            let after = read(ClockId::CLOCK_MONOTONIC);
            if after - before < best.0 {
                best = (after - before, (before + after) / 2 - session);
            }
        }
        Self { origin: best.1 }
    }

    /// Now, ns of the session clock.
    pub(crate) fn now(&self) -> Nanos {
        (read(ClockId::CLOCK_MONOTONIC) - self.origin).max(0) as Nanos
    }

    /// A session time as an absolute time of CLOCK_MONOTONIC.
    pub(crate) fn timespec(&self, t: Nanos) -> TimeSpec {
        let abs = (i128::from(t) + self.origin).max(1);
        TimeSpec::from_duration(Duration::from_nanos(abs as u64))
    }

    /// Sleeps until session time `t`; may return early (a signal), so look at the clock again.
    pub(crate) fn sleep_until(&self, t: Nanos) {
        let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &self.timespec(t));
    }
}

/// What monotonic time does not show: this machine slept, or its wall clock was set.
#[derive(Debug, Clone)]
pub(crate) struct Leaps {
    /// CLOCK_BOOTTIME minus CLOCK_MONOTONIC, ns.
    boot: i128,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC, ns.
    real: i128,
}

impl Leaps {
    pub(crate) fn new() -> Self {
        let mono = read(ClockId::CLOCK_MONOTONIC);
        Self { boot: read(ClockId::CLOCK_BOOTTIME) - mono, real: read(ClockId::CLOCK_REALTIME) - mono }
    }

    /// What happened since the last look, if anything did.
    pub(crate) fn look(&mut self) -> Option<String> {
        let before = std::mem::replace(self, Self::new());
        leap(self.boot - before.boot, self.real - before.real)
    }
}

/// Differences below this are slewing, and the reading of the clocks one after another, ns.
const LEAP: i128 = 200_000_000;

fn leap(slept: i128, real: i128) -> Option<String> {
    let set = real - slept;
    let span = |ns: i128| show_duration(Duration::from_nanos(u64::try_from(ns.unsigned_abs()).unwrap_or(u64::MAX)));
    let slept = (slept > LEAP).then(|| {
        format!("this machine slept for {}, in which nothing was probed and the session's clock stood", span(slept))
    });
    let set = (set.abs() > LEAP).then(|| {
        let way = if set > 0 { "forward" } else { "back" };
        format!("the wall clock was set {way} by {}; durations are not concerned", span(set))
    });
    let told: Vec<String> = [slept, set].into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Carries kernel receive stamps over to the session clock.
#[derive(Debug, Clone)]
pub(crate) struct StampMap {
    mono: Monotonic,
    /// CLOCK_REALTIME minus session clock, ns, at the last sampling.
    real_minus_session: i128,
    /// The sampling before that: valid for stamps made before a step of the clock.
    former: i128,
    /// Nothing read now was received before this, ns of the session clock.
    not_before: Nanos,
}

/// Slack granted to the sampling of two clocks when a stamp is checked, ns.
const SAMPLING_SLACK: u64 = 50_000;

impl StampMap {
    pub(crate) fn new(mono: Monotonic) -> Self {
        let sample = Self::sample(&mono);
        Self { mono, real_minus_session: sample, former: sample, not_before: mono.now() }
    }

    fn sample(mono: &Monotonic) -> i128 {
        let mut best = (i128::MAX, 0);
        for _ in 0..3 {
            let before = i128::from(mono.now());
            let real = read(ClockId::CLOCK_REALTIME);
            let after = i128::from(mono.now());
            if after - before < best.0 {
                best = (after - before, real - (before + after) / 2);
            }
            if best.0 < 2_000 {
                break;
            }
        }
        best.1
    }

    /// Call before a batch is read from the socket; returns now. All that was received before it
    /// will be in the batch.
    pub(crate) fn begin_batch(&mut self) -> Nanos {
        self.former = self.real_minus_session;
        self.real_minus_session = Self::sample(&self.mono);
        self.mono.now()
    }

    /// Now, ns of the session clock: for what bears no stamp.
    pub(crate) fn session_now(&self) -> Nanos {
        self.mono.now()
    }

    /// Call when the batch begun at `begun` is read.
    pub(crate) fn end_batch(&mut self, begun: Nanos) {
        self.not_before = begun;
    }

    /// The session time of a kernel stamp read in this batch, and whether it could be believed; if
    /// not, the time is that of reading, an upper bound.
    pub(crate) fn session_time(&self, stamp: TimeSpec) -> (Nanos, bool) {
        let now = self.mono.now();
        carry(as_nanos(stamp), [self.real_minus_session, self.former], self.not_before, now)
    }
}

fn carry(stamp: i128, offsets: [i128; 2], not_before: Nanos, now: Nanos) -> (Nanos, bool) {
    let earliest = i128::from(not_before.saturating_sub(SAMPLING_SLACK));
    for offset in offsets {
        let t = stamp - offset;
        if t >= earliest && t <= i128::from(now.saturating_add(SAMPLING_SLACK)) {
            return (t.clamp(0, i128::from(now)) as Nanos, true);
        }
    }
    (now, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_survive_a_step_of_the_wall_clock() {
        let wall = 1_700_000_000_000_000_000i128;
        // Received at session time 5 ms, read at 9 ms; the last batch began at 2 ms.
        let (nb, now) = (2_000_000, 9_000_000);
        assert_eq!(carry(wall + 5_000_000, [wall, wall], nb, now), (5_000_000, true));
        // The clock stepped by an hour between receiving and reading: the former offset holds.
        let hour = 3_600_000_000_000i128;
        assert_eq!(carry(wall + 5_000_000, [wall + hour, wall], nb, now), (5_000_000, true));
        // Stepped between receiving and the last two samplings: the stamp is not believed.
        assert_eq!(carry(wall + 5_000_000, [wall + hour, wall + hour], nb, now), (now, false));
        assert_eq!(carry(wall - hour, [wall, wall], nb, now), (now, false));
    }

    #[test]
    fn sleep_and_a_clock_that_is_set_are_told() {
        const S: i128 = 1_000_000_000;
        assert_eq!(leap(50_000, -3_000_000), None);
        let slept = leap(90 * S, 90 * S + 1_000).unwrap();
        assert!(slept.contains("slept for 90.0 s") && !slept.contains("wall clock"), "{slept}");
        assert!(leap(0, -5 * S).unwrap().contains("set back by 5.00 s"));
        assert!(Leaps::new().look().is_none());
    }

    #[test]
    fn monotonic_is_the_session_clock() {
        let clock = SessionClock::start();
        let mono = Monotonic::of(clock);
        let (a, b, c) = (clock.now(), mono.now(), clock.now());
        // Same clock, so b lies between, but for the uncertainty of finding the common origin.
        assert!(a <= b + 1_000_000 && b <= c + 1_000_000, "{a} {b} {c}");
        let t = mono.now() + 2_000_000;
        while mono.now() < t {
            mono.sleep_until(t);
        }
        assert!(clock.now() + 1_000_000 >= t);
    }
}
