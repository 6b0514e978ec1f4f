//! Where the guest is: `domstate --reason` of both hosts.

use super::answer::Answer;
use crate::hypervisor::place::{Condition, Place};

/// How the guest is at one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// It runs here.
    Runs,
    /// It runs here and lacks memory that is still at the source.
    Pulls,
    /// A migration has it: at the source it stands still and is being handed over, at the destination it is being
    /// taken in.
    Moves,
    /// Post-copy has begun here: it runs at the destination. `broken`: that was interrupted.
    HandedOver {
        /// The connection between the two was lost.
        broken: bool,
    },
    /// It stands still, and can be made to run.
    Stands,
    /// It stands still for a reason of its own.
    Halted(String),
    /// It is not here, or only its description is.
    Absent,
}

/// What one host says; an error is why nothing is known.
pub(super) type Says = Result<At, String>;

/// What an answer says.
pub(super) fn read(answer: &Answer) -> Says {
    if let Some(why) = answer.lost() {
        return Err(why);
    }
    if let Some(at) = answer.lines().find_map(state) {
        return Ok(at);
    }
    match answer.is_absent() {
        true => Ok(At::Absent),
        false => Err(format!("its answer '{}' is not known", answer.said())),
    }
}

/// `state (reason)`, in libvirt's words (`virsh-domain-monitor.c` of 9.0 and 11).
fn state(line: &str) -> Option<At> {
    let (state, reason) = line.strip_suffix(')')?.split_once(" (")?;
    let halted = || At::Halted(format!("its state is '{state} ({})'", crate::text::capped(reason, 80)));
    Some(match (state, reason) {
        ("running", "post-copy" | "post-copy failed") => At::Pulls,
        ("running" | "idle" | "pmsuspended", _) => At::Runs,
        ("paused", "migrating") => At::Moves,
        ("paused", "post-copy") => At::HandedOver { broken: false },
        ("paused", "post-copy failed") => At::HandedOver { broken: true },
        ("paused", "I/O error" | "watchdog" | "crashed" | "shutting down") | ("in shutdown" | "crashed", _) => halted(),
        ("paused", _) => At::Stands,
        ("shut off", _) => At::Absent,
        _ => return None,
    })
}

/// What both answers come to.
pub(super) fn place(source: &Says, destination: &Says, from: &str, to: &str) -> Place {
    use At::{Absent, Halted, HandedOver, Moves, Pulls, Runs, Stands};
    let unknown = |host: &str, why: &str| Place::Unknown(format!("'{host}': {why}"));
    let there = |is, whole| Place::Destination { is, whole: Some(whole) };
    let (here, at_destination) = match (source, destination) {
        (Ok(here), Ok(there)) => (here, there),
        // Whether it also runs at the other is not known; that it runs here is.
        (Ok(Runs), Err(_)) => return Place::Source(Condition::Runs),
        (Err(why), _) => return unknown(from, why),
        (_, Err(why)) => return unknown(to, why),
    };
    match (here, at_destination) {
        (Runs, Runs | Pulls) => Place::Both,
        (Pulls, _) => Place::Unknown(format!("'{from}' itself still pulls the guest's memory from elsewhere")),
        (_, HandedOver { .. }) => Place::Unknown(format!("'{to}' has handed the guest over to elsewhere")),
        (Runs, _) => Place::Source(Condition::Runs),
        (_, Runs) => there(Condition::Runs, true),
        (_, Pulls) => there(Condition::Runs, false),
        (_, Moves) => Place::Moving,
        (Moves | HandedOver { .. } | Absent, Stands) => there(Condition::Stands, true),
        (Moves | HandedOver { .. } | Absent, Halted(why)) => there(Condition::Halted(why.clone()), true),
        (Moves | Stands, Absent) => Place::Source(Condition::Stands),
        (HandedOver { .. }, Absent) => {
            let why = "post-copy had begun, and the destination does not have it".to_owned();
            Place::Source(Condition::Halted(why))
        }
        (Halted(why), Absent) => Place::Source(Condition::Halted(why.clone())),
        (Stands | Halted(_), Stands | Halted(_)) => Place::Unknown("it stands still at both hosts".to_owned()),
        (Absent, Absent) => Place::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn says(text: &str) -> Says {
        read(&Answer::new(text.lines().map(str::to_owned).collect(), "domstate g1 --reason"))
    }

    fn of(source: &str, destination: &str) -> Place {
        place(&says(source), &says(destination), "a", "b")
    }

    const ABSENT: &str = "error: failed to get domain 'g1'";

    /// Answers as libvirt 9.0 gave them in a migration of each kind.
    #[test]
    fn both_hosts_together_say_where_the_guest_is() {
        let runs = || Place::Source(Condition::Runs);
        let arrived = |whole| Place::Destination { is: Condition::Runs, whole: Some(whole) };
        for (source, destination, want) in [
            ("running (booted)", ABSENT, runs()),
            ("running (booted)", "paused (migrating)", runs()),
            ("running (migration canceled)", ABSENT, runs()),
            ("paused (migrating)", "paused (migrating)", Place::Moving),
            ("paused (migrating)", "running (migrated)", arrived(true)),
            ("paused (post-copy)", "running (post-copy)", arrived(false)),
            ("paused (post-copy failed)", "running (post-copy)", arrived(false)),
            ("paused (post-copy failed)", "running (post-copy failed)", arrived(false)),
            ("shut off (migrated)", "running (migrated)", arrived(true)),
            (ABSENT, "running (migrated)", arrived(true)),
            (ABSENT, "paused (user)", Place::Destination { is: Condition::Stands, whole: Some(true) }),
            ("paused (migrating)", ABSENT, Place::Source(Condition::Stands)),
            ("paused (user)", ABSENT, Place::Source(Condition::Stands)),
            ("running (booted)", "running (booted)", Place::Both),
            ("shut off (crashed)", ABSENT, Place::Nowhere),
        ] {
            assert_eq!(of(source, destination), want, "{source}; {destination}");
        }
        assert!(matches!(of("paused (post-copy failed)", ABSENT), Place::Source(Condition::Halted(_))));
        assert!(matches!(of("paused (I/O error)", ABSENT), Place::Source(Condition::Halted(_))));
    }

    #[test]
    fn what_is_not_known_is_not_absent() {
        let hung = "error: Disconnected from x due to keepalive timeout\nerror: failed to get domain 'g1'";
        for (source, destination) in [(hung, ABSENT), (ABSENT, hung), (hung, hung), ("no state", ABSENT), ("", "")] {
            assert!(matches!(of(source, destination), Place::Unknown(_)), "{source}; {destination}");
        }
        assert_eq!(of("running (booted)", hung), Place::Source(Condition::Runs));
    }

    proptest! {
        #[test]
        fn garbage_is_no_state(text in "(\\PC|\n){0,200}") {
            let says = says(&text);
            prop_assume!(!text.contains("running") && !text.contains("paused") && !text.contains("failed to get domain"));
            prop_assert!(!matches!(says, Ok(At::Runs | At::Stands)));
        }
    }
}
