//! A target: a product pointed at a guest.

use anyhow::Result;
use serde_json::{Value, json};

use super::field::Field;
use super::guest::{self, Guest, Reached};
use super::opened::{Opened, ending};
use super::product::{Kind, Probing, Product};
use super::values::{Fault, Values};
use crate::event::EventSink;
use crate::probe;

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
}

/// Every field that can be said of a target of this product.
pub(crate) fn fields(kind: &Kind) -> Vec<&'static Field> {
    let guest: &'static [Field] = if kind.guest { guest::FIELDS } else { &[] };
    kind.fields.iter().chain(guest).collect()
}

impl Target {
    /// Makes one of what was given.
    ///
    /// # Errors
    /// The first field that is unknown, missing or wrong.
    pub(crate) fn read(kind: &Kind, values: &Values) -> Result<Self, Fault> {
        values.check(kind.name, &fields(kind))?;
        let guest = if kind.guest { Guest::read(values)? } else { Guest::default() };
        Ok(Self { name: values.target().into(), product_name: kind.name, product: (kind.read)(values)?, guest })
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
        if let Some(ping) = reached.ping {
            opened.probe = Some(ending(probe::start(&probing.of(ping), &sink)?));
        }
        if let Some(agent) = reached.agent {
            opened.agent = Some(Box::new(guest::connect(agent, &sink).await?));
        }
        Ok(opened)
    }
}
