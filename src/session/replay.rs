//! The replay clock: plays a capture into the same kind of handle a live session has. The passing
//! of time is told by the caller, so the whole is a pure machine.

use std::path::Path;

use super::reader::{ReadError, Reader, RecordError};
use super::recorder::RecorderStatus;
use super::shared::{Health, Shared};
use super::state::State;
use crate::event::{Event, Header, Nanos};

/// The slowest and the fastest a capture is played.
pub const SPEEDS: std::ops::RangeInclusive<f64> = 0.1..=100.0;
/// At most so many copies of the state are kept to seek backwards from.
const CHECKPOINTS: usize = 8;
/// Captures shorter than this are folded anew from the start: it takes milliseconds.
const CHECKPOINT_EVENTS: usize = 1 << 16;

/// What was wrong with a capture that could still be loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flaws {
    /// Records that could not be read.
    pub corrupt: Vec<RecordError>,
    /// Records of a newer minor schema, skipped.
    pub skipped: u64,
    /// Length of the torn last line, bytes.
    pub torn: Option<u64>,
}

/// Plays a capture.
#[derive(Debug)]
pub struct Player {
    header: Header,
    events: Vec<Event>,
    /// When each event is due: the running maximum of the events' times, since events are kept in
    /// the order in which they were handed over.
    due: Vec<Nanos>,
    shared: Shared,
    /// Events folded in so far.
    cursor: usize,
    position: Nanos,
    speed: f64,
    paused: bool,
    last: Option<Nanos>,
    checkpoints: Vec<(usize, State)>,
}

impl Player {
    /// Loads a capture (file or folder); it stands paused at its beginning.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Flaws), ReadError> {
        let mut reader = Reader::open(path)?;
        let mut flaws = Flaws::default();
        let mut events = Vec::new();
        for record in reader.by_ref() {
            match record {
                Ok(event) => events.push(event),
                Err(e) => flaws.corrupt.push(e),
            }
        }
        (flaws.skipped, flaws.torn) = (reader.skipped(), reader.torn());
        let status = RecorderStatus {
            path: reader.path().to_owned(),
            bytes: std::fs::metadata(reader.path()).map_or(0, |m| m.len()),
            events: events.len() as u64,
            ..RecorderStatus::default()
        };
        Ok((Self::new(reader.header().clone(), events, status), flaws))
    }

    /// Plays events that are in memory already.
    #[must_use]
    pub fn new(header: Header, events: Vec<Event>, status: RecorderStatus) -> Self {
        let due = events
            .iter()
            .scan(0, |max, e| {
                *max = e.t.max(*max);
                Some(*max)
            })
            .collect();
        let shared = Shared::new(State::begin(header.clone()), Health::Replay(status));
        Self {
            header,
            events,
            due,
            shared,
            cursor: 0,
            position: 0,
            speed: 1.0,
            paused: true,
            last: None,
            checkpoints: Vec::new(),
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
        &self.header
    }

    /// Where it stands, ns of the session clock. The state's own `now` is that of its last event.
    #[must_use]
    pub fn position(&self) -> Nanos {
        self.position
    }

    /// Where the capture ends, ns of the session clock.
    #[must_use]
    pub fn end(&self) -> Nanos {
        self.due.last().copied().unwrap_or(0)
    }

    /// Whether all events are folded in.
    #[must_use]
    pub fn at_end(&self) -> bool {
        self.cursor == self.events.len()
    }

    /// Events folded in, and events in all.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.cursor, self.events.len())
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

    /// Folds in the next event and stands still there.
    pub fn step(&mut self) {
        self.paused = true;
        if let Some(due) = self.due.get(self.cursor).copied() {
            self.position = self.position.max(due);
            self.fold_to(self.cursor + 1);
        }
    }

    /// Takes the last event back and stands still there.
    pub fn step_back(&mut self) {
        self.paused = true;
        let to = self.cursor.saturating_sub(1);
        self.position = to.checked_sub(1).and_then(|i| self.due.get(i)).copied().unwrap_or(0);
        self.fold_to(to);
    }

    /// Goes to a time, forwards or backwards: the state is that of all events due by then.
    pub fn seek(&mut self, t: Nanos) {
        self.go_to(t.min(self.end()));
    }

    fn go_to(&mut self, t: Nanos) {
        self.position = t;
        self.fold_to(self.due.partition_point(|due| *due <= t));
    }

    fn fold_to(&mut self, to: usize) {
        if to == self.cursor {
            return;
        }
        let back = to < self.cursor;
        let kept = self.checkpoints.iter().rfind(|(at, _)| back && *at <= to).cloned();
        let every = CHECKPOINT_EVENTS.max(self.events.len().div_ceil(CHECKPOINTS + 1));
        let (header, events, checkpoints) = (&self.header, &self.events, &mut self.checkpoints);
        let cursor = self.cursor;
        self.shared.update(|state| {
            let from = if back {
                let (from, start) = kept.unwrap_or_else(|| (0, State::begin(header.clone())));
                *state = start;
                from
            } else {
                cursor
            };
            for (i, event) in events.iter().enumerate().take(to).skip(from) {
                state.apply(event);
                let done = i + 1;
                if done % every == 0 && checkpoints.last().is_none_or(|(at, _)| *at < done) {
                    checkpoints.push((done, state.clone()));
                }
            }
        });
        self.cursor = to;
    }
}

#[cfg(test)]
mod tests;
