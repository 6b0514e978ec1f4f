//! Files that somebody else may have written or may have a hand in: read in bounds, written without
//! destroying anything, kept in folders that are ours.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use tempfile::NamedTempFile;
use thiserror::Error;

/// The largest file of settings, keys or colours that is read, bytes: a hundred times the longest sensible.
pub(crate) const SETTINGS_LIMIT: u64 = 1 << 20;
/// How long a pipe may take to deliver such a file.
const PIPE_PATIENCE: Duration = Duration::from_secs(10);

/// Reads a whole file of at most `limit` bytes. A device or a pipe without an end, and a pipe into which
/// nothing is written, are errors and no waits.
///
/// # Errors
/// What the operating system says, or that it is longer, or took too long.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path)?;
    let kind = file.metadata()?.file_type();
    let waits = kind.is_fifo() || kind.is_char_device() || kind.is_socket();
    let deadline = Instant::now() + PIPE_PATIENCE;
    let (mut bytes, mut block) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        if waits && !readable(&file, deadline)? {
            let why = format!("nothing more came out of it within {} s", PIPE_PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        match file.read(&mut block) {
            Ok(0) => return Ok(bytes),
            Ok(n) => bytes.extend_from_slice(&block[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(e) => return Err(e),
        }
        if bytes.len() as u64 > limit {
            let why = format!("longer than {}, which no such file is", crate::units::show_bytes(limit));
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
    }
}

/// The same of a text in UTF-8; a byte order mark is no part of it.
///
/// # Errors
/// See [`read`]; or that it is no such text.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, limit)?)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("not text in UTF-8: {}", e.utf8_error())))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn readable(file: &File, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
    Ok(poll(&mut fds, patience)? > 0)
}

/// Why a file cannot be written.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    /// Something is there.
    #[error("{} exists already: name another file, or let it be replaced with --force", .0.display())]
    Exists(PathBuf),
    /// It is what is read.
    #[error("{} is what is read ({}): it would be destroyed; name another file", path.display(), input.display())]
    Input {
        /// The file to be written.
        path: PathBuf,
        /// The input it is.
        input: PathBuf,
    },
    /// A folder stands there.
    #[error("{} is a folder: name a file in it", .0.display())]
    Folder(PathBuf),
    /// The operating system refuses.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file that was to be written.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

/// A file that is being written. It takes its name when it is whole: until then, and if anything goes
/// wrong, what was there before stays as it is.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Beside its place, and whether it may take the place of another.
    Part(NamedTempFile, bool),
    /// A device or a pipe: there is nothing to be destroyed.
    Direct(File),
}

impl Output {
    /// Begins a file. What exists is replaced only with `force`, and none of `inputs` is ever.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub(crate) fn create(path: &Path, force: bool, inputs: &[PathBuf]) -> Result<Self, WriteError> {
        let io = |source| WriteError::Io { path: path.to_owned(), source };
        let there = fs::metadata(path).ok();
        if let Some(there) = &there {
            let same =
                |input: &&PathBuf| fs::metadata(input).is_ok_and(|i| (i.dev(), i.ino()) == (there.dev(), there.ino()));
            if let Some(input) = inputs.iter().find(same) {
                return Err(WriteError::Input { path: path.to_owned(), input: input.clone() });
            }
            if there.is_dir() {
                return Err(WriteError::Folder(path.to_owned()));
            }
            if !there.is_file() {
                let file = OpenOptions::new().write(true).open(path).map_err(io)?;
                return Ok(Self { path: path.to_owned(), kind: Kind::Direct(file) });
            }
        }
        if !force && fs::symlink_metadata(path).is_ok() {
            return Err(WriteError::Exists(path.to_owned()));
        }
        // Through a link: what it leads to is replaced, not the link.
        let path = if there.is_some() { fs::canonicalize(path).map_err(io)? } else { path.to_owned() };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mode = there.map_or(0o666, |t| t.permissions().mode() & 0o777);
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(path.file_name().unwrap_or(OsStr::new("output")));
        let part = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".part")
            .permissions(fs::Permissions::from_mode(mode))
            .tempfile_in(folder)
            .map_err(|source| WriteError::Io { path: path.clone(), source })?;
        Ok(Self { path, kind: Kind::Part(part, force) })
    }

    /// The file is whole: it takes its name.
    ///
    /// # Errors
    /// When it cannot be written to its end, or another took the name meanwhile.
    pub(crate) fn finish(mut self) -> Result<(), WriteError> {
        let io = |source| WriteError::Io { path: self.path.clone(), source };
        match &mut self.kind {
            Kind::Direct(file) => file.flush().map_err(io)?,
            Kind::Part(part, _) => part.as_file().sync_data().map_err(io)?,
        }
        if let Kind::Part(part, force) = self.kind {
            let kept = if force { part.persist(&self.path) } else { part.persist_noclobber(&self.path) };
            if let Err(e) = kept {
                return Err(match e.error.kind() {
                    io::ErrorKind::AlreadyExists => WriteError::Exists(self.path),
                    _ => WriteError::Io { path: self.path, source: e.error },
                });
            }
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Part(part, _) => part.write(bytes),
            Kind::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Part(part, _) => part.flush(),
            Kind::Direct(file) => file.flush(),
        }
    }
}

/// Writes a whole file as [`Output`] does.
///
/// # Errors
/// See [`WriteError`].
pub(crate) fn write(path: &Path, bytes: &[u8], force: bool, inputs: &[PathBuf]) -> Result<(), WriteError> {
    let mut out = Output::create(path, force, inputs)?;
    out.write_all(bytes).map_err(|source| WriteError::Io { path: path.to_owned(), source })?;
    out.finish()
}

/// Why a folder is not ours.
#[derive(Debug, Error)]
#[error("{}: {why}; {right}", path.display())]
pub struct NotOurs {
    /// The folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// What would be right.
    pub right: &'static str,
}

/// Checks that nobody else can put things into a folder, or exchange it: it is a folder and no link, it is
/// this user's, and only this user's to write. One that does not exist is fine. `right` says what would be.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn is_ours(folder: &Path, right: &'static str) -> Result<(), NotOurs> {
    let not = |why: String| Err(NotOurs { path: folder.to_owned(), why, right });
    let there = match fs::symlink_metadata(folder) {
        Ok(there) => there,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return not(format!("cannot be looked at: {e}")),
    };
    let me = geteuid().as_raw();
    if there.file_type().is_symlink() {
        not("is a symbolic link, which another user may have made".to_owned())
    } else if !there.is_dir() {
        not("is no folder".to_owned())
    } else if there.uid() != me {
        not(format!("belongs to user {}, not to user {me}", there.uid()))
    } else if there.mode() & 0o022 != 0 {
        not(format!("can be written by other users (mode {:04o})", there.mode() & 0o7777))
    } else {
        Ok(())
    }
}

/// Checks that no other user can write into a folder that is the operator's choice; whose it is, is not asked.
///
/// # Errors
/// When everybody can write into it.
pub(crate) fn is_not_everybodys(folder: &Path, right: &'static str) -> Result<(), NotOurs> {
    match fs::metadata(folder) {
        Ok(there) if there.is_dir() && there.mode() & 0o002 != 0 => {
            let why = format!("can be written by every user (mode {:04o})", there.mode() & 0o7777);
            Err(NotOurs { path: folder.to_owned(), why, right })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_has_no_end_is_refused_in_a_moment() {
        let begun = Instant::now();
        let e = read(Path::new("/dev/zero"), SETTINGS_LIMIT).unwrap_err().to_string();
        assert_eq!(e, "longer than 1.0 MiB, which no such file is");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(read(Path::new("/dev/null"), 9).unwrap(), b"");
    }

    #[test]
    fn a_pipe_is_read_and_one_that_says_nothing_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let to = fifo.clone();
        let writer = std::thread::spawn(move || fs::write(to, "\u{feff}hello").unwrap());
        assert_eq!(read_text(&fifo, 99).unwrap(), "hello");
        writer.join().unwrap();
        let begun = Instant::now();
        let e = read(&fifo, 99).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::TimedOut, "{e}");
        assert!(begun.elapsed() < PIPE_PATIENCE * 3, "{:?}", begun.elapsed());
    }

    #[test]
    fn nothing_is_overwritten_unless_asked_for_and_an_input_never() {
        let dir = tempfile::tempdir().unwrap();
        let (file, input) = (dir.path().join("file"), dir.path().join("input"));
        fs::write(&input, "input").unwrap();
        write(&file, b"one", false, std::slice::from_ref(&input)).unwrap();
        let e = write(&file, b"two", false, &[]).unwrap_err().to_string();
        assert!(e.contains("exists already") && e.contains("--force"), "{e}");
        write(&file, b"two", true, std::slice::from_ref(&input)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        // By another name, too.
        let (link, hard) = (dir.path().join("link"), dir.path().join("hard"));
        symlink(&input, &link).unwrap();
        fs::hard_link(&input, &hard).unwrap();
        for name in [&input, &link, &hard] {
            let e = write(name, b"x", true, std::slice::from_ref(&input)).unwrap_err().to_string();
            assert!(e.contains("is what is read"), "{e}");
        }
        // A link stays one.
        write(&link, b"three", true, &[]).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&input).unwrap(), b"three");
        assert!(write(dir.path(), b"x", true, &[]).unwrap_err().to_string().contains("is a folder"));
        write(Path::new("/dev/null"), b"x", false, &[]).unwrap();
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "old").unwrap();
        let mut out = Output::create(&file, true, &[]).unwrap();
        out.write_all(b"half").unwrap();
        drop(out);
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
        // Made by another meanwhile.
        let late = dir.path().join("late");
        let out = Output::create(&late, false, &[]).unwrap();
        fs::write(&late, "theirs").unwrap();
        assert!(matches!(out.finish(), Err(WriteError::Exists(_))));
        assert_eq!(fs::read(&late).unwrap(), b"theirs");
    }

    #[test]
    fn a_folder_is_ours_only_if_nobody_else_has_a_hand_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, link) = (dir.path().join("mine"), dir.path().join("link"));
        is_ours(&mine, "x").unwrap();
        fs::create_dir(&mine).unwrap();
        let mode = |m| fs::set_permissions(&mine, fs::Permissions::from_mode(m)).unwrap();
        mode(0o755);
        is_ours(&mine, "x").unwrap();
        mode(0o1777);
        let e = is_ours(&mine, "give --out").unwrap_err().to_string();
        assert!(e.contains("can be written by other users (mode 1777); give --out"), "{e}");
        assert!(is_not_everybodys(&mine, "x").is_err());
        mode(0o775);
        assert!(is_ours(&mine, "x").is_err() && is_not_everybodys(&mine, "x").is_ok());
        symlink(&mine, &link).unwrap();
        assert!(is_ours(&link, "x").unwrap_err().to_string().contains("symbolic link"));
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(is_ours(&dir.path().join("file"), "x").unwrap_err().to_string().contains("is no folder"));
        if geteuid().is_root() {
            mode(0o700);
            std::os::unix::fs::chown(&mine, Some(12_345), None).unwrap();
            assert!(is_ours(&mine, "x").unwrap_err().to_string().contains("belongs to user 12345"));
        }
    }
}
