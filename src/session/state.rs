//! What a session looks like after so many events. Built only by `State::apply`: a pure fold, so
//! a replayed capture gives the very state of the live run that wrote it.

use super::outcomes::Outcomes;
use super::trail::Trail;
use crate::analysis::clock::HostClock;
use crate::analysis::probing;
use crate::chunked::Chunked;
use crate::event::{
    By, Capabilities, Class, Forecast, ForeignTime, GuestId, Header, HostEvent, Incident, Level, LoadReport,
    LoadSettings, Location, MigrationEnd, MigrationSettings, Nanos, Phase, ProbeId, ProbeSpec, Role, Sample,
    StopForecast, StopRule, Substate, Then,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Load reports, requests and host CPU values kept one by one: an hour at 10 Hz.
pub const REPORTS: usize = 36_000;

/// Changes of the settings of a running migration kept, the newest among them.
const RETUNED: usize = 255;

/// Who the captions of a guided tour come from, in the log; up to schema 1.4 they were log lines.
pub const CAPTIONS: &str = "tour";

/// The state of a session. A copy is cheap: it shares what is long with the original, and neither
/// sees what becomes of the other. A frozen window is such a copy: nothing is evicted from it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Header of the capture, once known.
    pub header: Option<Header>,
    /// Later facts about the environment (guest kernel, accelerator, …).
    pub environment: BTreeMap<String, String>,
    /// Time of the newest event, ns.
    pub now: Nanos,
    /// Events folded in so far.
    pub events: u64,
    /// The load: requested, set, achieved.
    pub load: LoadState,
    /// The guest agent.
    pub agent: AgentState,
    /// Probes by id.
    pub probes: BTreeMap<ProbeId, ProbeState>,
    /// What each probe's outcomes say by themselves, by its id: counts, round trips, outages. Shared
    /// between copies of the state until it changes.
    pub digests: BTreeMap<ProbeId, Arc<probing::Summary>>,
    /// Heartbeats: (received ns of the session clock, sequence, guest ns).
    pub heartbeats: Chunked<(Nanos, u64, u64)>,
    /// Hypervisor hosts by name.
    pub hosts: BTreeMap<String, HostState>,
    /// Where each guest is, and since when that is known, ns; none until anything is known of it.
    pub guests: BTreeMap<GuestId, (Nanos, Location)>,
    /// The ends of the next migration, or why there can be none; None where that was not told.
    pub route: Option<Result<(String, String), String>>,
    /// Settings for the next migration, once chosen.
    pub next: Option<MigrationSettings>,
    /// The newest forecast of a migration that has not begun: (ns, its number, what is expected). None
    /// as soon as anything it rests on is changed.
    pub forecast: Option<(Nanos, u32, Forecast)>,
    /// When the load or the settings for the next migration were changed last, ns.
    pub changed: Nanos,
    /// All migrations of the session, oldest first.
    pub migrations: Vec<Migration>,
    /// Loads asked for: (ns, settings), oldest first.
    pub requests: Chunked<(Nanos, LoadSettings)>,
    /// Recent load reports: (received ns, report).
    pub reports: Chunked<(Nanos, LoadReport)>,
    /// CPU of this machine and of the hypervisors on it, oldest first.
    pub host_cpu: Chunked<(Nanos, HostEvent)>,
    /// Load, CPU and samples in buckets of time, also of what is no longer held one by one.
    pub trail: Trail,
    /// Marks: (ns, note), in the order of time.
    pub marks: Vec<(Nanos, String)>,
    /// The event log for people, oldest first.
    pub log: Chunked<LogLine>,
    /// The newest caption of a guided tour: when, and what it says.
    pub caption: Option<(Nanos, String)>,
    /// Lines of the event log so far, also those no longer kept.
    pub log_total: u64,
    /// The lab: what it does or did last, accelerator, how to enter.
    pub lab: LabState,
    /// Health of the stream and the capture.
    pub health: Health,
    /// Why the session ended, if it did in good order.
    pub ended: Option<String>,
    /// What the fold has spent so far.
    pub spent: Spent,
}

/// The load: requested, set, achieved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadState {
    /// The newest request: its id, its settings, when.
    pub requested: Option<(u64, LoadSettings, Nanos)>,
    /// What the agent acknowledged last: id, settings, when.
    pub set: Option<(u64, LoadSettings, Nanos)>,
    /// The newest refusal: id, why, when.
    pub refused: Option<(u64, String, Nanos)>,
    /// The newest report and when it came.
    pub achieved: Option<(Nanos, LoadReport)>,
    /// The ramp that runs.
    pub ramp: Option<Ramp>,
}

/// RATE going from one value to another by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    /// RATE at the beginning, pages/s.
    pub from_pages_per_s: f64,
    /// RATE at the end, pages/s.
    pub to_pages_per_s: f64,
    /// Began, ns.
    pub began: Nanos,
    /// How long it takes, ns.
    pub over_ns: Nanos,
}

/// The guest agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentState {
    /// Whether the connection stands.
    pub connected: bool,
    /// Since when it stands or is lost, ns.
    pub since: Nanos,
    /// Version, kernel and so on, as last reported.
    pub version: String,
    /// Guest kernel.
    pub kernel: String,
    /// Guest CPUs.
    pub cpus: u32,
    /// Guest RAM, bytes.
    pub ram_bytes: u64,
    /// The largest WSET it accepts, bytes.
    pub wset_limit_bytes: u64,
    /// Transport.
    pub transport: String,
    /// Why it is not connected.
    pub why: String,
}

/// One probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeState {
    /// Its schedule and limits.
    pub spec: ProbeSpec,
    /// Outcomes in slot order, newest last: the newest one by one, all of them summed up.
    pub outcomes: Outcomes,
    /// How many ended in each class (a revised slot counts once; duplicates count apart).
    pub counts: BTreeMap<Class, u64>,
    /// When it stopped, if it did.
    pub stopped: Option<Nanos>,
}

/// A hypervisor host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostState {
    /// Product and version.
    pub version: String,
    /// Its process.
    pub pid: Option<u32>,
    /// Why it is gone, if it is.
    pub lost: Option<String>,
    /// Whether the guest runs here, if known.
    pub running: Option<bool>,
    /// CPU of its process, % of one CPU, as last seen.
    pub cpu_pct: Option<f64>,
    /// What it offers, with the values as last seen.
    pub offers: Option<Capabilities>,
    /// Its clock against ours, by all events it stamped.
    pub clock: HostClock,
}

/// A stretch of one phase.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseSpan {
    /// The phase.
    pub phase: Phase,
    /// The product's own word.
    pub raw: String,
    /// What is out of the ordinary in it.
    pub substate: Option<Substate>,
    /// From, ns.
    pub from: Nanos,
    /// To, ns; None while it lasts.
    pub to: Option<Nanos>,
}

/// Something that was wanted of a running migration. That it was wanted is not that it took effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// When, ns.
    pub t: Nanos,
    /// What.
    pub then: Then,
    /// Who wanted it.
    pub by: By,
    /// Why it is not done, if the hypervisor refused it or did not answer.
    pub refused: Option<String>,
}

/// Something that befell the guest during a migration.
#[derive(Debug, Clone, PartialEq)]
pub struct Befallen {
    /// When, ns.
    pub t: Nanos,
    /// The host it was on.
    pub host: String,
    /// What.
    pub what: Incident,
    /// In the product's own words; may be empty.
    pub detail: String,
}

/// One migration of the session.
#[derive(Debug, Clone, PartialEq)]
pub struct Migration {
    /// Its number, from 1.
    pub n: u32,
    /// Source host.
    pub from: String,
    /// Destination host.
    pub to: String,
    /// What it was asked to be.
    pub settings: MigrationSettings,
    /// Who has begun it, where that was not blackout.
    pub by: Option<By>,
    /// Settings asked for while it ran, each with its time, ns, after those it began with; empty where
    /// nothing was changed.
    pub retuned: Vec<(Nanos, MigrationSettings)>,
    /// What was expected of it just before it began, and when that was said, ns.
    pub predicted: Option<(Nanos, Forecast)>,
    /// What is expected of it while it runs, as said last, and when, ns.
    pub expected: Option<(Nanos, Forecast)>,
    /// How long the guest would stand still, as it was said when it was stopped, and for which instant, ns.
    pub stop_predicted: Option<(Nanos, StopForecast)>,
    /// The same as said from then on, each with its instant, ns, oldest first.
    pub stop_left: Vec<(Nanos, StopForecast)>,
    /// The load set when it began.
    pub load: Option<LoadSettings>,
    /// Began, ns.
    pub began: Nanos,
    /// Ended, ns, and how.
    pub ended: Option<(Nanos, MigrationEnd)>,
    /// Its result is final since, ns.
    pub settled: Option<Nanos>,
    /// Its phases in order.
    pub phases: Vec<PhaseSpan>,
    /// Rounds: (ns, number).
    pub rounds: Vec<(Nanos, u64)>,
    /// Samples in order.
    pub samples: Chunked<(Nanos, Sample)>,
    /// Rules that fired: (ns, rule, what was ordered). See [`Migration::ended_by`] for what took effect.
    pub ruled: Vec<(Nanos, StopRule, Then)>,
    /// What was wanted of it while it ran, oldest first.
    pub requests: Vec<Request>,
    /// What befell the guest while it ran and until it was settled, oldest first.
    pub befell: Vec<Befallen>,
    /// Stops of the guest after which it went on at the source, so that they were not the switch-over: (stop,
    /// resume), ns of our clock.
    pub earlier_stops: Vec<(Nanos, Nanos)>,
    /// Figures the hypervisor gave that cannot be, in words: shown as its claim, and used nowhere.
    pub claims: Vec<String>,
    /// False if there was a probe when it began and the guest did not answer it.
    pub heard: bool,
    /// Guest stopped: (ns of our clock, by the product's clock, host).
    pub stopped: Option<(Nanos, Option<ForeignTime>, String)>,
    /// Guest running again: (ns of our clock, by the product's clock, host).
    pub resumed: Option<(Nanos, Option<ForeignTime>, String)>,
    /// The first answer to a probe since then, ns: until here it is `recovery`.
    pub answered: Option<Nanos>,
    /// The hypervisor is done (its word), but the guest has not answered yet; or, once settled, not
    /// at all.
    pub unanswered: Option<String>,
    /// The five downtimes, as computed when it settled.
    pub downtime: Option<crate::analysis::Downtimes>,
}

/// A line of the event log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// When, ns.
    pub t: Nanos,
    /// How much it matters.
    pub level: Level,
    /// Source.
    pub from: String,
    /// Text.
    pub text: String,
}

/// The lab.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabState {
    /// What it does now or did last.
    pub step: String,
    /// Accelerator and why.
    pub accel: Option<(String, String)>,
    /// Guest address, once ready.
    pub guest: Option<String>,
    /// A command that enters the lab's network.
    pub enter: Option<String>,
}

/// Health of the stream and the capture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// Events lost to full queues.
    pub lost_events: u64,
    /// Why the capture cannot be written now.
    pub recorder_trouble: Option<String>,
    /// Whether it ever could not be.
    pub recorder_ever_troubled: bool,
    /// Probe outcomes that could not be folded in because their probe was never announced.
    pub orphan_outcomes: u64,
    /// Migrations, probes, outcomes and facts that are not kept, since there are more than any session of ours writes.
    pub left_out: u64,
}

/// What the fold has spent on things of which a stranger's capture may have any number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spent {
    /// Text kept for as long as the session lasts, bytes.
    pub(super) text: usize,
    /// Outcomes and heartbeats the estimators had to look at.
    pub(super) looks: u64,
    /// The newest migration is beyond what is kept.
    pub(super) beyond: bool,
    /// Where the newest migration of each number is, of the first `numbered` ones.
    pub(super) places: BTreeMap<u32, usize>,
    pub(super) numbered: usize,
}

impl State {
    /// Where the guest is, and since when that is known, ns: the first one, where a session has several.
    #[must_use]
    pub fn guest(&self) -> Option<&(Nanos, Location)> {
        self.guests.get(&GuestId::default())
    }

    /// Memory taken by what grows with the length of the session, bytes, as if nothing were shared.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let probes: usize = self.probes.values().map(|p| p.outcomes.heap_bytes()).sum();
        let samples: usize = self.migrations.iter().map(|m| m.samples.heap_bytes()).sum();
        let text: usize = self.log.iter().map(|line| line.from.len() + line.text.len()).sum();
        let names = |ev: &HostEvent| ev.hypervisors.iter().map(|(name, _)| name.len() + 40).sum::<usize>();
        let hosts: usize = self.host_cpu.iter().map(|(_, ev)| names(ev)).sum();
        let (reports, beats) = (self.reports.heap_bytes(), self.heartbeats.heap_bytes());
        let (requests, log) = (self.requests.heap_bytes(), self.log.heap_bytes());
        let trail = self.trail.heap_bytes() + self.host_cpu.heap_bytes();
        let digests: usize = self.digests.values().map(|d| d.heap_bytes()).sum();
        digests + probes + samples + text + hosts + reports + beats + requests + log + trail
    }
}

impl State {
    /// Memory a copy takes beside what it shares with `before`, an older copy, bytes; roughly.
    #[must_use]
    pub fn weight(&self, before: &Self) -> usize {
        let none = Outcomes::default();
        let probes = self.probes.iter().map(|(id, p)| {
            let old = before.probes.get(id).map_or(&none, |p| &p.outcomes);
            1024 + p.outcomes.own_bytes(old)
        });
        let migrations = self.migrations.iter().enumerate().map(|(i, m)| {
            let old = before.migrations.get(i).map(|m| &m.samples);
            let samples = old.map_or_else(|| m.samples.heap_bytes(), |old| m.samples.own_bytes(old));
            2048 + samples
                + m.phases.len() * 2 * size_of::<PhaseSpan>()
                + m.rounds.len() * size_of::<(Nanos, u64)>()
                + (m.requests.len() + m.befell.len() + m.ruled.len() + m.retuned.len()) * 512
        });
        let log: usize =
            self.log.iter().rev().take(512).map(|l| size_of::<LogLine>() + l.from.len() + l.text.len()).sum();
        let marks: usize = self.marks.iter().map(|(_, note)| note.len() + 64).sum();
        let facts: usize = self.environment.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
        let hosts = self.hosts.values().map(|h| 512 + h.offers.as_ref().map_or(0, |o| o.parameters.len() * 512));
        probes.sum::<usize>()
            + migrations.sum::<usize>()
            + hosts.sum::<usize>()
            + log
            + marks
            + facts
            + self.spent.text.min(64 << 20)
            + self.spent.places.len() * 32
            + self.heartbeats.own_bytes(&before.heartbeats)
            + self.requests.own_bytes(&before.requests)
            + self.reports.own_bytes(&before.reports)
            + self.host_cpu.own_bytes(&before.host_cpu)
            + self.log.own_bytes(&before.log)
            + self.trail.own_bytes(&before.trail)
    }
}

impl State {
    /// The id of the primary probe, which downtime is measured with: the one whose role that is, else the one
    /// with the lowest id.
    #[must_use]
    pub fn primary_id(&self) -> Option<ProbeId> {
        let named = self.probes.iter().find(|(_, probe)| probe.spec.role == Some(Role::Primary));
        named.or_else(|| self.probes.iter().next()).map(|(id, _)| *id)
    }

    /// The primary probe.
    #[must_use]
    pub fn primary(&self) -> Option<&ProbeState> {
        self.probes.get(&self.primary_id()?)
    }

    /// Whether this session only watches a target: no hypervisor is attached, and none will be.
    #[must_use]
    pub fn only_watches(&self) -> bool {
        self.header.as_ref().and_then(|h| h.settings.command.as_deref()) == Some("watch")
    }
}

impl Migration {
    /// Other settings were asked for while it ran.
    pub(super) fn retune(&mut self, t: Nanos, to: MigrationSettings) {
        if self.retuned.is_empty() {
            self.retuned.push((self.began, self.settings.clone()));
        }
        if self.retuned.last().is_some_and(|(_, last)| *last != to) {
            // Of more than anybody makes the newest is the one that counts.
            self.retuned.truncate(RETUNED);
            self.retuned.push((t, to));
        }
    }

    /// The probe was not answered before it began, nor since: it tells nothing of the guest.
    #[must_use]
    pub fn deaf(&self) -> bool {
        !self.heard && self.answered.is_none()
    }

    /// Whether it ended well.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.ended, Some((_, MigrationEnd::Done)))
    }

    /// The rule that ended pre-copy, when, and how, as far as it took effect: an order to cancel that came
    /// too late ended nothing.
    #[must_use]
    pub fn ended_by(&self) -> Option<&(Nanos, StopRule, Then)> {
        let cancelled =
            matches!(self.ended, None | Some((_, MigrationEnd::Cancelled { .. } | MigrationEnd::Failed { .. })));
        self.ruled.iter().rev().find(|(_, _, then)| *then != Then::Cancel || cancelled)
    }

    /// Whether a request took effect: a cancel by the end it led to, a stop by the guest's, a switch to
    /// post-copy by its phase. None while that is open.
    #[must_use]
    pub fn took_effect(&self, request: &Request) -> Option<bool> {
        let seen = match request.then {
            Then::Cancel => matches!(self.ended, Some((_, MigrationEnd::Cancelled { .. }))),
            Then::StopAndCopy => self.stopped.as_ref().is_some_and(|(t, ..)| *t >= request.t),
            Then::PostCopy => self.phases.iter().any(|p| p.phase == Phase::PostCopy && p.from >= request.t),
            Then::AutoConverge => request.refused.is_none(),
        };
        if seen {
            return Some(true);
        }
        (self.ended.is_some() || request.refused.is_some()).then_some(false)
    }

    /// The request to cancel that was made last and did not take effect, once it has ended.
    #[must_use]
    pub fn cancelled_in_vain(&self) -> Option<&Request> {
        let (_, end) = self.ended.as_ref()?;
        let in_vain = !matches!(end, MigrationEnd::Cancelled { .. });
        self.requests.iter().rev().find(|r| in_vain && r.then == Then::Cancel)
    }

    /// The five downtimes once they are final: late probes may still change them before.
    #[must_use]
    pub fn final_downtime(&self) -> Option<&crate::analysis::Downtimes> {
        self.downtime.as_ref().filter(|_| self.settled.is_some())
    }
}
