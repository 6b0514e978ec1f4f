//! Where a lab keeps its sockets and files while it runs, and the sweep that clears away what
//! labs left behind that were killed without warning.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};

use super::error::LabError;

/// Longest path of a UNIX socket, less room for the file's own name.
const LONGEST_DIR: usize = 80;

/// A lab's own folder; removed with everything in it when dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    // Held as long as the lab lives: whoever can take it knows that the lab is dead.
    _lock: Flock<File>,
}

/// The folder all of this user's labs have theirs in: `$XDG_RUNTIME_DIR/blackout`, or
/// `/tmp/blackout-UID` where there is none or its path is too long for a socket.
#[must_use]
pub fn root() -> PathBuf {
    let fallback = || PathBuf::from(format!("/tmp/blackout-{}", real_uid()));
    let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) else { return fallback() };
    let root = dir.join("blackout");
    let usable = dir.is_absolute()
        && root.as_os_str().len() < LONGEST_DIR
        && fs::metadata(&dir).is_ok_and(|m| m.is_dir() && m.uid() == getuid().as_raw());
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

impl RunDir {
    /// Makes a folder for this process's lab under `root`, readable by nobody else.
    ///
    /// # Errors
    /// [`LabError::File`] when it cannot be made or is not ours.
    pub fn create(root: &Path) -> Result<Self, LabError> {
        let make = |p: &Path, all: bool| DirBuilder::new().mode(0o700).recursive(all).create(p);
        make(root, true).map_err(|e| LabError::file("cannot make the folder", root, e))?;
        let m = fs::symlink_metadata(root).map_err(|e| LabError::file("cannot look at", root, e))?;
        // In /tmp somebody else may have been there first.
        if !m.is_dir() || m.uid() != getuid().as_raw() || m.mode() & 0o077 != 0 {
            let why = io::Error::other("it is not a folder of yours that only you can read; remove it");
            return Err(LabError::file("will not use", root, why));
        }
        // No sweep may come between the folder and its lock.
        let _all = lock(root, FlockArg::LockExclusive).map_err(|e| LabError::file("cannot lock", root, e))?;
        let pid = std::process::id();
        for n in 0..100 {
            let name = if n == 0 { format!("lab-{pid}") } else { format!("lab-{pid}-{n}") };
            let path = root.join(name);
            match make(&path, false) {
                Ok(()) => {
                    let lock = lock(&path, FlockArg::LockExclusiveNonblock)
                        .map_err(|e| LabError::file("cannot lock", &path, e))?;
                    return Ok(Self { path, _lock: lock });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(LabError::file("cannot make the folder", path, e)),
            }
        }
        Err(LabError::Other(format!("{} is full of folders of this process", root.display())))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that QEMU `pid` of host `key` belongs to this lab.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn note(&self, key: &str, pid: u32) -> Result<(), LabError> {
        let path = self.path.join(format!("{key}.pid"));
        let start = start_time(pid).unwrap_or(0);
        fs::write(&path, format!("{pid} {start}\n")).map_err(|e| LabError::file("cannot write", path, e))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        // Goes only when no other lab is in it.
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

fn lock(dir: &Path, how: FlockArg) -> io::Result<Flock<File>> {
    Flock::lock(File::open(dir)?, how).map_err(|(_, e)| e.into())
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
/// lab's.
#[must_use]
pub fn sweep(root: &Path) -> Swept {
    let mut swept = Swept::default();
    let Ok(_all) = lock(root, FlockArg::LockExclusive) else { return swept };
    let ours = |p: &PathBuf| {
        fs::symlink_metadata(p).is_ok_and(|m| m.is_dir() && m.uid() == getuid().as_raw())
            && owner(p).is_some_and(|pid| pid != std::process::id())
    };
    let entries = fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path());
    for dir in entries.filter(ours) {
        let Ok(_lock) = lock(&dir, FlockArg::LockExclusiveNonblock) else { continue };
        swept.killed.extend(kill_recorded(&dir));
        if fs::remove_dir_all(&dir).is_ok() {
            swept.dirs.push(dir);
        }
    }
    swept
}

/// The process a folder is named after.
fn owner(dir: &Path) -> Option<u32> {
    let name = dir.file_name()?.to_str()?.strip_prefix("lab-")?;
    name.split('-').next()?.parse().ok()
}

fn kill_recorded(dir: &Path) -> Vec<u32> {
    let notes = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let notes = notes.filter(|p| p.extension().is_some_and(|e| e == "pid"));
    let mut killed = Vec::new();
    for text in notes.filter_map(|p| fs::read_to_string(p).ok()) {
        let mut fields = text.split_whitespace();
        let pid: Option<u32> = fields.next().and_then(|t| t.parse().ok());
        let start: Option<u64> = fields.next().and_then(|t| t.parse().ok());
        let (Some(pid), Some(start)) = (pid, start) else { continue };
        let same = || start_time(pid) == Some(start) && mentions(pid, dir);
        if same() && kill(Pid::from_raw(pid as i32), Signal::SIGKILL).is_ok() {
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
        fs::create_dir_all(&dir).unwrap();
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
        let root = tempfile::tempdir().unwrap();
        let pid = dead_pid();
        let mut child = stand_in(&root.path().join(format!("lab-{pid}")));
        let dir = dead_lab(root.path(), pid, &format!("{} {}", child.id(), start_time(child.id()).unwrap()));
        let swept = sweep(root.path());
        assert_eq!(swept, Swept { dirs: vec![dir.clone()], killed: vec![child.id()] });
        assert!(!dir.exists());
        assert!(!child.wait().unwrap().success());
        end(child);
    }

    #[test]
    fn nobody_elses_process_is_killed() {
        let root = tempfile::tempdir().unwrap();
        let pid = dead_pid();
        let child = stand_in(&root.path().join(format!("lab-{pid}")));
        // The pid was used again since: another start time.
        dead_lab(root.path(), pid, &format!("{} {}", child.id(), start_time(child.id()).unwrap() + 1));
        assert!(sweep(root.path()).killed.is_empty());
        // The same process, but it has nothing to do with that folder.
        let other = root.path().join("elsewhere");
        dead_lab(&other, pid, &format!("{} {}", child.id(), start_time(child.id()).unwrap()));
        assert!(sweep(&other).killed.is_empty());
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
        assert_eq!(sweep(&root.path().join("r")), Swept::default());
        assert!(alias.exists());
        fs::rename(&alias, lab.path()).unwrap();
        let path = lab.path().to_owned();
        drop(lab);
        assert!(!path.exists() && !root.path().join("r").exists());
    }

    #[test]
    fn a_folder_others_can_read_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("open");
        DirBuilder::new().mode(0o755).create(&open).unwrap();
        assert!(RunDir::create(&open).unwrap_err().to_string().contains("only you can read"));
    }

    #[test]
    fn start_times_are_read_past_odd_names() {
        assert!(start_time(std::process::id()).unwrap() > 0);
        assert_eq!(start_time(dead_pid()), None);
    }
}
