//! A full factorial experiment on the model: every combination of levels, each repeated with jitter.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::variability::Variability;
use crate::analysis::stats::Summary;
use crate::event::{DirtyCycle, MigrationSettings, Pattern};
use crate::model::{Background, Costs, End, Guest, Link, Product, Scenario, ScenarioError, run as run_model};
use crate::units::PAGE_BYTES;

/// No migration is watched longer. Cloud Hypervisor gives up after an hour, at the end of a round: that
/// is still seen.
pub const HORIZON: Duration = Duration::from_secs(4_000);

/// Which treatments, and how often each.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    /// Whose rules.
    pub product: Product,
    /// Levels of VMSIZE, bytes.
    pub vmsize_bytes: Vec<u64>,
    /// Levels of WSET, bytes.
    pub wset_bytes: Vec<u64>,
    /// Levels of RATE, pages/s.
    pub rate_pages_per_s: Vec<u64>,
    /// Migrations a treatment.
    pub repetitions: u32,
}

impl Design {
    /// All combinations of the levels: VMSIZE, WSET, RATE.
    #[must_use]
    pub fn treatments(&self) -> Vec<(u64, u64, u64)> {
        let mut all = Vec::new();
        for vmsize in &self.vmsize_bytes {
            for wset in &self.wset_bytes {
                all.extend(self.rate_pages_per_s.iter().map(|rate| (*vmsize, *wset, *rate)));
            }
        }
        all
    }
}

/// How repetitions differ: relative standard deviations of normal distributions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// Of the bandwidth.
    pub bandwidth: f64,
    /// Of each fixed time.
    pub fixed: f64,
}

/// What is the same in all treatments.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The link, bytes/s.
    pub link_bytes_per_s: f64,
    /// Memory used besides the WSET, bytes.
    pub used_bytes: u64,
    /// What is written besides.
    pub background: Background,
    /// PERIOD of the generator.
    pub period: Duration,
    /// The product's costs.
    pub costs: Costs,
    /// How repetitions differ.
    pub jitter: Jitter,
    /// Interval of the ping that counts the downtime.
    pub ping: Duration,
}

/// A treatment and what was measured in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Treatment {
    /// VMSIZE, bytes.
    pub vmsize_bytes: u64,
    /// WSET, bytes.
    pub wset_bytes: u64,
    /// RATE, pages/s.
    pub rate_pages_per_s: u64,
    /// Migration times, s.
    pub migration_s: Vec<f64>,
    /// Downtimes as the ping counts them (lost x interval), s.
    pub downtime_s: Vec<f64>,
    /// Migrations that did not end within the horizon.
    pub endless: u32,
    /// Migrations that were given up; the guest stayed at the source.
    pub cancelled: u32,
}

/// What came of a design.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// The design.
    pub design: Design,
    /// What came of each treatment.
    pub treatments: Vec<Treatment>,
}

/// Runs a design on all CPUs. The same seed gives the same results, whatever the number of CPUs.
///
/// # Errors
/// When a treatment cannot be ([`Scenario::check`]).
pub fn run(design: &Design, setup: &Setup, seed: u64) -> Result<Campaign, ScenarioError> {
    let treatments = design.treatments();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(treatments.len().max(1));
    let parts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let treatments = &treatments;
                scope.spawn(move || {
                    let own = treatments.iter().enumerate().skip(first).step_by(threads);
                    own.map(|(i, levels)| Ok((i, treat(design, setup, *levels, seed ^ (i as u64) << 20)?)))
                        .collect::<Result<Vec<_>, ScenarioError>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Vec<_>>()
    });
    let mut all = Vec::with_capacity(treatments.len());
    for part in parts {
        all.extend(part?);
    }
    all.sort_by_key(|(i, _)| *i);
    Ok(Campaign { design: design.clone(), treatments: all.into_iter().map(|(_, t)| t).collect() })
}

fn treat(design: &Design, setup: &Setup, levels: (u64, u64, u64), seed: u64) -> Result<Treatment, ScenarioError> {
    let (vmsize_bytes, wset_bytes, rate) = levels;
    let mut random = StdRng::seed_from_u64(seed);
    let mut t = Treatment {
        vmsize_bytes,
        wset_bytes,
        rate_pages_per_s: rate,
        migration_s: Vec::new(),
        downtime_s: Vec::new(),
        endless: 0,
        cancelled: 0,
    };
    for _ in 0..design.repetitions {
        let scenario = scenario(design.product, setup, levels, Some(&mut random));
        let trace = run_model(&scenario)?;
        match (trace.end, trace.downtime()) {
            (End::Done, Some(downtime)) => {
                t.migration_s.push(trace.migration_time().as_secs_f64());
                // The outage begins anywhere between two pings.
                let ping = setup.ping.as_secs_f64();
                let lost = (downtime.as_secs_f64() / ping + random.random::<f64>()).floor();
                t.downtime_s.push(lost * ping);
            }
            (End::Cancelled, _) => t.cancelled += 1,
            _ => t.endless += 1,
        }
    }
    Ok(t)
}

/// The scenario of a treatment; with a source of randomness, of one repetition of it.
pub fn scenario(
    product: Product,
    setup: &Setup,
    (vmsize_bytes, wset_bytes, rate): (u64, u64, u64),
    random: Option<&mut StdRng>,
) -> Scenario {
    let wset_pages = wset_bytes / PAGE_BYTES;
    let period_ns = setup.period.as_nanos() as u64;
    let mut s = Scenario {
        product,
        guest: Guest {
            ram_pages: vmsize_bytes / PAGE_BYTES,
            used_pages: setup.used_bytes / PAGE_BYTES + wset_pages,
            wset_pages,
            dirty: DirtyCycle { bpc_pages: (rate as f64 * setup.period.as_secs_f64()) as u64, period_ns },
            pattern: Pattern::Cyclic,
            fill_pct: 100.0,
            top_pages: 0,
            piece_pages: None,
            at_page: 0,
            background: setup.background,
        },
        link: Link { bytes_per_s: setup.link_bytes_per_s, of_limit: 1.0 },
        costs: setup.costs,
        settings: MigrationSettings::default(),
        horizon: HORIZON,
        seed: 1,
    };
    if let Some(random) = random {
        s.link.bytes_per_s *= (1.0 + setup.jitter.bandwidth * normal(random)).clamp(0.5, 1.5);
        let c = &mut s.costs;
        for fixed in [&mut c.setup, &mut c.stop, &mut c.resume, &mut c.announce, &mut c.finish] {
            *fixed = fixed.mul_f64((1.0 + setup.jitter.fixed * normal(random)).clamp(0.2, 3.0));
        }
        s.guest.at_page = if wset_pages > 0 { random.random_range(0..wset_pages) } else { 0 };
        s.seed = random.random();
    }
    s
}

/// A draw from the standard normal distribution (Box and Muller 1958).
fn normal(random: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

impl Campaign {
    /// Migrations run.
    #[must_use]
    pub fn migrations(&self) -> u64 {
        self.treatments.len() as u64 * u64::from(self.design.repetitions)
    }

    /// Variability as in the paper's Table II: of the migration time and of the downtime. None if
    /// nothing ended.
    #[must_use]
    pub fn variability(&self) -> Option<(Variability, Variability)> {
        Some((variability(&self.treatments, |t| &t.migration_s)?, variability(&self.treatments, |t| &t.downtime_s)?))
    }
}

fn variability(treatments: &[Treatment], of: impl Fn(&Treatment) -> &Vec<f64>) -> Option<Variability> {
    let each: Vec<Summary> = treatments.iter().filter_map(|t| Summary::of(of(t))).collect();
    let all = Summary::of(&treatments.iter().flat_map(|t| of(t).iter().copied()).collect::<Vec<_>>())?;
    let means = Summary::of(&each.iter().map(|s| s.mean).collect::<Vec<_>>())?;
    Some(Variability {
        mean_s: all.mean,
        ratio_of_means: means.max_min_ratio(),
        ratio_overall: all.max_min_ratio(),
        sd_treatment_s: each.iter().filter_map(|s| s.sd).reduce(f64::max),
        sd_overall_s: all.sd,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::paper;

    #[test]
    fn it_is_the_same_for_the_same_seed_and_has_the_papers_size() {
        let design = paper::design(Product::Xen34);
        assert_eq!((design.treatments().len(), design.treatments().len() as u32 * design.repetitions), (528, 10_560));
        assert_eq!(paper::design(Product::Vmware40).treatments().len(), 352);
        let small = Design {
            vmsize_bytes: vec![1 << 30],
            wset_bytes: vec![0, 64 << 20],
            rate_pages_per_s: vec![0, 40_000],
            repetitions: 3,
            ..design
        };
        let setup = paper::setup(Product::Xen34);
        let once = run(&small, &setup, 7).unwrap();
        assert_eq!(once, run(&small, &setup, 7).unwrap());
        assert_ne!(once, run(&small, &setup, 8).unwrap());
        assert_eq!(once.migrations(), 12);
        let (time, down) = once.variability().unwrap();
        assert!(time.mean_s > 9.0 && down.ratio_of_means.unwrap() > 1.0, "{time:?} {down:?}");
    }

    fn treatment(migration_s: &[f64], downtime_s: &[f64]) -> Treatment {
        Treatment {
            vmsize_bytes: 1 << 30,
            wset_bytes: 0,
            rate_pages_per_s: 0,
            migration_s: migration_s.to_vec(),
            downtime_s: downtime_s.to_vec(),
            endless: 0,
            cancelled: 0,
        }
    }

    #[test]
    fn what_cannot_be_said_is_unknown() {
        let of = |treatments: Vec<Treatment>| {
            Campaign { design: paper::design(Product::Xen34), treatments }.variability().unwrap()
        };
        // One migration a treatment: nothing is known of the spread within one.
        let (time, down) = of(vec![treatment(&[10.0], &[0.0]), treatment(&[20.0], &[1.0])]);
        assert_eq!((time.sd_treatment_s, time.ratio_of_means), (None, Some(2.0)));
        assert_eq!(time.cells(), ["15.00", "2.00", "2.00", "?", "7.07"]);
        // A downtime of no ping at all: nothing is a multiple of it.
        assert_eq!((down.ratio_of_means, down.ratio_overall), (None, None));
        assert_eq!(of(vec![treatment(&[10.0], &[1.0])]).0.sd_overall_s, None);
        // Where either is unknown, so is how far they are apart.
        let [mean, ratio, _, sd, _] = time.deviation(&down);
        assert_eq!((mean.as_str(), ratio.as_str(), sd.as_str()), ("+2900.0 %", "?", "?"));
    }

    #[test]
    fn what_was_given_up_is_counted_apart_from_what_did_not_end() {
        // Above the jump Cloud Hypervisor gives up after an hour; QEMU would go on for ever.
        let design = |product| Design {
            product,
            vmsize_bytes: vec![1 << 30],
            wset_bytes: vec![512 << 20],
            rate_pages_per_s: vec![0, 100_000],
            repetitions: 2,
        };
        let counts = |product| {
            let mut setup = paper::setup(product);
            setup.jitter = Jitter { bandwidth: 0.0, fixed: 0.0 };
            let campaign = run(&design(product), &setup, 1).unwrap();
            let sum = |f: fn(&Treatment) -> u32| campaign.treatments.iter().map(f).sum::<u32>();
            (sum(|t| t.migration_s.len() as u32), sum(|t| t.cancelled), sum(|t| t.endless))
        };
        assert_eq!(counts(Product::Qemu), (2, 0, 2));
        assert_eq!(counts(Product::CloudHypervisor), (2, 2, 0));
    }
}
