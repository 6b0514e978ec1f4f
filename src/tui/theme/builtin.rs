//! The themes there are: built in, and in the folder of the configuration, which wins.

use std::path::{Path, PathBuf};

use super::{BUILT_IN, Depth, Theme, ThemeError};
use crate::text::meant;

/// Where a theme comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is part of this program: its text.
    BuiltIn(&'static str),
    /// A file of the theme folder.
    File(PathBuf),
}

impl Source {
    fn load(&self, name: &str) -> Result<Theme, ThemeError> {
        match self {
            Self::BuiltIn(text) => Theme::parse(&format!("{name} (built in)"), text),
            Self::File(path) => Theme::load(path),
        }
    }
}

/// A theme that can be asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
}

/// The folder of one's own themes: `$XDG_CONFIG_HOME/blackout/themes`, else
/// `~/.config/blackout/themes`. `None` without a home.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(config.join("blackout/themes"))
}

/// Every theme there is: the built-in ones (or the files that stand in for them), then the others
/// of the folder by name.
#[must_use]
pub fn list() -> Vec<Listed> {
    list_in(folder().as_deref())
}

/// The names of all themes, in the order in which they are gone through.
#[must_use]
pub fn names() -> Vec<String> {
    list().into_iter().map(|listed| listed.name).collect()
}

/// Where the theme of this name comes from.
///
/// # Errors
/// When there is none: says which name is nearest.
pub fn source(name: &str) -> Result<Source, ThemeError> {
    source_in(folder().as_deref(), name)
}

/// The theme of this name, in colours of this depth.
///
/// # Errors
/// When there is none, or it is invalid.
pub fn load(name: &str, depth: Depth) -> Result<Theme, ThemeError> {
    Ok(full(name)?.at_depth(depth))
}

/// The theme after the one of this name, in colours of this depth. Files that are no valid theme
/// are passed over; after the last comes the first, and the first also follows a name not listed.
#[must_use]
pub fn next(name: &str, depth: Depth) -> Theme {
    next_in(folder().as_deref(), name).at_depth(depth)
}

pub(super) fn full(name: &str) -> Result<Theme, ThemeError> {
    full_in(folder().as_deref(), name)
}

fn full_in(folder: Option<&Path>, name: &str) -> Result<Theme, ThemeError> {
    let mut theme = source_in(folder, name)?.load(name)?;
    // By this name it can be asked for again, whatever it calls itself.
    theme.name = name.into();
    Ok(theme)
}

fn list_in(folder: Option<&Path>) -> Vec<Listed> {
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for entry in folder.and_then(|f| f.read_dir().ok()).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "toml")
            && path.is_file()
            && let Some(name) = path.file_stem().and_then(|s| s.to_str())
        {
            files.push((name.into(), path));
        }
    }
    files.sort();
    let mut all: Vec<Listed> =
        BUILT_IN.iter().map(|(name, text)| Listed { name: (*name).into(), source: Source::BuiltIn(text) }).collect();
    for (name, path) in files {
        match all.iter_mut().find(|listed| listed.name == name) {
            Some(listed) => listed.source = Source::File(path),
            None => all.push(Listed { name, source: Source::File(path) }),
        }
    }
    all
}

fn source_in(folder: Option<&Path>, name: &str) -> Result<Source, ThemeError> {
    let all = list_in(folder);
    if let Some(listed) = all.iter().find(|listed| listed.name == name) {
        return Ok(listed.source.clone());
    }
    Err(ThemeError::NoSuchTheme {
        name: name.into(),
        hint: meant(name, all.iter().map(|listed| listed.name.as_str())),
        folder: folder.map_or_else(|| "the theme folder".into(), |f| f.display().to_string()),
    })
}

fn next_in(folder: Option<&Path>, name: &str) -> Theme {
    let all = list_in(folder);
    let after = all.iter().position(|listed| listed.name == name).map_or(0, |i| i + 1);
    (0..all.len())
        .map(|i| &all[(after + i) % all.len()])
        .find_map(|listed| full_in(folder, &listed.name).ok())
        .unwrap_or_else(Theme::mono)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::Role;

    #[test]
    fn built_in_themes_are_whole_and_know_their_name() {
        for (name, text) in BUILT_IN {
            let theme = Theme::parse(name, text).unwrap();
            assert_eq!(theme.name, *name);
            assert!(!theme.about.is_empty() && theme.about.len() < 70, "{name}: {}", theme.about);
            for role in Role::ALL {
                assert!(text.contains(&format!("\n{} =", role.name())), "{name} lacks {}", role.name());
            }
        }
    }

    #[test]
    fn a_file_of_the_folder_wins_and_a_broken_one_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("light.toml", "base = \"light\"\nname = \"else\"\n[style]\nlink = \"blue\"\n");
        write("aaa.toml", "[stile]\n");
        write("zzz.toml", "base = \"dark\"\n");
        write("notes.txt", "not a theme");
        let folder = Some(folder.path());
        let names: Vec<String> = list_in(folder).into_iter().map(|l| l.name).collect();
        let built_in = BUILT_IN.iter().map(|(name, _)| *name);
        assert_eq!(names, built_in.chain(["aaa", "zzz"]).collect::<Vec<_>>());
        let light = full_in(folder, "light").unwrap();
        assert_eq!((light.name.as_str(), light.style(Role::Link).fg), ("light", Some(ratatui::style::Color::Blue)));
        assert!(full_in(folder, "aaa").unwrap_err().to_string().contains("line 1: unknown key 'stile'"));
        assert_eq!(next_in(folder, "monochrome").name, "zzz");
        assert_eq!(next_in(folder, "zzz").name, "dark");
        assert_eq!(next_in(folder, "nobody").name, "dark");
        let e = full_in(folder, "lihgt").unwrap_err().to_string();
        assert!(e.contains("'lihgt'") && e.contains("did you mean 'light'") && e.contains("--theme"), "{e}");
    }

    #[test]
    fn every_theme_is_come_by() {
        let mut name = "dark".to_string();
        for (expected, _) in BUILT_IN.iter().cycle().skip(1).take(BUILT_IN.len()) {
            name = next_in(None, &name).name;
            assert_eq!(name, *expected);
        }
    }
}
