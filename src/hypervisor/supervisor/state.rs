//! The words of the supervisor: its states, what it is told, and what it asks for.

use std::time::Duration;

use crate::event::{Body, By, Capabilities, MigrationEnd, MigrationSettings, Nanos, Then};
use crate::hypervisor::place::{Duty, Place, Said};
use crate::hypervisor::{HvError, Observation, Order, Prospect, Side};

/// What the operator wants of the running migration.
#[derive(Debug, Clone, PartialEq)]
pub enum RunCommand {
    /// Give up; the guest stays at the source.
    Cancel {
        /// Who wants it.
        by: By,
    },
    /// Stop the guest now and let the migration finish.
    StopAndCopy,
    /// Run the guest at the destination now and pull the rest.
    PostCopy,
    /// New settings, with their stop policy; those that still can be are put to the running migration.
    SetMigration(MigrationSettings),
}

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moment {
    /// In real time, since the supervisor began. All patience is counted in it.
    pub(super) real: Duration,
    /// In the session's time, ns. All facts bear it, and rules of time are counted in it.
    pub(super) session: Nanos,
}

/// What has been done to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    /// Nothing.
    Off,
    /// We stopped it at the source, or may have: it is owed a resume.
    Stopped,
    /// Post-copy has begun, or may have: it never may run at the source again. `owed`: we had stopped it before.
    Pulled { owed: bool },
}

impl Hand {
    pub(super) fn is_owed(self) -> bool {
        matches!(self, Self::Stopped | Self::Pulled { owed: true })
    }

    pub(super) fn is_pulled(self) -> bool {
        matches!(self, Self::Pulled { .. })
    }

    /// After post-copy has begun.
    pub(super) fn pulled(self) -> Self {
        Self::Pulled { owed: self.is_owed() }
    }

    /// What we owe a guest that ran, or did not, when the migration began.
    pub(super) fn duty(self, ran: Option<bool>) -> Duty {
        Duty { ran, owed: self.is_owed(), pulled: self.is_pulled() }
    }
}

/// The legal states of a migration under the supervisor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// Both ends are made ready. Nothing has begun, so a wish to cancel ends it at once.
    Preparing,
    /// The command to migrate has been given, and not been answered yet.
    Starting,
    /// The guest is where it was. `ruled`: pre-copy has been ended once, or that was tried; the policy has had
    /// its turn.
    Copying { ruled: bool },
    /// We stopped the guest at the source.
    Stopped,
    /// The guest runs at the destination and pulls what it lacks. `owed`: we had stopped it before.
    Pulling { owed: bool },
    /// Somebody wants it cancelled, and that was not refused. A cancel may come too late.
    Cancelling { hand: Hand, by: String },
    /// Everything has been handed over, and the guest was not seen to run yet; since when, in real time.
    Arriving { hand: Hand, by: Option<String>, since: Duration },
    /// It is said to be over: where the guest is, is asked, until that is known and it is seen to.
    Concluding(Concluding),
    /// The end is told.
    Over,
}

/// What is done once a migration is said to be over.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Concluding {
    pub(super) hand: Hand,
    pub(super) said: Said,
    /// Since when, in real time.
    pub(super) since: Duration,
    /// Until when somebody in a hurry waits.
    pub(super) until: Option<Duration>,
    /// How often the guest was told to run.
    pub(super) resumes: u32,
    /// What was said to that last.
    pub(super) trouble: Option<String>,
    /// When the guest is looked for next, in real time.
    pub(super) look_at: Duration,
    /// It is done; its last figures are waited for until then.
    pub(super) figures: Option<Duration>,
}

impl State {
    /// What has been done to the guest.
    pub(super) fn hand(&self) -> Hand {
        match self {
            Self::Preparing | Self::Starting | Self::Copying { .. } | Self::Over => Hand::Off,
            Self::Stopped => Hand::Stopped,
            Self::Pulling { owed } => Hand::Pulled { owed: *owed },
            Self::Cancelling { hand, .. } | Self::Arriving { hand, .. } => *hand,
            Self::Concluding(Concluding { hand, .. }) => *hand,
        }
    }

    /// Whoever wants it cancelled.
    pub(super) fn cancelled_by(&self) -> Option<&str> {
        match self {
            Self::Cancelling { by, .. } => Some(by),
            Self::Arriving { by, .. } => by.as_deref(),
            _ => None,
        }
    }

    /// Whether the migration runs as far as anybody knows.
    pub(super) fn is_running(&self) -> bool {
        !matches!(self, Self::Preparing | Self::Starting | Self::Concluding(_) | Self::Over)
    }

    /// The same with this done to the guest.
    pub(super) fn with(self, to: Hand) -> Self {
        match self {
            Self::Cancelling { by, .. } => Self::Cancelling { hand: to, by },
            Self::Arriving { by, since, .. } => Self::Arriving { hand: to, by, since },
            Self::Concluding(c) => Self::Concluding(Concluding { hand: to, ..c }),
            other => match to {
                Hand::Off => other,
                Hand::Stopped => Self::Stopped,
                Hand::Pulled { owed } => Self::Pulling { owed },
            },
        }
    }
}

/// What the supervisor is told.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// Nothing new, but time has passed.
    Tick,
    /// The operator wants something.
    Wanted(RunCommand),
    /// The next state of the migration.
    Seen(Box<Observation>),
    /// Nothing more can be seen of it.
    Unwatched,
    /// The answer to [`Ask::Prospect`].
    Prospect(Box<Prospect>),
    /// The answer to [`Ask::Offers`]; None where there was none.
    Offers(Option<Box<Capabilities>>),
    /// The answer to [`Ask::Apply`].
    Applied(Result<(), HvError>),
    /// The answer to [`Ask::Start`], with the first state of the migration.
    Started(Result<Box<Observation>, HvError>),
    /// The answer to [`Ask::Join`]: whether there is one.
    Joined(bool),
    /// The answer to [`Ask::Order`], with the newest state of the migration.
    Ordered(Result<(), HvError>, Box<Observation>),
    /// The answer to [`Ask::Locate`].
    Located(Place),
}

/// What the supervisor asks for, one at a time; the answer is the next thing it is told. While it has
/// both ends made ready it hears what the operator wants as well.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ask {
    /// Where the guest is, and what the migration would be.
    Prospect,
    /// What is offered.
    Offers,
    /// That both ends are made ready.
    Apply(Box<MigrationSettings>),
    /// That it begins.
    Start,
    /// Whether it has begun after all.
    Join,
    /// An order, and how long it may take.
    Order(Order, Duration),
    /// Where the guest is.
    Locate,
}

/// What the supervisor does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// A fact for the event stream, and its time.
    Tell(Nanos, Box<Body>),
    /// Asks something.
    Ask(Ask),
    /// It ended so. `safe`: the guest is seen to; if not, safeguards are left to try on their own.
    Over { end: MigrationEnd, safe: bool },
}

/// What the answer to the last [`Ask`] is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Awaited {
    /// The names of both ends, and whether there is an obstacle.
    Ends,
    /// What is offered.
    Offers,
    /// Both ends are made ready.
    Ready,
    /// Where the guest is just before it begins.
    Departure,
    /// It begins.
    Begun,
    /// Whether a migration whose start was not answered has begun.
    AfterAll(HvError),
    /// Pre-copy is to be ended.
    Ending(Ending),
    /// What the policy wanted was refused, and it is cancelled instead; the state before.
    Instead(State),
    /// It cannot end well any more and is cancelled; then it is concluded.
    Last(Said),
    /// Whether a migration that another has begun is still there.
    Followed,
    /// New settings.
    Settings(Box<MigrationSettings>),
    /// The guest is to run there.
    Resume(Side),
    /// Whether the guest has arrived.
    Arrival,
    /// Whether anything can be learnt of a migration that tells nothing new.
    Quiet,
    /// Where the guest is, now that it is said to be over.
    Place,
}

/// An order that ends pre-copy, or the migration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    pub(super) by: By,
    pub(super) then: Then,
    /// When it was decided, ns of the session clock.
    pub(super) decided: Nanos,
    /// The state before.
    pub(super) before: State,
}
