//! A source file as a row of words, without comments, literals, and what only tests see.

/// A word of a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// A name or a keyword.
    Name(String),
    /// `::`
    Path,
    /// Any other sign.
    Sign(char),
    /// A number, a string, a character or a lifetime.
    Literal,
}

impl Word {
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn is(&self, sign: char) -> bool {
        *self == Self::Sign(sign)
    }
}

/// The words of `text`, without those under `#[cfg(test)]`.
pub(crate) fn of(text: &str) -> Vec<Word> {
    without_tests(&split(text))
}

fn split(text: &str) -> Vec<Word> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut words, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        match chars[i] {
            '/' if at(i + 1) == '/' => i = to(&chars, i, "\n"),
            '/' if at(i + 1) == '*' => i = comment_end(&chars, i),
            '"' => {
                i = string_end(&chars, i + 1);
                words.push(Word::Literal);
            }
            '\'' => {
                i = quote_end(&chars, i);
                words.push(Word::Literal);
            }
            c if c.is_alphabetic() || c == '_' => {
                let start = i;
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
                let name: String = chars[start..i].iter().collect();
                let hashes = (i..).take_while(|&j| at(j) == '#').count();
                match name.as_str() {
                    "r" | "br" | "cr" if at(i + hashes) == '"' => {
                        i = to(&chars, i + hashes + 1, &format!("\"{}", "#".repeat(hashes)));
                        words.push(Word::Literal);
                    }
                    // The string or character follows as a word of its own.
                    "b" | "c" if matches!(at(i), '"' | '\'') => {}
                    _ => words.push(Word::Name(name)),
                }
            }
            c if c.is_ascii_digit() => {
                while at(i).is_alphanumeric() || at(i) == '_' || (at(i) == '.' && at(i + 1).is_ascii_digit()) {
                    i += 1;
                }
                words.push(Word::Literal);
            }
            ':' if at(i + 1) == ':' => {
                i += 2;
                words.push(Word::Path);
            }
            c => {
                i += 1;
                if !c.is_whitespace() {
                    words.push(Word::Sign(c));
                }
            }
        }
    }
    words
}

/// Behind the next `end`, or the end of the file.
fn to(chars: &[char], from: usize, end: &str) -> usize {
    let end: Vec<char> = end.chars().collect();
    (from..chars.len()).find(|&i| chars[i..].starts_with(&end)).map_or(chars.len(), |i| i + end.len())
}

fn comment_end(chars: &[char], from: usize) -> usize {
    let (mut depth, mut i) = (0, from);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut i = from;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Behind a character, or behind the sign of a lifetime or a label.
fn quote_end(chars: &[char], from: usize) -> usize {
    match (chars.get(from + 1), chars.get(from + 2)) {
        (Some('\\'), _) => to(chars, from + 3, "'"),
        (Some(_), Some('\'')) => from + 3,
        _ => {
            (from + 1..).find(|&i| !chars.get(i).is_some_and(|c| c.is_alphanumeric() || *c == '_')).unwrap_or(from + 1)
        }
    }
}

fn without_tests(words: &[Word]) -> Vec<Word> {
    let (mut kept, mut i) = (Vec::new(), 0);
    while i < words.len() {
        if is_for_tests(&words[i..]) {
            i = item_end(words, i);
        } else {
            kept.push(words[i].clone());
            i += 1;
        }
    }
    kept
}

/// Whether an attribute `#[cfg(test)]` or `#[cfg(any(test, …))]` stands here.
fn is_for_tests(words: &[Word]) -> bool {
    let is = |i: usize, name: &str| words.get(i).and_then(Word::name) == Some(name);
    words.len() > 6
        && words[0].is('#')
        && words[1].is('[')
        && is(2, "cfg")
        && (is(4, "test") || (is(4, "any") && is(6, "test")))
}

/// Behind the item at `from`, which begins with an attribute.
fn item_end(words: &[Word], from: usize) -> usize {
    let mut i = from;
    while words.get(i).is_some_and(|w| w.is('#')) {
        i = group_end(words, i + 1);
    }
    const BLOCKS: [&str; 9] = ["pub", "fn", "impl", "mod", "struct", "enum", "trait", "async", "unsafe"];
    const LINES: [&str; 5] = ["use", "const", "static", "type", "let"];
    let mut first = i;
    while words.get(first).and_then(Word::name) == Some("pub") {
        first += 1;
        if words.get(first).is_some_and(|w| w.is('(')) {
            first = group_end(words, first);
        }
    }
    let first = words.get(first).and_then(Word::name).unwrap_or_default();
    while i < words.len() {
        match &words[i] {
            Word::Sign(';') => return i + 1,
            Word::Sign(')' | ']' | '}') => return i,
            Word::Sign(',') if !BLOCKS.contains(&first) && !LINES.contains(&first) => return i + 1,
            Word::Sign('{') if !LINES.contains(&first) => return group_end(words, i),
            Word::Sign('(' | '[' | '{') => i = group_end(words, i),
            _ => i += 1,
        }
    }
    i
}

/// Behind the bracket that closes the one at `from`.
pub(crate) fn group_end(words: &[Word], from: usize) -> usize {
    let mut depth = 0;
    for (i, word) in words.iter().enumerate().skip(from) {
        match word {
            Word::Sign('(' | '[' | '{') => depth += 1,
            Word::Sign(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    words.len()
}
