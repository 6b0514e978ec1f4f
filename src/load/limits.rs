//! How much memory the generators may take.

use std::path::Path;

use super::LoadError;
use super::cgroup::{self, MemoryBound};
use crate::units::{PAGE_BYTES, show_bytes};

/// The reserve is at least so much, unless it was set explicitly. Bytes.
pub(crate) const LEAST_RESERVE_BYTES: u64 = 32 << 20;

/// The reserve of a machine with `ram_bytes` of RAM where none is set: 10 %, at least 32 MiB. Bytes.
#[must_use]
pub(crate) fn default_reserve(ram_bytes: u64) -> u64 {
    (ram_bytes / 10).max(LEAST_RESERVE_BYTES)
}

/// The largest WSET that leaves `reserve_bytes` (`None`: the default reserve) of `ram_bytes`, in
/// whole pages. Bytes.
#[must_use]
pub(crate) fn wset_limit(ram_bytes: u64, reserve_bytes: Option<u64>) -> u64 {
    let reserve = reserve_bytes.unwrap_or_else(|| default_reserve(ram_bytes));
    ram_bytes.saturating_sub(reserve) / PAGE_BYTES * PAGE_BYTES
}

/// Limits of the generators on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// RAM as the kernel sees it, or what the control group allows where that is less, bytes.
    pub ram_bytes: u64,
    /// What must stay free for everything else, bytes.
    pub reserve_bytes: u64,
}

impl Limits {
    /// The limits of this machine, with the default reserve unless one is given (bytes).
    #[must_use]
    pub fn of_this_machine(reserve_bytes: Option<u64>) -> Self {
        Self::of(&Memory::now(), reserve_bytes)
    }

    fn of(memory: &Memory, reserve_bytes: Option<u64>) -> Self {
        let bound = memory.bound.as_ref().map_or(u64::MAX, |b| b.limit_bytes);
        let ram_bytes = memory.total_bytes.min(bound);
        Self { ram_bytes, reserve_bytes: reserve_bytes.unwrap_or_else(|| default_reserve(ram_bytes)) }
    }

    /// The largest WSET possible now, bytes: what RAM and the reserve allow, and no more than what
    /// is available beside the `held_bytes` the generator has already.
    #[must_use]
    pub fn wset_limit_now(&self, held_bytes: u64) -> u64 {
        self.limit_with(held_bytes, Memory::now().free_bytes()).0
    }

    /// Checks a WSET against the memory there is now.
    ///
    /// # Errors
    /// [`LoadError::WsetOverLimit`] with the numbers. A WSET no larger than `held_bytes` is never
    /// refused.
    pub fn check(&self, asked_bytes: u64, held_bytes: u64) -> Result<(), LoadError> {
        self.check_in(asked_bytes, held_bytes, &Memory::now())
    }

    fn check_in(&self, asked: u64, held: u64, memory: &Memory) -> Result<(), LoadError> {
        self.check_with(asked, held, memory.free_bytes()).map_err(|mut e| {
            if let (LoadError::WsetOverLimit { bound, .. }, Some(by)) = (&mut e, memory.binding()) {
                *bound = Some(format!("{} by {}", show_bytes(by.limit_bytes), by.file.display()));
            }
            e
        })
    }

    fn limit_with(&self, held_bytes: u64, available_bytes: Option<u64>) -> (u64, u64) {
        let spare = available_bytes.map_or(self.ram_bytes, |a| a.saturating_add(held_bytes).min(self.ram_bytes));
        (wset_limit(spare, Some(self.reserve_bytes)), spare)
    }

    fn check_with(&self, asked: u64, held: u64, available: Option<u64>) -> Result<(), LoadError> {
        let (limit_bytes, spare_bytes) = self.limit_with(held, available);
        if asked <= held || asked <= limit_bytes {
            return Ok(());
        }
        Err(LoadError::WsetOverLimit {
            asked_bytes: asked,
            limit_bytes,
            ram_bytes: self.ram_bytes,
            spare_bytes,
            reserve_bytes: self.reserve_bytes,
            bound: None,
        })
    }
}

/// The machine's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Memory {
    /// RAM as the kernel sees it, bytes.
    pub total_bytes: u64,
    /// What could be had without swapping, bytes (`MemAvailable`).
    pub available_bytes: Option<u64>,
    /// What the control group allows this process, if it sets a limit.
    pub bound: Option<MemoryBound>,
}

impl Memory {
    /// The machine's memory now, from `/proc/meminfo`, or `sysinfo(2)` where that is not mounted.
    #[must_use]
    pub(crate) fn now() -> Self {
        Self::under(Path::new("/"))
    }

    /// The same of the tree below `root`.
    fn under(root: &Path) -> Self {
        let text = std::fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let total_bytes = meminfo(&text, "MemTotal:")
            .or_else(|| nix::sys::sysinfo::sysinfo().ok().map(|i| i.ram_total()))
            .unwrap_or(0);
        Self { total_bytes, available_bytes: meminfo(&text, "MemAvailable:"), bound: cgroup::memory(root) }
    }

    /// What could be had now without swapping and without being killed for it, bytes.
    fn free_bytes(&self) -> Option<u64> {
        let bound = self.bound.as_ref().map(MemoryBound::spare_bytes);
        self.available_bytes.into_iter().chain(bound).min()
    }

    /// The control group's limit, if that is what there is less of than of the machine's memory.
    fn binding(&self) -> Option<&MemoryBound> {
        let available = self.available_bytes.unwrap_or(self.total_bytes);
        self.bound.as_ref().filter(|b| b.spare_bytes() < available)
    }
}

fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.starts_with(key))?;
    let kib: u64 = line[key.len()..].split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_reserve_is_a_tenth_but_at_least_32_mib() {
        assert_eq!(wset_limit(256 * MIB, None), 224 * MIB);
        assert_eq!(wset_limit(1000 * MIB, None), 900 * MIB);
        assert_eq!(wset_limit(16 * MIB, None), 0);
        assert_eq!(wset_limit(256 * MIB, Some(0)), 256 * MIB);
    }

    #[test]
    fn what_is_not_available_cannot_be_had() {
        let limits = Limits { ram_bytes: 256 * MIB, reserve_bytes: 32 * MIB };
        assert_eq!(limits.check_with(128 * MIB, 0, Some(160 * MIB)), Ok(()));
        assert_eq!(limits.check_with(140 * MIB, 100 * MIB, Some(80 * MIB)), Ok(()));
        let refused = limits.check_with(140 * MIB, 0, Some(160 * MIB)).unwrap_err().to_string();
        for number in ["140.0 MiB", "128.0 MiB", "256.0 MiB", "160.0 MiB", "32.0 MiB"] {
            assert!(refused.contains(number), "{number} in: {refused}");
        }
        assert_eq!(limits.check_with(100 * MIB, 100 * MIB, Some(0)), Ok(()));
        assert!(limits.check_with(225 * MIB, 0, None).is_err());
    }

    #[test]
    fn a_containers_limit_is_a_limit_and_named() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n");
        write("proc/self/cgroup", "0::/box\n");
        write("proc/self/mountinfo", "25 30 0:23 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n");
        write("sys/fs/cgroup/box/memory.max", "134217728\n");
        write("sys/fs/cgroup/box/memory.current", "16777216\n");
        let memory = Memory::under(root.path());
        let limits = Limits::of(&memory, None);
        assert_eq!((limits.ram_bytes, limits.reserve_bytes), (128 * MIB, 32 * MIB));
        assert_eq!(limits.check_in(80 * MIB, 0, &memory), Ok(()));
        // What is held already is in the group's use.
        assert_eq!(limits.check_in(96 * MIB, 16 * MIB, &memory), Ok(()));
        let refused = limits.check_in(81 * MIB, 0, &memory).unwrap_err().to_string();
        assert!(refused.contains("128.0 MiB by") && refused.contains("box/memory.max"), "{refused}");
        // Where the machine itself has less, that is the reason.
        write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 65536 kB\n");
        let refused = limits.check_in(81 * MIB, 0, &Memory::under(root.path())).unwrap_err().to_string();
        assert!(!refused.contains("memory.max"), "{refused}");
    }

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:         220000 kB\nMemFree: 1 kB\nMemAvailable:     100000 kB\n";
        assert_eq!(meminfo(text, "MemTotal:"), Some(220_000 * 1024));
        assert_eq!(meminfo(text, "MemAvailable:"), Some(100_000 * 1024));
        assert_eq!(meminfo("MemTotal: lots", "MemTotal:"), None);
        assert!(Memory::now().total_bytes > 0);
    }
}
