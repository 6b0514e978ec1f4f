//! A probe that knows nothing: one that was never answered, or whose target had fallen silent long before
//! the migration began. Neither says anything of the migration.

use super::seen::ProbeSeen;
use crate::event::{Nanos, Outcome};
use crate::units::{show_count, show_duration};
use std::time::Duration;

/// A guest that had not answered for so long, and to so many probes, was silent already, ns.
const SILENT: u64 = 1_000_000_000;
const SILENT_SLOTS: u64 = 3;

/// What the time before a migration says of its probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silence {
    /// The guest was answering, or there is no telling.
    Hearing,
    /// The probe knows nothing of the migration, and why.
    Deaf(String),
}

/// Whether the guest answered when the migration began.
pub(super) fn before(probe: &ProbeSeen<'_>, began: Nanos, end: Nanos) -> Silence {
    let to = probe.outcomes.partition_point(|o| o.sent < began);
    let unanswered = |o: &Outcome| o.fate.class().is_down();
    let (mut silent, mut last, mut first_lost) = (0_u64, None, began);
    for outcome in probe.outcomes.range(..to).rev() {
        if let Some(answered) = outcome.answered() {
            // A late answer to an old probe is an answer still, if it came before the migration did.
            last = Some(outcome.sent.max(answered.min(began)));
            break;
        }
        if unanswered(outcome) {
            silent += 1;
            first_lost = outcome.sent;
        }
    }
    let Some(last) = last else {
        let within = probe.outcomes.range(to..).take_while(|o| o.sent <= end);
        let (lost, answered) = within.fold((silent, false), |(lost, answered), o| {
            (lost + u64::from(unanswered(o)), answered || o.answered().is_some())
        });
        return match (silent, answered) {
            (_, false) if lost > 0 => Silence::Deaf(format!(
                "the guest answered none of {}: filtered, or not the guest's address, or gone before",
                probes(lost)
            )),
            (SILENT_SLOTS.., true) => Silence::Deaf(format!(
                "the guest answered none of the {} before the migration began, so when it fell silent is not known",
                probes(silent)
            )),
            _ => Silence::Hearing,
        };
    };
    if silent >= SILENT_SLOTS && began.saturating_sub(last) >= SILENT {
        let since = show_duration(Duration::from_nanos(began.saturating_sub(first_lost)));
        return Silence::Deaf(format!(
            "the guest had answered no probe for {since} when the migration began ({}): its silence is not the \
             migration's",
            probes(silent)
        ));
    }
    Silence::Hearing
}

fn probes(n: u64) -> String {
    if n == 1 { "1 probe".to_owned() } else { format!("{} probes", show_count(n)) }
}
