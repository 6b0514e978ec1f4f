//! Random sequences: whatever is answered and in whatever order it comes, a guest is not harmed and every wait ends.

use std::time::Duration;

use proptest::prelude::*;

use super::machine::Supervisor;
use super::state::{Ask, Effect, Input, Moment, RunCommand, State};
use crate::event::{
    Body, By, Capabilities, HvEvent, MigrationEnd, MigrationEvent, MigrationSettings, Phase, Sees, StopPolicy, Then,
};
use crate::hypervisor::place::{Condition, Place};
use crate::hypervisor::{HvError, Observation, Order, Prospect, Side};

/// However a migration goes: so long after its session is closed it has an end.
const ENDS_WITHIN: Duration = Duration::from_secs(200);

/// One turn of whoever plays the hypervisor and the operator.
#[derive(Debug, Clone)]
struct Turn {
    passes: Duration,
    answer: Answer,
    place: Place,
    seen: Observation,
    wanted: Option<RunCommand>,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Yes,
    No,
    None,
}

impl Answer {
    fn result(self) -> Result<(), HvError> {
        match self {
            Self::Yes => Ok(()),
            Self::No => Err(HvError::NotNow { what: "do it".into(), why: "not today".into() }),
            Self::None => Err(HvError::Silent { host: "a".into(), what: "it".into(), seconds: 5 }),
        }
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::Runs),
        4 => Just(Condition::Stands),
        1 => Just(Condition::Halted("io-error".into()))
    ]
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        4 => condition().prop_map(Place::Source),
        4 => (condition(), any::<Option<bool>>()).prop_map(|(is, whole)| Place::Destination { is, whole }),
        1 => Just(Place::Both),
        1 => Just(Place::Nowhere),
        3 => Just(Place::Moving),
        3 => Just(Place::Unknown("silent".into())),
    ]
}

fn seen() -> impl Strategy<Value = Observation> {
    let phase = prop_oneof![
        2 => Just(Phase::Setup),
        12 => Just(Phase::PreCopy),
        3 => Just(Phase::StopAndCopy),
        2 => Just(Phase::PostCopy),
        1 => Just(Phase::Recovery),
        1 => Just(Phase::Done),
        1 => Just(Phase::Failed),
        1 => Just(Phase::Cancelled),
        1 => Just(Phase::Unknown),
    ];
    let lost = || prop_oneof![30 => Just(None), 1 => Just(Some("it hung up".to_owned()))];
    (phase, any::<Option<bool>>(), prop::bool::weighted(0.1), lost(), lost(), 1u64..40).prop_map(
        |(phase, source_running, complete, source_lost, destination_lost, round)| Observation {
            phase,
            source_running,
            complete,
            source_lost,
            destination_lost,
            round: Some(round),
            ..Observation::default()
        },
    )
}

fn wanted() -> impl Strategy<Value = Option<RunCommand>> {
    prop_oneof![
        12 => Just(None),
        1 => Just(Some(RunCommand::Cancel { by: By::Operator })),
        3 => Just(Some(RunCommand::StopAndCopy)),
        1 => Just(Some(RunCommand::PostCopy)),
        1 => policy().prop_map(|policy| {
            Some(RunCommand::SetMigration(MigrationSettings { policy, ..MigrationSettings::default() }))
        }),
    ]
}

fn policy() -> impl Strategy<Value = StopPolicy> {
    let then = prop_oneof![Just(Then::StopAndCopy), Just(Then::PostCopy), Just(Then::AutoConverge), Just(Then::Cancel)];
    (then, prop::option::of(1u64..40), prop::option::of(1u64..20)).prop_map(|(then, rounds, after_s)| StopPolicy {
        rounds,
        after_ns: after_s.map(|s| s * 1_000_000_000),
        then,
        ..StopPolicy::none()
    })
}

fn turn() -> impl Strategy<Value = Turn> {
    let answer = prop_oneof![6 => Just(Answer::Yes), 1 => Just(Answer::No), 1 => Just(Answer::None)];
    (1u64..4000, answer, place(), seen(), wanted()).prop_map(|(ms, answer, place, seen, wanted)| Turn {
        passes: Duration::from_millis(ms),
        answer,
        place,
        seen,
        wanted,
    })
}

fn offers() -> impl Strategy<Value = Option<Capabilities>> {
    prop::option::of(any::<[bool; 4]>()).prop_map(|of| {
        let [stop_and_copy, post_copy, auto_converge, cancel] = of?;
        Some(Capabilities { stop_and_copy, post_copy, auto_converge, cancel, ..Capabilities::default() })
    })
}

/// What was given and answered.
#[derive(Debug, Default)]
struct Course {
    /// StopSource was ordered, and not refused.
    stopped: bool,
    /// Post-copy was ordered and not refused, or seen.
    pulled: bool,
    started: bool,
    located: Option<Place>,
    end: Option<(MigrationEnd, bool)>,
    told_ends: usize,
}

fn source_runs() -> Prospect {
    Prospect { from: "a".into(), to: "b".into(), place: Place::Source(Condition::Runs), obstacle: None }
}

/// Plays a migration to its end: the turns once, then the session is closed and they are played on.
fn play(turns: &[Turn], offers: Option<&Capabilities>, policy: StopPolicy) -> Course {
    let settings = MigrationSettings { policy, ..MigrationSettings::default() };
    let mut now = Moment::default();
    let (mut supervisor, mut effects) = Supervisor::begin(1, settings, now);
    let mut course = Course::default();
    let mut closed: Option<Duration> = None;
    for (i, turn) in turns.iter().cycle().enumerate() {
        let mut asked = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Tell(_, body) => {
                    let is_end = matches!(*body, Body::Migration(MigrationEvent::Ended { .. }));
                    course.told_ends += usize::from(is_end);
                }
                Effect::Ask(ask) => assert!(asked.replace(ask).is_none(), "two questions at once"),
                Effect::Over { end, safe } => course.end = Some((end, safe)),
            }
        }
        if course.end.is_some() {
            return course;
        }
        let over_by = closed.map(|at| at + ENDS_WITHIN);
        assert!(over_by.is_none_or(|by| now.real < by), "no end: {:?}", supervisor.state);
        let passes = if asked.is_some() { turn.passes } else { turn.passes / 40 };
        now.real += passes;
        now.session += u64::try_from(passes.as_nanos()).unwrap();
        let input = match asked {
            Some(ask) => answer(ask, turn, &mut course, offers),
            None if closed.is_none() && i >= turns.len() => {
                closed = Some(now.real);
                Input::Wanted(RunCommand::Cancel { by: By::Closing })
            }
            None => match &turn.wanted {
                Some(wanted) if closed.is_none() => Input::Wanted(wanted.clone()),
                // Once the session is closed, a hypervisor that tells nothing new any more.
                _ if closed.is_some() || i % 2 == 0 => Input::Tick,
                _ => {
                    course.pulled |= turn.seen.phase == Phase::PostCopy && supervisor.state.is_running();
                    Input::Seen(Box::new(turn.seen.clone()))
                }
            },
        };
        effects = supervisor.step(now, input);
    }
    unreachable!("the turns are played for ever")
}

fn answer(ask: Ask, turn: &Turn, course: &mut Course, offers: Option<&Capabilities>) -> Input {
    let refused = matches!(turn.answer, Answer::No);
    match ask {
        Ask::Prospect => Input::Prospect(Box::new(source_runs())),
        Ask::Offers => Input::Offers(offers.cloned().map(Box::new)),
        Ask::Apply(_) => Input::Applied(turn.answer.result()),
        Ask::Start => {
            course.started = !refused;
            Input::Started(turn.answer.result().map(|()| Box::default()))
        }
        Ask::Join => Input::Joined(matches!(turn.answer, Answer::Yes)),
        Ask::Locate => {
            course.located = Some(turn.place.clone());
            Input::Located(turn.place.clone())
        }
        Ask::Order(order, _) => {
            check(&order, course, offers);
            course.stopped |= order == Order::StopSource && !refused;
            course.pulled |= order == Order::PostCopy && !refused;
            let newest = Observation { phase: Phase::PreCopy, ..Observation::default() };
            Input::Ordered(turn.answer.result(), Box::new(newest))
        }
    }
}

/// An order is offered, and harms nobody.
fn check(order: &Order, course: &Course, offers: Option<&Capabilities>) {
    let offered = |then| offers.is_none_or(|offers| offers.takes(then));
    let ok = match order {
        Order::StopSource => offered(Then::StopAndCopy),
        Order::PostCopy => offered(Then::PostCopy),
        Order::AutoConverge => offered(Then::AutoConverge),
        Order::Cancel => offered(Then::Cancel),
        Order::Settings(_) => true,
        Order::Resume(Side::Source) => {
            course.stopped && !course.pulled && course.located == Some(Place::Source(Condition::Stands))
        }
        Order::Resume(Side::Destination) => {
            matches!(course.located, Some(Place::Destination { is: Condition::Stands, .. }))
        }
    };
    assert!(ok, "{order:?} after {course:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_that_is_answered_harms_a_guest_and_every_wait_ends(
        turns in prop::collection::vec(turn(), 1..60), offers in offers(), policy in policy(),
    ) {
        let course = play(&turns, offers.as_ref(), policy);
        let (end, safe) = course.end.clone().unwrap();
        prop_assert_eq!(course.told_ends, 1);
        if course.started {
            prop_assert!(course.located.is_some(), "an end without having asked for the guest: {:?}", course);
        }
        // A guest we stopped is not left standing where it could run, and said to be seen to.
        let stands = match &course.located {
            Some(Place::Source(Condition::Stands)) => !course.pulled,
            Some(Place::Destination { is: Condition::Stands, whole: Some(true) }) => true,
            _ => false,
        };
        prop_assert!(!(course.stopped && stands && safe), "{:?}", course);
        let there = matches!(&course.located, Some(Place::Destination { .. }));
        prop_assert!(end != MigrationEnd::Done || there, "{:?}", course);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn of_one_that_another_has_begun_nothing_is_ordered(turns in prop::collection::vec(turn(), 1..60), offers in offers()) {
        let mut now = Moment::default();
        let (mut supervisor, mut effects) = Supervisor::follow(1, now);
        let mut by = None;
        for turn in &turns {
            let mut asked = None;
            for effect in effects.drain(..) {
                match effect {
                    Effect::Ask(ask) => {
                        prop_assert!(matches!(ask, Ask::Prospect | Ask::Offers | Ask::Join | Ask::Locate), "{:?}", ask);
                        asked = Some(ask);
                    }
                    Effect::Tell(_, body) => if let Body::Migration(MigrationEvent::Began { by: whose, .. }) = *body {
                        by = whose;
                    },
                    Effect::Over { .. } => prop_assert_eq!(by.clone(), Some(By::Another)),
                }
            }
            now.real += turn.passes;
            now.session += u64::try_from(turn.passes.as_nanos()).unwrap();
            let input = match asked {
                Some(ask) => answer(ask, turn, &mut Course::default(), offers.as_ref()),
                None => Input::Seen(Box::new(turn.seen.clone())),
            };
            effects = supervisor.step(now, input);
        }
    }
}

/// A hypervisor that does what it is told and says where the guest is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum World {
    Source { runs: bool },
    OnItsWay { ran: bool },
    Destination { runs: bool },
}

impl World {
    fn place(self) -> Place {
        let is = |runs| if runs { Condition::Runs } else { Condition::Stands };
        match self {
            Self::Source { runs } => Place::Source(is(runs)),
            Self::OnItsWay { .. } => Place::Moving,
            Self::Destination { runs } => Place::Destination { is: is(runs), whole: Some(true) },
        }
    }

    fn obey(&mut self, order: &Order) -> Result<(), HvError> {
        *self = match (*self, order) {
            (Self::Source { .. }, Order::StopSource) => Self::Source { runs: false },
            (Self::Source { .. }, Order::Resume(Side::Source)) => Self::Source { runs: true },
            (Self::Destination { .. }, Order::Resume(Side::Destination)) => Self::Destination { runs: true },
            (_, Order::Resume(_)) => panic!("{order:?} of a guest that is {self:?}"),
            (now @ Self::Source { .. }, Order::Cancel | Order::Settings(_)) => now,
            _ => return Err(HvError::NotNow { what: "do it".into(), why: "not in this state".into() }),
        };
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Stopped, handed over, failed, cancelled or cut off at any instant: in the end the guest runs, once.
    #[test]
    fn a_guest_that_ran_runs_at_the_end(
        stop_at in 0usize..30, ends_at in 0usize..60, how in 0u8..4, takes in 0usize..30, told in any::<bool>(),
    ) {
        let mut now = Moment::default();
        let (mut supervisor, mut effects) = Supervisor::begin(1, MigrationSettings::default(), now);
        let mut world = World::Source { runs: true };
        let mut seen = Observation { phase: Phase::PreCopy, source_running: Some(true), ..Observation::default() };
        let (mut end, mut moves, mut wants_stop) = (None, None, false);
        for i in 0.. {
            let mut asked = None;
            for effect in effects.drain(..) {
                match effect {
                    Effect::Ask(ask) => asked = Some(ask),
                    Effect::Over { end: is, safe } => end = Some((is, safe)),
                    Effect::Tell(..) => {}
                }
            }
            if end.is_some() {
                break;
            }
            prop_assert!(i < 10_000, "no end: {:?}", supervisor.state);
            now.real += Duration::from_millis(20);
            now.session += 20_000_000;
            if i == ends_at + 10 {
                match (how, world) {
                    // All is handed over; it arrives a little later, standing if it was stopped.
                    (0, World::Source { runs }) => {
                        world = World::OnItsWay { ran: runs };
                        moves = Some(i + takes);
                        seen.complete = true;
                    }
                    (1, _) => (seen.phase, seen.error) = (Phase::Failed, Some("the wire was cut".into())),
                    (2, _) => seen.phase = Phase::Cancelled,
                    _ => seen.source_lost = Some("it hung up".into()),
                }
            }
            if moves == Some(i) && let World::OnItsWay { ran } = world {
                world = World::Destination { runs: ran };
                if told {
                    seen.phase = Phase::Done;
                }
            }
            wants_stop |= i == stop_at + 10;
            let input = match asked {
                Some(Ask::Prospect) => Input::Prospect(Box::new(Prospect { place: world.place(), ..source_runs() })),
                Some(Ask::Offers) => Input::Offers(None),
                Some(Ask::Apply(_)) => Input::Applied(Ok(())),
                Some(Ask::Start) => Input::Started(Ok(Box::new(seen.clone()))),
                Some(Ask::Join) => Input::Joined(false),
                Some(Ask::Locate) => Input::Located(world.place()),
                Some(Ask::Order(order, _)) => Input::Ordered(world.obey(&order), Box::new(seen.clone())),
                None if std::mem::take(&mut wants_stop) => Input::Wanted(RunCommand::StopAndCopy),
                None => Input::Seen(Box::new(seen.clone())),
            };
            effects = supervisor.step(now, input);
        }
        let (end, safe) = end.unwrap();
        let runs = matches!(world, World::Source { runs: true } | World::Destination { runs: true });
        prop_assert!(runs && safe, "{:?} {:?}", world, end);
        prop_assert_eq!(end == MigrationEnd::Done, matches!(world, World::Destination { .. }));
    }
}

#[test]
fn what_cannot_be_seen_or_is_not_offered_is_refused_before_the_start() {
    let offers = Capabilities {
        product: "virsh 11.3".into(),
        cancel: true,
        stop_and_copy: true,
        sees: Some(Sees { sent: true, total: true, ..Sees::default() }),
        ..Capabilities::default()
    };
    for (policy, want) in [
        (
            "rounds=10",
            "virsh 11.3 does not tell its rounds, so its rule 'rounds' would never fire; rules that can: ram, after",
        ),
        ("remaining=50", "what is left when a round begins"),
        (
            "after=3s,then=post-copy",
            "ends with post-copy, but virsh 11.3 does not offer it; it offers: stop-and-copy, cancel",
        ),
    ] {
        let settings = MigrationSettings { policy: policy.parse().unwrap(), ..MigrationSettings::default() };
        let (mut supervisor, _) = Supervisor::begin(1, settings, Moment::default());
        supervisor.step(Moment::default(), Input::Prospect(Box::new(source_runs())));
        let effects = supervisor.step(Moment::default(), Input::Offers(Some(Box::new(offers.clone()))));
        let Some(Effect::Over { end: MigrationEnd::Failed { why }, .. }) = effects.last() else {
            panic!("{effects:?}")
        };
        assert!(why.contains(want), "{why}");
        assert_eq!(supervisor.state, State::Over);
        assert!(!effects.iter().any(|e| matches!(e, Effect::Ask(_))));
    }
}

#[test]
fn a_cancel_while_both_ends_are_made_ready_ends_it_at_once() {
    let (mut supervisor, _) = Supervisor::begin(1, MigrationSettings::default(), Moment::default());
    let effects = supervisor.step(Moment::default(), Input::Wanted(RunCommand::Cancel { by: By::Operator }));
    assert!(matches!(effects.last(), Some(Effect::Over { end: MigrationEnd::Cancelled { .. }, safe: true })));
    let located = |e: &Effect| match e {
        Effect::Tell(_, body) => matches!(**body, Body::Hypervisor(HvEvent::Located { .. })),
        _ => false,
    };
    assert!(!effects.iter().any(located));
}
