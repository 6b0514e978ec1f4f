//! A guest between two QEMUs that somebody else started.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::event::EventSink;
use crate::hypervisor::qmp::{HostSpec, QmpHypervisor, QmpOptions};
use crate::target::field::Field;
use crate::target::opened::Opened;
use crate::target::probing::Probing;
use crate::target::product::{Kind, Product};
use crate::target::values::{Fault, Values};

const SOURCE: Field = Field::new(
    "source",
    "QMP",
    "QMP socket(s) of the QEMU the guest runs in: COMMANDS[,EVENTS[,GUARDIAN]]",
    "unix:/run/src.qmp",
)
.required()
.checked(monitors);
const DEST: Field = Field::new(
    "dest",
    "QMP",
    "QMP socket(s) of the QEMU it is to move to, started with -incoming",
    "unix:/run/dst.qmp",
)
.required()
.checked(monitors);
const URI: Field =
    Field::new("uri", "URI", "Where the source connects to: tcp:host:port or unix:/path", "tcp:192.0.2.2:4444")
        .required();
const INCOMING_URI: Field = Field::new(
    "incoming-uri",
    "URI",
    "Where a destination started with '-incoming defer' is to listen [default: the same]",
    "tcp:0.0.0.0:4444",
);

/// The product.
pub(crate) const KIND: Kind = Kind {
    name: "qmp",
    what: "two QEMUs that are running already, over their QMP monitors",
    fields: &[SOURCE, DEST, URI, INCOMING_URI],
    guest: true,
    read: |values| Ok(Box::new(Qmp::read(values)?)),
};

struct Qmp {
    source: String,
    dest: String,
    uri: String,
    incoming_uri: Option<String>,
    hosts: [HostSpec; 2],
}

impl Qmp {
    fn read(values: &Values) -> Result<Self, Fault> {
        let (source, dest, uri) = (values.need(&SOURCE)?, values.need(&DEST)?, values.need(&URI)?);
        let host = |name: &str, text: &str| HostSpec::parse(name, text).map_err(|e| values.fault(name, e));
        let hosts = [host("source", &source)?, host("dest", &dest)?];
        Ok(Self { hosts, source, dest, uri, incoming_uri: values.text(&INCOMING_URI) })
    }
}

fn monitors(text: &str) -> Result<(), String> {
    HostSpec::parse("", text).map(drop).map_err(|e| e.to_string())
}

#[async_trait]
impl Product for Qmp {
    fn header(&self) -> Value {
        json!({
            "source": self.source,
            "dest": self.dest,
            "uri": self.uri,
            "incoming_uri": self.incoming_uri,
        })
    }

    fn migrations(&self) -> Option<u32> {
        Some(1)
    }

    async fn open(self: Box<Self>, _probing: &Probing, sink: &EventSink) -> Result<Opened> {
        let [source, destination] = self.hosts;
        let options = QmpOptions { incoming_uri: self.incoming_uri, ..QmpOptions::to(self.uri) };
        let hypervisor = QmpHypervisor::connect(source, destination, options, sink.clone()).await?;
        Ok(Opened { hypervisor: Some(Arc::new(hypervisor)), agent: None, probe: None })
    }
}
