//! `blackout lab`: two QEMU hosts on this machine and a guest that moves between them.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;

use super::args::SessionArgs;
use super::begin::{Asked, begin};
use super::fields::{Flags, Lab};
use crate::analysis::prediction::Calibration;
use crate::controller::forecast::read_calibration;

/// Boots a guest in one of two QEMU hosts on this machine, loads it, migrates it, and watches.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout lab                                          open the screen; ? lists every key
  blackout lab --wset 96M --rate 20000                  the same, with the load already on
  blackout lab --headless --wset 96M --rate 9000 --bandwidth 32M --policy xen-3.4 --migrations 2")]
pub struct Args {
    #[command(flatten)]
    lab: Flags<Lab>,
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
    let target = args.lab.target("lab")?;
    begin(Asked { command: "lab", target, calibration: args.calibration, tour: None, args: args.session })
}
