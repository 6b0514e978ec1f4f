//! Files that people write settings into: TOML whose faults are told with file, line and the
//! nearest valid name. What the keys mean is their readers' affair.

use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::de::DeTable;

/// Why a file of settings cannot be read at all.
#[derive(Debug, Error)]
pub enum FileError {
    /// The operating system does not give it.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// The file of settings, keys or targets, as it was named.
        file: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{file}, line {line}: not TOML: {why}")]
    Syntax {
        /// The file of settings, keys or targets, as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        why: String,
    },
}

/// The text of a file.
///
/// # Errors
/// When the operating system does not give it.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    crate::files::read_text(path, crate::files::SETTINGS_LIMIT)
        .map_err(|source| FileError::Unreadable { file: path.display().to_string(), source })
}

/// The top table of a file's text; `file` is named in errors.
///
/// # Errors
/// When it is not TOML.
pub(crate) fn table<'a>(file: &str, text: &'a str) -> Result<DeTable<'a>, FileError> {
    DeTable::parse(text).map(toml::Spanned::into_inner).map_err(|e| FileError::Syntax {
        file: file.into(),
        line: line(text, e.span().map_or(0, |s| s.start)),
        why: e.message().into(),
    })
}

/// The line of a byte of the text, from 1.
pub(crate) fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

/// The folder of the person's settings: `$XDG_CONFIG_HOME/blackout`, else `~/.config/blackout`; None
/// where neither is known.
pub(crate) fn folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(base.join("blackout"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_their_line() {
        let e = table("x.toml", "a = 1\n\nb = = 2\n").unwrap_err().to_string();
        assert!(e.starts_with("x.toml, line 3: not TOML: "), "{e}");
        let e = read(Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(e.starts_with("/no/such/file cannot be read: "), "{e}");
    }
}
