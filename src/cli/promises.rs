//! What a session is promised to stay within, and what became of it at the end.

use std::time::Duration;

use clap::Args;

use super::exit::{EXIT_NOT_AS_ASKED, EXIT_OK, EXIT_UNKNOWN};
use super::say;
use crate::analysis::Method;
use crate::session::State;
use crate::session::promise::{self, Judged, Promise, Verdict};
use crate::units::parse_duration;

/// Promises of a session.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Promises (exit code 1 when one is broken, 5 when it is not known)")]
pub(super) struct PromiseArgs {
    /// No migration takes the guest away for longer: by the longest of the estimators that are known, or by the one
    /// named: lost-pings, reply-gap, reported, stop-resume or guest-clock
    #[arg(long, value_name = "TIME[=ESTIMATOR]", value_parser = parse_downtime)]
    pub max_downtime: Option<Downtime>,
    /// No probe sees its target gone for longer, whether or not something is migrated
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_outage: Option<Duration>,
    /// No probe loses more of what it sent; what was refused or ended in an error counts as lost
    #[arg(long, value_name = "PERCENT", value_parser = parse_share)]
    pub max_loss: Option<f64>,
}

/// The longest downtime there may be, and the estimator that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Downtime {
    most: Duration,
    by: Option<Method>,
}

impl PromiseArgs {
    /// What became of each in this session.
    pub(super) fn judge(&self, state: &State) -> Vec<Judged> {
        let downtime = self.max_downtime.map(|Downtime { most, by }| Promise::Downtime { most, by });
        let outage = self.max_outage.map(|most| Promise::Outage { most });
        let loss = self.max_loss.map(|most_pct| Promise::Loss { most_pct });
        [downtime, outage, loss].into_iter().flatten().map(|promise| promise.judge(state)).collect()
    }
}

/// A sentence on each, on standard output.
///
/// # Errors
/// When it cannot be written.
pub(super) fn print(all: &[Judged]) -> std::io::Result<()> {
    let lines: String = all.iter().map(|judged| format!("{}\n", judged.words)).collect();
    if lines.is_empty() { Ok(()) } else { say::print(&lines) }
}

/// The exit code that follows from them where all else went well.
pub(super) fn exit_code(all: &[Judged]) -> u8 {
    match promise::together(all) {
        Some(Verdict::Broken) => EXIT_NOT_AS_ASKED,
        Some(Verdict::NotKnown) => EXIT_UNKNOWN,
        Some(Verdict::Kept) | None => EXIT_OK,
    }
}

fn parse_downtime(text: &str) -> Result<Downtime, String> {
    let (most, by) = text.split_once('=').map_or((text, None), |(most, by)| (most, Some(by)));
    let most = parse_duration(most).map_err(|e| e.to_string())?;
    let by = by.map(|by| {
        Method::ALL.into_iter().find(|m| m.name() == by).ok_or_else(|| {
            let names: Vec<&str> = Method::ALL.iter().map(|m| m.name()).collect();
            format!("'{by}' is no estimator: choose from {}, for instance 1s=reply-gap", names.join(", "))
        })
    });
    Ok(Downtime { most, by: by.transpose()? })
}

/// A share in percent; the sign may be left out.
fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    number
        .filter(|pct| (0.0..=100.0).contains(pct))
        .ok_or_else(|| format!("invalid share '{text}': expected 0 to 100 percent, for instance 0.1%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_a_time_and_perhaps_an_estimator() {
        let s = Duration::from_secs(1);
        assert_eq!(parse_downtime("1s"), Ok(Downtime { most: s, by: None }));
        assert_eq!(parse_downtime("1s=reply-gap"), Ok(Downtime { most: s, by: Some(Method::ReplyGap) }));
        assert!(parse_downtime("1").unwrap_err().contains("no unit"));
        assert!(parse_downtime("1s=pings").unwrap_err().contains("choose from lost-pings, reply-gap, reported"));
        assert_eq!((parse_share("0.1%"), parse_share("2"), parse_share("0 %")), (Ok(0.1), Ok(2.0), Ok(0.0)));
        for wrong in ["", "%", "-1%", "101", "NaN", "inf"] {
            assert!(parse_share(wrong).unwrap_err().contains("0 to 100 percent"), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_known_is_no_success() {
        let judged = |promises: PromiseArgs| promises.judge(&State::default());
        let asked = PromiseArgs { max_outage: Some(Duration::from_secs(1)), ..PromiseArgs::default() };
        assert_eq!((exit_code(&judged(asked)), exit_code(&[])), (EXIT_UNKNOWN, EXIT_OK));
    }
}
