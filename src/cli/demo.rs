//! `blackout demo`: the whole instrument on a simulated guest and a simulated hypervisor.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;

use super::args::SessionArgs;
use super::begin::{Asked, begin};
use super::exit::EXIT_OK;
use super::fields::{self, Flags};
use crate::controller::tour::{self, Ground};
use crate::event::LoadSettings;
use crate::model::explain::explain;
use crate::target::product::Product as _;
use crate::target::products::demo::Demo;
use crate::units::PAGE_BYTES;

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
    #[command(flatten)]
    target: Flags<fields::Demo>,
    /// A guided tour across the jump, with captions; then the demo stays open
    #[arg(long, help_heading = "Simulation")]
    tour: bool,
    /// Print the simulated rules with their sources, and which constants are assumed
    #[arg(long, help_heading = "Simulation")]
    explain: bool,
    #[command(flatten)]
    session: SessionArgs,
}

/// Over what a tour goes.
///
/// # Errors
/// When this link, guest and load show no jump on the way.
fn ground(demo: &Demo, args: &SessionArgs) -> Result<Ground> {
    let usual = demo.usual();
    let (load, migration) = (args.load.over(usual.load)?, args.migration.over(&usual));
    let (guest, model) = (demo.guest(&args.probe.probing([])), demo.model());
    if args.ramp.is_some() {
        bail!("a tour has a ramp of its own: leave out either --tour or --ramp");
    }
    if load.wset_bytes < 2 * PAGE_BYTES {
        bail!("a tour needs a WSET to halve; give for instance --wset 128M");
    }
    let link_pages_per_s = model.scenario(guest.memory(&load), &migration).link_pages_per_s();
    if link_pages_per_s < tour::LINK_LEAST {
        bail!(
            "a tour needs a link that carries at least {:.0} pages/s (2.1 MB/s), and of this one a migration can \
             use {link_pages_per_s:.0}; give a faster --link, or more --bandwidth",
            tour::LINK_LEAST
        );
    }
    let (_, above) = tour::rates(link_pages_per_s);
    guest.check(&LoadSettings { dirty: load.dirty.with_rate(above)?, ..load })?;
    Ok(Ground { product: model.product, link_pages_per_s })
}

/// Runs the command.
///
/// # Errors
/// When the guest, its load or the migration cannot be, or the output is no terminal.
pub fn run(args: Args) -> Result<ExitCode> {
    let demo = Demo::read(&args.target.values("demo"))?;
    if args.explain {
        super::say::print(&explain(demo.hypervisor))?;
        return Ok(ExitCode::from(EXIT_OK));
    }
    let target = args.target.target("demo")?;
    let tour = args.tour.then(|| ground(&demo, &args.session)).transpose()?;
    begin(Asked { command: "demo", target, calibration: None, tour, args: args.session })
}
