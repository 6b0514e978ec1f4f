//! `blackout agent`: the load generators in the guest, at a controller's command.

mod install;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgGroup, Args as ClapArgs};

use crate::agent::server::{self, Endpoint, ServerOptions};
use crate::agent::{Psk, write_psk};
use crate::lab::doctor::memlock;
use crate::load::{Limits, cgroup};
use crate::units::{parse_bytes, parse_duration, show_bytes};

/// Runs the load generators in a guest at a controller's command.
#[derive(Debug, Clone, ClapArgs)]
#[command(group = ArgGroup::new("how").required(true).args(["listen", "stdio", "make_psk", "check", "install", "remove"]).multiple(true), after_help = "EXAMPLES:
  blackout agent --make-psk psk                          make a key, to be copied to the guest
  blackout agent --listen 0.0.0.0:7070 --psk-file psk    serve a controller that has the key
  ssh guest blackout agent --stdio                       serve through ssh, listening nowhere
  blackout agent --install ssh:root@192.0.2.10 --program target/x86_64-unknown-linux-musl/release/blackout
                                                         copy a static build into a guest; then
                                                         'blackout watch 192.0.2.10 --agent ssh:root@192.0.2.10'
  blackout agent --remove ssh:root@192.0.2.10            end it there, and leave nothing of it")]
pub struct Args {
    /// Listen on this TCP address; controllers must have the key
    #[arg(long, value_name = "ADDR", requires = "psk_file")]
    listen: Option<SocketAddr>,
    /// The pre-shared key: 32 bytes, as 64 hex digits, base64, or as they are
    #[arg(long, value_name = "FILE")]
    psk_file: Option<PathBuf>,
    /// Speak on stdin and stdout; the process that started this is the controller
    #[arg(long, conflicts_with_all = ["psk_file", "listen"])]
    stdio: bool,
    /// Make a new key file, readable by its owner alone, and end
    #[arg(long, value_name = "FILE", conflicts_with_all = ["psk_file", "listen", "stdio"])]
    make_psk: Option<PathBuf>,
    /// Say how much memory can be loaded and locked here, and end
    #[arg(long, conflicts_with_all = ["psk_file", "listen", "stdio", "make_psk"])]
    check: bool,
    /// Copy a program to ~/.blackout-agent of this guest, ssh:DESTINATION, and show that it runs there; with --listen
    /// and --psk-file it is started to listen, else each session with '--agent ssh:DESTINATION' starts it
    #[arg(long, value_name = "ADDR", value_parser = install::destination, conflicts_with_all = ["stdio", "make_psk", "check"])]
    install: Option<String>,
    /// The program to install, a static build [default: this one, where it is static]
    #[arg(long, value_name = "FILE", requires = "install")]
    program: Option<PathBuf>,
    /// End what --install has started in this guest, ssh:DESTINATION, and leave nothing of it
    #[arg(long, value_name = "ADDR", value_parser = install::destination, conflicts_with_all = ["psk_file", "listen", "stdio", "make_psk", "check", "install"])]
    remove: Option<String>,
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
/// When the key cannot be read or the ports cannot be had; or the guest it is to be installed in cannot be reached, or
/// does not run it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.check {
        super::say::print(&check(args.reserve))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(to) = &args.remove {
        super::say::print(&format!("removed from {to}\n{}", install::remove(to)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(to) = &args.install {
        return install(&args, to);
    }
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

/// What the agent would have here.
fn check(reserve: Option<u64>) -> String {
    let limits = Limits::of_this_machine(reserve);
    let mut text = format!("WSET at most {} now\n", show_bytes(limits.wset_limit_now(0)));
    let lock = memlock();
    text += &format!("{}: {}\n", lock.name, lock.found);
    if let Some(mend) = lock.mend {
        text += &format!("  fix: {mend}\n");
    }
    if let Some(limits) = cgroup::cpu_limits() {
        text += &format!("{limits}\n");
    }
    text
}

fn install(args: &Args, to: &str) -> anyhow::Result<ExitCode> {
    let psk = match (&args.psk_file, args.listen) {
        (Some(path), Some(addr)) => {
            let (psk, warning) = Psk::load(path)?;
            if let Some(warning) = warning {
                tell!("warning: {warning}");
            }
            Some((addr, psk))
        }
        _ => None,
    };
    let listen = psk.as_ref().map(|(addr, psk)| (*addr, psk));
    let needs = install::install(&install::Install { to, program: args.program.as_deref(), listen })?;
    let next = match &psk {
        Some((addr, _)) => format!("it listens at port {}: give --agent HOST:{} --psk-file", addr.port(), addr.port()),
        None => format!("each session starts it: give --agent ssh:{to}"),
    };
    super::say::print(&format!("installed in ~/.blackout-agent of {to}\n{needs}{next}\n"))?;
    Ok(ExitCode::SUCCESS)
}
