//! What the model has to know of a product. One file in [`products`](super::products) a product answers it.

use super::costs::Costs;
use super::rule::Rule;
use crate::event::MigrationSettings;

/// How a constant is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Read in the product's source code.
    Source,
    /// Concluded from documents, logs or options of other versions.
    Inferred,
    /// Measured with blackout.
    Measured,
    /// Chosen so that the paper's Table II is met.
    Calibrated,
    /// Nobody could verify it.
    Assumed,
}

impl Known {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Inferred => "inferred",
            Self::Measured => "measured",
            Self::Calibrated => "calibrated",
            Self::Assumed => "ASSUMED",
        }
    }
}

/// A constant of a product's rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// Its name, the product's own where it has one.
    pub name: &'static str,
    /// Its value, with the unit.
    pub value: String,
    /// How it is known.
    pub known: Known,
    /// Where from.
    pub from: &'static str,
}

impl Constant {
    pub(super) fn new(name: &'static str, value: impl ToString, known: Known, from: &'static str) -> Self {
        Self { name, value: value.to_string(), known, from }
    }
}

/// A parameter, and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Bandwidth,
    DowntimeLimit,
    /// Heeded by the product's rule under its own name.
    Own,
}

/// A parameter of a product.
#[derive(Debug)]
pub(crate) struct Own {
    /// Its own name.
    pub(crate) name: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// It can be changed while a migration runs.
    pub(crate) live: bool,
    /// What it stands for.
    pub(crate) meaning: Meaning,
}

impl Own {
    pub(super) const fn new(name: &'static str, unit: &'static str, live: bool, meaning: Meaning) -> Self {
        Self { name, unit, live, meaning }
    }
}

/// How something is known, and where from.
pub(crate) type Sourced = (Known, &'static str);

/// Nobody could find it out.
pub(super) const ASSUMED: Sourced = (Known::Assumed, "-");

/// How the [`Costs`] of a product are known.
#[derive(Debug)]
pub(crate) struct CostsKnown {
    /// Set-up, stop, resume, announcement and finish.
    pub(crate) times: Sourced,
    /// The time between rounds, and the device state.
    pub(crate) small: Sourced,
    /// What is sent with each page.
    pub(crate) header: Sourced,
}

/// A product whose rule is known: what ends its pre-copy, what it can do besides, and how that is known.
pub(crate) trait About: Sync {
    /// Its name, as written on the command line.
    fn name(&self) -> &'static str;

    /// Its name, for people.
    fn title(&self) -> &'static str;

    /// Its rule in words, in lines of at most 100 columns.
    fn words(&self) -> &'static str;

    /// The constants of its rule, each with its source.
    fn constants(&self) -> Vec<Constant>;

    /// What its migrations cost besides pages.
    fn costs(&self) -> Costs;

    /// How these costs are known.
    fn costs_known(&self) -> CostsKnown {
        CostsKnown { times: ASSUMED, small: ASSUMED, header: ASSUMED }
    }

    /// Its strategy for a migration with these settings.
    fn rule(&self, settings: &MigrationSettings) -> Box<dyn Rule>;

    /// What ends a pre-copy that does not converge, in words; None where nothing of its own does.
    fn own_rule(&self) -> Option<String> {
        None
    }

    /// The parameters it has by names of its own, as far as the model heeds them.
    fn parameters(&self) -> &'static [Own] {
        &[]
    }

    /// What a bandwidth limit lets through, bytes/s, where a page costs `page_bytes` with its header.
    fn lets_through(&self, limit_bytes_per_s: f64, _page_bytes: u64) -> f64 {
        limit_bytes_per_s
    }

    /// The bandwidth limit that holds where none is set, bytes/s.
    fn limit_unless_set(&self) -> Option<u64> {
        None
    }

    /// Whether, when somebody else stops the guest, it goes on with rounds at the limited speed until what is
    /// left suits it; else it looks at its log at once and sends all there is.
    fn finishes_in_rounds(&self) -> bool {
        false
    }

    /// Whether it leaves out a page that is dirty again when its turn comes.
    fn leaves_out_what_is_dirty_again(&self) -> bool {
        false
    }

    /// Whether it can run the guest at the destination before its memory is there.
    fn has_post_copy(&self) -> bool {
        false
    }

    /// Whether it can be told to throttle the guest.
    fn has_auto_converge(&self) -> bool {
        false
    }

    /// Whether it leaves out pages the guest has never touched.
    fn sends_touched_pages_only(&self) -> bool {
        false
    }

    /// Whether it slows the guest down by itself where pre-copy makes too little progress.
    fn slows_the_guest_down(&self) -> bool {
        false
    }

    /// Whether a real one that calls itself so (`QEMU 10.0.2`) goes by this rule.
    fn is(&self, _told: &str) -> bool {
        false
    }
}
