//! The recorded sessions of this user.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use thiserror::Error;

use super::place;
use super::probed::{self, Outages};
use super::reader::{ReadError, Reader};
use super::state::State;
use crate::analysis::Method;
use crate::event::{Event, Nanos};
use crate::units::show_bytes;

/// So much of a capture's end is looked at for its last event, bytes.
const TAIL: u64 = 64 << 10;

/// A recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its capture.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// When it began, ns since the epoch.
    pub began_unix_ns: u64,
    /// How long it lasted, ns, by its last event; None if that cannot be read.
    pub duration_ns: Option<Nanos>,
    /// Size of the capture, bytes.
    pub bytes: u64,
    /// Whether the hypervisor was simulated.
    pub simulated: bool,
}

/// The sessions below `folder` ([`place::sessions_dir`] for the user's own), oldest first. What is
/// no capture is passed over; a folder that does not exist holds none.
///
/// # Errors
/// When the folder cannot be read.
pub fn recorded(folder: &Path) -> io::Result<Vec<Recorded>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found: Vec<Recorded> = entries.flatten().filter_map(|entry| look(&entry.path())).collect();
    found.sort_by(|a, b| (a.began_unix_ns, &a.path).cmp(&(b.began_unix_ns, &b.path)));
    Ok(found)
}

/// The newest `most` sessions below `folder`, newest first, however many there are: the order is
/// that of the folders' names, which begin with the time, and no more captures are opened than needed.
///
/// # Errors
/// When the folder cannot be read.
pub fn newest(folder: &Path, most: usize) -> io::Result<Vec<Recorded>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut folders: Vec<(String, PathBuf)> = entries.flatten().map(|e| e.path()).map(|p| (stamp(&p), p)).collect();
    folders.sort_unstable_by(|a, b| b.cmp(a));
    // What is no capture costs a look, too.
    let looked_at = folders.iter().take(most.saturating_mul(4));
    let mut found: Vec<Recorded> = looked_at.filter_map(|(_, path)| look(path)).take(most).collect();
    found.sort_by(|a, b| (b.began_unix_ns, &b.path).cmp(&(a.began_unix_ns, &a.path)));
    Ok(found)
}

/// When a session began, by the name of its folder; of one that somebody named otherwise, when it was
/// last changed.
fn stamp(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    match (name.get(..8), name.get(8..9), name.get(9..15), name.get(15..16)) {
        (Some(day), Some("T"), Some(time), Some("Z")) if digits(day) && digits(time) => name[..16].to_owned(),
        _ => {
            let changed = fs::metadata(folder).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            place::utc_stamp(changed.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs()))
        }
    }
}

/// What became of a recorded session, in a few figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// How long the session lasted by its last event, ns.
    pub duration_ns: Nanos,
    /// How many migrations began.
    pub migrations: usize,
    /// The longest downtime of them, and the estimator it is by: `reply-gap`, or where no migration has
    /// that, `stop-resume`. None where it is unknown.
    pub worst: Option<(Method, Duration)>,
    /// The outages its probes saw; None where none was ever answered.
    pub outages: Option<Outages>,
}

/// Why a session has no [`Outline`].
#[derive(Debug, Error)]
pub enum NoOutline {
    /// The capture cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// Reading it would take too long.
    #[error("too large to be read here: {} and more", show_bytes(*.0))]
    TooLarge(u64),
}

/// Reads a capture, but no more than `most` bytes of it (uncompressed), for its outline. Records that
/// cannot be read are passed over.
///
/// # Errors
/// When it is longer than that, or cannot be read at all.
pub fn outline(capture: &Path, most: u64) -> Result<Outline, NoOutline> {
    let mut reader = Reader::open(capture)?;
    let mut state = State::begin(reader.header().clone());
    while let Some(record) = reader.next() {
        if reader.offset() > most {
            return Err(NoOutline::TooLarge(most));
        }
        if let Ok(event) = record {
            state.apply(&event);
        }
    }
    let worst_by = |method: Method| {
        let downtimes = state.migrations.iter().filter_map(|m| m.downtime.as_ref());
        let estimates = downtimes.flat_map(|d| &d.estimates).filter(|e| e.method == method);
        estimates.filter_map(|e| e.value.as_ref()).map(|v| (method, v.value)).max_by_key(|(_, value)| *value)
    };
    let worst = worst_by(Method::ReplyGap).or_else(|| worst_by(Method::StopResume));
    let outages = probed::in_brief(&state);
    Ok(Outline { duration_ns: state.now, migrations: state.migrations.len(), worst, outages })
}

fn look(folder: &Path) -> Option<Recorded> {
    let path = folder.join(place::CAPTURE);
    // A pipe would be waited for, and a device has no end.
    fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let reader = Reader::open(&path).ok()?;
    let header = reader.header();
    Some(Recorded {
        name: crate::text::foreign(&header.name),
        began_unix_ns: header.wall_origin_unix_ns,
        duration_ns: last_time(&path),
        bytes: fs::metadata(&path).map_or(0, |m| m.len()),
        simulated: header.simulated,
        path,
    })
}

fn last_time(path: &Path) -> Option<Nanos> {
    let mut file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    tail.rsplit(|b| *b == b'\n').find_map(|line| serde_json::from_slice::<Event>(line).ok()).map(|e| e.t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing;

    #[test]
    fn finds_captures_and_passes_over_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(recorded(&dir.path().join("none")).unwrap(), Vec::new());
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        for (name, second) in [("b", 2), ("a", 1)] {
            let mut header = testing::header();
            header.name = name.to_owned();
            header.wall_origin_unix_ns = second;
            let text = testing::capture(&header, &[testing::log(5, "one"), testing::log(77, "two")]);
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join(place::CAPTURE), text + "{\"t\":9").unwrap();
        }
        let found = recorded(dir.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(found[0].duration_ns, Some(77));
    }

    #[test]
    fn the_newest_come_first_and_no_more_than_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest(&dir.path().join("none"), 3).unwrap(), Vec::new());
        fs::write(dir.path().join("29990101T000000Z-no-session"), "x").unwrap();
        for day in 1..=6_u64 {
            let mut header = testing::header();
            header.name = format!("day {day}");
            header.wall_origin_unix_ns = day * 86_400 * 1_000_000_000;
            let folder = dir.path().join(place::folder_name(header.wall_origin_unix_ns, &header.name));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(place::CAPTURE), testing::capture(&header, &[testing::log(7, "x")])).unwrap();
        }
        let names: Vec<String> = newest(dir.path(), 2).unwrap().into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["day 6", "day 5"]);
        assert_eq!(newest(dir.path(), 99).unwrap().len(), 6);
    }

    #[test]
    fn an_outline_has_the_worst_downtime_and_reads_no_more_than_it_may() {
        let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/over-the-jump.jsonl.gz");
        let whole = outline(&capture, u64::MAX).unwrap();
        let mut reader = Reader::open(&capture).unwrap();
        let state = reader.read_state(|e| panic!("{e}"));
        assert_eq!((whole.migrations, whole.duration_ns), (state.migrations.len(), state.now));
        let (method, worst) = whole.worst.unwrap();
        assert_eq!(method, Method::ReplyGap);
        assert!(worst > Duration::from_secs(1), "{worst:?}");
        let why = outline(&capture, 10_000).unwrap_err().to_string();
        assert!(why.contains("too large to be read here: 9.8 KiB and more"), "{why}");
        assert!(matches!(outline(Path::new("/no/such"), 9), Err(NoOutline::Unreadable(_))));
    }
}
