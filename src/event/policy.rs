//! The stop policy: what is to end pre-copy from above the hypervisor, as data, as text and in words.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::text::{nearest, visible};
use crate::units::{nanos, parse_duration, show_bytes, show_duration};

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

/// What ends pre-copy from above the hypervisor. Modelled on Xen 3.4 (`xc_domain_save`): at most
/// 29 rounds, at most 3 x RAM sent, or fewer than 50 pages left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StopPolicy {
    /// Name of the preset, or `custom`.
    pub name: String,
    /// End when fewer pages than this remain.
    pub remaining_pages_below: Option<u64>,
    /// End after this number of pre-copy rounds.
    pub rounds: Option<u64>,
    /// End when this multiple of the guest's RAM has been sent.
    pub ram_factor: Option<f64>,
    /// End after so long, ns since the migration began.
    pub after_ns: Option<u64>,
    /// How pre-copy is ended.
    pub then: Then,
}

/// How pre-copy is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Stop the source, let it finish, make sure the guest runs at the destination.
    StopAndCopy,
    /// Run the guest at the destination and pull the rest.
    PostCopy,
    /// Give up; the guest stays at the source.
    Cancel,
    /// Let the hypervisor throttle the guest until pre-copy converges.
    AutoConverge,
}

impl Then {
    /// The word of the vocabulary.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::StopAndCopy => "stop-and-copy",
            Self::PostCopy => "post-copy",
            Self::Cancel => "cancel",
            Self::AutoConverge => "auto-converge",
        }
    }
}

/// The rule of a [`StopPolicy`] that fired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StopRule {
    /// Fewer than `limit` pages remained.
    RemainingPages {
        /// The limit, pages.
        limit: u64,
        /// What remained, pages.
        seen: u64,
    },
    /// As many rounds as allowed.
    Rounds {
        /// The limit.
        limit: u64,
    },
    /// As much sent as allowed.
    RamFactor {
        /// The limit, times RAM.
        limit: f64,
        /// Bytes sent by then.
        sent_bytes: u64,
    },
    /// As long as allowed.
    Time {
        /// The limit, ns.
        limit_ns: u64,
    },
    /// The operator asked for it.
    Operator,
    /// The product's own rule gave up on convergence.
    Own {
        /// The rule in words, with its figure: `29 rounds`.
        words: String,
    },
}

impl StopRule {
    /// The rule in words: `29 rounds are complete`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::RemainingPages { limit, seen } => format!("a round began with {seen} pages, fewer than {limit}"),
            Self::Rounds { limit } => format!("{limit} rounds are complete"),
            Self::RamFactor { limit, sent_bytes } => {
                format!("{} sent, more than {limit} x RAM", show_bytes(*sent_bytes))
            }
            Self::Time { limit_ns } => format!("{} have passed", show_duration(Duration::from_nanos(*limit_ns))),
            Self::Operator => "the operator".into(),
            Self::Own { words } => format!("the hypervisor's own rule ({words})"),
        }
    }
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
