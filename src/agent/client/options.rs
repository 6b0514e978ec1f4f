//! What a client is started with, and why there is no connection.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

/// How heartbeats are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatOptions {
    /// Where to receive them. None: any port on all addresses.
    pub bind: Option<SocketAddr>,
    /// The address the agent is to send them to. None: where our TCP connection comes from, and the
    /// port that was bound. Over ssh the agent cannot know it, so there it must be given.
    pub advertise: Option<SocketAddr>,
    /// Distance.
    pub interval: Duration,
}

impl Default for HeartbeatOptions {
    fn default() -> Self {
        Self { bind: None, advertise: None, interval: Duration::from_millis(10) }
    }
}

/// What a client is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOptions {
    /// Distance of reports.
    pub report_interval: Duration,
    /// Heartbeats, if wanted.
    pub heartbeat: Option<HeartbeatOptions>,
    /// Distance of lease renewals.
    pub ping_interval: Duration,
    /// An agent that says nothing for so long is taken for dead, and connected to anew. Longer than
    /// blackouts usually are: a connection that survives one saves a handshake.
    pub dead_after: Duration,
    /// Time for connecting; the longest wait between two tries is half of it.
    pub connect_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            report_interval: Duration::from_millis(100),
            heartbeat: Some(HeartbeatOptions::default()),
            ping_interval: Duration::from_secs(1),
            dead_after: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(1),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection in the time given.
    #[error("no connection to the agent {agent} within {waited:?}: {why}")]
    TimedOut {
        /// How the agent was to be reached.
        agent: String,
        /// How long it was waited for.
        waited: Duration,
        /// Why the last try failed.
        why: String,
    },
    /// Trying again does not help.
    #[error("cannot work with the agent {agent}: {why}")]
    Lasting {
        /// How the agent was to be reached.
        agent: String,
        /// What it said, or what stands in the way, for people.
        why: String,
    },
    /// Heartbeats cannot be received.
    #[error("cannot receive heartbeats on UDP {addr}: {why}")]
    Udp {
        /// Where.
        addr: SocketAddr,
        /// What the operating system said.
        why: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}
