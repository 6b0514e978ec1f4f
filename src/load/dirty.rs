//! The dirty-pages generator: its thread, and the mail it gets.
//!
//! The thread owns the chunks it writes to. Settings, new chunks and requests to give chunks back
//! come as mail; the writing loop learns of it from one atomic number and takes the lock only then.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::LoadError;
use super::chunk::Chunk;
use super::clock::{PREFERRED, keep_time, monotonic_ns};
use super::mark::{Mark, MarkCell};
use super::pacer::{Pace, Pacer};
use super::walk::{Walk, fill_words};
use crate::event::{DirtyCycle, LoadSettings, Pattern};

/// Bytes written between two looks at the mail and the clock.
const STEP_BYTES: u64 = 1 << 20;

/// What the thread is set to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Plan {
    cycle: DirtyCycle,
    words: usize,
    pattern: Pattern,
}

impl Plan {
    fn of(settings: &LoadSettings) -> Self {
        Self { cycle: settings.dirty, words: fill_words(settings.fill_pct), pattern: settings.pattern }
    }

    fn step_pages(&self) -> u64 {
        (STEP_BYTES / (self.words as u64 * 8)).clamp(256, 4096)
    }
}

#[derive(Debug, Default)]
struct Mail {
    plan: Option<Plan>,
    give: Vec<Chunk>,
    take: Option<usize>,
    taken: Option<Vec<Chunk>>,
    stop: bool,
    /// The newest letter the thread has read; `u64::MAX` once it has ended.
    read: u64,
}

#[derive(Debug, Default)]
struct Shared {
    /// Number of letters posted.
    posted: AtomicU64,
    mail: Mutex<Mail>,
    answered: Condvar,
    mark: MarkCell,
    pages: AtomicU64,
    dropped: AtomicU64,
    lagging: AtomicBool,
}

impl Shared {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle to the dirty-pages generator.
#[derive(Debug)]
pub(crate) struct Dirty {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// How the generator is doing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// The newest cycle's start, or a later time if that cycle lasts too long.
    pub(crate) mark: Mark,
    /// Pages written since the start.
    pub(crate) pages: u64,
    /// How often cycles had to be dropped since the start.
    pub(crate) dropped: u64,
    /// The newest cycle did not end before the next one was due, and cycles have been dropped.
    pub(crate) lagging: bool,
}

impl Dirty {
    /// Starts the thread, with nothing to write.
    pub(crate) fn start() -> Result<Self, LoadError> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("dirty-pages".into())
            .spawn(move || Worker::new(of_thread).run())
            .map_err(|e| LoadError::Thread { what: "dirty-pages", why: e.to_string() })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Posts a letter and waits until the thread has read it: a matter of one step of writing.
    fn post(&self, write: impl FnOnce(&mut Mail)) -> Result<MutexGuard<'_, Mail>, LoadError> {
        let mut mail = self.shared.mail();
        write(&mut mail);
        let letter = self.shared.posted.fetch_add(1, Ordering::Release) + 1;
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
        while mail.read < letter {
            mail = self.shared.answered.wait(mail).unwrap_or_else(PoisonError::into_inner);
        }
        if mail.read == u64::MAX { Err(LoadError::Stopped) } else { Ok(mail) }
    }

    /// Puts settings into effect; they are when this returns.
    pub(crate) fn set(&self, settings: &LoadSettings) -> Result<(), LoadError> {
        let plan = Plan::of(settings);
        self.post(|mail| mail.plan = Some(plan)).map(drop)
    }

    /// Hands a chunk to the thread, as its last.
    pub(crate) fn give(&self, chunk: Chunk) -> Result<(), LoadError> {
        self.post(|mail| mail.give.push(chunk)).map(drop)
    }

    /// Takes the last `n` chunks away from the thread, which has let go of them when this returns.
    pub(crate) fn take(&self, n: usize) -> Result<Vec<Chunk>, LoadError> {
        let mut mail = self.post(|mail| mail.take = Some(n))?;
        Ok(mail.taken.take().unwrap_or_default())
    }

    /// How the generator is doing.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            mark: self.shared.mark.get(),
            pages: self.shared.pages.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            lagging: self.shared.lagging.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Dirty {
    fn drop(&mut self) {
        drop(self.post(|mail| mail.stop = true));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Tells those who wait for an answer that there will be none, however the thread ends.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let mut mail = self.0.mail();
        mail.read = u64::MAX;
        self.0.answered.notify_all();
    }
}

/// What to do after a look at the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    NewPlan,
    Stop,
}

struct Worker {
    shared: Arc<Shared>,
    walk: Walk,
    plan: Option<Plan>,
    pacer: Pacer,
    read: u64,
    pages: u64,
    mark: Mark,
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Self {
        let pacer = Pacer::new(1, 0);
        Self { shared, walk: Walk::new(), plan: None, pacer, read: 0, pages: 0, mark: Mark::default() }
    }

    fn run(mut self) {
        let _farewell = Farewell(Arc::clone(&self.shared));
        keep_time(PREFERRED);
        loop {
            if self.read_mail() == Next::Stop {
                return;
            }
            let Some(plan) = self.plan.filter(|p| p.cycle.bpc_pages > 0 && self.walk.total_pages() > 0) else {
                std::thread::park();
                continue;
            };
            let now = monotonic_ns();
            match self.pacer.wait(now) {
                0 => {
                    if self.cycle(plan, now) == Next::Stop {
                        return;
                    }
                }
                ns => std::thread::park_timeout(Duration::from_nanos(ns)),
            }
        }
    }

    /// One cycle: BPC pages, in steps.
    fn cycle(&mut self, plan: Plan, now: u64) -> Next {
        let mut pace = self.pacer.begin(now);
        self.note(pace);
        self.leave_mark(now);
        let mut left = plan.cycle.bpc_pages;
        let overlong = now.saturating_add(plan.cycle.period_ns);
        while left > 0 {
            let step = left.min(plan.step_pages());
            self.walk.write(step, plan.words, plan.pattern);
            self.pages += step;
            left -= step;
            self.shared.pages.store(self.pages, Ordering::Relaxed);
            match self.read_mail() {
                Next::GoOn if self.walk.total_pages() > 0 => {}
                other => return other,
            }
            if left > 0 {
                let now = monotonic_ns();
                if now > overlong {
                    self.leave_mark(now);
                }
                if self.pacer.overdue(now) {
                    break;
                }
            }
        }
        pace = self.pacer.end(monotonic_ns());
        self.note(pace);
        if pace == Pace::OnTime {
            self.shared.lagging.store(false, Ordering::Relaxed);
        }
        Next::GoOn
    }

    fn note(&self, pace: Pace) {
        if pace == Pace::Dropped {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            self.shared.lagging.store(true, Ordering::Relaxed);
        }
    }

    fn leave_mark(&mut self, now: u64) {
        self.mark.t_ns = now;
        self.mark.count = self.pages;
        self.shared.mark.set(self.mark);
    }

    /// Starts the schedule, and the measuring, anew.
    fn start_anew(&mut self) {
        let now = monotonic_ns();
        self.pacer = Pacer::new(self.plan.map_or(1, |p| p.cycle.period_ns), now);
        let epoch = self.mark.epoch + 1;
        self.mark = Mark { epoch, t_ns: now, count: self.pages, epoch_t_ns: now, epoch_count: self.pages };
        self.shared.mark.set(self.mark);
        self.shared.lagging.store(false, Ordering::Relaxed);
    }

    fn read_mail(&mut self) -> Next {
        let posted = self.shared.posted.load(Ordering::Acquire);
        if posted == self.read {
            return Next::GoOn;
        }
        let shared = Arc::clone(&self.shared);
        let mut mail = shared.mail();
        // Letters are posted under the lock, so this counts exactly those that are in the mail.
        self.read = shared.posted.load(Ordering::Acquire);
        let mut next = Next::GoOn;
        if let Some(plan) = mail.plan.take()
            && self.plan != Some(plan)
        {
            self.plan = Some(plan);
            self.start_anew();
            next = Next::NewPlan;
        }
        let was_empty = self.walk.total_pages() == 0;
        mail.give.drain(..).for_each(|chunk| self.walk.give(chunk));
        if was_empty && self.walk.total_pages() > 0 {
            self.start_anew();
        }
        if let Some(n) = mail.take.take() {
            mail.taken = Some(self.walk.take(n));
        }
        if mail.stop {
            return Next::Stop;
        }
        mail.read = self.read;
        shared.answered.notify_all();
        next
    }
}
