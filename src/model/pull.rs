//! Post-copy: the guest runs at the destination and pulls what it lacks.

use super::memory::Memory;
use super::sim::{Sim, Stretch, ns};
use super::trace::Pull;
use super::watcher::Step;
use crate::event::{Pattern, Phase};

impl<M: Memory> Sim<'_, M> {
    /// The guest is stopped, its device state sent, it runs at the destination; from then on the
    /// source pushes page after page, and a page the guest touches before it has come is fetched:
    /// the guest waits for it.
    pub(super) fn post_copy(&mut self) {
        self.halt();
        self.sync();
        self.mem.rewind();
        // The device state goes in one piece; no limit is looked at on the way.
        self.limit_lifted = true;
        self.begin_link();
        self.send_bytes(self.s.costs.device_state_bytes);
        self.limit_lifted = false;
        self.come_up(Phase::PostCopy);
        let resumed = self.now;
        let missing_pages = self.mem.to_send().all();
        self.left_pages = missing_pages;
        self.answering_ns = Some(resumed.saturating_add(ns(self.s.costs.announce)));
        self.begin_link();
        let (faults, waited_ns) = self.pull_all();
        self.pull = Some(Pull { missing_pages, faults, waited_ns, ended_ns: self.now });
        self.wait(self.s.costs.finish);
        self.phase = Phase::Done;
    }

    /// Pushes until nothing is missing, and lets the generator touch its pages. Comes to the faults
    /// and the time waited for them, ns.
    fn pull_all(&mut self) -> (u64, u64) {
        let (mut faults, mut waited) = (0, 0);
        let (mut touched, wset) = (0, self.s.guest.wset_pages);
        let latency = ns(self.s.costs.fault_latency);
        loop {
            // A cyclic walk that has been round has fetched or found every page of it.
            let all_touched = self.s.guest.pattern == Pattern::Cyclic && touched >= wset;
            let due = self.writers[0].due_ns().filter(|_| !all_touched);
            // Guest time stood while the guest did; it goes on from the resume at our pace.
            let due = due.map(|due| self.now + due.saturating_sub(self.guest_ns(self.now)));
            if self.push_until(due.unwrap_or(u64::MAX)) == Stretch::Over {
                return (faults, waited);
            }
            for _ in 0..self.writers[0].bpc_pages() {
                let all_touched = self.s.guest.pattern == Pattern::Cyclic && touched >= wset;
                if all_touched || self.mem.to_send().all() == 0 {
                    break;
                }
                touched += 1;
                let page = self.writers[0].draw();
                if !self.mem.fetch(page) {
                    continue;
                }
                let before = self.now;
                self.account_page();
                let page_ns = (self.price.used as f64 * 1e9 / self.bytes_per_s()).ceil() as u64;
                let until = self.now.saturating_add(latency).saturating_add(page_ns);
                let over = self.push_until(until);
                // The page comes even if it was the last.
                self.now = self.now.max(until);
                faults += 1;
                waited += self.now - before;
                if over == Stretch::Over {
                    return (faults, waited);
                }
            }
            let guest_ns = self.guest_ns(self.now);
            self.writers[0].next_cycle(guest_ns);
        }
    }

    /// Pushes pages until then; looks on the way are taken.
    fn push_until(&mut self, until_ns: u64) -> Stretch {
        loop {
            let stretch = self.send_until(until_ns.min(self.next_look_ns()), u64::MAX);
            if stretch == Stretch::Over {
                return stretch;
            }
            if self.look_is_due() {
                self.look(Step::Sending);
            }
            if self.now >= until_ns {
                return Stretch::Interrupted;
            }
        }
    }
}
