//! Where the guest is, asked of both QEMUs of a migration.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixStream;

use super::endpoint::Endpoint;
use super::host::QmpHost;
use crate::hypervisor::place::{Condition, Place};

/// How long a QEMU may take to say where the guest is. One that hands over the last of the memory may
/// answer nothing for longer; then it is asked again.
const WITHIN: Duration = Duration::from_secs(2);
/// How long a process whose monitors are gone may take to be gone itself.
const DYING: Duration = Duration::from_millis(500);

/// What one QEMU says of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Says {
    /// Its answers to `query-status` and `query-migrate`: the status of each, empty where it has none.
    This { status: String, migration: String },
    /// Its process is gone.
    Dead,
    /// It does not answer, and why; it may live.
    Silent(String),
}

/// Asks a QEMU.
pub(super) async fn ask(host: &QmpHost) -> Says {
    let lost = host.view().borrow().lost.clone();
    if let Some(why) = lost {
        return if is_dead(host).await { Says::Dead } else { Says::Silent(why) };
    }
    let (status, migration) = tokio::join!(
        host.execute_within("query-status", Value::Null, WITHIN),
        host.execute_within("query-migrate", Value::Null, WITHIN),
    );
    let word = |answer: &Value| answer["status"].as_str().unwrap_or_default().to_owned();
    match (status, migration) {
        (Ok(status), Ok(migration)) => {
            let migration = word(&migration);
            Says::This { status: word(&status), migration: if migration == "none" { String::new() } else { migration } }
        }
        (Err(e), _) | (_, Err(e)) => {
            let gone = host.view().borrow().lost.is_some();
            if gone && is_dead(host).await { Says::Dead } else { Says::Silent(e.to_string()) }
        }
    }
}

/// Whether the process behind lost monitors is gone. Where the process is not known, a UNIX socket tells:
/// nothing listens on that of a dead one. A TCP connection may be lost while the QEMU lives.
async fn is_dead(host: &QmpHost) -> bool {
    let spec = host.spec();
    let Endpoint::Unix(socket) = &spec.control else { return false };
    let gone = async {
        loop {
            let listens = match spec.pid {
                Some(pid) => lives(pid),
                None => match UnixStream::connect(socket).await {
                    Ok(_) => true,
                    Err(e) => !matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
                },
            };
            if !listens {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DYING, gone).await.is_ok()
}

/// Whether a process runs. One that has ended and is not yet waited for does not.
fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
}

/// How a guest is by `query-status`; None for one that is not there yet.
fn condition(status: &str) -> Result<Option<Condition>, String> {
    match status {
        // A guest that sleeps (ACPI S3) goes on sleeping; it is for others to wake it.
        "running" | "suspended" => Ok(Some(Condition::Runs)),
        "paused" | "prelaunch" | "postmigrate" | "finish-migrate" | "save-vm" | "restore-vm" | "colo" => {
            Ok(Some(Condition::Stands))
        }
        "io-error" | "guest-panicked" | "internal-error" | "shutdown" | "watchdog" | "debug" => {
            Ok(Some(Condition::Halted(format!("its status is '{status}'"))))
        }
        "inmigrate" => Ok(None),
        other => Err(format!("unknown status '{other}'")),
    }
}

/// Where the guest is by what both say. `complete`: the source has said before that everything is handed
/// over, which it cannot take back.
#[must_use]
pub(super) fn place(source: &Says, destination: &Says, complete: bool) -> Place {
    let of = |says: &Says| match says {
        Says::This { status, .. } => condition(status),
        Says::Dead | Says::Silent(_) => Ok(None),
    };
    let (here, there) = match (of(source), of(destination)) {
        (Ok(here), Ok(there)) => (here, there),
        (Err(why), _) => return Place::Unknown(format!("the source has the {why}")),
        (_, Err(why)) => return Place::Unknown(format!("the destination has the {why}")),
    };
    let word = |says: &Says| match says {
        Says::This { migration, .. } => Some(migration.clone()),
        Says::Dead | Says::Silent(_) => None,
    };
    let (sent, received) = (word(source), word(destination));
    let is = |word: &Option<String>, of: &[&str]| word.as_deref().is_some_and(|w| of.contains(&w));
    let pulling = |word: &Option<String>| word.as_deref().is_some_and(|w| w.starts_with("postcopy"));
    let postmigrate = matches!(source, Says::This { status, .. } if status == "postmigrate");
    let handed_over = complete || postmigrate || is(&sent, &["completed"]);
    // A QEMU leaves `inmigrate` once everything is loaded, or when post-copy begins.
    let whole = match () {
        () if is(&received, &["completed"]) => Some(true),
        () if pulling(&received) || is(&received, &["failed"]) => Some(false),
        () if handed_over => Some(true),
        () if pulling(&sent) => Some(false),
        () if received.is_none() => None,
        () => Some(true),
    };
    match (here, there) {
        (Some(Condition::Runs), Some(Condition::Runs)) => Place::Both,
        (_, Some(Condition::Runs)) => Place::Destination { is: Condition::Runs, whole },
        (Some(Condition::Runs), _) => Place::Source(Condition::Runs),
        (Some(_), Some(is)) if handed_over => Place::Destination { is, whole },
        (Some(is), Some(_)) if finished(&sent) => Place::Source(is),
        (Some(_), Some(_)) => Place::Moving,
        (Some(is), None) => match destination {
            Says::Dead => Place::Source(is),
            Says::This { .. } if handed_over && received.as_deref() == Some("failed") => Place::Source(is),
            Says::This { .. } if handed_over => Place::Moving,
            Says::Silent(why) if handed_over => {
                Place::Unknown(format!("the source has handed it over, and the destination does not answer: {why}"))
            }
            // What has reached the destination may be all there is, whatever became of the source's migration:
            // it runs the guest then, or says that it failed.
            Says::This { .. } if finished(&sent) && arriving(&received) => Place::Moving,
            _ if matches!(sent.as_deref(), Some("device" | "pre-switchover")) => Place::Moving,
            // QEMU has stopped it by itself, to hand over the rest.
            _ if matches!(source, Says::This { status, .. } if status == "finish-migrate") && !finished(&sent) => {
                Place::Moving
            }
            Says::This { .. } | Says::Silent(_) => Place::Source(is),
        },
        (None, Some(is)) => match source {
            Says::Silent(why) if !handed_over => Place::Unknown(format!("the source does not answer: {why}")),
            _ => Place::Destination { is, whole },
        },
        (None, None) => match (source, destination) {
            (Says::Dead, Says::Dead) => Place::Nowhere,
            (Says::Dead, Says::This { .. }) if is(&received, &["failed"]) => Place::Nowhere,
            (Says::Dead, Says::This { .. }) => Place::Moving,
            (Says::Silent(why), _) => Place::Unknown(format!("the source does not answer: {why}")),
            (_, Says::Silent(why)) => Place::Unknown(format!("the destination does not answer: {why}")),
            (Says::This { .. }, _) => Place::Unknown("the source itself waits for a migration".to_owned()),
        },
    }
}

/// Whether a destination takes something in, and neither has all of it nor has given up.
fn arriving(received: &Option<String>) -> bool {
    !matches!(received.as_deref(), None | Some("" | "setup" | "failed" | "cancelled" | "completed"))
}

/// Whether the source's migration is over without having handed anything over, or there is none.
fn finished(sent: &Option<String>) -> bool {
    matches!(sent.as_deref(), Some("" | "failed" | "cancelled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this(status: &str, migration: &str) -> Says {
        Says::This { status: status.into(), migration: migration.into() }
    }

    fn there(is: Condition, whole: bool) -> Place {
        Place::Destination { is, whole: Some(whole) }
    }

    #[test]
    fn both_ends_together_say_where_the_guest_is() {
        let (runs, stands) = (|| Condition::Runs, || Condition::Stands);
        let silent = || Says::Silent("no answer".into());
        for (source, destination, want) in [
            (this("running", ""), this("inmigrate", ""), Place::Source(runs())),
            (this("running", "active"), Says::Dead, Place::Source(runs())),
            (this("running", "active"), silent(), Place::Source(runs())),
            (this("paused", "active"), this("inmigrate", "active"), Place::Source(stands())),
            (this("finish-migrate", "device"), this("inmigrate", "active"), Place::Moving),
            (this("postmigrate", "completed"), this("inmigrate", "active"), Place::Moving),
            (this("postmigrate", "completed"), this("inmigrate", "failed"), Place::Source(stands())),
            (this("postmigrate", "completed"), this("paused", "completed"), there(stands(), true)),
            (this("postmigrate", "completed"), this("running", "completed"), there(runs(), true)),
            (this("postmigrate", "completed"), this("running", ""), there(runs(), true)),
            (this("postmigrate", "completed"), Says::Dead, Place::Source(stands())),
            (this("finish-migrate", "postcopy-paused"), this("running", "postcopy-paused"), there(runs(), false)),
            (Says::Dead, this("running", "completed"), there(runs(), true)),
            (Says::Dead, this("running", "postcopy-paused"), there(runs(), false)),
            (Says::Dead, this("paused", "completed"), there(stands(), true)),
            (Says::Dead, this("inmigrate", "failed"), Place::Nowhere),
            (Says::Dead, this("inmigrate", "active"), Place::Moving),
            (Says::Dead, Says::Dead, Place::Nowhere),
            (this("running", "failed"), this("running", "completed"), Place::Both),
            (this("paused", "cancelled"), this("inmigrate", ""), Place::Source(stands())),
            (this("paused", "cancelled"), this("inmigrate", "failed"), Place::Source(stands())),
            (this("paused", "cancelled"), this("inmigrate", "active"), Place::Moving),
            (this("paused", "failed"), this("inmigrate", "active"), Place::Moving),
            (this("paused", "cancelled"), this("running", "completed"), there(runs(), true)),
            (this("paused", "device"), this("inmigrate", "active"), Place::Moving),
            (this("paused", "failed"), this("paused", "completed"), Place::Source(stands())),
        ] {
            assert_eq!(place(&source, &destination, false), want, "{source:?} {destination:?}");
        }
        let halted = place(&this("postmigrate", "completed"), &this("io-error", "completed"), false);
        assert_eq!(halted, there(Condition::Halted("its status is 'io-error'".into()), true));
    }

    #[test]
    fn what_is_not_answered_is_not_known() {
        let silent = || Says::Silent("no answer".into());
        for (source, destination) in [
            (silent(), this("inmigrate", "active")),
            (silent(), this("paused", "completed")),
            (silent(), Says::Dead),
            (silent(), silent()),
            (Says::Dead, silent()),
            (this("postmigrate", "completed"), silent()),
            (this("dreaming", ""), this("inmigrate", "")),
            (this("inmigrate", ""), this("inmigrate", "")),
        ] {
            let place = place(&source, &destination, false);
            assert!(matches!(place, Place::Unknown(_)), "{source:?} {destination:?}: {place:?}");
        }
        // What the source has said it cannot take back.
        assert_eq!(place(&silent(), &this("paused", "completed"), true), there(Condition::Stands, true));
        assert_eq!(place(&silent(), &this("running", ""), false), there(Condition::Runs, true));
    }
}
