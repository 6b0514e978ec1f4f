//! Sizes and rates as people write and read them.
//!
//! Two conventions meet here, and mixing them is a 5 % error: *memory* is counted in powers of
//! two (`96M` is 96 MiB, as in `qemu -m`), *bandwidth* in powers of ten (`32M` is 32,000,000 B/s,
//! as on a link). `KiB`/`MiB`/`GiB` and `kB`/`MB`/`GB` always mean what they say.

use std::time::Duration;

use thiserror::Error;

use crate::text::visible;

/// Bytes in one guest page on every machine this project measures (x86-64 base page).
pub const PAGE_BYTES: u64 = 4096;

/// A length of time, ns; the longest there is where it is longer.
pub(crate) fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

/// Text that is not the quantity it should be. Says what was read and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid {what} '{}': {}; expected {hint}", visible(text), visible(why))]
pub struct ParseError {
    /// The text as given.
    pub text: String,
    /// What it should have been, e.g. `RATE`.
    pub what: &'static str,
    /// What is wrong with it.
    pub why: String,
    /// What is expected, as the rest of `expected …`.
    pub hint: &'static str,
}

/// How a bare `K`, `M`, `G` is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bare {
    Binary,
    Decimal,
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn number(digits: &str) -> Result<f64, String> {
    if digits.is_empty() {
        return Err("it does not begin with a number".into());
    }
    let clean: String = digits.chars().filter(|c| *c != '_').collect();
    match clean.parse::<f64>() {
        Ok(n) if n.is_finite() => Ok(n),
        _ => Err(format!("'{digits}' is not a number")),
    }
}

fn scaled(text: &str, bare: Bare, what: &'static str, hint: &'static str) -> Result<u64, ParseError> {
    let fail = |why: String| ParseError { text: text.into(), what, why, hint };
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(fail("it is negative".into()));
    }
    let (digits, suffix) = split_number(trimmed);
    let n = number(digits).map_err(&fail)?;
    let (k, m, g): (f64, f64, f64) = match bare {
        Bare::Binary => (1024.0, 1024.0 * 1024.0, 1024.0 * 1024.0 * 1024.0),
        Bare::Decimal => (1e3, 1e6, 1e9),
    };
    let unit = suffix.strip_suffix("/s").unwrap_or(suffix);
    let factor = match unit {
        "" | "B" => 1.0,
        "k" | "K" => k,
        "m" | "M" => m,
        "g" | "G" => g,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        other => return Err(fail(format!("the suffix '{other}' is unknown"))),
    };
    let bytes = n * factor;
    if bytes >= 9.0e18 {
        return Err(fail("it is larger than any machine has".into()));
    }
    Ok(bytes.round() as u64)
}

/// Reads a memory size: `96M`, `1G`, `1.5GiB`, `4096`. A bare suffix is binary. Bytes.
///
/// # Errors
/// When the text is not a non-negative number with a known suffix.
pub fn parse_bytes(text: &str) -> Result<u64, ParseError> {
    scaled(text, Bare::Binary, "memory size", "a size such as 96M (96 MiB), 1G or 65536")
}

/// Reads a bandwidth: `32M` is 32,000,000 bytes a second. A bare suffix is decimal. Bytes/s.
///
/// # Errors
/// When the text is not a non-negative number with a known suffix.
pub fn parse_bandwidth(text: &str) -> Result<u64, ParseError> {
    scaled(text, Bare::Decimal, "bandwidth", "bytes a second, for instance 32M (32,000,000 B/s), 125MB/s or 32MiB/s")
}

/// Reads a limit on what a migration may send, as [`parse_bandwidth`]. Zero is refused: QEMU takes it
/// for "no limit", others for "nothing", and a migration that may send nothing never ends. Bytes/s.
///
/// # Errors
/// When the text is not a positive number with a known suffix.
pub fn parse_rate_limit(text: &str) -> Result<u64, ParseError> {
    match parse_bandwidth(text)? {
        0 => Err(ParseError {
            text: text.into(),
            what: "a bandwidth limit",
            why: "0 means 'no limit' to QEMU and 'nothing at all' to others".into(),
            hint: "write a positive rate, for instance 32M (32,000,000 B/s); without a limit of ours the \
                   hypervisor's own counts, and 'max-bandwidth=0' as a parameter lifts QEMU's",
        }),
        limit => Ok(limit),
    }
}

/// Reads a RATE: pages a second as a plain number, without a unit.
///
/// # Errors
/// When the text is not a plain non-negative number.
pub fn parse_rate(text: &str) -> Result<f64, ParseError> {
    let fail = |why: String| ParseError {
        text: text.into(),
        what: "RATE",
        why,
        hint: "pages a second as a plain number, for instance 9000 or 12_500",
    };
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(fail("it is negative".into()));
    }
    let (digits, suffix) = split_number(trimmed);
    if !suffix.is_empty() && !digits.is_empty() {
        return Err(fail(format!("it carries the suffix '{suffix}'")));
    }
    number(digits).map_err(fail)
}

/// Reads a duration: `50ms`, `10us`, `2s`, `1.5m`. A bare number is refused: its unit
/// would be a guess.
///
/// # Errors
/// When the text is not a non-negative number with a unit of time.
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    let fail = |why: String| ParseError {
        text: text.into(),
        what: "duration",
        why,
        hint: "a number with its unit, for instance 50ms, 2s, 10us or 2m",
    };
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(fail("it is negative".into()));
    }
    let (digits, suffix) = split_number(trimmed);
    let n = number(digits).map_err(&fail)?;
    let seconds = match suffix {
        "ns" => n / 1e9,
        "us" | "µs" => n / 1e6,
        "ms" => n / 1e3,
        "s" => n,
        "m" | "min" => n * 60.0,
        "h" => n * 3600.0,
        "" => return Err(fail("it has no unit".into())),
        other => return Err(fail(format!("the unit '{other}' is unknown"))),
    };
    Duration::try_from_secs_f64(seconds).map_err(|e| fail(e.to_string()))
}

/// A memory size for people: `96.0 MiB`.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    let b = bytes as f64;
    for (unit, size) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= size {
            return format!("{:.1} {unit}", b / size as f64);
        }
    }
    format!("{bytes} B")
}

/// A bandwidth for people, in powers of ten: `32.0 MB/s`.
#[must_use]
pub fn show_bandwidth(bytes_per_s: f64) -> String {
    for (unit, size) in [("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)] {
        if bytes_per_s >= size {
            return format!("{:.1} {unit}", bytes_per_s / size);
        }
    }
    format!("{bytes_per_s:.0} B/s")
}

/// A duration for people, with about three digits: `8.0 ms`, `2.90 s`, `75 µs`.
#[must_use]
pub fn show_duration(d: Duration) -> String {
    let s = d.as_secs_f64();
    if s >= 120.0 {
        format!("{}m{:02}s", d.as_secs() / 60, d.as_secs() % 60)
    } else if s >= 10.0 {
        format!("{s:.1} s")
    } else if s >= 1.0 {
        format!("{s:.2} s")
    } else if s >= 0.1 {
        format!("{:.0} ms", s * 1e3)
    } else if s >= 0.001 {
        format!("{:.1} ms", s * 1e3)
    } else if s > 0.0 {
        format!("{:.0} µs", s * 1e6)
    } else {
        "0 s".into()
    }
}

/// A whole number with thousands separated: `20,000`.
#[must_use]
pub fn show_count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// The link's capacity in pages/s: the RATE at which pre-copy stops converging (the jump).
#[must_use]
pub fn link_pages_per_s(bytes_per_s: u64) -> f64 {
    bytes_per_s as f64 / PAGE_BYTES as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_binary_and_bandwidth_is_decimal() {
        assert_eq!(parse_bytes("96M"), Ok(96 << 20));
        assert_eq!(parse_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("2MB"), Ok(2_000_000));
        assert_eq!(parse_bandwidth("32M"), Ok(32_000_000));
        assert_eq!(parse_bandwidth("32MiB/s"), Ok(32 << 20));
        assert!((link_pages_per_s(32_000_000) - 7812.5).abs() < 1e-9);
    }

    #[test]
    fn rates_are_plain_numbers() {
        assert_eq!(parse_rate("9000"), Ok(9000.0));
        assert_eq!(parse_rate("12_500"), Ok(12_500.0));
        for bad in ["9k/s", "-1", "", "fast", "1e400", "1.2.3"] {
            let e = parse_rate(bad).unwrap_err().to_string();
            assert!(e.contains(&format!("'{bad}'")) && e.contains("plain number"), "{e}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("50").unwrap_err().to_string().contains("no unit"));
        assert!(parse_duration("-5s").unwrap_err().to_string().contains("negative"));
    }

    #[test]
    fn shown_for_people() {
        assert_eq!(show_bytes(96 << 20), "96.0 MiB");
        assert_eq!(show_bandwidth(32e6), "32.0 MB/s");
        assert_eq!(show_duration(Duration::from_millis(2896)), "2.90 s");
        assert_eq!(show_duration(Duration::from_micros(75)), "75 µs");
        assert_eq!(show_count(1_234_567), "1,234,567");
    }
}
