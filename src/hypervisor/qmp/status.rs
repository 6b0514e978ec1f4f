//! QEMU's words for a migration in ours: `MigrationStatus` and the answer to `query-migrate`.

use serde_json::Value;

use crate::event::{Incident, Phase, Sample, Substate};
use crate::text::foreign;
use crate::units::PAGE_BYTES;

/// Where the guest is, as far as its phase is concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The guest ran at the source when the migration began and does not any more.
    pub stopped: bool,
    /// The guest runs at the destination.
    pub resumed: bool,
    /// The guest did not run when the migration began: it will not run afterwards either.
    pub asleep: bool,
}

/// The phase in which QEMU's status `raw` puts a migration.
///
/// A status only says what QEMU does; whether the guest stands still follows from its STOP and
/// RESUME events. A status we do not know is [`Phase::Unknown`]: still running.
#[must_use]
pub fn phase_of(raw: &str, guest: Whereabouts) -> Phase {
    match raw {
        "" | "none" => Phase::Idle,
        "setup" | "wait-unplug" => Phase::Setup,
        "active" | "colo" | "cancelling" if guest.resumed => Phase::Recovery,
        "active" | "colo" | "cancelling" if guest.stopped => Phase::StopAndCopy,
        "active" | "colo" | "cancelling" => Phase::PreCopy,
        "pre-switchover" | "device" if guest.resumed => Phase::Recovery,
        "pre-switchover" | "device" => Phase::StopAndCopy,
        // Post-copy begins with a blackout of its own, until the destination has the device state.
        "postcopy-active" | "postcopy-device" if guest.stopped && !guest.resumed => Phase::StopAndCopy,
        "postcopy-active" | "postcopy-device" | "postcopy-paused" | "postcopy-recover" | "postcopy-recover-setup" => {
            Phase::PostCopy
        }
        "completed" if guest.resumed || guest.asleep => Phase::Done,
        "completed" => Phase::StopAndCopy,
        "failed" => Phase::Failed,
        "cancelled" => Phase::Cancelled,
        _ => Phase::Unknown,
    }
}

/// What is out of the ordinary in QEMU's status `raw`.
#[must_use]
pub fn substate_of(raw: &str) -> Option<Substate> {
    match raw {
        "postcopy-paused" => Some(Substate::Paused),
        "postcopy-recover" | "postcopy-recover-setup" => Some(Substate::Recovering),
        "cancelling" => Some(Substate::Cancelling),
        "wait-unplug" => Some(Substate::WaitingForDevice),
        "pre-switchover" => Some(Substate::WaitingToSwitchOver),
        "device" | "postcopy-device" => Some(Substate::HandingOver),
        "colo" => Some(Substate::Replicating),
        _ => None,
    }
}

/// What one of QEMU's events says befell the guest, with QEMU's own words where it has more to say.
/// QEMU sends SHUTDOWN with its reason also when it is told to quit, or dies of a signal.
#[must_use]
pub(super) fn incident(name: &str, data: &Value) -> Option<(Incident, String)> {
    let word = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
    match name {
        "SHUTDOWN" if data["guest"] == Value::Bool(false) && word("reason").starts_with("host") => None,
        "SHUTDOWN" => Some((Incident::ShutDown, word("reason"))),
        "RESET" => Some((Incident::Reset, word("reason"))),
        "GUEST_PANICKED" | "GUEST_CRASHLOADED" => Some((Incident::Panicked, word("action"))),
        "WATCHDOG" => Some((Incident::Watchdog, word("action"))),
        "BLOCK_IO_ERROR" => {
            let parts = ["operation", "device", "node-name", "action", "reason"].map(word);
            let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            Some((Incident::IoError, foreign(&said.join(", "))))
        }
        _ => None,
    }
}

/// Whether a status is QEMU's last word on a migration.
#[must_use]
pub fn is_final(raw: &str) -> bool {
    matches!(raw, "completed" | "failed" | "cancelled")
}

/// What we understand of an answer to `query-migrate`. QEMU writes `mbps` as -1 while it does not
/// know it; that and every missing or impossible figure is None.
#[must_use]
pub fn sample(answer: &Value) -> Sample {
    let ram = &answer["ram"];
    let whole = |v: &Value| v.as_u64();
    let float = |v: &Value| v.as_f64().filter(|f| f.is_finite() && *f >= 0.0);
    Sample {
        transferred_bytes: whole(&ram["transferred"]),
        remaining_bytes: whole(&ram["remaining"]),
        total_bytes: whole(&ram["total"]),
        round: whole(&ram["dirty-sync-count"]),
        // QEMU counts target pages, which are 4 KiB on every machine measured here.
        dirty_pages_per_s: float(&ram["dirty-pages-rate"])
            .map(|r| r * whole(&ram["page-size"]).unwrap_or(PAGE_BYTES) as f64 / PAGE_BYTES as f64),
        throughput_bytes_per_s: float(&ram["mbps"]).map(|mbps| mbps * 1e6 / 8.0),
        throttle_pct: float(&answer["cpu-throttle-percentage"]),
        expected_downtime_ms: float(&answer["expected-downtime"]),
        downtime_ms: float(&answer["downtime"]),
        total_time_ms: float(&answer["total-time"]),
        setup_time_ms: float(&answer["setup-time"]),
        zero_pages: whole(&ram["duplicate"]),
        progress: None,
    }
}

/// `new`, with the memory figures of `old` where it has none (an answer `completed` may lack
/// `ram`). The second value says whether anything was kept.
#[must_use]
pub(super) fn keep(new: Sample, old: &Sample) -> (Sample, bool) {
    if new.transferred_bytes.is_some() || old.transferred_bytes.is_none() {
        return (new, false);
    }
    let merged = Sample {
        transferred_bytes: old.transferred_bytes,
        remaining_bytes: old.remaining_bytes,
        total_bytes: old.total_bytes,
        round: old.round,
        dirty_pages_per_s: old.dirty_pages_per_s,
        throughput_bytes_per_s: old.throughput_bytes_per_s,
        zero_pages: old.zero_pages,
        ..new
    };
    (merged, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const RUNS: Whereabouts = Whereabouts { stopped: false, resumed: false, asleep: false };
    const STANDS: Whereabouts = Whereabouts { stopped: true, resumed: false, asleep: false };
    const MOVED: Whereabouts = Whereabouts { stopped: true, resumed: true, asleep: false };
    const ASLEEP: Whereabouts = Whereabouts { stopped: false, resumed: false, asleep: true };

    #[test]
    fn the_guest_decides_what_a_status_means() {
        for (raw, guest, phase) in [
            ("none", RUNS, Phase::Idle),
            ("setup", RUNS, Phase::Setup),
            ("active", RUNS, Phase::PreCopy),
            ("active", STANDS, Phase::StopAndCopy),
            ("active", ASLEEP, Phase::PreCopy),
            ("device", RUNS, Phase::StopAndCopy),
            ("device", MOVED, Phase::Recovery),
            ("completed", STANDS, Phase::StopAndCopy),
            ("completed", MOVED, Phase::Done),
            ("completed", ASLEEP, Phase::Done),
            ("postcopy-active", STANDS, Phase::StopAndCopy),
            ("postcopy-active", MOVED, Phase::PostCopy),
            ("postcopy-device", STANDS, Phase::StopAndCopy),
            ("postcopy-paused", MOVED, Phase::PostCopy),
            ("cancelling", STANDS, Phase::StopAndCopy),
            ("cancelled", RUNS, Phase::Cancelled),
            ("failed", STANDS, Phase::Failed),
            ("failing", RUNS, Phase::Unknown),
            ("quantum-leap", MOVED, Phase::Unknown),
        ] {
            assert_eq!(phase_of(raw, guest), phase, "{raw} {guest:?}");
        }
        assert!(!Phase::Unknown.is_over(), "an unknown status is still running");
    }

    #[test]
    fn what_is_out_of_the_ordinary_has_a_word_of_its_own() {
        for (raw, substate) in [
            ("postcopy-paused", Some(Substate::Paused)),
            ("postcopy-recover", Some(Substate::Recovering)),
            ("postcopy-recover-setup", Some(Substate::Recovering)),
            ("cancelling", Some(Substate::Cancelling)),
            ("wait-unplug", Some(Substate::WaitingForDevice)),
            ("pre-switchover", Some(Substate::WaitingToSwitchOver)),
            ("device", Some(Substate::HandingOver)),
            ("colo", Some(Substate::Replicating)),
            ("active", None),
            ("quantum-leap", None),
        ] {
            assert_eq!(substate_of(raw), substate, "{raw}");
        }
    }

    #[test]
    fn what_befell_the_guest_is_read_off_the_events() {
        let io = json!({"device": "disk0", "operation": "write", "action": "stop", "reason": "no \u{1b}[2J space"});
        let (what, detail) = incident("BLOCK_IO_ERROR", &io).unwrap();
        assert_eq!((what, detail.as_str()), (Incident::IoError, "write, disk0, stop, no \\x1b[2J space"));
        let own = json!({"guest": true, "reason": "guest-shutdown"});
        assert_eq!(incident("SHUTDOWN", &own), Some((Incident::ShutDown, "guest-shutdown".into())));
        assert_eq!(incident("SHUTDOWN", &json!({"guest": false, "reason": "host-signal"})), None);
        assert_eq!(incident("RESET", &Value::Null), Some((Incident::Reset, String::new())));
        assert_eq!(incident("STOP", &Value::Null), None);
    }

    #[test]
    fn an_answer_without_ram_keeps_the_last_figures_and_says_so() {
        let active = sample(&json!({"status": "active", "total-time": 504, "ram": {
            "total": 67_641_344u64, "remaining": 299_008, "transferred": 875_787, "mbps": 8.0,
            "dirty-sync-count": 2, "dirty-pages-rate": 17, "page-size": 4096}}));
        assert_eq!(active.throughput_bytes_per_s, Some(1e6));
        assert_eq!(active.dirty_pages_per_s, Some(17.0));
        let last = sample(&json!({"status": "completed", "downtime": 4, "total-time": 607}));
        assert_eq!(last.transferred_bytes, None);
        let (merged, kept) = keep(last, &active);
        assert!(kept);
        assert_eq!(
            (merged.transferred_bytes, merged.downtime_ms, merged.total_time_ms),
            (Some(875_787), Some(4.0), Some(607.0))
        );
        assert!(!keep(active.clone(), &active).1);
    }

    #[test]
    fn what_is_impossible_is_unknown() {
        let s = sample(
            &json!({"ram": {"mbps": -1, "transferred": -5, "remaining": "many", "dirty-pages-rate": null}, "downtime": {}}),
        );
        assert_eq!(s, Sample::default());
        assert_eq!(sample(&json!([1, 2])), Sample::default());
    }

    proptest! {
        #[test]
        fn any_status_has_a_phase(raw in "\\PC{0,20}", stopped: bool, resumed: bool, asleep: bool) {
            let p = phase_of(&raw, Whereabouts { stopped, resumed, asleep });
            prop_assert!(p != Phase::Done || raw == "completed");
        }
    }
}
