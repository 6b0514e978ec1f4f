//! **blackout**: a terminal instrument for VM live migration.
//!
//! Everything that happens is an [`event::Event`]; sources produce events, and the
//! live screen, the capture file, a replay and a report are all the same fold
//! ([`session`]) over the same stream. The rooms below use each other downwards only.

pub mod agent;
mod allowed;
pub mod analysis;
mod chunked;
pub mod cli;
mod controller;
pub mod demo;
pub mod event;
pub mod experiment;
mod files;
#[cfg(test)]
mod fuzz;
mod host;
pub mod hypervisor;
pub mod lab;
mod load;
pub mod model;
mod own_folder;
mod picture;
pub mod probe;
pub mod session;
mod setting_file;
mod target;
#[cfg(test)]
mod testing;
pub mod text;
pub mod tui;
pub mod units;
