//! What is written, and where: random data over the chunks, in the order of the pattern.

use super::chunk::{CHUNK_PAGES, Chunk, PAGE_WORDS, Page};
use crate::event::Pattern;

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection, so different numbers never
/// give the same word.
pub(crate) fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A source of pages full of random words, none of which comes twice.
#[derive(Debug)]
pub(crate) struct Filler(u64);

impl Filler {
    pub(crate) fn new() -> Self {
        Self(rand::random())
    }

    /// Fills pages: no page is zero, no two are alike, none can be compressed.
    pub(crate) fn fill(&mut self, pages: &mut [Page]) {
        for word in pages.iter_mut().flatten() {
            self.0 = self.0.wrapping_add(1);
            *word = mix(self.0);
        }
    }
}

/// Writes pre-computed random data, different each time: every word of the data is combined with
/// a key that no earlier write had, so each word written differs from what was there before.
#[derive(Debug)]
struct Pen {
    data: Box<Page>,
    n: u64,
}

impl Pen {
    fn new() -> Self {
        Self { data: Box::new(std::array::from_fn(|_| rand::random())), n: rand::random() }
    }

    #[inline]
    fn key(&mut self) -> u64 {
        self.n = self.n.wrapping_add(1);
        mix(self.n)
    }

    #[inline]
    fn write(&mut self, page: &mut Page, words: usize) {
        let key = self.key();
        for (word, data) in page[..words].iter_mut().zip(&self.data[..words]) {
            *word = data ^ key;
        }
    }

    #[inline]
    fn write_span(&mut self, pages: &mut [Page], words: usize) {
        match words {
            1 => {
                let first = self.data[0];
                for page in pages {
                    page[0] = first ^ self.key();
                }
            }
            PAGE_WORDS => {
                for page in pages {
                    let key = self.key();
                    combine(page, &self.data, key);
                }
            }
            words => {
                for page in pages {
                    self.write(page, words);
                }
            }
        }
    }
}

/// `page = data ^ key`, unrolled by hand so that builds without a vectoriser keep up with memory.
#[inline]
fn combine(page: &mut Page, data: &Page, key: u64) {
    let mut i = 0;
    while i + 8 <= PAGE_WORDS {
        if let (Some(to), Some(from)) = (page[i..].first_chunk_mut::<8>(), data[i..].first_chunk::<8>()) {
            *to = [
                from[0] ^ key,
                from[1] ^ key,
                from[2] ^ key,
                from[3] ^ key,
                from[4] ^ key,
                from[5] ^ key,
                from[6] ^ key,
                from[7] ^ key,
            ];
        }
        i += 8;
    }
}

/// Words of a page that FILL asks for: at least one (8 bytes).
pub(crate) fn fill_words(fill_pct: f64) -> usize {
    ((PAGE_WORDS as f64 * fill_pct / 100.0).ceil() as usize).clamp(1, PAGE_WORDS)
}

/// The chunks and the place where the generator has arrived. All chunks but the last are full, so
/// a page's number says where it lies.
#[derive(Debug)]
pub(crate) struct Walk {
    chunks: Vec<Chunk>,
    total: usize,
    cursor: usize,
    draws: u64,
    pen: Pen,
}

impl Walk {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), total: 0, cursor: 0, draws: rand::random(), pen: Pen::new() }
    }

    /// Pages held.
    pub(crate) fn total_pages(&self) -> usize {
        self.total
    }

    pub(crate) fn give(&mut self, chunk: Chunk) {
        debug_assert_eq!(self.total % CHUNK_PAGES, 0, "only the last chunk may be partial");
        self.total += chunk.len();
        self.chunks.push(chunk);
    }

    /// Takes back the last `n` chunks.
    pub(crate) fn take(&mut self, n: usize) -> Vec<Chunk> {
        let taken = self.chunks.split_off(self.chunks.len().saturating_sub(n));
        self.total -= taken.iter().map(Chunk::len).sum::<usize>();
        if self.cursor >= self.total {
            self.cursor = 0;
        }
        taken
    }

    /// Writes `n` pages.
    pub(crate) fn write(&mut self, n: u64, words: usize, pattern: Pattern) {
        if self.total == 0 {
            return;
        }
        match pattern {
            Pattern::Cyclic => self.write_cyclic(n, words),
            Pattern::Random => {
                for _ in 0..n {
                    let page = self.draw(self.total);
                    self.write_page(page, words);
                }
            }
            Pattern::Hotspot => {
                let hot = self.total.div_ceil(10);
                for _ in 0..n {
                    let cold = self.total > hot && self.draw(10) == 0;
                    let page = if cold { hot + self.draw(self.total - hot) } else { self.draw(hot) };
                    self.write_page(page, words);
                }
            }
        }
    }

    fn write_cyclic(&mut self, mut n: u64, words: usize) {
        while n > 0 {
            let pages = self.chunks[self.cursor / CHUNK_PAGES].pages();
            let from = self.cursor % CHUNK_PAGES;
            let span = ((pages.len() - from) as u64).min(n) as usize;
            self.pen.write_span(&mut pages[from..from + span], words);
            n -= span as u64;
            self.cursor += span;
            if self.cursor >= self.total {
                self.cursor = 0;
            }
        }
    }

    fn write_page(&mut self, page: usize, words: usize) {
        self.pen.write(&mut self.chunks[page / CHUNK_PAGES].pages()[page % CHUNK_PAGES], words);
    }

    /// A number below `n`, even but for a bias of n / 2^64.
    fn draw(&mut self, n: usize) -> usize {
        self.draws = self.draws.wrapping_add(1);
        ((u128::from(mix(self.draws)) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn walk(pages: &[usize]) -> Walk {
        let (mut walk, mut filler) = (Walk::new(), Filler::new());
        for &n in pages {
            let mut chunk = Chunk::reserve().unwrap();
            chunk.lock_up_to(n).unwrap();
            filler.fill(chunk.pages());
            walk.give(chunk);
        }
        walk
    }

    fn contents(walk: &mut Walk) -> Vec<Page> {
        walk.chunks.iter_mut().flat_map(|c| c.pages().to_vec()).collect()
    }

    #[test]
    fn filled_pages_are_never_zero_and_never_alike() {
        let mut walk = walk(&[CHUNK_PAGES, 20]);
        let pages = contents(&mut walk);
        assert_eq!(pages.len(), CHUNK_PAGES + 20);
        assert_eq!(pages.iter().collect::<HashSet<_>>().len(), pages.len());
        assert!(pages.iter().all(|p| p.iter().filter(|w| **w == 0).count() < 2));
    }

    #[test]
    fn each_write_changes_every_word_it_should_and_no_other() {
        for (fill, words) in [(0.0, 1), (0.3, 2), (50.0, 256), (100.0, PAGE_WORDS)] {
            assert_eq!(fill_words(fill), words);
            let mut walk = walk(&[8]);
            for _ in 0..3 {
                let before = contents(&mut walk);
                walk.write(8, words, Pattern::Cyclic);
                for (old, new) in before.iter().zip(contents(&mut walk)) {
                    assert!(old[..words].iter().zip(&new[..words]).all(|(a, b)| a != b));
                    assert_eq!(old[words..], new[words..]);
                }
            }
        }
    }

    #[test]
    fn a_cyclic_walk_goes_round_over_all_chunks() {
        let mut walk = walk(&[CHUNK_PAGES, 6]);
        let before = contents(&mut walk);
        walk.write(CHUNK_PAGES as u64 + 4, 1, Pattern::Cyclic);
        let changed = |old: &[Page], new: &[Page]| -> Vec<usize> {
            (0..old.len()).filter(|i| old[*i][0] != new[*i][0]).collect()
        };
        let middle = contents(&mut walk);
        assert_eq!(changed(&before, &middle), (0..CHUNK_PAGES + 4).collect::<Vec<_>>());
        walk.write(5, 1, Pattern::Cyclic);
        let after = contents(&mut walk);
        assert_eq!(changed(&middle, &after), [0, 1, 2, CHUNK_PAGES + 4, CHUNK_PAGES + 5]);
    }

    #[test]
    fn patterns_write_where_they_say() {
        for pattern in [Pattern::Random, Pattern::Hotspot] {
            let mut walk = walk(&[100]);
            let mut hits = vec![0u32; 100];
            for _ in 0..5000 {
                let before = contents(&mut walk);
                walk.write(1, 1, pattern);
                let after = contents(&mut walk);
                let at: Vec<_> = (0..100).filter(|i| before[*i] != after[*i]).collect();
                assert_eq!(at.len(), 1);
                hits[at[0]] += 1;
            }
            let hot: u32 = hits[..10].iter().sum();
            // Of 5,000 draws; ten standard deviations either side of the mean (500 and 4,500).
            let expected = if pattern == Pattern::Hotspot { 4290..=4710 } else { 290..=710 };
            assert!(expected.contains(&hot), "{pattern:?}: {hot}");
            assert!(hits.iter().all(|h| *h > 0 || pattern == Pattern::Hotspot), "{pattern:?}: {hits:?}");
        }
    }

    #[test]
    fn taking_chunks_back_leaves_a_sound_walk() {
        let mut walk = walk(&[CHUNK_PAGES, 6]);
        walk.write(CHUNK_PAGES as u64 + 3, 1, Pattern::Cyclic);
        assert_eq!(walk.take(1).len(), 1);
        walk.write(10, 1, Pattern::Cyclic);
        assert_eq!(walk.take(5).len(), 1);
        assert_eq!(walk.total_pages(), 0);
        for pattern in Pattern::ALL {
            walk.write(10, 1, pattern);
        }
    }
}
