//! What the path to the guest loses by itself, and what a lost probe therefore proves.
//!
//! The lower bounds of `lost-pings` and `reply-gap` rest on lost probes as witnesses of an outage. On a
//! path that loses probes by itself, one lost beside the outage, or a short stretch of them elsewhere,
//! may be the path's. So the bounds are made to hold unless the path did something it does less often
//! than once in [`ONE_IN`] migrations.
//!
//! Let `q(j)` be the chance that `j` given slots in a row are all lost by the path. It is learnt from the
//! slots before the migration: those since the probe's first answer, without those of earlier migrations,
//! `n` in all, of which `l` were lost. It is the larger of two:
//! - the share of places where `j` slots in a row were lost: the sum of `len - j + 1` over all stretches
//!   of `len >= j` lost slots, by `n`. This sees bursts;
//! - `p^j` with `p = (l + 1) / (n + 1)`: losses that have nothing to do with each other, for stretches
//!   longer than any that were seen.
//!
//! **At the edges of an outage.** That the path lost the `k` slots next to the outage, on both sides
//! together, has a chance of at most the sum of `q(a) q(k - a)` over `a = 0..=k`. With the least `k` where
//! this is below one in [`ONE_IN`], all but `k - 1` of the witnesses are the outage's. On which side those
//! lie is not known, so the bound takes the worst of all splits. At 0.5 % of loss `k - 1` is 1.
//!
//! **A stretch by itself.** Among the `w` slots of the window the path loses `j` in a row with a chance of
//! at most `w q(j)`. A stretch shorter than the least `j` where this is below one in [`ONE_IN`] proves no
//! outage at all.
//!
//! **A path that lost nothing before the migration is taken for clean**: each lost probe is the outage's.
//! That is an assumption, and the weaker the fewer probes there were: a path that loses 0.5 % shows no
//! loss in 100 slots in 60 of 100 sessions. The upper bounds need no assumption of this kind.

use crate::chunked::Chunked;
use crate::event::{Fate, Nanos, Outcome};

/// The bounds may be wrong by the path's doing once in so many migrations.
const ONE_IN: f64 = 1_000.0;
/// Slots before the migration that tell what the path loses, at most: an hour at 50 ms.
const SLOTS: usize = 1 << 16;
/// More lost slots than this are not asked about: beyond, nothing is proved.
const MOST: usize = 1_024;

/// What a path was seen to lose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path {
    /// Slots that were answered or lost.
    pub(super) slots: u64,
    /// Lost ones among them.
    pub(super) lost: u64,
    /// The lengths of the stretches of lost slots, the longest first.
    stretches: Vec<u64>,
    /// A stretch this long or longer proves an outage, slots.
    pub(super) alone: usize,
    /// So many witnesses of an outage may be the path's.
    pub(super) edge: usize,
}

impl Path {
    /// A path that loses nothing.
    pub(super) fn clean() -> Self {
        Self { alone: 1, ..Self::default() }
    }

    /// From the outcomes before `until` outside of the `disturbed` times; a window of `window` slots is to
    /// be judged by it.
    pub(super) fn of(outcomes: &Chunked<Outcome>, until: Nanos, disturbed: &[(Nanos, Nanos)], window: u64) -> Self {
        let to = outcomes.partition_point(|o| o.sent < until);
        let from = to.saturating_sub(SLOTS);
        let mut path = Self::clean();
        let (mut run, mut answered) = (0_u64, false);
        let end_run = |path: &mut Self, run: &mut u64| {
            if *run > 0 {
                path.stretches.push(*run);
            }
            *run = 0;
        };
        for outcome in outcomes.range(from..to) {
            if disturbed.iter().any(|(began, settled)| (*began..=*settled).contains(&outcome.sent)) {
                end_run(&mut path, &mut run);
                continue;
            }
            match outcome.fate {
                Fate::Ok { .. } | Fate::Late { .. } => {
                    answered = true;
                    path.slots += 1;
                    end_run(&mut path, &mut run);
                }
                // Before its first answer the guest may not have been there at all.
                Fate::Lost if answered => {
                    path.slots += 1;
                    path.lost += 1;
                    run += 1;
                }
                // Says nothing of the path.
                Fate::Lost | Fate::NotSent | Fate::Error | Fate::Refused => {}
            }
        }
        end_run(&mut path, &mut run);
        if path.lost > 0 {
            path.stretches.sort_unstable_by(|a, b| b.cmp(a));
            path.judge(window);
        }
        path
    }

    fn judge(&mut self, window: u64) {
        let q: Vec<f64> = (0..=MOST).map(|j| self.chance(j as u64)).collect();
        let rare = |chance: f64| chance * ONE_IN < 1.0;
        let both = |k: usize| (0..=k).map(|a| q[a] * q[k - a]).sum::<f64>();
        self.edge = (1..=MOST).find(|k| rare(both(*k))).map_or(MOST, |k| k - 1);
        self.alone = (1..=MOST).find(|j| rare(window as f64 * q[*j])).unwrap_or(MOST);
    }

    /// The chance that `j` given slots in a row are lost.
    fn chance(&self, j: u64) -> f64 {
        if j == 0 {
            return 1.0;
        }
        let places: u64 = self.stretches.iter().take_while(|len| **len >= j).map(|len| len - j + 1).sum();
        let seen = places as f64 / self.slots.max(1) as f64;
        let independent = (self.lost + 1) as f64 / (self.slots + 1) as f64;
        seen.max(independent.powf(j as f64)).min(1.0)
    }

    /// How long an outage must have been for these probes to be lost, ns: from the first to the last of
    /// them that cannot be the path's; None where they prove nothing. In the order of their sending.
    pub(super) fn span(&self, lost: &[Nanos]) -> Option<(Nanos, Nanos)> {
        if lost.len() < self.alone || lost.len() <= self.edge {
            return None;
        }
        let kept = lost.len() - self.edge;
        let splits = lost.windows(kept).map(|w| (w[0], w[kept - 1]));
        splits.min_by_key(|(first, last)| last.saturating_sub(*first))
    }

    /// What is said beside a result; None for a path that lost nothing.
    pub(super) fn words(&self) -> Option<String> {
        (self.lost > 0).then(|| {
            let share = 100.0 * self.lost as f64 / self.slots.max(1) as f64;
            let share = if share >= 1.0 { format!("{share:.0}") } else { format!("{share:.2}") };
            format!(
                "the path itself lost {} of the {} probes before ({share} %): the lower bound allows for it",
                self.lost, self.slots
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn path(letters: &str, disturbed: &[(Nanos, Nanos)]) -> Path {
        let outcome = |(k, letter): (usize, char)| {
            let fate = match letter {
                '.' => Fate::Ok { rtt: MS / 2 },
                'x' => Fate::Lost,
                'e' => Fate::Error,
                _ => return None,
            };
            Some(Outcome { k: k as u64, sent: k as u64 * MS, fate })
        };
        let outcomes = letters.chars().enumerate().filter_map(outcome).collect();
        Path::of(&outcomes, Nanos::MAX, disturbed, 200)
    }

    #[test]
    fn a_clean_path_leaves_each_lost_probe_to_the_outage() {
        let clean = path(&".".repeat(100), &[]);
        assert_eq!((clean.edge, clean.alone, clean.words()), (0, 1, None));
        assert_eq!(clean.span(&[5, 9]), Some((5, 9)));
        assert_eq!(clean.span(&[5]), Some((5, 5)));
        assert_eq!(clean.span(&[]), None);
    }

    #[test]
    fn half_a_percent_takes_one_witness_away() {
        let lossy = path(&format!("{}x{}x{}", ".".repeat(199), ".".repeat(199), ".".repeat(100)), &[]);
        assert_eq!((lossy.slots, lossy.lost), (500, 2));
        assert_eq!((lossy.edge, lossy.alone), (1, 3));
        // Two in a row happen among 200 slots; of three, one may be the path's.
        assert_eq!(lossy.span(&[10, 20]), None);
        assert_eq!(lossy.span(&[10, 20, 31]), Some((10, 20)));
        assert!(lossy.words().is_some_and(|w| w.contains("2 of the 500 probes before (0.40 %)")));
    }

    #[test]
    fn bursts_count_for_more_than_their_share() {
        // As many losses, but all in a row.
        let lone: String = (0..1000).map(|k| if k % 100 == 50 { 'x' } else { '.' }).collect();
        let burst = format!("{}{}{}", ".".repeat(500), "x".repeat(10), ".".repeat(490));
        let (lone, burst) = (path(&lone, &[]), path(&burst, &[]));
        assert_eq!((lone.lost, burst.lost), (10, 10));
        assert!(burst.edge > 2 * lone.edge, "{} {}", burst.edge, lone.edge);
        assert!(burst.alone > 10 && lone.alone < 5, "{} {}", burst.alone, lone.alone);
    }

    #[test]
    fn what_is_not_the_paths_is_not_laid_to_it() {
        // Before the first answer, in an earlier migration, and errors.
        let letters = format!("xxxx....xxxxxxxx....eee{}", ".".repeat(40));
        let path = path(&letters, &[(7 * MS, 17 * MS)]);
        assert_eq!((path.lost, path.edge, path.alone), (0, 0, 1));
    }
}
