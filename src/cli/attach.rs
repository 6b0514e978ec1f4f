//! `blackout attach`: a session with a target that has a name.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, Command, FromArgMatches};

use super::args::SessionArgs;
use super::begin::{Asked, begin};
use super::settings::Settings;
use crate::analysis::prediction::Calibration;
use crate::controller::forecast::read_calibration;
use crate::target::file::{self, Preset};
use crate::text::{meant, visible};

/// Opens a session with a target: loads its guest, migrates it, and watches.
///
/// Targets stand in blackout.toml beside the file of settings, or in the file of --config: see 'blackout
/// targets'. 'lab' and 'demo' are always there.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout attach rack1                              the target [target.rack1] of blackout.toml
  blackout attach rack1 --headless --wset 96M --rate 9000 --json
  blackout attach demo --headless                    the simulated one
  blackout targets --fields qmp                      what can be written into such a table")]
pub struct Args {
    /// Name of the target
    #[arg(value_name = "NAME")]
    target: String,
    /// Figures of this guest and these hosts for predictions, made by `blackout calibrate`
    #[arg(long, value_name = "FILE", value_parser = read_calibration, help_heading = "Migration")]
    calibration: Option<Calibration>,
    #[command(flatten)]
    session: SessionArgs,
}

/// Options that a target may have a default for.
const PRESETS: &[&str] = &[
    "load",
    "wset",
    "rate",
    "bpc",
    "period",
    "fill",
    "pattern",
    "ramp",
    "bandwidth",
    "downtime-limit",
    "policy",
    "post-copy",
    "auto-converge",
    "ping-interval",
    "ping-deadline",
    "calibration",
    "max-downtime",
    "max-outage",
    "max-loss",
    "warm-up",
    "give-up-after",
];

/// Runs the command; `whole` is the command line it is one of, without the settings of a person.
///
/// # Errors
/// When there is no such target, or it, its load or the migration cannot be, something cannot be reached, or the
/// output is no terminal.
pub fn run(args: Args, whole: &Command) -> Result<ExitCode> {
    let mut all = file::find(args.session.screen.config.as_deref())?;
    let Some(described) = all.remove(&args.target) else {
        let hint = meant(&args.target, all.keys().map(String::as_str));
        bail!(
            "there is no target '{}'{hint} ('blackout targets' lists them, and what can be written for another one)",
            visible(&args.target)
        );
    };
    let target = described.target()?;
    let args = if described.defaults.is_empty() { args } else { preset(&described.defaults, whole)? };
    begin(Asked { command: "attach", target, calibration: args.calibration, tour: None, args: args.session })
}

/// The command line, read again with the target's defaults for what it does not say.
fn preset(defaults: &[Preset], whole: &Command) -> Result<Args> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let mut command = Settings::find(&arguments)?.as_defaults(whole.clone());
    for preset in defaults {
        check(preset)?;
        command = command.mut_subcommand("attach", |c| apply(c, preset));
    }
    let matches = command.try_get_matches_from(&arguments)?;
    let matches = matches.subcommand_matches("attach").context("the command 'attach' is missing")?;
    Ok(Args::from_arg_matches(matches)?)
}

fn apply(command: Command, preset: &Preset) -> Command {
    let id = preset.option.replace('-', "_");
    command.mut_arg(id, |arg| arg.default_value(preset.value.clone()))
}

/// Whether it can be a default.
///
/// # Errors
/// That there is no such option, or what the option says against the value.
fn check(preset: &Preset) -> Result<()> {
    let Preset { option, value, file, line } = preset;
    if !PRESETS.contains(&option.as_str()) {
        let hint = meant(option, PRESETS.iter().copied());
        bail!("{file}, line {line}: unknown default '{}'{hint}", visible(option));
    }
    let command = apply(Args::augment_args(Command::new("attach")), preset);
    let Err(e) = command.try_get_matches_from(["attach", "x"]) else { return Ok(()) };
    let why = std::error::Error::source(&e).map_or_else(
        || e.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        ToString::to_string,
    );
    bail!("{file}, line {line}: {option} = {}: {why}", visible(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(option: &str, value: &str) -> Preset {
        Preset { option: option.into(), value: value.into(), file: "b.toml".into(), line: 7 }
    }

    #[test]
    fn a_default_is_an_option_and_its_value() {
        assert!(check(&given("bandwidth", "32M")).is_ok() && check(&given("post-copy", "true")).is_ok());
        let why = |option: &str, value: &str| check(&given(option, value)).unwrap_err().to_string();
        assert_eq!(why("bandwith", "32M"), "b.toml, line 7: unknown default 'bandwith'; did you mean 'bandwidth'?");
        assert!(
            why("bandwidth", "fast").starts_with("b.toml, line 7: bandwidth = fast: "),
            "{}",
            why("bandwidth", "fast")
        );
        assert!(why("policy", "none,none").contains("line 7: policy = "));
        assert!(why("headless", "true").contains("unknown default"));
    }

    #[test]
    fn every_default_is_an_option() {
        let command = Args::augment_args(Command::new("attach"));
        for option in PRESETS {
            assert!(command.get_arguments().any(|a| a.get_long() == Some(option)), "{option}");
        }
    }
}
