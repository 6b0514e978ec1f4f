//! Who writes: the dirty-pages generator and the guest's own background.

use super::pieces::Pieces;
use crate::event::{DirtyCycle, Pattern};

/// A generator that is later than this, or than one PERIOD if that is longer, does not make up for it
/// (`load::pacer`), ns.
pub(super) const MADE_UP_NS: u64 = 20_000_000;
/// So many random writes for each page of a region leave hardly one of them untouched (of the cold pages
/// of a hotspot, which get a tenth of the writes, one in 10^22).
const ENOUGH: u64 = 450;

/// One writer over a region of pages: each PERIOD of guest time it writes BPC pages at once.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    first: u64,
    pages: u64,
    cycle: DirtyCycle,
    pattern: Pattern,
    /// The page it writes next, from the beginning of its region.
    at: u64,
    /// Guest time of the next cycle, ns.
    due_ns: u64,
    /// State of the random patterns.
    random: u64,
    /// Where its pages lie, if not in order.
    pieces: Option<Pieces>,
}

impl Writer {
    /// A writer over `[first, first + pages)` whose first cycle is due at guest time 0.
    pub(super) fn new(first: u64, pages: u64, cycle: DirtyCycle, pattern: Pattern, at: u64, seed: u64) -> Self {
        Self {
            first,
            pages,
            cycle,
            pattern,
            at: at.checked_rem(pages).unwrap_or(0),
            due_ns: 0,
            random: seed,
            pieces: None,
        }
    }

    /// The same with the pages of its region in pieces of so many, mixed.
    pub(super) fn in_pieces_of(mut self, pages: Option<u64>) -> Self {
        self.pieces = pages.map(|pages| Pieces::new(self.pages, pages));
        self
    }

    /// Tells where the pages `[from, to)` of its region lie.
    fn place(&self, from: u64, to: u64, written: &mut impl FnMut(u64, u64)) {
        let first = self.first;
        match &self.pieces {
            Some(pieces) if to - from < self.pages => {
                pieces.place(from, to, |from, to| written(first + from, first + to));
            }
            _ => written(first + from, first + to),
        }
    }

    /// Sets it to something else from guest time `now_ns` on.
    pub(super) fn set(&mut self, cycle: DirtyCycle, pattern: Pattern, now_ns: u64) {
        if cycle != self.cycle {
            self.cycle = cycle;
            self.due_ns = now_ns;
        }
        self.pattern = pattern;
    }

    /// When the next cycle is due, guest time in ns; None if there is nothing to write.
    pub(super) fn due_ns(&self) -> Option<u64> {
        (self.pages > 0 && self.cycle.bpc_pages > 0 && self.cycle.period_ns > 0).then_some(self.due_ns)
    }

    /// Whether it writes anything.
    pub(super) fn bpc_pages(&self) -> u64 {
        self.cycle.bpc_pages
    }

    /// Does all that is due until guest time `now_ns`, and tells the ranges written.
    pub(super) fn write_until(&mut self, now_ns: u64, mut written: impl FnMut(u64, u64)) {
        let Some(due) = self.due_ns() else { return };
        if now_ns < due {
            return;
        }
        let cycles = (now_ns - due) / self.cycle.period_ns + 1;
        self.due_ns = due.saturating_add(cycles.saturating_mul(self.cycle.period_ns));
        let writes = cycles.saturating_mul(self.cycle.bpc_pages);
        match self.pattern {
            Pattern::Cyclic => self.cyclic(writes, &mut written),
            // Beyond that nearly every page has been written, and what has changes no more.
            Pattern::Random | Pattern::Hotspot => (0..writes.min(self.pages.saturating_mul(ENOUGH))).for_each(|_| {
                let page = self.draw();
                written(page, page + 1);
            }),
        }
    }

    fn cyclic(&mut self, writes: u64, written: &mut impl FnMut(u64, u64)) {
        if writes >= self.pages {
            self.place(0, self.pages, written);
        } else if self.at + writes <= self.pages {
            self.place(self.at, self.at + writes, written);
        } else {
            self.place(self.at, self.pages, written);
            self.place(0, self.at + writes - self.pages, written);
        }
        self.at = ((u128::from(self.at) + u128::from(writes)) % u128::from(self.pages)) as u64;
    }

    /// The next page, whatever the time.
    pub(super) fn draw(&mut self) -> u64 {
        let page = match self.pattern {
            Pattern::Cyclic => {
                let page = self.at;
                self.at = (self.at + 1) % self.pages;
                page
            }
            Pattern::Random => self.below(self.pages),
            // A tenth of the pages gets nine tenths of the writes, as in the generator.
            Pattern::Hotspot => {
                let hot = self.pages.div_ceil(10);
                if self.pages > hot && self.below(10) == 0 {
                    hot + self.below(self.pages - hot)
                } else {
                    self.below(hot)
                }
            }
        };
        self.first + self.pieces.as_ref().map_or(page, |pieces| pieces.at(page))
    }

    /// A number below `n` (which is not 0).
    fn below(&mut self, n: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(n)) >> 64) as u64
    }

    /// The cycle that was due is done at guest time `now_ns`: the next is due a PERIOD later. What is later
    /// than that by more than the generator makes up for is dropped, and it goes on from now.
    pub(super) fn next_cycle(&mut self, now_ns: u64) {
        let due = self.due_ns.saturating_add(self.cycle.period_ns);
        let grace = MADE_UP_NS.max(self.cycle.period_ns);
        self.due_ns = if now_ns.saturating_sub(due) > grace { now_ns } else { due };
    }

    /// How long a cycle is, ns.
    pub(super) fn period_ns(&self) -> u64 {
        self.cycle.period_ns
    }
}

/// The cycle of pages all of which are written every so often.
pub(super) fn all_each(period_ns: u64, pages: u64) -> DirtyCycle {
    DirtyCycle { bpc_pages: pages, period_ns }
}

/// The cycle of a background that writes `pages_per_s`: page by page.
pub(super) fn steady(pages_per_s: f64) -> DirtyCycle {
    if pages_per_s > 0.0 {
        DirtyCycle { bpc_pages: 1, period_ns: ((1e9 / pages_per_s) as u64).max(1) }
    } else {
        DirtyCycle { bpc_pages: 0, period_ns: 1_000_000_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(w: &mut Writer, until: u64) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        w.write_until(until, |from, to| all.push((from, to)));
        all
    }

    #[test]
    fn it_walks_its_region_cycle_by_cycle() {
        let cycle = DirtyCycle { bpc_pages: 3, period_ns: 10 };
        let mut w = Writer::new(100, 10, cycle, Pattern::Cyclic, 0, 1);
        assert_eq!(ranges(&mut w, 0), [(100, 103)], "the first cycle is due at once");
        assert_eq!(ranges(&mut w, 9), []);
        assert_eq!(ranges(&mut w, 25), [(103, 109)]);
        assert_eq!(ranges(&mut w, 30), [(109, 110), (100, 102)]);
        assert_eq!(ranges(&mut w, 1000), [(100, 110)]);
        assert_eq!(w.draw(), 100 + (3 * 101) % 10);
    }

    #[test]
    fn a_hot_tenth_gets_nine_tenths() {
        let cycle = DirtyCycle { bpc_pages: 10_000, period_ns: 10 };
        let mut w = Writer::new(0, 100, cycle, Pattern::Hotspot, 0, 7);
        let hot = ranges(&mut w, 0).iter().filter(|(page, _)| *page < 10).count();
        assert!((8_800..9_200).contains(&hot), "{hot}");
        let mut w = Writer::new(0, 100, cycle, Pattern::Random, 0, 7);
        let low = ranges(&mut w, 0).iter().filter(|(page, _)| *page < 10).count();
        assert!((850..1_150).contains(&low), "{low}");
    }

    #[test]
    fn nothing_to_write_is_nothing_written() {
        let cycle = DirtyCycle { bpc_pages: 3, period_ns: 10 };
        assert_eq!(ranges(&mut Writer::new(0, 0, cycle, Pattern::Cyclic, 5, 1), 100), []);
        assert_eq!(ranges(&mut Writer::new(0, 9, steady(0.0), Pattern::Cyclic, 5, 1), 100), []);
        assert_eq!(steady(50.0).period_ns, 20_000_000);
    }
}
