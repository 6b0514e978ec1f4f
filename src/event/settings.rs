//! What a session was started with.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{LoadSettings, MigrationSettings};

/// What a session was started with, in its header. What is missing, or of another shape than is known here, is
/// left out or kept in `own`: a header is read whoever wrote it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionSettings {
    /// The command: `lab`, `watch`, `attach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The load it was to begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadSettings>,
    /// The settings for its first migration; None where nothing was to be migrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationSettings>,
    /// Distance of the primary probe's slots, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_interval_ns: Option<u64>,
    /// Deadline of the primary probe, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_deadline_ns: Option<u64>,
    /// How many times as fast as real time a simulated session goes; None of a real one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// What is particular to the command: a target's fields, by the product's name.
    #[serde(flatten)]
    pub own: Map<String, Value>,
}

impl From<Value> for SessionSettings {
    fn from(value: Value) -> Self {
        let mut own = match value {
            Value::Object(own) => own,
            Value::Null => Map::new(),
            other => Map::from_iter([("settings".to_owned(), other)]),
        };
        Self {
            command: taken(&mut own, "command"),
            load: taken(&mut own, "load"),
            migration: taken(&mut own, "migration"),
            ping_interval_ns: taken(&mut own, "ping_interval_ns"),
            ping_deadline_ns: taken(&mut own, "ping_deadline_ns"),
            // Up to schema 1.4 it was one of the demo's own.
            speed: taken(&mut own, "speed").or_else(|| own.get("demo")?.get("speed")?.as_f64()),
            own,
        }
    }
}

/// Takes a value out where it is of that shape; a null is as good as none.
fn taken<T: for<'a> Deserialize<'a>>(own: &mut Map<String, Value>, key: &str) -> Option<T> {
    let known: Option<T> = Option::deserialize(own.get(key)?).ok()?;
    own.remove(key);
    known
}

impl<'de> Deserialize<'de> for SessionSettings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Value::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_is_typed_and_the_rest_is_kept() {
        let written = json!({
            "command": "lab", "load": null, "ping_interval_ns": 50_000_000, "ping_deadline_ns": "soon",
            "lab": { "cpus": 2 }
        });
        let read: SessionSettings = serde_json::from_value(written).unwrap();
        assert_eq!((read.command.as_deref(), read.ping_interval_ns), (Some("lab"), Some(50_000_000)));
        assert_eq!((read.load, read.ping_deadline_ns), (None, None));
        assert_eq!(Value::Object(read.own.clone()), json!({ "ping_deadline_ns": "soon", "lab": { "cpus": 2 } }));
        let again: SessionSettings = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
    }

    #[test]
    fn settings_of_any_shape_are_read() {
        for (text, keys) in [("null", 0), ("7", 1), ("[1]", 1), ("\"x\"", 1), ("{\"command\": 7}", 1), ("{}", 0)] {
            let read: SessionSettings = serde_json::from_str(text).unwrap();
            assert_eq!((read.own.len(), read.command), (keys, None), "{text}");
        }
    }
}
