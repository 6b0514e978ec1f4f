//! `blackout show`: the result table of a capture.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;

use super::exit::{EXIT_CAPTURE, EXIT_TROUBLE};
use super::promises::{self, PromiseArgs};
use super::say;
use crate::event::Nanos;
use crate::session::result::Read;
use crate::session::{Reader, moment, result, wall};

/// At most so many corrupt records are named one by one.
const NAMED: u64 = 20;

/// Prints what was measured and the result of each migration.
///
/// Exit code: 0 if the capture is sound (a last line torn by a kill is), 2 if it cannot be read,
/// 3 if some of its records are corrupt; else 1 if a promise was broken, 5 if it is not known whether it was kept.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// The capture, or the folder of its session; - for standard input.
    pub capture: PathBuf,
    /// As JSON, for programs.
    #[arg(long)]
    pub json: bool,
    /// Columns the tables may use; by default the terminal's, or 120.
    #[arg(long, value_name = "COLUMNS")]
    pub width: Option<usize>,
    /// What was known then, and no more: a time of RFC 3339, one of the day (14:03:17: the first such since the session
    /// began), or the seconds since it began (25.4).
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    #[command(flatten)]
    pub(super) promises: PromiseArgs,
}

/// Runs `blackout show`.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut reader = match Reader::open(&args.capture) {
        Ok(reader) => reader,
        Err(e) => {
            tell!("blackout: {e}");
            return Ok(ExitCode::from(EXIT_TROUBLE));
        }
    };
    if let Some(chosen) = reader.chosen() {
        tell!("blackout: {chosen}");
    }
    let at = match args.at.as_ref().map(|text| wall::instant(reader.header(), text)).transpose() {
        Ok(at) => at,
        Err(e) => {
            tell!("blackout: --at: {e}");
            return Ok(ExitCode::from(EXIT_TROUBLE));
        }
    };
    let mut corrupt = 0_u64;
    let state = reader.read_state_at(at.unwrap_or(Nanos::MAX), |e| {
        corrupt += 1;
        if corrupt <= NAMED {
            tell!("blackout: {e}");
        }
    });
    if corrupt > NAMED {
        tell!("blackout: and {} more corrupt records", corrupt - NAMED);
    }
    if let Some(bytes) = reader.torn() {
        tell!(
            "blackout: {}: the last line is torn ({bytes} bytes): the writer was killed; all before it is whole",
            reader.path().display()
        );
    }
    if reader.skipped() > 0 {
        tell!("blackout: {}: {} records of a newer schema were skipped", reader.path().display(), reader.skipped());
    }

    let mut results = result::result(&state);
    let judged = args.promises.judge(&state);
    if args.json {
        results.promises = judged.clone();
        // A program gets the header as it is written.
        results.header = Some(reader.header().clone());
        say::print_json(&results)?;
    } else {
        let read = if at.is_some() { Read::Until } else { Read::Whole };
        let width = args.width.unwrap_or_else(say::width);
        let then = at.map(|t| moment::lines(&state, t).join("\n") + "\n").unwrap_or_default();
        say::print(&format!("{}{then}\n{}", result::head(&state, read), result::text(&results, width)))?;
        promises::print(&judged)?;
    }
    Ok(ExitCode::from(if corrupt > 0 { EXIT_CAPTURE } else { promises::exit_code(&judged) }))
}
