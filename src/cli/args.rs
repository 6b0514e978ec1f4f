//! Options that several commands share.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::event::{MigrationSettings, StopPolicy};
use crate::hypervisor::policy::PolicyError;
use crate::load::LoadArgs;
use crate::probe::{ProbeError, ProbeOptions};
use crate::setting_file;
use crate::tui::keys::{Keymap, KeymapError};
use crate::tui::{Markers, ThemeChoice, TuiOptions};
use crate::units::{parse_bandwidth, parse_duration};

/// What a migration is asked to be.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Migration")]
pub(super) struct MigrationArgs {
    /// Link bandwidth, bytes/s (32M is 32,000,000 B/s)
    #[arg(long, value_name = "B/s", value_parser = parse_bandwidth, default_value = "32M")]
    pub bandwidth: u64,
    /// Downtime the hypervisor may plan for when it decides to switch over
    #[arg(long, value_name = "TIME", value_parser = parse_limit, default_value = "300ms")]
    pub downtime_limit: Duration,
    /// What ends pre-copy: xen-3.4, none, timeout (=15s), or rules such as
    /// rounds=10,ram=2.5,after=15s,remaining=50,then=stop-and-copy
    #[arg(long, value_name = "POLICY", value_parser = parse_policy, default_value = "xen-3.4")]
    pub policy: StopPolicy,
    /// Prepare for post-copy, so that it can be switched to
    #[arg(long)]
    pub post_copy: bool,
    /// Let the hypervisor throttle the guest from the start
    #[arg(long)]
    pub auto_converge: bool,
    /// A further parameter by the hypervisor's own name (may be given again)
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_param)]
    pub params: Vec<(String, Value)>,
}

impl MigrationArgs {
    pub(super) fn settings(&self) -> MigrationSettings {
        MigrationSettings {
            bandwidth_bytes_per_s: Some(self.bandwidth),
            downtime_limit_ms: Some(self.downtime_limit.as_millis() as u64),
            policy: self.policy.clone(),
            post_copy: self.post_copy || self.policy.then == crate::event::Then::PostCopy,
            auto_converge: self.auto_converge,
            extra: self.params.iter().cloned().collect::<BTreeMap<_, _>>(),
        }
    }
}

/// Where the capture goes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Capture")]
pub(super) struct CaptureArgs {
    /// Folder for the capture [default: a new one in $XDG_STATE_HOME/blackout/sessions]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Name of the session
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// How the guest is pinged.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Probe")]
pub(super) struct ProbeArgs {
    /// Distance between probes
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "50ms")]
    pub ping_interval: Duration,
    /// A probe unanswered for so long is lost
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    pub ping_deadline: Duration,
}

impl ProbeArgs {
    /// The probe that downtime is measured with.
    pub(super) fn options(&self, target: SocketAddr) -> ProbeOptions {
        ProbeOptions { interval: self.ping_interval, deadline: self.ping_deadline, ..ProbeOptions::icmp(0, target) }
    }

    /// Whether they can be measured with, before there is a target.
    pub(super) fn check(&self) -> Result<(), ProbeError> {
        self.options(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).check()
    }
}

/// Screen or no screen.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Without a screen")]
pub(super) struct HeadlessArgs {
    /// No screen: progress on stderr, result on stdout, exit code 0 only if all ended as asked
    #[arg(long)]
    pub headless: bool,
    /// How many migrations to fire
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), requires = "headless")]
    pub migrations: u32,
    /// How long the load runs before each migration
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "2s", requires = "headless")]
    pub warm_up: Duration,
    /// The result as JSON
    #[arg(long, requires = "headless")]
    pub json: bool,
    /// Give up a migration that has not ended after so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10m", requires = "headless")]
    pub give_up_after: Duration,
}

/// Everything a session can be told, whoever started its hosts.
#[derive(Debug, Clone, Args)]
pub(super) struct SessionArgs {
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub migration: MigrationArgs,
    #[command(flatten)]
    pub probe: ProbeArgs,
    #[command(flatten)]
    pub capture: CaptureArgs,
    #[command(flatten)]
    pub headless: HeadlessArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

impl SessionArgs {
    /// Tells what cannot work before anything is started for it.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if !self.headless.headless && !std::io::stdout().is_terminal() {
            anyhow::bail!("the output is not a terminal, so there is no screen to draw: add --headless");
        }
        if !self.headless.headless {
            self.screen.options()?.theme.theme()?;
        }
        Ok(self.probe.check()?)
    }
}

/// The screen's looks and manners.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Screen")]
pub(super) struct ScreenArgs {
    /// dark, light, or the path of a theme file
    #[arg(long, value_name = "THEME", default_value = "dark")]
    pub theme: String,
    /// Characters that draw bars and marks: unicode or ascii
    #[arg(long, value_name = "MARKERS", value_parser = parse_markers, default_value = "unicode")]
    pub markers: Markers,
    /// The same as --markers ascii
    #[arg(long)]
    pub ascii: bool,
    /// Most frames a second, 1 to 60
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub fps: u32,
    /// For a slow line: two to three frames a second; keys are answered at once
    #[arg(long)]
    pub slow: bool,
    /// Leave the mouse to the terminal
    #[arg(long, overrides_with = "mouse")]
    pub no_mouse: bool,
    /// Listen to the mouse, whatever the settings say
    #[arg(long, overrides_with = "no_mouse", hide = true)]
    pub mouse: bool,
    /// File of keys [default: $XDG_CONFIG_HOME/blackout/keys.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    pub keymap: Option<PathBuf>,
    /// File of settings [default: $XDG_CONFIG_HOME/blackout/config.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ScreenArgs {
    /// # Errors
    /// When the keymap is invalid.
    pub(super) fn options(&self) -> anyhow::Result<TuiOptions> {
        Ok(TuiOptions {
            theme: match self.theme.as_str() {
                "dark" => ThemeChoice::Dark,
                "light" => ThemeChoice::Light,
                path => ThemeChoice::File(PathBuf::from(path)),
            },
            markers: if self.ascii { Markers::Ascii } else { self.markers },
            max_fps: self.fps,
            slow: self.slow,
            mouse: self.mouse || !self.no_mouse,
            keymap: Arc::new(keymap(self.keymap.as_deref())?),
            ..TuiOptions::default()
        })
    }
}

/// The keys: of the file that is named, else of the person's own, else the built-in ones.
///
/// # Errors
/// When the file is there and is no valid keymap, or is named and is not there.
pub(super) fn keymap(named: Option<&Path>) -> Result<Keymap, KeymapError> {
    if let Some(path) = named {
        return Keymap::load(path);
    }
    match setting_file::folder().map(|f| f.join("keys.toml")).filter(|p| p.exists()) {
        Some(path) => Keymap::load(&path),
        None => Ok(Keymap::default()),
    }
}

fn parse_markers(text: &str) -> Result<Markers, String> {
    match text {
        "unicode" => Ok(Markers::Unicode),
        "ascii" => Ok(Markers::Ascii),
        other => Err(format!("'{other}' are no markers: unicode or ascii")),
    }
}

fn parse_policy(text: &str) -> Result<StopPolicy, String> {
    text.parse().map_err(|e: PolicyError| e.to_string())
}

/// A downtime limit: hypervisors take whole milliseconds.
fn parse_limit(text: &str) -> Result<Duration, String> {
    let limit = parse_duration(text).map_err(|e| e.to_string())?;
    match limit.subsec_nanos() % 1_000_000 {
        0 => Ok(limit),
        _ => Err(format!(
            "'{text}' is no downtime limit: it is not a whole number of milliseconds; write for instance 300ms"
        )),
    }
}

fn parse_param(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("'{text}' is not NAME=VALUE, for instance cpu-throttle-initial=30"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
    Ok((name.into(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_downtime_limit_is_not_cut_to_another_one() {
        assert_eq!(parse_limit("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_limit("0ms"), Ok(Duration::ZERO));
        assert!(parse_limit("500us").unwrap_err().contains("whole number of milliseconds"));
        assert!(parse_limit("300").unwrap_err().contains("no unit"));
    }

    #[test]
    fn parameters_keep_their_type() {
        assert_eq!(parse_param("a=30"), Ok(("a".into(), Value::from(30))));
        assert_eq!(parse_param("a=true"), Ok(("a".into(), Value::from(true))));
        assert_eq!(parse_param("a=zstd"), Ok(("a".into(), Value::from("zstd"))));
        assert!(parse_param("=3").is_err() && parse_param("a").is_err());
    }
}
