//! As much of ELF as is needed to put a program into a guest: what the kernel and the dynamic
//! loader read of it, without the debug information behind that.
//!
//! Not by the crate `object`: two headers are read here, and what is made is a shorter copy of the file, which its
//! writer would lay out anew. The program cannot be taken to be static, since it is the one that runs: where it was
//! built with glibc, what it is linked with goes into the guest as well.

use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const EHDR: usize = 64;
const PHDR: usize = 56;

/// Why bytes are not a program we can put into a guest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ElfError {
    /// Not an ELF file.
    #[error("not an ELF file")]
    NotElf,
    /// For another kind of machine.
    #[error("not a 64-bit little-endian x86-64 program (class {class}, data {data}, machine {machine})")]
    Foreign {
        /// `EI_CLASS`.
        class: u8,
        /// `EI_DATA`.
        data: u8,
        /// `e_machine`.
        machine: u16,
    },
    /// Shorter than its own headers say.
    #[error("truncated: its headers speak of byte {end}, but it ends at {len}")]
    Truncated {
        /// Where it should reach.
        end: u64,
        /// Where it ends.
        len: u64,
    },
    /// Nothing in it is ever loaded.
    #[error("no PT_LOAD segment")]
    NothingToLoad,
}

struct Segment {
    kind: u32,
    offset: u64,
    size: u64,
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

fn segments(elf: &[u8]) -> Result<Vec<Segment>, ElfError> {
    if elf.len() < EHDR || &elf[..4] != b"\x7fELF" {
        return Err(ElfError::NotElf);
    }
    let (class, data, machine) = (elf[4], elf[5], u16_at(elf, 18));
    if (class, data, machine) != (2, 1, 62) {
        return Err(ElfError::Foreign { class, data, machine });
    }
    let len = elf.len() as u64;
    let (table, size, count) = (u64_at(elf, 32), u16_at(elf, 54) as usize, u16_at(elf, 56) as usize);
    let end = table.saturating_add((size.max(PHDR) * count) as u64);
    if end > len {
        return Err(ElfError::Truncated { end, len });
    }
    let mut out = Vec::with_capacity(count);
    for i in 0..count {
        let at = table as usize + i * size.max(PHDR);
        let segment = Segment { kind: u32_at(elf, at), offset: u64_at(elf, at + 8), size: u64_at(elf, at + 32) };
        let end = segment.offset.saturating_add(segment.size);
        if end > len {
            return Err(ElfError::Truncated { end, len });
        }
        out.push(segment);
    }
    Ok(out)
}

/// The program cut after its last PT_LOAD segment, with no section headers: all that is needed to
/// run it, and for a build with debug information a small part of the file.
///
/// # Errors
/// Bytes that are not an x86-64 program.
pub(crate) fn loadable_part(elf: &[u8]) -> Result<Vec<u8>, ElfError> {
    let end = segments(elf)?
        .iter()
        .filter(|s| s.kind == PT_LOAD)
        .map(|s| s.offset + s.size)
        .max()
        .ok_or(ElfError::NothingToLoad)?;
    let mut out = elf[..(end as usize).max(EHDR)].to_vec();
    // e_shoff, e_shnum, e_shstrndx: the sections are gone.
    out[40..48].fill(0);
    out[60..64].fill(0);
    Ok(out)
}

/// The dynamic loader a program asks for; None if it is statically linked.
///
/// # Errors
/// Bytes that are not an x86-64 program.
pub(crate) fn interpreter(elf: &[u8]) -> Result<Option<PathBuf>, ElfError> {
    let Some(s) = segments(elf)?.into_iter().find(|s| s.kind == PT_INTERP) else { return Ok(None) };
    let bytes = &elf[s.offset as usize..(s.offset + s.size) as usize];
    let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
    Ok(Some(PathBuf::from(String::from_utf8_lossy(text).into_owned())))
}

/// The shared libraries `program` needs and its loader, at the paths its loader finds them at,
/// by asking that loader (`ld.so --list`, glibc and musl alike).
///
/// # Errors
/// Why the loader could not tell, for people.
pub(crate) fn libraries(program: &Path, loader: &Path) -> Result<Vec<PathBuf>, String> {
    let out = Command::new(loader)
        .arg("--list")
        .arg(program)
        .env_remove("LD_PRELOAD")
        .output()
        .map_err(|e| format!("cannot run its loader {}: {e}", loader.display()))?;
    if !out.status.success() {
        return Err(format!("{} --list: {}", loader.display(), String::from_utf8_lossy(&out.stderr).trim()));
    }
    let mut libs = listed(&String::from_utf8_lossy(&out.stdout))?;
    if !libs.iter().any(|l| l == loader) {
        libs.push(loader.to_owned());
    }
    Ok(libs)
}

/// Reads the output of `ld.so --list`.
fn listed(text: &str) -> Result<Vec<PathBuf>, String> {
    let mut libs: Vec<PathBuf> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.ends_with("not found") {
            return Err(format!("a shared library is missing: {line}"));
        }
        let path = line.split_once("=>").map_or(line, |(_, path)| path.trim());
        let path = path.rsplit_once(" (").map_or(path, |(path, _)| path);
        // linux-vdso.so.1 has no path: the kernel brings it along.
        if path.starts_with('/') && !libs.iter().any(|l| l.as_os_str() == path) {
            libs.push(PathBuf::from(path));
        }
    }
    Ok(libs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn a_cut_program_still_runs() {
        let whole = std::fs::read("/bin/true").unwrap();
        let cut = loadable_part(&whole).unwrap();
        assert!(cut.len() <= whole.len());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cut");
        std::fs::write(&path, &cut).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        assert!(Command::new("/bin/sh").arg("-c").arg(&path).status().unwrap().success());
        // Our own has debug information, which must be gone.
        let whole = own();
        assert!(loadable_part(&whole).unwrap().len() < whole.len());
    }

    #[test]
    fn our_own_libraries_are_found() {
        let Some(loader) = interpreter(&own()).unwrap() else {
            return;
        };
        let libs = libraries(&std::env::current_exe().unwrap(), &loader).unwrap();
        assert!(libs.contains(&loader), "{libs:?}");
        assert!(libs.iter().all(|l| l.exists()), "{libs:?}");
        assert!(libs.iter().any(|l| l.to_string_lossy().contains("libc")), "{libs:?}");
    }

    #[test]
    fn the_loaders_list_is_read() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\t\
                    /lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        assert_eq!(
            listed(text).unwrap(),
            [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]
        );
        assert!(listed("libz.so.1 => not found\n").unwrap_err().contains("libz.so.1"));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert_eq!(loadable_part(b"#!/bin/sh\n").unwrap_err(), ElfError::NotElf);
        let mut arm = own();
        arm[18] = 183;
        assert!(matches!(loadable_part(&arm), Err(ElfError::Foreign { machine: 183, .. })));
        assert!(matches!(loadable_part(&own()[..4096]), Err(ElfError::Truncated { .. })));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(mut noise in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = loadable_part(&noise);
            for (i, b) in b"\x7fELF\x02\x01".iter().enumerate() {
                if let Some(n) = noise.get_mut(i) { *n = *b; }
            }
            if noise.len() > 19 { noise[18] = 62; noise[19] = 0; }
            let _ = loadable_part(&noise);
            let _ = interpreter(&noise);
        }
    }
}
