//! Waiting by the session's clock, which in a simulation goes at a speed of its own and sometimes stands.

use std::time::{Duration, Instant};

use crate::event::{Nanos, SessionClock};

/// How often a clock that is late is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until it is so late in the session.
pub(crate) async fn until(clock: SessionClock, t: Nanos) {
    while clock.now() < t {
        // The clock may have to wait meanwhile: then it is not so late yet.
        let then = clock.instant(t).max(Instant::now() + LOOK);
        tokio::time::sleep_until(then.into()).await;
    }
}

/// Waits for so long of the session's time.
pub(crate) async fn pass(clock: SessionClock, of_session: Duration) {
    until(clock, clock.now().saturating_add(ns(of_session))).await;
}

/// What `work` comes to; None if it takes longer than so much of the session's time, and so much of real
/// time, too.
pub(crate) async fn within<T>(
    clock: SessionClock,
    of_session: Duration,
    real: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let too_long = async {
        tokio::join!(tokio::time::sleep(real), pass(clock, of_session));
    };
    tokio::select! {
        biased;
        what = work => Some(what),
        () = too_long => None,
    }
}

/// Nanoseconds of a stretch of time.
pub(crate) fn ns(of: Duration) -> Nanos {
    u64::try_from(of.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_is_the_sessions_and_stands_while_its_clock_does() {
        let clock = SessionClock::simulated(1000.0);
        clock.hold();
        let work = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            7
        };
        let second = Duration::from_secs(1);
        assert_eq!(within(clock, second, Duration::ZERO, work).await, Some(7), "no time of the session has passed");
        clock.release();
        assert_eq!(within(clock, second, Duration::ZERO, std::future::pending::<u8>()).await, None);
        let began = Instant::now();
        assert_eq!(within(clock, second, Duration::from_millis(30), std::future::pending::<u8>()).await, None);
        assert!(began.elapsed() >= Duration::from_millis(30));
    }
}
