//! A sequence against one that is kept plainly.

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
fn the_order_in_which_items_come_costs_nothing_much() {
    // From the last to the first, each before all others.
    let begun = std::time::Instant::now();
    let mut backwards = Chunked::new();
    (0..200_000_u64).rev().for_each(|k| backwards.insert(0, k));
    assert!(backwards.iter().copied().eq(0..200_000), "{}", backwards.len());
    assert_eq!(backwards.find(77_777, |k| *k), Ok(77_777));
    // Shifting all of them each time would take minutes in this profile.
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(backwards.heap_bytes() < 3 * 8 * 200_000, "{}", backwards.heap_bytes());
    let same = backwards.clone();
    assert!(same.own_bytes(&backwards) < 100_000, "{}", same.own_bytes(&backwards));
    assert!(same.own_bytes(&Chunked::new()) > 8 * 199_000);
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
