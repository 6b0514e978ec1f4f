//! A guest between two libvirt hosts, through virsh.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::EventSink;
use crate::hypervisor::exec::Spec;
use crate::hypervisor::libvirt::{Config, LibvirtHypervisor};
use crate::target::field::{Field, Shape};
use crate::target::opened::Opened;
use crate::target::probing::Probing;
use crate::target::product::{Kind, Product};
use crate::target::values::{Fault, Values};

/// How long virsh may take to say that it is there.
const VIRSH_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

const GUEST: Field = Field::new("guest", "NAME", "The guest: its name or its UUID", "vm1").required();
const FROM: Field = Field::new(
    "from",
    "HOST",
    "One host: its name, libvirt's URI of it as seen from here; peer-uri, the same as seen from the other host, and \
     address, where the other host sends the memory, where those differ",
    "{ name = \"a\", uri = \"qemu+ssh://root@a/system\" }",
)
.required()
.shaped(Shape::Any);
const TO: Field = Field::new("to", "HOST", "The other host", "{ name = \"b\", uri = \"qemu+ssh://root@b/system\" }")
    .required()
    .shaped(Shape::Any);
const PEER_TO_PEER: Field = Field::new(
    "peer-to-peer",
    "BOOL",
    "Whether the source speaks to the destination itself; else virsh does, from here [default: true]",
    "true",
)
.shaped(Shape::Any);
const TUNNELLED: Field = Field::new(
    "tunnelled",
    "BOOL",
    "Whether the memory goes through libvirt's own connection [default: false]",
    "false",
)
.shaped(Shape::Any);
const PARALLEL: Field =
    Field::new("parallel", "N", "Through how many connections the memory goes [default: one]", "2").shaped(Shape::Any);

const FIELDS: &[Field] = &[GUEST, FROM, TO, PEER_TO_PEER, TUNNELLED, PARALLEL];

/// The product.
pub(crate) const KIND: Kind = Kind {
    name: "libvirt",
    what: "a guest between two libvirt hosts, through virsh",
    fields: FIELDS,
    guest: true,
    read: |values| Ok(Box::new(Libvirt::read(values)?)),
};

struct Libvirt(Config);

impl Libvirt {
    fn read(values: &Values) -> Result<Self, Fault> {
        let config = Config::deserialize(values.table(FIELDS)).map_err(|e| values.wrong(e.message()))?;
        config.check().map_err(|e| values.fault(e.setting, &e.why))?;
        Ok(Self(config))
    }
}

#[async_trait]
impl Product for Libvirt {
    fn header(&self) -> Value {
        json!(self.0)
    }

    async fn open(self: Box<Self>, _probing: &Probing, sink: &EventSink) -> Result<Opened> {
        let version = Spec { argv: vec!["virsh".into(), "--version".into()], ssh: None, pty: false };
        version.answer(VIRSH_WITHIN).await.context("libvirt is spoken to through virsh (in libvirt-clients)")?;
        let hypervisor = LibvirtHypervisor::connect(self.0, sink.clone()).await?;
        Ok(Opened { hypervisor: Some(Arc::new(hypervisor)), agent: None, probe: None })
    }
}
