//! The engine that keeps sets of pages as ranges: a cyclic writer dirties two of them at most.

use super::memory::{Budget, Count, Memory, Price, Sent};
use super::ranges::RangeSet;

pub(super) struct Intervals {
    untouched: (u64, u64),
    price: Price,
    to_send: RangeSet,
    log: RangeSet,
    cursor: u64,
}

impl Memory for Intervals {
    fn new(ram: u64, untouched: (u64, u64), all: bool, price: Price) -> Self {
        let mut to_send = RangeSet::of(0, ram);
        if !all {
            to_send.remove(untouched.0, untouched.1);
        }
        Self { untouched, price, to_send, log: RangeSet::default(), cursor: 0 }
    }

    fn write(&mut self, from: u64, to: u64) {
        self.log.insert(from, to);
    }

    fn sync(&mut self) {
        self.to_send.union(&self.log);
        self.log.clear();
    }

    fn to_send(&self) -> Count {
        let (from, to) = self.untouched;
        let untouched = self.to_send.len_below(to) - self.to_send.len_below(from);
        Count { used: self.to_send.len() - untouched, untouched }
    }

    fn send(&mut self, mut budget: Budget, skip: bool) -> Sent {
        let mut sent = Sent::default();
        let begun = self.cursor;
        loop {
            let Some((from, mut to)) = self.to_send.next(self.cursor) else {
                sent.at_end = true;
                break;
            };
            // Only pages of one price at a time.
            let untouched = self.untouched.0 <= from && from < self.untouched.1;
            if untouched {
                to = to.min(self.untouched.1);
            } else if from < self.untouched.0 {
                to = to.min(self.untouched.0);
            }
            let price = if untouched { self.price.untouched } else { self.price.used };
            if skip && let Some((dirty_from, dirty_to)) = self.log.next(from) {
                if dirty_from == from {
                    let to = to.min(dirty_to);
                    sent.skipped += to - from;
                    self.cursor = to;
                    continue;
                }
                to = to.min(dirty_from);
            }
            let affordable = budget.bytes.checked_div(price).unwrap_or(u64::MAX).min(budget.pages);
            let n = (to - from).min(affordable);
            if n == 0 {
                break;
            }
            if untouched {
                sent.pages.untouched += n;
            } else {
                sent.pages.used += n;
            }
            budget.pages -= n;
            budget.bytes -= n * price;
            self.cursor = from + n;
        }
        // All between has been sent or will come again by the log.
        self.to_send.remove(begun, if sent.at_end { u64::MAX } else { self.cursor });
        sent
    }

    fn rewind(&mut self) {
        self.cursor = 0;
    }

    fn fetch(&mut self, page: u64) -> bool {
        let missing = self.to_send.contains(page);
        self.to_send.remove(page, page + 1);
        missing
    }
}
