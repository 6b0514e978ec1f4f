//! What a probe's outcomes say by themselves: counts, round trips, silences with their bounds. A pure
//! fold in bounded memory, the same for a probe that runs and for a capture.

mod gap;
mod histogram;
mod summary;
mod words;

pub use gap::{Gap, GapFinder, Interruptions};
pub use histogram::Histogram;
pub use summary::{Counts, Summary};
pub use words::{gap_words, ms};
