//! One plain sentence about what goes on: a pure function of the state.

use std::time::Duration;

use crate::analysis::prediction::words;
use crate::analysis::{Bounded, Downtimes, Method};
use crate::event::{
    Converges, LoadSettings, MigrationEnd, MigrationSettings, Nanos, Phase, Sample, StopPolicy, Substate, Then,
};
use crate::session::State;
use crate::session::product::product;
use crate::session::state::Migration;
use crate::session::stopping::stop_forecast;
use crate::units::{PAGE_BYTES, link_pages_per_s, show_bandwidth, show_bytes, show_count, show_duration};

pub use super::tone::Tone;

use super::edit::default_migration;
use super::estimate::{
    NEAR, crosses_in_s, dirty_pages_per_s, link_bytes_per_s, newest, phase, policy_in_s, ramp_left_s, rest_s,
    rough_seconds, wset_fits,
};
use super::watching;

/// Figures older than this, while memory should move, are shown with their age, ns.
const STALE: Nanos = 1_000_000_000;

/// What goes on, in one sentence.
#[must_use]
pub fn sentence(state: &State, now: Nanos) -> (Tone, String) {
    match state.migrations.last() {
        Some(m) if m.ended.is_none() => running(state, m, now),
        Some(m) if now.saturating_sub(m.ended.as_ref().map_or(0, |(t, _)| *t)) < 20_000_000_000 => ended(state, m),
        _ => idle(state, now),
    }
}

fn idle(state: &State, now: Nanos) -> (Tone, String) {
    if state.hosts.is_empty() || (state.lab.guest.is_none() && !state.lab.step.is_empty()) {
        if state.only_watches() {
            return watching::sentence(state, now);
        }
        let step = if state.lab.step.is_empty() { "no hypervisor has reported yet" } else { &state.lab.step };
        return (Tone::Calm, format!("starting: {step}"));
    }
    if !state.agent.connected {
        let why = if state.agent.why.is_empty() { String::new() } else { format!(" ({})", state.agent.why) };
        return (Tone::Warn, format!("the guest agent is not connected{why}; the load cannot be changed"));
    }
    let fallback = default_migration();
    let settings = state.next.as_ref().or(state.migrations.last().map(|m| &m.settings)).unwrap_or(&fallback);
    let link = settings.limit_bytes_per_s().map(link_pages_per_s).filter(|l| *l > 0.0);
    if let Some(text) = ramping(state, link, now) {
        return text;
    }
    let load = state.load.requested.as_ref().or(state.load.set.as_ref()).map(|(_, l, _)| *l);
    let Some(load) = load else { return (Tone::Calm, "idle: the guest runs".into()) };
    if let Some(outlook) = outlook(state, &load, link) {
        return outlook;
    }
    let rate = load.dirty.rate_pages_per_s();
    let shown = show_count(rate.round() as u64);
    if let Err(none) = product(state) {
        let of_limit = link.map(|link| format!(", {:.0} % of the bandwidth limit", 100.0 * rate / link));
        return (Tone::Calm, format!("idle: RATE {shown}/s{}; {none}", of_limit.unwrap_or_default()));
    }
    let Some(link) = link else {
        return (
            Tone::Calm,
            format!("idle: RATE {shown}/s; with a bandwidth limit set, what it lets through is known"),
        );
    };
    let capacity = show_count(link as u64);
    let times = rate / link;
    if times <= NEAR {
        let text = format!(
            "idle: RATE {shown}/s is {:.0} % of the {capacity} pages/s that the bandwidth limit allows: pre-copy should converge",
            100.0 * times
        );
        (Tone::Calm, text)
    } else if times <= 1.0 {
        let text = format!(
            "idle: RATE {shown}/s is near the bandwidth limit, {:.0} % of its {capacity} pages/s: pre-copy converges slowly",
            100.0 * times
        );
        (Tone::Calm, text)
    } else if wset_fits(load.wset_bytes, settings) {
        let text = format!(
            "idle: RATE {shown}/s is {times:.2} x the bandwidth limit, but WSET {} passes within the downtime limit: \
             pre-copy may still end",
            show_bytes(load.wset_bytes)
        );
        (Tone::Calm, text)
    } else {
        let text = format!(
            "RATE {shown}/s is {times:.2} x the {capacity} pages/s that the bandwidth limit allows; where it does not converge, {}",
            would_end(state, settings)
        );
        (Tone::Warn, text)
    }
}

/// What firing now would come to, where it is known.
fn outlook(state: &State, load: &LoadSettings, link: Option<f64>) -> Option<(Tone, String)> {
    let next = state.migrations.last().map_or(1, |m| m.n + 1);
    let (_, _, forecast) = state.forecast.as_ref().filter(|(_, n, _)| *n == next)?;
    let tone = match forecast.converges {
        Converges::Yes => Tone::Calm,
        Converges::Perhaps | Converges::No => Tone::Warn,
    };
    let rate = load.dirty.rate_pages_per_s();
    let of_link = || {
        let times = rate / link?;
        let times = if times < 1.0 { format!("{:.0} %", times * 100.0) } else { format!("{times:.2} x") };
        Some(format!("; RATE {}/s is {times} of the bandwidth limit", show_count(rate.round() as u64)))
    };
    let needs = words::needs(forecast).map(|needs| format!("; needs {needs}"));
    let jump = || words::jump(forecast).map(|jump| format!("; {jump}"));
    let needs = needs.or_else(jump).or_else(of_link).unwrap_or_default();
    Some((tone, format!("by the model, firing now {}{needs}", words::before(forecast))))
}

/// What a ramp does, and when it crosses the link.
fn ramping(state: &State, link: Option<f64>, now: Nanos) -> Option<(Tone, String)> {
    let ramp = state.load.ramp.as_ref()?;
    let count = |rate: f64| show_count(rate.round().max(0.0) as u64);
    let crosses = match link {
        Some(link) => match crosses_in_s(ramp, link, now) {
            Some(s) => format!("; crosses the bandwidth limit in about {}", rough_seconds(s)),
            None if super::estimate::ramp_at(ramp, now) > link => "; over the bandwidth limit".into(),
            None => "; under the bandwidth limit".into(),
        },
        None => String::new(),
    };
    let text = format!(
        "ramp: RATE goes from {} to {} pages/s, {:.1} s left{crosses}",
        count(ramp.from_pages_per_s),
        count(ramp.to_pages_per_s),
        ramp_left_s(ramp, now)
    );
    Some((Tone::Calm, text))
}

fn running(state: &State, m: &Migration, now: Nanos) -> (Tone, String) {
    let sample = newest(m);
    let span = m.phases.last();
    let ago = |t: Nanos| show_duration(Duration::from_nanos(now.saturating_sub(t)));
    let here = ago(span.map_or(m.began, |s| s.from));
    let left = sample.remaining_bytes.map(|b| format!("; {} left", show_bytes(b))).unwrap_or_default();
    let more = rest_s(m, &sample).map(|s| format!(", about {} more", rough_seconds(s))).unwrap_or_default();
    if let Some(substate) = span.and_then(|s| s.substate).filter(|s| *s != Substate::HandingOver) {
        return within(m, substate, &here);
    }
    // What was seen long ago says nothing of what is left now.
    let age = m.samples.last().map_or(0, |(t, _)| now.saturating_sub(*t));
    let (left, more) = match age > STALE {
        true if left.is_empty() => (left, String::new()),
        true => (format!("{left} {} ago", ago(now - age)), String::new()),
        false => (left, more),
    };
    if let Some(cancel) = m.requests.last().filter(|r| r.then == Then::Cancel && r.refused.is_none()) {
        let text = format!("a cancel by {} is on its way for {}{left}", cancel.by.words(), ago(cancel.t));
        return (Tone::Warn, text);
    }
    match phase(m) {
        Phase::Setup | Phase::Idle => (Tone::Calm, format!("setting up the migration {} to {}", m.from, m.to)),
        Phase::PreCopy => pre_copy(state, m, &sample, now),
        Phase::StopAndCopy => {
            let fresh = if age > STALE { None } else { stop_forecast(state, m, now) };
            let more = fresh.map(|f| format!("; {} more", words::stop(&f.left_s)));
            (Tone::Bad, format!("the guest has stood still for {here}{}", more.unwrap_or(left)))
        }
        Phase::PostCopy => {
            (Tone::Warn, format!("post-copy: the guest runs at {} and pulls what it lacks{left}{more}", m.to))
        }
        Phase::Recovery => {
            let gone = m.stopped.as_ref().map(|(t, ..)| format!("; gone for {} so far", ago(*t))).unwrap_or_default();
            (Tone::Warn, format!("running again at {}, no answer yet for {here}{gone}", m.to))
        }
        Phase::Moving => (Tone::Good, format!("under way from {} to {}; which phase is not told{left}", m.from, m.to)),
        Phase::Unknown => {
            let raw = span.map_or("", |s| s.raw.as_str());
            (Tone::Warn, format!("the hypervisor says '{raw}', which we do not know: treated as still running"))
        }
        Phase::Done => (Tone::Good, "done; waiting for the guest to answer and late probes to come in".into()),
        Phase::Failed => (Tone::Bad, "the hypervisor says that it failed".into()),
        Phase::Cancelled => (Tone::Warn, "cancelled by the hypervisor".into()),
        Phase::Unsettled => (Tone::Bad, "lost sight of: where the guest is, is not known".into()),
    }
}

/// What is out of the ordinary, for how long, and what the operator can do about it. Nothing moves, so
/// nothing is said of what is left.
fn within(m: &Migration, substate: Substate, here: &str) -> (Tone, String) {
    let (from, to) = (&m.from, &m.to);
    match substate {
        Substate::Paused => (
            Tone::Bad,
            format!(
                "post-copy is PAUSED for {here}: its connection is lost; the guest is at {to} and stands wherever it \
                 needs memory that is still at {from}. Keep both hosts up and let the hypervisor recover it; it \
                 cannot be cancelled"
            ),
        ),
        Substate::Recovering => {
            (Tone::Warn, format!("post-copy is being recovered for {here}: keep {from} up, it has memory {to} lacks"))
        }
        Substate::Cancelling => (
            Tone::Warn,
            format!("cancelling for {here}: it may still come too late; the guest is at {from} until then"),
        ),
        Substate::WaitingForDevice => (
            Tone::Warn,
            format!("waiting for {here} for the guest to let go of a device: unplug it in the guest, or cancel"),
        ),
        Substate::WaitingToSwitchOver => (
            Tone::Bad,
            format!(
                "waiting for {here} to be told to switch over, with the guest stopped: let the hypervisor continue, \
                 or cancel"
            ),
        ),
        Substate::Replicating => {
            (Tone::Calm, format!("replicating for {here}: {to} is kept in step with {from} until that is ended"))
        }
        Substate::WaitingToResume => (
            Tone::Bad,
            format!(
                "everything has arrived at {to} and the guest stands still: blackout waits {here} before it resumes it"
            ),
        ),
        Substate::HandingOver => (Tone::Bad, format!("the guest's devices are handed over for {here}")),
    }
}

fn pre_copy(state: &State, m: &Migration, sample: &Sample, now: Nanos) -> (Tone, String) {
    if let Some((_, rule, then)) = m.ended_by() {
        let rule = rule.words();
        return (Tone::Warn, format!("pre-copy is being ended ({rule}): {}", then.word()));
    }
    // A guest that is gone dirties nothing that we know of.
    let agent = if state.agent.connected || state.agent.since == 0 {
        String::new()
    } else {
        let gone = Duration::from_nanos(now.saturating_sub(state.agent.since));
        format!("; the agent is gone for {}: RATE is as it last said", show_duration(gone))
    };
    let (Some(dirty), Some(link)) = (dirty_pages_per_s(state, sample), link_bytes_per_s(m, sample)) else {
        return (Tone::Calm, format!("pre-copy: copying the guest's memory while it runs{agent}"));
    };
    let dirty_bytes = dirty * PAGE_BYTES as f64;
    // Without a limit it is held against what is seen to get through.
    let kind = if m.settings.limit_bytes_per_s().is_some() { "a limit of" } else { "a throughput of" };
    let rates = format!("dirtying {} against {kind} {}", show_bandwidth(dirty_bytes), show_bandwidth(link));
    let left = sample.remaining_bytes.filter(|b| *b > 0);
    let forecast = m.expected.as_ref().map(|(_, forecast)| forecast);
    let expected = forecast.and_then(words::running);
    // Pre-copy may end over the link as well, if all of the WSET passes within the downtime limit, and
    // may be ended below it, by a rule that counts.
    let known = forecast.filter(|f| f.guesses.is_empty());
    let converging = match known.map(|f| f.converges) {
        Some(Converges::Yes) => true,
        Some(Converges::No) => false,
        _ => dirty_bytes < link,
    };
    if converging {
        if let Some(expected) = expected {
            return (Tone::Good, format!("converging: by the model {expected}; {rates}{agent}"));
        }
        let eta = left.filter(|_| dirty_bytes < link).map_or(String::new(), |b| {
            let s = rough_seconds(b as f64 / (link - dirty_bytes).max(1.0));
            format!("; {} left, about {s}", show_bytes(b))
        });
        return (Tone::Good, format!("converging: {rates}{eta}{agent}"));
    }
    let wset = state.load.achieved.as_ref().map_or(0, |(_, r)| r.wset_bytes);
    if forecast.is_none() && wset_fits(wset, &m.settings) {
        let wset = show_bytes(wset);
        return (Tone::Calm, format!("{rates}, but WSET {wset} passes within the downtime limit: may end{agent}"));
    }
    let stop = stop_forecast(state, m, now)
        .map(|f| format!(": s stops the guest, for {}", words::stop(&f.whole_s())))
        .unwrap_or_default();
    let done = expected.map_or(String::new(), |done| format!("; by the model {done}"));
    let outlook = match (limits(&m.settings.policy, sample.total_bytes), own_rule(state)) {
        (None, Some(own)) => format!("the hypervisor ends it by its own rule ({own}){stop}"),
        (None, None) => match product(state) {
            Ok(_) => format!("policy {} never ends it{stop}", m.settings.policy.name),
            Err(none) => format!("policy {} never ends it; {none}", m.settings.policy.name),
        },
        (Some(limits), _) => {
            let when = policy_in_s(m, sample, now).map(|s| format!(", in about {}", rough_seconds(s)));
            format!("policy {} after {limits}{}", verb(m.settings.policy.then, true), when.unwrap_or_default())
        }
    };
    (Tone::Warn, format!("not converging: {rates}; {outlook}{done}{agent}"))
}

/// What a policy would do to a migration that does not converge.
fn would_end(state: &State, settings: &MigrationSettings) -> String {
    let policy = &settings.policy;
    if let Some(why) = state.hosts.values().find_map(|host| host.offers.as_ref()?.unfit(policy)) {
        return why;
    }
    match (limits(policy, None), own_rule(state)) {
        (None, Some(own)) => format!("the hypervisor would end it by its own rule ({own})"),
        (None, None) => format!("policy {} would never end it", policy.name),
        (Some(limits), _) => format!("policy {} would {} after {limits}", policy.name, verb(policy.then, false)),
    }
}

/// The hypervisor's own rule that ends a migration which does not converge, where it told of one.
fn own_rule(state: &State) -> Option<&str> {
    state.hosts.values().find_map(|host| host.offers.as_ref()?.own_rule.as_deref())
}

/// The rules of a policy that end a migration which does not converge; None where it has none.
fn limits(policy: &StopPolicy, ram_bytes: Option<u64>) -> Option<String> {
    let mut limits = Vec::new();
    if let Some(rounds) = policy.rounds {
        limits.push(format!("{rounds} round{}", if rounds == 1 { "" } else { "s" }));
    }
    match (policy.ram_factor, ram_bytes) {
        (Some(factor), Some(total)) => limits.push(show_bytes((factor * total as f64) as u64).replace(".0 ", " ")),
        (Some(factor), None) => limits.push(format!("{factor} x RAM")),
        (None, _) => {}
    }
    if let Some(ns) = policy.after_ns {
        limits.push(show_duration(Duration::from_nanos(ns)));
    }
    (!limits.is_empty()).then(|| limits.join(" or "))
}

/// What is done to a migration, as `stops it` or `stop it`.
fn verb(then: Then, third_person: bool) -> &'static str {
    match (then, third_person) {
        (Then::StopAndCopy, true) => "stops it",
        (Then::StopAndCopy, false) => "stop it",
        (Then::PostCopy, true) => "switches it to post-copy",
        (Then::PostCopy, false) => "switch it to post-copy",
        (Then::Cancel, true) => "cancels it",
        (Then::Cancel, false) => "cancel it",
        (Then::AutoConverge, true) => "throttles the guest",
        (Then::AutoConverge, false) => "throttle the guest",
    }
}

fn ended(state: &State, m: &Migration) -> (Tone, String) {
    let took = m.ended.as_ref().map_or(0, |(t, _)| t.saturating_sub(m.began));
    let took = show_duration(Duration::from_nanos(took));
    match m.ended.as_ref().map(|(_, end)| end) {
        Some(MigrationEnd::Failed { why }) => {
            (Tone::Bad, format!("migration {} failed after {took}: {why}{}", m.n, runs_at(state)))
        }
        Some(MigrationEnd::Cancelled { by }) => {
            (Tone::Warn, format!("migration {} cancelled by {by} after {took}{}", m.n, runs_at(state)))
        }
        Some(MigrationEnd::Unsettled { why, last, .. }) => {
            let text =
                format!("migration {} is unsettled after {took}: {why}; last seen, the guest {}", m.n, last.words());
            (Tone::Bad, text)
        }
        Some(MigrationEnd::Done) | None => {
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

/// Where the guest runs, if that is known.
fn runs_at(state: &State) -> String {
    state.guest().map_or(String::new(), |(_, location)| format!("; the guest {}", location.words()))
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
    use crate::event::{LoadSettings, StopRule};
    use crate::session::state::Ramp;
    use crate::tui::fixture::{self, BEGAN, MS, RESUMED, S, SETTLED, STOPPED};

    fn say(state: &State) -> String {
        sentence(state, state.now).1
    }

    #[test]
    fn not_converging_says_when_it_ends() {
        let state = fixture::migrating(BEGAN + 11 * S);
        assert_eq!(
            say(&state),
            "not converging: dirtying 36.8 MB/s against a limit of 32.0 MB/s; policy stops it after 29 rounds or 768 MiB, \
             in about 3 s"
        );
    }

    #[test]
    fn the_volume_rule_counts_too() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        let m = state.migrations.last_mut().unwrap();
        m.settings.policy = StopPolicy { rounds: None, then: Then::Cancel, ..m.settings.policy.clone() };
        // 805 MB less the 336 MB sent are 470 MB: 14.7 s at 31.9 MB/s.
        assert!(say(&state).ends_with("policy cancels it after 768 MiB, in about 14 s"), "{}", say(&state));
    }

    #[test]
    fn without_a_policy_the_way_out_is_named() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        state.migrations.last_mut().unwrap().settings.policy = StopPolicy::none();
        let text = say(&state);
        assert!(text.contains("policy none never ends it: s stops the guest, for about"), "{text}");
    }

    #[test]
    fn each_phase_has_its_words() {
        assert!(say(&fixture::migrating(BEGAN + 50 * MS)).starts_with("setting up the migration a to b"));
        let text = say(&fixture::migrating(STOPPED + 2 * S));
        assert!(text.starts_with("the guest has stood still for 2.00 s; ") && text.ends_with(" more"), "{text}");
        assert!(say(&fixture::migrating(RESUMED + S)).contains("settling"));
        assert!(say(&fixture::migrating(SETTLED + S)).ends_with("gone for 2.96 s (reply-gap)"));
        assert!(say(&fixture::idle(3 * S)).contains("26 % of the 7,812 pages/s that the bandwidth limit allows"));
        assert_eq!(
            say(&fixture::idle(6 * S)),
            "RATE 9,000/s is 1.15 x the 7,812 pages/s that the bandwidth limit allows; where it does not converge, policy xen-3.4 would \
             stop it after 29 rounds or 3 x RAM"
        );
        assert!(say(&State::default()).starts_with("starting:"));
        let mut watching = fixture::idle(0);
        watching.hosts.clear();
        if let Some(header) = &mut watching.header {
            header.settings.command = Some("watch".into());
        }
        assert_eq!(say(&watching), "starting: no probe has been sent yet");
    }

    #[test]
    fn where_nothing_moves_nothing_is_said_of_what_is_left() {
        for substate in [
            Substate::Paused,
            Substate::Recovering,
            Substate::Cancelling,
            Substate::WaitingForDevice,
            Substate::WaitingToSwitchOver,
            Substate::WaitingToResume,
        ] {
            let mut state = fixture::migrating(BEGAN + 11 * S);
            state.migrations[0].phases.last_mut().unwrap().substate = Some(substate);
            let text = say(&state);
            assert!(!text.contains(" left") && !text.contains(" more"), "{text}");
            assert!(text.contains(" for ") || text.contains(" waits "), "it says for how long: {text}");
        }
    }

    #[test]
    fn old_figures_are_shown_with_their_age_and_promise_nothing() {
        let state = fixture::migrating(fixture::STOPPED + 500 * fixture::MS);
        assert!(!sentence(&state, state.now).1.contains(" ago"));
        let text = sentence(&state, state.now + 3 * S).1;
        assert!(text.contains(" left 3.") && text.ends_with(" s ago"), "{text}");
    }

    #[test]
    fn a_cancel_on_its_way_is_not_yet_one() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        let by = crate::event::By::GiveUpAfter { limit_ns: 9 * S };
        let cancel = crate::session::state::Request { t: BEGAN + 9 * S, then: Then::Cancel, by, refused: None };
        state.migrations[0].requests.push(cancel);
        assert!(
            say(&state).starts_with("a cancel by --give-up-after 9.00 s is on its way for 2.00 s"),
            "{}",
            say(&state)
        );
    }

    #[test]
    fn near_the_link_is_said_gently() {
        let mut state = fixture::idle(3 * S);
        state.load.requested = Some((1, fixture::load(7500.0), S));
        let (tone, text) = sentence(&state, 3 * S);
        assert!(tone == Tone::Calm && text.contains("near the bandwidth limit, 96 %"), "{text}");
        state.load.requested = Some((1, LoadSettings { wset_bytes: 8 << 20, ..fixture::load(9000.0) }, S));
        assert!(say(&state).contains("WSET 8.0 MiB passes within the downtime limit"), "{}", say(&state));
        state.next.as_mut().unwrap().bandwidth_bytes_per_s = None;
        assert!(say(&state).starts_with("idle: RATE 9,000/s; with a bandwidth limit set"), "unknown stays unknown");
    }

    #[test]
    fn a_ramp_is_followed() {
        let mut state = fixture::idle(6 * S);
        state.load.ramp =
            Some(Ramp { from_pages_per_s: 2000.0, to_pages_per_s: 12_000.0, began: 5 * S, over_ns: 20 * S });
        let want =
            "ramp: RATE goes from 2,000 to 12,000 pages/s, 19.0 s left; crosses the bandwidth limit in about 11 s";
        assert_eq!(say(&state), want);
        assert!(sentence(&state, 20 * S).1.ends_with("5.0 s left; over the bandwidth limit"));
    }

    #[test]
    fn a_lost_agent_and_a_rule_that_fired_are_said() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        (state.agent.connected, state.agent.since) = (false, BEGAN + 9 * S);
        assert!(say(&state).ends_with("the agent is gone for 2.00 s: RATE is as it last said"), "{}", say(&state));
        let m = state.migrations.last_mut().unwrap();
        m.ruled.push((BEGAN + 11 * S, StopRule::Rounds { limit: 29 }, Then::StopAndCopy));
        assert_eq!(say(&state), "pre-copy is being ended (29 rounds are complete): stop-and-copy");
    }

    #[test]
    fn what_failed_says_where_the_guest_runs() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        let end = MigrationEnd::Failed { why: "no route".into() };
        state.migrations[0].ended = Some((BEGAN + 11 * S, end));
        assert_eq!(say(&state), "migration 1 failed after 11.0 s: no route; the guest runs at a");
    }

    #[test]
    fn converging_says_how_long() {
        let mut state = fixture::migrating(BEGAN + 11 * S);
        state.migrations[0].samples.last_mut().unwrap().1.dirty_pages_per_s = Some(2000.0);
        state.load.achieved.as_mut().unwrap().1.rate_pages_per_s = 1990.0;
        let text = say(&state);
        assert!(text.starts_with("converging: dirtying 8.2 MB/s against a limit of 32.0 MB/s;"), "{text}");
        assert!(text.ends_with("about 4 s"), "{text}");
    }
}
