//! What happened in buckets of time, for views that span so much that looking at each report and
//! sample would take long, and for times of which they are no longer held.

use crate::chunked::Chunked;
use crate::event::{HostEvent, LoadReport, Nanos, Sample};

/// Length of a bucket, ns, from fine to coarse; each a multiple of the one before.
const WIDTHS: [Nanos; 5] = [250_000_000, 1_000_000_000, 5_000_000_000, 30_000_000_000, 300_000_000_000];
/// Buckets kept of each length: 34 minutes, 2.3 hours, 11 hours, 3 days, 28 days.
const KEPT: usize = 1 << 13;
/// A window longer than this is one that spans a standstill of the guest: what was achieved in it
/// is no rate. Nothing spreads over more, ns.
pub const STANDSTILL: Nanos = 2_000_000_000;

/// What happened in one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tick {
    /// RATE achieved, pages/s, the highest.
    pub achieved: Option<f64>,
    /// RATE set at the agent, pages/s, the newest.
    pub set: Option<f64>,
    /// CPU of the guest, % of all its CPUs, the highest.
    pub guest_cpu_pct: Option<f64>,
    /// CPU of this machine, % of all CPUs, the highest.
    pub host_cpu_pct: Option<f64>,
    /// CPU of the hypervisors together, % of one CPU, the highest.
    pub hypervisors_pct: Option<f64>,
    /// Throughput of the migration, bytes/s, the highest.
    pub throughput: Option<f64>,
    /// Left to send, bytes, the newest.
    pub remaining_bytes: Option<u64>,
    /// Dirty rate as the hypervisor renewed it, pages/s, the newest.
    pub dirty_seen: Option<f64>,
}

impl Tick {
    /// Takes in what came later.
    pub fn merge(&mut self, newer: &Self) {
        let highest = |a: &mut Option<f64>, b: Option<f64>| {
            if let Some(b) = b {
                *a = Some(a.map_or(b, |a| a.max(b)));
            }
        };
        highest(&mut self.achieved, newer.achieved);
        highest(&mut self.guest_cpu_pct, newer.guest_cpu_pct);
        highest(&mut self.host_cpu_pct, newer.host_cpu_pct);
        highest(&mut self.hypervisors_pct, newer.hypervisors_pct);
        highest(&mut self.throughput, newer.throughput);
        self.set = newer.set.or(self.set);
        self.remaining_bytes = newer.remaining_bytes.or(self.remaining_bytes);
        self.dirty_seen = newer.dirty_seen.or(self.dirty_seen);
    }
}

/// A bucket: its number and what happened in it.
type Bucket = (u64, Tick);

/// Buckets of several lengths. The longer ones reach further back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trail {
    levels: [Chunked<Bucket>; 5],
    /// Times before this one are no longer told of, by level, ns.
    gone: [Nanos; 5],
}

impl Trail {
    /// What this holds that `other`, an older copy of it, does not, bytes.
    pub(super) fn own_bytes(&self, other: &Self) -> usize {
        self.levels.iter().zip(&other.levels).map(|(ours, theirs)| ours.own_bytes(theirs)).sum()
    }

    /// Takes in a report.
    pub(super) fn report(&mut self, t: Nanos, report: &LoadReport) {
        let set = Some(finite(report.set.dirty.rate_pages_per_s()));
        if report.window_ns > STANDSTILL {
            return self.add(t, t, &Tick { set, ..Tick::default() });
        }
        let achieved = Some(finite(report.rate_pages_per_s));
        let guest_cpu_pct = report.guest_cpu_pct.map(finite);
        let from = t.saturating_sub(report.window_ns.max(1) - 1);
        self.add(from, t, &Tick { achieved, set, guest_cpu_pct, ..Tick::default() });
    }

    /// Takes in what this machine tells, measured since `before`.
    pub(super) fn host(&mut self, before: Option<Nanos>, t: Nanos, ev: &HostEvent) {
        let sum = ev.hypervisors.iter().map(|(_, pct)| finite(*pct)).sum();
        let hypervisors_pct = (!ev.hypervisors.is_empty()).then_some(sum);
        let host_cpu_pct = Some(finite(ev.cpu_pct));
        self.add(
            before.map_or(t, |b| b.saturating_add(1)),
            t,
            &Tick { host_cpu_pct, hypervisors_pct, ..Tick::default() },
        );
    }

    /// Takes in a sample; `before` are those of the same migration before it.
    pub(super) fn sample(&mut self, t: Nanos, sample: &Sample, before: &Chunked<(Nanos, Sample)>) {
        let rate = |s: &Sample| s.dirty_pages_per_s.filter(|r| *r > 0.0 && r.is_finite());
        // The rate is renewed only now and then: the same again is no news.
        let known = before.iter().rev().take(64).find_map(|(_, s)| rate(s));
        let tick = Tick {
            throughput: sample.throughput_bytes_per_s.map(finite),
            remaining_bytes: sample.remaining_bytes,
            dirty_seen: rate(sample).filter(|r| known != Some(*r)),
            ..Tick::default()
        };
        self.add(t, t, &tick);
    }

    /// Takes in what was so from `from` to `to`.
    pub(super) fn add(&mut self, from: Nanos, to: Nanos, tick: &Tick) {
        let from = from.max(to.saturating_sub(STANDSTILL)).min(to);
        for ((level, gone), width) in self.levels.iter_mut().zip(&mut self.gone).zip(WIDTHS) {
            for at in from / width..=to / width {
                match level.find(at, |b| b.0) {
                    Ok(i) => level[i].1.merge(tick),
                    Err(_) if at.saturating_mul(width) < *gone => {}
                    Err(i) => {
                        level.insert(i, (at, *tick));
                        if level.len() > KEPT {
                            *gone = level.front().map_or(*gone, |b| (b.0 + 1).saturating_mul(width));
                            level.pop_front();
                        }
                    }
                }
            }
        }
    }

    /// The buckets from `from` to `to` for columns of `column_ns`: (begins ns, last ns, what
    /// happened). As fine as columns need; coarser where no finer ones are left.
    pub fn within(&self, from: Nanos, to: Nanos, column_ns: Nanos) -> impl Iterator<Item = (Nanos, Nanos, &Tick)> {
        let fits = |w: Nanos| column_ns.is_multiple_of(w) || w.saturating_mul(4) <= column_ns;
        let fine = WIDTHS.iter().rposition(|w| fits(*w)).unwrap_or(0);
        let level = (fine..WIDTHS.len()).find(|l| self.gone[*l] <= from).unwrap_or(WIDTHS.len() - 1);
        let (buckets, width) = (&self.levels[level], WIDTHS[level]);
        let begin = buckets.find(from / width, |b| b.0).unwrap_or_else(|i| i);
        let begins = move |at: u64| at.saturating_mul(width);
        buckets
            .range(begin..)
            .take_while(move |(at, _)| begins(*at) <= to)
            .map(move |(at, tick)| (begins(*at), begins(*at).saturating_add(width - 1), tick))
    }

    /// Memory taken, bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.levels.iter().map(Chunked::heap_bytes).sum()
    }
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = 1_000_000_000;

    fn rate(achieved: f64) -> Tick {
        Tick { achieved: Some(achieved), set: Some(achieved), ..Tick::default() }
    }

    #[test]
    fn keeps_the_highest_and_the_newest() {
        let mut trail = Trail::default();
        trail.add(S, S, &rate(10.0));
        trail.add(S + 1, S + 1, &rate(30.0));
        trail.add(S + 2, S + 2, &rate(20.0));
        let buckets: Vec<_> = trail.within(0, 9 * S, 250_000_000).collect();
        let expected = Tick { achieved: Some(30.0), set: Some(20.0), ..Tick::default() };
        assert_eq!(buckets, [(S, S + 249_999_999, &expected)]);
    }

    #[test]
    fn what_was_so_for_a_while_is_in_all_its_buckets_but_not_for_ever() {
        let mut trail = Trail::default();
        trail.add(S, 3 * S, &rate(10.0));
        assert_eq!(trail.within(0, 9 * S, S).map(|b| b.0 / S).collect::<Vec<_>>(), [1, 2, 3]);
        trail.add(0, u64::MAX, &rate(10.0));
        assert!(trail.levels.iter().all(|l| l.len() < 20));
    }

    #[test]
    fn long_columns_take_long_buckets_and_old_times_too() {
        let mut trail = Trail::default();
        let hours = 24 * 3600;
        for t in 0..hours {
            trail.add(t * S, t * S, &rate(t as f64));
        }
        assert_eq!(trail.within(0, hours * S, 300 * S).count() as u64, hours / 300);
        let late = (hours - 60) * S;
        assert_eq!(trail.within(late, hours * S, S).count(), 60);
        // Seconds are gone by then: the finest buckets left reach back to the beginning.
        let (from, to, _) = trail.within(0, hours * S, S).next().unwrap();
        assert_eq!((from, to), (0, 30 * S - 1));
        assert!(trail.heap_bytes() < 8 << 20);
    }
}
