//! A line of text being typed, with a cursor.

use unicode_width::UnicodeWidthChar;

use super::asked::Asked;

/// Longest text that can be typed, characters.
const MOST: usize = 200;

/// A text being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<A = Asked> {
    /// What for.
    pub asked: A,
    /// What has been typed.
    pub text: String,
    /// What is wrong with it.
    pub error: Option<String>,
    /// The cursor: so many characters lie before it.
    cursor: usize,
    /// Nothing has been typed yet: the text is what there is now, and typing replaces it.
    untouched: bool,
}

impl<A> Entry<A> {
    /// A line to type on that shows the present value; the first character typed replaces it.
    #[must_use]
    pub fn new(asked: A, present: impl Into<String>) -> Self {
        let text: String = present.into();
        let cursor = text.chars().count();
        Self { asked, untouched: !text.is_empty(), text, error: None, cursor }
    }

    /// What lies before the cursor, and what from it on.
    #[must_use]
    pub fn halves(&self) -> (&str, &str) {
        self.text.split_at(self.offset(self.cursor))
    }

    /// Whether the text is still what there was, and typing replaces it.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// Writes text at the cursor: one line, without control characters, as long as there is room.
    pub fn insert(&mut self, text: &str) {
        let clean: Vec<char> = text.trim_end_matches(['\r', '\n']).chars().map(plain).collect();
        let clean: Vec<char> = clean.into_iter().filter(|c| !c.is_control()).collect();
        if clean.is_empty() {
            return;
        }
        if self.untouched {
            self.clear();
        }
        let room = MOST.saturating_sub(self.text.chars().count());
        let new: String = clean.into_iter().take(room).collect();
        self.text.insert_str(self.offset(self.cursor), &new);
        self.cursor += new.chars().count();
        self.error = None;
    }

    /// Empties the line.
    pub fn clear(&mut self) {
        self.text.clear();
        self.cursor = 0;
        self.touch();
    }

    /// Moves the cursor a character back or on.
    pub fn step(&mut self, on: bool) {
        self.cursor = if on { self.after() } else { self.before() };
        self.untouched = false;
    }

    /// Moves the cursor to the beginning or the end.
    pub fn jump(&mut self, end: bool) {
        self.cursor = if end { self.text.chars().count() } else { 0 };
        self.untouched = false;
    }

    /// Takes away the character before the cursor.
    pub fn backspace(&mut self) {
        self.remove(self.before(), self.cursor);
    }

    /// Takes away the character under the cursor.
    pub fn delete(&mut self) {
        self.remove(self.cursor, self.after());
    }

    /// Takes away the word before the cursor and the blanks after it.
    pub fn delete_word(&mut self) {
        let before: Vec<char> = self.halves().0.chars().collect();
        let word = before.iter().rposition(|c| !c.is_whitespace()).map_or(0, |i| i + 1);
        let from = before[..word].iter().rposition(|c| c.is_whitespace()).map_or(0, |i| i + 1);
        self.remove(from, self.cursor);
    }

    /// Takes away all before the cursor.
    pub fn delete_before(&mut self) {
        self.remove(0, self.cursor);
    }

    fn remove(&mut self, from: usize, to: usize) {
        let (a, b) = (self.offset(from), self.offset(to));
        self.text.replace_range(a..b, "");
        self.cursor = from;
        self.touch();
    }

    fn touch(&mut self) {
        self.untouched = false;
        self.error = None;
    }

    /// The byte at which so many characters have passed.
    fn offset(&self, chars: usize) -> usize {
        self.text.char_indices().nth(chars).map_or(self.text.len(), |(i, _)| i)
    }

    /// One character back; those without a width belong to the one before them.
    fn before(&self) -> usize {
        let before: Vec<char> = self.halves().0.chars().collect();
        before.iter().rposition(|c| c.width().unwrap_or(0) > 0).unwrap_or(0)
    }

    fn after(&self) -> usize {
        let mut rest = self.halves().1.chars();
        match rest.next() {
            None => self.cursor,
            Some(_) => self.cursor + 1 + rest.take_while(|c| c.width().unwrap_or(0) == 0).count(),
        }
    }
}

/// Line ends and tabs inside a paste become blanks.
fn plain(c: char) -> char {
    if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(text: &str) -> Entry {
        Entry::new(Asked::Search, text)
    }

    #[test]
    fn the_present_value_is_replaced_or_mended() {
        let mut e = entry("9000");
        e.insert("5");
        assert_eq!(e.text, "5");
        let mut e = entry("9000");
        e.backspace();
        e.insert("1");
        assert_eq!(e.text, "9001");
        let mut e = entry("9000");
        e.jump(false);
        e.insert("1");
        assert_eq!((e.text.as_str(), e.halves()), ("19000", ("1", "9000")));
        e.delete();
        assert_eq!(e.text, "1000");
    }

    #[test]
    fn words_and_beginnings_go_at_once() {
        let mut e = entry("to 12000 in 20s");
        e.delete_word();
        assert_eq!(e.text, "to 12000 in ");
        e.delete_word();
        assert_eq!(e.text, "to 12000 ");
        e.step(false);
        e.delete_before();
        assert_eq!(e.text, " ");
    }

    #[test]
    fn wide_and_joined_characters_are_one_step() {
        let mut e = entry("日e\u{301}本");
        e.step(false);
        e.step(false);
        assert_eq!(e.halves(), ("日", "e\u{301}本"));
        e.delete();
        assert_eq!(e.text, "日本");
    }

    #[test]
    fn a_paste_is_one_line() {
        let mut e = entry("");
        e.insert("one\r\ntwo\tthree\x1b[31m\n");
        assert_eq!(e.text, "one  two three[31m");
        let mut e = entry("kept");
        e.insert("\n");
        assert_eq!(e.text, "kept", "an empty paste replaces nothing");
    }

    proptest! {
        #[test]
        fn any_keys_leave_a_cursor_inside(text in "\\PC{0,20}", keys in prop::collection::vec((0u8..9, "\\PC{0,5}"), 0..40)) {
            let mut e = entry(&text);
            for (key, typed) in keys {
                match key {
                    0 => e.insert(&typed),
                    1 => e.step(false),
                    2 => e.step(true),
                    3 => e.jump(false),
                    4 => e.jump(true),
                    5 => e.backspace(),
                    6 => e.delete(),
                    7 => e.delete_word(),
                    _ => e.delete_before(),
                }
                let (a, b) = e.halves();
                prop_assert_eq!(format!("{a}{b}"), e.text.clone());
                prop_assert_eq!(a.chars().count(), e.cursor);
                prop_assert!(e.text.chars().count() <= MOST);
            }
        }
    }
}
