//! The one time axis all tracks share: which instant lies in which column.

use crate::event::{Nanos, Phase};
use crate::session::State;
use crate::tui::window::{Edge, Scale, Window, Wish};

/// Lengths of time a column may stand for, ns, and whether a step of zoom stops there.
const COLUMN_NS: &[(Nanos, bool)] = &[
    (100_000, true),
    (200_000, true),
    (500_000, true),
    (1_000_000, true),
    (2_000_000, true),
    (5_000_000, true),
    (10_000_000, true),
    (20_000_000, true),
    (50_000_000, true),
    (100_000_000, true),
    (150_000_000, false),
    (200_000_000, true),
    (300_000_000, false),
    (400_000_000, false),
    (500_000_000, true),
    (750_000_000, false),
    (1_000_000_000, true),
    (1_500_000_000, false),
    (2_000_000_000, true),
    (3_000_000_000, false),
    (5_000_000_000, true),
    (10_000_000_000, true),
    (15_000_000_000, false),
    (20_000_000_000, true),
    (30_000_000_000, false),
    (60_000_000_000, true),
    (120_000_000_000, true),
    (300_000_000_000, true),
    (600_000_000_000, true),
    (1_800_000_000_000, true),
    (3_600_000_000_000, true),
];
/// What is shown while there is no migration to fit in, ns.
const IDLE_SPAN: Nanos = 20_000_000_000;
/// How much of the time before a migration is kept in view, ns.
const LEAD: Nanos = 2_000_000_000;
/// How long a finished migration stays fitted in, ns.
const LINGER: Nanos = 30_000_000_000;

/// The next shorter length of a column, ns, if there is one.
pub(crate) fn nearer(column_ns: Nanos) -> Option<Nanos> {
    COLUMN_NS.iter().rev().find(|(c, stop)| *stop && *c < column_ns).map(|(c, _)| *c)
}

/// The next longer length of a column, ns, if there is one.
pub(crate) fn farther(column_ns: Nanos) -> Option<Nanos> {
    COLUMN_NS.iter().find(|(c, stop)| *stop && *c > column_ns).map(|(c, _)| *c)
}

/// The shortest length of a column with which `span` fits into `columns`, ns; even, so that it can be
/// halved.
fn fitting(span: Nanos, columns: u16) -> Nanos {
    let least = span.div_ceil(u64::from(columns.max(1)));
    COLUMN_NS.iter().map(|(c, _)| *c).find(|c| *c >= least).unwrap_or(least.saturating_add(least % 2) & !1)
}

/// Columns of equal length. Column edges lie on multiples of the length, so a picture moves on by
/// whole columns and never shimmers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Length of a column, ns; never 0.
    pub(crate) column_ns: Nanos,
    /// Number of the first column: it begins at `first * column_ns`.
    pub(crate) first: u64,
    /// Columns.
    pub(crate) columns: u16,
    /// The instant drawn up to, ns.
    pub(crate) now: Nanos,
}

impl Axis {
    /// The axis for `columns` columns.
    pub(crate) fn of(state: &State, now: Nanos, columns: u16, window: Window) -> Self {
        let placed = Self::placed(state, now, columns, window.scale, window.edge);
        match window.wish {
            None => placed,
            Some(Wish::Show(t)) => placed.showing(t),
            Some(Wish::Fit(from, to)) => Self::fit(from, to, now, columns),
        }
    }

    fn placed(state: &State, now: Nanos, columns: u16, scale: Scale, edge: Edge) -> Self {
        let column_ns = match (scale, edge) {
            (Scale::Auto, _) => fitting(automatic_span(state, now), columns),
            (Scale::Whole, Edge::Now) => return Self::whole(now, columns),
            (Scale::Whole, Edge::At(end)) => fitting(end, columns),
            (Scale::Column(c), _) => c.max(2),
        };
        let axis = Self { column_ns, first: 0, columns, now };
        match edge {
            Edge::Now => axis.ending_at(now),
            Edge::At(end) => Self { first: end.div_ceil(column_ns).saturating_sub(u64::from(columns.max(1))), ..axis },
        }
    }

    /// The whole session.
    pub(crate) fn whole(now: Nanos, columns: u16) -> Self {
        Self { column_ns: fitting(now.saturating_add(1), columns), first: 0, columns, now }
    }

    /// The same columns, the last of them holding `t`.
    pub(crate) fn ending_at(self, t: Nanos) -> Self {
        let first = (t / self.column_ns).saturating_add(1).saturating_sub(u64::from(self.columns.max(1)));
        Self { first, ..self }
    }

    /// A stretch of time with a margin on either side.
    fn fit(from: Nanos, to: Nanos, now: Nanos, columns: u16) -> Self {
        let span = to.saturating_sub(from);
        let column_ns = fitting(span.saturating_add(span / 8), columns.saturating_sub(2));
        let middle = (from + span / 2) / column_ns;
        Self { column_ns, first: middle.saturating_sub(u64::from(columns / 2)), columns, now }
    }

    /// Moved so far that `t` is in view: by as little as possible where it is near, else `t` comes
    /// into the middle.
    fn showing(self, t: Nanos) -> Self {
        let (at, wide) = (t / self.column_ns, u64::from(self.columns.max(1)));
        let first = if at < self.first {
            if self.first - at <= wide / 4 { at } else { at.saturating_sub(wide / 2) }
        } else if at - self.first >= wide {
            let least = at - wide + 1;
            if least - self.first <= wide / 4 { least } else { at.saturating_sub(wide / 2) }
        } else {
            self.first
        };
        Self { first, ..self }
    }

    /// The same stretch in columns half as long.
    pub(crate) fn halved(self) -> Self {
        let columns = self.columns.saturating_mul(2);
        Self { column_ns: (self.column_ns / 2).max(1), first: self.first.saturating_mul(2), columns, ..self }
    }

    /// The one column that holds `t`.
    pub(crate) fn only(self, t: Nanos) -> Self {
        Self { first: t / self.column_ns, columns: 1, ..self }
    }

    /// Where column `i` begins, ns.
    pub(crate) fn start(&self, i: u16) -> Nanos {
        self.first.saturating_add(u64::from(i)).saturating_mul(self.column_ns)
    }

    /// Where the last column ends, ns.
    pub(crate) fn end(&self) -> Nanos {
        self.start(self.columns)
    }

    /// The column an instant lies in, if it is in view.
    pub(crate) fn column(&self, t: Nanos) -> Option<u16> {
        let i = (t / self.column_ns).checked_sub(self.first)?;
        (i < u64::from(self.columns)).then_some(i as u16)
    }

    /// The columns `from..to` of a stretch of time that are in view; a stretch in view takes at
    /// least one.
    pub(crate) fn columns_of(&self, from: Nanos, to: Nanos) -> std::ops::Range<u16> {
        if self.columns == 0 || from >= self.end() || to < self.start(0) || to < from {
            return 0..0;
        }
        let a = (from / self.column_ns).saturating_sub(self.first).min(u64::from(self.columns)) as u16;
        let b = (to / self.column_ns).saturating_sub(self.first).min(u64::from(self.columns) - 1) as u16;
        a..(b + 1).max(a + 1).min(self.columns)
    }

    /// Round instants to label, ns: at least `apart` columns from each other, and round on a clock that shows `ahead`
    /// when the session begins.
    pub(crate) fn ticks(&self, apart: u16, ahead: Nanos) -> Vec<Nanos> {
        const STEPS: &[Nanos] = &[
            1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
            600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000, 18_000_000, 43_200_000, 86_400_000,
        ];
        let least = self.column_ns.saturating_mul(u64::from(apart));
        let step = STEPS.iter().map(|ms| ms * 1_000_000).find(|s| *s >= least).unwrap_or(least.max(1));
        let mut ticks = Vec::new();
        let ahead = ahead % step;
        let mut t = self.start(0).saturating_add(ahead).div_ceil(step).saturating_mul(step).saturating_sub(ahead);
        while t < self.end() && ticks.len() < usize::from(self.columns) {
            ticks.push(t);
            let Some(next) = t.checked_add(step) else { break };
            t = next;
        }
        ticks
    }
}

/// Long enough for the migration that runs or has just ended, else [`IDLE_SPAN`].
fn automatic_span(state: &State, now: Nanos) -> Nanos {
    let fitted = state.migrations.last().filter(|m| match &m.ended {
        None => true,
        Some((t, _)) => now.saturating_sub(*t) < LINGER,
    });
    fitted.map_or(IDLE_SPAN, |m| now.saturating_sub(m.began.saturating_sub(LEAD)).max(IDLE_SPAN))
}

/// The instant as `m:ss`, with as many decimals as tell neighbours `step` ns apart.
pub(crate) fn clock(t: Nanos, step: Nanos) -> String {
    let (minutes, seconds) = (t / 60_000_000_000, t % 60_000_000_000 / 1_000_000_000);
    let ms = t / 1_000_000 % 1000;
    match step {
        s if s >= 1_000_000_000 => format!("{minutes}:{seconds:02}"),
        s if s >= 100_000_000 => format!("{minutes}:{seconds:02}.{}", ms / 100),
        s if s >= 10_000_000 => format!("{minutes}:{seconds:02}.{:02}", ms / 10),
        s if s >= 1_000_000 => format!("{minutes}:{seconds:02}.{ms:03}"),
        _ => format!("{minutes}:{seconds:02}.{:04}", t / 100_000 % 10_000),
    }
}

/// The phase the newest migration is in; idle without one.
pub(crate) fn phase_now(state: &State) -> Phase {
    match state.migrations.last() {
        Some(m) => m.phases.last().map_or(if m.ended.is_some() { Phase::Done } else { Phase::Setup }, |p| p.phase),
        None => Phase::Idle,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tui::time::TimeView;

    #[test]
    fn columns_stand_on_multiples_and_cover_the_view() {
        let a = Axis { column_ns: 100, first: 10, columns: 5, now: 1450 };
        assert_eq!((a.column(999), a.column(1000), a.column(1499), a.column(1500)), (None, Some(0), Some(4), None));
        assert_eq!(a.columns_of(0, 1100), 0..2);
        assert_eq!(a.columns_of(1120, 1130), 1..2);
        assert_eq!(a.columns_of(1400, 9000), 4..5);
        assert_eq!(a.columns_of(0, 999), 0..0);
        assert_eq!(a.columns_of(1500, 1600), 0..0);
    }

    #[test]
    fn grows_from_the_left_then_follows() {
        let s = State::default();
        let of = |now, columns, time: &TimeView| Axis::of(&s, now, columns, time.window());
        let young = of(1_000_000_000, 100, &TimeView::default());
        assert_eq!((young.first, young.column_ns), (0, 200_000_000));
        let old = of(60_000_000_000, 100, &TimeView::default());
        assert_eq!(old.column(60_000_000_000), Some(99));
        let whole = of(60_000_000_000, 100, &TimeView { scale: Scale::Whole, ..TimeView::default() });
        assert_eq!((whole.column(0), whole.column(60_000_000_000)), (Some(0), Some(80)));
        assert_eq!(of(0, 0, &TimeView::default()).columns, 0);
    }

    #[test]
    fn zoom_reaches_from_a_tenth_of_a_millisecond_to_an_hour() {
        let mut seen = vec![300_000_000];
        while let Some(c) = nearer(seen[seen.len() - 1]) {
            seen.push(c);
        }
        assert_eq!((seen[1], seen.last()), (200_000_000, Some(&100_000)));
        while let Some(c) = farther(seen[seen.len() - 1]) {
            seen.push(c);
        }
        assert_eq!(seen.last(), Some(&3_600_000_000_000));
    }

    proptest! {
        #[test]
        fn any_numbers_make_an_axis(now: u64, at: u64, columns: u16, scale in 0u64..4, t: u64, wish in 0u8..3, to: u64) {
            let scale = [Scale::Auto, Scale::Whole, Scale::Column(now), Scale::Column(at % 1_000_000_000)][scale as usize];
            let edge = if at % 3 == 0 { Edge::Now } else { Edge::At(at) };
            let mut time = TimeView { scale, edge, ..TimeView::default() };
            match wish {
                1 => time.go_to(t),
                2 => time.fit(t, to),
                _ => {}
            }
            let a = Axis::of(&State::default(), now, columns, time.window());
            prop_assert!(a.column_ns > 0 && a.columns == columns);
            for i in [0, columns / 2, columns] {
                prop_assert!(a.start(i) <= a.end());
            }
            prop_assert!(a.ticks(10, now).len() <= usize::from(columns));
            prop_assert!(a.columns_of(t, to).end <= columns);
            if columns > 0 {
                match wish {
                    1 => prop_assert!(a.column(t).is_some()),
                    2 => prop_assert!(columns < 4 || (a.column(t).is_some() && a.column(to).is_some()), "{a:?}"),
                    _ if scale == Scale::Whole && edge == Edge::Now => {
                        prop_assert!(a.column(0).is_some() && a.column(now).is_some(), "{a:?}");
                    }
                    _ if edge == Edge::Now => prop_assert!(a.column(now).is_some()),
                    _ => {}
                }
            }
            let half = a.halved();
            if columns < u16::MAX / 2 && a.column_ns.is_multiple_of(2) {
                prop_assert_eq!((half.start(0), half.end()), (a.start(0), a.end()));
            }
        }
    }

    #[test]
    fn clocks_read_like_clocks() {
        assert_eq!(clock(65_400_000_000, 5_000_000_000), "1:05");
        assert_eq!(clock(65_400_000_000, 200_000_000), "1:05.4");
        assert_eq!(clock(65_400_000_000, 1_000_000), "1:05.400");
    }
}
