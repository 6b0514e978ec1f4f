//! One probe, three and twenty on one screen.

use super::*;
use crate::event::{ProbeEvent, ProbeKind, ProbeSpec, Role};
use crate::session::state::ProbeState;
use crate::tui::panel::result;

/// What an outcome was told as.
fn event(id: ProbeId, o: &Outcome) -> ProbeEvent {
    let (k, sent) = (o.k, o.sent);
    match o.fate {
        Fate::Ok { rtt } => ProbeEvent::Ok { id, k, sent, rtt },
        Fate::Late { rtt } => ProbeEvent::Late { id, k, sent, rtt },
        Fate::Lost => ProbeEvent::Lost { id, k, sent },
        Fate::NotSent => ProbeEvent::NotSent { id, k, why: None },
        Fate::Error => ProbeEvent::Error { id, k, sent: Some(sent), what: "reset".into() },
        Fate::Refused => ProbeEvent::Refused { id, k, sent, rtt: MS, what: "refused".into() },
    }
}

/// The fixture with `n` probes: the ping, a TCP port that is refused for a second after the blackout, an HTTP
/// page that is slow, and further hosts, of which one answers nothing.
fn several(n: u16, now: u64) -> State {
    let mut state = migrating(now);
    let ping = state.probes[&ProbeId(0)].clone();
    for i in 0..n {
        let id = ProbeId(i);
        let (kind, asked, port) = match i {
            0 => (ProbeKind::Icmp, None, None),
            1 => (ProbeKind::Tcp, Some("tcp:10.0.0.2:443".to_owned()), Some(443)),
            2 => (ProbeKind::Http, Some("http://10.0.0.2/health".to_owned()), Some(80)),
            _ => (ProbeKind::Icmp, Some(format!("icmp:192.0.2.{i}")), None),
        };
        let role = Some(if i == 0 { Role::Primary } else { Role::Further });
        let spec = ProbeSpec { kind, asked, port, role, ..ping.spec.clone() };
        let fate = |o: &Outcome| match (i, o.fate) {
            (1, _) if (ANSWERS..ANSWERS + S).contains(&o.sent) => Fate::Refused,
            (2, Fate::Ok { rtt }) if o.sent < ANSWERS + S => Fate::Ok { rtt: rtt * 9 },
            (2, Fate::Ok { .. }) if o.sent < ANSWERS + 1500 * MS => Fate::Error,
            (7, _) => Fate::Lost,
            (3.., Fate::Lost) => Fate::Ok { rtt: MS / 2 },
            (_, fate) => fate,
        };
        let outcomes: Vec<Outcome> = ping.outcomes.iter().map(|o| Outcome { fate: fate(o), ..*o }).collect();
        let mut digest = crate::analysis::probing::Summary::new(spec.clone());
        let mut counts = std::collections::BTreeMap::new();
        for o in &outcomes {
            digest.apply(&event(id, o));
            *counts.entry(o.fate.class()).or_default() += 1;
        }
        state.digests.insert(id, digest.into());
        let outcomes = outcomes.into_iter().collect();
        state.probes.insert(id, ProbeState { spec, outcomes, counts, stopped: None });
    }
    state
}

#[test]
fn probes_screen() {
    let now = RESUMED + 4 * S;
    for n in [1, 3, 20] {
        let state = several(n, now);
        for (width, height) in [(80, 24), (120, 40), (200, 50)] {
            let name = format!("probes_{n}_{width}x{height}");
            insta::assert_snapshot!(name, screen(&fresh(), &state, &live(now), width, height));
        }
    }
}

#[test]
fn each_probe_is_named_and_told_apart_without_colour() {
    let now = RESUMED + 4 * S;
    let text = screen(&fresh(), &several(3, now), &live(now), 120, 40).to_string();
    for words in
        ["icmp:10.0.0.2", "tcp:10.0.0.2:443", "http://10.0.0.2/health", "min/p50/p99", "refused 20", "rrr", "!!"]
    {
        assert!(text.contains(words), "{words} is missing in\n{text}");
    }
    let text = screen(&fresh(), &several(20, now), &live(now), 80, 24).to_string();
    assert!(text.contains("more probes; the most loss 100 % at icmp:192.0.2.7"), "{text}");
}

#[test]
fn the_card_of_a_result_has_a_row_for_each_probe() {
    use crate::analysis::{Bounded, ByProbe, Estimate, Method};
    let mut state = super::result();
    let ms = std::time::Duration::from_millis;
    let m = state.migrations.last_mut().unwrap();
    let downtimes = m.downtime.as_mut().unwrap();
    for (i, name) in ["icmp:10.0.0.2", "tcp:10.0.0.2:443", "http://10.0.0.2/health"].into_iter().enumerate() {
        let value = Some(Bounded { value: ms(3_000 + i as u64), lo: ms(2_900), hi: ms(3_100) });
        let estimate = |method| Estimate { method, value, note: None };
        downtimes.probes.push(ByProbe {
            id: ProbeId(i as u16),
            name: name.into(),
            is_primary: i == 0,
            estimates: [estimate(Method::LostPings), estimate(Method::ReplyGap)],
            gaps: 1,
            gaps_total: ms(3_000),
        });
    }
    let view = View { page: Page::Result, ..fresh() };
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let text = screen(&view, &state, &live(SETTLED + 2 * S), width, height).to_string();
        for words in ["reply-gap, tcp:10.0.0.2:443", "reply-gap, http://10.0.0.2", "2.90 s to 3.10 s"] {
            assert!(text.contains(words), "{words} at {width}x{height} in\n{text}");
        }
    }
    let extra = live(SETTLED);
    let ctx = crate::tui::ctx::Ctx::new(&view, &state, &extra, (68, 12));
    assert!(result::wanted(&ctx, 80) > 7);
}
