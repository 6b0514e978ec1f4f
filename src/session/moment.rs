//! A session as it was at one instant, in lines for people.

use std::time::Duration;

use super::result::rounds;
use super::state::State;
use super::wall::Wall;
use crate::event::{Class, Nanos, Outcome};
use crate::text::foreign;
use crate::units::{show_bandwidth, show_bytes, show_count, show_duration};

/// What was known at `t`, ns of the session clock; `state` is that of all events until then. A line each: the time,
/// the guest, the load, the migration, the primary probe.
#[must_use]
pub fn lines(state: &State, t: Nanos) -> Vec<String> {
    let wall = Wall::of(state).and_then(|wall| wall.time(t)).map(|time| format!(", {time}")).unwrap_or_default();
    let over = if state.ended.is_some() && t > state.now { ", after the end of the session" } else { "" };
    let mut lines = vec![format!("at           {:.3} s{wall}{over}", t as f64 / 1e9)];
    let since = |from: Nanos| show_duration(Duration::from_nanos(t.saturating_sub(from)));
    if let Some((from, place)) = state.guest() {
        lines.push(format!("guest        {}, known for {}", foreign(&place.words()), since(*from)));
    }
    if let Some((_, load, from)) = &state.load.set {
        lines.push(format!(
            "load         LOAD {:.0} %, WSET {}, RATE {} pages/s, set for {}",
            load.cpu_load_pct,
            show_bytes(load.wset_bytes),
            show_count(load.dirty.rate_pages_per_s().round() as u64),
            since(*from)
        ));
    }
    lines.extend(migration(state, t));
    lines.extend(probe(state, t));
    lines
}

fn migration(state: &State, t: Nanos) -> Option<String> {
    let m = state.migrations.last()?;
    let since = |from: Nanos| show_duration(Duration::from_nanos(t.saturating_sub(from)));
    let name = format!("migration    {}, {} to {}", m.n, foreign(&m.from), foreign(&m.to));
    if let Some((ended, _)) = &m.ended {
        return Some(format!("{name}: over for {}", since(*ended)));
    }
    let phase = m.phases.last().map_or("begun".to_owned(), |p| format!("{} for {}", p.phase.word(), since(p.from)));
    let round = rounds(m).map(|n| format!(", round {n}")).unwrap_or_default();
    // Figures are of when they were told.
    let newest = m.samples.last().map(|(at, s)| {
        let left = s.remaining_bytes.map(|b| format!(", {} left", show_bytes(b)));
        let sent = s.transferred_bytes.map(|b| format!(", {} sent", show_bytes(b)));
        let speed = s.throughput_bytes_per_s.map(|b| format!(" at {}", show_bandwidth(b)));
        let age = format!(", as told {} before", since(*at));
        [left, sent, speed, Some(age)].into_iter().flatten().collect::<String>()
    });
    Some(format!("{name}: {phase}, began {} before{round}{}", since(m.began), newest.unwrap_or_default()))
}

fn probe(state: &State, t: Nanos) -> Option<String> {
    let id = state.primary_id()?;
    let (probe, digest) = (state.primary()?, state.digests.get(&id)?);
    let answered = probe.outcomes.iter().rev().find_map(Outcome::answered);
    let answered = answered.map_or("never answered so far".to_owned(), |at| {
        format!("answered {} before", show_duration(Duration::from_nanos(t.saturating_sub(at))))
    });
    let lost = probe.counts.get(&Class::Lost).copied().unwrap_or(0);
    let loss = digest.counts.loss_pct().map(|pct| format!(", loss {pct:.2} % so far, {lost} lost")).unwrap_or_default();
    Some(format!("probe {id}      {}: {answered}{loss}", digest.spec.target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Body, Event, MigrationEvent, MigrationSettings, ProbeEvent, ProbeId, ProbeKind, ProbeSpec};
    use crate::session::testing::header;

    #[test]
    fn it_tells_what_was_known_then_and_how_old_it_was() {
        const MS: Nanos = 1_000_000;
        let mut state = State::begin(header());
        let id = ProbeId(0);
        assert_eq!(lines(&state, 500 * MS).len(), 1, "{:?}", lines(&state, 0));
        let spec = ProbeSpec::new(ProbeKind::Icmp, [192, 0, 2, 10].into(), 50 * MS);
        let began = MigrationEvent::Began {
            n: 1,
            from: "a\x1b[2J".into(),
            to: "b".into(),
            settings: MigrationSettings::default(),
            by: None,
        };
        let events = [
            (0, Body::Probe(ProbeEvent::Started { id, spec })),
            (151 * MS, Body::Probe(ProbeEvent::Ok { id, k: 3, sent: 150 * MS, rtt: MS })),
            (200 * MS, Body::Migration(began)),
        ];
        for (t, ev) in events {
            state.apply(&Event::new(t, ev));
        }
        let text = lines(&state, 1151 * MS).join("\n");
        assert!(text.starts_with("at           1.151 s, 20"), "{text}");
        assert!(text.contains(" to b: begun, began 951 ms before") && !text.contains('\x1b'), "{text}");
        assert!(text.contains("probe 0      192.0.2.10: answered 1.00 s before, loss 0.00 % so far, 0 lost"), "{text}");
    }
}
