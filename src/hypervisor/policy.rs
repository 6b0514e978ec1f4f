//! The stop policy: what ends pre-copy from above the hypervisor. Pure functions on data.
//!
//! Some hypervisors iterate for ever when the guest dirties memory faster than the link carries
//! it. Xen 3.4 did not: `xc_domain_save` ended pre-copy after 29 rounds, after sending 3 x RAM, or
//! when a round had fewer than 50 pages to send, and the jump of the paper's downtimes is the work
//! of these rules. [`decide`] applies the same rules to whatever a driver observes. Differences
//! from Xen, which looks at its rules only between rounds: `ram` and `after` are looked at with
//! every sample, and sent bytes are those on the wire (a zero page costs a few bytes, not a page).

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::{Observation, nearest};
use crate::event::{MigrationSettings, Phase, StopPolicy, StopRule, Then};
use crate::text::visible;
use crate::units::{PAGE_BYTES, parse_duration};

/// Pre-copy rounds of Xen 3.4 (`DEF_MAX_ITERS` in `tools/libxc/xc_domain_save.c`).
pub const XEN_3_4_ROUNDS: u64 = 29;
/// How many times the RAM Xen 3.4 sends (`DEF_MAX_FACTOR`).
pub const XEN_3_4_RAM_FACTOR: f64 = 3.0;
/// A round with fewer pages than this is Xen 3.4's last, pages.
pub const XEN_3_4_PAGES: u64 = 50;

/// How long the preset `timeout` lets a migration take where it is not told.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// Names of the presets.
pub const PRESETS: [&str; 3] = ["xen-3.4", "none", "timeout"];
const KEYS: [&str; 5] = ["remaining", "rounds", "ram", "after", "then"];
const ACTIONS: [&str; 4] = ["stop-and-copy", "post-copy", "cancel", "auto-converge"];
const EXAMPLE: &str = "a preset (xen-3.4, none, timeout=15s) or rules such as \
                       rounds=10,ram=2.5,after=15s,remaining=50,then=stop-and-copy";

/// Text that cannot be read as a stop policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid stop policy '{}': {}; expected {EXAMPLE}", visible(text), visible(why))]
pub struct PolicyError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl StopPolicy {
    /// The rules of Xen 3.4: 29 rounds, 3 x RAM, 50 pages; then stop-and-copy.
    #[must_use]
    pub fn xen_3_4() -> Self {
        Self {
            name: "xen-3.4".into(),
            remaining_pages_below: Some(XEN_3_4_PAGES),
            rounds: Some(XEN_3_4_ROUNDS),
            ram_factor: Some(XEN_3_4_RAM_FACTOR),
            after_ns: None,
            then: Then::StopAndCopy,
        }
    }

    /// No rule: the hypervisor decides alone, and may iterate for ever.
    #[must_use]
    pub fn none() -> Self {
        Self {
            name: "none".into(),
            remaining_pages_below: None,
            rounds: None,
            ram_factor: None,
            after_ns: None,
            then: Then::StopAndCopy,
        }
    }

    /// Stop-and-copy when the migration has taken this long.
    #[must_use]
    pub fn timeout(after: Duration) -> Self {
        Self { name: "timeout".into(), after_ns: Some(nanos(after)), ..Self::none() }
    }

    /// Whether any rule can fire.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.remaining_pages_below.is_some()
            || self.rounds.is_some()
            || self.ram_factor.is_some()
            || self.after_ns.is_some()
    }
}

impl Default for StopPolicy {
    /// No rule: nobody's guest is stopped unasked.
    fn default() -> Self {
        Self::none()
    }
}

impl Default for MigrationSettings {
    /// The hypervisor's own bandwidth and downtime limit, pre-copy only, no stop policy.
    fn default() -> Self {
        Self {
            bandwidth_bytes_per_s: None,
            downtime_limit_ms: None,
            policy: StopPolicy::default(),
            post_copy: false,
            auto_converge: false,
            extra: std::collections::BTreeMap::new(),
        }
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// The rule that ends pre-copy now, if one does. Only pre-copy can be ended; where the product does not say
/// which phase it is in, a rule of time counts all the same. `elapsed` counts from the start of the migration; `ram_bytes` is the guest's RAM where it is known.
#[must_use]
pub fn decide(
    policy: &StopPolicy,
    observation: &Observation,
    elapsed: Duration,
    ram_bytes: Option<u64>,
) -> Option<StopRule> {
    if observation.phase == Phase::Moving {
        return time_is_over(policy, elapsed);
    }
    if observation.phase != Phase::PreCopy {
        return None;
    }
    // A round that has begun with number n means that n - 1 are complete.
    if let (Some(limit), Some(begun)) = (policy.rounds, observation.round)
        && begun > limit
    {
        return Some(StopRule::Rounds { limit });
    }
    if let (Some(limit), Some(sent), Some(ram)) =
        (policy.ram_factor, observation.sample.transferred_bytes, ram_bytes.filter(|r| *r > 0))
        && sent as f64 > limit * ram as f64
    {
        return Some(StopRule::RamFactor { limit, sent_bytes: sent });
    }
    // Within a round `remaining` falls towards zero while the guest dirties on unseen, so only a
    // round's first look counts; the first round begins with all of RAM.
    if let (Some(limit), Some(bytes), Some(2..)) =
        (policy.remaining_pages_below, observation.round_remaining_bytes, observation.round)
    {
        let seen = bytes.div_ceil(PAGE_BYTES);
        if seen < limit {
            return Some(StopRule::RemainingPages { limit, seen });
        }
    }
    time_is_over(policy, elapsed)
}

fn time_is_over(policy: &StopPolicy, elapsed: Duration) -> Option<StopRule> {
    let limit_ns = policy.after_ns.filter(|limit| nanos(elapsed) >= *limit)?;
    Some(StopRule::Time { limit_ns })
}

/// A rule in words: `after 29 rounds`.
#[must_use]
pub fn describe(rule: &StopRule) -> String {
    rule.words()
}

impl FromStr for StopPolicy {
    type Err = PolicyError;

    /// Reads `xen-3.4`, `none`, `timeout=15s`, or rules such as
    /// `rounds=10,ram=2.5,after=15s,remaining=50,then=post-copy`. Rules after a preset change it.
    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let fail = |why: String| PolicyError { text: text.to_owned(), why };
        let mut policy: Option<Self> = None;
        for (i, item) in text.split(',').map(str::trim).enumerate() {
            let (word, value) = match item.split_once(['=', ':']) {
                Some((w, v)) => (w.trim(), Some(v.trim())),
                None => (item, None),
            };
            if i == 0
                && let Some(preset) = preset(word, value).map_err(&fail)?
            {
                policy = Some(preset);
                continue;
            }
            let p = policy.get_or_insert_with(|| Self { name: "custom".into(), ..Self::none() });
            rule(p, word, value).map_err(&fail)?;
            p.name = "custom".into();
        }
        let policy = policy.unwrap_or_default();
        if policy.name == "custom" && !policy.has_rules() {
            return Err(fail("it has no rule that could fire".into()));
        }
        Ok(policy)
    }
}

fn preset(word: &str, value: Option<&str>) -> Result<Option<StopPolicy>, String> {
    match (word, value) {
        ("xen-3.4", None) => Ok(Some(StopPolicy::xen_3_4())),
        ("none", None) => Ok(Some(StopPolicy::none())),
        ("xen-3.4" | "none", Some(_)) => Err(format!("'{word}' takes no value")),
        ("timeout", None) => Ok(Some(StopPolicy::timeout(TIMEOUT))),
        ("timeout", Some(v)) => {
            let d = parse_duration(v).map_err(|e| e.to_string())?;
            Ok(Some(StopPolicy::timeout(d)))
        }
        _ => Ok(None),
    }
}

fn rule(p: &mut StopPolicy, word: &str, value: Option<&str>) -> Result<(), String> {
    if !KEYS.contains(&word) {
        let known = PRESETS.into_iter().chain(KEYS);
        return Err(match (word, nearest(word, known)) {
            ("", _) => "a rule is empty".into(),
            (_, Some(n)) if PRESETS.contains(&word) => format!("the preset '{n}' must come first"),
            (_, Some(n)) => format!("'{word}' is unknown, did you mean '{n}'?"),
            (_, None) => {
                format!("'{word}' is unknown; known are {} and the rules {}", PRESETS.join(", "), KEYS.join(", "))
            }
        });
    }
    let Some(value) = value.filter(|v| !v.is_empty()) else {
        return Err(format!("'{word}' needs a value, as in {word}={}", example(word)));
    };
    let whole =
        || value.replace('_', "").parse::<u64>().map_err(|_| format!("'{word}' takes a whole number, not '{value}'"));
    match word {
        "remaining" => p.remaining_pages_below = Some(whole()?),
        "rounds" => p.rounds = Some(whole()?),
        "ram" => match value.trim_end_matches(['x', 'X']).parse::<f64>() {
            Ok(f) if f.is_finite() && f > 0.0 => p.ram_factor = Some(f),
            _ => {
                return Err(format!("'ram' takes a positive number (times the guest's RAM), not '{value}'"));
            }
        },
        "after" => p.after_ns = Some(nanos(parse_duration(value).map_err(|e| e.to_string())?)),
        _ => {
            p.then = match value {
                "stop-and-copy" => Then::StopAndCopy,
                "post-copy" => Then::PostCopy,
                "cancel" => Then::Cancel,
                "auto-converge" => Then::AutoConverge,
                other => {
                    return Err(match nearest(other, ACTIONS) {
                        Some(n) => format!("'then={other}' is unknown, did you mean 'then={n}'?"),
                        None => format!("'then={other}' is unknown; it can be {}", ACTIONS.join(", ")),
                    });
                }
            }
        }
    }
    Ok(())
}

fn example(word: &str) -> &'static str {
    match word {
        "remaining" => "50",
        "rounds" => "10",
        "ram" => "2.5",
        "after" => "15s",
        _ => "stop-and-copy",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Sample;

    fn seen(round: u64, first_pages: u64, sent: u64) -> Observation {
        Observation {
            phase: Phase::PreCopy,
            round: Some(round),
            round_remaining_bytes: Some(first_pages * PAGE_BYTES),
            sample: Sample { transferred_bytes: Some(sent), ..Sample::default() },
            ..Observation::default()
        }
    }

    const RAM: Option<u64> = Some(1 << 30);

    #[test]
    fn xen_stops_after_29_complete_rounds() {
        let p = StopPolicy::xen_3_4();
        let at = |r| decide(&p, &seen(r, 1000, 0), Duration::ZERO, RAM);
        assert_eq!(at(29), None);
        assert_eq!(at(30), Some(StopRule::Rounds { limit: 29 }));
    }

    #[test]
    fn xen_stops_when_more_than_three_times_ram_is_sent() {
        let p = StopPolicy::xen_3_4();
        let at = |sent, ram| decide(&p, &seen(5, 1000, sent), Duration::ZERO, ram);
        assert_eq!(at(3 << 30, RAM), None);
        assert_eq!(at((3 << 30) + 1, RAM), Some(StopRule::RamFactor { limit: 3.0, sent_bytes: (3 << 30) + 1 }));
        assert_eq!(at(u64::MAX, None), None, "an unknown RAM size decides nothing");
        assert_eq!(at(1, Some(0)), None);
    }

    #[test]
    fn remaining_counts_only_at_the_start_of_a_later_round() {
        let p = StopPolicy::xen_3_4();
        let at = |o: &Observation| decide(&p, o, Duration::ZERO, RAM);
        assert_eq!(at(&seen(4, 49, 0)), Some(StopRule::RemainingPages { limit: 50, seen: 49 }));
        assert_eq!(at(&seen(4, 50, 0)), None);
        assert_eq!(at(&seen(1, 49, 0)), None);
        let mut late = seen(4, 5000, 0);
        late.sample.remaining_bytes = Some(0);
        assert_eq!(at(&late), None, "the end of a round is not a small round");
        late.round_remaining_bytes = None;
        assert_eq!(at(&late), None);
    }

    #[test]
    fn time_and_phase() {
        let p = StopPolicy::timeout(Duration::from_secs(15));
        let mut o = seen(3, 1000, 0);
        assert_eq!(decide(&p, &o, Duration::from_millis(14_999), RAM), None);
        assert_eq!(decide(&p, &o, Duration::from_secs(15), RAM), Some(StopRule::Time { limit_ns: 15_000_000_000 }));
        for phase in [Phase::Setup, Phase::StopAndCopy, Phase::PostCopy, Phase::Done, Phase::Unknown, Phase::Idle] {
            o.phase = phase;
            assert_eq!(decide(&p, &o, Duration::from_secs(99), RAM), None, "{phase:?}");
        }
        let none = StopPolicy::none();
        assert_eq!(decide(&none, &seen(999, 0, u64::MAX), Duration::MAX, RAM), None);
    }

    #[test]
    fn policies_are_read() {
        assert_eq!("xen-3.4".parse(), Ok(StopPolicy::xen_3_4()));
        assert_eq!("none".parse(), Ok(StopPolicy::none()));
        assert_eq!("timeout=20s".parse(), Ok(StopPolicy::timeout(Duration::from_secs(20))));
        assert_eq!("timeout".parse(), Ok(StopPolicy::timeout(TIMEOUT)));
        let p: StopPolicy = "rounds=10, ram=2.5x,after=15s,remaining=50,then=post-copy".parse().unwrap();
        assert_eq!(
            p,
            StopPolicy {
                name: "custom".into(),
                remaining_pages_below: Some(50),
                rounds: Some(10),
                ram_factor: Some(2.5),
                after_ns: Some(15_000_000_000),
                then: Then::PostCopy,
            }
        );
        let p: StopPolicy = "xen-3.4,then=cancel".parse().unwrap();
        assert_eq!((p.name.as_str(), p.rounds, p.then), ("custom", Some(29), Then::Cancel));
    }

    #[test]
    fn errors_name_the_nearest_word() {
        for (text, want) in [
            ("xen3.4", "did you mean 'xen-3.4'?"),
            ("round=10", "did you mean 'rounds'?"),
            ("rounds=10,then=postcopy", "did you mean 'then=post-copy'?"),
            ("timeout=15", "no unit"),
            ("rounds=-1", "'rounds' takes a whole number"),
            ("ram=0", "takes a positive number"),
            ("ram=nan", "takes a positive number"),
            ("rounds=", "needs a value"),
            ("rounds", "rounds=10"),
            ("then=cancel", "no rule that could fire"),
            ("rounds=3,none", "must come first"),
            ("none=3", "takes no value"),
            ("", "empty"),
            ("qqq", "known are xen-3.4"),
        ] {
            let e = text.parse::<StopPolicy>().unwrap_err().to_string();
            assert!(e.contains(want) && e.contains("rounds=10"), "{text}: {e}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<StopPolicy>();
        }

        #[test]
        fn what_is_written_is_read_back(rounds in 0u64..1_000_000, ram in 1u32..1000, then in 0usize..4) {
            let text = format!("rounds={rounds},ram={ram},then={}", ACTIONS[then]);
            let p: StopPolicy = text.parse().unwrap();
            prop_assert_eq!(p.rounds, Some(rounds));
            prop_assert_eq!(p.ram_factor, Some(f64::from(ram)));
        }
    }
}
