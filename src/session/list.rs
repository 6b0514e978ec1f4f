//! The recorded sessions of this user.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::place;
use super::reader::Reader;
use crate::event::{Event, Nanos};

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

fn look(folder: &Path) -> Option<Recorded> {
    let path = folder.join(place::CAPTURE);
    let reader = Reader::open(&path).ok()?;
    let header = reader.header();
    Some(Recorded {
        name: header.name.clone(),
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
}
