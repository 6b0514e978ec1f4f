//! The agent in the guest and the controller's end of the talk with it.
//!
//! The [`server`] runs the load generators on behalf of one controller at a time; the [`client`]
//! is that controller's end and a source of [`AgentEvent`](crate::event::AgentEvent)s. They speak
//! the [`protocol`] over TCP, encrypted and authenticated with a pre-shared key ([`psk`],
//! [`noise`]), or over stdin and stdout of a process that ssh started. [`heartbeat`]s and echoes
//! travel beside it as UDP datagrams: each heartbeat is authenticated with a key that only the two
//! of them know, echoes bear a token.
//!
//! The load belongs to the agent, not to the connection: a connection lost in a blackout comes
//! back and finds all settings as they were. Only a controller silent for longer than the lease
//! loses them: then the load falls to zero and the memory is freed.

mod allowance;
pub mod client;
pub mod heartbeat;
pub mod link;
pub mod noise;
mod outbox;
pub mod protocol;
pub mod psk;
pub mod server;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientOptions, Transport};
pub use psk::{Psk, write_psk};
pub use server::{Endpoint, Server, ServerOptions};
