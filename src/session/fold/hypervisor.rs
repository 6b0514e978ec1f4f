//! What a hypervisor says, put to the guest and the migration it belongs to.

use super::bounds::REQUESTS;

use crate::event::{GuestId, HvEvent, Location, Nanos, Subject};
use crate::session::claims;
use crate::session::state::{Befallen, HostState, Migration, State};

/// Samples kept of one migration; beyond, every other older one goes, so the shape stays.
const SAMPLES: usize = 1 << 15;
/// Rounds kept of one migration.
const ROUNDS: usize = 1 << 16;
/// Hosts, probes and facts of the environment kept.
const HOSTS: usize = 64;
/// Guests whose place is kept.
const GUESTS: usize = 1024;
/// What further hosts are kept as, all together.
const FURTHER_HOSTS: &str = "(further hosts)";

impl State {
    /// The migration a hypervisor's fact belongs to, as long as it is not settled; the newest where that is not said.
    pub(in crate::session) fn running(&mut self, of: Subject) -> Option<&mut Migration> {
        let at = self.place_of_running(of)?;
        self.migrations.get_mut(at)
    }

    pub(in crate::session) fn place_of_running(&mut self, of: Subject) -> Option<usize> {
        let at = match of.migration {
            Some(n) => self.place_of(n)?,
            None if self.spent.beyond => return None,
            None => self.migrations.len().checked_sub(1)?,
        };
        self.migrations[at].settled.is_none().then_some(at)
    }

    /// Where a guest is.
    pub(in crate::session) fn locate(&mut self, t: Nanos, guest: GuestId, location: Location) {
        if self.guests.len() < GUESTS || self.guests.contains_key(&guest) {
            self.guests.insert(guest, (t, location));
        } else {
            self.leave_out(t, "further guests");
        }
    }

    pub(in crate::session) fn host(&mut self, name: &str) -> &mut HostState {
        let room = self.hosts.len() < HOSTS || self.hosts.contains_key(name);
        let name = if room { name } else { FURTHER_HOSTS };
        self.hosts.entry(name.to_owned()).or_default()
    }

    pub(in crate::session) fn hypervisor(&mut self, t: Nanos, of: Subject, ev: &HvEvent) {
        match ev {
            HvEvent::HostUp { host, version, pid } => {
                // Another process perhaps, but the same machine's clock.
                let clock = std::mem::take(&mut self.host(host).clock);
                *self.host(host) = HostState { version: version.clone(), pid: *pid, clock, ..HostState::default() };
            }
            HvEvent::Offers { host, offers } => self.host(host).offers = Some(offers.clone()),
            HvEvent::HostLost { host, why } => {
                let state = self.host(host);
                state.lost = Some(why.clone());
                state.running = None;
                state.cpu_pct = None;
                for (seen, location) in self.guests.values_mut().filter(|(_, l)| l.host() == Some(host)) {
                    let why = format!("host '{host}', where it was, is lost");
                    (*seen, *location) = (t, Location::Unknown { why });
                }
            }
            HvEvent::Raw { host, at, .. } => self.host(host).clock.stamp(t, *at),
            HvEvent::RoundTrip { host, ns } => self.host(host).clock.round_trip(*ns),
            HvEvent::Setting { .. } => {}
            HvEvent::Located { location } => {
                if self.guests.get(&of.guest).is_none_or(|(_, l)| l != location) {
                    self.locate(t, of.guest, location.clone());
                }
            }
            HvEvent::Befell { host, what, detail, at } => {
                self.host(host).clock.stamp(t, *at);
                if let Some(m) = self.running(of).filter(|m| m.befell.len() < REQUESTS) {
                    m.befell.push(Befallen { t, host: host.clone(), what: *what, detail: detail.clone() });
                }
            }
            HvEvent::Stopped { host, at } => {
                self.host(host).running = Some(false);
                self.host(host).clock.stamp(t, *at);
                // The source's stop may be handed over after the destination's resume.
                if self.guests.get(&of.guest).is_none_or(|(_, l)| l.host().is_none_or(|at| at == host)) {
                    self.locate(t, of.guest, Location::At { host: host.clone(), running: false });
                }
                if let Some(m) = self.running(of).filter(|m| m.from == *host) {
                    // Stopped once more after it went on at the source: that stop is the one.
                    let went_on = m.resumed.as_ref().is_some_and(|r| r.2 == m.from);
                    let before = m.stopped.as_ref().map(|s| s.0);
                    if m.stopped.is_none() || went_on {
                        m.stopped = Some((t, *at, host.clone()));
                    }
                    if went_on {
                        let resume = m.resumed.take();
                        if let (Some(stop), Some((resume, ..))) = (before, resume)
                            && m.earlier_stops.len() < REQUESTS
                        {
                            m.earlier_stops.push((stop, resume));
                        }
                    }
                }
            }
            HvEvent::Resumed { host, at } => {
                self.host(host).running = Some(true);
                self.host(host).clock.stamp(t, *at);
                self.locate(t, of.guest, Location::At { host: host.clone(), running: true });
                if let Some(m) = self.running(of) {
                    // The two hosts' events may be handed over in either order, so the resume at
                    // the destination counts without a stop; one at the source needs a stop.
                    let counts = *host == m.to || (*host == m.from && m.stopped.is_some());
                    if counts && m.resumed.is_none() {
                        m.resumed = Some((t, *at, host.clone()));
                    }
                }
            }
            HvEvent::Phase { phase, raw, substate } => {
                let probed = self.is_probed();
                if let Some(m) = self.running(of) {
                    m.enter_or_await(t, *phase, raw, *substate, probed);
                }
            }
            HvEvent::Round { round, .. } => {
                let can_be = |m: &&mut Migration| claims::round_can_be(*round, t.saturating_sub(m.began));
                if let Some(m) = self.running(of).filter(|m| m.rounds.len() < ROUNDS).filter(can_be) {
                    m.rounds.push((t, *round));
                }
            }
            HvEvent::Sample { sample, .. } => {
                let Some(at) = self.place_of_running(of) else { return };
                let m = &mut self.migrations[at];
                let (sample, claims) = claims::judged(sample, t.saturating_sub(m.began));
                for claim in claims {
                    if !m.claims.contains(&claim) && m.claims.len() < claims::MOST {
                        m.claims.push(claim);
                    }
                }
                self.trail.sample(t, &sample, &m.samples);
                m.samples.push((t, sample));
                if m.samples.len() >= SAMPLES {
                    let newer = m.samples.len() - SAMPLES / 4;
                    let kept = m.samples.iter().enumerate().filter(|(i, _)| *i >= newer || i % 2 == 0);
                    m.samples = kept.map(|(_, sample)| sample.clone()).collect();
                }
            }
        }
    }
}
