//! QEMU's command line and its files.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::accel::Accel;
use super::confine::{SANDBOX, confine, number};
use super::error::LabError;
use super::packages::{Distro, QEMU};

/// The program, unless another is asked for.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// Everything that both hosts of a lab have in common: a migration needs the same machine at both
/// ends.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) program: PathBuf,
    pub(crate) accel: Accel,
    pub(crate) memory_bytes: u64,
    pub(crate) cpus: u32,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) library_dirs: Vec<PathBuf>,
    pub(crate) mac: [u8; 6],
    pub(crate) name: String,
    /// Whether this QEMU can filter its own system calls.
    pub(crate) sandbox: bool,
}

/// The files of one host, all beginning with its key, e.g. `a1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    dir: PathBuf,
    key: String,
}

impl Files {
    pub(crate) fn new(dir: &Path, key: &str) -> Self {
        Self { dir: dir.to_owned(), key: key.to_owned() }
    }

    fn with(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}.{suffix}", self.key))
    }

    /// QMP socket for `what`: `commands`, `events` or `guardian`.
    pub(crate) fn qmp(&self, what: &str) -> PathBuf {
        self.with(&format!("{what}.qmp"))
    }

    /// What the guest writes to its serial line.
    pub(crate) fn serial(&self) -> PathBuf {
        self.with("serial")
    }

    /// QEMU's standard error.
    pub(crate) fn stderr(&self) -> PathBuf {
        self.with("stderr")
    }

    /// The ends of both, for an error message; empty if there is nothing to tell.
    pub(crate) fn tails(&self) -> String {
        let part = |title: &str, path: PathBuf| match tail(&path) {
            text if text.is_empty() => String::new(),
            text => format!("\n{title}:\n{text}"),
        };
        part("QEMU says", self.stderr()) + &part("the guest's serial line ends with", self.serial())
    }
}

/// The last lines of a file that may be growing, without control characters.
fn tail(path: &Path) -> String {
    const BYTES: u64 = 8192;
    // A kernel's panic alone is twenty lines, and its cause stands before it.
    const LINES: usize = 40;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(BYTES)))?;
        let mut bytes = Vec::new();
        file.take(BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let clean = |l: &str| l.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>();
    let lines: Vec<String> = text.lines().map(clean).filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|l| format!("  {l}")).collect::<Vec<_>>().join("\n")
}

impl Machine {
    /// The kernel's command line.
    fn append(&self) -> String {
        // no_timer_check: on a busy host an emulated timer may miss the kernel's test, which then
        // panics. mitigations=off: this guest has nothing to hide, and emulation pays dearly.
        // cryptomgr.notests: a seventh of the time an emulated kernel takes to its init.
        let mut text = String::from(
            "console=ttyS0 quiet panic=-1 rdinit=/init no_timer_check mitigations=off cryptomgr.notests \
             random.trust_cpu=on",
        );
        if !self.library_dirs.is_empty() {
            // What the kernel does not know it hands to init as environment.
            let dirs: Vec<String> = self.library_dirs.iter().map(|d| d.to_string_lossy().into_owned()).collect();
            text.push_str(&format!(" LD_LIBRARY_PATH={}", dirs.join(":")));
        }
        text
    }

    /// The arguments for a host with these files, whose tap device is open under the number `tap`; one
    /// that waits for a migration if `incoming`.
    pub(crate) fn args(&self, files: &Files, tap: i32, incoming: bool) -> Vec<String> {
        let mac: Vec<String> = self.mac.iter().map(|b| format!("{b:02x}")).collect();
        let (accel, cpu) = match self.accel {
            Accel::Kvm => ("kvm", "host"),
            Accel::Tcg => ("tcg,thread=multi", "max"),
        };
        // A comma would begin a new option.
        let path = |p: &Path| p.to_string_lossy().replace(',', ",,");
        let plain = |p: &Path| p.to_string_lossy().into_owned();
        let mut args: Vec<String> =
            ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"].map(String::from).to_vec();
        let mut add = |option: &str, value: String| args.extend([option.to_owned(), value]);
        if self.sandbox {
            add("-sandbox", SANDBOX.into());
        }
        add("-name", format!("guest={},debug-threads=on", self.name.replace(',', ",,")));
        add("-machine", "q35".into());
        add("-accel", accel.into());
        add("-cpu", cpu.into());
        // A bare number would be MiB.
        add("-m", format!("size={}K", self.memory_bytes / 1024));
        add("-smp", self.cpus.to_string());
        add("-kernel", plain(&self.kernel));
        add("-initrd", plain(&self.initrd));
        add("-append", self.append());
        add("-serial", format!("file:{}", plain(&files.serial())));
        for what in ["commands", "events", "guardian"] {
            add("-qmp", format!("unix:{},server=on,wait=off", path(&files.qmp(what))));
        }
        add("-netdev", format!("tap,id=net0,fd={tap}"));
        // No boot ROM: it would need a file of its own, and the guest does not boot from the net.
        add("-device", format!("virtio-net-pci,netdev=net0,mac={},romfile=", mac.join(":")));
        if incoming {
            add("-incoming", "defer".into());
        }
        args
    }

    /// The command for such a host; standard error goes to its file.
    pub(crate) fn command(&self, files: &Files, tap: File, incoming: bool) -> Result<Command, LabError> {
        let stderr = files.stderr();
        let log = File::create(&stderr).map_err(|e| LabError::file("cannot make", stderr, e))?;
        let mut command = Command::new(&self.program);
        command.args(self.args(files, number(&tap), incoming));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        confine(&mut command, tap);
        Ok(command)
    }
}

/// Why this QEMU should not be trusted with an emulated guest, if so.
///
/// A guest that dirtied 8,000 pages/s under QEMU 7.2.22 (TCG) came out of a migration with pages
/// lost, and its kernel panicked; under 10.0.2 it never did. What lies between was not tried.
pub(crate) fn doubt(version: &str) -> Option<&'static str> {
    let digits = |s: &str| s.split(|c: char| !c.is_ascii_digit()).next().and_then(|d| d.parse::<u32>().ok());
    let major = digits(version.split("version ").nth(1)?)?;
    (major < 10).then_some(
        "under emulation, old versions (7.2) lose pages that a guest dirties while it is migrated, and it crashes; \
         use 10 or newer",
    )
}

/// Asks a QEMU for its version, e.g. `QEMU emulator version 10.0.2 (Debian …)`.
///
/// # Errors
/// [`LabError::NoQemu`] with what would mend it.
pub fn version(program: &Path) -> Result<String, LabError> {
    let failed = |why: String, remedy: String| LabError::NoQemu { program: program.display().to_string(), why, remedy };
    let install = || format!("install it with `{}`", QEMU.install(Distro::here()));
    let out = Command::new(program).arg("--version").stdin(Stdio::null()).output().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => failed("it is not there".into(), install()),
        _ => failed(e.to_string(), install()),
    })?;
    let text = String::from_utf8_lossy(&out.stdout);
    match text.lines().next() {
        Some(line) if out.status.success() && line.starts_with("QEMU") => Ok(line.to_owned()),
        _ => Err(failed(
            format!(
                "it does not say that it is QEMU ({}): {}",
                out.status,
                String::from_utf8_lossy(&out.stderr).trim()
            ),
            install(),
        )),
    }
}

/// Whether a QEMU was built to filter its own system calls.
pub(crate) fn sandboxes(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(["-sandbox", SANDBOX, "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Bytes of a file; 0 if there is none.
pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_qemu_is_doubted() {
        assert!(doubt("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)").is_some());
        assert!(doubt("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)").is_none());
        assert!(doubt("something else").is_none());
    }

    fn machine() -> Machine {
        Machine {
            program: PROGRAM.into(),
            accel: Accel::Tcg,
            memory_bytes: 256 << 20,
            cpus: 2,
            kernel: "/boot/vmlinuz".into(),
            initrd: "/run/x/initrd".into(),
            library_dirs: vec!["/lib/x86_64-linux-gnu".into()],
            mac: [0x52, 0x54, 0, 1, 2, 3],
            name: "guest".into(),
            sandbox: true,
        }
    }

    #[test]
    fn both_ends_are_the_same_machine() {
        let dir = Path::new("/run/x");
        let source = machine().args(&Files::new(dir, "a1"), 7, false);
        let mut dest = machine().args(&Files::new(dir, "b2"), 7, true);
        assert_eq!(dest.split_off(dest.len() - 2), ["-incoming", "defer"]);
        let other = |a: &String| a.replace("a1", "").replace("b2", "");
        assert_eq!(source.iter().map(other).collect::<Vec<_>>(), dest.iter().map(other).collect::<Vec<_>>());
        let text = source.join(" ");
        assert!(text.contains("mac=52:54:00:01:02:03") && text.contains("size=262144K"), "{text}");
        assert!(text.contains("-sandbox on,") && text.contains("tap,id=net0,fd=7"), "{text}");
        assert!(text.contains("LD_LIBRARY_PATH=/lib/x86_64-linux-gnu"), "{text}");
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        let args = machine().args(&Files::new(Path::new("/run/x,y"), "a1"), 7, false);
        assert!(args.iter().any(|a| a == "unix:/run/x,,y/a1.events.qmp,server=on,wait=off"), "{args:?}");
    }

    #[test]
    fn a_tail_is_short_and_clean() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), "a1");
        assert_eq!(files.tails(), "");
        let mut text = "x".repeat(9000);
        for i in 0..80 {
            text.push_str(&format!("\nline {i}\x1b[2J\r"));
        }
        fs::write(files.serial(), text).unwrap();
        let tails = files.tails();
        assert!(tails.ends_with("  line 79[2J") && tails.contains("line 40"), "{tails}");
        assert!(!tails.contains("line 39") && !tails.contains('\x1b'), "{tails}");
    }

    #[test]
    fn a_program_that_is_not_qemu_is_refused() {
        let e = version(Path::new("/bin/true")).unwrap_err().to_string();
        assert!(e.contains("does not say that it is QEMU") && e.contains("install"), "{e}");
        let e = version(Path::new("/no/such/qemu")).unwrap_err().to_string();
        assert!(e.contains("not there"), "{e}");
    }
}
