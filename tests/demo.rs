//! `blackout demo --headless`, the whole program on a simulated guest: needs nothing but itself.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use blackout::event::{Body, HvEvent, MigrationEvent, OperatorEvent, SessionEvent, StopRule};
use blackout::model::{Guest, Link, Product, Scenario, Trace, run as model};
use common::{Place, Ran, events, run};
use serde_json::Value;

const GIGABIT: f64 = 117_625_000.0;
const MIB: u64 = 1 << 20;

/// A demo without a screen, as quick as it is of use.
fn demo(place: &Place, args: &str) -> std::process::Command {
    let mut c = place.blackout(["demo", "--headless", "--speed", "200", "--seed", "7", "--out"]);
    c.arg(place.path("out")).args(args.split_whitespace());
    c
}

#[track_caller]
fn bounds(migration: &Value, method: &str) -> (f64, f64) {
    let all = migration["downtimes"].as_array().unwrap();
    let one = all.iter().find(|d| d["method"] == method).unwrap();
    (one["lo_ms"].as_f64().unwrap_or_else(|| panic!("{one}")), one["hi_ms"].as_f64().unwrap())
}

/// What the model says of such a migration.
fn foretold(product: Product, rate: u64, wset: u64) -> Trace {
    let load = blackout::event::LoadSettings {
        wset_bytes: wset,
        dirty: blackout::event::DirtyCycle { bpc_pages: rate / 100, period_ns: 10_000_000 },
        ..Default::default()
    };
    let scenario = Scenario {
        product,
        guest: Guest::with_load(1024 * MIB, 256 * MIB, &load),
        link: Link { bytes_per_s: GIGABIT, of_limit: 1.0 },
        costs: product.costs(),
        settings: blackout::event::MigrationSettings { downtime_limit_ms: Some(300), ..Default::default() },
        horizon: std::time::Duration::from_secs(3600),
        seed: 7,
    };
    model(&scenario).unwrap()
}

#[track_caller]
fn as_foretold(m: &Value, trace: &Trace) {
    let ms = |d: std::time::Duration| d.as_secs_f64() * 1e3;
    assert_eq!(m["outcome"], "done", "{m}");
    assert_eq!(m["settled"], true, "{m}");
    let took = m["migration_ms"].as_f64().unwrap();
    // Looking on divides the link's schedule otherwise by a few pages.
    assert!((took - ms(trace.migration_time())).abs() < 120.0, "{took} ms, not {:?}: {m}", trace.migration_time());
    assert_eq!(m["rounds"].as_u64(), Some(trace.rounds.len() as u64), "{m}");
    let seen = ms(trace.downtime().unwrap());
    for method in ["lost-pings", "reply-gap"] {
        let (lo, hi) = bounds(m, method);
        assert!(lo - 60.0 <= seen && seen <= hi + 60.0, "{method}: {seen} is not in [{lo}, {hi}]: {m}");
    }
    let stood = ms(trace.stop_resume().unwrap());
    for method in ["stop-resume", "guest-clock"] {
        let (lo, hi) = bounds(m, method);
        assert!(lo - 60.0 <= stood && stood <= hi + 60.0, "{method}: {stood} is not in [{lo}, {hi}]: {m}");
    }
}

#[track_caller]
fn says_simulated(place: &Place, ran: &Ran) {
    assert_eq!(ran.json()["header"]["simulated"], true);
    assert_eq!(ran.json()["lost_events"], 0);
    let mut show = place.blackout(["show"]);
    show.arg(place.path("out"));
    let text = run(show).ended_with(0).out;
    assert!(text.contains(", SIMULATED\n") && text.contains("no real guest was migrated"), "{text}");
    let mut show = place.blackout(["show", "--json"]);
    show.arg(place.path("out"));
    let shown = run(show).ended_with(0).json();
    assert_eq!(shown["migrations"], ran.json()["migrations"], "a replay tells what the run told");
}

#[test]
fn below_the_jump_there_and_back() {
    let place = Place::new();
    let args = "--hypervisor xen-3.4 --memory 1G --wset 256M --rate 5000 --migrations 2 --json";
    let ran = run(demo(&place, args)).ended_with(0);
    let told = ran.json();
    let migrations = told["migrations"].as_array().unwrap();
    let ways: Vec<_> = migrations.iter().map(|m| (m["from"].as_str().unwrap(), m["to"].as_str().unwrap())).collect();
    assert_eq!(ways, [("a", "b"), ("b", "a")]);
    let trace = foretold(Product::Xen34, 5000, 256 * MIB);
    assert!(trace.converged());
    // The second finds the generator elsewhere in its WSET.
    as_foretold(&migrations[0], &trace);
    assert!(migrations[0]["verdict"].as_str().unwrap().starts_with("converged after"), "{told}");
    says_simulated(&place, &ran);
}

#[test]
fn above_the_jump_the_products_own_rule_ends_it() {
    let place = Place::new();
    let ran = run(demo(&place, "--hypervisor xen-3.4 --memory 1G --wset 256M --rate 45000 --json")).ended_with(0);
    let trace = foretold(Product::Xen34, 45_000, 256 * MIB);
    assert!(!trace.converged());
    let told = ran.json();
    as_foretold(&told["migrations"][0], &trace);
    let verdict = told["migrations"][0]["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("did not converge: stopped by the hypervisor's own rule: "), "{verdict}");
    let events = events(&place.capture());
    let stopped = events.iter().find(|e| matches!(e.ev, Body::Hypervisor(HvEvent::Stopped { .. }))).unwrap().t;
    let ruled = |e: &&blackout::event::Event| {
        matches!(&e.ev, Body::Migration(MigrationEvent::Ruled { rule: StopRule::Own { .. }, .. }))
    };
    assert_eq!(events.iter().find(ruled).unwrap().t, stopped);
    says_simulated(&place, &ran);
}

#[test]
fn a_stop_policy_fires_where_it_should_at_any_speed() {
    let place = Place::new();
    let args = "--hypervisor qemu --memory 1G --wset 256M --rate 45000 --policy after=12s --json";
    let ran = run(demo(&place, args)).ended_with(0);
    let told = ran.json();
    let m = &told["migrations"][0];
    assert!(m["verdict"].as_str().unwrap().contains("stopped by policy custom after 12"), "{m}");
    let events = events(&place.capture());
    let at = |is: &dyn Fn(&Body) -> bool| events.iter().find(|e| is(&e.ev)).unwrap().t;
    let began = at(&|b| matches!(b, Body::Migration(MigrationEvent::Began { .. })));
    let stopped = at(&|b| matches!(b, Body::Hypervisor(HvEvent::Stopped { .. })));
    let after = (stopped - began) as f64 / 1e9;
    // Between the command and the start of the model lies real time, two hundredfold.
    assert!((11.9..14.0).contains(&after), "{after} s");
    // QEMU counts from its own decision: some milliseconds, where the guest was stopped from above.
    let reported = m["downtimes"].as_array().unwrap().iter().find(|d| d["method"] == "reported").unwrap();
    let said = reported["value_ms"].as_f64().unwrap();
    assert!((5.0..15.0).contains(&said) && bounds(m, "stop-resume").0 > 1000.0, "{m}");
}

#[test]
fn a_tour_crosses_the_jump_and_says_what_was_measured() {
    let place = Place::new();
    let ran = run(demo(&place, "--tour --memory 512M --wset 128M --json")).ended_with(0);
    let told = ran.json();
    let migrations = told["migrations"].as_array().unwrap();
    assert_eq!(migrations.len(), 3);
    let rate = |i: usize| migrations[i]["rate_pages_per_s"].as_f64().unwrap();
    let link = GIGABIT / 4096.0;
    assert!(rate(0) < 0.5 * link && rate(1) > link && rate(2) > link, "{told}");
    assert!(bounds(&migrations[1], "reply-gap").0 > bounds(&migrations[2], "reply-gap").1, "{told}");
    let events = events(&place.capture());
    let captions: Vec<&str> = events
        .iter()
        .filter_map(|e| match &e.ev {
            Body::Session(SessionEvent::Caption { text }) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let marks = events.iter().filter(|e| matches!(e.ev, Body::Operator(OperatorEvent::Mark { .. }))).count();
    assert!(marks >= 4, "{marks} marks");
    // Each outcome is told with the figure of the table.
    let gap = |i: usize| {
        let all = migrations[i]["downtimes"].as_array().unwrap();
        let ms = all.iter().find(|d| d["method"] == "reply-gap").unwrap()["value_ms"].as_f64().unwrap();
        blackout::units::show_duration(std::time::Duration::from_secs_f64(ms / 1e3))
    };
    let says = |begin: &str, figure: &str| captions.iter().any(|c| c.starts_with(begin) && c.contains(figure));
    assert!(says("Below the jump:", &gap(0)), "{captions:?}");
    assert!(says("Above the jump:", &gap(1)), "{captions:?}");
    assert!(says("Half the WSET:", &gap(2)), "{captions:?}");
    assert_eq!(captions.last(), Some(&""), "the last caption goes by its own");
}

#[test]
fn a_tour_goes_by_what_the_link_lets_through() {
    let place = Place::new();
    let args = "--tour --hypervisor qemu --memory 512M --wset 128M --param max-bandwidth=60000000 --json";
    let ran = run(demo(&place, args)).ended_with(0);
    let rates: Vec<f64> =
        ran.json()["migrations"].as_array().unwrap().iter().map(|m| m["rate_pages_per_s"].as_f64().unwrap()).collect();
    assert!(rates[0] < 4_000.0 && (20_000.0..25_000.0).contains(&rates[1]), "{rates:?}");
}

#[test]
fn a_tour_that_does_not_come_to_its_end_claims_nothing() {
    let place = Place::new();
    // Its guest is never stopped: each migration above the jump is given up.
    let args = "--tour --hypervisor qemu --memory 512M --wset 128M --policy after=20s,then=cancel --json";
    let ran = run(demo(&place, args)).ended_with(1);
    assert_eq!(ran.json()["migrations"].as_array().unwrap().len(), 2);
    let events = events(&place.capture());
    let captions = events.iter().filter_map(|e| match &e.ev {
        Body::Session(SessionEvent::Caption { text }) => Some(text.as_str()),
        _ => None,
    });
    let captions: Vec<&str> = captions.collect();
    let ends = captions.iter().filter(|c| c.starts_with("The tour ends here: the migration was cancelled by")).count();
    assert!(ends == 1 && !captions.iter().any(|c| c.starts_with("Above the jump")), "{captions:?}");
}

#[test]
fn a_migration_is_given_up_by_the_sessions_own_time() {
    let place = Place::new();
    let args = "--hypervisor qemu --memory 1G --wset 256M --rate 45000 --policy none --give-up-after 60s --json";
    let ran = run(demo(&place, args)).ended_with(1);
    let m = &ran.json()["migrations"][0];
    let took = m["migration_ms"].as_f64().unwrap();
    assert!(m["outcome"] == "cancelled" && (58_000.0..65_000.0).contains(&took), "{m}");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let place = Place::new();
    for (args, says) in [
        ("--wset 8G --memory 4G", "WSET cannot be 8.0 GiB"),
        ("--wset 3900M --memory 4G", "VMSIZE is 4.0 GiB"),
        ("--memory 0", "VMSIZE cannot be 0"),
        ("--memory -1G", "negative"),
        ("--memory 99999999G", "the model takes guests up to"),
        ("--link 0", "nothing would ever arrive"),
        ("--rate 900000000", "no memory takes more than"),
        ("--speed 0", "from 0.1 to 1000"),
        ("--hypervisor qmeu", "did you mean 'qemu'?"),
        ("--hypervisor xen-3.4 --post-copy", "offers no migration capability 'post-copy'"),
        ("--hypervisor xen-3.4 --param max-bandwidth=3", "offers no migration parameter 'max-bandwidth'"),
        ("--tour --link 1MB/s", "at least 500 pages/s"),
        ("--tour --hypervisor qemu --param max-bandwidth=1000000", "at least 500 pages/s"),
        ("--tour --ramp ..20000/10s", "leave out either"),
    ] {
        let mut c = place.blackout(["demo", "--headless"]);
        c.args(args.split_whitespace());
        run(c).ended_with(2).said(&[says]);
    }
}

#[test]
fn the_rules_are_explained() {
    let place = Place::new();
    let ran = run(place.blackout(["demo", "--explain", "--hypervisor", "hyper-v"])).ended_with(0);
    assert!(ran.out.contains("ASSUMED"), "{ran}");
}
