//! The course of a migration: set-up, rounds, the stop, and what comes after.

use super::bitmap::Bitmap;
use super::intervals::Intervals;
use super::memory::Memory;
use super::rule::{Cut, Facts, Next};
use super::scenario::{Engine, Scenario, ScenarioError};
use super::sim::{Ending, Sim, Stretch, ns};
use super::trace::{End, Round, Trace, Why};
use super::watcher::{Step, Watcher};
use crate::event::Phase;

/// Lets a scenario happen, by the quickest engine that can follow it.
///
/// # Errors
/// When it cannot be ([`Scenario::check`]).
pub fn run(scenario: &Scenario) -> Result<Trace, ScenarioError> {
    run_watched(scenario, scenario.engine(), &mut ())
}

/// Lets a scenario happen with somebody looking on, in virtual time. Both engines can follow every
/// pattern and order; that of ranges is slow with random ones.
///
/// # Errors
/// When it cannot be ([`Scenario::check`]).
pub fn run_watched(scenario: &Scenario, engine: Engine, watcher: &mut dyn Watcher) -> Result<Trace, ScenarioError> {
    scenario.check()?;
    Ok(match engine {
        Engine::Interval => Sim::<Intervals>::new(scenario, watcher).migrate(),
        Engine::Bitmap => Sim::<Bitmap>::new(scenario, watcher).migrate(),
    })
}

impl<M: Memory> Sim<'_, M> {
    fn migrate(mut self) -> Trace {
        self.wait(self.s.costs.setup);
        // What was written before the log was begun is in the first round anyway.
        self.sync();
        self.phase = Phase::PreCopy;
        self.begin_link();
        let ending = match self.asked.take() {
            Some(early) => early,
            None => self.pre_copy(),
        };
        if let Ending::Stop(why) | Ending::PostCopy(why) | Ending::Cancel(Some(why)) = &ending {
            self.why = Some(why.clone());
        }
        let (end, why) = match ending {
            Ending::Stop(why) => {
                self.stop_and_copy(matches!(why, Why::Ruled(_)));
                (End::Done, Some(why))
            }
            Ending::PostCopy(why) => {
                self.post_copy();
                (End::Done, Some(why))
            }
            Ending::Cancel(why) => {
                self.phase = Phase::Cancelled;
                (End::Cancelled, why)
            }
            Ending::Endless => (End::Endless, None),
        };
        self.look(Step::Ended);
        self.trace(end, why)
    }

    fn pre_copy(&mut self) -> Ending {
        let mut last = None;
        loop {
            self.round += 1;
            let (began_ns, bytes, pages) = (self.now, self.sent_bytes, self.sent_pages);
            let to_send_pages = self.mem.to_send().all();
            let ended = match self.policy(true) {
                Some(ending) => Some(ending),
                None => {
                    self.look(Step::RoundBegan);
                    self.asked.take()
                }
            };
            let (ended, skipped_pages) = match ended {
                Some(ending) => (Some(ending), 0),
                None => self.send_round(),
            };
            let round = Round {
                number: self.round,
                began_ns,
                ended_ns: self.now,
                to_send_pages,
                sent_pages: self.sent_pages - pages,
                skipped_pages,
                sent_bytes: self.sent_bytes - bytes,
                throttle_pct: self.rule.throttle().pct(),
            };
            self.rounds.push(round.clone());
            if let Some(ending) = ended {
                return ending;
            }
            if let Some(why) = last {
                return Ending::Stop(why);
            }
            self.wait(self.s.costs.per_round);
            if let Some(ending) = self.asked.take() {
                return ending;
            }
            match self.read_log(&round) {
                Next::Round => {}
                Next::LastRound(why) => last = Some(why),
                Next::Stop(why) => {
                    if self.rule.reading_the_log_is_a_round() {
                        self.empty_round();
                    }
                    return Ending::Stop(why);
                }
                Next::Cancel => return Ending::Cancel(None),
            }
        }
    }

    /// A round that has sent nothing when it is over.
    fn empty_round(&mut self) {
        self.round += 1;
        self.look(Step::RoundBegan);
        self.rounds.push(Round {
            number: self.round,
            began_ns: self.now,
            ended_ns: self.now,
            to_send_pages: self.mem.to_send().all(),
            sent_pages: 0,
            skipped_pages: 0,
            sent_bytes: 0,
            throttle_pct: self.rule.throttle().pct(),
        });
    }

    /// The log is read, and the product's rule asked what to do.
    fn read_log(&mut self, round: &Round) -> Next {
        let dirtied_pages = self.sync();
        let round_ns = self.now - round.began_ns;
        if round_ns > 0 {
            self.dirty_pages_per_s = Some(dirtied_pages as f64 * 1e9 / round_ns as f64);
        }
        if self.cut().is_none() {
            self.mem.rewind();
        }
        let facts = Facts {
            round: round.number,
            now_ns: self.now,
            round_ns: round.ended_ns - round.began_ns,
            sent_pages: round.sent_pages,
            sent_bytes: round.sent_bytes,
            skipped_pages: round.skipped_pages,
            total_sent_pages: self.sent_pages,
            dirtied_pages,
            pending_pages: self.mem.to_send().all(),
            pending_bytes: self.pending_bytes(),
            ram_pages: self.s.guest.ram_pages,
            bytes_per_s: self.bytes_per_s(),
            settings: &self.settings,
        };
        let next = self.rule.after_round(&facts);
        self.apply_throttle();
        self.begin_link();
        next
    }

    fn cut(&self) -> Option<Cut> {
        self.rule.cut(self.bytes_per_s(), &self.settings)
    }

    /// Sends a round. Comes to an end of pre-copy if there was a reason in the middle of it, and to
    /// the pages left out.
    fn send_round(&mut self) -> (Option<Ending>, u64) {
        let horizon = ns(self.s.horizon);
        let mut skipped = 0;
        loop {
            let stretch = match self.rule.skips_in_batches_of() {
                Some(pages) => {
                    let (stretch, left_out) = self.send_batch(pages);
                    skipped += left_out;
                    stretch
                }
                None => {
                    let (after, bytes) = self.policy_bounds();
                    let until = self.next_cut_ns().min(self.next_look_ns()).min(after.max(self.now)).min(horizon);
                    self.send_until(until.min(self.next_tick_ns()), bytes)
                }
            };
            if let Some(ending) = self.policy(false) {
                return (Some(ending), skipped);
            }
            if stretch == Stretch::Over {
                return (None, skipped);
            }
            if self.now >= horizon {
                return (Some(Ending::Endless), skipped);
            }
            if self.look_is_due() {
                self.look(Step::Sending);
            }
            // Asked for now, or at a look while a batch was on its way.
            if let Some(ending) = self.asked.take() {
                return (Some(ending), skipped);
            }
            if self.is_cut() || self.reads_the_log_by_the_clock() {
                return (None, skipped);
            }
        }
    }

    /// When the product looks next whether the log has been read lately, ns.
    fn next_tick_ns(&self) -> u64 {
        self.rule.reads_the_log_every().map_or(u64::MAX, |every| self.tick.0.saturating_add(ns(every)))
    }

    /// Whether the log is read now although the round is not over: it has not been for so long, and this
    /// is not the first round.
    fn reads_the_log_by_the_clock(&mut self) -> bool {
        if self.now < self.next_tick_ns() {
            return false;
        }
        let (_, round) = std::mem::replace(&mut self.tick, (self.now, self.round));
        self.round > 1 && round == self.round
    }

    /// When it is looked next whether the round is to be cut short, ns.
    fn next_cut_ns(&self) -> u64 {
        let Some(cut) = self.cut() else { return u64::MAX };
        let (begun, every) = (ns(self.s.costs.setup), ns(cut.every).max(1));
        let past = self.now.saturating_sub(begun);
        begun + past - past % every + every
    }

    /// Whether it is looked now, and so little is left that the round is cut short.
    fn is_cut(&self) -> bool {
        let Some(cut) = self.cut() else { return false };
        let past = self.now.saturating_sub(ns(self.s.costs.setup));
        past.is_multiple_of(ns(cut.every).max(1)) && self.pending_bytes() < cut.below_bytes
    }

    /// The guest stands still; what is left is sent. `forced` when somebody else than the product
    /// itself has stopped it: then a product that cuts rounds short goes on with them until what is
    /// left suits it.
    fn stop_and_copy(&mut self, forced: bool) {
        self.halt();
        let sent_before = self.sent_pages;
        if forced && self.cut().is_some() {
            self.begin_link();
            self.send_to_threshold();
            self.wait(self.s.costs.per_round);
            self.read_log_standing();
            self.begin_link();
            if self.cut().is_some_and(|cut| self.pending_bytes() >= cut.below_bytes) {
                self.send_to_threshold();
            }
        }
        self.read_log_standing();
        self.mem.rewind();
        self.limit_lifted = self.rule.lifts_the_limit_at_the_end();
        self.begin_link();
        self.send_all();
        self.left_pages = self.sent_pages - sent_before;
        let fixed = self.s.costs.to_fix_pages * self.price.used;
        self.send_bytes(fixed + self.s.costs.device_state_bytes);
        self.come_up(Phase::Recovery);
        self.arrive();
    }

    /// The log is read once more while the guest stands still: a product that counts these counts on.
    fn read_log_standing(&mut self) {
        self.sync();
        if self.rule.reading_the_log_is_a_round() {
            self.round += 1;
            self.look(Step::Sending);
        }
    }

    /// The guest is stopped at the source.
    pub(super) fn halt(&mut self) {
        self.phase = Phase::StopAndCopy;
        self.run_guest_at(0.0);
        self.stopped_ns = Some(self.now);
        self.look(Step::Stopped);
        self.wait(self.s.costs.stop);
    }

    /// The guest runs at the destination.
    pub(super) fn come_up(&mut self, phase: Phase) {
        self.wait(self.s.costs.resume);
        self.phase = phase;
        self.resumed_ns = Some(self.now);
        self.run_guest_at(1.0);
        self.look(Step::Resumed);
    }

    /// The network leads to the guest, and the source is let go.
    fn arrive(&mut self) {
        let (announce, finish) = (self.s.costs.announce, self.s.costs.finish);
        let answering_ns = self.now.saturating_add(ns(announce));
        self.answering_ns = Some(answering_ns);
        self.wait(announce.min(finish));
        if announce <= finish {
            self.look(Step::Answering);
            self.wait(finish - announce);
            self.phase = Phase::Done;
        } else {
            // The command is done before the guest can be reached.
            self.phase = Phase::Done;
        }
    }

    /// Sends until what is left is below the product's threshold, looked at as ever.
    fn send_to_threshold(&mut self) {
        loop {
            let until = self.next_cut_ns().min(self.next_look_ns());
            let stretch = self.send_until(until, u64::MAX);
            if self.look_is_due() {
                self.look(Step::Sending);
            }
            if stretch == Stretch::Over || self.is_cut() {
                return;
            }
        }
    }

    /// Sends all there is to send.
    pub(super) fn send_all(&mut self) {
        while self.send_until(self.next_look_ns(), u64::MAX) == Stretch::Interrupted {
            self.look(Step::Sending);
        }
    }
}
