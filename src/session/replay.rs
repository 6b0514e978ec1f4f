//! The replay clock: plays a capture into the same kind of handle a live session has. The passing
//! of time is told by the caller, so the whole is a pure machine.

mod flaws;
mod source;

use std::path::Path;

pub use self::flaws::Flaws;
use self::source::{Checkpoint, Segment, Source, index};
use super::reader::{ReadError, Reader};
use super::recorder::RecorderStatus;
use super::shared::{Health, Shared};
use super::state::State;
use crate::event::{Event, Header, Nanos};

/// The slowest and the fastest a capture is played.
pub const SPEEDS: std::ops::RangeInclusive<f64> = 0.1..=100.0;

/// Plays a capture. It holds copies of the state, taken along the way; what lies between two of
/// them is read anew whenever it is gone to.
#[derive(Debug)]
pub struct Player {
    source: Source,
    /// In the order of the events; the first is that of the beginning.
    checkpoints: Vec<Checkpoint>,
    /// Events in all.
    events: usize,
    end: Nanos,
    /// The longest outage.
    worst: Option<(Nanos, Option<Nanos>)>,
    /// The events read last.
    segment: Segment,
    shared: Shared,
    /// Events folded in so far.
    cursor: usize,
    position: Nanos,
    speed: f64,
    paused: bool,
    last: Option<Nanos>,
    trouble: Option<String>,
}

impl Player {
    /// Loads a capture (file, folder, pipe or `-`, compressed by gzip or not); it stands paused at its
    /// beginning. The file must stay as it is while it is played: only what grows at its end is
    /// left out.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Flaws), ReadError> {
        let mut reader = Reader::open(path)?;
        let mut flaws = Flaws::default();
        let path = reader.path().to_owned();
        let fail = |source| ReadError::Io { path: path.clone(), source };
        flaws.chosen = reader.chosen();
        let (source, indexed) = if reader.can_be_read_again() {
            let indexed = index(&mut reader, &mut flaws).map_err(fail)?;
            (Source::file(&reader).map_err(fail)?, indexed)
        } else {
            let mut reader = source::into_memory(reader)?;
            let indexed = index(&mut reader, &mut flaws).map_err(fail)?;
            (Source::memory(reader), indexed)
        };
        let status = RecorderStatus {
            bytes: std::fs::metadata(&path).map_or(0, |m| m.len()),
            events: indexed.events as u64,
            path,
            ..RecorderStatus::default()
        };
        Ok((Self::of(source, indexed, status), flaws))
    }

    /// Plays events that are in memory already.
    #[must_use]
    pub fn new(header: Header, events: Vec<Event>, status: RecorderStatus) -> Self {
        let indexed = source::index_events(header.clone(), &events);
        Self::of(Source::events(header, events), indexed, status)
    }

    fn of(source: Source, indexed: source::Indexed, status: RecorderStatus) -> Self {
        let begin = indexed.checkpoints.first().map_or_else(State::default, |c| c.state.clone());
        Self {
            source,
            checkpoints: indexed.checkpoints,
            events: indexed.events,
            end: indexed.end,
            worst: indexed.worst,
            segment: Segment::default(),
            shared: Shared::new(begin, Health::Replay(status)),
            cursor: 0,
            position: 0,
            speed: 1.0,
            paused: true,
            last: None,
            trouble: None,
        }
    }

    /// The handle the screen looks at.
    #[must_use]
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// The header of the capture.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.source.header()
    }

    /// Where it stands, ns of the session clock. The state's own `now` is that of its last event.
    #[must_use]
    pub fn position(&self) -> Nanos {
        self.position
    }

    /// Where the capture ends, ns of the session clock.
    #[must_use]
    pub fn end(&self) -> Nanos {
        self.end
    }

    /// The longest outage of the capture, as its primary probe saw it: from the last answer before it to the first one
    /// after it, ns, which is none if it lasts to the end.
    #[must_use]
    pub fn worst(&self) -> Option<(Nanos, Option<Nanos>)> {
        self.worst
    }

    /// Whether all events are folded in.
    #[must_use]
    pub fn at_end(&self) -> bool {
        self.cursor == self.events
    }

    /// Events folded in, and events in all.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.cursor, self.events)
    }

    /// Times as fast as it happened.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Sets the speed, kept within [`SPEEDS`]; what is no number changes nothing.
    pub fn set_speed(&mut self, speed: f64) {
        if speed.is_finite() {
            self.speed = speed.clamp(*SPEEDS.start(), *SPEEDS.end());
        }
    }

    /// Whether it stands still.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.paused
    }

    /// Stops or goes on.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Tells the time: `now` in ns of any monotonic clock, always the same one. Time that passes
    /// while paused is not played.
    pub fn advance(&mut self, now: Nanos) {
        let passed = now.saturating_sub(self.last.unwrap_or(now));
        self.last = Some(now);
        if self.paused || passed == 0 {
            return;
        }
        let played = (passed as f64 * self.speed).round() as u64;
        self.go_to(self.position.saturating_add(played).min(self.end()));
    }

    /// Why the capture could not be read again where it was gone to last: it was changed while it
    /// was played. The state is then an older one.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Folds in the next event and stands still there.
    pub fn step(&mut self) {
        self.paused = true;
        if self.cursor < self.events {
            self.fold_to(self.cursor + 1);
            self.position = self.position.max(self.due(self.cursor));
        }
    }

    /// Takes the last event back and stands still there.
    pub fn step_back(&mut self) {
        self.paused = true;
        self.fold_to(self.cursor.saturating_sub(1));
        self.position = self.due(self.cursor);
    }

    /// Goes to a time, forwards or backwards: the state is that of all events due by then.
    pub fn seek(&mut self, t: Nanos) {
        self.go_to(t.min(self.end()));
    }

    fn go_to(&mut self, t: Nanos) {
        self.position = t;
        // The beginning is due before everything, events of time 0 included.
        let at = self.checkpoints.partition_point(|c| c.events == 0 || c.due <= t).saturating_sub(1);
        self.load(at);
        let to = self.segment.first + self.segment.due.partition_point(|due| *due <= t);
        self.fold_to(to);
    }

    /// When the newest of the first `events` events is due, 0 of none.
    fn due(&self, events: usize) -> Nanos {
        match events.checked_sub(self.segment.first) {
            Some(n) if n > 0 => self.segment.due.get(n - 1).copied().unwrap_or(self.segment.begins),
            _ => self.segment.begins,
        }
    }

    /// Reads the events after checkpoint `at`, if they are not the ones read last.
    fn load(&mut self, at: usize) {
        if self.segment.at == Some(at) {
            return;
        }
        let next = self.checkpoints.get(at + 1);
        let (events, to) = next.map_or((self.events, None), |c| (c.events, Some(c.offset)));
        if let Some(checkpoint) = self.checkpoints.get(at) {
            let n = events - checkpoint.events;
            self.segment = Segment::read(&self.source, at, checkpoint, n, to);
            let missing = n.saturating_sub(self.segment.due.len());
            self.trouble = (missing > 0).then(|| format!("{missing} events of the capture cannot be read again"));
        }
    }

    fn fold_to(&mut self, to: usize) {
        if to == self.cursor {
            return;
        }
        let at = self.checkpoints.partition_point(|c| c.events <= to).saturating_sub(1);
        self.load(at);
        let Some(checkpoint) = self.checkpoints.get(at) else { return };
        let (first, segment) = (checkpoint.events, &self.segment);
        let goes_on = (first..=to).contains(&self.cursor);
        let from = if goes_on { self.cursor } else { first };
        let events = self.source.events_of(segment);
        let (from, to) = ((from - first).min(events.len()), (to - first).min(events.len()));
        self.shared.update(|state| {
            if !goes_on {
                state.clone_from(&checkpoint.state);
            }
            events[from..to].iter().for_each(|event| state.apply(event));
        });
        self.cursor = first + to;
    }
}

#[cfg(test)]
mod tests;
