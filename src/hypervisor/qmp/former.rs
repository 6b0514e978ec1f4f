//! Values of settings as they were before blackout first touched them, and how they are given back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::{Client, QmpError};
use super::negotiate::{Offer, capability_list};

/// Values of settings as they were before blackout first touched them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Former {
    /// Migration capabilities.
    #[serde(default)]
    pub capabilities: BTreeMap<String, bool>,
    /// Migration parameters.
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

impl Former {
    /// Whether nothing was touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.capabilities.is_empty() && self.parameters.is_empty()
    }

    /// The QMP commands that put everything back, one a kind. Parameters first: some can only be
    /// changed while the capability they belong to is still set.
    #[must_use]
    pub fn commands(&self) -> Vec<(&'static str, Value)> {
        let mut all = Vec::new();
        if !self.parameters.is_empty() {
            all.push(("migrate-set-parameters", Value::Object(self.parameters.clone())));
        }
        if !self.capabilities.is_empty() {
            all.push(("migrate-set-capabilities", capability_list(&self.capabilities)));
        }
        all
    }

    /// The same commands as an operator would type them into the monitor.
    #[must_use]
    pub fn by_hand(&self) -> String {
        let line =
            |(command, arguments): (&str, Value)| json!({"execute": command, "arguments": arguments}).to_string();
        self.commands().into_iter().map(line).collect::<Vec<_>>().join(" ")
    }

    /// Only what is not so (any more) at a QEMU that offers this.
    #[must_use]
    pub(super) fn differing(&self, now: &Offer) -> Self {
        let mut left = self.clone();
        left.capabilities.retain(|name, on| now.capabilities.get(name) != Some(on));
        left.parameters.retain(|name, value| now.parameters.get(name) != Some(value));
        left
    }

    /// Each setting by itself.
    fn singly(&self) -> impl Iterator<Item = Self> + '_ {
        let parameters = self.parameters.iter().map(|(name, value)| Self {
            parameters: Map::from_iter([(name.clone(), value.clone())]),
            ..Self::default()
        });
        let capabilities = self
            .capabilities
            .iter()
            .map(|(name, on)| Self { capabilities: [(name.clone(), *on)].into(), ..Self::default() });
        parameters.chain(capabilities)
    }

    /// Name and value of each setting.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&String, Value)> {
        let capabilities = self.capabilities.iter().map(|(name, on)| (name, Value::Bool(*on)));
        self.parameters.iter().map(|(name, value)| (name, value.clone())).chain(capabilities)
    }
}

/// Gives a QEMU its former values: all at once, and one by one if it refuses that. The first refusal
/// is returned.
pub(super) async fn give_back(client: &Client, former: &Former) -> Result<(), QmpError> {
    let mut refused = Ok(());
    for (command, arguments) in former.commands() {
        match client.execute(command, arguments).await {
            Ok(_) => {}
            Err(e @ QmpError::Refused { .. }) => refused = refused.and(Err(e)),
            Err(e) => return Err(e),
        }
    }
    if refused.is_err() {
        for one in former.singly() {
            for (command, arguments) in one.commands() {
                match client.execute(command, arguments).await {
                    Ok(_) | Err(QmpError::Refused { .. }) => {}
                    Err(e) => return Err(e),
                }
            }
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn former() -> Former {
        Former {
            capabilities: [("events".to_owned(), false), ("xbzrle".to_owned(), true)].into(),
            parameters: Map::from_iter([("max-bandwidth".to_owned(), json!(134_217_728))]),
        }
    }

    #[test]
    fn what_is_so_already_is_left_alone() {
        let mut now = Offer::default();
        now.capabilities.insert("events".into(), true);
        now.capabilities.insert("xbzrle".into(), true);
        now.parameters.insert("max-bandwidth".into(), json!(134_217_728));
        let left = former().differing(&now);
        assert_eq!(left.by_hand().matches("execute").count(), 1);
        assert_eq!(left, Former { capabilities: [("events".to_owned(), false)].into(), ..Former::default() });
        now.capabilities.insert("events".into(), false);
        assert!(former().differing(&now).is_empty());
    }

    #[test]
    fn the_commands_by_hand_are_qmp() {
        let text = former().by_hand();
        assert!(
            text.contains(r#"{"arguments":{"max-bandwidth":134217728},"execute":"migrate-set-parameters"}"#),
            "{text}"
        );
        assert!(text.contains(r#"{"capability":"events","state":false}"#), "{text}");
        let back: Former = serde_json::from_str(&serde_json::to_string(&former()).unwrap()).unwrap();
        assert_eq!(back, former());
    }
}
