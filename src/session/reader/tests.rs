use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::session::testing::{capture, header, log};

fn read(bytes: impl Into<Vec<u8>>) -> Result<Reader<Cursor<Vec<u8>>>, ReadError> {
    Reader::new("capture.jsonl".into(), Cursor::new(bytes.into()))
}

fn good() -> String {
    capture(&header(), &[log(1, "one"), log(2, "two"), log(3, "three")])
}

#[test]
fn a_torn_last_line_is_no_error() {
    let text = good();
    let torn = &text[..text.len() - 9];
    let mut reader = read(torn).unwrap();
    assert_eq!(reader.by_ref().filter(|r| r.is_ok()).count(), 2);
    assert!(reader.torn().is_some_and(|n| n > 10));
    // Only the end of the line is missing: the record is whole.
    let mut reader = read(text.trim_end()).unwrap();
    assert_eq!((reader.by_ref().filter(|r| r.is_ok()).count(), reader.torn()), (3, None));
}

#[test]
fn a_corrupt_record_names_its_line_and_reading_goes_on() {
    let lines: Vec<String> = good().lines().map(str::to_owned).collect();
    let mut bytes = lines[..2].join("\n").into_bytes();
    bytes.extend_from_slice(b"\n{\"t\":\xff\xfe}\n\0\0\0\n\n");
    bytes.extend(vec![b'y'; MAX_LINE as usize + 5]);
    bytes.extend_from_slice(format!("\n{}\n", lines[3]).as_bytes());
    let records: Vec<_> = read(bytes).unwrap().collect();
    let shape: Vec<_> = records.iter().map(|r| r.as_ref().map(|e| e.t).map_err(|e| e.line)).collect();
    assert_eq!(shape, [Ok(1), Err(3), Err(4), Err(5), Err(6), Ok(3)]);
    let text = records[1].as_ref().unwrap_err().to_string();
    assert!(text.starts_with("capture.jsonl:3: not a valid record: "), "{text}");
    assert!(!text.contains("line 1"), "{text}");
    assert!(records[4].as_ref().unwrap_err().to_string().contains("longer than 1 MiB"));
}

#[test]
fn a_newer_major_schema_is_refused_and_a_newer_minor_one_read() {
    let mut newer = header();
    newer.schema_major = SCHEMA_MAJOR + 1;
    let text = read(capture(&newer, &[])).unwrap_err().to_string();
    assert!(text.contains(&format!("schema 2.{SCHEMA_MINOR}")) && text.contains("newer blackout"), "{text}");
    // Its header need not look like ours.
    let e = read("{\"schema_major\":7,\"schema_minor\":1}\n").unwrap_err();
    assert!(matches!(e, ReadError::NewerSchema { major: 7, minor: 1, .. }));

    let mut newer = header();
    newer.schema_minor = SCHEMA_MINOR + 1;
    let unknown = "{\"t\":5,\"ev\":{\"weather\":{\"rain\":true}}}\nnonsense\n";
    let text = capture(&newer, &[log(1, "one")]) + unknown + &serde_json::to_string(&log(6, "six")).unwrap() + "\n";
    let mut reader = read(text).unwrap();
    let shape: Vec<_> = reader.by_ref().map(|r| r.map(|e| e.t).map_err(|e| e.line)).collect();
    assert_eq!(shape, [Ok(1), Err(4), Ok(6)]);
    assert_eq!(reader.skipped(), 1);
    // In our own schema an unknown kind is corrupt.
    let text = capture(&header(), &[]) + unknown;
    assert_eq!(read(text).unwrap().filter(Result::is_err).count(), 2);
}

#[test]
fn what_is_no_capture_is_said_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let message = |path: &Path| Reader::open(path).unwrap_err().to_string();
    assert!(message(dir.path()).contains("no capture.jsonl in this folder"));
    assert!(message(&dir.path().join("none")).contains("No such file"));
    let file = dir.path().join("x");
    fs::write(&file, "").unwrap();
    assert!(message(&file).contains("is empty"));
    for bad in ["\n", "{}\n", "[1]", "\u{7f}ELF", "{\"schema_major\":1,\"schema_minor\":0}\n"] {
        fs::write(&file, bad).unwrap();
        assert!(message(&file).contains("not a capture of blackout"), "{bad:?}: {}", message(&file));
    }
    fs::write(&file, [0xff, 0xfe, b'\n']).unwrap();
    assert!(message(&file).contains("not a capture of blackout"));
}

proptest! {
    #[test]
    fn nothing_panics_and_every_line_is_accounted_for(
        at in 0_usize..400,
        junk in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut bytes = good().into_bytes();
        let head = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
        let at = head + at % (bytes.len() - head);
        let to = (at + junk.len()).min(bytes.len());
        bytes.splice(at..to, junk);
        let lines = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).count() - 1;
        let mut reader = read(bytes).unwrap();
        let told = reader.by_ref().count() + usize::from(reader.torn().is_some());
        prop_assert!(told >= lines, "{told} of {lines}");
    }
}
