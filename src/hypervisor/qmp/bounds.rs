//! What a QEMU may say is bounded in bytes where it comes in: one text, one value, all of it together
//! in a second; and remarks on it are folded.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::text::capped;

/// Longest name of an event, a status, a parameter or a class of errors, bytes.
pub(super) const NAME_LIMIT: usize = 128;
/// Heaviest data of one event that is kept, see [`weight`]. QEMU's own have some hundred bytes.
pub(super) const DATA_LIMIT: usize = 8 << 10;
/// Heaviest answer to `query-migrate` that is kept whole. QEMU's own have about 2 KB.
pub(super) const SAMPLE_LIMIT: usize = 32 << 10;
/// Heaviest value of one parameter that is taken.
pub(super) const PARAMETER_LIMIT: usize = 4 << 10;
/// Parameters and capabilities of one host that are taken; QEMU 10 has 60.
pub(super) const OFFERED: usize = 512;

/// A name as it may be kept.
pub(super) fn name(text: &str) -> String {
    capped(text, NAME_LIMIT).into_owned()
}

/// About what a value takes in memory, and at least what it takes in a capture, bytes. Stops counting
/// beyond `enough`.
fn weight(value: &Value, enough: usize) -> usize {
    let text = |s: &str| {
        s.bytes().map(|b| if b < 0x20 { 6 } else { 1 + usize::from(matches!(b, b'"' | b'\\')) }).sum::<usize>()
    };
    let mut sum = 0;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        sum += 32;
        match value {
            Value::String(s) => sum += text(s),
            Value::Array(all) => open.extend(all.iter().take(enough / 32 + 1)),
            Value::Object(all) => {
                for (key, value) in all.iter().take(enough / 32 + 1) {
                    sum += text(key);
                    open.push(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        if sum > enough {
            break;
        }
    }
    sum
}

/// Whether a value weighs at most `limit` bytes.
pub(super) fn fits(value: &Value, limit: usize) -> bool {
    weight(value, limit) <= limit
}

/// The value if it weighs at most `limit` bytes, else a marker in its place.
pub(super) fn slim(value: Value, limit: usize) -> Value {
    if fits(&value, limit) { value } else { marker(&format!("more than {limit} bytes")) }
}

/// Stands where something of the peer's was too much to be kept.
fn marker(why: &str) -> Value {
    json!({ "cut by blackout": why })
}

/// How much of what one host says is kept, bytes/s, and how much at once, bytes. A QEMU that migrates
/// says about 20 KB/s.
const RATE: f64 = 100_000.0;
const BURST: f64 = 1_000_000.0;

/// What may still be kept of what a host says.
#[derive(Debug)]
pub(super) struct Budget {
    left: f64,
    at: Instant,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: BURST, at: Instant::now() }
    }
}

impl Budget {
    /// Whether a value, and what goes with it, may be kept.
    pub(super) fn allows(&mut self, value: &Value) -> bool {
        self.allows_at(value, Instant::now())
    }

    fn allows_at(&mut self, value: &Value, now: Instant) -> bool {
        // Beside the value stand a time, a host, a name.
        let bytes = 200.0 + weight(value, SAMPLE_LIMIT) as f64;
        self.left = (self.left + now.saturating_duration_since(self.at).as_secs_f64() * RATE).min(BURST);
        self.at = now;
        let allowed = self.left >= bytes;
        if allowed {
            self.left -= bytes;
        }
        allowed
    }

    /// The value if it may be kept, else a marker; and which of the two it is.
    pub(super) fn keep(&mut self, value: Value) -> (Value, bool) {
        if self.allows(&value) { (value, true) } else { (marker("this host says too much"), false) }
    }
}

/// Lets one remark of a kind through every five seconds, and counts the others.
#[derive(Debug, Default)]
pub(super) struct Fold {
    last: Option<Instant>,
    held: u64,
}

/// Between two remarks of one kind.
const EVERY: Duration = Duration::from_secs(5);

impl Fold {
    /// The remark, if it is to be told now, with how many like it were held back; it stands for `times`.
    pub(super) fn say(&mut self, times: u64, text: impl FnOnce() -> String) -> Option<String> {
        self.say_at(times, text, Instant::now())
    }

    fn say_at(&mut self, times: u64, text: impl FnOnce() -> String, now: Instant) -> Option<String> {
        self.held += times;
        if self.held == 0 || self.last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            return None;
        }
        self.last = Some(now);
        let more = std::mem::take(&mut self.held) - 1;
        let text = text();
        Some(if more == 0 { text } else { format!("{text} … {more} more like this") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_weighs_at_least_what_it_takes_in_a_capture() {
        for value in [
            json!(null),
            json!("\u{1}\u{1}\u{1}\"\\"),
            json!([1, 2, 3, 18_446_744_073_709_551_615u64]),
            json!({"a": {"b": vec!["x"; 100]}, "\u{1f}": -1.25e-300}),
            json!(vec![0; 10_000]),
        ] {
            assert!(weight(&value, usize::MAX / 64) >= value.to_string().len(), "{value}");
        }
        assert_eq!(slim(json!({"pass": 1}), DATA_LIMIT), json!({"pass": 1}));
        for heavy in
            [json!("x".repeat(DATA_LIMIT)), json!(vec![0; DATA_LIMIT / 32]), json!({"a": "\u{1}".repeat(2000)})]
        {
            assert_eq!(slim(heavy, DATA_LIMIT), json!({"cut by blackout": "more than 8192 bytes"}));
        }
    }

    #[test]
    fn a_flood_is_cut_to_the_rate_and_a_migration_never_is() {
        let (mut budget, begun) = (Budget::default(), Instant::now());
        let event = json!({"pass": 1});
        let kept = |budget: &mut Budget, per_s: u64, seconds: u64, from: Instant| {
            let every = 1_000_000_000 / per_s;
            (0..per_s * seconds).filter(|i| budget.allows_at(&event, from + Duration::from_nanos(i * every))).count()
        };
        assert_eq!(kept(&mut budget, 50, 60, begun), 3000, "what a QEMU says is kept");
        let later = begun + Duration::from_secs(100);
        let flood = kept(&mut budget, 20_000, 10, later);
        assert!((5_000..10_000).contains(&flood), "{flood}");
    }

    #[test]
    fn remarks_of_a_kind_are_folded() {
        let (mut fold, t) = (Fold::default(), Instant::now());
        let at = |ms| t + Duration::from_millis(ms);
        assert_eq!(fold.say_at(1, || "no".into(), at(0)).as_deref(), Some("no"));
        for ms in 1..=120 {
            assert_eq!(fold.say_at(1, || "no".into(), at(ms)), None);
        }
        assert_eq!(fold.say_at(1, || "no".into(), at(6000)).as_deref(), Some("no … 120 more like this"));
        assert_eq!(fold.say_at(0, || "no".into(), at(60_000)), None);
    }
}
