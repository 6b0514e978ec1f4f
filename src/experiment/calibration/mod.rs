//! Calibration: what migrations that were recorded say about the guest, the link and the fixed
//! times, so that the next ones are predicted from it; and how well that fits.

mod case;
mod compare;
mod content;
mod errors;
mod figures;
mod fit;
pub mod plot;

pub use case::{Case, collect, measured_downtime, rested_on};
pub use compare::{Comparison, Predicted, Row, compare};
pub use errors::{Agreement, DowntimeErrors, Errors, MigrationErrors, Tally};
pub use figures::{Figure, figures, toml};
pub use fit::{Fit, Missing, fit};

#[cfg(test)]
mod tests;
