//! Where the guest is, seen from one migration, and what follows from it once the migration is said to be
//! over. Pure: no clock, no socket.
//!
//! An end is told only after the location was asked: what a command or a status says of the migration is
//! not yet what became of the guest. A source that is killed at the instant the destination runs the guest
//! says nothing more, and the migration is done all the same; a link cut in post-copy makes it "failed",
//! and the guest is at the destination.

use super::Side;
use crate::event::Location;

/// How the guest is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It runs (or sleeps, which is for others to end).
    Runs,
    /// It stands still as a stopped guest does: resuming it makes it run.
    Stands,
    /// It stands still for a reason of its own (panic, I/O error, shutdown), in the product's words:
    /// resuming it is not for us.
    Halted(String),
}

/// Where the guest is, seen from one migration. What is not known is [`Place::Unknown`], never "not there".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At the source, and nowhere else.
    Source(Condition),
    /// At the destination, and nowhere else.
    Destination {
        /// How it is there.
        is: Condition,
        /// Whether all of its memory is there; None where that is not known.
        whole: Option<bool>,
    },
    /// It runs at both.
    Both,
    /// Neither has it.
    Nowhere,
    /// Between the two: the source has handed it over, the destination is still taking it in.
    Moving,
    /// Not known, and why.
    Unknown(String),
}

impl Place {
    /// The same as a fact for the event stream, where hosts have names.
    #[must_use]
    pub fn location(&self, from: &str, to: &str) -> Location {
        let at = |host: &str, is: &Condition| Location::At { host: host.into(), running: *is == Condition::Runs };
        match self {
            Self::Source(is) => at(from, is),
            Self::Destination { is, .. } => at(to, is),
            Self::Both => Location::Both,
            Self::Nowhere => Location::Nowhere,
            Self::Moving => Location::Moving,
            Self::Unknown(why) => Location::Unknown { why: why.clone() },
        }
    }

    /// Whether it says where the guest is.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Moving | Self::Unknown(_))
    }
}

/// What is said of a migration, before the guest's location was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The source has handed everything over.
    Complete,
    /// It failed.
    Failed(String),
    /// It was cancelled; by whom.
    Cancelled(String),
    /// Nothing more can be learnt from one of the hosts.
    Blind(String),
    /// Nothing: it goes on, but it is not waited for any longer.
    Left(String),
}

/// What we owe the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duty {
    /// Whether it ran when the migration began; None where that was not known.
    pub ran: Option<bool>,
    /// We stopped it at the source, and it has not been seen to run since.
    pub owed: bool,
    /// Post-copy has begun: the destination has run the guest, so the source never may again.
    pub pulled: bool,
}

/// An end of a migration whose guest's location is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Close {
    /// The guest is at the destination, as it was at the source.
    Done,
    /// It failed, and why.
    Failed(String),
    /// It was cancelled; by whom.
    Cancelled(String),
    /// It is not waited for any longer, and why.
    Left(String),
}

/// What is to be done next about a migration that is said to be over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Resume the guest there, then ask again.
    Resume(Side),
    /// Ask again a little later: it is not known well enough.
    Look,
    /// Tell this end.
    End(Close),
}

/// What follows from what is `said` and from where the guest is.
///
/// Resumes a guest only where it is known to stand: the source only before post-copy began and only if we
/// stopped it there; the destination only if it ran before, or we stopped it.
#[must_use]
pub fn next(said: &Said, place: &Place, duty: Duty) -> Next {
    match place {
        Place::Unknown(_) | Place::Moving => Next::Look,
        Place::Both => Next::End(Close::Failed(with(
            said,
            "the guest runs on both hosts at once: stop it on one of them before its disks are damaged",
        ))),
        Place::Nowhere => Next::End(Close::Failed(with(said, "the guest is on neither host: it is lost"))),
        Place::Source(is) => at_source(said, is, duty),
        Place::Destination { is, whole } => at_destination(said, is, *whole, duty),
    }
}

fn at_source(said: &Said, is: &Condition, duty: Duty) -> Next {
    let but = match is {
        Condition::Stands if duty.owed && !duty.pulled => return Next::Resume(Side::Source),
        Condition::Runs => None,
        Condition::Stands if duty.pulled => {
            Some("post-copy had begun, so the guest is not resumed at the source, where it stands still".to_owned())
        }
        Condition::Stands if duty.ran == Some(false) => None,
        Condition::Stands => Some("the guest stands still at the source".to_owned()),
        Condition::Halted(why) => Some(format!("the guest stands still at the source ({why})")),
    };
    Next::End(match (said, but) {
        (Said::Cancelled(by), None) => Close::Cancelled(by.clone()),
        (Said::Cancelled(by), Some(but)) => Close::Failed(format!("cancelled by {by}, but {but}")),
        (Said::Failed(why) | Said::Blind(why), None) => Close::Failed(why.clone()),
        (Said::Left(why), None) => Close::Left(why.clone()),
        (Said::Left(why), Some(but)) => Close::Left(format!("{why}; {but}")),
        (Said::Complete, None) => {
            Close::Failed("the source says that everything is handed over, but the guest runs there".to_owned())
        }
        (Said::Complete, Some(but)) => Close::Failed(format!("the destination does not have the guest; {but}")),
        (Said::Failed(why) | Said::Blind(why), Some(but)) => Close::Failed(format!("{why}; {but}")),
    })
}

fn at_destination(said: &Said, is: &Condition, whole: Option<bool>, duty: Duty) -> Next {
    // What the source said to be handed over is there.
    let whole = if *said == Said::Complete { Some(true) } else { whole };
    match (is, whole) {
        (_, None) => Next::Look,
        (Condition::Runs, Some(true)) => Next::End(Close::Done),
        (Condition::Stands, Some(true)) if duty.owed || duty.ran == Some(true) => Next::Resume(Side::Destination),
        // It did not run before, or nobody knows: it is left as it is.
        (Condition::Stands, Some(true)) => Next::End(Close::Done),
        (Condition::Halted(why), Some(true)) => Next::End(Close::Failed(with(
            said,
            &format!("everything has arrived, but the guest stands still at the destination ({why})"),
        ))),
        (_, Some(false)) => {
            let lacks = "the guest is at the destination and lacks memory that was still at the source";
            Next::End(match said {
                Said::Left(why) => Close::Left(format!("{why}; {lacks}")),
                _ => Close::Failed(with(said, lacks)),
            })
        }
    }
}

fn with(said: &Said, what: &str) -> String {
    match said {
        Said::Complete => what.to_owned(),
        Said::Failed(why) | Said::Blind(why) | Said::Left(why) => format!("{why}; {what}"),
        Said::Cancelled(by) => format!("cancelled by {by}, but {what}"),
    }
}

#[cfg(test)]
mod tests;
