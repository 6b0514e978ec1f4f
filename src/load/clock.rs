//! The generators' clock, and their place in the scheduler's queue.

use nix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> u64 {
    // These clocks exist on every Linux; a failure would mean a broken kernel, not a wrong input.
    clock_gettime(clock).map_or(0, |t| (t.tv_sec() as u64).saturating_mul(1_000_000_000) + t.tv_nsec() as u64)
}

/// CLOCK_MONOTONIC of the machine this runs on, ns. In a guest it is the guest's clock.
#[must_use]
pub(crate) fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// CPU time the calling thread has used, ns.
pub(crate) fn thread_cpu_ns() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// Niceness of a thread that keeps a schedule and works little.
pub(crate) const PROMPT: i32 = -10;
/// Niceness of a thread that keeps a schedule and may work a lot: others must get their turn too.
pub(crate) const PREFERRED: i32 = -5;

/// Asks the scheduler to wake the calling thread on time, and to serve it before ordinary ones
/// (`nice` below 0): else a thread that keeps a schedule is held up by whatever the machine
/// computes. Needs a privilege that a guest's agent mostly has; without it, all goes on as usual.
#[allow(unsafe_code)]
pub(crate) fn keep_time(nice: i32) {
    // The default slack of 50 µs would make every wake-up late by as much.
    let _ = nix::sys::prctl::set_timerslack(1);
    // SAFETY: setpriority(2) takes three numbers and touches no memory; 0 is the calling thread.
    let _ = unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, nice) };
}

/// Asks the scheduler to serve the calling thread after all others: it computes, and nobody waits for it.
#[allow(unsafe_code)]
pub(crate) fn stand_back() {
    // SAFETY: setpriority(2) takes three numbers and touches no memory; 0 is the calling thread.
    let _ = unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, 19) };
}
