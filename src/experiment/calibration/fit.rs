//! Fitting what recorded migrations say.

use super::case::{Case, measured_downtime, millis, total};
use super::content::{Content, content};
use super::missing::Missing;
use crate::analysis::prediction::Calibration;
use crate::event::{Nanos, Span};
use crate::model::{Product, Why, run};
use crate::session::outlook::{Rests, carried, question};
use crate::session::product::product;

/// A share of the limit this close to 1 is 1: a look at a burst too early or too late makes as much.
const AS_SET: f64 = 0.03;
/// What was written besides the generator is known only where that wrote hardly anything, pages/s.
const QUIET_PAGES_PER_S: f64 = 1.0;

/// What came of fitting.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The figures.
    pub calibration: Calibration,
    /// What could not be fitted, and why.
    pub missing: Vec<Missing>,
}

/// Fits a calibration to migrations; None without any that was migrated by QEMU and came to a second
/// round, so that it is known what had content. What was changed on the way says nothing.
#[must_use]
pub fn fit(cases: &[Case]) -> Option<Fit> {
    fit_to(&cases.iter().collect::<Vec<_>>())
}

pub(super) fn fit_to(cases: &[&Case]) -> Option<Fit> {
    let is_qemu = |c: &Case| matches!(product(&c.before), Ok(None | Some(Product::Qemu)));
    let usable = |c: &&&Case| c.migration_ms().is_some() && c.changed().is_none() && is_qemu(c);
    let done: Vec<&Case> = cases.iter().filter(usable).copied().collect();
    let ram_bytes = vmsize(&done)?;
    let Content { least, besides, spread, missing } = content(&done, ram_bytes)?;
    let mut missing: Vec<Missing> = missing.into_iter().collect();
    let mut need = |keys: &[&'static str], what: &str, why: &str, there: bool| {
        if !there {
            missing.push(Missing::of(keys, what, why));
        }
    };
    let mut c = Calibration {
        hypervisor: Product::Qemu.name().into(),
        ram_bytes,
        content_least_bytes: least as u64,
        content_besides_wset_bytes: besides as u64,
        content_spread: spread,
        ..Calibration::lab(ram_bytes)
    };
    c.top_bytes = c.top_bytes.min(ram_bytes);
    let span = |values: &dyn Fn(&Case) -> Option<f64>| Span::of(done.iter().filter_map(|c| values(c)).collect());
    let setup = span(&setup);
    need(&["setup_ms"], "set-up time", "no first round was seen to begin", setup.is_some());
    c.setup_ms = setup.map_or(c.setup_ms, |s| s.mid);
    let finish = span(&|c| after_resume(c, c.migration.ended.as_ref().map(|(t, _)| *t)));
    need(&["finish_ms"], "time to finish", "no resume at the destination was seen", finish.is_some());
    c.finish_ms = finish.map_or(c.finish_ms, |s| s.mid);
    need(
        &["background_hot_pages"],
        "what the guest writes all the time",
        "a reading of the log does not tell it from the rest",
        false,
    );
    let background = span(&background);
    need(
        &["background_pages", "background_pages_per_s"],
        "what the guest writes besides",
        "no migration had a WSET or RATE of 0 and more than one round",
        background.is_some(),
    );
    if let Some(pages) = background.map(|b| b.mid) {
        // What is dirty all the time is in it; which pages those are no single reading of the log tells.
        let besides = (pages - c.background_hot_pages as f64).max(0.0);
        c.background_hot_pages = c.background_hot_pages.min(pages as u64);
        c.background_pages_per_s *= besides / c.background_pages.max(1) as f64;
        c.background_pages = besides as u64;
    }
    let shares: Vec<(f64, f64)> = done.iter().filter_map(|case| share(case, &c)).collect();
    let (limit, link) = (&["of_limit"], &["link_bytes_per_s"]);
    let (of_limit, itself) = ("share of the bandwidth limit", "what the link itself carries");
    match Span::of(shares.iter().map(|(share, _)| *share).collect()) {
        // A limit that is not reached is held back by the link, and says what that carries.
        Some(share) if share.mid < 0.9 => {
            let carried = Span::of(shares.iter().map(|(_, carried)| *carried).collect());
            c.link_bytes_per_s = carried.map_or(c.link_bytes_per_s, |s| s.mid);
            need(limit, of_limit, "the link carried less than any limit let through", false);
        }
        Some(share) => {
            c.of_limit = near_one(share);
            need(link, itself, "the limit held it back in every migration", false);
        }
        None => {
            let why = "no first round lasted a second";
            need(limit, of_limit, why, false);
            need(link, itself, why, false);
        }
    }
    need(&["top_bytes"], "memory above the WSET", "no event tells where pages lie", false);
    let why = "no event tells the end of a round apart from the beginning of the next";
    need(&[], "time between rounds", why, false);
    let resume = span(&|case| resume(case, &c));
    let why = "no stop and resume of a migration that converged were seen";
    need(&["resume_ms"], "time to resume", why, resume.is_some());
    c.resume_ms = resume.unwrap_or(c.resume_ms);
    Some(Fit { calibration: c, missing })
}

fn near_one(share: Span) -> f64 {
    if (share.mid - 1.0).abs() < AS_SET { 1.0 } else { share.mid }
}

/// The VMSIZE most migrations had.
fn vmsize(cases: &[&Case]) -> Option<u64> {
    let all: Vec<u64> = cases.iter().filter_map(|c| total(&c.migration)).collect();
    all.iter().copied().max_by_key(|size| all.iter().filter(|s| *s == size).count())
}

fn setup(c: &Case) -> Option<f64> {
    let (began, _) = c.migration.rounds.iter().find(|(_, n)| *n == 1)?;
    Some(millis(began.saturating_sub(c.migration.began)))
}

fn after_resume(c: &Case, then: Option<Nanos>) -> Option<f64> {
    let (resumed, ..) = c.migration.resumed.as_ref().filter(|(_, _, host)| *host == c.migration.to)?;
    Some(millis(then?.saturating_sub(*resumed)))
}

/// What the first round carried to what the model says the limit lets through, and what it carried.
fn share(case: &Case, c: &Calibration) -> Option<(f64, f64)> {
    let carried = carried(&case.migration)?;
    let asked = question(&case.before, &Rests::On(c.clone()), case.migration.began).ok()??;
    Some((carried / asked.likeliest().bandwidth_bytes_per_s(), carried)).filter(|(share, _)| *share > 0.0)
}

/// Pages newly dirty after a first round in which the generator wrote nothing.
fn background(c: &Case) -> Option<f64> {
    let load = c.migration.load.unwrap_or_default();
    if load.wset_bytes > 0 && load.dirty.rate_pages_per_s() > QUIET_PAGES_PER_S {
        return None;
    }
    let at = |n: u64| c.migration.rounds.iter().find(|(_, k)| *k == n).map(|(t, _)| *t);
    let took = at(2)?.checked_sub(at(1)?)? as f64 / 1e9;
    let rate = c.migration.samples.iter().find(|(_, s)| s.round == Some(2)).and_then(|(_, s)| s.dirty_pages_per_s)?;
    Some((rate * took).max(0.0))
}

/// What is left of the measured downtime without the time the model has for the rest of it, ms.
fn resume(case: &Case, c: &Calibration) -> Option<f64> {
    let (measured, _) = measured_downtime(&case.migration)?;
    if case.converged() != Some(true) {
        return None;
    }
    let scenario = question(&case.before, &Rests::On(c.clone()), case.migration.began).ok()??.likeliest();
    let trace = run(&scenario).ok().filter(|t| matches!(t.why, Some(Why::Converged { .. })))?;
    let rest = (scenario.costs.resume + scenario.costs.announce).as_secs_f64();
    Some((measured - (trace.downtime()?.as_secs_f64() - rest) * 1e3).max(0.0))
}
