//! Whether the figures of a calibration can be, each by itself and all together.

use super::basis::Basis;
use super::calibration::Calibration;
use super::scenario::likeliest;
use super::situation::Situation;
use crate::event::{LoadSettings, MigrationSettings};
use crate::model::{MAX_RAM_PAGES, Product};
use crate::units::PAGE_BYTES;

impl Calibration {
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
