//! What can be wrong with a load.

use thiserror::Error;

use crate::units::{show_bytes, show_count};

/// Why a load cannot be had. The former settings stay unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LoadError {
    /// A parameter outside its range.
    #[error("{what} {value} is out of range: {right}")]
    OutOfRange {
        /// The parameter, by its name in the vocabulary.
        what: &'static str,
        /// The value as given.
        value: String,
        /// What would be right.
        right: &'static str,
    },
    /// BPC, PERIOD and RATE all given, and not RATE = BPC / PERIOD.
    #[error(
        "BPC {bpc_pages} and PERIOD {period_ms} ms make a RATE of {derived:.1} pages/s, not {rate:.1}: \
         give any two of the three"
    )]
    Disagree {
        /// BPC as given, pages.
        bpc_pages: u64,
        /// PERIOD as given, ms.
        period_ms: f64,
        /// RATE as given, pages/s.
        rate: f64,
        /// The RATE the other two make, pages/s.
        derived: f64,
    },
    /// Pages to dirty, but no memory to find them in.
    #[error("RATE {} pages/s dirties nothing without a WSET to dirty: add for instance --wset 96M", show_count(*.rate as u64))]
    NothingToDirty {
        /// RATE as asked for, pages/s.
        rate: f64,
    },
    /// More memory than the guest can spare.
    #[error(
        "WSET {} is over the limit of {}: of {} RAM {} are free or held by the generator, and {} stay in reserve{}",
        show_bytes(*.asked_bytes), show_bytes(*.limit_bytes), show_bytes(*.ram_bytes),
        show_bytes(*.spare_bytes), show_bytes(*.reserve_bytes), show_bound(.bound.as_deref())
    )]
    WsetOverLimit {
        /// WSET asked for, bytes.
        asked_bytes: u64,
        /// The largest WSET possible now, bytes.
        limit_bytes: u64,
        /// RAM of the machine, bytes.
        ram_bytes: u64,
        /// Memory available now plus what the generator holds, bytes.
        spare_bytes: u64,
        /// What must stay free, bytes.
        reserve_bytes: u64,
        /// The control group's limit and the file that sets it, where that is the reason.
        bound: Option<String>,
    },
    /// mlock refused because of RLIMIT_MEMLOCK.
    #[error(
        "the kernel refuses to lock WSET {}: RLIMIT_MEMLOCK of this process is {} (hard limit {}) and it lacks \
         CAP_IPC_LOCK; {remedy}",
        show_bytes(*.asked_bytes), show_limit(*.soft_bytes), show_limit(*.hard_bytes)
    )]
    LockLimit {
        /// WSET asked for, bytes.
        asked_bytes: u64,
        /// Soft limit, bytes.
        soft_bytes: u64,
        /// Hard limit, bytes.
        hard_bytes: u64,
        /// The commands that mend it.
        remedy: String,
    },
    /// The kernel has no memory for it, for another reason.
    #[error("cannot {what} for WSET {}: {errno}", show_bytes(*.asked_bytes))]
    Memory {
        /// What was tried.
        what: &'static str,
        /// WSET asked for, bytes.
        asked_bytes: u64,
        /// What the kernel said.
        errno: nix::errno::Errno,
    },
    /// A newer request came before this one was in effect. LOAD and RATE are as asked; of WSET so
    /// much is held.
    #[error("given up for a newer request; {} of WSET are held", show_bytes(*.held_bytes))]
    Superseded {
        /// WSET held now, bytes.
        held_bytes: u64,
    },
    /// A generator thread could not be started.
    #[error("cannot start the {what} thread: {why}")]
    Thread {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        why: String,
    },
    /// The generators have been stopped.
    #[error("the generators have been stopped")]
    Stopped,
}

fn show_bound(bound: Option<&str>) -> String {
    bound.map(|by| format!("; this process may use {by}")).unwrap_or_default()
}

fn show_limit(bytes: u64) -> String {
    if bytes == u64::MAX { "unlimited".into() } else { format!("{} bytes", show_count(bytes)) }
}
