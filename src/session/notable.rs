//! Notable instants: where a cursor jumps to when it is sent to the next or the previous event.

use std::time::Duration;

use super::state::State;
use crate::event::{LoadSettings, Nanos};
use crate::units::{show_count, show_duration};

/// Requests that follow each other within so long are one change: a ramp makes ten a second, ns.
const ONE_CHANGE: Nanos = 500_000_000;

/// Kinds of notable instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The first lost probe of a hole, of the primary probe: when it was due.
    Loss,
    /// A phase of a migration begins.
    Phase,
    /// A round of pre-copy begins.
    Round,
    /// A mark.
    Mark,
    /// Another load is asked for; a ramp is one change, at its beginning.
    LoadChange,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Loss, Self::Phase, Self::Round, Self::Mark, Self::LoadChange];
}

/// A notable instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notable {
    /// When, ns of the session clock.
    pub t: Nanos,
    /// What kind of thing.
    pub kind: Kind,
    /// What happened, for people.
    pub text: String,
}

/// The first notable instant of one of `kinds` after `t`.
#[must_use]
pub fn next(state: &State, kinds: &[Kind], t: Nanos) -> Option<Notable> {
    kinds.iter().filter_map(|kind| nearest(state, *kind, t, Way::Onward)).min_by_key(|n| n.t)
}

/// The last notable instant of one of `kinds` before `t`.
#[must_use]
pub fn prev(state: &State, kinds: &[Kind], t: Nanos) -> Option<Notable> {
    kinds.iter().filter_map(|kind| nearest(state, *kind, t, Way::Back)).max_by_key(|n| n.t)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Onward,
    Back,
}

impl Way {
    /// The nearest of `items` on this way from `t`, the first of several at one instant.
    fn nearest<T>(self, t: Nanos, items: impl Iterator<Item = (Nanos, T)>) -> Option<(Nanos, T)> {
        items
            .filter(|(at, _)| if self == Self::Onward { *at > t } else { *at < t })
            .min_by_key(|(at, _)| at.abs_diff(t))
    }
}

fn nearest(state: &State, kind: Kind, t: Nanos, way: Way) -> Option<Notable> {
    let found = match kind {
        Kind::Loss => loss(state, t, way),
        Kind::Phase => {
            let phases = state.migrations.iter().flat_map(|m| m.phases.iter().map(move |p| (p.from, (m.n, p))));
            way.nearest(t, phases).map(|(at, (n, span))| (at, format!("#{n} {}", span.phase.word())))
        }
        Kind::Round => {
            let rounds = state.migrations.iter().flat_map(|m| m.rounds.iter().map(move |(at, r)| (*at, (m.n, *r))));
            way.nearest(t, rounds).map(|(at, (n, round))| (at, format!("#{n} round {round}")))
        }
        Kind::Mark => {
            let marks = state.marks.iter().map(|(at, note)| (*at, note));
            way.nearest(t, marks)
                .map(|(at, note)| (at, if note.is_empty() { "mark".to_owned() } else { format!("mark: {note}") }))
        }
        Kind::LoadChange => way.nearest(t, changes(state)).map(|(at, load)| (at, load_words(load))),
    };
    found.map(|(t, text)| Notable { t, kind, text })
}

/// The requests that do not go on with the one before.
fn changes(state: &State) -> impl Iterator<Item = (Nanos, &LoadSettings)> {
    let mut before: Option<Nanos> = None;
    state.requests.iter().filter_map(move |(at, load)| {
        let goes_on = before.is_some_and(|b| at.saturating_sub(b) < ONE_CHANGE);
        before = Some(*at);
        (!goes_on).then_some((*at, load))
    })
}

fn load_words(load: &LoadSettings) -> String {
    format!("asks for RATE {} pages/s", show_count(load.dirty.rate_pages_per_s().round() as u64))
}

fn loss(state: &State, t: Nanos, way: Way) -> Option<(Nanos, String)> {
    let probe = state.primary()?;
    let hole = match way {
        Way::Onward => probe.next_hole(t)?,
        Way::Back => probe.prev_hole(t)?,
    };
    let gone = Duration::from_nanos(hole.down.saturating_mul(probe.spec.interval_ns));
    Some((hole.from, format!("{} {} = {}", show_count(hole.down), hole.word(), show_duration(gone))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        Body, DirtyCycle, Event, HvEvent, MigrationEvent, MigrationSettings, OperatorEvent, Phase, ProbeEvent, ProbeId,
        ProbeKind, ProbeSpec,
    };
    use crate::session::testing::header;

    const MS: Nanos = 1_000_000;

    /// Probes each 10 ms, lost from 500 to 600 and from 800 to 810 ms; a migration, a mark, a ramp.
    fn state() -> State {
        let spec = ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 2].into(), 10 * MS);
        let mut events = vec![Event::new(0, Body::Probe(ProbeEvent::Started { id: ProbeId(0), spec }))];
        let mut tell = |t, ev| events.push(Event::new(t * MS, ev));
        for k in 0..100 {
            let (sent, t) = (k * 10 * MS, k * 10);
            let lost = (50..=60).contains(&k) || (80..=81).contains(&k);
            let ev = if lost {
                ProbeEvent::Lost { id: ProbeId(0), k, sent }
            } else {
                ProbeEvent::Ok { id: ProbeId(0), k, sent, rtt: MS }
            };
            tell(t, Body::Probe(ev));
        }
        let settings = MigrationSettings::default();
        let began = MigrationEvent::Began { n: 1, from: "a".into(), to: "b".into(), settings, by: None };
        tell(400, Body::Migration(began));
        tell(410, Body::Hypervisor(HvEvent::Phase { phase: Phase::PreCopy, raw: "active".into(), substate: None }));
        tell(420, Body::Hypervisor(HvEvent::Round { round: 1, at: None }));
        tell(700, Body::Operator(OperatorEvent::Mark { note: "here".into(), at: None }));
        for (i, t) in [900, 1000, 1100, 5000].into_iter().enumerate() {
            let dirty = DirtyCycle { bpc_pages: 10 * (i as u64 + 1), period_ns: 10 * MS };
            let to = LoadSettings { dirty, ..LoadSettings::default() };
            tell(t, Body::Operator(OperatorEvent::SetLoad { id: i as u64, to }));
        }
        let mut state = State::begin(header());
        events.iter().for_each(|e| state.apply(e));
        state
    }

    #[test]
    fn each_kind_is_found_in_order_and_back_again() {
        let state = state();
        let expected = [
            (410, Kind::Phase, "#1 pre-copy"),
            (420, Kind::Round, "#1 round 1"),
            (500, Kind::Loss, "11 lost = 110 ms"),
            (700, Kind::Mark, "mark: here"),
            (800, Kind::Loss, "2 lost = 20.0 ms"),
            (900, Kind::LoadChange, "asks for RATE 1,000 pages/s"),
            (5000, Kind::LoadChange, "asks for RATE 4,000 pages/s"),
        ];
        let expected: Vec<Notable> =
            expected.into_iter().map(|(t, kind, text)| Notable { t: t * MS, kind, text: text.to_owned() }).collect();
        let mut onward = Vec::new();
        while let Some(n) = next(&state, &Kind::ALL, onward.last().map_or(0, |n: &Notable| n.t)) {
            onward.push(n);
        }
        assert_eq!(onward, expected);
        let mut back = Vec::new();
        while let Some(n) = prev(&state, &Kind::ALL, back.last().map_or(Nanos::MAX, |n: &Notable| n.t)) {
            back.push(n);
        }
        back.reverse();
        assert_eq!(back, expected);
    }

    #[test]
    fn only_what_is_asked_for_is_found() {
        let state = state();
        let at = |found: Option<Notable>| found.map(|n| n.t / MS);
        assert_eq!(at(next(&state, &[Kind::Mark], 0)), Some(700));
        assert_eq!(at(next(&state, &[Kind::Mark], 700 * MS)), None);
        // From within a hole the next one is the next, and the one it lies in the one before.
        assert_eq!(at(next(&state, &[Kind::Loss], 550 * MS)), Some(800));
        assert_eq!(at(prev(&state, &[Kind::Loss], 550 * MS)), Some(500));
        assert_eq!(at(next(&state, &[], 0)), None);
    }
}
