//! The contract's checks, over the simulated hypervisor, over real QEMUs, and over a command.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blackout::demo::hypervisor::{ModelOptions, SimulatedHypervisor};
use blackout::demo::{GuestOptions, SimulatedGuest};
use blackout::event::{Hub, MigrationSettings, SessionClock};
use blackout::hypervisor::command;
use blackout::hypervisor::qmp::{Endpoint, HostSpec, QmpHypervisor, QmpOptions};
use blackout::model::{Link, Product};
use common::contract::{PATIENCE, Subject};
use common::{QEMU, qemu_is_here};

const MIB: u64 = 1 << 20;

fn limited(bytes_per_s: u64) -> MigrationSettings {
    MigrationSettings { bandwidth_bytes_per_s: Some(bytes_per_s), ..MigrationSettings::default() }
}

fn simulated(product: Product) -> (Subject, SimulatedGuest) {
    let (sink, hub) = Hub::new(SessionClock::simulated(20.0), 1 << 20);
    let guest = SimulatedGuest::start(
        GuestOptions {
            ram_bytes: 256 * MIB,
            used_bytes: 64 * MIB,
            cpus: 1,
            ping_interval: Duration::from_millis(50),
            ping_deadline: Duration::from_secs(1),
            seed: 1,
        },
        sink.clone(),
    )
    .unwrap();
    let link = Link { bytes_per_s: 1e8, of_limit: 1.0 };
    let options = ModelOptions { product, link, costs: product.costs(), seed: 1 };
    let hypervisor = Arc::new(SimulatedHypervisor::new(options, Arc::new(guest.clone()), sink.clone()));
    // A tenth of a MB/s: some ten minutes for what the guest uses.
    (Subject { hypervisor, sink, hub, easy: limited(100_000_000), endless: limited(100_000) }, guest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_hypervisor_holds_to_it() {
    for product in [Product::Qemu, Product::HyperV] {
        let (subject, guest) = simulated(product);
        subject.says_what_it_is_and_where_the_guest_is().await;
        subject.refuses_what_it_does_not_have().await;
        subject.is_cancelled().await;
        subject.is_started_watched_and_left().await;
        subject.succeeds().await;
        guest.end();
    }
}

/// A QEMU that ends with the test.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Qemu {
    fn start(dir: &Path, name: &str, incoming: bool) -> (Self, HostSpec) {
        let mut c = Command::new(QEMU);
        c.args(["-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults", "-no-user-config", "-machine", "q35"]);
        let socket = |monitor: &str| dir.join(format!("{name}.{monitor}"));
        for monitor in ["c", "e", "g"] {
            let chardev = format!("socket,id={monitor},path={},server=on,wait=off", socket(monitor).display());
            c.args(["-chardev", &chardev, "-mon", &format!("chardev={monitor},mode=control")]);
        }
        if incoming {
            c.args(["-incoming", "defer"]);
        }
        let child = c.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while !socket("g").exists() {
            assert!(begun.elapsed() < PATIENCE, "QEMU did not open its monitors");
            std::thread::sleep(Duration::from_millis(20));
        }
        let at = |m: &str| Endpoint::Unix(socket(m));
        let (events, guardian) = (Some(at("e")), Some(at("g")));
        let pid = Some(child.id());
        (Self(child), HostSpec { name: name.into(), control: at("c"), events, guardian, pid })
    }
}

/// Two QEMUs, of which each takes one migration, whatever becomes of it.
async fn pair() -> (Subject, [Qemu; 2], tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (sink, hub) = Hub::new(SessionClock::start(), 1 << 20);
    let (a, source) = Qemu::start(dir.path(), "a", false);
    let (b, destination) = Qemu::start(dir.path(), "b", true);
    let uri = format!("unix:{}", dir.path().join("m").display());
    let options = QmpOptions { guardian: None, ..QmpOptions::to(uri) };
    let hypervisor = QmpHypervisor::connect(source, destination, options, sink.clone()).await.unwrap();
    let subject =
        Subject { hypervisor: Arc::new(hypervisor), sink, hub, easy: limited(100_000_000), endless: limited(100_000) };
    (subject, [a, b], dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qemu_holds_to_it() {
    if !qemu_is_here() {
        return;
    }
    let (subject, _qemus, _dir) = pair().await;
    subject.says_what_it_is_and_where_the_guest_is().await;
    subject.refuses_what_it_does_not_have().await;
    subject.succeeds().await;
    let (subject, _qemus, _dir) = pair().await;
    subject.is_cancelled().await;
    let (subject, _qemus, _dir) = pair().await;
    subject.is_started_watched_and_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_of_a_qemu_that_is_under_way_is_found() {
    if !qemu_is_here() {
        return;
    }
    let (subject, _qemus, _dir) = pair().await;
    subject.can_be_joined().await;
}

/// Two hosts that are files, between which a script moves a guest; with a limit it takes for ever.
fn commanded(dir: &Path) -> Subject {
    let file = |name: &str| dir.join(name).display().to_string();
    std::fs::write(file("a"), "running").unwrap();
    std::fs::write(file("b"), "absent").unwrap();
    let script = format!(
        "cd {}; echo migrating > b; n=0
        while test ! -e stop && test $n -lt ${{1:-9}}; do n=$((n+1)); printf '\\r%s %%' $n; sleep 0.03; done
        if test -e stop; then rm stop; echo absent > b; echo 'error: cancelled'; exit 1; fi
        echo absent > a; echo running > b",
        dir.display()
    );
    std::fs::write(file("migrate.sh"), script).unwrap();
    let text = format!(
        "guest = 'g1'
        from = {{ name = 'a', file = '{}' }}
        to = {{ name = 'b', file = '{}' }}
        migrate = ['sh', '{}', ['{{bandwidth}}']]
        cancel = ['touch', '{}']
        patterns = [{{ match = '(?<percent>[0-9.]+) %', phase = 'pre-copy' }}, {{ match = 'error: (?<error>.*)' }}]
        [where]
        run = ['cat', '{{here.file}}']
        rules = [
            {{ match = '^running$', is = 'running' }}, {{ match = '^migrating$', is = 'migrating' }},
            {{ match = '^absent$', is = 'absent' }},
        ]",
        file("a"),
        file("b"),
        file("migrate.sh"),
        file("stop"),
    );
    let (sink, hub) = Hub::new(SessionClock::start(), 1 << 20);
    let hypervisor = command::open(toml::from_str(&text).unwrap(), sink.clone()).unwrap();
    Subject { hypervisor, sink, hub, easy: MigrationSettings::default(), endless: limited(1_000_000) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_holds_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let subject = commanded(dir.path());
    subject.says_what_it_is_and_where_the_guest_is().await;
    subject.refuses_what_it_does_not_have().await;
    subject.is_cancelled().await;
    subject.is_started_watched_and_left().await;
    subject.succeeds().await;
}
