//! The machinery of a migration: its clock, the link, the guest's writers, who looks on.

use std::time::Duration;

use super::memory::{Budget, Memory, Price};
use super::rule::{Rule, Throttle, Untouched};
use super::scenario::Scenario;
use super::schedule::{Pace, Schedule};
use super::trace::{End, Pull, Round, Trace, Why};
use super::watcher::{Order, Step, View, Watcher};
use super::writer::{Writer, all_each, steady};
use crate::event::{MigrationSettings, Pattern, Phase, StopRule, Then};
use crate::units::PAGE_BYTES;

/// How often a guest's hottest pages are written: its agent sends a heartbeat as often, ns.
const HOT_PERIOD_NS: u64 = 10_000_000;

pub(super) fn ns(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// How pre-copy ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    Stop(Why),
    PostCopy(Why),
    Cancel(Option<Why>),
    Endless,
}

/// What stops a stretch of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stretch {
    /// Nothing more is to be sent.
    Over,
    /// The time or the bytes given are used up.
    Interrupted,
}

pub(super) struct Sim<'a, M> {
    pub(super) s: &'a Scenario,
    pub(super) settings: MigrationSettings,
    pub(super) mem: M,
    pub(super) price: Price,
    pub(super) rule: Box<dyn Rule>,
    pub(super) writers: [Writer; 3],
    watcher: &'a mut dyn Watcher,
    next_look_ns: u64,
    /// Since the migration began, ns.
    pub(super) now: u64,
    link: Schedule,
    /// The limit set does not count any more.
    pub(super) limit_lifted: bool,
    /// When the product last looked whether the log has been read lately, ns, and the round then.
    pub(super) tick: (u64, u64),
    /// Guest time: it went so far by that instant, and goes on at this share.
    guest: (u64, u64, f64),
    pub(super) phase: Phase,
    pub(super) round: u64,
    /// Handed to the link; what of it has arrived is [`carried_bytes`](Self::carried_bytes).
    pub(super) sent_bytes: u64,
    pub(super) sent_pages: u64,
    /// Pages that were never touched, of which a mark was sent.
    pub(super) marked_pages: u64,
    pub(super) dirty_pages_per_s: Option<f64>,
    pub(super) rounds: Vec<Round>,
    /// The end somebody or a rule has asked for.
    pub(super) asked: Option<Ending>,
    /// The stop policy has fired.
    ruled: bool,
    pub(super) stopped_ns: Option<u64>,
    pub(super) resumed_ns: Option<u64>,
    pub(super) answering_ns: Option<u64>,
    pub(super) left_pages: u64,
    pub(super) pull: Option<Pull>,
    /// Why pre-copy has ended.
    pub(super) why: Option<Why>,
}

impl<'a, M: Memory> Sim<'a, M> {
    pub(super) fn new(s: &'a Scenario, watcher: &'a mut dyn Watcher) -> Self {
        let rule = s.product.about().rule(&s.settings);
        let full = PAGE_BYTES + s.costs.page_header_bytes;
        let (untouched, all) = match rule.untouched() {
            Untouched::InFull => (full, true),
            Untouched::Mark(bytes) => (bytes, true),
            Untouched::Not => (0, false),
        };
        let price = Price { used: full, untouched };
        let g = &s.guest;
        // What the guest uses itself lies at the beginning and at the end, the WSET below that.
        let wset_from = g.ram_pages - g.top_pages - g.wset_pages;
        let untouched = (g.used_pages - g.wset_pages - g.top_pages, wset_from);
        let generator =
            Writer::new(wset_from, g.wset_pages, g.dirty, g.pattern, g.at_page, s.seed).in_pieces_of(g.piece_pages);
        let of = &g.background;
        let hot = Writer::new(0, of.hot_pages, all_each(HOT_PERIOD_NS, of.hot_pages), Pattern::Cyclic, 0, s.seed);
        let background = Writer::new(of.hot_pages, of.pages, steady(of.pages_per_s), Pattern::Cyclic, 0, s.seed);
        let next_look_ns = watcher.due_ns(0).max(1);
        Self {
            s,
            settings: s.settings.clone(),
            mem: M::new(g.ram_pages, untouched, all, price),
            price,
            rule,
            writers: [generator, background, hot],
            watcher,
            next_look_ns,
            now: 0,
            link: Schedule::new(Pace::Steady(s.link.bytes_per_s), 0),
            limit_lifted: false,
            tick: (0, 0),
            guest: (0, 0, 1.0),
            phase: Phase::Setup,
            round: 0,
            sent_bytes: 0,
            sent_pages: 0,
            marked_pages: 0,
            dirty_pages_per_s: None,
            rounds: Vec::new(),
            asked: None,
            ruled: false,
            stopped_ns: None,
            resumed_ns: None,
            answering_ns: None,
            left_pages: 0,
            pull: None,
            why: None,
        }
    }

    /// The trace, when all is over.
    pub(super) fn trace(self, end: End, why: Option<Why>) -> Trace {
        Trace {
            end,
            why,
            rounds: self.rounds,
            sent_bytes: self.sent_bytes,
            left_pages: self.left_pages,
            stopped_ns: self.stopped_ns,
            resumed_ns: self.resumed_ns,
            answering_ns: self.answering_ns,
            finished_ns: self.now,
            pull: self.pull,
        }
    }

    /// What the link carries now, bytes/s.
    pub(super) fn bytes_per_s(&self) -> f64 {
        if self.limit_lifted {
            return self.s.link.bytes_per_s;
        }
        self.rule.bytes_per_s(self.s.bandwidth_with(&self.settings)).max(1.0)
    }

    /// The link goes on from now: its bandwidth is another, or it has been idle.
    pub(super) fn begin_link(&mut self) {
        let (per_s, link) = (self.bytes_per_s(), self.s.link.bytes_per_s);
        let pace = match self.rule.bursts_every() {
            Some(slot) if per_s < link => {
                let bytes = ((per_s * slot.as_secs_f64()).round() as u64).max(1);
                Pace::Bursts { slot_ns: ns(slot).max(1), bytes, peak: link }
            }
            _ => Pace::Steady(per_s),
        };
        self.link.begin(pace, self.now);
    }

    /// Puts bytes that are no pages on the link and waits for them.
    pub(super) fn send_bytes(&mut self, bytes: u64) {
        self.link.give(bytes);
        self.sent_bytes += bytes;
        self.wait_for_link();
    }

    /// Waits until the link has carried all it was given; looks on the way are taken.
    fn wait_for_link(&mut self) {
        let until = self.link.done_ns();
        if self.next_look_ns < until {
            self.look_until(until);
            // Somebody may have changed the bandwidth meanwhile: that counts from here on.
            self.now = self.now.max(until);
            self.begin_link();
        }
        self.now = self.now.max(until);
    }

    /// Sends pages until then, or until nothing is left between the cursor and the end of memory
    /// and before the cursor neither, or so many bytes have gone.
    pub(super) fn send_until(&mut self, until_ns: u64, at_most_bytes: u64) -> Stretch {
        let mut bytes = self.link.affordable(until_ns).min(at_most_bytes);
        let limited = bytes == at_most_bytes;
        loop {
            let sent = self.mem.send(Budget { pages: u64::MAX, bytes }, false);
            let cost = self.price.of(sent.pages);
            bytes -= cost;
            self.account(cost, sent.pages.used);
            self.marked_pages += sent.pages.untouched;
            if !sent.at_end {
                // Time passes also when it does not suffice for one page more.
                let until = if limited { self.link.done_ns().min(until_ns) } else { until_ns };
                self.now = self.now.max(until);
                return Stretch::Interrupted;
            }
            self.mem.rewind();
            if self.mem.to_send().all() == 0 {
                self.now = self.now.max(self.link.done_ns().min(until_ns));
                return Stretch::Over;
            }
        }
    }

    /// Sends one batch of at most so many pages, leaving out what is dirty again.
    pub(super) fn send_batch(&mut self, pages: u64) -> (Stretch, u64) {
        self.write_until_now();
        let sent = self.mem.send(Budget { pages, bytes: u64::MAX }, true);
        self.account(self.price.of(sent.pages), sent.pages.all());
        self.wait_for_link();
        (if sent.at_end { Stretch::Over } else { Stretch::Interrupted }, sent.skipped)
    }

    fn account(&mut self, bytes: u64, pages: u64) {
        self.link.give(bytes);
        self.sent_bytes += bytes;
        self.sent_pages += pages;
    }

    /// What has gone over the link by now, bytes: of a batch that is on its way, what of it has arrived.
    fn carried_bytes(&self) -> u64 {
        self.sent_bytes.saturating_sub(self.link.backlog(self.now))
    }

    /// A page that is fetched out of its turn goes over the link too.
    pub(super) fn account_page(&mut self) {
        self.account(self.price.used, 1);
    }

    /// What is to be sent as far as the hypervisor knows, bytes.
    pub(super) fn to_send_bytes(&self) -> u64 {
        self.price.of(self.mem.to_send())
    }

    /// The same as the product counts it when it looks whether little enough is left, bytes.
    pub(super) fn pending_bytes(&self) -> u64 {
        if self.rule.counts_whole_pages() { self.mem.to_send().all() * PAGE_BYTES } else { self.to_send_bytes() }
    }

    /// Guest time at an instant, ns.
    pub(super) fn guest_ns(&self, at_ns: u64) -> u64 {
        let (since, then, share) = self.guest;
        let passed = at_ns.saturating_sub(since);
        then + if share == 1.0 { passed } else { (passed as f64 * share) as u64 }
    }

    /// From now on guest time passes at this share of ours: 0 when it stands.
    pub(super) fn run_guest_at(&mut self, share: f64) {
        if share != self.guest.2 {
            self.write_until_now();
            self.guest = (self.now, self.guest_ns(self.now), share);
        }
    }

    /// The guest has written what it had to write until now.
    pub(super) fn write_until_now(&mut self) {
        let guest_ns = self.guest_ns(self.now);
        for writer in &mut self.writers {
            writer.write_until(guest_ns, |from, to| self.mem.write(from, to));
        }
    }

    /// The log is read: how many pages were newly found dirty.
    pub(super) fn sync(&mut self) -> u64 {
        self.write_until_now();
        let before = self.mem.to_send().all();
        self.mem.sync();
        self.mem.to_send().all() - before
    }

    /// Whether somebody wants to look by now.
    pub(super) fn look_is_due(&self) -> bool {
        self.now >= self.next_look_ns
    }

    /// When to look next, ns.
    pub(super) fn next_look_ns(&self) -> u64 {
        self.next_look_ns
    }

    /// Tells what is, and takes orders.
    pub(super) fn look(&mut self, step: Step) {
        let bandwidth = self.bytes_per_s();
        let remaining_bytes = self.pending_bytes();
        let view = View {
            now_ns: self.now,
            step,
            phase: self.phase,
            round: self.round,
            sent_bytes: self.carried_bytes(),
            remaining_bytes,
            marked_pages: self.rule.counts_whole_pages().then_some(self.marked_pages),
            total_bytes: self.s.guest.ram_pages * PAGE_BYTES,
            dirty_pages_per_s: self.dirty_pages_per_s,
            bandwidth_bytes_per_s: bandwidth,
            throttle_pct: self.rule.throttle().pct(),
            expected_downtime: Some(Duration::from_secs_f64((remaining_bytes as f64 / bandwidth).min(1e9))),
            guest_share: self.guest.2,
            why: self.why.clone(),
        };
        for order in self.watcher.look(&view) {
            self.obey(order);
        }
        self.next_look_ns = self.watcher.due_ns(self.now).max(self.now.saturating_add(1));
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Dirty { dirty, pattern } => {
                self.write_until_now();
                let guest_ns = self.guest_ns(self.now);
                self.writers[0].set(dirty, pattern, guest_ns);
            }
            Order::Settings(to) => {
                self.ruled &= self.settings.policy == to.policy;
                self.settings = to;
                self.begin_link();
            }
            Order::StopAndCopy(rule) => self.asked = Some(Ending::Stop(Why::Ruled(rule))),
            Order::PostCopy(rule) => self.asked = Some(Ending::PostCopy(Why::Ruled(rule))),
            Order::AutoConverge => self.rule.throttle_from_now(),
            Order::Cancel => self.asked = Some(Ending::Cancel(Some(Why::Ruled(StopRule::Operator)))),
        }
    }

    /// Lets time pass while nothing is sent.
    pub(super) fn wait(&mut self, d: Duration) {
        let until = self.now.saturating_add(ns(d));
        self.look_until(until);
        self.now = self.now.max(until);
    }

    /// Takes all looks that are due before then.
    fn look_until(&mut self, until_ns: u64) {
        while self.next_look_ns < until_ns {
            self.now = self.now.max(self.next_look_ns);
            self.look(Step::Sending);
        }
    }

    /// How the throttle is now.
    pub(super) fn apply_throttle(&mut self) {
        let throttle: Throttle = self.rule.throttle();
        self.run_guest_at(throttle.share(self.writers[0].period_ns()));
    }

    /// What the stop policy says, with what it knows now; `round_begins` when a round does.
    pub(super) fn policy(&mut self, round_begins: bool) -> Option<Ending> {
        let p = &self.settings.policy;
        if self.ruled || !p.has_rules() {
            return None;
        }
        let ram = self.s.guest.ram_pages * PAGE_BYTES;
        let pending = self.mem.to_send().all();
        let rule = if let Some(limit) = p.rounds.filter(|limit| round_begins && self.round > *limit) {
            StopRule::Rounds { limit }
        } else if let Some(limit) = p.ram_factor.filter(|factor| self.sent_bytes as f64 > factor * ram as f64) {
            StopRule::RamFactor { limit, sent_bytes: self.sent_bytes }
        } else if let Some(limit) =
            p.remaining_pages_below.filter(|limit| round_begins && self.round > 1 && pending < *limit)
        {
            StopRule::RemainingPages { limit, seen: pending }
        } else if let Some(limit_ns) = p.after_ns.filter(|limit| self.now >= *limit) {
            StopRule::Time { limit_ns }
        } else {
            return None;
        };
        self.ruled = true;
        let why = Why::Ruled(rule);
        match p.then {
            Then::StopAndCopy => Some(Ending::Stop(why)),
            Then::PostCopy => Some(Ending::PostCopy(why)),
            Then::Cancel => Some(Ending::Cancel(Some(why))),
            Then::AutoConverge => {
                self.rule.throttle_from_now();
                None
            }
        }
    }

    /// Until when the stop policy surely says nothing: an instant and so many bytes more.
    pub(super) fn policy_bounds(&self) -> (u64, u64) {
        let p = &self.settings.policy;
        if self.ruled {
            return (u64::MAX, u64::MAX);
        }
        let ram = self.s.guest.ram_pages as f64 * PAGE_BYTES as f64;
        let bytes = p.ram_factor.map_or(u64::MAX, |factor| {
            let limit = (factor * ram) as u64;
            // The page that goes beyond the limit goes.
            limit.saturating_sub(self.sent_bytes).saturating_add(self.price.used)
        });
        (p.after_ns.unwrap_or(u64::MAX), bytes)
    }
}
