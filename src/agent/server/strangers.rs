//! Connections whose peers have not been let in yet. Anyone can open them, and none of them may
//! keep a controller out.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Strangers at one time.
pub(super) const STRANGERS: usize = 64;

/// All strangers there are, oldest first.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    list: Mutex<Vec<Stranger>>,
    /// Threads that serve one, also those of strangers dropped that have not ended yet.
    threads: AtomicUsize,
    number: AtomicUsize,
}

#[derive(Debug)]
struct Stranger {
    number: usize,
    stream: Arc<TcpStream>,
    proven: Arc<AtomicBool>,
}

/// A stranger's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Arc<Strangers>,
    number: usize,
    proven: Arc<AtomicBool>,
}

impl Place {
    /// The stranger has shown that it has the key: it is dropped after those that have not.
    pub(super) fn proven(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.list().retain(|s| s.number != self.number);
        self.strangers.threads.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Strangers {
    fn list(&self) -> MutexGuard<'_, Vec<Stranger>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are twice as many threads as strangers: those dropped have not ended yet.
    pub(super) fn is_crowded(&self) -> bool {
        self.threads.load(Ordering::Acquire) >= 2 * STRANGERS
    }

    /// A place for a new one. Where there is none left the oldest stranger is dropped that has not
    /// shown the key, or the oldest of all.
    pub(super) fn enter(self: &Arc<Self>, stream: &Arc<TcpStream>) -> Place {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let proven = Arc::new(AtomicBool::new(false));
        let mut list = self.list();
        if list.len() >= STRANGERS {
            drop_oldest(&mut list);
        }
        list.push(Stranger { number, stream: Arc::clone(stream), proven: Arc::clone(&proven) });
        self.threads.fetch_add(1, Ordering::AcqRel);
        Place { strangers: Arc::clone(self), number, proven }
    }

    /// Drops the oldest stranger, for want of descriptors.
    pub(super) fn make_room(&self) {
        drop_oldest(&mut self.list());
    }
}

fn drop_oldest(list: &mut Vec<Stranger>) {
    let unproven = list.iter().position(|s| !s.proven.load(Ordering::Relaxed));
    if list.is_empty() {
        return;
    }
    let dropped = list.remove(unproven.unwrap_or(0));
    // Its thread reads the end of the stream.
    let _ = dropped.stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_oldest_without_the_key_goes_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let strangers = Arc::new(Strangers::default());
        let mut clients = Vec::new();
        let mut enter = || {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let stream = Arc::new(listener.accept().unwrap().0);
            (strangers.enter(&stream), stream)
        };
        let places: Vec<_> = (0..STRANGERS).map(|_| enter()).collect();
        places[0].0.proven();
        let ended = |stream: &TcpStream| stream.peek(&mut [0]).is_ok_and(|n| n == 0);
        for (_, stream) in &places {
            stream.set_nonblocking(true).unwrap();
        }
        let newest = enter();
        newest.1.set_nonblocking(true).unwrap();
        assert_eq!(places.iter().position(|(_, s)| ended(s)), Some(1));
        assert!(!ended(&newest.1) && !strangers.is_crowded());
        // With none but proven ones the oldest goes, and places given back are free.
        places.iter().chain([&newest]).for_each(|(place, _)| place.proven());
        let another = enter();
        another.1.set_nonblocking(true).unwrap();
        assert!(ended(&places[0].1));
        drop(places);
        assert_eq!(strangers.list().len(), 2);
    }
}
