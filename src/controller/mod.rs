//! What runs one session: what the operator asks for comes in as [`Intent`](crate::event::Intent)s, events go
//! out. Requests for load and ramps, the migrations one after another, forecasts, and the scripts that drive a
//! session by themselves. It knows no command line, no screen and no standard output: a front end is whoever
//! sends intents and reads the session's state.

mod closing;
pub(crate) mod forecast;
mod header;
mod patience;
mod plan;
pub(crate) mod requests;
pub(crate) mod script;
mod serve;
pub(crate) mod session;
pub(crate) mod tour;

pub(crate) use closing::Closed;
pub(crate) use plan::{Plan, Simulation};
pub(crate) use session::Session;
