//! Writing into a part of the screen without ever leaving it.
//!
//! All text of the screen goes through here, and through the one filter for text from outside: whoever
//! wrote it, it can neither command the terminal nor hide, and no text costs more than a screen holds.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use textwrap::core::Word;
use textwrap::{Options, WordSeparator, WrapAlgorithm};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub(crate) use super::glyphs::Glyphs;
use crate::text::{TEXT_LIMIT, capped, visible};

/// Writes into `area` of a buffer; positions are relative to it and everything outside is clipped.
pub(crate) struct Pen<'a> {
    buf: &'a mut Buffer,
    area: Rect,
}

impl<'a> Pen<'a> {
    pub(crate) fn new(buf: &'a mut Buffer, area: Rect) -> Self {
        let area = area.intersection(buf.area);
        Self { buf, area }
    }

    pub(crate) fn width(&self) -> u16 {
        self.area.width
    }

    pub(crate) fn height(&self) -> u16 {
        self.area.height
    }

    /// A part of a row, in columns of the whole screen.
    pub(crate) fn rect(&self, x: u16, y: u16, width: u16) -> Rect {
        let row = Rect { x: self.area.x.saturating_add(x), y: self.area.y.saturating_add(y), width, height: 1 };
        row.intersection(self.area)
    }

    /// Writes text and returns the column after it. Control characters are written out.
    pub(crate) fn text(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        self.text_to(x, y, self.area.width, text, style)
    }

    /// Writes text up to column `end` and returns the column after it.
    pub(crate) fn text_to(&mut self, x: u16, y: u16, end: u16, text: &str, style: Style) -> u16 {
        let end = end.min(self.area.width);
        if x >= end || y >= self.area.height {
            return x;
        }
        let (room, text) = (end - x, shown(text));
        let text = if width(&text) > room { cut(&text, room, "…").into() } else { text };
        let (next, _) = self.buf.set_stringn(self.area.x + x, self.area.y + y, text, usize::from(room), style);
        next - self.area.x
    }

    /// Writes text that ends before column `end` and does not begin before `start`.
    pub(crate) fn right(&mut self, start: u16, end: u16, y: u16, text: &str, style: Style) {
        let x = end.saturating_sub(width(text)).max(start);
        self.text_to(x, y, end, text, style);
    }

    /// Writes one character cell.
    pub(crate) fn cell(&mut self, x: u16, y: u16, symbol: &str, style: Style) {
        if x < self.area.width
            && y < self.area.height
            && let Some(cell) = self.buf.cell_mut((self.area.x + x, self.area.y + y))
        {
            cell.set_symbol(symbol).set_style(style);
        }
    }

    /// Fills columns `from..to` of a row with one symbol.
    pub(crate) fn fill(&mut self, from: u16, to: u16, y: u16, symbol: &str, style: Style) {
        for x in from..to.min(self.area.width) {
            self.cell(x, y, symbol, style);
        }
    }

    /// Empties the whole area, styles and all.
    pub(crate) fn clear(&mut self) {
        for y in 0..self.area.height {
            for x in 0..self.area.width {
                if let Some(cell) = self.buf.cell_mut((self.area.x + x, self.area.y + y)) {
                    cell.reset();
                }
            }
        }
    }
}

/// Bytes of a row's text: more than the widest terminal has columns.
const ROW_LIMIT: usize = 2048;

/// A text as it is drawn, and no more of it than any row could hold.
fn shown(text: &str) -> Cow<'_, str> {
    visible(&text[..text.floor_char_boundary(ROW_LIMIT)])
}

/// Columns a text takes.
pub(crate) fn width(text: &str) -> u16 {
    UnicodeWidthStr::width(&*shown(text)).min(usize::from(u16::MAX)) as u16
}

/// Breaks text into lines of at most `width` columns, at spaces where there are any. What no screen could
/// show is left out, and counted at the end.
pub(crate) fn wrap(text: &str, max: u16) -> Vec<String> {
    // Line breaks are spaces like others: the lines are ours to make.
    let text = capped(text, TEXT_LIMIT);
    let text = glued(&text);
    let options = Options::new(usize::from(max.max(1)))
        .word_separator(WordSeparator::Custom(words))
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::wrap(&visible(&text), options).into_iter().map(|line| line.replace(GLUE, " ")).collect()
}

/// Between a number and its unit, which are one word.
const GLUE: char = '\u{a0}';

/// Words between spaces; those at the beginning are none.
fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    WordSeparator::AsciiSpace.find_words(line)
}

/// Whether a word is a unit, whatever stands behind it.
fn is_unit(word: &str) -> bool {
    const UNITS: &[&str] = &[
        "%", "B", "KiB", "MiB", "GiB", "TiB", "B/s", "kB/s", "MB/s", "GB/s", "ns", "µs", "ms", "s", "min", "h",
        "pages/s", "pages", "x",
    ];
    UNITS.contains(&word.trim_end_matches([';', ',', ':', '.', ')', ']', '…']))
}

/// The words of a text with one space between them, or none that breaks.
fn glued(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if out.ends_with(|c: char| c.is_ascii_digit()) && is_unit(word) {
            out.push(GLUE);
        } else if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Shortens text to `max` columns, with an ellipsis. A number is there with its unit or not at all.
pub(crate) fn shorten(text: &str, max: u16, glyphs: &Glyphs) -> String {
    let text = shown(text);
    if width(&text) <= max { text.into_owned() } else { cut(&text, max, glyphs.ellipsis) }
}

/// What is left of a text that is too long for `max` columns: its first words, and as much as fits of the
/// one after them if that is no number.
fn cut(text: &str, max: u16, ellipsis: &str) -> String {
    let max = usize::from(max);
    let room = max.saturating_sub(usize::from(width(ellipsis)));
    let (mut used, mut from) = (0, 0);
    while from < text.len() {
        // Blanks and the word behind them; a number and its unit are one.
        let word = word_end(text, from);
        let wide = UnicodeWidthStr::width(&text[from..word]);
        if used + wide <= room {
            (used, from) = (used + wide, word);
            continue;
        }
        if !is_number(text[from..word].trim_start()) {
            from +=
                fitting(text[from..word].chars(), (room - used) as u16).into_iter().map(char::len_utf8).sum::<usize>();
        }
        break;
    }
    let kept = text[..from].trim_end_matches(' ');
    // Two in a row say no more than one.
    if kept.ends_with(ellipsis) || max == 0 { kept.to_owned() } else { format!("{kept}{ellipsis}") }
}

/// Where the word ends that begins at `from`, after blanks: with its unit where it is a number.
fn word_end(text: &str, from: usize) -> usize {
    let end = |from: usize| {
        let begins = text[from..].find(|c: char| c != ' ').map_or(text.len(), |i| from + i);
        text[begins..].find(' ').map_or(text.len(), |i| begins + i)
    };
    let word = end(from);
    let next = end(word);
    let unit = text[word..next].trim_start();
    if is_number(text[from..word].trim_start()) && is_unit(unit) { next } else { word }
}

/// Whether a word is a figure, with or without its unit, and not a name with digits in it.
fn is_number(word: &str) -> bool {
    let word = word.trim_start_matches(['-', '+', '<', '>', '(', '[', '~', '≥', '≤', '×', '#']);
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.matches('.').count() <= 2
        && word.chars().filter(|c| c.is_alphabetic()).count() <= 7
}

/// Shortens a path to `max` columns by its beginning: the end tells paths apart.
pub(crate) fn shorten_path(text: &str, max: u16, glyphs: &Glyphs) -> String {
    let tail = visible(&text[text.ceil_char_boundary(text.len().saturating_sub(ROW_LIMIT))..]);
    if tail.len() >= text.len() && width(&tail) <= max {
        return tail.into_owned();
    }
    let kept = fitting(tail.chars().rev(), max.saturating_sub(width(glyphs.ellipsis)));
    glyphs.ellipsis.chars().chain(kept.into_iter().rev()).collect()
}

/// The first characters that take no more than `max` columns.
fn fitting(text: impl Iterator<Item = char>, max: u16) -> Vec<char> {
    let mut used = 0;
    text.take_while(|c| {
        used += c.width().unwrap_or(0);
        used <= usize::from(max)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::glyphs::Markers;

    #[test]
    fn wraps_at_spaces_and_breaks_long_words() {
        assert_eq!(wrap("ab cde fghijkl", 5), ["ab", "cde", "fghij", "kl"]);
        assert_eq!(wrap("gone for 2.96 s, or so", 14), ["gone for", "2.96 s, or so"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("日本語", 1).len(), 3);
        assert_eq!(wrap("left 29.1 ms (at 30 MB/s)", 12), ["left 29.1 ms", "(at 30 MB/s)"]);
        assert_eq!(wrap("a\nb\r\n c", 9), ["a b c"]);
    }

    #[test]
    fn a_text_of_any_length_costs_no_more_than_a_screen_holds() {
        let g = Glyphs::of(Markers::Unicode);
        let long = "x".repeat(1 << 20);
        let begun = std::time::Instant::now();
        let lines = wrap(&long, 40);
        assert!(lines.len() < 110 && lines.last().unwrap().ends_with("more bytes)"), "{lines:?}");
        assert_eq!(wrap(&"\u{301}".repeat(1 << 20), 40).len(), 1);
        assert_eq!((shorten(&long, 4, g), shorten_path(&long, 4, g)), ("xxx…".into(), "…xxx".into()));
        let mut buf = Buffer::empty(Rect::new(0, 0, 40, 1));
        Pen::new(&mut buf, Rect::new(0, 0, 40, 1)).text(0, 0, &long, Style::new());
        assert!(begun.elapsed() < std::time::Duration::from_millis(200), "{:?}", begun.elapsed());
    }

    #[test]
    fn text_from_outside_commands_nothing_and_hides_nothing() {
        let g = Glyphs::of(Markers::Unicode);
        let hostile = "a\x1b[2J\u{9b}m\u{202e}b\u{200b}c\u{feff}\u{2066}";
        let mut buf = Buffer::empty(Rect::new(0, 0, 120, 4));
        let mut pen = Pen::new(&mut buf, Rect::new(0, 0, 120, 4));
        let end = pen.text(0, 0, hostile, Style::new());
        pen.right(0, 100, 1, hostile, Style::new());
        pen.text(0, 2, &shorten(hostile, 20, g), Style::new());
        pen.text(0, 3, &wrap(hostile, 80)[0], Style::new());
        assert_eq!(end, width(hostile), "what is measured is what is drawn");
        let row = |y: u16| (0..120).map(|x| buf[(x, y)].symbol()).collect::<String>();
        let plain = r"a\x1b[2J\x9bm\u{202e}b\u{200b}c\u{feff}\u{2066}";
        assert_eq!(row(0).trim_end(), plain);
        assert!(row(1).trim_end().ends_with(plain) && row(3).starts_with(plain));
        assert_eq!(row(2).trim_end(), r"a\x1b[2J\x9bm\u{202…");
    }

    #[test]
    fn shortens_from_either_end() {
        let g = Glyphs::of(Markers::Unicode);
        assert_eq!(shorten("abcdef", 4, g), "abc…");
        assert_eq!(shorten("gone for 29.1 ms", 15, g), "gone for…");
        assert_eq!(shorten("gone for 29.1 ms or more", 18, g), "gone for 29.1 ms…");
        assert_eq!(shorten("link 7,812", 8, g), "link…");
        assert_eq!((shorten("29.1 ms", 4, g), shorten("29.1 ms", 0, g)), ("…".into(), String::new()));
        assert_eq!(shorten("vm-0123456789", 8, g), "vm-0123…");
        assert_eq!(shorten_path("/a/long/path", 5, g), "…path");
        assert_eq!(shorten("abc", 3, g), "abc");
    }

    #[test]
    fn never_writes_outside() {
        let mut buf = Buffer::empty(Rect::new(0, 0, 4, 2));
        let mut pen = Pen::new(&mut buf, Rect::new(2, 1, 9, 9));
        pen.text(0, 0, "abcdef", Style::new());
        pen.text(5, 5, "x", Style::new());
        pen.right(0, 9, 0, "zzzzzzzzzzzzzzzz", Style::new());
        assert_eq!(buf.cell((1, 1)).unwrap().symbol(), " ");
    }
}
