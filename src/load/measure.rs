//! How fast this machine's memory can be dirtied: the generator at its highest RATE beside a plain
//! write loop over the same memory, in the same run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::chunk::Chunk;
use super::clock::{PREFERRED, keep_time};
use super::params::MAX_RATE;
use super::{Generators, LoadError};
use crate::event::{LoadSettings, Pattern};

/// Both figures at one FILL.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct MaxRate {
    /// Bytes written in each page.
    pub bytes_per_page: u64,
    /// The plain loop, pages/s (best of the rounds).
    pub plain_pages_per_s: f64,
    /// The generator at its highest RATE, pages/s (best of the rounds).
    pub generator_pages_per_s: f64,
}

impl MaxRate {
    /// The generator's share of the plain loop's RATE.
    #[must_use]
    pub(crate) fn ratio(&self) -> f64 {
        self.generator_pages_per_s / self.plain_pages_per_s
    }
}

/// Measures FILL 100 % or, with `fill_pct` 0, 8 bytes a page, on `wset_bytes` of memory. Generator
/// and plain loop take turns of `round` each, `rounds` times; the best round of each counts, since
/// whatever else the machine does can only slow a round down.
///
/// # Errors
/// When the memory cannot be had.
pub(crate) fn max_rate(
    generators: &Generators,
    wset_bytes: u64,
    fill_pct: f64,
    rounds: usize,
    round: Duration,
) -> Result<MaxRate, LoadError> {
    let idle = LoadSettings { wset_bytes, fill_pct, pattern: Pattern::Cyclic, ..LoadSettings::default() };
    let busy = LoadSettings { dirty: idle.dirty.with_rate(MAX_RATE)?, ..idle };
    let words = super::walk::fill_words(fill_pct);
    let (mut plain, mut generator) = (Vec::new(), Vec::new());
    generators.apply(idle)?;
    // The plain loop runs on this thread, and must not be worse served than the generator's.
    keep_time(PREFERRED);
    for _ in 0..rounds.max(1) {
        plain.push(generators.borrow_memory(|chunks| plain_loop(chunks, words, round))?);
        let (before, start) = (generators.report().pages_total, Instant::now());
        generators.apply(busy)?;
        std::thread::sleep(round);
        let (after, end) = (generators.report().pages_total, Instant::now());
        generators.apply(idle)?;
        generator.push((after - before) as f64 / (end - start).as_secs_f64());
    }
    Ok(MaxRate {
        bytes_per_page: words as u64 * 8,
        plain_pages_per_s: best(&plain),
        generator_pages_per_s: best(&generator),
    })
}

/// Writes one word after the other, and nothing else, for about `time`. Pages/s.
fn plain_loop(chunks: &mut [Chunk], words: usize, time: Duration) -> f64 {
    let start = Instant::now();
    let mut pages = 0u64;
    while start.elapsed() < time && !chunks.is_empty() {
        for chunk in &mut *chunks {
            let value = black_box(pages);
            for page in chunk.pages() {
                // Unrolled, so that a build without a vectoriser is no handicap to the plain loop.
                let (eights, rest) = page[..words].as_chunks_mut::<8>();
                eights.iter_mut().for_each(|eight| *eight = [value; 8]);
                rest.iter_mut().for_each(|word| *word = value);
            }
            pages += chunk.len() as u64;
        }
    }
    pages as f64 / start.elapsed().as_secs_f64()
}

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Limits;

    #[test]
    fn both_loops_are_measured_on_the_same_memory() {
        let generators = Generators::start(Limits { ram_bytes: 1 << 50, reserve_bytes: 0 }).unwrap();
        for (fill, bytes) in [(0.0, 8), (100.0, 4096)] {
            let max = max_rate(&generators, 8 << 20, fill, 1, Duration::from_millis(20)).unwrap();
            assert_eq!(max.bytes_per_page, bytes);
            assert!(max.plain_pages_per_s > 0.0 && max.generator_pages_per_s > 0.0, "{max:?}");
        }
        assert_eq!(best(&[2.0, 3.0, 1.0]), 3.0);
    }
}
