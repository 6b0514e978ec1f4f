//! What one QEMU offers, told to the stream; and settings put to it outside of a migration's plan,
//! one by one, so that one value it refuses leaves the others in effect.

use serde_json::{Map, Value};

use super::host::QmpHost;
use super::negotiate::{Offer, as_switch, is_live, parameters, unit_of, why};
use crate::event::{
    Body, Cancels, Capabilities, Counts, Ends, HvEvent, MigrationSettings, OwnDowntime, Parameter, Resumer, Sees,
    SettingWhy, Stamped,
};
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
        throttle_from_start: false,
        stop_and_copy: true,
        cancel: true,
        own_rule: None,
        sees: Some(Sees {
            progress: false,
            rounds: true,
            sent: true,
            remaining: true,
            total: true,
            throughput: true,
            dirty_rate: true,
            zero_pages: true,
            stop_resume: Some(Stamped::Hosts),
            downtime: Some(OwnDowntime { counts: Counts::SwitchOver, resolution_ns: 1_000_000 }),
            location: true,
        }),
        cancels: Some(Cancels::AnyTime),
        resumer: Some(Resumer::Guardian),
        ends: Some(Ends::TwoHosts),
    }
}

impl QmpHost {
    /// Asks what it offers, and tells the stream if that is not what was told last.
    ///
    /// # Errors
    /// When it refuses, is gone or does not answer.
    pub async fn tell_offers(&self) -> Result<(), HvError> {
        let offers = capabilities(&self.offer().await?, self.version());
        self.told(offers, |host, offers| Body::Hypervisor(HvEvent::Offers { host, offers }));
        Ok(())
    }

    /// What of the settings it would not take, a line about each; nothing is changed. For hosts that
    /// are not ours, which are left as they are until a migration is fired.
    ///
    /// # Errors
    /// When it is gone or does not answer.
    pub async fn check(&self, settings: &MigrationSettings) -> Result<Vec<String>, HvError> {
        let offer = self.offer().await?;
        let basic = MigrationSettings { extra: Default::default(), ..settings.clone() };
        let mut refused: Vec<String> = parameters(&offer, &basic).err().iter().map(ToString::to_string).collect();
        for (name, value) in &settings.extra {
            let checked = match offer.is_capability(name) {
                true => as_switch(name, value).map(drop),
                false => offer.parameter(name, value).map(drop),
            };
            refused.extend(checked.err().map(|e| e.to_string()));
        }
        Ok(refused)
    }

    /// Puts those of the settings to it that it takes now: with a migration `running`, those that may
    /// be changed then. At a host that is not ours, a parameter that was changed before and is not
    /// asked for any more gets its former value. Returns a line about each it does not take, and tells
    /// what it offers afterwards.
    ///
    /// # Errors
    /// When it is gone, does not answer, or refuses bandwidth or downtime limit.
    pub async fn tune(&self, settings: &MigrationSettings, running: bool) -> Result<Vec<String>, HvError> {
        let offer = self.offer().await?;
        let basic = MigrationSettings { extra: Default::default(), ..settings.clone() };
        let mut changed = parameters(&offer, &basic)?;
        let wanted: Vec<String> = changed.keys().cloned().collect();
        changed.retain(|name, value| offer.parameters.get(name) != Some(value) && !settings.extra.contains_key(name));
        self.set_parameters(&changed, SettingWhy::Asked).await?;
        let mut no_longer = self.former().parameters;
        no_longer.retain(|name, _| {
            let asked = changed.contains_key(name) || settings.extra.contains_key(name);
            let armed = why(name, settings) == SettingWhy::Needed;
            !asked && !armed && (is_live(name) || !running) && !wanted.contains(name)
        });
        self.set_parameters(&no_longer, SettingWhy::PutBack).await?;
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
                    let one = [(name.to_owned(), on)].into();
                    self.set_capabilities(&one, SettingWhy::Asked).await.map_err(|e| name_it(e, name, value))
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
        let one = Map::from_iter([(name.to_owned(), value.clone())]);
        self.set_parameters(&one, SettingWhy::Asked).await.map_err(|e| name_it(e, name, &value))
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
        let (needed, asked): (Map<_, _>, Map<_, _>) =
            own.clone().into_iter().partition(|(name, _)| why(name, extra) == SettingWhy::Needed);
        self.set_parameters(&asked, SettingWhy::Asked).await?;
        self.set_parameters(&needed, SettingWhy::Needed).await?;
        let mut refused = Vec::new();
        for (name, value) in parameters.iter().filter(|(name, _)| !own.contains_key(*name)) {
            let one = Map::from_iter([(name.clone(), value.clone())]);
            match self.set_parameters(&one, SettingWhy::Asked).await {
                Ok(()) => {}
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
