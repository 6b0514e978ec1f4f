//! What others wrote, made fit to be kept and shown before it is folded in: control characters are
//! written out, texts and lists are cut to a bounded length.
//!
//! A capture holds what was said; the state holds this. A live session and the replay of its capture
//! go through the same filter, so they still come to the same state.

use std::borrow::Cow;

use serde_json::Value;

use crate::event::{
    AgentEvent, Body, Capabilities, Event, Header, HvEvent, LabEvent, MigrationEnd, MigrationEvent, MigrationSettings,
    OperatorEvent, ProbeEvent, SessionEvent, StopRule,
};
use crate::text::{TEXT_LIMIT, capped, foreign, is_hidden};

/// Parameters kept of what a host offers, and of what a migration is asked to be.
const PARAMETERS: usize = 256;
/// Hypervisor processes kept of one look at the machine.
const PROCESSES: usize = 32;
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
    body(&mut clean.ev);
    Cow::Owned(clean)
}

/// The header as the state may keep it.
pub(super) fn header(mut header: Header) -> Header {
    text(&mut header.name);
    text(&mut header.versions.blackout);
    let versions = &mut header.versions;
    for known in [&mut versions.hypervisor, &mut versions.guest_kernel, &mut versions.accelerator] {
        known.iter_mut().for_each(text);
    }
    text(&mut header.host.cpu);
    text(&mut header.host.kernel);
    value(&mut header.settings, &mut { SETTINGS });
    header
}

/// Whether there is nothing to filter: no text, or (the hypervisor's own words) none that is kept.
fn plain(body: &Body) -> bool {
    match body {
        Body::Probe(ev) => !matches!(ev, ProbeEvent::Error { .. }),
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

fn settings(of: &mut MigrationSettings) {
    text(&mut of.policy.name);
    let extra = std::mem::take(&mut of.extra).into_iter().take(PARAMETERS);
    of.extra = extra
        .map(|(mut key, mut item)| {
            text(&mut key);
            value(&mut item, &mut 1);
            (key, item)
        })
        .collect();
}

fn offers(of: &mut Capabilities) {
    text(&mut of.product);
    of.own_rule.iter_mut().for_each(text);
    of.parameters.truncate(PARAMETERS);
    for parameter in &mut of.parameters {
        text(&mut parameter.name);
        text(&mut parameter.unit);
        value(&mut parameter.value, &mut 8);
    }
}

fn end(of: &mut MigrationEnd) {
    match of {
        MigrationEnd::Done => {}
        MigrationEnd::Failed { why } => text(why),
        MigrationEnd::Cancelled { by } => text(by),
    }
}

fn body(body: &mut Body) {
    match body {
        Body::Operator(ev) => match ev {
            OperatorEvent::SetMigration { to } => settings(to),
            OperatorEvent::SetPolicy { to } => text(&mut to.name),
            OperatorEvent::Mark { note, .. } => text(note),
            OperatorEvent::SetLoad { .. }
            | OperatorEvent::Migrate
            | OperatorEvent::Cancel
            | OperatorEvent::StopAndCopy
            | OperatorEvent::PostCopy
            | OperatorEvent::Ramp { .. }
            | OperatorEvent::RampEnd
            | OperatorEvent::Quit => {}
        },
        Body::Agent(ev) => match ev {
            AgentEvent::Connected { version, kernel, transport, .. } => {
                [version, kernel, transport].into_iter().for_each(text)
            }
            AgentEvent::Disconnected { why } | AgentEvent::Refused { why, .. } => text(why),
            AgentEvent::Ack { .. } | AgentEvent::Report(_) | AgentEvent::Heartbeat { .. } => {}
        },
        Body::Probe(ev) => {
            if let ProbeEvent::Error { what, .. } = ev {
                text(what);
            }
        }
        Body::Hypervisor(ev) => match ev {
            HvEvent::HostUp { host, version, .. } => [host, version].into_iter().for_each(text),
            HvEvent::Offers { host, offers: what } => {
                text(host);
                offers(what);
            }
            HvEvent::HostLost { host, why } => [host, why].into_iter().for_each(text),
            HvEvent::Stopped { host, .. } | HvEvent::Resumed { host, .. } => text(host),
            HvEvent::Phase { raw, .. } => text(raw),
            HvEvent::Round { .. } | HvEvent::Raw { .. } | HvEvent::Sample { .. } => {}
        },
        Body::Migration(ev) => match ev {
            MigrationEvent::Began { from, to, settings: asked, .. } => {
                [from, to].into_iter().for_each(text);
                settings(asked);
            }
            MigrationEvent::Ruled { rule, .. } => {
                if let StopRule::Own { words } = rule {
                    text(words);
                }
            }
            MigrationEvent::Ended { end: how, .. } => end(how),
            MigrationEvent::Forecast { .. } | MigrationEvent::Settled { .. } => {}
        },
        Body::Host(ev) => {
            ev.hypervisors.truncate(PROCESSES);
            ev.hypervisors.iter_mut().for_each(|(name, _)| text(name));
        }
        Body::Lab(ev) => match ev {
            LabEvent::Step { what } => text(what),
            LabEvent::Accel { chosen, why } => [chosen, why].into_iter().for_each(text),
            LabEvent::Ready { guest, enter } => [guest, enter].into_iter().for_each(text),
        },
        Body::Session(ev) => match ev {
            SessionEvent::Environment { key, value } => [key, value].into_iter().for_each(text),
            SessionEvent::Overflow { queue, .. } => text(queue),
            SessionEvent::RecorderTrouble { why } | SessionEvent::Ended { why } => text(why),
            SessionEvent::RecorderRecovered { .. } => {}
        },
        Body::Log(ev) => [&mut ev.from, &mut ev.text].into_iter().for_each(text),
    }
}
