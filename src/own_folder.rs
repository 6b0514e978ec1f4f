//! Folders that belong to the user who runs this program, in places where others may write (`/tmp`).
//!
//! A path there may be a stranger's folder, a link to anything, a FIFO that never opens, or change
//! from one look to the next. So a folder is opened once, without following a link in its last
//! component and without waiting, its owner and mode are read from the open descriptor, and all
//! that is done in it goes through that descriptor.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::getuid;

/// How long another process of this user's may hold the lock on a folder.
pub(crate) const LOCKED_WITHIN: Duration = Duration::from_secs(5);

/// Permissions of group and others, who may do nothing in it.
const FORBIDDEN: u32 = 0o077;

/// An open folder of this user's.
#[derive(Debug)]
pub(crate) struct OwnFolder {
    dir: OwnedFd,
    path: PathBuf,
}

/// A lock on a folder, let go when dropped or when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Flock<OwnedFd>,
}

fn folder_flags() -> OFlag {
    OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC
}

/// A component of its own: what is done through a descriptor must stay below it.
fn one_name(name: &OsStr) -> io::Result<()> {
    let bytes = name.as_encoded_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of one file"));
    }
    Ok(())
}

impl OwnFolder {
    /// Opens the folder `path`.
    ///
    /// # Errors
    /// When it does not exist, is a link or no folder, belongs to another user, or others may do
    /// anything in it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let dir = open(path, folder_flags(), Mode::empty()).map_err(unusable)?;
        Self::checked(dir, path.to_owned())
    }

    /// Opens the folder `path`; where there is none it is made, with its parents, for this user
    /// alone (mode 0700).
    ///
    /// # Errors
    /// As [`open`](Self::open), and when it cannot be made.
    pub(crate) fn make(path: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).recursive(true).create(path) {
            // What stands there is judged below.
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Self::open(path),
        }
    }

    fn checked(dir: OwnedFd, path: PathBuf) -> io::Result<Self> {
        let stat = fstat(&dir)?;
        let own = getuid().as_raw();
        if stat.st_uid != own {
            let why = format!("it belongs to user {}, not to you (user {own})", stat.st_uid);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let mode = stat.st_mode & 0o7777;
        if mode & FORBIDDEN != 0 {
            let why = format!("others may read or write in it (mode {mode:03o}); `chmod 700` it, or remove it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(Self { dir, path })
    }

    /// Its path, for people and for programs that need one.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder in it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_in(&self, name: &OsStr) -> io::Result<Self> {
        one_name(name)?;
        let dir = openat(&self.dir, name, folder_flags(), Mode::empty()).map_err(unusable)?;
        Self::checked(dir, self.path.join(name))
    }

    /// Makes a new folder in it, for this user alone, and opens that.
    ///
    /// # Errors
    /// When there is something of that name, or it cannot be made.
    pub(crate) fn make_in(&self, name: &OsStr) -> io::Result<Self> {
        one_name(name)?;
        mkdirat(&self.dir, name, Mode::S_IRWXU)?;
        self.open_in(name)
    }

    /// Locks the folder, which keeps out everyone else who locks it, and nobody who does not.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another holds the lock for longer than `patience`.
    pub(crate) fn lock(&self, patience: Duration) -> io::Result<Lock> {
        let until = Instant::now() + patience;
        // Its own open file: a lock belongs to that, not to the process.
        let mut file = openat(&self.dir, ".", folder_flags(), Mode::empty())?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Lock { _held: held }),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < until => {
                    file = back;
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    let why = format!("another process has held its lock for {} s", patience.as_secs_f64());
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
                }
                Err((_, e)) => return Err(e.into()),
            }
        }
    }

    /// The names of what is in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        fs::read_dir(self.through(OsStr::new(".")))?.map(|entry| entry.map(|e| e.file_name())).collect()
    }

    /// At most `limit` bytes of a regular file in it. A link is not followed, and nothing is
    /// waited for.
    ///
    /// # Errors
    /// When it is no regular file or cannot be read.
    pub(crate) fn read(&self, name: &OsStr, limit: u64) -> io::Result<Vec<u8>> {
        one_name(name)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.dir, name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a file in it, new or in place of an older one, readable by this user alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        one_name(name)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        File::from(openat(&self.dir, name, flags | OFlag::O_NONBLOCK, mode)?).write_all(bytes)
    }

    /// Removes a folder in it with all that is in that. Links are removed, never followed.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) fn remove_all(&self, name: &OsStr) -> io::Result<()> {
        one_name(name)?;
        fs::remove_dir_all(self.through(name))
    }

    /// Removes the folder itself if it is empty and still is what its path leads to.
    pub(crate) fn remove_if_empty(self) {
        let same = || {
            let (there, here) = (fs::symlink_metadata(&self.path).ok()?, fstat(&self.dir).ok()?);
            Some((there.dev(), there.ino()) == (here.st_dev, here.st_ino))
        };
        if same() == Some(true) {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// A path that leads through the open descriptor, whatever became of the folder's own path.
    fn through(&self, name: &OsStr) -> PathBuf {
        Path::new("/proc/self/fd").join(self.dir.as_raw_fd().to_string()).join(name)
    }
}

/// The error of an open in words that fit a folder.
fn unusable(e: Errno) -> io::Error {
    match e {
        Errno::ELOOP | Errno::ENOTDIR => {
            io::Error::new(io::ErrorKind::NotADirectory, "it is a link or a file, not a folder; remove it")
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests;
