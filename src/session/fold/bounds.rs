//! How much is kept, and how the oldest goes.

use crate::chunked::Chunked;
use crate::event::Nanos;

/// While a migration is not settled nothing it needs is evicted, until there are so many times
/// the usual: a migration that never settles must not eat the machine.
pub(super) const PATIENCE: usize = 4;
/// So much before the beginning of a migration its estimators look back, ns.
pub(super) const LEAD: Nanos = 60_000_000_000;
/// Requests, and things that befell the guest, kept of one migration.
pub(super) const REQUESTS: usize = 256;

/// Pushes and drops the oldest beyond `limit`.
pub(super) fn push_bounded<T: Clone>(ring: &mut Chunked<T>, item: T, limit: usize) {
    ring.push_back(item);
    if ring.len() > limit {
        ring.pop_front();
    }
}

/// Drops from the front what exceeds `limit` and may go; beyond [`PATIENCE`] times the limit it
/// goes whether it may or not.
pub(super) fn evict<T>(ring: &mut Chunked<T>, limit: usize, may_go: impl Fn(&T) -> bool) {
    while ring.len() > limit && (ring.len() > limit * PATIENCE || ring.front().is_some_and(&may_go)) {
        ring.pop_front();
    }
}
