//! How a generator thread tells how far it has come, without a lock: (time, count) pairs behind a
//! sequence number, one writer, any number of readers.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// How far a generator had come at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Raised each time the settings changed; rates are never measured across a change.
    pub(crate) epoch: u64,
    /// CLOCK_MONOTONIC, ns.
    pub(crate) t_ns: u64,
    /// Pages written, or CPU time used in ns, since the generator started.
    pub(crate) count: u64,
    /// The time of the epoch's first mark, ns.
    pub(crate) epoch_t_ns: u64,
    /// The count of the epoch's first mark.
    pub(crate) epoch_count: u64,
}

/// The place where one thread leaves its newest [`Mark`].
#[derive(Debug, Default)]
pub(crate) struct MarkCell {
    seq: AtomicU64,
    fields: [AtomicU64; 5],
}

impl MarkCell {
    /// Leaves a mark. Only one thread may do so.
    pub(crate) fn set(&self, m: Mark) {
        let seq = self.seq.load(Ordering::Relaxed);
        self.seq.store(seq.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let values = [m.epoch, m.t_ns, m.count, m.epoch_t_ns, m.epoch_count];
        for (field, value) in self.fields.iter().zip(values) {
            field.store(value, Ordering::Relaxed);
        }
        self.seq.store(seq.wrapping_add(2), Ordering::Release);
    }

    /// The newest mark, whole.
    pub(crate) fn get(&self) -> Mark {
        loop {
            let before = self.seq.load(Ordering::Acquire);
            let [epoch, t_ns, count, epoch_t_ns, epoch_count] =
                std::array::from_fn(|i| self.fields[i].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.seq.load(Ordering::Relaxed) == before {
                return Mark { epoch, t_ns, count, epoch_t_ns, epoch_count };
            }
            std::thread::yield_now();
        }
    }
}

/// A rate and the window it was measured over.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rate {
    /// Counts per second.
    pub(crate) per_s: f64,
    /// Window, ns.
    pub(crate) window_ns: u64,
}

/// Turns marks into rates. Windows reach from one cycle's start to a later one's, so a window that
/// is no multiple of the PERIOD does not make the rate jitter.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    base: Mark,
    last: Rate,
}

impl Meter {
    /// The rate since the last call, as of `now_ns`, of a generator whose cycle is `period_ns` long
    /// and which has come to `count_now` in the cycle that runs.
    pub(crate) fn read(&mut self, mark: Mark, count_now: u64, now_ns: u64, period_ns: u64) -> Rate {
        if mark.epoch != self.base.epoch {
            self.base = Mark { t_ns: mark.epoch_t_ns, count: mark.epoch_count, ..mark };
            self.last = Rate::default();
        }
        let counted = mark.count.saturating_sub(self.base.count);
        if mark.t_ns > self.base.t_ns {
            self.last = rate(counted, mark.t_ns - self.base.t_ns);
            self.base = mark;
        } else if self.last.window_ns == 0 {
            // The first cycle since the change: what it wrote belongs to a whole PERIOD.
            let window = now_ns.saturating_sub(mark.epoch_t_ns).max(period_ns);
            return rate(count_now.saturating_sub(mark.epoch_count), window);
        } else if now_ns.saturating_sub(mark.t_ns) > period_ns.saturating_mul(2).saturating_add(super::pacer::GRACE_NS)
        {
            // It should have begun another cycle by now: it stands still.
            self.last = Rate { per_s: 0.0, window_ns: now_ns.saturating_sub(mark.t_ns) };
        }
        self.last
    }
}

fn rate(counted: u64, window_ns: u64) -> Rate {
    Rate { per_s: counted as f64 * 1e9 / window_ns as f64, window_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn mark(epoch: u64, t_ms: u64, count: u64) -> Mark {
        Mark { epoch, t_ns: t_ms * MS, count, epoch_t_ns: 0, epoch_count: 0 }
    }

    #[test]
    fn windows_begin_and_end_with_cycles() {
        let mut meter = Meter::default();
        // Nine pages each 10 ms, looked at every 25 ms: each window holds whole cycles.
        let mut rates = Vec::new();
        for look in 1..=8u64 {
            let now = look * 25;
            let k = now / 10;
            rates.push(meter.read(mark(1, k * 10, k * 9), k * 9 + 9, now * MS, 10 * MS).per_s);
        }
        assert!(rates.iter().all(|r| (r - 900.0).abs() < 1e-6), "{rates:?}");
    }

    #[test]
    fn a_rate_holds_until_the_next_cycle_and_falls_when_it_stays_away() {
        let mut meter = Meter::default();
        assert_eq!(meter.read(mark(1, 0, 0), 5, 100 * MS, 1000 * MS).per_s, 5.0);
        assert_eq!(meter.read(mark(1, 1000, 5), 10, 1100 * MS, 1000 * MS).per_s, 5.0);
        assert_eq!(meter.read(mark(1, 1000, 5), 10, 1900 * MS, 1000 * MS).per_s, 5.0);
        assert_eq!(meter.read(mark(1, 1000, 5), 10, 4000 * MS, 1000 * MS).per_s, 0.0);
    }

    #[test]
    fn a_change_of_settings_starts_a_new_window() {
        let mut meter = Meter::default();
        meter.read(mark(1, 0, 0), 0, 0, 10 * MS);
        let changed = Mark { epoch: 2, t_ns: 300 * MS, count: 1100, epoch_t_ns: 200 * MS, epoch_count: 1000 };
        assert_eq!(meter.read(changed, 1100, 300 * MS, 10 * MS), Rate { per_s: 1000.0, window_ns: 100 * MS });
    }

    #[test]
    fn a_mark_is_never_torn() {
        let cell = MarkCell::default();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..50_000 {
                    cell.set(Mark { epoch: i, t_ns: i, count: i, epoch_t_ns: i, epoch_count: i });
                }
                stop.store(true, Ordering::Relaxed);
            });
            while !stop.load(Ordering::Relaxed) {
                let m = cell.get();
                assert_eq!([m.t_ns, m.count, m.epoch_t_ns, m.epoch_count], [m.epoch; 4]);
            }
        });
        assert_eq!(cell.get().epoch, 49_999);
    }
}
