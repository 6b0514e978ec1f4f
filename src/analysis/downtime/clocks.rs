//! `reported`, `stop-resume` and `guest-clock`: the downtime that clocks tell of.

use crate::chunked::Chunked;

use super::bounds::{bounded, unknown};
use super::seen::{Turn, Turns};
use crate::analysis::clock::{LONGEST_WAY, foreign_ns};
use crate::analysis::{Estimate, Method};
use crate::event::Nanos;
use crate::text;

/// Two hosts on one machine whose clocks may be this close are taken to have one clock, ns.
const ONE_CLOCK: i128 = 10_000_000;
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
pub(super) fn reported(ms: Option<f64>, claimed: Option<&str>) -> Estimate {
    let Some(ms) = ms.filter(|ms| ms.is_finite() && *ms >= 0.0) else {
        return unknown(Method::Reported, claimed.unwrap_or("the hypervisor reported no downtime"));
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

/// The source's STOP to the destination's RESUME.
///
/// - Stamps of one clock: their difference is the value; the bounds take in that of our receive times.
/// - Stamps of two clocks: their difference, corrected by how far the two are apart. Each one's offset to
///   ours is known within bounds (see [`clock`](crate::analysis::clock)), which add up.
/// - No stamps, or none that can be used: the difference of our receive times.
pub(super) fn stop_resume(turns: &Turns<'_>) -> Estimate {
    let (stop, resume) = match (turns.stopped, turns.resumed) {
        (Some(stop), Some(resume)) => (stop, resume),
        (None, Some(_)) => return unknown(Method::StopResume, with_earlier("the guest's stop was not seen", turns)),
        (Some(_), None) => {
            return unknown(Method::StopResume, with_earlier("the guest was not seen to run again", turns));
        }
        (None, None) => return unknown(Method::StopResume, with_earlier("neither stop nor resume was seen", turns)),
    };
    let own = i128::from(resume.t) - i128::from(stop.t);
    let foreign = match (stop.at.and_then(foreign_ns), resume.at.and_then(foreign_ns)) {
        (Some(from), Some(to)) => Some(i128::from(to) - i128::from(from)),
        _ => None,
    };
    let positive = |ns: i128| u64::try_from(ns.max(0)).unwrap_or(u64::MAX);
    let one_clock = turns.one_clock && apart(&stop, &resume).is_none_or(|(lo, hi)| lo <= ONE_CLOCK && hi >= -ONE_CLOCK);
    let (value, note) = match (foreign, apart(&stop, &resume)) {
        (Some(foreign), _) if one_clock && foreign >= 0 && (foreign - own).abs() <= LONGEST_WAY * 5 => {
            let (low, high) = (foreign.min(own), foreign.max(own));
            let lo = positive(low).saturating_sub(MICROSECOND);
            let value = bounded(positive(foreign), lo, positive(high).saturating_add(TURN_LAG));
            (value, "by the hypervisors' own time stamps, which are of one clock".to_owned())
        }
        // The clock of the destination less that of the source.
        (Some(foreign), Some((lo, hi))) => {
            let usual = resume_offset(&resume) - resume_offset(&stop);
            let value = bounded(
                positive(foreign + usual),
                positive(foreign - hi).saturating_sub(MICROSECOND),
                positive(foreign - lo).saturating_add(MICROSECOND + TURN_LAG),
            );
            (value, ahead(&stop, &resume, -usual, lo, hi))
        }
        (foreign, _) => {
            let value = positive(own);
            let way = LONGEST_WAY as u64;
            let unusable = if foreign.is_some() { "; nothing is known of the hosts' clocks" } else { "" };
            let value = bounded(value, value.saturating_sub(way), value.saturating_add(way));
            (value, format!("by our receive times, each within {}{unusable}", show(way)))
        }
    };
    Estimate { method: Method::StopResume, value: Some(value), note: Some(with_earlier(&note, turns)) }
}

fn resume_offset(turn: &Turn<'_>) -> i128 {
    turn.offset.map_or(0, |o| o.hi)
}

/// By how much the clock of the resuming host is ahead of the stopping one's, ns, at least and at most;
/// None where one is not known.
fn apart(stop: &Turn<'_>, resume: &Turn<'_>) -> Option<(i128, i128)> {
    let (from, to) = (stop.offset?, resume.offset?);
    Some((from.lo - to.hi, from.hi - to.lo))
}

/// How the clocks differ, in words.
fn ahead(stop: &Turn<'_>, resume: &Turn<'_>, usual: i128, lo: i128, hi: i128) -> String {
    let signed = |ns: i128| {
        let words = show(u64::try_from(ns.unsigned_abs()).unwrap_or(u64::MAX));
        if ns < 0 { format!("-{words}") } else { words }
    };
    let (from, to) = (text::foreign(stop.host), text::foreign(resume.host));
    let stamps = |turn: &Turn<'_>| turn.offset.map_or(0, |o| o.stamps);
    let stepped = [stop, resume].into_iter().any(|t| t.offset.is_some_and(|o| o.stepped));
    let stepped = if stepped { "; a clock was set during the session" } else { "" };
    let how = if usual < 0 { "behind" } else { "ahead of" };
    format!(
        "by the hypervisors' own time stamps, corrected: the clock of {to} is {} {how} that of {from} ({} to {}, by {} \
         and {} stamps){stepped}",
        show(u64::try_from(usual.unsigned_abs()).unwrap_or(u64::MAX)),
        signed(lo),
        signed(hi),
        stamps(resume),
        stamps(stop),
    )
}

/// A note, and the stops before the switch-over beside it.
fn with_earlier(note: &str, turns: &Turns<'_>) -> String {
    let lengths = turns.earlier.iter().map(|(stop, resume)| resume.saturating_sub(*stop));
    let (count, longest, total) =
        lengths.fold((0, 0, 0_u64), |(n, longest, total), ns| (n + 1, ns.max(longest), total.saturating_add(ns)));
    match count {
        0 => note.to_owned(),
        1 => format!("{note}; not counted: it had stood still for {} before, and went on at the source", show(total)),
        n => format!(
            "{note}; not counted: it had stood still {n} times before, {} in all, {} at the longest, and went on at \
             the source",
            show(total),
            show(longest)
        ),
    }
}

fn show(ns: u64) -> String {
    crate::units::show_duration(std::time::Duration::from_nanos(ns))
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
