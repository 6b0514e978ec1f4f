//! How busy this machine is as a whole, by its kernel's own count.

use std::fs::File;
use std::io::Read;

/// CPU times since boot, ticks of all CPUs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTimes {
    busy: u64,
    all: u64,
}

impl CpuTimes {
    /// The times now; None where `/proc/stat` cannot be read.
    pub(super) fn now() -> Option<Self> {
        // The first line is all that is wanted of what may be a long file.
        let mut start = [0; 256];
        let n = File::open("/proc/stat").and_then(|mut f| f.read(&mut start)).ok()?;
        Self::parse(std::str::from_utf8(&start[..n]).ok()?)
    }

    /// `cpu user nice system idle iowait irq softirq steal guest guest_nice` (proc(5)). Time a guest
    /// of ours runs is in `user` already. Stolen time counts as neither busy nor spare: nobody here
    /// had it.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let mut ticks = [0u64; 7];
        let mut words = line.split_whitespace();
        for (i, tick) in ticks.iter_mut().enumerate() {
            match words.next() {
                Some(word) => *tick = word.parse().ok()?,
                // Kernels before 2.6 count less.
                None if i >= 4 => break,
                None => return None,
            }
        }
        let [user, nice, system, idle, iowait, irq, softirq] = ticks;
        let busy = [user, nice, system, irq, softirq].into_iter().fold(0, u64::saturating_add);
        Some(Self { busy, all: busy.saturating_add(idle).saturating_add(iowait) })
    }

    /// Busy share since then, % of all CPUs together. None if no tick has passed, as on a machine
    /// whose clock stands still, or if the times went backwards.
    pub(super) fn busy_pct_since(self, then: Self) -> Option<f64> {
        let all = self.all.checked_sub(then.all).filter(|all| *all > 0)?;
        // The kernel lets iowait fall now and then.
        let busy = self.busy.checked_sub(then.busy)?.min(all);
        Some(busy as f64 * 100.0 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let t = CpuTimes::parse("cpu  100 1 50 800 40 2 7 99 12 0\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(t, CpuTimes { busy: 160, all: 1000 });
        assert_eq!(CpuTimes::parse("cpu  1 2 3 4\n"), Some(CpuTimes { busy: 6, all: 10 }));
        for bad in ["", "cpu", "cpu  1 2 3", "cpu  a b c d e", "cpu0 1 2 3 4", "cpu  -1 2 3 4"] {
            assert_eq!(CpuTimes::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_needs_time_that_passed() {
        let at = |busy, all| CpuTimes { busy, all };
        assert_eq!(at(160, 1000).busy_pct_since(at(100, 900)), Some(60.0));
        assert_eq!(at(160, 1000).busy_pct_since(at(160, 1000)), None, "the clock stood still");
        assert_eq!(at(100, 900).busy_pct_since(at(160, 1000)), None);
        assert_eq!(at(120, 1000).busy_pct_since(at(100, 990)), Some(100.0), "iowait fell meanwhile");
        assert!(CpuTimes::now().is_some());
    }
}
