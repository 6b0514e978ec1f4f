//! The guest of a target whose hosts are not ours: how it is pinged, and its agent reached.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::field::{Field, Shape};
use super::resolve;
use super::secret::Secret;
use super::values::{Fault, Values};
use crate::agent::Psk;
use crate::agent::client::{Client, ClientOptions, Transport};
use crate::event::EventSink;

/// How long the agent may take to answer.
const AGENT_WITHIN: Duration = Duration::from_secs(20);

const AGENT: Field = Field::new(
    "agent",
    "ADDR",
    "The agent in the guest: HOST:PORT (with its key), or ssh:DESTINATION",
    "192.0.2.10:7070",
)
.checked(check_agent);
const KEY: Field =
    Field::new("key", "FILE", "The key shared with the agent: where it is found", "/home/me/psk").shaped(Shape::Secret);
const PING: Field = Field::new("ping", "HOST", "Address of the guest to ping", "192.0.2.10");

/// What can be said of such a guest.
pub(crate) const FIELDS: &[Field] = &[AGENT, KEY, PING];

/// How a guest is reached, as it is described.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guest {
    agent: Option<String>,
    key: Option<Secret>,
    ping: Option<String>,
}

/// A guest that is about to be reached: names are resolved, keys are read.
#[derive(Debug)]
pub(crate) struct Reached {
    /// Its agent.
    pub(crate) agent: Option<Transport>,
    /// Where it is pinged.
    pub(crate) ping: Option<SocketAddr>,
    /// What is to be said of it.
    pub(crate) warning: Option<String>,
}

impl Guest {
    /// # Errors
    /// When there is an agent without its key, or a key without an agent.
    pub(crate) fn read(values: &Values) -> Result<Self, Fault> {
        let (agent, key) = (values.text(&AGENT), values.secret(&KEY));
        match (&agent, &key) {
            (None, Some(_)) => return Err(values.fault("agent", "a key is named, but no agent that has it")),
            (Some(agent), None) if !agent.starts_with("ssh:") => {
                let why = format!(
                    "an agent listens authenticated only: name the file with the key of the agent at {agent}: \
                     --psk-file FILE, in a file of targets key-file, key-env or key-command"
                );
                return Err(values.fault("agent", why));
            }
            _ => {}
        }
        Ok(Self { agent, key, ping: values.text(&PING) })
    }

    /// Its agent, as described.
    pub(crate) fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }

    /// Whether anything is said of it.
    pub(crate) fn is_described(&self) -> bool {
        self.agent.is_some() || self.ping.is_some()
    }

    /// Where it is pinged, as described.
    pub(crate) fn ping(&self) -> Option<&str> {
        self.ping.as_deref()
    }

    /// Reads the key and looks up the name. May block, for as long as a name service and a command that prints
    /// a key may take.
    ///
    /// # Errors
    /// When there is no such key or name.
    pub(crate) fn reach(&self) -> Result<Reached> {
        let ping = self
            .ping
            .as_deref()
            .map(|host| resolve::target(host, None).with_context(|| format!("ping '{host}'")))
            .transpose()?;
        let (agent, warning) = self.transport()?.unzip();
        Ok(Reached { agent, ping, warning: warning.flatten() })
    }

    fn transport(&self) -> Result<Option<(Transport, Option<String>)>> {
        let Some(agent) = &self.agent else { return Ok(None) };
        if let Some(destination) = agent.strip_prefix("ssh:") {
            // One in the path, else the one that 'blackout agent --install' left there.
            let found = r#"sh -c 'PATH="$PATH:$HOME/.blackout-agent"; exec blackout agent --stdio'"#;
            let command = ["ssh", "-oBatchMode=yes", destination, found];
            return Ok(Some((Transport::Stdio { command: command.map(String::from).to_vec() }, None)));
        }
        let (psk, warning) = match &self.key {
            None => bail!("an agent listens authenticated only, and no key of the agent at {agent} is named"),
            Some(Secret::File(path)) => Psk::load(path)?,
            Some(elsewhere) => {
                let bytes = elsewhere.reveal()?;
                let psk = Psk::parse(&bytes).with_context(|| {
                    format!(
                        "{elsewhere} holds {} bytes that are no key: a key is 32 bytes, as 64 hex digits",
                        bytes.len()
                    )
                })?;
                if let Some(why) = psk.weakness() {
                    bail!("the key in {elsewhere} can be guessed: {why}");
                }
                (psk, None)
            }
        };
        Ok(Some((Transport::Tcp { addr: agent.clone(), psk }, warning)))
    }
}

/// Connects to an agent.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn connect(transport: Transport, sink: &EventSink) -> Result<Client> {
    let agent = Client::connect(transport, ClientOptions::default(), sink.clone())?;
    agent.connected(AGENT_WITHIN).await.context("the agent in the guest does not answer")?;
    Ok(agent)
}

/// The transport to an agent that is named so, with the file of its key.
///
/// # Errors
/// When it names none, or the key cannot be read.
pub(crate) fn transport(agent: &str, key_file: Option<std::path::PathBuf>) -> Result<(Transport, Option<String>)> {
    check_agent(agent).map_err(anyhow::Error::msg)?;
    let guest = Guest { agent: Some(agent.into()), key: key_file.map(Secret::File), ping: None };
    guest.transport()?.with_context(|| format!("'{agent}' names no agent"))
}

fn check_agent(text: &str) -> Result<(), String> {
    match text.strip_prefix("ssh:") {
        Some(destination) if destination.is_empty() || destination.starts_with('-') => {
            Err(format!("'{text}' names no ssh destination: write for instance ssh:root@192.0.2.10"))
        }
        Some(_) => Ok(()),
        None if text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => Ok(()),
        None => Err(format!("'{text}' has no port: write for instance 192.0.2.10:7070 or ssh:root@192.0.2.10")),
    }
}
