//! Two real libvirt hosts and a guest, for as long as a test has them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Pid, geteuid};

use super::{busy_firmware, skipped};

/// Less than the guest dirties, bytes/s: pre-copy does not end by itself.
pub const SLOW: u64 = 1 << 20;

/// Whether there can be libvirt hosts here; says so if not. `BLACKOUT_REQUIRE_LIBVIRT=1` makes that a failure.
pub fn libvirt_is_here() -> bool {
    let Some(why) = obstacle() else { return true };
    assert!(std::env::var("BLACKOUT_REQUIRE_LIBVIRT").as_deref() != Ok("1"), "libvirt is required, but {why}");
    skipped(why);
    false
}

/// Why there can be no libvirt hosts here.
fn obstacle() -> Option<String> {
    let has = |program: &str, argument: &str| {
        Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let missing = [("libvirtd", "--version"), ("virsh", "--version"), ("ip", "-V"), (super::QEMU, "--version")];
    match missing.into_iter().find(|(program, argument)| !has(program, argument)) {
        Some((program, _)) => Some(format!("{program} is not installed")),
        None if !geteuid().is_root() => Some("libvirt hosts of one's own need root".into()),
        None => None,
    }
}

/// Two libvirt hosts that end with the test.
pub struct Hosts {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub dir: tempfile::TempDir,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // The script ends with its stdin, and everything in its namespaces with it.
        drop(self.stdin.take());
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Hosts {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("blackout-libvirt-").tempdir().unwrap();
        let mut child = Command::new("unshare")
            .args(["--pid", "--net", "--mount", "--fork", "--kill-child", "--mount-proc"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/libvirt-hosts"))
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut hosts = Self { child, stdin, stdout, dir };
        hosts.hear("ready");
        hosts
    }

    fn hear(&mut self, wanted: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), wanted);
    }

    pub fn cable(&mut self, what: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{what}").unwrap();
        self.hear("ok");
    }

    pub fn uri(&self, host: &str) -> String {
        format!("qemu+unix:///system?socket={}/{host}/sock", self.dir.path().display())
    }

    pub fn virsh(&self, host: &str, arguments: &[&str]) -> Output {
        Command::new("virsh").args(["-c", &self.uri(host)]).args(arguments).output().unwrap()
    }

    /// A guest that runs nothing but firmware that dirties memory.
    pub fn guest(&self) {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        fs::write(file("busy.rom"), busy_firmware()).unwrap();
        let xml = format!(
            r#"<domain type="qemu"><name>g1</name><memory unit="MiB">64</memory><vcpu>1</vcpu>
            <os><type arch="x86_64" machine="q35">hvm</type><loader type="rom">{}</loader></os>
            <features><acpi/></features>
            <cpu mode="custom" match="exact" check="none"><model fallback="forbid">qemu64</model></cpu>
            <devices><emulator>/usr/bin/{}</emulator><controller type="usb" model="none"/>
            <memballoon model="none"/></devices></domain>"#,
            file("busy.rom"),
            super::QEMU,
        );
        fs::write(file("g1.xml"), xml).unwrap();
        let created = self.virsh("a", &["create", &file("g1.xml")]);
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    }

    /// The `virsh` that migrates.
    pub fn migrating(&self) -> Pid {
        Self::migrating_of(&self.dir.path().display().to_string()).expect("a virsh that migrates")
    }

    /// The same, between the hosts in this folder, if there is one.
    pub fn migrating_of(dir: &str) -> Option<Pid> {
        let is_it = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                let line = String::from_utf8_lossy(&line).into_owned();
                line.starts_with("virsh\0") && line.contains(dir) && line.contains("\0migrate\0")
            })
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
        pids.into_iter().find(is_it).map(Pid::from_raw)
    }

    /// Whether a process has not ended.
    pub fn lives(pid: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    }

    /// Names and addresses of both, as a target describes them.
    pub fn described(&self) -> String {
        let host = |name: &str, ip: &str| {
            let uri = self.uri(name);
            format!("{{ name = '{name}', uri = '{uri}', peer-uri = 'qemu+tcp://{ip}/system', address = 'tcp://{ip}' }}")
        };
        format!("guest = 'g1'\nfrom = {}\nto = {}", host("a", "192.0.2.1"), host("b", "192.0.2.2"))
    }

    /// Processes that still know the folder of these hosts.
    pub fn traces(dir: &str) -> Vec<String> {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(dir)).collect()
    }
}
