//! What an agent is started with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::Psk;
use crate::load::Limits;

/// The dead-man's lease where none is set: longer than any blackout.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(120);
/// Distance of reports where none is set.
pub const DEFAULT_REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// How a controller reaches the agent.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// TCP, encrypted and authenticated with the key.
    Listen {
        /// Where to listen.
        addr: SocketAddr,
        /// The pre-shared key.
        psk: Psk,
    },
    /// Stdin and stdout, in clear: whoever started this process is the controller.
    Stdio,
}

/// Where the agent's remarks go.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// What an agent is started with.
#[derive(Clone)]
pub struct ServerOptions {
    /// How a controller reaches it.
    pub endpoint: Endpoint,
    /// Limits of the generators.
    pub limits: Limits,
    /// A controller silent for so long loses its load.
    pub lease: Duration,
    /// Distance of reports until the controller says otherwise.
    pub report_interval: Duration,
    /// UDP port that sends heartbeats and answers echoes. None: the number of the TCP port, or any
    /// port if that is taken.
    pub udp_port: Option<u16>,
    /// Where remarks go: stderr by default.
    pub log: Log,
}

impl ServerOptions {
    /// The defaults for this machine.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            limits: Limits::of_this_machine(None),
            lease: DEFAULT_LEASE,
            report_interval: DEFAULT_REPORT_INTERVAL,
            udp_port: None,
            log: Arc::new(to_stderr),
        }
    }
}

fn to_stderr(text: &str) {
    use std::io::Write as _;
    // Nobody may be there to read it; that is no reason to stop.
    let _ = writeln!(std::io::stderr(), "blackout agent: {}", crate::text::visible(text));
}
