//! Where captures come from and where files go: pipes, marks before the first record, folders with several;
//! what is never overwritten, and whose folders are not written into.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use blackout::event::{Header, HostFacts, SCHEMA_MAJOR, SCHEMA_MINOR, Versions};
use common::{BLACKOUT, Place, Ran, run};

fn header(name: &str) -> String {
    let header = Header {
        schema_major: SCHEMA_MAJOR,
        schema_minor: SCHEMA_MINOR,
        name: name.into(),
        wall_origin_unix_ns: 1_795_380_977_354_870_760,
        versions: Versions::default(),
        host: HostFacts::default(),
        settings: Default::default(),
        seed: 1,
        simulated: false,
    };
    serde_json::to_string(&header).unwrap() + "\n"
}

fn capture(name: &str) -> String {
    header(name) + "{\"t\":5,\"ev\":{\"log\":{\"level\":\"info\",\"from\":\"x\",\"text\":\"one\"}}}\n"
}

fn fixture() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/over-the-jump.jsonl.gz"))
}

fn show(place: &Place, file: &Path) -> Ran {
    let mut c = place.blackout(["show"]);
    c.arg(file);
    run(c)
}

/// Runs a line of shell with `blackout` for the program.
fn shell(place: &Place, line: &str) -> Ran {
    let mut c = Command::new("bash");
    c.arg("-c").arg(line.replace("blackout", BLACKOUT)).envs(place.environment()).stdin(Stdio::null());
    run(c)
}

#[test]
fn a_capture_may_come_out_of_a_pipe() {
    let place = Place::new();
    let file = place.file("x.jsonl", capture("piped"));
    let (file, gz) = (file.display(), fixture().display());
    let shown = |line: &str| shell(&place, line).ended_with(0);
    assert!(shown(&format!("cat {file} | blackout show -")).out.contains("session      piped"));
    assert!(shown(&format!("blackout show - < {file}")).out.contains("session      piped"));
    assert!(shown(&format!("cat {file} | blackout show /dev/stdin")).out.contains("session      piped"));
    assert!(shown(&format!("blackout show <(cat {file})")).out.contains("session      piped"));
    let whole = show(&place, fixture()).ended_with(0).out;
    assert_eq!(shown(&format!("cat {gz} | blackout show -")).out, whole, "compressed");
    assert_eq!(shown(&format!("zcat {gz} | blackout show -")).out, whole);
    let svg = place.path("a.svg");
    shown(&format!("zcat {gz} | blackout replay --picture {} -", svg.display()));
    shown(&format!("blackout replay --picture {} {gz}", place.path("b.svg").display()));
    // But for the size of the file in its head.
    let (piped, opened) = (fs::metadata(svg).unwrap().len(), fs::metadata(place.path("b.svg")).unwrap().len());
    assert!(piped > 10_000 && piped.abs_diff(opened) < 500, "{piped} {opened}");
    shell(&place, "blackout show - < /dev/null").ended_with(2).said(&["is empty"]);
    shell(&place, "cat /dev/zero | head -c 9000000 | blackout show -").ended_with(2).said(&["not a capture"]);
    shown(&format!("zcat {gz} | blackout calibrate -"));
    let fifo = place.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let name = fifo.display();
    assert!(shown(&format!("cat {file} > {name} & blackout show {name}")).out.contains("session      piped"));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_header() {
    let place = Place::new();
    let ran = show(&place, &place.file("bom.jsonl", format!("\u{feff}{}", capture("marked")))).ended_with(0);
    assert!(ran.out.contains("session      marked"), "{ran}");
    let mut c = place.blackout(["replay", "--picture"]);
    c.arg(place.path("bom.svg")).arg(place.path("bom.jsonl"));
    run(c).ended_with(0);
    show(&place, &place.file("only.jsonl", "\u{feff}")).ended_with(2).said(&["not a capture"]);
}

#[test]
fn a_folder_with_several_captures_says_which_it_opened() {
    let place = Place::new();
    let folder = place.path("several");
    fs::create_dir(&folder).unwrap();
    show(&place, &folder).ended_with(2).said(&["there is no capture.jsonl in this folder"]);
    fs::write(folder.join("capture.jsonl"), capture("one")).unwrap();
    let alone = show(&place, &folder).ended_with(0);
    assert!(!alone.err.contains("newest"), "{alone}");
    fs::write(folder.join("capture-2.jsonl"), capture("two")).unwrap();
    fs::write(folder.join("capture-3.jsonl"), capture("three")).unwrap();
    let ran = show(&place, &folder).ended_with(0).said(&["capture-3.jsonl", "the newest", "2 more captures"]);
    assert!(ran.out.contains("session      three"), "{ran}");
    let mut c = place.blackout(["replay", "--picture"]);
    c.arg(place.path("x.svg")).arg(&folder);
    run(c).ended_with(0).said(&["capture-3.jsonl", "2 more captures"]);
}

#[test]
fn strange_captures_are_told_apart_and_never_waited_for() {
    let place = Place::new();
    let two = format!("{}{}", capture("first"), capture("second"));
    let ran = show(&place, &place.file("two-headers.jsonl", two)).ended_with(3).said(&[":3: not a valid record"]);
    assert!(ran.out.contains("session      first") && ran.out.contains("2 events"), "{ran}");
    let whole = fs::read(fixture()).unwrap();
    let torn = place.file("torn.jsonl.gz", &whole[..whole.len() / 2]);
    assert!(show(&place, &torn).status.code().is_some_and(|code| code == 0 || code == 3));
    show(&place, Path::new(BLACKOUT)).ended_with(2).said(&["not a capture"]);
    let zeros = header("zeros") + "{\"t\":NaN,\"ev\":{}}\n{\"t\":1e999,\"ev\":{}}\n{\"t\":-1,\"ev\":{}}\n";
    show(&place, &place.file("nan.jsonl", zeros)).ended_with(3).said(&["nan.jsonl:2", "nan.jsonl:4"]);
}

#[test]
fn what_exists_is_not_overwritten_and_an_input_never() {
    let place = Place::new();
    let input = place.path("in.jsonl.gz");
    fs::copy(fixture(), &input).unwrap();
    let before = fs::read(&input).unwrap();
    let with = |args: &[&str], out: &Path, more: &[&str]| {
        let mut c = place.blackout(args);
        c.arg(out).arg(&input).args(more);
        run(c)
    };
    let link = place.path("link.svg");
    symlink(&input, &link).unwrap();
    let hard = place.path("hard.png");
    fs::hard_link(&input, &hard).unwrap();
    for args in [&["calibrate", "--out"][..], &["calibrate", "--plot"], &["replay", "--picture"], &["replay", "--cast"]]
    {
        for name in [&link, &hard] {
            with(args, name, &["--force"]).ended_with(2).said(&["is what is read", "name another file"]);
        }
        let out = place.path("out.svg");
        fs::write(&out, "old").unwrap();
        with(args, &out, &[]).ended_with(2).said(&["out.svg exists already", "--force"]);
        assert_eq!(fs::read(&out).unwrap(), b"old");
        with(args, &out, &["--force"]).ended_with(0);
        assert_ne!(fs::read(&out).unwrap(), b"old");
        with(args, Path::new("/proc/x.svg"), &[]).ended_with(2).said(&["cannot write /proc/x.svg"]);
        with(args, &place.path("x.svg").join(""), &[]).ended_with(2);
    }
    let csv = place.file("table.csv", "old");
    let mut c = place.blackout(["campaign", "--repetitions", "1", "--csv"]);
    c.arg(&csv);
    run(c).ended_with(2).said(&["table.csv exists already"]);
    assert_eq!(fs::read(&input).unwrap(), before);
    let left: Vec<_> = fs::read_dir(place.path("")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
}

/// A session without a home, with its temporary files in this place.
fn without_home(place: &Place) -> Ran {
    let mut c = place.blackout(["demo", "--headless", "--speed", "100"]);
    c.env_remove("HOME").env_remove("XDG_STATE_HOME").env("TMPDIR", place.path(""));
    run(c)
}

#[test]
fn a_strangers_folder_is_not_used_for_captures() {
    let place = Place::new();
    let folder = place.path("blackout");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = ["blackout: can be written by other users", "XDG_STATE_HOME", "--out"];
    without_home(&place).ended_with(2).said(&refused);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    if nix::unistd::geteuid().is_root() {
        chown(&folder, Some(12_345), None).unwrap();
        without_home(&place).ended_with(2).said(&["belongs to user 12345"]);
    }
    fs::remove_dir(&folder).unwrap();
    symlink("/tmp", &folder).unwrap();
    without_home(&place).ended_with(2).said(&["symbolic link"]);
    fs::remove_file(&folder).unwrap();
    without_home(&place).ended_with(0);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("sessions"))), (0o700, 0o700));
    // A home whose sessions everybody may write into.
    let sessions = place.path("state/blackout/sessions");
    fs::create_dir_all(&sessions).unwrap();
    fs::set_permissions(&sessions, fs::Permissions::from_mode(0o777)).unwrap();
    let mut c = place.blackout(["demo", "--headless", "--speed", "100"]);
    c.env("XDG_STATE_HOME", place.path("state"));
    run(c).ended_with(2).said(&["can be written by every user", "chmod o-w"]);
}

#[test]
fn a_list_of_sessions_with_pipes_and_ten_thousand_files_is_quick() {
    let place = Place::new();
    let sessions = place.path("blackout/sessions");
    fs::create_dir_all(&sessions).unwrap();
    for i in 0..10_000 {
        let folder = sessions.join(format!("20261127T{i:06}Z-x"));
        if i % 100 == 0 {
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("capture.jsonl"), capture("x")).unwrap();
        } else {
            fs::write(&folder, "x").unwrap();
        }
    }
    for name in ["99991231T000000Z-fifo", "99991230T000000Z-zero"] {
        let folder = sessions.join(name);
        fs::create_dir(&folder).unwrap();
        let capture = folder.join("capture.jsonl");
        if name.ends_with("fifo") {
            nix::unistd::mkfifo(&capture, nix::sys::stat::Mode::S_IRWXU).unwrap();
        } else {
            symlink("/dev/zero", &capture).unwrap();
        }
    }
    let begun = Instant::now();
    let found = blackout::session::list::recorded(&sessions).unwrap();
    assert_eq!(found.len(), 100);
    assert!(!blackout::session::list::newest(&sessions, 10).unwrap().is_empty() || begun.elapsed().as_secs() < 30);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn a_capture_that_grows_is_played_as_far_as_it_went() {
    let place = Place::new();
    let file = place.file("grows.jsonl", capture("grows"));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (file, stop) = (file.clone(), stop.clone());
        move || {
            let mut out = fs::OpenOptions::new().append(true).open(file).unwrap();
            let line =
                b"{\"t\":6,\"ev\":{\"log\":{\"level\":\"info\",\"from\":\"x\",\"text\":\"more\"}}}\n".repeat(1000);
            let mut written = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && written < 200 << 20 {
                out.write_all(&line).unwrap();
                written += line.len();
            }
        }
    });
    show(&place, &file).ended_with(0);
    let mut c = place.blackout(["replay", "--picture"]);
    c.arg(place.path("grows.svg")).arg(&file);
    run(c).ended_with(0);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
}
