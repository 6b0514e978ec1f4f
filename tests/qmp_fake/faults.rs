//! Endpoints that are dead at the start, and a start of which nobody knows whether it has begun.

use std::sync::Arc;
use std::time::{Duration, Instant};

use blackout::event::{Body, Event, Hub, HvEvent, MigrationEnd, MigrationEvent, MigrationSettings, SessionClock};
use blackout::hypervisor::qmp::{QmpHost, QmpHypervisor, QmpOptions};
use blackout::hypervisor::run_migration;
use serde_json::json;
use tokio::sync::mpsc;

use super::server::Fake;
use super::{PATIENCE, play, ram};

#[tokio::test]
async fn an_endpoint_that_is_dead_at_the_start_is_named_and_nothing_begins() {
    for dead in ["a", "b"] {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Fake::open(dir.path(), "a", "running"), Fake::open(dir.path(), "b", "inmigrate"));
        let (sink, hub) = Hub::new(SessionClock::start(), 1000);
        let source = Arc::new(QmpHost::connect(a.spec(), sink.clone()).await.unwrap());
        let destination = Arc::new(QmpHost::connect(b.spec(), sink.clone()).await.unwrap());
        let mut view = if dead == "a" { source.view() } else { destination.view() };
        if dead == "a" {
            a.die()
        } else {
            b.die()
        }
        view.wait_for(|v| v.lost.is_some()).await.unwrap();
        let options = QmpOptions { guardian: None, ..QmpOptions::to("tcp:127.0.0.1:1") };
        let hypervisor = QmpHypervisor::new(source, destination, options, sink.clone());
        let begun = Instant::now();
        let run = run_migration(&hypervisor, 1, MigrationSettings::default(), sink, mpsc::channel(1).1);
        let end = tokio::time::timeout(PATIENCE, run).await.expect("it hangs");
        let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
        assert!(why.contains(&format!("host '{dead}' is gone")), "{why}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert!(!a.orders().contains(&"migrate".to_owned()));
        let events: Vec<Event> = hub.rx.try_iter().collect();
        let row = |e: &Event| matches!(e.ev, Body::Migration(MigrationEvent::Began { .. }));
        assert!(events.iter().any(row), "it has its row all the same");
    }
}

#[tokio::test]
async fn a_start_whose_answer_cannot_be_read_is_looked_for_and_cancelled() {
    let (end, events, a, _) = play("none", vec![], |a: Fake, _: Fake| {
        a.garble("migrate");
        a.answer(json!({"status": "active", "ram": ram(1, 5000)}));
        async move {
            a.given("migrate_cancel").await;
            a.migration("cancelled", None);
        }
    })
    .await;
    let MigrationEnd::Failed { why } = end else { panic!("{end:?}") };
    assert!(why.contains("to 'migrate' cannot be read"), "{why}");
    assert!(a.orders().contains(&"migrate_cancel".to_owned()));
    let located = |e: &Event| matches!(e.ev, Body::Hypervisor(HvEvent::Located { .. }));
    assert!(events.iter().any(located));
}
