//! One plain sentence about what goes on: a pure function of the state.

use std::time::Duration;

use crate::analysis::{Bounded, Downtimes, Method};
use crate::event::{MigrationEnd, Nanos, Phase, Sample};
use crate::session::State;
use crate::session::state::Migration;
use crate::units::{PAGE_BYTES, link_pages_per_s, show_bandwidth, show_bytes, show_count, show_duration};

/// How much a sentence matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Calm,
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// The guest is gone, or something failed.
    Bad,
}

/// What goes on, in one sentence.
#[must_use]
pub fn sentence(state: &State, now: Nanos) -> (Tone, String) {
    match state.migrations.last() {
        Some(m) if m.ended.is_none() => running(state, m, now),
        Some(m) if now.saturating_sub(m.ended.as_ref().map_or(0, |(t, _)| *t)) < 20_000_000_000 => ended(m),
        _ => idle(state),
    }
}

fn idle(state: &State) -> (Tone, String) {
    if state.hosts.is_empty() || (state.lab.guest.is_none() && !state.lab.step.is_empty()) {
        let step = if state.lab.step.is_empty() { "no hypervisor has reported yet" } else { &state.lab.step };
        return (Tone::Calm, format!("starting: {step}"));
    }
    if !state.agent.connected {
        let why = if state.agent.why.is_empty() { String::new() } else { format!(" ({})", state.agent.why) };
        return (Tone::Warn, format!("the guest agent is not connected{why}; the load cannot be changed"));
    }
    let rate = state.load.requested.as_ref().map(|(_, l, _)| l.dirty.rate_pages_per_s());
    let rate = rate.or(state.load.set.as_ref().map(|(_, l, _)| l.dirty.rate_pages_per_s()));
    let link = state.next.as_ref().and_then(|n| n.bandwidth_bytes_per_s).map(link_pages_per_s);
    match (rate, link) {
        (Some(rate), Some(link)) if rate > link => (
            Tone::Warn,
            format!(
                "idle: RATE {}/s is over the link's {} pages/s: pre-copy will not converge",
                show_count(rate.round() as u64),
                show_count(link as u64)
            ),
        ),
        (Some(rate), Some(link)) => (
            Tone::Calm,
            format!(
                "idle: RATE {}/s is {:.0} % of the link's {} pages/s: pre-copy should converge",
                show_count(rate.round() as u64),
                100.0 * rate / link.max(1.0),
                show_count(link as u64)
            ),
        ),
        _ => (Tone::Calm, "idle: the guest runs".into()),
    }
}

fn running(state: &State, m: &Migration, now: Nanos) -> (Tone, String) {
    let sample = m.samples.last().map(|(_, s)| s.clone()).unwrap_or_default();
    let span = m.phases.last();
    let since = span.map_or(m.began, |s| s.from);
    let here = show_duration(Duration::from_nanos(now.saturating_sub(since)));
    match span.map_or(Phase::Setup, |s| s.phase) {
        Phase::Setup | Phase::Idle => (Tone::Calm, format!("setting up the migration {} to {}", m.from, m.to)),
        Phase::PreCopy => pre_copy(state, m, &sample, now),
        Phase::StopAndCopy => {
            let left = sample.remaining_bytes.map(|b| format!(", {} left", show_bytes(b))).unwrap_or_default();
            let eta = match (sample.remaining_bytes, throughput(&sample, m)) {
                (Some(left), Some(speed)) if speed > 0.0 => {
                    format!(", about {} more", rough_seconds(left as f64 / speed))
                }
                _ => String::new(),
            };
            (Tone::Bad, format!("the guest has stood still for {here}{left}{eta}"))
        }
        Phase::PostCopy => {
            let left = sample.remaining_bytes.map(|b| format!(", {} left", show_bytes(b))).unwrap_or_default();
            (Tone::Warn, format!("the guest runs at {} and pulls what it lacks{left}", m.to))
        }
        Phase::Recovery => (Tone::Warn, format!("running again at {}, no answer yet for {here}", m.to)),
        Phase::Unknown => {
            let raw = span.map_or("", |s| s.raw.as_str());
            (Tone::Warn, format!("the hypervisor says '{raw}', which we do not know: treated as still running"))
        }
        Phase::Done => (Tone::Good, "done; waiting for the guest to answer and late probes to come in".into()),
        Phase::Failed => (Tone::Bad, "the hypervisor says that it failed".into()),
        Phase::Cancelled => (Tone::Warn, "cancelled by the hypervisor".into()),
    }
}

fn pre_copy(state: &State, m: &Migration, sample: &Sample, now: Nanos) -> (Tone, String) {
    let dirty = dirty_pages_per_s(state, sample);
    let link = m.settings.bandwidth_bytes_per_s.map(|b| b as f64).or(throughput(sample, m));
    let (Some(dirty), Some(link)) = (dirty, link) else {
        return (Tone::Calm, "pre-copy: copying the guest's memory while it runs".into());
    };
    let dirty_bytes = dirty * PAGE_BYTES as f64;
    if dirty_bytes < link {
        let left = sample.remaining_bytes.unwrap_or(0) as f64;
        let eta = if left > 0.0 {
            format!("; {} left, about {}", show_bytes(left as u64), rough_seconds(left / (link - dirty_bytes).max(1.0)))
        } else {
            String::new()
        };
        let text =
            format!("converging: dirtying {} over a {} link{eta}", show_bandwidth(dirty_bytes), show_bandwidth(link));
        return (Tone::Good, text);
    }
    let head = format!("not converging: dirtying {} over a {} link", show_bandwidth(dirty_bytes), show_bandwidth(link));
    (Tone::Warn, format!("{head}; {}", outlook(m, sample, link, now)))
}

/// The dirty rate to judge by, pages/s: the hypervisor's where it has one, else the agent's.
pub(crate) fn dirty_pages_per_s(state: &State, sample: &Sample) -> Option<f64> {
    let seen = sample.dirty_pages_per_s.filter(|r| *r > 0.0);
    seen.or(state.load.achieved.as_ref().map(|(_, r)| r.rate_pages_per_s)).filter(|r| r.is_finite())
}

/// What ends pre-copy, and about when.
fn outlook(m: &Migration, sample: &Sample, link: f64, now: Nanos) -> String {
    let policy = &m.settings.policy;
    let elapsed = now.saturating_sub(m.began) as f64 / 1e9;
    let speed = throughput(sample, m).filter(|s| *s > 0.0).unwrap_or(link);
    let mut limits = Vec::new();
    let mut in_s = f64::INFINITY;
    if let Some(rounds) = policy.rounds {
        limits.push(format!("{rounds} rounds"));
        let round = sample.round.or(m.rounds.last().map(|(_, n)| *n)).unwrap_or(0);
        if round > 1 && m.rounds.len() > 1 {
            let recent = &m.rounds[m.rounds.len().saturating_sub(6)..];
            let (first, last) = (recent[0], recent[recent.len() - 1]);
            let each = last.0.saturating_sub(first.0) as f64 / 1e9 / last.1.saturating_sub(first.1).max(1) as f64;
            let into = now.saturating_sub(last.0) as f64 / 1e9;
            in_s = in_s.min((rounds.saturating_sub(round) as f64 * each - into).max(0.0));
        }
    }
    if let (Some(factor), Some(total)) = (policy.ram_factor, sample.total_bytes) {
        let limit = factor * total as f64;
        limits.push(show_bytes(limit as u64).replace(".0 ", " "));
        in_s = in_s.min((limit - sample.transferred_bytes.unwrap_or(0) as f64).max(0.0) / speed);
    }
    if let Some(ns) = policy.after_ns {
        limits.push(show_duration(Duration::from_nanos(ns)));
        in_s = in_s.min((ns as f64 / 1e9 - elapsed).max(0.0));
    }
    if limits.is_empty() {
        return format!("policy {} never ends pre-copy: press s to stop the guest", policy.name);
    }
    let when = if in_s.is_finite() { format!(", in about {}", rough_seconds(in_s)) } else { String::new() };
    format!("policy {} ends pre-copy after {}{when}", policy.name, limits.join(" or "))
}

fn throughput(sample: &Sample, m: &Migration) -> Option<f64> {
    sample.throughput_bytes_per_s.filter(|t| *t > 0.0).or(m.settings.bandwidth_bytes_per_s.map(|b| b as f64))
}

fn rough_seconds(s: f64) -> String {
    if !s.is_finite() || s > 86_400.0 {
        "more than a day".into()
    } else if s >= 100.0 {
        format!("{:.0} min", s / 60.0)
    } else if s >= 3.0 {
        format!("{s:.0} s")
    } else {
        format!("{s:.1} s")
    }
}

fn ended(m: &Migration) -> (Tone, String) {
    let took = m.ended.as_ref().map_or(0, |(t, _)| t.saturating_sub(m.began));
    let took = show_duration(Duration::from_nanos(took));
    match m.ended.as_ref().map(|(_, end)| end) {
        Some(MigrationEnd::Failed { why }) => (Tone::Bad, format!("migration {} failed after {took}: {why}", m.n)),
        Some(MigrationEnd::Cancelled { by }) => {
            (Tone::Warn, format!("migration {} cancelled by {by} after {took}", m.n))
        }
        _ => {
            let gone = m.final_downtime().and_then(best_downtime);
            let gone = match gone {
                Some((method, d)) if d.value.is_zero() => {
                    format!("; the guest was gone for at most {} ({})", show_duration(d.hi), method.name())
                }
                Some((method, d)) => format!("; the guest was gone for {} ({})", show_duration(d.value), method.name()),
                None => "; settling: waiting for the last probes".into(),
            };
            (Tone::Good, format!("migration {} {} to {} took {took}{gone}", m.n, m.from, m.to))
        }
    }
}

/// The estimate to name in a sentence: what a user would have felt, else the next best.
fn best_downtime(d: &Downtimes) -> Option<(Method, Bounded)> {
    [Method::ReplyGap, Method::StopResume, Method::GuestClock, Method::LostPings, Method::Reported]
        .into_iter()
        .find_map(|method| d.estimates.iter().find(|e| e.method == method).and_then(|e| e.value).map(|v| (method, v)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StopPolicy;
    use crate::tui::fixture::{self, BEGAN, MS, RESUMED, S, SETTLED, STOPPED};

    fn say(state: &State) -> String {
        sentence(state, state.now).1
    }

    #[test]
    fn not_converging_says_when_it_ends() {
        let state = fixture::migrating(BEGAN + 11 * S);
        assert_eq!(
            say(&state),
            "not converging: dirtying 36.6 MB/s over a 32.0 MB/s link; policy xen-3.4 ends pre-copy after \
             29 rounds or 768 MiB, in about 3.0 s"
        );
    }

    #[test]
    fn the_volume_rule_counts_too() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        let m = state.migrations.last_mut().unwrap();
        m.settings.policy = StopPolicy { rounds: None, ..m.settings.policy.clone() };
        // 805 MB less the 336 MB sent are 470 MB: 14.7 s at 31.9 MB/s.
        assert!(say(&state).ends_with("ends pre-copy after 768 MiB, in about 14 s"), "{}", say(&state));
    }

    #[test]
    fn without_a_policy_the_way_out_is_named() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        state.migrations.last_mut().unwrap().settings.policy = crate::tui::edit::policy_presets().swap_remove(1);
        assert!(say(&state).ends_with("policy none never ends pre-copy: press s to stop the guest"));
    }

    #[test]
    fn each_phase_has_its_words() {
        assert!(say(&fixture::migrating(BEGAN + 50 * MS)).starts_with("setting up the migration a to b"));
        assert!(say(&fixture::migrating(STOPPED + 2 * S)).starts_with("the guest has stood still for 2.00 s"));
        assert!(say(&fixture::migrating(RESUMED + S)).contains("settling"));
        assert!(say(&fixture::migrating(SETTLED + S)).ends_with("gone for 2.96 s (reply-gap)"));
        assert!(say(&fixture::idle(3 * S)).contains("26 % of the link's 7,812 pages/s"));
        assert!(say(&fixture::idle(6 * S)).contains("will not converge"));
        assert!(say(&State::default()).starts_with("starting:"));
    }

    #[test]
    fn converging_says_how_long() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        state.migrations[0].samples.last_mut().unwrap().1.dirty_pages_per_s = Some(2000.0);
        let text = say(&state);
        assert!(text.starts_with("converging: dirtying 8.2 MB/s over a 32.0 MB/s link;"), "{text}");
        assert!(text.ends_with("about 4 s"), "{text}");
    }
}
