//! What ends pre-copy, or the migration, from above: the stop policy's rules and the operator's orders.

use std::time::Duration;

use super::machine::{CANCEL_WITHIN, Supervisor};
use super::state::{Ask, Awaited, Effect, Ending, Hand, RunCommand, State};
use crate::event::{Body, By, Level, MigrationEvent, StopPolicy, StopRule, Then};
use crate::hypervisor::policy::{decide, describe};
use crate::hypervisor::{HvError, Order};

/// How long a hypervisor may take to take an order.
const ORDER_WITHIN: Duration = Duration::from_secs(35);
/// How long a migration that is given up may take to be over, counted from when that was asked for.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Has pre-copy ended if a rule of the policy says so.
    pub(super) fn apply_policy(&mut self) {
        let State::Copying { ruled: false } = self.state else { return };
        let elapsed = Duration::from_nanos(self.judged.saturating_sub(self.began));
        let ram = self.seen.sample.total_bytes;
        if let Some(rule) = decide(&self.settings.policy, &self.seen, elapsed, ram) {
            self.state = State::Copying { ruled: true };
            self.end_pre_copy(By::Rule(rule), self.settings.policy.then);
        }
    }

    /// Does what the operator wants.
    pub(super) fn obey(&mut self, command: RunCommand) {
        match command {
            RunCommand::Cancel { by } => self.end_pre_copy(by, Then::Cancel),
            RunCommand::StopAndCopy if self.state.hand().is_owed() => {}
            RunCommand::StopAndCopy => {
                if self.is_followed {
                    // From here on it is we who owe it to the guest that it runs again.
                    self.ran = self.seen.source_running;
                }
                self.end_pre_copy(By::Operator, Then::StopAndCopy);
            }
            RunCommand::PostCopy => self.end_pre_copy(By::Operator, Then::PostCopy),
            RunCommand::SetMigration(to) => {
                let to = Box::new(to);
                self.ask(Ask::Order(Order::Settings(to.clone()), ORDER_WITHIN), Awaited::Settings(to));
            }
        }
    }

    /// A policy as it is followed: one that cannot be is told off, and the one before stays.
    pub(super) fn fitting(&mut self, to: StopPolicy) -> StopPolicy {
        match self.offers.as_ref().and_then(|offers| offers.unfit(&to)) {
            Some(why) => {
                self.log(Level::Error, why);
                self.settings.policy.clone()
            }
            None => to,
        }
    }

    /// A new policy gets its own turn.
    pub(super) fn set_policy(&mut self, to: StopPolicy) {
        if self.settings.policy != to {
            self.settings.policy = to;
            // A guest that stands still, or a migration that is being given up, gets no second end.
            if let (State::Copying { ruled }, None) = (&mut self.state, &self.failure) {
                *ruled = false;
            }
        }
    }

    /// Why this is not offered, with what is; None if it is, or nobody knows.
    pub(super) fn not_offered(&self, then: Then) -> Option<HvError> {
        let offers = self.offers.as_ref()?;
        (!offers.takes(then)).then(|| HvError::NotNow { what: then.word().to_owned(), why: offers.instead() })
    }

    /// Has pre-copy, or the migration, ended.
    fn end_pre_copy(&mut self, by: By, then: Then) {
        let ending = Ending { by: by.clone(), then, decided: self.now.session, before: self.state.clone() };
        self.request(then, by.clone());
        if let Some(e) = self.not_offered(then) {
            return self.ended_pre_copy(ending, Err(e));
        }
        let hand = self.state.hand();
        let (order, within) = match then {
            Then::StopAndCopy => {
                // Owed from before the command: it may take effect although its answer is lost. A guest that stood
                // still before is left as it was.
                match hand {
                    _ if self.ran != Some(true) => {}
                    Hand::Pulled { .. } => self.set_hand(Hand::Pulled { owed: true }),
                    _ => self.set_hand(Hand::Stopped),
                }
                (Order::StopSource, ORDER_WITHIN)
            }
            Then::PostCopy => {
                self.set_hand(hand.pulled());
                (Order::PostCopy, ORDER_WITHIN)
            }
            Then::AutoConverge => (Order::AutoConverge, ORDER_WITHIN),
            Then::Cancel => {
                self.cancelling(by.words());
                (Order::Cancel, CANCEL_WITHIN)
            }
        };
        self.ask(Ask::Order(order, within), Awaited::Ending(ending));
    }

    fn cancelling(&mut self, words: String) {
        match &mut self.state {
            State::Arriving { by, .. } => *by = Some(words),
            state => self.state = State::Cancelling { hand: state.hand(), by: words },
        }
    }

    /// Pre-copy, or the migration, was to be ended. What the hypervisor refused has ended nothing, and must not
    /// stand in the result; without an answer it may have taken effect.
    pub(super) fn ended_pre_copy(&mut self, ending: Ending, result: Result<(), HvError>) {
        let Ending { by, then, decided, before } = ending;
        if let Err(e) = &result {
            self.refused(then, e.to_string());
            if e.is_refusal() {
                self.state = before;
            }
        }
        let rule = match &by {
            By::Rule(rule) => Some(rule.clone()),
            By::Operator => Some(StopRule::Operator),
            By::GiveUpAfter { .. } | By::Closing | By::Another => None,
        };
        let taken = result.as_ref().map_or_else(HvError::is_unanswered, |()| true);
        if let Some(rule) = rule.filter(|_| taken) {
            let ruled = MigrationEvent::Ruled { n: self.n, rule, then };
            self.out.push(Effect::Tell(decided, Box::new(Body::Migration(ruled))));
        }
        match (by, result) {
            (By::Rule(rule), Err(e)) => self.instead(rule, then, &e),
            (By::Rule(_), Ok(())) => {}
            (by, result) => {
                if let (State::Copying { ruled }, Ok(())) = (&mut self.state, &result) {
                    *ruled = true;
                }
                if matches!(by, By::GiveUpAfter { .. } | By::Closing) && self.leave.is_none() {
                    let (who, within) = (by.words(), LEAVE_WITHIN.as_secs());
                    let why = match result {
                        Ok(()) => format!("{who} cancelled it, but it has not ended within {within} s"),
                        Err(e) => format!("{who} could not cancel it: {e}"),
                    };
                    self.leave = Some((self.now.real + LEAVE_WITHIN, why));
                }
            }
        }
    }

    /// The policy could not be carried out: going on for ever would be no answer.
    fn instead(&mut self, rule: StopRule, then: Then, e: &HvError) {
        // The migration may have ended in the same moment; then its end says so.
        if self.seen.complete || self.seen.phase.is_over() {
            return;
        }
        let why = format!("{}, but the stop policy could not be carried out: {e}", describe(&rule));
        self.log(Level::Error, format!("{why}; cancelling"));
        self.failure = Some(why);
        if then == Then::Cancel {
            return;
        }
        let by = By::Rule(rule);
        self.request(Then::Cancel, by.clone());
        if let Some(e) = self.not_offered(Then::Cancel) {
            return self.refused(Then::Cancel, e.to_string());
        }
        let before = self.state.clone();
        self.cancelling(by.words());
        self.ask(Ask::Order(Order::Cancel, CANCEL_WITHIN), Awaited::Instead(before));
    }
}
