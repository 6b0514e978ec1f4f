//! Loads to choose from, made for the link and the WSET at hand.

use super::steps::three_digits;
use crate::event::{DirtyCycle, LoadSettings, Pattern};
use crate::load::DEFAULT_PERIOD;
use crate::units::PAGE_BYTES;

/// The WSET of a preset where the guest holds none, bytes.
const WSET: u64 = 96 << 20;

/// A named load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// The load.
    pub load: LoadSettings,
    /// What it shows.
    pub shows: &'static str,
}

/// The loads to choose from, computed from the link's capacity, the load there is and the agent's
/// limit for WSET. Those around the jump are missing where the link's capacity is not known.
#[must_use]
pub fn presets(now: &LoadSettings, wset_limit_bytes: Option<u64>, link_pages_per_s: Option<f64>) -> Vec<Preset> {
    let cycle = DirtyCycle { bpc_pages: 0, period_ns: DEFAULT_PERIOD.as_nanos() as u64 };
    let idle = LoadSettings { dirty: cycle, ..LoadSettings::default() };
    // Half of what is allowed leaves the guest room to live.
    let wset = match now.wset_bytes {
        0 => wset_limit_bytes.map_or(WSET, |l| WSET.min(l / 2)) / PAGE_BYTES * PAGE_BYTES,
        held => held,
    };
    let dirtying = |rate: f64| LoadSettings {
        wset_bytes: wset,
        dirty: cycle.with_rate(three_digits(rate)).unwrap_or(cycle),
        ..idle
    };
    let preset = |name, load, shows| Preset { name, load, shows };
    let mut all = vec![preset("idle", idle, "nothing is dirtied")];
    if let Some(link) = link_pages_per_s.filter(|l| l.is_finite() && *l > 0.0) {
        let over = dirtying(1.15 * link);
        let twice = dirtying(2.0 * link);
        all.extend([
            preset("below the jump", dirtying(0.5 * link), "converges in a few rounds"),
            preset("just under", dirtying(0.9 * link), "converges slowly"),
            preset("over the jump", over, "does not converge"),
            preset("twice the limit", twice, "does not converge, long blackout"),
            preset("random pages", LoadSettings { pattern: Pattern::Random, ..over }, "some pages twice a round"),
            preset("hotspot", LoadSettings { pattern: Pattern::Hotspot, ..twice }, "few pages, over and over"),
        ]);
    }
    all.push(preset("full CPU", LoadSettings { cpu_load_pct: 100.0, ..idle }, "busy, but nothing is dirtied"));
    if let Some(over) = all.iter().find(|p| p.name == "over the jump").map(|p| p.load) {
        let busy = LoadSettings { cpu_load_pct: 100.0, ..over };
        all.push(preset("full CPU, over", busy, "busy and over the jump"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_stand_around_the_link() {
        let all = presets(&LoadSettings::default(), Some(100 << 20), Some(7812.5));
        let rates: Vec<f64> = all.iter().map(|p| p.load.dirty.rate_pages_per_s().round()).collect();
        assert_eq!(rates, [0.0, 3910.0, 7030.0, 8980.0, 15_600.0, 8980.0, 15_600.0, 0.0, 8980.0]);
        assert_eq!(all[1].load.wset_bytes, 50 << 20, "half the limit");
        assert!(all.iter().all(|p| p.load.checked() == Ok(p.load)));
        assert!(all.len() <= 9, "each has its digit");
    }

    #[test]
    fn without_a_link_nothing_is_made_up() {
        let names: Vec<_> = presets(&LoadSettings::default(), None, None).iter().map(|p| p.name).collect();
        assert_eq!(names, ["idle", "full CPU"]);
        let held = LoadSettings { wset_bytes: 64 << 20, ..LoadSettings::default() };
        assert_eq!(presets(&held, None, Some(1000.0))[1].load.wset_bytes, 64 << 20);
    }
}
