//! What the lab tells its guest: one JSON file in the initramfs.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::Psk;

/// Where the file lies in the guest.
pub const PATH: &str = "/blackout.json";
/// Where the guest's kernel modules lie.
pub const MODULES: &str = "/modules";
/// How each line of the guest's init on the serial line begins.
pub const MARK: &str = "BLACKOUT-GUEST:";

/// How the agent in the guest is to be run. None leaves the agent's own default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// TCP port of the control connection; heartbeats and UDP echo are the agent's to arrange.
    pub port: u16,
    /// The key shared with the controller.
    pub psk: Psk,
    /// Distance of the heartbeats.
    pub heartbeat: Option<Duration>,
    /// Distance of the load reports.
    pub report: Option<Duration>,
    /// How long the controller may be silent before the load falls to zero.
    pub lease: Option<Duration>,
    /// Memory the guest keeps for itself, bytes.
    pub reserve_bytes: Option<u64>,
}

impl Default for AgentConfig {
    /// Port 7070, a random key, and the agent's own defaults.
    fn default() -> Self {
        Self { port: 7070, psk: Psk::random(), heartbeat: None, report: None, lease: None, reserve_bytes: None }
    }
}

/// An address of each family, as given to the guest or the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// IPv4, in a /24.
    pub v4: Ipv4Addr,
    /// IPv6, in a /64; None where the host has no IPv6.
    pub v6: Option<Ipv6Addr>,
    /// Hardware address.
    pub mac: [u8; 6],
}

/// All the guest's init needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// The guest's host name.
    pub name: String,
    /// The guest's own addresses.
    pub own: Addresses,
    /// Those of the bridge it hangs on.
    pub bridge: Addresses,
    /// Files in [`MODULES`], in the order in which to load them.
    pub modules: Vec<String>,
    /// The agent.
    pub agent: AgentConfig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_json_and_is_never_shown() {
        let agent = AgentConfig::default();
        let json = serde_json::to_string(&agent).unwrap();
        assert_eq!(serde_json::from_str::<AgentConfig>(&json).unwrap(), agent);
        let hex = agent.psk.to_hex();
        assert!(json.contains(&hex));
        assert!(!format!("{agent:?}").contains(&hex));
    }
}
