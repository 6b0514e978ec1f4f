//! Predictions in words, never more precise than they are.

use crate::event::{Converges, Ender, Forecast, Guess, Remedy, Span, Then};
use crate::units::{show_bandwidth, show_count};

/// A span is told as "about" its middle when its ends lie within this share of it.
const ABOUT: f64 = 0.12;
/// A difference below this is told in ms, above it in %.
const MS_ENOUGH: f64 = 100.0;
/// What is shorter is told as that, s.
const SHORT: f64 = 0.1;

/// Seconds with as many figures as an estimate bears.
fn seconds(s: f64) -> String {
    match s {
        s if s >= 7200.0 => format!("{:.0} h", s / 3600.0),
        s if s >= 120.0 => format!("{:.0} min", s / 60.0),
        s if s >= 9.5 => format!("{s:.0} s"),
        s if s >= 0.95 => format!("{s:.1} s"),
        s => format!("{:.0} ms", (s * 100.0).round() * 10.0),
    }
}

/// A time that is not known exactly: `about 12 s`, `0.2 to 0.4 s`, `under 100 ms`.
#[must_use]
pub fn time(span: &Span) -> String {
    if span.hi < SHORT {
        return format!("under {}", seconds(SHORT));
    }
    let (lo, hi) = (seconds(span.lo), seconds(span.hi));
    if lo == hi || (span.hi - span.mid).max(span.mid - span.lo) <= ABOUT * span.mid {
        return format!("about {}", seconds(span.mid));
    }
    match (lo.split_once(' '), hi.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} to {hi}"),
        _ => format!("{lo} to {hi}"),
    }
}

/// Two significant figures, for what is only known so well, rounded so.
pub(crate) fn two_figures(value: f64, round: fn(f64) -> f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value;
    }
    let unit = 10f64.powf(value.log10().floor() - 1.0);
    // What has two figures keeps them, whatever the arithmetic made of it.
    let units = value / unit;
    let whole = if (units - units.round()).abs() < 1e-6 { units.round() } else { round(units) };
    whole * unit
}

/// Rounds: `4 rounds`, `4 to 6 rounds`.
fn rounds(span: &Span) -> String {
    match (span.lo.round(), span.hi.round()) {
        (1.0, 1.0) => "1 round".to_owned(),
        (lo, hi) if lo == hi => format!("{lo:.0} rounds"),
        (lo, hi) => format!("{lo:.0} to {hi:.0} rounds"),
    }
}

/// What to expect before it is fired: `converges: about 12 s, 4 rounds, downtime 0.2 to 0.4 s`.
#[must_use]
pub fn before(f: &Forecast) -> String {
    let lead = lead(f);
    let rounds = f.rounds.as_ref().map_or_else(String::new, |r| format!(", {}", rounds(r)));
    let times = match (&f.migration_s, &f.downtime_s) {
        (Some(time_s), Some(down_s)) => format!(": {}{rounds}, stop-resume {}", time(time_s), time(down_s)),
        (Some(time_s), None) => format!(": {}{rounds}", time(time_s)),
        _ => match f.followed_s {
            Some(s) if f.converges == Converges::No => format!(" by itself, and is not ended within {}", seconds(s)),
            Some(s) => format!(", and may not end within {}", seconds(s)),
            None => String::new(),
        },
    };
    let guesses = match f.guesses[..] {
        [] => "",
        [Guess::Memory] => " (a guess: the guest's memory has not been seen yet)",
        [Guess::Link] => " (a guess: the link has not been seen yet)",
        _ => " (a guess: the guest's memory and the link have not been seen yet)",
    };
    format!("{lead}{times}{guesses}")
}

/// Whether it converges, and what ends it if it does not.
fn lead(f: &Forecast) -> String {
    let open = f.converges == Converges::Perhaps;
    match (&f.ender, f.converges) {
        (_, Converges::Yes) => "converges".to_owned(),
        (Some(Ender::Policy { name, rule, then, too_early: true }), _) => {
            let would = if open { "may converge" } else { "would converge" };
            format!("{would}, but policy {name} {} before that ({rule})", verb(*then))
        }
        (Some(Ender::Own { rule, little_left: true }), _) => {
            format!("is ended by the hypervisor's own rule ({rule}) with next to nothing left")
        }
        (ender, _) => {
            let converges = if open { "may or may not converge" } else { "will not converge" };
            match ender {
                Some(Ender::Policy { name, rule, then, .. }) => {
                    format!("{converges}; policy {name} {} ({rule})", verb(*then))
                }
                Some(Ender::Own { rule, .. }) => format!("{converges}; the hypervisor's own rule ends it ({rule})"),
                None => converges.to_owned(),
            }
        }
    }
}

/// What a policy does to a migration.
fn verb(then: Then) -> &'static str {
    match then {
        Then::StopAndCopy => "stops it",
        Then::PostCopy => "switches it to post-copy",
        Then::Cancel => "cancels it",
        Then::AutoConverge => "throttles the guest",
    }
}

/// A downtime limit, ms.
fn limit(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1e3) }
}

/// What would make it converge: `RATE below 7,800, a link of 41 MB/s or a downtime limit of 1.3 s`.
#[must_use]
pub fn needs(f: &Forecast) -> Option<String> {
    if matches!(f.ender, Some(Ender::Own { little_left: true, .. })) {
        return None;
    }
    let needs = &f.needs;
    let under = match &f.ender {
        // The jump, which is the hypervisor's, lies higher.
        Some(Ender::Policy { name, too_early: true, .. }) => format!(" under policy {name}"),
        _ => String::new(),
    };
    let mut all = Vec::new();
    if let Some(rounds) = needs.rounds_without_policy {
        all.push((Remedy::Policy, format!("policy none (it takes {rounds} rounds)")));
    }
    if let Some(rate) = needs.rate_below_pages_per_s {
        let rate = show_count(two_figures(rate, f64::floor) as u64);
        all.push((Remedy::Rate, format!("RATE below {rate}{under}")));
    }
    if let Some(bandwidth) = needs.bandwidth_from_bytes_per_s {
        let bandwidth = show_bandwidth(two_figures(bandwidth, f64::ceil));
        all.push((Remedy::Bandwidth, format!("a bandwidth limit of {bandwidth}")));
    }
    if let Some(ms) = needs.downtime_limit_from_ms {
        all.push((Remedy::DowntimeLimit, format!("a downtime limit of {}", limit(two_figures(ms, f64::ceil)))));
    }
    // The nearest first.
    all.sort_by_key(|(remedy, _)| Some(*remedy) != needs.nearest);
    let mut all: Vec<String> = all.into_iter().map(|(_, words)| words).collect();
    let last = all.pop()?;
    Some(if all.is_empty() { last } else { format!("{} or {last}", all.join(", ")) })
}

/// Where the jump is: `the jump is at RATE 7,800`.
#[must_use]
pub fn jump(f: &Forecast) -> Option<String> {
    f.jump_pages_per_s.map(|rate| format!("the jump is at RATE {}", show_count(two_figures(rate, f64::round) as u64)))
}

/// What to expect while it runs: `done in about 8 s, downtime about 0.3 s`.
#[must_use]
pub fn running(f: &Forecast) -> Option<String> {
    let left = f.left_s.as_ref().map(|left| match left {
        // All of it lies in the past.
        Span { hi, .. } if *hi < 0.0 => format!("{} later than expected", seconds(-left.mid)),
        Span { lo, mid, hi } => format!("done in {}", time(&Span { lo: lo.max(0.0), mid: mid.max(0.0), hi: *hi })),
    });
    let down = f.downtime_s.as_ref().map(|down| format!("stop-resume {}", time(down)));
    match (left, down) {
        (Some(left), Some(down)) => Some(format!("{left}, {down}")),
        (left, down) => left.or(down),
    }
}

/// How long a stop will be, with its bounds: `about 3.6 s (3.2 to 4.1 s)`.
#[must_use]
pub fn stop(span: &Span) -> String {
    if span.hi < SHORT {
        return time(span);
    }
    let (lo, hi) = (seconds(span.lo.max(0.0)), seconds(span.hi));
    let lo = match (lo.split_once(' '), hi.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => number,
        _ => &lo,
    };
    format!("about {} ({lo} to {hi})", seconds(span.mid))
}

/// What was said when the guest was stopped beside what came, s: `about 3.6 s (3.2 to 4.1 s), measured
/// 3.55 s (-1 %)`.
#[must_use]
pub fn stop_beside(said: &Span, measured_s: Option<f64>) -> String {
    let came = measured_s.map_or_else(|| "measured unknown".to_owned(), |s| compared(said.mid, s));
    format!("{}, {came}", stop(said))
}

/// A measured time, s, with how far it is from what was predicted: measured less predicted.
fn compared(predicted_s: f64, measured_s: f64) -> String {
    let off_s = measured_s - predicted_s;
    let off = if off_s.abs() * 1e3 < MS_ENOUGH || predicted_s <= 0.0 {
        format!("{:+.0} ms", off_s * 1e3)
    } else {
        format!("{:+.0} %", 100.0 * off_s / predicted_s)
    };
    // Nothing has no sign.
    let off = if matches!(off.as_str(), "-0 ms" | "-0 %") { off.replacen('-', "+", 1) } else { off };
    format!("measured {} ({off})", exact(measured_s))
}

fn beside_one(name: &str, predicted: Option<&Span>, measured_ms: Option<f64>) -> String {
    let measured = measured_ms.map(|ms| ms / 1e3);
    let words = match (predicted, measured) {
        (None, Some(m)) => format!("not predicted, measured {}", exact(m)),
        (None, None) => "not predicted, measured unknown".to_owned(),
        (Some(p), None) => format!("{}, measured unknown", time(p)),
        (Some(p), Some(m)) => format!("{}, {}", time(p), compared(p.mid, m)),
    };
    format!("{name} {words}")
}

/// A measured time, s.
fn exact(s: f64) -> String {
    crate::units::show_duration(std::time::Duration::try_from_secs_f64(s).unwrap_or_default())
}

/// Predicted against measured: migration time, and the downtime from stop to resume, ms. What did not end
/// well has no time to be compared: `ended` is then the word for what it did instead.
#[must_use]
pub fn beside(f: &Forecast, ended: &str, migration_ms: Option<f64>, stop_resume_ms: Option<f64>) -> String {
    let lead = match f.converges {
        Converges::Yes => "converges",
        Converges::Perhaps => "may or may not converge",
        Converges::No => "does not converge",
    };
    if ended != "done" {
        let said =
            |name: &str, span: Option<&Span>| span.map(|s| format!("; {name} {}", self::time(s))).unwrap_or_default();
        let (time, down) = (said("time", f.migration_s.as_ref()), said("stop-resume", f.downtime_s.as_ref()));
        return format!("{lead}{time}{down}; {ended}, so there is nothing to compare");
    }
    let time = beside_one("time", f.migration_s.as_ref(), migration_ms);
    let down = beside_one("stop-resume", f.downtime_s.as_ref(), stop_resume_ms);
    format!("{lead}; {time}; {down}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Needs;

    fn span(lo: f64, mid: f64, hi: f64) -> Option<Span> {
        Some(Span { lo, mid, hi })
    }

    fn forecast() -> Forecast {
        Forecast {
            converges: Converges::Yes,
            rounds: span(4.0, 5.0, 6.0),
            migration_s: span(11.0, 12.0, 13.0),
            downtime_s: span(0.2, 0.3, 0.4),
            followed_s: None,
            left_s: span(7.6, 8.0, 8.2),
            jump_pages_per_s: Some(7800.0),
            needs: Needs::default(),
            guesses: Vec::new(),
            ender: None,
            grounds: None,
        }
    }

    #[test]
    fn it_says_what_it_knows_and_no_more() {
        let f = forecast();
        assert_eq!(before(&f), "converges: about 12 s, 4 to 6 rounds, stop-resume 200 to 400 ms");
        assert_eq!(jump(&f).unwrap(), "the jump is at RATE 7,800");
        assert_eq!(running(&f).unwrap(), "done in about 8.0 s, stop-resume 200 to 400 ms");
        assert_eq!(needs(&f), None);
        let no = Forecast {
            converges: Converges::No,
            migration_s: None,
            downtime_s: None,
            followed_s: Some(87.0),
            left_s: None,
            guesses: vec![Guess::Memory],
            needs: Needs {
                rate_below_pages_per_s: Some(7_812.5),
                bandwidth_from_bytes_per_s: Some(81_234_567.0),
                downtime_limit_from_ms: Some(3_142.0),
                rounds_without_policy: None,
                nearest: Some(Remedy::Bandwidth),
            },
            ..f
        };
        let guess = " (a guess: the guest's memory has not been seen yet)";
        assert_eq!(before(&no), format!("will not converge by itself, and is not ended within 87 s{guess}"));
        let words = needs(&no).unwrap();
        assert_eq!(words, "a bandwidth limit of 82.0 MB/s, RATE below 7,800 or a downtime limit of 3.2 s");
        assert_eq!(running(&no), None);
        let late = Forecast { left_s: span(-9.0, -4.0, -3.0), downtime_s: None, ..forecast() };
        assert_eq!(running(&late).unwrap(), "4.0 s later than expected");
        let soon = Forecast { left_s: span(-0.5, 0.01, 0.05), downtime_s: None, ..forecast() };
        assert_eq!(running(&soon).unwrap(), "done in under 100 ms");
    }

    #[test]
    fn what_ends_it_is_named_and_the_nearest_remedy_first() {
        let ender = |too_early| {
            let (name, rule) = ("xen-3.4".to_owned(), "29 rounds".to_owned());
            Some(Ender::Policy { name, rule, then: Then::StopAndCopy, too_early })
        };
        let needs = Needs {
            rate_below_pages_per_s: Some(20_100.0),
            rounds_without_policy: Some(41),
            nearest: Some(Remedy::Policy),
            ..Needs::default()
        };
        let early = Forecast { converges: Converges::No, ender: ender(true), needs, ..forecast() };
        assert!(before(&early).starts_with("would converge, but policy xen-3.4 stops it before that (29 rounds): "));
        let words = super::needs(&early).unwrap();
        assert_eq!(words, "policy none (it takes 41 rounds) or RATE below 20,000 under policy xen-3.4");
        let never = Forecast { converges: Converges::No, ender: ender(false), ..forecast() };
        assert!(before(&never).starts_with("will not converge; policy xen-3.4 stops it (29 rounds): "));
        let own = |little_left| Some(Ender::Own { rule: "29 rounds".into(), little_left });
        let little = Forecast { converges: Converges::No, ender: own(true), needs, ..forecast() };
        assert!(before(&little).starts_with("is ended by the hypervisor's own rule (29 rounds) with next to nothing"));
        assert_eq!(super::needs(&little), None);
    }

    #[test]
    fn times_are_as_wide_as_they_are() {
        assert_eq!(time(&Span { lo: 0.01, mid: 0.05, hi: 0.06 }), "under 100 ms");
        assert_eq!(time(&Span { lo: 0.05, mid: 0.08, hi: 0.3 }), "50 to 300 ms");
        assert_eq!(time(&Span { lo: 0.5, mid: 2.0, hi: 12.0 }), "500 ms to 12 s");
        assert_eq!(time(&Span { lo: 100.0, mid: 200.0, hi: 9000.0 }), "100 s to 2 h");
        assert_eq!(time(&Span::exactly(4.04)), "about 4.0 s");
    }

    #[test]
    fn it_is_measured_less_predicted() {
        let f = Forecast { migration_s: span(6.4, 7.5, 8.4), downtime_s: span(0.3, 0.35, 0.4), ..forecast() };
        let line = beside(&f, "done", Some(6_360.0), Some(308.0));
        assert!(line.contains("time 6.4 to 8.4 s, measured 6.36 s (-15 %)"), "{line}");
        assert!(line.contains("measured 308 ms (-42 ms)"), "{line}");
        assert!(beside(&f, "done", Some(7_500.0), Some(349.9)).contains("(+0 ms)"), "nothing has no sign");
        assert_eq!(
            stop_beside(&Span { lo: 3.2, mid: 3.6, hi: 4.1 }, Some(3.1)),
            "about 3.6 s (3.2 to 4.1 s), measured 3.10 s (-14 %)"
        );
    }

    #[test]
    fn what_did_not_end_is_compared_with_nothing() {
        for ended in ["cancelled", "failed", "unfinished", "unsettled"] {
            let line = beside(&forecast(), ended, Some(55_000.0), None);
            assert!(line.ends_with(&format!("{ended}, so there is nothing to compare")), "{line}");
            assert!(!line.contains("measured") && !line.contains('%'), "{line}");
        }
    }

    #[test]
    fn the_measured_stands_beside() {
        assert_eq!(
            beside(&forecast(), "done", Some(12_600.0), Some(310.0)),
            "converges; time about 12 s, measured 12.6 s (+5 %); stop-resume 200 to 400 ms, measured 310 ms (+10 ms)"
        );
        assert!(beside(&forecast(), "done", None, None).contains("measured unknown"));
        let none = Forecast { migration_s: None, ..forecast() };
        assert!(beside(&none, "done", Some(900.0), None).contains("time not predicted, measured 900 ms"));
    }
}
