//! `blackout config`: the file of settings.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args as ClapArgs, Command, FromArgMatches};

use super::args::ScreenArgs;
use super::exit::EXIT_OK;
use super::settings::{Settings, template, usual_path};

/// Prints a file of settings to begin with, tells where it belongs, or checks the one there is.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLE:
  blackout config --print-default > ~/.config/blackout/config.toml")]
pub struct Args {
    #[command(flatten)]
    what: What,
    /// File of settings [default: $XDG_CONFIG_HOME/blackout/config.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, ClapArgs)]
#[group(required = true, multiple = false)]
struct What {
    /// Print a file with every setting, its default and what it is for
    #[arg(long)]
    print_default: bool,
    /// Print the path of the file that is read
    #[arg(long)]
    path: bool,
    /// Check the file of settings, and the file of keys and the theme it leads to
    #[arg(long)]
    check: bool,
}

/// Runs `blackout config`.
///
/// # Errors
/// When the settings, the keys or the theme are invalid, or the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = args.config.clone().or_else(usual_path);
    let out = if args.what.print_default {
        template()
    } else if args.what.path {
        let path = path.context("neither XDG_CONFIG_HOME nor HOME is set, so there is no settings file")?;
        format!("{}\n", path.display())
    } else {
        check(path, args.config.is_some())?
    };
    super::say::print(&out)?;
    Ok(ExitCode::from(EXIT_OK))
}

fn check(path: Option<PathBuf>, named: bool) -> anyhow::Result<String> {
    let settings = match path {
        Some(path) if named || path.exists() => Settings::load(&path)?,
        _ => Settings::default(),
    };
    let command = settings.as_defaults_of(<ScreenArgs as ClapArgs>::augment_args(Command::new("blackout")));
    let screen = ScreenArgs::from_arg_matches(&command.try_get_matches_from(["blackout"])?)?;
    let options = screen.options()?;
    options.theme.theme()?;
    let mine = crate::tui::keys::Keymap::default() != *options.keymap;
    Ok(format!(
        "{}\nkeys: {}\nall is well\n",
        match &settings.path {
            Some(path) => format!("{}: {} settings", path.display(), settings.len()),
            None => "no file of settings: all defaults".into(),
        },
        if mine { "some are your own" } else { "as built in" },
    ))
}
