//! What a migration costs besides its pages.

use std::time::Duration;

/// What costs time or bytes besides the pages themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// From the command until the first page goes out.
    pub setup: Duration,
    /// Between two rounds (reading the log of dirty pages).
    pub per_round: Duration,
    /// Sent with each page, bytes.
    pub page_header_bytes: u64,
    /// Stopping the guest.
    pub stop: Duration,
    /// Sent when the guest has been stopped, besides pages, bytes.
    pub device_state_bytes: u64,
    /// From the last byte until the guest runs at the destination: the destination is set up.
    pub resume: Duration,
    /// From then until the network leads to it.
    pub announce: Duration,
    /// From then until the source can be deactivated.
    pub finish: Duration,
    /// Pages whose content cannot be taken while the guest runs, and which are sent again at the
    /// end (Xen's `to_fix`), pages.
    pub to_fix_pages: u64,
    /// From a page fault at the destination until the page is there, without its time on the link.
    pub fault_latency: Duration,
}

impl Costs {
    /// What is taken where nothing else is known of a product; all of it is assumed.
    pub(super) const ASSUMED: Self = Self {
        setup: Duration::from_millis(100),
        per_round: Duration::from_millis(2),
        page_header_bytes: 8,
        stop: Duration::from_millis(5),
        device_state_bytes: 1 << 20,
        resume: Duration::from_millis(100),
        announce: Duration::from_millis(50),
        finish: Duration::from_millis(100),
        to_fix_pages: 0,
        fault_latency: Duration::from_micros(500),
    };
}
