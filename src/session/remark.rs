//! What the event log says: a line for people for every notable event.

use std::time::Duration;

use serde_json::Value;

use super::claims;
use super::state::{CAPTIONS, LogLine, State};
use crate::event::{
    AgentEvent, Aside, Body, Event, Fate, HvEvent, LabEvent, Level, LoadSettings, Location, MigrationEnd,
    MigrationEvent, Nanos, OperatorEvent, ProbeEvent, SessionEvent, SettingWhy, StopRule, Then,
};
use crate::text::capped;
use crate::units::{show_bytes, show_count, show_duration};

/// So many slots lost in a row are worth a line.
const NOTABLE_LOSS: usize = 3;

/// How much of a setting's name or value a line shows, bytes.
const SETTING_SHOWN: usize = 120;

/// The line an event makes, if any; `state` is as it was before the event.
pub(super) fn line(state: &State, event: &Event) -> Option<LogLine> {
    let (level, from, text) = match &event.ev {
        Body::Operator(ev) => (Level::Info, "operator".to_owned(), operator(state, ev)?),
        Body::Agent(ev) => {
            let (level, text) = agent(state, ev)?;
            (level, "agent".to_owned(), text)
        }
        Body::Probe(ev) => {
            let (level, text) = probe(state, ev)?;
            (level, "probe".to_owned(), text)
        }
        Body::Hypervisor(ev) => hypervisor(state, event.t, ev)?,
        Body::Migration(ev) => {
            let (level, text) = migration(ev)?;
            (level, "migration".to_owned(), text)
        }
        Body::Host(_) => return None,
        Body::Lab(ev) => (Level::Info, "lab".to_owned(), lab(ev)),
        Body::Session(ev) => {
            let from = if matches!(ev, SessionEvent::Caption { .. }) { CAPTIONS } else { "session" };
            let (level, text) = session(ev)?;
            (level, from.to_owned(), text)
        }
        // The same, as older captures have it.
        Body::Log(ev) if ev.from == CAPTIONS && ev.text.is_empty() => return None,
        Body::Log(ev) => (ev.level, ev.from.clone(), ev.text.clone()),
    };
    Some(LogLine { t: event.t, level, from, text })
}

fn load(s: &LoadSettings) -> String {
    let rate = show_count(s.dirty.rate_pages_per_s().round() as u64);
    let mut text = format!("WSET {}, RATE {rate} pages/s", show_bytes(s.wset_bytes));
    if s.cpu_load_pct > 0.0 {
        text += &format!(", LOAD {:.0} %", s.cpu_load_pct);
    }
    if s.fill_pct < 100.0 {
        text += &format!(", FILL {:.0} %", s.fill_pct);
    }
    text
}

/// Whether going from `before` to `now` is a step of the ramp that runs. Ten a second would leave no
/// room in the log for anything else.
fn is_step(state: &State, before: Option<&LoadSettings>, now: &LoadSettings) -> bool {
    state.load.ramp.is_some() && before.is_some_and(|before| LoadSettings { dirty: now.dirty, ..*before } == *now)
}

fn operator(state: &State, ev: &OperatorEvent) -> Option<String> {
    Some(match ev {
        OperatorEvent::SetLoad { to, .. } if is_step(state, state.load.requested.as_ref().map(|r| &r.1), to) => {
            return None;
        }
        OperatorEvent::SetLoad { id, to } => format!("asks for load #{id}: {}", load(to)),
        OperatorEvent::SetMigration { to } => format!("sets the next migration: policy {}", to.policy.name),
        OperatorEvent::Migrate => "fires a migration".to_owned(),
        OperatorEvent::Cancel => "cancels the migration".to_owned(),
        OperatorEvent::GiveUp { after_ns } => {
            let limit = show_duration(Duration::from_nanos(*after_ns));
            format!("--give-up-after {limit} is over: cancels the migration")
        }
        OperatorEvent::StopAndCopy => "stops the source to let the migration finish".to_owned(),
        OperatorEvent::PostCopy => "switches to post-copy".to_owned(),
        OperatorEvent::SetPolicy { to } => format!("sets the stop policy {}", to.name),
        OperatorEvent::Mark { note, .. } if note.is_empty() => "mark".to_owned(),
        OperatorEvent::Mark { note, .. } => format!("mark: {note}"),
        OperatorEvent::Ramp { from_pages_per_s, to_pages_per_s, over_ns } => format!(
            "ramps RATE from {} to {} pages/s in {}",
            show_count(from_pages_per_s.round() as u64),
            show_count(to_pages_per_s.round() as u64),
            show_duration(Duration::from_nanos(*over_ns))
        ),
        OperatorEvent::RampEnd => {
            let rate = state.load.requested.map(|r| show_count(r.1.dirty.rate_pages_per_s().round() as u64));
            format!("the ramp ends{}", rate.map(|r| format!(" at RATE {r} pages/s")).unwrap_or_default())
        }
        OperatorEvent::Quit => "ends the session".to_owned(),
    })
}

fn agent(state: &State, ev: &AgentEvent) -> Option<(Level, String)> {
    Some(match ev {
        AgentEvent::Connected { kernel, cpus, ram_bytes, transport, again, .. } => {
            let word = if *again { "connected again" } else { "connected" };
            (Level::Info, format!("{word} by {transport}: Linux {kernel}, {cpus} CPUs, {}", show_bytes(*ram_bytes)))
        }
        AgentEvent::Disconnected { why } if state.agent.connected => {
            (Level::Warn, format!("connection lost: {why}; trying again"))
        }
        // One line an outage: the client repeats itself at each vain attempt.
        AgentEvent::Disconnected { why } if state.agent.why != *why => (Level::Warn, format!("not connected: {why}")),
        AgentEvent::Ack { set, .. } if is_step(state, state.load.set.as_ref().map(|s| &s.1), set) => return None,
        AgentEvent::Ack { id, set } => (Level::Info, format!("load #{id} set: {}", load(set))),
        AgentEvent::Refused { id, why } => (Level::Warn, format!("load #{id} refused: {why}")),
        AgentEvent::Report(report) => {
            let before = state.load.achieved.as_ref().is_some_and(|(_, r)| r.saturated);
            match (before, report.saturated) {
                (false, true) => (Level::Warn, "saturated: the guest cannot keep up with what is set".to_owned()),
                (true, false) => (Level::Info, "keeps up again".to_owned()),
                _ => return None,
            }
        }
        AgentEvent::Disconnected { .. } | AgentEvent::Heartbeat { .. } => return None,
    })
}

fn probe(state: &State, ev: &ProbeEvent) -> Option<(Level, String)> {
    Some(match ev {
        ProbeEvent::Started { id, spec } => {
            let every = show_duration(Duration::from_nanos(spec.interval_ns));
            let asked = spec.asked.as_ref().map(|asked| format!(", {asked},")).unwrap_or_default();
            (Level::Info, format!("probe {id}{asked} of {} begins, every {every}", spec.target))
        }
        ProbeEvent::Stopped { id } => (Level::Info, format!("probe {id} ends")),
        ProbeEvent::Lost { id, k, .. } => {
            let outcomes = &state.probes.get(id)?.outcomes;
            let end = outcomes.partition_point(|o| o.k < *k);
            // The run ending at this slot is now exactly as long as notable: one line a run.
            let run = (1..=NOTABLE_LOSS)
                .take_while(|back| {
                    end.checked_sub(*back)
                        .and_then(|i| outcomes.get(i))
                        .is_some_and(|o| o.fate == Fate::Lost && o.k + *back as u64 == *k)
                })
                .count();
            if run + 1 != NOTABLE_LOSS {
                return None;
            }
            // The slot of this event is not counted yet.
            let never = state.probes.get(id).filter(|p| !p.counts.keys().any(|c| c.is_answer()));
            if let Some(probe) = never.filter(|_| state.primary_id() == Some(*id) && !state.only_watches()) {
                let words = probe.unheard().unwrap_or_else(|| {
                    format!("no answer yet from {}: lost-pings and reply-gap will be unknown", probe.spec.target)
                });
                return Some((Level::Warn, format!("probe {id}: {words}")));
            }
            let silent = match state.digests.get(id) {
                // No witness that it ever did: a guest that is filtered looks the same.
                Some(digest) if digest.counts.answered() == 0 => {
                    "no answer since the start: whether the target answers such probes at all is not known".to_owned()
                }
                _ => format!("the guest does not answer since slot {}", (k + 1).saturating_sub(NOTABLE_LOSS as u64)),
            };
            (Level::Warn, format!("probe {id}: {silent}"))
        }
        ProbeEvent::Error { id, k, what, .. } => {
            let outcomes = &state.probes.get(id)?.outcomes;
            if outcomes.back().is_some_and(|o| o.fate == Fate::Error) {
                return None;
            }
            (Level::Warn, format!("probe {id}, slot {k}: {what}"))
        }
        ProbeEvent::Refused { id, k, what, .. } => {
            let outcomes = &state.probes.get(id)?.outcomes;
            if outcomes.back().is_some_and(|o| o.fate == Fate::Refused) {
                return None;
            }
            (Level::Warn, format!("probe {id}, slot {k}: {what}"))
        }
        // One line for each kind and sender, and each time something of ours was lost.
        ProbeEvent::Heard { id, what, n, from } => {
            let digest = state.digests.get(id)?;
            let told = *what != Aside::Dropped && digest.asides.contains_key(&(*what, *from));
            if told || *what == Aside::Duplicate {
                return None;
            }
            (Level::Warn, format!("probe {id}: {}", what.words(*n, *from, digest.spec.target)))
        }
        ProbeEvent::NotSent { id, k, why: Some(why) } => {
            let digest = state.digests.get(id)?;
            if digest.unsent.contains_key(why) {
                return None;
            }
            (Level::Warn, format!("probe {id}, slot {k}: cannot send: {why}"))
        }
        _ => return None,
    })
}

fn hypervisor(state: &State, t: Nanos, ev: &HvEvent) -> Option<(Level, String, String)> {
    let host_line = |level, host: &String, text: String| Some((level, format!("host {host}"), text));
    match ev {
        HvEvent::HostUp { host, version, .. } => host_line(Level::Info, host, format!("is up: {version}")),
        // Its process and its monitors may each tell; once is enough.
        HvEvent::HostLost { host, .. } if state.hosts.get(host).is_some_and(|h| h.lost.is_some()) => None,
        HvEvent::HostLost { host, why } => host_line(Level::Error, host, format!("is lost: {why}")),
        HvEvent::Stopped { host, .. } => host_line(Level::Info, host, "the guest stands still".to_owned()),
        HvEvent::Resumed { host, .. } => host_line(Level::Info, host, "the guest runs".to_owned()),
        HvEvent::Located { location } => {
            if state.guest().is_some_and(|(_, l)| l == location) {
                return None;
            }
            let level = match location {
                Location::At { .. } | Location::Moving => Level::Info,
                Location::Both | Location::Nowhere => Level::Error,
                Location::Unknown { .. } => Level::Warn,
            };
            Some((level, "migration".to_owned(), format!("the guest {}", location.words())))
        }
        HvEvent::Befell { host, what, detail, .. } => {
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            host_line(Level::Warn, host, format!("the guest {}{detail}", what.words()))
        }
        HvEvent::Phase { phase, raw, substate } => {
            let same = state
                .unsettled()
                .and_then(|m| m.phases.last())
                .is_some_and(|last| last.phase == *phase && last.raw == *raw && last.substate == *substate);
            if same {
                return None;
            }
            let within = substate.map(|s| format!(", {}", s.word())).unwrap_or_default();
            let text = if raw == phase.word() {
                format!("phase {raw}{within}")
            } else {
                format!("phase {}{within} ({raw})", phase.word())
            };
            let level = if *phase == crate::event::Phase::Failed { Level::Error } else { Level::Info };
            Some((level, "migration".to_owned(), text))
        }
        HvEvent::Round { round, .. } => Some((Level::Info, "migration".to_owned(), format!("round {round}"))),
        HvEvent::Setting { host, name, from, to, why } => host_line(Level::Info, host, setting(name, from, to, *why)),
        HvEvent::Sample { sample, .. } => {
            let m = state.unsettled()?;
            let (_, claims) = claims::judged(sample, t.saturating_sub(m.began));
            let new: Vec<String> = claims.into_iter().filter(|c| !m.claims.contains(c)).collect();
            let told = m.claims.len() >= claims::MOST || new.is_empty();
            (!told).then(|| (Level::Warn, "migration".to_owned(), new.join("; ")))
        }
        HvEvent::RoundTrip { .. } | HvEvent::Offers { .. } | HvEvent::Raw { .. } => None,
    }
}

/// What is done to a setting of a host that is not ours, in the product's own words and figures.
fn setting(name: &str, from: &Value, to: &Value, why: SettingWhy) -> String {
    let shown = |value: &Value| capped(&value.to_string(), SETTING_SHOWN).into_owned();
    let (name, from, to) = (capped(name, SETTING_SHOWN), shown(from), shown(to));
    match why {
        SettingWhy::Asked => format!("setting {name} from {from} to {to}, as asked; put back afterwards"),
        SettingWhy::Needed => {
            format!("setting {name} from {from} to {to}, which this migration needs; put back afterwards")
        }
        SettingWhy::PutBack => format!("putting {name} back from {from} to {to}"),
    }
}

fn migration(ev: &MigrationEvent) -> Option<(Level, String)> {
    Some(match ev {
        MigrationEvent::Ready { .. } => return None,
        MigrationEvent::NotReady { why } => (Level::Info, format!("no further migration is possible: {why}")),
        MigrationEvent::Began { n, from, to, by: Some(by), .. } => {
            let text =
                format!("#{n} from {from} to {to} is under way, begun by {}; its time counts from here", by.words());
            (Level::Info, text)
        }
        MigrationEvent::Began { n, from, to, settings, by: None } => {
            (Level::Info, format!("#{n} from {from} to {to} begins, policy {}", settings.policy.name))
        }
        MigrationEvent::Ruled { n, rule, then } => {
            (Level::Info, format!("#{n} {}: {}", rule_words(rule), then_words(*then)))
        }
        MigrationEvent::Ended { n, end } => match end {
            MigrationEnd::Done => (Level::Info, format!("#{n} is done")),
            MigrationEnd::Failed { why } => (Level::Error, format!("#{n} failed: {why}")),
            MigrationEnd::Cancelled { by } => (Level::Warn, format!("#{n} was cancelled by {by}")),
            MigrationEnd::Unsettled { why, last, .. } => {
                (Level::Error, format!("#{n} is unsettled: {why}; last seen, the guest {}", last.words()))
            }
        },
        // Who asks says so by itself, and what is ordered has a line of its own.
        MigrationEvent::Requested { .. } => return None,
        MigrationEvent::Refused { n, then, why } => (Level::Error, format!("#{n}: {} is not done: {why}", then.word())),
        // It stands on the screen; in the log it would be one line a second.
        MigrationEvent::Forecast { .. } | MigrationEvent::StopForecast { .. } => return None,
        MigrationEvent::Settled { n } => (Level::Info, format!("#{n} is settled: its result is final")),
    })
}

fn rule_words(rule: &StopRule) -> String {
    match rule {
        StopRule::RemainingPages { limit, seen } => format!("{seen} pages remain, fewer than {limit}"),
        StopRule::Rounds { limit } => format!("{limit} rounds are over"),
        StopRule::RamFactor { limit, sent_bytes } => {
            format!("{} sent, {limit:.1} x RAM", show_bytes(*sent_bytes))
        }
        StopRule::Time { limit_ns } => format!("{} are over", show_duration(Duration::from_nanos(*limit_ns))),
        StopRule::Operator => "the operator asks".to_owned(),
        StopRule::Own { words } => format!("the hypervisor's own rule gives up ({words})"),
    }
}

fn then_words(then: Then) -> &'static str {
    match then {
        Then::StopAndCopy => "the source is stopped",
        Then::PostCopy => "it goes on as post-copy",
        Then::Cancel => "it is to be cancelled",
        Then::AutoConverge => "the guest is throttled",
    }
}

fn lab(ev: &LabEvent) -> String {
    match ev {
        LabEvent::Step { what } => what.clone(),
        LabEvent::Accel { chosen, why } => format!("accelerator {chosen}: {why}"),
        LabEvent::Ready { guest, .. } => format!("the guest is ready at {guest}"),
    }
}

fn session(ev: &SessionEvent) -> Option<(Level, String)> {
    Some(match ev {
        SessionEvent::Learned(fact) => (Level::Info, format!("{}: {}", fact.key(), fact.value())),
        // The tour takes its caption away.
        SessionEvent::Caption { text } if text.is_empty() => return None,
        SessionEvent::Caption { text } => (Level::Info, text.clone()),
        SessionEvent::Environment { key, value } => (Level::Info, format!("{key}: {value}")),
        SessionEvent::Overflow { queue, lost } => {
            (Level::Error, format!("the queue '{queue}' overflowed: {} events are lost", show_count(*lost)))
        }
        SessionEvent::RecorderTrouble { why } => (Level::Error, format!("the capture cannot be written: {why}")),
        SessionEvent::RecorderRecovered { kept } => {
            (Level::Warn, format!("the capture is written again, {} events were held back", show_count(*kept)))
        }
        SessionEvent::Ended { why } => (Level::Info, format!("the session ends: {why}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DirtyCycle, LogEvent, Nanos};
    use crate::session::testing::header;

    fn lines(events: impl IntoIterator<Item = Body>) -> Vec<String> {
        let mut state = State::begin(header());
        for (t, ev) in events.into_iter().enumerate() {
            state.apply(&Event::new(t as Nanos, ev));
        }
        state.log.iter().map(|l| l.text.clone()).collect()
    }

    #[test]
    fn a_ramp_has_its_beginning_and_its_end_in_the_log_and_no_steps() {
        let load = |rate: u64, wset_bytes| {
            let dirty = DirtyCycle { bpc_pages: rate / 100, period_ns: 10_000_000 };
            LoadSettings { dirty, wset_bytes, ..LoadSettings::default() }
        };
        let ask = |id, to| Body::Operator(OperatorEvent::SetLoad { id, to });
        let ack = |id, set| Body::Agent(AgentEvent::Ack { id, set });
        let ramp = OperatorEvent::Ramp { from_pages_per_s: 0.0, to_pages_per_s: 300.0, over_ns: 1 << 40 };
        let (small, large) = (4 << 20, 8 << 20);
        let told = lines([
            ask(1, load(0, small)),
            ack(1, load(0, small)),
            Body::Operator(ramp),
            ask(2, load(100, small)),
            ack(2, load(100, small)),
            // Somebody changes WSET meanwhile.
            ask(3, load(100, large)),
            ack(3, load(100, large)),
            ask(4, load(300, large)),
            Body::Operator(OperatorEvent::RampEnd),
            ack(4, load(300, large)),
        ]);
        let about: Vec<&str> = told.iter().map(|l| l.split(':').next().unwrap_or_default()).collect();
        let expected = [
            "asks for load #1",
            "load #1 set",
            "ramps RATE from 0 to 300 pages/s in 18m19s",
            "asks for load #3",
            "load #3 set",
            "the ramp ends at RATE 300 pages/s",
            "load #4 set",
        ];
        assert_eq!(about, expected);
    }

    #[test]
    fn a_remark_that_repeats_itself_is_counted() {
        let remark = |text: &str| Body::Log(LogEvent { level: Level::Warn, from: "x".into(), text: text.into() });
        let mut state = State::begin(header());
        for n in 0..250 {
            state.apply(&Event::new(n, remark("the same")));
            state.apply(&Event::new(n, remark("another")));
        }
        let told: Vec<&str> = state.log.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(told, ["the same (250 times)", "another (250 times)"]);
        // Two lines, each told again at 10 and at 100.
        assert_eq!(state.log_total, 6);
    }

    #[test]
    fn a_host_is_lost_once() {
        let lost = |why: &str| Body::Hypervisor(HvEvent::HostLost { host: "a".into(), why: why.into() });
        let up = Body::Hypervisor(HvEvent::HostUp { host: "a".into(), version: "1".into(), pid: None });
        let told = lines([up.clone(), lost("its process"), lost("its monitor"), up, lost("again")]);
        assert_eq!(told, ["is up: 1", "is lost: its process", "is up: 1", "is lost: again"]);
    }
}
