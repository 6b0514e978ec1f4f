//! Finding a kernel the guest can run, and making sure that it is one.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::LabError;

/// A kernel image and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The bzImage.
    pub path: PathBuf,
    /// Its release, as in `uname -r`.
    pub release: String,
}

/// Where distributions put kernels and modules.
#[derive(Debug, Clone)]
pub struct Places {
    /// `/boot`.
    pub boot: PathBuf,
    /// `/lib/modules`.
    pub modules: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { boot: "/boot".into(), modules: "/lib/modules".into() }
    }
}

/// Reads the release out of a bzImage (Linux `Documentation/arch/x86/boot.rst`: "HdrS" at 0x202,
/// at 0x20e the address of the version text less 0x200).
///
/// # Errors
/// For people: why the file is not a kernel that can be booted.
pub fn release_of(path: &Path) -> Result<String, String> {
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(0x210).read_to_end(&mut head).map_err(|e| e.to_string())?;
    if head.len() < 0x210 || &head[0x202..0x206] != b"HdrS" {
        return Err(not_a_kernel(&head));
    }
    let at = 0x200 + u64::from(u16::from_le_bytes([head[0x20e], head[0x20f]]));
    file.seek(SeekFrom::Start(at)).map_err(|e| e.to_string())?;
    let mut text = Vec::new();
    file.take(256).read_to_end(&mut text).map_err(|e| e.to_string())?;
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).unwrap_or_default();
    match text.split_whitespace().next() {
        Some(release) if release.starts_with(|c: char| c.is_ascii_digit()) && !release.contains('/') => {
            Ok(release.to_owned())
        }
        _ => Err("it has the header of a Linux kernel but names no version; it may be damaged".into()),
    }
}

fn not_a_kernel(head: &[u8]) -> String {
    let what = match head {
        [] => "it is empty",
        [0x7f, b'E', b'L', b'F', ..] => "it is an ELF file (an uncompressed vmlinux?)",
        [b'M', b'Z', ..] => "it is an EFI program (a unified kernel image?)",
        [0x1f, 0x8b, ..] => "it is a gzip file",
        [b'0', b'7', b'0', b'7', ..] => "it is a cpio archive (an initramfs?)",
        _ => "it has no \"HdrS\" at byte 0x202",
    };
    format!("it is not a Linux kernel in the bzImage format: {what}")
}

/// Finds the guest's kernel: `asked` if given, else the newest that can be read and has modules,
/// with those built for the cloud first (they are small and boot fast).
///
/// # Errors
/// [`LabError::Kernel`] with what was looked at and what would mend it.
pub fn find(asked: Option<&Path>, places: &Places) -> Result<Kernel, LabError> {
    if let Some(path) = asked {
        return release_of(path).map(|release| Kernel { path: path.to_owned(), release }).map_err(|why| {
            LabError::Kernel {
                why: format!("{}: {why}", path.display()),
                remedy: "give --kernel a bzImage such as /boot/vmlinuz-VERSION".into(),
            }
        });
    }
    let mut found: Vec<Kernel> = Vec::new();
    let mut forbidden: Vec<PathBuf> = Vec::new();
    let mut bare: Vec<Kernel> = Vec::new();
    for path in candidates(places) {
        if let Err(e) = File::open(&path) {
            if e.kind() == ErrorKind::PermissionDenied {
                forbidden.push(path);
            }
            continue;
        }
        let Ok(release) = release_of(&path) else { continue };
        let kernel = Kernel { path, release };
        if places.modules.join(&kernel.release).join("modules.dep").exists() {
            found.push(kernel);
        } else {
            bare.push(kernel);
        }
    }
    found.sort_by_key(|k| preference(&k.release));
    found.pop().ok_or_else(|| nothing_found(places, &forbidden, &bare))
}

fn candidates(places: &Places) -> Vec<PathBuf> {
    let list = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
    let named = |p: &PathBuf| {
        p.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz") && !n.to_string_lossy().contains("rescue"))
    };
    let mut all: Vec<PathBuf> = list(&places.boot).filter(named).collect();
    all.extend(list(&places.modules).map(|d| d.join("vmlinuz")).filter(|p| p.exists()));
    all
}

/// Sorts releases: cloud kernels last (best), then by version, numbers as numbers.
fn preference(release: &str) -> (bool, Vec<(u64, String)>) {
    let mut parts = Vec::new();
    let mut rest = release;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..digits].parse().unwrap_or(0);
        rest = &rest[digits..];
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        parts.push((number, rest[..text].to_owned()));
        rest = &rest[text..];
    }
    (release.contains("cloud"), parts)
}

fn nothing_found(places: &Places, forbidden: &[PathBuf], bare: &[Kernel]) -> LabError {
    if let Some(path) = forbidden.first() {
        let path = path.display();
        return LabError::Kernel {
            why: format!("{path} can only be read by root"),
            remedy: format!(
                "make it readable with `sudo chmod 0644 {path}`, or give --kernel a copy that you can read"
            ),
        };
    }
    if let Some(kernel) = bare.first() {
        return LabError::Kernel {
            why: format!(
                "{} has no modules in {}",
                kernel.path.display(),
                places.modules.join(&kernel.release).display()
            ),
            remedy: format!(
                "install the modules of {}, or say --kernel {} if virtio_net is built into it",
                kernel.release,
                kernel.path.display()
            ),
        };
    }
    LabError::Kernel {
        why: format!("no vmlinuz in {} or {}", places.boot.display(), places.modules.display()),
        remedy: "install one: Debian `sudo apt install linux-image-cloud-amd64`, Ubuntu `sudo apt install \
                 linux-image-virtual`, Fedora `sudo dnf install kernel-core`, Arch `sudo pacman -S linux`"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(release: &str) -> Vec<u8> {
        let mut b = vec![0u8; 0x1000];
        b[0x202..0x206].copy_from_slice(b"HdrS");
        b[0x20e..0x210].copy_from_slice(&0x600u16.to_le_bytes());
        let text = format!("{release} (someone@somewhere) #1 SMP\0");
        b[0x800..0x800 + text.len()].copy_from_slice(text.as_bytes());
        b
    }

    fn place(kernels: &[(&str, bool)]) -> (tempfile::TempDir, Places) {
        let root = tempfile::tempdir().unwrap();
        let places = Places { boot: root.path().join("boot"), modules: root.path().join("modules") };
        fs::create_dir_all(&places.boot).unwrap();
        fs::create_dir_all(&places.modules).unwrap();
        for (release, modules) in kernels {
            fs::write(places.boot.join(format!("vmlinuz-{release}")), image(release)).unwrap();
            if *modules {
                let dir = places.modules.join(release);
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join("modules.dep"), "").unwrap();
            }
        }
        (root, places)
    }

    #[test]
    fn the_newest_with_modules_is_chosen_and_cloud_before_others() {
        let (_root, places) = place(&[("6.9.1", true), ("6.12.3", true), ("6.13.0", false)]);
        assert_eq!(find(None, &places).unwrap().release, "6.12.3");
        let (_root, places) = place(&[("6.1.0-9-cloud-amd64", true), ("6.1.0-56-cloud-amd64", true), ("6.12.3", true)]);
        assert_eq!(find(None, &places).unwrap().release, "6.1.0-56-cloud-amd64");
    }

    #[test]
    fn what_is_missing_is_said_with_its_remedy() {
        let (_root, places) = place(&[]);
        let e = find(None, &places).unwrap_err().to_string();
        assert!(e.contains("no vmlinuz") && e.contains("apt install"), "{e}");
        let (_root, places) = place(&[("6.13.0", false)]);
        let e = find(None, &places).unwrap_err().to_string();
        assert!(e.contains("no modules") && e.contains("--kernel"), "{e}");
        let e = nothing_found(&places, &["/boot/vmlinuz-1".into()], &[]).to_string();
        assert!(e.contains("sudo chmod 0644 /boot/vmlinuz-1"), "{e}");
    }

    #[test]
    fn a_kernel_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        for (bytes, say) in
            [(b"#!/bin/sh\n".to_vec(), "HdrS"), (own(), "ELF"), (Vec::new(), "empty"), (image(""), "names no version")]
        {
            fs::write(&path, bytes).unwrap();
            let e = find(Some(&path), &Places::default()).unwrap_err().to_string();
            assert!(e.contains(say) && e.contains("--kernel"), "{e}");
        }
        let e = find(Some(&dir.path().join("none")), &Places::default()).unwrap_err().to_string();
        assert!(e.contains("No such file"), "{e}");
    }

    fn own() -> Vec<u8> {
        fs::read("/proc/self/exe").unwrap()[..4096].to_vec()
    }
}
