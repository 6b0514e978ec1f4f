//! What a prediction rests on: the product, the link, and what the guest's memory holds.

use super::calibration::Calibration;
use super::situation::Situation;
use crate::event::{Grounds, Span};
use crate::model::{Background, Costs, Guest, Link, Product};
use crate::units::PAGE_BYTES;

const MIB: f64 = (1u64 << 20) as f64;

/// How much of the guest's memory has content (is not all zeroes), the WSET included.
///
/// A WSET is taken from free memory, of which some has been used before: up to some size it adds
/// nothing, beyond that all of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Content {
    /// With no WSET, bytes.
    pub least_bytes: f64,
    /// Besides a large WSET, bytes.
    pub besides_bytes: f64,
    /// How far off this may be, as a share.
    pub spread: f64,
    /// A WSET and what there was with it in an earlier migration, bytes.
    pub seen: Option<(f64, f64)>,
}

impl Content {
    /// With this WSET in a guest of so much memory, bytes.
    #[must_use]
    pub fn of(&self, wset_bytes: u64, ram_bytes: u64) -> Span {
        let shape = |wset: f64| self.least_bytes.max(self.besides_bytes + wset);
        let (wset, ram) = (wset_bytes as f64, ram_bytes as f64);
        let (mid, off) = match self.seen {
            Some((seen_wset, seen)) => {
                let moved = (wset - seen_wset).abs();
                (seen + shape(wset) - shape(seen_wset), 0.005 * seen + 0.1 * moved)
            }
            None => (shape(wset), self.spread * shape(wset)),
        };
        let within = |bytes: f64| bytes.clamp(wset.min(ram), ram);
        Span { lo: within(mid - off), mid: within(mid), hi: within(mid + off) }
    }

    /// Whether it has not been seen of this guest.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        self.seen.is_none() && self.spread > 0.02
    }
}

/// What a prediction rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Basis {
    /// Whose rules.
    pub product: Product,
    /// What the guest's memory holds.
    pub content: Content,
    /// Of that, what lies above the WSET, bytes.
    pub top_bytes: Span,
    /// What the guest dirties by itself.
    pub background: Background,
    /// How the WSET lies in the guest's memory.
    pub piece_pages: Option<u64>,
    /// What the link carries without a limit, bytes/s.
    pub link_bytes_per_s: Span,
    /// The same with the share of a limit that is used; its bandwidth is not looked at.
    pub link: Link,
    /// Fixed times; the time until the guest runs again is `resume_s`.
    pub costs: Costs,
    /// From the last byte until the guest runs at the destination, s.
    pub resume_s: Span,
    /// What the link carries is a guess: nobody has seen a migration over it.
    pub link_guessed: bool,
    /// The guest is simulated: all of this is known.
    pub exact: bool,
}

impl Basis {
    /// QEMU with a guest of which nothing is known: between a tenth and all of its memory has content.
    #[must_use]
    pub fn qemu(ram_bytes: u64) -> Self {
        let ram = ram_bytes as f64;
        let costs = Product::Qemu.costs();
        let content = Content { least_bytes: 0.55 * ram, besides_bytes: 0.55 * ram, spread: 0.8, seen: None };
        Self {
            product: Product::Qemu,
            content,
            top_bytes: Span { lo: 0.0, mid: 5.0 * MIB, hi: 11.0 * MIB },
            // An idle Debian guest with the agent in it, seen of logs read 0.1 to 11 s apart: some 120 pages
            // at once, 140 in 0.3 s, 180 in 0.8 s, 260 in 1.8 s, 330 in 7 s.
            background: Background { hot_pages: 120, pages: 210, pages_per_s: 90.0 },
            piece_pages: Some(16),
            // Between two processes on one machine; a real link is what the operator sets.
            link_bytes_per_s: Span { lo: 400e6, mid: 800e6, hi: 1.2e9 },
            link: Link { bytes_per_s: 0.0, of_limit: 1.0 },
            // As measured of some 50 migrations between emulated guests: either about 5 ms or about 45, up to 70.
            resume_s: Span { lo: 0.004, mid: 0.045, hi: 0.07 },
            costs,
            link_guessed: true,
            exact: false,
        }
    }

    /// A simulated guest, of which all is known.
    #[must_use]
    pub fn simulated(product: Product, used_bytes: u64, link: Link, costs: Costs) -> Self {
        let used = used_bytes as f64;
        Self {
            product,
            content: Content { least_bytes: used, besides_bytes: used, spread: 0.0, seen: None },
            top_bytes: Span::exactly(0.0),
            background: Background::NONE,
            piece_pages: None,
            link_bytes_per_s: Span::exactly(link.bytes_per_s),
            link,
            resume_s: Span::exactly(costs.resume.as_secs_f64()),
            costs,
            link_guessed: false,
            exact: true,
        }
    }

    /// QEMU as a calibration found it.
    #[must_use]
    pub fn calibrated(c: &Calibration, ram_bytes: u64) -> Self {
        let mut basis = Self::qemu(ram_bytes);
        // A larger guest needs more for its memory map: 64 bytes a page.
        let more = (ram_bytes as f64 - c.ram_bytes as f64) / 64.0;
        basis.content = Content {
            least_bytes: c.content_least_bytes as f64 + more,
            besides_bytes: c.content_besides_wset_bytes as f64 + more,
            spread: c.content_spread,
            seen: None,
        };
        let top = c.top_bytes as f64;
        basis.top_bytes = Span { lo: 0.0, mid: top, hi: top * 1.2 };
        basis.background = Background {
            hot_pages: c.background_hot_pages,
            pages: c.background_pages,
            pages_per_s: c.background_pages_per_s,
        };
        basis.link_bytes_per_s =
            Span { lo: c.link_bytes_per_s * 0.5, mid: c.link_bytes_per_s, hi: c.link_bytes_per_s * 1.5 };
        basis.link.of_limit = c.of_limit;
        basis.link_guessed = false;
        basis.costs.setup = c.duration(c.setup_ms);
        basis.costs.finish = c.duration(c.finish_ms);
        let s = |ms: f64| ms / 1e3;
        basis.resume_s = Span { lo: s(c.resume_ms.lo), mid: s(c.resume_ms.mid), hi: s(c.resume_ms.hi) };
        basis
    }

    /// What an estimate of a stop rests on, with so large a WSET in a guest of so much memory.
    #[must_use]
    pub fn grounds(&self, wset_bytes: u64, ram_bytes: u64) -> Grounds {
        let link = self.link_bytes_per_s;
        let device = |per_s: f64| {
            let bytes = self.costs.device_state_bytes + self.costs.to_fix_pages * PAGE_BYTES;
            self.costs.stop.as_secs_f64() + bytes as f64 / per_s.max(1.0)
        };
        Grounds {
            product: self.product.name().into(),
            content_bytes: self.content.of(wset_bytes, ram_bytes),
            link_bytes_per_s: link,
            fixed_s: Span {
                lo: self.resume_s.lo + device(link.hi),
                mid: self.resume_s.mid + device(link.mid),
                hi: self.resume_s.hi + device(link.lo),
            },
            own_hot_pages: self.background.hot_pages,
            own_pages: self.background.pages,
            own_pages_per_s: self.background.pages_per_s,
        }
    }

    /// The guest with its writers; what of its memory is used is still to be set.
    pub(super) fn guest(&self, s: &Situation, ram_pages: u64, wset_pages: u64) -> Guest {
        let mut guest = Guest::with_load(ram_pages * PAGE_BYTES, 0, &s.load);
        guest.wset_pages = wset_pages;
        guest.background = self.background;
        // Of a large WSET the pieces are larger, so that the model stays quick.
        guest.piece_pages = self.piece_pages.map(|pages| pages.max(wset_pages / 4096));
        guest
    }
}
