//! Options that several commands share.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::promises::PromiseArgs;
use crate::event::policy::PolicyError;
use crate::event::{LoadSettings, MigrationSettings, ProbeId, StopPolicy};
use crate::load::{LoadArgs, RampSpec};
use crate::probe::asked::Asked;
use crate::probe::{ProbeError, ProbeOptions};
use crate::setting_file;
use crate::target::probing::Probing;
use crate::target::product::Usual;
use crate::tui::keys::{Keymap, KeymapError};
use crate::tui::theme::Depth;
use crate::tui::{Clock, Markers, ThemeChoice, TuiOptions};
use crate::units::{parse_duration, parse_rate_limit, show_bandwidth};

/// What a migration is asked to be.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Migration")]
pub(super) struct MigrationArgs {
    /// Limit on what the hypervisor may send, bytes/s (32M is 32,000,000 B/s) [default: migrate: the
    /// hypervisor's own; lab: 32M; demo: all that the link carries]
    #[arg(long, value_name = "B/s", value_parser = parse_rate_limit)]
    pub bandwidth: Option<u64>,
    /// Downtime the hypervisor may plan for when it decides to switch over [default: migrate: the
    /// hypervisor's own; lab and demo: 300ms]
    #[arg(long, value_name = "TIME", value_parser = parse_limit)]
    pub downtime_limit: Option<Duration>,
    /// What ends pre-copy: xen-3.4, none, timeout (=15s), or rules such as
    /// rounds=10,ram=2.5,after=15s,remaining=50,then=stop-and-copy [default: migrate: none; lab:
    /// xen-3.4; demo: xen-3.4, or none where the simulated hypervisor has a rule of its own]
    #[arg(long, value_name = "POLICY", value_parser = parse_policy)]
    pub policy: Option<StopPolicy>,
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
    /// What a migration is asked to be: what was asked for, and what is usual with its target for what was not.
    /// Everything else stays the hypervisor's own.
    pub(super) fn over(&self, usual: &Usual) -> MigrationSettings {
        let policy = self.policy.clone().unwrap_or_else(|| usual.policy.clone());
        let limit = self.downtime_limit.map(|d| d.as_millis() as u64);
        MigrationSettings {
            bandwidth_bytes_per_s: self.bandwidth.or(usual.bandwidth_bytes_per_s),
            downtime_limit_ms: limit.or(usual.downtime_limit_ms),
            post_copy: self.post_copy || policy.then == crate::event::Then::PostCopy,
            policy,
            auto_converge: self.auto_converge,
            extra: self.params.iter().cloned().collect::<BTreeMap<_, _>>(),
        }
    }

    /// The defaults that `settings` has beyond what was asked for, in words; None if there are none.
    pub(super) fn defaults_in(&self, settings: &MigrationSettings) -> Option<String> {
        let bandwidth = settings.bandwidth_bytes_per_s.filter(|_| self.bandwidth.is_none());
        let limit = settings.downtime_limit_ms.filter(|_| self.downtime_limit.is_none());
        let policy = Some(&settings.policy).filter(|_| self.policy.is_none());
        let all = [
            bandwidth.map(|b| format!("bandwidth limit {}", show_bandwidth(b as f64))),
            limit.map(|ms| format!("downtime limit {ms} ms")),
            policy.map(|p| format!("stop policy {}", p.name)),
        ];
        let all: Vec<String> = all.into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(", "))
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

/// How the guest is pinged, and what else is probed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Probe")]
pub(super) struct ProbeArgs {
    /// Distance between probes
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "50ms")]
    pub ping_interval: Duration,
    /// A probe unanswered for so long is lost
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    pub ping_deadline: Duration,
    /// Probe this, too (may be given again): icmp:HOST, tcp:HOST:PORT, udp:HOST:PORT, udp:agent or
    /// http://HOST[:PORT][/PATH][=STATUS], where HOST may be 'guest'; behind it ,interval=TIME ,deadline=TIME
    /// ,from=ADDRESS or ,from=DEVICE ,refused-is-ok ,primary (docs/probes.md)
    #[arg(long = "probe", value_name = "PROBE", value_parser = parse_probe)]
    pub probes: Vec<Asked>,
}

impl ProbeArgs {
    /// The ping of the guest, before there is an address.
    fn ping(&self) -> ProbeOptions {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        ProbeOptions {
            interval: self.ping_interval,
            deadline: self.ping_deadline,
            ..ProbeOptions::icmp(ProbeId(0), nowhere)
        }
    }

    /// All probes of a session: the ping of its guest, what else is probed there in any case, and what was asked
    /// for.
    pub(super) fn probing(&self, besides: impl IntoIterator<Item = Asked>) -> Probing {
        Probing::new(self.ping(), besides.into_iter().chain(self.probes.iter().cloned()))
    }

    /// Whether they can be measured with, before there is a target.
    pub(super) fn check(&self) -> Result<(), ProbeError> {
        self.ping().check()
    }
}

/// Screen or no screen.
#[derive(Debug, Clone, Default, Args)]
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
    /// Give up a migration that has not ended this long after it began: cancel it, or leave it
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10m", requires = "headless")]
    pub give_up_after: Duration,
    /// A session that only watches ends by itself after this time.
    #[arg(skip)]
    pub watch_for: Option<Duration>,
}

/// Without a screen, for a session that only watches.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Without a screen")]
pub(super) struct WatchHeadlessArgs {
    /// No screen: the event log on stderr, the summary on stdout; until --duration is over or a signal ends
    /// it (SIGINT, SIGTERM), which is exit code 0, too, where no --duration was asked for
    #[arg(long)]
    pub headless: bool,
    /// Watch for this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "headless")]
    pub duration: Option<Duration>,
    /// The summary as JSON
    #[arg(long, requires = "headless")]
    pub json: bool,
}

/// Everything a session can be told, whoever started its hosts.
#[derive(Debug, Clone, Args)]
pub(super) struct SessionArgs {
    #[command(flatten)]
    pub load: LoadArgs,
    /// Let RATE go from one value to another by itself: 2000..12000/20s, or ..12000/20s from RATE on;
    /// begins when the guest is ready (without a screen: with the first warm-up)
    #[arg(long, value_name = "FROM..TO/TIME", value_parser = crate::load::ramp::parse, help_heading = "Load")]
    pub ramp: Option<RampSpec>,
    #[command(flatten)]
    pub migration: MigrationArgs,
    #[command(flatten)]
    pub probe: ProbeArgs,
    #[command(flatten)]
    pub promises: PromiseArgs,
    #[command(flatten)]
    pub capture: CaptureArgs,
    #[command(flatten)]
    pub headless: HeadlessArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

impl SessionArgs {
    /// A session without load and migrations of its own.
    pub(super) fn watching(
        probe: ProbeArgs,
        capture: CaptureArgs,
        screen: ScreenArgs,
        promises: PromiseArgs,
        asked: &WatchHeadlessArgs,
    ) -> Self {
        let (load, migration) = Default::default();
        let (headless, json, watch_for) = (asked.headless, asked.json, asked.duration);
        let headless = HeadlessArgs { headless, json, watch_for, ..HeadlessArgs::default() };
        Self { load, ramp: None, migration, probe, promises, capture, headless, screen }
    }

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

    /// Refuses a ramp of RATE where `load` holds no memory that it could dirty.
    pub(super) fn check_ramp(&self, load: &LoadSettings) -> anyhow::Result<()> {
        if self.ramp.is_some() && load.wset_bytes == 0 {
            anyhow::bail!("a ramp of RATE dirties nothing without a WSET to dirty: add for instance --wset 96M");
        }
        Ok(())
    }
}

/// The screen's looks and manners.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Screen")]
pub(super) struct ScreenArgs {
    /// auto (dark or light), a name from 'blackout themes', or the path of a theme file
    #[arg(long, value_name = "THEME", default_value = "auto")]
    pub theme: String,
    /// Colours to use: auto, true, 256, 16, none [default: auto: as the terminal says; NO_COLOR is
    /// heeded]
    #[arg(long, value_name = "COLOURS", value_parser = parse_colours, hide_default_value = true, default_value = "auto")]
    pub colors: Colours,
    /// Characters of bars and marks: braille, block, ascii [default: block, or ascii where the
    /// terminal or its locale knows no better]
    #[arg(long, value_name = "MARKERS", value_parser = parse_markers)]
    pub markers: Option<Markers>,
    /// Clock that times are shown by: session (since it began) or wall (time of the day, local)
    #[arg(long, value_name = "CLOCK", value_parser = parse_clock, default_value = "session")]
    pub clock: Clock,
    /// Draw with plain ASCII characters only
    #[arg(long, hide = true, conflicts_with = "markers")]
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

/// What `--colors` asks for; `None` for what the terminal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colours(pub Option<Depth>);

impl ScreenArgs {
    /// # Errors
    /// When the keymap is invalid.
    pub(super) fn options(&self) -> anyhow::Result<TuiOptions> {
        if self.colors.0.is_some() {
            // What is asked for here goes above NO_COLOR, which the terminal library would heed.
            crossterm::style::force_color_output(true);
        }
        Ok(TuiOptions {
            theme: ThemeChoice::of(&self.theme),
            colours: self.colors.0,
            markers: self.asked_markers().unwrap_or_else(Markers::from_env),
            clock: self.clock,
            max_fps: self.fps,
            slow: self.slow,
            mouse: self.mouse || !self.no_mouse,
            keymap: Arc::new(keymap(self.keymap.as_deref())?),
            ..TuiOptions::default()
        })
    }

    /// The same for a picture, which is no terminal: what is not asked for is the same everywhere.
    pub(super) fn options_of_picture(&self) -> TuiOptions {
        let theme = match ThemeChoice::of(&self.theme) {
            ThemeChoice::Auto => ThemeChoice::Dark,
            asked => asked,
        };
        TuiOptions {
            theme,
            colours: Some(self.colors.0.unwrap_or(Depth::True)),
            markers: self.asked_markers().unwrap_or_default(),
            clock: self.clock,
            ..TuiOptions::default()
        }
    }

    fn asked_markers(&self) -> Option<Markers> {
        if self.ascii { Some(Markers::Ascii) } else { self.markers }
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

pub(super) fn parse_colours(text: &str) -> Result<Colours, String> {
    one_of(text, Depth::NAMES, "colours").map(Colours)
}

fn parse_clock(text: &str) -> Result<Clock, String> {
    one_of(text, Clock::NAMES, "").map_err(|_| format!("'{text}' is no clock: choose from session, wall"))
}

fn parse_markers(text: &str) -> Result<Markers, String> {
    one_of(text, Markers::NAMES, "markers")
}

/// The value of the name that was written, or which names there are.
fn one_of<T: Copy>(text: &str, names: &[(&str, T)], what: &str) -> Result<T, String> {
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("'{text}' are no {what}: choose from {}", names.join(", "))
    })
}

fn parse_probe(text: &str) -> Result<Asked, ProbeError> {
    text.parse()
}

fn parse_policy(text: &str) -> Result<StopPolicy, String> {
    text.parse().map_err(|e: PolicyError| e.to_string())
}

/// A downtime limit: hypervisors take whole milliseconds.
fn parse_limit(text: &str) -> Result<Duration, String> {
    let limit = parse_duration(text).map_err(|e| e.to_string())?;
    match limit.subsec_nanos() % 1_000_000 {
        0 => Ok(limit),
        _ => {
            Err(format!("invalid downtime limit '{text}': expected a whole number of milliseconds, for instance 300ms"))
        }
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
    fn without_flags_nothing_is_asked_of_other_peoples_hosts() {
        let none = MigrationArgs::default();
        let asked = none.over(&Usual::default());
        assert_eq!(asked, MigrationSettings { policy: StopPolicy::none(), ..MigrationSettings::default() });
        assert!(!asked.policy.has_rules());
        assert_eq!(none.defaults_in(&asked).as_deref(), Some("stop policy none"));
        let usual = Usual {
            bandwidth_bytes_per_s: Some(32_000_000),
            downtime_limit_ms: Some(300),
            policy: StopPolicy::xen_3_4(),
            ..Usual::default()
        };
        let lab = none.over(&usual);
        let said = none.defaults_in(&lab).unwrap();
        assert_eq!(said, "bandwidth limit 32.0 MB/s, downtime limit 300 ms, stop policy xen-3.4");
        let asked = MigrationArgs { bandwidth: Some(7), ..none };
        assert_eq!(asked.over(&usual).bandwidth_bytes_per_s, Some(7));
        assert!(!asked.defaults_in(&asked.over(&usual)).unwrap().contains("bandwidth"));
    }

    #[test]
    fn parameters_keep_their_type() {
        assert_eq!(parse_param("a=30"), Ok(("a".into(), Value::from(30))));
        assert_eq!(parse_param("a=true"), Ok(("a".into(), Value::from(true))));
        assert_eq!(parse_param("a=zstd"), Ok(("a".into(), Value::from("zstd"))));
        assert!(parse_param("=3").is_err() && parse_param("a").is_err());
    }
}
