//! The controls: what can be changed, by how much a key changes it, and what typed text means.

use std::time::Duration;

use crate::event::{LoadSettings, MigrationSettings, Pattern, StopPolicy};
use crate::hypervisor::policy::{PolicyError, TIMEOUT};
use crate::load::{MAX_RATE, MIN_PERIOD, parse_pattern, parse_percent};
use crate::units;

/// Something the operator can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// LOAD.
    Load,
    /// WSET.
    Wset,
    /// RATE; holds PERIOD.
    Rate,
    /// BPC; holds PERIOD.
    Bpc,
    /// PERIOD; holds BPC.
    Period,
    /// FILL.
    Fill,
    /// Order of the writes.
    Pattern,
    /// Bandwidth of the migration.
    Bandwidth,
    /// Downtime the hypervisor may plan for.
    DowntimeLimit,
    /// Stop policy.
    Policy,
    /// Prepare for post-copy.
    PostCopy,
    /// Throttle the guest.
    AutoConverge,
}

impl Control {
    /// The load's controls, in their order on the screen.
    pub const LOAD: [Self; 7] =
        [Self::Load, Self::Wset, Self::Rate, Self::Bpc, Self::Period, Self::Fill, Self::Pattern];
    /// The migration's controls, in their order on the screen.
    pub const MIGRATION: [Self; 5] =
        [Self::Bandwidth, Self::DowntimeLimit, Self::Policy, Self::PostCopy, Self::AutoConverge];

    /// Its name on the screen.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Load => "LOAD",
            Self::Wset => "WSET",
            Self::Rate => "RATE",
            Self::Bpc => "BPC",
            Self::Period => "PERIOD",
            Self::Fill => "FILL",
            Self::Pattern => "pattern",
            Self::Bandwidth => "bandwidth",
            Self::DowntimeLimit => "downtime limit",
            Self::Policy => "stop policy",
            Self::PostCopy => "post-copy",
            Self::AutoConverge => "auto-converge",
        }
    }

    /// What to type for it.
    #[must_use]
    pub fn prompt(self) -> &'static str {
        match self {
            Self::Load => "busy share of each guest CPU, %: 0 to 100",
            Self::Wset => "memory held by the generator, for instance 96M",
            Self::Rate => "pages a second, for instance 9000; PERIOD is held",
            Self::Bpc => "pages each cycle, for instance 90; PERIOD is held",
            Self::Period => "length of a cycle, for instance 10ms; BPC is held",
            Self::Fill => "share of each page written, %: 0 to 100",
            Self::Pattern => "cyclic, random or hotspot",
            Self::Bandwidth => "bytes a second, for instance 32M, or none",
            Self::DowntimeLimit => "for instance 300ms, or none",
            Self::Policy => "xen-3.4, none, timeout=15s, or rounds=10,ram=2.5,then=post-copy",
            Self::PostCopy | Self::AutoConverge => "on or off",
        }
    }

    /// Whether it belongs to the load (otherwise to the migration).
    #[must_use]
    pub fn is_load(self) -> bool {
        Self::LOAD.contains(&self)
    }

    /// The control `by` places further down the screen, round and round.
    #[must_use]
    pub fn moved(self, by: isize) -> Self {
        let all: Vec<Self> = Self::LOAD.into_iter().chain(Self::MIGRATION).collect();
        let at = all.iter().position(|c| *c == self).unwrap_or(0) as isize;
        all[(at + by).rem_euclid(all.len() as isize) as usize]
    }
}

/// How far one key press goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A little.
    Fine,
    /// A lot.
    Coarse,
}

/// One step up or down a scale without end: a tenth of the decade (fine) or the decade (coarse),
/// at least `least`, on whole multiples of the step.
fn decade_step(value: f64, up: bool, step: Step, least: f64) -> f64 {
    let least = if step == Step::Coarse { least * 10.0 } else { least };
    // Just under a power of ten, so that a step down from 10,000 is as small as one up to it.
    let probe = if up { value } else { value * (1.0 - 1e-9) - 1e-9 };
    let decade = if probe > 0.0 { 10f64.powf(probe.log10().floor()) } else { 0.0 };
    let size = (if step == Step::Coarse { decade } else { decade / 10.0 }).max(least);
    // The part of a step that rounding errors may take: 3.0000000001 steps are 3.
    let slack = 1e-6;
    let steps = if up { (value / size + slack).floor() + 1.0 } else { (value / size - slack).ceil() - 1.0 };
    (steps * size).max(0.0)
}

fn linear_step(value: f64, up: bool, size: f64, max: f64) -> f64 {
    (if up { value + size } else { value - size }).clamp(0.0, max)
}

/// The load after one key press. `wset_limit_bytes` is the agent's limit, where known.
#[must_use]
pub fn nudge_load(
    from: &LoadSettings,
    control: Control,
    up: bool,
    step: Step,
    wset_limit_bytes: Option<u64>,
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
            to.dirty = from.dirty.with_rate(rate.min(MAX_RATE)).unwrap_or(from.dirty);
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

/// The migration's settings after one key press.
#[must_use]
pub fn nudge_migration(from: &MigrationSettings, control: Control, up: bool, step: Step) -> MigrationSettings {
    let mut to = from.clone();
    match control {
        Control::Bandwidth => {
            let next = decade_step(from.bandwidth_bytes_per_s.unwrap_or(0) as f64, up, step, 1e6);
            to.bandwidth_bytes_per_s = Some(next.clamp(1e6, 1e12) as u64);
        }
        Control::DowntimeLimit => {
            let size = if step == Step::Coarse { 100.0 } else { 10.0 };
            to.downtime_limit_ms =
                Some(linear_step(from.downtime_limit_ms.unwrap_or(0) as f64, up, size, 2_000_000.0) as u64);
        }
        Control::Policy => {
            let all = policy_presets();
            to.policy = cycled(&all, |p| p.name == from.policy.name, up);
        }
        Control::PostCopy => to.post_copy = !from.post_copy,
        Control::AutoConverge => to.auto_converge = !from.auto_converge,
        _ => {}
    }
    to
}

fn cycled<T: Clone>(all: &[T], is_now: impl Fn(&T) -> bool, up: bool) -> T {
    let next = match all.iter().position(is_now) {
        Some(at) if up => (at + 1) % all.len(),
        Some(at) => (at + all.len() - 1) % all.len(),
        None => 0,
    };
    all[next].clone()
}

/// The stop policies offered: `xen-3.4` (29 rounds, 3 x RAM, 50 pages), `none`, `timeout`.
#[must_use]
pub fn policy_presets() -> Vec<StopPolicy> {
    vec![StopPolicy::xen_3_4(), StopPolicy::none(), StopPolicy::timeout(TIMEOUT)]
}

/// The migration settings assumed while nobody has said anything else.
#[must_use]
pub fn default_migration() -> MigrationSettings {
    MigrationSettings { policy: StopPolicy::xen_3_4(), ..MigrationSettings::default() }
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
            to.dirty = from.dirty.with_rate(rate).map_err(|e| e.to_string())?;
        }
        Control::Bpc => {
            let pages: u64 = text
                .trim()
                .replace(['_', ','], "")
                .parse()
                .map_err(|_| format!("'{text}' is not a number of pages; write a whole number, for instance 90"))?;
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

/// The migration's settings with `control` set to what was typed.
///
/// # Errors
/// A sentence saying what is wrong with the text and what would be right.
pub fn type_migration(from: &MigrationSettings, control: Control, text: &str) -> Result<MigrationSettings, String> {
    let mut to = from.clone();
    let none = text.trim() == "none";
    match control {
        Control::Bandwidth if none => to.bandwidth_bytes_per_s = None,
        Control::Bandwidth => {
            let bandwidth = units::parse_bandwidth(text).map_err(|e| e.to_string())?;
            if bandwidth == 0 {
                return Err("a bandwidth of 0 would never end; write for instance 32M, or none".into());
            }
            to.bandwidth_bytes_per_s = Some(bandwidth);
        }
        Control::DowntimeLimit if none => to.downtime_limit_ms = None,
        Control::DowntimeLimit => {
            let limit = units::parse_duration(text).map_err(|e| e.to_string())?;
            to.downtime_limit_ms = Some(limit.as_millis().min(2_000_000) as u64);
        }
        Control::Policy => {
            let preset = policy_presets().into_iter().find(|p| p.name == text.trim());
            to.policy = match preset {
                Some(preset) => preset,
                None => text.trim().parse().map_err(|e: PolicyError| e.to_string())?,
            };
        }
        Control::PostCopy => to.post_copy = on_off(text)?,
        Control::AutoConverge => to.auto_converge = on_off(text)?,
        _ => {}
    }
    Ok(to)
}

fn on_off(text: &str) -> Result<bool, String> {
    match text.trim() {
        "on" | "yes" => Ok(true),
        "off" | "no" => Ok(false),
        _ => Err(format!("'{text}' is neither on nor off")),
    }
}

/// The rules of a stop policy in few words: `29 rounds or 3 x RAM or <50 pages`.
#[must_use]
pub fn show_policy(policy: &StopPolicy) -> String {
    let mut rules = Vec::new();
    if let Some(rounds) = policy.rounds {
        rules.push(format!("{rounds} rounds"));
    }
    if let Some(factor) = policy.ram_factor {
        rules.push(format!("{factor} x RAM"));
    }
    if let Some(pages) = policy.remaining_pages_below {
        rules.push(format!("<{pages} pages"));
    }
    if let Some(ns) = policy.after_ns {
        rules.push(units::show_duration(std::time::Duration::from_nanos(ns)));
    }
    if rules.is_empty() { "left to the hypervisor".into() } else { rules.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DirtyCycle;
    use proptest::prelude::*;

    fn load() -> LoadSettings {
        LoadSettings { dirty: DirtyCycle { bpc_pages: 90, period_ns: 10_000_000 }, ..LoadSettings::default() }
    }

    #[test]
    fn rate_walks_in_round_numbers_and_back() {
        let mut l = load();
        let mut seen = Vec::new();
        for _ in 0..3 {
            l = nudge_load(&l, Control::Rate, true, Step::Coarse, None);
            seen.push(l.dirty.rate_pages_per_s().round());
        }
        assert_eq!(seen, [10_000.0, 20_000.0, 30_000.0]);
        for _ in 0..4 {
            l = nudge_load(&l, Control::Rate, false, Step::Coarse, None);
        }
        assert_eq!(l.dirty.rate_pages_per_s().round(), 8000.0);
        l = nudge_load(&l, Control::Rate, true, Step::Fine, None);
        assert_eq!(l.dirty.rate_pages_per_s().round(), 8100.0);
    }

    #[test]
    fn limits_hold() {
        let mut l = load();
        for _ in 0..20 {
            l = nudge_load(&l, Control::Wset, true, Step::Coarse, Some(100 << 20));
            l = nudge_load(&l, Control::Load, true, Step::Coarse, None);
        }
        assert_eq!((l.wset_bytes, l.cpu_load_pct), (100 << 20, 100.0));
        assert!(type_load(&l, Control::Wset, "200M", Some(100 << 20)).unwrap_err().contains("100.0 MiB"));
    }

    #[test]
    fn typed_text_is_understood_or_explained() {
        let l = load();
        assert_eq!(type_load(&l, Control::Rate, "12_500", None).unwrap().dirty.rate_pages_per_s(), 12_500.0);
        assert!(type_load(&l, Control::Rate, "9k/s", None).unwrap_err().contains("'9k/s' is not a RATE"));
        assert!(type_load(&l, Control::Load, "101", None).is_err());
        assert!(type_load(&l, Control::Period, "0s", None).is_err());
        let m = default_migration();
        assert_eq!(type_migration(&m, Control::Bandwidth, "32M").unwrap().bandwidth_bytes_per_s, Some(32_000_000));
        assert!(type_migration(&m, Control::Policy, "xen").unwrap_err().contains("xen-3.4"));
        assert_eq!(type_migration(&m, Control::Policy, "rounds=5").unwrap().policy.rounds, Some(5));
        assert!(type_migration(&m, Control::PostCopy, "on").unwrap().post_copy);
    }

    #[test]
    fn policies_cycle_through_the_presets() {
        let mut m = default_migration();
        let mut names = Vec::new();
        for _ in 0..3 {
            m = nudge_migration(&m, Control::Policy, true, Step::Fine);
            names.push(m.policy.name.clone());
        }
        assert_eq!(names, ["none", "timeout", "xen-3.4"]);
    }

    proptest! {
        #[test]
        fn steps_never_stand_still_below_the_limits(rate in 1u64..100_000_000, coarse: bool) {
            let step = if coarse { Step::Coarse } else { Step::Fine };
            let up = decade_step(rate as f64, true, step, 100.0);
            let down = decade_step(rate as f64, false, step, 100.0);
            prop_assert!(up > rate as f64 && down < rate as f64);
        }
    }
}
