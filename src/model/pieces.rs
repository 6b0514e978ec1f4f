//! A working set whose neighbouring pages lie together in pieces only.

/// Where the pages of a region lie: in pieces of some pages each, the pieces mixed.
///
/// The order is that of multiples of the golden section (Knuth, The Art of Computer Programming,
/// volume 3, section 6.4): any run of pieces written one after the other lies evenly over the region.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pieces {
    /// Pages in a piece.
    pages: u64,
    /// Whole pieces; what is over at the end stays where it is.
    whole: u64,
    /// Piece `i` lies at `i * step` modulo the number of pieces.
    step: u64,
}

impl Pieces {
    /// A region of `all` pages in pieces of `pages` (at least 1).
    pub(super) fn new(all: u64, pages: u64) -> Self {
        let pages = pages.max(1);
        let whole = all / pages;
        // The nearest step from which every piece is reached: it has no divisor in common.
        let golden = (whole as f64 * 0.618_033_988_749_895) as u64;
        let step = (golden..=whole).find(|step| *step > 0 && gcd(*step, whole) == 1).unwrap_or(1);
        Self { pages, whole, step }
    }

    /// Where a page lies.
    pub(super) fn at(&self, page: u64) -> u64 {
        let (piece, within) = (page / self.pages, page % self.pages);
        if piece >= self.whole {
            return page;
        }
        let place = (u128::from(piece) * u128::from(self.step) % u128::from(self.whole)) as u64;
        place * self.pages + within
    }

    /// Where the pages `[from, to)` lie, piece by piece.
    pub(super) fn place(&self, from: u64, to: u64, mut lies: impl FnMut(u64, u64)) {
        let mut page = from;
        while page < to {
            let end = (page - page % self.pages).saturating_add(self.pages).min(to);
            let at = self.at(page);
            lies(at, at + (end - page));
            page = end;
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_page_lies_somewhere_and_no_two_together(all in 1u64..3000, pages in 1u64..200, cut in 0u64..3000) {
            let pieces = Pieces::new(all, pages);
            let mut seen = vec![false; all as usize];
            let cut = cut.min(all);
            for (from, to) in [(0, cut), (cut, all)] {
                pieces.place(from, to, |from, to| {
                    for page in from..to {
                        assert!(!std::mem::replace(&mut seen[page as usize], true), "{page} twice");
                    }
                });
            }
            prop_assert!(seen.iter().all(|s| *s));
            let mut one_by_one: Vec<u64> = (0..all).map(|p| pieces.at(p)).collect();
            one_by_one.sort_unstable();
            prop_assert!(one_by_one.into_iter().eq(0..all));
        }
    }

    #[test]
    fn a_run_lies_evenly() {
        let pieces = Pieces::new(2560, 16);
        let lower = (0..256).filter(|p| pieces.at(*p) < 1280).count();
        assert!((96..=160).contains(&lower), "{lower} of 256 in the lower half");
    }
}
