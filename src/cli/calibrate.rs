//! `blackout calibrate`: fits the model to recorded migrations and says how well it fits.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use serde_json::json;

use super::exit::{EXIT_CAPTURE, EXIT_OK};
use super::say;
use crate::analysis::Method;
use crate::event::{Body, Converges, Event, HvEvent, Span};
use crate::experiment::calibration::{
    Agreement, Case, Comparison, Errors, Fit, Row, Tally, collect, compare, figures, fit, plot, toml,
};
use crate::files;
use crate::hypervisor::qmp;
use crate::session::Reader;
use crate::units::{show_bandwidth, show_bytes, show_count};

/// At most this many corrupt records of a capture are named one by one.
const NAMED: u64 = 20;

/// Fits the model to the migrations of captures, and sets predicted beside measured.
///
/// For each migration: what was predicted before it was fired (from the capture where it was
/// recorded, else made now from what was known then), what figures fitted to all other migrations
/// predict from the same knowledge, and what was measured. Downtime is `stop-resume`; where it is
/// not, the table says so. What the operator changed or ended while it ran is shown, but neither
/// fitted nor compared.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLE:
  blackout calibrate captures/*/capture.jsonl --out lab.toml --plot predicted.svg
  blackout lab --calibration lab.toml")]
pub struct Args {
    /// Captures, or the folders of their sessions.
    #[arg(required = true, value_name = "CAPTURE")]
    pub captures: Vec<PathBuf>,
    /// Writes what was fitted, for --calibration of lab and migrate.
    #[arg(long, value_name = "FILE.toml")]
    pub out: Option<PathBuf>,
    /// Draws what was predicted before firing against what was measured (SVG).
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Draws what figures predict that were fitted to all other migrations instead.
    #[arg(long, requires = "plot")]
    pub plot_fitted: bool,
    /// Replaces the files of --out and --plot, if there are any.
    #[arg(long)]
    pub force: bool,
    /// As JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

/// Runs `blackout calibrate`.
///
/// # Errors
/// When a capture cannot be read or is SIMULATED, none has a migration that ended, or a file cannot be
/// written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Before anything is read: what is not to be replaced is refused at once.
    for path in args.out.iter().chain(&args.plot) {
        drop(files::Output::create(path, args.force, &args.captures)?);
    }
    let mut cases = Vec::new();
    let mut corrupt = 0;
    for path in &args.captures {
        let (found, wrong) = read(path)?;
        if found.is_empty() {
            tell!("blackout: {}: no migration in it came to an end", path.display());
        }
        corrupt += wrong;
        cases.extend(found);
    }
    if cases.is_empty() {
        bail!("nothing to calibrate with: no migration came to an end; record one with `blackout lab --headless`");
    }
    let Some(fit) = fit(&cases) else {
        bail!(
            "nothing to calibrate with: none of the {} migrations was one of QEMU that told how many pages are all \
             zeroes, ended well, and was left alone while it ran",
            cases.len()
        );
    };
    let comparison = compare(&cases, fit.missing.clone());
    if let Some(path) = &args.out {
        fit.calibration.check().map_err(anyhow::Error::msg).context("the fitted figures cannot be used")?;
        let text = toml(&fit).context("writing the figures as TOML")?;
        files::write(path, text.as_bytes(), args.force, &args.captures)?;
    }
    if let Some(path) = &args.plot {
        let picture = plot::svg(&comparison, args.plot_fitted).map_err(anyhow::Error::msg).context("cannot draw")?;
        files::write(path, picture.as_bytes(), args.force, &args.captures)?;
    }
    if args.json {
        say::print_json(&json!({"calibration": fit.calibration, "comparison": comparison}))?;
    } else {
        say::print(&text(&fit, &comparison))?;
    }
    Ok(ExitCode::from(if corrupt > 0 { EXIT_CAPTURE } else { EXIT_OK }))
}

/// The migrations of a capture, and how many records were corrupt.
fn read(path: &Path) -> anyhow::Result<(Vec<Case>, u64)> {
    let mut reader = Reader::open(path)?;
    let header = reader.header().clone();
    if header.simulated {
        bail!("{}: SIMULATED: only captures of real migrations calibrate; leave it out", path.display());
    }
    let label = path
        .file_stem()
        .filter(|stem| *stem != "capture")
        .or_else(|| path.parent().and_then(Path::file_name))
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    let label = crate::text::foreign(&label);
    let mut corrupt = 0;
    let events = reader.by_ref().filter_map(|event| match event {
        Ok(event) => Some(with_zero_pages(event)),
        Err(e) => {
            corrupt += 1;
            if corrupt <= NAMED {
                tell!("blackout: {e}");
            }
            None
        }
    });
    let cases = collect(&label, header, events);
    if corrupt > NAMED {
        tell!("blackout: {}: and {} more corrupt records", path.display(), corrupt - NAMED);
    }
    Ok((cases, corrupt))
}

/// Captures of schema 1.0 and 1.1 have the count of pages of zeroes in the hypervisor's words only.
fn with_zero_pages(mut event: Event) -> Event {
    if let Body::Hypervisor(HvEvent::Sample { sample, raw }) = &mut event.ev
        && sample.zero_pages.is_none()
    {
        sample.zero_pages = qmp::sample(raw).zero_pages;
    }
    event
}

fn text(fit: &Fit, c: &Comparison) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} migrations, hypervisor {}\n", c.rows.len(), fit.calibration.hypervisor);
    table(&mut out, c);
    footnotes(&mut out, c);
    out.push_str("\nFIGURES\n");
    for figure in figures(fit) {
        let _ = writeln!(out, "  {:34} {:22} {}", figure.name, figure.value, figure.mark());
    }
    for m in c.missing.iter().filter(|m| m.keys.is_empty()) {
        let _ = writeln!(out, "  not fitted, and in no file: {}: {}", m.what, m.why);
    }
    let recorded = c.rows.iter().filter(|r| r.recorded).count();
    let compared = c.rows.iter().filter(|r| r.changed.is_none() && r.converged.is_some()).count();
    out.push_str("\nPREDICTED AGAINST MEASURED\n");
    let now = match c.rows.len() - recorded {
        0 => String::new(),
        n => format!("; {n} made now, from what was known then"),
    };
    let _ = writeln!(out, "  before: {recorded} of {} recorded before firing{now}", c.rows.len());
    let _ = writeln!(out, "  fitted: each with figures fitted to the other {}", compared.saturating_sub(1));
    for (name, errors, agreement) in
        [("before", &c.before, &c.agreement_before), ("fitted", &c.fitted, &c.agreement_fitted)]
    {
        summary(&mut out, name, errors, agreement);
    }
    out
}

/// A label in so many characters: the name gives way, the number of the migration never does.
fn brief(label: &str, most: usize) -> String {
    if label.chars().count() <= most {
        return label.to_owned();
    }
    let number = label.rfind(" #").map_or("", |i| &label[i..]);
    let room = most.saturating_sub(number.chars().count() + 1);
    let name: String = label.chars().take(room).collect();
    format!("{name}…{number}")
}

fn table(out: &mut String, c: &Comparison) {
    let width = c.rows.iter().map(|r| r.label.chars().count()).max().unwrap_or(0).clamp(7, 24);
    let mut line = |cells: [&str; 15]| {
        let [label, wset, rate, bandwidth, limit, jump, c1, c2, c3, t1, t2, t3, d1, d2, d3] = cells;
        let _ = writeln!(
            out,
            "{label:width$} {wset:>9} {rate:>8} {bandwidth:>10} {limit:>6} {jump:>7}  {c1:>4} {c2:>4} {c3:>4}  {t1:>8} {t2:>8} {t3:>8}  {d1:>7} {d2:>7} {d3:>7}"
        );
    };
    line(["", "", "", "", "limit", "", "conv", "erg", "es", "migr", "ation", "time s", "down", "time", "ms"]);
    line([
        "capture",
        "WSET",
        "RATE",
        "bandwidth",
        "ms",
        "jump",
        "bef",
        "fit",
        "meas",
        "before",
        "fitted",
        "measured",
        "before",
        "fitted",
        "meas",
    ]);
    for r in &c.rows {
        let unknown = || "?".to_owned();
        let s = |v: Option<f64>| v.map_or_else(unknown, |ms| format!("{:.2}", ms / 1e3));
        let ms = |v: Option<f64>| v.map_or_else(unknown, |ms| format!("{ms:.0}"));
        let mid = |span: Option<Span>| span.map(|s| s.mid);
        let (before, fitted) = (r.before, r.fitted);
        let label = brief(&r.label, width - usize::from(r.changed.is_some()));
        line([
            &format!("{label}{}", if r.changed.is_some() { "*" } else { "" }),
            &r.wset_bytes.map_or_else(unknown, show_bytes),
            &format!("{}{}", count(r.rate_pages_per_s), if r.near_the_jump() { "~" } else { "" }),
            &r.bandwidth_bytes_per_s.map_or_else(unknown, |b| show_bandwidth(b as f64)),
            &r.downtime_limit_ms.map_or_else(unknown, |l| l.to_string()),
            &r.jump_pages_per_s.map_or_else(|| "none".into(), |j| count(Some(j))),
            before.map_or("?", |p| letter(p.converges)),
            fitted.map_or("?", |p| letter(p.converges)),
            r.converged.map_or("?", |c| if c { "yes" } else { "no" }),
            &s(before.and_then(|p| mid(p.migration_ms))),
            &s(fitted.and_then(|p| mid(p.migration_ms))),
            &s(r.migration_ms),
            &ms(before.and_then(|p| mid(p.downtime_ms))),
            &ms(fitted.and_then(|p| mid(p.downtime_ms))),
            &format!("{}{}", ms(r.downtime_ms), if otherwise_measured(r).is_some() { "+" } else { "" }),
        ]);
    }
}

/// How its downtime was measured, if not by `stop-resume`.
fn otherwise_measured(r: &Row) -> Option<&'static str> {
    r.downtime_method.filter(|method| *method != Method::StopResume.name())
}

/// What the marks in the table mean; only those that are in it.
fn footnotes(out: &mut String, c: &Comparison) {
    for r in &c.rows {
        if let Some(why) = r.changed {
            let _ = writeln!(out, "* {}: {why}; neither fitted nor compared", r.label);
        }
    }
    if c.rows.iter().any(Row::near_the_jump) {
        let _ = writeln!(out, "~ within 10 % of the jump that was predicted: either outcome is right");
    }
    if let Some(method) = c.rows.iter().find_map(otherwise_measured) {
        let _ = writeln!(out, "+ measured by {method}, for stop-resume could not be");
    }
    if c.rows.iter().any(|r| r.converged.is_none()) {
        let _ = writeln!(out, "? failed or cancelled: whether it would have converged is not known");
    }
}

fn letter(c: Converges) -> &'static str {
    match c {
        Converges::Yes => "yes",
        Converges::No => "no",
        Converges::Perhaps => "open",
    }
}

fn count(v: Option<f64>) -> String {
    v.map_or_else(|| "?".into(), |v| show_count(v.round() as u64))
}

/// `; 2 more without a prediction`.
fn unpredicted(n: usize) -> String {
    if n == 0 { String::new() } else { format!("; {n} more without a prediction") }
}

fn summary(out: &mut String, name: &str, errors: &Errors, a: &Agreement) {
    match &errors.migration {
        Some(e) => {
            let _ = writeln!(
                out,
                "  {name}: migration time: median error {:.1} %, worst {:.1} %, {} of {} in their interval{}",
                e.median_pct,
                e.worst_pct,
                e.in_interval,
                e.n,
                unpredicted(errors.migration_unpredicted)
            );
        }
        None => {
            let more = unpredicted(errors.migration_unpredicted);
            let _ = writeln!(out, "  {name}: migration time: nothing to compare{more}");
        }
    }
    match &errors.downtime {
        Some(e) => {
            let otherwise = match e.otherwise_measured {
                0 => String::new(),
                n => format!("; {n} not measured by stop-resume"),
            };
            let _ = writeln!(
                out,
                "  {name}: downtime: median error {:.0} ms ({:.0} %), worst {:.0} ms; {} of {} within 20 % or 50 ms, {} in their interval{otherwise}{}",
                e.median_ms,
                e.median_pct,
                e.worst_ms,
                e.within,
                e.n,
                e.in_interval,
                unpredicted(errors.downtime_unpredicted)
            );
        }
        None => {
            let more = unpredicted(errors.downtime_unpredicted);
            let _ = writeln!(out, "  {name}: downtime: nothing to compare{more}");
        }
    }
    let tally = |t: &Tally| format!("{} cases: {} right, {} wrong, {} left open", t.cases, t.right, t.wrong, t.open);
    let _ = writeln!(
        out,
        "  {name}: convergence, farther than 10 % from the predicted jump: {}\n  {name}: convergence, within 10 % of it: {}\n  {name}: convergence, farther than 10 % from bandwidth / 4,096 pages/s: {}{}",
        tally(&a.outside),
        tally(&a.inside),
        tally(&a.outside_nominal),
        unpredicted(a.unpredicted)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_capture_is_refused() {
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/below-the-jump.jsonl.gz");
        let mut header = Reader::open(&real).unwrap().header().clone();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.jsonl");
        std::fs::write(&path, serde_json::to_string(&header).unwrap() + "\n").unwrap();
        assert!(read(&path).unwrap().0.is_empty());
        header.simulated = true;
        std::fs::write(&path, serde_json::to_string(&header).unwrap() + "\n").unwrap();
        let refused = read(&path).unwrap_err().to_string();
        let expected = "demo.jsonl: SIMULATED: only captures of real migrations calibrate; leave it out";
        assert!(refused.ends_with(expected), "{refused}");
        // With the error's exit code, whatever else is given.
        let args =
            Args { captures: vec![real, path], out: None, plot: None, plot_fitted: false, force: false, json: true };
        assert!(run(&args).is_err());
    }
    #[test]
    fn a_long_name_does_not_push_out_the_number_of_the_migration() {
        assert_eq!(brief("20261122T194500Z-jump #12", 23), "20261122T194500Z-j… #12");
        assert_eq!(brief("20261122T194500Z-jump #1", 24), "20261122T194500Z-jump #1");
        assert_eq!(brief("20261122T194500Z-over-the-jump", 10), "20261122T…");
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/over-the-jump.jsonl.gz");
        let cases = read(&real).unwrap().0;
        let fit = fit(&cases).unwrap();
        let mut c = compare(&cases, fit.missing.clone());
        let row = &mut c.rows[0];
        (row.label, row.changed) = ("20261122T194500Z-over-the-jump #17".into(), Some("another load"));
        let table = text(&fit, &c);
        assert!(table.contains(" #17* ") && !table.contains("#*"), "{table}");
    }

    #[test]
    fn the_marks_of_the_table_are_explained_below_it() {
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/over-the-jump.jsonl.gz");
        let cases = read(&real).unwrap().0;
        let fit = fit(&cases).unwrap();
        let mut c = compare(&cases, fit.missing.clone());
        let plain = text(&fit, &c);
        assert!(!plain.lines().any(|l| l.starts_with(['*', '~', '+', '?'])), "{plain}");
        // One alone has no others, and is counted as not predicted.
        assert!(plain.contains("fitted: migration time: nothing to compare; 1 more without a prediction"), "{plain}");
        for figure in ["top_bytes", "background_pages", "link_bytes_per_s"] {
            let why = figures(&fit).into_iter().find(|f| f.key == figure).unwrap();
            assert!(plain.contains(&why.mark()) && why.mark().starts_with("default ("), "{plain}");
        }
        let row = &mut c.rows[0];
        (row.changed, row.converged) = (Some("another load while it ran"), None);
        (row.rate_pages_per_s, row.downtime_method) = (Some(7_800.0), Some("guest-clock"));
        let marked = text(&fit, &c);
        let notes: Vec<char> =
            marked.lines().filter_map(|l| l.chars().next()).filter(|c| "*~+?".contains(*c)).collect();
        assert_eq!(notes, ['*', '~', '+', '?'], "{marked}");
        assert!(marked.contains("7,800~") && marked.contains("+\n"), "{marked}");
    }
}
