//! Real `virsh migrate` between two real libvirt hosts, driven as a command: it ends well, is cancelled, stopped
//! by a rule, killed in the middle, and loses its link.
//!
//! Needs root for network namespaces of its own, and libvirt; skipped without, unless `BLACKOUT_REQUIRE_LIBVIRT=1`.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use blackout::event::{
    Body, By, Event, EventSink, Hub, HvEvent, Location, MigrationEnd, MigrationEvent, MigrationSettings, Phase,
    SessionClock, StopPolicy,
};
use blackout::hypervisor::{Hypervisor, RunCommand, command, run_migration};
use common::libvirt::{Hosts, SLOW, libvirt_is_here};
use nix::sys::signal::{Signal, kill};
use tokio::sync::mpsc;

/// Only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

fn open(hosts: &Hosts, sink: &EventSink) -> Arc<dyn Hypervisor> {
    let text = format!("preset = 'virsh'\n{}", hosts.described());
    command::open(toml::from_str(&text).unwrap(), sink.clone()).unwrap()
}

/// What is done to a migration once it is seen under way.
enum Deed {
    Nothing,
    Cancel,
    Cut,
    Kill,
}

struct Test {
    hosts: Hosts,
    hypervisor: Arc<dyn Hypervisor>,
    sink: EventSink,
    hub: Hub,
    n: u32,
}

impl Test {
    /// A migration, with everything it told.
    async fn migrate(&mut self, limit: Option<u64>, policy: StopPolicy, deed: Deed) -> (MigrationEnd, Vec<Body>) {
        self.n += 1;
        let from = self.hypervisor.prospect().await.from;
        if limit.is_some() {
            // So that it does not end by chance.
            let set = self.hosts.virsh(&from, &["migrate-setmaxdowntime", "g1", "10"]);
            assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
        }
        let settings = MigrationSettings { bandwidth_bytes_per_s: limit, policy, ..MigrationSettings::default() };
        let (tell, commands) = mpsc::channel(4);
        let begun = Instant::now();
        let sink = self.sink.clone();
        let running = run_migration(&*self.hypervisor, self.n, settings, sink, commands);
        tokio::pin!(running);
        let mut told = Vec::new();
        let mut deed = Some(deed);
        let mut seen = None;
        let end = loop {
            tokio::select! {
                end = &mut running => break end,
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {told:?}");
            told.extend(self.hub.rx.try_iter().map(|Event { ev, .. }| ev));
            let moves = |ev: &Body| matches!(ev, Body::Hypervisor(HvEvent::Phase { phase: Phase::Moving, .. }));
            if seen.is_none() && told.iter().any(moves) {
                seen = Some(Instant::now());
            }
            if seen.is_none_or(|seen: Instant| seen.elapsed() < Duration::from_secs(1)) {
                continue;
            }
            match deed.take() {
                None | Some(Deed::Nothing) => {}
                Some(Deed::Cancel) => tell.send(RunCommand::Cancel { by: By::Operator }).await.unwrap(),
                Some(Deed::Cut) => self.hosts.cable("cut"),
                Some(Deed::Kill) => {
                    kill(self.hosts.migrating(), Signal::SIGKILL).unwrap();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let state = self.hosts.virsh("b", &["domstate", "g1"]);
                    let state = String::from_utf8_lossy(&state.stdout).into_owned();
                    assert!(state.contains("paused"), "it does not go on: {state}");
                    self.hosts.virsh(&from, &["migrate-setspeed", "g1", "1000"]);
                }
            }
        };
        told.extend(self.hub.rx.try_iter().map(|Event { ev, .. }| ev));
        eprintln!("migration {}: {end:?} after {:.1} s", self.n, begun.elapsed().as_secs_f64());
        (end, told)
    }

    async fn is_at(&self, host: &str) -> bool {
        self.hypervisor.prospect().await.location() == Location::At { host: host.into(), running: true }
    }
}

fn logged(told: &[Body], words: &str) -> bool {
    told.iter().any(|ev| matches!(ev, Body::Log(log) if log.text.contains(words)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn virsh_migrate_between_real_hosts() {
    if !libvirt_is_here() {
        return;
    }
    let hosts = Hosts::start();
    let ours = hosts.dir.path().display().to_string();
    hosts.guest();
    let (sink, hub) = Hub::new(SessionClock::start(), 1 << 16);
    let hypervisor = open(&hosts, &sink);
    let mut test = Test { hosts, hypervisor, sink, hub, n: 0 };
    assert!(test.is_at("a").await);
    assert!(test.hypervisor.join(test.sink.clone()).await.unwrap().is_none());

    // What is not offered is refused before anything begins.
    let rounds: StopPolicy = "rounds=3,then=post-copy".parse().unwrap();
    let (end, told) = test.migrate(None, rounds, Deed::Nothing).await;
    assert!(matches!(&end, MigrationEnd::Failed { .. }), "{end:?}");
    assert!(!logged(&told, "runs: virsh"), "{told:?}");

    let (end, told) = test.migrate(Some(SLOW), StopPolicy::none(), Deed::Cancel).await;
    assert_eq!(end, MigrationEnd::Cancelled { by: "the operator".into() });
    assert!(test.is_at("a").await);
    let progress = |ev: &Body| match ev {
        Body::Hypervisor(HvEvent::Sample { sample, .. }) => sample.progress,
        _ => None,
    };
    assert!(told.iter().filter_map(progress).all(|p| (0.0..=1.0).contains(&p)));
    assert!(told.iter().filter_map(progress).count() > 0, "{told:?}");

    // libvirt gives up about half a minute later.
    let (end, _) = test.migrate(Some(SLOW), StopPolicy::none(), Deed::Cut).await;
    test.hosts.cable("mend");
    assert!(matches!(&end, MigrationEnd::Failed { why } if why.contains("exit status 1")), "{end:?}");
    assert!(test.is_at("a").await);

    // Over the limit: the guest is stopped, and libvirt runs it at the destination.
    let policy = StopPolicy::timeout(Duration::from_secs(3));
    let (end, told) = test.migrate(Some(SLOW), policy, Deed::Nothing).await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(told.iter().any(|ev| matches!(ev, Body::Migration(MigrationEvent::Ruled { .. }))), "{told:?}");
    let stopped = |ev: &Body| matches!(ev, Body::Hypervisor(HvEvent::Phase { phase: Phase::StopAndCopy, .. }));
    assert!(told.iter().any(stopped), "{told:?}");
    assert!(test.is_at("b").await);

    // And back, with nothing in its way.
    let (end, _) = test.migrate(None, StopPolicy::none(), Deed::Nothing).await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(test.is_at("a").await);

    // The command is killed, the migration goes on, and its end is told as it is.
    let (end, told) = test.migrate(Some(SLOW), StopPolicy::none(), Deed::Kill).await;
    assert_eq!(end, MigrationEnd::Done);
    assert!(logged(&told, "killed by SIGKILL), and said last: Migration: ["), "{told:?}");
    assert!(logged(&told, "the migration goes on, and is followed"), "{told:?}");
    assert!(test.is_at("b").await);

    test.hypervisor.close().await;
    drop(test);
    let left = Hosts::traces(&ours);
    assert!(left.is_empty(), "{left:?}");
}
