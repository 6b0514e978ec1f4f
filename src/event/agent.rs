//! What the guest agent says, and what becomes of its connection.

use serde::{Deserialize, Serialize};

use super::LoadSettings;

/// Set and achieved values, as the agent reports them every 100 ms (by default).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoadReport {
    /// Guest CLOCK_MONOTONIC at the end of the window, ns (the guest's clock).
    pub guest_ns: u64,
    /// Length of the window the achieved values are measured over, ns of the guest's clock.
    pub window_ns: u64,
    /// What the generators are set to.
    pub set: LoadSettings,
    /// Memory held and locked now, bytes.
    pub wset_bytes: u64,
    /// RATE achieved in the window, pages/s.
    pub rate_pages_per_s: f64,
    /// Busy share the CPU generator achieved in the window, % of each CPU.
    pub cpu_load_pct: f64,
    /// Pages written since the agent started.
    pub pages_total: u64,
    /// The guest cannot keep up with what is set.
    pub saturated: bool,
    /// Busy share of the whole guest in the window by its own kernel (`/proc/stat`), % of all its
    /// CPUs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_cpu_pct: Option<f64>,
}

/// Something the guest agent said, or its connection did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AgentEvent {
    /// A session with the agent stands (again).
    Connected {
        /// The agent's version of blackout.
        version: String,
        /// The guest's kernel release.
        kernel: String,
        /// Guest CPUs.
        cpus: u32,
        /// Guest RAM as its kernel sees it, bytes.
        ram_bytes: u64,
        /// The largest WSET the agent will accept, bytes.
        wset_limit_bytes: u64,
        /// `tcp 10.0.0.2:7070` or `stdio`.
        transport: String,
        /// True when an earlier connection was lost and this is the same agent.
        again: bool,
    },
    /// The connection is lost; the client goes on trying.
    Disconnected {
        /// What ended the connection, for people.
        why: String,
    },
    /// The agent has put request `id` into effect.
    Ack {
        /// The request's number, as in the operator's event.
        id: u64,
        /// What is set now.
        set: LoadSettings,
    },
    /// The agent refuses request `id`; the former settings stay.
    Refused {
        /// The request's number.
        id: u64,
        /// Why the agent does not take it, with the numbers that do not fit.
        why: String,
    },
    /// Set and achieved values.
    Report(LoadReport),
    /// One heartbeat datagram arrived.
    Heartbeat {
        /// Its sequence number, from 0 at the agent's start.
        seq: u64,
        /// Guest CLOCK_MONOTONIC when it was sent, ns (the guest's clock).
        guest_ns: u64,
    },
}
