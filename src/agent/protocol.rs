//! What agent and controller say to each other: JSON messages, and how they are cut out of a stream.
//!
//! The controller speaks first, with [`ToAgent::Hello`]; the agent answers [`ToController::Hello`],
//! or [`ToController::Refuse`] and hangs up. Both hellos carry [`PROTOCOL`], under the name
//! `protocol` in every version there will be, so two versions that cannot talk can say so.

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::event::{LoadReport, LoadSettings};
use crate::text;

/// Version of this protocol. Any change that an older peer would misread raises it.
pub const PROTOCOL: u32 = 2;
/// The longest message, bytes of JSON. Ours are a tenth of it; it also fits a Noise message.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// How much of a reason that a peer gives is kept, bytes.
pub(super) const PEER_TEXT: usize = 1024;
/// How much of a name that a peer gives (a version, a kernel) is kept, bytes.
pub(super) const PEER_NAME: usize = 128;

/// This program's version, as said in a hello.
#[must_use]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// A secret of a session's datagrams. Written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(pub [u8; 16]);

impl Token {
    /// A new random token.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        super::psk::to_hex(&token.0)
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        super::psk::from_hex(&text).map(Self).ok_or("a token is 32 hex digits")
    }
}

/// The controller's first words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerHello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Version of blackout.
    pub version: String,
    /// A random number of this controller's run: how the agent knows it again.
    pub controller: u64,
}

/// A request of a controller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestId {
    /// The controller's number.
    pub controller: u64,
    /// Number of the request.
    pub id: u64,
}

/// The agent's first words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentHello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Version of blackout.
    pub version: String,
    /// A random number of this agent's run: how the controller knows it again.
    pub agent: u64,
    /// Kernel release.
    pub kernel: String,
    /// CPUs.
    pub cpus: u32,
    /// RAM as the kernel sees it, bytes.
    pub ram_bytes: u64,
    /// The largest WSET it would accept now, bytes.
    pub wset_limit_bytes: u64,
    /// What is set now.
    pub settings: LoadSettings,
    /// The last request put into effect.
    pub applied: Option<RequestId>,
    /// The dead-man's lease, ms.
    pub lease_ms: u64,
    /// The lease ran out since a controller last heard of it: load and memory were let go.
    pub lease_expired: bool,
    /// UDP port that answers echoes and sends heartbeats.
    pub udp_port: Option<u16>,
    /// Token an echo request must bear.
    pub echo_token: Token,
}

/// Where and how often heartbeats are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatTo {
    /// The address; without one, where the controller's TCP connection comes from.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// The key each datagram is authenticated with.
    pub key: Token,
    /// Distance, µs.
    pub interval_us: u64,
}

/// What the controller says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    /// The first message.
    Hello(ControllerHello),
    /// Asks for a load.
    Set {
        /// Number of the request, rising.
        id: u64,
        /// All settings.
        settings: LoadSettings,
    },
    /// Renews the lease.
    Ping {
        /// Any number; the answer carries it.
        n: u64,
    },
    /// How the controller wants to be kept informed.
    Configure {
        /// Distance of reports, ms.
        report_interval_ms: u64,
        /// Heartbeats, if wanted.
        heartbeat: Option<HeartbeatTo>,
    },
    /// The controller leaves.
    Bye {
        /// Whether the load stays (until the lease runs out).
        keep_load: bool,
    },
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToController {
    /// The first message.
    Hello(Box<AgentHello>),
    /// Instead of a hello: this controller is not served.
    Refuse {
        /// [`PROTOCOL`].
        protocol: u32,
        /// Version of blackout.
        version: String,
        /// Why not.
        why: String,
    },
    /// A request is in effect.
    Ack {
        /// Its number.
        id: u64,
        /// What is set now.
        set: LoadSettings,
    },
    /// A request is refused.
    Refused {
        /// Its number.
        id: u64,
        /// What the generators cannot do, for people.
        why: String,
    },
    /// Set and achieved values.
    Report(LoadReport),
    /// Answers a ping.
    Pong {
        /// The ping's number.
        n: u64,
    },
    /// The lease ran out: load and memory were let go.
    LeaseExpired {
        /// The lease, ms.
        lease_ms: u64,
    },
    /// The agent leaves this controller.
    Bye {
        /// What made it leave, for people.
        why: String,
    },
}

impl ToController {
    /// The message with its texts in bounds and without anything a terminal would act on.
    pub(super) fn tamed(self) -> Self {
        match self {
            Self::Hello(mut hello) => {
                hello.version = foreign(&hello.version, PEER_NAME);
                hello.kernel = foreign(&hello.kernel, PEER_NAME);
                Self::Hello(hello)
            }
            Self::Refuse { protocol, version, why } => {
                Self::Refuse { protocol, version: foreign(&version, PEER_NAME), why: foreign(&why, PEER_TEXT) }
            }
            Self::Refused { id, why } => Self::Refused { id, why: foreign(&why, PEER_TEXT) },
            Self::Bye { why } => Self::Bye { why: foreign(&why, PEER_TEXT) },
            quiet @ (Self::Ack { .. } | Self::Report(_) | Self::Pong { .. } | Self::LeaseExpired { .. }) => quiet,
        }
    }
}

/// A message that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The peer speaks another version.
    #[error(
        "protocol versions differ: this side (blackout {ours_version}) speaks version {ours}, the other side \
         (blackout {theirs_version}) version {theirs}; use the same blackout on both"
    )]
    Version {
        /// Our protocol version.
        ours: u32,
        /// Our version of blackout.
        ours_version: String,
        /// The peer's protocol version.
        theirs: u64,
        /// The peer's version of blackout.
        theirs_version: String,
    },
    /// Not a message of this protocol.
    #[error("not a message of the agent protocol: {0}")]
    Malformed(String),
    /// Longer than any message.
    #[error("a message of {len} bytes announced, {MAX_MESSAGE} is the most: the peer is not a blackout agent")]
    TooLong {
        /// The length announced, bytes.
        len: usize,
    },
}

/// What the peer sent may be quoted in it.
fn malformed(e: serde_json::Error) -> ProtocolError {
    ProtocolError::Malformed(foreign(&e.to_string(), PEER_TEXT))
}

/// At most `limit` bytes of one line of a peer's text, as it may be kept and shown.
pub(super) fn foreign(text: &str, limit: usize) -> String {
    text::visible(&text::capped(text, limit)).into_owned()
}

/// Encodes a message.
///
/// # Errors
/// When it is longer than [`MAX_MESSAGE`].
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, ProtocolError> {
    let bytes = serde_json::to_vec(message).map_err(|e| ProtocolError::Malformed(e.to_string()))?;
    if bytes.len() > MAX_MESSAGE { Err(ProtocolError::TooLong { len: bytes.len() }) } else { Ok(bytes) }
}

/// Decodes a message.
///
/// # Errors
/// When it is none.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, ProtocolError> {
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Decodes the peer's first message, which may be of another version of the protocol.
///
/// # Errors
/// [`ProtocolError::Version`] with both versions, or when it is no message.
pub fn decode_first<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, ProtocolError> {
    let value: Value = decode(bytes)?;
    if let Some(theirs) = value.get("protocol").and_then(Value::as_u64)
        && theirs != u64::from(PROTOCOL)
    {
        let theirs_version = foreign(value.get("version").and_then(Value::as_str).unwrap_or("?"), 40);
        return Err(ProtocolError::Version { ours: PROTOCOL, ours_version: version(), theirs, theirs_version });
    }
    serde_json::from_value(value).map_err(malformed)
}

/// Cuts messages out of a stream: four bytes of length, most significant first, then so many bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes in what has come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it is there.
    ///
    /// # Errors
    /// When the length announced is more than [`MAX_MESSAGE`]; the stream cannot be read further.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, ProtocolError> {
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*head) as usize;
        if len > MAX_MESSAGE {
            return Err(ProtocolError::TooLong { len });
        }
        if self.buffer.len() < 4 + len {
            return Ok(None);
        }
        let rest = self.buffer.split_off(4 + len);
        let mut message = std::mem::replace(&mut self.buffer, rest);
        message.drain(..4);
        Ok(Some(message))
    }
}

/// Puts the length before a message.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + message.len());
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_version_is_named_on_both_sides() {
        let theirs = br#"{"type":"hello","protocol":7,"version":"9.9.9","shape":["unknown"]}"#;
        let says = decode_first::<ToAgent>(theirs).unwrap_err().to_string();
        assert!(says.contains("version 7") && says.contains("9.9.9"), "{says}");
        assert!(says.contains(&format!("speaks version {PROTOCOL}")) && says.contains(&version()), "{says}");
        assert!(matches!(decode_first::<ToController>(theirs), Err(ProtocolError::Version { theirs: 7, .. })));
    }

    #[test]
    fn messages_survive_the_way() {
        let settings = LoadSettings { wset_bytes: u64::MAX, ..LoadSettings::default() };
        let to = HeartbeatTo { ip: None, port: 9, key: Token::random(), interval_us: 10_000 };
        for message in [
            ToAgent::Hello(ControllerHello { protocol: PROTOCOL, version: version(), controller: u64::MAX }),
            ToAgent::Set { id: 3, settings },
            ToAgent::Configure { report_interval_ms: 100, heartbeat: Some(to) },
            ToAgent::Bye { keep_load: true },
        ] {
            assert_eq!(decode::<ToAgent>(&encode(&message).unwrap()), Ok(message.clone()));
            assert_eq!(decode_first::<ToAgent>(&encode(&message).unwrap()), Ok(message));
        }
        let long = ToController::Bye { why: "x".repeat(MAX_MESSAGE) };
        assert!(matches!(encode(&long), Err(ProtocolError::TooLong { .. })));
    }

    #[test]
    fn a_peers_text_is_short_and_shows_all_there_is_in_it() {
        let long = format!("\x1b]0;x\x07{}", "y".repeat(9000));
        for message in [
            ToController::Refused { id: 1, why: long.clone() },
            ToController::Bye { why: long.clone() },
            ToController::Refuse { protocol: PROTOCOL, version: "1".into(), why: long.clone() },
            ToController::Refuse { protocol: PROTOCOL, version: long, why: "2".into() },
        ] {
            let text = serde_json::to_string(&message.tamed()).unwrap();
            assert!(text.len() < 2000 && !text.contains('\x07') && text.contains("x1b]0;x"), "{text}");
        }
        let unknown = format!(r#"{{"type":"\u001b[2J{}"}}"#, "z".repeat(9000));
        let says = decode::<ToAgent>(unknown.as_bytes()).unwrap_err().to_string();
        assert!(says.len() < 2000 && !says.contains('\x1b') && says.contains("\\x1b[2J"), "{says}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode::<ToAgent>(&bytes);
            let _ = decode_first::<ToController>(&bytes);
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            let mut out = 0;
            while let Ok(Some(message)) = decoder.next_message() {
                out += 4 + message.len();
            }
            prop_assert!(out <= bytes.len());
        }

        #[test]
        fn however_a_stream_is_cut_the_messages_come_out(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in proptest::collection::vec(1usize..50, 1..40),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|m| frame(m)).collect();
            let (mut decoder, mut out, mut rest) = (Decoder::default(), Vec::new(), &stream[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                decoder.feed(head);
                rest = tail;
                while let Some(message) = decoder.next_message().unwrap() {
                    out.push(message);
                }
            }
            prop_assert_eq!(out, messages);
        }

        #[test]
        fn a_changed_message_never_panics(at in 0usize..200, byte in any::<u8>()) {
            let message = ToAgent::Set { id: 1, settings: LoadSettings::default() };
            let mut bytes = encode(&message).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(ToAgent::Set { settings, .. }) = decode::<ToAgent>(&bytes) {
                let _ = settings.checked();
            }
        }
    }
}
