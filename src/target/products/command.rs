//! A guest that is migrated by a command: `virsh migrate`, `xl migrate`, a script of one's own.

use anyhow::Result;
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::{EventSink, Hub, SessionClock};
use crate::hypervisor::command::{Config, open, presets};
use crate::target::field::{Field, Shape};
use crate::target::opened::Opened;
use crate::target::probing::Probing;
use crate::target::product::{Kind, Product};
use crate::target::values::{Fault, Values};
use crate::text::meant;

const GUEST: Field = Field::new("guest", "NAME", "The guest, as the commands call it", "vm1").required();
const FROM: Field = Field::new(
    "from",
    "HOST",
    "One host: its name, what ssh takes for it if commands run there, and what else the preset needs",
    "{ name = \"a\", uri = \"qemu+ssh://root@a/system\" }",
)
.required()
.shaped(Shape::Any);
const TO: Field = Field::new("to", "HOST", "The other host", "{ name = \"b\", uri = \"qemu+ssh://root@b/system\" }")
    .required()
    .shaped(Shape::Any);
const PRESET: Field = Field::new(
    "preset",
    "PRESET",
    "Whose commands and patterns are used: virsh, xl, xe, govc, qm, move-vm or openstack; what stands here takes their place",
    "virsh",
)
.usual()
.checked(known_preset);
const MIGRATE: Field = Field::new(
    "migrate",
    "WORDS",
    "The command that migrates, and comes back when the migration is over",
    "[\"mv-guest\", \"{guest}\", \"{to}\"]",
)
.shaped(Shape::Any);
const TERMINAL: Field =
    Field::new("terminal", "BOOL", "Whether that command gets a terminal [default: true]", "true").shaped(Shape::Any);
const CANCEL: Field = Field::new(
    "cancel",
    "HOW",
    "How a migration is cancelled: a command, \"sigint\", \"sigterm\", or \"ctrl-c\"",
    "[\"mv-guest\", \"--cancel\", \"{guest}\"]",
)
.shaped(Shape::Any);
const STOP: Field = Field::new(
    "stop",
    "WORDS",
    "The command that stops the guest at the source, so that the migration can finish",
    "[\"mv-guest\", \"--stop\", \"{guest}\"]",
)
.shaped(Shape::Any);
const RESUME: Field = Field::new(
    "resume",
    "WORDS",
    "The command that makes a guest that stands still run, at {here}",
    "[\"mv-guest\", \"--resume\", \"{here}\", \"{guest}\"]",
)
.shaped(Shape::Any);
const RESUMES_ITSELF: Field = Field::new(
    "resumes-itself",
    "BOOL",
    "The product resumes a guest that we stopped, when the migration is over",
    "true",
)
.shaped(Shape::Any);
const WHERE: Field = Field::new(
    "where",
    "TABLE",
    "The command that says where the guest is, and how its answers read",
    "{ run = [\"mv-guest\", \"--where\", \"{here}\", \"{guest}\"], rules = [{ match = \"^running\", is = \"running\" }] }",
)
.shaped(Shape::Any);
const PATTERNS: Field = Field::new(
    "patterns",
    "LIST",
    "How the output of 'migrate' reads",
    "[{ match = '(?<percent>[0-9]+) %', phase = \"moving\" }]",
)
.shaped(Shape::Any);

const FIELDS: &[Field] =
    &[GUEST, FROM, TO, PRESET, MIGRATE, TERMINAL, CANCEL, STOP, RESUME, RESUMES_ITSELF, WHERE, PATTERNS];

/// The product.
pub(crate) const KIND: Kind = Kind {
    name: "command",
    what: "a guest that another program migrates: virsh, xl, xe, govc, qm, Move-VM, openstack or your own",
    fields: FIELDS,
    guest: true,
    read: |values| Ok(Box::new(Commands::read(values)?)),
};

struct Commands(Config);

impl Commands {
    fn read(values: &Values) -> Result<Self, Fault> {
        let table = values.table(FIELDS);
        let config = Config::deserialize(table).map_err(|e| values.wrong(e.message()))?;
        // Whatever is wrong with it is said now, and not when it is opened.
        let (nobody, _) = Hub::new(SessionClock::start(), 1);
        open(config.clone(), nobody).map_err(|e| values.fault(e.setting, &e.why))?;
        Ok(Self(config))
    }
}

fn known_preset(name: &str) -> Result<(), String> {
    let all = presets::all().map_err(|e| e.to_string())?;
    if all.contains_key(name) {
        return Ok(());
    }
    Err(format!("unknown preset '{name}'{}", meant(name, all.keys().map(String::as_str))))
}

#[async_trait]
impl Product for Commands {
    fn header(&self) -> Value {
        json!(self.0)
    }

    async fn open(self: Box<Self>, _probing: &Probing, sink: &EventSink) -> Result<Opened> {
        Ok(Opened { hypervisor: Some(open(self.0, sink.clone())?), agent: None, probe: None })
    }
}
