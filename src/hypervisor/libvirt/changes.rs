//! Settings of the guest's migrations that libvirt keeps: changed only where that was asked for, and put back.

use std::collections::BTreeMap;

/// A setting that libvirt keeps for the guest's migrations away from a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Knob {
    /// How much it may send, MiB/s.
    Speed,
    /// The same in post-copy.
    PostCopySpeed,
    /// The downtime it may plan for, ms.
    Downtime,
}

/// No limit, in MiB/s (`VIR_DOMAIN_MEMORY_PARAM_UNLIMITED` in those units).
pub(super) const UNLIMITED: u64 = 8_796_093_022_207;

/// What settings had before.
pub(super) type Former = BTreeMap<Knob, u64>;

impl Knob {
    /// virsh's own name of what it sets.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Speed => "migrate-setspeed",
            Self::PostCopySpeed => "migrate-setspeed --postcopy",
            Self::Downtime => "migrate-setmaxdowntime",
        }
    }

    /// The command that asks for it.
    pub(super) fn get(self, guest: &str) -> String {
        match self {
            Self::Speed => format!("migrate-getspeed {guest}"),
            Self::PostCopySpeed => format!("migrate-getspeed {guest} --postcopy"),
            Self::Downtime => format!("migrate-getmaxdowntime {guest}"),
        }
    }

    /// The command that sets it.
    pub(super) fn set(self, guest: &str, value: u64) -> String {
        match self {
            Self::Speed => format!("migrate-setspeed {guest} {value}"),
            Self::PostCopySpeed => format!("migrate-setspeed {guest} {value} --postcopy"),
            Self::Downtime => format!("migrate-setmaxdowntime {guest} {value}"),
        }
    }
}

/// A limit as libvirt takes it: whole MiB/s, at least one. None and 0 are no limit.
pub(super) fn speed(bytes_per_s: Option<u64>) -> u64 {
    bytes_per_s.filter(|limit| *limit > 0).map_or(UNLIMITED, |limit| (limit >> 20).clamp(1, UNLIMITED))
}
