use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::event::{DirtyCycle, MigrationSettings, Pattern, Phase, StopPolicy, StopRule, Then};

const GIB: u64 = (1 << 30) / 4096;

fn no_costs() -> Costs {
    Costs {
        setup: Duration::ZERO,
        per_round: Duration::from_millis(2),
        page_header_bytes: 0,
        stop: Duration::ZERO,
        device_state_bytes: 0,
        resume: Duration::ZERO,
        announce: Duration::ZERO,
        finish: Duration::ZERO,
        to_fix_pages: 0,
        fault_latency: Duration::from_micros(500),
    }
}

fn scenario(product: Product, ram_pages: u64, wset_pages: u64, rate: u64) -> Scenario {
    Scenario {
        product,
        guest: Guest {
            ram_pages,
            used_pages: ram_pages,
            wset_pages,
            dirty: DirtyCycle { bpc_pages: rate / 1000, period_ns: 1_000_000 },
            pattern: Pattern::Cyclic,
            fill_pct: 100.0,
            top_pages: 0,
            piece_pages: None,
            at_page: 0,
            background: Background::NONE,
        },
        link: Link { bytes_per_s: 117.6e6, of_limit: 1.0 },
        costs: no_costs(),
        settings: MigrationSettings::default(),
        horizon: Duration::from_secs(3600),
        seed: 1,
    }
}

fn seconds(d: Duration) -> f64 {
    d.as_secs_f64()
}

/// Reference values of the rule of Xen 3.4, simulated apart (4 GiB guest, 1 GiB WSET at its end, 117.6
/// MB/s, no fixed times): RATE, migration time, downtime, rounds. Near the jump the order of the
/// writes decides, and only the neighbourhood is held.
const XEN_3_4: [(u64, f64, f64, usize); 6] = [
    (0, 36.5, 0.0, 2),
    (10_000, 41.2, 0.0, 12),
    (20_000, 55.8, 0.0, 29),
    (30_000, 118.6, 6.0, 15),
    (35_000, 121.0, 9.13, 14),
    (90_000, 118.3, 9.13, 29),
];

#[test]
fn xen_3_4_goes_as_its_source_says() {
    for (rate, time, down, rounds) in XEN_3_4 {
        let trace = run(&scenario(Product::Xen34, 4 * GIB, GIB, rate)).unwrap();
        let (t, d) = (seconds(trace.migration_time()), seconds(trace.downtime().unwrap()));
        let what = format!("{rate}: {t:.2} s, {d:.2} s, {} rounds, {:?}", trace.rounds.len(), trace.why);
        assert!((t - time).abs() < 0.01 * time, "{what}");
        assert!((d - down).abs() < 0.03 * down + 0.005, "{what}");
        assert_eq!(trace.rounds.len(), rounds, "{what}");
    }
}

fn arbitrary_product() -> impl Strategy<Value = Product> {
    prop::sample::select(Product::ALL.to_vec())
}

prop_compose! {
    fn small()(
        product in arbitrary_product(),
        ram in 1u64..3000,
        used_share in 0.0f64..1.0,
        wset_share in 0.0f64..1.0,
        bpc in 0u64..400,
        period_ms in 1u64..40,
        pattern in prop::sample::select(Pattern::ALL.to_vec()),
        at_page in 0u64..5000,
        layout in (0.0f64..1.0, prop::option::of(1u64..200)),
        background in (0.0f64..1.0, 0.0f64..2000.0),
        kib_per_s in 100u64..20_000,
        limit in prop::option::of(100u64..20_000),
        downtime_limit_ms in prop::option::of(0u64..2000),
        rules in (prop::option::of(1u64..40), prop::option::of(0.5f64..6.0), prop::option::of(1u64..20), prop::option::of(0u64..80)),
        then in prop::sample::select(vec![Then::StopAndCopy, Then::PostCopy, Then::Cancel, Then::AutoConverge]),
        flags in any::<[bool; 2]>(),
        fix in 0u64..70,
        seed in any::<u64>(),
    ) -> Scenario {
        let used = (ram as f64 * used_share) as u64;
        let wset = (used as f64 * wset_share) as u64;
        let mut s = scenario(product, ram, wset, 0);
        s.guest.used_pages = used;
        s.guest.dirty = DirtyCycle { bpc_pages: bpc, period_ns: period_ms * 1_000_000 };
        s.guest.pattern = pattern;
        s.guest.at_page = at_page;
        s.guest.top_pages = ((used - wset) as f64 * layout.0) as u64;
        s.guest.piece_pages = layout.1;
        let below = used - wset - s.guest.top_pages;
        let (pages, hot) = ((below as f64 * background.0) as u64, (below as f64 * (1.0 - background.0) / 2.0) as u64);
        s.guest.background = Background { hot_pages: hot, pages, pages_per_s: background.1 };
        s.link.bytes_per_s = kib_per_s as f64 * 1024.0;
        s.costs = Costs { to_fix_pages: fix.min(ram), ..product.costs() };
        s.settings.bandwidth_bytes_per_s = limit.map(|k| k * 1024);
        s.settings.downtime_limit_ms = downtime_limit_ms;
        s.settings.auto_converge = flags[0];
        if flags[1] {
            s.settings.extra.insert("adaptive".into(), true.into());
        }
        let (rounds, ram_factor, after_s, remaining) = rules;
        s.settings.policy = StopPolicy {
            name: "custom".into(),
            remaining_pages_below: remaining,
            rounds,
            ram_factor,
            after_ns: after_s.map(|s| s * 1_000_000_000),
            then: if product == Product::Qemu || then == Then::Cancel { then } else { Then::StopAndCopy },
        };
        s.horizon = Duration::from_secs(120);
        s.seed = seed;
        s
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn both_engines_do_the_same(s in small()) {
        let ranges = run_watched(&s, Engine::Interval, &mut ()).unwrap();
        let bits = run_watched(&s, Engine::Bitmap, &mut ()).unwrap();
        prop_assert_eq!(&ranges, &bits);
        // Time goes on, and no byte is lost.
        prop_assert!(ranges.rounds.windows(2).all(|w| w[0].ended_ns <= w[1].began_ns));
        prop_assert!(ranges.rounds.iter().map(|r| r.sent_bytes).sum::<u64>() <= ranges.sent_bytes);
        if ranges.end == End::Done {
            let (stopped, resumed) = (ranges.stopped_ns.unwrap(), ranges.resumed_ns.unwrap());
            prop_assert!(stopped <= resumed && resumed <= ranges.finished_ns);
        }
    }
}

/// Writes down what it sees, and gives orders at times.
#[derive(Default)]
struct Scribe {
    every: Option<Duration>,
    orders: Vec<(u64, Order)>,
    seen: Vec<View>,
}

impl Watcher for Scribe {
    fn every(&self) -> Option<Duration> {
        self.every
    }

    fn look(&mut self, view: &View) -> Vec<Order> {
        self.seen.push(view.clone());
        let (due, later) = std::mem::take(&mut self.orders).into_iter().partition(|(t, _)| *t <= view.now_ns);
        self.orders = later;
        due.into_iter().map(|(_, order)| order).collect()
    }
}

#[test]
fn looking_on_changes_nothing() {
    for product in Product::ALL {
        for rate in [0, 5_000, 20_000, 40_000] {
            let mut s = scenario(product, GIB / 8, GIB / 16, rate);
            s.settings.policy = StopPolicy::timeout(Duration::from_secs(20));
            let alone = run(&s).unwrap();
            let mut scribe = Scribe { every: Some(Duration::from_millis(10)), ..Scribe::default() };
            let watched = run_watched(&s, Engine::Bitmap, &mut scribe).unwrap();
            assert_eq!(alone.why, watched.why, "{product:?} {rate}");
            let apart = seconds(alone.migration_time()) - seconds(watched.migration_time());
            assert!(apart.abs() < 1e-6, "{product:?} {rate}: {apart}");
            assert!(scribe.seen.windows(2).all(|w| w[0].now_ns <= w[1].now_ns));
        }
    }
}

#[test]
fn orders_are_carried_out_on_the_way() {
    let mut s = scenario(Product::Qemu, GIB / 4, GIB / 8, 60_000);
    assert_eq!(run(&s).unwrap().end, End::Endless);
    let at = |t: u64, order: Order| Scribe {
        every: Some(Duration::from_millis(50)),
        orders: vec![(t * 1_000_000_000, order)],
        ..Scribe::default()
    };
    let mut stop = at(5, Order::StopAndCopy(StopRule::Operator));
    let trace = run_watched(&s, Engine::Bitmap, &mut stop).unwrap();
    assert_eq!((trace.end, &trace.why), (End::Done, &Some(Why::Ruled(StopRule::Operator))));
    assert_eq!(trace.stopped_ns, Some(5_000_000_000));
    // All of the WSET is dirty again.
    assert!(seconds(trace.downtime().unwrap()) > 128.0 * 1.048_576 / 117.6, "{trace:?}");
    let phases: Vec<_> = stop.seen.iter().map(|v| v.phase).collect();
    for phase in [Phase::PreCopy, Phase::StopAndCopy, Phase::Recovery, Phase::Done] {
        assert!(phases.contains(&phase), "{phase:?}");
    }
    let trace = run_watched(&s, Engine::Bitmap, &mut at(5, Order::Cancel)).unwrap();
    assert_eq!((trace.end, trace.finished_ns), (End::Cancelled, 5_000_000_000));
    let slower = DirtyCycle { bpc_pages: 1, period_ns: 1_000_000 };
    let order = Order::Dirty { dirty: slower, pattern: Pattern::Random };
    let trace = run_watched(&s, Engine::Bitmap, &mut at(5, order)).unwrap();
    assert!(trace.converged(), "{:?}", trace.why);
    let order = Order::PostCopy(StopRule::Operator);
    let trace = run_watched(&s, Engine::Bitmap, &mut at(5, order)).unwrap();
    let pull = trace.pull.clone().unwrap();
    assert!(pull.faults > 0 && pull.waited_ns > 0 && pull.missing_pages >= GIB / 16, "{pull:?}");
    assert!(seconds(trace.downtime().unwrap()) < 0.1);
    s.settings.auto_converge = true;
    let trace = run(&s).unwrap();
    assert!(trace.converged() && trace.rounds.iter().any(|r| r.throttle_pct >= 70.0), "{:?}", trace.why);
}

/// Notes how much has gone over the link, at each look.
struct Meter {
    every: Duration,
    seen: Vec<(u64, u64)>,
    order: Option<(u64, Order)>,
}

impl Watcher for Meter {
    fn every(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn look(&mut self, view: &View) -> Vec<Order> {
        self.seen.push((view.now_ns, view.sent_bytes));
        self.order.take_if(|(at, _)| view.now_ns >= *at).map(|(_, order)| order).into_iter().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_product_sends_faster_than_its_link_over_any_window(
        product in prop::sample::select(Product::ALL.to_vec()),
        (ram, wset, rate) in (512..8192_u64, 1..256_u64, 0..60_000_u64),
        limit in prop::option::of(4_000_000..400_000_000_u64),
        every_ms in prop::sample::select(vec![10_u64, 50, 100]),
        (at_ms, order) in (0..900_u64, 0..4_usize),
    ) {
        let mut s = scenario(product, ram, wset, rate);
        s.settings.bandwidth_bytes_per_s = limit;
        s.costs = Costs { setup: Duration::from_millis(10), ..product.costs() };
        s.horizon = Duration::from_secs(20);
        let faster = MigrationSettings { bandwidth_bytes_per_s: Some(90_000_000), ..s.settings.clone() };
        let order = match order {
            0 => Some(Order::StopAndCopy(StopRule::Operator)),
            1 => Some(Order::Settings(faster)),
            2 if product.about().has_post_copy() => Some(Order::PostCopy(StopRule::Operator)),
            _ => None,
        };
        let mut meter = Meter {
            every: Duration::from_millis(every_ms),
            seen: Vec::new(),
            order: order.map(|order| (at_ms * 1_000_000, order)),
        };
        run_watched(&s, s.engine(), &mut meter).unwrap();
        // Of all windows the worst begins where least has been carried for its time: one pass finds it.
        let mut worst = f64::MAX;
        for (t, sent) in &meter.seen {
            let ahead = *sent as f64 - *t as f64 * s.link.bytes_per_s / 1e9;
            worst = worst.min(ahead);
            // Beyond rounding: a page counts when all of it has gone.
            prop_assert!(ahead - worst <= 4104.0 + 64.0, "{} bytes too many by {} ms", ahead - worst, t / 1_000_000);
        }
    }
}
