//! What a migration is expected to be, before it is fired and while it runs.

use serde::{Deserialize, Serialize};

use super::Then;

/// A quantity that is not known exactly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Span {
    /// The least it may be.
    pub lo: f64,
    /// The likeliest.
    pub mid: f64,
    /// The most it may be.
    pub hi: f64,
}

impl Span {
    /// A quantity known exactly.
    #[must_use]
    pub fn exactly(value: f64) -> Self {
        Self { lo: value, mid: value, hi: value }
    }

    /// The span of some values with their median; None without any.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|v| v.is_finite());
        values.sort_by(f64::total_cmp);
        let (lo, hi) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        // Of an even number, the mean of the two in the middle; halved first, so that it stays finite.
        let mid =
            if values.len().is_multiple_of(2) { values[half - 1] / 2.0 + values[half] / 2.0 } else { values[half] };
        Some(Self { lo, mid, hi })
    }

    /// Whether a measured value lies within.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        (self.lo..=self.hi).contains(&value)
    }
}

/// Whether pre-copy will come to an end by what the hypervisor itself is content with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Converges {
    /// In each course the model went through, with the inputs anywhere in what they may be.
    Yes,
    /// In some of them.
    Perhaps,
    /// In none of them: a stop policy, a rule or a person has to end it, or it goes on for ever.
    No,
}

/// One way to make a migration converge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Another stop policy, or none.
    Policy,
    /// A lower RATE.
    Rate,
    /// A higher bandwidth limit.
    Bandwidth,
    /// A longer downtime limit.
    DowntimeLimit,
}

/// What would make a migration converge that does not. None where nothing of that kind would, or
/// where it need not change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Needs {
    /// RATE below this, pages/s.
    pub rate_below_pages_per_s: Option<f64>,
    /// A bandwidth from this on, bytes/s.
    pub bandwidth_from_bytes_per_s: Option<f64>,
    /// A downtime limit from this on, ms.
    pub downtime_limit_from_ms: Option<f64>,
    /// Without the rules that end pre-copy before it converges, the stop policy lets it converge in this number of rounds.
    /// Since schema 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds_without_policy: Option<u64>,
    /// The one of them that is nearest to what is. Since schema 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<Remedy>,
}

/// What has not been seen yet, so that a prediction has to guess it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Guess {
    /// How much of the guest's memory has content.
    Memory,
    /// What the link between the hosts carries.
    Link,
}

/// What ends a pre-copy that does not end by converging. Since schema 1.3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ender {
    /// A rule of the stop policy.
    Policy {
        /// Its name.
        name: String,
        /// The rule in words: `29 rounds`.
        rule: String,
        /// What it does.
        then: Then,
        /// Without the policy pre-copy would converge.
        too_early: bool,
    },
    /// The product's own rule.
    Own {
        /// The rule in words: `29 rounds`.
        rule: String,
        /// Next to nothing is left by then: what the guest dirties in a tenth of a second passes at once.
        little_left: bool,
    },
}

/// What a forecast rests on, as far as an estimate of a stop needs it. Since schema 1.3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Grounds {
    /// Whose rules: a name of the model's.
    pub product: String,
    /// How much of the guest's memory has content (is not all zeroes), bytes.
    pub content_bytes: Span,
    /// What the link carries without a limit, bytes/s.
    pub link_bytes_per_s: Span,
    /// Fixed times of a stop besides copying: from the order until the guest stands still, and from the last
    /// byte until it runs, s.
    pub fixed_s: Span,
    /// What the guest dirties by itself: pages that are written all the time.
    pub own_hot_pages: u64,
    /// And pages that are written one after the other.
    pub own_pages: u64,
    /// How fast these are written, pages/s.
    pub own_pages_per_s: f64,
}

/// How long the guest will stand still if it is stopped at an instant, or still will once it has been.
/// The quantity is `stop-resume`: from the source's stop until the guest runs at the destination. Since
/// schema 1.3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StopForecast {
    /// How long it has stood still already, s; 0 before it is stopped.
    pub stood_s: f64,
    /// How long it will from then on, s.
    pub left_s: Span,
    /// What is to be copied until then, bytes.
    pub bytes: Span,
    /// How fast it is copied, bytes/s.
    pub bytes_per_s: Span,
}

impl StopForecast {
    /// From the stop until it runs again, s.
    #[must_use]
    pub fn whole_s(&self) -> Span {
        let Span { lo, mid, hi } = self.left_s;
        Span { lo: self.stood_s + lo, mid: self.stood_s + mid, hi: self.stood_s + hi }
    }
}

/// A prediction. Times in seconds; each span is what came of the model's courses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Forecast {
    /// Whether pre-copy converges.
    pub converges: Converges,
    /// Rounds of pre-copy.
    pub rounds: Option<Span>,
    /// Migration time, s; None if it does not end within the time looked at.
    pub migration_s: Option<Span>,
    /// From the source's stop until the guest runs at the destination (`stop-resume`), s; None if it is not
    /// stopped in that time.
    pub downtime_s: Option<Span>,
    /// The time at which the simulation of courses that had not ended was given up, s; None if all ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed_s: Option<f64>,
    /// While it runs: time to completion, s. Below 0 it should have been over by then.
    pub left_s: Option<Span>,
    /// The RATE from which on it does not converge, pages/s; None where every RATE does, or none.
    pub jump_pages_per_s: Option<f64>,
    /// What would make it converge.
    pub needs: Needs,
    /// What had to be guessed; empty where all that matters is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guesses: Vec<Guess>,
    /// What ends pre-copy in the likeliest course, if it does not end by converging. Since schema 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ender: Option<Ender>,
    /// What it rests on. Since schema 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grounds: Option<Box<Grounds>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_of_what_is_known() {
        assert_eq!(Span::of(vec![3.0, 1.0, f64::NAN, 2.0]), Some(Span { lo: 1.0, mid: 2.0, hi: 3.0 }));
        assert_eq!(Span::of(vec![f64::INFINITY]), None);
        let even = Span::of(vec![8.0, 1.0, 2.0, 4.0]).unwrap();
        assert_eq!((even.lo, even.mid, even.hi), (1.0, 3.0, 8.0), "the median of an even number of values");
        assert_eq!(Span::of(vec![1.0, 2.0]).unwrap().mid, 1.5);
        assert!(Span { lo: 1.0, mid: 2.0, hi: 3.0 }.holds(3.0) && !Span::exactly(1.0).holds(1.1));
    }
}
