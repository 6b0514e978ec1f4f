//! The rules in words, each constant with its source.

use std::fmt::Write as _;

use super::{Product, cloud_hypervisor, hyper_v, qemu, vmware, xen_3_4, xen_4_6};
use crate::event::policy::{XEN_3_4_PAGES, XEN_3_4_RAM_FACTOR, XEN_3_4_ROUNDS};
use crate::model::scenario::Costs;

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

fn c(name: &'static str, value: impl ToString, known: Known, from: &'static str) -> Constant {
    Constant { name, value: value.to_string(), known, from }
}

/// The constants of a product's rule, and what a migration costs besides pages.
#[must_use]
pub fn constants(product: Product) -> Vec<Constant> {
    use Known::{Assumed, Inferred, Source};
    let mut all = match product {
        Product::Xen34 => {
            let file = "tools/libxc/xc_domain_save.c, Xen 3.4.4";
            // XenServer's toolstack could have given others; nothing says that 5.6 did.
            let default = "the same, where the toolstack gives none; that XenServer 5.6 gave none is inferred";
            vec![
                c("DEF_MAX_ITERS", format!("{XEN_3_4_ROUNDS} rounds"), Source, default),
                c("DEF_MAX_FACTOR", format!("{XEN_3_4_RAM_FACTOR} x RAM"), Source, default),
                c("fewer pages end it", format!("{XEN_3_4_PAGES} pages"), Source, file),
                c("MAX_BATCH_SIZE", format!("{} pages", xen_3_4::BATCH_PAGES), Source, "tools/libxc/xg_save_restore.h"),
                c("pages dirty again", "left for the next round", Source, file),
                c("untouched pages", "sent in full", Source, file),
                c(
                    "to_fix",
                    format!("{} pages", Costs::of(product).to_fix_pages),
                    Assumed,
                    "how many it is depends on the guest",
                ),
                c(
                    "adaptive bandwidth (off)",
                    format!(
                        "from {} to {} Mbit/s, {} above the dirty rate",
                        xen_3_4::START_MBIT_PER_S,
                        xen_3_4::MAX_MBIT_PER_S,
                        xen_3_4::STEP_MBIT_PER_S
                    ),
                    Source,
                    "the same, under #ifdef ADAPTIVE_SAVE, which is not defined by default; Clark et al. 2005",
                ),
            ]
        }
        Product::Xen46 => {
            let file = "tools/libs/guest/xg_sr_save.c, simple_precopy_policy";
            vec![
                c("SPP_MAX_ITERATIONS", format!("{} rounds", xen_4_6::ROUNDS), Source, file),
                c("SPP_TARGET_DIRTY_COUNT", format!("{} pages", xen_4_6::DIRTY_PAGES), Source, file),
                c("pages dirty again", "sent all the same", Source, file),
                c("untouched pages", "sent in full", Source, file),
            ]
        }
        Product::Qemu => {
            let (m, r) = ("migration/migration.c", "migration/ram.c");
            vec![
                c(
                    "downtime-limit",
                    format!("{} ms unless set", qemu::DOWNTIME_LIMIT_MS),
                    Source,
                    "migration/options.c",
                ),
                c(
                    "max-bandwidth",
                    format!("{} unless set", crate::units::show_bytes(qemu::MAX_BANDWIDTH) + "/s"),
                    Source,
                    "migration/options.c, MAX_THROTTLE",
                ),
                c("looks at the threshold every", format!("{} ms", qemu::LOOK_EVERY_MS), Source, m),
                c("a page of zeroes", format!("{} bytes", qemu::ZERO_PAGE_BYTES), Source, r),
                c(
                    "finding pages of zeroes",
                    "takes no time",
                    Assumed,
                    "so a large empty guest is too quick over a fast link",
                ),
                c(
                    "the limit holds for",
                    format!("{} ms, in steps of {} pages, in one burst", qemu::LOOK_EVERY_MS, qemu::FLUSHED_PAGES),
                    Source,
                    "migration/migration-stats.c, qemu-file.c; measured",
                ),
                c(
                    "page fault in post-copy",
                    format!("{} ms", Costs::of(product).fault_latency.as_secs_f64() * 1e3),
                    Assumed,
                    "-",
                ),
                c("rounds, bytes, time", "no cap", Source, m),
                c("the limit at the end", "lifted", Source, m),
                c(
                    "auto-converge",
                    format!(
                        "when {} % of what is sent is dirtied in 2 periods of {} s: {} %, then {} % more, at most {} %",
                        qemu::THROTTLE_TRIGGER_PCT,
                        qemu::THROTTLE_PERIOD_S,
                        qemu::THROTTLE_INITIAL_PCT,
                        qemu::THROTTLE_INCREMENT_PCT,
                        qemu::THROTTLE_MAX_PCT
                    ),
                    Source,
                    "migration/ram.c, migration/options.c",
                ),
                c(
                    "a throttled CPU runs",
                    format!("{} ms between sleeps", qemu::THROTTLE_SLICE_MS),
                    Source,
                    "migration/cpu-throttle.c",
                ),
                c(
                    "with auto-converge the log is read",
                    format!("every {} s at least", qemu::SYNC_EVERY_S),
                    Source,
                    "migration/cpu-throttle.c, since 9.2",
                ),
                c(
                    "lateness the generator makes up for",
                    "20 ms or one PERIOD",
                    Source,
                    "blackout's own agent; so short sleeps do not slow it down",
                ),
            ]
        }
        Product::Vmware40 | Product::Vmware5 => {
            let options = "advanced options of a later ESX";
            let mut all = vec![
                c("PreCopySwitchoverTimeGoal", format!("{} s", vmware::SWITCHOVER_GOAL_S), Inferred, options),
                c("PreCopyMinProgressPerc", format!("{} %", vmware::MIN_PROGRESS_PCT), Inferred, options),
                c("untouched pages", "not sent", Inferred, "the paper, section IV.A: time nearly constant in VMSIZE"),
            ];
            if product == Product::Vmware5 {
                all.push(c("SdpsTargetRate", format!("{} %", vmware::SDPS_TARGET_PCT), Inferred, options));
                all.push(c("how the stuns are set", "in one step to the target, at most 99 %", Assumed, "-"));
            } else {
                let from = "Stun During Page Send came with vSphere 5.0";
                all.push(c("when it makes too little progress", "switches over", Inferred, from));
            }
            all
        }
        Product::HyperV => vec![
            c(
                "passes at most",
                hyper_v::PASSES,
                Inferred,
                "Directions on Microsoft, Live Migration Switch Over (2009); Microsoft documents no number",
            ),
            c("untouched pages", "sent in full", Assumed, "-"),
            c("little enough is left", format!("{} s at the link's speed", hyper_v::LITTLE_S), Assumed, "-"),
        ],
        Product::CloudHypervisor => vec![
            c("downtime_ms", format!("{} ms unless set", cloud_hypervisor::DOWNTIME_MS), Source, "VmSendMigrationData"),
            c("timeout_s", format!("{} s, then cancel", cloud_hypervisor::TIMEOUT_S), Source, "VmSendMigrationData"),
            c("untouched pages", "sent in full", Source, "the first pass is the whole memory table"),
        ],
    };
    all.extend(costs(product));
    all
}

fn costs(product: Product) -> Vec<Constant> {
    use Known::{Assumed, Calibrated, Measured, Source};
    const QEMU: &str = "QEMU 10.0.2, two processes on one machine";
    const TABLE: &str = "the paper, Table II";
    // Of the paper's testbed only sums are known: which part is whose is assumed.
    let time = match product {
        Product::Qemu => (Measured, QEMU),
        Product::Xen34 | Product::Vmware40 => (Calibrated, TABLE),
        _ => (Assumed, "-"),
    };
    let small = if product == Product::Qemu { (Measured, QEMU) } else { (Assumed, "-") };
    let header = match product {
        Product::Qemu => (Source, "migration/ram.c, save_page_header"),
        Product::Xen34 | Product::Xen46 => (Source, "one unsigned long a page"),
        _ => (Assumed, "-"),
    };
    let costs = Costs::of(product);
    let ms = |d: std::time::Duration| format!("{} ms", d.as_secs_f64() * 1e3);
    let of = |name, value, (known, from): (Known, &'static str)| c(name, value, known, from);
    vec![
        of("set-up", ms(costs.setup), time),
        of("between rounds", ms(costs.per_round), small),
        of("sent with each page", format!("{} bytes", costs.page_header_bytes), header),
        of("stopping the guest", ms(costs.stop), time),
        of("device state", crate::units::show_bytes(costs.device_state_bytes), small),
        of("setting up the destination", ms(costs.resume), time),
        of("until the network leads there", ms(costs.announce), time),
        of("until the source can go", ms(costs.finish), time),
    ]
}

/// A product's rule in words, with its constants.
#[must_use]
pub fn explain(product: Product) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} ({})\n\n{}\n", product.title(), product.name(), words(product));
    let all = constants(product);
    let width = |f: fn(&Constant) -> usize| all.iter().map(f).max().unwrap_or(0);
    let (name, value) = (width(|c| c.name.len()), width(|c| c.value.len().min(40)));
    for constant in &all {
        let (known, from) = (constant.known.word(), constant.from);
        let _ = writeln!(out, "  {:name$}  {:value$}  {known}: {from}", constant.name, constant.value);
    }
    out
}

fn words(product: Product) -> &'static str {
    match product {
        Product::Xen34 => {
            "All of memory in the first round, then what is dirty, round after round. A page that is dirty\n\
             again when its turn comes is left for the next round. The guest is stopped when a round has\n\
             next to nothing to send, after 29 rounds, or when 3 x RAM has been sent; then everything left\n\
             is sent. Above the jump the rounds are hollow: migration time falls as RATE rises, downtime is\n\
             WSET over the link."
        }
        Product::Xen46 => {
            "All of memory, then what is dirty, at most five rounds; no page is skipped. Then the guest is\n\
             stopped. Quick, and a busy guest pays for it with its downtime."
        }
        Product::Qemu => {
            "All of memory (pages of zeroes as marks), then what is dirty, for ever, until what is left can\n\
             be sent within downtime-limit at the bandwidth measured. Above the jump it never ends by\n\
             itself: a stop policy, auto-converge or post-copy must."
        }
        Product::Vmware40 => {
            "Touched pages, then what is dirty, until what is left can be sent within half a second. When a\n\
             round makes too little progress it switches over with what is left, however long that takes."
        }
        Product::Vmware5 => {
            "As ESX 4.0, but when a round makes too little progress the guest is slowed down until five\n\
             times as much is sent as is dirtied: downtime stays near half a second, the guest crawls."
        }
        Product::HyperV => "All of memory, then what is dirty, until little is left, at most ten passes.",
        Product::CloudHypervisor => {
            "All of memory, then what is dirty, until what is left can be sent within downtime_ms at the\n\
             bandwidth of the last pass; gives up after an hour."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_explained_and_says_what_is_assumed() {
        for product in Product::ALL {
            let text = explain(product);
            assert!(text.contains(product.name()) && text.lines().count() > 8, "{text}");
            assert_eq!(Product::named(product.name()), Some(product));
        }
        assert!(explain(Product::HyperV).contains("ASSUMED"));
        // Less than a millisecond is not nothing.
        let qemu = explain(Product::Qemu);
        assert!(qemu.contains("0.3 ms") && !qemu.contains(" 0 ms"), "{qemu}");
    }
}
