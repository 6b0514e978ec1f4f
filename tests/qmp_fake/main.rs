//! Migrations between pretended QEMUs: what a real one does too seldom to test with.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod ends;
mod faults;
mod server;
mod session;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blackout::event::{
    Body, Event, Hub, HvEvent, MigrationEnd, MigrationEvent, MigrationSettings, Phase, SessionClock, SettingWhy,
    StopRule, Then,
};
use blackout::hypervisor::qmp::client::{Client, QmpError};
use blackout::hypervisor::qmp::{Endpoint, QmpHost, QmpHypervisor, QmpOptions};
use blackout::hypervisor::{RunCommand, run_migration};
use serde_json::{Value, json};
use server::Fake;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

/// Ends a test that hangs; nothing is timed.
const PATIENCE: Duration = Duration::from_secs(60);

fn ram(round: u64, remaining_pages: u64) -> Option<Value> {
    Some(json!({"total": 1 << 28, "transferred": 1 << 20, "remaining": remaining_pages * 4096,
        "dirty-sync-count": round, "mbps": 8.0, "dirty-pages-rate": 100, "page-size": 4096}))
}

/// Runs a migration between two pretended QEMUs; `script` plays their part from `migrate` on.
async fn play<F>(
    policy: &str,
    commands: Vec<RunCommand>,
    script: impl FnOnce(Fake, Fake) -> F,
) -> (MigrationEnd, Vec<Event>, Fake, Fake)
where
    F: Future<Output = ()> + Send + 'static,
{
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Fake::open(dir.path(), "a", "running"), Fake::open(dir.path(), "b", "inmigrate"));
    let (sink, hub) = Hub::new(SessionClock::start(), 100_000);
    let source = Arc::new(QmpHost::connect(a.spec(), sink.clone()).await.unwrap());
    let destination = Arc::new(QmpHost::connect(b.spec(), sink.clone()).await.unwrap());
    let options = QmpOptions { guardian: None, ..QmpOptions::to("tcp:127.0.0.1:1") };
    let hypervisor = QmpHypervisor::new(source, destination, options, sink.clone());
    let played = script(a.clone(), b.clone());
    let first = a.clone();
    let (tx, rx) = mpsc::channel(8);
    let player = tokio::spawn(async move {
        first.given("migrate").await;
        for c in commands {
            tx.send(c).await.unwrap();
        }
        played.await;
    });
    let settings = MigrationSettings { policy: policy.parse().unwrap(), ..MigrationSettings::default() };
    let run = run_migration(&hypervisor, 1, settings, sink, rx);
    let end = tokio::time::timeout(PATIENCE, run).await.expect("the migration hangs");
    player.await.unwrap();
    (end, hub.rx.try_iter().collect(), a, b)
}

fn phases(events: &[Event]) -> Vec<(Phase, String)> {
    let phase = |e: &Event| match &e.ev {
        Body::Hypervisor(HvEvent::Phase { phase, raw, .. }) => Some((*phase, raw.clone())),
        _ => None,
    };
    events.iter().filter_map(phase).collect()
}

/// The last part of every migration that ends well by itself.
fn arrive(a: &Fake, b: &Fake, last: Option<Value>) {
    a.guest("postmigrate");
    a.migration("device", ram(3, 0));
    b.guest("running");
    a.migration("completed", last);
}

#[tokio::test]
async fn a_last_answer_without_memory_figures_is_ordinary() {
    let (end, events, a, b) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("setup", None);
        a.migration("active", ram(1, 5000));
        a.looked(3).await;
        arrive(&a, &b, None);
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    let last = events.iter().rev().find_map(|e| match &e.ev {
        Body::Hypervisor(HvEvent::Sample { sample, raw }) => Some((sample.clone(), raw.clone())),
        _ => None,
    });
    let (sample, raw) = last.unwrap();
    assert_eq!((sample.downtime_ms, sample.transferred_bytes), (Some(6.0), None), "what was not said is not made up");
    assert_eq!(raw["total-time"], 10, "all fields are kept");
    assert!(!a.orders().contains(&"stop".to_owned()) && !b.orders().contains(&"cont".to_owned()));
}

#[tokio::test]
async fn an_unknown_status_is_shown_as_itself_and_is_still_running() {
    let (end, events, ..) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.migration("levitating", ram(1, 5000));
        a.looked(3).await;
        a.migration("active", ram(2, 5000));
        arrive(&a, &b, ram(3, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(phases(&events).contains(&(Phase::Unknown, "levitating".into())));
}

#[tokio::test]
async fn remaining_may_jump_up_and_only_a_rounds_beginning_counts() {
    // 40 pages at the end of round 2 end nothing; 40 pages at the beginning of round 4 do.
    let (end, events, ..) = play("remaining=50", vec![], async |a: Fake, b: Fake| {
        for (round, pages) in [(1, 9000), (2, 9000), (2, 40), (3, 8000), (3, 30), (4, 40)] {
            a.answer(json!({"status": "active", "ram": ram(round, pages)}));
            if round == 1 {
                a.event("MIGRATION", json!({"status": "active"}));
            }
            a.event("MIGRATION_PASS", json!({"pass": round}));
            a.looked(3).await;
        }
        a.given("stop").await;
        a.migration("completed", ram(4, 0));
        b.status("paused");
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    let ruled: Vec<_> = events
        .iter()
        .filter_map(|e| match &e.ev {
            Body::Migration(MigrationEvent::Ruled { rule, .. }) => Some(rule.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(ruled, [StopRule::RemainingPages { limit: 50, seen: 40 }]);
    let rounds: Vec<_> = events
        .iter()
        .filter_map(|e| match &e.ev {
            Body::Hypervisor(HvEvent::Round { round, at: Some(_) }) => Some(*round),
            _ => None,
        })
        .collect();
    assert_eq!(rounds, [1, 2, 3, 4]);
}

#[tokio::test]
async fn what_was_refused_is_not_told_as_done() {
    // Post-copy was not prepared, so asking for it ends nothing.
    let (end, events, ..) = play("none", vec![RunCommand::PostCopy], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.looked(3).await;
        arrive(&a, &b, ram(2, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(!events.iter().any(|e| matches!(e.ev, Body::Migration(MigrationEvent::Ruled { .. }))));
    let refused = |e: &Event| match &e.ev {
        Body::Migration(MigrationEvent::Refused { then: Then::PostCopy, why, .. }) => why.contains("not prepared"),
        _ => false,
    };
    assert!(events.iter().any(refused), "{events:#?}");
}

#[tokio::test]
async fn a_stopped_guest_is_resumed_only_once_everything_has_arrived() {
    let (end, events, a, b) = play("none", vec![RunCommand::StopAndCopy], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.given("stop").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!b.orders().contains(&"cont".to_owned()), "resumed before the source had handed over");
        a.migration("completed", ram(1, 0));
        // The destination still loads: `cont` now would be lost.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!b.orders().contains(&"cont".to_owned()));
        b.status("paused");
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(b.orders().contains(&"cont".to_owned()) && !a.orders().contains(&"cont".to_owned()));
    let words: Vec<Phase> = phases(&events).into_iter().map(|p| p.0).collect();
    assert_eq!(words[words.len() - 3..], [Phase::StopAndCopy, Phase::Recovery, Phase::Done]);
}

#[tokio::test]
async fn events_that_come_late_change_nothing_that_is_over() {
    let (end, events, ..) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        // The answers are ahead of the events here.
        a.status("postmigrate");
        a.answer(json!({"status": "completed", "downtime": 6}));
        a.looked(3).await;
        a.event("STOP", Value::Null);
        a.event("MIGRATION", json!({"status": "device"}));
        b.guest("running");
        a.event("MIGRATION", json!({"status": "completed"}));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(phases(&events).iter().all(|(_, raw)| raw != "device"), "{:?}", phases(&events));
}

#[tokio::test]
async fn a_failure_after_the_stop_resumes_the_source_and_keeps_the_reason() {
    let (end, events, a, b) = play("none", vec![RunCommand::StopAndCopy], async |a: Fake, _| {
        a.migration("active", ram(1, 5000));
        a.given("stop").await;
        a.answer(json!({"status": "failed", "error-desc": "the wire was cut"}));
        a.event("MIGRATION", json!({"status": "failed"}));
    })
    .await;
    assert_eq!(end, MigrationEnd::Failed { why: "the wire was cut".into() });
    assert!(a.orders().contains(&"cont".to_owned()) && !b.orders().contains(&"cont".to_owned()));
    assert_eq!(phases(&events).last().unwrap().0, Phase::Failed);
}

#[tokio::test]
async fn a_destination_dead_before_it_ran_gives_the_guest_back_to_the_source() {
    let (end, _, a, _) = play("none", vec![RunCommand::StopAndCopy], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.given("stop").await;
        b.die();
        a.migration("completed", ram(1, 0));
    })
    .await;
    let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("destination is gone"), "{why}");
    assert!(a.orders().contains(&"cont".to_owned()));
}

#[tokio::test]
async fn a_dropped_connection_is_a_failure_with_its_reason() {
    let (end, events, ..) = play("none", vec![], async move |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.looked(2).await;
        b.answer(json!({"status": "failed"}));
        a.die();
    })
    .await;
    let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("source 'a' is gone") && why.contains("closed the connection"), "{why}");
    let lost = |e: &Event| matches!(&e.ev, Body::Hypervisor(HvEvent::HostLost { host, .. }) if host == "a");
    assert!(events.iter().any(lost));
}

fn log_says(events: &[Event], text: &str) -> bool {
    events.iter().any(|e| matches!(&e.ev, Body::Log(l) if l.text.contains(text)))
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_skipped_and_said() {
    let long = format!("{{\"return\": \"{}\"}}", "x".repeat(3 << 20));
    for (garbage, want) in [
        ("\u{1}\u{2} hello", "it said"),
        ("{\"event\": }", "broken JSON"),
        ("{\"event\": \"STO", "half a message"),
        ("{\"return\": {}}}", "it said '}'"),
        ("{\"event\": \"X\", \"data\": {\"a\": 1e999999}}", "broken JSON"),
        (long.as_str(), "longer than"),
    ] {
        let said = garbage.to_owned();
        let (end, events, ..) = play("none", vec![], async move |a: Fake, b: Fake| {
            a.migration("active", ram(1, 5000));
            a.looked(2).await;
            a.say(&said);
            b.say(&said);
            a.looked(3).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            arrive(&a, &b, ram(2, 0));
        })
        .await;
        assert_eq!(end, MigrationEnd::Done, "{want}");
        assert!(log_says(&events, "was skipped: ") && log_says(&events, want), "{want}: {events:#?}");
        assert!(!events.iter().any(|e| matches!(&e.ev, Body::Hypervisor(HvEvent::HostLost { .. }))), "{want}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_fails_its_command_and_nothing_else() {
    // The answer to the operator's order is garbled; the migration goes on.
    let commands = vec![RunCommand::SetMigration(set_to(None, Some(77)))];
    let (end, events, ..) = play("none", commands, async |a: Fake, b: Fake| {
        a.garble("migrate-set-parameters");
        a.migration("active", ram(1, 5000));
        a.given("migrate-set-parameters").await;
        a.looked(3).await;
        arrive(&a, &b, ram(2, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(log_says(&events, "to 'migrate-set-parameters' cannot be read"), "{events:#?}");
}

#[tokio::test]
async fn a_policy_that_cannot_be_carried_out_cancels_and_fails() {
    let (end, ..) = play("after=100ms", vec![], async |a: Fake, _| {
        a.refuse("stop", "not today");
        a.migration("active", ram(1, 5000));
        a.given("migrate_cancel").await;
        a.migration("cancelled", None);
    })
    .await;
    let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("100 ms have passed") && why.contains("not today"), "{why}");
}

#[tokio::test]
async fn a_refused_migration_fails_before_anything_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Fake::open(dir.path(), "a", "running"), Fake::open(dir.path(), "b", "paused"));
    let (sink, _hub) = Hub::new(SessionClock::start(), 1000);
    let source = Arc::new(QmpHost::connect(a.spec(), sink.clone()).await.unwrap());
    let destination = Arc::new(QmpHost::connect(b.spec(), sink.clone()).await.unwrap());
    let options = QmpOptions { guardian: None, ..QmpOptions::to("tcp:127.0.0.1:1") };
    let hypervisor = QmpHypervisor::new(source, destination, options, sink.clone());
    let rx = mpsc::channel(1).1;
    let end = run_migration(&hypervisor, 1, MigrationSettings::default(), sink, rx).await;
    let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("-incoming defer"), "{why}");
    assert!(!a.orders().contains(&"migrate".to_owned()));
}

fn set_to(bandwidth: Option<u64>, downtime_ms: Option<u64>) -> MigrationSettings {
    MigrationSettings {
        bandwidth_bytes_per_s: bandwidth,
        downtime_limit_ms: downtime_ms,
        ..MigrationSettings::default()
    }
}

/// The settings blackout says it sets: host, name, from, to, why.
fn set(events: &[Event]) -> Vec<(String, String, Value, Value, SettingWhy)> {
    let setting = |e: &Event| match &e.ev {
        Body::Hypervisor(HvEvent::Setting { host, name, from, to, why }) => {
            Some((host.clone(), name.clone(), from.clone(), to.clone(), *why))
        }
        _ => None,
    };
    events.iter().filter_map(setting).collect()
}

#[tokio::test]
async fn what_is_changed_while_it_runs_is_put_back_to_what_was_there_first() {
    let commands = vec![
        RunCommand::SetMigration(set_to(Some(5), None)),
        RunCommand::SetMigration(set_to(Some(7), None)),
        RunCommand::SetMigration(set_to(Some(7), Some(77))),
        RunCommand::SetMigration(set_to(Some(7), Some(88))),
        // No longer asked for: the hypervisor's own again.
        RunCommand::SetMigration(set_to(None, None)),
    ];
    let (end, events, a, b) = play("none", commands, async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.looked(8).await;
        arrive(&a, &b, ram(2, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    for host in [&a, &b] {
        let (parameters, capabilities) = host.settings();
        assert_eq!(parameters, json!({"max-bandwidth": 1000, "downtime-limit": 300}));
        assert!(capabilities.values().all(|on| !on), "{capabilities:?}");
    }
    let of = |wanted: &str| -> Vec<_> {
        set(&events).into_iter().filter(|s| s.1 == wanted).map(|s| (s.2, s.3, s.4)).collect()
    };
    let (asked, back) = (SettingWhy::Asked, SettingWhy::PutBack);
    let want = [(json!(1000), json!(5), asked), (json!(5), json!(7), asked), (json!(7), json!(1000), back)];
    assert_eq!(of("max-bandwidth"), want);
    // With the settings that do not name it any more.
    let want = [(json!(300), json!(77), asked), (json!(77), json!(88), asked), (json!(88), json!(300), back)];
    assert_eq!(of("downtime-limit"), want);
    assert!(set(&events).iter().all(|s| s.0 == "a"), "nothing is set at the destination");
}

#[tokio::test]
async fn what_cannot_be_put_back_is_told_with_the_command_for_it() {
    let commands = vec![RunCommand::SetMigration(set_to(Some(5), None))];
    let (end, events, a, _) = play("none", commands, async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.given("migrate-set-parameters").await;
        a.looked(3).await;
        a.refuse("migrate-set-parameters", "not today");
        arrive(&a, &b, ram(2, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    assert_eq!(a.settings().0["max-bandwidth"], 5);
    assert!(log_says(&events, "not today. To put them back by hand, give on "), "{events:#?}");
    assert!(log_says(&events, r#"{"arguments":{"max-bandwidth":1000},"execute":"migrate-set-parameters"}"#));
    let capabilities = a.settings().1;
    assert!(capabilities.values().all(|on| !on), "what can be put back is: {capabilities:?}");
}

#[tokio::test]
async fn without_being_asked_nothing_is_set_but_what_shows_the_rounds() {
    let (end, events, ..) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.looked(2).await;
        arrive(&a, &b, ram(2, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    let on = ("a".to_owned(), "events".to_owned(), json!(false), json!(true), SettingWhy::Needed);
    let off = ("a".to_owned(), "events".to_owned(), json!(true), json!(false), SettingWhy::PutBack);
    assert_eq!(set(&events), [on, off]);
}

#[tokio::test]
async fn an_answer_too_large_to_be_kept_is_told_and_its_figures_count() {
    let (end, events, ..) = play("none", vec![], async |a: Fake, b: Fake| {
        a.migration("active", ram(1, 5000));
        a.answer(json!({"status": "active", "ram": ram(1, 4321), "more": vec![0; 5000]}));
        a.looked(5).await;
        arrive(&a, &b, ram(2, 0));
    })
    .await;
    assert_eq!(end, MigrationEnd::Done);
    let told = |e: &&Event| matches!(&e.ev, Body::Log(l) if l.text.contains("more of the migration than can be kept"));
    assert_eq!(events.iter().filter(told).count(), 1, "folded");
    let cut = |e: &Event| match &e.ev {
        Body::Hypervisor(HvEvent::Sample { sample, raw }) => {
            sample.remaining_bytes == Some(4321 * 4096) && raw.get("cut by blackout").is_some()
        }
        _ => false,
    };
    assert!(events.iter().any(cut), "{events:#?}");
}

async fn greet(path: &Path, said: Option<&'static [u8]>) -> QmpError {
    let listener = UnixListener::bind(path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        match said {
            Some(bytes) => stream.write_all(bytes).await.unwrap(),
            None => std::future::pending().await,
        }
        // Held open until the client has judged.
        tokio::time::sleep(PATIENCE).await;
    });
    let patience = Duration::from_millis(300);
    let e = Client::connect(&Endpoint::Unix(path.into()), patience, false).await.unwrap_err();
    server.abort();
    e
}

#[tokio::test]
async fn a_stranger_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (i, (said, want)) in [
        (Some(&b"SSH-2.0-OpenSSH_9.2\r\n"[..]), "this socket is not QMP: it said 'SSH-2.0-OpenSSH_9.2'"),
        (Some(b"{\"hello\": 1}\n"), "this socket is not QMP: it said '{\"hello\": 1}'"),
        (Some(b"{\"QMP\": {\"version"), "and no more"),
        (None, "sent no QMP greeting within 300 ms"),
    ]
    .into_iter()
    .enumerate()
    {
        let e = greet(&dir.path().join(format!("s{i}")), said).await.to_string();
        assert!(e.contains(want), "{e}");
    }
    let nobody = Endpoint::Unix(dir.path().join("nobody"));
    let e = Client::connect(&nobody, PATIENCE, false).await.unwrap_err().to_string();
    assert!(e.contains("nobody") && e.contains("is the QEMU running"), "{e}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let e = Client::connect(&Endpoint::Tcp("127.0.0.1".into(), port), PATIENCE, false).await.unwrap_err().to_string();
    assert!(e.contains("nothing listens there"), "{e}");
}
