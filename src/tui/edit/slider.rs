//! The scales of the sliders: which place on a slider is which value, and back.

use std::time::Duration;

use super::steps::three_digits;
use super::{Control, Hold};
use crate::event::{LoadSettings, Pattern};
use crate::load::MIN_PERIOD;
use crate::units::PAGE_BYTES;

/// Where the link's capacity stands on RATE's slider: below it the scale is linear, so that the
/// approach to the jump is seen evenly; above it, logarithmic.
const LINK_AT: f64 = 0.6;
/// The right edge of RATE's slider, times the link.
const LINK_TIMES: f64 = 10.0;
/// The scale of RATE where the link is not known: logarithmic, pages/s.
const RATE_LEAST: f64 = 100.0;
const RATE_MOST: f64 = 1e6;
/// The right edge of BPC's slider, pages.
const BPC_MOST: f64 = 1e5;
/// The right edge of PERIOD's slider, ns.
const PERIOD_MOST: f64 = 10e9;

/// How far a control of the load is along its slider, 0 to 1; None where it has no slider (a WSET
/// whose limit nobody has told, the pattern). A value beyond the slider's end is at the end.
#[must_use]
pub fn share_of(
    load: &LoadSettings,
    control: Control,
    wset_limit_bytes: Option<u64>,
    link_pages_per_s: Option<f64>,
) -> Option<f64> {
    let share = match control {
        Control::Load => load.cpu_load_pct / 100.0,
        Control::Fill => load.fill_pct / 100.0,
        Control::Wset => load.wset_bytes as f64 / wset_limit_bytes.filter(|l| *l > 0)? as f64,
        Control::Rate => rate_share(load.dirty.rate_pages_per_s(), link_pages_per_s),
        Control::Bpc => bpc_share(load.dirty.bpc_pages as f64),
        Control::Period => period_share(load.dirty.period_ns as f64),
        _ => return None,
    };
    share.is_finite().then(|| share.clamp(0.0, 1.0))
}

/// Where on a slider RATE reaches the link's capacity, the other of BPC and PERIOD being held; None
/// where that is not known, not on the slider, or the control has nothing to do with RATE.
#[must_use]
pub fn jump_at(load: &LoadSettings, control: Control, link_pages_per_s: Option<f64>) -> Option<f64> {
    let link = link_pages_per_s.filter(|l| l.is_finite() && *l > 0.0)?;
    let cycle = load.dirty;
    let (share, value, most) = match control {
        Control::Rate => return Some(LINK_AT),
        Control::Bpc => {
            let bpc = link * cycle.period_ns as f64 / 1e9;
            (bpc_share(bpc), bpc, BPC_MOST)
        }
        Control::Period => {
            let period = cycle.bpc_pages as f64 * 1e9 / link;
            (period_share(period), period, PERIOD_MOST)
        }
        _ => return None,
    };
    (value <= most && share > 0.0).then_some(share)
}

/// The load with `control` put to a place on its slider, 0 to 1: the inverse of [`share_of`], on
/// round values. Where RATE is moved, PERIOD is held. A control without a slider stays.
#[must_use]
pub fn set_share(
    from: &LoadSettings,
    control: Control,
    share: f64,
    wset_limit_bytes: Option<u64>,
    link_pages_per_s: Option<f64>,
) -> LoadSettings {
    set_share_holding(from, control, share, wset_limit_bytes, link_pages_per_s, Hold::Period)
}

/// As [`set_share`], where RATE is moved holding what `hold` says.
#[must_use]
pub fn set_share_holding(
    from: &LoadSettings,
    control: Control,
    share: f64,
    wset_limit_bytes: Option<u64>,
    link_pages_per_s: Option<f64>,
    hold: Hold,
) -> LoadSettings {
    let mut to = *from;
    if !share.is_finite() {
        return to;
    }
    let share = share.clamp(0.0, 1.0);
    match control {
        Control::Load => to.cpu_load_pct = (share * 100.0).round(),
        Control::Fill => to.fill_pct = (share * 100.0).round(),
        Control::Wset => {
            if let Some(limit) = wset_limit_bytes {
                let grain = if limit >= 128 << 20 { 1 << 20 } else { PAGE_BYTES };
                let bytes = (share * limit as f64 / grain as f64).round() as u64 * grain;
                to.wset_bytes = bytes.min(limit / PAGE_BYTES * PAGE_BYTES);
            }
        }
        Control::Rate => {
            let rate = three_digits(rate_at(share, link_pages_per_s));
            to.dirty = hold.with_rate(from.dirty, rate).unwrap_or(from.dirty);
        }
        Control::Bpc => {
            let bpc = three_digits((1.0 + BPC_MOST).powf(share) - 1.0);
            to.dirty = from.dirty.with_bpc(bpc as u64).unwrap_or(from.dirty);
        }
        Control::Period => {
            let least = MIN_PERIOD.as_nanos() as f64;
            let period = three_digits(least * (PERIOD_MOST / least).powf(share));
            to.dirty = from.dirty.with_period(Duration::from_nanos(period as u64)).unwrap_or(from.dirty);
        }
        Control::Pattern => {
            let at = (share * Pattern::ALL.len() as f64) as usize;
            to.pattern = Pattern::ALL[at.min(Pattern::ALL.len() - 1)];
        }
        _ => {}
    }
    to
}

fn rate_share(rate: f64, link: Option<f64>) -> f64 {
    match link.filter(|l| l.is_finite() && *l > 0.0) {
        Some(link) if rate <= link => LINK_AT * rate / link,
        Some(link) => LINK_AT + (1.0 - LINK_AT) * (rate / link).log(LINK_TIMES),
        None if rate <= RATE_LEAST => 0.0,
        None => (rate / RATE_LEAST).log(RATE_MOST / RATE_LEAST),
    }
}

fn rate_at(share: f64, link: Option<f64>) -> f64 {
    match link.filter(|l| l.is_finite() && *l > 0.0) {
        Some(link) if share <= LINK_AT => link * share / LINK_AT,
        Some(link) => link * LINK_TIMES.powf((share - LINK_AT) / (1.0 - LINK_AT)),
        None if share <= 0.0 => 0.0,
        None => RATE_LEAST * (RATE_MOST / RATE_LEAST).powf(share),
    }
}

/// 0 pages are at the left edge, hence the 1.
fn bpc_share(bpc: f64) -> f64 {
    (1.0 + bpc).log(1.0 + BPC_MOST)
}

fn period_share(period_ns: f64) -> f64 {
    let least = MIN_PERIOD.as_nanos() as f64;
    (period_ns / least).max(1.0).log(PERIOD_MOST / least)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::DirtyCycle;

    fn load(bpc_pages: u64) -> LoadSettings {
        LoadSettings { dirty: DirtyCycle { bpc_pages, period_ns: 10_000_000 }, ..LoadSettings::default() }
    }

    #[test]
    fn the_link_stands_at_its_mark() {
        let link = Some(7812.5);
        assert_eq!(share_of(&load(78), Control::Rate, None, link).map(|s| (s * 100.0).round()), Some(60.0));
        assert_eq!(jump_at(&load(78), Control::Rate, link), Some(LINK_AT));
        assert_eq!(share_of(&load(900), Control::Rate, None, link), Some(1.0), "beyond the end is at the end");
        // BPC 78 in 10 ms is the link: the mark of BPC stands where its knob stands.
        let (knob, mark) = (share_of(&load(78), Control::Bpc, None, link), jump_at(&load(78), Control::Bpc, link));
        assert!((knob.unwrap() - mark.unwrap()).abs() < 0.001, "{knob:?} {mark:?}");
        assert_eq!(jump_at(&load(0), Control::Period, link), None, "nothing is dirtied: no PERIOD reaches the link");
        assert_eq!(jump_at(&load(78), Control::Rate, None), None);
    }

    #[test]
    fn the_edges_are_nothing_and_all() {
        let limit = Some((196 << 20) + 4096);
        for control in [Control::Load, Control::Wset, Control::Rate, Control::Bpc, Control::Fill] {
            let nothing = set_share(&load(78), control, 0.0, limit, Some(7812.5));
            assert_eq!(share_of(&nothing, control, limit, Some(7812.5)), Some(0.0), "{control:?}");
        }
        assert_eq!(set_share(&load(1), Control::Wset, 1.0, Some(100 << 20), None).wset_bytes, 100 << 20);
        assert_eq!(set_share(&load(1), Control::Wset, 0.5, None, None), load(1));
        assert_eq!(set_share(&load(1), Control::Pattern, 1.0, None, None).pattern, Pattern::Hotspot);
        assert_eq!(set_share(&load(1), Control::Rate, f64::NAN, None, None), load(1));
    }

    proptest! {
        #[test]
        fn a_place_on_a_slider_is_found_again(
            share in 0.0f64..=1.0,
            which in 0usize..6,
            link in prop_oneof![Just(None), (1000.0f64..1e6).prop_map(Some)],
            limit in (64u64 << 20)..(1 << 40),
            bpc in 1u64..1000,
        ) {
            let control = Control::LOAD[which];
            let made = set_share(&load(bpc), control, share, Some(limit), link);
            let back = share_of(&made, control, Some(limit), link).unwrap();
            // Rounding may take a page of a few, or the last of three digits.
            let slack = if control == Control::Bpc { 0.035 } else { 0.0075 };
            prop_assert!((back - share).abs() <= slack, "{:?} {} {:?}", control, back, made);
            // And from there on it stays.
            let again = set_share(&made, control, back, Some(limit), link);
            prop_assert!((share_of(&again, control, Some(limit), link).unwrap() - back).abs() < 0.002, "{:?} {:?}", made, again);
        }

        #[test]
        fn farther_right_is_never_less(a in 0.0f64..=1.0, b in 0.0f64..=1.0, link in prop_oneof![Just(None), (1000.0f64..1e6).prop_map(Some)]) {
            let (a, b) = (a.min(b), a.max(b));
            let rate = |s| set_share(&load(1), Control::Rate, s, None, link).dirty.rate_pages_per_s();
            prop_assert!(rate(a) <= rate(b) + 0.01);
        }
    }
}
