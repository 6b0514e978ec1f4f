//! `blackout demo`: the whole instrument on a simulated guest and a simulated hypervisor.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde_json::json;

use super::EXIT_OK;
use super::args::SessionArgs;
use super::run::{SessionPlan, session};
use crate::controller::Simulation;
use crate::controller::tour;
use crate::demo::hypervisor::{ModelOptions, SimulatedHypervisor, offers, refused, version};
use crate::demo::{GuestOptions, KERNEL, SimulatedGuest};
use crate::event::{Body, DirtyCycle, EventSink, LoadSettings, MigrationSettings, SessionEvent, StopPolicy};
use crate::model::explain::explain;
use crate::model::{Link, Product};
use crate::session::outlook::Rests;
use crate::target::opened::Opened;
use crate::units::{PAGE_BYTES, ParseError, parse_bandwidth, parse_bytes};

const MIB: u64 = 1 << 20;

/// A share of the guest's memory that its kernel and programs use, and that the WSET has at first.
const SHARE: u64 = 4;
/// The WSET at first, at most: a quarter of 2 GiB. Above the jump it is the blackout, some 4.6 s over
/// a gigabit link: long enough to be seen, short enough to be waited for.
const WSET: u64 = 512 * MIB;
/// What a guest uses itself, at most.
const USED: u64 = 512 * MIB;
/// RATE at first: a third of a gigabit link, so that rounds can be seen to shrink.
const RATE: f64 = 10_000.0;

/// Loads and migrates a SIMULATED guest: every panel, key, capture and replay as with a real one.
///
/// Needs no hypervisor, no rights and no network. It simulates QEMU's rules, whose cliff is steep: a fraction
/// of a second below the jump, seconds above it; other products are there with --hypervisor. The guest, its agent, the probes and the hypervisor
/// are simulated, page by page; the title, each capture and each result say SIMULATED.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout demo                                    open the screen; m fires, ? lists every key
  blackout demo --tour                             be shown the jump, with captions
  blackout demo --rate 40000                       the same with RATE over the link
  blackout demo --hypervisor xen-3.4 --tour        another product: Xen 3.4, with its own rule
  blackout demo --explain                          the rules simulated, and how each is known
  blackout demo --headless --speed 200 --migrations 2 --json")]
pub struct Args {
    /// Whose rules: qemu, xen-3.4, xen-4.6, vmware-4.0, vmware-5, hyper-v, cloud-hypervisor
    #[arg(long, value_name = "PRODUCT", value_parser = parse_product, default_value = "qemu", help_heading = "Simulation")]
    hypervisor: Product,
    /// The guest's RAM (VMSIZE); at 2G the first round takes some 18 s over a gigabit link
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "2G", allow_hyphen_values = true, help_heading = "Simulation")]
    memory: u64,
    /// The guest's CPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Simulation")]
    cpus: u32,
    /// The link between the hosts: bits (941Mbit is gigabit Ethernet without its headers) or bytes a
    /// second
    #[arg(long, value_name = "RATE", value_parser = parse_link, default_value = "941Mbit", allow_hyphen_values = true, help_heading = "Simulation")]
    link: u64,
    /// How many times as fast as real time, 0.1 to 1000 [default: 1; 4 with --tour]
    #[arg(long, value_name = "X", value_parser = parse_speed, allow_hyphen_values = true, help_heading = "Simulation")]
    speed: Option<f64>,
    /// Seed of all jitter and of random patterns [default: another each time]
    #[arg(long, value_name = "N", help_heading = "Simulation")]
    seed: Option<u64>,
    /// A guided tour across the jump, with captions; then the demo stays open
    #[arg(long, help_heading = "Simulation")]
    tour: bool,
    /// Print the simulated rules with their sources, and which constants are assumed
    #[arg(long, help_heading = "Simulation")]
    explain: bool,
    #[command(flatten)]
    session: SessionArgs,
}

fn parse_product(text: &str) -> Result<Product, String> {
    Product::named(text).ok_or_else(|| {
        let names: Vec<&str> = Product::ALL.iter().map(|p| p.name()).collect();
        let near = crate::text::nearest(text, names.iter().copied());
        let near = near.map(|n| format!(", did you mean '{n}'?")).unwrap_or_default();
        format!("unknown hypervisor '{text}'{near}; expected one of {}", names.join(", "))
    })
}

/// Reads a link: `941Mbit`, `10Gbit`, or bytes/s as every bandwidth.
fn parse_link(text: &str) -> Result<u64, ParseError> {
    let trimmed = text.trim();
    let lower = trimmed.to_ascii_lowercase();
    let bits = lower.strip_suffix("bit/s").or_else(|| lower.strip_suffix("bit"));
    match bits {
        // Whatever is wrong with it is said of what was written.
        Some(bits) => parse_bandwidth(&bits.to_ascii_uppercase()).map(|bits| bits / 8).map_err(|e| ParseError {
            text: text.into(),
            hint: "write for instance 941Mbit, 10Gbit or 125MB/s",
            ..e
        }),
        None => parse_bandwidth(text),
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.trim().trim_end_matches(['x', 'X']).parse::<f64>().ok();
    speed
        .filter(|s| (0.1..=1000.0).contains(s))
        .ok_or_else(|| format!("invalid speed '{text}': expected a number from 0.1 to 1000, for instance 10"))
}

impl Args {
    fn load(&self) -> Result<LoadSettings> {
        let period_ns = LoadSettings::default().dirty.period_ns;
        let bpc_pages = (RATE * period_ns as f64 / 1e9) as u64;
        let wset_bytes = (self.memory / SHARE).min(WSET) / PAGE_BYTES * PAGE_BYTES;
        let first = LoadSettings { wset_bytes, dirty: DirtyCycle { bpc_pages, period_ns }, ..LoadSettings::default() };
        Ok(self.session.load.over(first)?)
    }

    fn guest(&self, seed: u64) -> GuestOptions {
        GuestOptions {
            ram_bytes: self.memory,
            used_bytes: (self.memory / SHARE).min(USED),
            cpus: self.cpus,
            ping_interval: self.session.probe.ping_interval,
            ping_deadline: self.session.probe.ping_deadline,
            seed,
        }
    }

    fn model(&self, seed: u64) -> ModelOptions {
        ModelOptions {
            product: self.hypervisor,
            link: Link { bytes_per_s: self.link as f64, of_limit: 1.0 },
            costs: self.hypervisor.costs(),
            seed,
        }
    }

    /// All of the link, and no stop policy where the product has a rule of its own.
    fn migration(&self) -> MigrationSettings {
        let policy =
            if self.hypervisor.about().own_rule().is_some() { StopPolicy::none() } else { StopPolicy::xen_3_4() };
        self.session.migration.over(self.link, policy)
    }

    /// Over what a tour goes.
    ///
    /// # Errors
    /// When this link, guest and load show no jump on the way.
    fn ground(
        &self,
        guest: &GuestOptions,
        model: &ModelOptions,
        load: &LoadSettings,
        migration: &MigrationSettings,
    ) -> Result<tour::Ground> {
        if self.session.ramp.is_some() {
            bail!("a tour has a ramp of its own: leave out either --tour or --ramp");
        }
        if load.wset_bytes < 2 * PAGE_BYTES {
            bail!("a tour needs a WSET to halve; give for instance --wset 128M");
        }
        let link_pages_per_s = model.scenario(guest.memory(load), migration).link_pages_per_s();
        if link_pages_per_s < tour::LINK_LEAST {
            bail!(
                "a tour needs a link that carries at least {:.0} pages/s (2.1 MB/s), and of this one a migration can \
                 use {link_pages_per_s:.0}; give a faster --link, or more --bandwidth",
                tour::LINK_LEAST
            );
        }
        let (_, above) = tour::rates(link_pages_per_s);
        guest.check(&LoadSettings { dirty: load.dirty.with_rate(above)?, ..*load })?;
        Ok(tour::Ground { product: model.product, link_pages_per_s })
    }
}

/// Runs the command.
///
/// # Errors
/// When the guest, its load or the migration cannot be, or the output is no terminal.
pub fn run(args: Args) -> Result<ExitCode> {
    if args.explain {
        super::say::print(&explain(args.hypervisor))?;
        return Ok(ExitCode::from(EXIT_OK));
    }
    let seed = args.seed.unwrap_or_else(rand::random);
    let (load, guest, model, migration) = (args.load()?, args.guest(seed), args.model(seed), args.migration());
    model.scenario(guest.memory(&load), &migration).check()?;
    if load.wset_bytes > guest.wset_limit_bytes() {
        bail!(
            "a WSET of {} leaves a guest of {} no reserve: its agent takes at most {}",
            crate::units::show_bytes(load.wset_bytes),
            crate::units::show_bytes(guest.ram_bytes),
            crate::units::show_bytes(guest.wset_limit_bytes())
        );
    }
    if let Some(why) = offers(model.product, model.link, &migration).unfit(&migration.policy) {
        bail!(why);
    }
    if let Some(e) = refused(model.product, "a", &migration, None).into_iter().next() {
        return Err(e.into());
    }
    args.session.check()?;
    let tour = if args.tour { Some(args.ground(&guest, &model, &load, &migration)?) } else { None };
    let speed = args.speed.unwrap_or(if args.tour { tour::SPEED } else { 1.0 });
    let plan = SessionPlan {
        command: "demo",
        load,
        migration: Some(migration),
        agent: true,
        own: json!({
            "hypervisor": args.hypervisor.name(),
            "memory_bytes": args.memory,
            "cpus": args.cpus,
            "link_bytes_per_s": args.link,
            "speed": speed,
            "tour": args.tour,
        }),
        hypervisor: Some(version(args.hypervisor)),
        guest_kernel: Some(KERNEL.into()),
        forecasts: Some(Rests::Simulated {
            product: args.hypervisor,
            ram_bytes: guest.ram_bytes,
            used_bytes: guest.used_bytes,
            link: model.link,
        }),
        simulation: Some(Simulation { speed, seed }),
        tour,
        args: args.session,
    };
    session(plan, move |sink| prepare(guest, model, sink))
}

async fn prepare(guest: GuestOptions, model: ModelOptions, sink: EventSink) -> Result<Opened> {
    let value = "no accelerator".to_owned();
    sink.emit(Body::Session(SessionEvent::Environment { key: "accelerator".into(), value }));
    let guest = SimulatedGuest::start(guest, sink.clone()).context("the simulated guest cannot be started")?;
    let hypervisor = SimulatedHypervisor::new(model, Arc::new(guest.clone()), sink);
    let probed = guest.clone();
    Ok(Opened {
        hypervisor: Some(Arc::new(hypervisor)),
        agent: Some(Box::new(guest)),
        probe: Some(Box::new(move || probed.end())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_in_bits_and_in_bytes() {
        assert_eq!(parse_link("941Mbit"), Ok(117_625_000));
        assert_eq!(parse_link("10Gbit/s"), Ok(1_250_000_000));
        assert_eq!(parse_link("125MB/s"), Ok(125_000_000));
        assert_eq!(parse_link("0"), Ok(0));
        for text in ["-1Mbit", "Mbit", "fast"] {
            let e = parse_link(text).unwrap_err().to_string();
            assert!(e.contains(&format!("'{text}'")), "{e}");
        }
    }

    #[test]
    fn speeds_and_products_are_checked() {
        assert_eq!(parse_speed("200x"), Ok(200.0));
        for text in ["0", "-3", "NaN", "1001", "quick"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
        assert_eq!(parse_product("qemu"), Ok(Product::Qemu));
        assert!(parse_product("xen-3.5").unwrap_err().contains("did you mean 'xen-3.4'?"));
    }
}
