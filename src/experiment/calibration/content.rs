//! How much of the guest's memory has content: so much at least, or so much besides the WSET.
//!
//! Either figure shows only where it is the larger one: the first with a small WSET, the second with
//! a large one. A figure that no migration shows is not fitted to their noise, but left as it was.

use super::case::{Case, total};
use super::missing::Missing;
use crate::analysis::prediction::Calibration;
use crate::session::outlook::content as content_seen;

/// The least spread of what has content that is believed: a kernel does not do the same each time.
const LEAST_SPREAD: f64 = 0.005;

/// What the migrations say of what has content.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Content {
    /// With no WSET or a small one, bytes.
    pub(super) least: f64,
    /// Besides a large WSET, bytes.
    pub(super) besides: f64,
    /// How far off that is, as a share.
    pub(super) spread: f64,
    /// The figure that none of them shows.
    pub(super) missing: Option<Missing>,
}

/// A WSET, and what had content with it, bytes.
type Seen = (f64, f64);

fn error(seen: &[Seen], least: f64, besides: f64) -> f64 {
    seen.iter().map(|(w, c)| (c - (besides + w).max(least)).abs()).sum()
}

/// The candidate with the least sum of errors, and that sum.
fn best(candidates: impl Iterator<Item = f64>, error: impl Fn(f64) -> f64) -> Option<(f64, f64)> {
    candidates.map(|x| (error(x), x)).min_by(|a, b| a.0.total_cmp(&b.0))
}

/// Of all migrations of guests with so much memory; None if none of them tells.
pub(super) fn content(cases: &[&Case], ram_bytes: u64) -> Option<Content> {
    let same = cases.iter().filter(|c| total(&c.migration) == Some(ram_bytes));
    let seen: Vec<Seen> = same.filter_map(|c| content_seen(&c.migration)).collect();
    of(&seen, &Calibration::lab(ram_bytes))
}

/// Of what was seen; what does not show in it is the default's.
pub(super) fn of(seen: &[Seen], default: &Calibration) -> Option<Content> {
    let leasts = || seen.iter().map(|(_, content)| *content);
    let besides = || seen.iter().map(|(wset, content)| (content - wset).max(0.0));
    let (flat_error, flat) = best(leasts(), |least| error(seen, least, f64::NEG_INFINITY))?;
    let (slope_error, slope) = best(besides(), |besides| error(seen, 0.0, besides))?;
    let (both_error, (least, beside)) = besides()
        .filter_map(|b| best(leasts(), |least| error(seen, least, b)).map(|(e, least)| (e, (least, b))))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    // Both show if the migrations cannot be told nearly as well with one of them alone: two figures
    // always fit better than one, and what a kernel does differently each time is no second figure.
    let noise = LEAST_SPREAD * leasts().sum::<f64>();
    let both = flat_error.min(slope_error) > 2.0 * both_error + noise;
    let (default_least, default_besides) =
        (default.content_least_bytes as f64, default.content_besides_wset_bytes as f64);
    let (smallest, largest) = seen.iter().fold((f64::MAX, 0.0f64), |(lo, hi), (w, _)| (lo.min(*w), hi.max(*w)));
    // With one WSET only, either explains all; then the default says which of the two it is.
    let tie = (flat_error - slope_error).abs() <= noise;
    let is_small = if tie { largest <= default_least - default_besides } else { flat_error < slope_error };
    let missing = |key, what: &str, why: &str| Some(Missing::of(&[key], what, why));
    let (least, besides, missing) = match (both, is_small) {
        (true, _) => (least, beside, None),
        // What is not seen must not say otherwise than what was.
        (false, true) => {
            let why = "no migration had a WSET so large that it adds to what has content";
            let besides = default_besides.min(flat - largest).max(0.0);
            (flat, besides, missing("content_besides_wset_bytes", "content besides a large WSET", why))
        }
        (false, false) => {
            let why = "no migration had a WSET so small that it adds nothing to what has content";
            let least = default_least.min(slope + smallest).max(slope);
            (least, slope, missing("content_least_bytes", "content with no WSET or a small one", why))
        }
    };
    let off = seen.iter().map(|(w, c)| (c - (besides + w).max(least)).abs() / c.max(1.0)).fold(0.0, f64::max);
    let at_least = if missing.is_some() { default.content_spread } else { LEAST_SPREAD };
    Some(Content { least, besides, spread: off.max(at_least), missing })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: f64 = 1e6;

    /// A guest with 110 MB at least and 80 MB besides, which varies by so much of 1 % in turns.
    fn guest(wsets_mb: &[f64], varies: f64) -> Vec<Seen> {
        let content = |w: f64| (80.0 + w).max(110.0) * MB;
        let off = |i: usize| 1.0 + varies * 0.01 * [-1.0, 0.3, 1.0, -0.4][i % 4];
        wsets_mb.iter().enumerate().map(|(i, w)| (w * MB, content(*w) * off(i))).collect()
    }

    fn fit(wsets_mb: &[f64], varies: f64) -> Content {
        of(&guest(wsets_mb, varies), &Calibration::lab(256 << 20)).unwrap()
    }

    fn near(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 0.015
    }

    #[test]
    fn both_figures_are_found_where_both_show() {
        for varies in [0.0, 1.0] {
            let c = fit(&[4.0, 8.0, 16.0, 24.0, 64.0, 96.0, 120.0, 128.0], varies);
            assert!(near(c.least, 110.0 * MB) && near(c.besides, 80.0 * MB) && c.missing.is_none(), "{c:?}");
            assert!(c.spread < 0.03, "{c:?}");
        }
    }

    #[test]
    fn with_large_wsets_only_the_least_is_the_default() {
        let default = Calibration::lab(256 << 20).content_least_bytes as f64;
        for (wsets, varies) in [(&[96.0][..], 0.0), (&[96.0, 96.0, 96.0], 1.0), (&[64.0, 80.0, 96.0, 128.0], 1.0)] {
            let c = fit(wsets, varies);
            assert!(near(c.besides, 80.0 * MB) && c.least == default, "{c:?}");
            let missing = c.missing.unwrap();
            assert!(missing.what.contains("small") && missing.keys == ["content_least_bytes"], "{missing:?}");
            assert_eq!(c.spread, 0.04, "what was not seen is as uncertain as before");
        }
        // 40 MB are on the slope of this guest; the default of 118 MB would say 120 MB there as well.
        let c = of(&[(40e6, 90e6), (80e6, 130e6), (120e6, 170e6)], &Calibration::lab(256 << 20)).unwrap();
        assert_eq!((c.least, c.besides), (90e6, 50e6), "held below what was seen");
    }

    #[test]
    fn with_small_wsets_only_what_lies_besides_is_the_default() {
        let default = Calibration::lab(256 << 20).content_besides_wset_bytes as f64;
        for (wsets, varies) in [(&[8.0][..], 0.0), (&[0.0, 8.0, 16.0, 20.0], 1.0)] {
            let c = fit(wsets, varies);
            assert!(near(c.least, 110.0 * MB) && c.besides == default, "{c:?}");
            assert_eq!(c.missing.unwrap().keys, ["content_besides_wset_bytes"]);
            assert_eq!(c.spread, 0.04);
        }
        let c = of(&[(0.0, 90e6), (30e6, 90e6)], &Calibration::lab(256 << 20)).unwrap();
        assert_eq!((c.least, c.besides), (90e6, 60e6), "held below what was seen");
    }
}
