//! Cloud Hypervisor (vmm/src/lib.rs `is_precopy_converged`, `VmSendMigrationData`): stops when
//! what is left would take no longer than `downtime_ms` at the bandwidth of the last pass, gives up
//! after `timeout_s`.

use super::{Facts, Next, Rule};

/// `downtime_ms` where it is not set, ms.
pub(super) const DOWNTIME_MS: u64 = 300;
/// `timeout_s`, with `timeout_strategy` cancel.
pub(super) const TIMEOUT_S: u64 = 3600;

pub(super) struct CloudHypervisor;

impl Rule for CloudHypervisor {
    fn after_round(&mut self, f: &Facts) -> Next {
        let limit_s = f.settings.downtime_limit_ms.unwrap_or(DOWNTIME_MS) as f64 / 1e3;
        let last_pass = f.sent_bytes as f64 / (f.round_ns.max(1) as f64 / 1e9);
        if f.pending_pages == 0 || f.pending_bytes as f64 / last_pass.max(1.0) <= limit_s {
            f.converged()
        } else if f.now_ns >= TIMEOUT_S * 1_000_000_000 {
            Next::Cancel
        } else {
            Next::Round
        }
    }
}
