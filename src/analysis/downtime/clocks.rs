//! `reported`, `stop-resume` and `guest-clock`: the downtime that clocks tell of.

use crate::chunked::Chunked;

use super::{Turn, bounded, joined, unknown};
use crate::analysis::{Estimate, Method};
use crate::event::{ForeignTime, Nanos};

/// How late an event pushed by a hypervisor may reach us, ns. Bounds of `stop-resume` where only
/// our own receive times can be used.
const RECEIVE_DELAY: u64 = 50_000_000;
/// Foreign and own difference must agree this well for both foreign times to be of one clock, ns.
const ONE_CLOCK: u64 = 250_000_000;
/// The finest step of a foreign time stamp, ns.
const MICROSECOND: u64 = 1_000;
/// Heartbeats within so long before and after a step tell the offset on either side, ns.
const STEP_WINDOW: u64 = 500_000_000;
/// At most so many heartbeats on either side.
const STEP_BEATS: usize = 64;
/// Fewer than so many on a side make the bounds doubtful.
const FEW_BEATS: usize = 16;
/// So many heartbeats after the first large step, the step is looked for.
const NEAR: usize = 10;
/// From so many places the usual spread is taken.
const SPREAD_SAMPLES: usize = 200;
/// Reading two clocks one after the other, ns.
const CLOCK_GRAIN: u64 = 20_000;

/// The hypervisor's own word, as given (whole milliseconds with most products).
pub(super) fn reported(ms: Option<f64>) -> Estimate {
    let Some(ms) = ms.filter(|ms| ms.is_finite() && *ms >= 0.0) else {
        return unknown(Method::Reported, "the hypervisor reported no downtime");
    };
    let ns = |ms: f64| (ms * 1e6).round() as u64;
    // Rounded or cut to whole milliseconds: either way less than one off.
    let value = bounded(ns(ms), ns((ms - 1.0).max(0.0)), ns(ms + 1.0));
    Estimate { method: Method::Reported, value: Some(value), note: None }
}

/// A hypervisor tells of a stop when the CPUs stand already, and of a resume before they go (QEMU:
/// `do_vm_stop` pauses the CPUs and then sends STOP, `vm_prepare_start` sends RESUME before
/// `resume_all_vcpus`), so the guest stands still for longer than the two are apart: by 0.1 to
/// 1 ms on a quiet machine, by this much at most on a busy one, ns.
const TURN_LAG: u64 = 10_000_000;

/// The source's STOP to the destination's RESUME. Where both carry times of one clock their
/// difference is the value; else that of our receive times. The bounds take in both.
pub(super) fn stop_resume(stopped: Option<Turn>, resumed: Option<Turn>) -> Estimate {
    let (stop, resume) = match (stopped, resumed) {
        (Some(stop), Some(resume)) => (stop, resume),
        (None, Some(_)) => return unknown(Method::StopResume, "the guest's stop was not seen"),
        (Some(_), None) => return unknown(Method::StopResume, "the guest was not seen to run again"),
        (None, None) => return unknown(Method::StopResume, "neither stop nor resume was seen"),
    };
    let own = i128::from(resume.t) - i128::from(stop.t);
    let foreign = match (stop.at.and_then(foreign_ns), resume.at.and_then(foreign_ns)) {
        (Some(from), Some(to)) => Some(to - from),
        _ => None,
    };
    let positive = |ns: i128| u64::try_from(ns.max(0)).unwrap_or(u64::MAX);
    match foreign {
        Some(foreign) if foreign >= 0 && (foreign - own).unsigned_abs() <= u128::from(ONE_CLOCK) => {
            let (low, high) = (foreign.min(own), foreign.max(own));
            Estimate {
                method: Method::StopResume,
                value: Some(bounded(
                    positive(foreign),
                    positive(low).saturating_sub(MICROSECOND),
                    positive(high).saturating_add(TURN_LAG),
                )),
                note: Some("by the hypervisors' own time stamps, which agree with ours".to_owned()),
            }
        }
        other => {
            let value = positive(own);
            let mut notes = vec!["by our receive times".to_owned()];
            if other.is_some() {
                notes.push("the hosts' clocks do not agree with ours".to_owned());
            }
            Estimate {
                method: Method::StopResume,
                value: Some(bounded(value, value.saturating_sub(RECEIVE_DELAY), value.saturating_add(RECEIVE_DELAY))),
                note: joined(notes),
            }
        }
    }
}

/// A foreign time in ns; None for the -1 that a QEMU whose clock failed sends.
fn foreign_ns(at: ForeignTime) -> Option<i128> {
    (at.secs >= 0 && at.micros >= 0).then(|| i128::from(at.secs) * 1_000_000_000 + i128::from(at.micros) * 1_000)
}

/// The step of the guest's monotonic clock against ours.
///
/// Each heartbeat gives an offset, our receive time less the guest's send time: a constant, plus
/// what the guest stood still so far, plus the way through network and socket. The way is never
/// negative and often near its least, so the least offset of a short window sees through queueing.
/// With `step(i)` the least offset after heartbeat `i` less the least before it:
/// - wherever `i` is, the outage is at least `step(i)` less what the least way after `i` was above
///   the least of all; that is taken to be no more than the usual offset lies above the least;
/// - where the guest stood still between `i` and `i + 1`, it is at most `step(i)` plus the same
///   of the heartbeats before `i`.
///
/// The steps of a plateau of one window's length are alike; the outage is at its beginning. Where
/// the steps do not stand out of the jitter, it can be anywhere, and all of them count.
pub(super) fn guest_clock(beats: &Chunked<(Nanos, u64, u64)>, began: Nanos, until: Nanos) -> Estimate {
    let beats = usable(beats, began, until);
    if beats.is_empty() {
        return unknown(Method::GuestClock, "no heartbeat came");
    }
    let offsets: Vec<i128> = beats.iter().map(|b| i128::from(b.received) - i128::from(b.guest)).collect();
    let inside: Vec<usize> = (0..beats.len().saturating_sub(1))
        .filter(|i| beats[i + 1].received > began && beats[*i].received < until)
        .collect();
    let step = |i: usize| least(&offsets[after(&beats, i)]) - least(&offsets[before(&beats, i)]);
    let steps: Vec<(usize, i128)> = inside.into_iter().map(|i| (i, step(i))).collect();
    let Some(largest) = steps.iter().map(|(_, s)| *s).max() else {
        return unknown(Method::GuestClock, "no heartbeat came after the migration began");
    };
    let every = steps.len().div_ceil(SPREAD_SAMPLES);
    let sampled: Vec<i128> =
        steps.iter().step_by(every).map(|(i, _)| above_least(&offsets[before(&beats, *i)])).collect();
    let typical = usual(&sampled);
    // The usual of few heartbeats says little: then all of their spread, or twice the typical.
    let spread = |side: &[i128]| match side.len() {
        0..FEW_BEATS => range(&offsets, side).max(typical * 2),
        _ => above_least(side).max(typical),
    };
    let stands_out = largest > typical * 4;
    let first = steps.iter().find(|(_, s)| s * 2 >= largest).map_or(0, |(i, _)| *i);
    let (mut lo, mut hi, mut value, mut at) = (0, 0, 0, first);
    for (i, step) in steps.iter().filter(|(i, _)| !stands_out || (first..=first + NEAR).contains(i)) {
        let (below, above) = if stands_out {
            (spread(&offsets[after(&beats, *i)]), spread(&offsets[before(&beats, *i)]))
        } else {
            (typical * 2, typical * 2)
        };
        lo = lo.max(step - below);
        hi = hi.max(step + above);
        if *step > value {
            (value, at) = (*step, *i);
        }
    }
    let (n_before, n_after) = (before(&beats, at).len(), after(&beats, at).len());
    let note = (n_before.min(n_after) < FEW_BEATS)
        .then(|| format!("few heartbeats: {n_before} before and {n_after} after the step"));
    let positive = |ns: i128| u64::try_from(ns.max(0)).unwrap_or(u64::MAX);
    let (lo, hi) = (positive(lo).saturating_sub(CLOCK_GRAIN), positive(hi).saturating_add(CLOCK_GRAIN));
    Estimate { method: Method::GuestClock, value: Some(bounded(positive(value), lo, hi)), note }
}

struct Beat {
    received: Nanos,
    guest: Nanos,
}

/// Those of the window and shortly before, without re-ordered ones, duplicates and restarts.
fn usable(beats: &Chunked<(Nanos, u64, u64)>, began: Nanos, until: Nanos) -> Vec<Beat> {
    let from = began.saturating_sub(STEP_WINDOW.saturating_mul(2));
    let first = beats.partition_point(|b| b.0 < from);
    let mut kept: Vec<Beat> = Vec::new();
    for (received, _, guest) in beats.range(first..).take_while(|b| b.0 <= until.saturating_add(STEP_WINDOW)) {
        match kept.last() {
            Some(last) if *guest == last.guest || *received < last.received => {}
            // The guest's clock went far back: it was booted anew, what was before is no measure.
            Some(last) if guest.saturating_add(1_000_000_000) < last.guest => {
                kept.clear();
                kept.push(Beat { received: *received, guest: *guest });
            }
            Some(last) if *guest < last.guest => {}
            _ => kept.push(Beat { received: *received, guest: *guest }),
        }
    }
    kept
}

fn before(beats: &[Beat], i: usize) -> std::ops::Range<usize> {
    let from = beats[i].guest.saturating_sub(STEP_WINDOW);
    let mut first = i;
    while first > 0 && i - first + 1 < STEP_BEATS && beats[first - 1].guest >= from {
        first -= 1;
    }
    first..i + 1
}

fn after(beats: &[Beat], i: usize) -> std::ops::Range<usize> {
    let to = beats[i + 1].guest.saturating_add(STEP_WINDOW);
    let mut last = i + 1;
    while last + 1 < beats.len() && last - i < STEP_BEATS && beats[last + 1].guest <= to {
        last += 1;
    }
    i + 1..last + 1
}

fn least(offsets: &[i128]) -> i128 {
    offsets.iter().copied().min().unwrap_or(0)
}

fn above_least(offsets: &[i128]) -> i128 {
    usual(offsets) - least(offsets)
}

fn usual(offsets: &[i128]) -> i128 {
    if offsets.is_empty() {
        return 0;
    }
    let mut some = offsets.to_vec();
    let middle = some.len() / 2;
    *some.select_nth_unstable(middle).1
}

/// With few heartbeats on a side: how far it spreads, but no less than neighbours elsewhere do.
fn range(all: &[i128], side: &[i128]) -> i128 {
    let own = side.iter().copied().max().unwrap_or(0) - least(side);
    let mut steps: Vec<i128> = all.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
    steps.sort_unstable();
    own.max(steps.get(steps.len().saturating_mul(3) / 4).copied().unwrap_or(0))
}
