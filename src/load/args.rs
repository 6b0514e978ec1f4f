//! The load on a command line.

use std::time::Duration;

use clap::Args;

use super::params::MAX_RATE;
use super::{LoadError, LoadSettings, Pattern};
use crate::units::{ParseError, parse_bytes, parse_duration, parse_rate};

/// Options that set the load; flatten them into a command's arguments.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// LOAD: CPU utilisation of each CPU, 0 to 100 %
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, allow_negative_numbers = true)]
    pub load: Option<f64>,
    /// WSET: memory to lock and fill with random data, e.g. 96M
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, allow_negative_numbers = true)]
    pub wset: Option<u64>,
    /// RATE: pages to dirty each second, e.g. 9000, or `max`
    #[arg(long, value_name = "PAGES/S", value_parser = parse_rate_or_max, allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// BPC: pages to dirty in each cycle (RATE = BPC / PERIOD: any two give the third)
    #[arg(long, value_name = "PAGES")]
    pub bpc: Option<u64>,
    /// PERIOD: length of a cycle, e.g. 10ms
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_negative_numbers = true)]
    pub period: Option<Duration>,
    /// FILL: share of each page that is written, 0 to 100 %; at least 8 bytes are
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, allow_negative_numbers = true)]
    pub fill: Option<f64>,
    /// Order of the writes: cyclic, random or hotspot
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    pub pattern: Option<Pattern>,
}

impl LoadArgs {
    /// The settings asked for, on top of an idle load.
    ///
    /// # Errors
    /// When a value is out of range, BPC, PERIOD and RATE are all given and disagree, or there is a
    /// RATE and no WSET.
    pub(crate) fn settings(&self) -> Result<LoadSettings, LoadError> {
        self.over(LoadSettings::default())
    }

    /// The settings asked for, on top of `base`.
    ///
    /// # Errors
    /// As [`LoadArgs::settings`].
    pub(crate) fn over(&self, base: LoadSettings) -> Result<LoadSettings, LoadError> {
        let mut settings = LoadSettings {
            cpu_load_pct: self.load.unwrap_or(base.cpu_load_pct),
            wset_bytes: self.wset.unwrap_or(base.wset_bytes),
            dirty: base.dirty.with_any(self.bpc, self.period, self.rate)?,
            fill_pct: self.fill.unwrap_or(base.fill_pct),
            pattern: self.pattern.unwrap_or(base.pattern),
        }
        .checked()?;
        if settings.dirties_nothing() && self.rate.is_none() && self.bpc.is_none() {
            // The RATE is the base's; a WSET of 0 asks for none.
            settings.dirty.bpc_pages = 0;
        }
        if settings.dirties_nothing() {
            return Err(LoadError::NothingToDirty { rate: settings.dirty.rate_pages_per_s() });
        }
        Ok(settings)
    }
}

/// Reads a percentage: `40`, `12.5`, `40%`.
///
/// # Errors
/// When the text is not a number from 0 to 100.
pub(crate) fn parse_percent(text: &str) -> Result<f64, ParseError> {
    let fail = |why: &str| ParseError {
        text: text.into(),
        what: "percentage",
        why: why.into(),
        hint: "a number from 0 to 100, for instance 40 or 12.5%",
    };
    let digits = text.trim().strip_suffix('%').unwrap_or(text.trim()).trim_end();
    match digits.parse::<f64>() {
        Ok(n) if n.is_finite() && n < 0.0 => Err(fail("it is negative")),
        Ok(n) if n.is_finite() && n > 100.0 => Err(fail("it is more than 100 %")),
        Ok(n) if n.is_finite() => Ok(n),
        _ => Err(fail("it is not a number")),
    }
}

/// Reads a RATE, or `max`. Pages/s.
fn parse_rate_or_max(text: &str) -> Result<f64, ParseError> {
    if text.trim() == "max" { Ok(MAX_RATE) } else { parse_rate(text) }
}

/// Reads the name of a pattern.
///
/// # Errors
/// When there is no such pattern.
pub(crate) fn parse_pattern(text: &str) -> Result<Pattern, ParseError> {
    Pattern::ALL.into_iter().find(|p| p.name() == text.trim()).ok_or_else(|| ParseError {
        text: text.into(),
        what: "pattern",
        why: "it is unknown".into(),
        hint: "cyclic, random or hotspot",
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn read(line: &str) -> Result<LoadSettings, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|e| e.to_string())?;
        cli.load.settings().map_err(|e| e.to_string())
    }

    #[test]
    fn a_command_line_becomes_settings() {
        let s = read("--load 40% --wset 96M --rate 9000 --fill 12.5 --pattern hotspot").unwrap();
        assert_eq!(s.wset_bytes, 96 << 20);
        assert_eq!((s.dirty.bpc_pages, s.dirty.period_ns), (90, 10_000_000));
        assert_eq!((s.cpu_load_pct, s.fill_pct, s.pattern), (40.0, 12.5, Pattern::Hotspot));
        assert_eq!(read("").unwrap(), LoadSettings::default());
        assert!(read("--rate max --wset 1M").unwrap().dirty.rate_pages_per_s() >= 0.999e9);
    }

    #[test]
    fn bad_text_says_what_would_be_right() {
        for (line, says) in [
            ("--rate 9k/s", "plain number"),
            ("--rate -1", "negative"),
            ("--wset lots", "96M"),
            ("--period 50", "no unit"),
            ("--load 101", "more than 100"),
            ("--fill x", "not a number"),
            ("--pattern zigzag", "cyclic, random or hotspot"),
            ("--rate 9000 --bpc 90 --period 20ms", "any two"),
            ("--period 1us --bpc 1", "100 µs"),
            ("--rate 9000", "RATE 9,000 pages/s dirties nothing without a WSET"),
            ("--bpc 90", "--wset 96M"),
            ("--bpc 90 --wset 0", "--wset 96M"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
