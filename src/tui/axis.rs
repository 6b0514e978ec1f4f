//! The one time axis all tracks share: which instant lies in which column.

use crate::event::{Nanos, Phase};
use crate::session::State;
use crate::tui::time::TimeView;

/// Lengths of time a column may stand for, ns.
const COLUMN_NS: &[Nanos] = &[
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    150_000_000,
    200_000_000,
    300_000_000,
    400_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    1_500_000_000,
    2_000_000_000,
    3_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];
/// What is shown while there is no migration to fit in, ns.
const IDLE_SPAN: Nanos = 20_000_000_000;
/// How much of the time before a migration is kept in view, ns.
const LEAD: Nanos = 2_000_000_000;
/// How long a finished migration stays fitted in, ns.
const LINGER: Nanos = 30_000_000_000;

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
    pub(crate) fn of(state: &State, now: Nanos, columns: u16, time: &TimeView) -> Self {
        Self::following(state, now, columns, time.zoom)
    }

    /// The axis that ends now. `zoom` counts steps from the automatic length: positive is nearer.
    fn following(state: &State, now: Nanos, columns: u16, zoom: i32) -> Self {
        let span = automatic_span(state, now);
        let wide = u64::from(columns.max(1));
        let fitting = COLUMN_NS.iter().position(|c| c * wide >= span).unwrap_or(COLUMN_NS.len() - 1);
        let at = (fitting as i64 - i64::from(zoom)).clamp(0, COLUMN_NS.len() as i64 - 1) as usize;
        let column_ns = COLUMN_NS[at];
        let first = (now / column_ns + 1).saturating_sub(wide);
        Self { column_ns, first, columns, now }
    }

    /// Where column `i` begins, ns.
    pub(crate) fn start(&self, i: u16) -> Nanos {
        (self.first + u64::from(i)).saturating_mul(self.column_ns)
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

    /// Round instants to label, ns: at least `apart` columns from each other.
    pub(crate) fn ticks(&self, apart: u16) -> Vec<Nanos> {
        const STEPS: &[Nanos] =
            &[100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000];
        let least = self.column_ns.saturating_mul(u64::from(apart));
        let step = STEPS.iter().map(|ms| ms * 1_000_000).find(|s| *s >= least).unwrap_or(3_600_000_000_000);
        let mut ticks = Vec::new();
        let mut t = self.start(0).div_ceil(step).saturating_mul(step);
        while t < self.end() && ticks.len() < usize::from(self.columns) {
            ticks.push(t);
            t = t.saturating_add(step);
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
        _ => format!("{minutes}:{seconds:02}.{ms:03}"),
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
    use super::*;

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
        let young = Axis::following(&s, 1_000_000_000, 100, 0);
        assert_eq!((young.first, young.column_ns), (0, 200_000_000));
        let old = Axis::following(&s, 60_000_000_000, 100, 0);
        assert_eq!(old.column(60_000_000_000), Some(99));
        assert!(Axis::following(&s, 60_000_000_000, 100, 2).column_ns < old.column_ns);
        assert_eq!(Axis::following(&s, 0, 0, 99).columns, 0);
    }

    #[test]
    fn clocks_read_like_clocks() {
        assert_eq!(clock(65_400_000_000, 5_000_000_000), "1:05");
        assert_eq!(clock(65_400_000_000, 200_000_000), "1:05.4");
        assert_eq!(clock(65_400_000_000, 1_000_000), "1:05.400");
    }
}
