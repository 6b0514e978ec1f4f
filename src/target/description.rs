//! A target: a product pointed at a guest.

use anyhow::Result;
use serde_json::{Value, json};

use super::field::Field;
use super::guest::{self, Guest, Reached};
use super::opened::Opened;
use super::probing::{PROBES, Probes, Probing};
use super::product::{Kind, Product};
use super::values::{Fault, Values};
use crate::event::EventSink;
use crate::probe::asked::Asked;

/// A target as it is described; nothing is open.
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// Its product's name.
    pub(crate) product_name: &'static str,
    /// The product, pointed at it.
    pub(crate) product: Box<dyn Product>,
    /// Its guest, where that is not the product's own.
    pub(crate) guest: Guest,
    /// What is probed beside the ping of the guest.
    pub(crate) probes: Vec<Asked>,
}

const PROBE_FIELDS: &[Field] = &[PROBES];

/// Every field that can be said of a target of this product.
pub(crate) fn fields(kind: &Kind) -> Vec<&'static Field> {
    let guest: &'static [Field] = if kind.guest { guest::FIELDS } else { &[] };
    kind.fields.iter().chain(guest).chain(PROBE_FIELDS).collect()
}

impl Target {
    /// Makes one of what was given.
    ///
    /// # Errors
    /// The first field that is unknown, missing or wrong.
    pub(crate) fn read(kind: &Kind, values: &Values) -> Result<Self, Fault> {
        values.check(kind.name, &fields(kind))?;
        let guest = if kind.guest { Guest::read(values)? } else { Guest::default() };
        let probes = values.items(&PROBES, str::parse)?;
        Ok(Self { name: values.target().into(), product_name: kind.name, product: (kind.read)(values)?, guest, probes })
    }

    /// Its description for the header of a capture. Never a secret.
    pub(crate) fn header(&self) -> Value {
        let mut all = self.product.header();
        if let Value::Object(all) = &mut all
            && self.guest.is_described()
        {
            all.insert("agent".into(), json!(self.guest.agent()));
            all.insert("ping".into(), json!(self.guest.ping()));
        }
        if let (Value::Object(all), false) = (&mut all, self.probes.is_empty()) {
            all.insert("probes".into(), json!(self.probes.iter().map(|p| &p.written).collect::<Vec<_>>()));
        }
        all
    }

    /// Whether there is an agent that can load the guest.
    pub(crate) fn has_agent(&self) -> bool {
        self.product.has_agent() || self.guest.agent().is_some()
    }

    /// Opens it: the hosts first, then what watches and loads the guest.
    ///
    /// # Errors
    /// What cannot be reached or started.
    pub(crate) async fn open(self, reached: Reached, probing: Probing, sink: EventSink) -> Result<Opened> {
        let mut opened = self.product.open(&probing, &sink).await?;
        if opened.probe.is_some() {
            // A product that knows its guest has started everything itself.
            return Ok(opened);
        }
        let mut probes = Probes::start(&probing, reached.ping, &sink)?;
        if let Some(agent) = reached.agent {
            let agent = guest::connect(agent, &sink).await?;
            probes.start_with_agent(&probing, agent.echo_target(), &sink)?;
            opened.agent = Some(Box::new(agent));
        }
        opened.probe = probes.ending();
        Ok(opened)
    }
}
