//! What lies where on the screen, for the mouse: written down by whoever draws it.

use std::time::{Duration, Instant};

use ratatui::layout::{Position, Rect};

use super::edit::Control;
use super::keys::Action;
use super::page::Page;

/// Something that can be pointed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// The row of a control.
    Control(Control),
    /// The slider of a control, from nothing at its left edge to all at its right edge.
    Slider(Control),
    /// The time axis: every track's columns.
    Time,
    /// The name of a page.
    Page(Page),
    /// A panel that scrolls and belongs to this page.
    Panel(Page),
    /// A migration of the history, by its number.
    Migration(u32),
    /// A column head of the history.
    HistoryHead(usize),
    /// A line of the log, by its number from the start of the session.
    LogLine(u64),
    /// A hint: pressing it is pressing its key.
    Action(Action),
    /// A row of the list in front.
    Row(usize),
    /// The bar of a replay's position.
    Position,
    /// The answer to a question: yes or no.
    Answer(bool),
    /// The reasons of a result; they scroll up to this line at the top.
    Reasons(u16),
    /// The help; its lines scroll up to this one at the top.
    Help(u16),
}

/// What lies where in a frame.
#[derive(Debug, Clone, Default)]
pub struct Hits(Vec<(Rect, Hit)>);

impl Hits {
    /// Writes down that `hit` lies in `area`. What comes later lies in front.
    pub fn add(&mut self, area: Rect, hit: Hit) {
        self.0.push((area, hit));
    }

    /// Forgets all, because something now lies in front of it.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What lies in front at a place, and its area.
    #[must_use]
    pub fn at(&self, column: u16, row: u16) -> Option<(Rect, Hit)> {
        self.0.iter().rev().find(|(area, _)| area.contains(Position { x: column, y: row })).copied()
    }

    /// The last line of the help that can be at the top.
    #[must_use]
    pub fn help_end(&self) -> u16 {
        self.0.iter().find_map(|(_, hit)| if let Hit::Help(end) = hit { Some(*end) } else { None }).unwrap_or(0)
    }

    /// The last line of a result's reasons that can be at the top.
    #[must_use]
    pub fn reasons_end(&self) -> u16 {
        self.0.iter().find_map(|(_, hit)| if let Hit::Reasons(end) = hit { Some(*end) } else { None }).unwrap_or(0)
    }

    /// The area of a hit, if it is in the frame.
    #[must_use]
    pub fn area_of(&self, hit: Hit) -> Option<Rect> {
        self.0.iter().rev().find(|(_, h)| *h == hit).map(|(area, _)| *area)
    }
}

/// Two clicks at one place within so long are one double click.
const DOUBLE: Duration = Duration::from_millis(500);

/// What the mouse holds, and where it clicked last.
#[derive(Debug, Clone, Default)]
pub struct Pointer {
    /// What the button went down on, and its area.
    pub(super) held: Option<(Rect, Hit)>,
    clicked: Option<(Instant, Hit)>,
}

impl Pointer {
    /// Takes notice of a click; true where it is the second of a double click.
    pub(super) fn click(&mut self, hit: Hit) -> bool {
        let now = Instant::now();
        let double = self.clicked.is_some_and(|(t, h)| h == hit && now.duration_since(t) < DOUBLE);
        self.clicked = (!double).then_some((now, hit));
        double
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clicks_at_one_place_are_a_double_click_and_a_third_is_none() {
        let mut pointer = Pointer::default();
        let clicks = [Hit::Migration(1), Hit::Migration(1), Hit::Migration(1), Hit::Migration(2)];
        assert_eq!(clicks.map(|hit| pointer.click(hit)), [false, true, false, false]);
    }

    #[test]
    fn what_comes_later_lies_in_front() {
        let mut hits = Hits::default();
        hits.add(Rect::new(0, 0, 10, 4), Hit::Time);
        hits.add(Rect::new(2, 1, 3, 1), Hit::Action(Action::Quit));
        assert_eq!(hits.at(2, 1).map(|h| h.1), Some(Hit::Action(Action::Quit)));
        assert_eq!(hits.at(5, 1).map(|h| h.1), Some(Hit::Time));
        assert_eq!(hits.at(10, 1), None);
    }
}
