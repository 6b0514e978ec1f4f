//! The lab with real QEMUs: boot, migrations there and back, and nothing left behind.
//!
//! Has no test harness: a harness has threads, and a process with threads cannot enter a namespace.
//! This very program is also the init of the guests it boots. Skips when QEMU or a kernel is
//! missing, unless BLACKOUT_REQUIRE_QEMU=1.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use blackout::event::{Body, Hub, HvEvent, LabEvent, SessionClock};
use blackout::lab::{self, AccelChoice, HostInfo, Lab, LabError, LabOptions};
use serde_json::{Value, json};

type Outcome = Result<(), String>;
type Test = (&'static str, fn() -> Outcome);

const TESTS: [Test; 6] = [
    ("there_and_back_again", there_and_back_again),
    ("a_guest_that_hangs_on_kvm_falls_back", a_guest_that_hangs_on_kvm_falls_back),
    ("a_dead_host_is_told", a_dead_host_is_told),
    ("nothing_is_left_after_kill_9", nothing_is_left_after_kill_9),
    ("nothing_is_left_after_a_panic", nothing_is_left_after_a_panic),
    ("a_kernel_that_is_none_is_refused", a_kernel_that_is_none_is_refused),
];

fn main() -> ExitCode {
    if lab::guest_init::is_guest_init() {
        lab::guest_init::run();
    }
    if let Ok(role) = std::env::var("LAB_REAL_ROLE") {
        return role_main(&role);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    if let Some(why) = missing() {
        if std::env::var("BLACKOUT_REQUIRE_QEMU").is_ok_and(|v| v == "1") {
            println!("failed: the lab is required, but {why}");
            return ExitCode::FAILURE;
        }
        println!("skipped: {why}");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in TESTS {
        if !filters.is_empty() && !filters.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let began = Instant::now();
        let outcome = test();
        let took = began.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => println!("test {name} ... ok ({took:.1} s)"),
            Err(why) => {
                failed += 1;
                println!("test {name} ... FAILED ({took:.1} s)\n{why}");
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a lab needs and this machine lacks.
fn missing() -> Option<String> {
    let qemu = Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status();
    if qemu.is_err() {
        return Some("qemu-system-x86_64 is not installed".into());
    }
    lab::kernel::find(None, &lab::kernel::Places::default()).err().map(|e| e.to_string())
}

/// A process of this program in another role, with folders of its own.
struct Stage {
    dir: PathBuf,
}

impl Stage {
    fn new() -> Self {
        // Short: a socket's path has little room.
        let dir = PathBuf::from(format!("/tmp/lab-real-{}-{:x}", std::process::id(), unique()));
        std::fs::create_dir_all(&dir).expect("a folder in /tmp");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&dir, mode).expect("a folder of ours");
        Self { dir }
    }

    fn role(&self, role: &str) -> Command {
        let mut c = Command::new(std::env::current_exe().expect("a path of our own"));
        c.env("LAB_REAL_ROLE", role).stdout(Stdio::piped());
        c.env("XDG_RUNTIME_DIR", &self.dir);
        // What one test learns of the accelerator is no answer for another.
        c.env("XDG_CACHE_HOME", self.dir.join("cache"));
        c
    }

    /// Runs a role to its end and hands back what it printed.
    fn run(&self, role: &str) -> Result<String, String> {
        let out = self.role(role).output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.success() { Ok(text) } else { Err(format!("role {role} ended with {}:\n{text}", out.status)) }
    }

    /// QEMUs that speak of this stage, and folders left in it.
    fn left(&self) -> (BTreeSet<u32>, Vec<PathBuf>) {
        let labs = std::fs::read_dir(self.dir.join("blackout")).into_iter().flatten().flatten();
        (qemus(&self.dir), labs.map(|e| e.path()).collect())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static N: AtomicU32 = AtomicU32::new(0);
    N.fetch_add(1, Ordering::Relaxed)
}

fn qemus(speaking_of: &Path) -> BTreeSet<u32> {
    let needle = speaking_of.to_string_lossy().into_owned();
    let procs = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    procs
        .filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok())
        .filter(|pid| {
            let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let cmdline = String::from_utf8_lossy(&cmdline).into_owned();
            cmdline.starts_with("qemu-system") && cmdline.contains(&needle)
        })
        .collect()
}

/// Waits for something that must come, for longer than any busy machine takes.
fn eventually(what: &str, mut done: impl FnMut() -> bool) -> Outcome {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        if Instant::now() > until {
            return Err(format!("{what}: not after 30 s"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn there_and_back_again() -> Outcome {
    let stage = Stage::new();
    let told = stage.run("ping-pong")?;
    let left = stage.left();
    if left != (BTreeSet::new(), Vec::new()) {
        return Err(format!("left behind: {left:?}\n{told}"));
    }
    for part in ["migration 1: a to b", "migration 2: b to a", "migration 3: a to b", "replaced", "stopped"] {
        if !told.contains(part) {
            return Err(format!("'{part}' is missing in:\n{told}"));
        }
    }
    Ok(())
}

/// With a QEMU that does nothing when asked for KVM, as on a machine where the guest hangs.
fn a_guest_that_hangs_on_kvm_falls_back() -> Outcome {
    if std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        println!("skipped: /dev/kvm does not open here, so nothing would try it");
        return Ok(());
    }
    let stage = Stage::new();
    let qemu = stage.dir.join("qemu-system-hang");
    // Paused for good: it opens everything and answers on QMP, but its guest says nothing.
    let script = r#"#!/bin/sh
case " $* " in
*" -accel kvm "*) ;;
*) exec qemu-system-x86_64 "$@" ;;
esac
for a; do
    shift
    case "$a" in kvm) a=tcg ;; host) a=max ;; esac
    set -- "$@" "$a"
done
exec qemu-system-x86_64 "$@" -S
"#;
    std::fs::write(&qemu, script).map_err(|e| e.to_string())?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&qemu, mode).map_err(|e| e.to_string())?;
    let told = stage.run("fake-kvm")?;
    for part in ["trying KVM", "did not report in within 8.00 s (kvm)", "accelerator tcg: with KVM", "remembered"] {
        if !told.contains(part) {
            return Err(format!("'{part}' is missing in:\n{told}"));
        }
    }
    match stage.left() {
        (q, d) if q.is_empty() && d.is_empty() => Ok(()),
        left => Err(format!("left behind: {left:?}")),
    }
}

fn a_dead_host_is_told() -> Outcome {
    let told = Stage::new().run("host-lost")?;
    if told.contains("lost host b") { Ok(()) } else { Err(told) }
}

fn nothing_is_left_after_kill_9() -> Outcome {
    let stage = Stage::new();
    let mut child = stage.role("linger").spawn().map_err(|e| e.to_string())?;
    let mut out = BufReader::new(child.stdout.take().ok_or("no stdout")?);
    let mut told = String::new();
    while !told.contains("lingering") {
        if out.read_line(&mut told).map_err(|e| e.to_string())? == 0 {
            let _ = child.wait();
            return Err(format!("it ended too early:\n{told}"));
        }
    }
    let running = qemus(&stage.dir);
    if running.len() != 2 {
        child.kill().and_then(|()| child.wait()).map_err(|e| e.to_string())?;
        return Err(format!("two QEMUs should run, not {running:?}"));
    }
    child.kill().and_then(|()| child.wait()).map_err(|e| e.to_string())?;
    let killed = Instant::now();
    eventually("QEMUs to die with their lab", || qemus(&stage.dir).is_empty())?;
    println!("no QEMU left {:.0} ms after kill -9", killed.elapsed().as_secs_f64() * 1e3);
    if stage.left().1.is_empty() {
        return Err("the folder of a killed lab should still be there, or this test shows nothing".into());
    }
    // A new lab starts at once, and clears away what the dead one left.
    let told = stage.run("quick")?;
    if !told.contains("cleared away 1 dead lab") {
        return Err(format!("nothing was cleared away:\n{told}"));
    }
    match stage.left() {
        (q, d) if q.is_empty() && d.is_empty() => Ok(()),
        left => Err(format!("left behind: {left:?}")),
    }
}

fn nothing_is_left_after_a_panic() -> Outcome {
    let stage = Stage::new();
    let out = stage.role("panic").stderr(Stdio::null()).output().map_err(|e| e.to_string())?;
    if out.status.code() != Some(101) || !String::from_utf8_lossy(&out.stdout).contains("about to panic") {
        return Err(format!("{}: {}", out.status, String::from_utf8_lossy(&out.stdout)));
    }
    eventually("QEMUs to die", || qemus(&stage.dir).is_empty())?;
    if stage.left().1.is_empty() { Ok(()) } else { Err(format!("left behind: {:?}", stage.left())) }
}

fn a_kernel_that_is_none_is_refused() -> Outcome {
    let stage = Stage::new();
    let told = stage.run("no-kernel")?;
    if !told.contains("not a Linux kernel in the bzImage format") {
        return Err(told);
    }
    if stage.left().1.is_empty() { Ok(()) } else { Err(format!("left behind: {:?}", stage.left())) }
}

// The roles: what runs inside a lab.

fn role_main(role: &str) -> ExitCode {
    let network = match lab::enter() {
        Ok(network) => network,
        Err(e) => {
            println!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(|e| e.to_string()).and_then(|rt| rt.block_on(play(role, &network)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn start(network: &lab::Network, options: LabOptions) -> Result<(Lab, Hub), LabError> {
    let (sink, hub) = Hub::new(SessionClock::start(), 10_000);
    let lab = Lab::start(network, options, sink).await;
    tell(&hub);
    Ok((lab?, hub))
}

/// Prints what came over the stream.
fn tell(hub: &Hub) {
    for e in hub.rx.try_iter() {
        let at = e.t as f64 / 1e9;
        match e.ev {
            Body::Lab(LabEvent::Step { what }) => println!("{at:7.3} {what}"),
            Body::Lab(LabEvent::Accel { chosen, why }) => println!("{at:7.3} accelerator {chosen}: {why}"),
            Body::Lab(LabEvent::Ready { guest, enter }) => println!("{at:7.3} ready: {guest}, {enter}"),
            Body::Hypervisor(HvEvent::HostLost { host, why }) => println!("{at:7.3} lost host {host}: {why}"),
            other => println!("{at:7.3} {other:?}"),
        }
    }
}

async fn play(role: &str, network: &lab::Network) -> Outcome {
    let said = |e: LabError| e.to_string();
    if role == "no-kernel" {
        let options = LabOptions { kernel: Some(PathBuf::from("/etc/os-release")), ..LabOptions::default() };
        return match start(network, options).await {
            Ok(_) => Err("it started".into()),
            Err(e) => {
                println!("{e}");
                Ok(())
            }
        };
    }
    if role == "fake-kvm" {
        let dir = std::env::var_os("XDG_RUNTIME_DIR").ok_or("no folder")?;
        let qemu = Path::new(&dir).join("qemu-system-hang");
        for _ in 0..2 {
            // The first start tries, the second remembers.
            let options = LabOptions { qemu: qemu.clone(), ..LabOptions::default() };
            let (lab, _) = start(network, options).await.map_err(said)?;
            lab.stop().await;
        }
        return Ok(());
    }
    // The other tests are not about the accelerator: no time is to be lost on one that hangs.
    let accel = if role == "ping-pong" { AccelChoice::Auto } else { AccelChoice::Tcg };
    let (mut lab, hub) = start(network, LabOptions { accel, ..LabOptions::default() }).await.map_err(said)?;
    match role {
        "ping-pong" => {
            for n in 1..=3 {
                migrate(&mut lab, n).await?;
                tell(&hub);
            }
            lab.replace_destination().await.map_err(said)?;
            println!("replaced");
            migrate(&mut lab, 4).await?;
            lab.stop().await;
            tell(&hub);
            println!("stopped");
        }
        "host-lost" => {
            let pid = lab.destination().ok_or("no destination")?.pid;
            Command::new("kill").args(["-9", &pid.to_string()]).status().map_err(|e| e.to_string())?;
            for _ in 0..500 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if let Some(e) = hub.rx.try_iter().find(|e| matches!(e.ev, Body::Hypervisor(_))) {
                    if let Body::Hypervisor(HvEvent::HostLost { host, why }) = e.ev {
                        println!("lost host {host}: {why}");
                    }
                    lab.replace_destination().await.map_err(said)?;
                    return migrate(&mut lab, 1).await;
                }
            }
            return Err("the death of a QEMU was not told".into());
        }
        "linger" => {
            // In the middle of a migration, which is the worst moment.
            let (from, to) = (lab.source().cloned().ok_or("none")?, lab.destination().cloned().ok_or("none")?);
            let (mut source, mut dest) = (Qmp::open(&from.qmp_commands)?, Qmp::open(&to.qmp_commands)?);
            dest.ask("migrate-incoming", json!({"uri": to.incoming_uri}))?;
            source.ask("migrate-set-parameters", json!({"max-bandwidth": 100_000}))?;
            source.ask("migrate", json!({"uri": to.incoming_uri}))?;
            while source.ask("query-migrate", json!({}))?["status"] != "active" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            println!("lingering");
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
        "panic" => {
            println!("about to panic");
            panic!("as asked");
        }
        "quick" => lab.stop().await,
        other => return Err(format!("no role {other}")),
    }
    Ok(())
}

/// One QMP connection, as simple as can be.
struct Qmp {
    lines: BufReader<UnixStream>,
}

impl Qmp {
    fn open(path: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut qmp = Self { lines: BufReader::new(stream) };
        qmp.line()?;
        qmp.ask("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    fn line(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => Err("QMP ended".into()),
            Ok(_) => serde_json::from_str(&line).map_err(|e| format!("{e}: {line}")),
            Err(e) => Err(e.to_string()),
        }
    }

    fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let text = format!("{}\n", json!({"execute": command, "arguments": arguments}));
        self.lines.get_mut().write_all(text.as_bytes()).map_err(|e| e.to_string())?;
        loop {
            let answer = self.line()?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(format!("{command}: {error}"));
            }
        }
    }

    fn status(&mut self) -> Result<String, String> {
        let answer = self.ask("query-status", json!({}))?;
        Ok(answer["status"].as_str().unwrap_or_default().to_owned())
    }
}

/// Migrates over raw QMP, then flips the lab; the guest must answer before and after.
async fn migrate(lab: &mut Lab, n: u32) -> Outcome {
    let (from, to) = (lab.source().cloned().ok_or("no source")?, lab.destination().cloned().ok_or("no destination")?);
    answers(lab).await?;
    // Outside the runtime's threads: this waits.
    let (a, b) = (from.clone(), to.clone());
    tokio::task::spawn_blocking(move || migrate_raw(&a, &b)).await.map_err(|e| e.to_string())??;
    answers(lab).await?;
    println!("migration {n}: {} to {}", from.name, to.name);
    lab.flip().await.map_err(|e| e.to_string())?;
    if lab.source() != Some(&to) || lab.destination().map(|d| &d.name) != Some(&from.name) {
        return Err(format!("after the flip: {:?}, {:?}", lab.source(), lab.destination()));
    }
    if Path::new(&format!("/proc/{}", from.pid)).exists() {
        return Err(format!("the old source {} still runs", from.pid));
    }
    answers(lab).await
}

fn migrate_raw(from: &HostInfo, to: &HostInfo) -> Outcome {
    let (mut source, mut dest) = (Qmp::open(&from.qmp_commands)?, Qmp::open(&to.qmp_commands)?);
    // The other two sockets must be there for their owners.
    for path in [&from.qmp_events, &from.qmp_guardian, &to.qmp_events, &to.qmp_guardian] {
        Qmp::open(path)?;
    }
    dest.ask("migrate-incoming", json!({"uri": to.incoming_uri}))?;
    source.ask("migrate", json!({"uri": to.incoming_uri}))?;
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let state = source.ask("query-migrate", json!({}))?;
        match state["status"].as_str() {
            Some("completed") => break,
            Some("failed") => return Err(format!("migration failed: {state}")),
            _ if Instant::now() > until => return Err(format!("migration does not end: {state}")),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    eventually("the guest to run at the destination", || dest.status().is_ok_and(|s| s == "running"))
}

/// The guest answers pings on both addresses, and its agent's port is open.
async fn answers(lab: &Lab) -> Outcome {
    let addresses: Vec<IpAddr> = [Some(lab.guest_addr()), lab.guest_addr6()].into_iter().flatten().collect();
    let agent = lab.agent_addr();
    let check = move || -> Outcome {
        for address in &addresses {
            let mut last = String::new();
            eventually("the guest to answer pings", || match ping(*address) {
                Ok(()) => true,
                Err(e) => {
                    last = e.to_string();
                    false
                }
            })
            .map_err(|e| format!("{e} ({address}): {last}"))?;
        }
        std::net::TcpStream::connect_timeout(&agent, Duration::from_secs(20)).map(drop).map_err(|e| e.to_string())
    };
    tokio::task::spawn_blocking(check).await.map_err(|e| e.to_string())?
}

/// One echo request and its reply, over the socket that needs no privilege in the lab.
fn ping(to: IpAddr) -> std::io::Result<()> {
    use socket2::{Domain, Protocol, SockAddr, Socket, Type};
    let (domain, protocol, request, reply) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let mut socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.connect(&SockAddr::from(SocketAddr::new(to, 0)))?;
    // Type, code, checksum and identifier (both the kernel's to fill in), sequence, a few bytes.
    socket.send(&[request, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4])?;
    let mut answer = [0u8; 64];
    match socket.read(&mut answer)? {
        1.. if answer[0] == reply => Ok(()),
        n => Err(std::io::Error::other(format!("not an echo reply: {:?}", &answer[..n]))),
    }
}
