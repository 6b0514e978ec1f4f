//! What the control groups this process is in allow it: memory and CPU, of version 1 and 2.
//!
//! A limit may be set at any level, and the smallest counts, so the whole path from this process's
//! group up to the root that is mounted here is looked at. In a container the file system shows
//! the container's own group as the root. All functions take the folder that holds `proc`, so that
//! tests can show them another tree.

use std::fs;
use std::path::{Path, PathBuf};

/// A limit on memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryBound {
    /// The file that sets it.
    pub file: PathBuf,
    /// The limit, bytes.
    pub limit_bytes: u64,
    /// What the group holds that cannot be given back: its use less its file cache. Bytes.
    pub held_bytes: u64,
}

impl MemoryBound {
    /// What is left below the limit, bytes.
    #[must_use]
    pub(crate) fn spare_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.held_bytes)
    }
}

/// A limit on CPU time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CpuBound {
    /// The file that sets it.
    pub file: PathBuf,
    /// CPUs' worth of time: 0.5 is half of one CPU.
    pub cpus: f64,
}

impl std::fmt::Display for CpuBound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} CPUs by {}", self.cpus, self.file.display())
    }
}

/// What keeps the generators of this process from all of the machine's CPUs, in a sentence: a quota, or a
/// set of CPUs. None if nothing does.
#[must_use]
pub(crate) fn cpu_limits() -> Option<String> {
    let quota = cpu(Path::new("/")).map(|quota| format!("a CPU quota of {quota}"));
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(0);
    let allowed = super::cpu::cpus().len();
    let set = (allowed > 0 && i64::try_from(allowed).is_ok_and(|n| n < online))
        .then(|| format!("{allowed} of {online} CPUs by its affinity or cpuset"));
    let both: Vec<String> = quota.into_iter().chain(set).collect();
    (!both.is_empty()).then(|| {
        format!("this process has {}: more LOAD or RATE than that allows shows as saturated", both.join(" and "))
    })
}

/// Values from here on mean "no limit" in version 1, which says so with its largest page count.
const NO_LIMIT: u64 = 1 << 60;
/// Levels of groups looked at.
const DEEPEST: usize = 64;
/// None of these files is longer, bytes.
const FILE_BYTES: u64 = 1 << 20;

/// The memory limit that leaves least, if there is any.
#[must_use]
pub(crate) fn memory(root: &Path) -> Option<MemoryBound> {
    let mut bounds = Vec::new();
    for group in groups(root, "memory") {
        // Locked memory does not swap: limits on swap alone do not matter, those on both do.
        let (limits, cache): (&[(&str, &str)], _) = match group.version {
            Version::Two => (
                &[("memory.max", "memory.current"), ("memory.high", "memory.current")],
                ["inactive_file", "active_file"],
            ),
            Version::One => (
                &[
                    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
                    ("memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"),
                ],
                ["total_inactive_file", "total_active_file"],
            ),
        };
        let stat = read(&group.dir.join("memory.stat")).unwrap_or_default();
        let cached: u64 = cache.iter().filter_map(|key| value_of(&stat, key)).fold(0, u64::saturating_add);
        for (limit, usage) in limits {
            let file = group.dir.join(limit);
            let Some(limit_bytes) = number(&file).filter(|n| *n < NO_LIMIT) else { continue };
            let used = number(&group.dir.join(usage)).unwrap_or(0);
            bounds.push(MemoryBound { file, limit_bytes, held_bytes: used.saturating_sub(cached) });
        }
    }
    bounds.into_iter().min_by_key(|b| (b.spare_bytes(), b.limit_bytes))
}

/// The CPU quota that allows least, if there is any.
#[must_use]
pub(crate) fn cpu(root: &Path) -> Option<CpuBound> {
    let bound = |group: Group| {
        let (file, quota, period) = match group.version {
            Version::Two => {
                let file = group.dir.join("cpu.max");
                let text = read(&file)?;
                let mut fields = text.split_whitespace();
                (file, fields.next()?.parse::<f64>().ok()?, fields.next().map_or(Some(100_000.0), |p| p.parse().ok())?)
            }
            Version::One => {
                let file = group.dir.join("cpu.cfs_quota_us");
                let quota = read(&file)?.trim().parse::<f64>().ok()?;
                (file, quota, read(&group.dir.join("cpu.cfs_period_us"))?.trim().parse::<f64>().ok()?)
            }
        };
        let limited = quota > 0.0 && period > 0.0 && (quota / period).is_finite();
        limited.then(|| CpuBound { file, cpus: quota / period })
    };
    groups(root, "cpu").into_iter().filter_map(bound).min_by(|a, b| a.cpus.total_cmp(&b.cpus))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

#[derive(Debug)]
struct Group {
    version: Version,
    dir: PathBuf,
}

/// The groups of `controller` this process is in, from its own upwards.
fn groups(root: &Path, controller: &str) -> Vec<Group> {
    let own = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = read(&root.join("proc/self/mountinfo")).unwrap_or_default();
    let mut found = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let version = match controllers {
            "" => Version::Two,
            list if list.split(',').any(|c| c == controller) => Version::One,
            _ => continue,
        };
        let Some((inside, at)) = mounts.lines().find_map(|line| mount(line, version, controller)) else { continue };
        // What is mounted may itself be a group below the root: then the path is seen from there.
        let below = Path::new(path).strip_prefix(&inside).unwrap_or(Path::new(""));
        if below.components().any(|c| c == std::path::Component::ParentDir) {
            continue;
        }
        let top = root.join(at.strip_prefix("/").unwrap_or(&at));
        let leaf = top.join(below.strip_prefix("/").unwrap_or(below));
        let levels = leaf.ancestors().take_while(|dir| dir.starts_with(&top)).take(DEEPEST);
        found.extend(levels.map(|dir| Group { version, dir: dir.to_owned() }));
    }
    found
}

/// Root and mount point of a line of mountinfo, if it mounts the controller's hierarchy: proc(5).
fn mount(line: &str, version: Version, controller: &str) -> Option<(PathBuf, PathBuf)> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let (inside, at) = (fields.nth(3)?, fields.next()?);
    let mut kind = after.split(' ');
    let right = match (kind.next()?, version) {
        ("cgroup2", Version::Two) => true,
        ("cgroup", Version::One) => kind.nth(1)?.split(',').any(|c| c == controller),
        _ => false,
    };
    right.then(|| (unescaped(inside), unescaped(at)))
}

/// mountinfo writes blanks, tabs, line ends and backslashes in octal.
fn unescaped(text: &str) -> PathBuf {
    let plain = text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    PathBuf::from(plain)
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path).ok()?.take(FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The number in a file; None for `max` too.
fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

fn value_of(stat: &str, key: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A tree with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const V2: &str = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_smallest_limit_on_the_path_counts() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/a/b/c\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/a/memory.max", "268435456\n"),
            ("sys/fs/cgroup/a/memory.current", "104857600\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 20971520\nactive_file 10485760\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.high", "536870912\n"),
            ("sys/fs/cgroup/a/b/c/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/a/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/a/b/c/cpu.max", "200000 100000\n"),
        ]);
        let bound = memory(root.path()).unwrap();
        assert!(bound.file.ends_with("a/memory.max"), "{bound:?}");
        assert_eq!((bound.limit_bytes, bound.held_bytes), (256 * MIB, 70 * MIB));
        assert_eq!(bound.spare_bytes(), 186 * MIB);
        let quota = cpu(root.path()).unwrap();
        assert!(quota.cpus == 0.5 && quota.file.ends_with("a/b/cpu.max"), "{quota}");
        assert!(quota.to_string().starts_with("0.50 CPUs by "), "{quota}");
    }

    #[test]
    fn a_high_mark_is_a_limit_too() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.high", "67108864\n"),
        ]);
        let bound = memory(root.path()).unwrap();
        assert!(bound.limit_bytes == 64 * MIB && bound.file.ends_with("memory.high"), "{bound:?}");
        assert_eq!(cpu(root.path()), None);
    }

    #[test]
    fn version_1_is_read_where_it_is_mounted() {
        let mounts = "40 30 0:30 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                      41 30 0:31 /docker/x /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
        let root = tree(&[
            ("proc/self/cgroup", "9:memory:/docker/x\n8:cpu,cpuacct:/docker/x/y\n1:name=systemd:/z\n"),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "33554432\n"),
            ("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.stat", "cache 5\ntotal_inactive_file 16777216\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/y/cpu.cfs_quota_us", "150000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/y/cpu.cfs_period_us", "100000\n"),
        ]);
        let bound = memory(root.path()).unwrap();
        assert_eq!((bound.limit_bytes, bound.spare_bytes()), (128 * MIB, 112 * MIB));
        assert_eq!(cpu(root.path()).map(|q| q.cpus), Some(1.5));
    }

    #[test]
    fn a_mount_that_shows_another_part_is_read_at_its_top() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/../../elsewhere\n0::/system.slice/docker-1.scope\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/memory.max", "1048576\n"),
        ]);
        assert_eq!(memory(root.path()).map(|b| b.limit_bytes), Some(MIB));
    }

    #[test]
    fn no_limit_and_nonsense_are_no_bound() {
        for text in ["max\n", "", "lots\n", "-5\n", "9223372036854771712\n"] {
            let root = tree(&[
                ("proc/self/cgroup", "0::/a\nx\n:::\n4:memory\n"),
                ("proc/self/mountinfo", &format!("{V2}short line\n- - -\n")),
                ("sys/fs/cgroup/a/memory.max", text),
                ("sys/fs/cgroup/a/cpu.max", text),
            ]);
            assert_eq!(memory(root.path()), None, "{text}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert_eq!((memory(empty.path()), cpu(empty.path())), (None, None));
        let root =
            tree(&[("proc/self/cgroup", "0::/a\n"), ("proc/self/mountinfo", V2), ("sys/fs/cgroup/a/cpu.max", "0 0\n")]);
        assert_eq!(cpu(root.path()), None);
        // This machine's own, whatever they are.
        let _ = (memory(Path::new("/")), cpu(Path::new("/")));
    }
}
