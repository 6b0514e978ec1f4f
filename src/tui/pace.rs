//! When the next frame is due: often enough for the eye, no more often than anything can be seen.

use std::time::{Duration, Instant};

use super::feed::{Feed, RecorderInfo, ReplayInfo};
use super::options::TuiOptions;
use crate::event::Nanos;
use crate::session::State;

/// Shortest time between frames that a key or the mouse has asked for.
const INPUT: Duration = Duration::from_millis(33);
/// How often the outside is looked at when nothing else happens.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Longest time between frames of a migration: its time is shown in tenths of a second.
const RUNNING: Duration = Duration::from_millis(100);
/// Longest time between frames otherwise: a clock that jumps is no clock.
const RESTING: Duration = Duration::from_millis(250);
/// Time between frames on a slow line.
const SLOW: Duration = Duration::from_millis(400);

/// What a frame depends on beside the view: when nothing of it changes, nothing is drawn.
#[derive(Debug, PartialEq)]
struct Fresh {
    version: u64,
    recorder: Option<RecorderInfo>,
    replay: Option<ReplayInfo>,
    /// The clock alone moves the axis and the elapsed time.
    tick: u64,
}

/// What nobody should have to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Urgent {
    migrations: usize,
    phases: usize,
    ended: bool,
    log: usize,
}

impl Urgent {
    pub(super) fn of(state: &State) -> Self {
        let last = state.migrations.last();
        Self {
            migrations: state.migrations.len(),
            phases: last.map_or(0, |m| m.phases.len()),
            ended: last.is_some_and(|m| m.ended.is_some()),
            log: state.log.len(),
        }
    }

    fn running(self) -> bool {
        self.migrations > 0 && !self.ended
    }
}

/// When the next frame is due.
#[derive(Debug)]
pub(super) struct Pace {
    least: Duration,
    slow: bool,
    drawn: Option<Instant>,
    seen: Option<Fresh>,
    urgent: Urgent,
    /// Length of a column of the axis in the last frame.
    column: Duration,
    /// Something was pressed, pointed at or pasted since the last frame.
    pub(super) touched: bool,
}

impl Pace {
    pub(super) fn new(options: &TuiOptions) -> Self {
        Self {
            least: Duration::from_secs(1) / options.max_fps.clamp(1, 60),
            slow: options.slow,
            drawn: None,
            seen: None,
            urgent: Urgent::default(),
            column: TICK,
            touched: true,
        }
    }

    /// The instant a frame shows. On a slow line it stands still between the frames of the clock, so
    /// that a key does not move the whole picture.
    pub(super) fn instant(&self, now: Nanos) -> Nanos {
        let step = SLOW.as_nanos() as Nanos;
        if self.slow { now / step * step } else { now }
    }

    /// Time between frames while data comes in.
    fn gap(&self) -> Duration {
        if self.slow {
            return SLOW.max(self.least);
        }
        let most = if self.urgent.running() { RUNNING } else { RESTING };
        // Between two columns there is little to see.
        self.column.min(most).max(self.least)
    }

    /// Whether a frame is due.
    pub(super) fn due(&mut self, feed: &dyn Feed) -> bool {
        let Some(drawn) = self.drawn else { return true };
        let since = drawn.elapsed();
        if self.touched && since >= INPUT.min(self.least) {
            return true;
        }
        if since < self.least {
            return false;
        }
        if !self.slow {
            let mut urgent = Urgent::default();
            feed.with_state(&mut |state| urgent = Urgent::of(state));
            if urgent != self.urgent {
                return true;
            }
        }
        since >= self.gap() && self.seen.as_ref() != Some(&fresh(feed))
    }

    /// A frame has been drawn: what it showed, and how long a column of its axis is.
    pub(super) fn drew(&mut self, feed: &dyn Feed, urgent: Urgent, column_ns: Nanos) {
        let speed = feed.replay().filter(|r| r.playing).map_or(1.0, |r| r.speed.max(0.01));
        self.column = Duration::from_nanos((column_ns as f64 / speed) as u64);
        (self.seen, self.urgent, self.touched, self.drawn) = (Some(fresh(feed)), urgent, false, Some(Instant::now()));
    }

    /// How long to wait for a key before the next look.
    pub(super) fn wait(&self) -> Duration {
        let Some(drawn) = self.drawn else { return Duration::ZERO };
        let until = |gap: Duration| gap.saturating_sub(drawn.elapsed());
        if self.touched {
            return until(INPUT.min(self.least));
        }
        // Where the next frame is long due, nothing has changed: no hurry.
        match until(self.gap()) {
            Duration::ZERO => self.gap().clamp(INPUT, TICK),
            left => left.min(TICK),
        }
    }
}

fn fresh(feed: &dyn Feed) -> Fresh {
    let replay = feed.replay();
    Fresh { version: feed.version(), tick: feed.now() / 100_000_000, recorder: feed.recorder(), replay }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture::{FakeFeed, S};

    fn pace(slow: bool, fps: u32) -> Pace {
        Pace::new(&TuiOptions { slow, max_fps: fps, ..TuiOptions::default() })
    }

    #[test]
    fn frames_follow_the_columns_within_bounds() {
        let feed = FakeFeed::new(S);
        let gap = |p: &mut Pace, column_ms: u64, urgent| {
            p.drew(&feed, urgent, column_ms * 1_000_000);
            p.gap().as_millis()
        };
        let running = Urgent { migrations: 1, ..Urgent::default() };
        let mut p = pace(false, 30);
        assert_eq!(gap(&mut p, 200, Urgent::default()), 200);
        assert_eq!(gap(&mut p, 200, running), 100);
        assert_eq!(gap(&mut p, 5, running), 33);
        assert_eq!(gap(&mut p, 30_000, Urgent::default()), 250);
        assert_eq!(gap(&mut pace(false, 2), 5, running), 500);
        assert_eq!(gap(&mut pace(true, 30), 5, running), 400);
    }

    #[test]
    fn a_slow_line_shows_whole_steps_of_time() {
        assert_eq!(pace(true, 30).instant(1_234_567_890), 1_200_000_000);
        assert_eq!(pace(false, 30).instant(1_234_567_890), 1_234_567_890);
    }
}
