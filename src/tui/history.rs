//! How the history is shown: what is selected, sorted and compared.

use std::cmp::Ordering;

use super::outcome;
use crate::analysis::Method;
use crate::session::State;
use crate::session::state::Migration;

/// A column of the history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Column {
    /// Number of the migration.
    #[default]
    Number,
    /// From which host to which.
    Route,
    /// RATE requested when it began, pages/s.
    Rate,
    /// RATE over the bandwidth limit.
    Ratio,
    /// WSET, bytes.
    Wset,
    /// What the link was allowed to carry, bytes/s.
    Link,
    /// Stop policy.
    Policy,
    /// Migration time.
    Time,
    /// Pre-copy rounds.
    Rounds,
    /// Sent, bytes.
    Sent,
    /// A downtime.
    Downtime(Method),
    /// How it ended.
    End,
}

impl Column {
    /// All columns, in the order they stand in.
    pub const ALL: [Self; 16] = [
        Self::Number,
        Self::Route,
        Self::Rate,
        Self::Ratio,
        Self::Wset,
        Self::Link,
        Self::Policy,
        Self::Time,
        Self::Rounds,
        Self::Sent,
        Self::Downtime(Method::ReplyGap),
        Self::Downtime(Method::Reported),
        Self::Downtime(Method::LostPings),
        Self::Downtime(Method::StopResume),
        Self::Downtime(Method::GuestClock),
        Self::End,
    ];

    /// Its head.
    #[must_use]
    pub fn head(self) -> &'static str {
        match self {
            Self::Number => "n",
            Self::Route => "way",
            Self::Rate => "RATE",
            Self::Ratio => "/limit",
            Self::Wset => "WSET",
            Self::Link => "limit",
            Self::Policy => "policy",
            Self::Time => "time",
            Self::Rounds => "rounds",
            Self::Sent => "sent",
            Self::Downtime(method) => method.name(),
            Self::End => "end",
        }
    }

    /// What a migration is sorted by in this column.
    fn key(self, state: &State, m: &Migration) -> Key {
        let count = |n: Option<u64>| Key::Number(n.map(|n| n as f64));
        match self {
            Self::Number => count(Some(u64::from(m.n))),
            Self::Route => Key::Text(format!("{} {}", m.from, m.to)),
            Self::Rate => Key::Number(outcome::requested(state, m)),
            Self::Ratio => Key::Number(outcome::ratio(outcome::requested(state, m), m)),
            Self::Wset => count(m.load.map(|l| l.wset_bytes)),
            Self::Link => count(m.settings.limit_bytes_per_s()),
            Self::Policy => Key::Text(m.settings.policy.name.clone()),
            Self::Time => Key::Number(outcome::took(m).map(|t| t.as_secs_f64())),
            Self::Rounds => count(outcome::rounds(m)),
            Self::Sent => count(outcome::sent(m)),
            Self::Downtime(method) => Key::Number(outcome::downtime(m, method).map(|d| d.value.as_secs_f64())),
            Self::End => Key::Text(outcome::end_word(m).to_owned()),
        }
    }
}

enum Key {
    Number(Option<f64>),
    Text(String),
}

impl Key {
    /// What is unknown comes last, whichever way the order goes.
    fn order(&self, other: &Self, falling: bool) -> Ordering {
        let turned = |order: Ordering| if falling { order.reverse() } else { order };
        match (self, other) {
            (Self::Number(Some(a)), Self::Number(Some(b))) => turned(a.total_cmp(b)),
            (Self::Number(a), Self::Number(b)) => b.is_some().cmp(&a.is_some()),
            (Self::Text(a), Self::Text(b)) => turned(a.cmp(b)),
            _ => Ordering::Equal,
        }
    }
}

/// How the history is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryView {
    /// Number of the migration that is selected; without one, the newest.
    pub selected: Option<u32>,
    /// The first line of the result's reasons in view, where they have not all a row.
    pub reason: u16,
    /// Number of the migration others are compared with.
    pub baseline: Option<u32>,
    /// The column it is sorted by.
    pub sort: Column,
    /// Whether the largest comes first.
    pub falling: bool,
    /// Whether the selected migration and the baseline stand side by side.
    pub compare: bool,
}

impl HistoryView {
    /// The selected migration; without one, the newest.
    #[must_use]
    pub fn chosen<'a>(&self, state: &'a State) -> Option<&'a Migration> {
        numbered(state, self.selected).or(state.migrations.last())
    }

    /// The migration whose result is shown: the selected one; without one, the newest that ended.
    #[must_use]
    pub fn result<'a>(&self, state: &'a State) -> Option<&'a Migration> {
        numbered(state, self.selected).or_else(|| state.migrations.iter().rev().find(|m| m.ended.is_some()))
    }

    /// The migration others are compared with, if there is one.
    #[must_use]
    pub fn compared_with<'a>(&self, state: &'a State) -> Option<&'a Migration> {
        numbered(state, self.baseline)
    }

    /// The migrations as they are sorted: their places in the session.
    #[must_use]
    pub fn order(&self, state: &State) -> Vec<usize> {
        let mut order: Vec<usize> = (0..state.migrations.len()).collect();
        if self.sort == Column::Number {
            if self.falling {
                order.reverse();
            }
            return order;
        }
        let keys: Vec<Key> = state.migrations.iter().map(|m| self.sort.key(state, m)).collect();
        order.sort_by(|a, b| keys[*a].order(&keys[*b], self.falling));
        order
    }

    /// Selects the migration so many rows further down. `sorted` moves as the history is sorted,
    /// else as they happened.
    pub fn step(&mut self, state: &State, rows: isize, sorted: bool) {
        let order = if sorted { self.order(state) } else { (0..state.migrations.len()).collect() };
        let shown = if sorted { self.chosen(state) } else { self.result(state) };
        let Some(shown) = shown.map(|m| m.n) else { return };
        let Some(at) = order.iter().position(|i| state.migrations[*i].n == shown) else { return };
        let to = at.saturating_add_signed(rows).min(order.len().saturating_sub(1));
        self.select(state, state.migrations[order[to]].n);
    }

    /// Selects a migration. Who selects the newest follows the newest.
    pub fn select(&mut self, state: &State, n: u32) {
        self.reason = 0;
        self.selected = Some(n).filter(|n| state.migrations.last().is_none_or(|m| m.n != *n || m.ended.is_none()));
    }

    /// Sorts by a column; once more, the other way round.
    pub fn sort_by(&mut self, column: Column) {
        self.falling = self.sort == column && !self.falling;
        self.sort = column;
    }
}

fn numbered(state: &State, n: Option<u32>) -> Option<&Migration> {
    n.and_then(|n| state.migrations.iter().rev().find(|m| m.n == n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    fn numbers(view: &HistoryView, state: &State) -> Vec<u32> {
        view.order(state).into_iter().map(|i| state.migrations[i].n).collect()
    }

    #[test]
    fn sorted_by_any_column_the_unknown_comes_last() {
        let state = fixture::result();
        let mut view = HistoryView::default();
        assert_eq!(numbers(&view, &state), [1, 2, 3]);
        for column in Column::ALL {
            view = HistoryView { sort: column, ..HistoryView::default() };
            let mut all = numbers(&view, &state);
            all.sort_unstable();
            assert_eq!(all, [1, 2, 3], "{column:?}");
        }
        view.sort = Column::Rate;
        view.falling = true;
        assert_eq!(numbers(&view, &state), [3, 2, 1]);
        // The second was cancelled and has no downtime.
        for falling in [false, true] {
            view = HistoryView { sort: Column::Downtime(Method::ReplyGap), falling, ..HistoryView::default() };
            assert_eq!(numbers(&view, &state).last(), Some(&2));
        }
    }

    #[test]
    fn the_same_head_twice_turns_the_order_round() {
        let mut view = HistoryView::default();
        view.sort_by(Column::Time);
        assert_eq!((view.sort, view.falling), (Column::Time, false));
        view.sort_by(Column::Time);
        assert!(view.falling);
        view.sort_by(Column::Sent);
        assert_eq!((view.sort, view.falling), (Column::Sent, false));
    }

    #[test]
    fn selecting_the_newest_follows_the_newest() {
        let mut state = fixture::result();
        let mut view = HistoryView::default();
        view.step(&state, -1, true);
        assert_eq!(view.selected, Some(2));
        view.step(&state, -9, true);
        assert_eq!(view.chosen(&state).map(|m| m.n), Some(1));
        view.step(&state, 9, true);
        assert_eq!(view.selected, None);
        let mut newer = state.migrations[0].clone();
        newer.n = 4;
        state.migrations.push(newer);
        assert_eq!(view.chosen(&state).map(|m| m.n), Some(4));
        view.select(&state, 77);
        assert_eq!(view.chosen(&state).map(|m| m.n), Some(4), "a number nobody has selects nothing");
        HistoryView::default().step(&State::default(), 1, true);
    }
}
