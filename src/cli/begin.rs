//! Begins a session with a target, whichever it is.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::args::SessionArgs;
use super::run::{SessionPlan, session};
use crate::analysis::prediction::Calibration;
use crate::controller::Simulation;
use crate::controller::tour::{self, Ground};
use crate::event::LoadSettings;
use crate::session::outlook::Rests;
use crate::target::Target;
use crate::target::product::Outlook;

/// A session that is asked for.
pub(super) struct Asked {
    /// The command that asks for it.
    pub command: &'static str,
    /// What is looked at.
    pub target: Target,
    /// Figures to predict with.
    pub calibration: Option<Calibration>,
    /// The tour to take: over what it goes.
    pub tour: Option<Ground>,
    pub args: SessionArgs,
}

/// Runs the session to its end. Must be called before any thread exists: a lab moves the process into a network
/// namespace of its own.
///
/// # Errors
/// When the target, its load or the migration cannot be, something cannot be reached or started, or the output
/// is no terminal.
pub(super) fn begin(asked: Asked) -> Result<ExitCode> {
    let Asked { command, mut target, calibration, tour, args } = asked;
    let usual = target.product.usual();
    let load = args.load.over(usual.load)?;
    let migration = args.migration.over(&usual);
    let mut probing = args.probe.probing(target.probes.iter().cloned());
    probing.check()?;
    target.product.check(&load, &migration, &probing)?;
    args.check()?;
    args.check_ramp(&load)?;
    if !target.has_agent() && (load != LoadSettings::default() || args.ramp.is_some()) {
        bail!("a load is asked for, but no agent that could make it: add --agent HOST:PORT or --agent ssh:DESTINATION");
    }
    if let Some(most) = target.product.migrations().filter(|most| args.headless.migrations > *most)
        && args.headless.headless
    {
        bail!("these hosts take one migration: --migrations {most}");
    }
    if let Some(probe) = probing.asks_agent().filter(|_| !target.has_agent()) {
        bail!("the probe {probe} asks an agent, and none is named: add --agent HOST:PORT");
    }
    if let Some(probe) = probing.asks_guest().filter(|_| !target.product.knows_guest() && target.guest.ping().is_none())
    {
        bail!("the probe {probe} asks the guest, whose address is not named: add --ping HOST");
    }
    let reached = target.guest.reach()?;
    probing.resolve()?;
    if let Some(warning) = &reached.warning {
        tell!("blackout: {warning}");
    }
    let known = target.product.begin()?;
    let simulation = target.product.simulation().map(|(speed, seed)| {
        let speed = speed.unwrap_or(if tour.is_some() { tour::SPEED } else { 1.0 });
        Simulation { speed, seed }
    });
    let plan = SessionPlan {
        command,
        name: target.name.clone(),
        remark: remark(&target, &args, &migration),
        load,
        agent: target.has_agent(),
        own: own(command, &target, simulation.as_ref(), tour.is_some()),
        hypervisor: known.hypervisor,
        guest_kernel: known.guest_kernel,
        forecasts: Some(rests(target.product.outlook(), calibration)),
        simulation,
        tour,
        probe_deadline: probing.longest_deadline(),
        migration: Some(migration),
        args,
    };
    session(plan, move |sink| target.open(reached, probing, sink))
}

/// What is to be said of the settings that nobody asked for.
fn remark(target: &Target, args: &SessionArgs, migration: &crate::event::MigrationSettings) -> Option<String> {
    let defaults = args.migration.defaults_in(migration)?;
    Some(match target.product.usual().bandwidth_bytes_per_s {
        None => format!("{defaults}; everything else is the hypervisor's own"),
        Some(_) => format!("defaults of '{}' for what was not asked for: {defaults}", target.name),
    })
}

/// What the header of the capture says of the target: under the command, where that is a product's own.
fn own(command: &str, target: &Target, simulation: Option<&Simulation>, tour: bool) -> Map<String, Value> {
    let mut header = target.header();
    if let (Some(simulation), Value::Object(header)) = (simulation, &mut header) {
        header.insert("speed".into(), json!(simulation.speed));
        header.insert("tour".into(), json!(tour));
    }
    match command {
        "attach" => Map::from_iter([
            ("target".into(), json!({ "name": target.name, "product": target.product_name })),
            (target.product_name.into(), header),
        ]),
        command => Map::from_iter([(command.into(), header)]),
    }
}

/// What forecasts rest on.
fn rests(outlook: Outlook, calibration: Option<Calibration>) -> Rests {
    match outlook {
        Outlook::Unknown => calibration.map_or(Rests::Unknown, Rests::Like),
        Outlook::Lab { memory_bytes } => Rests::On(figures(calibration, memory_bytes)),
        Outlook::Simulated { product, ram_bytes, used_bytes, link } => {
            Rests::Simulated { product, ram_bytes, used_bytes, link }
        }
    }
}

/// The figures forecasts rest on: those given, for a guest of so much memory, or those known of any lab.
fn figures(given: Option<Calibration>, memory_bytes: u64) -> Calibration {
    let lab = Calibration::lab(memory_bytes);
    match given {
        Some(given) => given.resized(lab.ram_bytes),
        None => lab,
    }
}
