//! `lost-pings` and `reply-gap`: the downtime the probe saw.
//!
//! What interval must contain an outage is told at [`stretch`](crate::analysis::stretch). Here `n`, the longest
//! round trip of the undisturbed network, is the slowest of the answers before the migration, no further back
//! than the end of the migration before this one, whose held probes say nothing of the network. A path that
//! was seen to lose probes by itself takes some of the witnesses away: see [`path`](super::path). Without any
//! probe lost, held or in error there is no gap and the value is 0.
//!
//! # A probe that did not work
//!
//! A guest that never answered (filtered, another address) or that had fallen silent long before the
//! migration began says nothing of the migration: both estimates are unknown, and say why.
//!
//! # What counts for `lost-pings`
//!
//! Slots due between the beginning and the settling. `lost`, `error` and `refused` slots are in the value
//! (either way the guest did not answer), only those that are [witnesses](Fate::is_witness) in the lower
//! bound (an ICMP error may be about the way), and `not-sent`, held and missing slots in the upper bound. Each stretch of lost slots is
//! uncertain by one interval on each side, and by the jitter of network and sender; on a path that
//! loses probes by itself also by those that may be the path's.

use std::time::Duration;

use super::bounds::{bounded, joined, unknown};
use super::path::Path;
use super::seen::ProbeSeen;
use super::silence::{self, Silence};
use crate::analysis::stretch::{Answer, Baseline, Last, Stretch, proved};
use crate::analysis::{Estimate, Method};
use crate::event::{Fate, Nanos};

/// So many slots before the beginning tell what the undisturbed network is like.
const LEAD_SLOTS: u64 = 512;
/// A probe's engine hands its outcomes over in batches: one that is missing for so long may still be on
/// its way to us, ns.
const HAND_OVER: u64 = 100_000_000;

/// What the probe tells of one migration.
pub(super) struct Shape {
    pub(super) lost_pings: Estimate,
    pub(super) reply_gap: Estimate,
    pub(super) gaps: u32,
    pub(super) gaps_total: Duration,
}

/// The undisturbed network, from the answers to probes sent since `calm` and received before the migration
/// began; with too few of them from all.
fn baseline(answers: &[Answer], calm: Nanos, began: Nanos) -> Baseline {
    let before: Vec<u64> = answers.iter().filter(|a| a.sent >= calm && a.got <= began).map(Answer::rtt).collect();
    if before.len() >= 8 {
        let rtt_min = before.iter().copied().min().unwrap_or(0);
        return Baseline { rtt_min, rtt_max: before.iter().copied().max().unwrap_or(0) };
    }
    let mut all: Vec<u64> = answers.iter().map(Answer::rtt).collect();
    all.sort_unstable();
    let median = all.get(all.len() / 2).copied().unwrap_or(0);
    Baseline { rtt_min: all.first().copied().unwrap_or(0), rtt_max: median.saturating_mul(2) }
}

/// A stretch between two neighbouring answers in receive order.
#[derive(Clone, Copy, Default)]
struct Gap {
    value: u64,
    lo: u64,
    hi: u64,
    evident: bool,
    open: bool,
}

/// Sorted send times of the slots that were not answered.
#[derive(Default)]
struct Unanswered {
    lost: Vec<Nanos>,
    error: Vec<Nanos>,
}

impl Unanswered {
    /// Those in the open interval.
    fn between(times: &[Nanos], after: Nanos, before: Nanos) -> &[Nanos] {
        let from = times.partition_point(|t| *t <= after);
        let to = times.partition_point(|t| *t < before);
        &times[from.min(to)..to]
    }
}

/// Both estimates of the probe, or None if it was not running in the window. `disturbed` are the times of
/// the migrations before.
pub(super) fn measure(
    probe: &ProbeSeen<'_>,
    calm: Nanos,
    disturbed: &[(Nanos, Nanos)],
    began: Nanos,
    until: Nanos,
) -> Option<Shape> {
    let interval = probe.spec.interval_ns;
    let t0 = probe.spec.t0;
    let end = probe.stopped.map_or(until, |stopped| stopped.min(until));
    let start = began.max(t0);
    if interval == 0 || end <= start {
        return None;
    }
    let first_slot = (start - t0).div_ceil(interval);
    let from = probe.outcomes.partition_point(|o| o.k < first_slot.saturating_sub(LEAD_SLOTS));
    let mut answers = Vec::new();
    let mut gone = Unanswered::default();
    for outcome in probe.outcomes.range(from..) {
        match (outcome.fate, outcome.answered()) {
            (_, Some(got)) => answers.push(Answer { k: outcome.k, sent: outcome.sent, got }),
            (fate, None) if fate.is_witness(probe.spec.kind) => gone.lost.push(outcome.sent),
            (fate, None) if fate.class().is_down() => gone.error.push(outcome.sent),
            _ => {}
        }
    }
    gone.lost.sort_unstable();
    gone.error.sort_unstable();
    answers.sort_by_key(|a| a.got);
    let baseline = baseline(&answers, calm, began);
    if let Silence::Deaf(why) = silence::before(probe, began, end) {
        let (lost_pings, reply_gap) = (unknown(Method::LostPings, &*why), unknown(Method::ReplyGap, &*why));
        return Some(Shape { lost_pings, reply_gap, gaps: 0, gaps_total: Duration::ZERO });
    }
    let undisturbed = began.saturating_sub(baseline.rtt_max.saturating_add(interval));
    let path = Path::of(probe.outcomes, undisturbed, disturbed, (end - start) / interval + 1);

    let mut notes = Vec::new();
    if t0 > began {
        notes.push(format!("the probe began {} after the migration did", show(t0 - began)));
    }
    if end < until {
        notes.push("the probe stopped before the result was settled".to_owned());
    }
    notes.extend(path.words());
    let lost_pings = lost_pings(probe, first_slot, end, baseline, &path, notes.clone());
    let window = Window { start, end, lead: t0, calm };
    let (reply_gap, gaps, gaps_total) = reply_gap(&answers, &gone, baseline, &path, window, interval, notes);
    Some(Shape { lost_pings, reply_gap, gaps, gaps_total })
}

fn lost_pings(
    probe: &ProbeSeen<'_>,
    first_slot: u64,
    end: Nanos,
    mut baseline: Baseline,
    path: &Path,
    mut notes: Vec<String>,
) -> Estimate {
    let interval = probe.spec.interval_ns;
    let due = |k: u64| probe.spec.due(k);
    let from = probe.outcomes.partition_point(|o| o.k < first_slot);
    let (mut lost, mut errors, mut refused, mut not_sent, mut held, mut seen) =
        (0_u64, 0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    let (mut stretches, mut longest, mut run) = (0_u64, 0_u64, 0_u64);
    // Slots that the outage must have lasted, of each stretch by itself.
    let (mut proved, mut witnesses) = (0_u64, 0_usize);
    let proves = |witnesses: usize| match witnesses {
        n if n < path.alone => 0,
        n => n.saturating_sub(1 + path.edge) as u64,
    };
    // A slot whose answer may still be under way is pending, and in no ratio.
    let ripe = end.saturating_sub(interval.saturating_add(baseline.rtt_max).saturating_add(HAND_OVER));
    let mut late_send = 0;
    // A probe under way when the migration began may have met a guest that stood still already.
    let way = baseline.rtt_max.saturating_add(interval);
    let under_way: Vec<_> =
        probe.outcomes.range(..from).rev().take_while(|o| due(o.k).saturating_add(way) >= due(first_slot)).collect();
    for outcome in under_way.into_iter().rev() {
        match outcome.fate {
            Fate::Lost | Fate::Error | Fate::Refused => held += 1,
            Fate::NotSent => {}
            Fate::Ok { rtt } | Fate::Late { rtt } if baseline.held(rtt, interval) => held += 1,
            // One that waited for less than counts as held widens the jitter instead.
            Fate::Ok { rtt } | Fate::Late { rtt } => baseline.learn(rtt),
        }
    }
    let mut last: Option<u64> = None;
    for outcome in probe.outcomes.range(from..).take_while(|o| due(o.k) <= end) {
        seen += u64::from(due(outcome.k) <= ripe);
        if last.is_some_and(|k| k + 1 != outcome.k) {
            run = 0;
            proved += proves(std::mem::take(&mut witnesses));
        }
        last = Some(outcome.k);
        match outcome.fate {
            Fate::Lost | Fate::Error | Fate::Refused => {
                if run == 0 {
                    stretches += 1;
                }
                run += 1;
                longest = longest.max(run);
                witnesses += usize::from(outcome.fate.is_witness(probe.spec.kind));
                match outcome.fate {
                    Fate::Refused => refused += 1,
                    Fate::Error => errors += 1,
                    _ => lost += 1,
                }
            }
            Fate::NotSent => not_sent += 1,
            Fate::Ok { rtt } | Fate::Late { rtt } => {
                run = 0;
                proved += proves(std::mem::take(&mut witnesses));
                if baseline.held(rtt, interval) {
                    held += 1;
                } else {
                    baseline.learn(rtt);
                }
            }
        }
        if outcome.fate != Fate::NotSent {
            late_send = late_send.max(outcome.sent.saturating_sub(due(outcome.k)));
        }
    }
    proved += proves(witnesses);
    let missing = if ripe < due(first_slot) {
        0
    } else {
        ((ripe - probe.spec.t0) / interval + 1).saturating_sub(first_slot).saturating_sub(seen)
    };
    let jitter = (baseline.rtt_max - baseline.rtt_min.min(baseline.rtt_max)).saturating_add(late_send);
    let down = lost + errors + refused;
    let value = down.saturating_mul(interval);
    let edge = stretches.max(1).saturating_mul(interval).saturating_add(jitter);
    let lo = proved.saturating_mul(interval).saturating_sub(jitter);
    let hi = value.saturating_add((not_sent + held + missing).saturating_mul(interval)).saturating_add(edge);

    if stretches > 1 {
        notes.push(format!("{down} unanswered in {stretches} stretches, {longest} in the longest"));
    }
    if errors > 0 {
        notes.push(format!("{errors} of them ended in an error"));
    }
    if refused > 0 {
        notes.push(format!("{refused} of them were refused: something answered, the service did not"));
    }
    if not_sent > 0 {
        notes.push(format!("{not_sent} slots were not sent"));
    }
    if held > 0 {
        let were = if held == 1 { "probe was" } else { "probes were" };
        notes.push(format!("{held} {were} held back and answered late: not lost, so not counted"));
    }
    if missing > 0 {
        notes.push(format!("{missing} slots have no outcome"));
    }
    Estimate { method: Method::LostPings, value: Some(bounded(value, lo, hi)), note: joined(notes) }
}

struct Window {
    start: Nanos,
    end: Nanos,
    /// The probe's first slot: nothing can have been answered before.
    lead: Nanos,
    /// What was sent before may have been held back by an earlier migration.
    calm: Nanos,
}

fn reply_gap(
    answers: &[Answer],
    gone: &Unanswered,
    mut baseline: Baseline,
    path: &Path,
    window: Window,
    interval: u64,
    mut notes: Vec<String>,
) -> (Estimate, u32, Duration) {
    if answers.is_empty() {
        let seen = !gone.lost.is_empty() || !gone.error.is_empty();
        let why = if seen { "the guest answered no probe at all" } else { "no probe has an outcome" };
        notes.push(why.to_owned());
        let note = notes.join("; ");
        return (unknown(Method::ReplyGap, note), 0, Duration::ZERO);
    }
    // Before the first answer we know of, the guest may have been gone since the window began.
    let since = answers.first().map_or(window.start, |a| a.sent.min(window.start.max(window.lead)));
    let mut last = Last { k: 0, sent: since, answered: since };
    let mut longest = Gap::default();
    let (mut widest, mut gaps, mut total) = (0, 0_u32, 0_u64);
    let mut take = |gap: Gap| {
        widest = widest.max(gap.hi);
        if gap.evident && gap.value >= longest.value {
            longest = gap;
        }
        if gap.evident {
            gaps += 1;
            total += gap.value;
        }
    };
    for (i, answer) in answers.iter().enumerate() {
        if answer.got > window.start && last.sent < window.end {
            let mut stretch = Stretch::new(last, *answer, baseline.rtt_max, baseline.held_above(interval), interval);
            let first = stretch;
            for together in answers[i..].iter().take_while(|a| first.is_together(a)) {
                stretch.join(together);
            }
            take(gap(&stretch, gone, path));
        }
        let held = baseline.held(answer.rtt(), interval);
        if !held && answer.sent >= window.calm {
            baseline.learn(answer.rtt());
        }
        last.take(answer, held, baseline.rtt_max);
    }
    let silent = window.end.saturating_sub(last.answered);
    let patience = interval.saturating_mul(2).saturating_add(baseline.rtt_max);
    let gone_since = |times: &[Nanos]| !Unanswered::between(times, last.answered, Nanos::MAX).is_empty();
    let unanswered = gone_since(&gone.lost) || gone_since(&gone.error);
    if silent > patience && (unanswered || silent > patience.saturating_add(HAND_OVER)) {
        let lo = path
            .span(Unanswered::between(&gone.lost, last.answered, Nanos::MAX))
            .map_or(0, |span| proved(span, baseline.rtt_max));
        take(Gap { value: silent, lo, hi: silent, evident: true, open: true });
    }
    if longest.open {
        notes.push("the guest had not answered again by then: the gap is still open, its bounds end there".to_owned());
    } else if widest > longest.hi.max(interval + interval / 2 + baseline.rtt_max) {
        notes.push(format!("up to {} could hide where slots were not sent or answered", show(widest)));
    }
    let value = bounded(longest.value, longest.lo, widest);
    let estimate = Estimate { method: Method::ReplyGap, value: Some(value), note: joined(notes) };
    (estimate, gaps, Duration::from_nanos(total))
}

/// What a stretch says of the outage; see [`stretch`](crate::analysis::stretch).
fn gap(stretch: &Stretch, gone: &Unanswered, path: &Path) -> Gap {
    let within = |times| Unanswered::between(times, stretch.last.answered, stretch.back());
    let (lost, error) = (within(&gone.lost), within(&gone.error));
    let witnesses = if stretch.is_held() {
        // One held back was not lost by the path: only those lost before it may be, the earliest first.
        lost.get(path.edge).map(|first| (*first, *first))
    } else {
        path.span(lost)
    };
    let evident = !lost.is_empty() || !error.is_empty() || stretch.is_held();
    let value = if evident { stretch.value() } else { 0 };
    Gap { value, lo: stretch.lo(witnesses), hi: stretch.hi(), evident, open: false }
}

fn show(ns: u64) -> String {
    crate::units::show_duration(Duration::from_nanos(ns))
}
