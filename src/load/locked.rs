//! The locked-pages generator: WSET bytes of locked memory full of random data, grown and shrunk
//! live while the dirty-pages generator goes on.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use super::LoadError;
use super::chunk::{CHUNK_PAGES, Chunk};
use super::dirty::Dirty;
use super::walk::Filler;
use crate::units::PAGE_BYTES;

/// The books of the locked memory; the chunks themselves are with the [`Dirty`] generator, except
/// while they are resized.
#[derive(Debug)]
pub(crate) struct Locked {
    pages: usize,
    filler: Filler,
}

impl Locked {
    pub(crate) fn new() -> Self {
        Self { pages: 0, filler: Filler::new() }
    }

    /// Memory held and locked, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.pages as u64 * PAGE_BYTES
    }

    /// Grows or shrinks to `bytes` (whole pages), chunk by chunk, as long as `go_on` says so.
    ///
    /// # Errors
    /// When the kernel refuses, or `go_on` said no. What is held then is in [`Locked::bytes`].
    pub(crate) fn resize(&mut self, bytes: u64, dirty: &Dirty, go_on: &dyn Fn() -> bool) -> Result<(), LoadError> {
        let target = usize::try_from(bytes / PAGE_BYTES).unwrap_or(usize::MAX);
        if target < self.pages {
            return self.shrink(target, dirty);
        }
        while self.pages < target {
            if !go_on() {
                return Err(LoadError::Superseded { held_bytes: self.bytes() });
            }
            self.grow(target, dirty).map_err(|e| why(e, bytes))?;
        }
        Ok(())
    }

    fn shrink(&mut self, target: usize, dirty: &Dirty) -> Result<(), LoadError> {
        let first_touched = target / CHUNK_PAGES;
        let mut chunks = dirty.take(self.pages.div_ceil(CHUNK_PAGES) - first_touched)?;
        let keep = target % CHUNK_PAGES;
        let partial = (keep > 0 && !chunks.is_empty()).then(|| chunks.swap_remove(0));
        drop(chunks);
        self.pages = first_touched * CHUNK_PAGES;
        if let Some(mut chunk) = partial {
            chunk.truncate(keep);
            self.pages += chunk.len();
            dirty.give(chunk)?;
        }
        Ok(())
    }

    /// Grows by at most one chunk.
    fn grow(&mut self, target: usize, dirty: &Dirty) -> Result<(), Refusal> {
        let partial = self.pages % CHUNK_PAGES;
        let taken = if partial > 0 { dirty.take(1)?.pop() } else { None };
        let mut chunk = match taken {
            Some(chunk) => chunk,
            None => Chunk::reserve().map_err(Refusal::Map)?,
        };
        let before = chunk.len();
        let locked = chunk.lock_up_to(before + (target - self.pages).min(CHUNK_PAGES - before));
        self.filler.fill(&mut chunk.pages()[before..]);
        self.pages += chunk.len() - before;
        if chunk.len() > 0 {
            dirty.give(chunk)?;
        }
        locked.map_err(Refusal::Lock)
    }
}

/// What stopped a growth.
enum Refusal {
    Map(Errno),
    Lock(Errno),
    Load(LoadError),
}

impl From<LoadError> for Refusal {
    fn from(e: LoadError) -> Self {
        Self::Load(e)
    }
}

fn why(refusal: Refusal, asked_bytes: u64) -> LoadError {
    match refusal {
        Refusal::Load(e) => e,
        Refusal::Map(errno) => LoadError::Memory { what: "map memory", asked_bytes, errno },
        Refusal::Lock(errno) => {
            let limits = getrlimit(Resource::RLIMIT_MEMLOCK).ok();
            // mlock says EPERM or ENOMEM (or EAGAIN) when the limit forbids it: mlock(2).
            match limits {
                Some((soft_bytes, hard_bytes)) if soft_bytes < asked_bytes && !may_lock_anything() => {
                    let remedy = remedy(asked_bytes, hard_bytes);
                    LoadError::LockLimit { asked_bytes, soft_bytes, hard_bytes, remedy }
                }
                _ => LoadError::Memory { what: "lock memory", asked_bytes, errno },
            }
        }
    }
}

/// Whether this process has CAP_IPC_LOCK (number 14), which overrides the limit.
fn may_lock_anything() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|caps| caps >> 14 & 1 == 1)
}

fn remedy(asked_bytes: u64, hard_bytes: u64) -> String {
    let kib = asked_bytes.div_ceil(1024);
    if hard_bytes >= asked_bytes {
        return format!("raise it in this shell with `ulimit -l {kib}` and start again");
    }
    let program = std::env::current_exe().map_or_else(|_| "blackout".into(), |p| p.display().to_string());
    format!(
        "raise it as root with `prlimit --pid {} --memlock=unlimited` and set WSET again, \
         or once for all with `setcap cap_ipc_lock=ep {program}`",
        std::process::id()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_and_shrinks_across_chunk_borders() {
        let (dirty, mut locked) = (Dirty::start().unwrap(), Locked::new());
        for pages in [3, 5, 1024, 1030, 2048, 1025, 1024, 7, 0, 1] {
            locked.resize(pages * PAGE_BYTES, &dirty, &|| true).unwrap();
            assert_eq!(locked.bytes(), pages * PAGE_BYTES);
        }
        let chunks = dirty.take(10).unwrap();
        assert_eq!(chunks.iter().map(Chunk::len).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_growth_can_be_given_up_between_chunks() {
        let (dirty, mut locked) = (Dirty::start().unwrap(), Locked::new());
        let left = std::cell::Cell::new(2);
        let go_on = || left.replace(left.get() - 1) > 0;
        let error = locked.resize(64 << 20, &dirty, &go_on).unwrap_err();
        assert_eq!(error, LoadError::Superseded { held_bytes: 8 << 20 });
        assert_eq!(locked.bytes(), 8 << 20);
        locked.resize(0, &dirty, &|| true).unwrap();
    }

    #[test]
    fn the_remedy_names_the_command() {
        assert!(remedy(96 << 20, u64::MAX).contains("ulimit -l 98304"));
        let root_needed = remedy(96 << 20, 8 << 20);
        assert!(root_needed.contains("prlimit --pid") && root_needed.contains("setcap cap_ipc_lock=ep"));
    }
}
