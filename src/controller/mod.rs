//! What runs one session: what the operator asks for comes in, events go out. Requests for load and ramps, the
//! migrations one after another, forecasts, and the scripts that drive a session by themselves. It knows no
//! command line, no screen and no standard output: a front end is whoever sends intents and reads the events.

pub(crate) mod demo_stage;
pub(crate) mod forecast;
pub(crate) mod loader;
mod patience;
pub(crate) mod requests;
pub(crate) mod script;
mod serve;
pub(crate) mod stage;
pub(crate) mod tour;
mod waiting;

pub(crate) use serve::{Controller, Terms, announce};
pub(crate) use waiting::Waiting;
