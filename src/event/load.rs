//! The load as data: what is asked of the generators. The algebra and the limits are in `load`.

use serde::{Deserialize, Serialize};

/// How the dirty-pages generator walks its WSET.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Page after page, round and round: the paper's pattern (section III).
    #[default]
    Cyclic,
    /// Uniformly random pages.
    Random,
    /// 90 % of the writes go to the first 10 % of the pages.
    Hotspot,
}

/// BPC and PERIOD of the dirty-pages generator; RATE is derived, so the three never disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DirtyCycle {
    /// BPC: pages modified in each cycle. 0 stops the generator.
    pub bpc_pages: u64,
    /// PERIOD: length of a cycle, ns. Never 0.
    pub period_ns: u64,
}

impl DirtyCycle {
    /// RATE = BPC / PERIOD (paper, section III), pages/s.
    #[must_use]
    pub fn rate_pages_per_s(&self) -> f64 {
        if self.period_ns == 0 {
            return 0.0;
        }
        self.bpc_pages as f64 * 1e9 / self.period_ns as f64
    }
}

/// All that can be asked of the load generators.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoadSettings {
    /// LOAD: CPU utilisation of each guest CPU, 0 to 100 %.
    pub cpu_load_pct: f64,
    /// WSET: locked memory held by the generator, bytes (a multiple of the page size).
    pub wset_bytes: u64,
    /// BPC and PERIOD, hence RATE.
    pub dirty: DirtyCycle,
    /// FILL: share of each page that is written, 0 to 100 % (at least 8 bytes are).
    pub fill_pct: f64,
    /// The order of the writes.
    pub pattern: Pattern,
}

impl Default for LoadSettings {
    /// An idle guest: nothing held, nothing dirtied, PERIOD 10 ms, FILL 100 %.
    fn default() -> Self {
        Self {
            cpu_load_pct: 0.0,
            wset_bytes: 0,
            dirty: DirtyCycle { bpc_pages: 0, period_ns: 10_000_000 },
            fill_pct: 100.0,
            pattern: Pattern::Cyclic,
        }
    }
}
