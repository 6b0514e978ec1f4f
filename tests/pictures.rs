//! `blackout replay --picture` and `--cast`, as a person has them.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::read::GzDecoder;

/// A capture of a real migration, unpacked into `dir`.
fn capture(dir: &Path) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/over-the-jump.jsonl.gz");
    let path = dir.join("capture.jsonl");
    std::io::copy(&mut GzDecoder::new(File::open(packed).unwrap()), &mut File::create(&path).unwrap()).unwrap();
    path
}

fn replay(dir: &Path, args: &[&str]) -> Output {
    let capture = capture(dir);
    // No terminal, no colours, no fonts: a picture needs none of them.
    Command::new(env!("CARGO_BIN_EXE_blackout"))
        .arg("replay")
        .arg(capture)
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn draw(dir: &Path, args: &[&str]) {
    let output = replay(dir, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn refused(dir: &Path, args: &[&str]) -> String {
    let output = replay(dir, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Width and height in a PNG's header.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn a_picture_is_what_its_name_says() {
    let dir = tempfile::tempdir().unwrap();
    draw(dir.path(), &["--picture", "a.svg", "--at", "34.5s"]);
    let svg = fs::read_to_string(dir.path().join("a.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains(">STOP-AND-COPY</text>"), "{svg}");

    draw(dir.path(), &["--picture", "a.png", "--size", "40x12"]);
    draw(dir.path(), &["--picture", "b.png", "--size", "40x12", "--scale", "1", "--theme", "light"]);
    let [twice, once] = ["a.png", "b.png"].map(|name| png_size(&fs::read(dir.path().join(name)).unwrap()));
    assert_eq!((once, twice), ((384, 252), (768, 504)));

    let error = refused(dir.path(), &["--picture", "a.jpg"]);
    assert!(error.contains("a.jpg") && error.contains(".svg or .png"), "{error}");
    assert!(!dir.path().join("a.jpg").exists());
}

#[test]
fn the_page_and_the_screen_can_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let drawn = |args: &[&str]| {
        draw(dir.path(), &[&["--picture", "a.svg", "--size", "80x24", "--force"], args].concat());
        fs::read_to_string(dir.path().join("a.svg")).unwrap()
    };
    assert!(drawn(&["--page", "result"]).contains("lost-pings"));
    assert!(!drawn(&["--page", "log"]).contains("lost-pings"));
    assert!(drawn(&["--as", "replay"]).contains(">REPLAY</text>"));
    assert!(!drawn(&["--as", "live"]).contains(">REPLAY</text>"));
}

#[test]
fn a_cast_is_an_asciicast() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--cast", "a.cast", "--size", "80x24", "--from", "30s", "--to", "36s", "--speed", "2"];
    draw(dir.path(), &args);
    let cast = fs::read_to_string(dir.path().join("a.cast")).unwrap();
    let lines: Vec<serde_json::Value> = cast.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((&lines[0]["version"], &lines[0]["width"], &lines[0]["height"]), (&2.into(), &80.into(), &24.into()));
    assert!(lines[1][2].as_str().unwrap().contains("\x1b[38;2;"), "the theme's colours, whatever NO_COLOR says");
    let last = lines.last().unwrap();
    assert!((last[0].as_f64().unwrap() - 3.0).abs() <= 0.1, "{last}");

    let error = refused(dir.path(), &["--cast", "b.cast", "--from", "30s", "--to", "20s"]);
    assert!(error.contains("--from"), "{error}");
    assert!(refused(dir.path(), &["--cast", "b.cast", "--picture", "a.svg"]).contains("cannot be used with"));
}
