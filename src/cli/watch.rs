//! `blackout watch`: a session on targets that are probed, and nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use serde_json::{Map, json};

use super::args::{CaptureArgs, ProbeArgs, ScreenArgs, SessionArgs, WatchHeadlessArgs};
use super::promises::PromiseArgs;
use super::run::{SessionPlan, session};
use crate::event::LoadSettings;
use crate::probe::asked::{Asked, Host};
use crate::target::guest;
use crate::target::loader::Loader;
use crate::target::opened::Opened;
use crate::target::probing::{Probes, Probing};

/// Probes targets in the screen, and records it; no hypervisor, and no agent unless one is named
///
/// At the end it prints the summary and each outage with its bounds and its time. Exit code 0 when it was
/// watched for as long as was asked, whatever was seen; 1 when a signal ended it before --duration was
/// over, or a promise was broken; 2 when it could not be watched; 3 when the capture or the numbers are not
/// whole; 5 when it is not known whether a promise was kept.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout watch 192.0.2.10                          ping it every 50 ms
  blackout watch 192.0.2.10 --ping-interval 10ms     more closely
  blackout watch web1 web2 db                        several at once
  blackout watch 192.0.2.10 --probe tcp:guest:443 --probe http://guest/health=200
                                                     is its port there, does its service answer?
  blackout watch 192.0.2.10 --headless --duration 1h --json
                                                     without a screen, and its outages as JSON
  blackout watch 192.0.2.10 --headless --duration 1h --max-outage 1s --max-loss 0.1%
                                                     exit code 1 if it is gone for longer or loses more
  blackout watch 192.0.2.10 --agent 192.0.2.10:7070 --psk-file psk
                                                     and load it by its agent")]
pub struct Args {
    /// Addresses or names to ping
    #[arg(value_name = "TARGET", required_unless_present = "probes")]
    targets: Vec<String>,
    /// An agent there: HOST:PORT (with --psk-file), or ssh:DESTINATION
    #[arg(long, value_name = "ADDR")]
    agent: Option<String>,
    /// File with the key shared with the agent
    #[arg(long, value_name = "FILE", requires = "agent")]
    psk_file: Option<PathBuf>,
    #[command(flatten)]
    probe: ProbeArgs,
    #[command(flatten)]
    promises: PromiseArgs,
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
    let (mut probing, watched) = (probing(&args)?, watched(&args));
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
        own: Map::from_iter([("watch".into(), json!({ "target": watched, "agent": args.agent }))]),
        hypervisor: None,
        guest_kernel: None,
        forecasts: None,
        simulation: None,
        tour: None,
        probe_deadline: probing.longest_deadline(),
        migration: None,
        args: SessionArgs::watching(args.probe, args.capture, args.screen, args.promises, &args.headless),
    };
    plan.args.check()?;
    probing.resolve()?;
    session(plan, move |sink| async move {
        let mut probes = Probes::start(&probing, None, &sink)?;
        let agent = match transport {
            Some(transport) => {
                let agent = guest::connect(transport, &sink).await?;
                probes.start_with_agent(&probing, agent.echo_target(), &sink)?;
                Some(Box::new(agent) as Box<dyn Loader>)
            }
            None => None,
        };
        Ok(Opened { hypervisor: None, agent, probe: probes.ending() })
    })
}

/// What is watched, for the header: the targets, or what is probed instead.
fn watched(args: &Args) -> String {
    let probes = args.probe.probes.iter().map(|asked| asked.written.as_str());
    let targets: Vec<&str> = args.targets.iter().map(String::as_str).collect();
    if targets.is_empty() { probes.collect::<Vec<_>>().join(" ") } else { targets.join(" ") }
}

/// What is probed: a ping of each target, then what was asked for. The guest is the target, where there is one.
fn probing(args: &Args) -> Result<Probing> {
    let pings = args.targets.iter().map(|target| Asked::ping(target));
    let mut probes = args.probe.clone();
    for asked in probes.probes.iter_mut().filter(|asked| asked.host == Host::Guest) {
        asked.host = match args.targets.as_slice() {
            [target] => Host::Named(target.clone()),
            targets => bail!(
                "the probe {} asks the guest, and which host that is is not known of {} targets: write its name or \
                 address",
                asked.written,
                targets.len()
            ),
        };
    }
    let probing = probes.probing(pings);
    probing.check()?;
    if let Some(probe) = probing.asks_agent().filter(|_| args.agent.is_none()) {
        bail!("the probe {probe} asks an agent, and none is named: add --agent HOST:PORT");
    }
    Ok(probing)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn read(line: &str) -> Result<Probing, String> {
        let args = Cli::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())?.args;
        probing(&args).map_err(|e| e.to_string())
    }

    #[test]
    fn targets_and_probes_are_named_one_by_one_or_together() {
        assert_eq!(read("watch a").unwrap().further(), 1);
        assert_eq!(read("watch a b c").unwrap().further(), 3);
        assert_eq!(read("watch --probe tcp:a:443 --probe icmp:b").unwrap().further(), 2);
        assert_eq!(read("watch a --probe tcp:guest:443").unwrap().asks_guest(), None, "the guest is a");
        assert!(read("watch").unwrap_err().contains("<TARGET>"));
        for line in ["watch a b --probe icmp:guest", "watch --probe icmp:guest"] {
            assert!(read(line).unwrap_err().contains("write its name or address"), "{line}");
        }
        assert!(read("watch a --probe udp:agent").unwrap_err().contains("--agent"));
        let e = read("watch a --probe tcp:b").unwrap_err();
        assert!(e.contains("invalid value 'tcp:b' for '--probe <PROBE>': 'b' has no port: write tcp:HOST:PORT"), "{e}");
    }
}
