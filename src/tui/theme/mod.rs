//! Themes: styles by what they mean, read from TOML.
//!
//! Nothing on the screen relies on hue: every distinction a theme makes is also made by a letter,
//! a texture or a word, so [`Theme::mono`] loses nothing.

mod choice;
mod roles;

use std::path::Path;

use ratatui::style::{Color, Modifier, Style};
use thiserror::Error;
use toml::de::{DeTable, DeValue};

pub use choice::ThemeChoice;
pub use roles::Role;

/// The built-in theme for dark backgrounds.
pub const DARK: &str = include_str!("../../../themes/dark.toml");
/// The built-in theme for light backgrounds.
pub const LIGHT: &str = include_str!("../../../themes/light.toml");

/// How many colours the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// No colour (`NO_COLOR`).
    Mono,
    /// The palette of 256.
    Indexed,
    /// 24 bits.
    True,
}

impl Depth {
    /// From the environment: `NO_COLOR` (set and not empty), then `COLORTERM`.
    #[must_use]
    pub fn from_env() -> Self {
        if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
            return Self::Mono;
        }
        match std::env::var("COLORTERM").as_deref() {
            Ok("truecolor" | "24bit") => Self::True,
            _ => Self::Indexed,
        }
    }
}

/// Why a theme cannot be used.
#[derive(Debug, Error)]
pub enum ThemeError {
    /// The file cannot be read.
    #[error("theme {file}: cannot be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("theme {file}, line {line}: not TOML: {why}")]
    Syntax {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        why: String,
    },
    /// A key nobody knows.
    #[error("theme {file}, line {line}: unknown key '{key}'; did you mean '{nearest}'?")]
    UnknownKey {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The nearest valid name.
        nearest: &'static str,
    },
    /// A value that is not what the key needs.
    #[error("theme {file}, line {line}: key '{key}': '{value}' is not {what}")]
    BadValue {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What was read.
        value: String,
        /// What would be right.
        what: String,
    },
}

/// Styles by role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theme {
    /// Its name.
    pub name: String,
    styles: Vec<Style>,
}

const ADDS: &[(&str, Modifier)] = &[
    ("bold", Modifier::BOLD),
    ("dim", Modifier::DIM),
    ("italic", Modifier::ITALIC),
    ("underline", Modifier::UNDERLINED),
    ("reverse", Modifier::REVERSED),
];
const COLOURS: &[(&str, Color)] = &[
    ("default", Color::Reset),
    ("black", Color::Black),
    ("red", Color::Red),
    ("green", Color::Green),
    ("yellow", Color::Yellow),
    ("blue", Color::Blue),
    ("magenta", Color::Magenta),
    ("cyan", Color::Cyan),
    ("gray", Color::Gray),
    ("dark-gray", Color::DarkGray),
    ("light-red", Color::LightRed),
    ("light-green", Color::LightGreen),
    ("light-yellow", Color::LightYellow),
    ("light-blue", Color::LightBlue),
    ("light-magenta", Color::LightMagenta),
    ("light-cyan", Color::LightCyan),
    ("white", Color::White),
];

impl Theme {
    /// The style of a role.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        self.styles.get(role as usize).copied().unwrap_or_default()
    }

    /// Bold, reverse and underline only: for `NO_COLOR`.
    #[must_use]
    pub fn mono() -> Self {
        let mut theme = Self { name: "mono".into(), styles: vec![Style::new(); Role::ALL.len()] };
        let mut add = |roles: &[Role], modifier| {
            for role in roles {
                let style = &mut theme.styles[*role as usize];
                *style = style.add_modifier(modifier);
            }
        };
        add(
            &[
                Role::Title,
                Role::Key,
                Role::Value,
                Role::Warn,
                Role::Error,
                Role::Link,
                Role::PingLate,
                Role::RateHypervisor,
                Role::Mark,
            ],
            Modifier::BOLD,
        );
        add(
            &[
                Role::Selected,
                Role::Banner,
                Role::Simulated,
                Role::PingLost,
                Role::PingError,
                Role::PhaseStopAndCopy,
                Role::PhaseFailed,
            ],
            Modifier::BOLD | Modifier::REVERSED,
        );
        add(&[Role::Error], Modifier::UNDERLINED);
        theme
    }

    /// Reads a theme file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a valid theme.
    pub fn load(path: &Path) -> Result<Self, ThemeError> {
        let file = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| ThemeError::Unreadable { file: file.clone(), source })?;
        Self::parse(&file, &text)
    }

    /// Reads the text of a theme; `file` is named in errors.
    ///
    /// # Errors
    /// When it is not TOML, names a key that is unknown, or gives a value that cannot be.
    pub fn parse(file: &str, text: &str) -> Result<Self, ThemeError> {
        let reader = Reader { file, text };
        let table = DeTable::parse(text).map_err(|e| ThemeError::Syntax {
            file: file.into(),
            line: reader.line(e.span().map_or(0, |s| s.start)),
            why: e.message().into(),
        })?;
        let mut theme = Self { name: file.into(), styles: vec![Style::new(); Role::ALL.len()] };
        for (key, value) in table.get_ref() {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("name", DeValue::String(name)) => theme.name = name.to_string(),
                ("style", DeValue::Table(styles)) => {
                    for (key, value) in styles {
                        let at = key.span().start;
                        let name = key.get_ref().as_ref();
                        let Some(role) = Role::ALL.iter().find(|r| r.name() == name) else {
                            return Err(reader.unknown(at, name, Role::ALL.iter().map(|r| r.name())));
                        };
                        theme.styles[*role as usize] = reader.style(at, name, value.get_ref())?;
                    }
                }
                ("name", _) => return Err(reader.bad(at, "name", "that", "a text in quotes")),
                ("style", _) => return Err(reader.bad(at, "style", "that", "a table of styles")),
                (other, _) => return Err(reader.unknown(at, other, ["name", "style"].into_iter())),
            }
        }
        Ok(theme)
    }

    /// The same theme with colours the terminal can show.
    #[must_use]
    pub fn at_depth(mut self, depth: Depth) -> Self {
        match depth {
            Depth::True => self,
            Depth::Mono => Self::mono(),
            Depth::Indexed => {
                for style in &mut self.styles {
                    style.fg = style.fg.map(indexed);
                    style.bg = style.bg.map(indexed);
                }
                self
            }
        }
    }
}

/// The nearest colour of the 6 x 6 x 6 cube or the grey ramp of the 256-colour palette.
fn indexed(colour: Color) -> Color {
    let Color::Rgb(r, g, b) = colour else { return colour };
    let level = |v: u8| -> u8 {
        if v < 48 {
            0
        } else if v < 115 {
            1
        } else {
            (v - 35) / 40
        }
    };
    let value = |l: u8| -> i32 { if l == 0 { 0 } else { 55 + 40 * i32::from(l) } };
    let distance =
        |x: i32, y: i32, z: i32| (x - i32::from(r)).pow(2) + (y - i32::from(g)).pow(2) + (z - i32::from(b)).pow(2);
    let (lr, lg, lb) = (level(r), level(g), level(b));
    let mean = (u16::from(r) + u16::from(g) + u16::from(b)) / 3;
    let step = (mean.saturating_sub(3) / 10).min(23) as u8;
    let grey = 8 + 10 * i32::from(step);
    if distance(grey, grey, grey) < distance(value(lr), value(lg), value(lb)) {
        Color::Indexed(232 + step)
    } else {
        Color::Indexed(16 + 36 * lr + 6 * lg + lb)
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|b| *b == b'\n').count()
    }

    fn unknown(&self, at: usize, key: &str, names: impl Iterator<Item = &'static str>) -> ThemeError {
        ThemeError::UnknownKey {
            file: self.file.into(),
            line: self.line(at),
            key: key.into(),
            nearest: nearest(key, names),
        }
    }

    fn bad(&self, at: usize, key: &str, value: &str, what: impl Into<String>) -> ThemeError {
        ThemeError::BadValue {
            file: self.file.into(),
            line: self.line(at),
            key: key.into(),
            value: value.into(),
            what: what.into(),
        }
    }

    fn style(&self, at: usize, key: &str, value: &DeValue<'_>) -> Result<Style, ThemeError> {
        const SHAPE: &str = "a colour in quotes or a table { fg, bg, add }";
        match value {
            DeValue::String(text) => Ok(Style::new().fg(self.colour(at, key, text)?)),
            DeValue::Table(parts) => {
                let mut style = Style::new();
                for (part, value) in parts {
                    let at = part.span().start;
                    match (part.get_ref().as_ref(), value.get_ref()) {
                        ("fg", DeValue::String(text)) => style = style.fg(self.colour(at, key, text)?),
                        ("bg", DeValue::String(text)) => style = style.bg(self.colour(at, key, text)?),
                        ("add", DeValue::Array(items)) => {
                            for item in items {
                                let text = item.get_ref().as_str().unwrap_or("that");
                                let Some((_, m)) = ADDS.iter().find(|(n, _)| *n == text) else {
                                    let near = nearest(text, ADDS.iter().map(|(n, _)| *n));
                                    return Err(self.bad(
                                        at,
                                        key,
                                        text,
                                        format!("an attribute; did you mean '{near}'?"),
                                    ));
                                };
                                style = style.add_modifier(*m);
                            }
                        }
                        ("fg" | "bg" | "add", _) => return Err(self.bad(at, key, "that", SHAPE)),
                        (other, _) => return Err(self.unknown(at, other, ["fg", "bg", "add"].into_iter())),
                    }
                }
                Ok(style)
            }
            _ => Err(self.bad(at, key, "that", SHAPE)),
        }
    }

    fn colour(&self, at: usize, key: &str, text: &str) -> Result<Color, ThemeError> {
        if let Some(hex) = text.strip_prefix('#') {
            return match u32::from_str_radix(hex, 16) {
                Ok(n) if hex.len() == 6 => Ok(Color::Rgb((n >> 16) as u8, (n >> 8) as u8, n as u8)),
                _ => Err(self.bad(at, key, text, "a colour; write six hexadecimal digits, for instance #7fd1e0")),
            };
        }
        match COLOURS.iter().find(|(n, _)| *n == text) {
            Some((_, colour)) => Ok(*colour),
            None => {
                let near = nearest(text, COLOURS.iter().map(|(n, _)| *n));
                Err(self.bad(at, key, text, format!("a colour; write #rrggbb or a name; did you mean '{near}'?")))
            }
        }
    }
}

/// The name with the smallest edit distance (Levenshtein) to `text`.
fn nearest(text: &str, names: impl Iterator<Item = &'static str>) -> &'static str {
    names.min_by_key(|name| edit_distance(text, name)).unwrap_or("")
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_themes_name_every_role() {
        for text in [DARK, LIGHT] {
            let theme = Theme::parse("built-in", text).unwrap();
            for role in Role::ALL {
                assert!(text.contains(&format!("\n{} =", role.name())), "{} lacks {}", theme.name, role.name());
            }
        }
    }

    #[test]
    fn errors_name_file_line_key_and_what_was_meant() {
        let e = Theme::parse("t.toml", "name = \"x\"\n[style]\nping_lst = \"red\"\n").unwrap_err().to_string();
        assert_eq!(e, "theme t.toml, line 3: unknown key 'ping_lst'; did you mean 'ping_lost'?");
        let e = Theme::parse("t.toml", "[style]\nlink = \"gren\"\n").unwrap_err().to_string();
        assert!(e.contains("line 2") && e.contains("'link'") && e.contains("'green'"), "{e}");
        let e = Theme::parse("t.toml", "[style]\nlink = \"#12\"\n").unwrap_err().to_string();
        assert!(e.contains("six hexadecimal"), "{e}");
        let e = Theme::parse("t.toml", "[style]\nlink = { fg = \"red\", add = [\"blod\"] }\n").unwrap_err().to_string();
        assert!(e.contains("'bold'"), "{e}");
        let e = Theme::parse("t.toml", "[style\n").unwrap_err().to_string();
        assert!(e.contains("line 1") && e.contains("not TOML"), "{e}");
        let e = Theme::parse("t.toml", "styl = 3\n").unwrap_err().to_string();
        assert!(e.contains("'style'"), "{e}");
        assert!(Theme::load(Path::new("/nonexistent/x.toml")).unwrap_err().to_string().contains("/nonexistent/x.toml"));
    }

    #[test]
    fn mono_has_no_colour_and_indexed_no_rgb() {
        let dark = Theme::parse("dark", DARK).unwrap();
        let mono = dark.clone().at_depth(Depth::Mono);
        let indexed = dark.at_depth(Depth::Indexed);
        for role in Role::ALL {
            assert_eq!((mono.style(*role).fg, mono.style(*role).bg), (None, None));
            assert!(!matches!(indexed.style(*role).fg, Some(Color::Rgb(..))));
        }
        assert_eq!(super::indexed(Color::Rgb(255, 0, 0)), Color::Indexed(196));
    }
}
