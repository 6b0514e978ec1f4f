use super::*;

use crate::event::{DirtyCycle, Forecast, Guess, LoadSettings, MigrationSettings, Pattern};
use crate::model::{Link, Product, run};

const MIB: u64 = 1 << 20;

fn situation(wset_mib: u64, rate: u64, bandwidth: u64, limit_ms: u64) -> Situation {
    let mut settings = MigrationSettings {
        bandwidth_bytes_per_s: Some(bandwidth),
        downtime_limit_ms: Some(limit_ms),
        ..MigrationSettings::default()
    };
    settings.policy = crate::event::StopPolicy::none();
    Situation {
        load: LoadSettings {
            wset_bytes: wset_mib * MIB,
            dirty: DirtyCycle { bpc_pages: rate / 100, period_ns: 10_000_000 },
            ..LoadSettings::default()
        },
        settings,
        ram_bytes: 256 * MIB + 131 * 4096,
    }
}

fn lab() -> Basis {
    Basis::calibrated(&Calibration::lab(256 * MIB), 256 * MIB + 131 * 4096)
}

#[test]
fn below_the_jump_it_converges_and_the_jump_is_named() {
    let f = forecast(&situation(96, 2_000, 32_000_000, 300), &lab()).unwrap();
    assert_eq!((f.converges, f.needs), (Converges::Yes, Needs::default()));
    // The limiter lets 8,000 pages/s through.
    let jump = f.jump_pages_per_s.unwrap();
    assert!((6_500.0..=9_000.0).contains(&jump), "{jump}");
    let (time, down) = (f.migration_s.unwrap(), f.downtime_s.unwrap());
    assert!(time.lo < time.mid && time.mid < time.hi && time.hi < 1.2 * time.lo, "{time:?}");
    // QEMU 10.0.2 took 7.2 s with this load, with the stop policy xen-3.4.
    assert!((6.0..=8.0).contains(&time.mid), "{time:?}");
    assert!(down.lo >= 0.0 && down.hi < 0.4, "{down:?}");
}

#[test]
fn above_the_jump_it_says_what_would_make_it_converge() {
    let f = forecast(&situation(96, 20_000, 32_000_000, 300), &lab()).unwrap();
    assert_eq!(f.converges, Converges::No);
    assert_eq!((f.migration_s, f.downtime_s), (None, None), "it does not end");
    let needs = f.needs;
    let rate = needs.rate_below_pages_per_s.unwrap();
    assert!((6_500.0..=9_000.0).contains(&rate), "{rate}");
    // Each is enough by itself, and a tenth less is not.
    let verdict = |s: &Situation| forecast(s, &lab()).unwrap().converges;
    let bandwidth = needs.bandwidth_from_bytes_per_s.unwrap();
    assert_eq!(verdict(&situation(96, 20_000, (bandwidth * 1.15) as u64, 300)), Converges::Yes, "{bandwidth}");
    assert_eq!(verdict(&situation(96, 20_000, (bandwidth * 0.85) as u64, 300)), Converges::No, "{bandwidth}");
    let limit = needs.downtime_limit_from_ms.unwrap();
    assert_eq!(verdict(&situation(96, 20_000, 32_000_000, (limit * 1.15) as u64)), Converges::Yes, "{limit}");
    assert_eq!(verdict(&situation(96, 20_000, 32_000_000, (limit * 0.85) as u64)), Converges::No, "{limit}");
}

#[test]
fn a_policy_ends_what_does_not_converge() {
    let mut s = situation(96, 20_000, 32_000_000, 300);
    s.settings.policy = crate::event::StopPolicy { after_ns: Some(15_000_000_000), ..s.settings.policy };
    let f = forecast(&s, &lab()).unwrap();
    assert_eq!(f.converges, Converges::No);
    let (time, down) = (f.migration_s.unwrap(), f.downtime_s.unwrap());
    assert!(time.lo > 15.0 && down.lo > 2.0 && time.hi < 22.0, "{time:?} {down:?}");
}

#[test]
fn what_is_not_known_makes_the_span_wide() {
    let s = situation(16, 0, 32_000_000, 300);
    let (unknown, known) = (forecast(&s, &Basis::qemu(s.ram_bytes)).unwrap(), forecast(&s, &lab()).unwrap());
    let width = |f: &Forecast| f.migration_s.map(|t| t.hi / t.lo).unwrap();
    assert_eq!(unknown.guesses, [Guess::Memory, Guess::Link]);
    assert_eq!(known.guesses, [Guess::Memory]);
    assert!(width(&unknown) > 3.0 && width(&known) < 1.2, "{unknown:?} {known:?}");
    let mut seen = Basis::qemu(s.ram_bytes);
    seen.content.seen = Some(((16 * MIB) as f64, 120e6));
    let seen = forecast(&s, &seen).unwrap();
    assert!(seen.guesses == [Guess::Link] && width(&seen) < 1.1, "{seen:?}");
}

#[test]
fn of_a_simulated_guest_all_is_known() {
    let link = Link { bytes_per_s: 117e6, of_limit: 1.0 };
    let basis = Basis::simulated(Product::Xen34, 512 * MIB, link, Product::Xen34.costs());
    let mut s = situation(256, 0, 117_000_000, 300);
    s.ram_bytes = 2048 * MIB;
    let f = forecast(&s, &basis).unwrap();
    let time = f.migration_s.unwrap();
    assert_eq!(f.converges, Converges::Yes);
    // Xen's jump is at the link's speed, although it no longer gets below 50 pages well before.
    let jump = f.jump_pages_per_s.unwrap();
    let link = 117e6 / 4104.0;
    assert!((0.9 * link..1.15 * link).contains(&jump), "{jump} of {link}");
    assert!(time.hi - time.lo < 1e-6 && f.guesses.is_empty(), "{time:?}");
}

#[test]
fn what_cannot_be_is_refused() {
    let e = forecast(&Situation { ram_bytes: 0, ..situation(1, 0, 1_000_000, 300) }, &lab()).unwrap_err();
    assert!(e.to_string().contains("VMSIZE"), "{e}");
    // A limit of 0 is none: the link is what it goes by.
    assert_eq!(forecast(&situation(1, 100, 0, 300), &lab()).unwrap().converges, Converges::Yes);
}

#[test]
fn time_to_completion_goes_by_what_both_have_passed() {
    let s = situation(96, 2_000, 32_000_000, 300);
    let first = forecast_running(&s, &lab(), &left::Seen { elapsed_s: 2.0, ..left::Seen::default() }).unwrap();
    let whole = first.migration_s.unwrap();
    let left = first.left_s.unwrap();
    assert!((left.mid - (whole.mid - 2.0)).abs() < 0.3, "{left:?} of {whole:?}");
    // The first round took a second longer than it should have: so does the whole.
    let second = scenario(&s, &lab(), Point::MID);
    let trace = run(&second).unwrap();
    let began = trace.rounds[1].began_ns as f64 / 1e9 + 1.0;
    let seen =
        left::Seen { elapsed_s: began + 0.1, rounds: vec![(1, 0.0), (2, began)], stopped_s: None, changes: Vec::new() };
    let late = left::left_s(&trace, &seen).unwrap();
    let expected = trace.migration_time().as_secs_f64() - trace.rounds[1].began_ns as f64 / 1e9 - 0.1;
    assert!((late - expected).abs() < 1e-6, "{late} {expected}");
    // The model was content after fewer rounds: it does not know.
    let beyond = left::Seen { elapsed_s: 99.0, rounds: vec![(999, 98.0)], ..left::Seen::default() };
    assert_eq!(left::left_s(&trace, &beyond), None);
}

#[test]
fn what_is_changed_on_the_way_counts_from_then_on() {
    let s = situation(96, 2_000, 32_000_000, 300);
    let cycle = |rate: u64| DirtyCycle { bpc_pages: rate / 100, period_ns: 10_000_000 };
    let load = |t_s: f64, rate| {
        let change = Change::Load { dirty: cycle(rate), pattern: crate::event::Pattern::Cyclic };
        ((t_s * 1e9) as u64, change)
    };
    let with = |changes| {
        let seen = left::Seen { elapsed_s: 4.0, rounds: vec![(1, 0.0)], stopped_s: None, changes };
        forecast_running(&s, &lab(), &seen).unwrap()
    };
    let calm = with(Vec::new());
    assert_eq!(calm.converges, Converges::Yes);
    // RATE was turned up over the link in the first round: it does not converge any more.
    let up = with(vec![load(3.0, 20_000)]);
    assert_eq!((up.converges, up.left_s), (Converges::No, None), "{up:?}");
    // And down again: it does, later.
    let down = with(vec![load(3.0, 20_000), load(3.5, 2_000)]);
    assert_eq!(down.converges, Converges::Yes);
    assert!(down.migration_s.unwrap().mid > calm.migration_s.unwrap().mid + 0.1, "{down:?} {calm:?}");
    // Twice the bandwidth for the other half of it.
    let faster = MigrationSettings { bandwidth_bytes_per_s: Some(64_000_000), ..s.settings.clone() };
    let faster = with(vec![(3_000_000_000, Change::Settings(faster))]);
    let (time, before) = (faster.migration_s.unwrap().mid, calm.migration_s.unwrap().mid);
    assert!(time < before - 1.0 && time > 3.0, "{time} {before}");
}

/// Statement, advice and what the model does when the advice is followed agree, for every product with the
/// loads there are to choose from and the policies.
#[test]
fn what_is_said_and_advised_is_what_comes() {
    let link = Link { bytes_per_s: 117.625e6, of_limit: 1.0 };
    let (ram, used) = (64 * MIB, 16 * MIB);
    let policies = [
        crate::event::StopPolicy::none(),
        crate::event::StopPolicy::xen_3_4(),
        crate::event::StopPolicy::timeout(std::time::Duration::from_secs(4)),
    ];
    for product in Product::ALL {
        let basis = Basis::simulated(product, used, link, product.costs());
        let settings = MigrationSettings { bandwidth_bytes_per_s: Some(117_625_000), ..MigrationSettings::default() };
        let probe = Situation { load: LoadSettings::default(), settings: settings.clone(), ram_bytes: ram };
        let link_pages_per_s = likeliest(&probe, &basis).link_pages_per_s();
        let held = LoadSettings { wset_bytes: 16 * MIB, ..LoadSettings::default() };
        let presets = crate::tui::edit::presets(&held, None, Some(link_pages_per_s));
        for preset in presets.iter().filter(|p| p.load.pattern == Pattern::Cyclic && p.load.wset_bytes > 0) {
            for policy in &policies {
                let settings = MigrationSettings { policy: policy.clone(), ..settings.clone() };
                let s = Situation { load: preset.load, settings, ram_bytes: ram };
                let f = forecast(&s, &basis).unwrap();
                let what = format!("{} {} {}: {f:?}", product.name(), preset.name, policy.name);
                agrees(&s, &basis, &f, &what);
            }
        }
    }
}

fn agrees(s: &Situation, basis: &Basis, f: &Forecast, what: &str) {
    use crate::event::Ender;
    let trace = run(&likeliest(s, basis)).unwrap();
    let said = words::before(f);
    match f.converges {
        Converges::Yes => assert!(converged(&trace) && said.starts_with("converges"), "{said}: {what}"),
        Converges::No => assert!(!converged(&trace), "{said}: {what}"),
        Converges::Perhaps => {}
    }
    let without = |s: &Situation| {
        let settings = MigrationSettings { policy: crate::event::StopPolicy::none(), ..s.settings.clone() };
        let alone = likeliest(&Situation { settings, ..s.clone() }, basis);
        super::jump::ends_well(&alone, &run(&alone).unwrap())
    };
    if let Some(Ender::Policy { too_early, name, .. }) = &f.ender {
        assert_eq!(*too_early, without(s), "{said}: {what}");
        assert!(said.contains(&format!("policy {name}")), "{said}: {what}");
    }
    if f.converges != Converges::No || words::needs(f).is_none() {
        return;
    }
    // Each remedy by itself is enough, with the margin the figures are rounded by.
    let is_enough = |s: &Situation| converged(&run(&likeliest(s, basis)).unwrap());
    if let Some(rate) = f.needs.rate_below_pages_per_s {
        let dirty = s.load.dirty.with_rate(rate * 0.9).unwrap();
        let load = LoadSettings { dirty, ..s.load };
        assert!(is_enough(&Situation { load, ..s.clone() }), "RATE {rate}: {what}");
    }
    if let Some(bandwidth) = f.needs.bandwidth_from_bytes_per_s {
        let settings =
            MigrationSettings { bandwidth_bytes_per_s: Some((bandwidth * 1.1) as u64), ..s.settings.clone() };
        assert!(is_enough(&Situation { settings, ..s.clone() }), "bandwidth {bandwidth}: {what}");
    }
    if f.needs.rounds_without_policy.is_some() {
        assert!(without(s), "{what}");
        assert_eq!(f.needs.nearest, Some(crate::event::Remedy::Policy), "{what}");
    }
    // Below the jump, something other than the hypervisor is named as what ends it.
    let below = f.jump_pages_per_s.is_some_and(|jump| s.load.dirty.rate_pages_per_s() < 0.9 * jump);
    let named = matches!(f.ender, Some(Ender::Policy { too_early: true, .. } | Ender::Own { little_left: true, .. }));
    assert!(!below || named || f.ender.is_none(), "{said}: {what}");
}
