//! What the tests of all rooms share.

use std::fmt::Display;
use std::io::Write;

/// Says that a test is skipped, past the test runner, which keeps what a passing test prints.
pub(crate) fn skipped(why: impl Display) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
