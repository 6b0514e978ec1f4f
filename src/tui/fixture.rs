//! Sessions for the tests: a lab whose migration runs above the jump, as measured on QEMU 10.0.2.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;

use crate::analysis::{Bounded, Downtimes, Estimate, Method};
use crate::event::*;
use crate::session::state::*;
use crate::session::{Reader, State};
use crate::tui::edit::default_migration;
use crate::tui::feed::{Feed, RecorderInfo, ReplayControl, ReplayInfo};

/// A capture of a real migration, from `tests/fixtures`: below or above the jump.
pub(crate) fn fixture(name: &str) -> (Header, Vec<Event>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.jsonl.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut reader = Reader::new(path, BufReader::new(GzDecoder::new(file))).unwrap();
    let events = reader.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!((reader.skipped(), reader.torn()), (0, None));
    (reader.header().clone(), events)
}

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000_000_000;
/// When the fixture's migration begins, is stopped, runs again, answers again.
pub(crate) const BEGAN: u64 = 8 * S;
pub(crate) const STOPPED: u64 = BEGAN + 14_200 * MS;
pub(crate) const RESUMED: u64 = STOPPED + 2_896 * MS;
pub(crate) const ANSWERS: u64 = RESUMED + 4 * MS;
pub(crate) const SETTLED: u64 = RESUMED + 3 * S;

pub(crate) fn load(rate: f64) -> LoadSettings {
    LoadSettings {
        cpu_load_pct: 0.0,
        wset_bytes: 96 << 20,
        dirty: DirtyCycle { bpc_pages: (rate / 100.0) as u64, period_ns: 10 * MS },
        ..LoadSettings::default()
    }
}

pub(crate) fn settings() -> MigrationSettings {
    MigrationSettings { bandwidth_bytes_per_s: Some(32_000_000), downtime_limit_ms: Some(300), ..default_migration() }
}

/// A lab that has started, with an idle guest that dirties 2,000 pages/s and, from 5 s on, 9,000.
pub(crate) fn idle(now: Nanos) -> State {
    let mut s = State { now, events: now / MS, ..State::default() };
    s.header = Some(Header {
        schema_major: 1,
        schema_minor: 0,
        name: "jump".into(),
        wall_origin_unix_ns: 0,
        versions: Versions {
            blackout: "0.1.0".into(),
            hypervisor: Some("QEMU 10.0.2".into()),
            guest_kernel: Some("6.12.48".into()),
            accelerator: Some("tcg".into()),
        },
        host: HostFacts { cpu: "cpu".into(), cpus: 2, ram_bytes: 8 << 30, kernel: "6.12".into() },
        settings: Default::default(),
        seed: 1,
        simulated: false,
    });
    s.lab = LabState {
        step: "the guest answers".into(),
        accel: Some(("tcg".into(), "/dev/kvm is not there".into())),
        guest: Some("10.0.0.2".into()),
        enter: None,
    };
    s.agent = AgentState {
        connected: true,
        since: 900 * MS,
        version: "0.1.0".into(),
        kernel: "6.12.48".into(),
        cpus: 1,
        ram_bytes: 230 << 20,
        wset_limit_bytes: 196 << 20,
        transport: "tcp 10.0.0.2:7070".into(),
        why: String::new(),
    };
    for (name, running) in [("a", true), ("b", false)] {
        let host = HostState { version: "QEMU 10.0.2".into(), running: Some(running), ..HostState::default() };
        s.hosts.insert(name.into(), host);
    }
    s.guests.insert(GuestId::default(), (0, Location::At { host: "a".into(), running: true }));
    s.next = Some(settings());
    let rate = if now >= 5 * S { 9000.0 } else { 2000.0 };
    let (id, at) = if now >= 5 * S { (2, 5 * S) } else { (1, S) };
    s.load.requested = Some((id, load(rate), at));
    s.load.set = Some((id, load(rate), at + 4 * MS));
    reports(&mut s, S, now.min(STOPPED));
    reports(&mut s, RESUMED, now);
    s.load.achieved = s.reports.back().cloned();
    s.probes.insert(ProbeId(0), probe(now));
    s.log = [
        (0, Level::Info, "lab", "booting host a"),
        (900 * MS, Level::Info, "agent", "connected: blackout 0.1.0, Linux 6.12.48, 1 CPU, 230.0 MiB"),
        (1500 * MS, Level::Info, "lab", "host b waits for a migration"),
        (5 * S, Level::Info, "operator", "RATE 9,000/s: BPC 90, PERIOD 10.0 ms"),
        (6200 * MS, Level::Warn, "probe", "slot 104 was not sent in time"),
    ]
    .into_iter()
    .filter(|l| l.0 <= now)
    .map(|(t, level, from, text)| LogLine { t, level, from: from.into(), text: text.into() })
    .collect();
    s
}

/// The header of a session that only watches.
pub(crate) fn watch_header() -> Header {
    let mut header = idle(0).header.unwrap();
    header.settings = serde_json::json!({ "command": "watch" }).into();
    header
}

/// Some targets pinged at 50 ms for 20 s; of probe `id` slot `k` is lost where `lost` says so.
pub(crate) fn watched(targets: u16, lost: impl Fn(u16, u64) -> bool) -> State {
    let mut state = State::begin(watch_header());
    for id in 0..targets {
        let spec = ProbeSpec::new(ProbeKind::Icmp, [192, 0, 2, id as u8 + 1].into(), 50 * MS);
        state.apply(&Event::new(0, Body::Probe(ProbeEvent::Started { id: ProbeId(id), spec })));
        for k in 0..400 {
            let (id, sent) = (ProbeId(id), k * 50 * MS);
            let ev =
                if lost(id.0, k) { ProbeEvent::Lost { id, k, sent } } else { ProbeEvent::Ok { id, k, sent, rtt: MS } };
            state.apply(&Event::new(sent + MS, Body::Probe(ev)));
        }
    }
    state
}

fn reports(s: &mut State, from: Nanos, to: Nanos) {
    let mut t = from;
    while t <= to {
        let rate = if t >= 5 * S { 9000.0 } else { 2000.0 };
        // A little unrest, the same each time.
        let wobble = ((t / (100 * MS) * 37) % 19) as f64 - 9.0;
        let report = LoadReport {
            guest_ns: t,
            window_ns: 100 * MS,
            set: load(rate),
            wset_bytes: 96 << 20,
            rate_pages_per_s: rate + wobble,
            cpu_load_pct: 0.0,
            pages_total: 0,
            saturated: false,
            guest_cpu_pct: None,
        };
        s.reports.push_back((t, report));
        t += 100 * MS;
    }
}

/// Pings each 50 ms: one slot not sent, one late reply, one lone loss, and the blackout.
fn probe(now: Nanos) -> ProbeState {
    let interval = 50 * MS;
    let (t0, deadline) = (S, S);
    let mut p = ProbeState {
        spec: ProbeSpec {
            engine: Engine::SurgePing,
            deadline_ns: deadline,
            t0,
            cannot_see: vec![Class::Duplicate],
            ..ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 2].into(), interval)
        },
        outcomes: Default::default(),
        counts: BTreeMap::new(),
        stopped: None,
    };
    for k in 0.. {
        let sent = t0 + k * interval;
        if sent > now {
            break;
        }
        let rtt = 420_000 + (k * 7919 % 97) * 3_000;
        let (fate, known) = if (STOPPED..ANSWERS).contains(&sent) {
            (Fate::Lost, sent + deadline)
        } else if k == 104 {
            (Fate::NotSent, sent)
        } else if k == 60 {
            (Fate::Lost, sent + deadline)
        } else if k == 85 {
            (Fate::Late { rtt: 1_150 * MS }, sent + 1_150 * MS)
        } else if sent > BEGAN && k % 9 == 0 {
            (Fate::Ok { rtt: rtt * 12 }, sent + rtt)
        } else {
            (Fate::Ok { rtt }, sent + rtt)
        };
        if known <= now {
            p.outcomes.push_back(Outcome { k, sent, fate });
            *p.counts.entry(fate.class()).or_insert(0) += 1;
        }
    }
    p
}

/// The same lab with a migration above the jump: 29 rounds, stopped by the policy, gone for 2.9 s.
pub(crate) fn migrating(now: Nanos) -> State {
    let mut s = idle(now);
    let mut m = Migration {
        retuned: Vec::new(),
        predicted: None,
        stop_predicted: None,
        stop_left: Vec::new(),
        expected: None,
        n: 1,
        from: "a".into(),
        to: "b".into(),
        by: None,
        settings: settings(),
        load: Some(load(9000.0)),
        began: BEGAN,
        ended: None,
        settled: None,
        phases: vec![],
        rounds: vec![],
        samples: Default::default(),
        ruled: vec![],
        requests: vec![],
        befell: vec![],
        earlier_stops: Vec::new(),
        claims: Vec::new(),
        heard: true,
        stopped: None,
        resumed: None,
        answered: None,
        unanswered: None,
        downtime: None,
    };
    let mut log = |t: Nanos, level, from: &str, text: &str| {
        if t <= now {
            s.log.push_back(LogLine { t, level, from: from.into(), text: text.into() });
        }
    };
    log(BEGAN, Level::Info, "migration", "1: a to b began, 32.0 MB/s, policy xen-3.4");
    let spans = [
        (Phase::Setup, "setup", BEGAN),
        (Phase::PreCopy, "active", BEGAN + 150 * MS),
        (Phase::StopAndCopy, "device", STOPPED),
        (Phase::Recovery, "completed", RESUMED),
        (Phase::Done, "completed", ANSWERS),
    ];
    for (i, (phase, raw, from)) in spans.into_iter().enumerate() {
        let to = spans.get(i + 1).map(|next| next.2).filter(|to| *to <= now);
        if from <= now {
            m.phases.push(PhaseSpan { phase, raw: raw.into(), substate: None, from, to });
        }
    }
    // The first round copies everything; the later ones what was dirtied meanwhile.
    let mut t = BEGAN + 150 * MS;
    for n in 1..=29 {
        if t <= now && t < STOPPED {
            m.rounds.push((t, n));
        }
        t += if n == 1 { 6_800 * MS } else { 260 * MS };
    }
    let mut t = BEGAN + 200 * MS;
    while t <= now.min(RESUMED) {
        let since = (t - BEGAN) as f64 / 1e9;
        let sent = (since * 32e6).min(554e6);
        let left = if t < STOPPED {
            (256e6 - sent).max(88e6 + (t / MS % 2000) as f64 * 4000.0)
        } else {
            90e6 - (t - STOPPED) as f64 * 0.031
        };
        let round = m.rounds.iter().filter(|(at, _)| *at <= t).map(|(_, n)| *n).next_back();
        m.samples.push((
            t,
            Sample {
                transferred_bytes: Some(sent as u64),
                remaining_bytes: Some(left.max(0.0) as u64),
                total_bytes: Some(256 << 20),
                round,
                dirty_pages_per_s: round.filter(|r| *r > 1).map(|r| 8_700.0 + (r * 131 % 500) as f64),
                throughput_bytes_per_s: Some(31.9e6),
                ..Sample::default()
            },
        ));
        t += 100 * MS;
    }
    if now >= STOPPED {
        m.ruled.push((STOPPED, StopRule::Rounds { limit: 29 }, Then::StopAndCopy));
        m.stopped = Some((STOPPED, None, "a".into()));
        s.guests.insert(GuestId::default(), (STOPPED, Location::At { host: "a".into(), running: false }));
        log(STOPPED, Level::Warn, "policy", "29 rounds: stop-and-copy");
        log(STOPPED + 5 * MS, Level::Warn, "qmp a", "the guest stands still");
        log(STOPPED + 1300 * MS, Level::Error, "agent", "connection lost: no answer for 1.0 s");
        s.agent.connected = !(STOPPED + 1300 * MS..=ANSWERS).contains(&now);
        s.agent.since = STOPPED + 1300 * MS;
    }
    if now >= RESUMED {
        m.resumed = Some((RESUMED, None, "b".into()));
        s.guests.insert(GuestId::default(), (RESUMED, Location::At { host: "b".into(), running: true }));
        m.ended = Some((RESUMED, MigrationEnd::Done));
        log(RESUMED, Level::Info, "qmp b", "the guest runs");
        log(ANSWERS, Level::Info, "agent", "connected again; no setting lost");
    }
    if now >= SETTLED {
        m.settled = Some(SETTLED);
        m.downtime = Some(downtimes());
        log(SETTLED, Level::Info, "migration", "1: gone for 2.96 s (reply-gap)");
        s.hosts.entry("a".into()).or_default().running = Some(false);
        s.hosts.entry("b".into()).or_default().running = Some(true);
    }
    if now >= BEGAN + 4 * S {
        s.marks.push((BEGAN + 4 * S, "look".into()));
    }
    s.migrations.push(m);
    s
}

fn downtimes() -> Downtimes {
    let ms = Duration::from_millis;
    let known = |method, value, lo, hi| Estimate {
        method,
        value: Some(Bounded { value: ms(value), lo: ms(lo), hi: ms(hi) }),
        note: None,
    };
    Downtimes {
        estimates: vec![
            known(Method::LostPings, 2_900, 2_850, 2_950),
            known(Method::ReplyGap, 2_960, 2_860, 2_960),
            known(Method::Reported, 5, 5, 5),
            known(Method::StopResume, 2_896, 2_895, 2_897),
            Estimate { method: Method::GuestClock, value: None, note: Some("no heartbeat before the stop".into()) },
        ],
        gaps: 1,
        gaps_total: ms(2_960),
        probes: Vec::new(),
    }
}

/// The same lab, whose hosts say what they offer.
pub(crate) fn offering(mut s: State) -> State {
    let parameter = |name: &str, value: serde_json::Value, unit: &str, live| Parameter {
        name: name.into(),
        value,
        unit: unit.into(),
        live,
    };
    let offers = Capabilities {
        product: "QEMU 10.0.2".into(),
        parameters: vec![
            parameter("announce-initial", 50.into(), "ms", true),
            parameter("avail-switchover-bandwidth", 0.into(), "bytes/s", true),
            parameter("cpu-throttle-increment", 10.into(), "%", true),
            parameter("cpu-throttle-initial", 20.into(), "%", true),
            parameter("downtime-limit", 300.into(), "ms", true),
            parameter("max-bandwidth", 32_000_000.into(), "bytes/s", true),
            parameter("multifd-channels", 2.into(), "channels", false),
            parameter("multifd-compression", "none".into(), "", false),
            parameter("xbzrle-cache-size", (64u64 << 20).into(), "bytes", true),
        ],
        post_copy: true,
        auto_converge: true,
        stop_and_copy: true,
        cancel: true,
        ..Capabilities::default()
    };
    for host in s.hosts.values_mut() {
        host.offers = Some(offers.clone());
    }
    s
}

/// Three migrations: below the jump, above it, and a cancelled one.
pub(crate) fn result() -> State {
    let mut s = migrating(SETTLED + 2 * S);
    let settled = s.migrations[0].clone();
    for (n, rate, took, rounds) in [(1, 2000.0, 6_700, 6), (2, 6000.0, 12_300, 17)] {
        let mut m = settled.clone();
        (m.n, m.load, m.began) = (n, Some(load(rate)), 0);
        m.ended = Some((
            took * MS,
            if n == 2 { MigrationEnd::Cancelled { by: "the operator".into() } } else { MigrationEnd::Done },
        ));
        m.rounds.truncate(rounds);
        m.phases.clear();
        m.samples.clear();
        m.settled = m.ended.as_ref().map(|e| e.0);
        if n == 2 {
            m.downtime = None;
        }
        let at = s.migrations.len() - 1;
        s.migrations.insert(at, m);
    }
    if let Some(m) = s.migrations.last_mut() {
        m.n = 3;
    }
    s
}

pub(crate) fn recorder() -> RecorderInfo {
    RecorderInfo {
        path: PathBuf::from("/home/you/.local/state/blackout/sessions/2026-11-22T19-47-03-jump/events.jsonl"),
        bytes: 3_412_992,
        trouble: None,
        backlog: 3,
    }
}

pub(crate) fn replay_info(position: Nanos) -> ReplayInfo {
    ReplayInfo {
        path: PathBuf::from("captures/jump/events.jsonl"),
        position,
        length: SETTLED + 4 * S,
        playing: false,
        speed: 0.5,
        worst: None,
    }
}

/// A feed over the fixture that runs by itself from `from` on; a replay where `replay` is given.
pub(crate) struct FakeFeed {
    began: Instant,
    from: Nanos,
    state: RefCell<State>,
    pub(crate) replay: Cell<Option<(Nanos, bool, f64)>>,
    pub(crate) requested: Cell<Option<LoadSettings>>,
    /// Panics half a second after the start.
    pub(crate) panics: bool,
}

impl FakeFeed {
    pub(crate) fn new(from: Nanos) -> Self {
        Self {
            began: Instant::now(),
            from,
            state: RefCell::new(idle(from)),
            replay: Cell::new(None),
            requested: Cell::new(None),
            panics: false,
        }
    }
}

impl Feed for FakeFeed {
    fn with_state(&self, f: &mut dyn FnMut(&State)) {
        let now = self.now();
        assert!(!self.panics || now < self.from + S / 2, "the feed breaks in mid-session");
        let mut state = if now >= BEGAN { migrating(now) } else { idle(now) };
        if let Some(to) = self.requested.get() {
            state.load.requested = Some((3, to, now));
        }
        *self.state.borrow_mut() = state;
        f(&self.state.borrow());
    }
    fn version(&self) -> u64 {
        self.now() / (50 * MS)
    }
    fn now(&self) -> Nanos {
        match self.replay.get() {
            Some((position, ..)) => position,
            None => self.from + self.began.elapsed().as_nanos() as u64,
        }
    }
    fn recorder(&self) -> Option<RecorderInfo> {
        self.replay.get().is_none().then(recorder)
    }
    fn replay(&self) -> Option<ReplayInfo> {
        self.replay.get().map(|(at, playing, speed)| ReplayInfo { playing, speed, ..replay_info(at) })
    }
    fn control(&self) -> Option<&dyn ReplayControl> {
        self.replay.get().map(|_| self as &dyn ReplayControl)
    }
}

impl ReplayControl for FakeFeed {
    fn set_playing(&self, playing: bool) {
        self.replay.set(self.replay.get().map(|(at, _, speed)| (at, playing, speed)));
    }
    fn set_speed(&self, speed: f64) {
        self.replay.set(self.replay.get().map(|(at, playing, _)| (at, playing, speed)));
    }
    fn step(&self, events: i64) {
        self.replay.set(
            self.replay.get().map(|(at, _, speed)| (at.saturating_add_signed(events * 50 * MS as i64), false, speed)),
        );
    }
    fn seek(&self, to: Nanos) {
        self.replay.set(self.replay.get().map(|(_, playing, speed)| (to, playing, speed)));
    }
}
