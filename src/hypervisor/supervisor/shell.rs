//! The supervisor at work: carries its questions to a hypervisor and the answers back. Every question is
//! bounded in time here, so the supervisor is never left without an answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::machine::Supervisor;
use super::state::{Ask, Effect, Input, Moment, RunCommand};
use crate::event::{EventSink, MigrationEnd, MigrationSettings, Nanos, Subject};
use crate::hypervisor::{HvError, Hypervisor, Migration, Observations, Place, Prospect};

/// How long making both ends ready may take: a lab may have to start a host for it.
const APPLY_WITHIN: Duration = Duration::from_secs(120);
/// How long both hosts together may take to say where the guest is.
const LOCATE_WITHIN: Duration = Duration::from_secs(10);
/// How long a hypervisor may take to answer anything else.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);

/// Runs migration `n` of a session from its settings to its end, and returns how it ended.
///
/// Writes [`MigrationEvent::Began`] when the command is about to be given, [`MigrationEvent::Requested`] for
/// whatever is wanted of it, [`MigrationEvent::Ruled`] once pre-copy has been ended from outside and
/// [`MigrationEvent::Ended`] at the end, after the guest's place was asked for; the hypervisor writes what it
/// sees. The policy ends pre-copy once; a new policy given while pre-copy goes on gets its own turn. A
/// closed `commands` channel means that no command will come, nothing more.
///
/// If the returned future is dropped while the guest is stopped, the hypervisor's safeguard acts as
/// if this process had died.
///
/// [`MigrationEvent::Began`]: crate::event::MigrationEvent::Began
/// [`MigrationEvent::Requested`]: crate::event::MigrationEvent::Requested
/// [`MigrationEvent::Ruled`]: crate::event::MigrationEvent::Ruled
/// [`MigrationEvent::Ended`]: crate::event::MigrationEvent::Ended
pub async fn run_migration(
    hypervisor: &dyn Hypervisor,
    n: u32,
    settings: MigrationSettings,
    sink: EventSink,
    commands: mpsc::Receiver<RunCommand>,
) -> MigrationEnd {
    let sink = sink.of(Subject { migration: Some(n), ..sink.subject() });
    let time = Time { began: Instant::now(), looked: 0, sink: sink.clone() };
    let begun = Supervisor::begin(n, settings, time.now());
    drive(hypervisor, time, begun, sink, commands).await
}

/// Follows migration `n` of a session, which another has begun, to its end, and returns how it ended. What is told is
/// as of one of ours, and says who began it. Nothing is changed and nothing ordered that `commands` do not ask for: the
/// migration has no stop policy, and its guest is resumed only if it was stopped by such a command.
pub async fn follow_migration(
    hypervisor: &dyn Hypervisor,
    n: u32,
    sink: EventSink,
    commands: mpsc::Receiver<RunCommand>,
) -> MigrationEnd {
    let sink = sink.of(Subject { migration: Some(n), ..sink.subject() });
    let time = Time { began: Instant::now(), looked: 0, sink: sink.clone() };
    let begun = Supervisor::follow(n, time.now());
    drive(hypervisor, time, begun, sink, commands).await
}

/// Carries questions and answers until the end is told.
async fn drive(
    hypervisor: &dyn Hypervisor,
    mut time: Time,
    (mut supervisor, mut effects): (Supervisor, Vec<Effect>),
    sink: EventSink,
    mut commands: mpsc::Receiver<RunCommand>,
) -> MigrationEnd {
    let mut migration: Option<Arc<dyn Migration>> = None;
    let mut observations: Option<Observations> = None;
    let mut asked: Option<BoxFuture<'_, Answer>> = None;
    let mut listening = true;
    loop {
        for effect in std::mem::take(&mut effects) {
            match effect {
                Effect::Tell(t, body) => sink.emit_at(t, *body),
                Effect::Ask(ask) => asked = Some(Box::pin(answer(hypervisor, migration.clone(), sink.clone(), ask))),
                Effect::Over { end, safe } => {
                    drop(asked);
                    // After the end is told, so that migration time has none of it.
                    match migration {
                        _ if !safe => {}
                        Some(migration) => migration.leave().await,
                        None => hypervisor.withdraw().await,
                    }
                    return end;
                }
            }
        }
        let wake = supervisor.wakes().map(|at| time.began + at);
        let input = tokio::select! {
            biased;
            answer = pending(asked.as_mut()) => {
                asked = None;
                if let Some(begun) = answer.migration {
                    observations = Some(begun.observe());
                    migration = Some(begun);
                }
                answer.input
            }
            // Asking for the next state says that all that follows from the last one has been ordered.
            seen = next(observations.as_mut()), if !supervisor.is_asking() => seen.unwrap_or_else(|| {
                observations = None;
                Input::Unwatched
            }),
            command = commands.recv(), if listening && supervisor.hears() => match command {
                Some(command) => Input::Wanted(command),
                None => {
                    listening = false;
                    continue;
                }
            },
            () = sleep_until(wake.unwrap_or(time.began)), if wake.is_some() => Input::Tick,
        };
        let now = time.of(&input);
        effects = supervisor.step(now, input);
    }
}

/// The time of what is told.
struct Time {
    began: Instant,
    /// The session's time of the last look, ns.
    looked: Nanos,
    sink: EventSink,
}

impl Time {
    fn now(&self) -> Moment {
        Moment { real: self.began.elapsed(), session: self.sink.clock().now() }
    }

    /// Between two looks the time of a simulation is not judged by: it goes by looks, so that a rule of time fires
    /// at the same one at every speed.
    fn of(&mut self, input: &Input) -> Moment {
        let mut now = self.now();
        match input {
            Input::Seen(_) | Input::Started(_) => self.looked = now.session,
            Input::Tick if self.sink.clock().is_simulated() => now.session = self.looked,
            _ => {}
        }
        now
    }
}

/// An answer, with the migration it has begun or found.
struct Answer {
    input: Input,
    migration: Option<Arc<dyn Migration>>,
}

async fn pending<T>(of: Option<&mut BoxFuture<'_, T>>) -> T {
    match of {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The next state; None when there will be no more.
async fn next(observations: Option<&mut Observations>) -> Option<Input> {
    match observations {
        Some(observations) => observations.next().await.ok().map(|seen| Input::Seen(Box::new(seen))),
        None => std::future::pending().await,
    }
}

/// What is answered, or that there was no answer in time.
async fn answer(
    hypervisor: &dyn Hypervisor,
    migration: Option<Arc<dyn Migration>>,
    facts: EventSink,
    ask: Ask,
) -> Answer {
    let plain = |input| Answer { input, migration: None };
    match ask {
        Ask::Prospect => {
            let unknown = || Prospect { from: "?".into(), to: "?".into(), place: unsaid(), obstacle: None };
            let prospect = timeout(LOCATE_WITHIN, hypervisor.prospect()).await.unwrap_or_else(|_| unknown());
            plain(Input::Prospect(Box::new(prospect)))
        }
        Ask::Offers => {
            let offers = timeout(ANSWER_WITHIN, hypervisor.capabilities()).await.ok().and_then(Result::ok);
            plain(Input::Offers(offers.map(Box::new)))
        }
        Ask::Apply(settings) => {
            plain(Input::Applied(bounded("to be made ready", APPLY_WITHIN, hypervisor.apply(&settings)).await))
        }
        Ask::Start => match bounded("'migrate'", ANSWER_WITHIN, hypervisor.start(facts)).await {
            Ok(migration) => {
                let seen = Box::new(migration.observe().now());
                Answer { input: Input::Started(Ok(seen)), migration: Some(migration) }
            }
            Err(e) => plain(Input::Started(Err(e))),
        },
        Ask::Join => {
            let joined = bounded("whether it migrates", ANSWER_WITHIN, hypervisor.join(facts)).await.ok().flatten();
            Answer { input: Input::Joined(joined.is_some()), migration: joined }
        }
        Ask::Order(order, within) => match migration {
            Some(migration) => {
                let what = order.words();
                let result = bounded(what, within, migration.order(order)).await;
                plain(Input::Ordered(result, Box::new(migration.observe().now())))
            }
            None => {
                let what = order.words().to_owned();
                let e = HvError::NotNow { what, why: "there is no migration".into() };
                plain(Input::Ordered(Err(e), Box::default()))
            }
        },
        Ask::Locate => {
            let asked = async {
                match &migration {
                    Some(migration) => migration.locate().await,
                    None => hypervisor.prospect().await.place,
                }
            };
            plain(Input::Located(timeout(LOCATE_WITHIN, asked).await.unwrap_or_else(|_| unsaid())))
        }
    }
}

fn unsaid() -> Place {
    Place::Unknown(format!("the hosts do not say within {} s where it is", LOCATE_WITHIN.as_secs()))
}

async fn bounded<T>(
    what: &str,
    within: Duration,
    answer: impl Future<Output = Result<T, HvError>>,
) -> Result<T, HvError> {
    match timeout(within, answer).await {
        Ok(answer) => answer,
        Err(_) => {
            Err(HvError::Silent { host: "of this migration".into(), what: what.into(), seconds: within.as_secs() })
        }
    }
}
