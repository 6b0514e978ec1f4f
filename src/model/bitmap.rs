//! The engine that keeps a bit a page and looks at each: slow, plain, and the measure of the other.

use super::memory::{Budget, Count, Memory, Price, Sent};

/// A bit a page.
struct Bits(Vec<u64>);

impl Bits {
    fn new(n: u64) -> Self {
        Self(vec![0; usize::try_from(n.div_ceil(64)).unwrap_or(usize::MAX)])
    }

    fn get(&self, page: u64) -> bool {
        self.0[(page / 64) as usize] >> (page % 64) & 1 == 1
    }

    fn set(&mut self, page: u64) {
        self.0[(page / 64) as usize] |= 1 << (page % 64);
    }

    fn clear(&mut self, page: u64) {
        self.0[(page / 64) as usize] &= !(1 << (page % 64));
    }

    /// The first page at or behind this one whose bit is set.
    fn next(&self, page: u64) -> Option<u64> {
        let mut word = (page / 64) as usize;
        let mut bits = *self.0.get(word)? & (u64::MAX << (page % 64));
        while bits == 0 {
            word += 1;
            bits = *self.0.get(word)?;
        }
        Some(word as u64 * 64 + u64::from(bits.trailing_zeros()))
    }
}

pub(super) struct Bitmap {
    untouched: (u64, u64),
    price: Price,
    to_send: Bits,
    log: Bits,
    left: Count,
    cursor: u64,
}

impl Bitmap {
    fn is_untouched(&self, page: u64) -> bool {
        (self.untouched.0..self.untouched.1).contains(&page)
    }

    fn count(&mut self, page: u64) -> &mut u64 {
        if self.is_untouched(page) { &mut self.left.untouched } else { &mut self.left.used }
    }
}

impl Memory for Bitmap {
    fn new(ram: u64, untouched: (u64, u64), all: bool, price: Price) -> Self {
        let to_send = Bits::new(ram);
        let mut new = Self { untouched, price, to_send, log: Bits::new(ram), left: Count::default(), cursor: 0 };
        for page in (0..ram).filter(|page| all || !(untouched.0..untouched.1).contains(page)) {
            new.to_send.set(page);
            *new.count(page) += 1;
        }
        new
    }

    fn write(&mut self, from: u64, to: u64) {
        (from..to).for_each(|page| self.log.set(page));
    }

    fn sync(&mut self) {
        let mut page = 0;
        while let Some(dirty) = self.log.next(page) {
            if !self.to_send.get(dirty) {
                self.to_send.set(dirty);
                *self.count(dirty) += 1;
            }
            self.log.clear(dirty);
            page = dirty + 1;
        }
    }

    fn to_send(&self) -> Count {
        self.left
    }

    fn send(&mut self, mut budget: Budget, skip: bool) -> Sent {
        let mut sent = Sent::default();
        loop {
            let Some(page) = self.to_send.next(self.cursor) else {
                sent.at_end = true;
                return sent;
            };
            if skip && self.log.get(page) {
                sent.skipped += 1;
            } else {
                let untouched = self.is_untouched(page);
                let price = if untouched { self.price.untouched } else { self.price.used };
                if budget.pages == 0 || budget.bytes < price {
                    return sent;
                }
                budget.pages -= 1;
                budget.bytes -= price;
                if untouched {
                    sent.pages.untouched += 1;
                } else {
                    sent.pages.used += 1;
                }
            }
            self.to_send.clear(page);
            *self.count(page) -= 1;
            self.cursor = page + 1;
        }
    }

    fn rewind(&mut self) {
        self.cursor = 0;
    }

    fn fetch(&mut self, page: u64) -> bool {
        let missing = self.to_send.get(page);
        if missing {
            self.to_send.clear(page);
            *self.count(page) -= 1;
        }
        missing
    }
}
