//! What two QEMUs offer, found by asking them, and what to set on each.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::bounds::{NAME_LIMIT, OFFERED, PARAMETER_LIMIT, fits};
use crate::event::{MigrationSettings, SettingWhy, Then};
use crate::hypervisor::HvError;
use crate::text::nearest;

/// Migration capabilities and parameters of one QEMU, with their present values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Offer {
    pub(super) host: String,
    pub(super) capabilities: BTreeMap<String, bool>,
    pub(super) parameters: Map<String, Value>,
}

/// What to set on the two ends before a migration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) source_capabilities: BTreeMap<String, bool>,
    pub(super) destination_capabilities: BTreeMap<String, bool>,
    pub(super) source_parameters: Map<String, Value>,
    pub(super) destination_parameters: Map<String, Value>,
    /// Throttle settings to give when auto-converge is to begin later; they were these before.
    pub(super) throttle: Option<Map<String, Value>>,
}

/// The smallest throttle QEMU takes, %: as near as it gets to "armed, but not yet".
const ARMED_THROTTLE_PCT: u64 = 1;

impl Offer {
    /// Read off the answers of a host.
    pub(super) fn of(host: &str, capabilities: &Value, parameters: Value) -> Self {
        let capabilities = capabilities
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| Some((c["capability"].as_str()?.to_owned(), c["state"].as_bool()?)))
            .filter(|(name, _)| name.len() <= NAME_LIMIT)
            .take(OFFERED)
            .collect();
        let parameters = match parameters {
            Value::Object(parameters) => parameters
                .into_iter()
                .filter(|(name, value)| name.len() <= NAME_LIMIT && fits(value, PARAMETER_LIMIT))
                .take(OFFERED)
                .collect(),
            _ => Map::new(),
        };
        Self { host: host.to_owned(), capabilities, parameters }
    }

    /// The present value of a parameter or a capability.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.parameters.get(name).cloned().or_else(|| self.capabilities.get(name).map(|on| Value::Bool(*on)))
    }

    fn need_capability(&self, name: &str) -> Result<(), HvError> {
        if self.capabilities.contains_key(name) {
            return Ok(());
        }
        Err(self.missing("migration capability", name, self.capabilities.keys()))
    }

    fn missing<'a>(&self, kind: &'static str, name: &str, has: impl Iterator<Item = &'a String> + Clone) -> HvError {
        HvError::NotOffered {
            host: self.host.clone(),
            kind,
            name: name.to_owned(),
            nearest: nearest(name, has.clone().map(String::as_str)).map(str::to_owned),
            offered: has.cloned().collect(),
        }
    }

    /// `value` for the parameter `name` in the type QEMU wants: text that is a number or a truth
    /// value becomes one where the present value is one.
    pub(super) fn parameter(&self, name: &str, value: &Value) -> Result<Value, HvError> {
        let Some(present) = self.parameters.get(name) else {
            return Err(self.missing("migration parameter", name, self.parameters.keys()));
        };
        let bad = |hint: &str| HvError::BadValue {
            name: name.to_owned(),
            value: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            hint: hint.to_owned(),
        };
        match (present, value) {
            (Value::Number(_), Value::String(s)) => {
                s.trim().parse::<u64>().map(Value::from).map_err(|_| bad("it must be a whole number"))
            }
            (Value::Number(_), v) if v.as_u64().is_none() => Err(bad("it must be a whole number, not negative")),
            (Value::Bool(_), Value::String(s)) => match s.trim() {
                "true" | "on" | "yes" => Ok(Value::Bool(true)),
                "false" | "off" | "no" => Ok(Value::Bool(false)),
                _ => Err(bad("it must be true or false")),
            },
            (Value::Bool(_), v) if !v.is_boolean() => Err(bad("it must be true or false")),
            (Value::String(_), v) if !v.is_string() => Err(bad("it must be text")),
            (_, v) => Ok(v.clone()),
        }
    }

    pub(super) fn is_capability(&self, name: &str) -> bool {
        self.capabilities.contains_key(name) && !self.parameters.contains_key(name)
    }
}

/// Parameters a set of settings asks for, in QEMU's names.
pub(super) fn parameters(offer: &Offer, settings: &MigrationSettings) -> Result<Map<String, Value>, HvError> {
    let mut out = Map::new();
    let mut put = |name: &str, value: &Value| -> Result<(), HvError> {
        out.insert(name.to_owned(), offer.parameter(name, value)?);
        Ok(())
    };
    if let Some(bandwidth) = settings.bandwidth_bytes_per_s {
        put("max-bandwidth", &json!(bandwidth))?;
        // In post-copy QEMU would otherwise know no limit. Without post-copy it is none of our business.
        if wants_post_copy(settings) && offer.parameters.contains_key("max-postcopy-bandwidth") {
            put("max-postcopy-bandwidth", &json!(bandwidth))?;
        }
    }
    if let Some(limit) = settings.downtime_limit_ms {
        put("downtime-limit", &json!(limit))?;
    }
    for (name, value) in &settings.extra {
        if !offer.is_capability(name) {
            put(name, value)?;
        }
    }
    Ok(out)
}

fn throttle_of(offer: &Offer, asked: &Map<String, Value>) -> Map<String, Value> {
    ["cpu-throttle-initial", "max-cpu-throttle"]
        .into_iter()
        .filter_map(|name| {
            let value = asked.get(name).or_else(|| offer.parameters.get(name))?;
            Some((name.to_owned(), value.clone()))
        })
        .collect()
}

/// Whether post-copy was asked for, from the start or by the stop policy.
pub(super) fn wants_post_copy(settings: &MigrationSettings) -> bool {
    settings.post_copy || settings.policy.then == Then::PostCopy && settings.policy.has_rules()
}

/// Settings that nobody asked for in so many words, but that what was asked for needs.
const NEEDED: [&str; 4] = ["events", "return-path", "cpu-throttle-initial", "max-cpu-throttle"];

/// Why a setting is set: because the operator's settings name it, or because they cannot be had
/// without it.
pub(super) fn why(name: &str, settings: &MigrationSettings) -> SettingWhy {
    let needed = NEEDED.contains(&name) && !settings.extra.contains_key(name);
    if needed { SettingWhy::Needed } else { SettingWhy::Asked }
}

/// What to set for these settings on two QEMUs that offer this. `uri` is the migration's.
///
/// At QEMUs that are ours, whatever bears on a migration is set, and left-overs are cleared. At
/// `borrowed` ones only what was asked for is switched on, and of what it needs: `events` at the
/// source, without which rounds cannot be told apart, and `return-path` at the source if the stop
/// policy may stop the guest.
pub(super) fn plan(
    source: &Offer,
    destination: &Offer,
    settings: &MigrationSettings,
    uri: &str,
    borrowed: bool,
) -> Result<Plan, HvError> {
    let mut plan = Plan::default();
    let post_copy = wants_post_copy(settings);
    let later = settings.policy.then == Then::AutoConverge && settings.policy.has_rules() && !settings.auto_converge;
    if post_copy {
        source.need_capability("postcopy-ram")?;
        destination.need_capability("postcopy-ram")?;
    }
    if settings.auto_converge || later {
        source.need_capability("auto-converge")?;
    }
    // With a return path the source says `completed` only once the destination has everything,
    // so that a stopped guest is not given up too early. It needs a channel that goes both ways.
    let both_ways = ["tcp:", "unix:", "vsock:"].iter().any(|scheme| uri.starts_with(scheme));
    let stops = settings.policy.has_rules() && settings.policy.then == Then::StopAndCopy;
    let return_path = both_ways && (stops || !borrowed);
    for (name, on) in [("events", true), ("postcopy-ram", post_copy), ("return-path", return_path)] {
        for (offer, set, at_source) in
            [(source, &mut plan.source_capabilities, true), (destination, &mut plan.destination_capabilities, false)]
        {
            if borrowed && !(on && (at_source || name == "postcopy-ram")) {
                continue;
            }
            let both = source.capabilities.contains_key(name) && destination.capabilities.contains_key(name);
            if both || name == "events" && offer.capabilities.contains_key(name) {
                set.insert(name.to_owned(), on);
            }
        }
    }
    let converges = settings.auto_converge || later;
    if source.capabilities.contains_key("auto-converge") && (converges || !borrowed) {
        plan.source_capabilities.insert("auto-converge".to_owned(), converges);
    }
    for (name, value) in &settings.extra {
        if !source.is_capability(name) {
            continue;
        }
        let on = as_switch(name, value)?;
        destination.need_capability(name)?;
        plan.source_capabilities.insert(name.clone(), on);
        plan.destination_capabilities.insert(name.clone(), on);
    }
    plan.source_parameters = parameters(source, settings)?;
    // What both ends must agree on (multifd, TLS, …) comes by its own name.
    for (name, value) in &settings.extra {
        if plan.source_parameters.contains_key(name) && destination.parameters.contains_key(name) {
            plan.destination_parameters.insert(name.clone(), destination.parameter(name, value)?);
        }
    }
    if later {
        // The capability can only be set before the migration, so the throttle waits at its
        // smallest value until the rule fires.
        plan.throttle = Some(throttle_of(source, &plan.source_parameters));
        for name in ["cpu-throttle-initial", "max-cpu-throttle"] {
            plan.source_parameters.insert(name.to_owned(), source.parameter(name, &json!(ARMED_THROTTLE_PCT))?);
        }
    }
    Ok(plan)
}

/// A value for a migration capability.
pub(super) fn as_switch(name: &str, value: &Value) -> Result<bool, HvError> {
    match value {
        Value::Bool(on) => Ok(*on),
        Value::String(s) if ["true", "on", "yes"].contains(&s.as_str()) => Ok(true),
        Value::String(s) if ["false", "off", "no"].contains(&s.as_str()) => Ok(false),
        other => {
            let hint = "a migration capability is true or false".to_owned();
            Err(HvError::BadValue { name: name.to_owned(), value: other.to_string(), hint })
        }
    }
}

/// The argument of `migrate-set-capabilities`.
pub(super) fn capability_list(set: &BTreeMap<String, bool>) -> Value {
    let list: Vec<Value> = set.iter().map(|(c, s)| json!({"capability": c, "state": s})).collect();
    json!({ "capabilities": list })
}

/// The unit of a parameter, where it has one we know.
pub(super) fn unit_of(name: &str) -> &'static str {
    match name {
        "max-bandwidth" | "max-postcopy-bandwidth" | "avail-switchover-bandwidth" => "bytes/s",
        "downtime-limit"
        | "announce-initial"
        | "announce-max"
        | "announce-step"
        | "x-checkpoint-delay"
        | "x-vcpu-dirty-limit-period" => "ms",
        "cpu-throttle-initial" | "cpu-throttle-increment" | "max-cpu-throttle" | "throttle-trigger-threshold" => "%",
        "xbzrle-cache-size" => "bytes",
        "vcpu-dirty-limit" => "MB/s",
        "multifd-channels" => "channels",
        "announce-rounds" => "rounds",
        _ => "",
    }
}

/// Whether a parameter may be changed while a migration runs. QEMU takes most, but these are read
/// only once, when the channels are opened.
pub(super) fn is_live(name: &str) -> bool {
    !(name.starts_with("multifd-")
        || name.starts_with("tls-")
        || matches!(name, "mode" | "direct-io" | "zero-page-detection"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StopPolicy;

    fn offer(host: &str, capabilities: &[&str]) -> Offer {
        let Value::Object(parameters) = json!({
            "max-bandwidth": 134_217_728u64, "downtime-limit": 300, "tls-creds": "", "direct-io": false,
            "cpu-throttle-initial": 20, "max-cpu-throttle": 99, "cpu-throttle-increment": 10, "multifd-channels": 2
        }) else {
            unreachable!()
        };
        let capabilities = capabilities.iter().map(|c| ((*c).to_owned(), false)).collect();
        Offer { host: host.into(), capabilities, parameters }
    }

    const ALL: [&str; 5] = ["events", "return-path", "postcopy-ram", "auto-converge", "multifd"];

    #[test]
    fn settings_become_parameters() {
        let s = MigrationSettings {
            bandwidth_bytes_per_s: Some(32_000_000),
            downtime_limit_ms: Some(100),
            extra: [("multifd-channels".to_owned(), json!("4")), ("multifd".to_owned(), json!("on"))].into(),
            ..MigrationSettings::default()
        };
        let p = plan(&offer("a", &ALL), &offer("b", &ALL), &s, "tcp:h:1", false).unwrap();
        assert_eq!(
            Value::Object(p.source_parameters),
            json!({"max-bandwidth": 32_000_000, "downtime-limit": 100, "multifd-channels": 4})
        );
        assert_eq!(Value::Object(p.destination_parameters), json!({"multifd-channels": 4}));
        assert_eq!(p.destination_capabilities.get("multifd"), Some(&true));
        assert_eq!(p.source_capabilities.get("return-path"), Some(&true));
        assert_eq!(p.source_capabilities.get("postcopy-ram"), Some(&false), "left-overs are cleared");
        let p = plan(&offer("a", &ALL), &offer("b", &ALL), &s, "exec:cat", false).unwrap();
        assert_eq!(p.source_capabilities.get("return-path"), Some(&false));
    }

    #[test]
    fn at_a_borrowed_qemu_nothing_is_set_that_was_not_asked_for() {
        let both = (offer("a", &ALL), offer("b", &ALL));
        let plan = |s: &MigrationSettings| plan(&both.0, &both.1, s, "tcp:h:1", true).unwrap();
        let p = plan(&MigrationSettings::default());
        assert!(p.source_parameters.is_empty() && p.destination_parameters.is_empty(), "{p:?}");
        assert_eq!(p.source_capabilities, [("events".to_owned(), true)].into());
        assert!(p.destination_capabilities.is_empty(), "{p:?}");
        let stops = MigrationSettings { policy: StopPolicy::xen_3_4(), ..Default::default() };
        assert_eq!(plan(&stops).source_capabilities.get("return-path"), Some(&true));
        let post = MigrationSettings { post_copy: true, bandwidth_bytes_per_s: Some(5), ..Default::default() };
        let p = plan(&post);
        assert_eq!(p.destination_capabilities, [("postcopy-ram".to_owned(), true)].into());
        assert_eq!(p.source_parameters.get("max-postcopy-bandwidth"), None, "not offered here");
        assert_eq!((why("events", &post), why("postcopy-ram", &post)), (SettingWhy::Needed, SettingWhy::Asked));
    }

    #[test]
    fn the_limit_of_post_copy_is_touched_only_with_post_copy() {
        let mut one = offer("a", &ALL);
        one.parameters.insert("max-postcopy-bandwidth".into(), json!(0));
        let mut s = MigrationSettings { bandwidth_bytes_per_s: Some(9), ..Default::default() };
        assert_eq!(Value::Object(parameters(&one, &s).unwrap()), json!({"max-bandwidth": 9}));
        s.policy = StopPolicy { then: Then::PostCopy, ..StopPolicy::none() };
        assert_eq!(Value::Object(parameters(&one, &s).unwrap()), json!({"max-bandwidth": 9}), "no rule, no post-copy");
        s.policy.rounds = Some(3);
        let with = json!({"max-bandwidth": 9, "max-postcopy-bandwidth": 9});
        assert_eq!(Value::Object(parameters(&one, &s).unwrap()), with);
    }

    #[test]
    fn what_is_not_offered_is_named() {
        let s = MigrationSettings { extra: [("max-bandwith".to_owned(), json!(1))].into(), ..Default::default() };
        let e = plan(&offer("a", &ALL), &offer("b", &ALL), &s, "tcp:h:1", false).unwrap_err().to_string();
        assert!(e.contains("did you mean 'max-bandwidth'?") && e.contains("downtime-limit"), "{e}");
        let s = MigrationSettings { post_copy: true, ..Default::default() };
        let e = plan(&offer("a", &ALL), &offer("b", &["events"]), &s, "tcp:h:1", false).unwrap_err().to_string();
        assert!(e.contains("host 'b' offers no migration capability 'postcopy-ram'") && e.contains("events"), "{e}");
        // An old QEMU without return-path at one end is no error: nobody asked for it.
        let p = plan(&offer("a", &ALL), &offer("b", &["events"]), &Default::default(), "tcp:h:1", false).unwrap();
        assert_eq!(p.source_capabilities.get("return-path"), None);
        for (name, value) in [
            ("downtime-limit", json!("fast")),
            ("downtime-limit", json!(-1)),
            ("direct-io", json!(3)),
            ("tls-creds", json!(1)),
        ] {
            assert!(
                matches!(offer("a", &ALL).parameter(name, &value), Err(HvError::BadValue { .. })),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn auto_converge_waits_for_its_rule() {
        let policy = StopPolicy { then: Then::AutoConverge, ..StopPolicy::xen_3_4() };
        let mut s = MigrationSettings { policy, ..Default::default() };
        let p = plan(&offer("a", &ALL), &offer("b", &ALL), &s, "tcp:h:1", false).unwrap();
        assert_eq!(p.source_capabilities.get("auto-converge"), Some(&true));
        assert_eq!(p.source_parameters.get("max-cpu-throttle"), Some(&json!(1)));
        assert_eq!(Value::Object(p.throttle.unwrap()), json!({"cpu-throttle-initial": 20, "max-cpu-throttle": 99}));
        s.auto_converge = true;
        let p = plan(&offer("a", &ALL), &offer("b", &ALL), &s, "tcp:h:1", false).unwrap();
        assert_eq!((p.throttle, p.source_parameters.get("max-cpu-throttle")), (None, None));
    }
}
