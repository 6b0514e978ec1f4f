//! The outcomes of one probe: the newest ones each by itself, all of them summed up.

use std::ops::Deref;

use super::pyramid::{Pyramid, Summary, Want};
use crate::chunked::Chunked;
use crate::event::{Class, Nanos, Outcome};

/// Outcomes kept one by one: 17 minutes at 1 kHz, 14 hours at 50 ms, 32 MiB. Beyond, the pyramid
/// tells the class of each slot and the round trips of sixteen together.
pub(super) const OUTCOMES: usize = 1 << 20;

/// A probe of our own settles its slots this close to the newest: it remembers no more of them
/// ([`crate::probe::classify::WINDOW`]).
const SETTLED_WITHIN: u64 = 1 << 16;
/// So many slots further behind are put in their place all the same. Each costs a search of all there is, so a
/// capture full of them, which no probe of ours can write, would take minutes to open.
const FAR_BEHIND: u32 = 100_000;

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// The slot had none.
    New,
    /// The slot had been written off in this class.
    Revised(Class),
    /// The slot was answered already: a duplicate.
    Again,
    /// Nothing: the slot has an outcome, or it was due too long ago.
    Nothing,
    /// Nothing: it came too far behind the newest, and there were too many of its kind before.
    TooFarBehind,
}

/// The outcomes of one probe in slot order. What is held one by one is read as a `Chunked`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcomes {
    ring: Chunked<Outcome>,
    pyramid: Pyramid,
    /// The lowest slot there ever was.
    first: Option<u64>,
    /// Whether the ring has let any go.
    evicted: bool,
    /// The newest slot there ever was.
    newest: u64,
    /// Slots that got their first outcome further than [`SETTLED_WITHIN`] behind the newest.
    far_behind: u32,
}

impl Deref for Outcomes {
    type Target = Chunked<Outcome>;

    fn deref(&self) -> &Chunked<Outcome> {
        &self.ring
    }
}

impl Outcomes {
    /// Puts an outcome in its slot. An answer revises a slot written off before; nothing revises
    /// an answer: a second one is a duplicate.
    pub fn put(&mut self, new: Outcome) -> Placed {
        let class = new.fate.class();
        let far_behind = new.k.saturating_add(SETTLED_WITHIN) < self.newest;
        if far_behind && self.far_behind >= FAR_BEHIND {
            return Placed::TooFarBehind;
        }
        let too_old = self.evicted && self.ring.front().is_some_and(|front| new.k < front.k);
        let at = if too_old { Err(0) } else { self.ring.find(new.k, |o| o.k) };
        let old = match at {
            Ok(i) => Some(self.ring[i].fate.class()),
            Err(_) if too_old && new.k < self.pyramid.reach() => return Placed::Nothing,
            Err(_) if too_old => self.pyramid.class(new.k),
            Err(_) => None,
        };
        let placed = match old {
            None => {
                self.newest = self.newest.max(new.k);
                self.far_behind += u32::from(far_behind);
                Placed::New
            }
            Some(old) if class.is_answer() && !old.is_answer() => Placed::Revised(old),
            Some(_) if class.is_answer() => {
                self.duplicate(new.k);
                return Placed::Again;
            }
            Some(_) => return Placed::Nothing,
        };
        match at {
            _ if too_old => {}
            Ok(i) => self.ring[i] = new,
            Err(i) => self.ring.insert(i, new),
        }
        self.pyramid.put(new.k, old, class, new.fate.rtt());
        self.first = Some(self.first.map_or(new.k, |first| first.min(new.k)));
        placed
    }

    /// The same, for those who know that it is the newest.
    pub fn push_back(&mut self, new: Outcome) {
        self.put(new);
    }

    /// A further answer for a slot.
    pub fn duplicate(&mut self, k: u64) {
        self.pyramid.duplicate(k);
    }

    /// Lets go of the oldest.
    pub(super) fn pop_front(&mut self) {
        self.evicted = true;
        self.ring.pop_front();
    }

    /// The lowest slot there ever was.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    /// From this slot on each slot's class is known.
    #[must_use]
    pub fn reach(&self) -> u64 {
        self.pyramid.reach()
    }

    /// What became of the slots `from..=to`. As long as they are held one by one this is exact;
    /// beyond, the round trips are those of up to fifteen neighbours too.
    #[must_use]
    pub fn summary(&self, from: u64, to: u64) -> Summary {
        let oldest = self.ring.front().map_or(u64::MAX, |o| o.k);
        self.pyramid.summary(from, to, &|a, b| {
            if a < oldest && self.evicted {
                return None;
            }
            let begin = self.ring.find(a, |o| o.k).unwrap_or_else(|i| i);
            let some = self.ring.range(begin..).take_while(|o| o.k <= b);
            let rtts = some.filter_map(|o| o.fate.rtt());
            Some(rtts.fold((u64::MAX, 0), |(min, max), rtt| (min.min(rtt), max.max(rtt))))
        })
    }

    /// The first slot of `from..=to` that was down: lost, refused, or in error.
    #[must_use]
    pub fn next_down(&self, from: u64, to: u64) -> Option<u64> {
        self.pyramid.next(Want::Down, from, to)
    }

    /// The last slot of `from..=to` that was down.
    #[must_use]
    pub fn prev_down(&self, from: u64, to: u64) -> Option<u64> {
        self.pyramid.prev(Want::Down, from, to)
    }

    /// The first answered slot of `from..=to`.
    #[must_use]
    pub fn next_reply(&self, from: u64, to: u64) -> Option<u64> {
        self.pyramid.next(Want::Reply, from, to)
    }

    /// The last answered slot of `from..=to`.
    #[must_use]
    pub fn prev_reply(&self, from: u64, to: u64) -> Option<u64> {
        self.pyramid.prev(Want::Reply, from, to)
    }

    /// Memory taken, bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.ring.heap_bytes() + self.pyramid.heap_bytes()
    }

    /// What this holds that `other`, an older copy of it, does not, bytes.
    #[must_use]
    pub(super) fn own_bytes(&self, other: &Self) -> usize {
        self.ring.own_bytes(&other.ring) + self.pyramid.own_bytes(&other.pyramid)
    }

    /// Since when outcomes are held one by one: when the oldest of them was sent, ns.
    #[must_use]
    pub fn held_since(&self) -> Option<Nanos> {
        self.ring.front().map(|o| o.sent)
    }
}

impl FromIterator<Outcome> for Outcomes {
    fn from_iter<I: IntoIterator<Item = Outcome>>(items: I) -> Self {
        let mut outcomes = Self::default();
        items.into_iter().for_each(|o| outcomes.push_back(o));
        outcomes
    }
}

impl<'a> IntoIterator for &'a Outcomes {
    type Item = &'a Outcome;
    type IntoIter = crate::chunked::Iter<'a, Outcome>;

    fn into_iter(self) -> Self::IntoIter {
        self.ring.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::state::ProbeState;
    use super::*;
    use crate::event::{Fate, ProbeKind, ProbeSpec};
    use crate::session::holes::Hole;

    fn probe(outcomes: Outcomes) -> ProbeState {
        let spec = ProbeSpec { deadline_ns: 1000, ..ProbeSpec::new(ProbeKind::Icmp, [10, 0, 0, 2].into(), 10) };
        ProbeState { spec, outcomes, counts: BTreeMap::new(), stopped: None }
    }

    fn outcome(k: u64, fate: Fate) -> Outcome {
        let rtt = 100 + k * 7919 % 1000;
        let fate = match fate {
            Fate::Ok { .. } => Fate::Ok { rtt },
            Fate::Late { .. } => Fate::Late { rtt },
            other => other,
        };
        Outcome { k, sent: k * 10, fate }
    }

    const OK: Fate = Fate::Ok { rtt: 0 };
    const LATE: Fate = Fate::Late { rtt: 0 };

    /// Stretches of one fate, or of further answers, near slot 0 or where the coarse buckets begin.
    fn stretches() -> impl Strategy<Value = Vec<(u64, u64, Option<Fate>)>> {
        let fate = prop_oneof![
            4 => Just(Some(OK)),
            3 => Just(Some(Fate::Lost)),
            1 => Just(Some(LATE)),
            1 => Just(Some(Fate::NotSent)),
            1 => Just(Some(Fate::Error)),
            1 => Just(Some(Fate::Refused)),
            1 => Just(None),
        ];
        let begin = prop_oneof![0_u64..300, 3900_u64..4300, 65_400_u64..65_700];
        proptest::collection::vec((begin, 1_u64..80, fate), 1..30)
    }

    /// What each slot ends in, told the long way.
    fn slots(stretches: &[(u64, u64, Option<Fate>)]) -> (Outcomes, BTreeMap<u64, Outcome>, BTreeMap<u64, u64>) {
        let (mut ours, mut slots, mut twice) = (Outcomes::default(), BTreeMap::new(), BTreeMap::new());
        let answered = |o: &Outcome| o.answered().is_some();
        for (begin, n, fate) in stretches {
            for k in *begin..begin + n {
                let Some(new) = fate.map(|fate| outcome(k, fate)) else {
                    ours.duplicate(k);
                    *twice.entry(k).or_default() += 1;
                    continue;
                };
                ours.put(new);
                let old = slots.get(&k);
                if answered(&new) && old.is_some_and(answered) {
                    *twice.entry(k).or_default() += 1;
                } else if old.is_none() || answered(&new) {
                    slots.insert(k, new);
                }
            }
        }
        (ours, slots, twice)
    }

    fn holes(slots: &BTreeMap<u64, Outcome>) -> Vec<Hole> {
        let (mut holes, mut open) = (Vec::<Hole>::new(), false);
        for (k, o) in slots {
            match o.fate {
                Fate::Ok { .. } | Fate::Late { .. } => open = false,
                Fate::Lost | Fate::Error | Fate::Refused => {
                    match holes.last_mut().filter(|_| open) {
                        Some(hole) => (hole.to, hole.down) = (k * 10, hole.down + 1),
                        None => holes.push(Hole { from: k * 10, to: k * 10, down: 1, all_lost: true }),
                    }
                    if let Some(hole) = holes.last_mut() {
                        hole.all_lost &= o.fate == Fate::Lost;
                    }
                    open = true;
                }
                Fate::NotSent => {}
            }
        }
        holes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn any_stretch_is_summed_up_as_if_slot_by_slot(
            stretches in stretches(),
            views in proptest::collection::vec((0_u64..66_000, 0_u64..66_000), 1..20),
            evicted in 0_usize..40,
        ) {
            let (mut ours, slots, twice) = slots(&stretches);
            // What the ring lets go of stays known: its class exactly, its round trip nearly.
            (0..evicted).for_each(|_| ours.pop_front());
            let held = ours.front().map_or(u64::MAX, |o| o.k);
            for (a, b) in views {
                let (from, to) = (a.min(b), a.max(b));
                let sum = ours.summary(from, to);
                let within: Vec<&Outcome> = slots.range(from..=to).map(|(_, o)| o).collect();
                for class in [Class::Ok, Class::Late, Class::Lost, Class::NotSent, Class::Error, Class::Refused] {
                    let n = within.iter().filter(|o| o.fate.class() == class).count() as u64;
                    prop_assert_eq!((sum.count(class), sum.any(class)), (n, n > 0));
                }
                let (mut again, mut flagged) = (0, 0);
                for n in twice.range(from..=to).map(|(_, n)| *n) {
                    (again, flagged) = (again + n, flagged + 1);
                }
                prop_assert!((flagged..=again).contains(&sum.count(Class::Duplicate)));
                let rtts = || within.iter().filter_map(|o| o.fate.rtt());
                let rtt = rtts().min().zip(rtts().max());
                if from >= held || evicted == 0 {
                    prop_assert_eq!(sum.rtt, rtt);
                } else if let (Some((min, max)), Some((low, high))) = (rtt, sum.rtt) {
                    prop_assert!(low <= min && high >= max);
                } else {
                    prop_assert_eq!(sum.rtt, rtt);
                }
                let down = |o: &&&Outcome| o.fate.class().is_down();
                let replied = |o: &&&Outcome| o.answered().is_some();
                prop_assert_eq!(ours.next_down(from, to), within.iter().find(down).map(|o| o.k));
                prop_assert_eq!(ours.prev_down(from, to), within.iter().rev().find(down).map(|o| o.k));
                prop_assert_eq!(ours.next_reply(from, to), within.iter().find(replied).map(|o| o.k));
                prop_assert_eq!(ours.prev_reply(from, to), within.iter().rev().find(replied).map(|o| o.k));
            }
        }

        #[test]
        fn holes_are_those_found_slot_by_slot(
            stretches in stretches(),
            views in proptest::collection::vec((0_u64..660_000, 0_u64..660_000), 1..10),
        ) {
            let (ours, slots, _) = slots(&stretches);
            let (probe, all) = (probe(ours), holes(&slots));
            for (a, b) in views {
                prop_assert_eq!(probe.next_hole(a), all.iter().find(|h| h.from > a).copied());
                prop_assert_eq!(probe.prev_hole(a), all.iter().rfind(|h| h.from < a).copied());
                let (from, to) = (a.min(b), a.max(b));
                let lost = |h: &Hole| slots.range(from.div_ceil(10)..to.div_ceil(10).max(from.div_ceil(10)))
                    .any(|(k, o)| o.fate.class().is_down() && (h.from..=h.to).contains(&(k * 10)));
                let seen: Vec<Hole> = all.iter().filter(|h| lost(h)).copied().collect();
                prop_assert_eq!(probe.holes(from, to, 1), seen);
            }
        }
    }

    #[test]
    fn short_holes_are_told_once_a_column_and_long_ones_always() {
        let lost = |k: u64| k.is_multiple_of(2) || (5000..6000).contains(&k);
        let outcomes = (0..10_000).map(|k| outcome(k, if lost(k) { Fate::Lost } else { OK }));
        let probe = probe(outcomes.collect());
        let holes = probe.holes(0, 100_000, 1000);
        assert!(holes.len() <= 101, "{}", holes.len());
        assert!(holes.iter().any(|h| h.down == 1001), "{holes:?}");
    }

    #[test]
    fn what_comes_far_behind_in_masses_is_left_out_and_the_rest_goes_on() {
        let mut outcomes = Outcomes::default();
        let newest = 1 << 40;
        outcomes.put(outcome(newest, Fate::Lost));
        for k in 0..u64::from(FAR_BEHIND) {
            assert_eq!(outcomes.put(outcome(newest - SETTLED_WITHIN - 1 - k * 4099, Fate::Lost)), Placed::New);
        }
        assert_eq!(outcomes.put(outcome(7, Fate::Lost)), Placed::TooFarBehind);
        // What our own probes can tell has its place whatever came before.
        assert_eq!(outcomes.put(outcome(newest - SETTLED_WITHIN, Fate::Lost)), Placed::New);
        assert_eq!(outcomes.put(outcome(newest + 1, OK)), Placed::New);
    }

    #[test]
    fn a_late_answer_revises_what_is_no_longer_held() {
        let mut outcomes: Outcomes = (0..100).map(|k| outcome(k, Fate::Lost)).collect();
        (0..50).for_each(|_| outcomes.pop_front());
        assert_eq!(outcomes.put(outcome(10, LATE)), Placed::Revised(Class::Lost));
        assert_eq!(outcomes.put(outcome(10, LATE)), Placed::Again);
        assert_eq!(outcomes.put(outcome(10, Fate::Lost)), Placed::Nothing);
        let sum = outcomes.summary(0, 99);
        assert_eq!((sum.count(Class::Lost), sum.count(Class::Late), sum.count(Class::Duplicate)), (99, 1, 1));
        assert_eq!(outcomes.front().map(|o| o.k), Some(50));
    }
}
