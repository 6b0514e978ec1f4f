//! Figures of a hypervisor that cannot be: the one place that judges them. What cannot be is told as the
//! product's claim and is taken out, so that no screen, result or forecast rests on it.

use std::time::Duration;

use crate::event::{Nanos, Sample};
use crate::units::{show_bytes, show_count, show_duration};

/// Claims kept of one migration.
pub(super) const MOST: usize = 8;
/// How the claim of a downtime begins.
pub(super) const DOWNTIME: &str = "the hypervisor claims a downtime";
/// A figure about time may be this much beyond what we saw of the migration: it is counted elsewhere, ns.
const GRACE: Nanos = 1_000_000_000;
/// No pass over a guest's memory is quicker, ns.
const PASS: Nanos = 100_000;
/// What is left and what there is are not counted at the same time, nor of the same kinds of memory.
const SLACK: u64 = 2;
/// No guest has more memory, bytes: 64 PiB.
const MEMORY: u64 = 1 << 56;

/// Whether there can have been so many rounds after so long, ns.
pub(super) fn round_can_be(round: u64, elapsed: Nanos) -> bool {
    round <= 10 + elapsed.saturating_add(GRACE) / PASS
}

/// A look at a migration that has lasted for `elapsed`, without what cannot be; and that, in words.
pub(super) fn judged(sample: &Sample, elapsed: Nanos) -> (Sample, Vec<String>) {
    let mut judged = sample.clone();
    let mut claims = Vec::new();
    let most = elapsed.saturating_add(GRACE) as f64 / 1e6;
    if let Some(ms) = sample.downtime_ms.filter(|ms| !(0.0..=most).contains(ms)) {
        judged.downtime_ms = None;
        claims.push(format!("{DOWNTIME} of {}, longer than the migration itself: not used", time(ms)));
    }
    if let Some(round) = sample.round.filter(|round| !round_can_be(*round, elapsed)) {
        judged.round = None;
        claims.push(format!("the hypervisor claims {} rounds: not used", show_count(round)));
    }
    let total = sample.total_bytes.filter(|bytes| *bytes <= MEMORY);
    if let Some(bytes) = sample.total_bytes.filter(|bytes| *bytes > MEMORY) {
        judged.total_bytes = None;
        claims.push(format!("the hypervisor claims {} of guest memory: not used", show_bytes(bytes)));
    }
    let most = total.filter(|bytes| *bytes > 0).map_or(MEMORY, |bytes| bytes.saturating_mul(SLACK));
    if let Some(bytes) = sample.remaining_bytes.filter(|bytes| *bytes > most) {
        judged.remaining_bytes = None;
        let of = total.map(|total| format!(" of {}", show_bytes(total))).unwrap_or_default();
        claims.push(format!("the hypervisor claims {} left{of}: not used", show_bytes(bytes)));
    }
    if let Some(bytes) = sample.transferred_bytes.filter(|bytes| *bytes > MEMORY) {
        judged.transferred_bytes = None;
        claims.push(format!("the hypervisor claims {} sent: not used", show_bytes(bytes)));
    }
    for figure in [
        &mut judged.dirty_pages_per_s,
        &mut judged.throughput_bytes_per_s,
        &mut judged.throttle_pct,
        &mut judged.expected_downtime_ms,
        &mut judged.total_time_ms,
        &mut judged.setup_time_ms,
    ] {
        *figure = figure.filter(|v| v.is_finite() && (0.0..1e17).contains(v));
    }
    judged.progress = judged.progress.filter(|part| (0.0..=1.0).contains(part));
    (judged, claims)
}

fn time(ms: f64) -> String {
    match Duration::try_from_secs_f64(ms / 1e3) {
        Ok(time) => show_duration(time),
        Err(_) => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn what_cannot_be_is_told_and_taken_out() {
        let cannot = Sample {
            downtime_ms: Some(u64::MAX as f64),
            round: Some(u64::MAX),
            remaining_bytes: Some(17_000_000_000 << 30),
            total_bytes: Some(256 << 20),
            transferred_bytes: Some(u64::MAX),
            expected_downtime_ms: Some(-1.0),
            ..Sample::default()
        };
        let (judged, claims) = judged(&cannot, 600 * MS);
        assert_eq!(judged, Sample { total_bytes: Some(256 << 20), ..Sample::default() });
        assert_eq!(claims.len(), 4, "{claims:?}");
        assert!(claims[0].starts_with(DOWNTIME) && claims[0].ends_with("longer than the migration itself: not used"));
    }

    #[test]
    fn an_hour_in_a_migration_of_less_than_a_second_cannot_be() {
        let hour = Sample { downtime_ms: Some(3_600_000.0), ..Sample::default() };
        let (taken, claims) = judged(&hour, 600 * MS);
        assert_eq!((taken.downtime_ms, claims.len()), (None, 1));
        // It can in a longer one; and one that is a little beyond what we saw is counted elsewhere.
        assert_eq!(judged(&hour, 3_700_000 * MS), (hour, Vec::new()));
        let near = Sample { downtime_ms: Some(900.0), ..Sample::default() };
        assert_eq!(judged(&near, 600 * MS).0, near);
    }

    #[test]
    fn what_can_be_is_left_alone() {
        let can = Sample {
            downtime_ms: Some(51.0),
            round: Some(29),
            remaining_bytes: Some(300 << 20),
            total_bytes: Some(256 << 20),
            transferred_bytes: Some(800_000_000),
            throughput_bytes_per_s: Some(1e9),
            ..Sample::default()
        };
        assert_eq!(judged(&can, 6_000 * MS), (can, Vec::new()));
    }
}
