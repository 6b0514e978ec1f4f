//! Where the events of a replay come from, and the states kept along the way.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::flaws::Flaws;
use crate::event::{Body, Event, Header, HvEvent, Nanos};
use crate::session::State;
use crate::session::probed;
use crate::session::reader::{ReadError, Reader};

/// A copy of the state is kept after this many events: they are read and folded in anew within
/// milliseconds.
pub(super) const EVERY: usize = 1 << 14;
/// And after this many bytes of the capture: the events of a stretch are held in memory.
const EVERY_BYTES: u64 = 4 << 20;
/// More copies than this are not kept: of a longer capture every other one goes.
pub(super) const CHECKPOINTS: usize = 512;
/// What the copies may take together, bytes; beyond, every other one goes as well.
const CHECKPOINT_BYTES: usize = 96 << 20;
/// The bytes of a stretch between two copies may not be more than this.
const STRETCH_BYTES: u64 = 64 << 20;
/// A compressed capture, or one out of a pipe, is held in memory: up to this size, bytes.
const IN_MEMORY: u64 = 192 << 20;
/// Records that cannot be read, kept to be told.
const TOLD: usize = 20;

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
    /// What it takes, bytes, beside what it shares with the one before.
    weight: usize,
}

/// What a first reading tells.
pub(super) struct Indexed {
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) events: usize,
    pub(super) end: Nanos,
    /// The longest outage.
    pub(super) worst: Option<(Nanos, Option<Nanos>)>,
}

struct Indexing {
    checkpoints: Vec<Checkpoint>,
    /// A checkpoint comes after this many steps of [`EVERY`] events or [`EVERY_BYTES`] bytes.
    every: u64,
    steps: u64,
    /// Events and bytes at the last step.
    last: (usize, u64),
    state: State,
    events: usize,
    due: Nanos,
}

impl Indexing {
    fn begin(header: Header, offset: u64) -> Self {
        let state = State::begin(header);
        let first = Checkpoint { events: 0, offset, due: 0, state: state.clone(), weight: 0 };
        Self { checkpoints: vec![first], every: 1, steps: 0, last: (0, offset), state, events: 0, due: 0 }
    }

    fn take(&mut self, event: &Event, offset: impl Fn() -> u64) {
        self.state.apply(event);
        self.events += 1;
        self.due = self.due.max(event.t);
        // Looking where it is costs next to nothing, but not nothing.
        let offset = if self.events.is_multiple_of(16) { offset() } else { self.last.1 };
        if self.events - self.last.0 < EVERY && offset - self.last.1 < EVERY_BYTES {
            return;
        }
        self.steps += 1;
        self.last = (self.events, offset);
        if !self.steps.is_multiple_of(self.every) {
            return;
        }
        let (events, due) = (self.events, self.due);
        let weight = self.checkpoints.last().map_or(0, |before| self.state.weight(&before.state));
        let state = self.state.clone();
        self.checkpoints.push(Checkpoint { events, offset, due, state, weight });
        while self.checkpoints.len() > 2
            && (self.checkpoints.len() > CHECKPOINTS
                || self.checkpoints.iter().map(|c| c.weight).sum::<usize>() > CHECKPOINT_BYTES)
        {
            self.thin();
        }
    }

    /// Every other checkpoint goes.
    fn thin(&mut self) {
        self.every *= 2;
        let mut keep = false;
        self.checkpoints.retain(|_| {
            keep = !keep;
            keep
        });
        for i in 1..self.checkpoints.len() {
            let (before, now) = self.checkpoints.split_at_mut(i);
            if let (Some(before), Some(now)) = (before.last(), now.first_mut()) {
                now.weight = now.state.weight(&before.state);
            }
        }
    }

    fn done(self) -> Indexed {
        let worst = probed::worst(&self.state);
        Indexed { checkpoints: self.checkpoints, events: self.events, end: self.due, worst }
    }
}

/// Reads a capture to its end.
///
/// # Errors
/// When it is one that cannot be played with the memory there may be for it.
pub(super) fn index<R: io::BufRead>(reader: &mut Reader<R>, flaws: &mut Flaws) -> io::Result<Indexed> {
    let mut indexing = Indexing::begin(reader.header().clone(), reader.offset());
    while let Some(record) = reader.next() {
        match record {
            Ok(event) => indexing.take(&event, || reader.offset()),
            Err(e) => {
                flaws.corrupt_records += 1;
                if flaws.corrupt.len() < TOLD {
                    flaws.corrupt.push(e);
                }
            }
        }
        if indexing.every * EVERY_BYTES > STRETCH_BYTES && indexing.checkpoints.len() < CHECKPOINTS / 4 {
            let why = "holds more than can be played back and forth; 'blackout show' prints its results";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
    }
    (flaws.skipped, flaws.torn) = (reader.skipped(), reader.torn());
    Ok(indexing.done())
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
            segment.events = reader.filter_map(Result::ok).map(without_raw).collect();
            segment.due = segment.events.iter().map(&mut due).collect();
        }
        segment
    }
}

/// The event without the hypervisor's own words, which the state does not hold.
fn without_raw(mut event: Event) -> Event {
    match &mut event.ev {
        Body::Hypervisor(HvEvent::Sample { raw, .. }) => *raw = serde_json::Value::Null,
        Body::Hypervisor(HvEvent::Raw { data, .. }) => *data = serde_json::Value::Null,
        _ => {}
    }
    event
}

/// Takes a capture that cannot be read twice into memory, from its header on.
pub(super) fn into_memory(reader: Reader) -> Result<Reader<Cursor<Vec<u8>>>, ReadError> {
    let path = reader.path().to_owned();
    let fail = |source| ReadError::Io { path: path.clone(), source };
    let header = reader.header().clone();
    let mut bytes = Vec::new();
    match reader.into_input().take(IN_MEMORY + 1).read_to_end(&mut bytes) {
        // A torn file: what is there can be read.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(e) => return Err(fail(e)),
        Ok(_) => {}
    }
    if bytes.len() as u64 > IN_MEMORY {
        let why = format!(
            "more than {} MiB uncompressed, which is held in memory: to replay it, write it into a file first (gunzip)",
            IN_MEMORY >> 20
        );
        return Err(fail(io::Error::new(io::ErrorKind::FileTooLarge, why)));
    }
    Ok(Reader::rest(path, header, Cursor::new(bytes)))
}
