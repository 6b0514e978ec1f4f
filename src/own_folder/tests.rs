use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use nix::unistd::mkfifo;

use super::*;

fn folder(root: &Path, name: &str, mode: u32) -> PathBuf {
    let path = root.join(name);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn refusal(path: &Path) -> String {
    OwnFolder::make(path).unwrap_err().to_string()
}

#[test]
fn links_files_and_fifos_are_refused_at_once() {
    let root = tempfile::tempdir().unwrap();
    let target = folder(root.path(), "target", 0o700);
    let at = |name: &str| root.path().join(name);
    symlink(&target, at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    fs::write(at("file"), "").unwrap();
    let begun = Instant::now();
    for name in ["link", "dangling", "fifo", "file"] {
        let why = refusal(&at(name));
        assert!(why.contains("not a folder"), "{name}: {why}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(!at("nowhere").exists(), "nothing is made behind a link");
}

#[test]
fn what_others_may_do_is_limited() {
    let root = tempfile::tempdir().unwrap();
    let (open, shared) = (folder(root.path(), "open", 0o755), folder(root.path(), "shared", 0o1777));
    assert!(refusal(&open).contains("chmod 700"));
    assert!(refusal(&shared).contains("mode 1777"));
}

#[test]
fn a_strangers_folder_is_refused_and_named() {
    let root = tempfile::tempdir().unwrap();
    let theirs = folder(root.path(), "theirs", 0o700);
    if chown(&theirs, Some(65_533), Some(65_533)).is_err() {
        eprintln!("skipped: only root can make a folder of another user's");
        return;
    }
    let why = refusal(&theirs);
    assert!(why.contains("user 65533"), "{why}");
}

#[test]
fn what_is_done_stays_in_the_folder_that_was_opened() {
    let root = tempfile::tempdir().unwrap();
    let own = OwnFolder::make(&root.path().join("own")).unwrap();
    let victim = folder(root.path(), "victim", 0o700);
    folder(&victim, "lab-1", 0o700);
    fs::create_dir(root.path().join("own/lab-1")).unwrap();
    fs::write(victim.join("secret"), "s").unwrap();
    // The path leads elsewhere from here on.
    fs::rename(root.path().join("own"), root.path().join("moved")).unwrap();
    symlink(&victim, root.path().join("own")).unwrap();
    own.remove_all(OsStr::new("lab-1")).unwrap();
    own.write(OsStr::new("note"), b"x").unwrap();
    assert!(victim.join("lab-1").exists() && !victim.join("note").exists());
    assert!(!root.path().join("moved/lab-1").exists() && root.path().join("moved/note").exists());
    assert!(own.open_in(OsStr::new("..")).is_err() && own.read(OsStr::new("../victim/secret"), 9).is_err());
    // Not even a link inside is followed.
    symlink(&victim, root.path().join("moved/lab-2")).unwrap();
    symlink(victim.join("secret"), root.path().join("moved/pid")).unwrap();
    mkfifo(&root.path().join("moved/fifo"), Mode::S_IRWXU).unwrap();
    assert!(own.read(OsStr::new("pid"), 9).is_err() && own.write(OsStr::new("pid"), b"x").is_err());
    assert!(own.read(OsStr::new("fifo"), 9).is_err() && own.write(OsStr::new("fifo"), b"x").is_err());
    let _ = own.remove_all(OsStr::new("lab-2"));
    assert!(victim.join("lab-1").exists() && fs::read(victim.join("secret")).unwrap() == b"s");
    own.remove_if_empty();
    assert!(root.path().join("own").exists(), "it is not what its path leads to any more");
}

#[test]
fn a_lock_that_is_held_is_not_waited_for_without_end() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("own");
    let (one, two) = (OwnFolder::make(&path).unwrap(), OwnFolder::make(&path).unwrap());
    let held = one.lock(Duration::ZERO).unwrap();
    let error = two.lock(Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains("0.1 s"), "{error}");
    drop(held);
    two.lock(Duration::from_secs(5)).unwrap();
}
