//! How long a guest will stand still if it is stopped now, or still will once it has been stopped: what the
//! state knows, put into the arithmetic of
//! [`crate::analysis::prediction::stop`]. A pure function of the state and of an instant, also of
//! one that is past: only what was seen until then counts.

use super::product::product;
use super::state::{Migration, State};
use crate::analysis::prediction::Basis;
use crate::analysis::prediction::stop::{Facts, Finish, distinct, estimate, written_again};
use crate::chunked::Chunked;
use crate::event::{Grounds, LoadReport, MigrationSettings, Nanos, Phase, Sample, Span, StopForecast, Then};
use crate::model::Product;
use crate::model::parameters::{by_own_names, limits_told};
use crate::units::PAGE_BYTES;

const PAGE: f64 = PAGE_BYTES as f64;
/// So far back it is looked how fast it goes, ns.
const LOOK_BACK: Nanos = 3_000_000_000;
/// A change of the bandwidth shows in the figures after so long, ns.
const TAKES_EFFECT: Nanos = 250_000_000;
/// The downtime limit of a hypervisor that has not told another, ms (QEMU's own).
const DOWNTIME_LIMIT_MS: f64 = 300.0;
/// Above its limit a hypervisor goes by this share (QEMU: 0 to 6 %).
const ABOVE_LIMIT: Span = Span { lo: 0.98, mid: 1.03, hi: 1.06 };
/// A product has stopped the guest, and looked at its log, so long after the order at the latest, ns.
const STANDS_WITHIN: Nanos = 300_000_000;
/// A sample is taken for so long to go on as it was, ns.
const FRESH: Nanos = 300_000_000;
/// From such a memory on QEMU clears the log of KVM in parts, just before each is sent, bytes
/// (`clear_bitmap_shift`, 18): of what is written before that, nothing is sent twice.
const CLEARED_IN_PARTS: f64 = (1u64 << 30) as f64;

/// What is known of a migration at an instant.
struct Look<'a> {
    state: &'a State,
    m: &'a Migration,
    /// Until when the guest wrote: the instant, or its stop.
    wrote_until: Nanos,
    /// The newest sample with a figure of what is left, and its index.
    sample: (usize, Nanos, &'a Sample),
    /// When the log was read last, ns.
    read: Nanos,
    /// When it was read before that, ns, if it was.
    read_before: Option<Nanos>,
    /// The same, with the guest standing still already: nothing is dirty that is not counted.
    read_since_stop: bool,
    /// The product itself has stopped the guest, having found little enough left.
    stopped_by_itself: bool,
    /// Whether this is the first round: what is left is all of the memory.
    first_round: bool,
    grounds: Option<&'a Grounds>,
    product: Product,
    settings: MigrationSettings,
}

/// How long the guest of a migration will stand still from `at` on: if it is stopped then, or, where it is
/// stopped by then, until it runs at the destination. None where that is over, has no meaning, or is not
/// known.
#[must_use]
pub fn stop_forecast(state: &State, m: &Migration, at: Nanos) -> Option<StopForecast> {
    let look = Look::at(state, m, at)?;
    let speed = look.speed()?;
    let link = look.grounds.map_or(Span { lo: speed.lo, mid: 4.0 * speed.mid, hi: 1e10 }, |g| g.link_bytes_per_s);
    let mut left = look.left(at, speed.mid);
    let limit_s = look.downtime_limit_ms() / 1e3;
    if look.stopped_by_itself {
        // It was content with what was left.
        let most = speed.hi * limit_s;
        left = Span { lo: 0.0, mid: left.mid.min(most), hi: left.hi.min(most) };
    }
    let (dirtied, both) =
        if look.read_since_stop { (Span::exactly(0.0), Span::exactly(0.0)) } else { look.dirtied(&left)? };
    let over_s = look.all_sent_since(at);
    let fixed_s = look.grounds.map_or(Span { lo: 0.004, mid: 0.045, hi: 0.1 }, |g| g.fixed_s);
    let less = |s: f64| (s - over_s).max(0.0);
    let fixed_s = Span { lo: less(fixed_s.lo), mid: less(fixed_s.mid), hi: less(fixed_s.hi) };
    let finish = if look.product.about().finishes_in_rounds() { Finish::Rounds { limit_s } } else { Finish::Once };
    let stopped = stopped_by(m, at);
    let stood_s = stopped.map_or(0.0, |t| at.saturating_sub(t) as f64 / 1e9);
    // The model looks at every page.
    let simulated = state.header.as_ref().is_some_and(|h| h.simulated);
    let to_be_noticed = !simulated && !look.stopped_by_itself && over_s == 0.0;
    estimate(&Facts { stood_s, left, dirtied, both, bytes_per_s: speed, link, fixed_s, to_be_noticed, finish })
}

/// When the guest was stopped, if it was by then.
fn stopped_by(m: &Migration, at: Nanos) -> Option<Nanos> {
    m.stopped.as_ref().map(|(t, ..)| *t).filter(|t| *t <= at)
}

impl<'a> Look<'a> {
    fn at(state: &'a State, m: &'a Migration, at: Nanos) -> Option<Self> {
        let is_past = |t: Option<Nanos>| t.is_some_and(|t| t <= at);
        if is_past(m.ended.as_ref().map(|e| e.0)) || is_past(m.resumed.as_ref().map(|r| r.0)) {
            return None;
        }
        let phase = m.phases.iter().rev().find(|p| p.from <= at).map_or(Phase::Setup, |p| p.phase);
        if !matches!(phase, Phase::PreCopy | Phase::StopAndCopy) {
            return None;
        }
        let until = m.samples.partition_point(|(t, _)| *t <= at);
        let sample = (0..until).rev().find_map(|i| {
            let (t, sample) = m.samples.get(i)?;
            sample.remaining_bytes.map(|_| (i, *t, sample))
        })?;
        let stopped = stopped_by(m, at);
        let wrote_until = stopped.unwrap_or(at);
        // All by the time of the sample: a round that began after it is not in its figures.
        let begun = m.rounds.iter().rev().find(|(t, _)| *t <= sample.1);
        let round = sample.2.round.or(begun.map(|(_, n)| *n));
        let first_of_round = || {
            let mut first = sample.1;
            for i in (0..sample.0).rev() {
                let Some((t, s)) = m.samples.get(i) else { break };
                if s.round != sample.2.round {
                    break;
                }
                first = *t;
            }
            first
        };
        let read = match (begun, sample.2.round) {
            (Some((t, n)), Some(seen)) if seen > *n => first_of_round().max(*t),
            (Some((t, _)), _) => *t,
            (None, Some(2..)) => first_of_round(),
            (None, _) => m.began,
        };
        let read_before = m.rounds.iter().rev().map(|(t, _)| *t).find(|t| *t < read);
        let asked = m.ruled.iter().any(|(_, _, then)| *then == Then::StopAndCopy);
        let grounds = m.expected.as_ref().or(m.predicted.as_ref()).and_then(|(_, f)| f.grounds.as_deref());
        // A name no model has, or a product nobody has told, says nothing of how it stops a guest.
        let product = match grounds {
            Some(g) => Product::named(&g.product)?,
            None => product(state).ok()??,
        };
        let settings = m.retuned.iter().rev().find(|(t, _)| *t <= at).map_or(&m.settings, |(_, s)| s);
        let stopped_by_itself = stopped.is_some() && !asked && product.about().finishes_in_rounds();
        Some(Self {
            state,
            m,
            wrote_until,
            sample,
            read,
            read_before,
            // A product that looks at its log at once has looked by the first sample after the stop.
            read_since_stop: stopped_by_itself
                || stopped.is_some_and(|t| {
                    read > t || (!product.about().finishes_in_rounds() && has_looked(m, t, sample.1, sample.2))
                }),
            stopped_by_itself,
            first_round: round.is_none_or(|n| n <= 1),
            grounds,
            product,
            settings: by_own_names(product, settings),
        })
    }

    /// The limit, bytes/s.
    fn limit(&self) -> Option<f64> {
        let set = self.settings.bandwidth_bytes_per_s.map(|b| b as f64).or(self.told().0);
        // 0 is no limit.
        set.or_else(|| self.product.about().limit_unless_set().map(|b| b as f64)).filter(|b| *b > 0.0)
    }

    /// Bandwidth limit, bytes/s, and downtime limit, ms, as the source told them last.
    fn told(&self) -> (Option<f64>, Option<f64>) {
        let offers = self.state.hosts.get(&self.m.from).and_then(|host| host.offers.as_ref());
        offers.map_or((None, None), |offers| limits_told(self.product, offers))
    }

    fn downtime_limit_ms(&self) -> f64 {
        let set = self.settings.downtime_limit_ms.map(|ms| ms as f64);
        set.or(self.told().1).unwrap_or(DOWNTIME_LIMIT_MS).clamp(0.0, 1e9)
    }

    /// What is sent, bytes/s: as seen in the last seconds, else what the limit lets through.
    fn speed(&self) -> Option<Span> {
        let (newest, t, _) = self.sample;
        let tuned =
            self.m.retuned.iter().rev().map(|(t, _)| *t).find(|tuned| *tuned <= t).filter(|t| *t > self.m.began);
        let from = t.saturating_sub(LOOK_BACK).max(tuned.map_or(0, |t| t.saturating_add(TAKES_EFFECT)));
        let mut seen = Vec::new();
        let mut after: Option<(Nanos, &Sample)> = None;
        for i in (0..=newest).rev() {
            let Some((t, sample)) = self.m.samples.get(i) else { break };
            if *t < from {
                break;
            }
            if let Some((_, later)) = after
                && let Some(per_s) = later.throughput_bytes_per_s.filter(|b| *b > 0.0 && b.is_finite())
                && !mostly_zeroes(sample, later)
            {
                seen.push(per_s);
            }
            after = Some((*t, sample));
        }
        seen.sort_by(f64::total_cmp);
        let of = |share: f64| seen.get(((seen.len().max(1) - 1) as f64 * share).round() as usize).copied();
        let enough = seen.len() >= 3;
        let limit = self.limit();
        match (limit, of(0.5), of(0.75)) {
            // As fast as the limit lets it; slower moments are those in which there was nothing to send.
            (Some(limit), Some(median), Some(upper)) if enough && upper >= 0.9 * limit => {
                let mid = if median >= 0.9 * limit { median } else { upper };
                Some(Span { lo: 0.96 * mid, mid, hi: 1.03 * mid })
            }
            (_, Some(mid), _) if enough => {
                let (lo, hi) = (of(0.1).unwrap_or(mid), of(0.9).unwrap_or(mid));
                let hi = limit.map_or(hi.max(1.3 * mid), |limit| (ABOVE_LIMIT.hi * limit).max(mid));
                Some(Span { lo: lo.min(0.8 * mid), mid, hi })
            }
            (Some(limit), ..) => {
                Some(Span { lo: ABOVE_LIMIT.lo * limit, mid: ABOVE_LIMIT.mid * limit, hi: ABOVE_LIMIT.hi * limit })
            }
            (None, Some(mid), _) => Some(Span { lo: 0.5 * mid, mid, hi: 1.5 * mid }),
            (None, None, _) => self.grounds.map(|g| g.link_bytes_per_s).filter(|l| l.lo > 0.0),
        }
    }

    /// What is left to be sent, without pages of zeroes, bytes.
    fn left(&self, at: Nanos, bytes_per_s: f64) -> Span {
        let (_, t, sample) = self.sample;
        let counted = sample.remaining_bytes.unwrap_or(0) as f64;
        let sent_since = at.saturating_sub(t).min(FRESH) as f64 / 1e9 * bytes_per_s;
        let less = |bytes: f64| (bytes - sent_since).max(0.0);
        let (Some(total), true) = (sample.total_bytes, self.first_round) else {
            return Span::exactly(less(counted));
        };
        let total = total as f64;
        let passed = (total - counted).max(0.0);
        let zeroes = sample.zero_pages.map_or(0.0, |n| n as f64 * PAGE).min(passed);
        let with_content = passed - zeroes;
        let span = match self.grounds {
            Some(g) if self.product.about().finishes_in_rounds() => {
                let left = |content: f64| (content - with_content).clamp(0.0, counted);
                Span { lo: left(g.content_bytes.lo), mid: left(g.content_bytes.mid), hi: left(g.content_bytes.hi) }
            }
            _ if sample.zero_pages.is_none() => Span::exactly(counted),
            // Nothing is known of the memory: the rest may be as what was seen of it, or all of one kind.
            _ => {
                let share = if passed > 0.0 { with_content / passed } else { 0.5 };
                Span { lo: 0.0, mid: share * counted, hi: counted }
            }
        };
        Span { lo: less(span.lo), mid: less(span.mid), hi: less(span.hi) }
    }

    /// For how long nothing has been left to be sent after the stop, s.
    fn all_sent_since(&self, at: Nanos) -> f64 {
        let Some(stopped) = stopped_by(self.m, at) else { return 0.0 };
        let nothing = |i: &usize| {
            self.m.samples.get(*i).is_some_and(|(t, s)| *t > stopped && s.remaining_bytes.unwrap_or(0) == 0)
        };
        let first = (0..=self.sample.0).rev().take_while(nothing).last();
        let since = first.and_then(|i| self.m.samples.get(i)).map(|(t, _)| *t);
        since.map_or(0.0, |since| at.saturating_sub(since) as f64 / 1e9)
    }

    /// The distinct pages written since the log was read, bytes, and the share of what is left that is among
    /// them.
    fn dirtied(&self, left: &Span) -> Option<(Span, Span)> {
        let since_s = self.wrote_until.saturating_sub(self.read) as f64 / 1e9;
        let own = self.own_pages(since_s);
        let with_own = |pages: Span| Span {
            lo: (pages.lo + own.lo) * PAGE,
            mid: (pages.mid + own.mid) * PAGE,
            hi: (pages.hi + own.hi) * PAGE,
        };
        let reports = &self.state.reports;
        let known = reports.partition_point(|(t, _)| *t <= self.wrote_until);
        let Some((_, report)) = known.checked_sub(1).and_then(|i| reports.get(i)) else {
            let seen = self.sample.2.dirty_pages_per_s.filter(|r| r.is_finite() && *r > 0.0)?;
            // Distinct pages over the last round: in a shorter time no fewer a second, in a longer one fewer.
            let pages = seen * since_s;
            return Some((
                with_own(Span { lo: 0.5 * pages, mid: pages, hi: 2.0 * pages }),
                Span { lo: 0.0, mid: 0.5, hi: 1.0 },
            ));
        };
        let (pattern, wset) = (report.set.pattern, report.wset_bytes as f64 / PAGE);
        let writes = writes_between(reports, self.read, self.wrote_until);
        let pages = |share: f64| distinct(pattern, wset, writes * share);
        // What is in effect within a report's window is not known better than the window.
        let lag = report.rate_pages_per_s * 0.02;
        let mut span = Span { lo: (pages(0.97) - lag).max(0.0), mid: pages(1.0), hi: (pages(1.03) + lag).min(wset) };
        let total = self.sample.2.total_bytes.unwrap_or(0) as f64;
        if total > CLEARED_IN_PARTS && self.product.about().finishes_in_rounds() && !self.is_emulated() {
            let unsent = (left.mid / if self.first_round { total } else { (wset * PAGE).max(1.0) }).min(1.0);
            span.lo *= 1.0 - (1.0 + unsent) / 2.0;
        }
        let of_wset = match self.read_before {
            Some(before) if self.product.about().finishes_in_rounds() && wset > 0.0 => {
                written_again(pattern, wset, writes_between(reports, before, self.read), writes)
            }
            _ if wset > 0.0 => (span.mid / wset).min(1.0),
            _ => 0.0,
        };
        Some((with_own(span), self.both(of_wset, wset * PAGE / left.mid.max(1.0))))
    }

    /// The share of what is left that has been written since, when this share of the WSET has been, which has so
    /// many times the size of what is left.
    fn both(&self, of_wset: f64, wset_to_left: f64) -> Span {
        if self.first_round && self.product.about().finishes_in_rounds() {
            // What counts is the tail of a round, and most of that is other memory.
            Span { lo: 0.0, mid: 0.0, hi: 1.0 }
        } else if self.first_round {
            // Of memory that goes in order the WSET is the last.
            Span { lo: 0.0, mid: of_wset * wset_to_left.min(1.0), hi: 1.0 }
        } else if self.product.about().finishes_in_rounds() || !self.product.about().leaves_out_what_is_dirty_again() {
            Span { lo: 0.0, mid: of_wset, hi: 1.0 }
        } else {
            // It leaves out what is dirty again.
            Span { lo: 0.0, mid: 0.3 * of_wset, hi: 1.0 }
        }
    }

    /// What the guest has dirtied by itself in so long, pages.
    fn own_pages(&self, since_s: f64) -> Span {
        match self.grounds {
            Some(g) => {
                let pages = g.own_hot_pages as f64 + (g.own_pages_per_s * since_s).min(g.own_pages as f64);
                Span { lo: 0.5 * pages, mid: pages, hi: 3.0 * pages }
            }
            None if self.state.header.as_ref().is_some_and(|h| h.simulated) => Span::exactly(0.0),
            None => {
                let own = Basis::qemu(PAGE_BYTES << 20).background;
                Span { lo: 0.0, mid: (own.hot_pages + own.pages) as f64, hi: 3.0 * (own.hot_pages + own.pages) as f64 }
            }
        }
    }

    /// Whether the guest is known to run without the help of KVM, whose log is kept otherwise.
    fn is_emulated(&self) -> bool {
        let simulated = self.state.header.as_ref().is_some_and(|h| h.simulated);
        simulated || self.state.lab.accel.as_ref().is_some_and(|(chosen, _)| chosen == "tcg")
    }
}

/// Whether a product that looks at its log at once when the guest has been stopped had done so by a sample: more
/// is left than before, or it has had the time to.
fn has_looked(m: &Migration, stopped: Nanos, t: Nanos, sample: &Sample) -> bool {
    if t <= stopped {
        return false;
    }
    let before = m.samples.partition_point(|(t, _)| *t <= stopped).checked_sub(1).and_then(|i| m.samples.get(i));
    let left = before.and_then(|(_, s)| s.remaining_bytes);
    sample.remaining_bytes > left || t > stopped.saturating_add(STANDS_WITHIN)
}

/// Whether what passed between two samples was mostly pages of zeroes: how fast these go says nothing.
fn mostly_zeroes(before: &Sample, after: &Sample) -> bool {
    let (Some(a), Some(b)) = (before.zero_pages, after.zero_pages) else { return false };
    let (Some(left), Some(right)) = (before.remaining_bytes, after.remaining_bytes) else { return false };
    let passed = left.saturating_sub(right) / PAGE_BYTES;
    b.saturating_sub(a) > passed / 4 && b > a
}

/// How often the generator wrote a page from one instant to another, by the agent's reports.
fn writes_between(reports: &Chunked<(Nanos, LoadReport)>, from: Nanos, to: Nanos) -> f64 {
    let (Some(a), Some(b)) = (written_at(reports, from, to), written_at(reports, to, to)) else { return 0.0 };
    if b >= a {
        return b - a;
    }
    // The agent was started anew on the way, and counts from 0.
    let rate = reports.iter().rev().find(|(t, _)| *t <= to).map_or(0.0, |(_, r)| r.rate_pages_per_s);
    rate.max(0.0) * to.saturating_sub(from) as f64 / 1e9
}

/// Pages written until an instant, by what was reported until `known`: between two reports in proportion, after
/// the last as it reported.
fn written_at(reports: &Chunked<(Nanos, LoadReport)>, at: Nanos, known: Nanos) -> Option<f64> {
    let next = reports.partition_point(|(t, _)| *t <= at);
    let before = next.checked_sub(1).and_then(|i| reports.get(i));
    let after = reports.get(next).filter(|(t, _)| *t <= known);
    let s = |from: Nanos, to: Nanos| to.saturating_sub(from) as f64 / 1e9;
    let rate = |r: &LoadReport| Some(r.rate_pages_per_s).filter(|r| r.is_finite()).unwrap_or(0.0).max(0.0);
    match (before, after) {
        (Some((t0, a)), Some((t1, b))) if b.pages_total >= a.pages_total && t1 > t0 => {
            let share = s(*t0, at) / s(*t0, *t1);
            Some(a.pages_total as f64 + share * (b.pages_total - a.pages_total) as f64)
        }
        (Some((t, a)), _) => Some(a.pages_total as f64 + s(*t, at) * rate(a)),
        (None, Some((t, b))) => Some(b.pages_total as f64 - s(at, *t) * rate(b)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests;
