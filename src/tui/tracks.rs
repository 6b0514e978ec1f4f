//! Which tracks are shown, in which order and how high.

use crate::event::Sees;
use crate::session::State;

/// A track on the time axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// The phase band and its rounds.
    Phases,
    /// The pings and their fates.
    Ping,
    /// The dirty rate against the link.
    Dirty,
    /// Throughput against the link.
    Throughput,
    /// Memory left to send.
    Remaining,
    /// CPU of guest, host and hypervisors.
    Cpu,
    /// Steps of the guest's clock.
    Step,
}

/// Rows a track asks for.
struct Rows {
    /// With fewer it shows nothing.
    least: u16,
    /// With so many it reads well where there is little room.
    good: u16,
    /// So many it gets before the tracks that may be left out are taken in.
    roomy: u16,
    /// More are of no use.
    most: u16,
    /// Its share of the rows to spare.
    weight: u8,
    /// Whether it is left out where there is no room for all at their ease.
    extra: bool,
}

impl Track {
    /// Every track, in the order they stand in at first.
    pub const ALL: [Self; 7] =
        [Self::Phases, Self::Ping, Self::Dirty, Self::Throughput, Self::Remaining, Self::Cpu, Self::Step];
    /// Every track, the most important first.
    const RANKED: [Self; 7] =
        [Self::Phases, Self::Ping, Self::Dirty, Self::Remaining, Self::Throughput, Self::Cpu, Self::Step];

    /// Whether the session has anything to show on it, or may have. The tracks every migration has are shown from
    /// the start, so that the screen keeps its shape: where nothing can be migrated there are none of them, and
    /// what the product does not tell has no track.
    #[must_use]
    pub fn has_data(self, state: &State) -> bool {
        let migrates = !state.only_watches();
        match self {
            Self::Phases => migrates,
            // What the agent says it dirties is shown, too.
            Self::Dirty => state.agent.since > 0 || migrates && self.untold(state).is_none(),
            Self::Throughput | Self::Remaining => migrates && self.untold(state).is_none(),
            Self::Cpu => {
                let told = state.reports.back().is_some_and(|(_, r)| r.guest_cpu_pct.is_some());
                told || !state.host_cpu.is_empty()
            }
            Self::Step => !state.heartbeats.is_empty(),
            Self::Ping => true,
        }
    }

    /// The product that does not tell what this track shows of a migration; None where it tells, or has not said
    /// what it tells.
    #[must_use]
    pub fn untold(self, state: &State) -> Option<&str> {
        let tells: fn(&Sees) -> bool = match self {
            Self::Dirty => |sees| sees.dirty_rate,
            Self::Throughput => |sees| sees.throughput,
            Self::Remaining => |sees| sees.remaining,
            Self::Phases | Self::Ping | Self::Cpu | Self::Step => return None,
        };
        let said = || state.hosts.values().filter_map(|host| host.offers.as_ref());
        let said = said().filter_map(|offers| Some((offers.product.as_str(), offers.sees.as_ref()?)));
        if said.clone().any(|(_, sees)| tells(sees)) { None } else { said.map(|(product, _)| product).next() }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Phases => "phases and rounds",
            Self::Ping => "pings",
            Self::Dirty => "dirty rate",
            Self::Throughput => "throughput",
            Self::Remaining => "left to send",
            Self::Cpu => "CPU",
            Self::Step => "guest clock step",
        }
    }

    /// `probes` is how many there are.
    fn rows(self, probes: usize) -> Rows {
        let rows = |least, good, roomy, most, weight, extra| Rows { least, good, roomy, most, weight, extra };
        match self {
            Self::Phases => rows(1, 1, 2, 2, 1, false),
            Self::Ping if probes > 1 => {
                let [least, good, roomy] = wanted(probes);
                rows(least, good, roomy, u16::MAX, 3, false)
            }
            Self::Ping => rows(3, 4, 4, u16::MAX, 3, false),
            // The dirty rate against the link is the picture of the jump: it gets the most.
            Self::Dirty => rows(3, 4, 6, u16::MAX, 5, false),
            Self::Remaining => rows(1, 1, 1, 9, 2, false),
            Self::Throughput => rows(2, 2, 2, 9, 2, true),
            Self::Cpu => rows(3, 3, 3, 6, 1, true),
            Self::Step => rows(1, 1, 1, 3, 1, true),
        }
    }
}

/// Rows to tell `n` probes apart by, rows for a head each, and rows for bars each.
fn wanted(n: usize) -> [u16; 3] {
    let rows = |each: usize, most: usize| u16::try_from(n.saturating_mul(each).min(most)).unwrap_or(u16::MAX);
    [rows(1, 4), rows(2, 8), rows(3, 12)]
}

/// A track of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackEntry {
    /// The track.
    pub track: Track,
    /// Whether it is left out.
    pub hidden: bool,
    /// Its share of the rows to spare, from 1 to [`TrackList::MOST_WEIGHT`].
    pub weight: u8,
}

/// With so many rows there is a place for every track.
const EVERYTHING: u16 = 14;

/// The tracks in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackList(Vec<TrackEntry>);

impl Default for TrackList {
    fn default() -> Self {
        let entry = |track: Track| TrackEntry { track, hidden: false, weight: track.rows(1).weight };
        Self(Track::ALL.map(entry).to_vec())
    }
}

impl TrackList {
    /// The largest weight.
    pub const MOST_WEIGHT: u8 = 9;

    /// The tracks in their order, hidden ones too.
    #[must_use]
    pub fn entries(&self) -> &[TrackEntry] {
        &self.0
    }

    /// Hides a track, or shows it again. False where it is the last one shown.
    pub fn toggle(&mut self, i: usize) -> bool {
        let shown = self.0.iter().filter(|e| !e.hidden).count();
        match self.0.get_mut(i) {
            Some(e) if e.hidden || shown > 1 => {
                e.hidden = !e.hidden;
                true
            }
            _ => false,
        }
    }

    /// Moves a track up or down; returns where it stands then.
    pub fn shift(&mut self, i: usize, down: bool) -> usize {
        let to = if down { i.saturating_add(1) } else { i.saturating_sub(1) };
        if i < self.0.len() && to < self.0.len() {
            self.0.swap(i, to);
            return to;
        }
        i
    }

    /// Gives a track more of the rows, or fewer.
    pub fn weigh(&mut self, i: usize, more: bool) {
        if let Some(e) = self.0.get_mut(i) {
            let to = if more { e.weight.saturating_add(1) } else { e.weight.saturating_sub(1) };
            e.weight = to.clamp(1, Self::MOST_WEIGHT);
        }
    }

    /// Gives a track the share of the rows it had at first.
    pub fn reset(&mut self, i: usize) {
        if let Some(e) = self.0.get_mut(i) {
            e.weight = e.track.rows(1).weight;
        }
    }

    /// The rows of each track, in the order of the list, out of `total`; a track that `has` nothing to
    /// show gets none. As long as a track is shown every row is used. Where there is little room the less important ones get none, except those
    /// that have been given more weight than they had at first.
    #[must_use]
    pub fn heights(&self, total: u16, probes: usize, has: impl Fn(Track) -> bool) -> Vec<u16> {
        let mut heights = vec![0; self.0.len()];
        let mut left = total;
        let raised = |e: &TrackEntry| e.weight > e.track.rows(1).weight;
        let mut order: Vec<usize> = (0..self.0.len()).filter(|i| !self.0[*i].hidden).collect();
        if order.iter().any(|i| has(self.0[*i].track)) {
            order.retain(|i| has(self.0[*i].track));
        }
        order.sort_by_key(|i| (!raised(&self.0[*i]), Track::RANKED.iter().position(|t| *t == self.0[*i].track)));
        let core = |i: &&usize| !self.0[**i].track.rows(probes).extra || raised(&self.0[**i]);
        let mut grow = |heights: &mut Vec<u16>, i: usize, to: u16, whole: bool| {
            let more = to.saturating_sub(heights[i]);
            let more = if more <= left {
                more
            } else if whole {
                0
            } else {
                left
            };
            heights[i] += more;
            left -= more;
        };
        for i in order.iter().filter(core) {
            grow(&mut heights, *i, self.0[*i].track.rows(probes).least, true);
        }
        // Where every track can be there, none is left out for another's comfort.
        let extras: Vec<usize> = order.iter().filter(|i| !core(i)).copied().collect();
        let room = total.saturating_sub(heights.iter().sum());
        if total >= EVERYTHING && extras.iter().map(|i| self.0[*i].track.rows(probes).good).sum::<u16>() <= room {
            for i in extras {
                grow(&mut heights, i, self.0[i].track.rows(probes).good, true);
            }
        }
        for i in order.iter().filter(core).filter(|i| heights[**i] > 0).copied().collect::<Vec<_>>() {
            grow(&mut heights, i, self.0[i].track.rows(probes).good, false);
        }
        let roomy: u16 =
            order.iter().filter(core).map(|i| self.0[*i].track.rows(probes).roomy.saturating_sub(heights[*i])).sum();
        let mut spare = left.saturating_sub(roomy);
        for i in order.iter().filter(|i| !core(i) && heights[**i] == 0).copied().collect::<Vec<_>>().iter() {
            let rows = self.0[*i].track.rows(probes).good;
            if rows <= spare {
                spare -= rows;
                left -= rows;
                heights[*i] = rows;
            }
        }
        for i in order.iter().filter(|i| heights[**i] > 0).copied().collect::<Vec<_>>() {
            let more = self.0[i].track.rows(probes).roomy.saturating_sub(heights[i]).min(left);
            heights[i] += more;
            left -= more;
        }
        if order.iter().all(|i| heights[*i] == 0)
            && let Some(first) = order.first()
        {
            heights[*first] = left;
            left = 0;
        }
        while left > 0 {
            let ratio = |i: &usize| f64::from(heights[*i]) / f64::from(self.0[*i].weight.max(1));
            let shown = || order.iter().copied().filter(|i| heights[*i] > 0);
            let most = |i: &usize| {
                let e = &self.0[*i];
                e.track.rows(probes).most.saturating_add(if raised(e) {
                    3 * u16::from(e.weight - e.track.rows(1).weight)
                } else {
                    0
                })
            };
            let least = |a: &usize, b: &usize| ratio(a).total_cmp(&ratio(b));
            // Where all have as many as are of use, the rest is used all the same.
            let Some(i) = shown().filter(|i| heights[*i] < most(i)).min_by(least).or_else(|| shown().min_by(least))
            else {
                break;
            };
            heights[i] += 1;
            left -= 1;
        }
        heights
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(list: &TrackList, total: u16) -> Vec<(Track, u16)> {
        list.entries().iter().map(|e| e.track).zip(list.heights(total, 1, |_| true)).filter(|(_, h)| *h > 0).collect()
    }

    #[test]
    fn small_screens_leave_out_what_matters_less() {
        use Track::*;
        let list = TrackList::default();
        assert_eq!(of(&list, 10), [(Phases, 1), (Ping, 4), (Dirty, 4), (Remaining, 1)]);
        assert_eq!(of(&list, 8), [(Phases, 1), (Ping, 3), (Dirty, 3), (Remaining, 1)]);
        assert_eq!(
            of(&list, 18),
            [(Phases, 2), (Ping, 4), (Dirty, 5), (Throughput, 2), (Remaining, 1), (Cpu, 3), (Step, 1)]
        );
        // At 120x40 there are 17 rows, and 14 with a cursor: all tracks are there.
        for total in 14..60 {
            assert_eq!(of(&list, total).len(), Track::ALL.len(), "{total}");
        }
    }

    #[test]
    fn a_track_given_weight_is_not_left_out() {
        let mut list = TrackList::default();
        let cpu = Track::ALL.iter().position(|t| *t == Track::Cpu).unwrap();
        assert_eq!(list.heights(10, 1, |_| true)[cpu], 0);
        list.weigh(cpu, true);
        assert_eq!(list.heights(10, 1, |_| true)[cpu], 3);
        list.reset(cpu);
        assert_eq!(list.heights(10, 1, |_| true)[cpu], 0);
    }

    #[test]
    fn the_last_track_cannot_be_hidden_and_order_is_kept() {
        let mut list = TrackList::default();
        for i in 0..6 {
            assert!(list.toggle(i));
        }
        assert!(!list.toggle(6));
        assert_eq!(of(&list, 20), [(Track::Step, 20)]);
        assert_eq!(list.shift(6, false), 5);
        assert_eq!((list.entries()[5].track, list.shift(0, false), list.shift(6, true)), (Track::Step, 0, 6));
    }

    #[test]
    fn a_track_that_the_product_cannot_feed_is_absent() {
        use crate::event::{AgentEvent, Body, Capabilities, Event, HvEvent, LoadSettings};
        let mut state = State::default();
        let shown = |state: &State| Track::ALL.into_iter().filter(|t| t.has_data(state)).collect::<Vec<_>>();
        let all = [Track::Phases, Track::Ping, Track::Dirty, Track::Throughput, Track::Remaining];
        assert_eq!(shown(&state), all, "nobody has said what is told");
        let sees = Sees { remaining: true, ..Sees::default() };
        for (host, sees) in [("a", Some(sees)), ("b", Some(Sees::default())), ("c", None)] {
            let offers = Capabilities { product: "virsh 11.3".into(), sees, ..Capabilities::default() };
            state.apply(&Event::new(1, Body::Hypervisor(HvEvent::Offers { host: host.into(), offers })));
        }
        assert_eq!(shown(&state), [Track::Phases, Track::Ping, Track::Remaining]);
        assert_eq!((Track::Throughput.untold(&state), Track::Remaining.untold(&state)), (Some("virsh 11.3"), None));
        state.agent.since = 1;
        state.apply(&Event::new(2, Body::Agent(AgentEvent::Ack { id: 1, set: LoadSettings::default() })));
        assert!(Track::Dirty.has_data(&state), "the agent tells its rate");
    }

    #[test]
    fn where_nothing_can_be_migrated_there_is_no_track_of_a_migration() {
        let state = State::begin(crate::tui::fixture::watch_header());
        assert_eq!(Track::ALL.into_iter().filter(|t| t.has_data(&state)).collect::<Vec<_>>(), [Track::Ping]);
    }

    proptest! {
        #[test]
        fn every_row_is_used_and_none_twice(
            total in 0u16..300,
            lacking in 0usize..7,
            hidden in prop::collection::vec(any::<bool>(), 7),
            weights in prop::collection::vec(0u8..12, 7),
            shifts in prop::collection::vec((0usize..9, any::<bool>()), 0..9),
        ) {
            let mut list = TrackList::default();
            for (i, (hide, steps)) in hidden.into_iter().zip(weights).enumerate() {
                if hide {
                    list.toggle(i);
                }
                for _ in 0..steps {
                    list.weigh(i, steps % 2 == 0);
                }
            }
            for (i, down) in shifts {
                list.shift(i, down);
            }
            let heights = list.heights(total, 1, |t| t != Track::ALL[lacking]);
            prop_assert_eq!(heights.iter().sum::<u16>(), total);
            for (e, h) in list.entries().iter().zip(&heights) {
                prop_assert!(!e.hidden || *h == 0);
            }
        }
    }
}
