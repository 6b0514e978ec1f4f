//! What one QEMU offers, told to the stream; and settings put to it outside of a migration's plan,
//! one by one, so that one value it refuses leaves the others in effect.

use serde_json::{Map, Value, json};

use super::host::QmpHost;
use super::negotiate::{Offer, as_switch, capability_list, is_live, parameters, unit_of};
use crate::event::{Body, Capabilities, HvEvent, MigrationSettings, Parameter};
use crate::hypervisor::HvError;

/// What an offer is in the words of the vocabulary. Migration capabilities are parameters that are
/// true or false, and fixed before a migration.
pub(super) fn capabilities(offer: &Offer, product: &str) -> Capabilities {
    let parameter = |(name, value): (&String, &Value)| Parameter {
        name: name.clone(),
        value: value.clone(),
        unit: unit_of(name).to_owned(),
        live: is_live(name),
    };
    let switch = |(name, on): (&String, &bool)| Parameter {
        name: name.clone(),
        value: Value::Bool(*on),
        unit: String::new(),
        live: false,
    };
    let switches = offer.capabilities.iter().filter(|(name, _)| !offer.parameters.contains_key(*name));
    Capabilities {
        product: product.to_owned(),
        parameters: offer.parameters.iter().map(parameter).chain(switches.map(switch)).collect(),
        post_copy: offer.capabilities.contains_key("postcopy-ram"),
        auto_converge: offer.capabilities.contains_key("auto-converge"),
        stop_and_copy: true,
        cancel: true,
        own_rule: None,
    }
}

impl QmpHost {
    /// Asks what it offers, and tells the stream if that is not what was told last.
    ///
    /// # Errors
    /// When it refuses, is gone or does not answer.
    pub async fn tell_offers(&self) -> Result<(), HvError> {
        let offers = capabilities(&Offer::ask(self).await?, self.version());
        self.told(offers, |host, offers| Body::Hypervisor(HvEvent::Offers { host, offers }));
        Ok(())
    }

    pub(super) async fn set_parameters(&self, set: &Map<String, Value>) -> Result<(), HvError> {
        if !set.is_empty() {
            self.execute("migrate-set-parameters", Value::Object(set.clone())).await?;
        }
        Ok(())
    }

    /// Puts those of the settings to it that it takes now: with a migration `running`, those that may
    /// be changed then. Returns a line about each it does not take, and tells what it offers
    /// afterwards.
    ///
    /// # Errors
    /// When it is gone, does not answer, or refuses bandwidth or downtime limit.
    pub async fn tune(&self, settings: &MigrationSettings, running: bool) -> Result<Vec<String>, HvError> {
        let offer = Offer::ask(self).await?;
        let basic = MigrationSettings { extra: Default::default(), ..settings.clone() };
        let mut changed = parameters(&offer, &basic)?;
        changed.retain(|name, value| offer.parameters.get(name) != Some(value) && !settings.extra.contains_key(name));
        self.set_parameters(&changed).await?;
        let mut refused = Vec::new();
        for (name, value) in &settings.extra {
            match self.tune_one(&offer, name, value, running).await {
                Ok(()) => {}
                Err(e @ (HvError::Lost { .. } | HvError::Silent { .. } | HvError::Unreachable { .. })) => {
                    return Err(e);
                }
                Err(e) => refused.push(e.to_string()),
            }
        }
        self.tell_offers().await?;
        Ok(refused)
    }

    async fn tune_one(&self, offer: &Offer, name: &str, value: &Value, running: bool) -> Result<(), HvError> {
        let later = || HvError::NotNow {
            what: format!("set '{name}'"),
            why: "it is fixed while a migration runs, and counts from the next one on".into(),
        };
        if offer.is_capability(name) {
            let on = as_switch(name, value)?;
            return match offer.capabilities.get(name) {
                Some(is) if *is == on => Ok(()),
                _ if running => Err(later()),
                _ => {
                    let list = capability_list(&[(name.to_owned(), on)].into());
                    self.execute("migrate-set-capabilities", list).await.map_err(|e| name_it(e, name, value))?;
                    Ok(())
                }
            };
        }
        let value = offer.parameter(name, value)?;
        if offer.parameters.get(name) == Some(&value) {
            return Ok(());
        }
        if running && !is_live(name) {
            return Err(later());
        }
        let set = json!({ name: value });
        self.execute("migrate-set-parameters", set).await.map(drop).map_err(|e| name_it(e, name, &value))
    }

    /// Puts parameters to it: `own` together, which it must take, and `extra` one by one. Returns a
    /// line about each of these that it refuses.
    ///
    /// # Errors
    /// When it is gone, does not answer, or refuses an `own` one.
    pub(super) async fn put(
        &self,
        parameters: &Map<String, Value>,
        extra: &MigrationSettings,
    ) -> Result<Vec<String>, HvError> {
        let mut own = parameters.clone();
        own.retain(|name, _| !extra.extra.contains_key(name));
        self.set_parameters(&own).await?;
        let mut refused = Vec::new();
        for (name, value) in parameters.iter().filter(|(name, _)| !own.contains_key(*name)) {
            match self.execute("migrate-set-parameters", json!({ name: value })).await {
                Ok(_) => {}
                Err(e @ HvError::Refused { .. }) => refused.push(name_it(e, name, value).to_string()),
                Err(e) => return Err(e),
            }
        }
        Ok(refused)
    }
}

/// A refusal that says which value is meant: QEMU's own words do not always.
fn name_it(e: HvError, name: &str, value: &Value) -> HvError {
    match e {
        HvError::Refused { host, why, .. } => HvError::Refused { host, what: format!("{name} = {value}"), why },
        other => other,
    }
}
