//! The libvirt driver between two real libvirt hosts: every end a migration can have, what is seen on the way, and
//! that nothing stays behind.
//!
//! Needs root for network namespaces of its own, and libvirt; skipped without, unless `BLACKOUT_REQUIRE_LIBVIRT=1`.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blackout::event::{
    Body, By, Event, EventSink, Hub, HvEvent, Location, MigrationEnd, MigrationEvent, MigrationSettings, Nanos, Phase,
    Sample, SessionClock, StopPolicy, Substate,
};
use blackout::hypervisor::libvirt::LibvirtHypervisor;
use blackout::hypervisor::{Hypervisor, RunCommand, command, follow_migration, run_migration};
use common::contract::Subject;
use common::libvirt::{Hosts, SLOW, libvirt_is_here};
use nix::sys::signal::{Signal, kill};
use tokio::sync::mpsc;

/// Only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is done to a migration a second after its pre-copy has begun.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Deed {
    Nothing,
    Cancel,
    Cut,
    /// SIGKILL to the virsh that migrates; then the limit is lifted.
    KillVirsh,
    /// SIGKILL to the daemon of that end, which is started again three seconds later.
    KillDaemon(&'static str),
    /// A limit that lets it end.
    Faster,
}

struct Test {
    hosts: Hosts,
    hypervisor: Arc<dyn Hypervisor>,
    sink: EventSink,
    hub: Hub,
    n: u32,
}

/// A migration that is over, and all that was told of it.
struct Over {
    end: MigrationEnd,
    told: Vec<Event>,
    from: String,
    to: String,
}

impl Over {
    fn hypervisor(&self) -> impl Iterator<Item = (Nanos, &HvEvent)> {
        self.told.iter().filter_map(|e| match &e.ev {
            Body::Hypervisor(ev) => Some((e.t, ev)),
            _ => None,
        })
    }

    fn phases(&self) -> Vec<Phase> {
        let mut phases = Vec::new();
        for (_, ev) in self.hypervisor() {
            if let HvEvent::Phase { phase, .. } = ev
                && phases.last() != Some(phase)
            {
                phases.push(*phase);
            }
        }
        phases
    }

    /// What happened, without figures.
    fn course(&self) -> Vec<String> {
        let told = self.told.iter().filter(|e| !matches!(e.ev, Body::Hypervisor(HvEvent::Sample { .. })));
        told.map(|e| format!("{:.3} {:?}", e.t as f64 / 1e9, e.ev)).collect()
    }

    fn samples(&self) -> Vec<(Nanos, Sample)> {
        let sample = |(t, ev): (Nanos, &HvEvent)| match ev {
            HvEvent::Sample { sample, .. } => Some((t, sample.clone())),
            _ => None,
        };
        self.hypervisor().filter_map(sample).collect()
    }

    /// By QEMU's own clocks, ms.
    fn stop_resume_ms(&self) -> f64 {
        let at = |stop: bool| {
            self.hypervisor().find_map(|(_, ev)| match ev {
                HvEvent::Stopped { host, at } if stop && *host == self.from => *at,
                HvEvent::Resumed { host, at } if !stop && *host == self.to => *at,
                _ => None,
            })
        };
        let ms = |at: blackout::event::ForeignTime| at.secs as f64 * 1e3 + at.micros as f64 / 1e3;
        ms(at(false).expect("QEMU's resume")) - ms(at(true).expect("QEMU's stop"))
    }

    fn reported_ms(&self) -> Option<f64> {
        self.samples().iter().rev().find_map(|(_, sample)| sample.downtime_ms)
    }

    fn logged(&self, words: &str) -> bool {
        self.told.iter().any(|e| matches!(&e.ev, Body::Log(log) if log.text.contains(words)))
    }

    fn migration_s(&self) -> f64 {
        let at = |is: &dyn Fn(&MigrationEvent) -> bool| {
            self.told.iter().find_map(|e| match &e.ev {
                Body::Migration(m) if is(m) => Some(e.t),
                _ => None,
            })
        };
        let began = at(&|m| matches!(m, MigrationEvent::Began { .. })).unwrap();
        let ended = at(&|m| matches!(m, MigrationEvent::Ended { .. })).unwrap();
        (ended - began) as f64 / 1e9
    }

    /// The longest time between two samples.
    fn longest_gap_s(&self) -> f64 {
        let times: Vec<Nanos> = self.samples().iter().map(|(t, _)| *t).collect();
        times.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e9).fold(0.0, f64::max)
    }
}

impl Test {
    async fn start() -> Self {
        let hosts = Hosts::start();
        hosts.guest();
        let (sink, hub) = Hub::new(SessionClock::start(), 1 << 16);
        let config = toml::from_str(&hosts.described()).unwrap();
        let hypervisor = Arc::new(LibvirtHypervisor::connect(config, sink.clone()).await.unwrap());
        Self { hosts, hypervisor, sink, hub, n: 0 }
    }

    fn told(&self) -> Vec<Event> {
        self.hub.rx.try_iter().collect()
    }

    async fn migrate(&mut self, limit: Option<u64>, policy: StopPolicy, deed: Deed) -> Over {
        // With no room for an end by chance.
        let downtime_limit_ms = limit.map(|_| 10);
        let settings =
            MigrationSettings { bandwidth_bytes_per_s: limit, downtime_limit_ms, policy, ..Default::default() };
        self.migrate_with(settings, deed).await
    }

    async fn migrate_with(&mut self, settings: MigrationSettings, deed: Deed) -> Over {
        self.n += 1;
        let prospect = self.hypervisor.prospect().await;
        assert_eq!(prospect.obstacle, None);
        let mut told = self.told();
        told.clear();
        let (tell, commands) = mpsc::channel(4);
        let (begun, sink, hypervisor) = (Instant::now(), self.sink.clone(), Arc::clone(&self.hypervisor));
        let running = run_migration(&*hypervisor, self.n, settings.clone(), sink, commands);
        tokio::pin!(running);
        let (mut copying, mut done, mut restart) = (None, false, None);
        let end = loop {
            tokio::select! {
                end = &mut running => break end,
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {told:#?}");
            told.extend(self.told());
            let is = |e: &Event| matches!(e.ev, Body::Hypervisor(HvEvent::Phase { phase: Phase::PreCopy, .. }));
            if copying.is_none() && told.iter().any(is) {
                copying = Some(Instant::now());
            }
            if restart.as_ref().is_some_and(|(_, then)| Instant::now() > *then)
                && let Some((host, _)) = restart.take()
            {
                self.hosts.cable(&format!("start {host}"));
            }
            if done || copying.is_none_or(|then: Instant| then.elapsed() < Duration::from_secs(1)) {
                continue;
            }
            done = true;
            match deed {
                Deed::Nothing => {}
                Deed::Cancel => tell.send(RunCommand::Cancel { by: By::Operator }).await.unwrap(),
                Deed::Cut => self.hosts.cable("cut"),
                Deed::Faster => {
                    let faster = MigrationSettings { bandwidth_bytes_per_s: Some(64 << 20), ..settings.clone() };
                    tell.send(RunCommand::SetMigration(faster)).await.unwrap();
                }
                Deed::KillVirsh => {
                    kill(self.hosts.migrating(), Signal::SIGKILL).unwrap();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    self.hosts.virsh(&prospect.from, &["migrate-setspeed", "g1", "1000"]);
                }
                Deed::KillDaemon(side) => {
                    let host = if side == "source" { &prospect.from } else { &prospect.to };
                    self.hosts.cable(&format!("kill {host}"));
                    restart = Some((host.clone(), Instant::now() + Duration::from_secs(3)));
                }
            }
        };
        if let Some((host, _)) = restart {
            self.hosts.cable(&format!("start {host}"));
        }
        told.extend(self.told());
        let over = Over { end, told, from: prospect.from, to: prospect.to };
        eprintln!(
            "{} {deed:?}: {:?} in {:.2} s, {:?}, {} samples",
            self.n,
            over.end,
            over.migration_s(),
            over.phases(),
            over.samples().len()
        );
        over
    }

    async fn is_at(&self, host: &str) -> bool {
        self.hypervisor.prospect().await.location() == Location::At { host: host.into(), running: true }
    }

    /// Waits until the daemon of this host answers again, and the driver has heard so.
    async fn both_are_back(&self) {
        let until = Instant::now() + Duration::from_secs(40);
        for host in ["a", "b"] {
            while !self.hosts.virsh(host, &["uri"]).status.success() {
                assert!(Instant::now() < until, "{host} does not come back");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_between_real_hosts() {
    if !libvirt_is_here() {
        return;
    }
    let mut test = Test::start().await;
    let ours = test.hosts.dir.path().display().to_string();
    assert!(test.is_at("a").await);
    let offers = test.hypervisor.capabilities().await.unwrap();
    assert!(offers.product.contains("libvirt") && offers.product.contains("QEMU"), "{}", offers.product);
    assert_eq!(offers.sees.unwrap().stop_resume, Some(blackout::event::Stamped::Hosts), "QEMU's own events are heard");

    // Below the jump.
    let over = test.migrate(Some(64 << 20), StopPolicy::none(), Deed::Nothing).await;
    assert_eq!(over.end, MigrationEnd::Done);
    assert!(test.is_at("b").await);
    let (own, seen) = (over.reported_ms().unwrap(), over.stop_resume_ms());
    eprintln!("libvirt's own downtime {own} ms, QEMU's STOP to RESUME {seen:.1} ms");
    assert!((own - seen).abs() < 60.0, "{own} {seen}");
    assert!(over.phases().ends_with(&[Phase::StopAndCopy, Phase::Recovery, Phase::Done]), "{:?}", over.phases());
    assert!(over.hypervisor().any(|(_, ev)| matches!(ev, HvEvent::Round { at: Some(_), .. })));

    // Above it, and cancelled; then the downtime limit is as it was.
    let over = test.migrate(Some(SLOW), StopPolicy::none(), Deed::Cancel).await;
    assert_eq!(over.end, MigrationEnd::Cancelled { by: "the operator".into() });
    assert!(test.is_at("b").await);
    let zero = |(_, s): &(Nanos, Sample)| {
        s.total_bytes == Some(0) || s.remaining_bytes == Some(0) && s.transferred_bytes == Some(0)
    };
    assert!(!over.samples().iter().any(zero), "zeroes are no figures");
    let limit = test.hosts.virsh("b", &["migrate-getmaxdowntime", "g1"]);
    assert_eq!(String::from_utf8_lossy(&limit.stdout).trim(), "300");

    // Above it, and stopped: libvirt runs the guest at the destination.
    let over = test.migrate(Some(SLOW), StopPolicy::timeout(Duration::from_secs(3)), Deed::Nothing).await;
    assert_eq!(over.end, MigrationEnd::Done);
    assert!(test.is_at("a").await);
    let (own, seen) = (over.reported_ms().unwrap(), over.stop_resume_ms());
    eprintln!("stopped: libvirt's own downtime {own} ms, QEMU's STOP to RESUME {seen:.1} ms");
    // libvirt begins to count when it hears of the stop; QEMU's own figure is some milliseconds in all.
    assert!((own - seen).abs() < 150.0, "{own} {seen}");

    // Above it, and in post-copy, which libvirt does not limit by itself.
    test.hosts.virsh("a", &["migrate-setspeed", "g1", "1", "--postcopy"]);
    let policy: StopPolicy = "after=2s,then=post-copy".parse().unwrap();
    let over = test.migrate(Some(SLOW), policy, Deed::Nothing).await;
    assert_eq!(over.end, MigrationEnd::Done);
    assert!(test.is_at("b").await);
    assert!(over.phases().contains(&Phase::PostCopy), "{:#?}", over.course());
    assert_eq!(over.reported_ms(), None, "in post-copy its own figure is not the downtime");

    // A limit that is lifted while it runs, which is told.
    let over = test.migrate(Some(SLOW), StopPolicy::none(), Deed::Faster).await;
    assert_eq!(over.end, MigrationEnd::Done);
    assert!(test.is_at("a").await);
    let set = |(_, ev): (Nanos, &HvEvent)| matches!(ev, HvEvent::Setting { name, .. } if name == "migrate-setspeed");
    assert!(over.hypervisor().any(set));

    // Its virsh is killed: the migration goes on, and is followed to its end.
    let over = test.migrate(Some(SLOW), StopPolicy::none(), Deed::KillVirsh).await;
    assert_eq!(over.end, MigrationEnd::Done);
    assert!(over.logged("killed by SIGKILL"), "{:#?}", over.told);
    assert!(test.is_at("b").await);

    test.hypervisor.close().await;
    drop(test);
    let left = Hosts::traces(&ours);
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_is_told_as_it_is() {
    if !libvirt_is_here() {
        return;
    }
    let mut test = Test::start().await;
    assert!(test.is_at("a").await);

    // The destination's daemon is killed: libvirt gives up at once.
    let over = test.migrate(Some(SLOW), StopPolicy::none(), Deed::KillDaemon("destination")).await;
    assert!(matches!(&over.end, MigrationEnd::Failed { .. }), "{:?}", over.end);
    assert!(over.hypervisor().any(|(_, ev)| matches!(ev, HvEvent::HostLost { host, .. } if host == "b")));
    test.both_are_back().await;
    assert!(test.is_at("a").await);

    // The source's is: nothing can be learnt until it is back, and then that the guest has stayed.
    let over = test.migrate(Some(SLOW), StopPolicy::none(), Deed::KillDaemon("source")).await;
    assert!(matches!(&over.end, MigrationEnd::Failed { .. }), "{:?}", over.end);
    assert!(over.logged("cannot look at the migration") || over.logged("is followed by asking both hosts"));
    let lost = over.hypervisor().position(|(_, ev)| matches!(ev, HvEvent::HostLost { host, .. } if host == "a"));
    let up = over.hypervisor().position(|(_, ev)| matches!(ev, HvEvent::HostUp { host, .. } if host == "a"));
    assert!(lost.is_some() && up.is_none_or(|up| Some(up) > lost), "{lost:?} {up:?}");
    test.both_are_back().await;
    assert!(test.is_at("a").await);

    // The link is cut: libvirt repeats its last figures for half a minute, which are not told as new.
    let over = test.migrate(Some(SLOW), StopPolicy::none(), Deed::Cut).await;
    test.hosts.cable("mend");
    assert!(matches!(&over.end, MigrationEnd::Failed { why } if why.contains("exit status 1")), "{:?}", over.end);
    assert!(test.is_at("a").await);
    let last = over.samples().last().unwrap().0;
    let ended = over.told.last().unwrap().t;
    assert!((ended - last) as f64 / 1e9 > 5.0, "figures that stand still are no news");

    // And all of it works again.
    let over = test.migrate(Some(64 << 20), StopPolicy::none(), Deed::Nothing).await;
    assert_eq!(over.end, MigrationEnd::Done);
    assert!(over.longest_gap_s() < 5.0);
    assert!(!over.hypervisor().any(|(_, ev)| matches!(ev, HvEvent::Phase { substate: Some(Substate::Paused), .. })));
    test.hypervisor.close().await;
}

/// A plain `virsh migrate` of another, slow.
fn another(hosts: &Hosts, from: &str, to: &str) -> Child {
    let address = if to == "a" { "192.0.2.1" } else { "192.0.2.2" };
    hosts.virsh(from, &["migrate-setmaxdowntime", "g1", "10"]);
    let uri = format!("qemu+tcp://{address}/system");
    let words = ["migrate", "--live", "--p2p", "--bandwidth", "1", "g1", &uri, &format!("tcp://{address}")];
    let mut command = Command::new("virsh");
    command.args(["-c", &hosts.uri(from)]).args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

impl Test {
    /// Follows what another has begun; `deed` is done two seconds later.
    async fn follow(&mut self, from: &str, to: &str, deed: impl AsyncFnOnce(&Self, mpsc::Sender<RunCommand>)) -> Over {
        tokio::time::timeout(PATIENCE, self.hypervisor.begun()).await.expect("that it has begun");
        self.n += 1;
        let (tell, commands) = mpsc::channel(4);
        let hypervisor = Arc::clone(&self.hypervisor);
        let following = follow_migration(&*hypervisor, self.n, self.sink.clone(), commands);
        let later = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            deed(self, tell).await;
        };
        let both = async { tokio::join!(following, later) };
        let (end, ()) = tokio::time::timeout(PATIENCE, both).await.expect("an end");
        let over = Over { end, told: self.told(), from: from.into(), to: to.into() };
        eprintln!(
            "followed: {:?} in {:.2} s, {:?}, {} samples",
            over.end,
            over.migration_s(),
            over.phases(),
            over.samples().len()
        );
        let by = |e: &Event| matches!(e.ev, Body::Migration(MigrationEvent::Began { by: Some(By::Another), .. }));
        assert!(over.told.iter().any(by), "{:#?}", over.course());
        assert!(!over.hypervisor().any(|(_, ev)| matches!(ev, HvEvent::Setting { .. })), "nothing is changed");
        assert!(over.samples().len() > 3, "{:#?}", over.course());
        over
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_begins_is_followed() {
    if !libvirt_is_here() {
        return;
    }
    let mut test = Test::start().await;
    let nothing = tokio::time::timeout(Duration::from_secs(2), test.hypervisor.begun()).await;
    assert!(nothing.is_err(), "nothing has begun");
    test.told();

    // Begun while we watch, and done.
    let mut virsh = another(&test.hosts, "a", "b");
    let faster = async |test: &Test, _| {
        test.hosts.virsh("a", &["migrate-setspeed", "g1", "1000"]);
    };
    let over = test.follow("a", "b", faster).await;
    assert_eq!(over.end, MigrationEnd::Done);
    assert!(over.reported_ms().is_some() && over.stop_resume_ms() > 0.0);
    virsh.wait().unwrap();
    assert!(test.is_at("b").await);

    // Under way when we come, and cancelled by whoever began it.
    let mut virsh = another(&test.hosts, "b", "a");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    test.hypervisor.close().await;
    let config = toml::from_str(&test.hosts.described()).unwrap();
    test.hypervisor = Arc::new(LibvirtHypervisor::connect(config, test.sink.clone()).await.unwrap());
    test.told();
    let abort = async |test: &Test, _| {
        test.hosts.virsh("b", &["domjobabort", "g1"]);
    };
    let over = test.follow("b", "a", abort).await;
    assert_eq!(over.end, MigrationEnd::Cancelled { by: By::Another.words() });
    virsh.wait().unwrap();

    // The operator may cancel it.
    let mut virsh = another(&test.hosts, "b", "a");
    let cancel = async |_: &Test, tell: mpsc::Sender<RunCommand>| {
        tell.send(RunCommand::Cancel { by: By::Operator }).await.unwrap();
    };
    let over = test.follow("b", "a", cancel).await;
    assert_eq!(over.end, MigrationEnd::Cancelled { by: "the operator".into() });
    virsh.wait().unwrap();
    assert!(test.is_at("b").await);

    // What is not over for us is not begun anew.
    let nothing = tokio::time::timeout(Duration::from_secs(2), test.hypervisor.begun()).await;
    assert!(nothing.is_err(), "nothing has begun");
    test.hypervisor.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_to_the_contract() {
    if !libvirt_is_here() {
        return;
    }
    let Test { hosts, hypervisor, sink, hub, .. } = Test::start().await;
    let settings = |mib: u64, downtime_limit_ms| MigrationSettings {
        bandwidth_bytes_per_s: Some(mib << 20),
        downtime_limit_ms,
        ..MigrationSettings::default()
    };
    let subject = Subject { hypervisor, sink, hub, easy: settings(2, None), endless: settings(1, Some(10)) };
    subject.says_what_it_is_and_where_the_guest_is().await;
    subject.refuses_what_it_does_not_have().await;
    subject.is_cancelled().await;
    subject.is_started_watched_and_left().await;
    subject.succeeds().await;
    drop(hosts);
}

/// One migration, given by `command` with the preset for virsh, whose figure is the run time of `virsh migrate`, and
/// watched by this driver, which has not begun it: it sees the end within 100 ms of that of the `virsh`. (`command`
/// itself tells it later by what it takes to ask where the guest is with two more of them.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_measures_what_the_command_measures() {
    if !libvirt_is_here() {
        return;
    }
    let mut test = Test::start().await;
    let (sink, seen) = Hub::new(test.sink.clock(), 1 << 16);
    let config = toml::from_str(&test.hosts.described()).unwrap();
    let watcher = Arc::new(LibvirtHypervisor::connect(config, sink.clone()).await.unwrap());
    let text = format!("preset = 'virsh'\n{}", test.hosts.described());
    test.hypervisor = command::open(toml::from_str(&text).unwrap(), test.sink.clone()).unwrap();
    let watching = tokio::spawn(async move {
        let until = Instant::now() + PATIENCE;
        let joined = loop {
            if let Some(joined) = watcher.join(sink.clone()).await.unwrap() {
                break joined;
            }
            assert!(Instant::now() < until, "it is not found");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let mut states = joined.observe();
        while !states.next().await.unwrap().phase.is_over() {}
        joined.leave().await;
        watcher.close().await;
    });
    let (clock, ours) = (test.sink.clock(), test.hosts.dir.path().display().to_string());
    let timing = std::thread::spawn(move || {
        let until = Instant::now() + PATIENCE;
        let mut pid = None;
        while Instant::now() < until {
            pid = pid.or_else(|| Hosts::migrating_of(&ours));
            if pid.is_some_and(|pid| !Hosts::lives(pid)) {
                return clock.now();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("virsh does not end");
    });
    let over = test.migrate_with(limited(), Deed::Nothing).await;
    assert_eq!(over.end, MigrationEnd::Done);
    watching.await.unwrap();
    let by_virsh = timing.join().unwrap();
    let ended = over.told.iter().find(|e| matches!(e.ev, Body::Migration(MigrationEvent::Ended { .. }))).unwrap().t;
    let told: Vec<Event> = seen.rx.try_iter().collect();
    let is = |e: &&Event| matches!(e.ev, Body::Hypervisor(HvEvent::Phase { phase: Phase::Done, .. }));
    let done = told.iter().find(is).expect("its end").t;
    let ms = |t: Nanos| (t as f64 - done as f64) / 1e6;
    eprintln!(
        "behind this driver: virsh {:.1} ms, command {:.1} ms, of {:.3} s",
        ms(by_virsh),
        ms(ended),
        over.migration_s()
    );
    assert!(ms(by_virsh).abs() < 100.0, "{}", ms(by_virsh));
    assert!(told.iter().any(|e| matches!(e.ev, Body::Hypervisor(HvEvent::Sample { .. }))));
}

fn limited() -> MigrationSettings {
    MigrationSettings { bandwidth_bytes_per_s: Some(16 << 20), ..MigrationSettings::default() }
}
