//! `blackout completions` and `blackout man`: for a shell and for a manual, from the command line's
//! own description.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args as ClapArgs, Command};
use clap_complete::Shell;

use super::exit::EXIT_OK;

/// Prints what a shell needs to complete command lines of blackout.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout completions bash > ~/.local/share/bash-completion/completions/blackout
  blackout completions zsh > ~/.zfunc/_blackout        (with ~/.zfunc in fpath)
  blackout completions fish > ~/.config/fish/completions/blackout.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints a manual page: of blackout, or of one of its commands.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout man | man -l -
  blackout man lab > blackout-lab.1")]
pub struct ManArgs {
    /// The command; without one, blackout itself
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Runs `blackout completions` for the command line `of`.
///
/// # Errors
/// When the output cannot be written.
pub fn run(args: &Args, of: &mut Command) -> anyhow::Result<ExitCode> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, of, "blackout", &mut out);
    std::io::stdout().write_all(&out)?;
    Ok(ExitCode::from(EXIT_OK))
}

/// Runs `blackout man` for the command line `root`.
///
/// # Errors
/// When there is no such command, or the output cannot be written.
pub fn man(args: &ManArgs, root: Command) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(&page(root, args.command.as_deref())?)?;
    Ok(ExitCode::from(EXIT_OK))
}

fn page(mut root: Command, of: Option<&str>) -> anyhow::Result<Vec<u8>> {
    // What holds for all commands is carried over to each.
    root.build();
    let command = match of {
        None => root,
        Some(name) => match root.find_subcommand(name) {
            Some(command) => command.clone().name(format!("blackout-{name}")).bin_name(format!("blackout {name}")),
            None => bail!("unknown command '{name}': 'blackout --help' lists them"),
        },
    };
    let mut out = Vec::new();
    clap_mangen::Man::new(command).render(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::super::Cli;
    use super::*;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in Shell::value_variants() {
            let mut out = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "blackout", &mut out);
            let text = String::from_utf8(out).unwrap();
            for word in ["replay", "bandwidth", "fps"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn pages_are_of_what_was_asked_for() {
        let text = |of| String::from_utf8(page(Cli::command(), of).unwrap()).unwrap();
        assert!(text(None).contains("blackout\\-lab"));
        let lab = text(Some("lab"));
        assert!(lab.contains("blackout\\-lab") && lab.contains("\\-\\-bandwidth"), "{lab}");
        assert!(page(Cli::command(), Some("lob")).is_err());
    }
}
