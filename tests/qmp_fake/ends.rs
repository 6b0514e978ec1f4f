//! How a migration ends where one of the two hosts does not behave: the end is told from both and from where
//! the guest is, and every wait has an end.

use std::time::{Duration, Instant};

use blackout::event::{
    Body, By, Event, HvEvent, Incident, Location, MigrationEnd, MigrationEvent, Phase, Substate, Then,
};
use blackout::hypervisor::RunCommand;
use serde_json::{Value, json};

use super::server::Fake;
use super::{arrive, play, ram};

const GIVE_UP: By = By::GiveUpAfter { limit_ns: 1_000_000_000 };

fn at(host: &str, running: bool) -> Location {
    Location::At { host: host.into(), running }
}

fn conts(fake: &Fake) -> usize {
    fake.orders().iter().filter(|c| *c == "cont").count()
}

#[tokio::test]
async fn a_guest_whose_place_is_not_known_is_not_resumed() {
    // The destination says nothing for longer than our grace, and the guest has been running there all along.
    let (end, _, a, b) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        b.hang(&["query-status", "query-migrate"]);
        a.guest("postmigrate");
        a.migration("completed", ram(2, 0));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        b.status("running");
        b.answer_again();
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert_eq!((conts(&a), conts(&b)), (0, 0));
}

#[tokio::test]
async fn a_refused_resume_of_a_guest_that_runs_after_all_is_no_failure() {
    let (end, _, a, b) = play("none", vec![RunCommand::StopAndCopy], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.given("stop").await;
        b.refuse("cont", "not in this state");
        b.status("paused");
        a.migration("completed", ram(1, 0));
        b.given("cont").await;
        b.guest("running");
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert_eq!(conts(&a), 0);
    assert!(conts(&b) > 0);
}

#[tokio::test]
async fn a_source_that_dies_at_the_resume_has_migrated() {
    for completed in [true, false] {
        let (end, events, ..) = play("none", vec![], async move |a: Fake, b: Fake| {
            a.migration("active", ram(1, 5000));
            a.looked(2).await;
            a.guest("postmigrate");
            a.migration("device", ram(3, 0));
            b.answer(json!({"status": "completed"}));
            b.guest("running");
            if completed {
                a.event("MIGRATION", json!({"status": "completed"}));
            }
            a.die();
        })
        .await;
        assert_eq!(end, MigrationEnd::Done, "completed {completed}");
        let located = located(&events);
        assert_eq!(located.last(), Some(&at("b", true)), "{located:?}");
        let failed = |e: &Event| matches!(e.ev, Body::Hypervisor(HvEvent::Phase { phase: Phase::Failed, .. }));
        assert!(!events.iter().any(failed), "it never failed");
    }
}

fn located(events: &[Event]) -> Vec<Location> {
    let location = |e: &Event| match &e.ev {
        Body::Hypervisor(HvEvent::Located { location }) => Some(location.clone()),
        _ => None,
    };
    events.iter().filter_map(location).collect()
}

#[tokio::test]
async fn a_source_dead_in_post_copy_leaves_a_guest_that_lacks_memory() {
    let (end, ..) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.guest("postmigrate");
        b.guest("running");
        b.answer(json!({"status": "postcopy-paused"}));
        a.migration("postcopy-active", ram(1, 3000));
        a.looked(2).await;
        a.die();
    })
    .await;
    let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("source 'a' is gone") && why.contains("lacks memory"), "{why}");
}

#[tokio::test]
async fn a_missing_resume_event_is_found_by_asking_and_not_waited_for() {
    let begun = Instant::now();
    let (end, events, _, b) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.guest("postmigrate");
        b.status("running");
        a.migration("completed", ram(2, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert_eq!(conts(&b), 0);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(super::phases(&events).iter().any(|(phase, _)| *phase == Phase::Recovery || *phase == Phase::Done));
}

#[tokio::test]
async fn our_own_waiting_has_a_word_of_its_own() {
    let (end, events, _, b) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.guest("postmigrate");
        // Started with -S: it arrives standing still.
        b.status("paused");
        a.migration("completed", ram(2, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert_eq!(conts(&b), 1);
    assert!(substates(&events).contains(&Substate::WaitingToResume), "{:?}", substates(&events));
}

fn substates(events: &[Event]) -> Vec<Substate> {
    let substate = |e: &Event| match &e.ev {
        Body::Hypervisor(HvEvent::Phase { substate, .. }) => *substate,
        _ => None,
    };
    events.iter().filter_map(substate).collect()
}

#[tokio::test]
async fn a_destination_silent_after_completed_is_unsettled() {
    let begun = Instant::now();
    let (end, ..) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.looked(2).await;
        b.hang(&["query-status", "query-migrate"]);
        a.guest("postmigrate");
        a.migration("completed", ram(2, 0));
    })
    .await;
    let MigrationEnd::Unsettled { why, last, seen } = end else { panic!("{end:?}") };
    assert!(why.contains("does not answer"), "{why}");
    assert_eq!((last, seen.is_some()), (at("a", true), true), "where it was known to be");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_cancel_that_is_refused_or_not_answered_is_not_waited_for_for_ever() {
    for (hangs, by) in [(false, GIVE_UP), (true, By::Closing)] {
        let begun = Instant::now();
        let commands = vec![RunCommand::Cancel { by: by.clone() }];
        let (end, events, a, _) = play("none", commands, async move |a: Fake, _| {
            match hangs {
                true => a.hang(&["migrate_cancel"]),
                false => a.refuse("migrate_cancel", "not today"),
            }
            a.migration("active", ram(1, 5000));
        })
        .await;
        let MigrationEnd::Unsettled { why, last, .. } = end else { panic!("{end:?}") };
        assert!(why.contains(if hangs { "did not answer" } else { "not today" }), "{why}");
        assert_eq!(last, at("a", true));
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        assert_eq!(requests(&events), [(Then::Cancel, by)]);
        assert_eq!(conts(&a), 0);
    }
}

fn requests(events: &[Event]) -> Vec<(Then, By)> {
    let request = |e: &Event| match &e.ev {
        Body::Migration(MigrationEvent::Requested { then, by, .. }) => Some((*then, by.clone())),
        _ => None,
    };
    events.iter().filter_map(request).collect()
}

#[tokio::test]
async fn a_guest_we_stopped_runs_again_when_its_migration_is_left() {
    let commands = vec![RunCommand::StopAndCopy, RunCommand::Cancel { by: By::Closing }];
    let (end, _, a, b) = play("none", commands, async |a: Fake, _| {
        a.refuse("migrate_cancel", "not today");
        a.migration("active", ram(1, 5000));
    })
    .await;
    let MigrationEnd::Unsettled { last, .. } = end else { panic!("{end:?}") };
    assert_eq!((last, conts(&a), conts(&b)), (at("a", true), 1, 0));
}

#[tokio::test]
async fn a_cancel_that_takes_three_seconds_is_a_cancel() {
    let commands = vec![RunCommand::Cancel { by: GIVE_UP }];
    let (end, events, ..) = play("none", commands, async |a: Fake, _| {
        a.migration("active", ram(1, 5000));
        a.given("migrate_cancel").await;
        a.migration("cancelling", ram(1, 4000));
        tokio::time::sleep(Duration::from_secs(3)).await;
        a.migration("cancelled", None);
    })
    .await;
    assert_eq!(end, MigrationEnd::Cancelled { by: "--give-up-after 1.00 s".into() });
    assert!(substates(&events).contains(&Substate::Cancelling));
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_is_not_the_end() {
    let commands = vec![RunCommand::Cancel { by: By::Operator }];
    let (end, events, ..) = play("none", commands, async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.given("migrate_cancel").await;
        arrive(&a, &b, ram(2, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert_eq!(requests(&events), [(Then::Cancel, By::Operator)]);
}

#[tokio::test]
async fn a_cancel_by_nobody_here_is_somebody_elses() {
    let (end, ..) = play("none", vec![], async |a: Fake, _| {
        a.migration("active", ram(1, 5000));
        a.looked(1).await;
        a.migration("cancelled", None);
    })
    .await;
    assert_eq!(end, MigrationEnd::Cancelled { by: By::Another.words() });
}

#[tokio::test]
async fn post_copy_paused_for_ever_is_shown_as_paused_and_left_when_given_up() {
    let (end, events, a, b) = play("none", vec![RunCommand::Cancel { by: GIVE_UP }], async |a: Fake, b: Fake| {
        a.refuse("migrate_cancel", "post-copy has begun");
        a.guest("postmigrate");
        b.guest("running");
        b.answer(json!({"status": "postcopy-paused"}));
        a.migration("postcopy-active", ram(1, 3000));
        a.migration("postcopy-paused", ram(1, 3000));
    })
    .await;
    let MigrationEnd::Unsettled { why, last, .. } = end else { panic!("{end:?}") };
    assert!(why.contains("--give-up-after") && why.contains("lacks memory"), "{why}");
    assert_eq!(last, at("b", true));
    assert!(substates(&events).contains(&Substate::Paused));
    assert_eq!((conts(&a), conts(&b)), (0, 0));
}

#[tokio::test]
async fn a_panic_says_why_the_guest_is_gone() {
    let (end, events, ..) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.looked(1).await;
        a.event("GUEST_PANICKED", json!({"action": "poweroff"}));
        a.event("SHUTDOWN", json!({"guest": true, "reason": "guest-panic"}));
        b.answer(json!({"status": "failed"}));
        a.die();
    })
    .await;
    let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("lost") && why.contains("guest-panic"), "{why}");
    let what = |e: &Event| match &e.ev {
        Body::Hypervisor(HvEvent::Befell { host, what, .. }) if host == "a" => Some(*what),
        _ => None,
    };
    let befell: Vec<Incident> = events.iter().filter_map(what).collect();
    assert_eq!(befell, [Incident::Panicked, Incident::ShutDown]);
}

#[tokio::test]
async fn a_guest_with_an_i_o_error_at_the_destination_is_not_resumed() {
    let (end, _, _, b) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.guest("postmigrate");
        b.event("RESUME", Value::Null);
        b.event("BLOCK_IO_ERROR", json!({"device": "disk0", "operation": "read", "action": "stop", "reason": "EIO"}));
        b.event("STOP", Value::Null);
        b.status("io-error");
        b.answer(json!({"status": "completed"}));
        a.migration("completed", ram(2, 0));
    })
    .await;
    let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("io-error") && why.contains("I/O error"), "{why}");
    assert_eq!(conts(&b), 0);
}
