//! The one place where the guest's init meets the agent.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::guest_config::AgentConfig;
use crate::agent::server::{self, Endpoint, ServerOptions};
use crate::load::Limits;

/// Runs the agent in the guest until it ends. The caller has the network up.
///
/// # Errors
/// Why it ended, for people.
pub(crate) fn start_agent(config: &AgentConfig) -> Result<(), String> {
    let mut options = ServerOptions::new(Endpoint::Listen { addr: address(config.port), psk: config.psk.clone() });
    options.limits = Limits::of_this_machine(config.reserve_bytes);
    if let Some(lease) = config.lease {
        options.lease = lease;
    }
    if let Some(report) = config.report {
        options.report_interval = report;
    }
    server::run(options).map_err(|e| e.to_string())
}

/// All addresses of the guest: with IPv6 where its kernel has it.
fn address(port: u16) -> SocketAddr {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match TcpListener::bind(v6) {
        Ok(_) => v6,
        Err(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
    }
}
