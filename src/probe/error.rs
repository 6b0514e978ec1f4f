//! Why a probe cannot start.

use std::io;
use std::net::IpAddr;

use thiserror::Error;

/// Why a probe cannot start.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The options contradict each other or are out of range.
    #[error("{0}")]
    Options(String),
    /// Neither kind of ICMP socket is allowed.
    #[error(
        "ICMP is not allowed to this user ({said}; group {gid}, net.ipv4.ping_group_range is \"{range}\")\n\
         Either of these allows it:\n  \
         sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"\n  \
         sudo setcap cap_net_raw+ep {program}"
    )]
    NotPermitted {
        /// Effective group of this process.
        gid: u32,
        /// The groups that may.
        range: String,
        /// This program's path.
        program: String,
        /// What the operating system said.
        said: String,
    },
    /// The device cannot be used.
    #[error("cannot send through the network device '{device}': {source}; 'ip link' lists the devices there are")]
    Device {
        /// Its name.
        device: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The address cannot be sent from.
    #[error("cannot send from {address}: {source}; 'ip address' lists the addresses of this machine")]
    Address {
        /// The address.
        address: IpAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused something else.
    #[error("cannot {what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ProbeError {
    /// What the operating system said, for a slot that was not sent because of it.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Device { source, .. } | Self::Address { source, .. } | Self::Os { source, .. } => source
                .raw_os_error()
                .map_or_else(|| source.to_string(), |n| nix::errno::Errno::from_raw(n).desc().to_owned()),
            Self::Options(_) | Self::NotPermitted { .. } => self.to_string(),
        }
    }
}
