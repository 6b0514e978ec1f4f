//! Asking the kernel to wake a measuring thread promptly. All of it is a wish: where it is not
//! granted, the thread measures on, and the spacing it reports shows the difference.

use nix::libc;

/// Shortest slice the scheduler grants, ns.
const SLICE: u64 = 100_000;

/// Makes the calling thread one that is woken on time:
/// - timer slack of 1 ns, instead of the 50 us by which the kernel may let timers wait for company;
/// - the lowest real-time priority, where this process may have it (root, or `RLIMIT_RTPRIO`); the
///   thread runs for tens of microseconds a slot, and the kernel's throttle stays in force;
/// - otherwise a scheduler slice of 0.1 ms (Linux 6.12 and later) instead of some 3 ms, which takes
///   no privilege: a thread that wants the processor for so short a time may interrupt one in the
///   middle of its slice. Its share of the processor stays what it was.
pub(crate) fn be_prompt() {
    let _ = nix::sys::prctl::set_timerslack(1);
    let ordinary = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        // What this thread starts is ordinary again.
        sched_flags: libc::SCHED_FLAG_RESET_ON_FORK as u64,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: SLICE,
        sched_deadline: 0,
        sched_period: 0,
    };
    let real_time =
        libc::sched_attr { sched_policy: libc::SCHED_RR as u32, sched_priority: 1, sched_runtime: 0, ..ordinary };
    // Neither a thread somebody made real-time already nor one made nicer is ours to change.
    if policy() == Some((libc::SCHED_OTHER, 0)) && !set(&real_time) {
        let _ = set(&ordinary);
    }
}

/// Policy and nice value of the calling thread.
#[allow(unsafe_code)]
fn policy() -> Option<(i32, i32)> {
    let mut attr = std::mem::MaybeUninit::<libc::sched_attr>::zeroed();
    // SAFETY: sched_getattr(2) for the calling thread (0) writes at most the size it is given.
    let done = unsafe {
        libc::syscall(libc::SYS_sched_getattr, 0, attr.as_mut_ptr(), size_of::<libc::sched_attr>() as u32, 0)
    };
    // SAFETY: it was all zeroes before the call, which is a valid value of a plain C structure.
    let attr = unsafe { attr.assume_init() };
    (done == 0).then_some((attr.sched_policy as i32, attr.sched_nice))
}

/// Whether the calling thread was given `attr`.
#[allow(unsafe_code)]
fn set(attr: &libc::sched_attr) -> bool {
    // SAFETY: sched_setattr(2) for the calling thread (0) reads `attr.size` bytes of `attr`, which
    // is no more than it has.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attr, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wishes_concern_the_calling_thread_alone() {
        let before = (nix::sys::prctl::get_timerslack(), policy());
        let after = std::thread::spawn(|| {
            be_prompt();
            (nix::sys::prctl::get_timerslack(), policy().map(|p| p.0))
        })
        .join()
        .unwrap();
        // The kernel grants real-time threads none at all.
        assert!(matches!(after.0, Ok(0 | 1)), "{after:?}");
        assert!(matches!(after.1, Some(libc::SCHED_OTHER | libc::SCHED_RR)), "{after:?}");
        assert_eq!((nix::sys::prctl::get_timerslack(), policy()), before);
    }
}
