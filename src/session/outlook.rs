//! What there is to forecast, out of the state of a session.

use thiserror::Error;

use super::product::{NoModel, product};
use super::state::{Migration, State};
use crate::analysis::prediction::left::Seen;
use crate::analysis::prediction::words::two_figures;
use crate::analysis::prediction::{Basis, Calibration, Change, Situation, forecast, forecast_running, likeliest};
use crate::event::{DirtyCycle, Forecast, LoadSettings, MigrationSettings, Nanos, Span};
use crate::model::parameters::by_own_names;
use crate::model::{Link, Product, Scenario, ScenarioError};
use crate::text::foreign;
use crate::units::PAGE_BYTES;

/// A link that carried less than this share of what the limit lets through is the narrower of the two.
const HELD: f64 = 0.9;
/// RATE that is reached is believed over the one set when it is below this share of it.
const REACHED: f64 = 0.95;

/// What forecasts of a session rest on.
#[derive(Debug, Clone)]
pub enum Rests {
    /// On figures of this guest and these hosts.
    On(Calibration),
    /// On figures of a guest of which nobody says that this is it.
    Like(Calibration),
    /// QEMUs and a guest of which nothing is known.
    Unknown,
    /// A simulated guest of so much memory, of which so much is used, bytes.
    Simulated {
        /// Whose rules.
        product: Product,
        /// VMSIZE, bytes.
        ram_bytes: u64,
        /// Used besides the WSET, bytes.
        used_bytes: u64,
        /// The link.
        link: Link,
    },
}

impl Rests {
    /// The guest's memory as it is migrated, bytes: as seen, else as known, else as the guest says.
    fn ram_bytes(&self, state: &State) -> Option<u64> {
        let seen = state.migrations.iter().rev().find_map(|m| m.samples.iter().rev().find_map(|(_, s)| s.total_bytes));
        match self {
            Self::On(calibration) => seen.or(Some(calibration.ram_bytes)),
            Self::Like(calibration) => seen.or(Some(guest_of(calibration, state.agent.ram_bytes))),
            Self::Unknown => seen.or(Some(state.agent.ram_bytes)).filter(|b| *b > 0),
            Self::Simulated { ram_bytes, .. } => Some(*ram_bytes),
        }
    }

    fn basis(&self, ram_bytes: u64, state: &State) -> Basis {
        let mut basis = match self {
            Self::On(calibration) | Self::Like(calibration) => Basis::calibrated(calibration, ram_bytes),
            Self::Unknown => Basis::qemu(ram_bytes),
            Self::Simulated { product, used_bytes, link, .. } => {
                return Basis::simulated(*product, *used_bytes, *link, product.costs());
            }
        };
        basis.content.seen = state.migrations.iter().rev().find_map(content);
        if let (Self::Unknown, Some(carried)) = (self, state.migrations.iter().rev().find_map(carried)) {
            basis.link_guessed = false;
            let limit = limit_of(state);
            if limit.is_none_or(|limit| carried < HELD * limit) {
                basis.link_bytes_per_s = Span::exactly(carried);
            }
        }
        basis
    }
}

/// The guest a calibration is used for: the one it was made with, or where the guest's own word of its
/// memory is far from that, a guest of so much. A kernel keeps some for itself and does not count it: of the
/// lab's 256 MiB nearly a sixth.
fn guest_of(calibration: &Calibration, told_bytes: u64) -> u64 {
    let (told, known) = (told_bytes as f64, calibration.ram_bytes as f64);
    if told_bytes == 0 || (0.75 * known..=known).contains(&told) { calibration.ram_bytes } else { told_bytes }
}

/// The bandwidth limit of the newest migration, bytes/s.
fn limit_of(state: &State) -> Option<f64> {
    state.migrations.last()?.settings.limit_bytes_per_s().map(|b| b as f64)
}

/// What the first round of a migration carried, bytes/s: what the link carries, or what the limit let
/// through. None where it was too short for that.
#[must_use]
pub fn carried(m: &Migration) -> Option<f64> {
    let first = m.samples.iter().filter(|(_, s)| s.round.is_some_and(|r| r <= 1));
    let mut first = first.filter_map(|(t, s)| Some((*t, s.transferred_bytes.filter(|b| *b > 0)?)));
    let (t0, b0) = first.next()?;
    let (t1, b1) = first.next_back()?;
    let took = t1.checked_sub(t0).filter(|ns| *ns >= 1_000_000_000)?;
    Some(b1.checked_sub(b0)? as f64 * 1e9 / took as f64).filter(|carried| *carried > 0.0)
}

/// By how much the first round ran over the bandwidth limit, %. QEMU's own limiter lets 3 to 6 % more
/// through than it is told (measured on 10.0.2); a little less than 1 % is within what sampling can tell.
#[must_use]
pub fn over_limit_pct(m: &Migration) -> Option<f64> {
    let over = 100.0 * (carried(m)? / m.settings.limit_bytes_per_s()? as f64 - 1.0);
    (over >= 1.0).then_some(over)
}

/// The WSET of a migration and what had content in the guest's memory then, bytes: known when the
/// first round is over.
#[must_use]
pub fn content(m: &Migration) -> Option<(f64, f64)> {
    let (_, sample) = m.samples.iter().rev().find(|(_, s)| s.zero_pages.is_some())?;
    if sample.round? < 2 {
        return None;
    }
    let zero = sample.zero_pages?.saturating_mul(PAGE_BYTES);
    Some((m.load?.wset_bytes as f64, sample.total_bytes?.checked_sub(zero)? as f64))
}

/// The load as it is, with the RATE that is reached where the generator cannot keep up.
fn load(state: &State) -> Option<LoadSettings> {
    let mut load = state.load.set.as_ref()?.1;
    let achieved = state.load.achieved.as_ref().map(|(_, report)| report).filter(|report| report.set == load);
    if let Some(report) = achieved.filter(|report| report.saturated) {
        let (set, reached) = (load.dirty.rate_pages_per_s(), report.rate_pages_per_s);
        if reached > 0.0 && reached < REACHED * set {
            // Two figures: what it says wavers, and is no other question for that.
            let reached = two_figures(reached, f64::round);
            let period_ns = (load.dirty.period_ns as f64 * set / reached) as u64;
            load.dirty = DirtyCycle { period_ns, ..load.dirty };
        }
    }
    Some(load)
}

/// The settings a migration began with.
fn began_with(m: &Migration) -> &MigrationSettings {
    m.retuned.first().map_or(&m.settings, |(_, settings)| settings)
}

/// What has been changed since a migration began, by what the agent said it had set and what the
/// operator asked of the hypervisor, as `own` makes its own words count.
fn changes(state: &State, m: &Migration, own: impl Fn(&MigrationSettings) -> MigrationSettings) -> Vec<(u64, Change)> {
    let mut set = m.load.map(|l| (l.dirty, l.pattern));
    let since = state.reports.partition_point(|(t, _)| *t < m.began);
    let mut all: Vec<(u64, Change)> = Vec::new();
    for (t, report) in state.reports.range(since..) {
        let (dirty, pattern) = (report.set.dirty, report.set.pattern);
        if set != Some((dirty, pattern)) {
            set = Some((dirty, pattern));
            all.push((t.saturating_sub(m.began), Change::Load { dirty, pattern }));
        }
    }
    let retuned = m.retuned.iter().skip(1);
    all.extend(retuned.map(|(t, to)| (t.saturating_sub(m.began), Change::Settings(own(to)))));
    all.sort_by_key(|(t, _)| *t);
    all
}

/// What a forecast is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Number of the migration.
    pub n: u32,
    /// The time of the newest event it takes account of, ns.
    pub of: Nanos,
    /// What is about to be migrated, or is.
    pub situation: Situation,
    /// What the answer rests on.
    pub basis: Basis,
    /// What has been seen of it, while it runs.
    pub seen: Option<Seen>,
}

impl Question {
    /// The scenario with the likeliest of all inputs.
    #[must_use]
    pub fn likeliest(&self) -> Scenario {
        likeliest(&self.situation, &self.basis)
    }

    /// The answer of the model.
    ///
    /// # Errors
    /// When the scenario cannot be: what is impossible, and why.
    pub fn answer(&self) -> Result<Forecast, ScenarioError> {
        match &self.seen {
            Some(seen) => forecast_running(&self.situation, &self.basis, seen),
            None => forecast(&self.situation, &self.basis),
        }
    }
}

/// Why there is nothing to forecast, whatever else becomes known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoForecast {
    /// The product's own rule is not known.
    #[error(transparent)]
    Model(#[from] NoModel),
    /// A rule of the stop policy looks at what the product does not tell: the model would let it fire, and it never
    /// would.
    #[error("no prediction: {0}")]
    Unseen(String),
}

/// What there is to forecast now; None while too little is known.
///
/// # Errors
/// If the rule of the session's product is not known, or the stop policy has one that cannot be seen: then there is
/// nothing as long as that is so.
pub fn question(state: &State, rests: &Rests, now: u64) -> Result<Option<Question>, NoForecast> {
    let rule = match rests {
        Rests::On(_) | Rests::Like(_) | Rests::Unknown => Product::Qemu,
        Rests::Simulated { product, .. } => *product,
    };
    match (product(state)?, rests) {
        // Nobody has told yet: figures of QEMUs are believed to be of these, nothing else is.
        (None, Rests::Unknown) => Ok(None),
        // Figures of one product say nothing of another.
        (Some(told), _) if told != rule => Ok(None),
        _ => {
            let asked = known(state, rests, now);
            match asked.as_ref().and_then(|asked| unseen(state, &asked.situation.settings)) {
                Some(why) => Err(NoForecast::Unseen(foreign(&why))),
                None => Ok(asked),
            }
        }
    }
}

/// Why the stop policy of these settings cannot be followed here, if it is known that it cannot.
fn unseen(state: &State, settings: &MigrationSettings) -> Option<String> {
    state.hosts.values().find_map(|host| host.offers.as_ref()?.unfit(&settings.policy))
}

/// The same of a product whose rule is known.
fn known(state: &State, rests: &Rests, now: u64) -> Option<Question> {
    let ram_bytes = rests.ram_bytes(state)?;
    let running = state.migrations.last().filter(|m| m.ended.is_none());
    let settings = running.map(|m| began_with(m).clone()).or_else(|| state.next.clone())?;
    let load = match running {
        Some(m) => m.load.or_else(|| load(state))?,
        None => load(state)?,
    };
    let basis = rests.basis(ram_bytes, state);
    // What is asked for in the hypervisor's own words counts above ours.
    let own = |settings: &MigrationSettings| by_own_names(basis.product, settings);
    let s = |t: u64, m: &Migration| t.saturating_sub(m.began) as f64 / 1e9;
    let seen = running.map(|m| Seen {
        elapsed_s: s(now, m),
        rounds: m.rounds.iter().map(|(t, n)| (*n, s(*t, m))).collect(),
        stopped_s: m.stopped.as_ref().map(|(t, _, _)| s(*t, m)),
        changes: changes(state, m, own),
    });
    let n = running.map_or_else(|| state.migrations.last().map_or(1, |m| m.n + 1), |m| m.n);
    let situation = Situation { load, settings: own(&settings), ram_bytes };
    Some(Question { n, of: state.now, situation, basis, seen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        AgentEvent, Body, Capabilities, Event, HvEvent, LoadReport, MigrationEvent, OperatorEvent, Sees, StopPolicy,
    };
    use crate::session::testing;

    const S: Nanos = 1_000_000_000;

    fn load(bpc_pages: u64) -> LoadSettings {
        let dirty = DirtyCycle { bpc_pages, period_ns: 10_000_000 };
        LoadSettings { wset_bytes: 96 << 20, dirty, ..LoadSettings::default() }
    }

    fn settings(bandwidth: u64) -> MigrationSettings {
        MigrationSettings { bandwidth_bytes_per_s: Some(bandwidth), ..MigrationSettings::default() }
    }

    fn report(set: LoadSettings) -> Body {
        Body::Agent(AgentEvent::Report(LoadReport {
            guest_ns: 0,
            window_ns: 100_000_000,
            set,
            wset_bytes: set.wset_bytes,
            rate_pages_per_s: set.dirty.rate_pages_per_s(),
            cpu_load_pct: 0.0,
            pages_total: 0,
            saturated: false,
            guest_cpu_pct: None,
        }))
    }

    /// A session in which 20 pages in 10 ms are set, and a bandwidth of 32 MB/s.
    fn session() -> State {
        let mut state = State::begin(testing::header());
        state.apply(&Event::new(S, Body::Agent(AgentEvent::Ack { id: 1, set: load(20) })));
        state.apply(&Event::new(2 * S, Body::Operator(OperatorEvent::SetMigration { to: settings(32_000_000) })));
        state
    }

    fn lab() -> Rests {
        Rests::On(Calibration::lab(256 << 20))
    }

    #[test]
    fn what_was_changed_while_it_runs_is_gone_through_again() {
        let mut state = session();
        let (from, to) = ("a".to_owned(), "b".to_owned());
        let began = MigrationEvent::Began { n: 1, from, to, settings: settings(32_000_000), by: None };
        state.apply(&Event::new(10 * S, Body::Migration(began)));
        state.apply(&Event::new(11 * S, report(load(20))));
        state.apply(&Event::new(13 * S, report(load(80))));
        state.apply(&Event::new(14 * S, report(load(80))));
        let faster = OperatorEvent::SetMigration { to: settings(64_000_000) };
        state.apply(&Event::new(15 * S, Body::Operator(faster)));
        let asked = question(&state, &lab(), 16 * S).unwrap().unwrap();
        assert_eq!((asked.n, asked.of, &asked.situation.settings), (1, 15 * S, &settings(32_000_000)));
        let seen = asked.seen.unwrap();
        let up = Change::Load { dirty: load(80).dirty, pattern: load(80).pattern };
        assert_eq!(seen.changes, [(3 * S, up), (5 * S, Change::Settings(settings(64_000_000)))]);
        assert_eq!(seen.elapsed_s, 6.0);
    }

    #[test]
    fn a_forecast_holds_until_what_it_rests_on_is_changed() {
        let mut state = session();
        let asked = question(&state, &lab(), 3 * S).unwrap().unwrap();
        let forecast = asked.answer().unwrap();
        let said = |of| Body::Migration(MigrationEvent::Forecast { n: 1, of, forecast: forecast.clone() });
        state.apply(&Event::new(3 * S, said(asked.of)));
        assert!(state.forecast.is_some());
        // Set anew to the same: nothing has changed.
        state.apply(&Event::new(4 * S, Body::Agent(AgentEvent::Ack { id: 2, set: load(20) })));
        assert!(state.forecast.is_some());
        state.apply(&Event::new(5 * S, Body::Agent(AgentEvent::Ack { id: 3, set: load(90) })));
        assert!(state.forecast.is_none());
        // One that was under way meanwhile comes too late, and is no prediction of what is fired now.
        state.apply(&Event::new(6 * S, said(asked.of)));
        let (from, to) = ("a".to_owned(), "b".to_owned());
        let began = MigrationEvent::Began { n: 1, from, to, settings: settings(32_000_000), by: None };
        state.apply(&Event::new(7 * S, Body::Migration(began)));
        assert_eq!((&state.forecast, &state.migrations[0].predicted), (&None, &None));
    }

    #[test]
    fn a_product_whose_rule_is_not_known_has_no_forecast() {
        let up = |version: &str| {
            let up = HvEvent::HostUp { host: "a".into(), version: version.into(), pid: None };
            Event::new(3 * S, Body::Hypervisor(up))
        };
        let mut state = session();
        state.agent.ram_bytes = 256 << 20;
        assert_eq!(question(&state, &Rests::Unknown, 4 * S), Ok(None), "nobody has told which product it is");
        state.apply(&up("bhyve 14.1"));
        for rests in [lab(), Rests::Unknown] {
            let why = question(&state, &rests, 4 * S).unwrap_err().to_string();
            assert_eq!(why, "no prediction: the rule of bhyve 14.1 is not known");
        }
        state.apply(&up("QEMU 10.0.2"));
        for rests in [lab(), Rests::Unknown] {
            assert_eq!(question(&state, &rests, 4 * S).unwrap().unwrap().basis.product, Product::Qemu);
        }
        state.apply(&up("SIMULATED hyper-v"));
        assert_eq!(question(&state, &lab(), 4 * S), Ok(None), "figures of QEMU say nothing of another");
    }

    #[test]
    fn a_policy_whose_rule_cannot_be_seen_has_no_forecast() {
        let mut state = session();
        let policy: StopPolicy = "rounds=10,after=15s,then=stop-and-copy".parse().unwrap();
        let asked = MigrationSettings { policy, ..settings(32_000_000) };
        state.apply(&Event::new(3 * S, Body::Operator(OperatorEvent::SetMigration { to: asked })));
        let mut offers = |sees: Sees| {
            let product = "QEMU 10.0.2".to_owned();
            let offers = Capabilities { product, stop_and_copy: true, sees: Some(sees), ..Capabilities::default() };
            state.apply(&Event::new(4 * S, Body::Hypervisor(HvEvent::Offers { host: "a".into(), offers })));
            question(&state, &lab(), 5 * S)
        };
        let why = offers(Sees { remaining: true, ..Sees::default() }).unwrap_err().to_string();
        assert!(why.starts_with("no prediction: ") && why.contains("QEMU 10.0.2 does not tell its rounds"), "{why}");
        assert!(offers(Sees { rounds: true, ..Sees::default() }).unwrap().is_some());
    }

    #[test]
    fn a_calibration_is_for_its_own_guest_or_one_of_another_size() {
        let c = Calibration::lab(256 << 20);
        let known = c.ram_bytes;
        assert_eq!(guest_of(&c, 0), known);
        assert_eq!(guest_of(&c, 218 << 20), known, "the kernel keeps some for itself");
        assert_eq!(guest_of(&c, 1 << 30), 1 << 30);
        let larger = c.clone().resized(1 << 30);
        assert_eq!(larger.ram_bytes, 1 << 30);
        assert!(larger.content_least_bytes > c.content_least_bytes);
        assert_eq!(larger.resized(known), c);
    }
}
