//! Looks on while a migration is simulated: holds virtual time to the session clock, tells what
//! happens as a hypervisor would, and passes orders on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::live::LiveGuest;
use crate::event::{Body, HvEvent, Nanos, Phase, Sample};
use crate::hypervisor::Observer;
use crate::model::{Costs, Link, Order, Product, Step, View, Watcher, Why};

/// How often the model is looked at, and orders reach it.
const LOOK: Duration = Duration::from_millis(50);
/// Distance of samples, ns; QEMU renews its figures as often.
const SAMPLE_NS: u64 = 100_000_000;
/// How long the runner may take to judge what it is told, in real time. Virtual time stands meanwhile, so
/// that a stop policy fires where it should at every speed.
const JUDGED_WITHIN: Duration = Duration::from_secs(2);
/// The queue of events is filled by a simulation up to this share, so that it never overflows.
const FULL: f64 = 0.5;
/// What QEMU's completion takes by itself, without what is stopped and sent: QEMU 10.0.2 says 5 and 6 ms of
/// migrations whose guest was stopped from above (design, sections 3 and 5), over a link that takes no time.
const COMPLETION: Duration = Duration::from_millis(5);
/// How often a full queue is looked at.
const FULL_LOOK: Duration = Duration::from_millis(1);

/// What the driver and the thread of the model share.
#[derive(Debug, Default)]
pub(super) struct Desk {
    inner: Mutex<Papers>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Papers {
    orders: Vec<Order>,
    /// Nobody drives the migration any more.
    gone: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Papers> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An order for the model.
    pub(super) fn order(&self, order: Order) {
        self.lock().orders.push(order);
        self.changed.notify_all();
    }

    /// Nobody drives the migration any more.
    pub(super) fn leave(&self) {
        self.lock().gone = true;
        self.changed.notify_all();
    }

    fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// Waits until then. Comes to whether somebody is still there.
    fn wait(&self, until: Instant) -> bool {
        let mut papers = self.lock();
        while !papers.gone {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            papers = self.changed.wait_timeout(papers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        !papers.gone
    }
}

pub(super) struct Onlooker {
    pub(super) desk: Arc<Desk>,
    pub(super) observer: Arc<Observer>,
    pub(super) guest: Arc<dyn LiveGuest>,
    pub(super) product: Product,
    pub(super) costs: Costs,
    pub(super) link: Link,
    pub(super) from: String,
    pub(super) to: String,
    /// When the migration began, ns of the session clock.
    pub(super) began: Nanos,
    pub(super) next_sample_ns: u64,
    /// The last sample: when, and what had been sent.
    pub(super) last: Option<(u64, u64)>,
    pub(super) stopped_ns: Option<u64>,
    pub(super) resumed_ns: Option<u64>,
    /// The guest was stopped from above, not by the product.
    pub(super) forced: bool,
    /// The guest runs at the destination with its memory still on the way.
    pub(super) post_copy: bool,
}

impl Watcher for Onlooker {
    fn every(&self) -> Option<Duration> {
        Some(LOOK)
    }

    fn look(&mut self, view: &View) -> Vec<Order> {
        let t = self.began.saturating_add(view.now_ns);
        let sink = self.observer.sink().clone();
        // Until here and no further, until what is told now has been judged: what others do meanwhile
        // bears a time at which it can count, at every speed.
        let mut there = !self.desk.is_gone();
        if there {
            sink.clock().grant(t);
            there = self.desk.wait(sink.clock().instant(t));
        }
        // It stands at exactly this time while what is told now is judged.
        while there && (sink.clock().now() < t || sink.fullness() > FULL) {
            there = self.desk.wait(Instant::now() + FULL_LOOK);
        }
        if !there {
            return vec![Order::Cancel];
        }
        let change = self.guest.pass(t);
        self.guest.run_at(view.guest_share);
        let told = self.tell(view, t);
        self.observer.wait_judged(told, JUDGED_WITHIN);
        let mut orders = std::mem::take(&mut self.desk.lock().orders);
        if let Some((dirty, pattern)) = change {
            orders.push(Order::Dirty { dirty, pattern });
        }
        orders
    }
}

impl Onlooker {
    /// Tells what there is to tell at `t`; comes to the number of the state told.
    fn tell(&mut self, view: &View, t: Nanos) -> u64 {
        match view.step {
            Step::Stopped => {
                self.stopped_ns = Some(view.now_ns);
                self.forced = matches!(view.why, Some(Why::Ruled(_)));
                self.guest.stop(t);
                self.emit(t, HvEvent::Stopped { host: self.from.clone(), at: None });
            }
            Step::Resumed => {
                self.resumed_ns = Some(view.now_ns);
                self.post_copy = view.phase == Phase::PostCopy;
                let announced = u64::try_from(self.costs.announce.as_nanos()).unwrap_or(u64::MAX);
                self.guest.resume(t, t.saturating_add(announced));
                self.emit(t, HvEvent::Resumed { host: self.to.clone(), at: None });
            }
            Step::RoundBegan | Step::Sending | Step::Answering | Step::Ended => {}
        }
        let over = view.step == Step::Ended;
        let phase = match view.phase {
            // Pre-copy that nobody waits for any longer.
            Phase::PreCopy if over => Phase::Failed,
            other => other,
        };
        let sample = self.sample(view);
        if view.now_ns >= self.next_sample_ns || over {
            self.next_sample_ns = view.now_ns - view.now_ns % SAMPLE_NS + SAMPLE_NS;
            self.last = Some((view.now_ns, view.sent_bytes));
            let raw = json!({ "simulated": true, "status": word(self.product, phase) });
            self.emit(t, HvEvent::Sample { sample: sample.clone(), raw });
        }
        let raw = word(self.product, phase);
        let before = self.observer.now();
        if before.phase != phase || before.raw != raw {
            self.emit(t, HvEvent::Phase { phase, raw: raw.to_owned(), substate: None });
        }
        let begins = view.step == Step::RoundBegan;
        if begins {
            self.emit(t, HvEvent::Round { round: view.round, at: None });
        }
        // In one piece: who judges it must not see the half of it.
        self.observer.renew(|o| {
            o.phase = phase;
            raw.clone_into(&mut o.raw);
            o.sample = sample;
            if begins {
                (o.round, o.round_remaining_bytes) = (Some(view.round), Some(view.remaining_bytes));
            }
            match view.step {
                Step::Stopped => {
                    o.source_running = Some(false);
                    if let Some(Why::Gave { up }) = &view.why {
                        o.gave_up = Some((t, up.clone()));
                    }
                }
                Step::Resumed => o.destination_running = Some(true),
                Step::Ended => {
                    o.complete = phase == Phase::Done;
                    if phase == Phase::Failed {
                        o.error = Some("it was still in pre-copy when the model gave up watching".into());
                    }
                }
                _ => {}
            }
        })
    }

    fn emit(&self, t: Nanos, ev: HvEvent) {
        self.observer.sink().emit_at(t, Body::Hypervisor(ev));
    }

    fn sample(&self, view: &View) -> Sample {
        // Over too short a time a single page is a high rate: then the figure before stands, as with QEMU.
        let throughput = self
            .last
            .filter(|(then, _)| view.now_ns >= then.saturating_add(SAMPLE_NS / 2))
            .map(|(then, sent)| view.sent_bytes.saturating_sub(sent) as f64 * 1e9 / (view.now_ns - then) as f64)
            .or(self.observer.now().sample.throughput_bytes_per_s);
        let qemu = self.product == Product::Qemu;
        let throttles = qemu || view.throttle_pct > 0.0;
        Sample {
            transferred_bytes: Some(view.sent_bytes),
            remaining_bytes: Some(view.remaining_bytes),
            total_bytes: Some(view.total_bytes),
            round: (view.round > 0).then_some(view.round),
            dirty_pages_per_s: view.dirty_pages_per_s,
            throughput_bytes_per_s: throughput,
            throttle_pct: throttles.then_some(view.throttle_pct),
            expected_downtime_ms: view
                .expected_downtime
                .filter(|_| qemu && view.phase == Phase::PreCopy)
                .map(|d| d.as_secs_f64() * 1e3),
            downtime_ms: (view.step == Step::Ended).then(|| self.reported_ms()).flatten(),
            total_time_ms: (view.step == Step::Ended && qemu).then_some(view.now_ns as f64 / 1e6),
            zero_pages: view.marked_pages,
            progress: None,
            setup_time_ms: (view.step == Step::Ended && qemu).then_some(self.costs.setup.as_secs_f64() * 1e3),
        }
    }

    /// The downtime QEMU says of itself, ms: from its own decision to stop the guest until it has sent
    /// the device's state. A guest that was stopped before by somebody else stands already when it decides,
    /// so that what it counts then is only what completion takes; a switch to post-copy is a decision of its
    /// own. Of no other product is known what it says.
    fn reported_ms(&self) -> Option<f64> {
        if self.product != Product::Qemu {
            return None;
        }
        let counted = if self.forced && !self.post_copy {
            let device_s = self.costs.device_state_bytes as f64 / self.link.bytes_per_s.max(1.0);
            self.costs.stop + COMPLETION + Duration::try_from_secs_f64(device_s).unwrap_or_default()
        } else {
            let stood = Duration::from_nanos(self.resumed_ns?.checked_sub(self.stopped_ns?)?);
            stood.saturating_sub(self.costs.resume)
        };
        Some(counted.as_secs_f64() * 1e3)
    }
}

/// The product's own word for a phase, where it is known to have one; else ours.
fn word(product: Product, phase: Phase) -> &'static str {
    match (product, phase) {
        (Product::Qemu, Phase::PreCopy) => "active",
        (Product::Qemu, Phase::StopAndCopy) => "device",
        (Product::Qemu, Phase::PostCopy) => "postcopy-active",
        (Product::Qemu, Phase::Recovery | Phase::Done) => "completed",
        (_, phase) => phase.word(),
    }
}

impl Drop for Onlooker {
    /// The model is over; or its thread has failed, and then nobody waits for it in vain, and neither the
    /// guest nor the clock stands still for ever.
    fn drop(&mut self) {
        let over = self.observer.now().phase.is_over();
        if !over && !self.desk.is_gone() {
            self.observer.update(|o| o.error = Some("the model's thread is gone".into()));
            let t = self.observer.sink().clock().now();
            self.observer.phase(t, Phase::Failed, "");
            self.guest.release();
        }
    }
}
