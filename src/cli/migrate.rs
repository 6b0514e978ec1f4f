//! `blackout migrate`: the same session against QEMUs that somebody else started.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde_json::json;

use super::args::{ProbeArgs, SessionArgs};
use super::run::{SessionPlan, session};
use crate::agent::Psk;
use crate::agent::client::{Client, ClientOptions, Transport};
use crate::analysis::prediction::Calibration;
use crate::controller::forecast::read_calibration;
use crate::event::EventSink;
use crate::hypervisor::qmp::{HostSpec, QmpHypervisor, QmpOptions};
use crate::probe;
use crate::session::outlook::Rests;
use crate::target::loader::Loader;
use crate::target::opened::{Opened, ending};

/// How long the agent may take to answer.
const AGENT_WITHIN: Duration = Duration::from_secs(20);

/// Migrates a guest between two QEMUs that are already running, and watches.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLE:
  blackout migrate --source /run/src.qmp --dest /run/dst.qmp --uri tcp:127.0.0.1:4444 \\
      --agent 192.0.2.10:7070 --psk-file psk --ping 192.0.2.10 --rate 9000 --wset 96M

A QMP socket is unix:/path, /path or tcp:host:port. QEMU serves one client at a time on each; give
up to three of one QEMU, separated by commas: for commands, for events, and for the guardian that
resumes the guest should blackout die while it is stopped.")]
pub struct Args {
    /// QMP socket(s) of the QEMU the guest runs in: COMMANDS[,EVENTS[,GUARDIAN]]
    #[arg(long, value_name = "QMP", help_heading = "Hosts")]
    source: String,
    /// QMP socket(s) of the QEMU it is to move to, started with -incoming
    #[arg(long, value_name = "QMP", help_heading = "Hosts")]
    dest: String,
    /// Where the source connects to: tcp:host:port or unix:/path
    #[arg(long, value_name = "URI", help_heading = "Hosts")]
    uri: String,
    /// Where a destination started with '-incoming defer' is to listen [default: the same]
    #[arg(long, value_name = "URI", help_heading = "Hosts")]
    incoming_uri: Option<String>,
    /// The agent in the guest: HOST:PORT (with --psk-file), or ssh:DESTINATION
    #[arg(long, value_name = "ADDR", help_heading = "Guest")]
    agent: Option<String>,
    /// File with the key shared with the agent
    #[arg(long, value_name = "FILE", help_heading = "Guest")]
    psk_file: Option<PathBuf>,
    /// Address of the guest to ping
    #[arg(long, value_name = "HOST", help_heading = "Guest")]
    ping: Option<String>,
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
    let load = args.session.load.settings()?;
    args.session.check()?;
    args.session.check_ramp(&load)?;
    let source = HostSpec::parse("source", &args.source).context("--source")?;
    let destination = HostSpec::parse("dest", &args.dest).context("--dest")?;
    let transport = args.agent.as_deref().map(|agent| transport(agent, args.psk_file.as_ref())).transpose()?;
    if transport.is_none() && (load != crate::event::LoadSettings::default() || args.session.ramp.is_some()) {
        bail!("a load is asked for, but no agent that could make it: add --agent HOST:PORT or --agent ssh:DESTINATION");
    }
    if args.session.headless.headless && args.session.headless.migrations > 1 {
        bail!("these QEMUs take one migration: --migrations 1");
    }
    let target = args.ping.as_deref().map(resolve).transpose()?;
    let plan = SessionPlan {
        command: "migrate",
        load,
        agent: transport.is_some(),
        own: json!({
            "source": args.source,
            "dest": args.dest,
            "uri": args.uri,
            "incoming_uri": args.incoming_uri,
            "agent": args.agent,
            "ping": args.ping,
        }),
        hypervisor: None,
        guest_kernel: None,
        forecasts: Some(args.calibration.map_or(Rests::Unknown, Rests::Like)),
        simulation: None,
        tour: None,
        migration: Some(args.session.migration.as_asked()),
        args: args.session,
    };
    let options = QmpOptions { incoming_uri: args.incoming_uri, ..QmpOptions::to(args.uri) };
    let probe = plan.args.probe.clone();
    session(plan, move |sink| prepare(source, destination, options, transport, target, probe, sink))
}

async fn prepare(
    source: HostSpec,
    destination: HostSpec,
    options: QmpOptions,
    transport: Option<Transport>,
    target: Option<SocketAddr>,
    args: ProbeArgs,
    sink: EventSink,
) -> Result<Opened> {
    let hypervisor = QmpHypervisor::connect(source, destination, options, sink.clone()).await?;
    let probe = target.map(|target| probe::start(&args.options(target), &sink)).transpose()?;
    let agent = match transport {
        Some(transport) => {
            let agent = Client::connect(transport, ClientOptions::default(), sink.clone())?;
            agent.connected(AGENT_WITHIN).await.context("the agent in the guest does not answer")?;
            Some(Box::new(agent) as Box<dyn Loader>)
        }
        None => None,
    };
    Ok(Opened { hypervisor: Some(Arc::new(hypervisor)), agent, probe: probe.map(ending) })
}

pub(super) fn transport(agent: &str, psk_file: Option<&PathBuf>) -> Result<Transport> {
    if let Some(destination) = agent.strip_prefix("ssh:") {
        if destination.is_empty() || destination.starts_with('-') {
            bail!("'{agent}' names no ssh destination: write for instance ssh:root@192.0.2.10");
        }
        let command = ["ssh", "-oBatchMode=yes", destination, "blackout", "agent", "--stdio"];
        return Ok(Transport::Stdio { command: command.map(String::from).to_vec() });
    }
    let Some(file) = psk_file else {
        bail!("an agent listens authenticated only: add --psk-file FILE with the key of the agent at {agent}");
    };
    let (psk, warning) = Psk::load(file)?;
    if let Some(warning) = warning {
        tell!("blackout: {warning}");
    }
    Ok(Transport::Tcp { addr: agent.into(), psk })
}

fn resolve(host: &str) -> Result<SocketAddr> {
    (host, 0)
        .to_socket_addrs()
        .with_context(|| format!("--ping '{host}': not an address, and not a name that can be resolved"))?
        .next()
        .with_context(|| format!("--ping '{host}' has no address"))
}
