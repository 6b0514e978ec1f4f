//! Text from outside: a peer, a guest, an agent, a capture, a file name, an argument.
//!
//! Whatever somebody else wrote may hold escape sequences, bells, line breaks, marks that turn the
//! reading direction round or take no room. It reaches a terminal, a log line or a table only
//! through this filter, which writes such characters out, and in pieces of a bounded length.

use std::borrow::Cow;

/// How much of one text from outside is kept where nothing else is said, bytes.
pub const TEXT_LIMIT: usize = 4096;

/// One line of text with everything written out that a terminal would act on or not show:
/// control characters as `\n`, `\x1b`, …, marks of direction and characters without width as
/// `\u{202e}`, ….
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    filtered(text, is_hidden)
}

/// The same for a text of several lines: line breaks stay.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    filtered(text, |c| c != '\n' && is_hidden(c))
}

/// At most `limit` bytes of `text`, cut between characters; what is cut off is counted behind it.
#[must_use]
pub fn capped(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let kept = &text[..text.floor_char_boundary(limit)];
    Cow::Owned(format!("{kept}… ({} more bytes)", text.len() - kept.len()))
}

/// [`visible`] and [`capped`] to [`TEXT_LIMIT`]: one line of text from outside as it may be kept and shown.
#[must_use]
pub fn foreign(text: &str) -> String {
    visible(&capped(text, TEXT_LIMIT)).into_owned()
}

/// An error with its causes, each told once: many a message has its cause's words in it already.
#[must_use]
pub fn in_full(e: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in e.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// JSON text whose strings hold nothing a terminal would act on: JSON escapes only C0 by itself; what
/// else is hidden (DEL, C1, marks of direction and without width) is written as `\u202e` here.
/// It still reads as the same value.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c != '\n' && is_hidden(c);
    // Most of all JSON here is plain, and is_ascii is quick.
    if (text.is_ascii() && !text.as_bytes().contains(&0x7f)) || !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            use std::fmt::Write as _;
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A string takes whatever is written to it.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Several lines as they may stand in a log: [`visible_lines`] whose lines after the first are indented,
/// so that no line break from outside can begin what looks like a line of its own.
#[must_use]
pub fn indented(text: &str) -> String {
    visible_lines(text).trim_end_matches('\n').replace('\n', "\n  ")
}

/// Whether a terminal would act on this character, or show nothing of it.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn filtered(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    use std::fmt::Write as _;
    let Some(first) = text.find(&hidden) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + 8);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        if !hidden(c) {
            out.push(c);
            continue;
        }
        // A string takes whatever is written to it.
        let _ = match c {
            '\n' | '\r' | '\t' => write!(out, "{}", c.escape_default()),
            c if u32::from(c) < 0x100 => write!(out, "\\x{:02x}", u32::from(c)),
            c => write!(out, "{}", c.escape_unicode()),
        };
    }
    Cow::Owned(out)
}

/// The word of `offered` most like `word`, if any is alike at all.
pub(crate) fn nearest<'a>(word: &str, offered: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    offered
        .into_iter()
        .map(|o| (strsim::jaro_winkler(&word, &o.to_lowercase()), o))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, o)| o)
}

/// What a sentence about an unknown word ends with: `; did you mean 'x'?` where one of `offered` is like it, else
/// which there are; nothing where there are none.
pub(crate) fn meant<'a>(word: &str, offered: impl IntoIterator<Item = &'a str>) -> String {
    /// Names listed, at most.
    const LISTED: usize = 24;
    let offered: Vec<&str> = offered.into_iter().collect();
    match (nearest(word, offered.iter().copied()), offered.len()) {
        (Some(near), _) => format!("; did you mean '{near}'?"),
        (None, 0) => String::new(),
        (None, 1) => format!("; there is '{}'", offered[0]),
        (None, n) if n <= LISTED => format!("; there are {}", offered.join(", ")),
        (None, n) => format!("; there are {} and {} more", offered[..LISTED].join(", "), n - LISTED),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_unknown_word_is_told_with_what_there_is() {
        assert_eq!(meant("Spcae", ["Esc", "Space", "Enter"]), "; did you mean 'Space'?");
        assert_eq!(meant("migrat", ["cancel", "migrate", "mark"]), "; did you mean 'migrate'?");
        assert_eq!(meant("nosuch", ["rack1", "lab"]), "; there are rack1, lab");
        assert_eq!(meant("nosuch", ["lab"]), "; there is 'lab'");
        assert_eq!(meant("nosuch", []), "");
        let many: Vec<String> = (0..30).map(|n| format!("rack{n}")).collect();
        assert!(meant("zz", many.iter().map(String::as_str)).ends_with(", rack23 and 6 more"));
    }

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        assert!(matches!(visible("plain, größer, 日本"), Cow::Borrowed(_)));
        assert_eq!(visible("a\x1b[2J\x07b\r\n\t"), "a\\x1b[2J\\x07b\\r\\n\\t");
        assert_eq!(visible("\u{9b}31m\u{202e}x\u{200b}\u{feff}"), "\\x9b31m\\u{202e}x\\u{200b}\\u{feff}");
        assert_eq!(visible_lines("one\ntwo\x1b"), "one\ntwo\\x1b");
    }

    #[test]
    fn json_reads_the_same_and_hides_nothing() {
        let wanted = "a\u{9b}31m\u{202e}x\u{200b}\u{7f}\u{e0041}\n\x1b größer";
        let written = serde_json::to_string(wanted).unwrap();
        let safe = json(&written);
        assert!(safe.contains("\\u009b31m\\u202ex\\u200b\\u007f\\udb40\\udc41\\n\\u001b größer"), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), wanted);
        assert!(matches!(json("{\n  \"a\": 1\n}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_line_break_from_outside_begins_no_line_of_its_own() {
        assert_eq!(indented("blackout: x\nblackout: all is well\r\n"), "blackout: x\n  blackout: all is well\\r");
    }

    #[test]
    fn long_text_is_cut_between_characters_and_counted() {
        assert_eq!(capped("short", 5), "short");
        assert_eq!(capped("äöü", 3), "ä… (4 more bytes)");
        assert!(foreign(&"x".repeat(1 << 20)).len() < TEXT_LIMIT + 64);
    }

    #[test]
    fn no_cause_is_told_twice() {
        use anyhow::{Context, anyhow};
        let e = Err::<(), _>(anyhow!("File exists")).context("cannot make x: File exists").context("the lab");
        assert_eq!(in_full(&e.unwrap_err()), "the lab: cannot make x: File exists");
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(text in ".*") {
            prop_assert!(!visible(&text).chars().any(is_hidden));
            prop_assert!(!visible_lines(&text).chars().any(|c| c != '\n' && is_hidden(c)));
            prop_assert_eq!(visible(&visible(&text)).into_owned(), visible(&text).into_owned());
            let written = serde_json::to_string(&text).unwrap();
            prop_assert!(!json(&written).chars().any(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&json(&written)).unwrap(), text);
        }
    }
}
