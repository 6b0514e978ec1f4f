//! Reads captures: streams them, whatever state they are in.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use flate2::read::MultiGzDecoder;

use super::place;
use super::state::State;
use crate::event::{Event, Header, Nanos, SCHEMA_MAJOR, SCHEMA_MINOR};

mod fast;

/// How much is read at once, bytes.
const BLOCK: usize = 1 << 18;
/// A longer line is no record of ours, bytes; the longest one that is written is a quarter of it.
pub(super) const MAX_LINE: u64 = 1 << 20;
/// A longer header is none, bytes.
const MAX_HEADER: u64 = 1 << 18;
/// After a line of this length nothing is read any more, bytes: what follows is no capture.
const HOPELESS_LINE: u64 = 64 << 20;
/// After this many records that cannot be read, nothing is read any more.
pub const CORRUPT_LIMIT: u64 = 10_000;
/// A compressed capture is read up to this size uncompressed, bytes.
pub const EXPANDED_LIMIT: u64 = 512 << 20;
/// What comes out of a pipe or a device is read up to this size, bytes.
pub const PIPE_LIMIT: u64 = 1 << 30;
/// A byte order mark.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Why a capture cannot be read at all.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file of the capture.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It says nothing.
    #[error(
        "{}: is a terminal, which is no capture; pipe one in, as in 'zcat capture.jsonl.gz | blackout show -'",
        path.display()
    )]
    Terminal {
        /// The file of the capture.
        path: PathBuf,
    },
    /// A folder without a capture.
    #[error("{}: there is no {} in this folder; name a session's folder or its capture", path.display(), place::CAPTURE)]
    NoCapture {
        /// The folder.
        path: PathBuf,
    },
    /// An empty file.
    #[error("{}: is empty; a capture begins with its header", path.display())]
    Empty {
        /// The file of the capture.
        path: PathBuf,
    },
    /// Its first line is no header.
    #[error("{}:1: not a capture of blackout: {why}; the first line must be the header", path.display())]
    NoHeader {
        /// The file of the capture.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer schema.
    #[error(
        "{}: was written with capture schema {major}.{minor}, this program reads up to {SCHEMA_MAJOR}.x; \
         a newer blackout can read it",
        path.display()
    )]
    NewerSchema {
        /// The file of the capture.
        path: PathBuf,
        /// Its major version.
        major: u32,
        /// Its minor version.
        minor: u32,
    },
}

/// A record that cannot be read. Reading goes on after it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}:{line}: {why}; this record is skipped", path.display())]
pub struct RecordError {
    /// The file of the capture.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// The bytes of a capture: of a file as it is, or of one compressed by gzip; no more of them than [`PIPE_LIMIT`]
/// and [`EXPANDED_LIMIT`] say, and of a file no more than there were when it was opened.
#[derive(Debug)]
pub enum Input {
    /// As it is.
    Plain(BufReader<Bounded<File>>),
    /// Compressed by gzip.
    Gzip(Box<BufReader<Bounded<MultiGzDecoder<Started>>>>),
    /// Of a pipe, as it is.
    Piped(BufReader<Bounded<Started>>),
}

/// A file whose first bytes have been read already.
type Started = io::Chain<io::Cursor<Vec<u8>>, File>;

/// Reads at most `left` bytes; what goes beyond is an error, or the end.
#[derive(Debug)]
pub struct Bounded<R> {
    input: R,
    left: u64,
    /// What is said of more; None where the limit is the end.
    beyond: Option<&'static str>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        if most > 0 || buf.is_empty() {
            let n = self.input.read(&mut buf[..most])?;
            self.left -= n as u64;
            return Ok(n);
        }
        match self.beyond {
            Some(why) if self.input.read(&mut [0])? > 0 => Err(io::Error::new(io::ErrorKind::FileTooLarge, why)),
            _ => Ok(0),
        }
    }
}

impl Input {
    /// What the file is, it tells itself: gzip files begin with 1f 8b (RFC 1952, section 2.3.1). `-` is standard
    /// input.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = if path == Path::new("-") {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            File::open(path)?
        };
        let about = file.metadata()?;
        let mut magic = Vec::new();
        (&mut file).take(2).read_to_end(&mut magic)?;
        let gzip = magic == [0x1f, 0x8b];
        let beyond = Some("it goes on beyond 512 MiB uncompressed; uncompress it into a file first (gunzip)");
        if about.is_file() && !gzip {
            let read = file.stream_position()?;
            file.seek(io::SeekFrom::Start(read - magic.len() as u64))?;
            let left = about.len().saturating_sub(read - magic.len() as u64);
            return Ok(Self::Plain(BufReader::with_capacity(BLOCK, Bounded { input: file, left, beyond: None })));
        }
        let started = io::Cursor::new(magic).chain(file);
        Ok(if gzip {
            let input = Bounded { input: MultiGzDecoder::new(started), left: EXPANDED_LIMIT, beyond };
            Self::Gzip(Box::new(BufReader::with_capacity(BLOCK, input)))
        } else {
            let beyond = Some("it goes on beyond 1 GiB; write it into a file first");
            Self::Piped(BufReader::with_capacity(BLOCK, Bounded { input: started, left: PIPE_LIMIT, beyond }))
        })
    }

    /// Whether it can be read from its middle.
    pub(super) fn can_be_read_again(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buf),
            Self::Gzip(input) => input.read(buf),
            Self::Piped(input) => input.read(buf),
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(input) => input.fill_buf(),
            Self::Gzip(input) => input.fill_buf(),
            Self::Piped(input) => input.fill_buf(),
        }
    }

    fn consume(&mut self, n: usize) {
        match self {
            Self::Plain(input) => input.consume(n),
            Self::Gzip(input) => input.consume(n),
            Self::Piped(input) => input.consume(n),
        }
    }
}

/// Streams the events of a capture.
#[derive(Debug)]
pub struct Reader<R = Input> {
    path: PathBuf,
    input: R,
    header: Header,
    line: u64,
    /// Bytes read so far.
    offset: u64,
    buf: Vec<u8>,
    /// The captures there were to choose from, in a folder that has several.
    candidates: usize,
    corrupt: u64,
    skipped: u64,
    torn: Option<u64>,
    over: bool,
}

impl Reader {
    /// Opens a capture by its file or its folder (of several captures in a folder the newest), or, as `-`, from
    /// standard input. It may be compressed by gzip, and a pipe.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let given = path.as_ref();
        let fail = |source| ReadError::Io { path: given.to_owned(), source };
        let (mut path, mut candidates) = (given.to_owned(), 1);
        if given == Path::new("-") {
            if io::stdin().is_terminal() {
                return Err(ReadError::Terminal { path });
            }
        } else if fs::metadata(given).map_err(fail)?.is_dir() {
            let found = captures_in(given);
            candidates = found.len();
            path = found.into_iter().last().ok_or_else(|| ReadError::NoCapture { path: given.to_owned() })?;
        }
        let input = Input::open(&path).map_err(|source| ReadError::Io { path: path.clone(), source })?;
        let mut reader = Self::new(path, input)?;
        reader.candidates = candidates;
        Ok(reader)
    }

    /// Which capture was opened, where a folder had several to choose from.
    #[must_use]
    pub fn chosen(&self) -> Option<String> {
        let others = self.candidates.checked_sub(1).filter(|n| *n > 0)?;
        let others = if others == 1 { "1 more capture".to_owned() } else { format!("{others} more captures") };
        Some(format!("{}: the newest in its folder, which has {others}", self.path.display()))
    }

    /// Whether it can be read from its middle: a file that is not compressed.
    pub(super) fn can_be_read_again(&self) -> bool {
        self.input.can_be_read_again()
    }
}

/// The captures in a folder, the newest last.
#[must_use]
pub fn captures_in(folder: &Path) -> Vec<PathBuf> {
    (0..)
        .map_while(|i| {
            let plain = place::candidate(folder, false, i);
            // One may have been compressed since.
            let compressed = plain.with_extension("jsonl.gz");
            [plain, compressed].into_iter().find(|p| p.is_file())
        })
        .collect()
}

impl<R: BufRead> Reader<R> {
    /// Reads a capture from `input`; `path` is its name in messages.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn new(path: PathBuf, input: R) -> Result<Self, ReadError> {
        let header = Header {
            schema_major: 0,
            schema_minor: 0,
            name: String::new(),
            wall_origin_unix_ns: 0,
            versions: crate::event::Versions::default(),
            host: crate::event::HostFacts::default(),
            settings: Default::default(),
            seed: 0,
            simulated: false,
        };
        let mut reader = Self::section(path, header, input);
        reader.header = reader.read_header()?;
        Ok(reader)
    }

    /// Reads records from the middle of a capture; lines are counted from there.
    pub(super) fn section(path: PathBuf, header: Header, input: R) -> Self {
        Self {
            path,
            input,
            header,
            line: 0,
            offset: 0,
            buf: Vec::new(),
            candidates: 1,
            corrupt: 0,
            skipped: 0,
            torn: None,
            over: false,
        }
    }

    /// Reads records after the header, which was read already; lines are counted on.
    pub(super) fn rest(path: PathBuf, header: Header, input: R) -> Self {
        Self { line: 1, ..Self::section(path, header, input) }
    }

    /// What it reads from.
    pub(super) fn into_input(self) -> R {
        self.input
    }

    /// Bytes read so far: between two records, where the next one begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    fn read_header(&mut self) -> Result<Header, ReadError> {
        #[derive(Deserialize)]
        struct Schema {
            schema_major: u32,
            schema_minor: u32,
        }
        let path = self.path.clone();
        // Whatever does not end its first line soon is not read to find where it ends.
        let n = (&mut self.input).take(MAX_HEADER).read_until(b'\n', &mut self.buf);
        let n = n.map_err(|source| ReadError::Io { path: path.clone(), source })?;
        (self.line, self.offset) = (1, n as u64);
        if n == 0 {
            return Err(ReadError::Empty { path });
        }
        if self.buf.last() != Some(&b'\n') && n as u64 >= MAX_HEADER {
            let why = format!("its first line is longer than {} KiB", MAX_HEADER >> 10);
            return Err(ReadError::NoHeader { path, why });
        }
        if self.buf.starts_with(BOM) {
            self.buf.drain(..BOM.len());
        }
        // The versions first: the header of a newer schema may look different.
        let schema: Schema = serde_json::from_slice(&self.buf)
            .map_err(|e| ReadError::NoHeader { path: path.clone(), why: words(&e) })?;
        if schema.schema_major > SCHEMA_MAJOR {
            return Err(ReadError::NewerSchema { path, major: schema.schema_major, minor: schema.schema_minor });
        }
        serde_json::from_slice(&self.buf).map_err(|e| ReadError::NoHeader { path, why: words(&e) })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The file of the capture.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records of kinds that only a newer minor schema knows, skipped so far.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Length of a torn last line (the writer was killed in the middle of it), bytes; known once
    /// the end is reached.
    #[must_use]
    pub fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// Reads to the end and folds everything into a state; hands what is wrong to `wrong`.
    pub fn read_state(&mut self, wrong: impl FnMut(RecordError)) -> State {
        self.read_state_at(Nanos::MAX, wrong)
    }

    /// The same of what was known at a time of the session clock; what comes later is not read.
    pub fn read_state_at(&mut self, t: Nanos, mut wrong: impl FnMut(RecordError)) -> State {
        let mut state = State::begin(self.header.clone());
        for record in self.by_ref() {
            match record {
                Ok(event) if event.t > t => break,
                Ok(event) => state.apply(&event),
                Err(e) => wrong(e),
            }
        }
        state
    }

    fn next_line(&mut self) -> io::Result<Line> {
        self.buf.clear();
        let n = (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.buf)?;
        if n == 0 {
            return Ok(Line::End);
        }
        self.line += 1;
        self.offset += n as u64;
        if self.buf.last() == Some(&b'\n') {
            self.buf.pop();
            return Ok(Line::Whole);
        }
        if (n as u64) < MAX_LINE {
            return Ok(Line::Torn);
        }
        let begun = self.offset;
        loop {
            if self.offset - begun > HOPELESS_LINE {
                return Ok(Line::Hopeless);
            }
            let rest = self.input.fill_buf()?;
            let (len, found) = match rest.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (rest.len(), rest.is_empty()),
            };
            self.input.consume(len);
            self.offset += len as u64;
            if found {
                return Ok(Line::TooLong);
            }
        }
    }

    /// What is wrong with this record; after the last that is told, nothing more is read.
    fn error(&mut self, why: String) -> RecordError {
        self.corrupt += 1;
        let mut why = why;
        if self.corrupt >= CORRUPT_LIMIT {
            self.over = true;
            let limit = crate::units::show_count(CORRUPT_LIMIT);
            why = format!("{why}; with it {limit} records cannot be read: what follows is left unread");
        }
        RecordError { path: self.path.clone(), line: self.line, why }
    }
}

enum Line {
    Whole,
    Torn,
    TooLong,
    Hopeless,
    End,
}

/// What serde_json says, without its own line number, which is always 1 here.
fn words(e: &serde_json::Error) -> String {
    let text = e.to_string();
    match text.rfind(" at line ") {
        Some(at) if e.column() > 0 => format!("{} at column {}", &text[..at], e.column()),
        _ => text,
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            let line = match self.next_line() {
                Ok(line) => line,
                Err(e) => {
                    self.over = true;
                    self.line += 1;
                    return Some(Err(self.error(format!("cannot be read: {e}"))));
                }
            };
            let torn = match line {
                Line::End => {
                    self.over = true;
                    return None;
                }
                Line::TooLong => return Some(Err(self.error(format!("longer than {} MiB", MAX_LINE >> 20)))),
                Line::Hopeless => {
                    self.over = true;
                    let why = format!("longer than {} MiB: what follows is left unread", HOPELESS_LINE >> 20);
                    return Some(Err(self.error(why)));
                }
                Line::Torn => true,
                Line::Whole => false,
            };
            if let Some(event) = fast::event(&self.buf) {
                return Some(Ok(event));
            }
            let e = match serde_json::from_slice::<Event>(&self.buf) {
                Ok(event) => return Some(Ok(event)),
                Err(e) => e,
            };
            if torn {
                self.over = true;
                self.torn = Some(self.buf.len() as u64);
                return None;
            }
            if self.header.schema_minor > SCHEMA_MINOR && is_record(&self.buf) {
                self.skipped += 1;
                continue;
            }
            return Some(Err(self.error(format!("not a valid record: {}", words(&e)))));
        }
        None
    }
}

/// Whether a line has the shape of a record, of whatever kind.
fn is_record(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Shape {
        t: u64,
        ev: serde::de::IgnoredAny,
    }
    serde_json::from_slice::<Shape>(line).is_ok()
}

#[cfg(test)]
mod tests;
