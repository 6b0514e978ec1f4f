//! Where captures live: `$XDG_STATE_HOME/blackout/sessions/<time>-<name>/capture.jsonl`.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::files::{NotOurs, is_not_everybodys, is_ours};

/// The folder of all sessions, below that of all programs' states.
const SESSIONS: &str = "blackout/sessions";
/// What would be right where neither HOME nor XDG_STATE_HOME is set.
const RIGHT_WITHOUT_HOME: &str = "captures would go there, since neither HOME nor XDG_STATE_HOME is set: set one of them, or name a folder with --out";
/// What would be right elsewhere.
const RIGHT: &str = "captures go there: take that right away (chmod o-w), or name a folder with --out";

/// Name of the capture inside a session's folder.
pub const CAPTURE: &str = "capture.jsonl";

/// The folder of all sessions: `$XDG_STATE_HOME`, else `~/.local/state`, else the folder for
/// temporary files, with `blackout/sessions` below.
#[must_use]
pub fn sessions_dir() -> PathBuf {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(env::temp_dir)
        .join(SESSIONS)
}

/// [`sessions_dir`], if captures may go there: in the folder for temporary files it must be this user's alone,
/// elsewhere it must not be everybody's. Without a home it is made here, readable by this user alone.
///
/// # Errors
/// Whose it is instead, and what would be right.
pub fn checked_sessions_dir() -> Result<PathBuf, NotOurs> {
    let folder = sessions_dir();
    let ours = folder.parent().unwrap_or(&folder);
    if folder == env::temp_dir().join(SESSIONS) {
        // Both, from the outside in: whoever has a hand in the outer one can exchange the inner one.
        for folder in [ours, &folder] {
            // What cannot be made is told when the capture cannot be.
            let _ = DirBuilder::new().mode(0o700).create(folder);
            is_ours(folder, RIGHT_WITHOUT_HOME)?;
        }
    } else {
        for folder in [ours, &folder] {
            is_not_everybodys(folder, RIGHT)?;
        }
    }
    Ok(folder)
}

/// The name of a session's folder, e.g. `20261122T194500Z-lab`.
#[must_use]
pub fn folder_name(wall_origin_unix_ns: u64, name: &str) -> String {
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .take(64)
        .collect();
    let clean = clean.trim_matches(|c| c == '-' || c == '.');
    let stamp = utc_stamp(wall_origin_unix_ns / 1_000_000_000);
    if clean.is_empty() { stamp } else { format!("{stamp}-{clean}") }
}

/// A time in UTC as `20261122T194500Z`.
#[must_use]
pub fn utc_stamp(unix_s: u64) -> String {
    let (y, m, d, h, min, s) = civil(unix_s);
    format!("{y:04}{m:02}{d:02}T{h:02}{min:02}{s:02}Z")
}

/// A time in UTC for people: `2026-11-22 19:45:00 UTC`.
#[must_use]
pub fn utc_words(unix_s: u64) -> String {
    let (y, m, d, h, min, s) = civil(unix_s);
    format!("{y:04}-{m:02}-{d:02} {h:02}:{min:02}:{s:02} UTC")
}

/// Year, month, day, hour, minute, second in the proleptic Gregorian calendar, by Howard Hinnant's
/// `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil(unix_s: u64) -> (u64, u64, u64, u64, u64, u64) {
    let z = unix_s / 86_400 + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let s = unix_s % 86_400;
    (year, month, day, s / 3_600, s / 60 % 60, s % 60)
}

/// The `i`-th candidate (from 0) for a capture that must not overwrite an older one: a session's
/// own folder gets a number, a folder chosen by the user gets numbered captures.
#[must_use]
pub(super) fn candidate(folder: &Path, own_folder: bool, i: u32) -> PathBuf {
    match (i, own_folder) {
        (0, _) => folder.join(CAPTURE),
        (i, true) => {
            let mut name = folder.file_name().unwrap_or_default().to_os_string();
            name.push(format!("-{}", i + 1));
            folder.with_file_name(name).join(CAPTURE)
        }
        (i, false) => folder.join(format!("capture-{}.jsonl", i + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_utc() {
        assert_eq!(utc_stamp(0), "19700101T000000Z");
        assert_eq!(utc_stamp(951_782_400), "20000229T000000Z");
        assert_eq!(utc_stamp(1_795_376_700), "20261122T194500Z");
        assert_eq!(utc_words(4_102_444_799), "2099-12-31 23:59:59 UTC");
    }

    #[test]
    fn names_are_made_safe() {
        assert_eq!(folder_name(0, "lab"), "19700101T000000Z-lab");
        assert_eq!(folder_name(0, "../../etc/pass wd"), "19700101T000000Z-etc-pass-wd");
        assert_eq!(folder_name(0, "///"), "19700101T000000Z");
    }

    #[test]
    fn nothing_is_overwritten() {
        assert_eq!(candidate(Path::new("/s/x"), true, 1), Path::new("/s/x-2/capture.jsonl"));
        assert_eq!(candidate(Path::new("/s/x"), false, 1), Path::new("/s/x/capture-2.jsonl"));
    }
}
