//! The CPU generator: one thread on each CPU, busy for LOAD % of each frame.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::LoadError;
use super::clock::{monotonic_ns, thread_cpu_ns};
use super::mark::{Mark, MarkCell, Meter, Rate};

/// Length of a frame, ns: the PERIOD of the CPU generator.
pub(crate) const FRAME_NS: u64 = 10_000_000;
/// Busy work between two looks at the clock, rounds.
const SPIN: u32 = 2_000;

#[derive(Debug, Default)]
struct Shared {
    /// LOAD in thousandths of a percent.
    load: AtomicU32,
    epoch: AtomicU64,
    stop: AtomicBool,
}

#[derive(Debug)]
struct Spinner {
    mark: Arc<MarkCell>,
    thread: JoinHandle<()>,
}

/// The handle to the CPU generator.
#[derive(Debug)]
pub(crate) struct Cpu {
    shared: Arc<Shared>,
    spinners: Vec<Spinner>,
}

impl Cpu {
    /// Starts one idle thread on each CPU this process may use.
    pub(crate) fn start() -> Result<Self, LoadError> {
        let mut cpu = Self { shared: Arc::new(Shared::default()), spinners: Vec::new() };
        for n in cpus() {
            let mark = Arc::new(MarkCell::default());
            let (shared, of_thread) = (Arc::clone(&cpu.shared), Arc::clone(&mark));
            let thread = std::thread::Builder::new()
                .name(format!("cpu-load-{n}"))
                .spawn(move || spin(n, &shared, &of_thread))
                .map_err(|e| LoadError::Thread { what: "CPU load", why: e.to_string() })?;
            cpu.spinners.push(Spinner { mark, thread });
        }
        Ok(cpu)
    }

    /// Puts LOAD (%) into effect: from the next frame on at the latest.
    pub(crate) fn set(&self, load_pct: f64) {
        let load = (load_pct.clamp(0.0, 100.0) * 1000.0).round() as u32;
        if self.shared.load.swap(load, Ordering::Relaxed) != load {
            self.shared.epoch.fetch_add(1, Ordering::Release);
            self.wake();
        }
    }

    fn wake(&self) {
        for spinner in &self.spinners {
            spinner.thread.thread().unpark();
        }
    }

    /// A meter for each thread.
    pub(crate) fn meters(&self) -> Vec<Meter> {
        self.spinners.iter().map(|_| Meter::default()).collect()
    }

    /// LOAD achieved, % of each CPU, since the meters were last read.
    pub(crate) fn achieved_pct(&self, meters: &mut [Meter], now_ns: u64) -> f64 {
        if self.spinners.is_empty() || self.shared.load.load(Ordering::Relaxed) == 0 {
            return 0.0;
        }
        let read = |(s, m): (&Spinner, &mut Meter)| -> Rate {
            let mark = s.mark.get();
            m.read(mark, mark.count, now_ns, FRAME_NS)
        };
        let busy: f64 = self.spinners.iter().zip(meters).map(|pair| read(pair).per_s / 1e9).sum();
        busy * 100.0 / self.spinners.len() as f64
    }
}

impl Drop for Cpu {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        for spinner in self.spinners.drain(..) {
            let _ = spinner.thread.join();
        }
    }
}

/// The CPUs this process may use.
pub(super) fn cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok();
    let listed: Vec<usize> =
        allowed.map_or_else(Vec::new, |set| (0..CpuSet::count()).filter(|n| set.is_set(*n).unwrap_or(false)).collect());
    if listed.is_empty() { vec![0] } else { listed }
}

fn spin(cpu: usize, shared: &Shared, cell: &MarkCell) {
    let mut only = CpuSet::new();
    // Where pinning is forbidden, the scheduler spreads the threads nearly as well.
    let _ = only.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &only));
    let _ = nix::sys::prctl::set_timerslack(1);
    let mut mark = Mark::default();
    let mut frame = monotonic_ns();
    while !shared.stop.load(Ordering::Acquire) {
        let epoch = shared.epoch.load(Ordering::Acquire);
        let load = u64::from(shared.load.load(Ordering::Relaxed));
        let (now, used) = (monotonic_ns(), thread_cpu_ns());
        if mark.epoch != epoch {
            mark = Mark { epoch, t_ns: now, count: used, epoch_t_ns: now, epoch_count: used };
            frame = now;
        }
        mark = Mark { t_ns: now, count: used, ..mark };
        cell.set(mark);
        if load == 0 {
            std::thread::park();
            continue;
        }
        // A frame that began late is not made up for: after a pause there is no burst.
        let end = if now > frame + FRAME_NS { now + FRAME_NS } else { frame + FRAME_NS };
        let busy_until = used + FRAME_NS * load / 100_000;
        while monotonic_ns() < end && thread_cpu_ns() < busy_until {
            if shared.epoch.load(Ordering::Relaxed) != epoch || shared.stop.load(Ordering::Relaxed) {
                break;
            }
            work();
        }
        frame = end;
        rest(end, shared, epoch);
    }
}

/// Sleeps to the end of the frame, or until the settings change.
fn rest(end: u64, shared: &Shared, epoch: u64) {
    loop {
        let left = end.saturating_sub(monotonic_ns());
        if left == 0 || shared.epoch.load(Ordering::Acquire) != epoch || shared.stop.load(Ordering::Acquire) {
            return;
        }
        std::thread::park_timeout(Duration::from_nanos(left));
    }
}

fn work() {
    let mut x = black_box(1u64);
    for _ in 0..SPIN {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_generator_uses_no_cpu_and_a_busy_one_does() {
        let cpu = Cpu::start().unwrap();
        let mut meters = cpu.meters();
        assert_eq!(cpu.achieved_pct(&mut meters, monotonic_ns()), 0.0);
        cpu.set(30.0);
        // Waits for the effect, not for a time: a busy machine may take longer.
        let busy = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            cpu.achieved_pct(&mut meters, monotonic_ns()) > 0.5
        });
        assert!(busy);
        cpu.set(0.0);
        assert_eq!(cpu.achieved_pct(&mut meters, monotonic_ns()), 0.0);
    }
}
