//! The migration's settings after a key press or a typed text, and the parameters a hypervisor
//! offers beyond ours.

use std::time::Duration;

use serde_json::Value;

use super::steps::{cycled, decade_step, linear_step};
use super::{Control, Step};
use crate::event::policy::{PolicyError, TIMEOUT};
use crate::event::{Capabilities, MigrationSettings, Parameter, StopPolicy};
use crate::session::State;
use crate::units;

/// The migration's settings after one key press.
#[must_use]
pub fn nudge_migration(from: &MigrationSettings, control: Control, up: bool, step: Step) -> MigrationSettings {
    let mut to = from.clone();
    match control {
        Control::Bandwidth => {
            let next = decade_step(from.bandwidth_bytes_per_s.unwrap_or(0) as f64, up, step, 1e6);
            to.bandwidth_bytes_per_s = Some(next.clamp(1e6, 1e12) as u64);
        }
        Control::DowntimeLimit => {
            let size = if step == Step::Coarse { 100.0 } else { 10.0 };
            to.downtime_limit_ms =
                Some(linear_step(from.downtime_limit_ms.unwrap_or(0) as f64, up, size, 2_000_000.0) as u64);
        }
        Control::Policy => {
            let all = policy_presets();
            to.policy = cycled(&all, |p| p.name == from.policy.name, up);
        }
        Control::PostCopy => to.post_copy = !from.post_copy,
        Control::AutoConverge => to.auto_converge = !from.auto_converge,
        _ => {}
    }
    to
}

/// The stop policies offered: `xen-3.4` (29 rounds, 3 x RAM, 50 pages), `none`, `timeout`.
#[must_use]
pub fn policy_presets() -> Vec<StopPolicy> {
    vec![StopPolicy::xen_3_4(), StopPolicy::none(), StopPolicy::timeout(TIMEOUT)]
}

/// The migration settings assumed while nobody has said anything else.
#[must_use]
pub fn default_migration() -> MigrationSettings {
    MigrationSettings { policy: StopPolicy::xen_3_4(), ..MigrationSettings::default() }
}

/// The migration's settings with `control` set to what was typed.
///
/// # Errors
/// A sentence saying what is wrong with the text and what would be right.
pub fn type_migration(from: &MigrationSettings, control: Control, text: &str) -> Result<MigrationSettings, String> {
    let mut to = from.clone();
    let none = text.trim() == "none";
    match control {
        Control::Bandwidth if none => to.bandwidth_bytes_per_s = None,
        Control::Bandwidth => {
            to.bandwidth_bytes_per_s = Some(units::parse_rate_limit(text).map_err(|e| e.to_string())?);
        }
        Control::DowntimeLimit if none => to.downtime_limit_ms = None,
        Control::DowntimeLimit => {
            let limit = units::parse_duration(text).map_err(|e| e.to_string())?;
            to.downtime_limit_ms = Some(limit.as_millis().min(2_000_000) as u64);
        }
        Control::Policy => {
            let preset = policy_presets().into_iter().find(|p| p.name == text.trim());
            to.policy = match preset {
                Some(preset) => preset,
                None => text.trim().parse().map_err(|e: PolicyError| e.to_string())?,
            };
        }
        Control::PostCopy => to.post_copy = on_off(text)?,
        Control::AutoConverge => to.auto_converge = on_off(text)?,
        _ => {}
    }
    Ok(to)
}

fn on_off(text: &str) -> Result<bool, String> {
    match text.trim() {
        "on" | "yes" => Ok(true),
        "off" | "no" => Ok(false),
        _ => Err(format!("'{text}' is neither on nor off")),
    }
}

/// The rules of a stop policy in few words: `29 rounds or 3 x RAM or <50 pg`.
#[must_use]
pub fn show_policy(policy: &StopPolicy) -> String {
    let mut rules = Vec::new();
    if let Some(rounds) = policy.rounds {
        rules.push(format!("{rounds} rounds"));
    }
    if let Some(factor) = policy.ram_factor {
        rules.push(format!("{factor} x RAM"));
    }
    if let Some(pages) = policy.remaining_pages_below {
        rules.push(format!("<{pages} pg"));
    }
    if let Some(ns) = policy.after_ns {
        rules.push(units::show_duration(Duration::from_nanos(ns)));
    }
    if rules.is_empty() { "left to the hypervisor".into() } else { rules.join(", ") }
}

/// What the hypervisor offers that would send: the one that has the guest. Where that is not known, the
/// one that is not known to do without it; None if there are several of these.
#[must_use]
pub fn offers(state: &State) -> Option<&Capabilities> {
    let running = state.migrations.last().filter(|m| m.ended.is_none()).map(|m| m.from.as_str());
    let located = || state.guest().and_then(|(_, location)| location.host());
    let known = running.or_else(located).and_then(|host| state.hosts.get(host));
    let source = known.or_else(|| state.hosts.values().find(|h| h.running == Some(true) && h.lost.is_none()));
    if let Some(source) = source {
        return source.offers.as_ref();
    }
    let mut may = state.hosts.values().filter(|h| h.running != Some(false) && h.lost.is_none());
    may.next().filter(|_| may.next().is_none()).and_then(|host| host.offers.as_ref())
}

/// Parameters that our own controls stand for, by the control and the names hypervisors have for it.
const OWN: [(Control, &str); 3] = [
    (Control::Bandwidth, "max-bandwidth"),
    (Control::DowntimeLimit, "downtime-limit"),
    (Control::DowntimeLimit, "downtime_ms"),
];

/// The parameters offered beyond our own controls, in their order on the screen.
#[must_use]
pub fn parameters(state: &State) -> Vec<&Parameter> {
    let offered = offers(state).map_or(&[][..], |o| &o.parameters);
    offered.iter().filter(|p| OWN.iter().all(|(_, name)| p.name != *name)).collect()
}

/// The offered parameter at this place of [`parameters`].
#[must_use]
pub fn parameter(state: &State, at: u16) -> Option<&Parameter> {
    parameters(state).get(usize::from(at)).copied()
}

/// The offered parameter that one of our own controls stands for: what the hypervisor has now.
#[must_use]
pub fn behind(state: &State, control: Control) -> Option<&Parameter> {
    let offers = offers(state)?;
    OWN.iter().filter(|(own, _)| *own == control).find_map(|(_, name)| offers.parameter(name))
}

/// The value we ask for in place of the hypervisor's, if we do.
#[must_use]
pub fn changed<'a>(settings: &'a MigrationSettings, parameter: &Parameter) -> Option<&'a Value> {
    settings.extra.get(&parameter.name)
}

/// A parameter's value after one key press; None where it is neither a whole number nor a truth
/// value.
#[must_use]
pub fn nudge_parameter(settings: &MigrationSettings, parameter: &Parameter, up: bool, step: Step) -> Option<Value> {
    match changed(settings, parameter).unwrap_or(&parameter.value) {
        Value::Bool(on) => Some((!on).into()),
        Value::Number(n) => {
            let next = decade_step(n.as_u64()? as f64, up, step, 1.0);
            let most = if parameter.unit == "%" { 100.0 } else { 9e18 };
            Some((next.min(most) as u64).into())
        }
        _ => None,
    }
}

/// What was typed for a parameter, in the type its present value has; None for `none`: the
/// hypervisor's own.
///
/// # Errors
/// A sentence saying what is wrong with the text and what would be right.
pub fn type_parameter(parameter: &Parameter, text: &str) -> Result<Option<Value>, String> {
    let text = text.trim();
    if text == "none" && !parameter.value.is_string() {
        return Ok(None);
    }
    let value = match &parameter.value {
        Value::Bool(_) => on_off(text)?.into(),
        Value::String(_) | Value::Null => text.into(),
        Value::Number(_) => number(parameter, text)?.into(),
        Value::Array(_) | Value::Object(_) => return Err(format!("'{}' cannot be typed here", parameter.name)),
    };
    Ok(Some(value))
}

/// A whole number, with the units people write for the parameter's unit.
fn number(parameter: &Parameter, text: &str) -> Result<u64, String> {
    let bare = text.replace(['_', ','], "");
    match parameter.unit.as_str() {
        "bytes/s" => units::parse_bandwidth(text).map_err(|e| e.to_string()),
        "bytes" => units::parse_bytes(text).map_err(|e| e.to_string()),
        "ms" if bare.parse::<u64>().is_err() => {
            let d = units::parse_duration(text).map_err(|e| e.to_string())?;
            u64::try_from(d.as_millis()).map_err(|_| format!("'{text}' is longer than any machine lasts"))
        }
        unit => {
            let digits = bare.strip_suffix(unit).unwrap_or(&bare).trim();
            digits.parse().map_err(|_| {
                let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
                format!("invalid value '{text}' for '{}': expected a whole number{unit}", parameter.name)
            })
        }
    }
}

/// A parameter's value for people, with its unit.
#[must_use]
pub fn show_parameter(value: &Value, unit: &str) -> String {
    match value {
        Value::Bool(on) => if *on { "on" } else { "off" }.into(),
        Value::String(s) if s.is_empty() => "empty".into(),
        Value::String(s) => s.clone(),
        Value::Null => "unknown".into(),
        Value::Number(n) => match (n.as_u64(), unit) {
            (Some(n), "bytes/s") => units::show_bandwidth(n as f64),
            (Some(n), "bytes") => units::show_bytes(n),
            (Some(n), "") => units::show_count(n),
            (Some(n), unit) => format!("{} {unit}", units::show_count(n)),
            (None, unit) => format!("{n} {unit}").trim_end().to_string(),
        },
        other => other.to_string(),
    }
}

/// A control's present value as it would be typed, to start from.
#[must_use]
pub fn show_value(settings: &MigrationSettings, control: Control) -> String {
    match control {
        Control::Bandwidth => settings.bandwidth_bytes_per_s.map_or_else(|| "none".into(), typed_bytes),
        Control::DowntimeLimit => settings.downtime_limit_ms.map_or_else(|| "none".into(), |ms| format!("{ms}ms")),
        Control::Policy => typed_policy(&settings.policy),
        Control::PostCopy => if settings.post_copy { "on" } else { "off" }.into(),
        Control::AutoConverge => if settings.auto_converge { "on" } else { "off" }.into(),
        _ => String::new(),
    }
}

/// A bandwidth as it is typed: the largest unit that leaves it whole.
fn typed_bytes(bytes_per_s: u64) -> String {
    for (unit, size) in [("G", 1_000_000_000), ("M", 1_000_000), ("K", 1000)] {
        if bytes_per_s >= size && bytes_per_s.is_multiple_of(size) {
            return format!("{}{unit}", bytes_per_s / size);
        }
    }
    bytes_per_s.to_string()
}

/// A policy as it is typed: its preset's name, or its rules.
fn typed_policy(policy: &StopPolicy) -> String {
    if policy_presets().contains(policy) {
        return policy.name.clone();
    }
    let mut rules = Vec::new();
    if let Some(rounds) = policy.rounds {
        rules.push(format!("rounds={rounds}"));
    }
    if let Some(factor) = policy.ram_factor {
        rules.push(format!("ram={factor}"));
    }
    if let Some(ns) = policy.after_ns {
        rules.push(format!("after={}ms", ns / 1_000_000));
    }
    if let Some(pages) = policy.remaining_pages_below {
        rules.push(format!("remaining={pages}"));
    }
    rules.push(format!("then={}", policy.then.word()));
    rules.join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Location;

    #[test]
    fn what_is_shown_to_start_from_can_be_typed_back() {
        let mut m = super::super::default_migration();
        m.bandwidth_bytes_per_s = Some(32_500_000);
        m.downtime_limit_ms = Some(300);
        m.policy = "rounds=10,ram=2.5,after=1500ms,then=post-copy".parse().unwrap();
        for control in Control::MIGRATION {
            assert_eq!(type_migration(&m, control, &show_value(&m, control)), Ok(m.clone()), "{control:?}");
        }
    }

    #[test]
    fn the_controls_are_those_of_the_host_that_has_the_guest() {
        use crate::event::{Body, Event, HvEvent};
        let mut state = State::begin(crate::tui::fixture::fixture("below-the-jump").0);
        let tell = |state: &mut State, ev| state.apply(&Event::new(1, Body::Hypervisor(ev)));
        for host in ["dest", "source"] {
            let up = HvEvent::HostUp { host: host.into(), version: "1".into(), pid: None };
            tell(&mut state, up);
            let offers = Capabilities { product: host.into(), ..Capabilities::default() };
            tell(&mut state, HvEvent::Offers { host: host.into(), offers });
        }
        assert_eq!(offers(&state), None, "either could be it");
        tell(&mut state, HvEvent::Located { location: Location::At { host: "source".into(), running: true } });
        // Whichever told its values last.
        let dest = Capabilities { product: "dest".into(), cancel: true, ..Capabilities::default() };
        tell(&mut state, HvEvent::Offers { host: "dest".into(), offers: dest });
        assert_eq!(offers(&state).unwrap().product, "source");
        tell(&mut state, HvEvent::Located { location: Location::At { host: "dest".into(), running: false } });
        assert_eq!(offers(&state).unwrap().product, "dest");
    }

    proptest! {
        #[test]
        fn any_text_for_a_parameter_is_read_or_refused(text in "\\PC{0,30}", unit in "(bytes|bytes/s|ms|%|)") {
            for value in [Value::from(1), Value::from(true), Value::from("x"), Value::Null] {
                let p = Parameter { name: "x".into(), value, unit: unit.clone(), live: true };
                let _ = type_parameter(&p, &text);
            }
        }

        #[test]
        fn a_bandwidth_is_typed_back(bytes in 1u64..1_000_000_000_000) {
            prop_assert_eq!(units::parse_bandwidth(&typed_bytes(bytes)), Ok(bytes));
        }
    }
}
