//! `blackout keys`: every action and its keys.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;

use super::exit::EXIT_OK;
use crate::tui::keys::{markdown, template, text};

/// Lists every key of the screen, or prints a file of keys to begin with.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLE:
  blackout keys --print-default > ~/.config/blackout/keys.toml")]
pub struct Args {
    /// As a table in Markdown
    #[arg(long, conflicts_with = "print_default")]
    markdown: bool,
    /// As a file of keys, with every action
    #[arg(long)]
    print_default: bool,
    /// File of keys [default: $XDG_CONFIG_HOME/blackout/keys.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    keymap: Option<PathBuf>,
    /// File of settings [default: $XDG_CONFIG_HOME/blackout/config.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    #[allow(dead_code, reason = "read before the rest of the command line")]
    config: Option<PathBuf>,
}

/// Runs `blackout keys`.
///
/// # Errors
/// When the file of keys is invalid, or the output cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let out = if args.print_default {
        template(&crate::tui::keys::Keymap::default())
    } else {
        let map = super::args::keymap(args.keymap.as_deref())?;
        if args.markdown { markdown(&map) } else { text(&map) }
    };
    super::say::print(&out)?;
    Ok(ExitCode::from(EXIT_OK))
}
