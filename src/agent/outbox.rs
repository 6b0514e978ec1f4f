//! Messages on their way out: whoever has something to say leaves it here and is never held up;
//! one thread sends.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::link::{LinkError, Sender};

/// Messages that wait at most; a peer that takes none of so many is gone.
const CAPACITY: usize = 1024;

#[derive(Debug)]
struct Queue<M> {
    messages: VecDeque<M>,
    /// A message of which only the newest is worth sending.
    newest: Option<M>,
    closed: bool,
}

/// The messages of one connection.
#[derive(Debug)]
pub(super) struct Outbox<M> {
    queue: Mutex<Queue<M>>,
    filled: Condvar,
}

impl<M: Serialize> Outbox<M> {
    pub(super) fn new() -> Self {
        let queue = Queue { messages: VecDeque::new(), newest: None, closed: false };
        Self { queue: Mutex::new(queue), filled: Condvar::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<M>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a message. False if the connection is over.
    pub(super) fn push(&self, message: M) -> bool {
        let mut queue = self.queue();
        if queue.messages.len() >= CAPACITY {
            queue.closed = true;
        }
        if !queue.closed {
            queue.messages.push_back(message);
        }
        self.filled.notify_one();
        !queue.closed
    }

    /// Leaves a message that takes the place of an unsent one.
    pub(super) fn put_newest(&self, message: M) {
        self.queue().newest = Some(message);
        self.filled.notify_one();
    }

    /// No more messages: those already here are still sent.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.filled.notify_one();
    }

    fn next(&self) -> Option<M> {
        let mut queue = self.queue();
        loop {
            if let Some(message) = queue.messages.pop_front() {
                return Some(message);
            }
            if queue.closed {
                return None;
            }
            if let Some(message) = queue.newest.take() {
                return Some(message);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sends until the outbox is closed and empty, or the connection fails.
    pub(super) fn drain_into(&self, mut sender: Sender) -> Result<(), LinkError> {
        while let Some(message) = self.next() {
            if let Err(e) = sender.send(&message) {
                self.close();
                return Err(e);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_replace_each_other_and_answers_do_not() {
        let outbox = Outbox::new();
        outbox.put_newest(1);
        outbox.put_newest(2);
        assert!(outbox.push(10) && outbox.push(11));
        assert_eq!([outbox.next(), outbox.next(), outbox.next()], [Some(10), Some(11), Some(2)]);
        outbox.push(12);
        outbox.close();
        assert!(!outbox.push(13));
        assert_eq!([outbox.next(), outbox.next()], [Some(12), None]);
    }

    #[test]
    fn a_peer_that_takes_nothing_is_given_up() {
        let outbox = Outbox::new();
        assert!((0..CAPACITY).all(|n| outbox.push(n)));
        assert!(!outbox.push(0));
    }
}
