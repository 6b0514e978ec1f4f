//! Theme files: TOML to styles, and errors that say where and what would be right.

use std::path::Path;
use std::sync::LazyLock;

use ratatui::style::{Color, Modifier, Style};
use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::looks::{Look, Theme};
use super::paper::Paper;
use super::roles::Role;
use super::texts::{BUILT_IN, MONOCHROME};
use crate::text::meant;

/// Why a theme cannot be used.
#[derive(Debug, Error)]
pub enum ThemeError {
    /// None has this name.
    #[error(
        "unknown theme '{name}': neither built in nor in {folder}{hint}. A file elsewhere is named by its path, as in --theme ./mine.toml"
    )]
    NoSuchTheme {
        /// The name that was asked for.
        name: String,
        /// What there is instead, as the end of a sentence.
        hint: String,
        /// Where files were looked for.
        folder: String,
    },
    /// The file cannot be read.
    #[error("theme {file}: cannot be read: {source}")]
    Unreadable {
        /// The theme file, as it was named.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("theme {file}, line {line}: not TOML: {why}")]
    Syntax {
        /// The theme file, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        why: String,
    },
    /// A key nobody knows.
    #[error("theme {file}, line {line}: unknown key '{key}'{hint}")]
    UnknownKey {
        /// The theme file, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key, as it stands in the file.
        key: String,
        /// What there is instead, as the end of a sentence.
        hint: String,
    },
    /// A value that is not what the key needs.
    #[error("theme {file}, line {line}: key '{key}': '{value}' is not {what}")]
    BadValue {
        /// The theme file, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key, as it stands in the file.
        key: String,
        /// What was read.
        value: String,
        /// What would be right.
        what: String,
    },
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
const TOP: &[&str] = &["name", "about", "base", "paper", "style"];
const PAPER: &[&str] = &["ink", "ground"];
const PARTS: &[&str] = &["fg", "bg", "add", "fg16", "bg16"];

impl Theme {
    /// Bold, reverse and underline only: for `NO_COLOR`.
    #[must_use]
    pub fn mono() -> Self {
        static MONO: LazyLock<Theme> = LazyLock::new(|| {
            // The built-in theme is valid (tested); were it not, the screen would be all plain.
            Theme::parse("monochrome (built in)", MONOCHROME).unwrap_or_else(|_| Theme {
                name: "monochrome".into(),
                about: String::new(),
                paper: Paper::DARK,
                looks: vec![Look::default(); Role::ALL.len()],
            })
        });
        MONO.clone()
    }

    /// Reads a theme file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a valid theme.
    pub fn load(path: &Path) -> Result<Self, ThemeError> {
        let file = path.display().to_string();
        let text = crate::files::read_text(path, crate::files::SETTINGS_LIMIT)
            .map_err(|source| ThemeError::Unreadable { file: file.clone(), source })?;
        Self::parse(&file, &text)
    }

    /// Reads the text of a theme; `file` is named in errors.
    ///
    /// # Errors
    /// When it is not TOML, names a key that is unknown, or gives a value that cannot be.
    pub fn parse(file: &str, text: &str) -> Result<Self, ThemeError> {
        theme(file, text)
    }
}

/// Reads a theme; a role the file says nothing of is as in its `base`, without one as the role it
/// falls back on, and at last as in the monochrome theme.
fn theme(file: &str, text: &str) -> Result<Theme, ThemeError> {
    let reader = Reader { file, text };
    let table = DeTable::parse(text).map_err(|e| ThemeError::Syntax {
        file: file.into(),
        line: reader.line(e.span().map_or(0, |s| s.start)),
        why: e.message().into(),
    })?;
    let mut theme = Theme { name: file.into(), about: String::new(), paper: Paper::DARK, looks: Vec::new() };
    let mut looks: Vec<Option<Look>> = vec![None; Role::ALL.len()];
    if let Some((key, value)) = table.get_ref().iter().find(|(key, _)| key.get_ref() == "base") {
        let base = reader.base(key.span().start, value.get_ref())?;
        theme.paper = base.paper;
        looks = base.looks.into_iter().map(Some).collect();
    }
    for (key, value) in table.get_ref() {
        let at = key.span().start;
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("base", _) => {}
            ("name", DeValue::String(name)) => theme.name = name.to_string(),
            ("about", DeValue::String(about)) => theme.about = about.to_string(),
            ("paper", DeValue::Table(parts)) => {
                for (key, value) in parts {
                    let at = key.span().start;
                    match (key.get_ref().as_ref(), value.get_ref()) {
                        ("ink", value) => theme.paper.ink = reader.rgb(at, "ink", value)?,
                        ("ground", value) => theme.paper.ground = reader.rgb(at, "ground", value)?,
                        (other, _) => return Err(reader.unknown(at, other, PAPER)),
                    }
                }
            }
            ("style", DeValue::Table(styles)) => {
                for (key, value) in styles {
                    let at = key.span().start;
                    let name = key.get_ref().as_ref();
                    let Some(role) = Role::ALL.iter().find(|r| r.name() == name) else {
                        let names: Vec<&str> = Role::ALL.iter().map(|r| r.name()).collect();
                        return Err(reader.unknown(at, name, &names));
                    };
                    looks[*role as usize] = Some(reader.look(at, name, value.get_ref())?);
                }
            }
            (key @ ("name" | "about"), value) => return Err(reader.bad(at, key, &shown(value), "a text in quotes")),
            ("paper", value) => {
                return Err(reader.bad(at, "paper", &shown(value), "a table: [paper], then ink and ground"));
            }
            ("style", value) => {
                return Err(reader.bad(at, "style", &shown(value), "a table: [style], then a line a role"));
            }
            (other, _) => return Err(reader.unknown(at, other, TOP)),
        }
    }
    theme.looks = Role::ALL.iter().map(|role| resolve(*role, &looks)).collect();
    Ok(theme)
}

fn resolve(role: Role, looks: &[Option<Look>]) -> Look {
    let mut at = Some(role);
    while let Some(role) = at {
        if let Some(look) = looks.get(role as usize).copied().flatten() {
            return look;
        }
        at = role.fallback();
    }
    // The monochrome theme names every role itself: its own reading never comes here.
    if looks.iter().all(Option::is_none) {
        Look::default()
    } else {
        Look { style: Theme::mono().style(role), ..Look::default() }
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

    fn unknown(&self, at: usize, key: &str, names: &[&'static str]) -> ThemeError {
        ThemeError::UnknownKey {
            file: self.file.into(),
            line: self.line(at),
            key: key.into(),
            hint: meant(key, names.iter().copied()),
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

    /// A built-in theme: a file as base could be its own.
    fn base(&self, at: usize, value: &DeValue<'_>) -> Result<Theme, ThemeError> {
        let wanted = shown(value);
        match BUILT_IN.iter().find(|(name, _)| *name == wanted) {
            Some((name, text)) => theme(&format!("{name} (built in)"), text),
            None => {
                let hint = meant(&wanted, BUILT_IN.iter().map(|(name, _)| *name));
                Err(self.bad(at, "base", &wanted, format!("a built-in theme{hint}")))
            }
        }
    }

    fn look(&self, at: usize, key: &str, value: &DeValue<'_>) -> Result<Look, ThemeError> {
        const SHAPE: &str =
            "a style; write a colour in quotes or a table such as { fg = \"#7fd1e0\", add = [\"bold\"] }";
        let mut look = Look::default();
        let DeValue::Table(parts) = value else {
            let DeValue::String(text) = value else { return Err(self.bad(at, key, &shown(value), SHAPE)) };
            look.style.fg = Some(self.colour(at, key, text)?);
            return Ok(look);
        };
        for (part, value) in parts {
            let at = part.span().start;
            let value = value.get_ref();
            match part.get_ref().as_ref() {
                "fg" => look.style.fg = Some(self.colour(at, key, &shown(value))?),
                "bg" => look.style.bg = Some(self.colour(at, key, &shown(value))?),
                "fg16" => look.fg16 = Some(self.named(at, key, &shown(value))?),
                "bg16" => look.bg16 = Some(self.named(at, key, &shown(value))?),
                "add" => look.style = self.add(at, key, value, look.style)?,
                other => return Err(self.unknown(at, other, PARTS)),
            }
        }
        Ok(look)
    }

    fn add(&self, at: usize, key: &str, value: &DeValue<'_>, mut style: Style) -> Result<Style, ThemeError> {
        let DeValue::Array(items) = value else {
            return Err(self.bad(at, key, &shown(value), "a list of attributes; write for instance add = [\"bold\"]"));
        };
        for item in items {
            let text = shown(item.get_ref());
            let Some((_, modifier)) = ADDS.iter().find(|(name, _)| *name == text) else {
                let hint = meant(&text, ADDS.iter().map(|(name, _)| *name));
                return Err(self.bad(item.span().start, key, &text, format!("an attribute{hint}")));
            };
            style = style.add_modifier(*modifier);
        }
        Ok(style)
    }

    fn rgb(&self, at: usize, key: &str, value: &DeValue<'_>) -> Result<(u8, u8, u8), ThemeError> {
        match hex(&shown(value)) {
            Some(rgb) => Ok(rgb),
            None => {
                Err(self.bad(at, key, &shown(value), "a colour; write six hexadecimal digits, for instance #14171c"))
            }
        }
    }

    fn colour(&self, at: usize, key: &str, text: &str) -> Result<Color, ThemeError> {
        if text.starts_with('#') {
            return match hex(text) {
                Some((r, g, b)) => Ok(Color::Rgb(r, g, b)),
                None => Err(self.bad(at, key, text, "a colour; write six hexadecimal digits, for instance #7fd1e0")),
            };
        }
        self.named_or(at, key, text, "a colour; write #rrggbb or a name")
    }

    fn named(&self, at: usize, key: &str, text: &str) -> Result<Color, ThemeError> {
        self.named_or(at, key, text, "one of the 16 colours; write its name")
    }

    fn named_or(&self, at: usize, key: &str, text: &str, what: &str) -> Result<Color, ThemeError> {
        match COLOURS.iter().find(|(name, _)| *name == text) {
            Some((_, colour)) => Ok(*colour),
            None => {
                let hint = meant(text, COLOURS.iter().map(|(name, _)| *name));
                Err(self.bad(at, key, text, format!("{what}{hint}")))
            }
        }
    }
}

/// `#rrggbb`.
fn hex(text: &str) -> Option<(u8, u8, u8)> {
    let digits = text.strip_prefix('#').filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let n = u32::from_str_radix(digits, 16).ok()?;
    Some(((n >> 16) as u8, (n >> 8) as u8, n as u8))
}

/// A value as it was written, as far as one can say it in a line.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(n) => n.as_str().into(),
        DeValue::Float(n) => n.as_str().into(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(t) => t.to_string(),
        DeValue::Array(_) => "[...]".into(),
        DeValue::Table(_) => "{...}".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        theme("t.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_line_key_and_what_was_meant() {
        let of = |text: &str, parts: &[&str]| {
            let e = error(text);
            assert!(e.starts_with("theme t.toml, line ") && parts.iter().all(|p| e.contains(p)), "{text}: {e}");
        };
        let e = error("name = \"x\"\n[style]\nping_lst = \"red\"\n");
        assert_eq!(e, "theme t.toml, line 3: unknown key 'ping_lst'; did you mean 'ping_lost'?");
        let e = error("base = \"drak\"\n");
        assert_eq!(e, "theme t.toml, line 1: key 'base': 'drak' is not a built-in theme; did you mean 'dark'?");
        of("[style]\nlink = \"gren\"\n", &["line 2", "'link'", "'green'"]);
        of("[style]\nlink = \"#12\"\n", &["'#12'", "six hexadecimal"]);
        of("[style]\nlink = \"#+12345\"\n", &["six hexadecimal"]);
        of("[style]\nlink = 7\n", &["'7'", "a style"]);
        of("[style]\nlink = { fg = 7 }\n", &["'7'", "a colour"]);
        of("[style]\nlink = { fgg = \"red\" }\n", &["'fgg'", "'fg'"]);
        of("[style]\nlink = { fg = \"red\", fg16 = \"#ff0000\" }\n", &["'#ff0000'", "16 colours"]);
        of("[style]\nlink = { fg16 = \"light-rde\" }\n", &["'light-red'"]);
        of("[style]\n\nlink = { fg = \"red\", add = [\"blod\"] }\n", &["line 3", "'bold'"]);
        of("[style]\nlink = { add = [\"bold\",\n\"dimm\"] }\n", &["line 3", "'dim'"]);
        of("[style]\nlink = { add = \"bold\" }\n", &["'bold'", "a list"]);
        of("[paper]\nink = \"white\"\n", &["line 2", "'ink'", "six hexadecimal"]);
        of("[paper]\ngroud = \"#000000\"\n", &["'groud'", "'ground'"]);
        of("paper = 1\n", &["'paper'", "[paper]"]);
        of("[style\n", &["line 1", "not TOML"]);
        of("styl = 3\n", &["'styl'", "'style'"]);
        of("name = 3\n", &["'name'", "in quotes"]);
        let e = Theme::load(std::path::Path::new("/nonexistent/x.toml")).unwrap_err().to_string();
        assert!(e.contains("/nonexistent/x.toml"), "{e}");
    }

    #[test]
    fn a_theme_may_change_only_some_of_another() {
        let dark = Theme::parse("dark", super::super::DARK).unwrap();
        let mine = theme("t.toml", "[style]\nlink = \"blue\"\n[paper]\nground = \"#010203\"\n").unwrap();
        let based =
            theme("t.toml", "base = \"dark\"\n[style]\nlink = \"blue\"\n[paper]\nground = \"#010203\"\n").unwrap();
        assert_eq!(based.paper, Paper { ground: (1, 2, 3), ..dark.paper });
        for role in Role::ALL {
            let expected = if *role == Role::Link { Style::new().blue() } else { dark.style(*role) };
            assert_eq!(based.style(*role), expected, "{}", role.name());
        }
        assert_eq!(mine.style(Role::Link), Style::new().blue());
    }

    #[test]
    fn a_role_left_out_is_as_its_kin_and_never_without_a_sign() {
        let text = "[style]\nwarn = \"yellow\"\ncursor = { bg = \"blue\" }\nmuted = \"gray\"\n";
        let mine = theme("t.toml", text).unwrap();
        assert_eq!(mine.style(Role::PhaseRecovery), Style::new().yellow());
        assert_eq!(mine.style(Role::Anchor), Style::new().on_blue());
        assert_eq!(mine.style(Role::Rule), Style::new().gray());
        assert!(mine.style(Role::PingLost).add_modifier.contains(Modifier::REVERSED));
    }

    proptest! {
        #[test]
        fn any_text_is_a_theme_or_an_error(text in "\\PC{0,80}", key in "[a-z_]{1,12}", value in "\\PC{0,20}") {
            let _ = theme("t", &text);
            if let Err(e) = theme("t", &format!("[style]\n{key} = \"{value}\"\n")) {
                // A quotation mark that opens a text of several lines is missed at their end.
                prop_assert!(e.to_string().contains("line 2") || e.to_string().contains("line 3"), "{}", e);
            }
        }
    }
}
