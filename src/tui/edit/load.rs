//! The load after a key press or a typed text.

use std::time::Duration;

use super::steps::{cycled, decade_step, linear_step};
use super::{Control, Hold, Step};
use crate::event::{LoadSettings, Pattern};
use crate::load::{MAX_RATE, MIN_PERIOD, parse_pattern, parse_percent};
use crate::units;

/// The load after one key press. `wset_limit_bytes` is the agent's limit, where known; `hold` is what
/// a change of RATE leaves alone.
#[must_use]
pub fn nudge_load(
    from: &LoadSettings,
    control: Control,
    up: bool,
    step: Step,
    wset_limit_bytes: Option<u64>,
    hold: Hold,
) -> LoadSettings {
    let mut to = *from;
    let percent = if step == Step::Coarse { 10.0 } else { 1.0 };
    match control {
        Control::Load => to.cpu_load_pct = linear_step(from.cpu_load_pct, up, percent, 100.0),
        Control::Fill => to.fill_pct = linear_step(from.fill_pct, up, percent, 100.0),
        Control::Wset => {
            let size = (if step == Step::Coarse { 32u64 } else { 4 }) << 20;
            let bytes = if up { from.wset_bytes.saturating_add(size) } else { from.wset_bytes.saturating_sub(size) };
            let limit = wset_limit_bytes.unwrap_or(u64::MAX);
            to.wset_bytes = bytes.min(limit) / units::PAGE_BYTES * units::PAGE_BYTES;
        }
        Control::Rate => {
            let rate = decade_step(from.dirty.rate_pages_per_s().round(), up, step, 100.0);
            to.dirty = hold.with_rate(from.dirty, rate.min(MAX_RATE)).unwrap_or(from.dirty);
        }
        Control::Bpc => {
            let bpc = decade_step(from.dirty.bpc_pages as f64, up, step, 1.0);
            to.dirty = from.dirty.with_bpc(bpc as u64).unwrap_or(from.dirty);
        }
        Control::Period => {
            let least = MIN_PERIOD.as_nanos() as f64;
            let period = decade_step(from.dirty.period_ns as f64, up, step, least).max(least);
            to.dirty = from.dirty.with_period(Duration::from_nanos(period as u64)).unwrap_or(from.dirty);
        }
        Control::Pattern => {
            to.pattern = cycled(&Pattern::ALL, |p| *p == from.pattern, up);
        }
        _ => {}
    }
    to
}

/// A control's present value as it would be typed, to start from.
#[must_use]
pub fn show_typed(load: &LoadSettings, control: Control) -> String {
    let percent = |p: f64| ((p * 10.0).round() / 10.0).to_string();
    match control {
        Control::Load => percent(load.cpu_load_pct),
        Control::Fill => percent(load.fill_pct),
        Control::Wset if load.wset_bytes.is_multiple_of(1 << 20) => format!("{}M", load.wset_bytes >> 20),
        Control::Wset => format!("{}KiB", load.wset_bytes >> 10),
        Control::Rate => format!("{:.0}", load.dirty.rate_pages_per_s().round()),
        Control::Bpc => load.dirty.bpc_pages.to_string(),
        Control::Period => {
            let micros = load.dirty.period_ns / 1000;
            if micros.is_multiple_of(1000) { format!("{}ms", micros / 1000) } else { format!("{micros}us") }
        }
        Control::Pattern => load.pattern.name().into(),
        _ => String::new(),
    }
}

/// The load with `control` set to what was typed.
///
/// # Errors
/// A sentence saying what is wrong with the text and what would be right.
pub fn type_load(
    from: &LoadSettings,
    control: Control,
    text: &str,
    wset_limit_bytes: Option<u64>,
    hold: Hold,
) -> Result<LoadSettings, String> {
    let mut to = *from;
    match control {
        Control::Load => to.cpu_load_pct = parse_percent(text).map_err(|e| e.to_string())?,
        Control::Fill => to.fill_pct = parse_percent(text).map_err(|e| e.to_string())?,
        Control::Wset => {
            let bytes = units::parse_bytes(text).map_err(|e| e.to_string())?;
            if let Some(limit) = wset_limit_bytes
                && bytes > limit
            {
                return Err(format!(
                    "the guest agent takes at most {}, and {} was asked for",
                    units::show_bytes(limit),
                    units::show_bytes(bytes)
                ));
            }
            to.wset_bytes = bytes / units::PAGE_BYTES * units::PAGE_BYTES;
        }
        Control::Rate => {
            let rate = units::parse_rate(text).map_err(|e| e.to_string())?;
            to.dirty = hold.with_rate(from.dirty, rate).map_err(|e| e.to_string())?;
        }
        Control::Bpc => {
            let pages: u64 =
                text.trim().replace(['_', ','], "").parse().map_err(|_| {
                    format!("invalid number of pages '{text}': expected a whole number, for instance 90")
                })?;
            to.dirty = from.dirty.with_bpc(pages).map_err(|e| e.to_string())?;
        }
        Control::Period => {
            let period = units::parse_duration(text).map_err(|e| e.to_string())?;
            to.dirty = from.dirty.with_period(period).map_err(|e| e.to_string())?;
        }
        Control::Pattern => to.pattern = parse_pattern(text).map_err(|e| e.to_string())?,
        _ => {}
    }
    Ok(to)
}
