//! The lab: a real Linux guest that is migrated between two real QEMU hosts on this machine.
//!
//! ```text
//!  network namespace of its own (no root needed where user namespaces are allowed)
//!  ┌────────────────────────────────────────────────────────────┐
//!  │ blackout ── bo0 10.99.0.1 ──┬── tap ── QEMU a ─ guest .0.2 │
//!  │                             └── tap ── QEMU b ─ (incoming) │
//!  └────────────────────────────────────────────────────────────┘
//! ```
//! [`enter`] makes the network and must be the first thing a process does; [`Lab::start`] boots
//! the guest on host `a` and readies host `b`; [`Lab::flip`] after each migration makes the
//! destination the new source. The guest's kernel is the host's, its init is this program
//! ([`guest_init`]). QEMUs die with this process, whatever it dies of; what is left on disk then
//! is swept away at the next start.

pub mod accel;
mod boot;
mod confine;
mod cpio;
pub mod doctor;
pub(crate) mod elf;
mod error;
mod guest_agent;
pub mod guest_config;
pub mod guest_init;
mod host;
mod hypervisor;
mod initramfs;
mod keeper;
pub mod kernel;
mod links;
mod modules;
mod netns;
pub mod packages;
mod pair;
pub mod qemu;
pub mod rundir;
mod tap;
mod trial;

pub use accel::AccelChoice;
pub use error::LabError;
pub use guest_config::AgentConfig;
pub use host::HostInfo;
pub use hypervisor::LabHypervisor;
pub use netns::{BRIDGE, Network, enter};
pub use pair::{Lab, LabOptions};
pub use qemu::version as qemu_version;
