//! When each probe is due, and which probe a 16-bit sequence number means.
//!
//! Slot `k` is due at `t0 + k * interval`, absolutely: lateness of one probe never moves the next
//! one, so there is no drift. A slot that passed before it could be sent is skipped, not caught up.

use crate::event::Nanos;

/// The absolute schedule of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// When slot 0 is due, ns of the session clock.
    pub t0: Nanos,
    /// Distance of the slots, ns; never 0.
    interval: u64,
    /// Number of slots; None without end.
    pub count: Option<u64>,
}

impl Schedule {
    /// A schedule of slots `interval_ns` apart (at least 1 ns) from `t0` on.
    #[must_use]
    pub fn new(t0: Nanos, interval_ns: u64, count: Option<u64>) -> Self {
        Self { t0, interval: interval_ns.max(1), count }
    }

    /// Distance of the slots, ns.
    #[must_use]
    pub fn interval(&self) -> u64 {
        self.interval
    }

    /// When slot `k` is due, ns of the session clock (saturating).
    #[must_use]
    pub fn due(&self, k: u64) -> Nanos {
        self.t0.saturating_add(k.saturating_mul(self.interval))
    }

    /// The newest slot that is due at `now`; None before slot 0, the last slot after the end.
    #[must_use]
    pub fn newest_due(&self, now: Nanos) -> Option<u64> {
        let k = now.checked_sub(self.t0)? / self.interval;
        match self.count {
            Some(0) => None,
            Some(count) => Some(k.min(count - 1)),
            None => Some(k),
        }
    }

    /// What is to be done at `now` when `next` is the first slot not yet dealt with.
    #[must_use]
    pub fn turn(&self, next: u64, now: Nanos) -> Turn {
        if self.count.is_some_and(|count| next >= count) {
            return Turn::Over;
        }
        match self.newest_due(now) {
            // The newest slot is still ours to send unless the slot after it is due as well, which
            // can only be so past the end of a counted schedule.
            Some(k) if k >= next && now < self.due(k + 1) => Turn::Send { k },
            Some(k) if k >= next => Turn::Missed { through: k },
            _ => Turn::Wait { until: self.due(next) },
        }
    }
}

/// What a sender does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Sleep until then, ns of the session clock.
    Wait {
        /// When the next slot is due.
        until: Nanos,
    },
    /// Send slot `k` now; open slots before it passed unsent.
    Send {
        /// The slot.
        k: u64,
    },
    /// All remaining slots passed unsent.
    Missed {
        /// The last of them.
        through: u64,
    },
    /// Nothing is left to send.
    Over,
}

/// The 16 bits of slot `k` an ICMP header carries.
#[must_use]
pub fn seq_of(k: u64) -> u16 {
    (k & 0xffff) as u16
}

/// The newest slot not after `newest` whose 16 bits are `seq`. Unambiguous as long as fewer than
/// 65,536 slots are open, which [`super::classify::WINDOW`] guarantees.
#[must_use]
pub fn slot_of(seq: u16, newest: u64) -> Option<u64> {
    newest.checked_sub(u64::from(seq_of(newest).wrapping_sub(seq)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn due_times_are_absolute() {
        let s = Schedule::new(1_000, 50, None);
        assert_eq!((s.due(0), s.due(1), s.due(1_000_000)), (1_000, 1_050, 50_001_000));
        assert_eq!(s.newest_due(999), None);
        assert_eq!(s.newest_due(1_000), Some(0));
        assert_eq!(s.newest_due(1_099), Some(1));
    }

    #[test]
    fn a_missed_slot_is_skipped_not_caught_up() {
        let s = Schedule::new(0, 10, None);
        assert_eq!(s.turn(0, 0), Turn::Send { k: 0 });
        assert_eq!(s.turn(1, 9), Turn::Wait { until: 10 });
        assert_eq!(s.turn(1, 19), Turn::Send { k: 1 });
        // Asleep from slot 2 to slot 7: one probe goes out, not six.
        assert_eq!(s.turn(2, 77), Turn::Send { k: 7 });
        assert_eq!(s.turn(8, 77), Turn::Wait { until: 80 });
    }

    #[test]
    fn a_counted_schedule_ends() {
        let s = Schedule::new(0, 10, Some(3));
        assert_eq!(s.turn(2, 20), Turn::Send { k: 2 });
        assert_eq!(s.turn(3, 21), Turn::Over);
        // Overslept past the end: the last slot passed too.
        assert_eq!(s.turn(1, 35), Turn::Missed { through: 2 });
        assert_eq!(Schedule::new(0, 10, Some(0)).turn(0, 5), Turn::Over);
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert_eq!(slot_of(5, 5), Some(5));
        assert_eq!(slot_of(0xffff, 0x1_0000), Some(0xffff));
        assert_eq!(slot_of(2, 0x3_0001), Some(0x2_0002));
        assert_eq!(slot_of(9, 5), None, "slot 9 was never due");
    }

    proptest! {
        #[test]
        fn any_open_slot_is_found_again(newest in 0u64..1 << 40, back in 0u64..65_536) {
            if let Some(k) = newest.checked_sub(back) {
                prop_assert_eq!(slot_of(seq_of(k), newest), Some(k));
            }
        }

        #[test]
        fn a_turn_never_sends_early_late_or_twice(next in 0u64..1_000, now in 0u64..20_000, interval in 1u64..50, count in proptest::option::of(0u64..1_000)) {
            let s = Schedule::new(100, interval, count);
            match s.turn(next, now) {
                Turn::Wait { until } => prop_assert!(until > now && until == s.due(next)),
                Turn::Send { k } => prop_assert!(k >= next && s.due(k) <= now && now < s.due(k + 1) && count.is_none_or(|c| k < c)),
                Turn::Missed { through } => prop_assert!(through >= next && Some(through + 1) == count && s.due(through + 1) <= now),
                Turn::Over => prop_assert!(count.is_some_and(|c| next >= c)),
            }
        }
    }
}
