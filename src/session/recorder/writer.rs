//! Bytes into the file, whole lines or nothing.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use crate::session::place;

/// At most so much in one write, so that what is written shows soon.
const WRITE: usize = 1 << 20;

/// Where a capture goes. A trait so that a disk can be made to fail.
pub(super) trait Medium: Send {
    /// The file, or where it is meant to be.
    fn path(&self) -> PathBuf;
    /// Makes the file. Called until it succeeds.
    fn open(&mut self) -> io::Result<()>;
    /// Writes some of `bytes` at `offset`; says how many.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts the file.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// To the platter.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file in a folder; both are made, and nothing is overwritten.
pub(super) struct Disk {
    folder: PathBuf,
    own_folder: bool,
    path: PathBuf,
    file: Option<File>,
}

impl Disk {
    pub(super) fn new(folder: PathBuf, own_folder: bool) -> Self {
        let path = (0..).map(|i| place::candidate(&folder, own_folder, i)).find(|p| !p.exists());
        Self { path: path.unwrap_or_else(|| folder.join(place::CAPTURE)), folder, own_folder, file: None }
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("the file is not open"))
    }
}

impl Medium for Disk {
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn open(&mut self) -> io::Result<()> {
        for i in 0.. {
            let path = place::candidate(&self.folder, self.own_folder, i);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    (self.path, self.file) = (path, Some(file));
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file()?.write_at(bytes, offset)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file()?.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.file()?;
        file.sync_data()?;
        if file.metadata()?.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was deleted"));
        }
        Ok(())
    }
}

/// Writes lines and takes back what was cut in two.
pub(super) struct Writer<M> {
    medium: M,
    open: bool,
    /// Chunks of whole lines; `done` bytes of the first are in the file.
    chunks: VecDeque<Vec<u8>>,
    done: usize,
    /// Length of the file as far as we wrote it.
    offset: u64,
    /// The file may be longer than `offset`, which is the end of a line.
    torn: bool,
    lines: u64,
    troubled: bool,
}

impl<M: Medium> Writer<M> {
    pub(super) fn new(medium: M) -> Self {
        Self {
            medium,
            open: false,
            chunks: VecDeque::new(),
            done: 0,
            offset: 0,
            torn: false,
            lines: 0,
            troubled: false,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.medium.path()
    }

    /// Lines written whole, the header among them.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes of whole lines in the file.
    pub(super) fn whole_bytes(&self) -> u64 {
        self.offset
    }

    /// Whether the last try failed.
    pub(super) fn troubled(&self) -> bool {
        self.troubled
    }

    /// Takes over whole lines.
    pub(super) fn take(&mut self, lines: Vec<u8>) {
        if !lines.is_empty() {
            self.chunks.push_back(lines);
        }
    }

    /// Writes all it has. `written` learns of bytes and lines that are in the file.
    pub(super) fn pump(&mut self, mut written: impl FnMut(u64, u64)) -> Result<(), String> {
        let result = self.try_pump(&mut written);
        self.troubled = result.is_err();
        result.map_err(|e| self.words(&e))
    }

    pub(super) fn sync(&mut self) -> Result<(), String> {
        let result = if self.open { self.medium.sync() } else { Ok(()) };
        self.troubled = result.is_err();
        result.map_err(|e| self.words(&e))
    }

    fn words(&self, e: &io::Error) -> String {
        format!("{}: {e}", self.medium.path().display())
    }

    fn try_pump(&mut self, written: &mut impl FnMut(u64, u64)) -> io::Result<()> {
        if !self.open {
            self.medium.open()?;
            self.open = true;
        }
        if self.torn {
            self.medium.cut(self.offset)?;
            self.torn = false;
        }
        while let Some(chunk) = self.chunks.front() {
            let end = chunk.len().min(self.done + WRITE);
            match self.medium.write_at(&chunk[self.done..end], self.offset) {
                Ok(0) => return self.take_back(io::ErrorKind::WriteZero.into(), written),
                Ok(n) => {
                    let lines = chunk[self.done..self.done + n].iter().filter(|b| **b == b'\n').count() as u64;
                    self.lines += lines;
                    self.offset += n as u64;
                    self.done += n;
                    written(n as u64, lines);
                    if self.done == chunk.len() {
                        self.chunks.pop_front();
                        self.done = 0;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return self.take_back(e, written),
            }
        }
        Ok(())
    }

    /// Goes back to the end of the last whole line. If the file cannot even be cut, that is made
    /// up for before the next write.
    fn take_back(&mut self, e: io::Error, written: &mut impl FnMut(u64, u64)) -> io::Result<()> {
        let Some(chunk) = self.chunks.front() else { return Err(e) };
        let line = chunk[..self.done].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let back = (self.done - line) as u64;
        if back > 0 {
            // The bytes wait again.
            written(back.wrapping_neg(), 0);
            self.offset -= back;
            self.done = line;
        }
        // A failed write may have left bytes behind it as well, so the file is cut in any case.
        self.torn = self.medium.cut(self.offset).is_err();
        Err(e)
    }
}
