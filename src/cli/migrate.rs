//! `blackout migrate`: the same session against QEMUs that somebody else started.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;

use super::args::SessionArgs;
use super::begin::{Asked, begin};
use super::fields::{Flags, Qmp};
use crate::analysis::prediction::Calibration;
use crate::controller::forecast::read_calibration;

/// Migrates a guest between two QEMUs that are already running, and watches.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLE:
  blackout migrate --source /run/src.qmp --dest /run/dst.qmp --uri tcp:127.0.0.1:4444 \\
      --agent 192.0.2.10:7070 --psk-file psk --ping 192.0.2.10 --rate 9000 --wset 96M

A QMP socket is unix:/path, /path or tcp:host:port. QEMU serves one client at a time on each; give
up to three of one QEMU, separated by commas: for commands, for events, and for the guardian that
resumes the guest should blackout die while it is stopped.")]
pub struct Args {
    #[command(flatten)]
    target: Flags<Qmp>,
    /// Figures of this guest and these hosts for predictions, made by `blackout calibrate`
    #[arg(long, value_name = "FILE", value_parser = read_calibration, help_heading = "Migration")]
    calibration: Option<Calibration>,
    #[command(flatten)]
    session: SessionArgs,
}

/// Runs the command.
///
/// # Errors
/// When an argument is wrong, or a QEMU, the agent or the network cannot be reached.
pub fn run(args: Args) -> Result<ExitCode> {
    let target = args.target.target("migrate")?;
    begin(Asked { command: "migrate", target, calibration: args.calibration, tour: None, args: args.session })
}
