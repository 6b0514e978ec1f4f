//! `blackout watch`: a session on a ping target alone.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;
use serde_json::{Map, json};

use super::args::{CaptureArgs, ProbeArgs, ScreenArgs, SessionArgs, WatchHeadlessArgs};
use super::run::{SessionPlan, session};
use crate::event::LoadSettings;
use crate::probe;
use crate::target::guest;
use crate::target::loader::Loader;
use crate::target::opened::{Opened, ending};

/// Pings a target in the screen, and records it; no hypervisor, and no agent unless one is named
///
/// At the end it prints the summary and each outage with its bounds and its time. Exit code 0 when it was
/// watched for as long as was asked, whatever was seen; 1 when a signal ended it before --duration was
/// over; 2 when it could not be watched; 3 when the capture or the numbers are not whole.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout watch 192.0.2.10                          ping it every 50 ms
  blackout watch 192.0.2.10 --ping-interval 10ms     more closely
  blackout watch 192.0.2.10 --headless --duration 1h --json
                                                     without a screen, and its outages as JSON
  blackout watch 192.0.2.10 --agent 192.0.2.10:7070 --psk-file psk
                                                     and load it by its agent")]
pub struct Args {
    /// Address or name to ping
    #[arg(value_name = "TARGET")]
    target: String,
    /// An agent there: HOST:PORT (with --psk-file), or ssh:DESTINATION
    #[arg(long, value_name = "ADDR")]
    agent: Option<String>,
    /// File with the key shared with the agent
    #[arg(long, value_name = "FILE", requires = "agent")]
    psk_file: Option<PathBuf>,
    #[command(flatten)]
    probe: ProbeArgs,
    #[command(flatten)]
    capture: CaptureArgs,
    #[command(flatten)]
    headless: WatchHeadlessArgs,
    #[command(flatten)]
    screen: ScreenArgs,
}

/// Runs the command.
///
/// # Errors
/// When the target is no address and no known name, it may not be pinged, the agent does not answer,
/// or the output is no terminal.
pub fn run(args: Args) -> Result<ExitCode> {
    let target = super::resolve::target(&args.target, None)?;
    let reached = args.agent.as_deref().map(|agent| guest::transport(agent, args.psk_file)).transpose()?;
    let (transport, warning) = reached.unzip();
    if let Some(warning) = warning.flatten() {
        tell!("blackout: {warning}");
    }
    let plan = SessionPlan {
        command: "watch",
        name: "watch".into(),
        remark: None,
        load: LoadSettings::default(),
        agent: transport.is_some(),
        own: Map::from_iter([("watch".into(), json!({ "target": args.target, "agent": args.agent }))]),
        hypervisor: None,
        guest_kernel: None,
        forecasts: None,
        simulation: None,
        tour: None,
        migration: None,
        args: SessionArgs::watching(args.probe, args.capture, args.screen, &args.headless),
    };
    plan.args.check()?;
    let options = plan.args.probe.options(target);
    session(plan, move |sink| async move {
        let probe = probe::start(&options, &sink)?;
        let agent = match transport {
            Some(transport) => Some(Box::new(guest::connect(transport, &sink).await?) as Box<dyn Loader>),
            None => None,
        };
        Ok(Opened { hypervisor: None, agent, probe: Some(ending(probe)) })
    })
}
