//! Experiments: many treatments, each repeated.

pub mod calibration;
pub mod campaign;
pub mod paper;
pub mod plot;
mod variability;

pub use variability::Variability;
