//! A page that an HTTP probe asks for, and what should be answered.

use std::fmt;
use std::ops::RangeInclusive;

/// The status that says a service is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(RangeInclusive<u16>);

impl Default for Expected {
    /// Any that says neither "you are wrong" nor "I am": 200 to 399.
    fn default() -> Self {
        Self(200..=399)
    }
}

impl Expected {
    /// Whether this one says so.
    #[must_use]
    pub fn has(&self, status: u16) -> bool {
        self.0.contains(&status)
    }

    /// `200` or `200..299`; None where it is no such text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|n| digits && *n >= 100)
        };
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let (first, last) = (status(first)?, status(last)?);
        (first <= last).then_some(Self(first..=last))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.start() == self.0.end() {
            write!(f, "{}", self.0.start())
        } else {
            write!(f, "{}..{}", self.0.start(), self.0.end())
        }
    }
}

/// What is asked of a web server, and what it should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The host as it is named to the server, with the port where that is not 80.
    pub host: String,
    /// Path and query, from `/` on.
    pub path: String,
    /// The status that is as it should be.
    pub expected: Expected,
}
