//! The load of the paper: its parameters, their algebra and limits, and the generators themselves.
//!
//! Three generators run side by side, each changeable while it runs:
//!
//! * *CPU*: one duty-cycled thread on each CPU ([`LoadSettings::cpu_load_pct`]).
//! * *locked pages*: WSET bytes of locked memory full of random data ([`LoadSettings::wset_bytes`]).
//! * *dirty pages*: writes to those pages at RATE = BPC / PERIOD ([`LoadSettings::dirty`]).
//!
//! [`Generators`] is the way in; [`LoadArgs`] reads settings from a command line, and the
//! constructors of [`DirtyCycle`] in [`params`] keep BPC, PERIOD and RATE in step.
//!
//! # Who owns the memory
//!
//! The locked memory comes in chunks, and a chunk has one owner at a time: the thread that resizes
//! it or the thread that dirties it. They hand chunks over to each other by value, so growing and
//! shrinking never race with writing, and the writing loop takes no lock: it looks at one atomic
//! number every few hundred pages to learn that there is mail.

pub(crate) mod args;
mod busy;
pub(crate) mod cgroup;
mod chunk;
pub(crate) mod clock;
mod cpu;
mod dirty;
mod error;
mod generators;
pub(crate) mod limits;
mod locked;
mod mark;
pub(crate) mod measure;
mod pacer;
pub(crate) mod params;
pub(crate) mod ramp;
mod walk;

pub(crate) use args::{LoadArgs, parse_pattern, parse_percent};
pub(crate) use clock::monotonic_ns;
pub(crate) use clock::{PROMPT, keep_time};
pub(crate) use error::LoadError;
pub(crate) use generators::Generators;
pub(crate) use limits::{Limits, wset_limit};
pub(crate) use params::{DEFAULT_PERIOD, MAX_RATE, MIN_PERIOD};
pub(crate) use ramp::RampSpec;

#[doc(no_inline)]
pub(crate) use crate::event::{LoadReport, LoadSettings, Pattern};
