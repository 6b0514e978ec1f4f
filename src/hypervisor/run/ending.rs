//! The end of a migration: asked from where the guest is, not from what was said.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Run, RunCommand, bounded};
use crate::event::{By, Level, Location, MigrationEnd, Then};
use crate::hypervisor::Side;
use crate::hypervisor::place::{Close, Duty, Next, Place, Said, next};

/// How long both hosts together may take to say where the guest is.
pub(super) const LOCATE_WITHIN: Duration = Duration::from_secs(6);
/// How long a destination may take to take in what was handed over to it.
pub(super) const ARRIVE_WITHIN: Duration = Duration::from_secs(60);
/// How long it is asked for a guest's place that is not known.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// The same for a migration that is not waited for any longer.
const LEFT_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks: a guest we stopped stands still until we see that it has arrived.
const LOOK: Duration = Duration::from_millis(5);
/// How long a resume of a guest that is known to stand there may take.
const RESUME_WITHIN: Duration = Duration::from_secs(10);
/// How often a guest is told to run before that is left to the operator.
const RESUMES: u32 = 3;
/// How long the driver may take to tell its last figures of a migration that is known to be done.
const FIGURES_WITHIN: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Finds where the guest is, sees to it that it runs where it ran before, and tells the end that follows
    /// from that. The second value says whether the guest is seen to; if not, the safeguards are left to
    /// try on their own.
    pub(super) async fn conclude(
        &mut self,
        said: Said,
        commands: &mut mpsc::Receiver<RunCommand>,
    ) -> (MigrationEnd, bool) {
        let begun = Instant::now();
        let mut hurried = None;
        let mut listening = true;
        let mut resumes = 0;
        let mut trouble = None;
        loop {
            let place = self.locate().await;
            let duty = Duty { ran: self.ran, owed: self.owed, pulled: self.pulled };
            match next(&said, &place, duty) {
                Next::End(close) => return (self.close(close, trouble).await, true),
                Next::Resume(side) if resumes < RESUMES => {
                    resumes += 1;
                    trouble = self.resume(side).await;
                    if trouble.is_some() {
                        tokio::time::sleep(LOOK * 20).await;
                    }
                    continue;
                }
                Next::Resume(side) => {
                    let said = reason(&said).map(|why| format!("{why}; ")).unwrap_or_default();
                    let trouble = trouble.map(|why| format!(": {why}")).unwrap_or_default();
                    let why = format!("{said}the guest stands still at the {}{trouble}", side.word());
                    return (MigrationEnd::Failed { why }, false);
                }
                Next::Look => {
                    let patience = match (&said, &place) {
                        (Said::Left(_), _) => LEFT_WITHIN,
                        (_, Place::Moving) => ARRIVE_WITHIN,
                        _ => KNOWN_WITHIN,
                    };
                    let over = hurried.is_some_and(|until| Instant::now() >= until);
                    if over || begun.elapsed() > patience {
                        return (self.lost_sight(&said, &place), !self.owed);
                    }
                }
            }
            // Close together at first, when each look is downtime, then less often.
            let pause = if begun.elapsed() < Duration::from_secs(2) { LOOK } else { LOOK * 40 };
            tokio::select! {
                biased;
                command = commands.recv(), if listening => match command {
                    None => listening = false,
                    Some(RunCommand::Cancel { by }) => {
                        if matches!(by, By::GiveUpAfter { .. } | By::Closing) {
                            hurried.get_or_insert(Instant::now() + LEFT_WITHIN);
                        }
                        self.request(self.now(), Then::Cancel, by);
                        self.refused(Then::Cancel, "the migration is over; where the guest is, is being found out".into());
                    }
                    Some(_) => self.log(Level::Warn, "the migration is over: not done".into()),
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sees to it that the guest runs there. Returns what went wrong.
    async fn resume(&mut self, side: Side) -> Option<String> {
        if !self.owed && side == Side::Destination {
            self.log(Level::Info, "the guest arrived standing still; resuming it".into());
        }
        let resumed = match side {
            Side::Source => bounded("to run the guest", RESUME_WITHIN, self.driver.resume_source()).await,
            Side::Destination => bounded("to run the guest", RESUME_WITHIN, self.driver.resume_destination()).await,
        };
        match resumed {
            Ok(()) => {
                if side == Side::Source {
                    self.log(Level::Info, "the guest runs at the source again".into());
                }
                None
            }
            Err(e) => Some(e.to_string()),
        }
    }

    async fn close(&mut self, close: Close, trouble: Option<String>) -> MigrationEnd {
        if let Some(trouble) = trouble {
            self.log(Level::Warn, format!("the guest was told to run and it was said: {trouble}"));
        }
        let befell = self.seen.now().befell;
        let with = |why: String| match &befell {
            Some(befell) if !why.contains(befell.as_str()) => format!("{why}; {befell}"),
            _ => why,
        };
        match close {
            Close::Done => {
                // Its last figures may be on their way.
                let mut now = self.seen.now();
                let over = async {
                    while !now.phase.is_over() && now.source_lost.is_none() {
                        match self.seen.next().await {
                            Ok(next) => now = next,
                            Err(_) => break,
                        }
                    }
                };
                let _ = tokio::time::timeout(FIGURES_WITHIN, over).await;
                MigrationEnd::Done
            }
            Close::Failed(why) => MigrationEnd::Failed { why: with(why) },
            Close::Cancelled(by) => MigrationEnd::Cancelled { by },
            Close::Left(why) => self.unsettled(with(why)),
        }
    }

    /// The end of a migration whose guest could not be found in time.
    fn lost_sight(&mut self, said: &Said, place: &Place) -> MigrationEnd {
        let where_to = match place {
            Place::Moving => "the destination has not taken it in".to_owned(),
            Place::Unknown(why) => why.clone(),
            _ => "whether all of its memory has arrived is not known".to_owned(),
        };
        let why = match reason(said) {
            Some(said) => format!("{said}; {where_to}"),
            None => where_to,
        };
        self.unsettled(why)
    }

    fn unsettled(&self, why: String) -> MigrationEnd {
        let (last, seen) = match &self.last {
            Some((location, t)) => (location.clone(), Some(*t)),
            None => (Location::Unknown { why: "it was never seen".into() }, None),
        };
        MigrationEnd::Unsettled { why, last, seen }
    }
}

fn reason(said: &Said) -> Option<String> {
    match said {
        Said::Complete => None,
        Said::Failed(why) | Said::Blind(why) | Said::Left(why) => Some(why.clone()),
        Said::Cancelled(by) => Some(format!("cancelled by {by}")),
    }
}
