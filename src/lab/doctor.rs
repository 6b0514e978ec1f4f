//! What a lab, a probe, an agent and a capture need of this machine, and what mends each miss.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access, getegid, geteuid, getgroups};
use serde::{Deserialize, Serialize};

use super::accel::{self, Accel};
use super::error::LabError;
use super::kernel::{self, Places};
use super::packages::{Distro, KERNEL, QEMU};
use super::{modules, netns, qemu, rundir, trial};
use crate::own_folder::OwnFolder;
use crate::units::show_bytes;

/// Who needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// `blackout lab`.
    Lab,
    /// `blackout ping`, and the probe of `blackout migrate`; the lab has its own network.
    Probe,
    /// `blackout agent` and `blackout load` on this machine; the lab's agent has its own.
    Agent,
    /// The capture of any session.
    Capture,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It will do, but not as well as it could.
    Warn,
    /// It will not do.
    Miss,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Who needs it.
    pub part: Part,
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub found: String,
    /// The command that mends it, if it needs mending.
    pub mend: Option<String>,
}

impl Check {
    fn ok(part: Part, name: &'static str, found: impl Into<String>) -> Self {
        Self { part, name, status: Status::Ok, found: found.into(), mend: None }
    }

    fn miss(part: Part, name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { part, name, status: Status::Miss, found: found.into(), mend: Some(mend.into()) }
    }

    fn warn(part: Part, name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { status: Status::Warn, ..Self::miss(part, name, found, mend) }
    }
}

/// All checks, in the order in which things are needed. `guest_bytes` is the RAM of the guest a lab
/// would have.
#[must_use]
pub fn examine(guest_bytes: u64) -> Vec<Check> {
    let distro = Distro::here();
    let version = qemu::version(Path::new(qemu::PROGRAM));
    let mut checks = vec![machine(), qemu_check(&version, distro), kernel_check(distro)];
    checks.extend(network());
    checks.push(kvm(version.as_deref().ok()));
    checks.push(memory(guest_bytes));
    checks.push(folder(Part::Lab, "run folder", &rundir::root(), 64 << 20));
    checks.push(ping());
    checks.push(memlock());
    checks.push(folder(Part::Capture, "capture folder", &state_dir(), 100 << 20));
    checks
}

/// Whether all a lab needs is there.
#[must_use]
pub fn lab_passes(checks: &[Check]) -> bool {
    !checks.iter().any(|c| c.part == Part::Lab && c.status == Status::Miss)
}

/// Whether a lab would start here, found out in a few hundredths of a second.
#[must_use]
pub fn lab_ready() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let qemu = std::env::split_paths(&path).any(|d| access(&d.join(qemu::PROGRAM), AccessFlags::X_OK).is_ok());
    qemu && machine().status == Status::Ok
        && kernel::find(None, &Places::default()).is_ok()
        && matches!(trial::in_child(try_network), Ok(NetworkTrial::Fine { .. }))
}

fn machine() -> Check {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Check::ok(Part::Lab, "machine", "x86-64 Linux"),
        (os, arch) => Check::miss(
            Part::Lab,
            "machine",
            format!("{arch} {os}: the lab's guest runs this very program on qemu-system-x86_64"),
            "use an x86-64 machine for the lab; `blackout migrate` works from here too",
        ),
    }
}

/// How a newer QEMU than the release's own is had.
fn newer_qemu(distro: Option<Distro>) -> String {
    match distro {
        Some(Distro::Debian) => {
            "sudo apt-get install --no-install-recommends -t \"$(. /etc/os-release; echo $VERSION_CODENAME)-backports\" \
             qemu-system-x86"
                .to_owned()
        }
        other => QEMU.install(other),
    }
}

fn qemu_check(version: &Result<String, LabError>, distro: Option<Distro>) -> Check {
    match version {
        Ok(text) => match qemu::doubt(text) {
            None => Check::ok(Part::Lab, "qemu", text),
            Some(doubt) => Check::warn(Part::Lab, "qemu", format!("{text}: {doubt}"), newer_qemu(distro)),
        },
        Err(e) => Check::miss(Part::Lab, "qemu", e.gist(), QEMU.install(distro)),
    }
}

fn kernel_check(distro: Option<Distro>) -> Check {
    let places = Places::default();
    let name = "guest kernel";
    let kernel = match kernel::find(None, &places) {
        Ok(kernel) => kernel,
        Err(LabError::Kernel { why, remedy }) => {
            let mend = if why.starts_with("no vmlinuz") { KERNEL.install(distro) } else { command_in(&remedy) };
            return Check::miss(Part::Lab, name, why, mend);
        }
        Err(e) => return Check::miss(Part::Lab, name, e.to_string(), KERNEL.install(distro)),
    };
    match modules::collect(&places.modules, &kernel.release) {
        Ok(found) => {
            let n = found.modules.len();
            Check::ok(Part::Lab, name, format!("{} with {n} modules to load", kernel.path.display()))
        }
        Err(e) => Check::miss(Part::Lab, name, e.to_string(), KERNEL.install(distro)),
    }
}

/// The command in a remedy told for people, where there is one.
fn command_in(remedy: &str) -> String {
    remedy.split('`').nth(1).unwrap_or(remedy).to_owned()
}

/// What became of trying a lab's network.
#[derive(Debug, Serialize, Deserialize)]
enum NetworkTrial {
    Fine { unprivileged: bool },
    Namespace { why: String, mend: String },
    Bridge { why: String },
    Tap { why: String, errno: i32 },
}

fn try_network() -> NetworkTrial {
    match netns::enter() {
        Ok(network) => match super::tap::open("bo-trial") {
            Ok(_) => NetworkTrial::Fine { unprivileged: network.unprivileged },
            Err(e) => NetworkTrial::Tap { why: e.to_string(), errno: e.raw_os_error().unwrap_or(0) },
        },
        Err(LabError::Namespace { step, source, remedy }) => {
            NetworkTrial::Namespace { why: format!("{step}: {source}"), mend: remedy }
        }
        Err(e) => NetworkTrial::Bridge { why: e.to_string() },
    }
}

fn network() -> Vec<Check> {
    let namespaces = |text: &str| Check::ok(Part::Lab, "namespaces", text);
    let bridge = || Check::ok(Part::Lab, "bridge", "can be made");
    match trial::in_child(try_network) {
        Ok(NetworkTrial::Fine { unprivileged }) => {
            let how = if unprivileged { "user namespaces are allowed: no root needed" } else { "made as root" };
            vec![namespaces(how), bridge(), Check::ok(Part::Lab, "tap", "can be made")]
        }
        Ok(NetworkTrial::Namespace { why, mend }) => vec![Check::miss(Part::Lab, "namespaces", why, command_in(&mend))],
        Ok(NetworkTrial::Bridge { why }) => {
            vec![namespaces("allowed"), Check::miss(Part::Lab, "bridge", why, "sudo modprobe bridge")]
        }
        Ok(NetworkTrial::Tap { why, errno }) => {
            let found = format!("/dev/net/tun: {why}");
            vec![namespaces("allowed"), bridge(), Check::miss(Part::Lab, "tap", found, tap_mend(errno))]
        }
        Err(why) => vec![Check::miss(Part::Lab, "namespaces", why, "run it as root")],
    }
}

fn tap_mend(errno: i32) -> &'static str {
    match io::Error::from_raw_os_error(errno).kind() {
        io::ErrorKind::PermissionDenied => "sudo chmod 0666 /dev/net/tun",
        _ if fs::exists("/.dockerenv").unwrap_or(false) => {
            "start the container with --device /dev/net/tun (and `sudo modprobe tun` on its host)"
        }
        _ => "sudo modprobe tun",
    }
}

fn kvm(qemu_version: Option<&str>) -> Check {
    let name = "kvm";
    let slow = "the lab runs under emulation (TCG), some ten times slower";
    let Err(why) = accel::kvm_opens() else {
        let remembered = qemu_version.and_then(|v| accel::Memory::new(v).recall());
        return match remembered {
            Some(r) if r.chosen == Accel::Tcg => Check::warn(
                Part::Lab,
                name,
                format!("/dev/kvm opens, but {}; {slow}", r.why),
                "blackout lab --accel kvm   # tries again",
            ),
            Some(_) => Check::ok(Part::Lab, name, "/dev/kvm opens, and a guest has come up with it"),
            None => Check::ok(Part::Lab, name, "/dev/kvm opens (not tried yet; the lab falls back to TCG by itself)"),
        };
    };
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|w| w == flag);
    let mend = match () {
        () if fs::exists("/dev/kvm").unwrap_or(false) => "sudo usermod -aG kvm \"$USER\"   # then log in again",
        () if has("vmx") => "sudo modprobe kvm_intel",
        () if has("svm") => "sudo modprobe kvm_amd",
        () => "switch on virtualisation in the firmware, or nested virtualisation on the host of this VM",
    };
    Check::warn(Part::Lab, name, format!("{why}; {slow}"), mend)
}

fn memory(guest_bytes: u64) -> Check {
    // Two QEMUs, each with its own copy of the guest while a migration runs, and themselves.
    let needed = 2 * guest_bytes + (256 << 20);
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let name = "memory";
    match kib.map(|k| k * 1024) {
        Some(free) if free >= needed => Check::ok(Part::Lab, name, format!("{} available", show_bytes(free))),
        Some(free) => Check::miss(
            Part::Lab,
            name,
            format!("{} available, two hosts need {}", show_bytes(free), show_bytes(needed)),
            "close other programs, or give the guest less with --memory",
        ),
        None => Check::warn(Part::Lab, name, "unknown (/proc/meminfo)", "none needed if the lab starts"),
    }
}

/// `$XDG_STATE_HOME/blackout/sessions`, where captures go by default.
fn state_dir() -> PathBuf {
    let set = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".local/state");
    set.unwrap_or_else(home).join("blackout/sessions")
}

/// Whether a folder is, or could be made, ours to write to, with room in it.
fn folder(part: Part, name: &'static str, path: &Path, room: u64) -> Check {
    let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let shown = path.display();
    if part == Part::Lab
        && let Err(e) = OwnFolder::open(path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        let mend = format!("ls -ld {shown}   # then have it removed, or set XDG_RUNTIME_DIR to a folder of your own");
        return Check::miss(part, name, format!("will not use {shown}: {e}"), mend);
    }
    if let Err(e) = access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        let mend = match part {
            Part::Capture => format!("sudo install -d -o \"$USER\" {shown}   # or choose another with --out"),
            _ => format!("sudo install -d -m 0700 -o \"$USER\" {shown}"),
        };
        return Check::miss(part, name, format!("cannot write to {}: {}", there.display(), e.desc()), mend);
    }
    match statvfs(there) {
        Ok(fs) if fs.blocks_available() * fs.fragment_size() < room => {
            let free = fs.blocks_available() * fs.fragment_size();
            Check::miss(
                part,
                name,
                format!("{shown}: {} free, {} would be right", show_bytes(free), show_bytes(room)),
                format!("df -h {}   # and make room there", there.display()),
            )
        }
        _ => Check::ok(part, name, shown.to_string()),
    }
}

/// Effective capabilities of this process as in `/proc/self/status`; 0 if unknown.
fn capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hex = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    hex.and_then(|h| u64::from_str_radix(h.trim(), 16).ok()).unwrap_or(0)
}

const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;

fn can(capability: u32) -> bool {
    capabilities() >> capability & 1 == 1
}

fn ping() -> Check {
    let name = "ping";
    let range = fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default();
    let mut groups: Vec<u32> = getgroups().unwrap_or_default().iter().map(|g| g.as_raw()).collect();
    groups.push(getegid().as_raw());
    if in_range(&range, &groups) {
        return Check::ok(Part::Probe, name, "unprivileged ICMP is allowed (net.ipv4.ping_group_range)");
    }
    if can(CAP_NET_RAW) {
        return Check::ok(Part::Probe, name, "raw sockets are allowed (CAP_NET_RAW)");
    }
    let range = range.split_whitespace().collect::<Vec<_>>().join(" ");
    Check::miss(
        Part::Probe,
        name,
        format!("no ICMP: net.ipv4.ping_group_range is \"{range}\" and there is no CAP_NET_RAW"),
        "sudo sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"   # or: sudo setcap cap_net_raw+ep \"$(command -v blackout)\"",
    )
}

fn in_range(range: &str, groups: &[u32]) -> bool {
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    match (ends.next(), ends.next()) {
        (Some(Ok(low)), Some(Ok(high))) => groups.iter().any(|g| (low..=high).contains(g)),
        _ => false,
    }
}

/// Whether enough memory can be locked for a WSET.
pub(crate) fn memlock() -> Check {
    let name = "locked memory";
    let enough = 96u64 << 20;
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((soft, _)) if soft >= enough => {
            let shown = if soft == u64::MAX { "unlimited".into() } else { show_bytes(soft) };
            Check::ok(Part::Agent, name, shown)
        }
        _ if can(CAP_IPC_LOCK) => Check::ok(Part::Agent, name, "not limited for this process (CAP_IPC_LOCK)"),
        Ok((soft, hard)) => {
            let user = geteuid();
            let found = format!("at most {} (RLIMIT_MEMLOCK); a WSET cannot be larger", show_bytes(soft));
            let mend = if hard >= enough {
                "ulimit -l unlimited || ulimit -l $(ulimit -H -l)".to_owned()
            } else {
                format!("sudo prlimit --pid $$ --memlock=unlimited   # in the shell you start it from, as uid {user}")
            };
            Check::warn(Part::Agent, name, found, mend)
        }
        Err(e) => Check::warn(Part::Agent, name, format!("unknown: {e}"), "ulimit -l unlimited"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_miss_says_what_mends_it() {
        for check in examine(256 << 20) {
            assert!(!check.found.is_empty(), "{check:?}");
            assert_eq!(check.mend.is_some(), check.status != Status::Ok, "{check:?}");
        }
        assert!(examine(1 << 60).iter().any(|c| c.name == "memory" && c.status == Status::Miss));
    }

    #[test]
    fn only_the_labs_misses_count_for_the_lab() {
        let probe = Check::miss(Part::Probe, "ping", "x", "y");
        let kvm = Check::warn(Part::Lab, "kvm", "x", "y");
        assert!(lab_passes(&[probe.clone(), kvm.clone()]));
        assert!(!lab_passes(&[probe, kvm, Check::miss(Part::Lab, "qemu", "x", "y")]));
    }

    #[test]
    fn the_quick_answer_is_the_long_one() {
        let checks = examine(16 << 20);
        let quick = ["machine", "qemu", "guest kernel", "namespaces", "bridge", "tap"];
        let long = checks.iter().all(|c| !quick.contains(&c.name) || c.status != Status::Miss);
        assert_eq!(lab_ready(), long, "{checks:?}");
    }

    #[test]
    fn remedies_give_up_their_commands() {
        assert_eq!(command_in("mend it with `sudo x y`, or run it as root"), "sudo x y");
        assert_eq!(command_in("run it as root"), "run it as root");
    }

    #[test]
    fn ping_groups() {
        assert!(in_range("0\t2147483647\n", &[65534]));
        assert!(!in_range("1\t0\n", &[0]));
        assert!(!in_range("", &[0]));
    }

    #[test]
    fn folders_that_cannot_be_made_are_missed() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b");
        assert_eq!(folder(Part::Capture, "f", &new, 1).status, Status::Ok);
        assert!(!new.exists(), "a check makes nothing");
        assert_eq!(folder(Part::Capture, "f", &new, u64::MAX).status, Status::Miss);
        assert_eq!(folder(Part::Capture, "f", Path::new("/proc/x"), 1).status, Status::Miss);
        // The mode of a folder for labs is looked at, even where it can be written.
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let check = folder(Part::Lab, "f", &open, 1);
        assert!(check.status == Status::Miss && check.found.contains("mode 755"), "{check:?}");
    }
}
