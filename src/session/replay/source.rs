//! Where the events of a replay come from, and the states kept along the way.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Flaws;
use crate::event::{Event, Header, Nanos};
use crate::session::State;
use crate::session::reader::{Input, ReadError, Reader};

/// A copy of the state is kept after so many events: they are read and folded in anew within
/// milliseconds.
pub(super) const EVERY: usize = 1 << 14;
/// More copies than this are not kept: of a longer capture every other one goes.
pub(super) const CHECKPOINTS: usize = 512;
/// A compressed capture may be so large when it is inflated, bytes: it is held in memory.
const INFLATED: u64 = 2 << 30;

/// A copy of the state.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Events folded in by then.
    pub(super) events: usize,
    /// Where the next one begins in the capture.
    pub(super) offset: u64,
    /// When the newest of them is due, ns.
    pub(super) due: Nanos,
    /// The state.
    pub(super) state: State,
}

/// What a first reading tells.
pub(super) struct Indexed {
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) events: usize,
    pub(super) end: Nanos,
}

struct Indexing {
    checkpoints: Vec<Checkpoint>,
    every: usize,
    state: State,
    events: usize,
    due: Nanos,
}

impl Indexing {
    fn begin(header: Header, offset: u64) -> Self {
        let state = State::begin(header);
        let first = Checkpoint { events: 0, offset, due: 0, state: state.clone() };
        Self { checkpoints: vec![first], every: EVERY, state, events: 0, due: 0 }
    }

    fn take(&mut self, event: &Event, offset: impl Fn() -> u64) {
        self.state.apply(event);
        self.events += 1;
        self.due = self.due.max(event.t);
        if self.events.is_multiple_of(self.every) {
            if self.checkpoints.len() == CHECKPOINTS {
                self.every *= 2;
                self.checkpoints.retain(|c| c.events.is_multiple_of(self.every));
                if !self.events.is_multiple_of(self.every) {
                    return;
                }
            }
            let (events, due) = (self.events, self.due);
            self.checkpoints.push(Checkpoint { events, offset: offset(), due, state: self.state.clone() });
        }
    }

    fn done(self) -> Indexed {
        Indexed { checkpoints: self.checkpoints, events: self.events, end: self.due }
    }
}

/// Reads a capture to its end.
pub(super) fn index<R: io::BufRead>(reader: &mut Reader<R>, flaws: &mut Flaws) -> Indexed {
    let mut indexing = Indexing::begin(reader.header().clone(), reader.offset());
    while let Some(record) = reader.next() {
        match record {
            Ok(event) => indexing.take(&event, || reader.offset()),
            Err(e) => flaws.corrupt.push(e),
        }
    }
    (flaws.skipped, flaws.torn) = (reader.skipped(), reader.torn());
    indexing.done()
}

/// The same of events in memory.
pub(super) fn index_events(header: Header, events: &[Event]) -> Indexed {
    let mut indexing = Indexing::begin(header, 0);
    events.iter().for_each(|event| indexing.take(event, || 0));
    indexing.done()
}

/// Where events come from.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    header: Header,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    File { file: File, end: u64 },
    Memory(Vec<u8>),
    Events(Vec<Event>),
}

impl Source {
    /// A capture's file, read as far as `reader` has read it.
    pub(super) fn file(reader: &Reader) -> io::Result<Self> {
        let kind = Kind::File { file: File::open(reader.path())?, end: reader.offset() };
        Ok(Self { path: reader.path().to_owned(), header: reader.header().clone(), kind })
    }

    /// A capture in memory.
    pub(super) fn memory(reader: Reader<Cursor<Vec<u8>>>) -> Self {
        let (path, header) = (reader.path().to_owned(), reader.header().clone());
        Self { path, header, kind: Kind::Memory(reader.into_input().into_inner()) }
    }

    /// Events in memory.
    pub(super) fn events(header: Header, events: Vec<Event>) -> Self {
        Self { path: PathBuf::new(), header, kind: Kind::Events(events) }
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The events of a segment that was read.
    pub(super) fn events_of<'a>(&'a self, segment: &'a Segment) -> &'a [Event] {
        match &self.kind {
            Kind::Events(events) => {
                let from = segment.first.min(events.len());
                &events[from..(from + segment.due.len()).min(events.len())]
            }
            _ => &segment.events,
        }
    }

    /// The bytes from one offset to another; fewer where they are no longer there.
    fn bytes(&self, from: u64, to: Option<u64>) -> Vec<u8> {
        match &self.kind {
            Kind::File { file, end } => {
                let mut bytes = vec![0; usize::try_from(to.unwrap_or(*end).saturating_sub(from)).unwrap_or(0)];
                if file.read_exact_at(&mut bytes, from).is_err() {
                    bytes.clear();
                }
                bytes
            }
            Kind::Memory(all) => {
                let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
                all.get(index(from)..to.map_or(all.len(), index)).unwrap_or_default().to_vec()
            }
            Kind::Events(_) => Vec::new(),
        }
    }
}

/// The events between a checkpoint and the next one.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// After which checkpoint.
    pub(super) at: Option<usize>,
    /// Events before it.
    pub(super) first: usize,
    /// When the last of those is due, ns.
    pub(super) begins: Nanos,
    /// When each event is due: the running maximum of the events' times, since events are kept in
    /// the order in which they were handed over.
    pub(super) due: Vec<Nanos>,
    events: Vec<Event>,
}

impl Segment {
    /// Reads the `n` events after a checkpoint, which end at offset `to` or with the capture.
    pub(super) fn read(source: &Source, at: usize, checkpoint: &Checkpoint, n: usize, to: Option<u64>) -> Self {
        let mut segment = Self { at: Some(at), first: checkpoint.events, begins: checkpoint.due, ..Self::default() };
        let mut newest = checkpoint.due;
        let mut due = |event: &Event| {
            newest = newest.max(event.t);
            newest
        };
        if let Kind::Events(events) = &source.kind {
            let some = events.iter().skip(checkpoint.events).take(n);
            segment.due = some.map(&mut due).collect();
        } else {
            let bytes = source.bytes(checkpoint.offset, to);
            let reader = Reader::section(source.path.clone(), source.header.clone(), Cursor::new(bytes));
            segment.events = reader.filter_map(Result::ok).collect();
            segment.due = segment.events.iter().map(&mut due).collect();
        }
        segment
    }
}

/// Inflates a compressed capture into memory.
pub(super) fn inflate(path: &Path) -> Result<Reader<Cursor<Vec<u8>>>, ReadError> {
    let fail = |source| ReadError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let mut input = Input::open(path).map_err(fail)?.take(INFLATED + 1);
    match input.read_to_end(&mut bytes) {
        // A torn file: what is there can be read.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(e) => return Err(fail(e)),
        Ok(_) => {}
    }
    if bytes.len() as u64 > INFLATED {
        let why = format!("inflates to more than {} GiB; inflate it to a file first (gunzip)", INFLATED >> 30);
        return Err(fail(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    Reader::new(path.to_owned(), Cursor::new(bytes))
}
