//! What lies where on the screen, for the mouse: written down by whoever draws it.

use ratatui::layout::{Position, Rect};

use super::edit::Control;
use super::keys::Action;
use super::view::Page;

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

    /// The area of a hit, if it is in the frame.
    #[must_use]
    pub fn area_of(&self, hit: Hit) -> Option<Rect> {
        self.0.iter().rev().find(|(_, h)| *h == hit).map(|(area, _)| *area)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
