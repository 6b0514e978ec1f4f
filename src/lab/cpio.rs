//! Archives in the "newc" format of cpio, as the kernel unpacks them into its initial root.
//!
//! Format: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`; its headers are the crate `cpio`'s.

use std::collections::BTreeSet;
use std::io::Write;

use cpio::newc::{Builder, trailer};

const MODE_DIR: u32 = 0o040_000;
const MODE_FILE: u32 = 0o100_000;
const MODE_CHAR: u32 = 0o020_000;

/// An archive being written, in memory. All entries belong to root and are dated zero, so that the
/// same input gives the same bytes.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
    dirs: BTreeSet<String>,
}

impl Archive {
    /// An empty archive.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a directory and those above it, unless they are there already.
    pub(crate) fn dir(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || self.dirs.contains(path) {
            return;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir(parent);
        }
        self.dirs.insert(path.to_owned());
        self.entry(path, MODE_DIR | 0o755, (0, 0), &[]);
    }

    /// Adds a file with these permissions (e.g. `0o755`), and the directories above it.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, data: &[u8]) {
        let path = self.parent_of(path);
        self.entry(&path, MODE_FILE | permissions, (0, 0), data);
    }

    /// Adds a character device.
    pub(crate) fn char_device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        let path = self.parent_of(path);
        self.entry(&path, MODE_CHAR | permissions, (major, minor), &[]);
    }

    /// The finished archive.
    #[must_use]
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let _ = trailer(&mut self.bytes);
        // Whole blocks, as cpio itself writes them.
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }

    fn parent_of(&mut self, path: &str) -> String {
        let path = path.trim_start_matches('/');
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir(parent);
        }
        path.to_owned()
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), data: &[u8]) {
        self.inode += 1;
        let links = if mode & MODE_DIR == MODE_DIR { 2 } else { 1 };
        let entry = Builder::new(name).ino(self.inode).mode(mode).nlink(links).rdev_major(major).rdev_minor(minor);
        let mut entry = entry.write(&mut self.bytes, data.len() as u32);
        // Memory takes whatever is written to it.
        let _ = entry.write_all(data).and_then(|()| entry.finish());
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Vec<u8> {
        let mut a = Archive::new();
        a.dir("/proc");
        a.file("/init", 0o755, b"#!/bin/true\n");
        a.file("/lib/x86_64/libc.so.6", 0o644, &[7; 4097]);
        a.file("lib/x86_64/empty", 0o600, b"");
        a.finish()
    }

    /// A reader of our own, so that the test does not hang on a tool being installed.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut out = Vec::new();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let field = |i: usize| {
                let at = 6 + i * 8;
                u32::from_str_radix(std::str::from_utf8(&bytes[at..at + 8]).unwrap(), 16).unwrap() as usize
            };
            let (mode, size, name_size) = (field(1) as u32, field(6), field(11));
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            if name == "TRAILER!!!" {
                return out;
            }
            let data = (110 + name_size).next_multiple_of(4);
            out.push((name, mode, bytes[data..data + size].to_vec()));
            bytes = &bytes[(data + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let entries = read(&sample());
        let names: Vec<&str> = entries.iter().map(|e| e.0.as_str()).collect();
        assert_eq!(names, ["proc", "init", "lib", "lib/x86_64", "lib/x86_64/libc.so.6", "lib/x86_64/empty"]);
        assert_eq!(entries[1].1, 0o100_755);
        assert_eq!(entries[1].2, b"#!/bin/true\n");
        assert_eq!(entries[4].2, vec![7; 4097]);
        assert_eq!(entries[2].1, 0o040_755);
        assert!(entries[5].2.is_empty());
    }

    #[test]
    fn cpio_itself_agrees() {
        let Ok(mut cpio) =
            Command::new("cpio").args(["-itv", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        else {
            crate::testing::skipped("cpio is not installed");
            return;
        };
        cpio.stdin.take().unwrap().write_all(&sample()).unwrap();
        let out = cpio.wait_with_output().unwrap();
        assert!(out.status.success());
        let listing = String::from_utf8(out.stdout).unwrap();
        assert_eq!(listing.lines().count(), 6, "{listing}");
        assert!(listing.lines().any(|l| l.starts_with("-rwxr-xr-x") && l.ends_with(" init")), "{listing}");
        assert!(listing.lines().any(|l| l.contains(" 4097 ") && l.ends_with("libc.so.6")), "{listing}");
    }
}
