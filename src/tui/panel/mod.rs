//! The panels: one a file, one `render` each.

pub(crate) mod banner;
pub(crate) mod clock;
pub(crate) mod compare;
pub(crate) mod cpu;
pub(crate) mod curve;
pub(crate) mod dialog;
pub(crate) mod dirty;
pub(crate) mod footer;
pub(crate) mod header;
pub(crate) mod help;
pub(crate) mod history;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod menu;
pub(crate) mod migration;
pub(crate) mod phases;
pub(crate) mod ping;
pub(crate) mod presets;
pub(crate) mod readout;
pub(crate) mod remaining;
pub(crate) mod result;
pub(crate) mod step;
pub(crate) mod throughput;
pub(crate) mod tiny;
pub(crate) mod tracks;
