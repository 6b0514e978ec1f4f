//! What is migrated, over what, by whose rules.

use std::time::Duration;

use thiserror::Error;

use super::costs::Costs;
use super::products::Product;
use crate::event::{DirtyCycle, LoadSettings, MigrationSettings, Pattern, Then};
use crate::units::{PAGE_BYTES, show_bytes, show_count};

/// The largest guest a scenario may have, pages: 16 TiB.
pub const MAX_RAM_PAGES: u64 = 1 << 32;

/// What no guest's memory exceeds, bytes/s: 12 channels of DDR5-6400 carry 614 GB/s; a generator of
/// one thread reaches some 15 GB/s with whole pages (design, section 6). RATE x the bytes written in
/// each page (FILL, at least a cache line of 64 bytes) is held below.
pub const MEMORY_BYTES_PER_S: f64 = 614e9;

/// What a guest writes besides the generator, at the beginning of its memory: some pages again and
/// again, and a set that is walked cyclically.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Background {
    /// Pages written every 10 ms (the kernel's own, the agent's): dirty whenever the log is read.
    pub hot_pages: u64,
    /// Size of the set, pages.
    pub pages: u64,
    /// How fast it is written, pages/s.
    pub pages_per_s: f64,
}

impl Background {
    /// A guest that writes nothing by itself.
    pub const NONE: Self = Self { hot_pages: 0, pages: 0, pages_per_s: 0.0 };
}

/// The guest: memory of VMSIZE. What it uses itself lies at the beginning, the generator's WSET at the
/// end (Linux hands out the pages of a zone from its end) or nearly so, and what is between was never
/// touched.
#[derive(Debug, Clone, PartialEq)]
pub struct Guest {
    /// VMSIZE, pages.
    pub ram_pages: u64,
    /// Pages that have content (are not all zeroes), the WSET among them.
    pub used_pages: u64,
    /// WSET, pages.
    pub wset_pages: u64,
    /// Of the memory the guest uses itself, how much lies above the WSET, pages (Linux takes its
    /// memory map and its initramfs from the end of memory).
    pub top_pages: u64,
    /// Neighbouring pages of the WSET lie together in pieces of so many, the pieces all over it: a
    /// guest whose memory is fragmented. None: they lie in the order in which they are written.
    pub piece_pages: Option<u64>,
    /// The generator's BPC and PERIOD.
    pub dirty: DirtyCycle,
    /// The order of its writes.
    pub pattern: Pattern,
    /// FILL, %; of no effect on the migration, but on what the memory can do.
    pub fill_pct: f64,
    /// Where in the WSET the generator is when the migration begins, pages from its beginning.
    pub at_page: u64,
    /// What is written besides.
    pub background: Background,
}

impl Guest {
    /// A guest of so much memory with the generators set so. `used_bytes` is what has content
    /// without the WSET.
    #[must_use]
    pub fn with_load(ram_bytes: u64, used_bytes: u64, load: &LoadSettings) -> Self {
        let wset_pages = load.wset_bytes.div_ceil(PAGE_BYTES);
        Self {
            ram_pages: ram_bytes.div_ceil(PAGE_BYTES),
            used_pages: used_bytes.div_ceil(PAGE_BYTES).saturating_add(wset_pages),
            wset_pages,
            top_pages: 0,
            piece_pages: None,
            dirty: load.dirty,
            pattern: load.pattern,
            fill_pct: load.fill_pct,
            at_page: 0,
            background: Background::NONE,
        }
    }

    /// RATE, pages/s; 0 without a WSET to write to.
    #[must_use]
    pub fn rate_pages_per_s(&self) -> f64 {
        if self.wset_pages == 0 { 0.0 } else { self.dirty.rate_pages_per_s() }
    }
}

/// The way between the hosts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// What it carries of a migration's bytes, bytes/s.
    pub bytes_per_s: f64,
    /// How much of a bandwidth that a setting allows is really used (QEMU's granularity is its rule's).
    pub of_limit: f64,
}

/// How sets of pages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// As ranges; for cyclic writes only.
    Interval,
    /// A bit a page, each write by itself.
    Bitmap,
}

/// One migration to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Whose rules.
    pub product: Product,
    /// What is migrated.
    pub guest: Guest,
    /// Over what.
    pub link: Link,
    /// What else it costs.
    pub costs: Costs,
    /// What is asked for: bandwidth, downtime limit, stop policy, post-copy, auto-converge. Xen
    /// 3.4's adaptive bandwidth is `extra["adaptive"] = true`.
    pub settings: MigrationSettings,
    /// When to give up watching a pre-copy that does not end.
    pub horizon: Duration,
    /// Seed of the random patterns.
    pub seed: u64,
}

/// A scenario that cannot be.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{what} cannot be {value}: {why}")]
pub struct ScenarioError {
    /// Which quantity.
    pub what: &'static str,
    /// Its value as given.
    pub value: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

fn error(what: &'static str, value: impl ToString, why: impl Into<String>) -> ScenarioError {
    ScenarioError { what, value: value.to_string(), why: why.into() }
}

fn pages(n: u64) -> String {
    format!("{} ({} pages)", show_bytes(n.saturating_mul(PAGE_BYTES)), show_count(n))
}

impl Scenario {
    /// The engine that can follow this guest's writes and is quickest.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self.guest.pattern {
            Pattern::Cyclic => Engine::Interval,
            Pattern::Random | Pattern::Hotspot => Engine::Bitmap,
        }
    }

    /// What a migration may use of the link, bytes/s.
    #[must_use]
    pub fn bandwidth_bytes_per_s(&self) -> f64 {
        self.bandwidth_with(&self.settings)
    }

    /// What it may use of the link with other settings, bytes/s.
    #[must_use]
    pub(super) fn bandwidth_with(&self, settings: &MigrationSettings) -> f64 {
        let Some(limit) = settings.bandwidth_bytes_per_s.or_else(|| self.product.about().limit_unless_set()) else {
            return self.link.bytes_per_s;
        };
        // As with QEMU: 0 lifts the limit, and the link is what is left.
        if limit == 0 {
            return self.link.bytes_per_s;
        }
        let page_bytes = PAGE_BYTES + self.costs.page_header_bytes;
        let through = self.product.about().lets_through(limit as f64 * self.link.of_limit, page_bytes);
        self.link.bytes_per_s.min(through)
    }

    /// The bandwidth in pages with what is sent with each, pages/s: where the jump is to be looked
    /// for.
    #[must_use]
    pub fn link_pages_per_s(&self) -> f64 {
        self.bandwidth_bytes_per_s() / (PAGE_BYTES + self.costs.page_header_bytes) as f64
    }

    /// Checks that it can be.
    ///
    /// # Errors
    /// Names the first quantity that is impossible, why, and what would be right.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let g = &self.guest;
        if g.ram_pages == 0 {
            return Err(error("VMSIZE", 0, "a guest has memory; give at least 4 KiB"));
        }
        if g.ram_pages > MAX_RAM_PAGES {
            let most = pages(MAX_RAM_PAGES);
            return Err(error("VMSIZE", pages(g.ram_pages), format!("the model takes guests up to {most}")));
        }
        if g.wset_pages > g.ram_pages {
            let why = format!("it is more than VMSIZE, {}; give a smaller WSET or a larger guest", pages(g.ram_pages));
            return Err(error("WSET", pages(g.wset_pages), why));
        }
        if g.used_pages > g.ram_pages {
            let why = format!(
                "VMSIZE is {} only, and the WSET has to lie beside what the guest uses itself",
                pages(g.ram_pages)
            );
            return Err(error("used memory", pages(g.used_pages), why));
        }
        if g.used_pages < g.wset_pages {
            let why = format!("the WSET of {} is part of it", pages(g.wset_pages));
            return Err(error("used memory", pages(g.used_pages), why));
        }
        if g.dirty.check().is_err() {
            let value = format!("BPC {} in a PERIOD of {} ns", g.dirty.bpc_pages, g.dirty.period_ns);
            return Err(error("RATE", value, "PERIOD is at least 0.1 ms, RATE at most 1,000,000,000 pages/s"));
        }
        if !(g.fill_pct.is_finite() && (0.0..=100.0).contains(&g.fill_pct)) {
            return Err(error("FILL", g.fill_pct, "a FILL is 0 to 100 %"));
        }
        let written = (g.fill_pct / 100.0 * PAGE_BYTES as f64).max(64.0);
        let most = MEMORY_BYTES_PER_S / written;
        if g.dirty.rate_pages_per_s() > most {
            let why = format!(
                "with a FILL of {} % that is {}/s, and no memory takes more than {}/s; give at most {most:.0} pages/s",
                g.fill_pct,
                show_bytes((g.dirty.rate_pages_per_s() * written) as u64),
                show_bytes(MEMORY_BYTES_PER_S as u64),
            );
            return Err(error("RATE", format!("{:.0} pages/s", g.dirty.rate_pages_per_s()), why));
        }
        let b = g.background;
        if !(b.pages_per_s.is_finite() && (0.0..=1e9).contains(&b.pages_per_s)) {
            return Err(error("background dirty rate", b.pages_per_s, "give 0 to 1,000,000,000 pages/s"));
        }
        if g.top_pages > g.used_pages - g.wset_pages {
            let most = pages(g.used_pages - g.wset_pages);
            let why = format!("the guest uses {most} besides the WSET");
            return Err(error("memory above the WSET", pages(g.top_pages), why));
        }
        if g.piece_pages == Some(0) {
            return Err(error("a piece of the WSET", 0, "give at least one page"));
        }
        if b.pages.saturating_add(b.hot_pages) > g.used_pages - g.wset_pages - g.top_pages {
            let most = pages(g.used_pages - g.wset_pages - g.top_pages);
            let all = pages(b.pages.saturating_add(b.hot_pages));
            return Err(error("background set", all, format!("besides the WSET the guest uses {most}")));
        }
        self.check_link()?;
        self.check_policy()
    }

    /// A policy can only do what the product can.
    fn check_policy(&self) -> Result<(), ScenarioError> {
        let p = &self.settings.policy;
        let can = match p.then {
            Then::PostCopy => self.product.about().has_post_copy(),
            Then::AutoConverge => self.product.about().has_auto_converge(),
            Then::StopAndCopy | Then::Cancel => true,
        };
        if can || !p.has_rules() {
            return Ok(());
        }
        let why = format!("{} has no such thing; choose stop-and-copy or cancel", self.product.title());
        Err(error("what a stop policy does", p.then.word(), why))
    }

    fn check_link(&self) -> Result<(), ScenarioError> {
        let ok = |v: f64| (1.0..=1e15).contains(&v);
        if !ok(self.link.bytes_per_s) {
            let why = "nothing would ever arrive; give at least 1 byte/s and at most 1e15";
            return Err(error("bandwidth of the link", format!("{} bytes/s", self.link.bytes_per_s), why));
        }
        if !(self.link.of_limit.is_finite() && self.link.of_limit > 0.0 && self.link.of_limit <= 2.0) {
            return Err(error("share of the bandwidth", self.link.of_limit, "it is a factor near 1"));
        }
        if self.horizon.is_zero() || self.horizon > Duration::from_secs(30 * 86_400) {
            return Err(error("horizon", format!("{:?}", self.horizon), "give more than nothing and at most 30 days"));
        }
        let c = &self.costs;
        let day = Duration::from_secs(86_400);
        for (what, d) in [
            ("set-up time", c.setup),
            ("time between rounds", c.per_round),
            ("stop time", c.stop),
            ("resume time", c.resume),
            ("announcement delay", c.announce),
            ("time to finish", c.finish),
            ("fault latency", c.fault_latency),
        ] {
            if d > day {
                return Err(error(what, format!("{d:?}"), "it is more than a day"));
            }
        }
        let days = self.guest.ram_pages as f64 * PAGE_BYTES as f64 / self.bandwidth_bytes_per_s() / 86_400.0;
        if days > 30.0 {
            let why = format!("all of the guest's memory would take {days:.0} days; the model follows at most 30");
            return Err(error("bandwidth", format!("{:.0} bytes/s", self.bandwidth_bytes_per_s()), why));
        }
        if c.to_fix_pages > self.guest.ram_pages {
            let why = format!("the guest has {}", pages(self.guest.ram_pages));
            return Err(error("pages sent again at the end", pages(c.to_fix_pages), why));
        }
        if c.page_header_bytes > 1 << 20 || c.device_state_bytes > 1 << 40 {
            return Err(error("device state or page header", "so large", "give at most 1 TiB and 1 MiB"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        let load = LoadSettings {
            wset_bytes: 96 << 20,
            dirty: DirtyCycle { bpc_pages: 90, period_ns: 10_000_000 },
            ..LoadSettings::default()
        };
        Scenario {
            product: Product::Qemu,
            guest: Guest::with_load(256 << 20, 64 << 20, &load),
            link: Link { bytes_per_s: 1e9, of_limit: 1.0 },
            costs: Product::Qemu.costs(),
            settings: MigrationSettings { bandwidth_bytes_per_s: Some(32_000_000), ..MigrationSettings::default() },
            horizon: Duration::from_secs(3600),
            seed: 1,
        }
    }

    #[test]
    fn what_can_be_passes() {
        assert_eq!(scenario().check(), Ok(()));
        // 779.7 pages fit into each 100 ms; 25 times 32 pages are sent, as seen of QEMU 10.0.2.
        assert_eq!(scenario().link_pages_per_s(), 8_000.0);
        let mut unlimited = scenario();
        unlimited.settings.bandwidth_bytes_per_s = Some(0);
        assert_eq!((unlimited.check(), unlimited.bandwidth_bytes_per_s()), (Ok(()), 1e9), "0 is no limit");
        let xen = Scenario { product: Product::Xen34, ..scenario() };
        assert!((xen.link_pages_per_s() - 32e6 / 4104.0).abs() < 1e-6);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let refused = |change: &dyn Fn(&mut Scenario)| {
            let mut s = scenario();
            change(&mut s);
            s.check().unwrap_err().to_string()
        };
        let e = refused(&|s| s.guest.wset_pages = s.guest.ram_pages + 1);
        assert!(e.starts_with("WSET cannot be") && e.contains("more than VMSIZE"), "{e}");
        let e = refused(&|s| s.guest.used_pages = s.guest.ram_pages + 1);
        assert!(e.starts_with("used memory"), "{e}");
        let e = refused(&|s| s.guest.ram_pages = 0);
        assert!(e.starts_with("VMSIZE"), "{e}");
        let e = refused(&|s| s.guest.ram_pages = u64::MAX);
        assert!(e.contains("16384.0 GiB"), "{e}");
        for link in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let e = refused(&|s| s.link.bytes_per_s = link);
            assert!(e.contains("bandwidth of the link"), "{e}");
        }
        let e = refused(&|s| s.guest.dirty = DirtyCycle { bpc_pages: 500_000_000, period_ns: 1_000_000_000 });
        assert!(e.contains("no memory takes more") && e.contains("FILL of 100 %"), "{e}");
        let e = refused(&|s| s.guest.fill_pct = -1.0);
        assert!(e.starts_with("FILL"), "{e}");
        let e = refused(&|s| s.guest.background = Background { pages: 1 << 20, ..Background::NONE });
        assert!(e.starts_with("background set"), "{e}");
        let e = refused(&|s| s.horizon = Duration::ZERO);
        assert!(e.starts_with("horizon"), "{e}");
    }
}
