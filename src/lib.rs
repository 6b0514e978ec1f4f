//! **blackout**: a terminal instrument for VM live migration.
//!
//! Everything that happens is an [`event::Event`]; sources produce events, and the
//! live screen, the capture file, a replay and a report are all the same fold
//! ([`session`]) over the same stream. The rooms below use each other downwards only.

pub mod agent;
pub mod allowed;
pub mod analysis;
pub mod chunked;
pub mod cli;
mod controller;
pub mod demo;
pub mod event;
pub mod experiment;
pub mod files;
#[cfg(test)]
mod fuzz;
pub mod host;
pub mod hypervisor;
pub mod lab;
pub mod load;
pub mod model;
pub mod own_folder;
pub mod picture;
pub mod probe;
pub mod session;
mod setting_file;
mod target;
#[cfg(test)]
mod testing;
pub mod text;
pub mod tui;
pub mod units;
