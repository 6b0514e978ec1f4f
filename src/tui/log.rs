//! How the event log is shown: scrolled, filtered, searched; and which errors have been read.
//!
//! Lines are known by their number from the start of the session, so that a selection stays on its
//! line while new lines come in and old ones go.

use std::ops::Range;

use crate::event::Level;
use crate::session::State;
use crate::session::state::LogLine;

/// Which levels of the log are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Least {
    /// All.
    #[default]
    All,
    /// Warnings and errors.
    Warnings,
    /// Errors.
    Errors,
}

impl Least {
    /// The next narrower one; after the narrowest, all.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::All => Self::Warnings,
            Self::Warnings => Self::Errors,
            Self::Errors => Self::All,
        }
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::All => "all lines",
            Self::Warnings => "warnings and errors",
            Self::Errors => "errors only",
        }
    }

    fn takes(self, level: Level) -> bool {
        match self {
            Self::All => true,
            Self::Warnings => level >= Level::Warn,
            Self::Errors => level >= Level::Error,
        }
    }
}

/// How the event log is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogView {
    /// Number of the selected line; without one, nothing is selected.
    pub selected: Option<u64>,
    /// Number of the line at the bottom; without one, the newest is.
    pub bottom: Option<u64>,
    /// Which levels are shown.
    pub least: Least,
    /// What is searched for; empty where nothing is.
    pub search: String,
    /// Errors that have not been read: how many, the number of the first and its text.
    pub unread: Option<(u64, u64, String)>,
    /// Lines below this number have been looked through for errors.
    seen: u64,
    /// Errors below this number have been read.
    read: u64,
}

impl LogView {
    /// Takes notice of new lines: an error sticks until it is read.
    pub fn observe(&mut self, state: &State) {
        let lines = numbers(state);
        if lines.end < self.seen {
            // A replay went back: what is not there any more cannot be unread.
            self.unread = None;
            self.seen = 0;
        }
        for number in self.seen.max(self.read).max(lines.start)..lines.end {
            let Some(line) = line(state, number) else { continue };
            if line.level == Level::Error {
                let (count, ..) = self.unread.get_or_insert_with(|| (0, number, line.text.clone()));
                *count += 1;
            }
        }
        self.seen = lines.end;
    }

    /// Counts all errors so far as read.
    pub fn read_all(&mut self, state: &State) {
        self.read = numbers(state).end;
        self.unread = None;
    }

    /// What is to be shown, with this search.
    #[must_use]
    pub fn query(&self, search: &str) -> Query {
        Query::new(self.least, search)
    }

    /// Follows the newest lines again.
    pub fn follow(&mut self) {
        (self.selected, self.bottom) = (None, None);
    }

    /// Selects a line; the lines in view stay where they are.
    pub fn select(&mut self, state: &State, number: u64) {
        self.selected = Some(number);
        self.bottom.get_or_insert(numbers(state).end.saturating_sub(1));
    }

    /// Selects the next line above or below; while a text is searched for, the next with it.
    /// False if there is none.
    pub fn step(&mut self, state: &State, down: bool) -> bool {
        let query = self.query(&self.search);
        let found = match self.selected {
            Some(at) if down => after(state, &query, at).find(|g| query.finds(g.line)),
            Some(at) => before(state, &query, at).skip(1).find(|g| query.finds(g.line)),
            None if down => None,
            None => before(state, &query, u64::MAX).find(|g| query.finds(g.line)),
        };
        if let Some(found) = &found {
            let number = found.number;
            self.select(state, number);
        } else if down && !query.searches() {
            self.follow();
        }
        found.is_some()
    }

    /// Moves the lines in view, and the selection with them.
    pub fn scroll(&mut self, state: &State, down: bool, rows: usize) {
        let query = self.query(&self.search);
        let moved = |from: u64| {
            let found = if down {
                after(state, &query, from).take(rows).last()
            } else {
                before(state, &query, from).take(rows + 1).last()
            };
            found.map_or(from, |g| g.number)
        };
        let newest = before(state, &query, u64::MAX).next().map(|g| g.number);
        let bottom = moved(self.bottom.unwrap_or(u64::MAX));
        if down && newest.is_none_or(|n| bottom >= n) {
            self.follow();
            return;
        }
        self.bottom = Some(bottom);
        self.selected = self.selected.map(moved);
    }

    /// Leaves what was begun: the search, then the filter, then the selection. False if there was
    /// nothing to leave.
    pub fn back(&mut self) -> bool {
        if !self.search.is_empty() {
            self.search.clear();
        } else if self.least != Least::All {
            self.least = Least::All;
        } else if self.selected.is_some() || self.bottom.is_some() {
            self.follow();
        } else {
            return false;
        }
        true
    }
}

/// Which lines are shown, and what is looked for in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    least: Least,
    from: Vec<String>,
    text: String,
}

impl Query {
    /// Of a search as typed: `from:agent` keeps the lines of that source, the rest is looked for.
    #[must_use]
    pub fn new(least: Least, search: &str) -> Self {
        let (from, text): (Vec<&str>, Vec<&str>) =
            search.split_whitespace().partition(|word| word.len() > 5 && word.starts_with("from:"));
        Self { least, from: from.iter().map(|word| word[5..].to_owned()).collect(), text: text.join(" ") }
    }

    /// Whether a line is shown.
    #[must_use]
    pub fn takes(&self, line: &LogLine) -> bool {
        self.least.takes(line.level)
            && (self.from.is_empty() || self.from.iter().any(|from| find(&line.from, from).is_some()))
    }

    /// Whether all lines are shown.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.least == Least::All && self.from.is_empty()
    }

    /// Whether a text is looked for.
    #[must_use]
    pub fn searches(&self) -> bool {
        !self.text.is_empty()
    }

    /// Whether the text is in the line; any line will do where no text is looked for.
    #[must_use]
    pub fn finds(&self, line: &LogLine) -> bool {
        self.text.is_empty() || find(&line.text, &self.text).is_some() || find(&line.from, &self.text).is_some()
    }

    /// Where the text is.
    #[must_use]
    pub fn places(&self, text: &str) -> Vec<Range<usize>> {
        let mut places = Vec::new();
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| find(rest, &self.text)) {
            places.push(at + found.start..at + found.end);
            at += found.end;
        }
        places
    }
}

/// The first place of `what`, of any case in ASCII; nothing is nowhere.
fn find(text: &str, what: &str) -> Option<Range<usize>> {
    let (text, what) = (text.as_bytes(), what.as_bytes());
    let first = what.first()?.to_ascii_lowercase();
    // A part that is equal byte by byte begins and ends where characters do.
    (0..(text.len() + 1).saturating_sub(what.len()))
        .find(|i| text[*i].to_ascii_lowercase() == first && text[*i..*i + what.len()].eq_ignore_ascii_case(what))
        .map(|i| i..i + what.len())
}

/// The numbers of the lines that are kept.
#[must_use]
pub fn numbers(state: &State) -> Range<u64> {
    let len = state.log.len() as u64;
    let start = state.log_total.saturating_sub(len);
    start..start + len
}

/// The line with this number, if it is kept.
#[must_use]
pub fn line(state: &State, number: u64) -> Option<&LogLine> {
    let at = number.checked_sub(numbers(state).start)?;
    state.log.get(usize::try_from(at).ok()?)
}

/// A row of the log: a line, or several alike in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group<'a> {
    /// Number of the first.
    pub first: u64,
    /// Number of the last.
    pub number: u64,
    /// How many.
    pub times: u64,
    /// The last of them.
    pub line: &'a LogLine,
}

fn alike(a: &LogLine, b: &LogLine) -> bool {
    a.level == b.level && a.text == b.text && a.from == b.from
}

/// The rows from line `from` upwards, newest first. Looks only at what it yields.
fn before<'a>(state: &'a State, query: &Query, from: u64) -> impl Iterator<Item = Group<'a>> {
    let kept = numbers(state);
    let end = from.saturating_add(1).clamp(kept.start, kept.end);
    let mut lines = (kept.start..end)
        .rev()
        .filter_map(move |n| Some((n, line(state, n)?)))
        .filter(|(_, l)| query.takes(l))
        .peekable();
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        let mut group = Group { first: number, number, times: 1, line };
        while let Some((n, _)) = lines.next_if(|(_, l)| alike(l, line)) {
            group.first = n;
            group.times += 1;
        }
        Some(group)
    })
}

/// The rows below line `from`, oldest first.
fn after<'a>(state: &'a State, query: &Query, from: u64) -> impl Iterator<Item = Group<'a>> {
    starting(state, query, from.saturating_add(1))
}

/// The rows from line `from` downwards.
fn starting<'a>(state: &'a State, query: &Query, from: u64) -> impl Iterator<Item = Group<'a>> {
    let kept = numbers(state);
    let begin = from.clamp(kept.start, kept.end);
    let mut lines =
        (begin..kept.end).filter_map(move |n| Some((n, line(state, n)?))).filter(|(_, l)| query.takes(l)).peekable();
    std::iter::from_fn(move || {
        let (first, line) = lines.next()?;
        let mut group = Group { first, number: first, times: 1, line };
        while let Some((n, l)) = lines.next_if(|(_, l)| alike(l, line)) {
            (group.number, group.line) = (n, l);
            group.times += 1;
        }
        Some(group)
    })
}

/// What is in view.
#[derive(Debug, Clone, PartialEq)]
pub struct Window<'a> {
    /// The rows, oldest first.
    pub rows: Vec<Group<'a>>,
    /// Lines below them.
    pub newer: u64,
}

/// The rows in view: those that end with the bottom line, moved no further than it takes to show
/// the selected one. Costs what is shown; behind a filter, also what is passed over.
#[must_use]
pub fn window<'a>(state: &'a State, view: &LogView, query: &Query, height: usize) -> Window<'a> {
    let bottom = view.bottom.map_or(u64::MAX, |bottom| bottom.max(view.selected.unwrap_or(0)));
    let mut rows: Vec<Group<'a>> = before(state, query, bottom).take(height).collect();
    rows.reverse();
    if let (Some(selected), Some(top)) = (view.selected, rows.first())
        && selected < top.first
    {
        let begin = before(state, query, selected).next().map_or(0, |g| g.first);
        rows = starting(state, query, begin).take(height).collect();
    }
    if rows.len() < height {
        // The lines above are gone, or there were none: those below fill the place.
        rows = starting(state, query, 0).take(height).collect();
    }
    let next = rows.last().map_or(0, |g| g.number.saturating_add(1));
    let kept = numbers(state);
    let newer = if query.takes_all() {
        kept.end.saturating_sub(next.max(kept.start))
    } else {
        (next.max(kept.start)..kept.end).filter(|n| line(state, *n).is_some_and(|l| query.takes(l))).count() as u64
    };
    Window { rows, newer }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
