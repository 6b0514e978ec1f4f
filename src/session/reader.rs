//! Reads captures: streams them, whatever state they are in.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use flate2::read::MultiGzDecoder;

use super::place;
use super::state::State;
use crate::event::{Event, Header, SCHEMA_MAJOR, SCHEMA_MINOR};

mod fast;

/// So much is read at once, bytes.
const BLOCK: usize = 1 << 18;
/// A longer line is no record of ours, bytes.
const MAX_LINE: u64 = 16 << 20;

/// Why a capture cannot be read at all.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
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
        /// The file.
        path: PathBuf,
    },
    /// Its first line is no header.
    #[error("{}:1: not a capture of blackout: {why}; the first line must be the header", path.display())]
    NoHeader {
        /// The file.
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
        /// The file.
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
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// The bytes of a capture: of a file as it is, or of one compressed by gzip.
#[derive(Debug)]
pub enum Input {
    /// As it is.
    Plain(BufReader<File>),
    /// Compressed by gzip.
    Gzip(Box<BufReader<MultiGzDecoder<File>>>),
}

impl Input {
    /// What the file is, it tells itself: gzip files begin with 1f 8b (RFC 1952, section 2.3.1).
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut magic = [0; 2];
        let gzip = file.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
        file.rewind()?;
        Ok(if gzip {
            Self::Gzip(Box::new(BufReader::with_capacity(BLOCK, MultiGzDecoder::new(file))))
        } else {
            Self::Plain(BufReader::with_capacity(BLOCK, file))
        })
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buf),
            Self::Gzip(input) => input.read(buf),
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(input) => input.fill_buf(),
            Self::Gzip(input) => input.fill_buf(),
        }
    }

    fn consume(&mut self, n: usize) {
        match self {
            Self::Plain(input) => input.consume(n),
            Self::Gzip(input) => input.consume(n),
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
    skipped: u64,
    torn: Option<u64>,
    over: bool,
}

impl Reader {
    /// Opens a capture by its file or its folder (of several captures in a folder the newest). It may
    /// be compressed by gzip.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let given = path.as_ref();
        let fail = |source| ReadError::Io { path: given.to_owned(), source };
        let path = if fs::metadata(given).map_err(fail)?.is_dir() {
            newest_in(given).ok_or_else(|| ReadError::NoCapture { path: given.to_owned() })?
        } else {
            given.to_owned()
        };
        let input = Input::open(&path).map_err(|source| ReadError::Io { path: path.clone(), source })?;
        Self::new(path, input)
    }

    /// Whether the file is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        matches!(self.input, Input::Gzip(_))
    }
}

fn newest_in(folder: &Path) -> Option<PathBuf> {
    let compressed = folder.join(place::CAPTURE).with_extension("jsonl.gz");
    (0..)
        .map(|i| place::candidate(folder, false, i))
        .take_while(|p| p.is_file())
        .last()
        .or(Some(compressed).filter(|p| p.is_file()))
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
            settings: Value::Null,
            seed: 0,
            simulated: false,
        };
        let mut reader = Self::section(path, header, input);
        reader.header = reader.read_header()?;
        Ok(reader)
    }

    /// Reads records from the middle of a capture; lines are counted from there.
    pub(super) fn section(path: PathBuf, header: Header, input: R) -> Self {
        Self { path, input, header, line: 0, offset: 0, buf: Vec::new(), skipped: 0, torn: None, over: false }
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
        match self.next_line() {
            Err(source) => return Err(ReadError::Io { path, source }),
            Ok(Line::End) => return Err(ReadError::Empty { path }),
            Ok(Line::TooLong) => {
                return Err(ReadError::NoHeader { path, why: "the line is longer than any record".to_owned() });
            }
            Ok(Line::Whole | Line::Torn) => {}
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

    /// The file.
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
    pub fn read_state(&mut self, mut wrong: impl FnMut(RecordError)) -> State {
        let mut state = State::begin(self.header.clone());
        for record in self.by_ref() {
            match record {
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
        loop {
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

    fn error(&self, why: String) -> RecordError {
        RecordError { path: self.path.clone(), line: self.line, why }
    }
}

enum Line {
    Whole,
    Torn,
    TooLong,
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
