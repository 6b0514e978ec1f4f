//! `blackout agent`: the load generators in the guest, at a controller's command.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgGroup, Args as ClapArgs};

use crate::agent::server::{self, Endpoint, ServerOptions};
use crate::agent::{Psk, write_psk};
use crate::load::{Limits, cgroup};
use crate::units::{parse_bytes, parse_duration};

/// Runs the load generators in a guest at a controller's command.
#[derive(Debug, Clone, ClapArgs)]
#[command(group = ArgGroup::new("how").required(true).args(["listen", "stdio", "make_psk"]), after_help = "EXAMPLES:
  blackout agent --make-psk psk                          make a key, to be copied to the guest
  blackout agent --listen 0.0.0.0:7070 --psk-file psk    serve a controller that has the key
  ssh guest blackout agent --stdio                       serve through ssh, listening nowhere")]
pub struct Args {
    /// Listen on this TCP address; controllers must have the key
    #[arg(long, value_name = "ADDR", requires = "psk_file")]
    listen: Option<SocketAddr>,
    /// The pre-shared key: 32 bytes, as 64 hex digits, base64, or as they are
    #[arg(long, value_name = "FILE")]
    psk_file: Option<PathBuf>,
    /// Speak on stdin and stdout; the process that started this is the controller
    #[arg(long, conflicts_with = "psk_file")]
    stdio: bool,
    /// Make a new key file, readable by its owner alone, and end
    #[arg(long, value_name = "FILE", conflicts_with = "psk_file")]
    make_psk: Option<PathBuf>,
    /// A controller silent for so long loses its load
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "120s")]
    lease: Duration,
    /// Memory to leave free [default: 10 % of RAM, at least 32M]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    reserve: Option<u64>,
    /// UDP port that sends heartbeats and answers echoes [default: the TCP port's number]
    #[arg(long, value_name = "PORT")]
    heartbeat_port: Option<u16>,
    /// Distance of reports until the controller says otherwise
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "100ms")]
    report_interval: Duration,
}

/// Runs the command.
///
/// # Errors
/// When the key cannot be read or the ports cannot be had.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.make_psk {
        write_psk(path)?;
        super::say::print(&format!("{} holds a new key, readable by you alone\n", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut warning = None;
    let endpoint = match (args.listen, &args.psk_file) {
        (Some(addr), Some(path)) => {
            let (psk, warned) = Psk::load(path)?;
            warning = warned;
            Endpoint::Listen { addr, psk }
        }
        _ => Endpoint::Stdio,
    };
    let options = ServerOptions {
        limits: Limits::of_this_machine(args.reserve),
        lease: args.lease,
        report_interval: args.report_interval,
        udp_port: args.heartbeat_port,
        ..ServerOptions::new(endpoint)
    };
    if let Some(warning) = warning {
        Arc::clone(&options.log)(&format!("warning: {warning}"));
    }
    if let Some(limits) = cgroup::cpu_limits() {
        Arc::clone(&options.log)(&limits);
    }
    server::run(options).context("the agent cannot run")?;
    Ok(ExitCode::SUCCESS)
}
