//! One session over one path: the real probe looks at a responder, a migration is told of around each
//! blackout as a controller would, and the fold's own estimates are held against the truth.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use blackout::analysis::probing::Gap;
use blackout::analysis::{Downtimes, Method};
use blackout::event::{
    Body, Fate, Header, HostFacts, Hub, MigrationEnd, MigrationEvent, MigrationSettings, Nanos, ProbeId, ProbeKind,
    Versions,
};
use blackout::probe::page::{Expected, Page};
use blackout::probe::{self, ProbeOptions};
use blackout::session::State;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rtnetlink::LinkUnspec;

use crate::responder::{self, Known, Order, Path, Responder};

/// The TUN device, inside a network namespace of the lane's own.
const TUN: &str = "known0";
const HERE: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);
/// The port that UDP is sent to and connections are made to.
const PORT: u16 = 80;
/// After the probe's deadline a session waits this much longer before a result is final.
const TAIL: Duration = Duration::from_millis(200);
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a lane measures.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) condition: String,
    pub(crate) kind: ProbeKind,
    pub(crate) path: Path,
    pub(crate) interval: Duration,
    pub(crate) blackouts: u32,
    pub(crate) seed: u64,
}

/// An estimate beside the truth, ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) lo: u64,
    pub(crate) value: u64,
    pub(crate) hi: u64,
}

/// One blackout and what was measured of it.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) truth: u64,
    pub(crate) held: bool,
    pub(crate) lost_pings: Option<Bounds>,
    pub(crate) reply_gap: Option<Bounds>,
    /// The outage that the probe saw by itself, with no migration known of; None where it saw no witness of one.
    pub(crate) outage: Option<Bounds>,
    /// SYNs that the kernel had sent before, since the lane began.
    pub(crate) again: u64,
    pub(crate) notes: String,
}

impl Lane {
    /// Shortest and longest blackout, s. A connection for each slot is made for those that people notice.
    fn lasts(&self) -> (f64, f64) {
        match self.kind {
            ProbeKind::Icmp => (0.005, 3.0),
            ProbeKind::Udp | ProbeKind::Tcp | ProbeKind::Http => (0.05, 5.0),
        }
    }

    fn options(&self) -> ProbeOptions {
        let (id, at) = (ProbeId(0), SocketAddr::new(IpAddr::V4(GUEST), PORT));
        let options = match self.kind {
            ProbeKind::Icmp => ProbeOptions::icmp(id, at),
            ProbeKind::Udp => ProbeOptions::udp(id, at, Vec::new()),
            ProbeKind::Tcp => ProbeOptions::tcp(id, at),
            ProbeKind::Http => {
                let page = Page { host: GUEST.to_string(), path: "/".into(), expected: Expected::default() };
                ProbeOptions::http(id, at, page)
            }
        };
        ProbeOptions { interval: self.interval, ..options }
    }
}

/// Runs a lane; the process must have no other thread yet, for it enters a namespace.
pub(crate) fn run(lane: &Lane, mut tell: impl FnMut(&Measured)) -> Result<(), String> {
    blackout::lab::enter().map_err(|e| e.to_string())?;
    let tun = responder::open_tun(TUN).map_err(|e| format!("cannot make the TUN device {TUN}: {e}"))?;
    set_up(TUN)?;
    let guest = Responder::start(tun, lane.path, lane.seed).map_err(|e| format!("no thread for the responder: {e}"))?;
    let mut session = Session::begin(lane)?;
    let mut dice = StdRng::seed_from_u64(lane.seed ^ 0x5eed);
    let (shortest, longest) = lane.lasts();
    let ratio = longest / shortest;
    for n in 1..=lane.blackouts {
        // One of each stratum of the logarithm of its length, in an order of chance.
        let share = (f64::from(n - 1) + dice.random::<f64>()) / f64::from(lane.blackouts);
        let lasts = Duration::from_secs_f64(shortest * ratio.powf(share));
        let holds = dice.random::<bool>();
        session.go_on(Duration::from_secs_f64(dice.random_range(0.8..2.2)))?;
        session.tell(MigrationEvent::Began {
            n,
            from: "a".into(),
            to: "b".into(),
            settings: MigrationSettings::default(),
            by: None,
        });
        let at = Instant::now() + Duration::from_secs_f64(dice.random_range(0.1..0.6));
        guest.order(Order { at, lasts, holds });
        let known = session.wait_for(&guest)?;
        session.go_on(Duration::from_millis(dice.random_range(1..40)))?;
        session.tell(MigrationEvent::Ended { n, end: MigrationEnd::Done });
        session.settle(n)?;
        tell(&session.measured(known, holds)?);
    }
    Ok(())
}

/// Gives the device its address and sets it up.
fn set_up(name: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| e.to_string())?;
        let task = tokio::spawn(connection);
        let name = std::ffi::CString::new(name).map_err(|e| e.to_string())?;
        let index = nix::net::if_::if_nametoindex(name.as_c_str()).map_err(|e| e.to_string())?;
        let address = handle.address().add(index, IpAddr::V4(HERE), 24).execute();
        address.await.map_err(|e| format!("cannot give the TUN device its address: {e}"))?;
        let up = handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute();
        up.await.map_err(|e| format!("cannot set the TUN device up: {e}"))?;
        task.abort();
        Ok(())
    })
}

struct Session {
    state: State,
    hub: Hub,
    probe: probe::ProbeHandle,
    sink: blackout::event::EventSink,
    deadline: Duration,
}

impl Session {
    fn begin(lane: &Lane) -> Result<Self, String> {
        let header = Header {
            schema_major: blackout::event::SCHEMA_MAJOR,
            schema_minor: blackout::event::SCHEMA_MINOR,
            name: "known-blackouts".into(),
            wall_origin_unix_ns: 0,
            versions: Versions::default(),
            host: HostFacts::default(),
            settings: Default::default(),
            seed: lane.seed,
            simulated: false,
        };
        let (sink, hub) = Hub::new(blackout::event::SessionClock::start(), 1 << 16);
        let options = lane.options();
        let probe = probe::start(&options, &sink).map_err(|e| e.to_string())?;
        Ok(Self { state: State::begin(header), hub, probe, sink, deadline: options.deadline })
    }

    /// Folds in what comes for so long.
    fn go_on(&mut self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return if self.probe.is_finished() { Err("the probe has ended".into()) } else { Ok(()) };
            }
            if let Ok(event) = self.hub.rx.recv_timeout(left.min(Duration::from_millis(10))) {
                self.state.apply(&event);
            }
        }
    }

    fn tell(&mut self, ev: MigrationEvent) {
        self.sink.emit(Body::Migration(ev));
        while let Ok(event) = self.hub.rx.try_recv() {
            self.state.apply(&event);
        }
    }

    fn wait_for(&mut self, guest: &Responder) -> Result<Known, String> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Ok(known) = guest.known.try_recv() {
                return Ok(known);
            }
            self.go_on(Duration::from_millis(1))?;
        }
        Err("the responder did not tell of its blackout".into())
    }

    /// As a controller settles: an answer to a probe sent since the end, then the probe's deadline.
    fn settle(&mut self, n: u32) -> Result<(), String> {
        let ended = self.sink.clock().now();
        let until = Instant::now() + PATIENCE;
        let answered = |state: &State| {
            let outcomes = state.probes.get(&ProbeId(0)).map(|p| &p.outcomes);
            outcomes.is_some_and(|o| o.iter().rev().take(64).any(|o| o.answered().is_some() && o.sent > ended))
        };
        while !answered(&self.state) {
            if Instant::now() > until {
                return Err("the responder does not answer any more".into());
            }
            self.go_on(Duration::from_millis(5))?;
        }
        self.go_on(self.deadline + TAIL)?;
        self.tell(MigrationEvent::Settled { n });
        Ok(())
    }

    fn measured(&self, known: Known, held: bool) -> Result<Measured, String> {
        let downtimes = self.state.migrations.last().and_then(|m| m.final_downtime());
        let downtimes = downtimes.ok_or("the fold has no result for a migration that has settled")?;
        let truth = known.resumed.saturating_duration_since(known.stopped).as_nanos() as u64;
        let (lost_pings, lost_note) = bounds(downtimes, Method::LostPings);
        let (reply_gap, gap_note) = bounds(downtimes, Method::ReplyGap);
        let clock = self.sink.clock();
        let picture = self.picture(clock.at(known.stopped), clock.at(known.resumed));
        let notes = format!("lost-pings: {lost_note}; reply-gap: {gap_note}; slots: {picture}");
        let outage = self.outage(clock.at(known.stopped), clock.at(known.resumed));
        Ok(Measured { truth, held, lost_pings, reply_gap, outage, again: known.again, notes })
    }

    /// The longest of the outages that touch a blackout.
    fn outage(&self, stopped: Nanos, resumed: Nanos) -> Option<Bounds> {
        let ns = |d: Duration| d.as_nanos() as u64;
        let touches = |gap: &Gap| gap.from <= resumed && gap.to.is_none_or(|to| to >= stopped);
        let outages = self.state.digests.get(&ProbeId(0))?.gaps.outages();
        let longest = outages.into_iter().filter(touches).max_by_key(|gap| (gap.lo, gap.hi))?;
        let (lo, hi) = (ns(longest.lo), longest.hi.map_or(u64::MAX, ns));
        Some(Bounds { lo, value: hi, hi })
    }

    /// The slots around a blackout, for those who look why a bound did not hold: a letter each with the
    /// time it was sent against the stop, and its round trip, ms.
    fn picture(&self, stopped: Nanos, resumed: Nanos) -> String {
        let Some(probe) = self.state.probes.get(&ProbeId(0)) else { return String::new() };
        let (ms, interval) = (|ns: i128| ns as f64 / 1e6, probe.spec.interval_ns);
        let margin = interval.saturating_mul(4) + 40_000_000;
        let near = probe.outcomes.iter().filter(|o| {
            let at_stop = o.sent.abs_diff(stopped) < margin;
            at_stop || o.sent.abs_diff(resumed) < margin
        });
        let slot = |o: &blackout::event::Outcome| {
            let letter = match o.fate {
                Fate::Ok { .. } => '.',
                Fate::Late { .. } => 'L',
                Fate::Lost => 'x',
                Fate::NotSent => 'n',
                Fate::Error => 'e',
                Fate::Refused => 'r',
            };
            let at = ms(i128::from(o.sent) - i128::from(stopped));
            match o.fate.rtt() {
                Some(rtt) => format!("{letter}{at:.1}+{:.1}", ms(i128::from(rtt))),
                None => format!("{letter}{at:.1}"),
            }
        };
        near.take(80).map(slot).collect::<Vec<_>>().join(" ")
    }
}

fn bounds(downtimes: &Downtimes, method: Method) -> (Option<Bounds>, String) {
    let Some(estimate) = downtimes.estimates.iter().find(|e| e.method == method) else {
        return (None, "missing".into());
    };
    let ns = |d: Duration| d.as_nanos() as u64;
    let value = estimate.value.map(|v| Bounds { lo: ns(v.lo), value: ns(v.value), hi: ns(v.hi) });
    (value, estimate.note.clone().unwrap_or_default())
}
