//! What a session that only watches has seen, in words: whether its targets answer, and their outages.

use std::time::Duration;

use crate::analysis::probing::{Gap, Summary};
use crate::event::{Nanos, Phase, ProbeId};
use crate::session::State;
use crate::tui::tone::Tone;
use crate::units::{show_count, show_duration};

/// Whether a target answers, by its newest probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// It has not since the start: nothing is known of it.
    NotYet,
    Yes,
    /// It did, and those sent since were not answered in time.
    Gone(Gap),
}

fn answers(digest: &Summary) -> Answers {
    match digest.gaps.unfinished() {
        _ if digest.counts.answered() == 0 => Answers::NotYet,
        Some(gap) => Answers::Gone(gap),
        None => Answers::Yes,
    }
}

/// A length between two bounds, the upper of which may be open.
pub(crate) fn bounds(gap: &Gap) -> String {
    match gap.hi {
        Some(hi) => format!("{} to {}", show_duration(gap.lo), show_duration(hi)),
        None => format!("at least {}", show_duration(gap.lo)),
    }
}

/// All outages seen, each with its probe, the newest first.
pub(crate) fn outages(state: &State) -> Vec<(ProbeId, Gap)> {
    let of = |(id, digest): (&ProbeId, &std::sync::Arc<Summary>)| {
        let id = *id;
        digest.gaps.outages().into_iter().map(move |gap| (id, gap))
    };
    let mut all: Vec<(ProbeId, Gap)> = state.digests.iter().flat_map(of).collect();
    all.sort_by_key(|(id, gap)| (std::cmp::Reverse(gap.from), *id));
    all
}

/// How many outages were seen, and how long the longest was.
pub(crate) fn in_brief(state: &State) -> String {
    let each = state.digests.values().map(|digest| {
        let ended = digest.gaps.interruptions().count;
        ended + u64::from(digest.gaps.unfinished().is_some())
    });
    let longest = state.digests.values().flat_map(|d| d.gaps.outages()).max_by_key(|gap| (gap.lo, gap.hi));
    match (each.sum::<u64>(), longest) {
        (1, Some(gap)) => format!("1 outage, {}", bounds(&gap)),
        (n, Some(gap)) => format!("{} outages, the longest {}", show_count(n), bounds(&gap)),
        (_, None) => "no outage".to_owned(),
    }
}

/// What goes on, in one sentence.
pub(crate) fn sentence(state: &State, now: Nanos) -> (Tone, String) {
    let since = |t: Nanos| show_duration(Duration::from_nanos(now.saturating_sub(t)));
    let gone: Vec<String> = state
        .digests
        .values()
        .filter_map(|digest| match answers(digest) {
            Answers::Gone(gap) => Some(format!("{} for {}", digest.spec.target, since(gap.from))),
            _ => None,
        })
        .collect();
    let silent = state.digests.values().filter(|digest| answers(digest) == Answers::NotYet).count();
    let brief = in_brief(state);
    match (state.digests.len(), gone.as_slice()) {
        (0, _) => (Tone::Calm, "starting: no probe has been sent yet".to_owned()),
        (1, []) => {
            let target = state.digests.values().next().map_or_else(String::new, |d| d.spec.target.to_string());
            if silent > 0 {
                return (Tone::Warn, format!("{target} has not answered since the start: nothing is known of it yet"));
            }
            (Tone::Good, format!("{target} answers; {brief} so far"))
        }
        (1, [gone, ..]) => (Tone::Bad, format!("no answer from {gone}; {brief} so far")),
        (n, []) if silent > 0 => {
            (Tone::Warn, format!("{} of {n} answer, {silent} never did since the start; {brief} so far", n - silent))
        }
        (n, []) => (Tone::Good, format!("all {n} probes are answered; {brief} so far")),
        (n, gone) => (Tone::Bad, format!("{} of {n} without answer: {}; {brief} so far", gone.len(), gone.join(", "))),
    }
}

/// The same as the three lines of a badge, and the phase whose style they wear.
pub(crate) fn badge(state: &State, now: Nanos, clock: impl Fn(Nanos) -> String) -> (Phase, [String; 3]) {
    let all: Vec<Answers> = state.digests.values().map(|digest| answers(digest)).collect();
    let first = all.iter().filter_map(|a| if let Answers::Gone(gap) = a { Some(gap.from) } else { None }).min();
    let gone = all.iter().filter(|a| matches!(a, Answers::Gone(_))).count();
    let count: u64 = state.digests.values().map(|d| d.gaps.interruptions().count).sum::<u64>() + gone as u64;
    let outages = match count {
        1 => "1 outage".to_owned(),
        n => format!("{} outages", show_count(n)),
    };
    let (phase, word) = match (all.len(), gone) {
        (0, _) => (Phase::Setup, "STARTING".to_owned()),
        (1, 1) => (Phase::StopAndCopy, "NO ANSWER".to_owned()),
        (n, gone) if gone > 0 => (Phase::StopAndCopy, format!("{gone} OF {n} GONE")),
        _ if all.contains(&Answers::NotYet) => (Phase::Unknown, "NOT YET".to_owned()),
        _ => (Phase::Done, "ANSWERS".to_owned()),
    };
    let time = match first {
        Some(from) => format!("for {}", show_duration(Duration::from_nanos(now.saturating_sub(from)))),
        None => clock(now),
    };
    (phase, [word, outages, time])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture::{MS, watched};

    #[test]
    fn it_says_who_answers_and_what_was_seen() {
        let said = |state: &State| sentence(state, 20_000 * MS);
        let calm = watched(1, |_, _| false);
        assert_eq!(said(&calm), (Tone::Good, "192.0.2.1 answers; no outage so far".to_owned()));
        let one = watched(1, |_, k| (100..120).contains(&k));
        assert_eq!(said(&one).1, "192.0.2.1 answers; 1 outage, 949 ms to 1.05 s so far");
        let gone = watched(1, |_, k| (100..120).contains(&k) || k >= 300);
        let (tone, text) = said(&gone);
        assert_eq!(tone, Tone::Bad);
        assert_eq!(text, "no answer from 192.0.2.1 for 5.05 s; 2 outages, the longest at least 4.95 s so far");
        assert_eq!(said(&watched(1, |_, _| true)).0, Tone::Warn);
        assert_eq!(said(&watched(0, |_, _| true)).1, "starting: no probe has been sent yet");
        let some = watched(3, |id, k| id == 1 && k >= 300);
        assert!(said(&some).1.starts_with("1 of 3 without answer: 192.0.2.2 for 5.05 s;"), "{}", said(&some).1);
        assert_eq!(
            said(&watched(3, |id, _| id == 2)).1,
            "2 of 3 answer, 1 never did since the start; no outage so far"
        );
        assert_eq!(said(&watched(3, |_, _| false)).1, "all 3 probes are answered; no outage so far");
    }

    #[test]
    fn the_badge_says_it_in_a_word() {
        let badge = |state: &State| badge(state, 20_000 * MS, |_| "0:20".to_owned()).1.map(|s| s);
        assert_eq!(badge(&watched(1, |_, _| false)), ["ANSWERS", "0 outages", "0:20"]);
        assert_eq!(badge(&watched(1, |_, k| k >= 300)), ["NO ANSWER", "1 outage", "for 5.05 s"]);
        assert_eq!(badge(&watched(3, |id, k| id < 2 && k >= 300))[0], "2 OF 3 GONE");
        assert_eq!(badge(&watched(2, |id, _| id == 1))[0], "NOT YET");
    }

    #[test]
    fn outages_come_newest_first_with_their_probe() {
        let state = watched(2, |id, k| (100..110).contains(&k) && id == 0 || k >= 380 && id == 1);
        let all: Vec<(u16, u64, bool)> =
            outages(&state).iter().map(|(id, gap)| (id.0, gap.from / MS, gap.to.is_some())).collect();
        assert_eq!(all, [(1, 18_950, false), (0, 4_950, true)]);
    }
}
