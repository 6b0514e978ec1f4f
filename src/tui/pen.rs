//! Writing into a part of the screen without ever leaving it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

pub(crate) use super::glyphs::Glyphs;

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

    /// Writes text and returns the column after it. Control characters are left out.
    pub(crate) fn text(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        self.text_to(x, y, self.area.width, text, style)
    }

    /// Writes text up to column `end` and returns the column after it.
    pub(crate) fn text_to(&mut self, x: u16, y: u16, end: u16, text: &str, style: Style) -> u16 {
        let end = end.min(self.area.width);
        if x >= end || y >= self.area.height {
            return x;
        }
        let (next, _) = self.buf.set_stringn(self.area.x + x, self.area.y + y, text, usize::from(end - x), style);
        next - self.area.x
    }

    /// Writes text that ends before column `end`; text too long loses its beginning's place to the
    /// left edge `start`.
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

/// Columns a text takes.
pub(crate) fn width(text: &str) -> u16 {
    UnicodeWidthStr::width(text).min(usize::from(u16::MAX)) as u16
}

/// Breaks text into lines of at most `width` columns, at spaces where there are any.
pub(crate) fn wrap(text: &str, max: u16) -> Vec<String> {
    let max = max.max(1);
    let mut lines = vec![String::new()];
    for mut word in words(text) {
        loop {
            let line = lines.last_mut().map_or(0, |l| width(l));
            let gap = u16::from(line > 0);
            if line.saturating_add(gap).saturating_add(width(&word)) <= max {
                if let Some(last) = lines.last_mut() {
                    if gap > 0 {
                        last.push(' ');
                    }
                    last.push_str(&word);
                }
                break;
            }
            if line > 0 {
                lines.push(String::new());
                continue;
            }
            let mut head = String::new();
            for c in word.chars() {
                if !head.is_empty() && width(&head) + width(c.encode_utf8(&mut [0; 4])) > max {
                    break;
                }
                head.push(c);
            }
            word = word[head.len()..].to_string();
            if let Some(last) = lines.last_mut() {
                *last = head;
            }
            if word.is_empty() {
                break;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// The words of a text; a number and its unit are one.
fn words(text: &str) -> Vec<String> {
    const UNITS: &[&str] = &["%", "B", "KiB", "MiB", "GiB", "B/s", "kB/s", "MB/s", "GB/s", "µs", "ms", "s", "min"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(number)
                if number.ends_with(|c: char| c.is_ascii_digit())
                    && UNITS.contains(&word.trim_end_matches([';', ','])) =>
            {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_string()),
        }
    }
    words
}

/// Shortens text to `max` columns, with an ellipsis.
pub(crate) fn shorten(text: &str, max: u16, glyphs: &Glyphs) -> String {
    if width(text) <= max {
        return text.to_string();
    }
    let mut out = String::new();
    for c in text.chars() {
        if width(&out) + width(c.encode_utf8(&mut [0; 4])) + width(glyphs.ellipsis) > max {
            break;
        }
        out.push(c);
    }
    out.push_str(glyphs.ellipsis);
    out
}

/// Shortens a path to `max` columns by its beginning: the end tells paths apart.
pub(crate) fn shorten_path(text: &str, max: u16, glyphs: &Glyphs) -> String {
    if width(text) <= max {
        return text.to_string();
    }
    let mut kept: Vec<char> = Vec::new();
    let mut used = width(glyphs.ellipsis);
    for c in text.chars().rev() {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used > max {
            break;
        }
        kept.push(c);
    }
    let mut out = String::from(glyphs.ellipsis);
    out.extend(kept.iter().rev());
    out
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
    }

    #[test]
    fn shortens_from_either_end() {
        let g = Glyphs::of(Markers::Unicode);
        assert_eq!(shorten("abcdef", 4, g), "abc…");
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
