//! A sequence that grows at its end and is cheap to copy: copies share all that neither changes.
//!
//! It lies in chunks behind reference counts, but for the last one, which is each copy's own. A copy
//! costs one count for each chunk; a change copies the chunk it hits, if another copy still shares it.
//! All chunks are full as long as items come nearly in order; an item that belongs far before the end
//! splits the chunk it falls into, so that whatever the order, an insertion costs about as much as a chunk.

use std::collections::VecDeque;
use std::collections::vec_deque;
use std::iter::{Chain, FlatMap, Skip};
use std::ops::{Bound, Index, IndexMut, RangeBounds};
use std::slice;
use std::sync::Arc;

/// About so much lies in one chunk, bytes.
const CHUNK_BYTES: usize = 1 << 15;

/// A sequence in shared chunks. Its methods have the names of those of `VecDeque` and `Vec`.
pub struct Chunked<T> {
    /// All full, unless `starts` says otherwise; none is empty.
    chunks: VecDeque<Arc<Vec<T>>>,
    /// Where each chunk begins and where the tail does, counted from the first chunk's beginning; empty
    /// while all chunks are full.
    starts: Vec<usize>,
    /// What does not fill a chunk yet.
    tail: Vec<T>,
    /// Items at the beginning of the first chunk that are gone.
    head: usize,
    len: usize,
}

impl<T> Chunked<T> {
    /// Items in a full chunk: a power of two.
    const CHUNK: usize = {
        let size = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
        let fit = CHUNK_BYTES / size;
        if fit < 16 { 16 } else { 1 << fit.ilog2() }
    };

    /// An item that belongs into one of so many chunks before the tail pushes those behind it on, and
    /// all chunks stay full.
    const NEAR: usize = 4;

    /// The chunk an item lies in and its place there, counted from the first chunk's beginning; beyond
    /// the last chunk, that of the tail.
    fn locate(&self, at: usize) -> (usize, usize) {
        if self.starts.is_empty() {
            let chunk = (at / Self::CHUNK).min(self.chunks.len());
            return (chunk, at - chunk * Self::CHUNK);
        }
        let chunk = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        (chunk, at - self.starts.get(chunk).copied().unwrap_or(0))
    }

    /// The items that lie together with the one at `i`, and the index of the first of them.
    fn run(&self, i: usize) -> (usize, &[T]) {
        let at = self.head + i;
        let (chunk, place) = self.locate(at);
        let (start, gone) = (at - place, if chunk == 0 { self.head } else { 0 });
        let items = self.chunks.get(chunk).map_or(&self.tail, |chunk| &**chunk);
        ((start + gone).saturating_sub(self.head), items.get(gone..).unwrap_or_default())
    }

    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item at `i`.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<&T> {
        if i >= self.len {
            return None;
        }
        let (chunk, place) = self.locate(self.head + i);
        self.chunks.get(chunk).map_or(&self.tail, |chunk| &**chunk).get(place)
    }

    /// The first item.
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.get(0)
    }

    /// The last item.
    #[must_use]
    pub fn back(&self) -> Option<&T> {
        self.tail.last().or_else(|| self.chunks.back()?.last())
    }

    /// The last item.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.back()
    }

    /// All items in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { of: self, from: 0, to: self.len, run: (0, &[]) }
    }

    /// The items of a range of indices; what lies beyond the end is left out.
    pub fn range(&self, range: impl RangeBounds<usize>) -> Iter<'_, T> {
        let from = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(i) => i.saturating_add(1),
            Bound::Excluded(i) => *i,
            Bound::Unbounded => self.len,
        };
        let to = to.min(self.len);
        Iter { of: self, from: from.min(to), to, run: (0, &[]) }
    }

    /// The index of the first item that `pred` is false of; it must be true of all before and
    /// false of all after.
    #[must_use]
    pub fn partition_point(&self, mut pred: impl FnMut(&T) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(&mut pred) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Where the item with key `at` is, or else would have to be. The keys must rise; where they
    /// rise by one from item to item it is found at once.
    ///
    /// # Errors
    /// The index of the first item with a greater key, if there is none with this one.
    pub fn find(&self, at: u64, key: impl Fn(&T) -> u64) -> Result<usize, usize> {
        let Some(last) = self.back() else { return Err(0) };
        let Some(back) = key(last).checked_sub(at) else { return Err(self.len) };
        let guess = usize::try_from(back).ok().and_then(|back| (self.len - 1).checked_sub(back));
        if let Some(i) = guess.filter(|i| self.get(*i).is_some_and(|item| key(item) == at)) {
            return Ok(i);
        }
        let i = self.partition_point(|item| key(item) < at);
        if self.get(i).is_some_and(|item| key(item) == at) { Ok(i) } else { Err(i) }
    }

    /// Drops the first item.
    pub fn pop_front(&mut self) {
        if self.len <= 1 {
            self.clear();
            return;
        }
        self.len -= 1;
        self.head += 1;
        if self.chunks.front().is_some_and(|first| self.head == first.len()) {
            self.chunks.pop_front();
            if !self.starts.is_empty() {
                self.starts.remove(0);
                self.starts.iter_mut().for_each(|start| *start -= self.head);
            }
            self.head = 0;
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Memory taken, bytes, without what the items themselves point to and as if nothing were shared.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let items = self.tail.capacity() + self.chunks.iter().map(|c| c.capacity()).sum::<usize>();
        items * size_of::<T>()
            + self.chunks.capacity() * size_of::<Arc<Vec<T>>>()
            + self.starts.capacity() * size_of::<usize>()
    }

    /// What this one holds that the other does not, bytes, as [`Chunked::heap_bytes`] counts: two copies
    /// of one sequence share the chunks that neither has changed.
    #[must_use]
    pub fn own_bytes(&self, other: &Self) -> usize {
        // Chunks are only added behind, taken away in front, or split: the same ones come in the same order.
        let mut theirs = other.chunks.iter().peekable();
        let mut own = self.tail.len();
        for chunk in &self.chunks {
            let mut rest = theirs.clone();
            match rest.find(|other| Arc::ptr_eq(chunk, other)) {
                Some(_) => theirs = rest,
                None => own += chunk.len(),
            }
        }
        own * size_of::<T>() + (self.chunks.len() + self.starts.len()) * size_of::<usize>()
    }
}

impl<T: Clone> Chunked<T> {
    /// Adds an item at the end.
    pub fn push_back(&mut self, item: T) {
        if self.tail.len() == self.tail.capacity() {
            // Never beyond a full chunk.
            let more = self.tail.len().clamp(4, Self::CHUNK).min(Self::CHUNK - self.tail.len());
            self.tail.reserve_exact(more);
        }
        self.tail.push(item);
        self.len += 1;
        self.seal();
    }

    /// Makes a full tail a chunk.
    fn seal(&mut self) {
        if self.tail.len() == Self::CHUNK {
            let full = std::mem::replace(&mut self.tail, Vec::with_capacity(Self::CHUNK));
            self.chunks.push_back(Arc::new(full));
            if let Some(end) = self.starts.last() {
                self.starts.push(end + Self::CHUNK);
            }
        }
    }

    /// Adds an item at the end.
    pub fn push(&mut self, item: T) {
        self.push_back(item);
    }

    /// Puts an item before the one at `i`; beyond the end it becomes the last.
    pub fn insert(&mut self, i: usize, item: T) {
        if i >= self.len {
            return self.push_back(item);
        }
        let (first, place) = self.locate(self.head + i);
        if first + Self::NEAR < self.chunks.len() {
            return self.split_and_insert(first, place, item);
        }
        // The last item of each chunk from there on becomes the first of the next one.
        let (mut carry, mut place) = (item, place);
        for chunk in self.chunks.iter_mut().skip(first) {
            let chunk = Arc::make_mut(chunk);
            let last = chunk.pop();
            chunk.insert(place, carry);
            place = 0;
            match last {
                Some(last) => carry = last,
                None => return,
            }
        }
        self.tail.insert(place, carry);
        self.len += 1;
        self.seal();
    }

    /// Puts an item into a chunk; one that is full is split in two.
    fn split_and_insert(&mut self, chunk: usize, place: usize, item: T) {
        if self.starts.is_empty() {
            self.starts = (0..=self.chunks.len()).map(|chunk| chunk * Self::CHUNK).collect();
        }
        let Some(shared) = self.chunks.get_mut(chunk) else { return };
        let (mut chunk, mut place) = (chunk, place);
        if chunk == 0 && self.head > 0 {
            // What is gone is taken away, or the first half might be nothing else.
            Arc::make_mut(shared).drain(..self.head);
            self.starts.iter_mut().skip(1).for_each(|start| *start -= self.head);
            place -= self.head;
            self.head = 0;
        }
        if shared.len() >= Self::CHUNK {
            let half = shared.len() / 2;
            let first = Arc::make_mut(shared);
            let second = first.split_off(half);
            self.chunks.insert(chunk + 1, Arc::new(second));
            self.starts.insert(chunk + 1, self.starts[chunk] + half);
            if place > half {
                (chunk, place) = (chunk + 1, place - half);
            }
        }
        if let Some(shared) = self.chunks.get_mut(chunk) {
            Arc::make_mut(shared).insert(place, item);
        }
        self.starts.iter_mut().skip(chunk + 1).for_each(|start| *start += 1);
        self.len += 1;
    }

    /// The item at `i`, to be changed.
    pub fn get_mut(&mut self, i: usize) -> Option<&mut T> {
        if i >= self.len {
            return None;
        }
        let (chunk, place) = self.locate(self.head + i);
        match self.chunks.get_mut(chunk) {
            Some(chunk) => Arc::make_mut(chunk).get_mut(place),
            None => self.tail.get_mut(place),
        }
    }

    /// The first item, to be changed.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.get_mut(0)
    }

    /// The last item, to be changed.
    pub fn back_mut(&mut self) -> Option<&mut T> {
        self.get_mut(self.len.checked_sub(1)?)
    }

    /// The last item, to be changed.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.back_mut()
    }

    /// All items in order, to be changed.
    pub fn iter_mut(&mut self) -> IterMut<'_, T> {
        let items: fn(&mut Arc<Vec<T>>) -> slice::IterMut<T> = |chunk| Arc::make_mut(chunk).iter_mut();
        self.chunks.iter_mut().flat_map(items).chain(self.tail.iter_mut()).skip(self.head)
    }
}

/// Items of a [`Chunked`] in order.
pub struct Iter<'a, T> {
    of: &'a Chunked<T>,
    from: usize,
    to: usize,
    /// The items around the one that was read last, and the index of the first of them.
    run: (usize, &'a [T]),
}

impl<'a, T> Iter<'a, T> {
    fn at(&mut self, i: usize) -> Option<&'a T> {
        let (first, items) = self.run;
        if let Some(item) = i.checked_sub(first).and_then(|place| items.get(place)) {
            return Some(item);
        }
        self.run = self.of.run(i);
        self.run.1.get(i.checked_sub(self.run.0)?)
    }
}

/// Items of a [`Chunked`] in order, to be changed.
pub(crate) type IterMut<'a, T> = Skip<Chain<Opened<'a, T>, slice::IterMut<'a, T>>>;

/// The items of chunks, to be changed.
type Opened<'a, T> = FlatMap<
    vec_deque::IterMut<'a, Arc<Vec<T>>>,
    slice::IterMut<'a, T>,
    fn(&'a mut Arc<Vec<T>>) -> slice::IterMut<'a, T>,
>;

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        if self.from >= self.to {
            return None;
        }
        self.from += 1;
        self.at(self.from - 1)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.to - self.from, Some(self.to - self.from))
    }

    fn nth(&mut self, n: usize) -> Option<&'a T> {
        self.from = self.from.saturating_add(n).min(self.to);
        self.next()
    }
}

impl<'a, T> DoubleEndedIterator for Iter<'a, T> {
    fn next_back(&mut self) -> Option<&'a T> {
        if self.from >= self.to {
            return None;
        }
        self.to -= 1;
        self.at(self.to)
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}

impl<'a, T> IntoIterator for &'a Chunked<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T: Clone> IntoIterator for &'a mut Chunked<T> {
    type Item = &'a mut T;
    type IntoIter = IterMut<'a, T>;

    fn into_iter(self) -> IterMut<'a, T> {
        self.iter_mut()
    }
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), starts: Vec::new(), tail: Vec::new(), head: 0, len: 0 }
    }
}

impl<T: Clone> Clone for Chunked<T> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            starts: self.starts.clone(),
            tail: self.tail.clone(),
            head: self.head,
            len: self.len,
        }
    }
}

impl<T: PartialEq> PartialEq for Chunked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Chunked<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T: Clone> Extend<T> for Chunked<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push_back(item));
    }
}

impl<T: Clone> FromIterator<T> for Chunked<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut chunked = Self::default();
        chunked.extend(items);
        chunked
    }
}

impl<T> Index<usize> for Chunked<T> {
    type Output = T;

    /// # Panics
    /// Beyond the end, as a slice does.
    fn index(&self, i: usize) -> &T {
        assert!(i < self.len, "the index is {i}, the length {}", self.len);
        let (chunk, place) = self.locate(self.head + i);
        self.chunks.get(chunk).map_or(&self.tail, |chunk| &**chunk).index(place)
    }
}

impl<T: Clone> IndexMut<usize> for Chunked<T> {
    /// # Panics
    /// Beyond the end, as a slice does.
    fn index_mut(&mut self, i: usize) -> &mut T {
        assert!(i < self.len, "the index is {i}, the length {}", self.len);
        let (chunk, place) = self.locate(self.head + i);
        match self.chunks.get_mut(chunk) {
            Some(chunk) => &mut Arc::make_mut(chunk)[place],
            None => &mut self.tail[place],
        }
    }
}

#[cfg(test)]
mod tests;
