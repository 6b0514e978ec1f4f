//! The front end without a screen: tells progress on stderr.

use std::time::Duration;

use crate::analysis::prediction::words;
use crate::event::{Level, Nanos};
use crate::session::state::Migration;
use crate::session::stopping::stop_forecast;
use crate::session::{Shared, State};
use crate::units::{show_bandwidth, show_bytes};

/// How long it may take until a line of the event log is told.
pub(super) const TOLD_WITHIN: Duration = Duration::from_millis(150);
/// How often a running migration is told of.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Tells the event log and the course of each migration on stderr, for ever.
pub(super) async fn tell(shared: Shared) {
    let mut told = 0u64;
    let mut next_course = tokio::time::Instant::now() + TELL_EVERY;
    loop {
        let (lines, course, total) = shared.with_state(|s| {
            let fresh = (s.log_total - told).min(s.log.len() as u64) as usize;
            let lines: Vec<String> = s
                .log
                .iter()
                .skip(s.log.len() - fresh)
                // The end of a caption says nothing.
                .filter(|l| !l.text.is_empty())
                .map(|l| format!("{} {} {}: {}", stamp(l.t), letter(l.level), l.from, l.text))
                .collect();
            (lines, course(s), s.log_total)
        });
        told = total;
        for line in lines {
            tell!("{line}");
        }
        if tokio::time::Instant::now() >= next_course {
            next_course += TELL_EVERY;
            if let Some(course) = course {
                tell!("{course}");
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn letter(level: Level) -> char {
    match level {
        Level::Info => ' ',
        Level::Warn => '!',
        Level::Error => 'E',
    }
}

fn stamp(t: Nanos) -> String {
    format!("{:>9.3}", t as f64 / 1e9)
}

/// How long a guest that was stopped still stands.
fn standing(state: &State, m: &Migration) -> String {
    let stands = m.stopped.is_some() && m.resumed.is_none();
    let left = if stands { stop_forecast(state, m, state.now) } else { None };
    left.map(|f| format!(", runs again in {}", words::stop(&f.left_s))).unwrap_or_default()
}

/// One line on the running migration.
fn course(state: &State) -> Option<String> {
    let m = state.migrations.last().filter(|m| m.ended.is_none())?;
    let (_, sample) = m.samples.last()?;
    let phase = m.phases.last().map_or("setup", |p| p.phase.word());
    let part = |name: &str, text: Option<String>| text.map(|t| format!(", {name} {t}")).unwrap_or_default();
    Some(
        format!(
            "{}   migration {}: {phase}, round {}{}{}{}",
            stamp(state.now),
            m.n,
            crate::session::result::rounds(m).map_or_else(|| "?".into(), |r| r.to_string()),
            part("sent", sample.transferred_bytes.map(show_bytes)),
            part("remaining", sample.remaining_bytes.map(show_bytes)),
            part("at", sample.throughput_bytes_per_s.map(show_bandwidth)),
        ) + &standing(state, m),
    )
}
