//! The downtimes of a migration, worked out once it has ended and once it is settled.

use super::bounds::LEAD;

use crate::analysis::downtime::{self, Seen, Turn, Turns};
use crate::analysis::{ByProbe, Downtimes, Method};
use crate::event::{ForeignTime, Nanos, ProbeId};
use crate::session::claims;
use crate::session::state::{Migration, ProbeState, State};

/// What the estimators may look at for all migrations together: so many outcomes and heartbeats, and so many
/// more an event. A session whose probe runs at 1 kHz and that migrates each 10 s needs a quarter of it.
const LOOKS: u64 = 20_000_000;
const LOOKS_AN_EVENT: u64 = 64;
/// Migrations before one that are looked at for what disturbed its network.
const BEFORE: usize = 64;

impl State {
    /// Whether the estimators may look at what was seen since `since` once more.
    pub(in crate::session) fn may_look(&mut self, since: Nanos) -> bool {
        let beats = self.heartbeats.len() - self.heartbeats.partition_point(|b| b.0 < since);
        let slots: usize = self
            .probes
            .values()
            .map(|p| {
                let first = since.saturating_sub(p.spec.t0) / p.spec.interval_ns.max(1);
                p.outcomes.len() - p.outcomes.partition_point(|o| o.k < first)
            })
            .sum();
        self.spent.looks = self.spent.looks.saturating_add((beats + slots) as u64);
        self.spent.looks <= LOOKS.saturating_add(self.events.saturating_mul(LOOKS_AN_EVENT))
    }

    /// Computes the downtimes of migration `n` from what was seen until `until`.
    pub(in crate::session) fn measure(&mut self, n: u32, until: Nanos) {
        let Some(at) = self.place_of(n) else { return };
        let m = &self.migrations[at];
        if m.never_ran() {
            self.migrations[at].downtime = Some(downtime::never_ran());
            return;
        }
        if !self.may_look(self.migrations[at].began.saturating_sub(LEAD)) {
            let why = "there are too many migrations for what was seen in between: not worked out";
            self.migrations[at].downtime = Some(downtime::not_estimated(why));
            return;
        }
        let m = &self.migrations[at];
        let turns = self.turns(m);
        let disturbed: Vec<(Nanos, Nanos)> = self.migrations[at.saturating_sub(BEFORE)..at]
            .iter()
            .map(|before| (before.began, before.settled.or(before.ended.as_ref().map(|e| e.0)).unwrap_or(m.began)))
            .collect();
        let seen = Seen {
            disturbed: &disturbed,
            calm_since: self.migrations[..at].iter().rev().take(BEFORE).find_map(|before| before.settled).unwrap_or(0),
            began: m.began,
            until,
            probe: self.primary().map(ProbeState::seen),
            heartbeats: &self.heartbeats,
            turns,
            claimed: m.claims.iter().find(|c| c.starts_with(claims::DOWNTIME)).map(String::as_str),
            reported_ms: m.samples.iter().rev().find_map(|(_, s)| s.downtime_ms),
        };
        let mut downtimes = downtime::estimate(&seen);
        downtimes.probes = self.by_probe(&seen, &downtimes);
        let offers = self.hosts.get(&m.from).and_then(|host| host.offers.as_ref());
        if let Some((product, sees)) = offers.and_then(|offers| Some((&offers.product, offers.sees.as_ref()?))) {
            for (method, told) in [
                (Method::Reported, sees.downtime.is_some() || seen.claimed.is_some()),
                (Method::StopResume, sees.stop_resume.is_some()),
            ] {
                if !told {
                    downtimes.untold(method, product);
                }
            }
        }
        self.migrations[at].downtime = Some(downtimes);
    }

    /// What each probe says of a migration; what the primary one says is known.
    fn by_probe(&self, seen: &Seen<'_>, known: &Downtimes) -> Vec<ByProbe> {
        let primary = self.primary_id();
        let of = |(id, probe): (&ProbeId, &ProbeState)| {
            let is_primary = primary == Some(*id);
            let (estimates, gaps, gaps_total) = match known.estimates.as_slice() {
                [lost_pings, reply_gap, ..] if is_primary => {
                    ([lost_pings.clone(), reply_gap.clone()], known.gaps, known.gaps_total)
                }
                _ => downtime::by_probe(&Seen { probe: Some(probe.seen()), ..*seen }),
            };
            ByProbe { id: *id, name: probe.spec.name(), is_primary, estimates, gaps, gaps_total }
        };
        self.probes.iter().map(of).collect()
    }

    /// The stop and resume of a migration with what is known of the clocks that stamped them.
    pub(in crate::session) fn turns<'a>(&'a self, m: &'a Migration) -> Turns<'a> {
        let turn = |seen: &'a Option<(Nanos, Option<ForeignTime>, String)>| {
            seen.as_ref().map(|(t, at, host)| {
                let offset = self.hosts.get(host).and_then(|h| h.clock.at(*t));
                Turn { t: *t, at: *at, host, offset }
            })
        };
        // A process we know is on this machine, and has its clock.
        let here = |host: &str| self.hosts.get(host).is_some_and(|h| h.pid.is_some());
        let one_clock = match (&m.stopped, &m.resumed) {
            (Some((.., from)), Some((.., to))) => from == to || (here(from) && here(to)),
            _ => false,
        };
        Turns { stopped: turn(&m.stopped), resumed: turn(&m.resumed), one_clock, earlier: &m.earlier_stops }
    }
}
