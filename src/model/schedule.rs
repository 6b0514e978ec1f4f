//! When the link has carried what it was given.

/// How a link carries a migration's bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// Evenly, bytes/s.
    Steady(f64),
    /// So many bytes in each slot of time, as fast as the link can from the slot's beginning on; then
    /// nothing until the next.
    Bursts {
        /// Length of a slot, ns.
        slot_ns: u64,
        /// What goes in each, bytes.
        bytes: u64,
        /// How fast it goes, bytes/s.
        peak: f64,
    },
}

/// What the link has been given, and since when.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Schedule {
    pace: Pace,
    since_ns: u64,
    given_bytes: u64,
}

fn took_ns(bytes: u64, per_s: f64) -> u64 {
    (bytes as f64 * 1e9 / per_s).ceil() as u64
}

impl Schedule {
    pub(super) fn new(pace: Pace, now_ns: u64) -> Self {
        Self { pace, since_ns: now_ns, given_bytes: 0 }
    }

    /// Goes on after the link has been idle, at this pace: what it might have carried meanwhile is lost.
    /// Slots go on as they were.
    pub(super) fn begin(&mut self, pace: Pace, now_ns: u64) {
        match (self.pace == pace, pace) {
            (true, Pace::Bursts { slot_ns, bytes, .. }) => {
                let over = now_ns.saturating_sub(self.since_ns) / slot_ns;
                self.given_bytes = self.given_bytes.max(over.saturating_mul(bytes));
            }
            // What is on its way arrives all the same.
            _ => *self = Self { given_bytes: self.backlog(now_ns), ..Self::new(pace, now_ns) },
        }
    }

    /// Takes so many bytes more.
    pub(super) fn give(&mut self, bytes: u64) {
        self.given_bytes = self.given_bytes.saturating_add(bytes);
    }

    /// When it has carried all it was given, ns.
    pub(super) fn done_ns(&self) -> u64 {
        let took = match self.pace {
            Pace::Steady(per_s) => took_ns(self.given_bytes, per_s),
            Pace::Bursts { .. } if self.given_bytes == 0 => 0,
            Pace::Bursts { slot_ns, bytes, peak } => {
                let slots = (self.given_bytes - 1) / bytes;
                slots.saturating_mul(slot_ns).saturating_add(took_ns(self.given_bytes - slots * bytes, peak))
            }
        };
        self.since_ns.saturating_add(took)
    }

    /// How much more it carries until then, bytes.
    pub(super) fn affordable(&self, until_ns: u64) -> u64 {
        if until_ns == u64::MAX {
            return u64::MAX;
        }
        self.could_carry(until_ns).saturating_sub(self.given_bytes)
    }

    /// What it was given and has not carried by then, bytes.
    pub(super) fn backlog(&self, now_ns: u64) -> u64 {
        self.given_bytes.saturating_sub(self.could_carry(now_ns))
    }

    /// What it carries until then if it has enough, bytes.
    fn could_carry(&self, until_ns: u64) -> u64 {
        let passed = until_ns.saturating_sub(self.since_ns);
        match self.pace {
            Pace::Steady(per_s) => (passed as f64 * per_s / 1e9) as u64,
            Pace::Bursts { slot_ns, bytes, peak } => {
                let within = (passed % slot_ns) as f64 * peak / 1e9;
                (passed / slot_ns).saturating_mul(bytes).saturating_add((within as u64).min(bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn steadily_it_carries_by_time() {
        let mut s = Schedule::new(Pace::Steady(1e6), 5 * MS);
        assert_eq!((s.affordable(5 * MS), s.affordable(15 * MS), s.affordable(u64::MAX)), (0, 10_000, u64::MAX));
        s.give(4_000);
        assert_eq!((s.done_ns(), s.affordable(15 * MS)), (9 * MS, 6_000));
        s.begin(Pace::Steady(1e6), 20 * MS);
        assert_eq!((s.done_ns(), s.affordable(21 * MS)), (20 * MS, 1_000));
    }

    #[test]
    fn in_bursts_a_slot_goes_at_once_and_what_it_did_not_use_is_lost() {
        let pace = Pace::Bursts { slot_ns: 100 * MS, bytes: 1_000, peak: 1e6 };
        let mut s = Schedule::new(pace, 0);
        assert_eq!(s.affordable(MS), 1_000, "all of it within a millisecond");
        assert_eq!((s.affordable(99 * MS), s.affordable(100 * MS), s.affordable(101 * MS)), (1_000, 1_000, 2_000));
        s.give(1_500);
        assert_eq!(s.done_ns(), 100 * MS + MS / 2);
        // The rest of the second slot may still be used within it, and is gone after it.
        s.begin(pace, 150 * MS);
        assert_eq!(s.affordable(199 * MS), 500);
        s.begin(pace, 250 * MS);
        assert_eq!((s.affordable(299 * MS), s.affordable(301 * MS)), (1_000, 2_000));
        // Another pace has slots of its own.
        s.begin(Pace::Bursts { slot_ns: 100 * MS, bytes: 2_000, peak: 1e6 }, 260 * MS);
        assert_eq!(s.affordable(262 * MS), 2_000);
    }
}
