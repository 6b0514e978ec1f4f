//! Arguments, configuration and wiring: everything a command needs is put together here.

#[macro_use]
mod say;

pub mod agent;
mod args;
pub mod attach;
mod begin;
pub mod calibrate;
pub mod campaign;
pub mod completions;
pub mod config;
pub mod demo;
pub mod doctor;
mod exit;
mod feed;
mod fields;
mod headless;
mod impatience;
pub mod internal_guardian;
pub mod keys;
pub mod lab;
pub mod load;
pub mod migrate;
mod picture;
pub mod ping;
mod printer;
mod promises;
pub mod replay;
mod run;
mod settings;
pub mod show;
mod start;
pub mod targets;
pub mod themes;
pub mod watch;
mod welcome;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::exit::{EXIT_OK, EXIT_TROUBLE};
use crate::text::in_full;

/// A terminal instrument for VM live migration: load a guest, fire a migration, see what it costs.
#[derive(Debug, Parser)]
#[command(name = "blackout", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, once")]
enum Command {
    Demo(demo::Args),
    Lab(lab::Args),
    Migrate(migrate::Args),
    Attach(attach::Args),
    Targets(targets::Args),
    Watch(watch::Args),
    Replay(replay::Args),
    Show(show::Args),
    Calibrate(calibrate::Args),
    Campaign(campaign::Args),
    Ping(ping::Args),
    Load(load::Args),
    Agent(agent::Args),
    Doctor(doctor::Args),
    Themes(themes::Args),
    Keys(keys::Args),
    Config(config::Args),
    Completions(completions::Args),
    Man(completions::ManArgs),
    #[command(hide = true)]
    InternalGuardian(internal_guardian::Args),
}

/// Runs the command line.
///
/// Inside a lab's guest this very program is process 1; then there is no command line to read.
#[must_use]
pub fn main() -> ExitCode {
    if crate::lab::guest_init::is_guest_init() {
        crate::lab::guest_init::run();
    }
    say::filter_panics();
    let result = read_arguments().and_then(work);
    result.unwrap_or_else(|e| {
        // Whoever was to read our output has read enough, as in `blackout doctor | head`.
        let unread = e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
        if !unread {
            say::tell_lines(&format!("blackout: {}", in_full(&e)));
        }
        ExitCode::from(EXIT_TROUBLE)
    })
}

/// Reads the command line, with the person's settings in place of the built-in defaults.
fn read_arguments() -> anyhow::Result<Option<Command>> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let settings = settings::Settings::find(&arguments);
    let command = match &settings {
        Ok(settings) => settings.as_defaults(Cli::command()),
        Err(_) => Cli::command(),
    };
    let parsed = command.clone().try_get_matches_from(&arguments).and_then(|m| Cli::from_arg_matches(&m));
    let command = parsed.unwrap_or_else(|e| refuse(command, &arguments, &e)).command;
    // A fault in the settings stops what they would have changed, and nothing else.
    let concerned = matches!(
        command,
        Some(
            Command::Demo(_)
                | Command::Lab(_)
                | Command::Migrate(_)
                | Command::Attach(_)
                | Command::Replay(_)
                | Command::Keys(_)
        )
    );
    match settings {
        Err(e) if concerned => Err(e.into()),
        _ => Ok(command),
    }
}

/// Threads and open files that a command needs at most, roughly; none for one that needs next to nothing.
fn needs(command: Option<&Command>) -> (usize, usize) {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match command {
        None if !start::on_a_terminal() => (0, 0),
        None
        | Some(Command::Demo(_) | Command::Lab(_) | Command::Migrate(_) | Command::Attach(_) | Command::Watch(_)) => {
            (16 + run::workers(), 64)
        }
        Some(Command::Replay(_)) => (6, 24),
        Some(Command::Ping(_)) => (4, 16),
        Some(Command::Load(_)) => (cpus + 4, 16),
        Some(Command::Agent(_)) => (cpus + 12, 24),
        Some(Command::Campaign(_)) => (cpus + 2, 16),
        Some(Command::Doctor(_)) => (1, 12),
        Some(_) => (0, 0),
    }
}

/// Ends with what is wrong with the arguments. The message quotes them: it is made anew of arguments in
/// which everything is visible, so that its own colours stay and theirs do not act.
fn refuse(command: clap::Command, arguments: &[std::ffi::OsString], e: &clap::Error) -> ! {
    let shown = arguments.iter().map(|a| crate::text::visible(&a.to_string_lossy()).into_owned());
    match command.try_get_matches_from(shown).and_then(|m| Cli::from_arg_matches(&m)) {
        Err(again) if again.kind() == e.kind() => again.exit(),
        _ => {
            say::tell_lines(&e.to_string());
            std::process::exit(e.exit_code());
        }
    }
}

fn work(command: Option<Command>) -> anyhow::Result<ExitCode> {
    let (threads, files) = needs(command.as_ref());
    crate::allowed::check(threads, files)?;
    match command {
        None if start::on_a_terminal() => start::run(&Cli::command()),
        None => {
            say::print(&welcome::text(crate::lab::doctor::lab_ready()))?;
            Ok(ExitCode::from(EXIT_OK))
        }
        Some(Command::Demo(args)) => demo::run(args),
        Some(Command::Lab(args)) => lab::run(args),
        Some(Command::Migrate(args)) => migrate::run(args),
        Some(Command::Attach(args)) => attach::run(args, &Cli::command()),
        Some(Command::Targets(args)) => targets::run(&args),
        Some(Command::Watch(args)) => watch::run(args),
        Some(Command::Replay(args)) => replay::run(&args),
        Some(Command::Show(args)) => show::run(args),
        Some(Command::Calibrate(args)) => calibrate::run(&args),
        Some(Command::Campaign(args)) => campaign::run(&args),
        Some(Command::Ping(args)) => ping::run(args),
        Some(Command::Load(args)) => load::run(args),
        Some(Command::Agent(args)) => agent::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Themes(args)) => themes::run(&args),
        Some(Command::Keys(args)) => keys::run(&args),
        Some(Command::Config(args)) => config::run(&args),
        Some(Command::Completions(args)) => completions::run(&args, &mut Cli::command()),
        Some(Command::Man(args)) => completions::man(&args, Cli::command()),
        Some(Command::InternalGuardian(args)) => internal_guardian::run(args),
    }
}

#[cfg(test)]
pub(crate) use settings::fuzz as fuzz_settings;
