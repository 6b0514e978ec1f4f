//! A sequence that grows at its end and is cheap to copy: copies share all that neither changes.
//!
//! It lies in chunks behind reference counts, but for the last one, which is each copy's own. A copy
//! costs one count for each chunk; a change copies the chunk it hits, if another copy still shares it.

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
    /// All full.
    chunks: VecDeque<Arc<Vec<T>>>,
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
        let at = self.head + i;
        match self.chunks.get(at / Self::CHUNK) {
            Some(chunk) => chunk.get(at % Self::CHUNK),
            None => self.tail.get(at % Self::CHUNK),
        }
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
        Iter { of: self, from: 0, to: self.len }
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
        Iter { of: self, from: from.min(to), to }
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
        if self.head == Self::CHUNK {
            self.chunks.pop_front();
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
        items * size_of::<T>() + self.chunks.capacity() * size_of::<Arc<Vec<T>>>()
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
        }
    }

    /// Adds an item at the end.
    pub fn push(&mut self, item: T) {
        self.push_back(item);
    }

    /// Puts an item before the one at `i`; beyond the end it becomes the last. Cheap near the end.
    pub fn insert(&mut self, i: usize, item: T) {
        if i >= self.len {
            return self.push_back(item);
        }
        let at = self.head + i;
        let (first, place) = (at / Self::CHUNK, at % Self::CHUNK);
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

    /// The item at `i`, to be changed.
    pub fn get_mut(&mut self, i: usize) -> Option<&mut T> {
        if i >= self.len {
            return None;
        }
        let at = self.head + i;
        match self.chunks.get_mut(at / Self::CHUNK) {
            Some(chunk) => Arc::make_mut(chunk).get_mut(at % Self::CHUNK),
            None => self.tail.get_mut(at % Self::CHUNK),
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
}

/// Items of a [`Chunked`] in order, to be changed.
pub type IterMut<'a, T> = Skip<Chain<Opened<'a, T>, slice::IterMut<'a, T>>>;

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
        self.of.get(self.from - 1)
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
        self.of.get(self.to)
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
        Self { chunks: VecDeque::new(), tail: Vec::new(), head: 0, len: 0 }
    }
}

impl<T: Clone> Clone for Chunked<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), tail: self.tail.clone(), head: self.head, len: self.len }
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
        let at = self.head + i;
        self.chunks.get(at / Self::CHUNK).map_or(&self.tail, |chunk| &**chunk).index(at % Self::CHUNK)
    }
}

impl<T: Clone> IndexMut<usize> for Chunked<T> {
    /// # Panics
    /// Beyond the end, as a slice does.
    fn index_mut(&mut self, i: usize) -> &mut T {
        assert!(i < self.len, "the index is {i}, the length {}", self.len);
        let at = self.head + i;
        match self.chunks.get_mut(at / Self::CHUNK) {
            Some(chunk) => &mut Arc::make_mut(chunk)[at % Self::CHUNK],
            None => &mut self.tail[at % Self::CHUNK],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few of these fit in a chunk.
    type Wide = [u64; 200];

    fn wide(n: u64) -> Wide {
        [n; 200]
    }

    #[derive(Debug, Clone)]
    enum Deed {
        Push(u8),
        PopFront,
        Insert(usize),
        Change(usize),
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            4 => (1_u8..40).prop_map(Deed::Push),
            3 => Just(Deed::PopFront),
            2 => any::<usize>().prop_map(Deed::Insert),
            1 => any::<usize>().prop_map(Deed::Change),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn is_what_a_deque_is(deeds in proptest::collection::vec(deed(), 1..60)) {
            let (mut ours, mut theirs) = (Chunked::new(), VecDeque::new());
            let mut copies = Vec::new();
            for (n, deed) in deeds.into_iter().enumerate() {
                match deed {
                    Deed::Push(times) => for i in 0..u64::from(times) {
                        ours.push_back(wide(i));
                        theirs.push_back(wide(i));
                    },
                    Deed::PopFront => {
                        ours.pop_front();
                        theirs.pop_front();
                    }
                    Deed::Insert(i) => {
                        let i = i % (theirs.len() + 1);
                        ours.insert(i, wide(n as u64));
                        theirs.insert(i, wide(n as u64));
                    }
                    Deed::Change(i) => if !theirs.is_empty() {
                        let i = i % theirs.len();
                        ours[i] = wide(9);
                        theirs[i] = wide(9);
                    },
                }
                copies.push((ours.clone(), theirs.clone()));
            }
            for (ours, theirs) in &mut copies {
                prop_assert_eq!(ours.len(), theirs.len());
                prop_assert!(ours.iter().eq(theirs.iter()));
                prop_assert!(ours.iter().rev().eq(theirs.iter().rev()));
                let half = theirs.len() / 2;
                prop_assert!(ours.range(half..).eq(theirs.range(half..)));
                prop_assert_eq!(ours.back(), theirs.back());
                prop_assert_eq!(ours.front(), theirs.front());
                prop_assert_eq!(ours.get(theirs.len()), None);
                prop_assert!(ours.iter_mut().eq(theirs.iter_mut()));
            }
        }
    }

    #[test]
    fn finds_by_key_with_and_without_holes() {
        let dense: Chunked<u64> = (10..5000).collect();
        assert_eq!(dense.find(10, |k| *k), Ok(0));
        assert_eq!(dense.find(4999, |k| *k), Ok(4989));
        assert_eq!((dense.find(9, |k| *k), dense.find(5000, |k| *k)), (Err(0), Err(4990)));
        let sparse: Chunked<u64> = (0..5000).map(|k| k * 3).collect();
        assert_eq!((sparse.find(300, |k| *k), sparse.find(301, |k| *k)), (Ok(100), Err(101)));
        assert_eq!(Chunked::<u64>::new().find(7, |k| *k), Err(0));
    }

    #[test]
    fn copies_share_what_neither_changes() {
        let mut one: Chunked<u64> = (0..100_000).collect();
        let other = one.clone();
        one.push_back(5);
        assert!(one.chunks.iter().zip(&other.chunks).all(|(a, b)| Arc::ptr_eq(a, b)));
        one[0] = 1;
        let shared = one.chunks.iter().zip(&other.chunks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, other.chunks.len() - 1);
        assert_eq!((other[0], other.len()), (0, 100_000));
    }
}
