//! libvirt, through its own command line tool `virsh`, which knows every transport and every way to log in.
//!
//! A look costs 0.3 ms of CPU in a `virsh` shell that stays open, and 20 ms in one that is started for it (measured
//! with libvirt 9.0), so each host has shells that stay. What happens is heard from `virsh event`, and, where QEMU is
//! below, from `virsh qemu-monitor-event`, whose events bear QEMU's own time. The migration itself is one
//! `virsh migrate`; that this command fails or is killed says nothing of the migration, which goes on without it.

mod answer;
mod changes;
mod config;
mod course;
mod domstate;
mod events;
mod host;
mod hypervisor;
mod jobinfo;
mod lane;
mod listen;
mod migration;
mod shell;
mod watch;

pub use config::{Config, ConfigError, HostConfig};
pub use hypervisor::LibvirtHypervisor;
