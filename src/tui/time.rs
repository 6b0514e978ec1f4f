//! The part of time in view, the cursor and the measure, and how keys and the mouse move them.
//!
//! How many columns there are is known only to the frame that was drawn last: what depends on it is
//! kept as a wish and resolved by the next frame's axis.

use super::axis::{Axis, farther, nearer};
pub use super::window::{Edge, Scale};
use super::window::{Window, Wish};
use crate::event::Nanos;
use crate::session::State;
use crate::session::notable::Kind;

/// Columns assumed before the first frame.
const COLUMNS: u16 = 68;

/// Which kinds of events the cursor jumps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds([bool; Kind::ALL.len()]);

impl Default for Kinds {
    fn default() -> Self {
        Self([true; Kind::ALL.len()])
    }
}

impl Kinds {
    /// Whether the cursor jumps to this kind.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        Kind::ALL.iter().zip(self.0).any(|(k, on)| *k == kind && on)
    }

    /// Chooses a kind, or leaves it.
    pub fn toggle(&mut self, kind: Kind) {
        for (k, on) in Kind::ALL.iter().zip(&mut self.0) {
            *on ^= *k == kind;
        }
    }

    /// Chooses all kinds, or none.
    pub fn set_all(&mut self, on: bool) {
        self.0 = [on; Kind::ALL.len()];
    }

    /// The chosen kinds.
    #[must_use]
    pub fn chosen(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|k| self.has(*k)).collect()
    }
}

/// The part of time in view, the cursor and the measure.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimeView {
    /// How much time a column stands for.
    pub scale: Scale,
    /// Where the view ends on the right.
    pub edge: Edge,
    /// The cursor, ns of the session clock.
    pub cursor: Option<Nanos>,
    /// Where the measure begins, ns of the session clock; it ends at the cursor.
    pub anchor: Option<Nanos>,
    /// Which kinds of events the cursor jumps to.
    pub kinds: Kinds,
    /// Columns of the time axis in the newest frame; 0 before the first.
    pub(super) columns: u16,
    pub(super) wish: Option<Wish>,
    /// The scale to go back to when the view follows again.
    pub(super) following: Option<Scale>,
}

impl TimeView {
    /// Sets the cursor at an instant, ns of the session clock, and brings it into view.
    pub fn go_to(&mut self, t: Nanos) {
        self.cursor = Some(t);
        self.wish = Some(Wish::Show(t));
    }

    /// Fills the view with a stretch of time, ns of the session clock, and a margin on either side.
    pub fn fit(&mut self, from: Nanos, to: Nanos) {
        self.wish = Some(Wish::Fit(from.min(to), from.max(to)));
    }

    /// Whether the right edge of the view moves on with time.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.edge == Edge::Now
    }

    /// Follows what happens, at the scale it had when it last did.
    pub fn follow(&mut self) {
        self.edge = Edge::Now;
        self.wish = None;
        if let Some(scale) = self.following.take() {
            self.scale = scale;
        }
    }

    /// Takes notice of a frame: how many columns its time axis had.
    pub(super) fn drawn(&mut self, columns: u16) {
        if columns > 0 {
            self.columns = columns;
        }
    }

    /// The axis as it would be drawn now.
    pub(super) fn axis(&self, state: &State, now: Nanos) -> Axis {
        let columns = if self.columns == 0 { COLUMNS } else { self.columns };
        Axis::of(state, now, columns, self.window())
    }

    /// The part of time that is asked for.
    pub(super) fn window(&self) -> Window {
        Window { scale: self.scale, edge: self.edge, wish: self.wish }
    }

    /// Fulfils the wish, once the number of columns is known, and brings cursor and anchor back to
    /// what has happened (a replay may go back beyond them).
    pub(super) fn settle(&mut self, state: &State, now: Nanos) {
        self.cursor = self.cursor.map(|t| t.min(now));
        self.anchor = self.anchor.map(|t| t.min(now));
        if let Some(Wish::Show(t)) = &mut self.wish {
            *t = (*t).min(now);
        }
        if self.columns == 0 {
            return;
        }
        let shown = self.axis(state, now);
        match self.wish.take() {
            // What is in view already leaves the view as it is: it goes on following.
            Some(Wish::Show(_)) if self.axis(state, now) == shown => {}
            Some(_) => self.hold(&shown),
            None => {}
        }
    }

    /// The picture as it is stands still.
    pub(super) fn hold(&mut self, axis: &Axis) {
        if !matches!(self.scale, Scale::Column(_)) {
            self.following = Some(self.scale);
        }
        self.wish = None;
        self.scale = Scale::Column(axis.column_ns);
        self.edge = Edge::At(axis.end());
    }

    /// Moves the view by columns; negative is back in time. At the newest end it follows again.
    pub(super) fn pan(&mut self, state: &State, now: Nanos, by: i64) {
        let axis = self.axis(state, now);
        let newest = axis.ending_at(now);
        let to = axis.first.saturating_add_signed(by);
        if to >= newest.first && by > 0 {
            self.follow();
        } else if to != axis.first {
            self.hold(&Axis { first: to, ..axis });
        }
    }

    /// Nearer or farther by a step. The instant `about` keeps its column; without one the right edge
    /// does while following, else the middle. False where there is no nearer or farther.
    pub(super) fn zoom(&mut self, state: &State, now: Nanos, inward: bool, about: Option<Nanos>) -> bool {
        let axis = self.axis(state, now);
        let next = if inward { nearer(axis.column_ns) } else { farther(axis.column_ns) };
        let whole = Axis::whole(now, axis.columns).column_ns;
        let Some(next) = next.filter(|_| inward || axis.column_ns < whole) else { return false };
        let follows = self.follows() && self.wish.is_none();
        let about = about.filter(|t| axis.column(*t).is_some());
        if about.is_none() && follows {
            (self.scale, self.following) = (Scale::Column(next), None);
            return true;
        }
        let middle = axis.start(axis.columns / 2);
        let t = about.unwrap_or(middle);
        let column = axis.column(t).unwrap_or(0);
        let to = Axis { column_ns: next, first: (t / next).saturating_sub(u64::from(column)), ..axis };
        if follows && to.first == to.ending_at(now).first {
            (self.scale, self.following) = (Scale::Column(next), None);
        } else {
            self.hold(&to);
            self.following = None;
        }
        true
    }

    /// The whole session.
    pub(super) fn whole(&mut self) {
        (self.scale, self.edge, self.wish, self.following) = (Scale::Whole, Edge::Now, None, None);
    }

    /// As near as fits the migration that runs, following.
    pub(super) fn automatic(&mut self) {
        (self.scale, self.edge, self.wish, self.following) = (Scale::Auto, Edge::Now, None, None);
    }

    /// The cursor; where there is none yet it is set at the right edge (following) or in the middle.
    /// True where it was there before.
    pub(super) fn ensure_cursor(&mut self, state: &State, now: Nanos) -> bool {
        if self.cursor.is_some() {
            return true;
        }
        let axis = self.axis(state, now);
        let t = if self.follows() { now } else { axis.start(axis.columns / 2) };
        self.go_to(t.min(now));
        self.settle(state, now);
        false
    }

    /// Moves the cursor by columns to the beginning of one; the view goes along.
    pub(super) fn move_cursor(&mut self, state: &State, now: Nanos, by: i64) {
        if !self.ensure_cursor(state, now) {
            return;
        }
        let axis = self.axis(state, now);
        let column = self.cursor.unwrap_or(now) / axis.column_ns;
        let t = column.saturating_add_signed(by).saturating_mul(axis.column_ns).min(now);
        self.go_to(t);
        self.settle(state, now);
    }

    /// Sets the cursor at a column of the axis.
    pub(super) fn point(&mut self, state: &State, now: Nanos, column: u16) -> Nanos {
        let axis = self.axis(state, now);
        let t = axis.start(column.min(axis.columns.saturating_sub(1))).min(now);
        self.cursor = Some(t);
        t
    }

    /// Leaves one thing: the measure, else the cursor, else the frozen picture. False where there is
    /// nothing to leave.
    pub(super) fn back(&mut self) -> bool {
        if self.anchor.take().is_some() || self.cursor.take().is_some() {
            return true;
        }
        let frozen = !self.follows() || self.wish.is_some();
        self.follow();
        frozen
    }
}

#[cfg(test)]
mod tests;
