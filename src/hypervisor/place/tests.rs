use proptest::prelude::*;

use super::*;

const RAN: Duty = Duty { ran: Some(true), owed: false, pulled: false };
const OWED: Duty = Duty { ran: Some(true), owed: true, pulled: false };
const PULLED: Duty = Duty { ran: Some(true), owed: false, pulled: true };

fn failed() -> Said {
    Said::Failed("the wire was cut".into())
}

fn there(is: Condition, whole: Option<bool>) -> Place {
    Place::Destination { is, whole }
}

#[test]
fn an_end_follows_from_where_the_guest_is() {
    let cancelled = || Said::Cancelled("the operator".into());
    let runs = || there(Condition::Runs, Some(true));
    // Whatever is said: a whole guest that runs at the destination has been migrated.
    for said in [Said::Complete, failed(), cancelled(), Said::Blind("source gone".into()), Said::Left("x".into())] {
        assert_eq!(next(&said, &runs(), RAN), Next::End(Close::Done), "{said:?}");
    }
    let source = |is| Place::Source(is);
    assert_eq!(next(&failed(), &source(Condition::Runs), RAN), Next::End(Close::Failed("the wire was cut".into())));
    assert_eq!(next(&cancelled(), &source(Condition::Runs), RAN), Next::End(Close::Cancelled("the operator".into())));
    assert_eq!(next(&cancelled(), &source(Condition::Stands), OWED), Next::Resume(Side::Source));
    assert_eq!(next(&failed(), &source(Condition::Stands), OWED), Next::Resume(Side::Source));
    assert_eq!(next(&Said::Complete, &there(Condition::Stands, None), RAN), Next::Resume(Side::Destination));
    // A guest that somebody else had stopped before stays as it was, and where nothing is known nothing is done.
    for ran in [Some(false), None] {
        let duty = Duty { ran, ..RAN };
        assert_eq!(next(&Said::Complete, &there(Condition::Stands, None), duty), Next::End(Close::Done));
    }
    for place in [Place::Moving, Place::Unknown("silent".into())] {
        for said in [Said::Complete, failed(), cancelled()] {
            assert_eq!(next(&said, &place, OWED), Next::Look);
        }
    }
}

#[test]
fn a_guest_cut_off_in_post_copy_is_not_told_as_done() {
    let Next::End(Close::Failed(why)) = next(&failed(), &there(Condition::Runs, Some(false)), PULLED) else { panic!() };
    assert!(why.contains("the wire was cut") && why.contains("lacks memory"), "{why}");
    let Next::End(Close::Failed(why)) = next(&failed(), &Place::Source(Condition::Stands), PULLED) else { panic!() };
    assert!(why.contains("post-copy had begun"), "{why}");
}

#[test]
fn a_guest_that_halted_by_itself_is_not_resumed_and_says_why() {
    let io = || Condition::Halted("io-error".into());
    let Next::End(Close::Failed(why)) = next(&Said::Complete, &there(io(), Some(true)), RAN) else { panic!() };
    assert!(why.contains("io-error") && why.contains("at the destination"), "{why}");
    let Next::End(Close::Failed(why)) = next(&failed(), &Place::Source(io()), OWED) else { panic!() };
    assert!(why.contains("io-error") && why.contains("the wire was cut"), "{why}");
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![Just(Condition::Runs), Just(Condition::Stands), Just(Condition::Halted("io-error".into()))]
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        condition().prop_map(Place::Source),
        (condition(), any::<Option<bool>>()).prop_map(|(is, whole)| Place::Destination { is, whole }),
        Just(Place::Both),
        Just(Place::Nowhere),
        Just(Place::Moving),
        Just(Place::Unknown("silent".into())),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        Just(Said::Complete),
        Just(Said::Failed("cut".into())),
        Just(Said::Cancelled("the operator".into())),
        Just(Said::Blind("gone".into())),
        Just(Said::Left("late".into())),
    ]
}

proptest! {
    #[test]
    fn a_guest_is_resumed_only_where_it_is_known_to_stand(
        said in said(), places in proptest::collection::vec(place(), 1..30),
        ran: Option<bool>, owed: bool, pulled: bool,
    ) {
        // The same guest seen again and again, as the run does: each resume is answered by the next look.
        let duty = Duty { ran, owed, pulled };
        for place in &places {
            match next(&said, place, duty) {
                Next::Resume(Side::Source) => {
                    prop_assert_eq!(place, &Place::Source(Condition::Stands));
                    prop_assert!(owed && !pulled);
                }
                Next::Resume(Side::Destination) => {
                    let stands = matches!(place, Place::Destination { is: Condition::Stands, whole } if *whole != Some(false) || said == Said::Complete);
                    prop_assert!(stands, "{:?}", place);
                    prop_assert!(owed || ran == Some(true));
                }
                Next::Look => {
                    let unknown = !place.is_known() || matches!(place, Place::Destination { whole: None, .. });
                    prop_assert!(unknown, "{:?}", place);
                }
                Next::End(Close::Done) => {
                    let there = matches!(place, Place::Destination { is, .. } if *is == Condition::Runs || !owed && ran != Some(true));
                    prop_assert!(there, "{:?}", place);
                }
                Next::End(Close::Cancelled(_)) => prop_assert!(matches!(place, Place::Source(_))),
                Next::End(_) => {}
            }
        }
    }

    #[test]
    fn a_guest_we_stopped_is_never_told_off_while_it_stands_where_it_could_run(said in said(), place in place(), ran: Option<bool>) {
        let duty = Duty { ran, owed: true, pulled: false };
        let could = match &place {
            Place::Source(is) => *is == Condition::Stands,
            Place::Destination { is, whole } => *is == Condition::Stands && (*whole == Some(true) || said == Said::Complete),
            _ => false,
        };
        prop_assert_eq!(could, matches!(next(&said, &place, duty), Next::Resume(_)));
    }
}
