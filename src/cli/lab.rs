//! `blackout lab`: two QEMU hosts on this machine and a guest that moves between them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde_json::json;

use super::args::{ProbeArgs, SessionArgs};
use super::run::{SessionPlan, session};
use crate::agent::client::{Client, ClientOptions, Transport};
use crate::analysis::prediction::Calibration;
use crate::controller::forecast::read_calibration;
use crate::event::EventSink;
use crate::lab::kernel::{Places, find};
use crate::lab::{AccelChoice, AgentConfig, Lab, LabHypervisor, LabOptions, Network};
use crate::load::limits::default_reserve;
use crate::probe;
use crate::session::outlook::Rests;
use crate::target::opened::{Opened, ending};
use crate::units::{parse_bytes, show_bytes};

/// How long the agent may take to answer once the guest is up.
const AGENT_WITHIN: Duration = Duration::from_secs(60);

const MIB: u64 = 1 << 20;

/// Boots a guest in one of two QEMU hosts on this machine, loads it, migrates it, and watches.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout lab                                          open the screen; ? lists every key
  blackout lab --wset 96M --rate 20000                  the same, with the load already on
  blackout lab --headless --wset 96M --rate 9000 --bandwidth 32M --policy xen-3.4 --migrations 2")]
pub struct Args {
    /// The guest's RAM
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "256M", help_heading = "Guest")]
    memory: u64,
    /// The guest's CPUs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Guest")]
    cpus: u32,
    /// Kernel for the guest [default: the best of this machine's]
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    kernel: Option<PathBuf>,
    /// auto, kvm or tcg; auto tries KVM and falls back to TCG, and remembers what worked
    #[arg(long, value_name = "ACCEL", default_value = "auto", help_heading = "Guest")]
    accel: AccelChoice,
    /// Figures of this guest and these hosts for predictions, made by `blackout calibrate`
    #[arg(long, value_name = "FILE", value_parser = read_calibration, help_heading = "Migration")]
    calibration: Option<Calibration>,
    #[command(flatten)]
    session: SessionArgs,
}

/// Runs the command. Must be called before any thread exists: it moves the process into a network
/// namespace of its own.
///
/// # Errors
/// When the lab cannot be started, the load is refused, or the output is no terminal.
pub fn run(args: Args) -> Result<ExitCode> {
    let load = args.session.load.settings()?;
    args.session.check()?;
    args.session.check_ramp(&load)?;
    check_wset(load.wset_bytes, args.memory)?;
    // What would fail later is told before anything is started.
    let kernel = find(args.kernel.as_deref(), &Places::default())?;
    let network = crate::lab::enter()?;
    let options = LabOptions {
        memory_bytes: args.memory,
        cpus: args.cpus,
        kernel: args.kernel.clone(),
        accel: args.accel,
        agent: AgentConfig::default(),
        ..LabOptions::default()
    };
    let plan = SessionPlan {
        command: "lab",
        load,
        agent: true,
        own: json!({
            "memory_bytes": args.memory,
            "cpus": args.cpus,
            "kernel": kernel.path,
            "accel": args.accel,
        }),
        hypervisor: crate::lab::qemu::version(&options.qemu).ok(),
        guest_kernel: Some(kernel.release),
        forecasts: Some(Rests::On(figures(args.calibration, args.memory))),
        simulation: None,
        tour: None,
        migration: Some(args.session.migration.lab()),
        args: args.session,
    };
    let probe = plan.args.probe.clone();
    session(plan, move |sink| prepare(network, options, probe, sink))
}

/// The largest WSET that a guest of so much memory can possibly hold: without its kernel, the lab's
/// initramfs and the agent's reserve. Bytes. Measured on Linux 6.1 with 192 MiB to 1 GiB, where the
/// agent's own limit was 0.3 to 12 % below it.
fn wset_at_most(memory_bytes: u64) -> u64 {
    let free = (memory_bytes - memory_bytes / 64).saturating_sub(68 * MIB);
    free.saturating_sub(default_reserve(memory_bytes))
}

/// The largest WSET that such a guest is sure to hold, bytes.
fn wset_surely(memory_bytes: u64) -> u64 {
    let most = wset_at_most(memory_bytes);
    (most - most / 8) / (8 * MIB) * (8 * MIB)
}

/// A WSET that cannot fit is refused before anything is booted for it; one that perhaps does is left
/// to the agent, who knows to the page.
fn check_wset(wset_bytes: u64, memory_bytes: u64) -> Result<()> {
    if wset_bytes <= wset_at_most(memory_bytes) {
        return Ok(());
    }
    let step = 64 * MIB;
    let fits = |memory: &u64| wset_surely(*memory) >= wset_bytes;
    let memory = (1..1 << 20).map(|n| n * step).find(fits);
    let larger = memory.map(|m| format!(", or --memory {}M", m / MIB)).unwrap_or_default();
    let smaller = match wset_surely(memory_bytes) / MIB {
        0 => "no --wset at all".to_owned(),
        mib => format!("--wset {mib}M"),
    };
    bail!(
        "a guest with {} of memory cannot hold a WSET of {}: its kernel, its initramfs and the agent's reserve need \
         the rest; give {smaller}{larger}",
        show_bytes(memory_bytes),
        show_bytes(wset_bytes)
    )
}

/// The figures forecasts rest on: those given, for a guest of so much memory, or those known of any lab.
fn figures(given: Option<Calibration>, memory_bytes: u64) -> Calibration {
    let lab = Calibration::lab(memory_bytes);
    match given {
        Some(given) => given.resized(lab.ram_bytes),
        None => lab,
    }
}

async fn prepare(network: Network, options: LabOptions, args: ProbeArgs, sink: EventSink) -> Result<Opened> {
    let lab = Lab::start(&network, options, sink.clone()).await?;
    let probe = probe::start(&args.options(SocketAddr::new(lab.guest_addr(), 0)), &sink)?;
    let transport = Transport::Tcp { addr: lab.agent_addr().to_string(), psk: lab.psk() };
    let agent = Client::connect(transport, ClientOptions::default(), sink.clone())?;
    agent.connected(AGENT_WITHIN).await.context("the agent in the guest does not answer")?;
    let hypervisor = Arc::new(LabHypervisor::new(lab, sink).await?);
    Ok(Opened { hypervisor: Some(hypervisor), agent: Some(Box::new(agent)), probe: Some(ending(probe)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wset_that_cannot_fit_is_refused_with_one_that_does() {
        // (memory, the limit an agent there gave), bytes.
        let measured = [
            (192, 91_291_648),
            (256, 157_282_304),
            (256, 158_781_440),
            (384, 283_463_680),
            (512, 400_257_024),
            (1024, 787_668_992),
        ];
        for (mib, limit) in measured {
            assert!(wset_at_most(mib * MIB) >= limit, "{mib} MiB: what fits is not refused");
            assert!(wset_surely(mib * MIB) <= limit, "{mib} MiB: what is proposed fits");
        }
        assert!(check_wset(96 * MIB, 256 * MIB).is_ok());
        let e = check_wset(200 * MIB, 256 * MIB).unwrap_err().to_string();
        assert!(e.contains("--wset 128M, or --memory 384M"), "{e}");
        let e = check_wset(MIB, 64 * MIB).unwrap_err().to_string();
        assert!(e.contains("no --wset at all"), "{e}");
    }
}
