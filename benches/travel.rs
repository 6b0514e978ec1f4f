//! What time travel costs: a session of one hour, probed at 1 kHz with all other sources running,
//! is opened, sought in and drawn.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;

use blackout::event::{
    AgentEvent, Body, DirtyCycle, Event, Header, HostEvent, HostFacts, HvEvent, LoadReport, LoadSettings, MigrationEnd,
    MigrationEvent, MigrationSettings, OperatorEvent, Phase, ProbeEvent, ProbeId, ProbeKind, ProbeSpec, Sample,
    Versions,
};
use blackout::session::{Player, State};
use blackout::tui::time::Scale;
use blackout::tui::{Extra, Markers, Mode, ThemeChoice, View, draw};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
/// Length of the session, ns.
const LENGTH: u64 = 3_600 * S;
/// A migration begins each so long, ns; it takes 60 s, the last 3 without the guest.
const MIGRATE: u64 = 600 * S;

fn header() -> Header {
    Header {
        schema_major: blackout::event::SCHEMA_MAJOR,
        schema_minor: blackout::event::SCHEMA_MINOR,
        name: "bench".to_owned(),
        wall_origin_unix_ns: 0,
        versions: Versions::default(),
        host: HostFacts::default(),
        settings: Default::default(),
        seed: 0,
        simulated: true,
    }
}

fn load(bpc_pages: u64) -> LoadSettings {
    let dirty = DirtyCycle { bpc_pages, period_ns: 10 * MS };
    LoadSettings { wset_bytes: 96 << 20, dirty, ..LoadSettings::default() }
}

/// What happens in the millisecond that begins at `t`.
fn tell(t: u64, mut tell: impl FnMut(u64, Body)) {
    let k = t / MS;
    let within = t % MIGRATE;
    let n = (t / MIGRATE) as u32 + 1;
    let gone = (57 * S..60 * S).contains(&within);
    let sent = t + 20_000 + k * 7_919 % 9_000;
    let lost = gone || k.is_multiple_of(50_021);
    tell(
        sent + 300_000,
        match lost {
            true => Body::Probe(ProbeEvent::Lost { id: ProbeId(0), k, sent }),
            false => Body::Probe(ProbeEvent::Ok { id: ProbeId(0), k, sent, rtt: 200_000 + k * 7_919 % 90_000 }),
        },
    );
    if k.is_multiple_of(10) && !gone {
        tell(t, Body::Agent(AgentEvent::Heartbeat { seq: k / 10, guest_ns: t }));
    }
    if k.is_multiple_of(100) && !gone {
        let report = LoadReport {
            guest_ns: t,
            window_ns: 100 * MS,
            set: load(90),
            wset_bytes: 96 << 20,
            rate_pages_per_s: 9_000.0 + (k * 37 % 19) as f64,
            cpu_load_pct: 0.0,
            pages_total: k * 9,
            saturated: false,
            guest_cpu_pct: Some(12.5),
        };
        tell(t, Body::Agent(AgentEvent::Report(report)));
    }
    if k.is_multiple_of(1_000) {
        let hypervisors = vec![("a".to_owned(), 23.5), ("b".to_owned(), 0.5)];
        tell(t, Body::Host(HostEvent { cpu_pct: 31.25, hypervisors }));
    }
    // A ramp of 30 s before each migration.
    if k.is_multiple_of(100) && within >= MIGRATE - 30 * S {
        tell(t, Body::Operator(OperatorEvent::SetLoad { id: k, to: load(k / 100 % 300) }));
    }
    let phase = |phase, raw: &str| Body::Hypervisor(HvEvent::Phase { phase, raw: raw.to_owned(), substate: None });
    let (from, to) = if n % 2 == 1 { ("a", "b") } else { ("b", "a") };
    match within / MS {
        0 => {
            let settings =
                MigrationSettings { bandwidth_bytes_per_s: Some(32_000_000), ..MigrationSettings::default() };
            tell(t, Body::Migration(MigrationEvent::Began { n, from: from.into(), to: to.into(), settings, by: None }));
        }
        100 => tell(t, phase(Phase::PreCopy, "active")),
        57_000 => {
            tell(t, Body::Hypervisor(HvEvent::Stopped { host: from.into(), at: None }));
            tell(t, phase(Phase::StopAndCopy, "device"));
        }
        60_000 => {
            tell(t, Body::Hypervisor(HvEvent::Resumed { host: to.into(), at: None }));
            tell(t, phase(Phase::Done, "completed"));
            tell(t, Body::Migration(MigrationEvent::Ended { n, end: MigrationEnd::Done }));
        }
        63_000 => tell(t, Body::Migration(MigrationEvent::Settled { n })),
        _ => {}
    }
    if within < 60 * S && k.is_multiple_of(100) {
        if k.is_multiple_of(2_000) {
            tell(t, Body::Hypervisor(HvEvent::Round { round: within / (2 * S) + 1, at: None }));
        }
        let sample = Sample {
            transferred_bytes: Some(within / 31),
            remaining_bytes: Some(90 << 20),
            total_bytes: Some(256 << 20),
            round: Some(within / (2 * S) + 1),
            dirty_pages_per_s: Some(8_700.0 + (within / (2 * S)) as f64),
            throughput_bytes_per_s: Some(31.9e6),
            ..Sample::default()
        };
        let raw = serde_json::json!({"status": "active", "ram": {"mbps": 255.7, "remaining": t, "normal": k}});
        tell(t, Body::Hypervisor(HvEvent::Sample { sample, raw }));
    }
}

fn started() -> Event {
    let spec = ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 2].into(), MS);
    Event::new(0, Body::Probe(ProbeEvent::Started { id: ProbeId(0), spec }))
}

fn write(path: &Path) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut line = |value: &dyn erased::Json| -> std::io::Result<()> {
        value.write(&mut out)?;
        out.write_all(b"\n")
    };
    line(&header())?;
    line(&started())?;
    let mut result = Ok(());
    for t in (0..LENGTH).step_by(MS as usize) {
        tell(t, |t, ev| {
            if result.is_ok() {
                result = line(&Event::new(t, ev));
            }
        });
    }
    result
}

mod erased {
    //! Whatever can be written as JSON.

    pub(super) trait Json {
        fn write(&self, out: &mut dyn std::io::Write) -> std::io::Result<()>;
    }

    impl<T: serde::Serialize> Json for T {
        fn write(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
            Ok(serde_json::to_writer(out, self)?)
        }
    }
}

/// Resident memory of this process, MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// CPU time of this thread, s: a busy machine does not spoil it.
fn cpu() -> f64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(f64::NAN, |t| std::time::Duration::from(t).as_secs_f64())
}

/// An instant of the session, each time another.
fn anywhere(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 20) % LENGTH
}

/// What a column stands for: from 1 ms to the whole session.
const SCALES: [(&str, Scale); 6] = [
    ("1 ms a column", Scale::Column(MS)),
    ("50 ms a column", Scale::Column(50 * MS)),
    ("fitted", Scale::Auto),
    ("1 s a column", Scale::Column(S)),
    ("5 s a column", Scale::Column(5 * S)),
    ("the whole session", Scale::Whole),
];

/// Frames of a live screen whose time goes on.
struct Frames {
    view: View,
    terminal: Terminal<CrosstermBackend<std::io::Sink>>,
    now: u64,
}

impl Frames {
    fn new(scale: Scale) -> Option<Self> {
        let mut view = View::new(ThemeChoice::Dark.theme().ok()?, Markers::Unicode);
        view.time.scale = scale;
        let viewport = Viewport::Fixed(Rect::new(0, 0, 200, 50));
        let backend = CrosstermBackend::new(std::io::sink());
        let terminal = Terminal::with_options(backend, TerminalOptions { viewport }).ok()?;
        Some(Self { view, terminal, now: LENGTH })
    }

    fn draw(&mut self, state: &State) -> bool {
        self.now += 100 * MS;
        let extra = Extra { now: self.now, recorder: None, mode: Mode::Live };
        self.view.observe(state, self.now);
        let view = &self.view;
        let drawn = self.terminal.draw(|frame| {
            draw(view, state, &extra, frame);
        });
        drawn.is_ok()
    }
}

/// Tells the median and the longest of `times` in ms.
fn told(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let (median, most) = (times[times.len() / 2] * 1e3, times[times.len() - 1] * 1e3);
    eprintln!("{what}: {median:.3} ms of CPU, at most {most:.3} ms");
}

/// The same by CPU time.
fn by_cpu_time(player: &mut Player) {
    let timed = |what: &mut dyn FnMut()| {
        let began = cpu();
        what();
        cpu() - began
    };
    let mut at = 1;
    told("seek anywhere", (0..300).map(|_| timed(&mut || player.seek(anywhere(&mut at)))).collect());
    player.seek(LENGTH);
    let shared = player.shared();
    told("copy the state", (0..300).map(|_| timed(&mut || drop(black_box(shared.state())))).collect());
    for (name, scale) in SCALES {
        let Some(mut frames) = Frames::new(scale) else { return };
        let mut frame = || {
            shared.with_state(|state| frames.draw(state));
        };
        told(&format!("frame of 200x50, {name}"), (0..300).map(|_| timed(&mut frame)).collect());
    }
}

fn travel(c: &mut Criterion) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let path = dir.path().join("capture.jsonl");
    if let Err(e) = write(&path) {
        eprintln!("no capture can be written: {e}");
        return;
    }
    let bytes = std::fs::metadata(&path).map_or(0, |m| m.len());

    let before = resident();
    let began = cpu();
    let Ok((mut player, _)) = Player::open(&path) else { return };
    eprintln!("{} events, {:.0} MB", player.progress().1, bytes as f64 / 1e6);
    eprintln!("open: {:.0} ms of CPU, {:.0} MiB more are resident", (cpu() - began) * 1e3, resident() - before);
    by_cpu_time(&mut player);

    let mut group = c.benchmark_group("an hour at 1 kHz");
    group.sample_size(10);
    group.bench_function("open", |b| {
        b.iter_with_large_drop(|| Player::open(&path).map(|(player, _)| player.progress().1));
    });
    group.sample_size(100);
    let mut at: u64 = 1;
    let mut worst = std::time::Duration::ZERO;
    group.bench_function("seek anywhere", |b| {
        b.iter(|| {
            let began = std::time::Instant::now();
            player.seek(anywhere(&mut at));
            worst = worst.max(began.elapsed());
        });
    });
    eprintln!("the slowest seek took {worst:?}");

    player.seek(LENGTH);
    let shared = player.shared();
    eprintln!("the state at the end holds {:.1} MiB", shared.with_state(State::heap_bytes) as f64 / 1_048_576.0);
    group.bench_function("copy the state", |b| b.iter(|| black_box(shared.state())));
    for (name, scale) in SCALES {
        let Some(mut frames) = Frames::new(scale) else { return };
        group.bench_function(format!("frame of 200x50, {name}"), |b| {
            b.iter(|| shared.with_state(|state| frames.draw(state)));
        });
    }
    let mut events = vec![started()];
    for t in (0..100 * S).step_by(MS as usize) {
        tell(t, |t, ev| events.push(Event::new(t, ev)));
    }
    group.throughput(criterion::Throughput::Elements(events.len() as u64));
    group.bench_function("fold", |b| {
        b.iter_batched_ref(
            || State::begin(header()),
            |state| events.iter().for_each(|event| state.apply(event)),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, travel);
criterion_main!(benches);
