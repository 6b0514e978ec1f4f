//! Locked memory, one chunk of it: the only place where the generators touch the kernel's memory
//! interface.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap_anonymous, munlock, munmap};

use crate::units::PAGE_BYTES;

const PAGE: usize = PAGE_BYTES as usize;
/// Words in a page.
pub(crate) const PAGE_WORDS: usize = PAGE / 8;
/// Pages in a full chunk (4 MiB): small enough that a growth can be given up between two chunks.
pub(crate) const CHUNK_PAGES: usize = 1024;
const CHUNK_BYTES: NonZeroUsize = NonZeroUsize::new(CHUNK_PAGES * PAGE).expect("a chunk has pages");

/// The contents of a page.
pub(crate) type Page = [u64; PAGE_WORDS];

/// Address space for [`CHUNK_PAGES`] pages, of which the first `len` are locked in memory.
#[derive(Debug)]
pub(crate) struct Chunk {
    base: NonNull<c_void>,
    len: usize,
}

// SAFETY: a chunk is the sole owner of its private anonymous mapping, which is tied to no thread.
#[allow(unsafe_code)]
unsafe impl Send for Chunk {}

impl Chunk {
    /// Reserves address space; no memory is held yet.
    ///
    /// # Errors
    /// What `mmap` said.
    #[allow(unsafe_code)]
    pub(crate) fn reserve() -> Result<Self, Errno> {
        let (prot, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice touches no
        // memory that anybody has.
        let base = unsafe { mmap_anonymous(None, CHUNK_BYTES, prot, flags)? };
        // A forked child must neither copy nor hold these pages. Failing that, all is well but slow.
        // SAFETY: the range is the mapping just made.
        let _ = unsafe { madvise(base, CHUNK_BYTES.get(), MmapAdvise::MADV_DONTFORK) };
        Ok(Self { base, len: 0 })
    }

    /// Locked pages.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of page `page`, which is at most [`CHUNK_PAGES`].
    #[allow(unsafe_code)]
    fn at(&self, page: usize) -> NonNull<c_void> {
        debug_assert!(page <= CHUNK_PAGES);
        // SAFETY: the offset is within the mapping, or one past its end.
        unsafe { self.base.byte_add(page * PAGE) }
    }

    /// Locks further pages until there are `len`; they are zero.
    ///
    /// # Errors
    /// What `mlock` said; the pages locked before stay.
    #[allow(unsafe_code)]
    pub(crate) fn lock_up_to(&mut self, len: usize) -> Result<(), Errno> {
        let len = len.min(CHUNK_PAGES);
        if len <= self.len {
            return Ok(());
        }
        let (from, bytes) = (self.at(self.len), (len - self.len) * PAGE);
        // SAFETY: the range lies within the mapping.
        if let Err(errno) = unsafe { mlock(from, bytes) } {
            self.release(self.len, len);
            return Err(errno);
        }
        self.len = len;
        Ok(())
    }

    /// Gives the pages from `len` on back to the kernel.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.release(len, self.len);
            self.len = len;
        }
    }

    /// Unlocks and empties the pages `from..to`. Neither call can fail on a range of our own.
    #[allow(unsafe_code)]
    fn release(&self, from: usize, to: usize) {
        let (start, bytes) = (self.at(from), (to - from) * PAGE);
        // SAFETY: the range lies within the mapping, and no slice into it is alive: slices borrow
        // the chunk, and the callers have it mutably.
        unsafe {
            let _ = munlock(start, bytes);
            let _ = madvise(start, bytes, MmapAdvise::MADV_DONTNEED);
        }
    }

    /// The locked pages.
    #[allow(unsafe_code)]
    pub(crate) fn pages(&mut self) -> &mut [Page] {
        // SAFETY: the first `len` pages are mapped readable and writable, page-aligned, initialised
        // by the kernel, and borrowed mutably along with the chunk, their only owner.
        unsafe { std::slice::from_raw_parts_mut(self.base.cast::<Page>().as_ptr(), self.len) }
    }
}

impl Drop for Chunk {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and nobody can use it after this.
        let _ = unsafe { munmap(self.base, CHUNK_BYTES.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_locked_kept_and_given_back() {
        let mut chunk = Chunk::reserve().unwrap();
        assert!(chunk.pages().is_empty());
        chunk.lock_up_to(2).unwrap();
        chunk.pages()[1][511] = 7;
        chunk.lock_up_to(4).unwrap();
        assert_eq!((chunk.len(), chunk.pages()[1][511], chunk.pages()[3][0]), (4, 7, 0));
        chunk.truncate(1);
        chunk.lock_up_to(2).unwrap();
        assert_eq!(chunk.pages()[1][511], 0);
    }
}
