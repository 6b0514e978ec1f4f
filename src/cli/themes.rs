//! `blackout themes`: the looks there are, shown, printed and checked.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use crossterm::style::ContentStyle;
use ratatui::backend::IntoCrossterm;
use ratatui::style::Style;

use super::args::{Colours, parse_colours};
use super::exit::{EXIT_NOT_AS_ASKED, EXIT_OK};
use crate::text::visible;
use crate::tui::theme::check::{FAMILIES, Family, findings};
use crate::tui::theme::{self, Depth, Listed, Role, Source, Theme, ThemeError};

/// Lists the themes of the screen, with a sample of each
///
/// One's own are files in $XDG_CONFIG_HOME/blackout/themes (~/.config/blackout/themes): NAME.toml is
/// asked for with --theme NAME, and stands in for a built-in theme of that name.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Write a theme's file to standard output, to begin one's own with
    #[arg(long, value_name = "NAME", conflicts_with = "check")]
    print: Option<String>,
    /// Say whether a theme file is valid, and what is hard to see in it
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Colours of the samples: auto, true, 256, 16, none [default: auto]
    #[arg(long, value_name = "COLOURS", value_parser = parse_colours, hide_default_value = true, default_value = "auto")]
    colors: Colours,
}

/// Runs `blackout themes`.
///
/// # Errors
/// When a theme cannot be read or is invalid, or nobody reads the output.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(name) = &args.print {
        super::say::print(&text_of(name)?)?;
        return Ok(ExitCode::from(EXIT_OK));
    }
    if let Some(file) = &args.check {
        let theme = Theme::load(file)?;
        let (text, fine) = verdict(&file.display().to_string(), &theme);
        super::say::print(&text)?;
        return Ok(ExitCode::from(if fine { EXIT_OK } else { EXIT_NOT_AS_ASKED }));
    }
    let mut out = std::io::stdout().lock();
    let depth = match args.colors.0 {
        Some(depth) => {
            // What is asked for here goes above NO_COLOR, which the terminal library would heed.
            crossterm::style::force_color_output(true);
            Some(depth)
        }
        None => out.is_terminal().then(Depth::from_env),
    };
    for listed in theme::list() {
        out.write_all(entry(&listed, depth).as_bytes())?;
    }
    if let Some(folder) = theme::folder() {
        let folder = folder.display().to_string();
        writeln!(out, "One's own: NAME.toml in {}; begin with 'blackout themes --print dark'.", visible(&folder))?;
    }
    Ok(ExitCode::from(EXIT_OK))
}

fn text_of(name: &str) -> Result<String> {
    match theme::source(name)? {
        Source::BuiltIn(text) => Ok(text.into()),
        Source::File(path) => crate::files::read_text(&path, crate::files::SETTINGS_LIMIT)
            .with_context(|| format!("theme {}: cannot be read", path.display())),
    }
}

/// What is to be said of a theme that is valid, and whether all of it is easy to see.
fn verdict(file: &str, theme: &Theme) -> (String, bool) {
    let found = findings(theme);
    if found.is_empty() {
        return (format!("{file}: valid, and everything in it is easy to see\n"), true);
    }
    let mut text = format!("{file}: valid, but some of it is hard to see:\n");
    for finding in &found {
        let _ = writeln!(text, "  {finding}");
    }
    (text, false)
}

/// A theme of the list; `depth` is `None` where no colours may be written at all.
fn entry(listed: &Listed, depth: Option<Depth>) -> String {
    let from = match &listed.source {
        Source::BuiltIn(_) => "built in".to_string(),
        Source::File(path) => path.display().to_string(),
    };
    let (from, name) = (visible(&from), visible(&listed.name));
    let loaded: Result<Theme, ThemeError> = theme::load(&listed.name, depth.unwrap_or(Depth::True));
    let mut text = String::new();
    match loaded {
        Err(e) => {
            let _ = writeln!(text, "{:14} {from}\n  cannot be used: {}\n", name, visible(&e.to_string()));
        }
        Ok(theme) => {
            let _ = writeln!(
                text,
                "{:14} {from}{}{}",
                name,
                if theme.about.is_empty() { "" } else { ": " },
                visible(&theme.about)
            );
            for family in FAMILIES {
                let _ = writeln!(text, "  {:8}{}", family.name, sample(&theme, *family, depth.is_some()));
            }
            text.push('\n');
        }
    }
    text
}

/// The roles of a family, each by its word in its own style.
fn sample(theme: &Theme, family: Family, styled: bool) -> String {
    let words = family.roles.iter().map(|role| {
        let word = format!(" {} ", word(*role));
        if styled { paint(theme.style(*role), &word) } else { word }
    });
    words.collect::<Vec<_>>().join("")
}

/// A role's name without that of its family.
fn word(role: Role) -> String {
    let name = role.name();
    let word = ["phase_", "ping_", "rate_", "cpu_"].iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name);
    word.replace('_', "-")
}

fn paint(style: Style, text: &str) -> String {
    let style: ContentStyle = style.into_crossterm();
    style.apply(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::DARK;

    #[test]
    fn a_list_for_a_pipe_is_plain_text() {
        for (name, text) in theme::BUILT_IN {
            let listed = Listed { name: (*name).into(), source: Source::BuiltIn(text) };
            let plain = entry(&listed, None);
            assert!(plain.starts_with(name) && plain.contains("built in: "), "{plain}");
            assert!(plain.contains(" stop-and-copy ") && plain.contains(" hypervisor "), "{plain}");
            assert!(!plain.chars().any(|c| c.is_control() && c != '\n'), "{plain:?}");
            assert!(plain.lines().all(|l| l.chars().count() <= 100), "{plain}");
        }
    }

    #[test]
    fn what_is_printed_is_the_theme() {
        assert!(theme::names().contains(&"dark".to_string()));
        let e = text_of("drak").unwrap_err().to_string();
        assert!(e.contains("did you mean 'dark'"), "{e}");
    }

    #[test]
    fn a_check_tells_what_is_hard_to_see() {
        assert!(verdict("dark", &Theme::parse("dark", DARK).unwrap()).1);
        let theme = Theme::parse("t", "base = \"dark\"\n[style]\nmuted = \"#404040\"\n").unwrap();
        let (text, fine) = verdict("t.toml", &theme);
        assert!(!fine && text.contains("t.toml: valid, but") && text.contains("  muted: contrast 1."), "{text}");
    }
}
