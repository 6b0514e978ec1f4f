//! The session clock, shared by all sources.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Nanos;

/// The session clock: monotonic nanoseconds since session start (CLOCK_MONOTONIC).
///
/// In a session with a simulated hypervisor it goes at a speed of its own, and never ahead of what is
/// simulated: who simulates grants it the time up to which it may go. All that is measured there is
/// measured by this clock, so results depend neither on the speed nor on how quick the machine is.
#[derive(Debug, Clone, Copy)]
pub struct SessionClock {
    origin: Instant,
    pace: Option<&'static Mutex<Pace>>,
}

impl SessionClock {
    /// Starts the clock now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now(), pace: None }
    }

    /// Starts the clock of a simulation, which goes so many times as fast as real time, where it is let.
    /// What is no positive number is taken for 1.
    #[must_use]
    pub fn simulated(speed: f64) -> Self {
        let speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
        // Never given back, so that the clock can be copied to every source like any other: some bytes,
        // once in a session.
        let pace = Box::leak(Box::new(Mutex::new(Pace::at_speed(speed))));
        Self { origin: Instant::now(), pace: Some(pace) }
    }

    /// How many times as fast as real time it goes, where it is let.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.pace().map_or(1.0, |pace| pace.speed)
    }

    /// Whether it is a simulation's.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.pace.is_some()
    }

    /// Nanoseconds since session start. Never less than what was said before.
    #[must_use]
    pub fn now(&self) -> Nanos {
        match self.pace() {
            // The instant is taken while nobody can change the pace, or time could go back.
            Some(pace) => pace.at(self.elapsed(Instant::now())),
            None => self.elapsed(Instant::now()),
        }
    }

    /// An instant as nanoseconds since session start (0 for instants before it).
    #[must_use]
    pub fn at(&self, instant: Instant) -> Nanos {
        let elapsed = self.elapsed(instant);
        self.pace().map_or(elapsed, |pace| pace.at(elapsed))
    }

    /// The instant of a session time; in a simulation the earliest there can be for it. A time too far
    /// off for an instant is the origin's.
    #[must_use]
    pub fn instant(&self, t: Nanos) -> Instant {
        let elapsed = self.pace().map_or(t, |pace| pace.real_at(t));
        self.origin.checked_add(Duration::from_nanos(elapsed)).unwrap_or(self.origin)
    }

    /// How long a stretch of session time takes in real time, at least.
    #[must_use]
    pub fn real(&self, of_session: Duration) -> Duration {
        let speed = self.speed();
        if speed == 1.0 {
            return of_session;
        }
        Duration::try_from_secs_f64(of_session.as_secs_f64() / speed).unwrap_or(Duration::MAX)
    }

    /// A simulation has come so far: the clock may go up to there and no further. A time that is past
    /// already stops it where it is. The clock of a session with nothing simulated heeds nobody.
    pub fn grant(&self, to: Nanos) {
        if let Some(mut pace) = self.pace() {
            pace.grant(self.elapsed(Instant::now()), to);
        }
    }

    /// Stops the clock of a simulation until it is granted more; comes to where it stands.
    pub fn hold(&self) -> Nanos {
        self.grant(0);
        self.now()
    }

    /// The clock of a simulation goes at least as fast as real time from now on: somebody waits for its end.
    pub fn hasten(&self) {
        if let Some(mut pace) = self.pace() {
            pace.hasten(self.elapsed(Instant::now()));
        }
    }

    /// Nothing is simulated any more: the clock goes on by itself.
    pub fn release(&self) {
        self.grant(Nanos::MAX);
    }

    fn pace(&self) -> Option<MutexGuard<'static, Pace>> {
        self.pace.map(|pace| pace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn elapsed(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// How the time of a simulated session goes with real time, ns since the session's start: straight on
/// at its speed up to what is granted. Where it had to wait it goes on from there; what was waited is
/// lost to it, and never made up for.
#[derive(Debug)]
struct Pace {
    speed: f64,
    /// It has gone straight on since then: by real time, and by its own.
    real: u64,
    session: Nanos,
    granted: Nanos,
}

impl Pace {
    fn at_speed(speed: f64) -> Self {
        Self { speed, real: 0, session: 0, granted: Nanos::MAX }
    }

    fn scaled(&self, real: u64) -> Nanos {
        if self.speed == 1.0 { real } else { (real as f64 * self.speed) as u64 }
    }

    /// Where it would be if it had been let.
    fn unhindered(&self, real: u64) -> Nanos {
        match real.checked_sub(self.real) {
            Some(since) => self.session.saturating_add(self.scaled(since)),
            None => self.session.saturating_sub(self.scaled(self.real - real)),
        }
    }

    fn at(&self, real: u64) -> Nanos {
        self.unhindered(real).min(self.granted)
    }

    /// When it is so far at the earliest, by real time.
    fn real_at(&self, t: Nanos) -> u64 {
        let real = |session: Nanos| {
            if self.speed == 1.0 { session } else { (session as f64 / self.speed).ceil() as u64 }
        };
        match t.checked_sub(self.session) {
            Some(on) => self.real.saturating_add(real(on)),
            None => self.real.saturating_sub(real(self.session - t)),
        }
    }

    fn grant(&mut self, real: u64, to: Nanos) {
        let now = self.at(real);
        if self.unhindered(real) > self.granted {
            (self.real, self.session) = (real, now);
        }
        self.granted = to.max(now);
    }

    fn hasten(&mut self, real: u64) {
        (self.real, self.session) = (real, self.at(real));
        self.speed = self.speed.max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_that_goes_faster_is_its_own_inverse() {
        let clock = SessionClock::simulated(200.0);
        let later = clock.instant(0) + Duration::from_millis(5);
        assert_eq!(clock.at(later), 1_000_000_000);
        assert_eq!(clock.instant(1_000_000_000), later);
        assert_eq!(clock.real(Duration::from_secs(1)), Duration::from_millis(5));
        assert_eq!(SessionClock::simulated(f64::NAN).speed(), 1.0);
        let plain = SessionClock::start();
        assert_eq!(plain.at(plain.instant(u64::MAX >> 8)), u64::MAX >> 8);
    }

    #[test]
    fn a_simulation_that_is_slow_holds_the_clock_and_loses_it_nothing_but_real_time() {
        let mut pace = Pace::at_speed(100.0);
        assert_eq!(pace.at(10), 1000);
        pace.grant(10, 5000);
        assert_eq!((pace.at(50), pace.at(51), pace.at(9999)), (5000, 5000, 5000));
        // It waited from 50 to 1050.
        pace.grant(1050, 9000);
        assert_eq!((pace.at(1050), pace.at(1060), pace.at(2000)), (5000, 6000, 9000));
        assert_eq!((pace.real_at(6000), pace.real_at(9000)), (1060, 1090));
        // In time: nothing was waited.
        pace.grant(1080, 20_000);
        assert_eq!((pace.at(1080), pace.at(1100)), (8000, 10_000));
        // Stopped where it is, and let go.
        pace.grant(1100, 0);
        assert_eq!(pace.at(5000), 10_000);
        pace.grant(5000, Nanos::MAX);
        assert_eq!((pace.at(5001), pace.real_at(10_100)), (10_100, 5001));
    }

    #[test]
    fn a_clock_that_is_held_stands_and_a_real_one_is_not_held() {
        let clock = SessionClock::simulated(1000.0);
        let held = clock.hold();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(clock.now(), held);
        clock.grant(held + 1);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(clock.now(), held + 1);
        clock.release();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now() > held + 1_000_000);
        let real = SessionClock::start();
        let held = real.hold();
        std::thread::sleep(Duration::from_millis(2));
        assert!(real.now() > held);
    }

    #[test]
    fn a_slow_clock_that_is_hastened_goes_on_from_where_it_was() {
        let mut pace = Pace::at_speed(0.1);
        pace.hasten(1000);
        assert_eq!((pace.at(1000), pace.at(1500), pace.real_at(600)), (100, 600, 1500));
        let mut pace = Pace::at_speed(10.0);
        pace.hasten(1000);
        assert_eq!(pace.at(1100), 11_000);
    }

    proptest! {
        #[test]
        fn whatever_is_granted_it_never_goes_back_nor_beyond(
            speed in prop_oneof![Just(1.0), 0.1..1000.0f64],
            steps in prop::collection::vec((0u64..50_000_000, prop::option::of(0u64..100_000_000_000)), 1..60),
        ) {
            let (mut pace, mut real, mut last) = (Pace::at_speed(speed), 0, 0);
            for (passed, grant) in steps {
                real += passed;
                if let Some(to) = grant {
                    pace.grant(real, to);
                }
                let now = pace.at(real);
                prop_assert!(now >= last && now <= pace.granted);
                let at = pace.at(pace.real_at(now));
                // To a nanosecond of real time.
                prop_assert!(at.abs_diff(now) as f64 <= speed.max(1.0) + 1.0, "{at} {now}");
                last = now;
            }
        }
    }
}
