//! What was found out about a guest and its hosts, and how: the numbers a prediction rests on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Basis, Situation, likeliest};
use crate::event::{LoadSettings, MigrationSettings, Span};
use crate::model::{MAX_RAM_PAGES, Product};
use crate::units::PAGE_BYTES;

/// Kernel and initramfs of the lab's guest, seen of 20 guests of 256 MiB with a Linux 6.1 and, with a program of 15 MB,
/// of 11 of 195 to 384 MiB: what has content without a WSET, and besides a large one, bytes.
const LAB: (u64, u64) = (29_750 * 4096, 21_940 * 4096);
/// Above 256 MiB a large WSET no longer takes all the memory that was used while the guest started, and is free
/// again: of that there is up to so much more with content, bytes, and a quarter of the further memory reaches it.
/// Seen of guests of 301 and 367 MiB: 11 to 12 and 10 to 18 MB.
const NOT_TAKEN_BYTES: f64 = 15e6;
/// The memory of that guest as QEMU migrates it: RAM, and 0.5 MiB of firmware and devices.
const LAB_RAM_BYTES: u64 = 65_667 * 4096;

/// Measured figures of one guest on one pair of hosts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Whose rules: a name of the model's.
    pub hypervisor: String,
    /// The guest's memory as the hypervisor migrates it, bytes.
    pub ram_bytes: u64,
    /// How much of it has content (is not all zeroes) with no WSET or a small one, bytes.
    pub content_least_bytes: u64,
    /// How much has content besides a large WSET, bytes.
    pub content_besides_wset_bytes: u64,
    /// How far off that was, as a share.
    pub content_spread: f64,
    /// Of that, what lies above the WSET, bytes.
    pub top_bytes: u64,
    /// Pages the guest dirties by itself all the time: dirty whenever the log is read.
    pub background_hot_pages: u64,
    /// Pages it dirties besides, one after the other.
    pub background_pages: u64,
    /// How fast, pages/s.
    pub background_pages_per_s: f64,
    /// What the link carries without a limit, bytes/s.
    pub link_bytes_per_s: f64,
    /// Bandwidth used, as a share of what the limit lets through.
    pub of_limit: f64,
    /// From the command until the first page goes, ms.
    pub setup_ms: f64,
    /// From the last byte until the guest runs at the destination, ms.
    pub resume_ms: Span,
    /// From then until the source can be deactivated, ms.
    pub finish_ms: f64,
}

impl Calibration {
    /// The lab's guest on QEMU, with this much RAM, before anything has been seen of it.
    #[must_use]
    pub fn lab(memory_bytes: u64) -> Self {
        let more = (memory_bytes as f64 - (256u64 << 20) as f64) / 64.0;
        let bytes = |at_256_mib: u64| (at_256_mib as f64 + more).max(0.0) as u64;
        let not_taken = (more * 64.0 / 4.0).clamp(0.0, NOT_TAKEN_BYTES) as u64;
        Self {
            hypervisor: Product::Qemu.name().into(),
            ram_bytes: memory_bytes + LAB_RAM_BYTES - (256 << 20),
            content_least_bytes: bytes(LAB.0),
            content_besides_wset_bytes: bytes(LAB.1) + not_taken,
            // Another kernel, another initramfs.
            content_spread: 0.04,
            top_bytes: 2_700 * 4096,
            background_hot_pages: 120,
            background_pages: 210,
            background_pages_per_s: 90.0,
            link_bytes_per_s: 800e6,
            of_limit: 1.0,
            setup_ms: 5.0,
            resume_ms: Span { lo: 4.0, mid: 45.0, hi: 70.0 },
            finish_ms: 5.0,
        }
    }

    /// The same for a guest of so much memory as the hypervisor migrates it: a larger one needs more for its
    /// memory map, 64 bytes a page.
    #[must_use]
    pub fn resized(self, ram_bytes: u64) -> Self {
        let more = (ram_bytes as f64 - self.ram_bytes as f64) / 64.0;
        let bytes = |before: u64| (before as f64 + more).clamp(0.0, ram_bytes as f64) as u64;
        Self {
            ram_bytes,
            content_least_bytes: bytes(self.content_least_bytes),
            content_besides_wset_bytes: bytes(self.content_besides_wset_bytes),
            top_bytes: self.top_bytes.min(ram_bytes),
            ..self
        }
    }

    pub(super) fn duration(&self, ms: f64) -> Duration {
        Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
    }

    /// Whether such figures can be.
    ///
    /// # Errors
    /// Says which cannot, and why.
    pub fn check(&self) -> Result<(), String> {
        if Product::named(&self.hypervisor) != Some(Product::Qemu) {
            return Err(format!("hypervisor = \"{}\": only figures of \"qemu\" can be used", self.hypervisor));
        }
        // First of all, for other bounds are shares of it: 1 MiB to the largest guest the model takes.
        if !((1 << 20)..=(MAX_RAM_PAGES * PAGE_BYTES)).contains(&self.ram_bytes) {
            return Err(format!("ram_bytes = {}: must be from 1 MiB to 16 TiB", self.ram_bytes));
        }
        let positive = [
            ("content_spread", self.content_spread, 0.0, 1.0),
            ("background_pages_per_s", self.background_pages_per_s, 0.0, 1e9),
            ("link_bytes_per_s", self.link_bytes_per_s, 1e3, 1e14),
            ("of_limit", self.of_limit, 0.01, 2.0),
            ("setup_ms", self.setup_ms, 0.0, 1e7),
            ("resume_ms.lo", self.resume_ms.lo, 0.0, self.resume_ms.mid),
            ("resume_ms.mid", self.resume_ms.mid, 0.0, self.resume_ms.hi),
            ("resume_ms.hi", self.resume_ms.hi, 0.0, 1e7),
            ("finish_ms", self.finish_ms, 0.0, 1e7),
        ];
        for (name, value, lo, hi) in positive {
            if !(lo..=hi).contains(&value) {
                return Err(format!("{name} = {value}: must be from {lo} to {hi}"));
            }
        }
        for (name, bytes) in [
            ("content_least_bytes", self.content_least_bytes),
            ("content_besides_wset_bytes", self.content_besides_wset_bytes),
            ("top_bytes", self.top_bytes),
        ] {
            if bytes > self.ram_bytes {
                return Err(format!("{name} = {bytes}: more than ram_bytes, {}", self.ram_bytes));
            }
        }
        let most = self.ram_bytes / PAGE_BYTES;
        if self.background_pages.saturating_add(self.background_hot_pages) > most {
            return Err(format!(
                "background_pages = {}, background_hot_pages = {}: more than the guest has, {most}",
                self.background_pages, self.background_hot_pages
            ));
        }
        // What each figure allows by itself may still be impossible with the others.
        let idle = Situation {
            load: LoadSettings::default(),
            settings: MigrationSettings::default(),
            ram_bytes: self.ram_bytes,
        };
        likeliest(&idle, &Basis::calibrated(self, self.ram_bytes)).check().map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_guest_can_be_is_refused() {
        let lab = Calibration::lab(256 << 20);
        assert_eq!(lab.check(), Ok(()));
        let refused = |change: &dyn Fn(&mut Calibration)| {
            let mut c = lab.clone();
            change(&mut c);
            c.check().expect_err("it was taken")
        };
        assert!(refused(&|c| c.ram_bytes = 0).contains("ram_bytes = 0: must be from 1 MiB to 16 TiB"));
        assert!(refused(&|c| c.ram_bytes = (1 << 44) + 1).contains("16 TiB"));
        assert!(refused(&|c| c.ram_bytes = u64::MAX).contains("16 TiB"));
        assert!(refused(&|c| c.of_limit = 2.5).contains("of_limit = 2.5: must be from 0.01 to 2"));
        for link in [999.0, 2e14, f64::NAN] {
            assert!(refused(&|c| c.link_bytes_per_s = link).starts_with("link_bytes_per_s"));
        }
        assert!(refused(&|c| c.background_pages = u64::MAX).starts_with("background_pages"));
        // Up to the largest guest all is well.
        assert_eq!(Calibration { ram_bytes: 1 << 44, ..lab.clone() }.check(), Ok(()));
        assert_eq!(Calibration { ram_bytes: lab.content_least_bytes, ..lab }.check(), Ok(()));
    }
}
