use std::process::{Child, Command};

use super::*;
use crate::event::{Hub, SessionClock};

/// A process that computes until it is dropped.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn processes_come_and_go() {
    let mut looker = Looker::new().unwrap();
    let busy = Busy::start();
    let named = |pid| vec![("a".to_owned(), pid)];
    assert_eq!(looker.look(&named(busy.0.id())), None, "one look makes no share");
    // However long a busy machine takes to let it run.
    let shared = (0..200).find_map(|_| {
        std::thread::sleep(MIN_INTERVAL);
        looker.look(&named(busy.0.id())).filter(|e| e.hypervisors.first().is_some_and(|(_, pct)| *pct > 0.0))
    });
    let event = shared.expect("a process that computes has a share");
    assert_eq!(event.hypervisors[0].0, "a");
    assert!(event.cpu_pct > 0.0 && event.cpu_pct <= 100.0, "{event:?}");
    let pid = busy.0.id();
    drop(busy);
    std::thread::sleep(MIN_INTERVAL);
    assert_eq!(looker.look(&named(pid)).unwrap().hypervisors, [], "gone is not 0 %");
    assert_eq!(looker.look(&[]).unwrap().hypervisors, []);
    let own = std::process::id();
    assert_eq!(looker.look(&named(own)).unwrap().hypervisors, [], "newly come: no share yet");
    assert_eq!(looker.look(&named(own)).unwrap().hypervisors.len(), 1);
}

#[test]
fn events_come_until_it_is_dropped() {
    let (sink, hub) = Hub::new(SessionClock::start(), 100);
    let watch = watch(sink, Vec::new, Duration::ZERO).unwrap();
    let event = hub.rx.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(matches!(event.ev, Body::Host(HostEvent { ref hypervisors, .. }) if hypervisors.is_empty()), "{event:?}");
    drop(watch);
    while hub.rx.try_recv().is_ok() {}
    assert!(hub.rx.recv().is_err(), "its end of the stream is closed");
}
