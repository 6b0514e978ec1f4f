use std::path::Path;

use super::*;
use crate::analysis::prediction::Calibration;
use crate::event::{AgentEvent, Body, Converges, Event, HvEvent, LoadReport, MigrationEnd, Nanos, StopRule, Then};
use crate::hypervisor::qmp;
use crate::session::Reader;

/// The migrations of the recorded sessions in tests/fixtures: real ones, of QEMU 10.0.2.
fn recorded() -> Vec<Case> {
    ["below-the-jump", "over-the-jump"].iter().flat_map(|name| load_of(name, |_, _| {})).collect()
}

/// Those of one of them, with other reports of the load.
fn load_of(name: &str, change: impl Fn(Nanos, &mut LoadReport)) -> Vec<Case> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut reader = Reader::open(fixtures.join(format!("{name}.jsonl.gz"))).unwrap();
    let header = reader.header().clone();
    let events = reader.by_ref().map(|event| event.unwrap()).map(|mut event: Event| {
        match &mut event.ev {
            Body::Hypervisor(HvEvent::Sample { sample, raw }) => sample.zero_pages = qmp::sample(raw).zero_pages,
            Body::Agent(AgentEvent::Report(report)) => change(event.t, report),
            _ => {}
        }
        event
    });
    collect(name, header, events)
}

#[test]
fn real_migrations_are_predicted_from_what_was_known_before() {
    let cases = recorded();
    assert!(cases.len() >= 2, "{}", cases.len());
    let Fit { calibration, missing } = fit(&cases).unwrap();
    assert_eq!(calibration.check(), Ok(()));
    assert!(missing.iter().any(|m| m.what.contains("above the WSET")), "what cannot be fitted is said: {missing:?}");
    // The guest of the lab: some 80 to 120 MB of 256 MiB without the WSET.
    let content = calibration.content_besides_wset_bytes;
    assert!((60_000_000..=130_000_000).contains(&content), "{content}");
    // All have a WSET of 96 MiB: what a small one is like does not show.
    assert!(missing.iter().any(|m| m.keys == ["content_least_bytes"]), "{missing:?}");
    assert_eq!(calibration.content_spread, 0.04);
    let c = compare(&cases, missing);
    assert_eq!(c.rows.len(), cases.len());
    assert!(c.rows.iter().all(|r| !r.recorded), "these were recorded before there were forecasts");
    let (before, fitted) = (c.before.migration.unwrap(), c.fitted.migration.unwrap());
    // One of them is over the jump, and no limit of the defaults knows this machine's guest.
    assert!(before.worst_pct < 15.0 && before.n == cases.len(), "{before:?}");
    assert!(fitted.worst_pct < 10.0 && fitted.n == cases.len(), "{fitted:?}");
    assert_eq!((c.agreement_before.outside.wrong, c.agreement_fitted.outside.wrong), (0, 0), "{c:?}");
    assert!(c.rows.iter().any(|r| r.converged == Some(true)) && c.rows.iter().any(|r| r.converged == Some(false)));
    assert!(c.rows.iter().all(|r| r.downtime_method == Some("stop-resume")), "{:?}", c.rows);
}

#[test]
fn without_a_migration_there_is_nothing_to_fit() {
    assert!(fit(&[]).is_none());
    let c = compare(&[], Vec::new());
    assert!(c.rows.is_empty() && c.before == Errors::default() && c.agreement_before == Agreement::default());
}

#[test]
fn a_migration_is_predicted_from_the_others_only() {
    let cases = recorded();
    // One alone is predicted from nothing.
    assert_eq!(compare(&cases[..1], Vec::new()).rows[0].fitted, None);
    // That its own finish took a minute is not known beforehand; of the other it is.
    let mut odd = vec![cases[0].clone(), cases.last().unwrap().clone()];
    let plain = compare(&odd, Vec::new());
    if let Some((t, _)) = &mut odd[0].migration.ended {
        *t += 60_000_000_000;
    }
    let c = compare(&odd, Vec::new());
    let mid = |c: &Comparison, i: usize| c.rows[i].fitted.unwrap().migration_ms.unwrap().mid;
    assert_eq!(mid(&c, 0), mid(&plain, 0));
    assert!(mid(&c, 1) > mid(&plain, 1) + 50_000.0, "{} {}", mid(&c, 1), mid(&plain, 1));
}

#[test]
fn close_to_the_jump_either_outcome_is_right() {
    let cases = recorded();
    let mut row = compare(&cases[..1], Vec::new()).rows.remove(0);
    // 32 MB/s are 7,812.5 pages/s, whatever a prediction says of the jump.
    assert_eq!(row.nominal_jump_pages_per_s, Some(7_812.5));
    row.jump_pages_per_s = Some(5_000.0);
    let cases = [(7_030.0, false), (7_040.0, true), (8_590.0, true), (8_600.0, false), (5_000.0, false)];
    for (rate, near_nominal) in cases {
        row.rate_pages_per_s = Some(rate);
        assert_eq!((row.near_the_nominal_jump(), row.near_the_jump()), (near_nominal, rate == 5_000.0), "{rate}");
    }
    row.jump_pages_per_s = Some(7_700.0);
    assert_ne!(row.before.unwrap().converges, Converges::No);
    // Inside and outside are counted apart.
    (row.rate_pages_per_s, row.converged) = (Some(7_800.0), Some(false));
    let counted = |rows: &[Row]| errors::agreement(rows, |r| r.before.as_ref());
    let a = counted(std::slice::from_ref(&row));
    assert_eq!((a.outside.cases, a.inside.cases, a.inside.wrong, a.outside_nominal.cases), (0, 1, 1, 0));
    (row.nominal_jump_pages_per_s, row.jump_pages_per_s) = (None, None);
    let a = counted(&[row]);
    assert_eq!((a.outside.wrong, a.outside_nominal.wrong), (1, 1), "without a jump nothing is near");
}

#[test]
fn pre_copy_that_was_throttled_converged_and_of_a_failed_one_nobody_knows() {
    let mut case = recorded().remove(0);
    case.migration.ruled.clear();
    assert_eq!(case.converged(), Some(true));
    let rule = |rule, then| vec![(1, rule, then)];
    case.migration.ruled = rule(StopRule::Rounds { limit: 5 }, Then::AutoConverge);
    assert_eq!(case.converged(), Some(true));
    case.migration.ruled = rule(StopRule::RemainingPages { limit: 50, seen: 3 }, Then::StopAndCopy);
    assert_eq!(case.converged(), Some(true));
    case.migration.ruled = rule(StopRule::Rounds { limit: 29 }, Then::StopAndCopy);
    assert_eq!(case.converged(), Some(false));
    for end in [MigrationEnd::Failed { why: "x".into() }, MigrationEnd::Cancelled { by: "operator".into() }] {
        case.migration.ended = case.migration.ended.map(|(t, _)| (t, end));
        assert_eq!(case.converged(), None);
        let c = compare(std::slice::from_ref(&case), Vec::new());
        assert_eq!((c.agreement_before, c.before), (Agreement::default(), Errors::default()));
        assert!(serde_json::to_value(&c.rows[0]).unwrap()["converged"].is_null());
    }
}

#[test]
fn what_was_changed_on_the_way_is_neither_fitted_nor_compared() {
    let cases = recorded();
    let alone = fit(&cases[..1]).unwrap().calibration;
    let change: [fn(&mut Case); 3] = [
        |c| c.migration.ruled = vec![(1, StopRule::Operator, Then::StopAndCopy)],
        |c| c.migration.retuned = vec![(1, c.migration.settings.clone())],
        |c| c.other_load = true,
    ];
    for change in change {
        let mut both = vec![cases[0].clone(), cases.last().unwrap().clone()];
        assert_eq!(both[1].changed(), None);
        change(&mut both[1]);
        assert!(both[1].changed().is_some());
        assert_eq!(fit(&both).unwrap().calibration, alone);
        let c = compare(&both, Vec::new());
        assert_eq!(c.before.migration.map(|e| e.n), Some(1));
        assert_eq!(c.agreement_before.outside.cases + c.agreement_before.inside.cases, 1);
        assert_eq!((c.fitted.migration, c.fitted.migration_unpredicted), (None, 1), "the only one has no others");
    }
}

#[test]
fn another_load_while_it_runs_is_seen_in_the_reports() {
    let other = |at_s: u64| {
        let at_ns = at_s * 1_000_000_000;
        load_of("below-the-jump", move |t, report| {
            if t >= at_ns {
                report.set.dirty.bpc_pages += 1;
            }
        })
    };
    let plain = load_of("below-the-jump", |_, _| {}).remove(0);
    let (began, ended) = (plain.migration.began, plain.migration.ended.as_ref().unwrap().0);
    assert!(!plain.other_load);
    assert!(other(began / 1_000_000_000 + 2).remove(0).other_load);
    assert!(!other(ended / 1_000_000_000 + 1).remove(0).other_load, "afterwards it is of no account");
}

#[test]
fn each_half_of_the_errors_has_its_own_count() {
    let cases = recorded();
    let mut rows = compare(&cases, Vec::new()).rows;
    let n = rows.len();
    rows[0].downtime_ms = None;
    rows[1].downtime_method = Some("guest-clock");
    let e = errors::errors(&rows, |r| r.before.as_ref());
    let down = e.downtime.unwrap();
    assert_eq!((e.migration.unwrap().n, down.n, down.otherwise_measured), (n, n - 1, 1));
    rows[1].before = None;
    let e = errors::errors(&rows, |r| r.before.as_ref());
    assert_eq!((e.migration_unpredicted, e.downtime_unpredicted), (1, 1));
    assert_eq!(e.migration.map(|e| e.n), Some(n - 1));
    // Without any downtime the migration times are still compared.
    rows.iter_mut().for_each(|r| r.downtime_ms = None);
    let e = errors::errors(&rows, |r| r.before.as_ref());
    assert!(e.migration.is_some() && e.downtime.is_none());
}

#[test]
fn a_calibration_survives_its_file_which_says_what_was_fitted() {
    let fit = fit(&recorded()).unwrap();
    let text = toml(&fit).unwrap();
    let read: Calibration = ::toml::from_str(&text).unwrap();
    let c = fit.calibration.clone();
    assert_eq!(read, c);
    let before = |key: &str| {
        let at = text.lines().position(|l| l.starts_with(key)).unwrap();
        text.lines().nth(at - 1).unwrap().to_owned()
    };
    assert_eq!((before("setup_ms"), before("[resume_ms]")), ("# fitted".into(), "# fitted".into()));
    assert!(before("top_bytes").starts_with("# default (no event tells"), "{text}");
    assert!(before("content_least_bytes").starts_with("# default (no migration had a WSET so small"), "{text}");
    let figures = figures(&fit);
    assert!(figures.iter().all(|f| text.contains(f.key)), "{text}");
    assert_eq!(text.matches("# fitted").count() + text.matches("# default (").count(), figures.len(), "{text}");
    for key in ["background_hot_pages", "background_pages", "link_bytes_per_s", "top_bytes"] {
        assert!(figures.iter().any(|f| f.key == key && f.default.is_some()), "{key}");
    }
    let wrong = Calibration { content_spread: -1.0, ..c.clone() };
    assert!(wrong.check().unwrap_err().contains("content_spread = -1"));
    let wrong = Calibration { hypervisor: "xen".into(), ..c };
    assert!(wrong.check().unwrap_err().contains("\"xen\""));
}

#[test]
fn the_picture_names_both_axes_and_what_was_fitted_to_what() {
    let cases = recorded();
    let c = compare(&cases, Vec::new());
    let picture = plot::svg(&c, false).unwrap();
    assert!(picture.contains("predicted") && picture.contains("measured") && picture.contains("migration time"));
    assert!(picture.contains("predicted from what was known before firing"), "none of these was recorded");
    let picture = plot::svg(&c, true).unwrap();
    assert!(picture.contains(&format!("fitted to the other {}", cases.len() - 1)));
}
