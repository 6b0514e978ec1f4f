//! `blackout internal-guardian`: started by a migration, never by hand. It resumes a guest that
//! blackout had stopped and puts back what blackout had changed, if blackout dies first; see [`crate::hypervisor::qmp::guardian`].

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::hypervisor::qmp::{Endpoint, guardian};

/// Arguments of `blackout internal-guardian`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Monitor of the source: unix:/path or tcp:host:port
    #[arg(long, value_name = "QMP")]
    pub source: Endpoint,
    /// Monitor of the destination
    #[arg(long, value_name = "QMP")]
    pub dest: Endpoint,
    /// Process of the source, if it runs on this machine
    #[arg(long, value_name = "PID")]
    pub source_pid: Option<u32>,
    /// Process of the destination, if it runs on this machine
    #[arg(long, value_name = "PID")]
    pub dest_pid: Option<u32>,
    /// File to which it appends what it does
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// Runs the guardian until it is sent home or has seen to the guest.
///
/// # Errors
/// When the log cannot be opened or no runtime can be made.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut log = args.log.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
    let mut say = |text: String| {
        if let Some(file) = &mut log {
            // A guardian that cannot write still has its work to do.
            let _ = writeln!(file, "guardian {}: {text}", std::process::id());
        }
    };
    guardian::serve(&args.source, &args.dest, [args.source_pid, args.dest_pid], &mut say)?;
    Ok(ExitCode::SUCCESS)
}
