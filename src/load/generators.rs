//! The generators together: one thing to set, to ask and to stop.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::busy::CpuTimes;
use super::chunk::{CHUNK_PAGES, Chunk};
use super::clock::monotonic_ns;
use super::cpu::Cpu;
use super::dirty::Dirty;
use super::locked::Locked;
use super::mark::Meter;
use super::{Limits, LoadError};
use crate::event::{LoadReport, LoadSettings};

/// The three generators of this machine. All methods may be called from several threads.
#[derive(Debug)]
pub(crate) struct Generators {
    limits: Limits,
    dirty: Dirty,
    cpu: Cpu,
    /// Held while a request is put into effect, so requests come one after the other.
    locked: Mutex<Locked>,
    /// What is set. Its WSET is what is held, also while that grows.
    set: Mutex<LoadSettings>,
    window: Mutex<Window>,
}

/// Where the last report ended.
#[derive(Debug)]
struct Window {
    t_ns: u64,
    dropped: u64,
    pages: Meter,
    cpu: Vec<Meter>,
    /// CPU times of the whole machine; None where they cannot be read.
    machine: Option<CpuTimes>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Generators {
    /// Starts all generators, idle.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(limits: Limits) -> Result<Self, LoadError> {
        let (dirty, cpu) = (Dirty::start()?, Cpu::start()?);
        let window = Window {
            t_ns: monotonic_ns(),
            dropped: 0,
            pages: Meter::default(),
            cpu: cpu.meters(),
            machine: CpuTimes::now(),
        };
        Ok(Self {
            limits,
            dirty,
            cpu,
            locked: Mutex::new(Locked::new()),
            set: Mutex::new(LoadSettings::default()),
            window: Mutex::new(window),
        })
    }

    /// The limits they were started with.
    #[must_use]
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// The largest WSET that could be set now, bytes.
    #[must_use]
    pub(crate) fn wset_limit_bytes(&self) -> u64 {
        self.limits.wset_limit_now(self.settings().wset_bytes)
    }

    /// What is set now.
    #[must_use]
    pub(crate) fn settings(&self) -> LoadSettings {
        *lock(&self.set)
    }

    /// Puts settings into effect and returns what is set (WSET in whole pages). LOAD and RATE are
    /// in effect within one PERIOD; a large WSET takes as long as the machine needs to fill it.
    ///
    /// # Errors
    /// When a value is out of range, WSET is over the limit or the kernel refuses the memory. Then
    /// the former settings stay.
    pub(crate) fn apply(&self, settings: LoadSettings) -> Result<LoadSettings, LoadError> {
        self.apply_while(settings, &|| true)
    }

    /// As [`apply`](Self::apply), but gives a growth of WSET up as soon as `go_on` says no.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), and [`LoadError::Superseded`]; then LOAD and RATE are as asked
    /// and WSET is as far as it came.
    pub(crate) fn apply_while(
        &self,
        settings: LoadSettings,
        go_on: &dyn Fn() -> bool,
    ) -> Result<LoadSettings, LoadError> {
        let mut locked = lock(&self.locked);
        let asked = settings.checked()?;
        let former = self.settings();
        self.limits.check(asked.wset_bytes, locked.bytes())?;
        self.set_all_but_wset(asked, locked.bytes())?;
        let resized = locked.resize(asked.wset_bytes, &self.dirty, go_on);
        if let Err(error) = &resized
            && !matches!(error, LoadError::Superseded { .. })
        {
            // Going back only gives memory away, which the kernel does not refuse.
            let back_to = former.wset_bytes.min(locked.bytes());
            let _ = locked.resize(back_to, &self.dirty, &|| true);
            self.set_all_but_wset(former, locked.bytes())?;
        }
        lock(&self.set).wset_bytes = locked.bytes();
        resized.map(|()| self.settings())
    }

    fn set_all_but_wset(&self, settings: LoadSettings, held_bytes: u64) -> Result<(), LoadError> {
        self.dirty.set(&settings)?;
        self.cpu.set(settings.cpu_load_pct);
        *lock(&self.set) = LoadSettings { wset_bytes: held_bytes, ..settings };
        Ok(())
    }

    /// Set and achieved values, measured since the last report.
    #[must_use]
    pub(crate) fn report(&self) -> LoadReport {
        let set = self.settings();
        let progress = self.dirty.progress();
        let now = monotonic_ns();
        let mut window = lock(&self.window);
        let rate = window.pages.read(progress.mark, progress.pages, now, set.dirty.period_ns);
        let works = set.dirty.bpc_pages > 0 && set.wset_bytes > 0;
        let dropped = progress.dropped.saturating_sub(window.dropped);
        let since = now.saturating_sub(window.t_ns);
        let machine = CpuTimes::now();
        let busy = machine.zip(window.machine).filter(|_| since > 0).and_then(|(now, then)| now.busy_pct_since(then));
        let report = LoadReport {
            guest_ns: now,
            window_ns: if works && rate.window_ns > 0 { rate.window_ns } else { since },
            set,
            wset_bytes: set.wset_bytes,
            rate_pages_per_s: if works { rate.per_s } else { 0.0 },
            cpu_load_pct: self.cpu.achieved_pct(&mut window.cpu, now),
            pages_total: progress.pages,
            // Once is a pause; again and again, or still, is more than the machine can do.
            saturated: works && (progress.lagging || dropped >= 2),
            guest_cpu_pct: busy,
        };
        window.t_ns = now;
        window.dropped = progress.dropped;
        window.machine = machine;
        report
    }

    /// Stops all generators and frees the memory. Dropping does the same.
    pub(crate) fn stop(self) {}

    /// Runs `work` on the very memory the generators hold, while they let go of it.
    pub(crate) fn borrow_memory<T>(&self, work: impl FnOnce(&mut [Chunk]) -> T) -> Result<T, LoadError> {
        let locked = lock(&self.locked);
        let n = (locked.bytes() / crate::units::PAGE_BYTES).div_ceil(CHUNK_PAGES as u64);
        let mut chunks = self.dirty.take(n as usize)?;
        let result = work(&mut chunks);
        chunks.into_iter().try_for_each(|chunk| self.dirty.give(chunk))?;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{DirtyCycle, Pattern};

    const MIB: u64 = 1 << 20;

    fn roomy() -> Generators {
        Generators::start(Limits { ram_bytes: 1 << 50, reserve_bytes: 0 }).unwrap()
    }

    fn settings(wset_bytes: u64, rate: f64) -> LoadSettings {
        let dirty = DirtyCycle { bpc_pages: 0, period_ns: 1_000_000 }.with_rate(rate).unwrap();
        LoadSettings { wset_bytes, dirty, ..LoadSettings::default() }
    }

    /// Waits until `done`, however long a busy machine takes.
    fn until(generators: &Generators, done: impl Fn(&LoadReport) -> bool) -> LoadReport {
        for _ in 0..3000 {
            let report = generators.report();
            if done(&report) {
                return report;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("never came: {:?}", generators.report());
    }

    #[test]
    fn what_is_applied_is_set_and_achieved() {
        let generators = roomy();
        assert_eq!(generators.report().rate_pages_per_s, 0.0);
        let set = generators.apply(settings(8 * MIB + 1, 2000.0)).unwrap();
        assert_eq!(set.wset_bytes, 8 * MIB + 4096);
        until(&generators, |r| r.pages_total > 100 && r.rate_pages_per_s > 0.0);
        generators.apply(settings(2 * MIB, 0.0)).unwrap();
        let (a, b) = (generators.report(), generators.report());
        assert_eq!((a.wset_bytes, a.rate_pages_per_s), (2 * MIB, 0.0));
        assert_eq!(a.pages_total, b.pages_total);
    }

    #[test]
    fn more_than_it_can_do_is_saturated_and_less_is_not() {
        let generators = roomy();
        generators.apply(settings(4 * MIB, 1e9)).unwrap();
        let report = until(&generators, |r| r.saturated);
        assert!(report.rate_pages_per_s < 1e9);
        generators.apply(settings(4 * MIB, 10.0)).unwrap();
        until(&generators, |r| !r.saturated);
    }

    #[test]
    fn a_refusal_leaves_the_former_settings() {
        let generators = Generators::start(Limits { ram_bytes: 64 * MIB, reserve_bytes: 32 * MIB }).unwrap();
        let former = generators.apply(settings(MIB, 100.0)).unwrap();
        let over = generators.apply(settings(33 * MIB, 200.0)).unwrap_err();
        assert!(matches!(over, LoadError::WsetOverLimit { limit_bytes, .. } if limit_bytes <= 32 * MIB), "{over}");
        let bad = LoadSettings { fill_pct: -1.0, ..former };
        assert!(generators.apply(bad).is_err());
        assert_eq!(generators.settings(), former);
        assert_eq!(generators.report().set, former);
    }

    #[test]
    fn a_superseded_growth_says_how_far_it_came() {
        let generators = roomy();
        let error = generators.apply_while(settings(64 * MIB, 100.0), &|| false).unwrap_err();
        assert_eq!(error, LoadError::Superseded { held_bytes: 0 });
        assert_eq!(generators.settings(), settings(0, 100.0));
    }

    #[test]
    fn memory_may_change_size_while_every_pattern_writes() {
        let generators = roomy();
        for (i, mib) in [4, 9, 1, 6, 0, 5].into_iter().enumerate() {
            let pattern = Pattern::ALL[i % 3];
            generators.apply(LoadSettings { pattern, ..settings(mib * MIB, 1e9) }).unwrap();
            let before = generators.report().pages_total;
            if mib > 0 {
                until(&generators, |r| r.pages_total > before);
            }
        }
        generators.stop();
    }
}
