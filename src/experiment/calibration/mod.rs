//! Calibration: what migrations that were recorded say about the guest, the link and the fixed
//! times, so that the next ones are predicted from it; and how well that fits.

mod case;
mod compare;
mod content;
mod errors;
mod figures;
mod fit;
mod missing;
pub mod plot;
mod row;

pub use case::{Case, collect, measured_downtime, rested_on};
pub use compare::{Comparison, compare};
pub use errors::{Agreement, DowntimeErrors, Errors, MigrationErrors, Tally};
pub use figures::{Figure, figures, toml};
pub use fit::{Fit, fit};
pub use missing::Missing;
pub use row::{Predicted, Row};

#[cfg(test)]
mod tests;
