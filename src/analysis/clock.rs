//! The offset of a host's clock to ours, out of the events the host stamped.
//!
//! Each stamped event gives `d = received - stamped`: the offset, plus the way the event took to us. The
//! way is never negative, so each `d` is an upper bound of the offset at its time, and the least of many
//! is a good one: the lower envelope. Clocks drift, by at most `DRIFT` (the kernel slews no faster), so
//! an event `dt` away bounds the offset by `d + DRIFT dt`.
//!
//! How far below the envelope may the offset lie? By the shortest way there is. That one cannot be seen
//! from stamps alone, but it is shorter than the shortest way there *and back*, which is measured with a
//! few commands when the host is attached. Where it was not, ways of up to [`LONGEST_WAY`] are assumed.
//! To it is added how far the usual event lies above the least, since the least of a few may not have
//! come the shortest way.
//!
//! A clock that is set in the session makes a step: events on either side of it say nothing of the other
//! side. Steps of more than [`LONGEST_WAY`] are found: an event that far below all before it, or a run
//! of events that are all that far above. (Less than 0.128 s is slewed, not set, by the usual daemons.)

use crate::chunked::Chunked;
use crate::event::{ForeignTime, Nanos};

/// Two clocks drift apart by no more than this: parts per million.
const DRIFT: i128 = 500;
/// An event reaches us within this time, where nothing better is known, ns.
pub const LONGEST_WAY: i128 = 50_000_000;
/// The grain of a way with few events to tell of it, ns.
const FEW_GRAIN: i128 = 10_000_000;
/// Fewer stamps than this tell the spread of the ways badly.
const FEW: usize = 16;
/// Fewer stamps than this tell nothing of it.
const TOO_FEW: usize = 3;
/// The spread is taken from so many stamps around the time asked for.
const NEAR: usize = 64;
/// A clock was set back if so many events in a row come too late.
const RUN: usize = 4;
/// Stamps kept of one host.
const STAMPS: usize = 4_096;

/// What is known of a host's clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostClock {
    /// (received, ns of the session clock; stamped, ns since the epoch by the host's clock).
    stamps: Chunked<(Nanos, i64)>,
    /// The shortest way there and back, ns, if it was measured.
    round_trip: Option<u64>,
}

/// Offset of a clock at some time: ns of the session clock less ns of that clock. The truth lies between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// The least it can be.
    pub lo: i128,
    /// The most it can be: what the envelope says.
    pub hi: i128,
    /// Stamps it rests on.
    pub stamps: usize,
    /// Whether the clock was set in the session, as far as was seen.
    pub stepped: bool,
}

/// A foreign time in ns; None for the -1 that a QEMU whose clock failed sends, and for what is no time.
#[must_use]
pub fn foreign_ns(at: ForeignTime) -> Option<i64> {
    if at.secs < 0 || at.micros < 0 {
        return None;
    }
    at.secs.checked_mul(1_000_000_000)?.checked_add(at.micros.checked_mul(1_000)?)
}

impl HostClock {
    /// Takes in an event received at `t`.
    pub fn stamp(&mut self, t: Nanos, at: Option<ForeignTime>) {
        let Some(ns) = at.and_then(foreign_ns) else { return };
        // One event may be told of in more than one way.
        if self.stamps.back().is_some_and(|(_, last)| *last == ns) {
            return;
        }
        self.stamps.push_back((t, ns));
        if self.stamps.len() > STAMPS {
            self.stamps.pop_front();
        }
    }

    /// Takes in how long a command took there and back, ns.
    pub fn round_trip(&mut self, ns: u64) {
        self.round_trip = Some(self.round_trip.map_or(ns, |least| least.min(ns)));
    }

    /// Stamps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stamps.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }

    /// The newest offset; None without a stamp.
    #[must_use]
    pub fn now(&self) -> Option<Offset> {
        self.stamps.back().and_then(|(t, _)| self.at(*t))
    }

    /// The offset at `t`; None without a stamp.
    #[must_use]
    pub fn at(&self, t: Nanos) -> Option<Offset> {
        let all: Vec<(Nanos, i128)> =
            self.stamps.iter().map(|(received, ns)| (*received, i128::from(*received) - i128::from(*ns))).collect();
        let segments = segments(&all);
        // The stretch without a step that `t` lies in, else the nearest.
        let away = |(from, to): &(usize, usize)| {
            let (first, last) = (all[*from].0, all[*to - 1].0);
            if t < first { first - t } else { t.saturating_sub(last) }
        };
        let own = |segment: &&(usize, usize)| all[segment.0..segment.1].iter().any(|(at, _)| *at == t);
        let segment = segments.iter().find(own).or_else(|| segments.iter().min_by_key(|s| away(s)))?;
        let part = &all[segment.0..segment.1];
        let apart = |at: Nanos| DRIFT * i128::from(at.abs_diff(t)) / 1_000_000;
        let (hi, drifted) = part.iter().map(|(at, d)| (d + apart(*at), apart(*at))).min()?;
        // Two drifts: what was allowed for may have gone the other way.
        let below = self.shortest_way(part, t) + 2 * drifted;
        // An event of this very time that came too late may as well have been stamped by a clock just set.
        let late = part.iter().filter(|(at, d)| *at == t && *d > hi + LONGEST_WAY).map(|(_, d)| *d).max();
        Some(Offset {
            lo: hi - below,
            hi: late.unwrap_or(hi),
            stamps: part.len(),
            stepped: segments.len() > 1 || late.is_some(),
        })
    }

    /// How far below the envelope the offset may lie, ns.
    fn shortest_way(&self, part: &[(Nanos, i128)], t: Nanos) -> i128 {
        let there = self.round_trip.map_or(LONGEST_WAY, i128::from);
        let middle = part.partition_point(|(at, _)| *at < t);
        let from = middle.saturating_sub(NEAR / 2).min(part.len().saturating_sub(NEAR));
        let mut near: Vec<i128> = part[from..].iter().take(NEAR).map(|(_, d)| *d).collect();
        near.sort_unstable();
        let (Some(least), Some(most)) = (near.first(), near.last()) else { return LONGEST_WAY };
        let spread = match near.len() {
            n if n < TOO_FEW => return LONGEST_WAY.max(there),
            n if n < FEW => (most - least).clamp(FEW_GRAIN, LONGEST_WAY),
            n => near[n / 2] - least,
        };
        // A way as long as was measured is believed, however long.
        (there + spread).min(LONGEST_WAY.max(there))
    }
}

/// The stretches between two steps of the clock, as ranges of stamps in the order of their receipt.
fn segments(all: &[(Nanos, i128)]) -> Vec<(usize, usize)> {
    let mut segments = Vec::new();
    let mut from = 0;
    // The envelope of the stretch, with what the clock may have drifted since.
    let mut least: Option<(Nanos, i128)> = None;
    for (i, (t, d)) in all.iter().enumerate() {
        let Some((since, low)) = least else {
            least = Some((*t, *d));
            continue;
        };
        let drift = DRIFT * i128::from(t.abs_diff(since)) / 1_000_000;
        let ahead = *d < low - LONGEST_WAY - drift;
        let run = &all[i..all.len().min(i + RUN)];
        let back = run.len() == RUN && run.iter().all(|(_, d)| *d > low + LONGEST_WAY + drift);
        if ahead || back {
            segments.push((from, i));
            (from, least) = (i, Some((*t, *d)));
        } else if *d <= low + drift {
            least = Some((*t, *d));
        }
    }
    if !all.is_empty() {
        segments.push((from, all.len()));
    }
    segments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i128 = 1_000_000;
    const S: Nanos = 1_000_000_000;

    /// A host whose clock is `ahead` of ours (ns) and drifts, with an event each 100 ms whose way is told.
    fn clock(events: u64, ahead: impl Fn(Nanos) -> i128, way: impl Fn(u64) -> u64) -> HostClock {
        let mut clock = HostClock::default();
        for i in 0..events {
            let at = i * 100_000_000;
            // The session began 5,000 s after the epoch by our own clock.
            let ns = 5_000 * i128::from(S) + i128::from(at) + ahead(at);
            let ns = i64::try_from(ns).unwrap();
            let at_host = ForeignTime { secs: ns / 1_000_000_000, micros: ns % 1_000_000_000 / 1_000 };
            clock.stamp(at + way(i), Some(at_host));
        }
        clock
    }

    fn truth(ahead: i128) -> i128 {
        -5_000 * i128::from(S) - ahead
    }

    #[track_caller]
    fn holds(clock: &HostClock, t: Nanos, ahead: i128, width: i128) {
        let offset = clock.at(t).unwrap();
        let truth = truth(ahead);
        // A stamp has whole microseconds.
        assert!(offset.lo <= truth && truth <= offset.hi + 1_000, "{truth} not in {offset:?}");
        assert!(offset.hi - offset.lo <= width, "{offset:?} is wider than {width}");
    }

    #[test]
    fn a_clock_that_is_ahead_behind_or_far_off() {
        for ahead in [0, 200 * MS, -200 * MS, 3_600_000 * MS, -3_600_000 * MS] {
            let mut c = clock(200, |_| ahead, |i| 2_000_000 + i * 7_919 % 5_000_000);
            holds(&c, 10 * S, ahead, 51 * MS);
            // A way there and back of 4 ms makes it sharp.
            c.round_trip(4_000_000);
            holds(&c, 10 * S, ahead, 8 * MS);
            assert!(!c.at(10 * S).unwrap().stepped);
        }
    }

    #[test]
    fn a_drift_of_100_ppm_over_an_hour() {
        let drift = |at: Nanos| i128::from(at) / 10_000;
        let mut c = clock(36_000, drift, |i| 1_000_000 + i * 104_729 % 3_000_000);
        c.round_trip(2_000_000);
        for t in [3_590 * S, 3_300 * S] {
            holds(&c, t, drift(t), 12 * MS);
        }
    }

    #[test]
    fn a_clock_that_is_set_in_the_middle() {
        for step in [200 * MS, -200 * MS, 3_600_000 * MS, -3_600_000 * MS] {
            let ahead = |at: Nanos| if at < 10 * S { 0 } else { step };
            let mut c = clock(200, ahead, |i| 1_000_000 + i * 104_729 % 3_000_000);
            c.round_trip(2_000_000);
            for t in [S, 9 * S, 11 * S, 19 * S] {
                holds(&c, t, ahead(t), 8 * MS);
            }
            assert!(c.now().unwrap().stepped);
        }
    }

    #[test]
    fn few_stamps_are_worth_little_and_none_nothing() {
        assert_eq!(HostClock::default().now(), None);
        let mut c = clock(2, |_| 0, |_| 3_000_000);
        c.round_trip(1_000_000);
        let two = c.at(0).unwrap();
        assert_eq!((two.hi - two.lo) / MS, 50);
        let mut bad = HostClock::default();
        for at in [(-1, -1), (i64::MAX, 0), (5, i64::MAX), (0, -1)] {
            bad.stamp(7, Some(ForeignTime { secs: at.0, micros: at.1 }));
        }
        assert!(bad.is_empty());
    }

    #[test]
    fn one_late_event_is_no_step() {
        let mut c = clock(100, |_| 0, |i| if i == 50 { 90_000_000 } else { 1_000_000 });
        c.round_trip(2_000_000);
        holds(&c, 3 * S, 0, 5 * MS);
        // But whether that very one is late or stamped by another clock is not known.
        let at = 5 * S + 90_000_000;
        let offset = c.at(at).unwrap();
        assert!(offset.hi - offset.lo >= 89 * MS, "{offset:?}");
    }

    proptest! {
        #[test]
        fn the_truth_is_within(
            ahead in -4_000_000_000_000i64..4_000_000_000_000,
            ppm in -100i128..100,
            shortest in 10_000u64..25_000_000,
            ways in prop::collection::vec(0u64..20_000_000, 1..300),
            round_trip in prop::option::of(0u64..5_000_000),
            asked in 0u64..400,
        ) {
            let ahead = i128::from(ahead);
            let at_time = |at: Nanos| ahead + i128::from(at) * ppm / 1_000_000;
            let n = ways.len() as u64;
            let mut c = clock(n, at_time, |i| shortest + ways[i as usize]);
            // There and back is longer than there.
            if let Some(back) = round_trip {
                c.round_trip(shortest + back);
            }
            let t = asked % n * 100_000_000;
            let offset = c.at(t).unwrap();
            let truth = truth(at_time(t));
            prop_assert!(truth <= offset.hi + 1_000);
            // The least way is believed to be within what the spread allows for.
            prop_assert!(offset.lo <= truth + 1_000 || n < 16, "{truth} below {offset:?}");
        }

        #[test]
        fn any_stamps_give_an_offset_in_order(
            stamps in prop::collection::vec((any::<u32>(), any::<i64>(), any::<i64>()), 1..100),
            t in any::<u64>(),
        ) {
            let mut c = HostClock::default();
            stamps.iter().for_each(|(t, secs, micros)| {
                c.stamp(u64::from(*t), Some(ForeignTime { secs: *secs, micros: *micros }));
            });
            prop_assert!(c.at(t).is_none_or(|o| o.lo <= o.hi));
        }
    }
}
