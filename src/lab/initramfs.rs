//! The guest's whole file system: this program as `/init`, the shared libraries it needs, the
//! kernel modules of its network card, and its settings.

use std::fs;
use std::path::{Path, PathBuf};

use super::cpio::Archive;
use super::elf;
use super::error::LabError;
use super::guest_config::{GuestConfig, MODULES, PATH};
use super::modules::Module;

/// A finished initramfs.
#[derive(Debug)]
pub(crate) struct Initramfs {
    /// The archive, not compressed: a guest under emulation unpacks slowly.
    pub(crate) bytes: Vec<u8>,
    /// Folders of the shared libraries, for the guest's LD_LIBRARY_PATH; there is no ld.so.cache.
    pub(crate) library_dirs: Vec<PathBuf>,
}

/// Builds it around `init` (a program of ours) for `config`, whose list of modules is filled in
/// from `modules`.
///
/// # Errors
/// [`LabError::Initramfs`] when the program or one of its libraries cannot be read or is not for
/// x86-64.
pub(crate) fn build(init: &Path, modules: &[Module], mut config: GuestConfig) -> Result<Initramfs, LabError> {
    let shown = || format!("the program {}", init.display());
    let program = fs::read(init).map_err(|e| LabError::initramfs(shown(), e))?;
    let mut archive = Archive::new();
    for dir in ["dev", "proc", "sys", "tmp", "run"] {
        archive.dir(dir);
    }
    // The kernel opens this as the init's standard streams, before anything is mounted.
    archive.char_device("dev/console", 0o600, 5, 1);
    archive.file("init", 0o755, &elf::loadable_part(&program).map_err(|e| LabError::initramfs(shown(), e))?);
    let mut library_dirs = Vec::new();
    if let Some(loader) = elf::interpreter(&program).map_err(|e| LabError::initramfs(shown(), e))? {
        for lib in elf::libraries(init, &loader).map_err(|e| LabError::initramfs(shown(), e))? {
            let bytes = fs::read(&lib).map_err(|e| LabError::file("cannot read the shared library", &lib, e))?;
            // Some libraries are linker scripts or odd files: those go in whole.
            let bytes = elf::loadable_part(&bytes).unwrap_or(bytes);
            archive.file(&lib.to_string_lossy(), 0o755, &bytes);
            if let Some(dir) = lib.parent().map(Path::to_owned).filter(|d| lib != loader && !library_dirs.contains(d)) {
                library_dirs.push(dir);
            }
        }
    }
    config.modules = modules.iter().map(|m| format!("{}.ko", m.name)).collect();
    for (name, module) in config.modules.iter().zip(modules) {
        archive.file(&format!("{MODULES}/{name}"), 0o600, &module.data);
    }
    let json = serde_json::to_vec(&config).map_err(|e| LabError::initramfs("the guest's settings", e))?;
    archive.file(PATH, 0o600, &json);
    Ok(Initramfs { bytes: archive.finish(), library_dirs })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::lab::guest_config::{Addresses, AgentConfig};

    fn config() -> GuestConfig {
        let at = |n| Addresses { v4: [10, 99, 0, n].into(), v6: None, mac: [2, 0, 0, 0, 0, n] };
        GuestConfig { name: "t".into(), own: at(2), bridge: at(1), modules: Vec::new(), agent: AgentConfig::default() }
    }

    #[test]
    fn an_unpacked_initramfs_runs_our_program() {
        let modules = [Module { name: "virtio".into(), data: vec![1, 2, 3] }];
        let me = std::env::current_exe().unwrap();
        let built = build(&me, &modules, config()).unwrap();
        assert!(
            (built.bytes.len() as u64) < fs::metadata(&me).unwrap().len() + (8 << 20),
            "debug information is in it"
        );
        let dir = tempfile::tempdir().unwrap();
        let Ok(mut cpio) = Command::new("cpio")
            .args(["-idm", "--quiet", "--no-absolute-filenames"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            crate::testing::skipped("cpio is not installed");
            return;
        };
        std::io::Write::write_all(&mut cpio.stdin.take().unwrap(), &built.bytes).unwrap();
        cpio.wait().unwrap(); // fails only on the device node, when not root
        assert_eq!(fs::read(dir.path().join("modules/virtio.ko")).unwrap(), [1, 2, 3]);
        let told: GuestConfig = serde_json::from_slice(&fs::read(dir.path().join("blackout.json")).unwrap()).unwrap();
        assert_eq!(told.modules, ["virtio.ko"]);
        // The program runs with nothing but the loader and the libraries of the archive.
        let init = dir.path().join("init");
        let list = match elf::interpreter(&fs::read(&init).unwrap()).unwrap() {
            None => Command::new(&init).arg("--list").output().unwrap(),
            Some(loader) => {
                let inside = |p: &Path| dir.path().join(p.strip_prefix("/").unwrap());
                let path: Vec<String> =
                    built.library_dirs.iter().map(|d| inside(d).to_string_lossy().into_owned()).collect();
                let mut run = Command::new(inside(&loader));
                run.arg("--library-path").arg(path.join(":")).arg(&init).arg("--list").output().unwrap()
            }
        };
        assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
        assert!(String::from_utf8_lossy(&list.stdout).contains("an_unpacked_initramfs_runs_our_program"));
    }

    #[test]
    fn what_is_no_program_cannot_be_init() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init.sh");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let e = build(&path, &[], config()).unwrap_err().to_string();
        assert!(e.contains("init.sh") && e.contains("not an ELF file"), "{e}");
    }
}
