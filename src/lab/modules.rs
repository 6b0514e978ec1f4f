//! The kernel modules a guest needs for its network card, in the order they must be loaded.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::LabError;

/// Without these a guest has no network.
const NEEDED: [&str; 2] = ["virtio_pci", "virtio_net"];
/// Loaded where they are modules; a kernel without them is fine too.
const WELCOME: [&str; 1] = ["ipv6"];

/// A module, decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name with underscores, e.g. `virtio_net`.
    pub(crate) name: String,
    /// The `.ko` file's contents.
    pub(crate) data: Vec<u8>,
}

/// Name of the module in this file: `kernel/drivers/net/virtio-net.ko.xz` is `virtio_net`.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let (name, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

/// `modules.dep` in memory: what each module file needs. Each line lists all that a module needs,
/// directly or not, the last to be loaded first (depmod(8)).
struct Deps(Vec<(String, String, Vec<String>)>);

impl Deps {
    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (path, deps) = line.split_once(':')?;
            Some((module_name(path)?, path.to_owned(), deps.split_whitespace().map(str::to_owned).collect()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    fn find(&self, name: &str) -> Option<&(String, String, Vec<String>)> {
        self.0.iter().find(|(n, ..)| n == name)
    }

    /// Paths to load for `names`, each once, dependencies first.
    fn load_order<'a>(&'a self, names: &[&str]) -> Vec<&'a str> {
        let mut seen = BTreeSet::new();
        let mut order = Vec::new();
        for (_, path, deps) in names.iter().filter_map(|n| self.find(n)) {
            for p in deps.iter().rev().chain([path]) {
                if seen.insert(p.as_str()) {
                    order.push(p.as_str());
                }
            }
        }
        order
    }
}

/// What was found for a kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The modules to load, in this order.
    pub(crate) modules: Vec<Module>,
    /// Something people should know, e.g. that there is no folder of modules.
    pub(crate) remark: Option<String>,
}

/// Collects the network card's modules of kernel `release` from `root` (`/lib/modules`). Those
/// built into the kernel need no file; a kernel without a folder is taken to have all built in.
///
/// # Errors
/// A module that is neither built in nor there, or cannot be read.
pub(crate) fn collect(root: &Path, release: &str) -> Result<Found, LabError> {
    let dir = root.join(release);
    if !dir.is_dir() {
        let remark =
            format!("{} is missing: taking virtio_pci and virtio_net to be built into the kernel", dir.display());
        return Ok(Found { modules: Vec::new(), remark: Some(remark) });
    }
    let text = |name: &str| fs::read_to_string(dir.join(name));
    let deps =
        Deps::parse(&text("modules.dep").map_err(|e| LabError::file("cannot read", dir.join("modules.dep"), e))?);
    let builtin: BTreeSet<String> =
        text("modules.builtin").unwrap_or_default().lines().filter_map(module_name).collect();
    for name in NEEDED {
        if deps.find(name).is_none() && !builtin.contains(name) {
            let why = format!(
                "kernel {release} has no module {name} in {} and none built in; install the kernel's full set of \
                 modules, or choose another kernel with --kernel",
                dir.display()
            );
            return Err(LabError::initramfs("kernel modules", why));
        }
    }
    let names: Vec<&str> = WELCOME.into_iter().chain(NEEDED).collect();
    let mut modules = Vec::new();
    for path in deps.load_order(&names) {
        let full = if path.starts_with('/') { PathBuf::from(path) } else { dir.join(path) };
        let name = module_name(path).unwrap_or_else(|| path.to_owned());
        modules.push(Module { name, data: read_module(&full)? });
    }
    Ok(Found { modules, remark: None })
}

/// Reads a module, decompressed. The kernel could unpack some formats itself, but not all builds do.
fn read_module(path: &Path) -> Result<Vec<u8>, LabError> {
    let raw = fs::read(path).map_err(|e| LabError::file("cannot read the kernel module", path, e))?;
    let mut out = Vec::new();
    let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let result = match kind {
        "xz" => lzma_rust2::XzReader::new(raw.as_slice(), true).read_to_end(&mut out).map(drop),
        "gz" => flate2::read::GzDecoder::new(raw.as_slice()).read_to_end(&mut out).map(drop),
        "zst" => match ruzstd::decoding::StreamingDecoder::new(raw.as_slice()) {
            Ok(mut d) => d.read_to_end(&mut out).map(drop),
            Err(e) => Err(std::io::Error::other(e.to_string())),
        },
        _ => return Ok(raw),
    };
    result.map_err(|e| LabError::file("cannot decompress the kernel module", path, e))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio.ko.gz:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko.gz
kernel/drivers/virtio/virtio-pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko.gz
kernel/net/core/failover.ko:
kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko kernel/drivers/virtio/virtio_ring.ko \
kernel/drivers/virtio/virtio.ko.gz
";

    fn tree(dep: &str, builtin: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("6.1");
        for line in dep.lines() {
            let path = dir.join(line.split(':').next().unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let name = module_name(path.to_str().unwrap()).unwrap();
            if path.extension().unwrap() == "gz" {
                let mut gz = flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), Default::default());
                gz.write_all(name.as_bytes()).unwrap();
                gz.finish().unwrap();
            } else {
                fs::write(path, name).unwrap();
            }
        }
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("modules.dep"), dep).unwrap();
        fs::write(dir.join("modules.builtin"), builtin).unwrap();
        root
    }

    #[test]
    fn dependencies_come_first_each_once_and_unpacked() {
        let root = tree(DEP, "");
        let found = collect(root.path(), "6.1").unwrap();
        let names: Vec<&str> = found.modules.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_pci", "failover", "virtio_net"]);
        assert!(found.modules.iter().all(|m| m.data == m.name.as_bytes()));
    }

    #[test]
    fn what_is_built_in_needs_no_file() {
        let root = tree("", "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/net/virtio_net.ko\n");
        assert_eq!(collect(root.path(), "6.1").unwrap(), Found::default());
        let none = collect(root.path(), "6.2").unwrap();
        assert!(none.modules.is_empty() && none.remark.unwrap().contains("6.2"));
    }

    #[test]
    fn a_missing_module_is_named() {
        let root = tree("", "kernel/drivers/virtio/virtio_pci.ko\n");
        let e = collect(root.path(), "6.1").unwrap_err().to_string();
        assert!(e.contains("virtio_net") && e.contains("--kernel"), "{e}");
    }

    #[test]
    fn compressed_modules_are_told_by_their_names() {
        assert_eq!(module_name("a/virtio-net.ko.zst").as_deref(), Some("virtio_net"));
        assert_eq!(module_name("virtio_net.ko.xz").as_deref(), Some("virtio_net"));
        assert_eq!(module_name("modules.dep"), None);
        assert_eq!(module_name("x.ko.part"), None);
        let dir = tempfile::tempdir().unwrap();
        for bad in ["m.ko.xz", "m.ko.zst", "m.ko.gz"] {
            let path = dir.path().join(bad);
            fs::write(&path, b"this is not compressed").unwrap();
            assert!(read_module(&path).unwrap_err().to_string().contains(bad));
        }
    }
}
