//! What a command's output says of the migration: patterns whose named groups are figures.

use std::time::Duration;

use regex_lite::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use crate::event::{Phase, Sample};
use crate::hypervisor::blocking::{Heard, newer};
use crate::text::nearest;
use crate::units::{PAGE_BYTES, parse_bandwidth, parse_bytes, parse_duration};

/// Names of groups, and what they are.
const GROUPS: [&str; 9] =
    ["percent", "sent", "remaining", "total", "throughput", "dirty", "round", "downtime", "error"];

/// How large a pattern may become, bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// A pattern for the output of the migrating command. It is looked for in each line, and where a line is
/// rewritten in each state of it; all patterns that are found count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pattern {
    /// A regular expression. What its groups named `percent`, `sent`, `remaining`, `total`, `throughput`,
    /// `dirty`, `round`, `downtime` or `error` hold is taken for that; figures may carry a unit
    /// (`1.2 GiB`, `30 MiB/s`, `83 ms`), and without one are bytes, bytes/s and ms.
    #[serde(rename = "match")]
    pub matches: String,
    /// The phase that begins with it: `setup`, `moving`, `pre-copy`, `stop-and-copy`, `post-copy`, `recovery`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The guest has been stopped at the source.
    #[serde(default)]
    pub stopped: bool,
    /// The guest runs at the destination.
    #[serde(default)]
    pub resumed: bool,
    /// The migration was cancelled.
    #[serde(default)]
    pub cancelled: bool,
}

/// Compiled patterns.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    patterns: Vec<(Regex, Pattern)>,
}

impl Reader {
    pub(super) fn new(patterns: &[Pattern]) -> Result<Self, ConfigError> {
        let compiled = patterns.iter().map(|pattern| {
            let regex = compiled(&pattern.matches, "patterns")?;
            for name in regex.capture_names().flatten() {
                if !GROUPS.contains(&name) {
                    let hint = nearest(name, GROUPS).map(|n| format!(" (did you mean '{n}'?)")).unwrap_or_default();
                    let why = format!("there is no figure '{name}'{hint}; there are {}", GROUPS.join(", "));
                    return Err(ConfigError::new("patterns", &pattern.matches, why));
                }
            }
            match pattern.phase {
                Some(phase) if phase.is_over() || phase == Phase::Unknown => {
                    let why = format!("'{}' is not told by a pattern: the end of the command tells it", phase.word());
                    Err(ConfigError::new("patterns", &pattern.matches, why))
                }
                _ => Ok((regex, pattern.clone())),
            }
        });
        Ok(Self { patterns: compiled.collect::<Result<_, _>>()? })
    }

    /// Whether a figure of this name can be told.
    pub(super) fn tells(&self, group: &str) -> bool {
        self.patterns.iter().any(|(regex, _)| regex.capture_names().flatten().any(|name| name == group))
    }

    /// Whether any pattern is so.
    pub(super) fn any(&self, is: impl Fn(&Pattern) -> bool) -> bool {
        self.patterns.iter().any(|(_, pattern)| is(pattern))
    }

    /// What a line says.
    pub(super) fn read(&self, line: &str) -> Heard {
        let mut heard = Heard::default();
        for (regex, pattern) in &self.patterns {
            let Some(found) = regex.captures(line) else { continue };
            heard.phase = pattern.phase.or(heard.phase);
            heard.stopped |= pattern.stopped;
            heard.resumed |= pattern.resumed;
            heard.cancelled |= pattern.cancelled;
            figures(&found, &mut heard.sample);
            if let Some(error) = text(&found, "error") {
                heard.error = Some(error.to_owned());
            }
        }
        heard
    }
}

/// Compiles a pattern of that setting.
pub(super) fn compiled(pattern: &str, setting: &'static str) -> Result<Regex, ConfigError> {
    RegexBuilder::new(pattern)
        .multi_line(true)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|e| ConfigError::new(setting, pattern, format!("not a regular expression: {e}")))
}

fn text<'a>(found: &Captures<'a>, group: &str) -> Option<&'a str> {
    found.name(group).map(|m| m.as_str().trim()).filter(|text| !text.is_empty())
}

/// What cannot be read as a figure is none.
fn figures(found: &Captures<'_>, sample: &mut Sample) {
    let bytes = |group| text(found, group).and_then(|t| parse_bytes(t).ok());
    let rate = |group| text(found, group).and_then(|t| parse_bandwidth(t).ok()).map(|n| n as f64);
    let percent = text(found, "percent").and_then(|t| t.parse::<f64>().ok()).filter(|p| (0.0..=100.0).contains(p));
    let new = Sample {
        progress: percent.map(|p| p / 100.0),
        transferred_bytes: bytes("sent"),
        remaining_bytes: bytes("remaining"),
        total_bytes: bytes("total"),
        throughput_bytes_per_s: rate("throughput"),
        dirty_pages_per_s: rate("dirty").map(|n| n / PAGE_BYTES as f64),
        round: text(found, "round").and_then(|t| t.parse().ok()),
        downtime_ms: text(found, "downtime").and_then(milliseconds),
        ..Sample::default()
    };
    *sample = newer(sample, new);
}

fn milliseconds(text: &str) -> Option<f64> {
    let bare = text.parse::<f64>().ok().filter(|ms| ms.is_finite() && *ms >= 0.0);
    bare.or_else(|| parse_duration(text).ok().map(|d: Duration| d.as_secs_f64() * 1e3))
}
