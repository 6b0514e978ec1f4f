//! What is said of one migration: pure functions of it, for the result, the history and the
//! comparison. Unknown is `None`.

use std::time::Duration;

use crate::analysis::explain::Circumstances;
use crate::analysis::{Bounded, Method};
use crate::event::{MigrationEnd, Nanos, Phase, StopRule, Then};
use crate::session::State;
use crate::session::state::Migration;
use crate::units::{link_pages_per_s, show_duration};

/// Migration time: from the command to the end.
pub(crate) fn took(m: &Migration) -> Option<Duration> {
    m.ended.as_ref().map(|(t, _)| Duration::from_nanos(t.saturating_sub(m.began)))
}

pub(crate) use crate::session::result::rounds;

/// Sent, bytes.
pub(crate) fn sent(m: &Migration) -> Option<u64> {
    m.samples.iter().rev().find_map(|(_, s)| s.transferred_bytes)
}

/// RATE it ran under, pages/s: what was set when it began.
pub(crate) fn rate(m: &Migration) -> Option<f64> {
    m.load.map(|l| l.dirty.rate_pages_per_s())
}

/// RATE requested when it began, pages/s; where no request is kept, what was set.
pub(crate) fn requested(state: &State, m: &Migration) -> Option<f64> {
    let at = state.requests.partition_point(|(t, _)| *t <= m.began);
    let asked = at.checked_sub(1).and_then(|i| state.requests.get(i)).map(|(_, l)| l.dirty.rate_pages_per_s());
    asked.or_else(|| rate(m))
}

/// RATE over what the link carries: above 1, pre-copy cannot converge.
pub(crate) fn ratio(rate: Option<f64>, m: &Migration) -> Option<f64> {
    let link = m.settings.limit_bytes_per_s().map(link_pages_per_s)?;
    Some(rate? / link).filter(|r| r.is_finite())
}

/// A final downtime.
pub(crate) fn downtime(m: &Migration, method: Method) -> Option<Bounded> {
    m.final_downtime()?.estimates.iter().find(|e| e.method == method)?.value
}

/// How it ended, in a word.
pub(crate) fn end_word(m: &Migration) -> &'static str {
    match m.ended.as_ref().map(|(_, end)| end) {
        Some(MigrationEnd::Done) => "done",
        Some(MigrationEnd::Failed { .. }) => "failed",
        Some(MigrationEnd::Cancelled { .. }) => "cancelled",
        Some(MigrationEnd::Unsettled { .. }) => "unsettled",
        None => "running",
    }
}

/// Where the guest was left, as far as this migration tells.
pub(crate) fn whereabouts(m: &Migration) -> String {
    let since =
        |t: Nanos| format!("{} after the start", show_duration(Duration::from_nanos(t.saturating_sub(m.began))));
    if let Some((_, MigrationEnd::Unsettled { last, .. })) = &m.ended {
        return format!("where the guest is now, is not known: last seen, it {}", last.words());
    }
    match (&m.stopped, &m.resumed) {
        (_, Some((_, _, host))) if m.settled.is_some() && m.unanswered.is_some() => {
            format!("the guest runs at {host}, but has not answered since")
        }
        (_, Some((_, _, host))) => format!("the guest runs at {host}"),
        (Some((t, _, host)), None) => {
            format!("the guest stands still at {host} since {}: it was not seen to run again", since(*t))
        }
        (None, None) if matches!(m.ended, Some((_, MigrationEnd::Done))) => {
            "neither the guest's stop nor its resume was seen".to_owned()
        }
        (None, None) => format!("the guest was never stopped: it went on running at {}", m.from),
    }
}

/// What was seen beside the downtimes.
pub(crate) fn circumstances(state: &State, m: &Migration) -> Circumstances {
    let by_rule = m.stopped.as_ref().and_then(|(stopped, _, _)| {
        m.ruled.iter().rev().find(|(t, _, then)| *then == Then::StopAndCopy && t <= stopped)
    });
    Circumstances {
        interval: state.primary().map(|p| Duration::from_nanos(p.spec.interval_ns)),
        stopped_by: by_rule.map(|(_, rule, _)| match rule {
            StopRule::Operator => "the operator".to_owned(),
            StopRule::Own { words } => format!("the hypervisor's own rule ({words})"),
            _ => format!("policy {}", m.settings.policy.name),
        }),
        recovery: match (&m.resumed, m.answered) {
            (Some((resumed, _, _)), Some(answered)) => answered.checked_sub(*resumed).map(Duration::from_nanos),
            _ => None,
        },
    }
}

/// How long each phase lasted, all its stretches together, in the order they came; `now` closes
/// what lasts.
pub(crate) fn shares(m: &Migration, now: Nanos) -> Vec<(Phase, Duration)> {
    let mut shares: Vec<(Phase, Duration)> = Vec::new();
    for span in m.phases.iter().filter(|s| !s.phase.is_over()) {
        let took = Duration::from_nanos(span.to.unwrap_or(now).saturating_sub(span.from));
        match shares.iter_mut().find(|(phase, _)| *phase == span.phase) {
            Some((_, sum)) => *sum = sum.saturating_add(took),
            None => shares.push((span.phase, took)),
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture::{self, ANSWERS, BEGAN, MS, RESUMED, S, SETTLED, STOPPED};

    #[test]
    fn one_migration_in_figures() {
        let state = fixture::migrating(SETTLED);
        let m = &state.migrations[0];
        assert_eq!(took(m), Some(Duration::from_nanos(RESUMED - BEGAN)));
        assert_eq!(rounds(m), Some(29));
        assert_eq!(rate(m), Some(9000.0));
        assert!((ratio(rate(m), m).unwrap() - 9000.0 / 7812.5).abs() < 1e-9);
        let shares = shares(m, SETTLED);
        assert_eq!(
            shares.iter().map(|s| s.0.word()).collect::<Vec<_>>(),
            ["setup", "pre-copy", "stop-and-copy", "recovery"]
        );
        assert_eq!(shares[3].1, Duration::from_nanos(ANSWERS - RESUMED));
    }

    #[test]
    fn a_round_begun_after_the_stop_does_not_count() {
        let mut state = fixture::migrating(SETTLED);
        let m = &mut state.migrations[0];
        m.rounds.push((STOPPED + 5 * MS, 30));
        assert_eq!(rounds(m), Some(29));
        m.stopped = None;
        assert_eq!(rounds(m), Some(30));
    }

    #[test]
    fn what_was_requested_counts_at_its_time() {
        let mut state = fixture::migrating(SETTLED);
        assert_eq!(requested(&state, &state.migrations[0]), Some(9000.0));
        state.requests.extend([
            (S, fixture::load(2000.0)),
            (BEGAN - 1, fixture::load(12_000.0)),
            (BEGAN + S, fixture::load(1.0)),
        ]);
        assert_eq!(requested(&state, &state.migrations[0]), Some(12_000.0));
    }

    #[test]
    fn the_guest_is_where_it_was_seen() {
        let mut m = fixture::migrating(SETTLED).migrations.remove(0);
        assert_eq!(whereabouts(&m), "the guest runs at b");
        m.unanswered = Some("completed".into());
        assert_eq!(whereabouts(&m), "the guest runs at b, but has not answered since");
        (m.resumed, m.unanswered) = (None, None);
        assert_eq!(
            whereabouts(&m),
            "the guest stands still at a since 14.2 s after the start: it was not seen to run again"
        );
        m.stopped = None;
        m.ended = Some((SETTLED, MigrationEnd::Cancelled { by: "the operator".into() }));
        assert!(whereabouts(&m).ends_with("never stopped: it went on running at a"));
    }

    #[test]
    fn who_stopped_the_guest() {
        let mut state = fixture::migrating(SETTLED);
        let who = circumstances(&state, &state.migrations[0]);
        assert_eq!(who.stopped_by.as_deref(), Some("policy xen-3.4"));
        assert_eq!(who.interval, Some(Duration::from_millis(50)));
        state.migrations[0].ruled[0].1 = StopRule::Operator;
        assert_eq!(circumstances(&state, &state.migrations[0]).stopped_by.as_deref(), Some("the operator"));
        // A rule that throttled the guest did not stop it.
        state.migrations[0].ruled[0].2 = Then::AutoConverge;
        assert_eq!(circumstances(&state, &state.migrations[0]).stopped_by, None);
    }
}
