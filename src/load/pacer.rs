//! When the dirty-pages generator writes: an absolute schedule that never bursts.

/// Lateness that is made up for: what a busy scheduler does to a thread now and then, ns. Beyond
/// it (or beyond one PERIOD, if that is longer) the missed cycles are dropped.
pub(crate) const GRACE_NS: u64 = 20_000_000;

/// How a cycle ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Before the next one was due.
    OnTime,
    /// After the next one was due; it will be made up for.
    Late,
    /// So late that cycles were dropped: the schedule starts anew from now.
    Dropped,
}

/// Cycle k is due at `t0 + k * PERIOD`; after a pause or an overrun the schedule starts anew, so
/// that what was missed is never written in a burst.
#[derive(Debug, Clone)]
pub(crate) struct Pacer {
    period_ns: u64,
    due_ns: u64,
}

impl Pacer {
    /// A schedule whose first cycle is due now.
    pub(crate) fn new(period_ns: u64, now_ns: u64) -> Self {
        Self { period_ns: period_ns.max(1), due_ns: now_ns }
    }

    fn grace(&self) -> u64 {
        GRACE_NS.max(self.period_ns)
    }

    /// Nanoseconds until the next cycle is due; 0 if it is.
    pub(crate) fn wait(&self, now_ns: u64) -> u64 {
        self.due_ns.saturating_sub(now_ns)
    }

    /// Begins the cycle that is due. A pause since then moves the schedule to now.
    pub(crate) fn begin(&mut self, now_ns: u64) -> Pace {
        if now_ns.saturating_sub(self.due_ns) <= self.grace() {
            return Pace::OnTime;
        }
        self.due_ns = now_ns;
        Pace::Dropped
    }

    /// Whether the running cycle has taken so long that the rest of it must be dropped.
    pub(crate) fn overdue(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.due_ns.saturating_add(self.period_ns)) > self.grace()
    }

    /// Ends the running cycle.
    pub(crate) fn end(&mut self, now_ns: u64) -> Pace {
        let dropped = self.overdue(now_ns);
        self.due_ns = self.due_ns.saturating_add(self.period_ns);
        if dropped {
            self.due_ns = now_ns;
            Pace::Dropped
        } else if now_ns > self.due_ns {
            Pace::Late
        } else {
            Pace::OnTime
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Runs the schedule on a made-up clock: each cycle takes `cost`, the machine stands still for
    /// `pause.1` at `pause.0`. Returns the start times of the cycles and how often cycles dropped.
    fn run(period: u64, cost: u64, until: u64, pause: (u64, u64)) -> (Vec<u64>, u32) {
        let (mut now, mut paused, mut dropped) = (0, false, 0);
        let mut starts = Vec::new();
        let mut pacer = Pacer::new(period, now);
        while now < until {
            now += pacer.wait(now);
            if !paused && now >= pause.0 {
                now += pause.1;
                paused = true;
            }
            dropped += u32::from(pacer.begin(now) == Pace::Dropped);
            starts.push(now);
            now += cost;
            dropped += u32::from(pacer.end(now) == Pace::Dropped);
        }
        starts.retain(|t| *t < until);
        (starts, dropped)
    }

    #[test]
    fn cycles_do_not_drift() {
        let (starts, dropped) = run(10 * MS, MS, 1000 * MS, (u64::MAX, 0));
        assert_eq!((starts.len(), dropped), (100, 0));
        assert!(starts.iter().enumerate().all(|(k, t)| *t == k as u64 * 10 * MS));
    }

    #[test]
    fn a_hiccup_is_made_up_for() {
        let (starts, dropped) = run(MS, 0, 1000 * MS, (500 * MS, 15 * MS));
        assert_eq!(dropped, 0);
        assert_eq!(starts.len(), 1000);
    }

    #[test]
    fn after_a_pause_it_goes_on_at_rate() {
        let (starts, dropped) = run(10 * MS, 0, 5000 * MS, (1000 * MS, 3000 * MS));
        assert_eq!(dropped, 1);
        let after: Vec<_> = starts.iter().filter(|t| **t >= 4000 * MS).collect();
        assert_eq!(after.len(), 100);
        assert!(after.windows(2).all(|w| w[1] - w[0] == 10 * MS));
    }

    #[test]
    fn what_cannot_keep_up_drops_cycles_again_and_again() {
        let (starts, dropped) = run(10 * MS, 12 * MS, 1000 * MS, (u64::MAX, 0));
        assert!(dropped >= 5, "{dropped}");
        assert!(starts.windows(2).all(|w| w[1] - w[0] == 12 * MS));
    }
}
