//! Predictions in words, never more precise than they are.

use crate::event::{Converges, Forecast, Guess, Span};
use crate::units::{show_bandwidth, show_count};

/// A span is told as "about" its middle when its ends lie within this share of it.
const ABOUT: f64 = 0.12;
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
    let lead = match f.converges {
        Converges::Yes => "converges",
        Converges::Perhaps => "may or may not converge",
        Converges::No => "will not converge",
    };
    let rounds = f.rounds.as_ref().map_or_else(String::new, |r| format!(", {}", rounds(r)));
    let times = match (&f.migration_s, &f.downtime_s) {
        (Some(time_s), Some(down_s)) => format!(": {}{rounds}, downtime {}", time(time_s), time(down_s)),
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

/// A downtime limit, ms.
fn limit(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1e3) }
}

/// What would make it converge: `RATE below 7,800, a link of 41 MB/s or a downtime limit of 1.3 s`.
#[must_use]
pub fn needs(f: &Forecast) -> Option<String> {
    let mut all = Vec::new();
    if let Some(rate) = f.needs.rate_below_pages_per_s {
        all.push(format!("RATE below {}", show_count(two_figures(rate, f64::floor) as u64)));
    }
    if let Some(bandwidth) = f.needs.bandwidth_from_bytes_per_s {
        all.push(format!("a bandwidth of {}", show_bandwidth(two_figures(bandwidth, f64::ceil))));
    }
    if let Some(ms) = f.needs.downtime_limit_from_ms {
        all.push(format!("a downtime limit of {}", limit(two_figures(ms, f64::ceil))));
    }
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
    let down = f.downtime_s.as_ref().map(|down| format!("downtime {}", time(down)));
    match (left, down) {
        (Some(left), Some(down)) => Some(format!("{left}, {down}")),
        (left, down) => left.or(down),
    }
}

fn beside_one(name: &str, predicted: Option<&Span>, measured_ms: Option<f64>, ms_enough: f64) -> String {
    let measured = measured_ms.map(|ms| ms / 1e3);
    let words = match (predicted, measured) {
        (None, Some(m)) => format!("not predicted, measured {}", exact(m)),
        (None, None) => "not predicted, measured unknown".to_owned(),
        (Some(p), None) => format!("{}, measured unknown", time(p)),
        (Some(p), Some(m)) => {
            let off_ms = (p.mid - m) * 1e3;
            let off = if off_ms.abs() < ms_enough {
                format!("{off_ms:+.0} ms")
            } else {
                format!("{:+.0} %", (p.mid / m - 1.0) * 100.0)
            };
            format!("{}, measured {} ({off})", time(p), exact(m))
        }
    };
    format!("{name} {words}")
}

/// A measured time, s.
fn exact(s: f64) -> String {
    crate::units::show_duration(std::time::Duration::try_from_secs_f64(s).unwrap_or_default())
}

/// Predicted against measured: migration time, and the downtime from stop to resume, ms.
#[must_use]
pub fn beside(f: &Forecast, migration_ms: Option<f64>, stop_resume_ms: Option<f64>) -> String {
    let lead = match f.converges {
        Converges::Yes => "converges",
        Converges::Perhaps => "may or may not converge",
        Converges::No => "does not converge",
    };
    let time = beside_one("time", f.migration_s.as_ref(), migration_ms, 100.0);
    let down = beside_one("downtime", f.downtime_s.as_ref(), stop_resume_ms, 100.0);
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
        }
    }

    #[test]
    fn it_says_what_it_knows_and_no_more() {
        let f = forecast();
        assert_eq!(before(&f), "converges: about 12 s, 4 to 6 rounds, downtime 200 to 400 ms");
        assert_eq!(jump(&f).unwrap(), "the jump is at RATE 7,800");
        assert_eq!(running(&f).unwrap(), "done in about 8.0 s, downtime 200 to 400 ms");
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
            },
            ..f
        };
        let guess = " (a guess: the guest's memory has not been seen yet)";
        assert_eq!(before(&no), format!("will not converge by itself, and is not ended within 87 s{guess}"));
        let words = needs(&no).unwrap();
        assert_eq!(words, "RATE below 7,800, a bandwidth of 82.0 MB/s or a downtime limit of 3.2 s");
        assert_eq!(running(&no), None);
        let late = Forecast { left_s: span(-9.0, -4.0, -3.0), downtime_s: None, ..forecast() };
        assert_eq!(running(&late).unwrap(), "4.0 s later than expected");
        let soon = Forecast { left_s: span(-0.5, 0.01, 0.05), downtime_s: None, ..forecast() };
        assert_eq!(running(&soon).unwrap(), "done in under 100 ms");
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
    fn the_measured_stands_beside() {
        assert_eq!(
            beside(&forecast(), Some(12_600.0), Some(310.0)),
            "converges; time about 12 s, measured 12.6 s (-5 %); downtime 200 to 400 ms, measured 310 ms (-10 ms)"
        );
        assert!(beside(&forecast(), None, None).contains("measured unknown"));
        let none = Forecast { migration_s: None, ..forecast() };
        assert!(beside(&none, Some(900.0), None).contains("time not predicted, measured 900 ms"));
    }
}
