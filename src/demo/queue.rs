//! What is going to happen, in the order of time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::event::Nanos;

/// Things to happen, each at its time; of those at one time, in the order they were put in.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    t: Nanos,
    order: u64,
    what: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Nanos, u64) {
        (self.t, self.order)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }

    pub(super) fn push(&mut self, t: Nanos, what: T) {
        self.heap.push(Reverse(Entry { t, order: self.next, what }));
        self.next += 1;
    }

    /// When the next thing happens.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse(entry)| entry.t)
    }

    /// The next thing that happens.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_equals_in_their_order() {
        let mut queue = Queue::new();
        for (t, what) in [(5, 'a'), (3, 'b'), (5, 'c'), (1, 'd'), (9, 'e')] {
            queue.push(t, what);
        }
        let happened = std::iter::from_fn(|| Some((queue.due()?, queue.pop()?)));
        assert_eq!(happened.collect::<Vec<_>>(), [(1, 'd'), (3, 'b'), (5, 'a'), (5, 'c'), (9, 'e')]);
    }
}
