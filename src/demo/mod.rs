//! The simulated guest: what the agent in it says, what becomes of the probes sent to it, and its
//! generators, all out of the session clock. A migration on the model takes it along
//! ([`LiveGuest`]): then virtual time is the model's, and the guest is never ahead of it.
//!
//! The guest grants the session clock its time: where the process stands still (Ctrl-Z) or cannot keep
//! up with its speed, the clock waits. So there is never much to catch up with, and what is told has
//! room in the queue of events.

mod guest;
pub mod hypervisor;
mod queue;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::demo::hypervisor::LiveGuest;
use crate::event::{DirtyCycle, EventSink, LoadSettings, Nanos, Pattern};

pub use self::guest::{ADDRESS, GuestOptions, KERNEL};
use self::world::World;
use crate::model::Guest;

/// How often the guest is let live while no migration has its time, in real time.
const TICK: Duration = Duration::from_millis(10);
/// The same where the clock goes faster.
const TICK_LEAST: Duration = Duration::from_millis(1);
/// The clock may be ahead of the guest by so much: some ticks of real time, or the clock would falter.
const AHEAD: Duration = Duration::from_millis(50);
/// The guest lives for so long at a time, ns of the session; then it is looked whether it still may.
const SLICE: Nanos = 1_000_000_000;
/// How long the last that there is to tell may wait for room in the queue of events, in real time.
const ROOM_WITHIN: Duration = Duration::from_secs(2);
/// The queue of events is filled by a simulation up to this share, so that it never overflows.
const FULL: f64 = 0.5;

/// A simulated guest that lives. Cheap to clone; it lives until it is ended.
#[derive(Clone)]
pub struct SimulatedGuest {
    shared: Arc<Shared>,
}

struct Shared {
    world: Mutex<World>,
    sink: EventSink,
    over: AtomicBool,
    ticker: Mutex<Option<JoinHandle<()>>>,
}

impl SimulatedGuest {
    /// Brings it to life: from now on it answers probes and its agent is connected.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(options: GuestOptions, sink: EventSink) -> std::io::Result<Self> {
        let world = World::begin(options, sink.clone());
        let shared =
            Arc::new(Shared { world: Mutex::new(world), sink, over: AtomicBool::new(false), ticker: Mutex::default() });
        let of_thread = Arc::downgrade(&shared);
        let tick = TICK.div_f64(shared.sink.clock().speed()).clamp(TICK_LEAST, TICK);
        let ticker = std::thread::Builder::new().name("guest".into()).spawn(move || {
            while let Some(shared) = of_thread.upgrade().filter(|s| !s.over.load(Ordering::Relaxed)) {
                shared.tick();
                drop(shared);
                std::thread::sleep(tick);
            }
        })?;
        *shared.ticker.lock().unwrap_or_else(PoisonError::into_inner) = Some(ticker);
        Ok(Self { shared })
    }

    /// Asks its agent for a load; the answer comes as an event.
    pub fn set_load(&self, id: u64, to: LoadSettings) {
        let now = self.shared.sink.clock().now();
        self.shared.world().request(now, id, to);
    }

    /// Ends probing and everything else; says nothing afterwards.
    pub fn end(&self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let ticker = self.shared.ticker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ticker) = ticker {
            // A ticker that panicked has nothing more to say.
            let _ = ticker.join();
        }
        self.shared.end();
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the guest live until now, as far as what it tells has room; then the clock may go on.
    fn tick(&self) {
        let clock = self.sink.clock();
        let now = clock.now();
        let ahead = (AHEAD.as_nanos() as f64 * clock.speed()) as Nanos;
        while !self.over.load(Ordering::Relaxed) && self.sink.fullness() < FULL {
            // Let go between two slices: others have something to ask of the guest, too.
            let mut world = self.world();
            if world.is_taken() {
                return;
            }
            if world.live_for(SLICE, now) >= now {
                clock.grant(now.saturating_add(ahead));
                return;
            }
        }
    }

    fn end(&self) {
        let clock = self.sink.clock();
        let (now, until) = (clock.hold(), Instant::now() + ROOM_WITHIN);
        while Instant::now() < until && !self.world().is_taken() {
            if self.sink.fullness() >= FULL {
                std::thread::sleep(TICK_LEAST);
            } else if self.world().live_for(SLICE, now) >= now {
                break;
            }
        }
        self.world().end();
        clock.release();
    }
}

impl Drop for Shared {
    /// Nobody grants the clock its time any more.
    fn drop(&mut self) {
        self.sink.clock().release();
    }
}

impl LiveGuest for SimulatedGuest {
    fn take(&self) -> (Nanos, Guest) {
        // The ticker grants nothing to the clock meanwhile: it needs the world for that.
        let mut world = self.shared.world();
        let began = self.shared.sink.clock().hold();
        (began, world.take(began))
    }

    fn pass(&self, t: Nanos) -> Option<(DirtyCycle, Pattern)> {
        self.shared.world().pass(t)
    }

    fn run_at(&self, share: f64) {
        self.shared.world().run_at(share);
    }

    fn stop(&self, t: Nanos) {
        self.shared.world().stop(t);
    }

    fn resume(&self, t: Nanos, reached: Nanos) {
        self.shared.world().resume(t, reached);
    }

    fn release(&self) {
        self.shared.world().release();
    }
}

#[cfg(test)]
mod tests;
