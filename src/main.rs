//! The `blackout` command: a call-through to [`blackout::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    blackout::cli::main()
}
