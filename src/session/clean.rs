//! What others wrote, made fit to be kept and shown before it is folded in: control characters are
//! written out, texts and lists are cut to a bounded length.
//!
//! A capture holds what was said; the state holds this. A live session and the replay of its capture
//! go through the same filter, so they still come to the same state.

use std::borrow::Cow;

use serde_json::Value;

use crate::event::{
    AgentEvent, Body, By, Capabilities, Ender, Event, Fact, Forecast, Header, HvEvent, LabEvent, Location,
    MigrationEnd, MigrationEvent, MigrationSettings, OperatorEvent, ProbeEvent, SessionEvent, StopRule,
};
use crate::text::{TEXT_LIMIT, capped, foreign, is_hidden};

/// Parameters kept of what a host offers, and of what a migration is asked to be.
const PARAMETERS: usize = 128;
/// Hypervisor processes kept of one look at the machine.
const PROCESSES: usize = 32;
/// Kept of a list of kinds, of which there are a handful.
const KINDS: usize = 16;
/// A text where there is no room for more, bytes.
const BRIEF: usize = 32;
/// Values kept of the settings in a header, lists and tables among them.
const SETTINGS: usize = 400;
/// A text in such a value, bytes.
const VALUE_TEXT: usize = 256;

/// The event as the state may keep it. What holds no text is handed through.
pub(super) fn event(event: &Event) -> Cow<'_, Event> {
    if plain(&event.ev) {
        return Cow::Borrowed(event);
    }
    let mut clean = event.clone();
    body(&mut clean.ev, &mut text);
    Cow::Owned(clean)
}

/// The header as the state may keep it.
pub(super) fn header(mut header: Header) -> Header {
    let (versions, host) = (&mut header.versions, &mut header.host);
    for fact in [&mut header.name, &mut versions.blackout, &mut host.cpu, &mut host.kernel] {
        text(fact);
    }
    for known in [&mut versions.hypervisor, &mut versions.guest_kernel, &mut versions.accelerator] {
        known.iter_mut().for_each(text);
    }
    let asked = &mut header.settings;
    asked.command.iter_mut().for_each(text);
    asked.migration.iter_mut().for_each(|migration| settings(migration, &mut text));
    let mut own = Value::Object(std::mem::take(&mut asked.own));
    value(&mut own, &mut { SETTINGS });
    if let Value::Object(own) = own {
        asked.own = own;
    }
    header
}

/// How much text an event holds that is kept for as long as the session lasts, bytes; 0 of one whose text
/// takes the place of older text or is let go in time.
pub(super) fn kept_bytes(event: &mut Event) -> usize {
    let kept = match &event.ev {
        Body::Migration(ev) => !matches!(
            ev,
            MigrationEvent::Forecast { .. }
                | MigrationEvent::Settled { .. }
                | MigrationEvent::Ready { .. }
                | MigrationEvent::NotReady { .. }
        ),
        Body::Hypervisor(ev) => matches!(ev, HvEvent::Phase { .. } | HvEvent::Befell { .. } | HvEvent::Stopped { .. }),
        Body::Operator(ev) => matches!(ev, OperatorEvent::SetMigration { .. } | OperatorEvent::SetPolicy { .. }),
        _ => false,
    };
    let mut bytes = 0;
    if kept {
        body(&mut event.ev, &mut |text| bytes += text.len() + size_of::<String>());
    }
    bytes
}

/// Leaves next to nothing of the texts of an event.
pub(super) fn cut(event: &mut Event) {
    body(&mut event.ev, &mut |text| *text = capped(text, BRIEF).into_owned());
    if let Body::Migration(MigrationEvent::Began { settings, .. })
    | Body::Operator(OperatorEvent::SetMigration { to: settings }) = &mut event.ev
    {
        settings.extra.clear();
    }
}

/// Whether there is nothing to filter: no text, or (the hypervisor's own words) none that is kept.
fn plain(body: &Body) -> bool {
    match body {
        Body::Probe(ev) => !matches!(
            ev,
            ProbeEvent::Error { .. }
                | ProbeEvent::Refused { .. }
                | ProbeEvent::Started { .. }
                | ProbeEvent::NotSent { why: Some(_), .. }
        ),
        Body::Agent(ev) => matches!(ev, AgentEvent::Heartbeat { .. } | AgentEvent::Report(_) | AgentEvent::Ack { .. }),
        Body::Hypervisor(ev) => matches!(ev, HvEvent::Sample { .. } | HvEvent::Raw { .. }),
        _ => false,
    }
}

fn text(text: &mut String) {
    if text.len() > TEXT_LIMIT || text.contains(is_hidden) {
        *text = foreign(text);
    }
}

/// Cuts a value to at most `left` values with short texts.
fn value(of: &mut Value, left: &mut usize) {
    *left = left.saturating_sub(1);
    match of {
        Value::String(s) => *s = foreign(&capped(s, VALUE_TEXT)),
        Value::Array(items) => {
            items.truncate(*left);
            items.iter_mut().for_each(|item| value(item, left));
        }
        Value::Object(map) => {
            let kept = std::mem::take(map).into_iter().take(*left);
            let short = kept.map(|(key, item)| (foreign(&capped(&key, VALUE_TEXT)), item));
            *map = short.collect();
            map.values_mut().for_each(|item| value(item, left));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What each text of an event is handed to.
type Hand<'a> = &'a mut dyn FnMut(&mut String);

fn settings(of: &mut MigrationSettings, text: Hand<'_>) {
    text(&mut of.policy.name);
    let extra = std::mem::take(&mut of.extra).into_iter().take(PARAMETERS);
    of.extra = extra
        .map(|(mut key, mut item)| {
            text(&mut key);
            value(&mut item, &mut 1);
            if let Value::String(words) = &mut item {
                text(words);
            }
            (key, item)
        })
        .collect();
}

fn offers(of: &mut Capabilities, text: Hand<'_>) {
    text(&mut of.product);
    of.own_rule.iter_mut().for_each(&mut *text);
    of.parameters.truncate(PARAMETERS);
    for parameter in &mut of.parameters {
        text(&mut parameter.name);
        text(&mut parameter.unit);
        value(&mut parameter.value, &mut 8);
    }
}

fn forecast(of: &mut Forecast, text: Hand<'_>) {
    of.guesses.truncate(KINDS);
    match &mut of.ender {
        Some(Ender::Policy { name, rule, .. }) => [name, rule].into_iter().for_each(&mut *text),
        Some(Ender::Own { rule, .. }) => text(rule),
        None => {}
    }
    if let Some(grounds) = &mut of.grounds {
        text(&mut grounds.product);
    }
}

fn end(of: &mut MigrationEnd, text: Hand<'_>) {
    match of {
        MigrationEnd::Done => {}
        MigrationEnd::Failed { why } => text(why),
        MigrationEnd::Cancelled { by } => text(by),
        MigrationEnd::Unsettled { why, last, .. } => {
            text(why);
            location(last, text);
        }
    }
}

fn location(of: &mut Location, text: Hand<'_>) {
    match of {
        Location::At { host, .. } => text(host),
        Location::Unknown { why } => text(why),
        Location::Both | Location::Nowhere | Location::Moving => {}
    }
}

fn rule(of: &mut StopRule, text: Hand<'_>) {
    if let StopRule::Own { words } = of {
        text(words);
    }
}

/// Hands over each text of an event that the state may keep, and cuts lists to a bounded length.
fn body(body: &mut Body, text: Hand<'_>) {
    match body {
        Body::Operator(ev) => match ev {
            OperatorEvent::SetMigration { to } => settings(to, text),
            OperatorEvent::SetPolicy { to } => text(&mut to.name),
            OperatorEvent::Mark { note, .. } => text(note),
            OperatorEvent::SetLoad { .. }
            | OperatorEvent::Migrate
            | OperatorEvent::Cancel
            | OperatorEvent::GiveUp { .. }
            | OperatorEvent::StopAndCopy
            | OperatorEvent::PostCopy
            | OperatorEvent::Ramp { .. }
            | OperatorEvent::RampEnd
            | OperatorEvent::Quit => {}
        },
        Body::Agent(ev) => match ev {
            AgentEvent::Connected { version, kernel, transport, .. } => {
                [version, kernel, transport].into_iter().for_each(&mut *text)
            }
            AgentEvent::Disconnected { why } | AgentEvent::Refused { why, .. } => text(why),
            AgentEvent::Ack { .. } | AgentEvent::Report(_) | AgentEvent::Heartbeat { .. } => {}
        },
        Body::Probe(ev) => match ev {
            ProbeEvent::Error { what, .. } | ProbeEvent::Refused { what, .. } => text(what),
            ProbeEvent::NotSent { why, .. } => why.iter_mut().for_each(&mut *text),
            ProbeEvent::Started { spec, .. } => {
                spec.cannot_see.truncate(KINDS);
                [&mut spec.asked, &mut spec.from].into_iter().flatten().for_each(&mut *text);
            }
            _ => {}
        },
        Body::Hypervisor(ev) => match ev {
            HvEvent::HostUp { host, version, .. } => [host, version].into_iter().for_each(&mut *text),
            HvEvent::Offers { host, offers: what } => {
                text(host);
                offers(what, text);
            }
            HvEvent::HostLost { host, why } => [host, why].into_iter().for_each(&mut *text),
            HvEvent::Stopped { host, .. } | HvEvent::Resumed { host, .. } => text(host),
            HvEvent::Phase { raw, .. } => text(raw),
            HvEvent::RoundTrip { host, .. } => text(host),
            HvEvent::Setting { host, name, from, to, .. } => {
                [host, name].into_iter().for_each(&mut *text);
                value(from, &mut 4);
                value(to, &mut 4);
            }
            HvEvent::Located { location: at } => location(at, text),
            HvEvent::Befell { host, detail, .. } => [host, detail].into_iter().for_each(&mut *text),
            HvEvent::Round { .. } | HvEvent::Raw { .. } | HvEvent::Sample { .. } => {}
        },
        Body::Migration(ev) => match ev {
            MigrationEvent::Began { from, to, settings: asked, .. } => {
                [from, to].into_iter().for_each(&mut *text);
                settings(asked, text);
            }
            MigrationEvent::Ready { from, to } => [from, to].into_iter().for_each(&mut *text),
            MigrationEvent::NotReady { why } => text(why),
            MigrationEvent::Ruled { rule: of, .. } => rule(of, text),
            MigrationEvent::Requested { by, .. } => match by {
                By::Rule(of) => rule(of, text),
                By::Operator | By::GiveUpAfter { .. } | By::Closing | By::Another => {}
            },
            MigrationEvent::Refused { why, .. } => text(why),
            MigrationEvent::Ended { end: how, .. } => end(how, text),
            MigrationEvent::Forecast { forecast: of, .. } => forecast(of, text),
            MigrationEvent::StopForecast { .. } | MigrationEvent::Settled { .. } => {}
        },
        Body::Host(ev) => {
            ev.hypervisors.truncate(PROCESSES);
            ev.hypervisors.iter_mut().for_each(|(name, _)| text(name));
        }
        Body::Lab(ev) => match ev {
            LabEvent::Step { what } => text(what),
            LabEvent::Accel { chosen, why } => [chosen, why].into_iter().for_each(&mut *text),
            LabEvent::Ready { guest, enter } => [guest, enter].into_iter().for_each(&mut *text),
        },
        Body::Session(ev) => match ev {
            SessionEvent::Learned(Fact::Hypervisor(value) | Fact::GuestKernel(value) | Fact::Accelerator(value)) => {
                text(value);
            }
            SessionEvent::Caption { text: words } => text(words),
            SessionEvent::Environment { key, value } => [key, value].into_iter().for_each(&mut *text),
            SessionEvent::Overflow { queue, .. } => text(queue),
            SessionEvent::RecorderTrouble { why } | SessionEvent::Ended { why } => text(why),
            SessionEvent::RecorderRecovered { .. } => {}
        },
        Body::Log(ev) => [&mut ev.from, &mut ev.text].into_iter().for_each(&mut *text),
    }
}
