//! Where a lab keeps its sockets and files while it runs, and the sweep that clears away what
//! labs left behind that were killed without warning.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};

use super::error::LabError;
use crate::own_folder::{LOCKED_WITHIN, Lock, OwnFolder};

/// Longest path of a UNIX socket, less room for the file's own name.
const LONGEST_DIR: usize = 80;
/// A note of ours is two numbers; more of a file is not read. Bytes.
const NOTE_BYTES: u64 = 64;

/// A lab's own folder; removed with everything in it when dropped.
#[derive(Debug)]
pub struct RunDir {
    // Taken when dropped.
    root: Option<OwnFolder>,
    name: OsString,
    own: OwnFolder,
    // Held as long as the lab lives: whoever can take it knows that the lab is dead.
    _lock: Lock,
}

/// The folder all of this user's labs have theirs in: `$XDG_RUNTIME_DIR/blackout`, or
/// `/tmp/blackout-UID` where there is none, others may write there, or its path is too long for a
/// socket.
#[must_use]
pub fn root() -> PathBuf {
    let fallback = || PathBuf::from(format!("/tmp/blackout-{}", real_uid()));
    let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) else { return fallback() };
    let root = dir.join("blackout");
    let ours = |m: fs::Metadata| m.is_dir() && m.uid() == getuid().as_raw() && m.mode() & 0o022 == 0;
    let usable = dir.is_absolute() && root.as_os_str().len() < LONGEST_DIR && fs::metadata(&dir).is_ok_and(ours);
    if usable { root } else { fallback() }
}

/// The user's id outside our own user namespace, where everybody is root.
fn real_uid() -> u32 {
    let uid = getuid().as_raw();
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return uid };
    let mut fields = map.split_whitespace().map(str::parse::<u32>);
    match (fields.next(), fields.next(), fields.next()) {
        (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count))) if uid >= inside && uid - inside < count => {
            outside.saturating_add(uid - inside)
        }
        _ => uid,
    }
}

fn refused(root: &Path, why: io::Error) -> LabError {
    LabError::file("will not use the folder for labs", root, why)
}

impl RunDir {
    /// Makes a folder for this process's lab under `root`, readable by nobody else.
    ///
    /// # Errors
    /// [`LabError::File`] when it cannot be made or is not ours.
    pub fn create(root: &Path) -> Result<Self, LabError> {
        // In /tmp somebody else may have been there first.
        let folder = OwnFolder::make(root).map_err(|e| refused(root, e))?;
        // No sweep may come between the folder and its lock.
        let _all = folder.lock(LOCKED_WITHIN).map_err(|e| LabError::file("cannot lock", root, e))?;
        let pid = std::process::id();
        for n in 0..100 {
            let name = if n == 0 { format!("lab-{pid}") } else { format!("lab-{pid}-{n}") };
            let name = OsString::from(name);
            match folder.make_in(&name) {
                Ok(own) => {
                    let lock = own.lock(Duration::ZERO).map_err(|e| LabError::file("cannot lock", own.path(), e))?;
                    return Ok(Self { root: Some(folder), name, own, _lock: lock });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(LabError::file("cannot make the folder", root.join(name), e)),
            }
        }
        Err(LabError::Other(format!("{} is full of folders of this process", root.display())))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.own.path()
    }

    /// Notes that QEMU `pid` of host `key` belongs to this lab.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn note(&self, key: &str, pid: u32) -> Result<(), LabError> {
        let name = format!("{key}.pid");
        let start = start_time(pid).unwrap_or(0);
        let written = self.own.write(OsStr::new(&name), format!("{pid} {start}\n").as_bytes());
        written.map_err(|e| LabError::file("cannot write", self.path().join(name), e))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Some(root) = self.root.take() {
            let _ = root.remove_all(&self.name);
            // Goes only when no other lab is in it.
            root.remove_if_empty();
        }
    }
}

/// When process `pid` started, in clock ticks since boot (field 22 of `/proc/PID/stat`); with the
/// pid it names a process for good. None if there is none.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    // The field after the name is the third.
    let mut fields = rest.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Folders of dead labs removed.
    pub dirs: Vec<PathBuf>,
    /// Their QEMUs that were still running, now killed.
    pub killed: Vec<u32>,
}

/// Clears away what dead labs left under `root`. Living ones hold their lock and are not touched;
/// a process is killed only if its pid, start time and command line are all those of the dead
/// lab's. Where there is no such folder there is nothing to clear away.
///
/// # Errors
/// [`LabError::File`] when `root` is not a folder of this user's alone: then nothing in it is
/// looked at. Also when another process holds its lock for `LOCKED_WITHIN`.
pub fn sweep(root: &Path) -> Result<Swept, LabError> {
    let folder = match OwnFolder::open(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Swept::default()),
        opened => opened.map_err(|e| refused(root, e))?,
    };
    let _all = folder.lock(LOCKED_WITHIN).map_err(|e| LabError::file("cannot lock", root, e))?;
    let names = folder.names().map_err(|e| LabError::file("cannot read the folder", root, e))?;
    let mut swept = Swept::default();
    for name in names.iter().filter(|name| owner(name).is_some_and(|pid| pid != std::process::id())) {
        let Ok(dead) = folder.open_in(name) else { continue };
        let Ok(_lock) = dead.lock(Duration::ZERO) else { continue };
        swept.killed.extend(kill_recorded(&dead));
        if folder.remove_all(name).is_ok() {
            swept.dirs.push(root.join(name));
        }
    }
    Ok(swept)
}

/// The process a folder is named after.
fn owner(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_prefix("lab-")?.split('-').next()?.parse().ok()
}

fn kill_recorded(dir: &OwnFolder) -> Vec<u32> {
    let mut killed = Vec::new();
    for name in dir.names().unwrap_or_default() {
        if Path::new(&name).extension().is_none_or(|e| e != "pid") {
            continue;
        }
        let Ok(note) = dir.read(&name, NOTE_BYTES) else { continue };
        let text = String::from_utf8_lossy(&note);
        let mut fields = text.split_whitespace();
        let pid: Option<u32> = fields.next().and_then(|t| t.parse().ok());
        let start: Option<u64> = fields.next().and_then(|t| t.parse().ok());
        let (Some(pid), Some(start)) = (pid, start) else { continue };
        // Neither a whole process group nor everybody.
        let Some(target) = i32::try_from(pid).ok().filter(|p| *p > 1) else { continue };
        let same = || start_time(pid) == Some(start) && mentions(pid, dir.path());
        if same() && kill(Pid::from_raw(target), Signal::SIGKILL).is_ok() {
            let until = Instant::now() + Duration::from_secs(5);
            while start_time(pid) == Some(start) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            killed.push(pid);
        }
    }
    killed
}

/// Whether the command line of `pid` speaks of this folder.
fn mentions(pid: u32, dir: &Path) -> bool {
    let Ok(cmdline) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let needle = dir.as_os_str().as_encoded_bytes();
    cmdline.windows(needle.len().max(1)).any(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use std::fs::DirBuilder;
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process whose command line speaks of `dir`, as a QEMU's would.
    fn stand_in(dir: &Path) -> Child {
        let script = format!("sleep 60; : {}", dir.display());
        let child = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).process_group(0).spawn().unwrap();
        // spawn comes back while exec is still laying out the new command line.
        while !mentions(child.id(), dir) {
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    }

    fn end(mut child: Child) {
        // The whole group: the shell has a sleep of its own.
        let _ = nix::sys::signal::killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        let _ = child.wait();
    }

    fn dead_lab(root: &Path, pid: u32, note: &str) -> PathBuf {
        let dir = root.join(format!("lab-{pid}"));
        DirBuilder::new().mode(0o700).create(&dir).unwrap();
        fs::write(dir.join("a.pid"), note).unwrap();
        dir
    }

    fn dead_pid() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn the_dead_are_swept_with_their_processes() {
        let root = private();
        let pid = dead_pid();
        let mut child = stand_in(&root.path().join(format!("lab-{pid}")));
        let dir = dead_lab(root.path(), pid, &format!("{} {}", child.id(), start_time(child.id()).unwrap()));
        let swept = sweep(root.path()).unwrap();
        assert_eq!(swept, Swept { dirs: vec![dir.clone()], killed: vec![child.id()] });
        assert!(!dir.exists());
        assert!(!child.wait().unwrap().success());
        end(child);
    }

    #[test]
    fn nobody_elses_process_is_killed() {
        let root = private();
        let pid = dead_pid();
        let child = stand_in(&root.path().join(format!("lab-{pid}")));
        // The pid was used again since: another start time.
        dead_lab(root.path(), pid, &format!("{} {}", child.id(), start_time(child.id()).unwrap() + 1));
        assert!(sweep(root.path()).unwrap().killed.is_empty());
        // The same process, but it has nothing to do with that folder.
        let other = root.path().join("elsewhere");
        DirBuilder::new().mode(0o700).create(&other).unwrap();
        dead_lab(&other, pid, &format!("{} {}", child.id(), start_time(child.id()).unwrap()));
        assert!(sweep(&other).unwrap().killed.is_empty());
        assert!(start_time(child.id()).is_some(), "it must still live");
        end(child);
    }

    #[test]
    fn the_living_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let lab = RunDir::create(&root.path().join("r")).unwrap();
        // As seen from another process: held by flock, and flock counts open files, not processes.
        let alias = root.path().join("r").join(format!("lab-{}", dead_pid()));
        fs::rename(lab.path(), &alias).unwrap();
        assert_eq!(sweep(&root.path().join("r")).unwrap(), Swept::default());
        assert!(alias.exists());
        fs::rename(&alias, lab.path()).unwrap();
        let path = lab.path().to_owned();
        drop(lab);
        assert!(!path.exists() && !root.path().join("r").exists());
    }

    /// A folder as [`RunDir`] makes it.
    fn private() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        root
    }

    #[test]
    fn a_folder_others_can_read_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("open");
        DirBuilder::new().mode(0o755).create(&open).unwrap();
        assert!(RunDir::create(&open).unwrap_err().to_string().contains("chmod 700"));
        fs::create_dir(open.join("lab-1")).unwrap();
        assert!(sweep(&open).unwrap_err().to_string().contains("chmod 700"));
        assert!(open.join("lab-1").exists());
    }

    #[test]
    fn a_strangers_link_leads_the_sweep_nowhere() {
        let root = private();
        let victim = root.path().join("victim");
        DirBuilder::new().mode(0o700).create(&victim).unwrap();
        let dead = dead_lab(&victim, dead_pid(), "1 1");
        let link = root.path().join("blackout-0");
        symlink(&victim, &link).unwrap();
        let why = sweep(&link).unwrap_err().to_string();
        assert!(why.contains("not a folder") && why.contains("blackout-0"), "{why}");
        assert!(RunDir::create(&link).is_err());
        assert!(dead.exists());
        // One level down: the name of a dead lab, but a link.
        symlink(&victim, root.path().join(format!("lab-{}", dead_pid()))).unwrap();
        assert_eq!(sweep(root.path()).unwrap(), Swept::default());
        assert!(dead.exists());
    }

    #[test]
    fn a_strangers_folder_is_not_looked_into() {
        let root = private();
        let theirs = root.path().join("blackout-0");
        DirBuilder::new().mode(0o777).create(&theirs).unwrap();
        let dead = dead_lab(&theirs, dead_pid(), "1 1");
        if chown(&theirs, Some(65_533), None).is_err() {
            eprintln!("skipped: only root can make a folder of another user's");
            return;
        }
        assert!(sweep(&theirs).unwrap_err().to_string().contains("user 65533"));
        assert!(RunDir::create(&theirs).is_err());
        assert!(dead.exists());
    }

    #[test]
    fn a_fifo_or_a_held_lock_does_not_hold_a_lab_up() {
        let root = private();
        let fifo = root.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let begun = Instant::now();
        assert!(sweep(&fifo).is_err() && RunDir::create(&fifo).is_err());
        assert!(begun.elapsed() < Duration::from_secs(2));
        let _held = OwnFolder::open(root.path()).unwrap().lock(Duration::ZERO).unwrap();
        let why = sweep(root.path()).unwrap_err().to_string();
        assert!(why.contains("held its lock for 5 s"), "{why}");
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_note_names_one_process_or_none() {
        let root = private();
        for note in ["0 0", "1 0", "4294967295 0", "-1 0", "x", "99999999999999999999 1"] {
            dead_lab(root.path(), dead_pid(), note);
            assert!(sweep(root.path()).unwrap().killed.is_empty(), "{note}");
        }
        // A FIFO in a note's place is not waited for.
        let dir = dead_lab(root.path(), dead_pid(), "1 1");
        nix::unistd::mkfifo(&dir.join("b.pid"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(sweep(root.path()).unwrap().dirs, [dir]);
    }

    #[test]
    fn start_times_are_read_past_odd_names() {
        assert!(start_time(std::process::id()).unwrap() > 0);
        assert_eq!(start_time(dead_pid()), None);
    }
}
