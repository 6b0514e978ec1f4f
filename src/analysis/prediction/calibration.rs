//! What was found out about a guest and its hosts, and how: the numbers a prediction rests on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Span;
use crate::model::Product;

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
}
