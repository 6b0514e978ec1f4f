//! What the screen draws from: the live session, or the replay of a capture.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::event::{Nanos, SessionClock};
use crate::session::replay::Flaws;
use crate::session::{Player, Shared, State};
use crate::tui::{Feed, RecorderInfo, ReplayControl, ReplayInfo};

/// The live session.
pub(super) struct LiveFeed {
    pub shared: Shared,
    pub clock: SessionClock,
    /// Raised when the session is over by itself.
    pub over: Arc<AtomicBool>,
}

impl Feed for LiveFeed {
    fn with_state(&self, f: &mut dyn FnMut(&State)) {
        self.shared.with_state(f);
    }

    fn version(&self) -> u64 {
        self.shared.version()
    }

    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn recorder(&self) -> Option<RecorderInfo> {
        let status = self.shared.status();
        Some(RecorderInfo { path: status.path, bytes: status.bytes, trouble: status.trouble, backlog: status.backlog })
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// So long after the end of the worst outage a replay is opened, ns.
const AFTER: Nanos = 2_000_000_000;
/// How often a playing replay is advanced.
const FRAME: Duration = Duration::from_millis(33);

/// A replay, with the thread that lets its time pass.
pub(super) struct ReplayFeed {
    player: Arc<Mutex<Player>>,
    shared: Shared,
    flaws: Flaws,
    stop: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
}

impl ReplayFeed {
    /// Opens a capture at its worst outage, or plays it from the beginning where it has none.
    pub(super) fn open(path: &Path, speed: f64) -> Result<Self> {
        let (mut player, flaws) = Player::open(path)?;
        player.set_speed(speed);
        match player.worst() {
            // Where it hurt most is what a capture is opened for; it stands still there, in view to its end.
            Some((from, to)) => player.seek(to.unwrap_or(from).saturating_add(AFTER)),
            None => player.set_paused(false),
        }
        let shared = player.shared();
        let player = Arc::new(Mutex::new(player));
        let stop = Arc::new(AtomicBool::new(false));
        let ticker = std::thread::Builder::new().name("replay".into()).spawn({
            let (player, stop) = (Arc::clone(&player), Arc::clone(&stop));
            let began = Instant::now();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    lock(&player).advance(began.elapsed().as_nanos() as u64);
                    std::thread::sleep(FRAME);
                }
            }
        })?;
        Ok(Self { player, shared, flaws, stop, ticker: Some(ticker) })
    }

    /// What was wrong with the capture, a line each.
    pub(super) fn notes(&self) -> Vec<String> {
        notes(&self.flaws)
    }
}

/// What is wrong with a capture, a line each.
pub(super) fn notes(flaws: &Flaws) -> Vec<String> {
    let mut notes: Vec<String> = flaws.chosen.iter().cloned().collect();
    notes.extend(flaws.corrupt.iter().map(ToString::to_string));
    let more = flaws.corrupt_records.saturating_sub(flaws.corrupt.len() as u64);
    if more > 0 {
        notes.push(format!("and {more} more corrupt records"));
    }
    if flaws.torn.is_some() {
        notes.push("the last line is torn: the writer was killed; all before it is whole".into());
    }
    notes
}

fn lock(player: &Mutex<Player>) -> MutexGuard<'_, Player> {
    player.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for ReplayFeed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}

impl Feed for ReplayFeed {
    fn with_state(&self, f: &mut dyn FnMut(&State)) {
        self.shared.with_state(f);
    }

    fn version(&self) -> u64 {
        self.shared.version()
    }

    fn now(&self) -> Nanos {
        lock(&self.player).position()
    }

    fn recorder(&self) -> Option<RecorderInfo> {
        None
    }

    fn replay(&self) -> Option<ReplayInfo> {
        let player = lock(&self.player);
        Some(ReplayInfo {
            path: self.shared.status().path,
            position: player.position(),
            length: player.end(),
            playing: !player.paused() && !player.at_end(),
            speed: player.speed(),
            worst: player.worst(),
        })
    }

    fn control(&self) -> Option<&dyn ReplayControl> {
        Some(self)
    }
}

impl ReplayControl for ReplayFeed {
    fn set_playing(&self, playing: bool) {
        lock(&self.player).set_paused(!playing);
    }

    fn set_speed(&self, speed: f64) {
        lock(&self.player).set_speed(speed);
    }

    fn step(&self, events: i64) {
        let mut player = lock(&self.player);
        for _ in 0..events.unsigned_abs() {
            if events > 0 {
                player.step();
            } else {
                player.step_back();
            }
        }
    }

    fn seek(&self, to: Nanos) {
        lock(&self.player).seek(to);
    }
}
