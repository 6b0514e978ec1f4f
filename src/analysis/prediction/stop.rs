//! How long a guest stands still that is stopped in the middle of pre-copy: arithmetic on what is known at
//! that instant.
//!
//! What is to be copied then is not what the hypervisor says is left. That is what its newest look at the
//! log of dirty pages has found, less what has been sent of it; what the guest has written since is found
//! only at the next look, and comes on top of it, whether or not the same pages are still to be sent.

use crate::event::{Span, StopForecast};

/// How often QEMU looks whether little enough is left, and renews its limit, s (`BUFFER_DELAY`).
const SLOT_S: f64 = 0.1;

/// How a product finishes a guest that was stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finish {
    /// It goes on with its rounds at the limited speed until what is left passes within the downtime limit, s,
    /// and sends that without a limit (QEMU).
    Rounds {
        /// The downtime limit, s.
        limit_s: f64,
    },
    /// It looks at the log at once, and sends all there is.
    Once,
}

/// What is known at an instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// How long the guest has stood still already, s.
    pub stood_s: f64,
    /// What the newest look at the log has found and is not sent yet, pages of zeroes left out, bytes.
    pub left: Span,
    /// The distinct pages the guest has written since, bytes.
    pub dirtied: Span,
    /// The share of what is left that is among them.
    pub both: Span,
    /// What is sent, bytes/s.
    pub bytes_per_s: Span,
    /// What the link carries without a limit, bytes/s.
    pub link: Span,
    /// Fixed times besides, s.
    pub fixed_s: Span,
    /// It is still to be looked whether little enough is left. QEMU looks, then sends what it may, then waits for
    /// the next slot, so that it notices a slot late.
    pub to_be_noticed: bool,
    /// How it is finished.
    pub finish: Finish,
}

/// One course of it.
struct Course {
    left: f64,
    dirtied: f64,
    both: f64,
    speed: f64,
    link: f64,
    fixed_s: f64,
    /// How far into a slot the look falls that finds little enough left: 0 to 1.
    slot: f64,
    /// How long it takes until that is noticed first, in slots: 0 to 1; None where it has been.
    notice: Option<f64>,
}

impl Course {
    /// Seconds, and bytes that are copied.
    fn run(&self, finish: Finish) -> (f64, f64) {
        let both = |of: f64| (of * self.both).min(self.dirtied);
        match finish {
            Finish::Once => {
                let bytes = self.left + self.dirtied - both(self.left);
                (bytes / self.speed + self.fixed_s, bytes)
            }
            Finish::Rounds { limit_s } => {
                let enough = self.speed * limit_s;
                let tail = |bytes: f64| {
                    if bytes < enough { bytes } else { (enough - self.slot * SLOT_S * self.speed).max(0.0) }
                };
                let first = tail(self.left);
                let then = first + self.dirtied - both(first);
                let last = tail(then);
                let limited = self.left - first + then - last;
                let noticed_s = self.notice.unwrap_or(0.0) * SLOT_S;
                (limited / self.speed + last / self.link + noticed_s + self.fixed_s, limited + last)
            }
        }
    }
}

/// How long it will stand still from now on: the likeliest course, and as far from it on either side as all
/// that is not known exactly takes it, each by itself, together (as independent errors add up).
#[must_use]
pub fn estimate(f: &Facts) -> Option<StopForecast> {
    let half = Span { lo: 0.0, mid: 0.5, hi: 1.0 };
    let at = |place: fn(&Span) -> f64, only: Option<usize>| {
        let pick = |i: usize, span: &Span| if only == Some(i) { place(span) } else { span.mid };
        let speed = pick(3, &f.bytes_per_s);
        let course = Course {
            left: pick(0, &f.left).max(0.0),
            dirtied: pick(1, &f.dirtied).max(0.0),
            both: pick(2, &f.both).clamp(0.0, 1.0),
            speed,
            link: pick(4, &f.link).max(speed),
            fixed_s: pick(5, &f.fixed_s),
            slot: pick(6, &half),
            notice: f.to_be_noticed.then(|| pick(7, &half)),
        };
        course.run(f.finish)
    };
    let mid = at(|s| s.mid, None);
    let mut off = [(0.0f64, 0.0f64); 2];
    for i in 0..8 {
        for place in [(|s| s.lo) as fn(&Span) -> f64, |s| s.hi] {
            let course = at(place, Some(i));
            for (off, (is, mid)) in off.iter_mut().zip([(course.0, mid.0), (course.1, mid.1)]) {
                let by = is - mid;
                if by < 0.0 { off.0 += by * by } else { off.1 += by * by }
            }
        }
    }
    let span = |mid: f64, off: (f64, f64)| Span { lo: (mid - off.0.sqrt()).max(0.0), mid, hi: mid + off.1.sqrt() };
    let (left_s, bytes) = (span(mid.0, off[0]), span(mid.1, off[1]));
    let known = [left_s.mid, left_s.hi, bytes.hi].iter().all(|v| v.is_finite());
    known.then_some(StopForecast { stood_s: f.stood_s, left_s, bytes, bytes_per_s: f.bytes_per_s })
}

/// How many distinct pages of `pages` so many writes touch.
#[must_use]
pub fn distinct(pattern: crate::event::Pattern, pages: f64, writes: f64) -> f64 {
    use crate::event::Pattern;
    let random = |pages: f64, writes: f64| if pages > 0.0 { pages * (1.0 - (-writes / pages).exp()) } else { 0.0 };
    match pattern {
        Pattern::Cyclic => writes.min(pages),
        Pattern::Random => random(pages, writes),
        // A tenth of the pages gets nine tenths of the writes.
        Pattern::Hotspot => random(0.1 * pages, 0.9 * writes) + random(0.9 * pages, 0.1 * writes),
    }
}

/// The share of the pages written in a round that were written once more in the next one, by how much was written
/// in either; `pages` are all there are.
#[must_use]
pub fn written_again(pattern: crate::event::Pattern, pages: f64, before: f64, since: f64) -> f64 {
    use crate::event::Pattern;
    let share = |pages: f64, writes: f64| if pages > 0.0 { 1.0 - (-writes / pages).exp() } else { 0.0 };
    match pattern {
        // It goes on where it was: what comes round again is what does not fit into one turn.
        Pattern::Cyclic => {
            let (before, since) = (before.min(pages), since.min(pages));
            if before > 0.0 { ((before + since - pages) / before).clamp(0.0, 1.0) } else { 0.0 }
        }
        Pattern::Random => share(pages, since),
        // A tenth of the pages gets nine tenths of the writes.
        Pattern::Hotspot => {
            let (hot, cold) = (0.1 * pages, 0.9 * pages);
            let of = |pages: f64, part: f64| (pages * share(pages, part * before), share(pages, part * since));
            let ((hot, hot_again), (cold, cold_again)) = (of(hot, 0.9), of(cold, 0.1));
            if hot + cold > 0.0 { (hot * hot_again + cold * cold_again) / (hot + cold) } else { 0.0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Pattern;

    fn facts(left: f64, dirtied: f64) -> Facts {
        let exactly = Span::exactly;
        Facts {
            stood_s: 0.0,
            left: exactly(left),
            dirtied: exactly(dirtied),
            both: Span { lo: 0.0, mid: 0.6, hi: 1.0 },
            bytes_per_s: exactly(32.8e6),
            link: exactly(800e6),
            fixed_s: exactly(0.015),
            to_be_noticed: true,
            finish: Finish::Rounds { limit_s: 0.3 },
        }
    }

    #[test]
    fn what_was_dirtied_since_the_log_was_read_comes_on_top() {
        // As measured on QEMU 10.0.2: 46.1 MB left 1.697 s into a round at RATE 9,000; gone for 2.918 s.
        let said = estimate(&facts(46.06e6, 1.697 * 9000.0 * 4096.0)).unwrap();
        assert!(said.left_s.lo <= 2.918 && 2.918 <= said.left_s.hi, "{said:?}");
        assert!((said.left_s.mid / 2.918 - 1.0).abs() < 0.05, "{said:?}");
        // Of a product that looks at the log at once, pages that are both count once.
        let once = Facts { finish: Finish::Once, both: Span::exactly(1.0), ..facts(46.06e6, 40e6) };
        let said = estimate(&once).unwrap();
        assert!((said.bytes.mid - 46.06e6).abs() < 1.0, "{said:?}");
    }

    #[test]
    fn what_passes_within_the_downtime_limit_goes_without_a_limit() {
        let said = estimate(&Facts { to_be_noticed: false, ..facts(6e6, 0.0) }).unwrap();
        assert!(said.left_s.hi < 0.03, "{said:?}");
        // It is noticed with the next slot, which begins any time within a tenth of a second.
        let said = estimate(&facts(6e6, 0.0)).unwrap();
        assert!(said.left_s.lo < 0.03 && said.left_s.hi > 0.1, "{said:?}");
        // And what was dirtied is found at the next look, however little was left.
        let said = estimate(&facts(1e6, 30e6)).unwrap();
        assert!((0.5..0.8).contains(&said.left_s.mid), "{said:?}");
    }

    #[test]
    fn a_page_that_is_written_twice_is_one_page() {
        assert_eq!(distinct(Pattern::Cyclic, 100.0, 250.0), 100.0);
        assert_eq!(distinct(Pattern::Cyclic, 100.0, 25.0), 25.0);
        assert!((distinct(Pattern::Random, 100.0, 100.0) - 63.2).abs() < 0.1);
        let hot = distinct(Pattern::Hotspot, 1000.0, 1000.0);
        assert!((hot - (100.0 + 900.0 * (1.0 - (-1.0f64 / 9.0).exp()))).abs() < 1.0, "{hot}");
        assert_eq!(distinct(Pattern::Random, 0.0, 10.0), 0.0);
    }

    #[test]
    fn a_turn_that_goes_on_meets_no_page_twice_before_it_is_round() {
        let cyclic = |before, since| written_again(Pattern::Cyclic, 1000.0, before, since);
        assert_eq!((cyclic(400.0, 500.0), cyclic(600.0, 700.0), cyclic(3000.0, 100.0)), (0.0, 0.5, 0.1));
        assert_eq!((cyclic(0.0, 100.0), cyclic(100.0, 2000.0)), (0.0, 1.0));
        let random = written_again(Pattern::Random, 1000.0, 400.0, 1000.0);
        assert!((random - 0.632).abs() < 0.001, "{random}");
        // Hot pages come again at once, and of a short round most are hot.
        let hot = written_again(Pattern::Hotspot, 1000.0, 100.0, 100.0);
        assert!((0.5..0.6).contains(&hot), "{hot}");
        assert_eq!(written_again(Pattern::Hotspot, 0.0, 1.0, 1.0), 0.0);
    }

    #[test]
    fn without_a_speed_nothing_is_known() {
        assert_eq!(estimate(&Facts { bytes_per_s: Span::exactly(0.0), ..facts(1e7, 0.0) }), None);
    }
}
