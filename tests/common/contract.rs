//! What every product has to hold to, whatever it is: the contract's rules as checks over a
//! [`Hypervisor`]. A product's own test gives it a fresh one with a guest that runs at the source.

use std::sync::Arc;
use std::time::Duration;

use blackout::event::{
    Body, By, Event, EventSink, Hub, HvEvent, Location, MigrationEnd, MigrationEvent, MigrationSettings, Phase, Sees,
    Then,
};
use blackout::hypervisor::{Hypervisor, Order, Place, RunCommand, Side, run_migration};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Ends a test that hangs; nothing is timed.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to say where the guest is, also where a host does not answer.
const SAID_WITHIN: Duration = Duration::from_secs(8);

/// A product with a guest that runs at the source.
pub struct Subject {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub sink: EventSink,
    pub hub: Hub,
    /// Settings with which a migration ends by itself.
    pub easy: MigrationSettings,
    /// Settings with which it goes on until it is ended.
    pub endless: MigrationSettings,
}

impl Subject {
    fn told(&self) -> Vec<Event> {
        self.hub.rx.try_iter().collect()
    }

    async fn run(&self, settings: &MigrationSettings, commands: mpsc::Receiver<RunCommand>) -> MigrationEnd {
        let run = run_migration(&*self.hypervisor, 1, settings.clone(), self.sink.clone(), commands);
        timeout(PATIENCE, run).await.expect("the migration has no end")
    }

    /// What is said before anything has begun: who it is, what it offers and lets see, and where the guest is.
    pub async fn says_what_it_is_and_where_the_guest_is(&self) {
        let offers = self.hypervisor.capabilities().await.unwrap();
        assert!(!offers.product.is_empty());
        let (sees, cancels) = (offers.sees.as_ref().expect("what it lets see"), offers.cancels.expect("how long"));
        assert_eq!(offers.cancel, cancels != blackout::event::Cancels::Never);
        assert!(offers.resumer.is_some() && offers.ends.is_some(), "{offers:?}");
        let prospect = timeout(SAID_WITHIN, self.hypervisor.prospect()).await.expect("where the guest is");
        assert_ne!(prospect.from, prospect.to);
        assert_eq!(prospect.obstacle, None);
        if sees.location {
            let at = Location::At { host: prospect.from.clone(), running: true };
            assert_eq!(prospect.location(), at, "known at attach");
        }
        assert!(self.hypervisor.join(self.sink.clone()).await.unwrap().is_none(), "no migration is under way");
    }

    /// What is not offered is refused before anything begins, with what is offered; and nothing stays changed.
    pub async fn refuses_what_it_does_not_have(&self) {
        let mut settings = self.easy.clone();
        settings.extra.insert("no-such-parameter".into(), 1.into());
        assert!(!self.hypervisor.check(&settings).await.is_empty());
        let e = self.hypervisor.apply(&settings).await.unwrap_err();
        assert!(e.is_refusal(), "{e}");
        self.hypervisor.withdraw().await;
        let MigrationEnd::Failed { why } = self.run(&settings, mpsc::channel(1).1).await else { panic!() };
        assert!(why.contains("no-such-parameter"), "{why}");
        let offers = self.hypervisor.capabilities().await.unwrap();
        for then in [Then::StopAndCopy, Then::PostCopy, Then::AutoConverge, Then::Cancel] {
            if !offers.takes(then) {
                let policy = format!("after=1s,then={}", then.word()).parse().unwrap();
                let settings = MigrationSettings { policy, ..self.easy.clone() };
                let MigrationEnd::Failed { why } = self.run(&settings, mpsc::channel(1).1).await else { panic!() };
                assert!(why.contains("does not offer it; it offers"), "{why}");
            }
        }
        let told = self.told();
        let moved = |e: &Event| matches!(&e.ev, Body::Hypervisor(HvEvent::Phase { .. } | HvEvent::Sample { .. }));
        assert!(!told.iter().any(moved), "nothing has begun: {told:#?}");
        // It is as it was: the next one is possible.
        assert_eq!(self.hypervisor.prospect().await.obstacle, None);
    }

    /// Cancelled by us: the guest stays where it is and runs.
    pub async fn is_cancelled(&self) {
        let (tx, rx) = mpsc::channel(1);
        let cancels = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            tx.send(RunCommand::Cancel { by: By::Operator }).await.unwrap();
        };
        let (end, ()) = tokio::join!(self.run(&self.endless, rx), cancels);
        assert_eq!(end, MigrationEnd::Cancelled { by: By::Operator.words() });
        self.hypervisor.after(&end).await.unwrap();
        let prospect = self.hypervisor.prospect().await;
        assert_eq!(prospect.location(), Location::At { host: prospect.from, running: true });
        assert_told_in_order(&self.told());
    }

    /// A migration from end to end, by hand and without the supervisor: started, watched, found by whoever joins,
    /// and left.
    pub async fn is_started_watched_and_left(&self) {
        self.hypervisor.apply(&self.endless).await.unwrap();
        let migration = timeout(PATIENCE, self.hypervisor.start(self.sink.clone())).await.unwrap().unwrap();
        let mut seen = migration.observe();
        let running = async { while !matches!(seen.next().await.unwrap().phase, Phase::PreCopy | Phase::Moving) {} };
        timeout(PATIENCE, running).await.expect("pre-copy");
        assert!(matches!(migration.locate().await, Place::Source(_)), "it is still there");
        if self.hypervisor.capabilities().await.unwrap().stop_and_copy {
            let harmless = migration.order(Order::Resume(Side::Source)).await;
            assert!(harmless.is_ok(), "it runs there: {harmless:?}");
        }
        migration.order(Order::Cancel).await.unwrap();
        let over = async { while !seen.next().await.unwrap().phase.is_over() {} };
        timeout(PATIENCE, over).await.expect("an end");
        migration.leave().await;
        self.hypervisor.withdraw().await;
        self.told();
    }

    /// A migration that is under way already is found by whoever joins, and can be told what one of ours can. For
    /// products that can tell.
    pub async fn can_be_joined(&self) {
        self.hypervisor.apply(&self.endless).await.unwrap();
        drop(timeout(PATIENCE, self.hypervisor.start(self.sink.clone())).await.unwrap().unwrap());
        let found = self.hypervisor.join(self.sink.clone()).await.unwrap().expect("it is under way");
        let mut seen = found.observe();
        let copying =
            async { while seen.next().await.unwrap().sample.remaining_bytes.is_none_or(|bytes| bytes == 0) {} };
        timeout(PATIENCE, copying).await.expect("its figures");
        found.order(Order::Cancel).await.unwrap();
        let over = async { while !seen.next().await.unwrap().phase.is_over() {} };
        timeout(PATIENCE, over).await.expect("an end");
        found.leave().await;
        assert!(self.hypervisor.join(self.sink.clone()).await.unwrap().is_none(), "it is over");
        self.hypervisor.close().await;
    }

    /// Runs to its end: the end is told after the guest's location, and what was seen is what it lets see.
    pub async fn succeeds(&self) {
        let offers = self.hypervisor.capabilities().await.unwrap();
        let before = self.hypervisor.prospect().await;
        self.told();
        let end = self.run(&self.easy, mpsc::channel(1).1).await;
        assert_eq!(end, MigrationEnd::Done);
        let told = self.told();
        assert_told_in_order(&told);
        let there = Location::At { host: before.to.clone(), running: true };
        let located = told.iter().rev().find_map(|e| match &e.ev {
            Body::Hypervisor(HvEvent::Located { location }) => Some(location.clone()),
            _ => None,
        });
        assert_eq!(located, Some(there));
        assert_seen(&told, &offers.sees.unwrap());
        self.hypervisor.after(&end).await.unwrap();
        self.hypervisor.close().await;
    }
}

/// An end is told once, and only after the guest's location was asked for.
fn assert_told_in_order(told: &[Event]) {
    let at = |is: &dyn Fn(&Body) -> bool| -> Vec<usize> {
        told.iter().enumerate().filter(|(_, e)| is(&e.ev)).map(|(i, _)| i).collect()
    };
    let began = at(&|b| matches!(b, Body::Migration(MigrationEvent::Began { .. })));
    let ended = at(&|b| matches!(b, Body::Migration(MigrationEvent::Ended { .. })));
    let located = at(&|b| matches!(b, Body::Hypervisor(HvEvent::Located { .. })));
    assert_eq!((began.len(), ended.len()), (1, 1), "{told:#?}");
    assert!(located.first().is_some_and(|l| *l < began[0]), "where it comes from is told: {told:#?}");
    assert!(located.iter().all(|l| *l < ended[0]), "the end comes last: {told:#?}");
}

/// What is declared is seen, and nothing else.
fn assert_seen(told: &[Event], sees: &Sees) {
    let samples: Vec<_> = told
        .iter()
        .filter_map(|e| match &e.ev {
            Body::Hypervisor(HvEvent::Sample { sample, .. }) => Some(sample),
            _ => None,
        })
        .collect();
    let any = |is: &dyn Fn(&blackout::event::Sample) -> bool| samples.iter().any(|s| is(s));
    let is_told = |is: &dyn Fn(&HvEvent) -> bool| told.iter().any(|e| matches!(&e.ev, Body::Hypervisor(ev) if is(ev)));
    let rounds = is_told(&|ev| matches!(ev, HvEvent::Round { .. }));
    for (what, declared, seen) in [
        ("progress", sees.progress, any(&|s| s.progress.is_some())),
        ("rounds", sees.rounds, rounds || any(&|s| s.round.is_some())),
        ("sent", sees.sent, any(&|s| s.transferred_bytes.is_some())),
        ("remaining", sees.remaining, any(&|s| s.remaining_bytes.is_some())),
        ("total", sees.total, any(&|s| s.total_bytes.is_some())),
        ("zero pages", sees.zero_pages, any(&|s| s.zero_pages.is_some())),
        ("downtime", sees.downtime.is_some(), any(&|s| s.downtime_ms.is_some())),
        ("stop", sees.stop_resume.is_some(), is_told(&|ev| matches!(ev, HvEvent::Stopped { .. }))),
        ("resume", sees.stop_resume.is_some(), is_told(&|ev| matches!(ev, HvEvent::Resumed { .. }))),
    ] {
        assert_eq!(declared, seen, "{what}: declared, and seen");
    }
    // A short migration may end before there is a rate.
    assert!(sees.throughput || !any(&|s| s.throughput_bytes_per_s.is_some()));
    assert!(sees.dirty_rate || !any(&|s| s.dirty_pages_per_s.is_some()));
}
